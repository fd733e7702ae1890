"""Versions: made, and put in the order that the packaging library has."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import InvalidVersion, Version

from dockerutils.docker import version_tags

_NUMBER = st.sampled_from(["0", "1", "2", "10", "01", "20210425"])
_RELEASES = st.lists(_NUMBER, min_size=1, max_size=3).map(".".join)
_SUFFIXES = st.sampled_from(
    ["", "a1", ".b2", "-rc.1", "rc", "_pre3", "c1", ".post1", "-1", "-r2", "post", ".dev1", "dev", "-dev3"]
)
_TAGS = st.builds("{}{}{}{}{}".format, st.sampled_from(["", "v", "1!"]), _RELEASES, _SUFFIXES, _SUFFIXES, _SUFFIXES)


@settings(max_examples=1000)
@given(_TAGS | st.text("0123456789abcdevrcpost.-_", max_size=9))
def test_a_version_is_what_packaging_takes_for_one(tag: str) -> None:
    try:
        expected = Version(tag)
    except InvalidVersion:
        assert version_tags.order(tag) is None
    else:
        assert version_tags.order(tag) is not None, expected


@settings(max_examples=2000)
@given(_TAGS, _TAGS)
def test_the_order_is_that_of_packaging(one: str, other: str) -> None:
    first, second = version_tags.order(one), version_tags.order(other)
    if first is not None and second is not None:
        assert (first < second, first == second) == (Version(one) < Version(other), Version(one) == Version(other))


@pytest.mark.parametrize(
    ("tags", "newest"),
    [
        (["latest", "dev", "21.04.25", "21.01.02", "alice"], ["21.04.25", "21.01.02"]),
        (
            ["20210425-233226", "20210425-235959", "20210426-000001"],
            ["20210426-000001", "20210425-235959", "20210425-233226"],
        ),
        (["1.10", "1.9", "2.0rc1", "2.0.dev3"], ["2.0rc1", "2.0.dev3", "1.10", "1.9"]),
        (["latest"], []),
    ],
)
def test_newest_first(tags: list[str], newest: list[str]) -> None:
    assert version_tags.newest_first(tags) == newest


def test_versions_of_a_moment() -> None:
    moment = time.gmtime(1619393546)
    assert version_tags.make(version_tags.DATE, moment) == "21.04.25"
    assert version_tags.make(version_tags.DATETIME, moment) == "20210425-233226"
