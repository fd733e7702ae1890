"""Retries: pauses that grow, warnings, and an end."""

from __future__ import annotations

import pytest

from dockerutils.core import retries
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.retries import TemporaryFailure


class _Action:
    """Raises its errors one after the other, then returns a value."""

    def __init__(self, *errors: DockerutilsError) -> None:
        self.errors = list(errors)

    def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """Return the pauses made, without waiting."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", made.append)
    return made


def test_each_temporary_failure_is_followed_by_a_longer_pause_and_shown(pauses) -> None:
    warnings: list[str] = []
    action = _Action(*(TemporaryFailure(f"r answers {n}; try again later") for n in (500, 502, 503)))
    assert retries.retry(action, warnings.append) == "done"
    assert pauses == [1, 4, 15]
    assert warnings == [
        "r answers 500; trying again in 1 s (1 of 3)",
        "r answers 502; trying again in 4 s (2 of 3)",
        "r answers 503; trying again in 15 s (3 of 3)",
    ]


def test_the_last_failure_is_raised(pauses) -> None:
    with pytest.raises(TemporaryFailure, match=r"^3$"):
        retries.retry(_Action(*(TemporaryFailure(str(n)) for n in range(9))), lambda _: None)
    assert len(pauses) == 3


def test_the_other_side_can_ask_for_a_longer_pause_up_to_a_minute(pauses) -> None:
    action = _Action(TemporaryFailure("a", retry_after=7), TemporaryFailure("b", retry_after=9999))
    retries.retry(action, lambda _: None)
    assert pauses == [7, 60]


def test_other_errors_are_not_tried_again(pauses) -> None:
    with pytest.raises(DockerutilsError):
        retries.retry(_Action(DockerutilsError("x")), lambda _: None)
    assert pauses == []
