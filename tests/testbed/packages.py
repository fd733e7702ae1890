"""Wheels, and a package index for builds: the networks of the engines lead nowhere else."""

from __future__ import annotations

import contextlib
import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Timer

from tests.testbed.engine import Engine
from tests.testbed.registry import daemon
from tests.testbed.relay import inside

# The user and the password for what is below /private/ of the package index.
LOGIN = ("robin", "s3cr3t-marker")

# What packages need on the Python of images.PYTHON: pip decides by the Python that it runs on, which can be newer.
_BACKPORTS = ("backports.tarfile", "importlib-metadata", "overrides", "typing-extensions")

# In a pyproject.toml.
HATCHLING = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""

_INDEX = Path(__file__).parent / "package_index.py"
_DEADLINE = 60.0  # seconds for the index to start


def download(directory: Path, names: Sequence[str], env: Mapping[str, str]) -> Path:
    """Download the wheels of packages, and of what they need, for the Python of images.PYTHON."""
    options = ["--only-binary=:all:", "--python-version", "3.11", "--dest", str(directory)]
    for abi in ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux2010", "manylinux1"):
        options += ["--platform", f"{abi}_{platform.machine()}"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-qq", *options, *names, *_BACKPORTS],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"pip download: status {done.returncode}\n{done.stderr}")
    return directory


@contextlib.contextmanager
def index(engine: Engine, wheels: Path) -> Iterator[str]:
    """Serve the wheels in the network of an engine's builds, as package_index.py does, and give its address there."""
    network = inside(daemon(engine))
    shown = subprocess.check_output([*network, "ip", "-j", "-4", "address", "show", "docker0"], text=True)
    gateway = json.loads(shown)[0]["addr_info"][0]["local"]
    serve = [*network, sys.executable, str(_INDEX), str(wheels), ":".join(LOGIN)]
    child = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    deadline = Timer(_DEADLINE, child.kill)
    deadline.start()
    try:
        assert child.stdout
        port = child.stdout.readline().strip()
        deadline.cancel()
        yield f"{gateway}:{port}"
    finally:
        deadline.cancel()
        child.kill()
        child.communicate()


def pip_conf(address: str) -> str:
    """Return the text of a pip.conf for a package index."""
    host = address.partition(":")[0]
    # Compiling takes longer than the rest of a build. pip reads a false value of this option as: do not compile.
    return f"[global]\nindex-url = http://{address}/simple\ntrusted-host = {host}\n[install]\nno-compile = false\n"
