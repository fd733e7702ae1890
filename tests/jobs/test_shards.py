"""The line of shell that gives each container its original index."""

from __future__ import annotations

import os
import subprocess

import pytest

from dockerutils.jobs.shards import Shards

_SHOW = ["sh", "-c", 'echo "$AWS_BATCH_JOB_ARRAY_INDEX/$AWS_BATCH_JOB_ARRAY_SIZE" "$@"', "sh", "a b", "*", "$x", "c,d"]


@pytest.mark.parametrize("shell", [["dash"], ["bash"], ["busybox", "sh"]])
def test_each_container_gets_its_original_index_and_the_whole_command(shell) -> None:
    original = [3, 7, 8, 9, 12, 9998, 9999]
    command = Shards(original, 10_000, _SHOW).wrapped
    assert command[0] == "sh"
    seen = [
        subprocess.run(
            [*shell, *command[1:]],
            env={"PATH": os.environ["PATH"], "AWS_BATCH_JOB_ARRAY_INDEX": str(number), "AWS_BATCH_JOB_ARRAY_SIZE": "7"},
            capture_output=True, text=True, check=True,
        ).stdout
        for number in range(len(original))
    ]  # fmt: skip
    assert seen == [f"{index}/10000 a b * $x c,d\n" for index in original]


def test_a_plain_job_is_the_first_of_its_list() -> None:
    command = Shards([12], 20, _SHOW).wrapped
    child = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True)
    assert child.stdout == "12/20 a b * $x c,d\n"
