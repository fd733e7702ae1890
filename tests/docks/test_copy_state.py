"""The state of a copy, as a dock reports it."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from dockerutils.docks import copy_state
from dockerutils.docks.copy_state import State

ANSWER = """\
clock=1000
has=rsync
has=copy
has=docker
origin=laptop:/home/alice/my app
missing=0
missing=2
missing=x
run=alice_dev_1
run=alice_dev_2
running=alice_dev_2
running=other
has=access
"""


def test_an_answer() -> None:
    runs = ("alice_dev_1", "alice_dev_2")
    expected = State(True, True, True, True, "laptop:/home/alice/my app", runs, ("alice_dev_2",), 0, (0, 2))
    assert copy_state.parse(ANSWER, 999.5, 1001.5) == expected


def test_shards_of_a_run_that_still_run() -> None:
    answer = "run=alice_dev_1\nrun=alice_dev_2\nrunning=alice_dev_1-17\nrunning=alice_dev_2-x\n"
    assert copy_state.parse(answer, 0.0, 0.0).running == ("alice_dev_1",)


@pytest.mark.parametrize(
    ("clock", "before", "after", "ahead"),
    [
        ("1000", 1000.0, 1000.1, 0),
        ("1000", 1001.9, 1002.5, 0),
        ("1000", 960.0, 999.0, 0),
        ("1000", 900.5, 900.6, 100),
        ("1000", 1100.5, 1100.9, -100),
        ("", 0.0, 0.0, 0),
        ("9" * 5000, 0.0, 0.0, 0),
        ("-1", 0.0, 0.0, 0),
    ],
)
def test_clocks(clock, before, after, ahead) -> None:
    assert copy_state.parse(f"clock={clock}\n", before, after).ahead == ahead


@pytest.mark.parametrize("text", ["", "\n=\n", "run=../../x\nrun=-rf\nrun=\nrunning=\n", "has\nhas=\n\x1b[2J\n"])
def test_an_answer_that_makes_no_sense_is_that_of_an_empty_host(text) -> None:
    assert copy_state.parse(text, 0, 0) == State()


def test_a_long_line_is_cut() -> None:
    assert len(copy_state.parse("origin=" + "x" * 100_000, 0, 0).origin) < 5000


@pytest.mark.parametrize("name", ["app", "my $(app)", "it's"])
def test_the_mark_is_written_by_any_shell(tmp_path, name) -> None:
    path = str(tmp_path / name)
    option = copy_state.claim(path, "/home/my app\\n", "alice_dev_1").removeprefix("--rsync-path=")
    subprocess.run(["sh", "-c", option.removesuffix("exec rsync") + "true"], check=True)
    directory = tmp_path / name / ".dockerutils"
    assert (directory / "origin").read_text() == copy_state.origin("/home/my app\\n")
    assert (directory / "run-alice_dev_1").exists()
    subprocess.run(["sh", "-c", copy_state.release(path, ("alice_dev_1",))], check=True)
    assert [each.name for each in directory.iterdir()] == ["origin"]
    assert shlex.quote(str(directory)) in option


def test_directories_are_created_by_any_shell_where_there_is_nothing(tmp_path) -> None:
    path = str(tmp_path / "my $(app)")
    directories = ["out", "it's/b c", "file", "link"]
    for _ in range(2):
        option = copy_state.claim(path, "/home/app", directories=directories).removeprefix("--rsync-path=")
        subprocess.run(["sh", "-c", option.removesuffix("exec rsync") + "true"], check=True)
        assert (tmp_path / "my $(app)/out").is_dir()
        (tmp_path / "my $(app)/file").rmdir()
        (tmp_path / "my $(app)/file").touch()
        (tmp_path / "my $(app)/link").rmdir()
        (tmp_path / "my $(app)/link").symlink_to("nowhere")
        subprocess.run(["sh", "-c", option.removesuffix("exec rsync") + "true"], check=True)
        (tmp_path / "my $(app)/file").unlink()
        (tmp_path / "my $(app)/link").unlink()
    assert (tmp_path / "my $(app)/it's/b c").is_dir()
