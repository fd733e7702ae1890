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


@pytest.mark.parametrize(
    ("engine", "image", "answer"),
    [
        ("linux/x86_64", "linux/amd64", True),
        ("linux/x86_64", "linux/amd64/v3", True),
        ("linux/x86_64", "linux/386", True),
        ("linux/x86_64", "linux/arm64", False),
        ("linux/x86_64", "linux/arm64/v8", False),
        ("linux/x86_64", "linux/arm/v7", False),
        ("linux/x86_64", "windows/amd64", False),
        ("linux/i686", "linux/amd64", False),
        ("linux/aarch64", "linux/arm64/v8", True),
        ("linux/aarch64", "linux/arm/v7", True),
        ("linux/aarch64", "linux/amd64", False),
        ("linux/armv7l", "linux/arm/v6", True),
        ("linux/armv6l", "linux/arm/v7", False),
        ("linux/riscv64", "linux/riscv64", True),
        ("", "linux/arm64", True),
        ("linux/x86_64", "", True),
    ],
)
def test_what_an_engine_runs(engine, image, answer) -> None:
    assert platforms.runs(engine, image) is answer
