"""All or nothing: what a run has made is taken away again when the run fails, or is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from dockerutils.core import console, process
from dockerutils.core.errors import DockerutilsError, Terminated


class Step(NamedTuple):
    """How to take one thing away: `remove` returns what that was, nothing when there was none.

    `what` names it, and `by_hand` returns the line that removes it, for the case that `remove` fails.
    """

    what: str
    by_hand: Callable[[], str]
    remove: Callable[[], str]


class Undo:
    """The things that a run makes."""

    def __init__(self) -> None:
        self._steps: list[Step] = []

    def add(self, what: str, by_hand: Callable[[], str], remove: Callable[[], str]) -> None:
        """Note how to take a thing away; see Step."""
        self._steps.append(Step(what, by_hand, remove))

    @contextmanager
    def making(self, what: str, by_hand: Callable[[], str], remove: Callable[[], str]) -> Iterator[None]:
        """Note how to take away what the block makes: also when it fails, unless the error says that nothing was made.

        Signals wait for its end, so that it is known what was made.
        """
        self.add(what, by_hand, remove)
        with process.deferred_signals():
            try:
                yield
            except DockerutilsError as error:
                if error.is_final:
                    self._steps.pop()
                raise

    def run(self, command: str, done: str) -> None:
        """Take all of it away, what was made last first; tell what is gone, and what is left and how to remove it."""
        removed = []
        left = []
        for step in reversed(self._steps):
            try:
                removed.append(step.remove())
            except (DockerutilsError, OSError) as error:
                left.append((step, str(error)))
            except (KeyboardInterrupt, Terminated):
                left.append((step, "interrupted"))
        if any(removed):
            console.note(command, f"{done}: {', '.join(filter(None, removed))}")
        for step, reason in left:
            console.warn(command, f"{step.what} may be left: {reason}; to mend that, run: {step.by_hand()}")


@contextmanager
def all_or_nothing(command: str, done: str = "removed again") -> Iterator[Undo]:
    """Give what takes note of the things that the block makes; they are taken away unless it comes to its end.

    `done` is what is said of what was taken away.
    """
    undo = Undo()
    try:
        yield undo
    except BaseException:
        undo.run(command, done)
        raise
