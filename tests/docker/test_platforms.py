"""Platforms: their grammar and their one spelling."""

from __future__ import annotations

import pytest

from dockerutils.docker import platforms


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        ("linux/amd64", ("linux/amd64",)),
        (" linux/amd64 ,linux/arm64/v8,\nlinux/arm/v6, linux/AMD64", ("linux/amd64", "linux/arm64", "linux/arm/v6")),
    ],
)
def test_platforms(text, found) -> None:
    assert platforms.parse(text) == found


@pytest.mark.parametrize("text", ["amd64", "linux", "-x", "linux/", "/amd64", "linux/amd64 linux/arm64", "a/b/c/d"])
def test_a_text_that_is_no_platform(text) -> None:
    with pytest.raises(ValueError, match=f"^{text!r} is not a platform; write it as linux/amd64$"):
        platforms.parse(f"linux/386,{text}")


@pytest.mark.parametrize(
    ("platform", "spelling"),
    [
        ("linux/x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/armv7l", "linux/arm/v7"),
        ("linux/arm", "linux/arm/v7"),
        ("Linux/RISCV64", "linux/riscv64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
    ],
)
def test_one_spelling(platform, spelling) -> None:
    assert platforms.normal(platform) == spelling
