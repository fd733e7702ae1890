"""Ports of a dock on this machine: opened once, closed by the last one that uses them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.docker.invocation import Port
from dockerutils.docks import forwarding, inventory
from dockerutils.docks.forwarding import forwarded
from dockerutils.docks.records import Dock
from tests.support import first_line, wait_for
from tests.testbed.host import Host


@pytest.fixture
def far(host: Host) -> Dock:
    """Return a dock; its network is this machine's."""
    dock = Dock("far", host.address, "dock", host.address, host.address, host.port)
    inventory.register(dock, os.environ["HOME"])
    return dock


@pytest.fixture
def service() -> Iterator[Port]:
    """Return a port of the dock where something listens."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield Port("127.0.0.1", server.getsockname()[1])


@pytest.fixture
def here() -> int:
    """Return a port that is free on this machine."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def files() -> list[str]:
    return [name for name in os.listdir(f"{os.environ['HOME']}/.docker") if name.startswith("dock-forward")]


def test_a_port_answers_during_the_block(far: Dock, service: Port, here: int) -> None:
    with forwarded(far, [service], here=here):
        assert listens(here)
    assert not listens(here)
    assert files() == []


def test_the_last_user_closes_a_port(far: Dock, service: Port, here: int) -> None:
    with forwarded(far, [service], here=here):
        with forwarded(far, [service], here=here):
            pass
        assert listens(here)
        with pytest.raises(ZeroDivisionError), forwarded(far, [service], here=here):
            _ = 1 / 0
        assert listens(here)
    assert not listens(here)


def test_a_failed_request_closes_no_port_of_another_user(far: Dock, service: Port) -> None:
    """Of two ports, one is forwarded already and the other is in use."""
    with socket.create_server(("127.0.0.1", 0)) as other, socket.create_server(("127.0.0.2", 0)) as there:
        taken = Port("127.0.0.2", other.getsockname()[1])
        shared = Port("127.0.0.2", there.getsockname()[1])
        with forwarded(far, [shared]):
            with pytest.raises(DockerutilsError), forwarded(far, [shared, taken]):
                pass
            assert listens(shared.number)
        assert not listens(shared.number)


def test_a_port_that_is_in_use_here(far: Dock, service: Port, host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DockerutilsError) as caught, forwarded(far, [service]):
        pass
    assert str(caught.value) == (
        f"port {service.number} is in use on this machine; stop the program that uses it, or publish another port"
    )
    with pytest.raises(DockerutilsError, match=str(caught.value)):
        forwarding.require_free(far, [service])
    assert (capfd.readouterr().err, host.authentications(), files()) == ("", 0, [])


def test_a_home_directory_too_long_for_a_shared_connection(
    far: Dock, service: Port, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    home = f"/home/{'u' * 150}"
    monkeypatch.setenv("HOME", home)
    message = (
        f"^ssh cannot forward ports: {home} is too long for the path of a shared connection; publish no port, or use a "
        "home directory with a shorter path$"
    )
    with pytest.raises(DockerutilsError, match=message):
        forwarding.require_free(far, [service])
    with pytest.raises(DockerutilsError, match=message), forwarded(far, [service]):
        pass
    assert capfd.readouterr().err == ""
    forwarding.require_free(far, [])


def test_a_port_that_is_forwarded_to_another_dock(far: Dock, service: Port, here: int) -> None:
    other = far._replace(moniker="other", address="other")
    inventory.register(other, os.environ["HOME"])
    with forwarded(far, [service], here=here):
        forwarding.require_free(far, [Port("", here)])  # it may be the same forward
        with pytest.raises(DockerutilsError) as caught, forwarded(other, [service], here=here):
            pass
        assert listens(here)
    assert str(caught.value) == (
        f"port {here} is in use on this machine: it is forwarded to dock far; stop that run, or publish another port"
    )


def test_a_port_left_by_a_killed_process_is_reused(far: Dock, service: Port, here: int) -> None:
    code = f"""
import os, sys, time
from dockerutils.docker.invocation import Port
from dockerutils.docks import inventory
from dockerutils.docks.forwarding import forwarded
with forwarded(inventory.find("far", os.environ["HOME"]), [Port("127.0.0.1", {service.number})], here={here}):
    print("open", flush=True)
    time.sleep(1000)
"""
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert first_line(child) == "open\n"
        child.send_signal(signal.SIGKILL)
    assert listens(here)
    with socket.create_server(("127.0.0.1", 0)) as second:
        forward = forwarded(far, [Port("127.0.0.1", second.getsockname()[1])], here=here)
        with forward, socket.create_connection(("127.0.0.1", here)), closing(second.accept()[0]):
            pass
    assert not listens(here)


def test_a_port_is_forwarded_again_after_its_connection_broke(far: Dock, service: Port, here: int, host: Host) -> None:
    with forwarded(far, [service], here=here):
        host.cut()
        wait_for(lambda: not listens(here))
        with forwarded(far, [service], here=here):
            assert listens(here)
        assert listens(here)


def test_a_dock_that_does_not_answer(far: Dock, service: Port, here: int) -> None:
    inventory.register(far._replace(ip="127.0.0.1", port=1), os.environ["HOME"])
    with pytest.raises(CommandFailed) as caught, forwarded(far, [service], here=here):
        pass
    assert str(caught.value).startswith("dock far refused the connection: ")
    assert files() == []
