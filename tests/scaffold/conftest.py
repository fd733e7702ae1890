"""Projects that `dockerutils init` and `build-image all` make images of, and the package index of their builds."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import Outcome, first_line, script, write_tree
from tests.testbed import images, jupyter
from tests.testbed.engine import Engine
from tests.testbed.registry import daemon
from tests.testbed.relay import inside

OWNER = 4321
# The user and the password for what is below /private/ of the package index.
LOGIN = ("robin", "s3cr3t-marker")

# What packages need on the Python of images.PYTHON: pip decides by the Python that it runs on, which can be newer.
_BACKPORTS = ("backports.tarfile", "importlib-metadata", "overrides", "typing-extensions")

_INDEX = Path(__file__).parent / "package_index.py"


def download(directory: Path, names: Sequence[str]) -> Path:
    """Download the wheels of packages, and of what they need, for the Python of images.PYTHON."""
    options = ["--only-binary=:all:", "--python-version", "3.11", "--dest", str(directory)]
    for abi in ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux2010", "manylinux1"):
        options += ["--platform", f"{abi}_{platform.machine()}"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-qq", *options, *names, *_BACKPORTS],
        env={**os.environ, **jupyter.environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return directory


@contextlib.contextmanager
def index(engine: Engine, wheels: Path) -> Iterator[str]:
    """Serve the wheels in the network of an engine's builds, as package_index.py does, and give its address there."""
    network = inside(daemon(engine))
    shown = subprocess.check_output([*network, "ip", "-j", "-4", "address", "show", "docker0"], text=True)
    gateway = json.loads(shown)[0]["addr_info"][0]["local"]
    serve = [*network, sys.executable, str(_INDEX), str(wheels), ":".join(LOGIN)]
    child = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield f"{gateway}:{first_line(child).strip()}"
    finally:
        child.kill()
        child.communicate()


def pip_conf(address: str) -> str:
    """Return the text of a pip.conf for a package index."""
    host = address.partition(":")[0]
    # Compiling takes longer than the rest of a build. pip reads a false value of this option as: do not compile.
    return f"[global]\nindex-url = http://{address}/simple\ntrusted-host = {host}\n[install]\nno-compile = false\n"


class BuiltProject:
    """A project after `dockerutils init` and `build-image all`, owned by a user who is not root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def build(self) -> None:
        """Run init, and build all images."""
        init = self.call("dockerutils", "init")
        assert init.err.endswith("dockerutils: next: build-image all, then run-image dev\n")
        assert {line.split()[0] for line in init.out.splitlines()} == {"wrote"}
        assert self.call("dockerutils", "check").out.endswith(" images, no problems\n")
        assert ":latest" not in "".join(path.read_text() for path in self.root.glob("docker/*/*"))
        self.call("build-image", "all")
        assert not (self.root / "pip.conf").exists()
        for path in (self.root, *self.root.rglob("*")):
            os.chown(path, OWNER, OWNER, follow_symlinks=False)

    def call(self, *argv: str) -> Outcome:
        """Run a command in the project."""
        outcome = script(*argv, directory=self.root)
        assert outcome.status == 0, outcome.err + outcome.out
        return outcome

    def python(self, image: str, program: str) -> str:
        """Return what a Python program prints in an image."""
        return self.call("run-image", image, "--", "python", "-c", program).out

    def owners(self) -> set[int]:
        """Return the user ids of the owners of all files."""
        return {path.lstat().st_uid for path in self.root.rglob("*")}


Build = Callable[..., BuiltProject]


@pytest.fixture
def build(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """Return a function that writes a project, in a directory with a blank in its name, and builds it on an engine.

    Its files can name the address of the package index: @index@.
    """
    monkeypatch.setenv("BASE", images.PYTHON)
    with contextlib.ExitStack() as stack:

        def make(
            engine: Engine, name: str, files: dict[str, str], prepare: Callable[[Path], None] | None = None
        ) -> BuiltProject:
            images.add_python(engine)
            address = stack.enter_context(index(engine, wheels))
            texts = {path: text.replace("@index@", address) for path, text in files.items()}
            root = write_tree(tmp_path / "a blank" / name, {**texts, "pip.conf.template": pip_conf(address)})
            if prepare:
                prepare(root)
            project = BuiltProject(root)
            project.build()
            return project

        yield make
