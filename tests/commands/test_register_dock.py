"""register-dock: the login, the record, the ssh stanza and the docker context of a dock."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import paramiko
import pytest

from dockerutils.commands import register_dock
from dockerutils.commands.register_dock import main
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from dockerutils.docks.registration import Found
from dockerutils.docks.remote import Docker
from tests.support import Outcome, call, program, script, wait_for
from tests.testbed.host import serving

LISTED = """\
register-dock: write ~/.docker/{address}/connection_config.txt
register-dock: write ~/.docker/dock_ssh_config: Host dock-{moniker}
"""
FIRST_LINE = "register-dock: write ~/.ssh/config: Include ~/.docker/dock_ssh_config, as its first line\n"
ME = subprocess.check_output(["id", "-un"], text=True).strip()


@pytest.fixture
def register(ssh_home, tmp_path):
    """Return a function that runs the command, with the passwd file of ssh_home."""
    return lambda *argv, **options: script("register-dock", *argv, directory=tmp_path, **options)


@pytest.fixture
def note(register):
    """Return a function that runs the command without a connection."""
    return lambda *argv, **options: register(*argv, "--no-connect", **options)


def context(name: str) -> str:
    argv = ["docker", "context", "inspect", "-f", "{{.Endpoints.docker.Host}}", name]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


def generate(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@contextmanager
def agent(directory: Path, key: Path) -> Iterator[Path]:
    """Run an ssh-agent with a key, and yield its socket."""
    socket = directory / "agent"
    child = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        wait_for(socket.exists)
        subprocess.run(["ssh-add", "-q", key], env={**os.environ, "SSH_AUTH_SOCK": str(socket)}, check=True)
        yield socket
    finally:
        child.terminate()
        child.wait(60)


def test_a_host_that_only_its_alias_reaches(containerd_engine, register, ssh_home, tmp_path) -> None:
    """Behind a jump host that alone resolves its name, with a key in an agent and a certificate."""
    ssh = Path(ssh_home, ".ssh")
    ca, key = generate(tmp_path / "ca"), generate(ssh / "certified")
    subprocess.run(["ssh-keygen", "-q", "-s", ca, "-I", "ada", "-n", "dock", f"{key}.pub"], check=True)
    with (
        serving(containerd_engine, TrustedUserCAKeys="/etc/ssh/ca.pub") as host,
        agent(tmp_path, key) as socket,
    ):
        host.admit(ssh_home)
        Path(host.path("/etc/ssh/ca.pub")).write_text(Path(f"{ca}.pub").read_text())
        with Path(host.path("/etc/hosts")).open("a") as hosts:
            hosts.write(f"{host.address} inner.example\n")
        key.unlink()  # only the agent has it
        config = f"""\
Host bastion
    HostName {host.address}
    Port {host.port}
    User plain
Host box
    HostName inner.example
    Port {host.port}
    User dock
    ProxyJump bastion
    IdentityAgent {socket}
    IdentityFile {key}
    IdentitiesOnly yes
    CertificateFile {key}-cert.pub
