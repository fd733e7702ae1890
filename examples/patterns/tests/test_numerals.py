"""Numerals, as they stand on monuments."""

import pytest
from roman.numerals import roman


@pytest.mark.parametrize(("number", "numeral"), [(1, "I"), (4, "IV"), (1888, "MDCCCLXXXVIII"), (2026, "MMXXVI")])
def test_a_number_is_written(number: int, numeral: str) -> None:
    """Subtraction comes once at most in each place."""
    assert roman(number) == numeral
