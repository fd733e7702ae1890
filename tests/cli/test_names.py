"""The names that a shell completes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dockerutils.cli import names
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.support import write_tree


@pytest.fixture
def ask(tmp_path, capfd, monkeypatch):
    """Return a function that runs names.py in a directory under tmp_path, and returns the printed lines."""

    def ask(kind: str, begun: str = "", directory: str = ".") -> list[str]:
        (tmp_path / directory).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / directory)
        names.main([kind, begun])
        out, err = capfd.readouterr()
        assert err == ""
        return str(out).splitlines()

    return ask


def test_images(ask, tmp_path) -> None:
    config = "[run_image]\nsynthetic_images = shell\n[shell]\nname = dev\n[lab]\nname = org/lab\nprefix = no\n[tool]\nx = y\n"
    write_tree(tmp_path, {"docker/dev/Dockerfile": "", "docker/a b/Dockerfile": "", "docker/none/x": ""})
    write_tree(tmp_path, {"docker/new\nline/Dockerfile": "", "docker/dockerutils.cfg": config, "src/x": ""})
    assert ask("images", directory="src") == ["a b", "dev", "shell", "lab"]


def test_images_of_a_broken_configuration(ask, tmp_path) -> None:
    write_tree(tmp_path, {"docker/dev/Dockerfile": "", "docker/dockerutils.cfg": "[run_image]\nx = 1\nx = 2\n"})
    assert ask("images") == ["dev"]
    (tmp_path / "docker/dockerutils.cfg").unlink()
    (tmp_path / "docker/dockerutils.cfg").mkdir()
    assert ask("images") == []


def test_images_outside_of_a_project(ask, tmp_path, monkeypatch, capfd) -> None:
    assert ask("images", directory="gone") == []
    (tmp_path / "gone").rmdir()
    names.main(["images", ""])
    assert capfd.readouterr() == ("", "")


def test_docks(ask, monkeypatch) -> None:
    home = Path(os.environ["HOME"])
    assert ask("docks") == []
    for moniker, address in (("gpu", "203.0.113.7"), ("big", "203.0.113.8")):
        inventory.register(Dock(moniker, address, "ada", address, address), str(home))
    write_tree(home, {".docker/203.0.113.9/connection_config.txt": "DOCK_MONIKER=$(touch x)\n"})
    assert ask("docks") == ask("docks", "b") == ["big", "gpu"]
    assert ask("docks", "203") == ["203.0.113.7", "203.0.113.8"]
    monkeypatch.delenv("HOME")
    assert ask("docks") == []