"""
        (ssh / "config").write_text(config)
        outcome = register("box")
        docker = ["docker", "--context", "dock-box", "version", "-f", "{{.Server.Version}}"]
        version = subprocess.check_output(docker, text=True).strip()
        assert "\n".join(filter(None, outcome.err.split("\n"))) == (
            f"{LISTED}{FIRST_LINE}{'=' * 80}\ndocker context create --docker host=ssh://dock-box dock-box\n"
            'dock-box\nSuccessfully created context "dock-box"\n'
            f"register-dock: box has Docker Engine {version}, linux/amd64, no NVIDIA GPU; run: source dock box\n"
            "register-dock: warning: /data/workspaces/alice on box is not writable, which syncing needs; run: "
            "ssh-dock box sudo install -d -o dock /data/workspaces/alice; or set DOCK_WORKSPACES to a directory of yours"
        ).format(address="box", moniker="box")
        assert (outcome.status, outcome.out) == (0, "")
        settings = (
            "ProxyJump bastion", f'IdentityFile "{key}"', f'CertificateFile "{key}-cert.pub"', "IdentitiesOnly yes",
            f'IdentityAgent "{socket}"',
        )  # fmt: skip
        assert inventory.known(ssh_home) == [
            Dock("box", "box", "dock", "inner.example", "inner.example", host.port, settings=settings)
        ]
        assert (ssh / "config").read_text() == f"Include ~/.docker/dock_ssh_config\n{config}"
        # The certificate was used, and the dock works without the alias' name.
        assert "ED25519-CERT" in host.log()
        assert subprocess.check_output(["ssh", "dock-box", "id -un"], text=True) == "dock\n"
        # The key that the first login has seen is the one that counts from now on.
        [line] = Path(ssh_home, ".docker", "box", "known_hosts").read_text().splitlines()
        assert line == f"box {host.known_hosts_line.split(' ', 1)[1]}".strip()

        # paramiko, and so Fabric, Ansible and the Docker SDK, reads the stanza.
        stanza = paramiko.SSHConfig.from_path(f"{ssh_home}/.docker/dock_ssh_config").lookup("dock-box")
        assert {name: stanza[name] for name in ("hostname", "user", "port", "proxyjump", "identityfile")} == {
            "hostname": "inner.example", "user": "dock", "port": str(host.port), "proxyjump": "bastion",
            "identityfile": [str(key)],
        }  # fmt: skip

        # A changed key is refused, whatever the name, and nothing changes.
        before = Path(ssh_home, ".docker", "dock_ssh_config").read_text()
        host.rotate_host_key()
        host.cut()
        for argv in (("box",), ("box", "two", "--replace")):
            outcome = register(*argv)
            assert outcome.status == 255
            assert re.fullmatch(
                r"register-dock: the host key of \S+ has changed; if the host was reinstalled, run: ssh-keygen -R \S+ -f \S+; "
                r"if not, someone may be intercepting the connection\n",
                outcome.err,
            )
        assert Path(ssh_home, ".docker", "dock_ssh_config").read_text() == before


def test_what_it_finds(host, register, ssh_home) -> None:
    """On a host by its address: GPUs, an engine behind sudo, a writable workspace, and who is asked for which name."""
    where = ["-P", str(host.port)]
    version = host.run("docker version -f {{.Server.Version}}").strip()
    program(
        Path(host.path("/usr/bin/nvidia-smi")),
        'test "$*" = "--query-gpu=name --format=csv,noheader" && echo "Tesla T4\nTesla T4"',
    )
    host.run("install -d -o dock /data/workspaces/alice")
    outcome = register(f"dock@{host.address}:{host.port}", "gpu", "-u", "nobody", "-P", "1")
    assert outcome.err.splitlines()[-2:] == [
        f"register-dock: gpu has Docker Engine {version}, linux/amd64, 2 GPUs (Tesla T4, Tesla T4); run: source dock gpu",
        "register-dock: warning: the engine reports neither a runtime nvidia nor GPUs as CDI devices; if docker refuses, "
        "install the NVIDIA Container Toolkit on the engine's host and run there: sudo nvidia-ctk runtime configure && "
        "sudo systemctl restart docker",
    ]
    assert inventory.find("gpu", ssh_home).user == "dock"
    outcome = register(host.address, "gpu", "-u", "nodock", *where)
    assert outcome.err.splitlines()[-3::2] == [
        "register-dock: warning: docker on gpu needs sudo, which docker --context dock-gpu does not use; run: "
        "ssh-dock gpu sudo usermod -aG docker nodock",
        "register-dock: warning: /data/workspaces/alice on gpu is not writable, which syncing needs; run: "
        "ssh-dock gpu sudo install -d -o nodock /data/workspaces/alice; or set DOCK_WORKSPACES to a directory of yours",
    ]
    outcome = register(host.address, "gpu", "-u", "plain", *where, env={**os.environ, "DOCK_WORKSPACES": "/tmp"})
    assert outcome.err.splitlines()[-1] == (
        "register-dock: warning: the user of dock gpu is not allowed to use its Docker Engine; add that user to the group "
        "docker: ssh dock-gpu 'sudo usermod -aG docker $USER', and close the connection: ssh dock-gpu -O exit"
    )

    # The key is checked against those that the user's own ssh knows.
    assert inventory.known(ssh_home)[0].user == "plain"
    inventory.unregister(host.address, ssh_home)
    known_hosts = Path(ssh_home, ".ssh", "known_hosts")
    right = known_hosts.read_text()
    known_hosts.write_text(
        right.replace("AAAAC3NzaC1lZDI1NTE5AAAAI", "AAAAC3NzaC1lZDI1NTE5AAAAIA")[: len(right) - 1] + "\n"
    )
    other = generate(Path(ssh_home, "other"))
    known_hosts.write_text(f"{right.split()[0]} {Path(f'{other}.pub').read_text()}")
    outcome = register(f"dock@{host.address}:{host.port}", "gpu")
    name = f"\\[{host.address}\\]:{host.port}"
    assert outcome.status == 255
    assert re.fullmatch(
        rf"register-dock: the host key of {name} has changed; if the host was reinstalled, run: ssh-keygen -R '{name}' -f "
        rf"{known_hosts}; if not, someone may be intercepting the connection\n",
        outcome.err,
    )
    # An ssh that accepts no unknown key does not accept one here either.
    known_hosts.write_text("")
    Path(ssh_home, ".ssh", "config").write_text("StrictHostKeyChecking yes\n")
    outcome = register(f"dock@{host.address}:{host.port}", "gpu")
    assert outcome.status == 255
    assert re.fullmatch(
        rf"register-dock: the host key of {host.address} is unknown or does not match: No ED25519 host key is known for "
        rf"{name} and you have requested strict checking; check the key and accept it once: ssh -p {host.port} "
        rf"dock@{host.address}\n",
        outcome.err,
    )
    assert not Path(ssh_home, ".docker", "dock_ssh_config").exists()
    known_hosts.write_text(right)
    assert register(f"dock@{host.address}:{host.port}", "gpu").status == 0
    assert subprocess.check_output(["ssh", "dock-gpu", "id -un"], text=True) == "dock\n"
    # A user without a shell, and a rejected login.
    assert register(f"nobody@{host.address}:{host.port}", "gpu") == (
        1,
        "",
        f"register-dock: no shell runs for nobody on {host.address}: This account is currently not available; "
        "name another user (-u)\n",
    )
    outcome = register(f"eve@{host.address}:{host.port}", "gpu")
    assert (outcome.status, outcome.err) == (
        255,
        f"register-dock: {host.address} rejected the login: eve@{host.address}: Permission denied (publickey); register "
        "it again with the right user (-u) and private key (-i)\n",
    )
    assert inventory.find("gpu", ssh_home).user == "dock"


def test_a_docker_outside_the_path_that_does_not_describe_its_engine() -> None:
    dock = Dock("gpu", "box", "ada", "box", "box")
    found = Found(Docker("/snap/bin/docker", sudo=False), "", {}, [], is_writable=True, keys=[])
    assert register_dock._shortcomings(dock, found) == [
        "docker on gpu does not describe its engine; see: ssh-dock gpu docker info",
        "/snap/bin/docker on gpu is not on the PATH of an ssh command, where docker --context dock-gpu needs it; run: "
        "ssh-dock gpu sudo ln -s /snap/bin/docker /usr/local/bin/docker",
    ]


def test_a_host_that_does_not_answer(register, note, ssh_home) -> None:
    """Nothing is written, unless it is to be registered all the same; then the keys that the user knows are the dock's."""
    place = "ada@127.0.0.1:1"
    outcome = register(place, "gpu")
    assert outcome == (
        255,
        "",
        "register-dock: 127.0.0.1 refused the connection: connect to host 127.0.0.1 port 1: Connection refused; check that "
        "the host is up and that sshd runs there: ssh -p 1 ada@127.0.0.1; to register it anyway, add --no-connect\n",
    )
    assert os.listdir(ssh_home) == [".ssh"]
    assert sorted(os.listdir(f"{ssh_home}/.ssh")) == ["id_ed25519", "id_ed25519.pub"]
    Path(ssh_home, ".ssh", "known_hosts").write_text("[127.0.0.1]:1 ssh-ed25519 AAAA1\n")
    assert note(place, "gpu").status == 0
    assert Path(ssh_home, ".docker", "127.0.0.1", "known_hosts").read_text() == "gpu ssh-ed25519 AAAA1\n"


