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
# Debian 12 with Python 3, pip and venv.
PYTHON = "local/python:bookworm"

_PYTHON_BASE = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, "bin", "python-base")
_DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
CMD ["sh"]
"""


def add_busybox(engine: Engine) -> None:
    """Build BUSYBOX on `engine`, from this machine's static busybox."""
    with tempfile.TemporaryDirectory() as context:
        shutil.copy(shutil.which("busybox") or "busybox", f"{context}/busybox")
        with open(f"{context}/Dockerfile", "w", encoding="utf-8") as file:
            file.write(_DOCKERFILE)
        engine.docker("build", "-t", BUSYBOX, context)


def add_python(engine: Engine) -> None:
    """Create PYTHON on `engine`, as the demo creates its base image."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    env |= {"DOCKERUTILS_CACHE": CACHE, **engine.client(f"{engine.directory}/client")}
    subprocess.run([_PYTHON_BASE, PYTHON], env=env, check=True)
