"""The other hosts of the tests are apart from this machine, behave as hosts do, and leave nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import first_line, wait_for
from tests.testbed import images
from tests.testbed.engine import command_line
from tests.testbed.host import USERS, Host, at_home, serving
from tests.testbed.relay import relaying

# Of this run of the tests alone.
_SLEEP = f"sleep {os.getpid() + 10_000_000}"
_ID = ("info", "--format", "{{.ID}}")


def _ssh(host: Host, *command: str, user: str = "dock", options: tuple[str, ...] = ()) -> list[str]:
    quiet = ["-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
    return ["ssh", *quiet, *options, "-p", str(host.port), f"{user}@{host.address}", "--", *command]


def _call(host: Host, *command: str, user: str = "dock") -> subprocess.CompletedProcess[str]:
    argv = _ssh(host, *command, user=user)
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def test_session_sees_the_engine_behind_it(host, engine) -> None:
    there = _call(host, "docker", "info", "--format", "{{.ID}}")
    assert there.stdout == host.engine.docker(*_ID), there.stderr
    here = subprocess.run(["docker", *_ID], capture_output=True, text=True, check=True)
    assert here.stdout == engine.docker(*_ID) != there.stdout


def testengine_host_has_theengine_engine(classic_host, engine) -> None:
    assert classic_host.engine == engine
    assert _call(classic_host, "docker", "info", "--format", "{{.ID}}").stdout == engine.docker(*_ID)


def test_docker_goes_there_by_ssh(host) -> None:
    command = ["docker", "--host", f"ssh://{host.destination()}", *_ID]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == host.engine.docker(*_ID), done.stderr
    before = host.authentications()
    assert before > 0
    _call(host, "true")
    assert host.authentications() == before + 1


def test_users_may_what_they_are_there_for(host) -> None:
    plain = {user: _call(host, "docker", "ps", "-q", user=user) for user in USERS}
    assert {user: done.returncode for user, done in plain.items()} == {"dock": 0, "nodock": 1, "plain": 1}
    assert "permission denied" in plain["nodock"].stderr
    sudo = {user: _call(host, "sudo", "-n", "docker", "ps", "-q", user=user) for user in USERS}
    assert {user: done.returncode for user, done in sudo.items()} == {"dock": 1, "nodock": 0, "plain": 1}
    assert sudo["nodock"].stderr == ""
    assert sudo["plain"].stderr == "sudo: a password is required\n"
    assert _call(host, "sudo", "-n", "id", user="nodock").returncode == 1


@pytest.mark.parametrize(("docker", "status"), [("/snap/bin/docker", 127), ("/usr/local/bin/docker", 0), ("", 127)])
def test_docker_is_where_the_test_wants_it(docker, status, engine, ssh_home) -> None:
    with serving(engine, docker=docker) as host:
        host.admit(ssh_home)
        assert _call(host, "docker", "version").returncode == status
        if docker:
            assert _call(host, docker, "version").returncode == 0
            assert _call(host, "sudo", "-n", docker, "version", user="nodock").returncode == 0


def test_path_of_sessions_is_a_setting(engine, ssh_home) -> None:
    with serving(engine, docker="/usr/local/bin/docker", SetEnv="PATH=/usr/bin:/bin") as host:
        host.admit(ssh_home)
        assert _call(host, "echo $PATH; docker version").stdout == "/usr/bin:/bin\n"
        # But not that of a login shell.
        assert "/usr/local/bin" in _call(host, "bash -lc 'command -v docker'").stdout


def test_commands_are_absent_at_will(host, engine, ssh_home) -> None:
    with serving(engine, without=("rsync", "zstd")) as bare:
        bare.admit(ssh_home)
        assert _call(bare, "command -v rsync zstd gzip").stdout == "/usr/bin/gzip\n"
    assert _call(host, "command -v zstd gzip").stdout == "/usr/bin/zstd\n/usr/bin/gzip\n"


def test_max_startups_drops_connections(engine, ssh_home) -> None:
    with serving(engine, MaxStartups="1") as host:
        host.admit(ssh_home)
        with socket.create_connection((host.address, host.port)):
            wait_for(host.sessions)
            assert _call(host, "true").returncode == 255
        wait_for(lambda: not host.sessions())
        assert _call(host, "true").returncode == 0


def test_hosts_stand_side_by_side(host, classic_host) -> None:
    assert host.address != classic_host.address
    assert _call(host, "touch /data/mine").stderr == "touch: cannot touch '/data/mine': Permission denied\n"
    host.run("touch /data/mine")
    assert _call(host, "ls /data").stdout == "mine\n"
    assert _call(classic_host, "ls /data").stdout == ""


def test_host_is_apart_from_this_machine(host, tmp_path) -> None:
    tmp_path.joinpath("here").touch()
    assert _call(host, f"ls {tmp_path}").returncode == 2
    _call(host, "touch /tmp/there")
    assert os.path.exists(host.path("/tmp/there"))
    assert not os.path.exists("/tmp/there")
    assert not set(USERS) & {line.split(":")[0] for line in Path("/etc/passwd").read_text().splitlines()}
    assert "dockerutils-host" not in Path("/proc/mounts").read_text()
    # Of processes too, but not of networks.
    assert host.run("ps -o comm= -p 1") == "bash\n"
    assert os.readlink(f"/proc/{host.sshd}/ns/net") == os.readlink("/proc/self/ns/net")


def test_homes_are_the_same_here_there_and_for_the_engine(host) -> None:
    file = Path(host.home(), "work", "file")
    assert _call(host, "pwd; mkdir work; echo mine >work/file").stdout == f"{host.home()}\n"
    assert file.read_text() == "mine\n"
    volume = f"{file.parent}:/work"
    assert host.engine.docker("run", "--rm", "-v", volume, images.BUSYBOX, "cat", "/work/file") == "mine\n"


def test_run_needs_no_ssh(host) -> None:
    assert host.run("id -un; pwd", user="dock") == f"dock\n{host.home()}\n"
    assert host.run("id -un") == "root\n"
    with pytest.raises(RuntimeError, match="ls /absent: status 2\nls: cannot access"):
        host.run("ls /absent")
    assert host.authentications() == 0


def test_processes_are_those_of_connections(host) -> None:
    assert host.sessions() == []
    assert host.processes() == {}
    with subprocess.Popen(_ssh(host, "nohup sleep 4321 >/dev/null 2>&1 & exec sleep 1234")) as child:
        wait_for(lambda: {"sleep 1234", "sleep 4321"} <= set(host.processes().values()))
        [session] = host.sessions()
        assert host.processes()[session].startswith("sshd")
        child.terminate()
    # What was left behind shows.
    wait_for(lambda: not host.sessions())
    assert "sleep 4321" in host.processes().values()


def test_cut_breaks_connections_off(host) -> None:
    with (
        subprocess.Popen(_ssh(host, "exec sleep 1234"), stderr=subprocess.PIPE, text=True) as child,
        # One that is not let in yet.
        socket.create_connection((host.address, host.port)) as another,
    ):
        wait_for(lambda: "sleep 1234" in host.processes().values())
        wait_for(lambda: len(host.sessions()) == 2)
        host.cut()
        wait_for(lambda: not host.sessions())  # sshd notes their ends a moment later
        assert child.wait(60) == 255
        another.settimeout(60)
        with another.makefile("rb") as stream:
            assert stream.read().startswith(b"SSH-2.0-")  # and its end
    assert _call(host, "true").returncode == 0


def test_another_host_key_is_refused(host, ssh_home) -> None:
    assert _call(host, "true").returncode == 0
    host.rotate_host_key()
    done = _call(host, "true")
    assert done.returncode == 255
    assert "Host key verification failed." in done.stderr
    Path(ssh_home, ".ssh", "known_hosts").write_text(host.known_hosts_line)
    assert _call(host, "true").returncode == 0


def test_strangers_are_refused(engine, ssh_home) -> None:
    with serving(engine) as host:
        assert "Host key verification failed." in _call(host, "true").stderr
        Path(ssh_home, ".ssh", "known_hosts").write_text(host.known_hosts_line)
        done = _call(host, "true")
        assert done.returncode == 255
        assert "Permission denied (publickey)." in done.stderr
        assert host.authentications() == 0
        own = _ssh(host, "id", "-un", options=("-o", "IdentitiesOnly=yes", "-i", host.key))
        assert subprocess.run(own, capture_output=True, text=True, check=True).stdout == "dock\n"


def test_port_is_the_tests_to_choose(engine, ssh_home) -> None:
    with serving(engine, port=2023) as host:
        host.admit(ssh_home)
        assert host.destination("plain") == f"plain@{host.address}:2023"
        assert _call(host, "echo $SSH_CONNECTION").stdout.endswith(f" {host.address} 2023\n")


def test_port_that_is_taken_everywhere_is_reported(engine) -> None:
    with (
        socket.create_server(("", 0)) as server,
        pytest.raises(RuntimeError, match=r"no loopback address has port \d+ free"),
        serving(engine, port=server.getsockname()[1]),
    ):
        pytest.fail("it came up")


def test_host_stands_behind_a_relay(host, ssh_home) -> None:
    with relaying(host.address, host.port, delay=0.001) as relay:
        behind = host.at(relay.address, relay.port)
        behind.admit(ssh_home)
        assert _call(behind, "head -c 100000 /dev/zero").stdout == "\0" * 100000
        assert relay.received > 100000 > relay.sent > 1000


def test_ssh_reads_and_writes_the_home_of_the_test(ssh_home, tmp_path) -> None:
    output = subprocess.run(["ssh", "-G", "absent"], capture_output=True, text=True, check=True).stdout
    settings = dict(line.split(" ", 1) for line in output.splitlines())
    assert settings["userknownhostsfile"].startswith(f"{ssh_home}/.ssh/known_hosts ")
    assert settings["user"] == subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    assert os.stat(f"{ssh_home}/.ssh").st_mode & 0o777 == 0o700
    assert sorted(os.listdir(f"{ssh_home}/.ssh")) == ["id_ed25519", "id_ed25519.pub"]
    # Also one with a blank.
    home = f"{tmp_path}/a home"
    env = {**os.environ, **at_home(home)}
    Path(home, ".ssh", "config").write_text("Host nick\n  HostName name\n")
    output = subprocess.run(["ssh", "-G", "nick"], env=env, capture_output=True, text=True, check=True).stdout
    assert "\nhostname name\n" in output


def _traces(directory: str) -> set[str]:
    """Return what can be found of a host on this machine: its files, mounts and processes."""
    found = {directory} if os.path.exists(directory) else set()
    found |= {line for line in Path("/proc/mounts").read_text().splitlines() if directory in line}
    commands = (command_line(pid) for pid in os.listdir("/proc") if pid.isdigit())
    return found | {command for command in commands if directory in command or _SLEEP in command}


def test_nothing_is_left_of_a_host_that_ended(engine, ssh_home) -> None:
    with serving(engine) as host:
        host.admit(ssh_home)
        _call(host, f"nohup {_SLEEP} >/dev/null 2>&1 &")
        wait_for(lambda: _SLEEP in _traces(host.directory))
    assert _traces(host.directory) == set()


def test_nothing_is_left_of_a_host_whose_tests_were_killed(engine) -> None:
    program = f"""
import time
from tests.testbed.engine import Engine
from tests.testbed.host import serving
with serving(Engine({engine.directory!r}, 0, None)) as host:
    print(host.directory, flush=True)
    time.sleep(600)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as tests:
        try:
            directory = first_line(tests).strip()
            assert len(_traces(directory)) > 1
        finally:
            tests.kill()
    wait_for(lambda: not _traces(directory))


def test_host_that_does_not_come_up_shows_its_log(engine) -> None:
    with (
        pytest.raises(
            RuntimeError, match=r"the host did not start; its log:\n(.|\n)*Bad configuration option: Nonsense"
        ),
        serving(engine, Nonsense="1"),
    ):
        pytest.fail("it came up")
