"""Signals that end a command, and the exit statuses that say so."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dockerutils.core.errors import Terminated
from dockerutils.core.process import spawn

BURST = 0.5  # seconds after a signal in which further ones are ignored
INTERRUPTED, BROKEN_PIPE = 128 + signal.SIGINT, 128 + signal.SIGPIPE


@contextmanager
def as_exceptions() -> Iterator[None]:
    """Make SIGINT raise KeyboardInterrupt in the block, and the other signals Terminated.

    Signals that are ignored, as under nohup, stay ignored. After a signal, further ones are ignored for a moment: a
    burst of Ctrl-C would break off the cleanup of children before it defers signals.
    """
    latest = -BURST

    def interrupt(signum: int, _: FrameType | None) -> None:
        nonlocal latest
        if time.monotonic() < latest + BURST:
            return
        latest = time.monotonic()
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated(signum)

    current = {each: signal.getsignal(each) for each in spawn.SIGNALS}
    # Whoever calls a command from Python may have a SIGINT handler.
    if current[signal.SIGINT] not in (signal.SIG_DFL, signal.default_int_handler):
        del current[signal.SIGINT]
    before = {each: signal.signal(each, interrupt) for each, handler in current.items() if handler != signal.SIG_IGN}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
