"""Calls that AWS throttles: https://docs.aws.amazon.com/general/latest/gr/api-retries.html."""

from __future__ import annotations

import time
from typing import Any

from dockerutils.aws.errors import Refused
from dockerutils.aws.session import Call, Session

# Seconds before the first retry, before a retry at most, and for all retries.
PAUSE, LONGEST, PATIENCE = 1.0, 15.0, 90.0


def patient_call(session: Session, call: Call) -> Any:
    """Make a call; retry it, with growing pauses, while AWS throttles it."""
    pause, deadline = PAUSE, time.monotonic() + PATIENCE
    while True:
        try:
            return session.call(call)
        except Refused as error:
            if not error.is_throttled or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)
