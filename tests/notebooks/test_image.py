"""The project's own notebook, as a person has it: in a real browser, with files that are theirs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.support import clone, script, wait_for
from tests.testbed import images, jupyter
from tests.testbed.engine import Engine
from tests.testbed.host import serving
from tests.testbed.jupyter import Running
from tests.testbed.registry import daemon

SOMEONE = 4321
CODE = """\
import dockerutils
from dockerutils.docker import version_tags

print(dockerutils.__file__)
print(*version_tags.newest_first(["latest", "26.9.30", "26.11.20", "dev"]))"""
SHOWN = "/home/jovyan/project/dockerutils/__init__.py\n26.11.20 26.9.30"


@pytest.fixture(name="project")
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a clone of the project that somebody owns, and make it build on the image of the tests."""
    monkeypatch.setenv("BASE", images.PYTHON)
    for name, value in jupyter.environment().items():
        monkeypatch.setenv(name, value)
    project = clone(tmp_path / "dockerutils")
    (project / "jupytext.toml").write_text('formats = "ipynb,py:percent"\n')
    if os.geteuid() == 0:
        for path in (project, *project.rglob("*")):
            os.chown(path, SOMEONE, SOMEONE, follow_symlinks=False)
        # Git reads another user's clone only if this setting allows it.
        subprocess.run(["git", "config", "--global", "safe.directory", "*"], check=True)
    return project


def see(notebook: Running, project: Path, picture: Path) -> None:
    """Open the URL, work there, and find on this side what was saved."""
    url = notebook.url()
    assert notebook.ask(url.partition("?")[0] + "api/status") == 403
    assert notebook.ask(url.replace("?", "api/status?")) == 200
    shown = notebook.browse(url, "landings.ipynb", CODE, str(picture))
    assert shown == SHOWN
    assert picture.stat().st_size > 10_000
    # Where a picture of this is wanted, as of README's.
    if wanted := os.environ.get("NOTEBOOK_PICTURE"):
        shutil.copyfile(picture, wanted)


def check(project: Path) -> None:
    """See that the notebook is saved, with its diffs, and who it belongs to."""
    cells = json.loads((project / "landings.ipynb").read_text())["cells"]
    assert "".join(cells[0]["outputs"][0]["text"]).strip() == SHOWN
    assert "print(dockerutils.__file__)" in (project / ".diffs" / "landings.py").read_text()
    assert "# %%\nimport dockerutils\n" in (project / "landings.py").read_text()
    assert "26.11.20 26.9.30" in (project / ".diffs" / "landings.html").read_text()


def saved(project: Path) -> bool:
    path = project / ".diffs" / "landings.html"
    return path.exists() and "</html>" in path.read_text()


def test_a_notebook_is_made_run_and_saved(containerd_engine: Engine, project: Path, tmp_path: Path) -> None:
    images.add_python(containerd_engine)
    # Where the engine's ports are there is no other network: what is downloaded is downloaded here.
    built = script("build-image", "notebook", "-f", directory=project)
    assert built.status == 0, built.err
    shutil.copytree(project / "docker" / "wheels", tmp_path / "wheels")
    environ = {"RESERO_JUPYTER_DIFFS": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels")}
    with Running(["run-notebook"], project, daemon(containerd_engine), environ) as notebook:
        see(notebook, project, tmp_path / "picture.png")
        wait_for(lambda: saved(project))
        status, out = notebook.end(signal.SIGINT)
        assert (status, out) == (130, ""), notebook.stderr
    check(project)
    owners = {path.lstat().st_uid for path in (project / "landings.ipynb", *(project / ".diffs").iterdir())}
    assert owners == {project.stat().st_uid}
    assert containerd_engine.docker("ps", "-aq", "--filter", "name=_notebook_") == ""
    assert "--network none" in notebook.stderr


@pytest.fixture
def docked(containerd_engine: Engine, ssh_home: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dock to a host whose engine has the image that the project's base is built from."""
    images.add_python(containerd_engine)
    with serving(containerd_engine, near=True) as host:
        host.admit(ssh_home)
        inventory.register(Dock("gpu", host.address, "dock", host.address, host.address, host.port), ssh_home)
        for name, value in inventory.docked(inventory.find("gpu", ssh_home)).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("DOCK_WORKSPACES", f"{host.home('dock')}/work")
        yield


def test_the_same_on_a_dock(docked: None, containerd_engine: Engine, project: Path, tmp_path: Path) -> None:
    with Running(["run-notebook"], project, None, {"DOCKER_DS_DIFFS": "1"}) as notebook:
        see(notebook, project, tmp_path / "picture.png")
        name = containerd_engine.docker("ps", "--filter", "name=_notebook_", "--format", "{{.Names}}").strip()
        ended = "test -e .diffs/landings.html && grep -c '</html>' .diffs/landings.html || true"
        wait_for(lambda: containerd_engine.docker("exec", name, "sh", "-c", ended).strip() == "1")
        assert not (project / "landings.ipynb").exists()
        status, out = notebook.end(signal.SIGINT)
        assert (status, out) == (130, ""), notebook.stderr
    check(project)
    assert containerd_engine.docker("ps", "-aq", "--filter", "name=_notebook_") == ""
