"""register-dock: the record, the ssh stanza and the docker context of a dock."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from dockerutils.commands.register_dock import main
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.support import Outcome, call, program, script


@pytest.fixture
def register(ssh_home, tmp_path):
    """Return a function that runs the command, with the passwd file of ssh_home."""
    return lambda *argv, **options: script("register-dock", *argv, directory=tmp_path, **options)


def context(name: str) -> str:
    argv = ["docker", "context", "inspect", "-f", "{{.Endpoints.docker.Host}}", name]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


def test_defaults(register, ssh_home) -> None:
    outcome = register("203.0.113.7")
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.echoed == ["docker context create --docker host=ssh://dock-203.0.113.7 dock-203.0.113.7"]
    assert inventory.known(ssh_home) == [Dock("203.0.113.7", "203.0.113.7", "ubuntu", "203.0.113.7", "203.0.113.7")]
    assert context("dock-203.0.113.7") == "ssh://dock-203.0.113.7"


def test_all_options(register, ssh_home, tmp_path) -> None:
    (tmp_path / "key").touch()
    assert register("box.example.com", "gpu", "-u", "ada", "-P", "2222", "-i", "key").status == 0
    [dock] = inventory.known(ssh_home)
    assert dock == Dock("gpu", "box.example.com", "ada", "box.example.com", "box.example.com", 2222, f"{tmp_path}/key")


def test_the_user_from_the_environment(register, ssh_home, monkeypatch) -> None:
    monkeypatch.setenv("DOCK_USER", "ada")
    register("203.0.113.7")
    assert inventory.known(ssh_home)[0].user == "ada"


def test_again_under_another_moniker(register, ssh_home) -> None:
    aws = Dock("gpu", "203.0.113.7", "a", "203.0.113.7", "203.0.113.7", None, None, "i-0abc", "eu-west-1", "pp-1")
    inventory.register(aws, ssh_home)
    assert register("203.0.113.7", "gpu").echoed == ["docker context create --docker host=ssh://dock-gpu dock-gpu"]
    outcome = register("203.0.113.7", "big", "-u", "ada")
    assert outcome.echoed == [
        "docker context rm --force dock-gpu",
        "docker context create --docker host=ssh://dock-big dock-big",
    ]
    # The fields about AWS are kept.
    assert inventory.known(ssh_home) == [aws._replace(moniker="big", user="ada")]
    assert (context("dock-gpu"), context("dock-big")) == ("", "ssh://dock-big")
    # Nothing to change: nothing runs.
    assert register("203.0.113.7", "big", "-u", "ada") == (0, "", "")


def test_a_changed_host_key_is_refused_under_another_moniker(register, host) -> None:
    argv = [host.address, "-u", "dock", "-P", str(host.port)]
    for moniker in ("one", "two"):
        assert register(*argv[:1], moniker, *argv[1:]).status == 0
        subprocess.run(["ssh", f"dock-{moniker}", "true"], check=True)
    host.rotate_host_key()
    host.cut()
    assert register(*argv[:1], "three", *argv[1:]).status == 0
    child = subprocess.run(["ssh", "dock-three", "true"], capture_output=True, text=True, check=False)
    assert child.returncode == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in child.stderr


def test_a_context_with_another_endpoint_is_updated(register) -> None:
    subprocess.run(["docker", "context", "create", "--docker", "host=tcp://x:1", "dock-gpu"], check=True)
    assert register("203.0.113.7", "gpu").echoed == ["docker context update --docker host=ssh://dock-gpu dock-gpu"]
    assert context("dock-gpu") == "ssh://dock-gpu"


def test_dry_run(register, ssh_home) -> None:
    outcome = register("203.0.113.7", "gpu", "--dry-run")
    assert outcome == (0, "docker context create --docker host=ssh://dock-gpu dock-gpu\n", "")
    assert not Path(ssh_home, ".docker").exists()
    assert not Path(ssh_home, ".ssh", "config").exists()


def test_without_docker(register, ssh_home, tmp_path) -> None:
    outcome = register("203.0.113.7", "gpu", env={**os.environ, "PATH": str(tmp_path)})
    assert outcome == (
        0,
        "",
        "register-dock: warning: no docker context dock-gpu: docker was not found on PATH; install the docker "
        "command-line client, or add its directory to PATH\n",
    )
    assert inventory.find("gpu", ssh_home).ip == "203.0.113.7"


def test_docker_fails(register, tmp_path) -> None:
    program(tmp_path / "docker", "exit 3")
    outcome = register("203.0.113.7", "gpu", env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert outcome.status == 3


def test_ssh_reads_another_home(isolated, tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.setattr("pwd.getpwuid", lambda _: type("", (), {"pw_dir": "/home/other"}))
    outcome = call(main, "203.0.113.7", "gpu", directory=tmp_path, capfd=capfd)
    assert outcome.err.splitlines()[0] == (
        "register-dock: warning: ssh reads /home/other, not HOME, and does not find this dock; register it with "
        "HOME=/home/other"
    )


def test_a_user_without_an_entry(isolated, tmp_path, capfd, monkeypatch) -> None:
    """As in a container that runs with any user id."""

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", unknown)
    outcome = call(main, "203.0.113.7", "gpu", directory=tmp_path, capfd=capfd)
    assert (outcome.status, "warning" in outcome.err) == (0, False)


def test_a_home_directory_too_long_for_a_shared_connection(isolated, tmp_path, capfd, monkeypatch) -> None:
    home = tmp_path / ("h" * 90)
    monkeypatch.setenv("HOME", str(home))
    outcome = call(main, "203.0.113.7", "gpu", directory=tmp_path, capfd=capfd)
    assert (
        f"register-dock: warning: the path {home} is too long for a shared ssh connection; every docker command opens its "
        "own\n"
    ) in outcome.err


ADDRESS = "is not an address; use a host name or IP address, with the user in -u and the port in -P"
MONIKER = "is not a moniker; use up to 100 letters, digits, '_', '.', '+' and '-', starting with a letter or digit"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["$(touch x)"], f"'$(touch x)' {ADDRESS}"),
        (["`touch x`"], f"'`touch x`' {ADDRESS}"),
        ([".."], f"'..' {ADDRESS}"),
        (["../x"], f"'../x' {ADDRESS}"),
        (["a\nb"], f"'a\\nb' {ADDRESS}"),
        (["ada@box"], f"'ada@box' {ADDRESS}"),
        (["box:22"], f"'box:22' {ADDRESS}"),
        ([""], f"'' {ADDRESS}"),
        (["box", "$(touch x)"], f"'$(touch x)' {MONIKER}"),
        (["box", "a b"], f"'a b' {MONIKER}"),
        (["box", ".."], f"'..' {MONIKER}"),
        (["box", "a\nProxyCommand x"], f"'a\\nProxyCommand x' {MONIKER}"),
        (["box", "m" * 101], f"'{'m' * 101}' {MONIKER}"),
        (
            ["box", "gpu", "-u", "-l"],
            "'-l' is not a user name; use letters, digits, '_', '.', '@', '+' and '-', starting with a letter, digit or '_'",
        ),
        (["box", "gpu", "-P", "0"], "'0' is not a port; use a number from 1 to 65535"),
        (["box", "gpu", "-P", "65536"], "'65536' is not a port; use a number from 1 to 65535"),
        (["box", "gpu", "-i", "/no/key"], "/no/key does not exist; correct -i"),
        (
            ["box", "gpu", "-i", '/k"'],
            "'/k\"' is not a key file; use an absolute path without quotes, backslashes and dollar signs",
        ),
        (
            ["box", "taken"],
            "'taken' is already taken at 203.0.113.7; choose another moniker, or run: unregister-dock taken",
        ),
    ],
)
def test_hostile_and_invalid_names_are_refused(argv, message, isolated, tmp_path, capfd) -> None:
    home = os.environ["HOME"]
    taken = Dock("taken", "203.0.113.7", "a", "203.0.113.7", "203.0.113.7")
    inventory.register(taken, home)
    outcome = call(main, *argv, directory=tmp_path, capfd=capfd)
    assert outcome == (2, "", f"register-dock: {message}\n")
    assert inventory.known(home) == [taken]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("argv", [["-oProxyCommand=x"], ["--", "-oProxyCommand=x"], ["box", "--", "-x"]])
def test_an_option_is_not_a_name(argv, isolated, tmp_path, capfd) -> None:
    assert call(main, *argv, directory=tmp_path, capfd=capfd).status == 2
    assert inventory.known(os.environ["HOME"]) == []


def test_the_ssh_configuration_is_a_directory(isolated, tmp_path, capfd) -> None:
    config = Path(os.environ["HOME"], ".ssh", "config")
    config.mkdir(parents=True)
    outcome = call(main, "203.0.113.7", directory=tmp_path, capfd=capfd)
    assert outcome == Outcome(1, "", f"register-dock: {config}: Is a directory; fix this and try again\n")
