"""The testbed keeps its promises: real engines, apart from everything of the user's, and nothing left of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import each_store, first_line, wait_for
from tests.testbed import images
from tests.testbed.engine import Engine, command_line, running

pytestmark = pytest.mark.engine

_VERSION = ("version", "--format", "{{.Server.Version}}")


def test_classic_engine_is_the_one_of_this_machine(engine) -> None:
    output = subprocess.run(["dockerd", "--version"], capture_output=True, text=True, check=True).stdout
    assert f"version {engine.docker(*_VERSION).strip()}," in output


@pytest.mark.parametrize(("fixture", "driver"), [("modern_engine", "overlay2"), ("containerd_engine", "overlayfs")])
def test_modern_engines_differ_in_their_image_store(request, fixture, driver) -> None:
    modern = request.getfixturevalue(fixture)
    assert int(modern.docker(*_VERSION).partition(".")[0]) >= 28
    assert modern.docker("info", "--format", "{{.Driver}}") == f"{driver}\n"


@each_store
def test_environment_leads_to_the_engine(each_engine) -> None:
    ours = subprocess.run(["docker", "info", "--format", "{{.ID}}"], capture_output=True, text=True, check=True).stdout
    assert ours == each_engine.docker("info", "--format", "{{.ID}}")


@each_store
def test_container_prints(each_engine) -> None:
    assert each_engine.docker("run", "--rm", images.BUSYBOX, "echo", "hello") == "hello\n"


def test_engines_side_by_side_keep_their_networks(engine, modern_engine) -> None:
    for each in (engine, modern_engine):
        assert "default via" in each.docker("run", "--rm", images.BUSYBOX, "ip", "route")


@each_store
def test_volume_is_the_one_of_this_machine(each_engine, tmp_path) -> None:
    (tmp_path / "file").write_text("mine\n")
    assert each_engine.docker("run", "--rm", "-v", f"{tmp_path}:/here", images.BUSYBOX, "cat", "/here/file") == "mine\n"


def _build(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Build what BuildKit alone can build, as a test's own docker does."""
    tmp_path.joinpath("Dockerfile").write_text(f"FROM {images.BUSYBOX}\nRUN --mount=type=tmpfs,target=/t touch /t/x\n")
    command = ["docker", "build", "-t", "local/mounted", str(tmp_path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("fixture", ["modern_engine", "containerd_engine"])
def test_modern_engine_builds_with_buildkit(request, fixture, tmp_path) -> None:
    modern = request.getfixturevalue(fixture)
    done = _build(tmp_path)
    assert done.returncode == 0, done.stderr
    modern.docker("image", "rm", "local/mounted")


def test_classic_engine_builds_without_buildkit(engine, tmp_path) -> None:
    done = _build(tmp_path)
    assert done.returncode == 1
    assert "requires BuildKit" in done.stderr


def test_modern_engine_brings_compose(modern_engine) -> None:
    done = subprocess.run(["docker", "compose", "version", "--short"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("2.")


def test_python_image(engine, python_image) -> None:
    assert engine.docker("run", "--rm", python_image, "python3", "-c", "import pip, venv; print('yes')") == "yes\n"
    assert engine.docker("image", "inspect", "--format", "{{.Config.Cmd}}", python_image) == "[python3]\n"


def test_refusal_tells_what_docker_said(engine) -> None:
    with pytest.raises(RuntimeError, match=r"(?i)no such image: absent"):
        engine.docker("image", "inspect", "absent")


def test_is_running_sees_containers(each_engine) -> None:
    name = each_engine.docker("run", "-d", images.BUSYBOX, "sleep", "1234").strip()
    wait_for(lambda: each_engine.is_running("sleep 1234"))
    each_engine.docker("rm", "-f", name)
    assert not each_engine.is_running("sleep 1234")


def test_user_is_out_of_reach(tmp_path_factory) -> None:
    base = tmp_path_factory.getbasetemp()
    assert os.path.expanduser("~") == os.environ["HOME"]
    assert Path(os.environ["HOME"]).is_relative_to(base)
    assert Path(os.environ["DOCKER_CONFIG"]).is_relative_to(base)
    assert {name for name in os.environ if name.startswith(("AWS_", "DOCKER_", "SSH_", "XDG_"))} == {
        "AWS_EC2_METADATA_DISABLED",
        "DOCKER_CONFIG",
        "DOCKER_HOST",
    }
    done = subprocess.run(["docker", "version"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "unix:///nonexistent/docker.sock" in done.stderr


def _traces(engine: Engine) -> set[str]:
    """Return what can be found of an engine on this machine: its files, mounts, control groups and processes."""
    name = os.path.basename(engine.directory)
    found = {engine.directory} if os.path.exists(engine.directory) else set()
    found |= {line for line in Path("/proc/mounts").read_text().splitlines() if name in line}
    found |= {path for path, _, _ in os.walk("/sys/fs/cgroup") if name in path}
    commands = (command_line(pid) for pid in os.listdir("/proc") if pid.isdigit())
    found |= {command for command in commands if name in command or "sleep 4321" in command}
    return found


def _namespaces(pid: int | str) -> set[str]:
    return {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "mnt", "pid")}


def _await_no_traces(engine: Engine) -> None:
    deadline = time.monotonic() + 30
    while traces := _traces(engine):
        assert time.monotonic() < deadline, traces


def test_nothing_is_left_of_an_engine_that_ended() -> None:
    with running() as engine:
        images.add_busybox(engine)
        engine.docker("run", "-d", images.BUSYBOX, "sleep", "4321")
        before = engine.processes()
        dockerd = next(pid for pid, line in before.items() if line.startswith("dockerd"))
        assert not _namespaces(dockerd) & _namespaces("self")
        traces = _traces(engine)
        assert any(trace.startswith("/sys/fs/cgroup") for trace in traces)
        assert any("sleep 4321" in trace for trace in traces)
    assert _traces(engine) == set()
    # And so its namespaces are gone, which live by their processes and mounts.
    assert not [line for pid, line in before.items() if line and command_line(pid) == line]


def test_nothing_is_left_of_an_engine_whose_tests_were_killed() -> None:
    program = """
import time
from tests.testbed.engine import running
with running() as engine:
    print(engine.directory, engine.pid, flush=True)
    time.sleep(600)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as tests:
        directory, pid = first_line(tests).split()
        engine = Engine(directory, int(pid), None)
        assert engine.docker(*_VERSION)
        tests.send_signal(signal.SIGKILL)
    _await_no_traces(engine)


def test_engine_that_does_not_come_up_shows_its_log_and_leaves_nothing() -> None:
    with (
        pytest.raises(RuntimeError, match="the Docker Engine did not start; its log:") as caught,
        running(nonsense=True),
    ):
        pytest.fail("it came up")
    match = re.search(r"with file (\S+)/daemon.json: .*nonsense", str(caught.value))
    assert match
    assert not os.path.exists(match[1])


def test_engine_that_crashes_starts_again_with_what_it_has() -> None:
    with running() as engine:
        before = engine.dockerd
        images.add_busybox(engine)
        engine.crash()
        assert engine.dockerd != before
        assert engine.docker("image", "ls", "-q", images.BUSYBOX)


def test_engine_has_a_disk_of_its_own_at_will() -> None:
    with running(disk="30m") as engine:
        data = f"{engine.directory}/data"
        disk = os.statvfs(engine.path(data))
        assert disk.f_blocks * disk.f_frsize == 30 << 20
        assert os.listdir(engine.path(data))
        assert os.listdir(data) == []
