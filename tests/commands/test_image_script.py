"""image-script: a script from an image, run on the host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


# Longer than Linux lets an argument be.
LONG = f"""\
read -r line
words=("$0" "$#" "$@" "$line")
: '{"x" * 200_000}'
(IFS="|"; echo "${{words[*]}}")
exit 5
"""


@pytest.fixture
def tools(each_engine, tmp_path):
    """Build a utility image, as a project's docker/tools, in a directory with a marker beside it."""
    root = write_tree(
        tmp_path / "suite",
        {
            "docker/tools/Dockerfile": "FROM local/busybox\nCOPY scripts /usr/tools\n",
            "scripts/script": SCRIPT,
            "scripts/it's $long": LONG,
            "marker": "on the host\n",
        },
    )
    (root / "scripts/latin1").write_bytes(b"echo 'caf\xe9 \x81'\n")
    assert script("build-image", "tools", directory=root).status == 0
    yield root
    each_engine.docker("image", "rm", "suite-tools:alice")


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


def _run_by_both(tools, path: str, *argv: str, stdin: bytes = b"") -> tuple[int, bytes]:
    """Run a script of the image, check that the printed line does the same, and return status and stdout."""
    command = [str(Path(sys.executable).parent / "image-script"), "tools", path, *argv]
    child = subprocess.run(command, cwd=tools, input=stdin, capture_output=True, timeout=300, check=False)
    line = child.stderr.split(b"\n")[2]
    pasted = subprocess.run([b"sh", b"-c", line], cwd=tools, input=stdin, capture_output=True, timeout=300, check=False)
    assert (pasted.returncode, pasted.stdout) == (child.returncode, child.stdout)
    return child.returncode, child.stdout


def test_bytes_stay_as_they_are(tools) -> None:
    assert _run_by_both(tools, "/usr/tools/latin1") == (0, b"caf\xe9 \x81\n")


def test_a_long_script_keeps_its_arguments_status_and_stdin(tools) -> None:
    argv = ["--dry_run", "-h", "a b", "$HOME"]
    path = "/usr/tools/it's $long"
    assert _run_by_both(tools, path, *argv, stdin=b"typed\n") == (
        5,
        f"{path}|4|--dry_run|-h|a b|$HOME|typed\n".encode(),
    )


def test_arguments_of_the_script_stay_as_they_are(tmp_path, capfd) -> None:
    argv = ["--dry_run", "org/tools:1", "/x", "--dry_run", "--dry-run=a_b", "--help", "--", "--image_name=x"]
    outcome = call(main, *argv, directory=tmp_path, capfd=capfd)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.endswith(' -- /x)" /x --dry_run --dry-run=a_b --help -- --image_name=x\n')


def test_dry_run(tmp_path, capfd) -> None:
    outcome = call(main, "--dry-run", "org/tools:1", "/x", "--dry-run", directory=tmp_path, capfd=capfd)
    assert outcome == (0, 'bash -c "$(docker run --rm --entrypoint cat org/tools:1 -- /x)" /x --dry-run\n', "")


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["local/busybox", "/absent"], 1, "/absent cannot be read in local/busybox: cat: can't open '/absent': No such file or directory; correct the path"),
        (["local/busybox", "/bin/busybox"], 1, "/bin/busybox in local/busybox is not a script: it holds NUL characters; name a text file"),
        (["A b", "/x"], 2, "'A b' is not a valid image name; write it as [registry/]name in lower case"),
    ],
)  # fmt: skip
def test_errors(each_engine, tmp_path, capfd, argv, status, message) -> None:
    assert call(main, *argv, directory=tmp_path, capfd=capfd) == (status, "", f"image-script: {message}\n")


def test_no_engine(tmp_path, capfd) -> None:
    outcome = call(main, "a", "/x", directory=tmp_path, capfd=capfd)
    assert (outcome.status, outcome.out, outcome.err) == (
        1,
        "",
        f"image-script: no Docker Engine answers at {os.environ['DOCKER_HOST']}; "
        "start it, or point DOCKER_HOST or docker context use at one that runs\n",
    )
