"""The socket of a dock's engine: how many clients it takes, and that it finds the engine again."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from dockerutils.docks import engine_socket, inventory, proxy, remote, ssh_config, tunnel
from dockerutils.docks.records import Dock
from tests.support import sleeping, wait_for
from tests.testbed.engine import Engine
from tests.testbed.host import Host, serving
from tests.testbed.relay import relaying

MANY = 40


@pytest.fixture
def shell() -> Iterator[int]:
    """Return the pid of a process that uses sockets, which end after it."""
    with sleeping() as pid:
        yield pid


@pytest.fixture
def home() -> str:
    return os.environ["HOME"]


@pytest.fixture
def serve(home: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Dock], str]]:
    """Return a function that serves the socket of a dock in this process, less patiently, and returns its DOCKER_HOST."""
    monkeypatch.setattr(tunnel, "PING", 1.0)
    monkeypatch.setattr(proxy, "_PATIENCE", 0.5)
    monkeypatch.setattr(proxy, "_TICK", 0.05)
    with ExitStack() as stack:

        def serve(dock: Dock) -> str:
            inventory.register(dock, home)
            path = f"{home}/.docker/{dock.host}.sock"
            assert engine_socket.path(dock, home) == path
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen()
            thread = threading.Thread(target=proxy.Proxy(dock.moniker, listener, {os.getpid()}).serve)
            thread.start()
            stack.callback(thread.join)
            stack.callback(os.unlink, path)
            return f"unix://{path}"

        yield serve


def docker(address: str, *argv: str) -> tuple[int, str, str]:
    """Call docker with this DOCKER_HOST."""
    done = subprocess.run(
        ["docker", "--host", address, *argv], capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


def dock_at(host: Host, user: str = "dock") -> Dock:
    return Dock("far", host.address, user, host.address, host.address, host.port)


def master(dock: Dock) -> int:
    """Return the pid of the shared connection."""
    check = subprocess.run(remote.of(dock).control("check"), capture_output=True, text=True, check=True, timeout=20)
    return int(check.stderr.partition("pid=")[2].partition(")")[0])


def test_many_containers_at_once(host: Host, home: str, shell: int) -> None:
    """Four times as many as sshd accepts sessions over one connection (MaxSessions), each with several channels."""
    dock = dock_at(host)
    inventory.register(dock, home)
    address = engine_socket.ensure(dock, home, shell)
    argv = ["docker", "--host", address, "run", "--rm", "-i", "--network=none", "--label=many", "local/busybox", "cat"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with ExitStack() as stack:
        runs = [stack.enter_context(subprocess.Popen(argv, text=True, **pipes)) for _ in range(MANY)]  # type: ignore[call-overload]
        listing = ("ps", "--quiet", "--filter=label=many", "--filter=status=running")
        wait_for(lambda: len(host.engine.docker(*listing).split()) == MANY or any(each.poll() for each in runs), 240)
        said = [each.communicate(f"{number}\n", timeout=120) for number, each in enumerate(runs)]
    assert said == [(f"{number}\n", "") for number in range(MANY)]
    assert host.authentications() == 1


def test_docker_finds_the_engine_again(host: Host, serve: Callable[[Dock], str]) -> None:
    """After whatever happens to the connection, the next docker command works."""
    with relaying(host.address, host.port) as first, relaying(host.address, host.port) as second:
        dock = dock_at(host.at(first.address, first.port))
        address = serve(dock)

        def check(logins: int) -> None:
            assert docker(address, "version", "-f", "ok") == (0, "ok\n", "")
            assert host.authentications() == logins

        check(1)
        check(1)
        os.kill(master(dock), signal.SIGKILL)
        check(2)
        stopped = master(dock)
        os.kill(stopped, signal.SIGSTOP)
        check(3)
        os.kill(stopped, signal.SIGKILL)
        host.cut()  # as a dock that restarts
        check(4)
        subprocess.run(remote.of(dock).control("exit"), check=True, capture_output=True, timeout=20)
        check(5)

        # The network is gone while this machine sleeps; when it is back, the old connection is still dead.
        os.kill(first.pid, signal.SIGSTOP)
        argv = ["docker", "--host", address, "version", "-f", "ok"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as waiting:
            wait_for(lambda: not os.path.exists(str(ssh_config.socket(dock, os.environ["HOME"]))))
            os.kill(first.pid, signal.SIGCONT)
            assert waiting.communicate(timeout=60)[0] == "ok\n"
        wait_for(lambda: host.authentications() == 6)

        # The dock has another address now, and nothing answers at the old one.
        os.kill(first.pid, signal.SIGSTOP)
        inventory.change(dock, dock._replace(port=second.port, ip=second.address), os.environ["HOME"])
        assert docker(address, "version", "-f", "ok") == (0, "ok\n", "")
        os.kill(first.pid, signal.SIGCONT)


def test_a_dock_that_goes_down_and_comes_back(
    host: Host, serve: Callable[[Dock], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel, "_LOGIN", 3.0)
    address = serve(dock_at(host))
    assert docker(address, "version", "-f", "ok") == (0, "ok\n", "")
    os.kill(host.sshd, signal.SIGSTOP)
    try:
        host.cut()
        status, _, error = docker(address, "ps")
        assert (status, "dockerutils: dock far " in error) == (1, True), error
    finally:
        os.kill(host.sshd, signal.SIGCONT)
    # A login that took long is not repeated for some seconds.
    wait_for(lambda: docker(address, "version", "-f", "ok") == (0, "ok\n", ""))


def test_a_dock_that_does_not_answer(ssh_home: str, serve: Callable[[Dock], str]) -> None:
    address = serve(Dock("far", "127.0.0.1", "dock", "127.0.0.1", "127.0.0.1", 1))
    status, _, error = docker(address, "ps")
    assert (status, error.strip()) == (
        1,
        "Error response from daemon: dockerutils: dock far refused the connection: connect to host 127.0.0.1 port 1: "
        "Connection refused; check that the host is up and that sshd runs there: ssh dock-far",
    )


def test_where_sshd_forwards_no_sockets(containerd_engine: Engine, ssh_home: str, serve: Callable[[Dock], str]) -> None:
    """Sessions take their place, with sudo if that is needed."""
    with serving(containerd_engine, AllowStreamLocalForwarding="no") as host:
        host.admit(ssh_home)
        address = serve(dock_at(host, "nodock"))
        assert docker(address, "version", "-f", "ok") == (0, "ok\n", "")
        done = docker(address, "run", "--rm", "local/busybox", "echo", "here")
        assert (*done, host.authentications()) == (0, "here\n", "", 1)
        host.cut()
        assert docker(address, "version", "-f", "ok") == (0, "ok\n", "")


def test_a_user_who_is_not_allowed_to_use_docker(host: Host, serve: Callable[[Dock], str]) -> None:
    status, _, error = docker(serve(dock_at(host, "plain")), "ps")
    assert (status, error.strip().partition("; ")[0]) == (
        1,
        "Error response from daemon: dockerutils: the user of dock far is not allowed to use its Docker Engine",
    )


@pytest.fixture
def gpu(home: str) -> Dock:
    """Register a dock that nothing connects to."""
    dock = Dock("gpu", "203.0.113.7", "ubuntu", "203.0.113.7", "203.0.113.7")
    inventory.register(dock, home)
    return dock


def proxies(shell: int) -> list[int]:
    """Return the processes that were started for a shell and have not ended."""
    argv, found = f"-m\0dockerutils.docks.proxy\0gpu\0(\\d+)\0{shell}\0$".encode(), []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            if re.search(argv, Path(f"/proc/{pid}/cmdline").read_bytes()):
                found.append(int(pid))
    return found


def test_the_process_ends_after_its_shells(gpu: Dock, home: str, shell: int) -> None:
    address = engine_socket.ensure(gpu, home, shell)
    path = f"{home}/.docker/dock-gpu.sock"
    assert (address, os.stat(path).st_mode & 0o777) == (f"unix://{path}", 0o600)
    with sleeping() as other:
        assert engine_socket.ensure(gpu, home, other) == address
        assert len(wait_for(lambda: proxies(shell))) == 1
        assert proxies(other) == []
        os.kill(shell, signal.SIGKILL)
        os.waitpid(shell, 0)
    wait_for(lambda: not proxies(shell))
    assert not os.path.exists(path)


def test_the_next_command_replaces_a_process_that_ended_or_stopped(
    gpu: Dock, home: str, shell: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getsid", lambda _: shell)
    address = engine_socket.ensure(gpu, home, shell)
    [first] = wait_for(lambda: proxies(shell))
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: not proxies(shell))
    remote.check_docked_shell({"DOCK_MONIKER": "gpu", "DOCKER_HOST": address})
    [second] = wait_for(lambda: proxies(shell))
    os.kill(second, signal.SIGSTOP)
    try:
        assert engine_socket.ensure(gpu, home, shell) == address
        wait_for(lambda: len(proxies(shell)) == 2)
    finally:
        os.kill(second, signal.SIGKILL)


def test_a_process_whose_environment_names_the_socket_uses_it() -> None:
    with sleeping({**os.environ, "DOCKER_HOST": "unix:///h/dock-gpu.sock"}):
        wait_for(lambda: proxy._is_in_environment("/h/dock-gpu.sock"))
        assert not proxy._is_in_environment("/h/dock-gpu")
    assert not proxy._is_in_environment("/h/dock-gpu.sock")


@pytest.mark.parametrize("home", [f"/home/{'u' * 80}", f"/home/{'u' * 200}", "/home/a:b", "/home/a%b", "/home/a\nb"])
def test_a_home_directory_where_there_can_be_no_socket(gpu: Dock, home: str) -> None:
    assert engine_socket.path(gpu, home) is None


def test_a_file_system_without_sockets(gpu: Dock, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dock: Dock, path: str, user: int) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(engine_socket, "_serve", refuse)
    assert engine_socket.ensure(gpu, home, os.getpid()) == "ssh://dock-gpu"
