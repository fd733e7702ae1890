"""Projects that `dockerutils init` and `build-image all` make images of, and the package index of their builds."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import Outcome, script, write_tree
from tests.testbed import images, jupyter, packages
from tests.testbed.engine import Engine

OWNER = 4321


def download(directory: Path, names: Sequence[str]) -> Path:
    """Download the wheels of packages, and of what they need, for the Python of images.PYTHON."""
    return packages.download(directory, names, {**os.environ, **jupyter.environment()})


class BuiltProject:
    """A project after `dockerutils init` and `build-image all`, owned by a user who is not root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def build(self) -> None:
        """Run init, and build all images."""
        init = self.call("dockerutils", "init")
        assert re.search("dockerutils: next: build-image all, then run-image dev( or run-notebook)?\n$", init.err)
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
            address = stack.enter_context(packages.index(engine, wheels))
            texts = {path: text.replace("@index@", address) for path, text in files.items()}
            root = write_tree(tmp_path / "a blank" / name, {**texts, "pip.conf.template": packages.pip_conf(address)})
            if prepare:
                prepare(root)
            project = BuiltProject(root)
            project.build()
            return project

        yield make
