"""The layers of an image, and which of them a destination already has.

The diff id of a layer is the sha256 of its tar file. An engine stores a layer on top of the layers below it, so what it
has of an image is a common beginning with one of its own: https://github.com/opencontainers/image-spec, layer.md,
config.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import NamedTuple

CHUNK = 1 << 20  # bytes

Write = Callable[[bytes], object]


class Unavailable(Exception):
    """An image cannot be read or sent in a certain way; the message says why. Another way can work."""


class Delta(NamedTuple):
    """The diff ids of an image, from the bottom: those that a destination has, and those that are missing there."""

    present: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def omitted(self) -> frozenset[str]:
        """The layers that are not sent: an image can have a layer twice, once present and once missing."""
        return frozenset(self.present) - frozenset(self.missing)


class Layer(NamedTuple):
    """A layer as an engine stores it: its diff id, its size in bytes, and a function that writes it to a sink.

    `compressed` is the digest of what is written, "" if that is the tar file itself.
    """

    diff_id: str
    size: int
    copy: Callable[[Write], object]
    compressed: str = ""

    @property
    def digest(self) -> str:
        """The digest of what `copy` writes."""
        return self.compressed or self.diff_id


def delta(image: Sequence[str], stored: Iterable[Sequence[str]]) -> Delta:
    """Compare the diff ids of an image with those of the images that a destination has."""
    count = max((_common(image, each) for each in stored), default=0)
    return Delta(tuple(image[:count]), tuple(image[count:]))


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """Return the chain id of each layer, which identifies it together with all layers below it."""
    chain = list(diff_ids[:1])
    for diff_id in diff_ids[1:]:
        chain.append(f"sha256:{hashlib.sha256(f'{chain[-1]} {diff_id}'.encode()).hexdigest()}")
    return chain
