"""Rollback: the newest is removed first; what cannot be removed is reported, with the command that does it."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable

import pytest

from dockerutils.aws.errors import Refused
from dockerutils.core.errors import DockerutilsError, Terminated
from dockerutils.core.rollback import Rollback, all_or_nothing


def _raise(error: BaseException) -> str:
    raise error


def test_nothing_happens_when_all_went_well(capfd) -> None:
    with all_or_nothing("it") as rollback:
        rollback.add("a", lambda: "rm a", lambda: _raise(AssertionError()))
    assert capfd.readouterr() == ("", "")


def _fail(error: BaseException, *steps: tuple[str, Callable[[], str]], done: str = "removed") -> None:
    with all_or_nothing("it", done) as rollback:
        for name, remove in steps:
            rollback.add(name, functools.partial("rm {}".format, name), remove)
        raise error


def test_what_was_made_last_goes_first(capfd) -> None:
    steps = [(name, lambda name=name: name) for name in ("a", "", "b")]
    with pytest.raises(DockerutilsError, match=r"^no$"):
        _fail(DockerutilsError("no"), *steps, done="gone")
    assert capfd.readouterr().err == "it: gone: b, a\n"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DockerutilsError("refused"), "refused"),
        (OSError("full"), "full"),
        (KeyboardInterrupt(), "interrupted"),
        (Terminated(15), "interrupted"),
    ],
)
def test_what_cannot_be_removed_is_reported(error, reason, capfd) -> None:
    with pytest.raises(KeyboardInterrupt):
        _fail(KeyboardInterrupt(), ("a", lambda: "a"), ("b", lambda: _raise(error)))
    assert capfd.readouterr().err == (f"it: removed: a\nit: warning: not removed: b: {reason}; run: rm b\n")


@pytest.mark.parametrize(
    ("error", "is_undone"),
    [
        (Refused("no", "UnauthorizedOperation"), False),
        (Refused("no", "InternalError"), True),
        (Refused("no", "Unavailable"), True),
        (Refused("no", "InvalidGroup.Duplicate"), True),
        (DockerutilsError("cut off"), True),
    ],
)
def test_what_aws_has_refused_was_not_made(error, is_undone, capfd) -> None:
    with pytest.raises(DockerutilsError), all_or_nothing("it") as rollback, rollback.making("a", str, lambda: "a"):
        raise error
    assert capfd.readouterr().err == ("it: removed: a\n" if is_undone else "")


def _interrupted(made: list[str]) -> None:
    with all_or_nothing("it") as rollback, rollback.making("a", str, lambda: " ".join(made)):
        os.kill(os.getpid(), signal.SIGINT)
        made.append("a")


def test_a_later_step_knows_that_one_has_failed() -> None:
    known: list[bool] = []
    rollback = Rollback()

    def remember() -> str:
        known.append(rollback.is_incomplete)
        return ""

    rollback.add("record", str, remember)
    rollback.add("thing", lambda: "rm thing", lambda: _raise(OSError("full")))
    rollback.add("other", str, remember)
    rollback.run("it", "removed")
    assert known == [False, True]


def test_a_signal_waits_until_it_is_known_what_was_made(capfd) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            _interrupted([])
    finally:
        signal.signal(signal.SIGINT, before)
    assert capfd.readouterr().err == "it: removed: a\n"
