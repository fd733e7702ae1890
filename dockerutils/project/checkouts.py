"""The directory that an image was last built in: projects in directories of the same name have the same image names.

The record, `~/.docker/dockerutils-images.json`, has an object for each engine: image names, each with the tag of the
last build and the root of its project. Only a warning depends on it: commands ignore a record that cannot be read or
written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from dockerutils.project.project import Image, Project

_FILE = "dockerutils-images.json"


def other(project: Project, image: Image) -> str:
    """Return the root of another project that still exists and has built an image last, or an empty string."""
    found = _read().get(_engine(project.environ), {}).get(image.repository)
    if not isinstance(found, dict) or found.get("tag") != image.tag:
        return ""
    root = str(found.get("root"))
    return root if root != project.root and os.path.isdir(os.path.join(root, "docker")) else ""


def warning(image: Image, root: str) -> str:
    """Return what to say if a project at `root` has built an image with the same name and tag."""
    return f"{image.reference} was last built in {root}; give the image another name or tag in one of the two projects"


def record(project: Project, images: Iterable[Image]) -> None:
    """Record that this project has built images."""
    import fcntl  # late, as json below: only builds need it

    path = _path()
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with open(f"{path}.lock", "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = _read()
            own = known.setdefault(_engine(project.environ), {})
            built = {image.repository: {"tag": image.tag, "root": project.root} for image in images}
            if any(own.get(repository) != entry for repository, entry in built.items()):
                own |= built
                _write(path, known)
    except OSError:
        return


def _engine(environ: Mapping[str, str]) -> str:
    """Return the name of the engine in the record."""
    return environ.get("DOCKER_HOST") or environ.get("DOCKER_CONTEXT") or "default"


def _path() -> str:
    return os.path.join(os.path.expanduser("~"), ".docker", _FILE)


def _read() -> dict[str, dict[str, Any]]:
    import json

    try:
        with open(_path(), encoding="utf-8") as stream:
            known = json.load(stream)
    except (OSError, ValueError, RecursionError):
        return {}
    return {engine: own for engine, own in known.items() if isinstance(own, dict)} if isinstance(known, dict) else {}


def _write(path: str, known: Mapping[str, Any]) -> None:
    import json

    from dockerutils.core import files

    files.write(path, json.dumps(known, indent=1), mode=0o600)
