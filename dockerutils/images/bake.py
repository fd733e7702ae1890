"""The images of a project as a file for `docker buildx bake`."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from dockerutils.images import bake_file, build, pip_conf
from dockerutils.images.bake_file import BakeFile
from dockerutils.project import build_order, dockerfile, version_file
from dockerutils.project.project import Image, Project


class Definition(NamedTuple):
    """A bake file as JSON values, and what it leaves out, a line for each."""

    file: dict[str, Any]
    left_out: list[str]


def definition(project: Project) -> Definition:
    """Return the bake file with a target for each image, and for its builder stage.

    Raise UserError for a mistake in the configuration or the Dockerfiles.
    """
    request = build.Request([build.ALL])
    images = build_order.graph(project, build.requested(project, request))
    builds = {image: build.builds(project, image, request, dry_run=True) for image in images}
    targets = {each.reference: bake_file.target_name(image.name, each) for image in builds for each in builds[image]}
    file = BakeFile()
    left_out = []
    for image, own in builds.items():
        bases = (base.reference for base in build_order.bases(project, image) if base.is_current)
        contexts = {reference: f"target:{targets[reference]}" for reference in bases if reference in targets}
        for each in own:
            file.add(image.name, each, contexts)
        left_out += _left_out(project, image)
    if version_file.applies(project.root):
        left_out.append(f"bake does not write {version_file.NAME}; run genversion first")
    group = {"default": {"targets": list(file.targets)}}
    return Definition({"group": group, **file.value()}, [*dict.fromkeys(file.left_out), *left_out])


def _left_out(project: Project, image: Image) -> list[str]:
    """Return what build-image does for an image besides docker build, a line for each."""
    settings = project.settings(image.name)
    scripts = filter(None, map(settings.value, ("pre_build_script", "post_build_script")))
    found = [script.describe("bake runs no scripts; run it yourself") for script in scripts]
    copies = pip_conf.NAME not in dockerfile.read(project.root, image.dockerfile).secrets
    if copies and os.path.isfile(f"{project.root}/{pip_conf.TEMPLATE}"):
        advice = f"copy it to {pip_conf.NAME} first if the Dockerfile copies that"
        found.append(f"{image.dockerfile}: bake does not copy {pip_conf.TEMPLATE}; {advice}")
    return found
