"""Suggestions for misspelled words."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], *, at_least: float = 0.6) -> str:
    """Return the known word that resembles `word` most, an empty string if none does.

    `at_least` is the resemblance that counts, from 0 to 1: the ratio of difflib.
    """
    import difflib  # late: only mistakes need it

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=at_least)), "")
