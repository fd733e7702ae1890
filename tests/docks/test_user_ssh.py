"""What the user's ssh configuration says of a host also holds for the dock that it becomes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from dockerutils.core.errors import CommandFailed, UserError
from dockerutils.docks import inventory, user_ssh
from dockerutils.docks.records import Destination, Dock
from tests.support import program

BOX = Destination("box")
# What ssh prints of a host, and a dock has of its own.
OWN = {
    *(
        "host",
        "hostname",
        "user",
        "port",
        "hostkeyalias",
        "userknownhostsfile",
        "stricthostkeychecking",
        "updatehostkeys",
    ),
    *("controlmaster", "controlpath", "controlpersist", "connecttimeout", "serveraliveinterval", "serveralivecountmax"),
}


@pytest.fixture
def configure(ssh_home):
    """Return a function that writes the user's ssh configuration."""
    return lambda text: Path(ssh_home, ".ssh", "config").write_text(text)


def shown(name: str) -> list[str]:
    output = subprocess.run(["ssh", "-G", name], capture_output=True, text=True, check=True).stdout
    return [line for line in output.splitlines() if line.split(" ")[0].lower() not in OWN]


def register(login: user_ssh.Login, home: str) -> None:
    dock = Dock("gpu", "box", login.user, login.hostname, login.hostname, login.port, settings=login.settings)
    inventory.register(dock, home)


