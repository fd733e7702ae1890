"""attach-image: a run on a real dock that goes on without this machine; its log, its status, its files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dockerutils.commands import ls_dock, ls_image, run_image
from dockerutils.commands.attach_image import main
from dockerutils.commands.sync_down import main as sync_down
from dockerutils.docks import inventory
from tests.commands.conftest import Docked
from tests.support import call, program, wait_for, write_tree

CONFIG = "[train]\nname = local/busybox:latest\nprefix = False\nvolumes = -v {root}:/p -v {root}/out:/out\n"
TRAIN = "echo begun; until [ -e /p/go ]; do sleep 0.1; done; echo done; echo model >/out/model; exit 3"


@pytest.fixture
def dock(docked_shell: Docked, not_replaced: None) -> Iterator[Docked]:
    """Return a docked shell with an image; remove its containers afterwards."""
    docked_shell.write({"docker/dockerutils.cfg": CONFIG, ".dockerignore": "out\n"})
    yield docked_shell
    engine = docked_shell.host.engine
    for name in engine.docker("ps", "-aq", "--filter", "label=dockerutils.project").split():
        engine.docker("rm", "-f", name)


def copy(dock: Docked) -> str:
    return f"{dock.host.home('dock')}/work/alice/code/app"


def train(dock: Docked, *argv: str) -> str:
    """Start a run, and return the name of its container."""
    started = dock(run_image.main, "train", *argv, "--", "sh", "-c", TRAIN)
    assert started.status == 0, started.err
    return dock.host.engine.docker("inspect", "-f", "{{.Name}}", started.out.strip()).strip().lstrip("/")


@contextmanager
def attached(
    dock: Docked, *argv: str, first: Path | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], Path, Path]]:
    """Run attach-image, killed in the end; its output goes to files, as a shared connection keeps pipes open.

    `first` is a directory with commands that it finds first.
    """
    environ = {**os.environ, "PATH": f"{first}:{os.environ['PATH']}" if first else os.environ["PATH"]}
    files = [dock.root.parent / name for name in ("stdout", "stderr")]
    with files[0].open("wb") as out, files[1].open("wb") as err:
        command = [sys.executable, "-c", "from dockerutils.commands.attach_image import main; raise SystemExit(main())"]
        child = subprocess.Popen(
            [*command, *argv], cwd=dock.root, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environ
        )
    try:
        yield child, files[0], files[1]
    finally:
        child.kill()
        child.wait()


def test_a_run_goes_on_without_us_and_its_files_come_back(dock: Docked, tmp_path: Path) -> None:
    name = train(dock, "-k", "--sync")
    labels = json.loads(dock.host.engine.docker("inspect", "-f", "{{json .Config.Labels}}", name))
    origin = f"{os.uname().nodename}:{dock.root}"
    assert {key: value for key, value in labels.items() if key.startswith("dockerutils.")} == {
        "dockerutils.project": "app",
        "dockerutils.image": "train",
        "dockerutils.user": "alice",
        "dockerutils.origin": origin,
    }
    # Here `docker wait` never knows that the connection has ended, as if it had connected after that.
    program(tmp_path / "late/docker", f'[ "$1" = wait ] && exec sleep 600; exec {shutil.which("docker")} "$@"')
    with attached(dock, "train", first=tmp_path / "late") as (child, out, err):
        wait_for(lambda: out.read_text() == "begun\n")
        dock.host.cut()  # the lid is closed
        assert child.wait(60) == 1
        assert err.read_text().splitlines()[-1] == (
            "attach-image: the connection to dock gpu ended, but the run continues; to follow it again, run: attach-image train"
        )
    with attached(dock, "train") as (child, out, err):
        wait_for(lambda: out.read_text() == "begun\n")
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130
        assert (
            f"attach-image: {name} is still running; to follow it again, run: attach-image train\n" in err.read_text()
        )
    row = next(line for line in dock(ls_image.main).out.splitlines() if line.startswith(name))
    assert row.split()[1:3] == ["train", "Up"]
    assert row.endswith(origin)
    [run] = json.loads(dock(ls_image.main, "--json").out)[1]["runs"]
    assert (run["container"], run["user"], run["origin"]) == (name, "alice", origin)
    [listed] = json.loads(dock(ls_dock.main, "-v", "--json").out)[0]["runs"]
    assert {**listed, "status": run["status"]} == run  # it has grown older
    row = next(line for line in dock(ls_dock.main, "-v").out.splitlines() if name in line)
    assert row.split()[:4] == ["gpu", name, "train", "Up"]
    assert name not in dock(ls_dock.main).out

    with attached(dock, "train", "--tail", "0") as (child, out, err):
        dock.run("touch go", copy(dock))
        assert child.wait(60) == 3, err.read_text()
        assert out.read_text() in {"done\n", ""}  # it ended before or after we asked
        assert err.read_text().splitlines()[-1] == f"attach-image: {name} ended with status 3"
    assert (dock.root / "out/model").read_text() == "model\n"
    assert os.listdir(dock.host.path(f"{copy(dock)}/.dockerutils")) == ["origin"]
    # It is kept, so it can be asked again; there is nothing to fetch any more.
    again = dock(main, "train")
    assert (again.status, again.out) == (3, "begun\ndone\n")
    assert again.echoed == [f"docker logs --follow {name}"]


def test_which_run_it_is(dock: Docked, tmp_path, capfd) -> None:
    assert dock(main, "train") == (
        1,
        "",
        "attach-image: dock gpu has no run of train; to list the runs, run: ls-image; to start one, run: run-image train -k --sync\n",
    )
    first = train(dock, "-k")
    second = train(dock, "-d")  # removed when it ends
    dry = dock(main, "train", "--dry-run", "-n", "5")
    assert dry.out == f"docker logs --follow --tail 5 {second}\n"
    assert dry.err == f"attach-image: attaching to {second}; --name chooses another run: {first}\n"
    # From another checkout, a run of this one is found, too, and it says so.
    other = write_tree(tmp_path / "other/app", {"docker/dockerutils.cfg": CONFIG})
    outcome = call(main, "train", "--dry-run", "--name", first, directory=other, capfd=capfd)
    host = os.uname().nodename
    assert (outcome.out, outcome.err) == (
        f"docker logs --follow {first}\n",
        f"attach-image: {first} was started in {host}:{dock.root}, not in {host}:{other}\n",
    )
    with attached(dock, "train") as (child, out, err):
        wait_for(lambda: out.read_text() == "begun\n")
        dock.run("touch go", copy(dock))
        assert child.wait(60) == 3, err.read_text()
    # Without --sync nothing is fetched unasked.
    assert not (dock.root / "out/model").exists()
    assert dock(main, "train", "--name", first).status == 3
    assert dock(sync_down).status == 0
    assert (dock.root / "out/model").read_text() == "model\n"


@pytest.mark.parametrize(
    ("argv", "environ", "status", "message"),
    [
        (["train"], {"DOCK_MONIKER": ""}, 2, "this shell is not docked; run: source dock NAME"),
        (["train", "--tail", "x"], {}, 2, "--tail: 'x' is not a number of lines; write a number, or omit it for the whole log"),
        (["train", "--tail", "\u0663"], {}, 2, "--tail: '\u0663' is not a number of lines; write a number, or omit it for the whole log"),
        (["no"], {}, 2, "'no' is not an image of this project; its images: dev"),
    ],
)  # fmt: skip
def test_bad_usage(docked: Docked, monkeypatch, argv, environ, status, message) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert docked(main, *argv) == (status, "", f"attach-image: {message}\n")


def test_a_dock_that_does_not_answer(docked: Docked, monkeypatch) -> None:
    dock = inventory.find("gpu", os.environ["HOME"])
    inventory.register(dock._replace(port=1), os.environ["HOME"])
    monkeypatch.setenv("DOCKER_HOST", "ssh://dock-gpu")
    outcome = docked(main, "dev")
    assert outcome.status == 1
    assert outcome.err.startswith("attach-image: ")
    assert len(outcome.err.splitlines()) == 1
