"""Hosts behind ssh: how they are named, their shared connections, and their docker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dockerutils.core.errors import CommandFailed, DockerutilsError, UserError
from dockerutils.docks import inventory, remote
from dockerutils.docks.records import Dock
from dockerutils.docks.remote import Docker, RemoteHost
from tests.support import first_line, program, wait_for
from tests.testbed.engine import Engine
from tests.testbed.host import Host, serving


def to(name: str, *, ask: bool = False, **environ: str) -> RemoteHost:
    return remote.destination(name, environ, os.environ["HOME"], sockets="/tmp/s", ask=ask)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("10.0.0.7", ["10.0.0.7"], id="an address"),
        pytest.param("me@gpu.example.com", ["me@gpu.example.com"], id="with a user"),
        pytest.param("gpu.example.com:2222", ["-p", "2222", "gpu.example.com"], id="with a port"),
        pytest.param("me@[fe80::1]:2222", ["-p", "2222", "me@fe80::1"], id="IPv6 with a port"),
        pytest.param("fe80::1", ["fe80::1"], id="IPv6"),
        pytest.param("ssh://me@gpu:2222", ["-p", "2222", "me@gpu"], id="as docker has it"),
    ],
)
def test_a_destination_is_a_user_a_host_and_a_port(name: str, words: list[str]) -> None:
    assert to(name).shown("docker load") == ["ssh", *words, "docker load"]


@pytest.mark.parametrize(
    "name",
    [
        *("", "-oProxyCommand=id", "me@-oProxyCommand=id", "-l@host", "a b", "host;id", "$(id)", "`id`", "host/path"),
        *("host:port", "host:99999", "me@host:", "a\nb", "me@@host", "[::1", "ssh://"),
    ],
)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(UserError) as caught:
        to(name)
    assert str(caught.value) == f"{name!r} is not a destination; name a dock, or write [user@]host[:port]"


def test_a_connection_is_shared_and_checks_the_host() -> None:
    argv = to("me@gpu").argv("docker load")
    assert argv[-2:] == ["me@gpu", "docker load"]
    assert {"BatchMode=yes", "ControlMaster=auto", "ControlPath=/tmp/s/%C"} <= set(argv)
    assert not any("HostKey" in word or "KnownHosts" in word for word in argv)


def test_ssh_asks_where_a_person_can_answer() -> None:
    assert "BatchMode=yes" not in to("me@gpu", ask=True).argv("true")


def test_a_dock_is_reached_by_its_stanza() -> None:
    home = os.environ["HOME"]
    inventory.register(Dock("gpu", "10.0.0.7", "me", "10.0.0.7", "10.0.0.7"), home)
    for name in ("gpu", "10.0.0.7"):
        there = to(name)
        assert there.shown("true") == ["ssh", "dock-gpu", "true"]
        assert there.argv("true") == ["ssh", "-o", "BatchMode=yes", "dock-gpu", "true"]


def test_ssh_key_is_the_identity_file(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("")
    assert to("gpu", SSH_KEY=str(key)).shown("true") == ["ssh", "-i", str(key), "gpu", "true"]
    with pytest.raises(UserError, match=r"SSH_KEY: /none does not exist; set it to a private key, or unset it"):
        to("gpu", SSH_KEY="/none")


def register(host: Host, user: str = "dock", **fields: str) -> Dock:
    dock = Dock("far", host.address, user, host.address, host.address, host.port)._replace(**fields)  # type: ignore[arg-type]
    inventory.register(dock, os.environ["HOME"])
    return dock


def sessions(host: Host) -> int:
    """Return how many commands sshd has started."""
    return host.log().count("Starting session")


@pytest.mark.parametrize(("user", "docker"), [("dock", Docker("docker", False)), ("nodock", Docker("docker", True))])
def test_docker_is_asked_for_once(user: str, docker: Docker, host: Host) -> None:
    there = remote.of(register(host, user))
    assert (there.docker, there.docker, sessions(host)) == (docker, docker, 1)


@pytest.mark.parametrize(
    ("user", "path"), [("dock", "/opt/bin/docker"), ("nodock", "/snap/bin/docker"), ("dock", "{home}/bin/docker")]
)
def test_docker_is_found_where_ssh_commands_do_not_look(
    user: str, path: str, containerd_engine: Engine, ssh_home: str
) -> None:
    with serving(containerd_engine, docker="/opt/hidden/docker" if "{home}" in path else path) as host:
        host.admit(ssh_home)
        expected = path.format(home=host.home(user))
        if "{home}" in path:
            host.run("mkdir ~/bin && ln -s /opt/hidden/docker ~/bin/docker", user)
        assert remote.of(register(host, user)).docker == Docker(expected, sudo=user == "nodock")


def test_a_user_without_rights(host: Host) -> None:
    with pytest.raises(DockerutilsError) as caught:
        _ = remote.of(register(host, "plain")).docker
    assert str(caught.value) == (
        "the user of dock far is not allowed to use its Docker Engine; add that user to the group docker: ssh dock-far 'sudo "
        "usermod -aG docker $USER', and close the connection: ssh dock-far -O exit"
    )


def test_a_host_without_docker(containerd_engine: Engine, ssh_home: str) -> None:
    with serving(containerd_engine, docker="") as host:
        host.admit(ssh_home)
        with pytest.raises(DockerutilsError) as caught:
            _ = remote.of(register(host)).docker
    assert str(caught.value) == (
        "dock far has no docker; install it there, or add its directory to the PATH of that user"
    )


def test_a_script_and_its_result(host: Host) -> None:
    there = remote.of(register(host))
    there.connect()
    assert there.capture("echo out; echo 'a b' >&2; exit 3\n") == (3, "out\n", "a b\n")
    with pytest.raises(CommandFailed, match=r"^dock far did not answer in 0.5 s; check that it is up$"):
        there.capture("sleep 1000", seconds=0.5)
    with pytest.raises(CommandFailed, match=r"^dock far sent more than 100 bytes; check what runs there$"):
        there.capture("exec yes", limit=100)
    register(host, identity="/no/key", user="stranger")
    with pytest.raises(CommandFailed) as caught:
        remote.of(inventory.find("far", os.environ["HOME"])).capture("true")
    assert re.fullmatch(
        rf"dock far rejected the login: stranger@{host.address}: Permission denied \(publickey\); "
        r"register it again with the right user \(-u\) and private key \(-i\)",
        str(caught.value),
    )


@contextmanager
def stopped_master(dock: Dock) -> Iterator[int]:
    """Open the shared connection of a dock, stop the process that has it, and kill that after the block."""
    subprocess.run(["ssh", dock.host, "true"], check=True)
    check = subprocess.run(["ssh", "-O", "check", dock.host], capture_output=True, text=True, check=True)
    match = re.search(r"pid=(\d+)", check.stderr)
    assert match
    os.kill(int(match[1]), signal.SIGSTOP)
    try:
        yield int(match[1])
    finally:
        os.kill(int(match[1]), signal.SIGKILL)


def test_a_connection_that_does_not_answer_is_replaced(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CHECK", 1.0)
    dock = register(host)
    with stopped_master(dock):
        assert remote.of(dock).capture("echo alive").stdout == "alive\n"
    assert host.authentications() == 2


def test_a_connection_that_does_not_answer_is_forgotten(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CHECK", 1.0)
    dock = register(host)
    with stopped_master(dock):
        assert remote.of(dock).is_connected
        remote.of(dock).disconnect()
        assert not remote.of(dock).is_connected


def test_a_dead_link_to_an_address_is_given_up(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "KEEP_ALIVE", 1)
    there = remote.destination(host.destination(), {}, os.environ["HOME"], sockets=str(tmp_path), ask=False)
    child = subprocess.Popen(
        there.argv("echo up; sleep 1000"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout
    first_line(child)
    connections = [pid for pid, line in host.processes().items() if line.startswith("sshd: ")]
    for pid in connections:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert wait_for(child.poll) == 255
    finally:
        for pid in connections:
            os.kill(pid, signal.SIGKILL)
        child.stdout.close()


def test_a_burst_of_interrupts_does_not_keep_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at a terminal reaches the ssh that ends the connection, too."""
    log = tmp_path / "log"
    ssh = program(tmp_path / "bin" / "ssh", f'echo "$@" >>{log}\n[ $(wc -l <{log}) != 1 ] || kill -INT $$')
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    to("10.0.0.7").disconnect()
    assert [line.split()[-3:] for line in log.read_text().splitlines()] == [["-O", "exit", "10.0.0.7"]] * 2
