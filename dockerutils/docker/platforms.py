"""Platforms as docker writes them: `linux/amd64`, `linux/arm64`, `linux/arm/v7`.

Their grammar and the other spellings: https://github.com/containerd/platforms#readme.
"""

from __future__ import annotations

import re

_PLATFORM = r"[A-Za-z0-9_]+/[A-Za-z0-9_-]+(/[A-Za-z0-9_.]+)?"
# What the kernel and older tools say, and the variants that docker leaves out.
_ALIASES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "amd64/v1": "amd64",
    "i386": "386",
    "i686": "386",
    "aarch64": "arm64",
    "arm64/v8": "arm64",
    "aarch64/v8": "arm64",
    "arm": "arm/v7",
    "armhf": "arm/v7",
    "armv7l": "arm/v7",
    "armel": "arm/v6",
    "armv6l": "arm/v6",
}
# What kernels also run, as docker chooses images: https://github.com/containerd/platforms, compare.go.
_ALSO = {"amd64": "386", "arm64": "arm"}


def parse(text: str) -> tuple[str, ...]:
    """Return the platforms in a text that separates them by commas, each once; ValueError says what is wrong."""
    found = [each for part in text.split(",") if (each := part.strip())]
    for each in found:
        if not re.fullmatch(_PLATFORM, each):
            raise ValueError(f"{each!r} is not a platform; write it as linux/amd64")
    return tuple(dict.fromkeys(map(normal, found)))


def normal(platform: str) -> str:
    """Return the one spelling of a platform, for comparisons: `linux/amd64` for `linux/x86_64`."""
    system, _, architecture = platform.lower().partition("/")
    return f"{system}/{_ALIASES.get(architecture, architecture)}"


def runs(engine: str, image: str) -> bool:
    """Return whether an engine of one platform runs an image for another one, without emulation.

    Emulation is not visible from outside. If a platform is unknown, an empty string, the answer is True.
    """
    system, architecture, variant = _parts(engine)
    wanted_system, wanted, wanted_variant = _parts(image)
    if not architecture or not wanted:
        return True
    if system != wanted_system:
        return False
    if architecture == wanted:
        return wanted != "arm" or wanted_variant <= variant
    return _ALSO.get(architecture) == wanted


def _parts(platform: str) -> tuple[str, str, str]:
    system, architecture, variant = (*normal(platform).split("/"), "")[:3]
    return system, architecture, variant
