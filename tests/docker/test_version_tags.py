"""Version tags: which tags are versions, and their order."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.version import InvalidVersion, Version

from dockerutils.docker import version_tags

_NUMBER = st.sampled_from(["0", "1", "2", "10", "01", "2021"])
_RELEASES = st.lists(_NUMBER, min_size=1, max_size=3).map(".".join)
_SUFFIXES = st.sampled_from(
    ["", "a1", ".b2", "-rc.1", "rc", "_pre3", "c1", ".post1", "-1", "-r2", "post", ".dev1", "dev", "-dev3"]
)
_TAGS = st.builds("{}{}{}{}{}".format, st.sampled_from(["", "v"]), _RELEASES, _SUFFIXES, _SUFFIXES, _SUFFIXES)
_MOMENTS = st.integers(946684800, 4102444799).map(time.gmtime)  # the years 2000 to 2099
_FORMS = st.sampled_from([version_tags.DATE, version_tags.DATETIME])
_HASHES = st.text("0123456789abcdef", min_size=7, max_size=64).filter(
    lambda text: not re.fullmatch(r"20\d\d[01]\d[0-3]\d", text)
)


@settings(max_examples=300)
@given(_TAGS | st.text("0123456789abcdevrcpost.-_", max_size=6))
def test_a_tag_is_a_version_if_packaging_says_so(tag: str) -> None:
    try:
        expected = Version(tag)
    except InvalidVersion:
        assert version_tags.order(tag) is None
    else:
        assert version_tags.order(tag) is not None, expected


@settings(max_examples=500)
@given(_TAGS, _TAGS)
def test_the_order_is_that_of_packaging(one: str, other: str) -> None:
    first, second = version_tags.order(one), version_tags.order(other)
    if first is not None and second is not None:
        assert (first < second, first == second) == (Version(one) < Version(other), Version(one) == Version(other))


@settings(max_examples=300)
@given(_HASHES, st.sampled_from(["", "v", "26.11.20-", "1.0_", "20261120-"]))
@example("1234567", "")
@example("12345a6", "")
@example("1234567", "1.0-")
@example("20261399", "")
def test_a_commit_hash_is_no_version(commit: str, prefix: str) -> None:
    assert version_tags.order(prefix + commit) is None


@st.composite
def _moments_close_together(draw: st.DrawFn) -> tuple[time.struct_time, time.struct_time]:
    seconds = draw(st.integers(946684800, 4102444799 - 86400))
    return time.gmtime(seconds), time.gmtime(seconds + draw(st.integers(0, 86400)))


@settings(max_examples=300)
@given(st.tuples(_MOMENTS, _MOMENTS) | _moments_close_together(), _FORMS, _FORMS)
def test_dates_and_times_are_ordered_by_the_moment(moments, first_form, second_form) -> None:
    """A date counts as the start of its day, before any time of that day."""
    forms = (first_form, second_form)
    moments_named = [at[: 3 if form == version_tags.DATE else 6] for at, form in zip(moments, forms, strict=True)]
    first, second = (version_tags.order(version_tags.make(form, at)) for at, form in zip(moments, forms, strict=True))
    assert first is not None
    assert second is not None
    assert (first < second, first == second) == (
        moments_named[0] < moments_named[1],
        moments_named[0] == moments_named[1],
    )


@given(st.lists(_TAGS | _HASHES | st.builds(version_tags.make, _FORMS, _MOMENTS)))
def test_the_order_does_not_depend_on_the_input_order(tags: list[str]) -> None:
    assert version_tags.newest_first(tags) == version_tags.newest_first(reversed(tags))


@pytest.mark.parametrize(
    ("tags", "newest"),
    [
        (["latest", "dev", "21.04.25", "21.01.02", "alice"], ["21.04.25", "21.01.02"]),
        (
            ["20210425-233226", "20210425-235959", "20210426-000001"],
            ["20210426-000001", "20210425-235959", "20210425-233226"],
        ),
        (
            ["26.11.19", "20261118-120000", "26.11.20", "20261119-000000", "20261120"],
            ["26.11.20", "20261120", "20261119-000000", "26.11.19", "20261118-120000"],
        ),
        (["20261119.2", "20261119.10", "26.11.20"], ["26.11.20", "20261119.10", "20261119.2"]),
        (["1234567", "26.11.20", "8e4f9d1", "12345a6"], ["26.11.20"]),
        (["1.10", "1.9", "2.0rc1", "2.0.dev3"], ["2.0rc1", "2.0.dev3", "1.10", "1.9"]),
        (["1.0.1234567", "1.0.5"], ["1.0.1234567", "1.0.5"]),
        (["1.0-20261120", "1.0-1"], ["1.0-20261120", "1.0-1"]),
        (["latest"], []),
    ],
)
def test_newest_first(tags: list[str], newest: list[str]) -> None:
    assert version_tags.newest_first(tags) == newest


def test_the_version_of_a_moment() -> None:
    moment = time.gmtime(1619393546)
    assert version_tags.make(version_tags.DATE, moment) == "21.04.25"
    assert version_tags.make(version_tags.DATETIME, moment) == "20210425-233226"
