"""Which layers of an image have to go over, and what they are.

A layer is known by its diff id, the sha256 of its tar file; an engine keeps one on top of the layers below it, so what
it has of an image is what its own images begin with: https://github.com/opencontainers/image-spec, layer.md, config.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

CHUNK = 1 << 20  # bytes


class Delta(NamedTuple):
    """The diff ids of an image, bottom first, parted into those that a destination has and those that it lacks."""

    there: tuple[str, ...]
    lacking: tuple[str, ...]

    @property
    def droppable(self) -> frozenset[str]:
        """Those that need not be sent: a layer may stand twice in an image, once there and once not."""
        return frozenset(self.there) - frozenset(self.lacking)


class Layer(NamedTuple):
    """A layer's tar file: its diff id, its length in bytes, and a function that reads it, in pieces of any length."""

    diff_id: str
    size: int
    read: Callable[[], Iterator[bytes]]


def delta(image: Sequence[str], stores: Iterable[Sequence[str]]) -> Delta:
    """Part the diff ids of `image` by what a destination has whose own images have the diff ids `stores`."""
    count = max((_common(image, each) for each in stores), default=0)
    return Delta(tuple(image[:count]), tuple(image[count:]))


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """Return the chain id of each layer, which names it together with all below it."""
    import hashlib

    chain = list(diff_ids[:1])
    for diff_id in diff_ids[1:]:
        chain.append(f"sha256:{hashlib.sha256(f'{chain[-1]} {diff_id}'.encode()).hexdigest()}")
    return chain
