"""ssh-dock: a shell or a command on a dock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from dockerutils.commands.ssh_dock import main
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.support import call, script


@pytest.fixture
def far(host) -> Dock:
    dock = Dock("far", host.address, "dock", host.address, host.address, host.port)
    inventory.register(dock, os.environ["HOME"])
    return dock


def test_a_command_keeps_its_words_status_and_streams(far, tmp_path) -> None:
    words = ["sh", "-c", 'cat; printf "%s|" "$@"; exit 7', "x", "a  b", "$HOME", "", "it's", "-l"]
    outcome = script("ssh-dock", "far", *words, directory=tmp_path, stdin="from here\n")
    assert (outcome.status, outcome.out) == (7, "from here\na  b|$HOME||it's|-l|")
    [line] = outcome.echoed
    assert line.startswith("ssh dock-far -- 'sh -c ")


def test_the_default_is_the_dock_of_the_shell(far, host, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DOCK_MONIKER", "far")
    outcome = script("ssh-dock", "--", "id", "-un", directory=tmp_path)
    assert (outcome.status, outcome.out) == (0, "dock\n")


def test_a_shell_in_a_terminal(far, monkeypatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = pexpect.spawn(
        str(Path(sys.executable).parent / "ssh-dock"), ["far"], encoding="utf-8", timeout=30, echo=False
    )
    try:
        terminal.expect_exact("ssh dock-far\r\n")
        terminal.expect(r"[$#] ")
        terminal.sendline('tty && echo "$USER $((40+2))"; exit 5')
        terminal.expect_exact("/dev/pts/")
        terminal.expect_exact("dock 42\r\n")
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close()
    assert terminal.exitstatus == 5


def test_a_command_in_a_terminal_gets_one(far, monkeypatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    argv = ["far", "--", "tty"]
    terminal = pexpect.spawn(
        str(Path(sys.executable).parent / "ssh-dock"), argv, encoding="utf-8", timeout=30, echo=False
    )
    try:
        terminal.expect_exact("ssh -t dock-far -- tty\r\n")
        terminal.expect_exact("/dev/pts/")
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close()


def test_a_changed_host_key_is_refused_with_a_remedy(far, host, tmp_path) -> None:
    assert script("ssh-dock", "far", "--", "true", directory=tmp_path).status == 0
    host.rotate_host_key()
    host.cut()
    outcome = script("ssh-dock", "far", "--", "touch", "/tmp/ran", directory=tmp_path)
    assert outcome.status == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in outcome.err
    assert "ssh-keygen -f" in outcome.err
    assert not Path(host.path("/tmp/ran")).exists()


def test_a_connection_that_does_not_answer_is_replaced(far, tmp_path) -> None:
    subprocess.run(["ssh", "dock-far", "true"], check=True)
    answer = subprocess.run(["ssh", "-O", "check", "dock-far"], capture_output=True, text=True, check=True).stderr
    master = int(answer.partition("pid=")[2].partition(")")[0])
    os.kill(master, signal.SIGSTOP)
    try:
        assert script("ssh-dock", "far", "--", "echo", "alive", directory=tmp_path).out == "alive\n"
    finally:
        os.kill(master, signal.SIGKILL)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "this shell is not docked; name a dock, or run: source dock NAME; known docks: gpu"),
        (["nope"], "unknown dock 'nope'; known docks: gpu"),
        ([""], "unknown dock ''; known docks: gpu"),
        (["$(touch x)"], "unknown dock '$(touch x)'; known docks: gpu"),
    ],
)
def test_errors(argv, message, isolated, tmp_path, capfd) -> None:
    inventory.register(Dock("gpu", "203.0.113.7", "a", "203.0.113.7", "203.0.113.7"), os.environ["HOME"])
    assert call(main, *argv, directory=tmp_path, capfd=capfd) == (2, "", f"ssh-dock: {message}\n")


def test_a_command_in_the_place_of_the_dock(isolated, tmp_path, capfd, monkeypatch) -> None:
    inventory.register(Dock("gpu", "203.0.113.7", "a", "203.0.113.7", "203.0.113.7"), os.environ["HOME"])
    monkeypatch.setenv("DOCK_MONIKER", "gpu")
    assert call(main, "ls", "a b", directory=tmp_path, capfd=capfd) == (
        2,
        "",
        "ssh-dock: unknown dock 'ls'; known docks: gpu; to run a command on the dock of this shell: ssh-dock -- ls 'a b'\n",
    )


def test_dry_run(isolated, tmp_path, capfd) -> None:
    inventory.register(Dock("gpu", "203.0.113.7", "a", "203.0.113.7", "203.0.113.7"), os.environ["HOME"])
    outcome = call(main, "gpu", "--dry-run", "--", "ls", "a b", directory=tmp_path, capfd=capfd)
    assert outcome == (0, "ssh dock-gpu -- 'ls '\"'\"'a b'\"'\"''\n", "")


def test_without_ssh(isolated, tmp_path, capfd, monkeypatch) -> None:
    inventory.register(Dock("gpu", "203.0.113.7", "a", "203.0.113.7", "203.0.113.7"), os.environ["HOME"])
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = call(main, "gpu", directory=tmp_path, capfd=capfd)
    assert (outcome.status, outcome.err.splitlines()[-1]) == (
        1,
        "ssh-dock: ssh was not found on PATH; install the OpenSSH client, or add its directory to PATH",
    )
