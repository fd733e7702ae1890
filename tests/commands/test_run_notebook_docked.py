"""run-notebook in a docked shell, with a real host: port forwards, syncs, interruptions."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import zlib
from pathlib import Path

import pytest

from dockerutils.commands import run_notebook
from dockerutils.commands.run_notebook import main
from dockerutils.docker import platforms
from dockerutils.docks import inventory
from tests.commands.conftest import Docked
from tests.support import call, wait_for, write_tree
from tests.testbed.jupyter import Running

BOX = "[notebook]\nname = local/busybox:latest\nprefix = False\n"
# It answers, writes to the project, and exits with status 0.
WEB = (
    'sh -c \'trap "echo last >/home/jovyan/project/last; exit 0" INT TERM; echo first >/home/jovyan/project/first; '
    "httpd -f -p 8888 -h /bin & wait'"
)


@pytest.fixture
def dock(docked_shell: Docked, monkeypatch: pytest.MonkeyPatch):
    """Return a docked shell whose notebook is a web server; remove its containers afterwards."""
    monkeypatch.setenv("DOCKER_DS_DONT_PULL", "1")
    docked_shell.write({"docker/dockerutils.cfg": f"{BOX}cmd = {WEB}\n"})
    yield docked_shell
    for name in containers(docked_shell):
        docked_shell.host.engine.docker("rm", "-f", name)


@pytest.fixture
def start(dock: Docked):
    """Return a function that starts run-notebook in the docked shell; it ends with the test."""
    running = []

    def begin(*argv: str) -> Running:
        running.append(Running(["run-notebook", *argv], dock.root, None, {}))
        return running[-1]

    yield begin
    for each in running:
        with each:
            pass


def containers(dock: Docked) -> list[str]:
    return dock.host.engine.docker("ps", "-a", "--format", "{{.Names}}").split()


def marker(dock: Docked) -> Path:
    checkout = f"app-{zlib.crc32(os.fsencode(dock.root)):08x}"
    return Path(os.environ["HOME"], ".docker", dock.host.address, f"notebook-{checkout}")


def copy(dock: Docked) -> str:
    return f"{dock.host.home('dock')}/work/alice/code/app"


def test_a_dry_run_shows_all_commands(dock):
    outcome = dock(main, "--dry-run", "-p", "9000")
    up, forward, run, cancel, down = outcome.out.splitlines()
    assert up.endswith(f" ./ dock-gpu:{copy(dock)}/")
    assert forward == "ssh -O forward -L 127.0.0.1:9000:127.0.0.1:9000 dock-gpu"
    assert re.sub(r"--name \S+", "--name NAME", run) == (
        f"docker run --init --name NAME --label dockerutils.project=app --label dockerutils.image=notebook "
        f"--label dockerutils.user=alice --label dockerutils.origin={os.uname().nodename}:{dock.root} -e JUPYTER_TOKEN --rm -v {copy(dock)}:/home/jovyan/project "
        f"-p 127.0.0.1:9000:8888 local/busybox:latest {shlex.join(shlex.split(WEB))}"
    )
    assert cancel == "ssh -O cancel -L 127.0.0.1:9000:127.0.0.1:9000 dock-gpu"
    assert down.endswith(f" dock-gpu:{copy(dock)}/ ./")
    assert dock.there(copy(dock)) == set()
    assert not marker(dock).exists()


def test_the_url_works_here_and_the_files_return_after_ctrl_c(dock, start):
    dock.write({"data/a": "from here\n"})
    dock.host.run(f"install -d -o dock {dock.host.home('dock')}/.aws")
    before = dock.host.authentications()
    notebook = start("--aws")
    url = notebook.url()
    assert notebook.ask(url) == 404
    assert "data/a" in dock.there(copy(dock))
    (name,) = containers(dock)
    mounts = dock.host.engine.docker("inspect", "-f", '{{join .HostConfig.Binds "\\n"}}', name)
    assert sorted(mounts.split()) == sorted([
        f"{copy(dock)}:/home/jovyan/project", f"{dock.host.home('dock')}/.aws:/home/jovyan/.aws"
    ])  # fmt: skip
    assert marker(dock).read_text() == f"{name}\n"
    status, out = notebook.end(signal.SIGINT)
    assert (status, out) == (130, ""), notebook.stderr
    assert (dock.root / "first").read_text() == "first\n"
    assert (dock.root / "last").read_text() == "last\n"
    assert containers(dock) == []
    assert notebook.ask(url) == 0
    assert not marker(dock).exists()
    assert dock.host.authentications() == before + 1  # one shared connection


def test_a_failure_gives_its_status_and_the_files_return(dock):
    dock.write({"docker/dockerutils.cfg": f"{BOX}cmd = sh -c 'echo all >/home/jovyan/project/b; exit 7'\n"})
    outcome = dock(main)
    assert outcome.status == 7
    assert "run-notebook: docker exited with status 7 before Jupyter answered" in outcome.err
    assert (dock.root / "b").read_text() == "all\n"


def test_an_image_for_another_platform_is_refused(dock):
    own, other = platforms.normal(f"linux/{os.uname().machine}"), "linux/s390x"
    dock.write({
        "docker/notebook/Dockerfile": "FROM scratch\nCOPY docker /docker\nCMD ['/none']\n",
        "docker/dockerutils.cfg": f"[notebook]\nplatform = {other}\n",
    })  # fmt: skip
    outcome = dock(main)
    dock.host.engine.docker("image", "rm", "app-notebook:alice")
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == (
        f"run-notebook: app-notebook:alice is for {other}, and dock gpu runs {own}; run: build-image notebook --platform "
        f"{own}, or, if the dock has emulation, set args = --platform {other} in [notebook]"
    )
    assert dock.there(copy(dock)) == set()
    assert containers(dock) == []


def test_data_of_the_section_are_there(dock):
    dock.write({
        ".dockerignore": "data\n",
        "data/x": "data\n",
        "docker/dockerutils.cfg": f"{BOX}volumes = -v {{root}}/data:/data\ncmd = sh -c 'cat /data/x; echo more >/data/y'\n",
    })  # fmt: skip
    outcome = dock(main)
    assert "\ndata\n" in outcome.err
    assert (dock.root / "data/y").read_text() == "more\n"


def test_a_port_in_use_on_the_dock_is_skipped(dock, start):
    dock.host.engine.docker("run", "-d", "--rm", "-p", "8888:1", "local/busybox", "sleep", "600")
    notebook = start()
    assert notebook.url().startswith("http://127.0.0.1:8889/")


def test_a_given_port_in_use_on_the_dock_is_an_error(dock):
    dock.host.engine.docker("run", "-d", "--rm", "-p", "8888:1", "local/busybox", "sleep", "600")
    outcome = dock(main, "-p", "8888")
    assert outcome.status == 1
    assert outcome.err == "run-notebook: port 8888 is in use on the dock; choose another one, or omit -p\n"


def test_a_dock_that_does_not_answer(dock):
    there = inventory.find("gpu", os.environ["HOME"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inventory.register(there._replace(port=port), os.environ["HOME"])
    outcome = dock(main)
    assert outcome.status == 255
    assert re.search(
        r"^run-notebook: dock gpu refused the connection: .*Connection refused; check .*$", outcome.err, re.MULTILINE
    )


def test_a_disconnected_notebook_continues_and_is_joined(dock, start):
    notebook = start()
    url = notebook.url()
    token = url.partition("?")[2]
    (name,) = containers(dock)
    dock.host.cut()
    status, _ = notebook.wait()
    assert status not in (0, 130)
    assert notebook.stderr.splitlines()[-1] == (
        "run-notebook: the connection to dock gpu ended, and the notebook is still running there; run "
        "run-notebook again to join it"
    )
    assert containers(dock) == [name]
    assert marker(dock).read_text() == f"{name}\n"
    assert not (dock.root / "first").exists()

    again = start()
    assert again.url().partition("?")[2] == token
    assert "run-notebook: joining the notebook of this project that is running on dock gpu\n" in again.stderr
    assert f"\ndocker logs --follow --tail 20 {name}\n" in again.stderr
    assert again.end(signal.SIGINT)[0] == 130
    assert (dock.root / "first").exists()
    assert (dock.root / "last").exists()
    assert containers(dock) == []
    assert not marker(dock).exists()


def test_files_of_a_notebook_that_ended_meanwhile_are_fetched_first(dock, start):
    notebook = start()
    notebook.url()
    (name,) = containers(dock)
    dock.host.cut()
    notebook.wait()
    dock.host.engine.docker("stop", name)
    wait_for(lambda: not containers(dock))
    again = start()
    again.url()
    assert (dock.root / "last").exists()
    assert "run-notebook: the last notebook on dock gpu was interrupted; fetching its files first\n" in again.stderr
    assert again.end(signal.SIGINT)[0] == 130


def test_a_notebook_that_ends_before_it_is_joined(dock, monkeypatch):
    marker(dock).write_text("alice_notebook_gone\n")
    monkeypatch.setattr(run_notebook, "is_running", lambda _: True)
    outcome = dock(main)
    assert outcome.status == 1
    assert re.fullmatch(
        "run-notebook: docker said: .*No such container: alice_notebook_gone; check the engine: docker info\n",
        outcome.err,
    )


def test_a_second_notebook_joins_the_first(dock, start):
    first = start()
    first.url()
    second = start()
    second.url()
    first.end(signal.SIGTERM)
    status, _ = second.wait()
    assert status == 0, second.stderr
    assert not marker(dock).exists()


def test_another_checkout_of_the_same_name_does_not_join(dock, start, tmp_path, capfd):
    first = start()
    first.url()
    other = write_tree(tmp_path / "other" / "app", {"docker/dev/Dockerfile": "FROM scratch\n"})
    write_tree(other, {"docker/dockerutils.cfg": f"{BOX}cmd = {WEB}\n"})
    outcome = call(main, directory=other, capfd=capfd)
    assert (outcome.status, outcome.out) == (1, "")
    assert "joining" not in outcome.err
    assert str(dock.root) in outcome.err.splitlines()[-1]
    assert len(containers(dock)) == 1
    assert first.end(signal.SIGTERM)[0] == 143
