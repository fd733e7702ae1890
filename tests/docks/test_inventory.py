"""Docks: found by moniker or address, registered and removed; the environment of a docked shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dockerutils.core.errors import UserError
from dockerutils.docks import inventory, ssh_config
from dockerutils.docks.records import Dock

GPU = Dock("gpu", "203.0.113.7", "ubuntu", "203.0.113.7", "203.0.113.7")
BIG = Dock("big", "203.0.113.9", "ada", "big.example.com", "203.0.113.9", 2222, "/k e%y", "i-0abc", "eu-west-1", "pp-1")


@pytest.fixture
def home() -> str:
    return os.environ["HOME"]


@pytest.fixture
def config(home) -> Path:
    """Return the path of the user's ssh configuration."""
    path = Path(home, ".ssh", "config")
    path.parent.mkdir()
    return path


def write_record(home: str, address: str, text: str) -> Path:
    path = Path(home, ".docker", address, "connection_config.txt")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_two_records_with_one_moniker(home, capsys) -> None:
    inventory.register(GPU, home)
    path = write_record(home, "203.0.113.8", "DOCK_MONIKER=gpu")
    assert inventory.known(home) == [GPU]
    assert capsys.readouterr().err == (
        f"dock: warning: {path}: 'gpu' is already the moniker of 203.0.113.7; choose another: "
        "register-dock 203.0.113.8 MONIKER\n"
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "unknown dock 'x'; register one: register-dock HOST MONIKER"),
        ((GPU, BIG), "unknown dock 'x'; known docks: big, gpu"),
    ],
)
def test_a_dock_is_found_by_moniker_and_address(names, message, home) -> None:
    for dock in names:
        inventory.register(dock, home)
        assert (
            inventory.find(dock.moniker, home)
            == inventory.find(dock.address, home)
            == inventory.lookup(dock.address, home)
            == dock
        )
    with pytest.raises(UserError) as error:
        inventory.find("x", home)
    assert str(error.value) == message
    assert inventory.lookup("x", home) is None


def test_the_default_is_the_dock_of_the_shell(home) -> None:
    inventory.register(GPU, home)
    assert inventory.choose("gpu", {}, home) == inventory.choose(None, {"DOCK_MONIKER": "gpu"}, home) == GPU
    with pytest.raises(
        UserError, match=r"^this shell is not docked; name a dock, or run: source dock NAME; known docks: gpu$"
    ):
        inventory.choose(None, {}, home)


@pytest.mark.parametrize(
    ("dock", "taken"),
    [(GPU._replace(address="203.0.113.8"), "gpu"), (Dock("203.0.113.7", "203.0.113.8", "a", "b", "c"), "203.0.113.7"), (Dock("m", "gpu", "a", "b", "c"), "gpu")],
)  # fmt: skip
def test_monikers_and_addresses_are_unique(dock, taken, home) -> None:
    inventory.register(GPU, home)
    with pytest.raises(UserError) as error:
        inventory.register(dock, home)
    assert str(error.value) == (
        f"{taken!r} is already gpu at 203.0.113.7; choose another moniker, or run: unregister-dock gpu"
    )
    assert inventory.known(home) == [GPU]


def test_a_dock_registered_again_is_replaced(home) -> None:
    inventory.register(GPU, home)
    inventory.register(GPU._replace(user="eve"), home)
    changed = GPU._replace(moniker="other", user="ada")
    with pytest.raises(UserError) as error:
        inventory.register(changed, home)
    message = "203.0.113.7 is already the dock gpu; use that dock, or run: unregister-dock gpu"
    assert (str(error.value), inventory.known(home)) == (message, [GPU._replace(user="eve")])
    inventory.register(changed, home, replace=True)
    assert inventory.known(home) == [changed]


@pytest.mark.parametrize(
    ("old", "new", "conflict"),
    [
        ({}, {"ip": "203.0.113.7", "port": 22}, True),
        ({"ip": "box.example.com"}, {"ip": "Box.example.com"}, True),
        ({}, {"port": 2222}, False),
        ({}, {"settings": ("ProxyJump bastion",)}, False),
        ({"settings": ("ProxyJump bastion",)}, {"settings": ("ProxyJump bastion", "Compression yes")}, True),
        ({"instance_id": "i-0abc"}, {"instance_id": "i-0abc", "ip": "10.0.0.5"}, True),
        # AWS has given its address to another instance.
        ({"instance_id": "i-0abc", "address": "i-0abc"}, {"instance_id": "i-0def"}, False),
    ],
)
def test_one_host_is_one_dock(old, new, conflict, home) -> None:
    dock, other = GPU._replace(moniker="new", address="alias")._replace(**new), GPU._replace(**old)
    assert (inventory.conflicts(dock, [other]), inventory.conflicts(other, [dock])) == (
        ([other], [dock]) if conflict else ([], [])
    )


