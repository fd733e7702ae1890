"""Images for the tests, built here without a registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

from tests.testbed.debian import CACHE
from tests.testbed.engine import Engine

# Two megabytes with a shell, on every engine of the session.
BUSYBOX = "local/busybox:latest"
# Debian 12 with Python 3, pip and venv, and that before the tests change its settings.
PYTHON, _DEBIAN = "local/python:bookworm", "local/debian:bookworm"

_PYTHON_BASE = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, "bin", "python-base")
_DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
CMD ["sh"]
"""


def add_busybox(engine: Engine) -> None:
    """Build BUSYBOX on `engine`, from this machine's static busybox."""
    _build(engine, BUSYBOX, _DOCKERFILE, busybox=shutil.which("busybox") or "busybox")


def remove(engine: Engine, prefix: str) -> None:
    """Remove the images whose names begin with `prefix`."""
    references = engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    if found := [each for each in references if each.startswith(prefix)]:
        engine.docker("image", "rm", "-f", *found)


def _build(engine: Engine, name: str, dockerfile: str, **files: str) -> None:
    """Build an image from copies of files."""
    with tempfile.TemporaryDirectory() as context:
        for target, path in files.items():
            shutil.copy(path, f"{context}/{target}")
        with open(f"{context}/Dockerfile", "w", encoding="utf-8") as file:
            file.write(dockerfile)
        engine.docker("build", "-t", name, context)


def add_python(engine: Engine) -> None:
    """Create PYTHON on `engine`, unless it exists, on the base image of the demo; pip compiles nothing there."""
    if engine.api("GET", "/images/json", filters={"reference": [PYTHON]}):
        return
    env = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    env |= {"DOCKERUTILS_CACHE": CACHE, **engine.client(f"{engine.directory}/client")}
    subprocess.run([_PYTHON_BASE, _DEBIAN], env=env, check=True)
    # In most builds, compiling would take longer than all else. pip reads a false value here as: do not compile.
    _build(engine, PYTHON, f"FROM {_DEBIAN}\nENV PIP_NO_COMPILE=0\n")
