"""The records of docks, read as data, and what ssh is told of them: whole, and beside what the user has written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerutils import docks
from dockerutils.docks import Dock
from dockerutils.errors import UserError

GPU = Dock("gpu", "203.0.113.7", "ubuntu", "203.0.113.7", "203.0.113.7")
BIG = Dock("big", "203.0.113.9", "ada", "big.example.com", "203.0.113.9", 2222, "/k e%y", "i-0abc", "eu-west-1", "pp-1")


@pytest.fixture
def home() -> str:
    return os.environ["HOME"]


@pytest.fixture
def config(home) -> Path:
    """Return the path of the user's own file of ssh's."""
    path = Path(home, ".ssh", "config")
    path.parent.mkdir()
    return path


def write_record(home: str, address: str, text: str) -> Path:
    path = Path(home, ".docker", address, "connection_config.txt")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_record_is_written_and_read_again(home) -> None:
    docks.register(GPU, home)
    docks.register(BIG, home)
    assert docks.known(home) == [BIG, GPU]
    record = Path(home, ".docker", "203.0.113.9", "connection_config.txt")
    assert record.read_text() == (
        "DOCK_MONIKER=big\nDOCK_USER=ada\nDOCK_HOSTNAME=big.example.com\nDOCK_IP=203.0.113.9\nDOCK_PORT=2222\n"
        "DOCK_IDENTITY=/k e%y\nDOCK_INSTANCE_ID=i-0abc\nDOCK_REGION=eu-west-1\nDOCK_PROVISIONED_PRODUCT=pp-1\n"
    )
    assert (mode(record), mode(record.parent)) == (0o600, 0o700)
    assert (GPU.host, GPU.docker_host) == ("dock-gpu", "ssh://dock-gpu")


def test_the_stanza(home) -> None:
    assert (
        docks.stanza(BIG, "/home/a")
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
    assert "HostKeyAlias gpu\n" in docks.stanza(GPU, "/home/a")


def test_ssh_understands_it(ssh_home) -> None:
    docks.register(BIG, ssh_home)
    said = subprocess.run(["ssh", "-G", "dock-big"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert {
        "hostname 203.0.113.9", "user ada", "port 2222", "identityfile /k e%%y", "hostkeyalias i-0abc",
        f"userknownhostsfile {ssh_home}/.docker/203.0.113.9/known_hosts", "stricthostkeychecking accept-new",
        f"controlpath {ssh_home}/.docker/dock-2093ccd6", "controlmaster auto", "controlpersist 600",
    } <= set(said)  # fmt: skip


def test_what_the_user_has_set_holds_for_other_hosts(ssh_home) -> None:
    Path(ssh_home, ".ssh", "config").write_text("User ada\nHost *\n    ServerAliveInterval 77\n    Compression yes\n")
    docks.register(GPU, ssh_home)
    settings = {}
    for host in ("dock-gpu", "other"):
        said = subprocess.run(["ssh", "-G", host], capture_output=True, text=True, check=True).stdout
        settings[host] = dict(line.split(maxsplit=1) for line in said.splitlines() if " " in line)
    names = ("user", "serveraliveinterval", "compression", "controlmaster")
    assert [settings["dock-gpu"][name] for name in names] == ["ubuntu", "5", "yes", "auto"]
    assert [settings["other"][name] for name in names] == ["ada", "77", "yes", "false"]


def test_another_place_has_another_connection(home) -> None:
    others = [
        GPU._replace(user="ada"),
        GPU._replace(ip="203.0.113.8"),
        GPU._replace(port=23),
        GPU._replace(identity="/k"),
    ]
    stanzas = [docks.stanza(dock, home) for dock in (GPU, *others)]
    sockets = {line for text in stanzas for line in text.splitlines() if "ControlPath" in line}
    assert len(sockets) == 5


def test_the_socket_is_as_short_for_any_moniker(home) -> None:
    assert docks.shares(GPU._replace(moniker="m" * 100), "/home/" + "u" * 57)
    too_long = "/home/" + "u" * 80
    assert not docks.shares(GPU, too_long)
    assert "ControlMaster" not in docks.stanza(GPU, too_long)


EARLIER = [
    "DOCK_USER=ada\nDOCK_MONIKER=gpu\nDOCK_HOSTNAME=gpu.example.com\nDOCK_IP=203.0.113.7\n",
    "DOCK_USER='ada'\r\nDOCK_MONIKER=\"gpu\"\r\nDOCK_HOSTNAME=gpu.example.com\r\nDOCK_IP=203.0.113.7\r\n",
    "# a dock\n\nexport DOCK_USER=ada\nexport DOCK_MONIKER=gpu\ndeclare -x DOCK_HOSTNAME=gpu.example.com\ndeclare DOCK_IP=203.0.113.7",
    "DOCK_USER=ada\nDOCK_MONIKER=gpu\nDOCK_HOSTNAME=gpu.example.com\nDOCK_PORT=\nOTHER=$(touch x)\n",
]


@pytest.mark.parametrize("text", EARLIER)
def test_a_record_of_an_earlier_version(text, home) -> None:
    write_record(home, "203.0.113.7", text)
    found = docks.find("gpu", home)
    ip = "203.0.113.7" if "DOCK_IP" in text else "gpu.example.com"
    assert found == Dock("gpu", "203.0.113.7", "ada", "gpu.example.com", ip)
    # ssh did not know it before.
    assert f"Host dock-gpu\n    HostName {ip}\n" in Path(home, ".docker", "dock_ssh_config").read_text()
    assert Path(home, ".ssh", "config").read_text() == "Include ~/.docker/dock_ssh_config\n"


def test_a_record_that_says_nothing(home) -> None:
    write_record(home, "box.example.com", "")
    assert docks.known(home) == [
        Dock("box.example.com", "box.example.com", "ubuntu", "box.example.com", "box.example.com")
    ]


MONIKER = "is no moniker; use up to 100 letters, digits, '_', '.', '+' and '-', a letter or digit first"
ADDRESS = "is no address; write a host's name or IP address, its user with -u and its port with -P"
WORD = "is not valid; use letters, digits, '_', '.' and '-', a letter or digit first"
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
        "1: DOCK_USER: '-l' is no user; use letters, digits, '_', '.', '@', '+' and '-', a letter, digit or '_' first",
    ),
    ("DOCK_PORT=22;x", "1: DOCK_PORT: '22;x' is no port; use a number from 1 to 65535"),
    (
        'DOCK_IDENTITY=/k" x',
        "1: DOCK_IDENTITY: '/k\" x' is no path of a key; use an absolute one without quotes, backslashes and dollar signs",
    ),
    ("DOCK_INSTANCE_ID=i 1", f"1: DOCK_INSTANCE_ID: 'i 1' {WORD}"),
    ("DOCK_REGION=$x", f"1: DOCK_REGION: '$x' {WORD}"),
    ("touch x", "1: 'touch x' is no NAME=value; correct the line, or remove it"),
]


@pytest.mark.parametrize(("text", "message"), HOSTILE)
def test_a_record_that_is_no_good(text, message, home, capsys) -> None:
    docks.register(BIG, home)
    before = Path(home, ".docker", "dock_ssh_config").read_text()
    path = write_record(home, "203.0.113.7", text)
    assert docks.lookup("203.0.113.7", home) is None
    assert capsys.readouterr().err == f"dock: warning: {path}:{message}\n"
    assert docks.find("big", home) == BIG
    assert Path(home, ".docker", "dock_ssh_config").read_text() == before


def test_a_directory_that_is_no_address(home, capsys) -> None:
    path = write_record(home, "$(x)", "DOCK_MONIKER=gpu")
    assert docks.known(home) == []
    assert capsys.readouterr().err == f"dock: warning: {path}: '$(x)' {ADDRESS}\n"


def test_a_record_that_cannot_be_read(home, capsys) -> None:
    path = write_record(home, "203.0.113.7", "")
    path.unlink()
    path.symlink_to("/proc/self/mem")  # a file that gives an error to root too
    assert docks.known(home) == []
    assert capsys.readouterr().err == f"dock: warning: {path}: Input/output error; mend its permissions\n"


def test_two_records_with_one_moniker(home, capsys) -> None:
    docks.register(GPU, home)
    path = write_record(home, "203.0.113.8", "DOCK_MONIKER=gpu")
    assert docks.known(home) == [GPU]
    assert capsys.readouterr().err == (
        f"dock: warning: {path}: 'gpu' is the moniker of 203.0.113.7 already; give it another: "
        "register-dock 203.0.113.8 MONIKER\n"
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "'x' is no dock; none is known yet; run: register-dock ADDRESS MONIKER"),
        ((GPU, BIG), "'x' is no dock; known: big, gpu"),
    ],
)
def test_find(names, message, home) -> None:
    for dock in names:
        docks.register(dock, home)
        assert (
            docks.find(dock.moniker, home) == docks.find(dock.address, home) == docks.lookup(dock.address, home) == dock
        )
    with pytest.raises(UserError) as error:
        docks.find("x", home)
    assert str(error.value) == message
    assert docks.lookup("x", home) is None


def test_choose(home) -> None:
    docks.register(GPU, home)
    assert docks.choose("gpu", {}, home) == docks.choose(None, {"DOCK_MONIKER": "gpu"}, home) == GPU
    with pytest.raises(
        UserError, match=r"^this shell is not docked; name a dock, or run: source dock NAME; known: gpu$"
    ):
        docks.choose(None, {}, home)


@pytest.mark.parametrize(
    "dock", [GPU._replace(address="203.0.113.8"), Dock("203.0.113.7", "203.0.113.8", "a", "b", "c"), Dock("m", "gpu", "a", "b", "c")]
)  # fmt: skip
def test_a_name_means_one_dock(dock, home) -> None:
    docks.register(GPU, home)
    with pytest.raises(UserError) as error:
        docks.register(dock, home)
    assert str(error.value) == (
        f"{dock.moniker!r} means gpu at 203.0.113.7 already; choose another moniker, or run: unregister-dock gpu"
    )
    assert docks.known(home) == [GPU]


def test_registering_again(home) -> None:
    docks.register(GPU, home)
    changed = GPU._replace(moniker="other", user="ada")
    docks.register(changed, home)
    assert docks.known(home) == [changed]


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
    docks.register(GPU, home)
    assert config.read_bytes() == b"Include ~/.docker/dock_ssh_config\n" + before
    docks.register(BIG, home)
    assert config.read_bytes() == b"Include ~/.docker/dock_ssh_config\n" + before
    assert mode(config) == 0o440
    docks.unregister(GPU.address, home)
    docks.unregister(BIG.address, home)
    assert (config.read_bytes() if config.exists() else b"") == before
    assert before == b"" or mode(config) == 0o440
    assert sorted(os.listdir(Path(home, ".docker"))) == ["dock.lock"]


def test_there_was_no_file(home) -> None:
    docks.register(GPU, home)
    assert mode(Path(home, ".ssh")) == 0o700
    assert mode(Path(home, ".ssh", "config")) == mode(Path(home, ".docker", "dock_ssh_config")) == 0o600
    docks.unregister(GPU.address, home)
    assert os.listdir(Path(home, ".ssh")) == []


def test_a_symbolic_link_stays_one(home, config) -> None:
    target = Path(home, "dotfiles", "ssh")
    target.parent.mkdir()
    target.write_text("")
    config.symlink_to("../dotfiles/ssh")
    docks.register(GPU, home)
    assert target.read_text() == "Include ~/.docker/dock_ssh_config\n"
    docks.unregister(GPU.address, home)
    assert (os.readlink(config), target.read_text(), os.listdir(target.parent)) == ("../dotfiles/ssh", "", ["ssh"])


def test_a_symbolic_link_that_leads_nowhere_yet(home, config) -> None:
    config.symlink_to(Path(home, "later"))
    docks.register(GPU, home)
    assert Path(home, "later").read_text() == "Include ~/.docker/dock_ssh_config\n"


def test_the_file_stays_the_users(home, config) -> None:
    """Under sudo, say."""
    config.write_text("# mine\n")
    os.chown(config, 1234, 2345)
    docks.register(GPU, home)
    assert (config.stat().st_uid, config.stat().st_gid) == (1234, 2345)


def test_a_line_that_the_user_has_moved_counts(home, config) -> None:
    text = "Host *.example.com\n    User ada\nMatch all\n    Include ~/.docker/dock_ssh_config\n"
    config.write_text(text)
    docks.register(GPU, home)
    docks.unregister(GPU.address, home)
    assert config.read_text() == text


def test_a_line_that_is_gone_comes_back(home) -> None:
    docks.register(GPU, home)
    config = Path(home, ".ssh", "config")
    config.write_text("# new\n")
    docks.find("gpu", home)
    assert config.read_text() == "Include ~/.docker/dock_ssh_config\n# new\n"


def test_nothing_is_registered_when_the_users_file_cannot_be_written(home, config) -> None:
    config.mkdir()
    with pytest.raises(IsADirectoryError):
        docks.register(GPU, home)
    assert docks.known(home) == []


def test_nothing_is_forgotten_when_the_users_file_cannot_be_written(home) -> None:
    docks.register(GPU, home)
    config = Path(home, ".ssh", "config")
    config.unlink()
    config.mkdir()
    with pytest.raises(IsADirectoryError):
        docks.unregister(GPU.address, home)
    assert docks.known(home) == [GPU]


def test_an_address_that_is_a_file_of_dockers(home) -> None:
    Path(home, ".docker").mkdir()
    Path(home, ".docker", "config.json").write_text("{}")
    with pytest.raises(FileExistsError):
        docks.register(GPU._replace(address="config.json"), home)
    assert os.listdir(home) == [".docker"]


def test_what_else_is_there_stays(home) -> None:
    docks.register(GPU, home)
    other = Path(home, ".docker", GPU.address, "notes")
    other.write_text("")
    Path(home, ".docker", GPU.address, "known_hosts").write_text("")
    docks.unregister(GPU.address, home)
    assert os.listdir(other.parent) == ["notes"]
    assert docks.known(home) == []


def test_two_processes_at_once(home) -> None:
    code = """
