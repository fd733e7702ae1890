"""The records of docks: written whole, read as data, and checked."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerutils.core.errors import UserError
from dockerutils.docks import inventory, records
from dockerutils.docks.records import Dock

GPU = Dock("gpu", "203.0.113.7", "ubuntu", "203.0.113.7", "203.0.113.7")
BIG = Dock("big", "203.0.113.9", "ada", "big.example.com", "203.0.113.9", 2222, "/k e%y", "i-0abc", "eu-west-1", "pp-1")


@pytest.fixture
def home() -> str:
    return os.environ["HOME"]


def write_record(home: str, address: str, text: str) -> Path:
    path = Path(home, ".docker", address, "connection_config.txt")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


INCOMPLETE = Dock(
    "new", "creating-0a1b", "ubuntu", "creating-0a1b", "creating-0a1b", region="eu-west-1", account="123456789012", run="0a1b"
)  # fmt: skip


def test_an_incomplete_dock_is_known_but_not_usable(home) -> None:
    inventory.register(INCOMPLETE, home)
    assert (inventory.known(home), INCOMPLETE.is_incomplete) == ([INCOMPLETE], True)
    assert inventory.choose("new", {}, home, incomplete=True) == INCOMPLETE
    message = (
        "^dock new is incomplete; if its create-dock is no longer running, run it again, or run: destroy-dock new$"
    )
    with pytest.raises(UserError, match=message):
        inventory.find("new", home)
    assert "dock-new" not in Path(home, ".docker", "dock_ssh_config").read_text()
    complete = INCOMPLETE._replace(address="203.0.113.8", ip="203.0.113.8", instance_id="i-0abc")
    inventory.change(INCOMPLETE, complete, home)
    assert inventory.find("new", home) == complete
    assert "HostName 203.0.113.8" in Path(home, ".docker", "dock_ssh_config").read_text()


def test_a_record_is_written_and_read_again(home) -> None:
    inventory.register(GPU, home)
    inventory.register(BIG, home)
    assert inventory.known(home) == [BIG, GPU]
    record = Path(home, ".docker", "203.0.113.9", "connection_config.txt")
    assert record.read_text() == (
        "DOCK_MONIKER=big\nDOCK_USER=ada\nDOCK_HOSTNAME=big.example.com\nDOCK_IP=203.0.113.9\nDOCK_PORT=2222\n"
        "DOCK_IDENTITY=/k e%y\nDOCK_INSTANCE_ID=i-0abc\nDOCK_REGION=eu-west-1\nDOCK_PROVISIONED_PRODUCT=pp-1\n"
    )
    assert (mode(record), mode(record.parent)) == (0o600, 0o700)
    assert (GPU.host, GPU.docker_host) == ("dock-gpu", "ssh://dock-gpu")


def test_the_settings_of_a_dock(home) -> None:
    dock = GPU._replace(settings=("ProxyCommand ssh -W '[%h]:%p' \"b\"", 'IdentityFile "/a b"', 'IdentityFile "/c"'))
    inventory.register(dock, home)
    record = Path(home, ".docker", "203.0.113.7", "connection_config.txt")
    assert record.read_text().endswith(
        "DOCK_IP=203.0.113.7\nDOCK_SSH_OPTION=ProxyCommand ssh -W '[%h]:%p' \"b\"\n"
        'DOCK_SSH_OPTION=IdentityFile "/a b"\nDOCK_SSH_OPTION=IdentityFile "/c"\n'
    )
    assert inventory.known(home) == [dock]
    assert inventory.docked(dock).keys() == inventory.docked(GPU).keys()  # a docked shell does not need them


EARLIER = [
    "DOCK_USER=ada\nDOCK_MONIKER=gpu\nDOCK_HOSTNAME=gpu.example.com\nDOCK_IP=203.0.113.7\n",
    "DOCK_USER='ada'\r\nDOCK_MONIKER=\"gpu\"\r\nDOCK_HOSTNAME=gpu.example.com\r\nDOCK_IP=203.0.113.7\r\n",
    "# a dock\n\nexport DOCK_USER=ada\nexport DOCK_MONIKER=gpu\ndeclare -x DOCK_HOSTNAME=gpu.example.com\ndeclare DOCK_IP=203.0.113.7",
    "DOCK_USER=ada\nDOCK_MONIKER=gpu\nDOCK_HOSTNAME=gpu.example.com\nDOCK_PORT=\nOTHER=$(touch x)\n",
]


@pytest.mark.parametrize("text", EARLIER)
def test_a_record_of_an_earlier_version(text, home) -> None:
    write_record(home, "203.0.113.7", text)
    found = inventory.find("gpu", home)
    ip = "203.0.113.7" if "DOCK_IP" in text else "gpu.example.com"
    assert found == Dock("gpu", "203.0.113.7", "ada", "gpu.example.com", ip)
    # Earlier versions wrote no stanza.
    assert f"Host dock-gpu\n    HostName {ip}\n" in Path(home, ".docker", "dock_ssh_config").read_text()
    assert Path(home, ".ssh", "config").read_text() == "Include ~/.docker/dock_ssh_config\n"


def test_an_empty_record(home) -> None:
    write_record(home, "box.example.com", "")
    assert inventory.known(home) == [
        Dock("box.example.com", "box.example.com", "ubuntu", "box.example.com", "box.example.com")
    ]


MONIKER = "is not a moniker; use up to 100 letters, digits, '_', '.', '+' and '-', starting with a letter or digit"
ADDRESS = "is not an address; use a host name or IP address"
WORD = "is not valid; use letters, digits, '_', '.' and '-', starting with a letter or digit"
SETTING = f"is not a setting of a dock; use one of {', '.join(records.SETTINGS)}, and its value"
HOSTILE = [
    ("DOCK_MONIKER=-oProxyCommand=x", f"1: DOCK_MONIKER: '-oProxyCommand=x' {MONIKER}"),
    ("DOCK_MONIKER=$(touch x)", f"1: DOCK_MONIKER: '$(touch x)' {MONIKER}"),
    ("DOCK_USER=ada\nDOCK_MONIKER=`touch x`", f"2: DOCK_MONIKER: '`touch x`' {MONIKER}"),
    ("DOCK_MONIKER=../x", f"1: DOCK_MONIKER: '../x' {MONIKER}"),
    ("DOCK_MONIKER=gpu\x1b[31m", f"1: DOCK_MONIKER: 'gpu\\x1b[31m' {MONIKER}"),
    ("DOCK_MONIKER=gpu\rUser root", f"1: DOCK_MONIKER: 'gpu\\rUser root' {MONIKER}"),
    ("DOCK_HOSTNAME=-oProxyCommand=x", f"1: DOCK_HOSTNAME: '-oProxyCommand=x' {ADDRESS}"),
    ("DOCK_IP=a b", f"1: DOCK_IP: 'a b' {ADDRESS}"),
    (
        "DOCK_USER=-l",
        "1: DOCK_USER: '-l' is not a user name; use letters, digits, '_', '.', '@', '+' and '-', starting with a letter, digit or '_'",
    ),
    ("DOCK_PORT=22;x", "1: DOCK_PORT: '22;x' is not a port; use a number from 1 to 65535"),
    (
        'DOCK_IDENTITY=/k" x',
        "1: DOCK_IDENTITY: '/k\" x' is not a key file; use an absolute path without quotes, backslashes and dollar signs",
    ),
    ("DOCK_INSTANCE_ID=i 1", f"1: DOCK_INSTANCE_ID: 'i 1' {WORD}"),
    ("DOCK_REGION=$x", f"1: DOCK_REGION: '$x' {WORD}"),
    ("touch x", "1: 'touch x' is not NAME=value; correct or remove the line"),
    ("DOCK_SSH_OPTION=LocalCommand touch x", f"1: DOCK_SSH_OPTION: 'LocalCommand touch x' {SETTING}"),
    ("DOCK_SSH_OPTION=ProxyJump", f"1: DOCK_SSH_OPTION: 'ProxyJump' {SETTING}"),
    ("DOCK_SSH_OPTION=ProxyJump a\x0bb", f"1: DOCK_SSH_OPTION: 'ProxyJump a\\x0bb' {SETTING}"),
]


@pytest.mark.parametrize(("text", "message"), HOSTILE)
def test_a_damaged_or_hostile_record(text, message, home, capsys) -> None:
    inventory.register(BIG, home)
    before = Path(home, ".docker", "dock_ssh_config").read_text()
    path = write_record(home, "203.0.113.7", text)
    assert inventory.lookup("203.0.113.7", home) is None
    assert capsys.readouterr().err == f"dock: warning: {path}:{message}\n"
    assert inventory.find("big", home) == BIG
    assert Path(home, ".docker", "dock_ssh_config").read_text() == before


def test_a_directory_name_that_is_not_an_address(home, capsys) -> None:
    path = write_record(home, "$(x)", "DOCK_MONIKER=gpu")
    assert inventory.known(home) == []
    assert capsys.readouterr().err == f"dock: warning: {path}: '$(x)' {ADDRESS}\n"


def test_a_record_that_cannot_be_read(home, capsys) -> None:
    path = write_record(home, "203.0.113.7", "")
    path.unlink()
    path.symlink_to("/proc/self/mem")  # a file that gives an error to root too
    assert inventory.known(home) == []
    assert capsys.readouterr().err == f"dock: warning: {path}: Input/output error; correct its permissions\n"


@pytest.mark.parametrize("address", ["10.0.0.5", "box", "a_b.example.com", "::1", "fe80::1%eth0", "2001:db8::7"])
def test_valid_addresses(address, home) -> None:
    assert records.fault_in_address(address) == ""
    moniker = records.moniker_of(address)
    assert records.fault_in_moniker(moniker) == ""
    dock = Dock(moniker, address, "a", address, address)
    inventory.register(dock, home)
    assert inventory.known(home) == [dock]


@pytest.mark.parametrize(
    "address",
    ["", "-x", "a b", "a/b", "..", ".", ".x", "$(x)", "`x`", "a\n", "a\nb", "a\0b", "u@h", "h:22", "[::1]", "::1%", "::1%a b", "é", "x" * 254, "\ud800"],
)  # fmt: skip
def test_invalid_addresses(address) -> None:
    assert records.fault_in_address(address) in ({f"{address!r} {ADDRESS}"} if address != "::1%" else {""})


def test_default_monikers_of_unusual_addresses() -> None:
    assert [records.moniker_of(each) for each in ("::", "fe80::1%eth0", "_a_")] == ["dock", "fe80-1-eth0", "a"]


@given(st.text())
def test_accepted_names_are_harmless_to_a_shell(text) -> None:
    for fault in (
        records.fault_in_address,
        records.fault_in_moniker,
        records.fault_in_user,
        records.fault_in_port,
    ):
        if not fault(text):
            assert text.isascii()
            assert text.isprintable()
            assert not text.startswith("-")
            assert not set(text) & set(" /$`'\"\\;&|<>(){}*?!#~")
