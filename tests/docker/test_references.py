"""Image references: their parts, and what makes them valid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerutils.docker import references


@given(st.text())
def test_any_text_is_made_a_component_and_a_tag(text: str) -> None:
    assert references.fault_in_repository(references.component(text)) == ""
    assert references.fault_in_tag(references.tag(text)) == ""


@given(st.from_regex(r"[a-z0-9]+((\.|_|__|-{1,3})[a-z0-9]+)*", fullmatch=True, alphabet=st.characters(codec="ascii")))
def test_a_valid_component_stays(text: str) -> None:
    assert references.component(text) == text


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("a", ("a", "")),
        ("a:1", ("a", "1")),
        ("h:5000/a", ("h:5000/a", "")),
        ("h:5000/a:1", ("h:5000/a", "1")),
        ("a@sha256:0", ("a", "")),
        ("a:1@sha256:0", ("a", "1")),
    ],
)
def test_split(reference: str, parts: tuple[str, str]) -> None:
    assert references.split(reference) == parts


@pytest.mark.parametrize(
    ("reference", "host", "path"),
    [
        ("org/x:1", "docker.io", "org/x:1"),
        ("x:1", "docker.io", "library/x:1"),
        ("docker.io/org/x:1", "docker.io", "org/x:1"),
        ("docker.io/x:1", "docker.io", "library/x:1"),
        ("index.docker.io/org/x:1", "docker.io", "org/x:1"),
        ("localhost/x:1", "localhost", "x:1"),
        ("localhost:5000/x:1", "localhost:5000", "x:1"),
        ("registry:5000/x:1", "registry:5000", "x:1"),
        ("quay.io/org/x:1", "quay.io", "org/x:1"),
        ("x.y:1", "docker.io", "library/x.y:1"),
    ],
)
def test_the_registry_of_a_reference(reference: str, host: str, path: str) -> None:
    assert references.split_registry(reference) == (host, path)
    assert references.registry(reference) == host


@pytest.mark.parametrize("text", ["docker.io", "localhost", "localhost:5000", "registry:5000", "r.example:5000"])
def test_valid_registries(text: str) -> None:
    assert references.is_registry(text)


@pytest.mark.parametrize("text", ["", "org", "quay", "r.example/x", "https://r.example", "a b.c", "r.example:x"])
def test_invalid_registries(text: str) -> None:
    assert not references.is_registry(text)


@pytest.mark.parametrize("repository", ["a", "a/b", "h.example:5000/a/b-c", "A.example/b", "a__b.c"])
def test_valid_repositories(repository: str) -> None:
    assert references.fault_in_repository(repository) == ""


@pytest.mark.parametrize("repository", ["", "-a", "A", "a b", "a/", "/a", "a..b", "h:x/a", "a:1", "é"])
def test_invalid_repositories(repository: str) -> None:
    assert references.fault_in_repository(repository) == (
        f"{repository!r} is not a valid image name; write it as [registry/]name in lower case"
    )


@pytest.mark.parametrize("tag", ["", "-x", ".x", "a b", "a:b", "x" * 129, "é"])
def test_invalid_tags(tag: str) -> None:
    assert references.fault_in_tag(tag) == (
        f"{tag!r} is not a valid tag; use letters, digits, '_', '.' and '-', 128 at most"
    )
