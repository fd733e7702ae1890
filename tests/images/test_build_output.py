"""What builds that run at the same time show."""

from __future__ import annotations

from contextlib import redirect_stderr

from dockerutils.core.errors import CommandFailed
from dockerutils.core.process import STDERR, STDOUT, Command
from dockerutils.core.process.jobs import Failure, Job
from dockerutils.images.build_output import LiveLines, PrefixedLines

COMMAND = Command(["docker", "build", "."])
RULE = "=" * 80
WEB, API = Job("web", [COMMAND]), Job("api", [COMMAND])


def test_a_name_that_is_not_utf_8(capfd) -> None:
    output = PrefixedLines(to_stderr=False)
    output.write(Job("\udcff\n", [COMMAND]), STDOUT, b"x\n")
    assert capfd.readouterr().out == "[\\udcff\\n] x\n"


def test_lines_are_whole_and_prefixed(capfdbinary) -> None:
    output = PrefixedLines(to_stderr=False)
    output.write(WEB, STDERR, b"#7 [2/3] R")
    output.write(API, STDERR, b"#1 api\r\n#2 \xff")
    output.write(WEB, STDOUT, b"sha256:1")
    output.write(WEB, STDERR, b"UN x\n\n")
    output.end(WEB, None)
    output.begin(API, COMMAND)
    out, err = capfdbinary.readouterr()
    assert out == b"[web] sha256:1\n"
    assert err == (f"[api] #1 api\n[web] #7 [2/3] RUN x\n[web] \n[api] #2 \udcff\n\n{RULE}\ndocker build .\n\n").encode(
        errors="surrogateescape"
    )


def test_everything_can_go_to_stderr(capfdbinary) -> None:
    output = PrefixedLines(to_stderr=True)
    output.write(WEB, STDOUT, b"x\n")
    assert capfdbinary.readouterr() == (b"", b"[web] x\n")


def test_a_terminal_has_one_line_per_build_and_the_output_of_what_failed(clock, terminal, monkeypatch, capsys) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with redirect_stderr(terminal):
        output = LiveLines(to_stderr=False)
        output.begin(WEB, COMMAND)
        output.begin(API, COMMAND)
        output.write(WEB, STDERR, b"#1 one\n#2 \x1b[31mt")
        output.write(WEB, STDERR, b"wo\n")
        output.write(API, STDOUT, b"sha256:1\n")
        output.refresh()
        clock[0] += 1.25
        output.end(API, None)
        output.end(WEB, Failure(WEB, 0, CommandFailed(3)))
    echo = f"\n{RULE}\ndocker build .\n\n"
    assert terminal.getvalue().split("\x1b[") == [
        f"{echo}{echo}web: 0 s  #2 \\x1b[31mtwo\n",
        "1F", "Jweb: 0 s  #2 \\x1b[31mtwo\napi: 0 s  sha256:1\n",
        "2F", "Japi: done in 1.2 s\nweb: 0 s  #2 \\x1b[31mtwo\n",
        "1F", "Jweb: 0 s  #2 \\x1b[31mtwo\n",
        "1F", "Jweb: failed after 1.2 s\n#1 one\n#2 ",
        "31mtwo\n",
    ]  # fmt: skip
    assert capsys.readouterr().out == "[api] sha256:1\n"
