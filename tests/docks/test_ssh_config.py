"""The ssh stanzas of docks, beside the user's own configuration."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from dockerutils.docks import inventory, records, ssh_config
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


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_stanza(home) -> None:
    assert (
        ssh_config.stanza(BIG, "/home/a")
        == """\
Host dock-big
    HostName 203.0.113.9
    User ada
    Port 2222
    IdentityFile "/k e%%y"
    IdentitiesOnly yes
    HostKeyAlias i-0abc
    UserKnownHostsFile ~/.docker/203.0.113.9/known_hosts
    StrictHostKeyChecking accept-new
    ControlMaster auto
    ControlPath ~/.docker/dock-2093ccd6
    ControlPersist 10m
    ConnectTimeout 10
    ServerAliveInterval 5
    ServerAliveCountMax 3
"""
    )
    assert "HostKeyAlias gpu\n" in ssh_config.stanza(GPU, "/home/a")


def test_ssh_understands_each_setting(ssh_home) -> None:
    """And so does an older ssh, which knows these names only."""
    values = dict.fromkeys(records.SETTINGS, "yes") | {
        "ProxyJump": "bastion", "AddressFamily": "inet", "BindAddress": "127.0.0.1", "IPQoS": "throughput",
        "RekeyLimit": "1G", "IdentityFile": '"/k e%%y"', "CertificateFile": '"/c"', "IdentityAgent": '"/a b"',
        "PKCS11Provider": '"/p"', "PreferredAuthentications": "publickey", "Ciphers": "+aes128-cbc", "MACs": "+hmac-md5",
        "KexAlgorithms": "+diffie-hellman-group14-sha1", "HostKeyAlgorithms": "+ssh-rsa", "PubkeyAcceptedKeyTypes": "+ssh-rsa",
    }  # fmt: skip
    del values["ProxyCommand"]
    inventory.register(GPU._replace(settings=tuple(f"{name} {value}" for name, value in values.items())), ssh_home)
    shown = subprocess.run(["ssh", "-G", "dock-gpu"], capture_output=True, text=True, check=True).stdout
    assert {"proxyjump bastion", "identityfile /k e%%y", "identityagent /a b", "certificatefile /c"} <= set(
        shown.splitlines()
    )
    inventory.register(GPU._replace(settings=("ProxyCommand ssh -W '%h:%p' b",)), ssh_home)
    shown = subprocess.run(["ssh", "-G", "dock-gpu"], capture_output=True, text=True, check=True).stdout
    assert "proxycommand ssh -W '%h:%p' b" in shown.splitlines()


def test_ssh_understands_it(ssh_home) -> None:
    inventory.register(BIG, ssh_home)
    settings = subprocess.run(["ssh", "-G", "dock-big"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert {
        "hostname 203.0.113.9", "user ada", "port 2222", "identityfile /k e%%y", "hostkeyalias i-0abc",
        f"userknownhostsfile {ssh_home}/.docker/203.0.113.9/known_hosts", "stricthostkeychecking accept-new",
        f"controlpath {ssh_home}/.docker/dock-2093ccd6", "controlmaster auto", "controlpersist 600",
    } <= set(settings)  # fmt: skip


def test_the_users_settings_still_apply_to_other_hosts(ssh_home) -> None:
    Path(ssh_home, ".ssh", "config").write_text("User ada\nHost *\n    ServerAliveInterval 77\n    Compression yes\n")
    inventory.register(GPU, ssh_home)
    settings = {}
    for host in ("dock-gpu", "other"):
        output = subprocess.run(["ssh", "-G", host], capture_output=True, text=True, check=True).stdout
        settings[host] = dict(line.split(maxsplit=1) for line in output.splitlines() if " " in line)
    names = ("user", "serveraliveinterval", "compression", "controlmaster")
    assert [settings["dock-gpu"][name] for name in names] == ["ubuntu", "5", "yes", "auto"]
    assert [settings["other"][name] for name in names] == ["ada", "77", "yes", "false"]


def test_each_user_host_and_key_has_its_own_connection(home) -> None:
    others = [
        GPU._replace(user="ada"),
        GPU._replace(ip="203.0.113.8"),
        GPU._replace(port=23),
        GPU._replace(identity="/k"),
        GPU._replace(settings=("ProxyJump bastion",)),
    ]
    stanzas = [ssh_config.stanza(dock, home) for dock in (GPU, *others)]
    sockets = {line for text in stanzas for line in text.splitlines() if "ControlPath" in line}
    assert len(sockets) == 6


def test_the_path_of_the_socket_does_not_depend_on_the_moniker(home) -> None:
    assert ssh_config.socket(GPU._replace(moniker="m" * 100), "/home/" + "u" * 57)
    too_long = "/home/" + "u" * 80
    assert ssh_config.socket(GPU, too_long) is None
    assert "ControlMaster" not in ssh_config.stanza(GPU, too_long)


CONFIGS = [
    b"",
    b"Host *\n    User ada\n",
    b"Host *\r\n    User ada\r\n",
    b"# \xff no line end",
    b"\n\n  \n",
]


@pytest.mark.parametrize("before", CONFIGS)
def test_the_users_file_stays_byte_for_byte(before, home, config) -> None:
    config.write_bytes(before)
    config.chmod(0o440)
    inventory.register(GPU, home)
    assert config.read_bytes() == b"Include ~/.docker/dock_ssh_config\n" + before
    inventory.register(BIG, home)
    assert config.read_bytes() == b"Include ~/.docker/dock_ssh_config\n" + before
    assert mode(config) == 0o440
    inventory.unregister(GPU.address, home)
    inventory.unregister(BIG.address, home)
    assert (config.read_bytes() if config.exists() else b"") == before
    assert before == b"" or mode(config) == 0o440
    assert sorted(os.listdir(Path(home, ".docker"))) == ["dock.lock"]


def test_a_user_without_ssh_configuration(home) -> None:
    inventory.register(GPU, home)
    assert mode(Path(home, ".ssh")) == 0o700
    assert mode(Path(home, ".ssh", "config")) == mode(Path(home, ".docker", "dock_ssh_config")) == 0o600
    inventory.unregister(GPU.address, home)
    assert os.listdir(Path(home, ".ssh")) == []


def test_a_symbolic_link_is_followed(home, config) -> None:
    target = Path(home, "dotfiles", "ssh")
    target.parent.mkdir()
    target.write_text("")
    config.symlink_to("../dotfiles/ssh")
    inventory.register(GPU, home)
    assert target.read_text() == "Include ~/.docker/dock_ssh_config\n"
    inventory.unregister(GPU.address, home)
    assert (os.readlink(config), target.read_text(), os.listdir(target.parent)) == ("../dotfiles/ssh", "", ["ssh"])


def test_a_dangling_symbolic_link(home, config) -> None:
    config.symlink_to(Path(home, "later"))
    inventory.register(GPU, home)
    assert Path(home, "later").read_text() == "Include ~/.docker/dock_ssh_config\n"


def test_the_owner_of_the_file_stays(home, config) -> None:
    """As root under sudo, for example."""
    config.write_text("# mine\n")
    os.chown(config, 1234, 2345)
    inventory.register(GPU, home)
    assert (config.stat().st_uid, config.stat().st_gid) == (1234, 2345)


def test_a_moved_include_line_stays(home, config) -> None:
    text = "Host *.example.com\n    User ada\nMatch all\n    Include ~/.docker/dock_ssh_config\n"
    config.write_text(text)
    inventory.register(GPU, home)
    inventory.unregister(GPU.address, home)
    assert config.read_text() == text


def test_a_removed_include_line_is_added_again(home) -> None:
    inventory.register(GPU, home)
    config = Path(home, ".ssh", "config")
    config.write_text("# new\n")
    inventory.find("gpu", home)
    assert config.read_text() == "Include ~/.docker/dock_ssh_config\n# new\n"
