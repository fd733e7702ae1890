"""Try an action again after a temporary failure, with growing pauses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from dockerutils.core.errors import DockerutilsError

T = TypeVar("T")

PAUSES = (1.0, 4.0, 15.0)  # seconds before each new attempt
_LONGEST = 60.0  # seconds that the other side can ask for


class TemporaryFailure(DockerutilsError):
    """A temporary failure. `retry_after` is the pause that the other side asks for, in seconds."""

    def __init__(self, message: str, *, status: int = 1, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


def retry(action: Callable[[], T], warn: Callable[[str], None]) -> T:
    """Return the action's result. After a TemporaryFailure, warn, pause and try again, once for each of PAUSES."""
    for attempt, pause in enumerate(PAUSES, 1):
        try:
            return action()
        except TemporaryFailure as failure:
            seconds = max(pause, min(failure.retry_after, _LONGEST))
            cause = str(failure).partition("; ")[0]
            warn(f"{cause}; trying again in {seconds:g} s ({attempt} of {len(PAUSES)})")
            time.sleep(seconds)
    return action()
