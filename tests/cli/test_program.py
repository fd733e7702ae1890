"""Conventions for parsers, and how an exception becomes a message and a status."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dockerutils.cli import parser, program, signals
from dockerutils.core.errors import CommandFailed, DockerutilsError, Terminated, UserError
from tests.support import Outcome, script, write_tree
from tests.test_architecture import COMMANDS

SCRIPTS = [command.replace("_", "-") for command in COMMANDS]


def _parser() -> program.Parser:
    parser = program.Parser("x", "What it does.", "  x y")
    parser.add_argument("--long-option")
    parser.add_argument("-f", "--flag-it", action="store_true")
    parser.add_argument("-a", "--args")
    parser.add_argument("dock", nargs="?")
    parser.add_command("WORD ...", "the command")
    return parser


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        pytest.param(["--long_option", "a_b"], {"long_option": "a_b"}, id="underscores"),
        pytest.param(["--long_option=--a_b"], {"long_option": "--a_b"}, id="with ="),
        pytest.param(["--flag_it"], {"flag_it": True}, id="flag"),
        pytest.param(["-a", "--long_option x"], {"args": "--long_option x"}, id="value with spaces"),
        pytest.param(["-a", "--privileged"], {"args": "--privileged"}, id="value like an option"),
        pytest.param(["-a", ""], {"args": ""}, id="empty value"),
        pytest.param(["-aX"], {"args": "X"}, id="attached value"),
        pytest.param(["-f", "--", "-f", "--", "y"], {"flag_it": True, "rest": ["-f", "--", "y"]}, id="rest"),
        pytest.param(["--"], {"rest": []}, id="empty rest"),
        pytest.param([], {"rest": None}, id="no rest"),
        pytest.param(["d"], {"dock": "d", "rest": None}, id="an argument"),
        pytest.param(["d", "c", "-f"], {"dock": "d", "rest": ["c", "-f"], "flag_it": False}, id="a command"),
        pytest.param(["d", "-f", "c", "--", "x"], {"flag_it": True, "rest": ["c", "--", "x"]}, id="option, command"),
        pytest.param(["-fa", "1", "d", "-"], {"flag_it": True, "args": "1", "rest": ["-"]}, id="a cluster, a dash"),
        pytest.param(["-fa=1", "d", "-ac", ""], {"args": "c", "rest": [""]}, id="attached values, an empty word"),
    ],
)
def test_parse(argv: list[str], expected: dict[str, object]) -> None:
    args = vars(_parser().parse(argv))
    assert {key: args[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("argv", "advice"),
    [
        (["--lnog-option"], "; did you mean --long-option?"),
        (["--flag_ti"], "; did you mean --flag-it?"),
        (["--zzz"], ""),
    ],
)
def test_the_option_that_an_unknown_one_resembles(argv: list[str], advice: str, capsys) -> None:
    assert program.main(_parser(), lambda _: None, argv) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"x: error: unrecognized arguments: {argv[0]}{advice}"


def test_the_status_stays_if_the_message_cannot_be_written(monkeypatch) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def handle(_: object) -> None:
        raise UserError("bad; fix it")

    monkeypatch.setattr(sys, "stderr", Full())
    assert program.main(_parser(), handle, []) == 2


@pytest.mark.parametrize("argv", [["-a"], ["--nope"], ["--long"], ["-x"], ["d", "-x", "c"], ["d", "-1"]])
def test_bad_usage_is_status_2(argv: list[str], capsys) -> None:
    assert program.main(_parser(), lambda _: None, argv) == 2
    assert "usage: x" in capsys.readouterr().err


def test_help_has_a_description_the_rest_and_examples(capsys) -> None:
    assert program.main(_parser(), lambda _: None, ["-h"]) == 0
    out = capsys.readouterr().out
    assert "[dock] [[--] WORD ...]\n\nWhat it does.\n" in out
    assert out.endswith("examples:\n  x y\n")


def test_version(capsys) -> None:
    assert program.main(_parser(), lambda _: None, ["--version"]) == 0
    assert capsys.readouterr().out == f"x {parser.version()}\n"


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        pytest.param(UserError("bad; fix it"), 2, "x: bad; fix it\n", id="user"),
        pytest.param(DockerutilsError("bad; fix it"), 1, "x: bad; fix it\n", id="other"),
        pytest.param(CommandFailed(125), 125, "", id="child"),
        pytest.param(KeyboardInterrupt(), 130, "", id="Ctrl-C"),
        pytest.param(Terminated(signal.SIGTERM), 143, "", id="TERM"),
        pytest.param(Terminated(signal.SIGHUP), 129, "", id="HUP"),
        pytest.param(
            OSError(errno.ENOSPC, "No space left on device", "f"),
            1,
            "x: f: No space left on device; free some space on the disk\n",
            id="full disk",
        ),
        pytest.param(
            OSError(errno.EIO, "Input/output error"),
            1,
            "x: Input/output error; fix this and try again\n",
            id="other system error",
        ),
    ],
)
def test_from_exception_to_message_and_status(error: BaseException, status: int, message: str, capsys) -> None:
    def handle(_: object) -> None:
        raise error

    assert program.main(_parser(), handle, []) == status
    assert capsys.readouterr() == ("", message)


_INTERRUPTS_IMPORT = """
import signal
import sys


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "argparse" and "dockerutils.commands" in sys.modules:
            signal.raise_signal(signal.SIGINT)


sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("command", ["run-image", "dock-environment", "dockerutils"])
def test_interrupt_during_import_draws_no_traceback(command: str, tmp_path: Path) -> None:
    write_tree(tmp_path, {"sitecustomize.py": _INTERRUPTS_IMPORT})
    outcome = script(command, "-h", directory=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert outcome == Outcome(-signal.SIGINT, "", "")


def test_a_burst_of_signals_is_one() -> None:
    calls = []

    def handle(_: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            calls.append("cleaned up")

    assert program.main(_parser(), handle, []) == 143
    assert calls == ["cleaned up"]


def test_a_later_signal_interrupts_the_cleanup(monkeypatch) -> None:
    monkeypatch.setattr(signals, "BURST", 0.0)

    def handle(_: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGHUP)

    assert program.main(_parser(), handle, []) == 129


@pytest.mark.parametrize("command", SCRIPTS)
def test_closed_standard_streams_are_like_dev_null(command: str, make_project) -> None:
    root = make_project({}).root
    path = Path(sys.executable).parent / command
    for arguments, closed in (("--dry-run dev", ">&-"), ("", "<&- 2>&-"), ("dev", "<&- >&-"), ("dev", "<&- >&- 2>&-")):
        lines = [f"{path} {arguments} {each}" for each in (closed, closed.replace("&-", "/dev/null"))]
        children = [
            subprocess.run(["sh", "-c", line], cwd=root, capture_output=True, text=True, timeout=60, check=False)
            for line in lines
        ]
        assert children[0].returncode == children[1].returncode, lines[0]
        assert "Traceback" not in children[0].stderr, lines[0]
        assert children[0].stdout == children[1].stdout, lines[0]


def test_signal_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    program.main(_parser(), lambda _: None, [])
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        handlers: list[object] = []
        program.main(_parser(), lambda _: handlers.append(signal.getsignal(signal.SIGHUP)), [])
        assert handlers == [signal.SIG_IGN]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closed_pipe_draws_no_traceback() -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from dockerutils.commands.dockerutils import main; sys.exit(main([]))",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == ""
    assert child.returncode == 141


def test_the_current_directory_was_removed(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert program.main(_parser(), lambda _: print(program.project()), []) == 1
    assert capsys.readouterr().err == "x: the current directory was removed; change to one that exists\n"


def test_the_version_in_an_image_is_that_of_its_version_file(tmp_path, monkeypatch) -> None:
    import types

    module = types.ModuleType("dockerutils._version")
    module.get_versions = lambda: {"version": "1.2.3"}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dockerutils._version", module)
    assert parser.version() == "1.2.3"