def test_defaults(note, ssh_home) -> None:
    outcome = note("203.0.113.7")
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.err.startswith(LISTED.format(address="203.0.113.7", moniker="203.0.113.7") + FIRST_LINE)
    assert outcome.echoed == ["docker context create --docker host=ssh://dock-203.0.113.7 dock-203.0.113.7"]
    assert inventory.known(ssh_home) == [Dock("203.0.113.7", "203.0.113.7", ME, "203.0.113.7", "203.0.113.7")]
    assert context("dock-203.0.113.7") == "ssh://dock-203.0.113.7"


def test_all_options(note, ssh_home, tmp_path) -> None:
    (tmp_path / "key").touch()
    assert note("box.example.com", "gpu", "-u", "ada", "-P", "2222", "-i", "key").status == 0
    [dock] = inventory.known(ssh_home)
    assert dock == Dock("gpu", "box.example.com", "ada", "box.example.com", "box.example.com", 2222, f"{tmp_path}/key")
    assert note("eve@[2001:db8::7]:2022", "six").status == 0
    six = inventory.find("six", ssh_home)
    assert six == Dock("six", "2001:db8::7", "eve", "2001:db8::7", "2001:db8::7", 2022)
    assert subprocess.check_output(["ssh", "-G", "dock-six"], text=True).splitlines()[1:4] == [
        "user eve", "hostname 2001:db8::7", "port 2022",
    ]  # fmt: skip


