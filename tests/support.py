"""Shared by the tests: file trees, and commands called in this process."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import pexpect
import pytest

T = TypeVar("T")
# Run a test with `each_engine` on all three engines, because it depends on the image store and the builder.
each_store = pytest.mark.parametrize("each_engine", ["classic", "overlay2", "containerd"], indirect=True)
_ROOT = Path(__file__).parents[1]
Main = Callable[[list[str]], int]


class Outcome(NamedTuple):
    """The result of a command: status, stdout, stderr."""

    status: int
    out: str
    err: str

    @property
    def echoed(self) -> list[str]:
        """The command lines that were printed before they were executed."""
        lines = self.err.splitlines()
        rule = "=" * 80
        return [lines[n + 1] for n, line in enumerate(lines) if line == rule and lines[n - 1] == lines[n + 2] == ""]


class Terminal(io.TextIOWrapper):
    """A stream that is a terminal, with a buffer for bytes as stderr has it."""

    def __init__(self) -> None:
        self._written = io.BytesIO()
        super().__init__(self._written, "utf-8", write_through=True)

    def isatty(self) -> bool:
        """Say so."""
        return True

    def getvalue(self) -> str:
        """Return what was written."""
        return self._written.getvalue().decode()


def write_tree(root: Path, files: Mapping[str, str]) -> Path:
    """Write files by their path under `root`; dedent their text."""
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return root


def program(path: Path, script: str) -> Path:
    """Write a shell script that can be run, and return its path."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def answering_docker(directory: Path, version: str, buildx: str) -> str:
    """Write a docker whose `docker version` and `docker buildx` run these lines of shell, and return a PATH with it."""
    program(directory / "docker", f"case $1 in version) {version};; buildx) {buildx};; *) exit 9;; esac")
    return f"{directory}:/bin:/usr/bin"


def clone(directory: Path) -> Path:
    """Clone this project into `directory`, with uncommitted changes, without files that git ignores."""
    subprocess.run(["git", "clone", "--quiet", _ROOT, directory], check=True)
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, subprocess.check_output(listing, cwd=_ROOT, text=True).split("\0")):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        if (_ROOT / name).exists():
            shutil.copy2(_ROOT / name, directory / name)
        else:
            (directory / name).unlink(missing_ok=True)
    return directory


def script(name: str, *argv: str, directory: Path, stdin: str = "", **options: Any) -> Outcome:
    """Run the console script `name` as a child, as a user would, with `stdin` in a pipe."""
    command = [str(Path(sys.executable).parent / name), *argv]
    child = subprocess.run(
        command, cwd=directory, input=stdin, capture_output=True, text=True, timeout=300, check=False, **options
    )
    return Outcome(child.returncode, child.stdout, child.stderr)


def wait_for(condition: Callable[[], T], seconds: float = 60) -> T:
    """Poll until `condition()` is true and return its value; AssertionError after the deadline."""
    began = time.monotonic()
    while not (value := condition()):
        passed = time.monotonic() - began
        assert passed < seconds, f"no result of {condition} within {seconds} s"
        # The longer it takes, the less an immediate answer matters; what is waited for needs the processor, too.
        time.sleep(min(0.01 + passed / 50, 0.1))
    return value


@contextmanager
def sleeping(env: Mapping[str, str] | None = None) -> Iterator[int]:
    """Yield the pid of a process that does nothing and ends with the block, if it was not killed before."""
    with subprocess.Popen(["sleep", "infinity"], env=env) as child:
        try:
            yield child.pid
        finally:
            child.kill()


def processes(*argv: str) -> list[int]:
    """Return the pids of processes on this machine, including containers, whose arguments are `argv`."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes() == b"".join(word.encode() + b"\0" for word in argv):
                found.append(int(pid))
    return found


def call(main: Main, *argv: str, directory: Path, capfd: pytest.CaptureFixture[str]) -> Outcome:
    """Call a command's `main` in `directory` and capture its output, including that of its children."""
    before = os.getcwd()
    os.chdir(directory)
    capfd.readouterr()
    try:
        status = main(list(argv))
    finally:
        os.chdir(before)
    out, err = capfd.readouterr()
    return Outcome(status, out, err)


class Child(subprocess.Popen[str]):
    """A child in a session of its own. It is killed if the block fails, because waiting for it could take for ever."""

    def __init__(self, argv: Sequence[str], **options: Any) -> None:
        super().__init__(argv, text=True, start_new_session=True, **options)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind and self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        super().__exit__(kind, error, trace)


def exit_status(child: pexpect.spawn[str]) -> int | None:
    """Wait for the end of a command on a terminal of its own, and return its exit status."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


def first_line(child: subprocess.Popen[str], seconds: float = 120) -> str:
    """Wait for the next line on the stdout of a child, which is killed after the deadline."""
    assert child.stdout
    deadline = threading.Timer(seconds, child.kill)
    deadline.start()
    try:
        return child.stdout.readline()
    finally:
        deadline.cancel()


class App:
    """A project and a command to call in it."""

    def __init__(self, main: Main, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._main = main
        self._capfd = capfd

    def write(self, files: Mapping[str, str]) -> None:
        """Write files of the project by their path."""
        write_tree(self.root, files)

    def __call__(self, *argv: str, directory: str = ".") -> Outcome:
        """Call the command in a directory of the project."""
        return call(self._main, *argv, directory=self.root / directory, capfd=self._capfd)
