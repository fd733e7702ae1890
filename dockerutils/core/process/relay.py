"""Output of children that comes from other hosts: shown as it comes, with control characters escaped."""

from __future__ import annotations

import codecs
import os
import select
import threading
from contextlib import suppress

from dockerutils.core import console

_CHUNK = 1 << 16
_PAUSE = 0.02  # seconds between two looks at whether the child has ended
_KEPT = 1 << 16  # characters


class Relay:
    """A pipe for a child to write to, and a thread that shows on stderr what comes out of it.

    What the child has started in the background can keep the pipe open: `finish` does not wait for its end.
    """

    def __init__(self) -> None:
        self._input, self.output = os.pipe()
        os.set_blocking(self._input, False)
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._show)
        self._text = ""

    def start(self) -> None:
        """Show what is written until `finish`."""
        self._thread.start()

    def finish(self) -> str:
        """Show what the child wrote before it ended, close the pipe, and return the last characters of its output."""
        self._has_ended.set()
        if self._thread.ident:
            self._thread.join()
        os.close(self._input)
        os.close(self.output)
        return self._text

    def _show(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        is_last = False
        while not is_last:
            is_last = self._has_ended.is_set()
            select.select([self._input], [], [], 0 if is_last else _PAUSE)
            # ssh makes a pipe non-blocking, also for the rsync that shares it: rsync would fail when it is full.
            os.set_blocking(self.output, True)
            with suppress(BlockingIOError):
                text = decoder.decode(os.read(self._input, _CHUNK))
                self._text = (self._text + text)[-_KEPT:]
                with suppress(OSError):  # our stderr is closed
                    console.relay(text)
