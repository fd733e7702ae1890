from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerutils.transfer.layers import chain_ids, delta

DIFF_IDS = st.lists(st.sampled_from("abcde"), max_size=6)


@pytest.mark.parametrize(
    ("stored", "present", "missing"),
    [
        pytest.param([], "", "abcb", id="an empty store"),
        pytest.param(["ab"], "ab", "cb", id="a base"),
        pytest.param(["a", "abc", "ab"], "abc", "b", id="the longest counts"),
        pytest.param(["abcbe"], "abcb", "", id="an image built on it"),
        pytest.param(["bcb", "xabcb"], "", "abcb", id="the same layers on top of others are of no use"),
        pytest.param([""], "", "abcb", id="an image without layers"),
    ],
)
def test_a_delta_is_what_follows_the_longest_common_base(stored: list[str], present: str, missing: str) -> None:
    assert delta("abcb", stored) == (tuple(present), tuple(missing))


def test_a_layer_that_is_present_once_and_missing_once_is_sent() -> None:
    parted = delta("aba", ["ab"])
    assert parted.missing == ("a",)
    assert parted.omitted == {"b"}


@given(image=DIFF_IDS, stores=st.lists(DIFF_IDS))
def test_present_and_missing_layers_make_the_image(image: list[str], stores: list[list[str]]) -> None:
    parted = delta(image, stores)
    assert [*parted.present, *parted.missing] == image
    assert not parted.present or any(each[: len(parted.present)] == list(parted.present) for each in stores)
    longer = image[: len(parted.present) + 1]
    assert not parted.missing or all(each[: len(longer)] != longer for each in stores)


def test_chain_ids_are_those_of_the_specification() -> None:
    one, two, three = (f"sha256:{letter * 64}" for letter in "abc")
    assert chain_ids([]) == []
    first, second, third = chain_ids([one, two, three])
    assert first == one
    assert second == "sha256:" + hashlib.sha256(f"{one} {two}".encode()).hexdigest()
    assert third == "sha256:" + hashlib.sha256(f"{second} {three}".encode()).hexdigest()
