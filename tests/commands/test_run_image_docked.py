"""run-image in a docked shell: on a real host, with its files and ports."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from dockerutils.commands.build_image import main as build_image
from dockerutils.commands.run_image import main
from dockerutils.commands.sync_down import main as sync_down
from dockerutils.commands.sync_up import main as sync_up
from dockerutils.docker import platforms
from dockerutils.docks import inventory, remote
from tests.commands.conftest import Docked
from tests.support import Outcome, processes, wait_for

BOX = "[box]\nname = local/busybox:latest\nprefix = False\n"
WEB = "sh -c 'mkdir /w; echo hello > /w/index.html; exec httpd -f -p 80 -h /w'"


def configure(docked_shell: Docked, text: str) -> str:
    """Write the section of the image; return the path of the project's copy."""
    docked_shell.write({"docker/dockerutils.cfg": f"{BOX}{text}\n"})
    return f"{docked_shell.host.home('dock')}/work/alice/code/app"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def fetch(port: int) -> bytes:
    """Return the answer of the web server; nothing while there is none."""
    try:
        with urlopen(f"http://localhost:{port}/", timeout=5) as answer:
            return bytes(answer.read())
    except (URLError, OSError):
        return b""


def start(docked_shell: Docked, *argv: str) -> subprocess.Popen[str]:
    command = [str(Path(sys.executable).parent / "run-image"), *argv]
    return subprocess.Popen(
        command,
        cwd=docked_shell.root,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@contextmanager
def running(docked_shell: Docked, *argv: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run run-image, killed in the end; its stderr is a file, because a shared connection keeps a pipe open."""
    log = docked_shell.root.parent / "stderr"
    with log.open("wb") as stderr:
        command = [str(Path(sys.executable).parent / "run-image"), *argv]
        child = subprocess.Popen(
            command, cwd=docked_shell.root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
        )
    try:
        yield child, log
    finally:
        child.kill()
        child.wait()


def nothing_is_left(docked_shell: Docked) -> bool:
    return not any("alice_box" in line for line in docked_shell.host.engine.docker("ps", "-a").splitlines())


def test_project_root_is_the_copy_on_the_dock(docked_shell: Docked) -> None:
    copy = configure(docked_shell, "volumes = -v {project_root}:/p -v {root}/sub:/s -v {workdir}:/w")
    docked_shell.write({"sub/a": "from here\n"})
    outcome = docked_shell(main, "box", "--sync", "--", "sh", "-c", "cat /s/a; echo from there >/p/b", directory="sub")
    assert (outcome.status, outcome.out) == (0, "from here\n")
    up, run, down, release = outcome.echoed
    assert " -u " in up
    assert up.endswith(f" ./ dock-gpu:{copy}/)")
    assert f"-v {copy}:/p -v {copy}/sub:/s -v {copy}/sub:/w" in run
    assert down.endswith(f" dock-gpu:{copy}/ ./)")
    assert re.fullmatch(rf"ssh -n dock-gpu 'rm -f {copy}/.dockerutils/run-alice_box_\S+'", release)
    assert (docked_shell.root / "b").read_text() == "from there\n"
    assert unsynced(docked_shell, copy) == []


def unsynced(docked_shell: Docked, copy: str) -> list[str]:
    """Return the containers whose files are not synced down, as the copy is marked."""
    names = os.listdir(docked_shell.host.path(f"{copy}/.dockerutils"))
    return [name.removeprefix("run-") for name in names if name.startswith("run-")]


SLOW = "sh -c 'echo begun >/p/begun; until [ -e /p/go ]; do sleep 0.1; done; echo result >/p/result'"


@pytest.fixture
def interrupted(docked_shell: Docked, request: pytest.FixtureRequest):
    """Return a docked shell whose run was cut off, or killed, and went on to write its result on the dock."""
    copy = configure(docked_shell, f"volumes = -v {{project_root}}:/p\ncmd = {SLOW}")
    docked_shell.write({"result": "old\n"})
    os.utime(docked_shell.root / "result", (1, 1))
    with running(docked_shell, "box", "--sync") as (child, log):
        wait_for(lambda: "begun" in docked_shell.there(copy))
        (container,) = unsynced(docked_shell, copy)
        if request.param == "cut":
            docked_shell.host.cut()
            assert child.wait(60) != 0
            assert log.read_text().splitlines()[-1] == (
                f"sync: warning: {container} is still running on dock gpu; run sync-down when it ends"
            )
            assert (docked_shell.root / "begun").exists()
    assert unsynced(docked_shell, copy) == [container]
    # As long as it runs, a sync brings what there is, and keeps the mark.
    assert docked_shell(sync_down).status == 0
    assert unsynced(docked_shell, copy) == [container]
    docked_shell.run("touch go", copy)
    wait_for(lambda: container not in docked_shell.host.engine.docker("ps", "-a"))
    docked_shell.write({"result": "old, touched\n"})
    os.utime(docked_shell.root / "result", (1, 1))
    return docked_shell


@pytest.mark.parametrize("interrupted", ["cut", "killed"], indirect=True)
def test_the_result_of_an_interrupted_run_comes_before_the_next_run(interrupted: Docked) -> None:
    copy = f"{interrupted.host.home('dock')}/work/alice/code/app"
    (container,) = unsynced(interrupted, copy)
    outcome = interrupted(main, "box", "--sync", "--", "cat", "/p/result")
    assert (outcome.status, outcome.out) == (0, "result\n")
    first = f"sync: first fetching the files that {container} wrote on dock gpu: they were not synced down\n"
    assert outcome.err.startswith(first)
    assert (interrupted.root / "result").read_text() == "result\n"
    assert unsynced(interrupted, copy) == []


@pytest.mark.parametrize("interrupted", ["killed"], indirect=True)
def test_the_result_of_an_interrupted_run_comes_before_a_sync_up(interrupted: Docked) -> None:
    copy = f"{interrupted.host.home('dock')}/work/alice/code/app"
    assert interrupted(sync_up).status == 0
    assert (interrupted.root / "result").read_text() == "result\n"
    assert interrupted.host.run(f"cat {copy}/result") == "result\n"
    assert unsynced(interrupted, copy) == []


def test_a_run_does_not_replace_what_is_newer_on_the_dock(docked_shell: Docked) -> None:
    copy = configure(docked_shell, "volumes = -v {project_root}:/p")
    docked_shell.write({"a": "old\n", "b": "old\n"})
    assert docked_shell(sync_up).status == 0
    docked_shell.run("echo theirs >a; touch -d +1hour a; echo theirs >b; touch -d -1hour b", copy)
    docked_shell.write({"b": "mine\n"})
    outcome = docked_shell(main, "box", "--sync", "--", "cat", "/p/a", "/p/b", "/p/.dockerutils/replaced/b")
    assert (outcome.status, outcome.out) == (0, "theirs\nmine\ntheirs\n")
    assert "\na is newer\n" in outcome.err


def test_a_dock_that_is_gone_after_the_run_says_where_the_files_are(docked_shell: Docked) -> None:
    configure(docked_shell, f"volumes = -v {{project_root}}:/p\ncmd = {SLOW}")
    copy = f"{docked_shell.host.home('dock')}/work/alice/code/app"
    with running(docked_shell, "box", "--sync") as (child, log):
        wait_for(lambda: "begun" in docked_shell.there(copy))
        dock = inventory.find("gpu", os.environ["HOME"])
        inventory.register(dock._replace(port=free_port()), os.environ["HOME"])
        docked_shell.run("touch go", copy)
        assert child.wait(60) == 255
    assert (
        log.read_text()
        .splitlines()[-1]
        .endswith("; the files of the container stay on dock gpu until you run sync-down")
    )


def test_a_failed_run_syncs_down_and_keeps_its_status(docked_shell: Docked) -> None:
    configure(docked_shell, "volumes = -v {project_root}:/p")
    outcome = docked_shell(main, "box", "--sync", "--", "sh", "-c", "echo all >/p/b; exit 7")
    assert outcome.status == 7
    assert (docked_shell.root / "b").read_text() == "all\n"


def test_without_ports_and_sync_docker_replaces_the_process(docked_shell: Docked) -> None:
    configure(docked_shell, "cmd = sleep 612")
    with start(docked_shell, "box") as child:
        wait_for(lambda: processes("sleep", "612"))
        arguments = Path(f"/proc/{child.pid}/cmdline").read_bytes().split(b"\0")
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=60)
    assert arguments[:2] == [b"docker", b"run"]
    assert nothing_is_left(docked_shell)


def test_a_published_port_answers_here_for_as_long_as_the_container_runs(docked_shell: Docked) -> None:
    port = free_port()
    configure(docked_shell, f"cmd = {WEB}\nports = -p published={port},target=80")
    before = docked_shell.host.authentications()
    with start(docked_shell, "box") as child:
        assert wait_for(lambda: fetch(port)) == b"hello\n"
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGTERM
    assert f"ssh -O forward -L 127.0.0.1:{port}:localhost:{port} dock-gpu\n" in err
    assert fetch(port) == b""
    assert nothing_is_left(docked_shell)
    assert docked_shell.host.authentications() == before + 1  # one connection for all


@pytest.mark.parametrize(("args", "argv"), [("-p 127.0.0.1:{port}:80", ["-k"]), ("-dp 127.0.0.1:{port}:80", [])])
def test_a_detached_containers_port_answers_until_it_ends(docked_shell: Docked, args: str, argv: list[str]) -> None:
    port = free_port()
    configure(docked_shell, f"cmd = {WEB}\nargs = {args.format(port=port)}")
    outcome = docked_shell(main, "box", *argv)
    assert re.fullmatch("[0-9a-f]{64}\n", outcome.out)
    container = outcome.out.strip()
    try:
        assert wait_for(lambda: fetch(port)) == b"hello\n"
    finally:
        docked_shell.host.engine.docker("rm", "-f", container)
    assert wait_for(lambda: not listens(port))


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_a_container_that_does_not_start_leaves_no_port_behind(docked_shell: Docked) -> None:
    port = free_port()
    configure(docked_shell, f"ports = -p {port}:80\nargs = --cpus 100000")
    assert docked_shell(main, "box", "-k").status == 125
    assert not listens(port)


def test_a_port_in_use_here_is_an_error_before_anything_runs(docked_shell: Docked) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        configure(docked_shell, f"ports = -p {port}:80")
        outcome = docked_shell(main, "box")
    assert outcome.status == 1
    assert outcome.err == (
        f"run-image: port {port} is in use on this machine; stop the program that uses it, or publish another port\n"
    )
    assert nothing_is_left(docked_shell)


def test_a_second_run_with_the_same_port_leaves_the_first_its_port(docked_shell: Docked) -> None:
    port = free_port()
    configure(docked_shell, f"cmd = {WEB}\nports = -p {port}:80")
    with start(docked_shell, "box") as child:
        try:
            assert wait_for(lambda: fetch(port)) == b"hello\n"
            assert docked_shell(main, "box").status == 125
            assert fetch(port) == b"hello\n"
        finally:
            child.send_signal(signal.SIGTERM)
            child.communicate(timeout=60)
    assert not listens(port)


def test_a_taken_port_is_an_error_before_the_project_is_synced(docked_shell: Docked) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        copy = configure(docked_shell, f"ports = -p {taken.getsockname()[1]}:80")
        outcome = docked_shell(main, "box", "--sync")
    assert (outcome.status, outcome.echoed) == (1, [])
    assert docked_shell.there(copy) == set()


def test_a_connection_that_does_not_answer_is_replaced(docked_shell: Docked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CHECK", 1.0)
    configure(docked_shell, "cmd = echo hello")
    subprocess.run(["ssh", "dock-gpu", "true"], check=True)
    answer = subprocess.run(["ssh", "-O", "check", "dock-gpu"], capture_output=True, text=True, check=True).stderr
    master = int(answer.partition("pid=")[2].partition(")")[0])
    os.kill(master, signal.SIGSTOP)
    try:
        assert docked_shell(main, "box", "--sync").out == "hello\n"
    finally:
        os.kill(master, signal.SIGKILL)


def test_a_dock_that_is_gone_is_an_error(docked_shell: Docked) -> None:
    configure(docked_shell, "ports = -p 8000:80")
    dock = inventory.find("gpu", os.environ["HOME"])
    inventory.register(dock._replace(port=free_port()), os.environ["HOME"])
    outcome = docked_shell(main, "box")
    assert outcome.status != 0
    assert len([line for line in outcome.err.splitlines() if line.startswith("run-image:")]) == 1


def test_an_engine_that_is_too_old_for_docker_is_an_error_before_anything_runs(
    docked_shell: Docked, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(docked_shell, "volumes = -v {project_root}:/p")
    monkeypatch.setenv("DOCKER_API_VERSION", "1.99")
    outcome = docked_shell(main, "box")
    assert (outcome.status, outcome.out) == (1, "")
    assert re.fullmatch(
        r"run-image: the docker command is too new for the Docker Engine: it uses API 1.99, the engine has up to 1.\d\d; "
        r"upgrade the engine, or unset DOCKER_API_VERSION if it is set\n",
        outcome.err,
    )


def dry(docked_shell: Docked, *argv: str) -> Outcome:
    return docked_shell(main, "box", "--dry-run", *argv)


def test_a_dry_run_prints_all_commands(docked_shell: Docked) -> None:
    copy = configure(docked_shell, "volumes = -v {project_root}:/p\nports = -p 8000-8001:80-81 -p [::1]:8002:82")
    up, forward, run, cancel, down, release = dry(docked_shell, "--sync").out.splitlines()
    listening = "-L 127.0.0.1:8000:localhost:8000 -L 127.0.0.1:8001:localhost:8001 -L '127.0.0.1:8002:[::1]:8002'"
    assert up.endswith(f" ./ dock-gpu:{copy}/")
    assert forward == f"ssh -O forward {listening} dock-gpu"
    assert run.startswith("docker run ")
    assert cancel == f"ssh -O cancel {listening} dock-gpu"
    assert down.endswith(f" dock-gpu:{copy}/ ./")
    assert release.startswith(f"ssh -n dock-gpu 'rm -f {copy}/.dockerutils/run-alice_box_")
    assert docked_shell.there(copy) == set()


def test_a_detached_run_is_not_synced_down(docked_shell: Docked) -> None:
    configure(docked_shell, "interactive = -d")
    up, run = dry(docked_shell, "--sync").out.splitlines()
    assert up.startswith("rsync ")
    assert run.startswith("docker run ")


def test_a_mounted_path_of_this_machine_causes_a_warning(docked_shell: Docked, tmp_path: Path) -> None:
    configure(
        docked_shell,
        f"volumes = -v {{root}}:/p -v {tmp_path}:/t -v named:/n -v /on/the/dock:/d"
        "\nargs = --mount type=bind,source=/usr,target=/u --mount type=volume,source=v,target=/v",
    )
    assert dry(docked_shell).err.splitlines() == [
        f"run-image: warning: {path} is mounted from the dock, not from this machine; mount the project instead"
        for path in (tmp_path, "/usr")
    ]


def test_sync_does_nothing_outside_of_a_docked_shell(docked_shell: Docked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCK_MONIKER")
    configure(docked_shell, "volumes = -v {project_root}:/p")
    (line,) = dry(docked_shell, "--sync").out.splitlines()
    assert f"-v {docked_shell.root}:/p" in line


def test_image_for_another_platform_is_refused(docked_shell) -> None:
    docked_shell.write({
        "docker/base/Dockerfile": "FROM scratch\nCOPY docker /docker\n",
        "docker/dev/Dockerfile": "FROM app-base:alice\nCOPY docker /more\nCMD ['/none']\n",
        "docker/dockerutils.cfg": "[dev]\ninteractive =\n",
    })  # fmt: skip
    own, other = platforms.normal(f"linux/{os.uname().machine}"), "linux/s390x"
    assert docked_shell(build_image, "base", "dev", "--platform", other).status == 0
    advised = f"build-image base dev --platform {own}"
    outcome = docked_shell(main, "dev")
    assert (outcome.status, outcome.out, outcome.err) == (
        1,
        "",
        f"run-image: app-dev:alice is for {other}, and dock gpu runs {own}; run: {advised}, or, if the dock has "
        f"emulation, add --platform {other}\n",
    )
    # The engine, which has no emulation, is asked now.
    assert f" --platform {other} app-dev:alice" in _started(docked_shell, "dev", "--platform", other)
    assert docked_shell(build_image, *advised.split()[1:]).status == 0
    assert "\ndocker run " in _started(docked_shell, "dev")
    docked_shell.host.engine.docker("image", "rm", "app-base:alice", "app-dev:alice")


def _started(docked_shell: Docked, *argv: str) -> str:
    """Return the stderr of a run that docker replaces."""
    with start(docked_shell, *argv) as child:
        return child.communicate(timeout=60)[1]
