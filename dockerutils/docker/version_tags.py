"""Versions as image tags: made from the clock, and put in order.

Order: PEP 440 (https://packaging.python.org/en/latest/specifications/version-specifiers/). The versions made here,
`yy.mm.dd` and `yyyymmdd-hhmmss`, are versions by that specification too, the second a post-release of its day.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

DATE, DATETIME = "%y.%m.%d", "%Y%m%d-%H%M%S"

_VERSION = r"""(?xi)
    v?
    (?: (?P<epoch>\d+) ! )?
    (?P<release>\d+(?:\.\d+)*)
    (?: [-_.]? (?P<stage>alpha|a|beta|b|preview|pre|c|rc) [-_.]? (?P<pre>\d*) )?
    (?: -(?P<implicit>\d+) | [-_.]? (?P<post>post|rev|r) [-_.]? (?P<post_number>\d*) )?
    (?: [-_.]? (?P<dev>dev) [-_.]? (?P<dev_number>\d*) )?
"""
_STAGES = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
_FINAL = (3, 0)  # after every stage before the release
_FIRST, _LAST = -1, float("inf")


def make(form: str, now: time.struct_time) -> str:
    """Return the version of a moment, which is in UTC, in the form DATE or DATETIME."""
    return time.strftime(form, now)


def newest_first(tags: Iterable[str]) -> list[str]:
    """Return those of the tags that are versions, the newest first; `latest`, `dev` and such are none."""
    keyed = [(key, tag) for tag in tags if (key := order(tag)) is not None]
    return [tag for _, tag in sorted(keyed, reverse=True)]


def order(tag: str) -> tuple[Any, ...] | None:
    """Return a key that sorts versions, None when the tag is no version; a local one, with its +, cannot be a tag."""
    match = re.fullmatch(_VERSION, tag, re.ASCII)
    if match is None:
        return None
    release = tuple(map(int, match["release"].split(".")))
    while release and release[-1] == 0:
        release = release[:-1]
    pre: tuple[int, int] = (_STAGES[match["stage"].lower()], int(match["pre"] or 0)) if match["stage"] else _FINAL
    post = int(match["implicit"] or match["post_number"] or 0) if match["implicit"] or match["post"] else _FIRST
    dev = int(match["dev_number"] or 0) if match["dev"] else _LAST
    if match["dev"] and pre == _FINAL and post == _FIRST:
        pre = (_FIRST, 0)  # what leads to a release comes before its first alpha
    return int(match["epoch"] or 0), release, pre, post, dev
