"""References to images, `[host[:port]/]path[:tag][@digest]`, and what makes their parts valid.

Grammar: https://github.com/distribution/reference.
"""

from __future__ import annotations

import re

# A component's separators are one dot, one or two underscores, or any number of dashes.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"


def split(reference: str) -> tuple[str, str]:
    """Return the repository and the tag, nothing for an absent one; a digest is left out."""
    head, slash, last = reference.partition("@")[0].rpartition("/")
    name, _, tag = last.partition(":")
    return head + slash + name, tag


def fault(reference: str) -> str:
    """Return what is wrong with a whole reference, nothing when docker takes it."""
    repository, tag = split(reference)
    return fault_in_repository(repository) or (fault_in_tag(tag) if tag else "")


def fault_in_repository(repository: str) -> str:
    """Return what is wrong with an image's name, nothing when docker takes it."""
    if re.fullmatch(_REPOSITORY, repository):
        return ""
    return f"{repository!r} is not a valid image name; write it as [registry/]name in lower case"


def fault_in_tag(tag: str) -> str:
    """Return what is wrong with a tag, nothing when docker takes it."""
    if re.fullmatch(_TAG, tag):
        return ""
    return f"{tag!r} is not a valid tag; use letters, digits, '_', '.' and '-', 128 at most"


def component(text: str) -> str:
    """Make `text` valid as a component of an image's name."""
    lower = text.lower()
    if lower.isascii() and lower.isalnum():  # as most are: no pattern has to be compiled for them
        return lower
    kept = re.sub(r"[^a-z0-9._-]+", "-", lower)
    joined = re.sub(r"[._-]+", lambda run: run[0] if re.fullmatch(r"\.|__?|-+", run[0]) else "-", kept)
    return joined.strip("._-") or "project"


def tag(text: str) -> str:
    """Make `text` valid as a tag."""
    if text.isascii() and text.isalnum():
        return text[:128]
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).lstrip(".-")[:128] or "user"
