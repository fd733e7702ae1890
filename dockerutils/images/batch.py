"""Images that become ready at the same time: one `docker buildx bake` builds them, instead of a `docker build` each.

It starts one client and sends the context once. An image that others are built from has its own `docker build`: they
start when it is there, and a failure is that of its Dockerfile.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dockerutils.core import shell_words
from dockerutils.core.process import Command, Input
from dockerutils.docker import builder, options
from dockerutils.docker.invocation import Build
from dockerutils.docker.options import BUILD
from dockerutils.images.bake_file import target_name

if TYPE_CHECKING:
    from dockerutils.images.parallel import Plan

# Options that mean the same to bake, and for which it does not ask for permission. All others need `docker build`.
_OPTIONS = {
    *("build-arg", "label", "annotation", "platform", "target", "pull", "no-cache", "no-cache-filter"),
    *("provenance", "sbom", "attest", "secret", "shm-size", "ulimit"),
}


class Batch(NamedTuple):
    """Images that one command builds: its name, the command, and the images of its targets, by the target."""

    name: str
    command: Command
    targets: Mapping[str, str]

    @property
    def images(self) -> list[str]:
        """The names of the images."""
        return list(dict.fromkeys(self.targets.values()))


def find(plans: Mapping[str, Plan], root: str, environ: Mapping[str, str]) -> list[Batch]:
    """Return the batches of images that need the same ones, and that none needs; none if docker has no bake."""
    needed = {name for plan in plans.values() for name in plan.needs}
    groups: dict[frozenset[str], dict[str, Sequence[Build]]] = {}
    taken: set[str] = set()
    for name, plan in plans.items():
        builds = [step.build for step in plan.steps if step.build]
        targets = {target_name(name, each) for each in builds}
        if name not in needed and not plan.has_script and not taken & targets and _can_bake(name, builds, root):
            taken |= targets
            groups.setdefault(frozenset(plan.needs), {})[name] = builds
    batches = [group for group in groups.values() if len(group) > 1]
    if not batches or not builder.has_bake(environ):
        return []
    return [_batch(number, group, root, environ) for number, group in enumerate(batches, start=1)]


def _batch(number: int, group: Mapping[str, Sequence[Build]], root: str, environ: Mapping[str, str]) -> Batch:
    import json  # late, as bake_file

    from dockerutils.images.bake_file import BakeFile

    file = BakeFile()
    for image, builds in group.items():
        for each in builds:
            file.add(image, each, {})
    text = json.dumps(file.value(), separators=(",", ":"))
    argv = ["docker", "buildx", "bake", *builder.selection(environ), "-f", "-", *file.targets]
    return Batch(
        "bake" if number == 1 else f"bake {number}",
        Command(argv, {}, root, Input(shell_words.render(["printf", "%s", text]), lambda: text)),
        {target_name(image, each): image for image, builds in group.items() for each in builds},
    )


def _can_bake(image: str, builds: Sequence[Build], root: str) -> bool:
    """Return whether bake builds the same as `docker build`, without a question."""
    given = [option for each in builds for option in options.parse(each.options, BUILD)]
    return (
        not image.startswith("-")
        and all(option.names and _OPTIONS.issuperset(option.names) for option in given)
        and not any("secret" in option.names and _is_elsewhere(option.value, root) for option in given)
    )


def _is_elsewhere(secret: str | None, root: str) -> bool:
    """Return whether a secret is a file outside of the project, for which bake asks for permission."""
    fields = options.fields(secret or "")
    path = fields.get("src") or fields.get("source")
    return path is not None and not _is_inside(path, root)


def _is_inside(path: str, root: str) -> bool:
    directory = os.path.realpath(root)
    return os.path.realpath(os.path.join(directory, path)).startswith(f"{directory}/")
