"""Image references, `[host[:port]/]path[:tag][@digest]`: split, validate and make them.

Grammar: https://github.com/distribution/reference.
"""

from __future__ import annotations

import re

HUB = "docker.io"
_HUB_ALIASES = (HUB, f"index.{HUB}")

_HOST = r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)(?::\d+)?|[A-Za-z0-9-]+:\d+"
# A component's separators are one dot, one or two underscores, or any number of dashes.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"


def split(reference: str) -> tuple[str, str]:
    """Return the repository and the tag of a reference, without its digest; the tag is empty if absent."""
    head, slash, last = reference.partition("@")[0].rpartition("/")
    name, _, tag = last.partition(":")
    return head + slash + name, tag


def registry(reference: str) -> str:
    """Return the registry of a reference, `host[:port]`; HUB if it names none."""
    return split_registry(reference)[0]


def split_registry(reference: str) -> tuple[str, str]:
    """Return the registry of a reference, and the rest as that registry names it: `x` is `library/x` on Docker Hub.

    The rule is docker's: https://github.com/distribution/reference, `splitDockerDomain`.
    """
    host, slash, rest = reference.partition("/")
    has_host = slash and ("." in host or ":" in host or host == "localhost" or host != host.lower())
    if has_host and host not in _HUB_ALIASES:
        return host, rest
    path = rest if has_host else reference
    return HUB, path if "/" in path else f"library/{path}"


def is_registry(text: str) -> bool:
    """Return whether `text` is a registry, `host[:port]`, as a reference can name it."""
    return bool(re.fullmatch(_HOST, text))


def fault(reference: str) -> str:
    """Return what is wrong with a reference, an empty string if docker accepts it."""
    repository, tag = split(reference)
    return fault_in_repository(repository) or (fault_in_tag(tag) if tag else "")


def fault_in_repository(repository: str) -> str:
    """Return what is wrong with an image name, an empty string if docker accepts it."""
    if re.fullmatch(_REPOSITORY, repository):
        return ""
    return f"{repository!r} is not a valid image name; write it as [registry/]name in lower case"


def fault_in_tag(tag: str) -> str:
    """Return what is wrong with a tag, an empty string if docker accepts it."""
    if re.fullmatch(_TAG, tag):
        return ""
    return f"{tag!r} is not a valid tag; use letters, digits, '_', '.' and '-', 128 at most"


def component(text: str) -> str:
    """Return `text` changed into a valid component of an image name."""
    lower = text.lower()
    if lower.isascii() and lower.isalnum():  # the usual case: skip compiling the patterns
        return lower
    kept = re.sub(r"[^a-z0-9._-]+", "-", lower)
    joined = re.sub(r"[._-]+", lambda run: run[0] if re.fullmatch(r"\.|__?|-+", run[0]) else "-", kept)
    return joined.strip("._-") or "project"


def tag(text: str) -> str:
    """Return `text` changed into a valid tag."""
    if text.isascii() and text.isalnum():
        return text[:128]
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).lstrip(".-")[:128] or "user"
