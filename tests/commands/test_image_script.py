"""image-script: a script out of an image, run on the host."""

from __future__ import annotations

import os
import subprocess

import pytest

from dockerutils.commands.image_script import main
from tests.support import call, script, write_tree

SCRIPT = """\
#!/bin/bash
# Bash it is: an array.
words=("$0" "$#" "$@")
printf '%s|' "${words[@]}"
cat marker
exit 7

"""


@pytest.fixture
def tools(engine, tmp_path):
    """Build a utility image, as a project's docker/tools, in a directory with a marker beside it."""
    root = write_tree(
        tmp_path / "suite",
        {
            "docker/tools/Dockerfile": "FROM local/busybox\nCOPY script /usr/tools/script\n",
            "script": SCRIPT,
            "marker": "on the host\n",
        },
    )
    assert script("build-image", "tools", directory=root).status == 0
    yield root
    engine.docker("image", "rm", "suite-tools:alice")


@pytest.mark.parametrize("image", ["tools", "suite-tools:alice"])
def test_it_runs_on_the_host_with_its_arguments(tools, image) -> None:
    outcome = script("image-script", image, "/usr/tools/script", "-x", "a b", "--", "$HOME", directory=tools)
    assert (outcome.status, outcome.out) == (7, "/usr/tools/script|4|-x|a b|--|$HOME|on the host\n")
    assert outcome.echoed == [
        'bash -c "$(docker run --rm --entrypoint cat suite-tools:alice -- /usr/tools/script)"'
        " /usr/tools/script -x 'a b' -- '$HOME'"
    ]
    pasted = subprocess.run(["sh", "-c", outcome.echoed[0]], cwd=tools, capture_output=True, text=True, check=False)
    assert (pasted.returncode, pasted.stdout) == (7, outcome.out)


def test_dry_run(tmp_path, capfd) -> None:
    outcome = call(main, "--dry-run", "org/tools:1", "/x", "--dry-run", directory=tmp_path, capfd=capfd)
    assert outcome == (0, 'bash -c "$(docker run --rm --entrypoint cat org/tools:1 -- /x)" /x --dry-run\n', "")


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["local/busybox", "/absent"], 1, "/absent cannot be read in local/busybox: cat: can't open '/absent': No such file or directory; correct the path"),
        (["local/busybox", "/bin/busybox"], 1, "/bin/busybox in local/busybox is no script: it holds NUL characters; name a text file"),
        (["A b", "/x"], 2, "'A b' is not a valid image name; write it as [registry/]name in lower case"),
    ],
)  # fmt: skip
def test_errors(engine, tmp_path, capfd, argv, status, message) -> None:
    assert call(main, *argv, directory=tmp_path, capfd=capfd) == (status, "", f"image-script: {message}\n")


def test_no_engine(tmp_path, capfd) -> None:
    outcome = call(main, "a", "/x", directory=tmp_path, capfd=capfd)
    assert (outcome.status, outcome.out, outcome.err) == (
        1,
        "",
        f"image-script: no Docker Engine answers at {os.environ['DOCKER_HOST']}; "
        "start it, or point DOCKER_HOST or docker context use at one that runs\n",
    )
