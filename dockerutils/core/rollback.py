"""All or nothing: when a command fails or is interrupted, what it created is removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from dockerutils.core import console, process
from dockerutils.core.errors import DockerutilsError, Terminated


class Step(NamedTuple):
    """How to remove one thing: `remove` returns what it removed, nothing if there was nothing.

    `what` names the thing, and `remedy` returns the command line that removes it, for when `remove` fails.
    """

    what: str
    remedy: Callable[[], str]
    remove: Callable[[], str]


class Rollback:
    """Records what a command creates. `is_incomplete` is set when a step of the rollback fails."""

    def __init__(self) -> None:
        self.is_incomplete = False
        self._steps: list[Step] = []

    def add(self, what: str, remedy: Callable[[], str], remove: Callable[[], str]) -> None:
        """Record how to remove a thing; see Step."""
        self._steps.append(Step(what, remedy, remove))

    def forget(self) -> None:
        """Keep what has been recorded: from here on it is not undone."""
        self._steps.clear()

    @contextmanager
    def making(self, what: str, remedy: Callable[[], str], remove: Callable[[], str]) -> Iterator[None]:
        """Record what the block creates, also when the block raises, unless the error says that nothing was created.

        Signals are deferred until the block ends, so that its outcome is known.
        """
        self.add(what, remedy, remove)
        with process.deferred_signals():
            try:
                yield
            except DockerutilsError as error:
                if error.is_final:
                    self._steps.pop()
                raise

    def run(self, command: str, done: str) -> None:
        """Remove everything, the newest first; report what was removed, and how to remove what could not be."""
        removed = []
        failed = []
        for step in reversed(self._steps):
            try:
                removed.append(step.remove())
            except (DockerutilsError, OSError) as error:
                failed.append((step, str(error)))
            except (KeyboardInterrupt, Terminated):
                failed.append((step, "interrupted"))
            self.is_incomplete = bool(failed)
        if any(removed):
            console.note(command, f"{done}: {', '.join(filter(None, removed))}")
        for step, reason in failed:
            console.warn(command, f"not {done}: {step.what}: {reason}; run: {step.remedy()}")


@contextmanager
def all_or_nothing(command: str, done: str = "removed") -> Iterator[Rollback]:
    """Run a block that records what it creates; if it raises, remove that.

    `done` is the word for it in the report.
    """
    rollback = Rollback()
    try:
        yield rollback
    except BaseException:
        rollback.run(command, done)
        raise
