"""Sizes as docker reads them: https://pkg.go.dev/github.com/docker/go-units#RAMInBytes."""

from __future__ import annotations

import re

_UNITS = "bkmgtp"


def parse(text: str) -> float | None:
    """Return the bytes of a size such as 512m or 1.5 GiB, None for other texts."""
    size = re.fullmatch(rf"([0-9]{{1,15}}(?:\.[0-9]+)?) ?([{_UNITS}]?)(?:i?b)?", text.lower())
    return float(size[1]) * 1024.0 ** _UNITS.index(size[2] or "b") if size else None
