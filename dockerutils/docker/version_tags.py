"""Version tags: make them from the clock, recognize them, and sort them.

The order is that of PEP 440 (https://packaging.python.org/en/latest/specifications/version-specifiers/). Eight digits
at the start that are a date count as `yy.mm.dd`, so `20261120-183000` is a post-release of `26.11.20`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

DATE, DATETIME = "%y.%m.%d", "%Y%m%d-%H%M%S"

# A tag cannot contain the `!` of an epoch or the `+` of a local version.
_VERSION = r"""(?xi)
    v?
    (?P<release>\d+(?:\.\d+)*)
    (?: [-_.]? (?P<stage>alpha|a|beta|b|preview|pre|c|rc) [-_.]? (?P<pre>\d*) )?
    (?: -(?P<implicit>\d+) | [-_.]? (?P<post>post|rev|r) [-_.]? (?P<post_number>\d*) )?
    (?: [-_.]? (?P<dev>dev) [-_.]? (?P<dev_number>\d*) )?
"""
_DATE = r"20(\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
# Git abbreviates a commit hash to seven digits or more.
_HASH = r"(?i)v?[0-9a-f]{7,}"
_STAGES = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
_FINAL = (3, 0)  # after every stage before the release
_FIRST, _LAST = -1, float("inf")


def make(form: str, now: time.struct_time) -> str:
    """Return the version of a moment in UTC, in the form DATE or DATETIME."""
    return time.strftime(form, now)


def newest_first(tags: Iterable[str]) -> list[str]:
    """Return the tags that are versions, newest first. Other tags, such as `latest` or a commit hash, are left out."""
    keyed = [(key, tag) for tag in tags if (key := order(tag)) is not None]
    return [tag for _, tag in sorted(keyed, reverse=True)]


def order(tag: str) -> tuple[Any, ...] | None:
    """Return a sort key for a version tag, None for any other tag."""
    match = re.fullmatch(_VERSION, tag, re.ASCII)
    if match is None or any(_is_hash(part) for part in re.split("[-_]", tag)):
        return None
    first, *others = match["release"].split(".")
    release = (*(_date(first) or (int(first),)), *map(int, others))
    while release and release[-1] == 0:
        release = release[:-1]
    pre: tuple[int, int] = (_STAGES[match["stage"].lower()], int(match["pre"] or 0)) if match["stage"] else _FINAL
    post = int(match["implicit"] or match["post_number"] or 0) if match["implicit"] or match["post"] else _FIRST
    dev = int(match["dev_number"] or 0) if match["dev"] else _LAST
    if match["dev"] and pre == _FINAL and post == _FIRST:
        pre = (_FIRST, 0)  # a development release precedes the first alpha
    return release, pre, post, dev


def _is_hash(part: str) -> bool:
    return bool(re.fullmatch(_HASH, part)) and not _date(part.lstrip("vV"))


def _date(digits: str) -> tuple[int, ...]:
    """Return the year of the century, the month and the day of a date `yyyymmdd`; nothing for anything else."""
    match = re.fullmatch(_DATE, digits, re.ASCII)
    return tuple(map(int, match.groups())) if match else ()
