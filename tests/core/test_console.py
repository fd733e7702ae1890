"""Tables, and color only on a terminal."""

from __future__ import annotations

import sys

import pytest

from dockerutils.core import console


def test_table() -> None:
    assert console.table(("A", "BB"), [("xx", ""), ("y", "z")]) == "A   BB\nxx\ny   z"


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"),
    [(True, "", True), (True, "1", False), (False, "", False)],
)
def test_colour(terminal: bool, no_color: str, coloured: bool, capsys, monkeypatch) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    console.warn("x", "careful")
    console.fail("x", "bad")
    console.echo("docker ps")
    assert ("\x1b[" in capsys.readouterr().err) is coloured


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 seconds"),
        (1.9, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (2 * 3600 - 1, "1 hour"),
        (400 * 86400, "400 days"),
    ],
)
def test_age(seconds, text) -> None:
    assert console.age(seconds) == text
