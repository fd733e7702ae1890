from __future__ import annotations

import os
from pathlib import Path

import pytest

from dockerutils.core.errors import UserError
from dockerutils.docks import inventory, remote, ssh_config
from dockerutils.docks.records import Dock
from dockerutils.docks.remote import Destination


def to(name: str, *, ask: bool = False, **environ: str) -> Destination:
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
def test_what_could_be_anything_else_is_refused(name: str) -> None:
    with pytest.raises(UserError) as caught:
        to(name)
    assert str(caught.value) == f"{name!r} is no destination; write the moniker of a dock, or [user@]host[:port]"


def test_a_connection_is_shared_and_checks_the_host() -> None:
    argv = to("me@gpu").argv("docker load")
    assert argv[-2:] == ["me@gpu", "docker load"]
    assert {"BatchMode=yes", "ControlMaster=auto", "ControlPath=/tmp/s/%C"} <= set(argv)
    assert not any("HostKey" in word or "KnownHosts" in word for word in argv)


def test_ssh_may_ask_where_somebody_answers() -> None:
    assert "BatchMode=yes" not in to("me@gpu", ask=True).argv("true")


def test_a_dock_is_reached_as_its_stanza_has_it() -> None:
    home = os.environ["HOME"]
    inventory.register(Dock("gpu", "10.0.0.7", "me", "10.0.0.7", "10.0.0.7"), home)
    for name in ("gpu", "10.0.0.7"):
        there = to(name)
        assert there.shown("true") == ["ssh", "dock-gpu", "true"]
        assert there.argv("true") == ["ssh", "-o", "BatchMode=yes", "dock-gpu", "true"]


def test_ssh_key_names_the_identity(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("")
    assert to("gpu", SSH_KEY=str(key)).shown("true") == ["ssh", "-i", str(key), "gpu", "true"]
    with pytest.raises(UserError, match=r"SSH_KEY: there is no file /none; set it to a private key, or unset it"):
        to("gpu", SSH_KEY="/none")


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        (
            "me@gpu: Permission denied (publickey).\r\n",
            "me@gpu: Permission denied (publickey); set SSH_KEY to the key that the host knows, or name the user: "
            "USER@HOST",
        ),
        (
            "No ED25519 host key is known for gpu and you have requested strict checking.\nHost key verification failed.",
            "No ED25519 host key is known for gpu and you have requested strict checking; compare its host key and "
            "accept it, once, with: ssh -p 22 me@gpu",
        ),
        (
            "@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!; if the host was set up anew, remove its old key as "
            "ssh says: ssh -p 22 me@gpu",
        ),
        (
            "ssh: Could not resolve hostname gpu: Name or service not known",
            "Could not resolve hostname gpu: Name or service not known; correct the name, or register it as a dock",
        ),
        (
            "ssh: connect to host gpu port 22: Connection refused",
            "connect to host gpu port 22: Connection refused; see whether the host runs, and sshd there: ssh -p 22 me@gpu",
        ),
        ("Connection to gpu closed by remote host.", "Connection to gpu closed by remote host; the connection was cut; run the command again"),
        ("", "nothing; see what this says: ssh -p 22 me@gpu"),
        ("welcome\nit is late\n", "it is late; see what this says: ssh -p 22 me@gpu"),
    ],
)  # fmt: skip
def test_what_ssh_says_is_explained(stderr: str, told: str) -> None:
    assert remote.explain(to("me@gpu:22"), stderr) == f"me@gpu:22: ssh said: {told}"


def test_of_a_dock_the_docks_explain() -> None:
    dock = Dock("gpu", "10.0.0.7", "me", "10.0.0.7", "10.0.0.7")
    there = Destination("gpu", (), dock.host, (), dock)
    assert remote.explain(there, "x\n") == ssh_config.explain(dock, "x\n")