def test_the_user_from_the_environment(note, ssh_home, monkeypatch) -> None:
    monkeypatch.setenv("DOCK_USER", "ada")
    note("203.0.113.7")
    assert inventory.known(ssh_home)[0].user == "ada"
    Path(ssh_home, ".ssh", "config").write_text("Host 203.0.113.8\n  User bob\n")
    note("203.0.113.8")
    assert inventory.find("203.0.113.8", ssh_home).user == "bob"
    # In a docked shell, DOCK_USER is the user on the dock; the variable from before counts.
    monkeypatch.setenv("DOCK_MONIKER", "203.0.113.8")
    monkeypatch.setenv("DOCK_USER", "bob")
    monkeypatch.setenv("DOCKERUTILS_BEFORE_DOCK_USER", "ada")
    note("203.0.113.9")
    assert inventory.find("203.0.113.9", ssh_home).user == "ada"
    monkeypatch.delenv("DOCK_MONIKER")
    monkeypatch.setenv("DOCK_USER", "a\nb")
    assert note("203.0.113.9").err.startswith("register-dock: 'a\\nb' is not a user name; ")


def test_again_under_another_moniker(note, ssh_home) -> None:
    aws = Dock(
        *("gpu", "203.0.113.7", "a", "203.0.113.7", "203.0.113.7", None, None, "i-0abc", "eu-west-1", "pp-1"),
        *("123456789012", "0a1b"),
    )
    inventory.register(aws, ssh_home)
    # What create-dock made keeps its user.
    assert note("203.0.113.7", "gpu").echoed == ["docker context create --docker host=ssh://dock-gpu dock-gpu"]
    assert inventory.known(ssh_home) == [aws]
    refused = note("203.0.113.7", "big", "-u", "ada")
    assert refused == (
        2,
        "",
        "register-dock: 203.0.113.7 is already the dock gpu; use that dock, or add --replace\n",
    )
    outcome = note("203.0.113.7", "big", "-u", "ada", "--replace")
    assert outcome.echoed == [
        "docker context rm --force dock-gpu",
        "docker context create --docker host=ssh://dock-big dock-big",
    ]
    listed = LISTED.format(address="203.0.113.7", moniker="big")
    assert outcome.err.startswith(f"register-dock: replace gpu\n{listed}\n")
    # The fields about AWS are kept.
    assert inventory.known(ssh_home) == [aws._replace(moniker="big", user="ada")]
    assert (context("dock-gpu"), context("dock-big")) == ("", "ssh://dock-big")
    # Nothing to change: nothing runs.
    assert note("203.0.113.7", "big", "-u", "ada") == (0, "", listed)


