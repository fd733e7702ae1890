from __future__ import annotations

import os
from contextlib import redirect_stderr

import pytest

from dockerutils.core.progress import Lines, Meter, amount
from tests.support import Terminal


def test_without_a_terminal_few_updates_are_printed(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for second in range(25):
        clock[0] = 100 + second
        lines.update("gpu", f"gpu at {second}")
    lines.update("cpu", "cpu at last")
    lines.end("gpu", "gpu is done")
    lines.end("cpu")
    assert capsys.readouterr().err == "gpu at 0\ngpu at 10\ngpu at 20\ncpu at last\ngpu is done\n"


def test_on_a_terminal_lines_are_redrawn_in_place(clock: list[float], terminal: Terminal) -> None:
    with redirect_stderr(terminal):
        lines = Lines()
        lines.update("gpu", "gpu 1")
        lines.update("gpu", "gpu too soon")
        lines.update("cpu", "cpu 1")
        clock[0] += 0.2
        lines.update("gpu", "gpu 2")
        lines.above(lambda: print("a warning", file=terminal))
        lines.end("gpu", "gpu is\x1b done")
        lines.end("cpu")
    assert terminal.getvalue().split("\x1b[") == [
        "gpu 1\n",
        "1F", "Jgpu 1\ncpu 1\n",
        "2F", "Jgpu 2\ncpu 1\n",
        "2F", "Ja warning\ngpu 2\ncpu 1\n",
        "2F", "Jgpu is\\x1b done\ncpu 1\n",
        "1F", "J",
    ]  # fmt: skip


def test_a_line_is_cut_to_the_width_of_the_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "fileno", lambda: 2)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((10, 5)))
    with redirect_stderr(terminal):
        Lines().update("gpu", "0123456789")
    assert terminal.getvalue() == "012345678\n"


def test_only_as_many_lines_as_the_terminal_has_are_live(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "fileno", lambda: 2)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((10, 3)))
    with redirect_stderr(terminal):
        lines = Lines()
        for name in "abcd":
            lines.update(name, name)
    assert terminal.getvalue().split("\x1b[")[-2:] == ["2F", "Ja\nb\n"]


def test_a_terminal_without_a_width(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> os.terminal_size:
        raise OSError

    monkeypatch.setattr(terminal, "fileno", lambda: 2)
    monkeypatch.setattr(os, "get_terminal_size", unknown)
    with redirect_stderr(terminal):
        Lines().update("gpu", "0" * 300)
    assert terminal.getvalue() == "0" * 300 + "\n"


def test_a_terminal_that_says_its_size_is_0(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "fileno", lambda: 2)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((0, 0)))
    with redirect_stderr(terminal):
        lines = Lines()
        lines.update("gpu", "gpu")
        lines.update("cpu", "0" * 300)
    assert terminal.getvalue().endswith("Jgpu\n" + "0" * 79 + "\n")


def test_a_meter_shows_bytes_rate_and_time_left(clock: list[float]) -> None:
    meter = Meter()
    assert meter.show(0, 4_000_000) == "sending 4.0 MB"
    assert meter.show(0, None) == "sending"
    meter.show(1, 4_000_000)
    clock[0] += 2
    assert meter.show(1_000_000, 4_000_000) == "[######..................] 1.0 MB of 4.0 MB at 500.0 kB/s, 0:06 left"
    assert meter.show(1_000_000, None) == "1.0 MB at 500.0 kB/s"
    assert meter.show(4_500_000, 4_000_000) == "[########################] 4.5 MB of 4.5 MB at 2.2 MB/s, 0:00 left"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_234_567, "1.2 MB"), (98_765_432_100, "98.8 GB")],
)
def test_an_amount_is_short(size: int, text: str) -> None:
    assert amount(size) == text
