"""Lists of the indices of shards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dockerutils.images import indices


@given(some.sets(some.integers(0, 9999), min_size=1))
def test_a_list_is_read_as_it_was_written(numbers) -> None:
    assert indices.parse(indices.listed(sorted(numbers)), max(numbers) + 1) == sorted(numbers)


def test_a_list_is_short() -> None:
    assert indices.listed([3, 7, 8, 9, 12, 13]) == "3,7-9,12-13"
    assert indices.listed(range(1, 10_000)) == "1-9999"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", [3]),
        ("7-9, 3,8", [3, 7, 8, 9]),
        ("9", [9]),
        ("10", []),
        ("3,8-10", []),
        ("2-1", []),
        ("1,", []),
        ("", []),
        ("-1", []),
        ("\u0661", []),
    ],
)
def test_all_parts_of_a_list_are_possible_or_there_is_none(text: str, expected: list[int]) -> None:
    assert indices.parse(text, 10) == expected
