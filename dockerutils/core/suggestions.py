"""Suggestions for misspelled words."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], *, at_least: float = 0.6) -> str:
    """Return the known word that is most similar to `word`, an empty string if none is similar enough.

    `at_least` is the minimum similarity, from 0 to 1: the ratio of difflib.
    """
    import difflib  # late: only mistakes need it

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=at_least)), "")