def test_another_dock_is_replaced_on_request_only(note, ssh_home) -> None:
    aws = Dock("gpu", "203.0.113.7", "a", "203.0.113.7", "203.0.113.7", None, None, "i-0abc", "eu-west-1")
    inventory.register(aws, ssh_home)
    Path(ssh_home, ".ssh", "config").write_text(
        "Include ~/.docker/dock_ssh_config\nHost same\n  HostName 203.0.113.7\nHost other\n  HostName 203.0.113.7\n  Port 23\n"
        "Host inner\n  HostName 203.0.113.7\n  ProxyJump bastion\n"
    )
    assert note("same").err == (
        "register-dock: 203.0.113.7 is already the dock gpu, at 203.0.113.7; use that dock, or add --replace\n"
    )
    assert note("203.0.113.8", "gpu").err == (
        "register-dock: 'gpu' is already gpu at 203.0.113.7; choose another moniker, or add --replace\n"
    )
    assert inventory.known(ssh_home) == [aws]
    # The same address on another port, or behind another host, is another host.
    assert [note("other").status, note("inner").status, len(inventory.known(ssh_home))] == [0, 0, 3]
    outcome = note("203.0.113.8", "gpu", "--replace")
    assert "register-dock: remove ~/.docker/203.0.113.7/connection_config.txt\n" in outcome.err
    assert (
        "register-dock: warning: gpu was replaced; its AWS instance i-0abc remains and costs money; to terminate it, run: "
        "aws ec2 terminate-instances --instance-ids i-0abc --region eu-west-1\n"
    ) in outcome.err
    assert [dock.address for dock in inventory.known(ssh_home)] == ["203.0.113.8", "inner", "other"]


def test_a_context_with_another_endpoint_is_updated(note) -> None:
    subprocess.run(["docker", "context", "create", "--docker", "host=tcp://x:1", "dock-gpu"], check=True)
    assert note("203.0.113.7", "gpu").echoed == ["docker context update --docker host=ssh://dock-gpu dock-gpu"]
    assert context("dock-gpu") == "ssh://dock-gpu"


