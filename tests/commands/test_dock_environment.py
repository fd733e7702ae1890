"""dock-environment: what source dock reads."""

from __future__ import annotations

import os
import subprocess

import pytest

from dockerutils.commands.dock_environment import main
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.support import call


@pytest.fixture
def ended() -> int:
    """Return the pid of a process that has ended: what it uses ends too."""
    with subprocess.Popen(["true"]) as child:
        return child.pid


def test_a_line_for_each_variable(isolated, tmp_path, capfd, monkeypatch, ended) -> None:
    monkeypatch.setenv("DOCKERUTILS_SHELL", str(ended))
    inventory.register(Dock("gpu", "203.0.113.7", "ada", "203.0.113.7", "203.0.113.7", 2222), os.environ["HOME"])
    outcome = call(main, "gpu", directory=tmp_path, capfd=capfd)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        f"DOCKER_HOST=unix://{os.environ['HOME']}/.docker/dock-gpu.sock", "DOCKER_IP=203.0.113.7", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH",
        "DOCK_MONIKER=gpu", "DOCK_ADDRESS=203.0.113.7", "DOCK_USER=ada", "DOCK_HOSTNAME=203.0.113.7", "DOCK_IP=203.0.113.7",
        "DOCK_PORT=2222", "DOCK_IDENTITY", "DOCK_INSTANCE_ID", "DOCK_REGION", "DOCK_PROVISIONED_PRODUCT",
    ]  # fmt: skip


def test_the_usage_names_the_command_that_was_typed(isolated, tmp_path, capfd) -> None:
    assert call(main, "-h", directory=tmp_path, capfd=capfd).out.startswith(
        "usage: dock-environment [options] MONIKER|ADDRESS\n"
    )
    assert call(main, "--sourced", "-h", directory=tmp_path, capfd=capfd).out.startswith(
        "usage: dock [options] MONIKER|ADDRESS\n"
    )


@pytest.mark.parametrize(("argv", "command"), [(["gpu"], "dock-environment"), (["--sourced", "gpu"], "dock")])
def test_an_unknown_dock(isolated, tmp_path, capfd, argv, command) -> None:
    assert call(main, *argv, directory=tmp_path, capfd=capfd) == (
        2,
        "",
        f"{command}: unknown dock 'gpu'; register one: register-dock HOST MONIKER\n",
    )
