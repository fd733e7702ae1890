"""Files for `docker buildx bake`, made of what `docker build` gets.

https://docs.docker.com/build/bake/reference/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dockerutils.core import shell_words
from dockerutils.docker import options
from dockerutils.docker.invocation import Build
from dockerutils.docker.options import BUILD, Option

# The attributes of a target by options of docker build: those with one value, a list, pairs, and switches.
_ONE = {"network": "network", "shm-size": "shm-size", "target": "target"}
_LISTS = {
    "allow": "entitlements",
    "annotation": "annotations",
    "attest": "attest",
    "cache-from": "cache-from",
    "cache-to": "cache-to",
    "no-cache-filter": "no-cache-filter",
    "output": "output",
    "secret": "secret",
    "ssh": "ssh",
    "ulimit": "ulimits",
}
_PAIRS = {"build-arg": "args", "build-context": "contexts", "label": "labels"}
_SWITCHES = {"no-cache": "no-cache", "pull": "pull"}
_ATTESTATIONS = {"provenance", "sbom"}


class BakeFile:
    """A bake file. `targets` are its targets by name, `left_out` a line for each option that bake does not have.

    Values from the environment stay references to it, so the file has no secrets.
    """

    def __init__(self) -> None:
        self.targets: dict[str, dict[str, Any]] = {}
        self.left_out: list[str] = []
        self._variables: set[str] = set()

    def add(self, image: str, build: Build, contexts: Mapping[str, str]) -> None:
        """Add what to build of an image. `contexts` are the targets that replace images in the Dockerfile."""
        target = {
            "context": ".",
            "dockerfile": self._text(build.dockerfile),
            **self._attributes(image, options.parse(build.options, BUILD)),
            "tags": [build.reference],
        }
        if replaced := {**contexts, **target.pop("contexts", {})}:
            target["contexts"] = replaced
        if build.stage:
            target["target"] = self._text(build.stage)
        self.targets[target_name(image, build)] = target

    def value(self) -> dict[str, Any]:
        """Return the file as a JSON value."""
        variables = {name: {"default": None} for name in sorted(self._variables)}
        return {**({"variable": variables} if variables else {}), "target": self.targets}

    def _attributes(self, image: str, given: Sequence[Option]) -> dict[str, Any]:
        """Return options of docker build as attributes of a target."""
        found: dict[str, Any] = {}
        for option in given:
            for name in option.names or option.words:
                if not self._add_attribute(found, name, option.value):
                    words = shell_words.render(option.words)
                    self.left_out.append(f"[{image}] {words}: bake has no such option; it is left out")
        return found

    def _add_attribute(self, found: dict[str, Any], name: str, value: str | None) -> bool:
        """Add an option to the attributes; return whether that is possible."""
        if name in _SWITCHES:
            found[_SWITCHES[name]] = value not in options.FALSE
        elif value is None:
            return False
        elif name == "platform":
            found["platforms"] = self._text(value).split(",")
        elif name in _ONE:
            found[_ONE[name]] = self._text(value)
        elif name in _LISTS:
            found.setdefault(_LISTS[name], []).append(self._text(value))
        elif name in _ATTESTATIONS:
            found.setdefault("attest", []).append(f"type={name}{_attestation(self._text(value))}")
        elif name in _PAIRS:
            key, equals, text = self._text(value).partition("=")
            if not equals:
                self._variables.add(key)
            found.setdefault(_PAIRS[name], {})[key] = text if equals else f"${{{key}}}"
        else:
            return False
        return True

    def _text(self, value: str) -> str:
        """Return a text in bake's notation, in which `${NAME}` refers to the environment."""
        parts = []
        for is_reference, text in shell_words.parts(value):
            if is_reference:
                self._variables.add(text)
            parts.append(f"${{{text}}}" if is_reference else re.sub(r"[$%](?=\{)", r"\g<0>\g<0>", text))
        return "".join(parts)


def _attestation(value: str) -> str:
    """Return the value of --provenance or --sbom as attributes of --attest."""
    if value in options.FALSE:
        return ",disabled=true"
    return "" if value.lower() in {"1", "t", "true"} else f",{value}"


def target_name(image: str, build: Build) -> str:
    """Return the name of the target of an image, or of its builder stage; bake allows letters, digits, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", image) + ("-builder" if build.stage else "")