def test_dry_run(register, ssh_home) -> None:
    """It lists everything that it would write, and the stanza, and connects to nothing."""
    Path(ssh_home, ".ssh", "config").write_text("Host box\n  HostName 203.0.113.7\n  User ada\n  ProxyJump bastion\n")
    outcome = register("box", "gpu", "--dry-run")
    assert (outcome.status, outcome.err) == (0, "")
    assert (
        re.sub(r"ControlPath \S+", "ControlPath PATH", outcome.out)
        == """\
# write ~/.docker/box/connection_config.txt
# write ~/.docker/dock_ssh_config: Host dock-gpu
# write ~/.ssh/config: Include ~/.docker/dock_ssh_config, as its first line
# Host dock-gpu
#     HostName 203.0.113.7
#     User ada
#     ProxyJump bastion
#     HostKeyAlias gpu
#     UserKnownHostsFile ~/.docker/box/known_hosts
#     StrictHostKeyChecking accept-new
#     ControlMaster auto
#     ControlPath PATH
#     ControlPersist 10m
#     ConnectTimeout 10
#     ServerAliveInterval 5
#     ServerAliveCountMax 3
docker context create --docker host=ssh://dock-gpu dock-gpu
"""
    )
    assert not Path(ssh_home, ".docker").exists()
    assert Path(ssh_home, ".ssh", "config").read_text().startswith("Host box")
    assert register("box", "--instance", "i-0abc", "--dry-run").out.count("HostKeyAlias i-0abc\n") == 1


def test_without_docker(note, ssh_home, tmp_path) -> None:
    (tmp_path / "ssh").symlink_to("/usr/bin/ssh")
    outcome = note("203.0.113.7", "gpu", env={**os.environ, "PATH": str(tmp_path)})
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.err.endswith(
        "register-dock: warning: no docker context dock-gpu: docker was not found on PATH; install the docker "
        "command-line client, or add its directory to PATH\n"
    )
    assert inventory.find("gpu", ssh_home).ip == "203.0.113.7"