import sys
from dockerutils import docks
home, first = sys.argv[1], int(sys.argv[2])
for n in range(first, first + 20):
    address = f"203.0.113.{n}"
    docks.register(docks.Dock(f"dock{n}", address, "a", address, address), home)
    if n % 2:
        docks.unregister(address, home)
"""
    children = [subprocess.Popen([sys.executable, "-c", code, home, str(first)]) for first in (0, 20, 40)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    found = docks.known(home)
    assert sorted(dock.moniker for dock in found) == sorted(f"dock{n}" for n in range(0, 60, 2))
    assert Path(home, ".docker", "dock_ssh_config").read_text() == docks.render(found, home)
    assert Path(home, ".ssh", "config").read_text() == "Include ~/.docker/dock_ssh_config\n"


@pytest.mark.parametrize("address", ["10.0.0.5", "box", "a_b.example.com", "::1", "fe80::1%eth0", "2001:db8::7"])
def test_addresses(address, home) -> None:
    assert docks.fault_in_address(address) == ""
    moniker = docks.moniker_of(address)
    assert docks.fault_in_moniker(moniker) == ""
    dock = Dock(moniker, address, "a", address, address)
    docks.register(dock, home)
    assert docks.known(home) == [dock]


@pytest.mark.parametrize(
    "address",
    ["", "-x", "a b", "a/b", "..", ".", ".x", "$(x)", "`x`", "a\n", "a\nb", "a\0b", "u@h", "h:22", "[::1]", "::1%", "::1%a b", "é", "x" * 254, "\ud800"],
)  # fmt: skip
def test_no_addresses(address) -> None:
    assert docks.fault_in_address(address) in ({f"{address!r} {ADDRESS}"} if address != "::1%" else {""})


def test_monikers_of_odd_addresses() -> None:
    assert [docks.moniker_of(each) for each in ("::", "fe80::1%eth0", "_a_")] == ["dock", "fe80-1-eth0", "a"]


@given(st.text())
def test_a_name_that_is_let_in_is_harmless(text) -> None:
    for fault in (docks.fault_in_address, docks.fault_in_moniker, docks.fault_in_user, docks.fault_in_port):
        if not fault(text):
            assert text.isascii()
            assert text.isprintable()
            assert not text.startswith("-")
            assert not set(text) & set(" /$`'\"\\;&|<>(){}*?!#~")


def test_undocked() -> None:
    docked = {
        "DOCK_MONIKER": "gpu", "DOCK_USER": "ubuntu", "DOCKER_HOST": "ssh://dock-gpu", "DOCKER_IP": "1", "PATH": "p",
        "DOCKERUTILS_BEFORE_DOCKER_HOST": "unix:///x", "DOCKERUTILS_BEFORE_DOCKER_CONTEXT": "y", "DOCK_WORKSPACES": "/w",
    }  # fmt: skip
    assert docks.undocked(docked) == {
        "PATH": "p", "DOCKER_HOST": "unix:///x", "DOCKER_CONTEXT": "y", "DOCK_WORKSPACES": "/w",
    }  # fmt: skip
    assert docks.undocked({"DOCK_USER": "ada"}) == {"DOCK_USER": "ada"}


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        (
            "@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@\nHost key verification failed.\r\n",
            "the host key of HOST has changed; if the machine was set up anew, run: ssh-keygen -R HOST -f "
            "'~/.ssh/known_hosts'; if not, somebody may stand between you and it",
        ),
        (
            "ada@203.0.113.9: Permission denied (publickey).\r\n",
            "ada is not let in at 203.0.113.9; register it again with the user (-u) and key (-i) that are",
        ),
        (
            "x\nssh: connect to host 203.0.113.9 port 22: No route to host\r\n\n",
            "ssh said: ssh: connect to host 203.0.113.9 port 22: No route to host; see whether the host runs, and what ssh dock-big says",
        ),
        ("", "ssh said: nothing; see whether the host runs, and what ssh dock-big says"),
    ],
)
def test_explain(stderr, message) -> None:
    assert docks.explain(BIG, stderr) == message