def test_the_keys_of_a_host_are_kept_when_it_is_registered_again(home) -> None:
    inventory.register(GPU, home)
    known_hosts = Path(home, ".docker", GPU.address, "known_hosts")
    known_hosts.write_text("gpu ssh-ed25519 AAAA1\n# a comment\n|1|hash= ssh-rsa AAAA2 comment\n")
    inventory.register(GPU._replace(moniker="other"), home, replace=True, keys=["ssh-ed25519 AAAA3"])
    assert known_hosts.read_text() == "other ssh-ed25519 AAAA1\nother ssh-rsa AAAA2 comment\n"
    inventory.register(GPU._replace(moniker="other", instance_id="i-0abc"), home)
    assert known_hosts.read_text() == "i-0abc ssh-ed25519 AAAA1\ni-0abc ssh-rsa AAAA2 comment\n"


def test_nothing_is_registered_when_the_users_file_cannot_be_written(home, config) -> None:
    config.mkdir()
    with pytest.raises(IsADirectoryError):
        inventory.register(GPU, home)
    assert inventory.known(home) == []


def test_nothing_is_unregistered_when_the_users_file_cannot_be_written(home) -> None:
    inventory.register(GPU, home)
    config = Path(home, ".ssh", "config")
    config.unlink()
    config.mkdir()
    with pytest.raises(IsADirectoryError):
        inventory.unregister(GPU.address, home)
    assert inventory.known(home) == [GPU]


def test_an_address_with_the_name_of_a_docker_file(home) -> None:
    Path(home, ".docker").mkdir()
    Path(home, ".docker", "config.json").write_text("{}")
    with pytest.raises(FileExistsError):
        inventory.register(GPU._replace(address="config.json"), home)
    assert os.listdir(home) == [".docker"]


def test_other_files_beside_a_record_stay(home) -> None:
    inventory.register(GPU, home)
    other = Path(home, ".docker", GPU.address, "notes")
    other.write_text("")
    Path(home, ".docker", GPU.address, "known_hosts").write_text("")
    inventory.unregister(GPU.address, home)
    assert os.listdir(other.parent) == ["notes"]
    assert inventory.known(home) == []


def test_processes_that_register_at_the_same_time(home) -> None:
    code = """
import sys
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
home, first = sys.argv[1], int(sys.argv[2])
for n in range(first, first + 20):
    address = f"203.0.113.{n}"
    inventory.register(Dock(f"dock{n}", address, "a", address, address), home)
    if n % 2:
        inventory.unregister(address, home)
"""
    children = [subprocess.Popen([sys.executable, "-c", code, home, str(first)]) for first in (0, 20, 40)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    found = inventory.known(home)
    assert sorted(dock.moniker for dock in found) == sorted(f"dock{n}" for n in range(0, 60, 2))
    assert Path(home, ".docker", "dock_ssh_config").read_text() == ssh_config.render(found, home)
    assert Path(home, ".ssh", "config").read_text() == "Include ~/.docker/dock_ssh_config\n"


def test_the_environment_before_source_dock() -> None:
    docked = {
        "DOCK_MONIKER": "gpu", "DOCK_USER": "ubuntu", "DOCKER_HOST": "ssh://dock-gpu", "DOCKER_IP": "1", "PATH": "p",
        "DOCKERUTILS_BEFORE_DOCKER_HOST": "unix:///x", "DOCKERUTILS_BEFORE_DOCKER_CONTEXT": "y", "DOCK_WORKSPACES": "/w",
    }  # fmt: skip
    assert inventory.undocked(docked) == {
        "PATH": "p", "DOCKER_HOST": "unix:///x", "DOCKER_CONTEXT": "y", "DOCK_WORKSPACES": "/w",
    }  # fmt: skip
    assert inventory.undocked({"DOCK_USER": "ada"}) == {"DOCK_USER": "ada"}
