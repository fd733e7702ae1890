from __future__ import annotations

import pytest

from dockerutils.core.errors import DockerutilsError
from dockerutils.core.tasks import Task


def fail(error: BaseException) -> None:
    raise error


def test_a_result_can_be_asked_for_more_than_once() -> None:
    task = Task(lambda: 7)
    assert (task.result(), task.result(), task.failure()) == (7, 7, None)


def test_a_failure_is_returned_and_raised() -> None:
    error = DockerutilsError("so it is; do so")
    task = Task(lambda: fail(error))
    assert task.failure() is error
    with pytest.raises(DockerutilsError):
        task.result()


def test_what_is_no_failure_of_the_users_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        Task(lambda: fail(ZeroDivisionError())).failure()
