"""Work in a thread of its own, whose result or error is asked for later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from dockerutils.core.errors import DockerutilsError

T = TypeVar("T")


class Task(Generic[T]):
    """A call that has begun."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._error = error

    def result(self) -> T:
        """Wait for it, and return what it returned, or raise what it raised."""
        self._thread.join()
        if self._error:
            raise self._error
        return self._result[0]

    def failure(self) -> DockerutilsError | None:
        """Wait for it, and return the failure that it ended with, None when it came to its end."""
        try:
            self.result()
        except DockerutilsError as error:
            return error
        return None
