"""Waiting for docks: the keys on a console, and the reasons why a dock does not answer."""

from __future__ import annotations

import socket
import time

import pytest

from dockerutils.aws import readiness
from dockerutils.aws.ec2 import Ec2
from dockerutils.aws.readiness import keys_on
from dockerutils.core.process import Captured
from dockerutils.docks import ssh_config
from dockerutils.docks.records import Dock

DOCK = Dock("gpu", "203.0.113.7", "ubuntu", "203.0.113.7", "203.0.113.7")
BLOCK = "-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 AAAA{} root@ip\n-----END SSH HOST KEY KEYS-----\n"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", []),
        (BLOCK.format("x"), ["ssh-ed25519 AAAAx"]),
        (BLOCK.format("old") + BLOCK.format("new=="), ["ssh-ed25519 AAAAnew=="]),
        (BLOCK.format("x").partition("-----END")[0], []),
        ("ssh-ed25519 AAAAx somebody who writes on the console", []),
    ],
)
def test_the_keys_on_a_console(text, keys) -> None:
    assert keys_on(text) == keys


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Captured(0, "26.1\n", ""), ""),
        (
            None,
            "gpu did not answer in time: no answer from ssh to 203.0.113.7; check that its network admits port 22",
        ),
        (
            Captured(ssh_config.SSH_FAILED, "", "ssh: connect: timed out\r\n"),
            "gpu did not answer in time: ssh: ssh: connect: timed out; check that its network admits this machine, or allow "
            "more time with -t",
        ),
        (
            Captured(127, "", "sh: docker: not found\n"),
            "gpu did not answer in time: docker on the dock: sh: docker: not found; allow more time with -t",
        ),
        (Captured(1, "", ""), "gpu did not answer in time: docker on the dock: no message; allow more time with -t"),
    ],
)
def test_why_a_dock_does_not_answer(answer, reason) -> None:
    assert readiness.reason(DOCK, answer) == reason


def test_the_first_failure_counts() -> None:
    assert readiness.failure(["", ""]) is None
    assert str(readiness.failure(["", "b", "c"])) == "b"


class Silent(Ec2):
    """EC2 with an instance that writes nothing to its console."""

    def __init__(self) -> None:
        pass

    def console(self, instance: str) -> str:
        assert instance == "i-1"
        return ""


def test_the_wait_for_keys_ends_after_sshd_answers(monkeypatch) -> None:
    monkeypatch.setattr(readiness, "KEYS_AFTER", 0.1)
    monkeypatch.setattr(readiness, "TICK", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as sshd:
        monkeypatch.setattr(readiness, "SSH_PORT", sshd.getsockname()[1])
        began = time.monotonic()
        assert readiness.host_keys(Silent(), "i-1", "127.0.0.1", float("inf")) == []
    assert 0.1 < time.monotonic() - began < 60


def test_the_wait_for_keys_ends_where_nothing_answers(monkeypatch) -> None:
    monkeypatch.setattr(readiness, "KEYS_AT_ALL", 0.1)
    monkeypatch.setattr(readiness, "TICK", 0.01)
    began = time.monotonic()
    assert readiness.host_keys(Silent(), "i-1", "no-such-host.invalid", float("inf")) == []
    assert 0.1 < time.monotonic() - began < 60