CONFIGURATIONS = [
    ("", ()),
    ("Host *\n  ProxyJump bastion\n  Ciphers aes256-ctr\n  IdentityFile ~/a\n", ()),
    ("Host box\n  HostName 10.0.0.5\nMatch host 10.0.0.*\n  ProxyJump bastion\n", ()),
    ("Host box\n  ProxyJump ada@bastion:2222,inner\n", ("ProxyJump ada@bastion:2222,inner",)),
    ("Host !box *\n  ProxyJump bastion\n", ("ProxyCommand none",)),
    ("Host !box *\n  ProxyCommand nc %h %p\n", ("ProxyCommand none",)),
    ("Host box\n  ProxyCommand x\nHost *\n  ProxyJump bastion\n", ("ProxyCommand x",)),
    ("Host box\n  ProxyJump x\nHost *\n  ProxyCommand y\n", ("ProxyJump x",)),
    ("Host box\n  ForwardAgent no\nHost *\n  ForwardAgent yes\n", ("ForwardAgent no",)),
    (
        'Host box\n  IdentityFile "~/a b"\n  CertificateFile ~/c\n  IdentitiesOnly yes\n  IdentityAgent "~/d e"\nHost *\n  IdentityFile ~/f%%\n',
        ('IdentityFile "~/a b"', 'IdentityFile "~/f%%"', 'CertificateFile "~/c"', "IdentitiesOnly yes", 'IdentityAgent "{home}/d e"'),
    ),
    (
        "Host box\n  HostKeyAlgorithms +ssh-rsa\n  PubkeyAcceptedKeyTypes +ssh-rsa\n  MACs -hmac-sha1\n  Ciphers ^aes256-ctr\n  KexAlgorithms curve25519-sha256\n",
        ("Ciphers ^aes256-ctr", "MACs -hmac-sha1", "KexAlgorithms curve25519-sha256", "HostKeyAlgorithms +ssh-rsa", "PubkeyAcceptedKeyTypes +ssh-rsa"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "settings"), CONFIGURATIONS)
def test_what_a_dock_inherits(text, settings, configure, ssh_home) -> None:
    configure(text)
    login = user_ssh.ask(BOX, "dock-gpu", None, None)
    assert login.settings == tuple(each.format(home=ssh_home) for each in settings)
    register(login, ssh_home)
    # ssh itself says that they are equal; it prints an equal identity once more if it applies to all hosts.
    assert list(dict.fromkeys(shown("dock-gpu"))) == list(dict.fromkeys(shown("box")))
    # Registered again, the stanza of its own does not count.
    assert user_ssh.ask(BOX, "dock-gpu", None, None) == login


def test_names_of_the_host_in_values(configure) -> None:
    configure(
        "Host box\n  HostName 10.0.0.5\n  HostKeyAlias its-key\n  ProxyCommand nc '%n' %h %p %k %% %%n\n  IdentityFile ~/%n\n"
    )
    login = user_ssh.ask(BOX, "dock-gpu", None, None)
    assert login.settings == ("ProxyCommand nc 'box' %h %p its-key %% %%n", 'IdentityFile "~/box"')
    assert (login.hostname, login.name) == ("10.0.0.5", "its-key")


def test_the_address(configure) -> None:
    configure("Host box\n  HostName Box.Example.com\n  Port 2222\nHost *\n  Port 22\n")
    login = user_ssh.ask(BOX, "dock-gpu", None, None)
    assert (login.hostname, login.port, login.name) == ("box.example.com", 2222, "[box.example.com]:2222")
    assert user_ssh.ask(BOX._replace(port="22"), "dock-gpu", None, None).port is None
    configure("Host box\n  Port 22\nHost *\n  Port 2222\n  StrictHostKeyChecking yes\n")
    login = user_ssh.ask(BOX, "dock-gpu", None, None)
    assert (login.port, login.name, login.strict) == (22, "box", True)
    for address in ("2001:db8::7", "fe80::1%eth0"):
        assert user_ssh.ask(Destination(address), "dock-gpu", None, None).hostname == address


def test_an_identity_takes_the_place_of_the_configured_ones(configure, tmp_path) -> None:
    configure("Host box\n  IdentityFile ~/a\n  IdentitiesOnly yes\n  ProxyJump bastion\n")
    assert user_ssh.ask(BOX, "dock-gpu", f"{tmp_path}/k", None).settings == ("ProxyJump bastion",)


def test_the_user(configure) -> None:
    """That of the argument, of the configuration, of DOCK_USER, and of this machine."""
    me = (os.environ.get("SUDO_USER") and "root") or subprocess.check_output(["id", "-un"], text=True).strip()

    def user(host: Destination, default: str | None) -> str:
        return user_ssh.ask(host, "dock-gpu", None, default).user

    assert [user(BOX, None), user(BOX, "eve")] == [me, "eve"]
    configure("Host box\n  User ada\n")
    assert [user(BOX._replace(user="bob"), "eve"), user(BOX, "eve"), user(Destination("b"), "eve")] == [
        "bob",
        "ada",
        "eve",
    ]
    configure(f"Host box\n  User {me}\nHost other\n  Port 7\n")
    assert [user(BOX, "eve"), user(BOX._replace(port="7"), "eve"), user(Destination("b"), "eve")] == [me, me, "eve"]
    configure("Match host box user bob\n  ProxyJump bastion\n")
    assert user_ssh.ask(BOX._replace(user="bob"), "dock-gpu", None, None).settings == ()  # holds by itself


def test_faults(configure) -> None:
    configure("Host box\n  Frobnicate yes\n")
    with pytest.raises(
        CommandFailed, match=r"^ssh rejects its configuration: .*config.*line 2: .*frobnicate.*; correct it$"
    ):
        user_ssh.ask(BOX, "dock-gpu", None, None)
    configure("Host box\n  IdentityFile '~/a\"b'\n")
    with pytest.raises(UserError, match=r"has quotes; rename the file$"):
        user_ssh.ask(BOX, "dock-gpu", None, None)
    configure("Host box\n  ProxyCommand a\x0bb\n")
    with pytest.raises(
        UserError, match=r"^box in your ssh configuration: 'ProxyCommand a\\x0bb' is not a setting of a dock; "
    ):
        user_ssh.ask(BOX, "dock-gpu", None, None)


@pytest.mark.parametrize(
    ("wanted", "change"),
    [("a,b,c,d,e", "+d,e"), ("a,c", "-b"), ("c,a,b", "^c"), ("d,a,b,c", "^d"), ("b", "b"), ("c,b,a", "^c,b"), ("d,b", "d,b"), ("a,b,c", "a,b,c")],
)  # fmt: skip
def test_lists_of_algorithms_are_changes_to_the_default(wanted, change) -> None:
    assert user_ssh.relative(wanted, "a,b,c") == change


def test_the_names_of_older_and_newer_versions(tmp_path, monkeypatch) -> None:
    """OpenSSH 8.4 prints pubkeyacceptedkeytypes, 8.5 pubkeyacceptedalgorithms; each also prints what others do not know."""
    common = "user ada\\nport 22\\nuserknownhostsfile /k\\nglobalknownhostsfile /g\\nstricthostkeychecking ask\\n"
    for name in ("pubkeyacceptedkeytypes", "pubkeyacceptedalgorithms"):
        program(
            tmp_path / "ssh",
            f'case "$*" in *-new|*none*) printf "{name} a,b\\n";; *) printf "{name} a,b,c\\nofthefuture yes\\n";; esac\n'
            f'printf "hostname box\\n{common}"',
        )
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        assert user_ssh.ask(BOX, "dock-gpu", None, None).settings == ("PubkeyAcceptedKeyTypes +c",)


def test_the_keys_that_the_user_knows(configure, ssh_home, tmp_path) -> None:
    known = Path(ssh_home, ".ssh", "known_hosts")
    known.write_text(
        "[box]:2222 ssh-ed25519 AAAA1 comment\nbox,10.0.0.5 ssh-ed25519 AAAA2\n@cert-authority * ssh-ed25519 AAAA3\n"
        "[box]:2222 ssh-rsa AAAA4\n"
    )
    more = tmp_path / "more"
    more.write_text("[box]:2222 ssh-rsa AAAA4\nalias ssh-rsa AAAA5\n")
    configure(
        f"Host box\n  Port 2222\n  UserKnownHostsFile ~/.ssh/known_hosts {more} /nonexistent\nHost a\n  HostKeyAlias alias\n  UserKnownHostsFile {more}\n"
    )
    assert user_ssh.known_keys(user_ssh.ask(BOX, "dock-gpu", None, None)) == [
        "ssh-ed25519 AAAA1 comment",
        "ssh-rsa AAAA4",
    ]
    assert user_ssh.known_keys(user_ssh.ask(Destination("a"), "dock-gpu", None, None)) == ["ssh-rsa AAAA5"]