def test_docker_fails(note, tmp_path) -> None:
    program(tmp_path / "docker", "exit 3")
    outcome = note("203.0.113.7", "gpu", env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert outcome.status == 3


def test_ssh_reads_another_home(isolated, tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.setattr("pwd.getpwuid", lambda _: type("", (), {"pw_dir": "/home/other"}))
    outcome = call(main, "203.0.113.7", "gpu", "--no-connect", directory=tmp_path, capfd=capfd)
    assert (
        "register-dock: warning: ssh reads /home/other, not HOME, and does not find this dock; register it with "
        "HOME=/home/other\n"
    ) in outcome.err


def test_a_user_without_an_entry(isolated, tmp_path, capfd, monkeypatch) -> None:
    """As in a container that runs with any user id."""

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", unknown)
    outcome = call(main, "203.0.113.7", "gpu", "--no-connect", directory=tmp_path, capfd=capfd)
    assert (outcome.status, "warning" in outcome.err) == (0, False)


def test_a_home_directory_too_long_for_a_shared_connection(isolated, tmp_path, capfd, monkeypatch) -> None:
    home = tmp_path / ("h" * 90)
    monkeypatch.setenv("HOME", str(home))
    outcome = call(main, "203.0.113.7", "gpu", "--no-connect", directory=tmp_path, capfd=capfd)
    assert (
        f"register-dock: warning: the path {home} is too long for a shared ssh connection; every docker command opens its "
        "own\n"
    ) in outcome.err


HOST = "is not a host; use [user@]host[:port], or a host in your ssh configuration"
USER = "is not a user name; use letters, digits, '_', '.', '@', '+' and '-', starting with a letter, digit or '_'"
WORD = "is not valid; use letters, digits, '_', '.' and '-', starting with a letter or digit"
MONIKER = "is not a moniker; use up to 100 letters, digits, '_', '.', '+' and '-', starting with a letter or digit"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["$(touch x)"], f"'$(touch x)' {HOST}"),
        (["`touch x`"], f"'`touch x`' {HOST}"),
        ([".."], f"'..' {HOST}"),
        (["../x"], f"'../x' {HOST}"),
        (["a\nb"], f"'a\\nb' {HOST}"),
        (["x@-box"], f"'x@-box' {HOST}"),
        (["@box"], f"'@box' {HOST}"),
        (["box:0"], f"'box:0' {HOST}"),
        (["box:"], f"'box:' {HOST}"),
        (["[::1"], f"'[::1' {HOST}"),
        (["[::1]x"], f"'[::1]x' {HOST}"),
        (["ada@$(touch x):22"], f"'ada@$(touch x):22' {HOST}"),
        ([""], f"'' {HOST}"),
        (["box", "$(touch x)"], f"'$(touch x)' {MONIKER}"),
        (["box", "a b"], f"'a b' {MONIKER}"),
        (["box", ".."], f"'..' {MONIKER}"),
        (["box", "a\nProxyCommand x"], f"'a\\nProxyCommand x' {MONIKER}"),
        (["box", "m" * 101], f"'{'m' * 101}' {MONIKER}"),
        (
            ["box", "gpu", "-u", "-l"],
            f"'-l' {USER}",
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
            "'taken' is already taken at 203.0.113.7; choose another moniker, or add --replace",
        ),
        (["box", "--instance", "a b"], f"'a b' {WORD}"),
        (["box", "--region", "eu-west-1"], "--region is the region of an instance; add --instance ID"),
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
    outcome = call(main, "203.0.113.7", "--no-connect", directory=tmp_path, capfd=capfd)
    assert outcome == Outcome(
        1, "", f"register-dock: {config}: Is a directory; move the directory that is in its place\n"
    )


def test_the_instance_of_a_host(aws, note, ssh_home) -> None:
    """It is at any of its addresses, private ones and those of other interfaces too; a stopped one has no public one."""
    ec2 = boto3.client("ec2")
    [image] = ec2.describe_images(Owners=["099720109477"])["Images"][:1]
    [made] = ec2.run_instances(ImageId=image["ImageId"], MinCount=1, MaxCount=1)["Instances"]
    instance = made["InstanceId"]
    [found] = ec2.describe_instances()["Reservations"][0]["Instances"]
    public, private = found["PublicIpAddress"], found["PrivateIpAddress"]
    interface = ec2.create_network_interface(SubnetId=found["SubnetId"])["NetworkInterface"]
    ec2.attach_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"], InstanceId=instance, DeviceIndex=1)
    second = interface["PrivateIpAddress"]
    Path(ssh_home, ".ssh", "config").write_text(
        f"Host box\n  HostName {private}\n  ProxyJump bastion\nHost second\n  HostName {second}\n"
        f"Host unknown\n  HostName inner.invalid\nHost session\n  HostName {instance}\n"
    )
    tie = ["--instance", instance, "--region", "us-east-1"]
    tied = (instance, "us-east-1", None, "123456789012")
    for address, ip in (
        ("box", private),
        (public, public),
        ("second", second),
        ("unknown", "inner.invalid"),
        ("session", instance),
    ):
        assert note(address, "gpu", *tie, "--replace").status == 0, address
        [dock] = inventory.known(ssh_home)
        assert (dock.address, dock.ip, *dock[7:11]) == (address, ip, *tied)
    assert note(private, *tie).err == (
        f"register-dock: {private} is already the dock gpu, at session; use that dock, or add --replace\n"
    )
    outcome = note("203.0.113.7", "big", *tie)
    assert outcome.status == 1
    assert outcome.err.startswith(f"register-dock: 203.0.113.7 is not an address of instance {instance}, which has ")
    assert all(f" {each}" in outcome.err for each in (public, private))
    assert note("203.0.113.7", "big", "--instance", "i-0123456789abcdef0", "--region", "us-east-1").err == (
        "register-dock: AWS account 123456789012 has no instance i-0123456789abcdef0 in us-east-1; correct --instance and "
        "--region, or set AWS_PROFILE\n"
    )
    ec2.stop_instances(InstanceIds=[instance])
    inventory.unregister("session", ssh_home)
    # It is not asked for a login.
    outcome = script("register-dock", public, "gpu", "--instance", instance, directory=Path(ssh_home))
    assert outcome.status == 0
    assert outcome.err.endswith(f"register-dock: instance {instance} does not run; to start it, run: start-dock gpu\n")
    assert inventory.known(ssh_home)[0][7:11] == tied
