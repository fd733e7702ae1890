"""The images of a project as a file for `docker buildx bake`: https://docs.docker.com/build/bake/reference/."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from dockerutils.core import shell_words
from dockerutils.docker import options
from dockerutils.docker.options import BUILD, Option
from dockerutils.images import build, pip_conf, platforms
from dockerutils.project import build_order, dockerfile, version_file
from dockerutils.project.project import Image, Project

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


class Definition(NamedTuple):
    """A bake file as JSON values, and what it leaves out, a line for each."""

    file: dict[str, Any]
    left_out: list[str]


def definition(project: Project) -> Definition:
    """Return the bake file with a target for each image, and for its builder stage.

    Values from the environment stay references to it. Raise UserError for a mistake in the configuration or the
    Dockerfiles.
    """
    writer = _Writer(project)
    images = build.requested(project, build.Request([build.ALL]))
    for image in build_order.graph(project, images):
        writer.add(image)
    file = {
        **({"variable": {name: {"default": None} for name in sorted(writer.variables)}} if writer.variables else {}),
        "group": {"default": {"targets": list(writer.targets)}},
        "target": writer.targets,
    }
    if version_file.applies(project.root):
        writer.left_out.append(f"bake does not write {version_file.NAME}; run genversion first")
    return Definition(file, writer.left_out)


class _Writer:
    def __init__(self, project: Project) -> None:
        self.targets: dict[str, dict[str, Any]] = {}
        self.variables: set[str] = set()
        self.left_out: list[str] = []
        self._project = project

    def add(self, image: Image) -> None:
        """Add the targets of an image."""
        content = dockerfile.read(self._project.root, image.dockerfile)
        given = self._project.build_options(image)
        given += pip_conf.secret(self._project.root, content, given)
        common = {
            "context": ".",
            "dockerfile": image.dockerfile,
            **self._attributes(image, options.parse(given, BUILD)),
        }
        contexts = {**self._contexts(image), **common.pop("contexts", {})}
        common |= {"contexts": contexts} if contexts else {}
        name = _target(image.name)
        if content.builder:
            self.targets[f"{name}-builder"] = {**common, "target": content.builder, "tags": [image.builder]}
        manifest = options.parse(platforms.manifest_options(self._project, image, given), BUILD)
        self.targets[name] = {**common, **self._attributes(image, manifest), "tags": [image.reference]}
        for key in ("pre_build_script", "post_build_script"):
            if value := self._project.settings(image.name).value(key):
                self.left_out.append(value.describe("bake runs no scripts; run it yourself"))
        if pip_conf.NAME not in content.secrets and os.path.isfile(f"{self._project.root}/{pip_conf.TEMPLATE}"):
            advice = f"copy it to {pip_conf.NAME} first if the Dockerfile copies that"
            self.left_out.append(f"{image.dockerfile}: bake does not copy {pip_conf.TEMPLATE}; {advice}")

    def _contexts(self, image: Image) -> dict[str, str]:
        """Return the targets that replace the bases of an image, by their references."""
        return {
            base.reference: f"target:{_target(base.image.name)}{'-builder' * (base.reference == base.image.builder)}"
            for base in build_order.bases(self._project, image)
            if base.is_current
        }

    def _attributes(self, image: Image, given: Sequence[Option]) -> dict[str, Any]:
        """Return options of docker build as attributes of a target."""
        found: dict[str, Any] = {}
        for option in given:
            for name in option.names or option.words:
                if not self._add_attribute(found, name, option.value):
                    words = shell_words.render(option.words)
                    self.left_out.append(f"[{image.name}] {words}: bake has no such option; it is left out")
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
                self.variables.add(key)
            found.setdefault(_PAIRS[name], {})[key] = text if equals else f"${{{key}}}"
        else:
            return False
        return True

    def _text(self, value: str) -> str:
        """Return a text in bake's notation, in which `${NAME}` refers to the environment."""
        parts = []
        for is_reference, text in shell_words.parts(value):
            if is_reference:
                self.variables.add(text)
            parts.append(f"${{{text}}}" if is_reference else re.sub(r"[$%](?=\{)", r"\g<0>\g<0>", text))
        return "".join(parts)


def _attestation(value: str) -> str:
    """Return the value of --provenance or --sbom as attributes of --attest."""
    if value in options.FALSE:
        return ",disabled=true"
    return "" if value.lower() in {"1", "t", "true"} else f",{value}"


def _target(name: str) -> str:
    """Return the name of an image as that of a target, which has letters, digits, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)
