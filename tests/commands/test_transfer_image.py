"""transfer-image between real engines behind real sshds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.testbed import layered_images
from tests.testbed.engine import Engine
from tests.testbed.relay import relaying

# Bytes of the ssh protocol, of questions and answers: an upper bound.
OVERHEAD = 60_000
# Bytes that are sent to measure the bandwidth, at most.
MEASUREMENTS = 4_500_000


def _check_image(engine: Engine, source: Engine, reference: str) -> None:
    """Check that the image is complete, and that it runs."""
    assert layered_images.layers(engine, reference) == layered_images.layers(source, reference)
    assert layered_images.saved_layers(engine, reference) == layered_images.layers(source, reference)
    assert engine.docker("run", "--rm", reference) == f"{layered_images.MARKER}\n"


@pytest.mark.parametrize(
    ("near", "far", "saves"),
    [
        ("classic", "modern", False),
        ("modern", "classic", False),
        ("modern", "second", False),
        ("classic", "containerd", False),
        ("modern", "containerd", False),
        ("hidden", "modern", True),
        ("hidden", "containerd", True),
        ("modern_hidden", "classic", True),
        ("modern_hidden", "containerd", True),
        ("containerd", "classic", True),
        ("containerd", "modern", True),
        ("containerd", "second_containerd", True),
    ],
)
def test_only_missing_layers_are_sent(
    near, far, saves, use_engine, serve_host, transfer_image, docker_log, ssh_home
) -> None:
    there, here = use_engine(far), use_engine(near)
    _, first, second = layered_images.ensure(here, near)
    count = len(layered_images.layers(here, first))
    if near != "containerd":  # whose builder makes them differ
        assert len(set(layered_images.layers(here, first))) == count - 1
    host = serve_host(there)
    with relaying(host.address, host.port) as relay:
        behind = host.at(relay.address, relay.port)
        behind.admit(ssh_home)
        to = behind.destination()

        outcome = transfer_image(first, to)
        assert outcome.status == 0, outcome.err
        assert f"\n{to}: {first} has arrived: {count} of {count} layers, " in outcome.err
        assert outcome.echoed == [f"docker save {first} | ssh -p {behind.port} dock@{behind.address} 'docker load'"]
        assert (
            layered_images.SIZE < relay.sent < layered_images.SIZE + 2_200_000 + MEASUREMENTS + OVERHEAD
        )  # busybox too
        assert layered_images.layers(there, first) == layered_images.layers(here, first)

        before = relay.sent
        outcome = transfer_image(second, to)
        assert outcome.status == 0, outcome.err
        assert f"\n{to}: {second} has arrived: 1 of {count + 1} layers, " in outcome.err
        assert layered_images.CHANGE < relay.sent - before < layered_images.CHANGE + OVERHEAD
        _check_image(there, here, second)

        before = relay.sent
        outcome = transfer_image(second, to)
        assert outcome.status == 0, outcome.err
        assert f"\n{to}: {second} has arrived: 0 of {count + 1} layers, " in outcome.err
        assert relay.sent - before < OVERHEAD
    assert ("save" in docker_log.read_text().split()) == saves


def test_project_images_and_references(use_engine, serve_host, transfer_image) -> None:
    there, here = use_engine("classic"), use_engine("modern")
    stock = layered_images.ensure(here, "modern")
    transfer_image.write({"docker/dockerutils.cfg": "[run_image]\nsynthetic_images = again\n[again]\nname = dev\n"})
    here.docker("tag", stock.base, "app-dev:alice")
    to = serve_host(there).destination()
    try:
        for name in ("dev", "again", "app-dev:alice", "docker.io/library/app-dev:alice"):
            outcome = transfer_image(name, to, directory="docker")
            assert outcome.status == 0, outcome.err
            assert layered_images.layers(there, "app-dev:alice") == layered_images.layers(here, stock.base)
            there.docker("image", "rm", "app-dev:alice")
    finally:
        here.docker("image", "rm", "app-dev:alice")
    digest = f"app@sha256:{'0' * 64}"
    outcome = transfer_image(digest, to)
    assert (outcome.status, outcome.err) == (
        2,
        f"transfer-image: {digest} has no tag; add one: docker tag {digest} NAME:TAG\n",
    )


def test_dock_and_address(use_engine, serve_host, transfer_image, ssh_home) -> None:
    there, here = use_engine("second"), use_engine("modern")
    stock = layered_images.ensure(here, "modern")
    # A host by address: ssh logs in as this user.
    host = serve_host(there, port=22)
    inventory.register(Dock("gpu", host.address, "nodock", host.address, host.address, 22, host.key), ssh_home)
    try:
        for name in ("gpu", host.address):
            outcome = transfer_image(stock.base, name)
            assert outcome.status == 0, outcome.err
            assert outcome.echoed == [f"docker save {stock.base} | ssh dock-gpu 'sudo -n docker load'"]
            there.docker("image", "rm", stock.base)
    finally:
        subprocess.run(["ssh", "-O", "exit", "dock-gpu"], capture_output=True, check=True)
    inventory.unregister(host.address, ssh_home)
    Path(ssh_home, ".ssh", "config").write_text(f"Host {host.address} box\nHostName {host.address}\nUser dock\n")
    outcome = transfer_image(stock.base, host.address, "ssh://box/")
    assert outcome.status == 0, outcome.err
    assert sorted(outcome.echoed) == [
        f"docker save {stock.base} | ssh {host.address} 'docker load'",
        f"docker save {stock.base} | ssh box 'docker load'",
    ]
    assert layered_images.layers(there, stock.base) == layered_images.layers(here, stock.base)


def test_docked_shell_sends_from_the_engine_used_before(
    use_engine, serve_host, transfer_image, ssh_home, monkeypatch
) -> None:
    there, here = use_engine("second"), use_engine("modern")
    stock = layered_images.ensure(here, "modern")
    host = serve_host(there)
    gpu = Dock("gpu", host.address, "dock", host.address, host.address, host.port)
    inventory.register(gpu, ssh_home)
    monkeypatch.setenv("DOCKERUTILS_BEFORE_DOCKER_HOST", os.environ["DOCKER_HOST"])
    for variable, value in inventory.docked(gpu).items():
        monkeypatch.setenv(variable, value)
    try:
        outcome = transfer_image(stock.base, "gpu")
        assert outcome.status == 0, outcome.err
        assert layered_images.layers(there, stock.base) == layered_images.layers(here, stock.base)
        [line] = outcome.echoed
        assert line == f"env -u DOCKER_IP DOCKER_HOST={here.host} docker save {stock.base} | ssh dock-gpu 'docker load'"
        there.docker("image", "rm", stock.base)
        subprocess.run(["sh", "-c", line], check=True)
        assert layered_images.layers(there, stock.base) == layered_images.layers(here, stock.base)
    finally:
        subprocess.run(["ssh", "-O", "exit", "dock-gpu"], capture_output=True, check=True)


def test_several_destinations_of_which_some_fail(use_engine, serve_host, transfer_image) -> None:
    second, classic, here = use_engine("second"), use_engine("classic"), use_engine("modern")
    stock = layered_images.ensure(here, "modern")
    one, other = serve_host(second), serve_host(classic)
    nowhere, stranger = "dock@127.0.0.1:1", other.destination("plain")
    outcome = transfer_image(
        stock.base, one.destination(), nowhere, other.destination(), stranger, one.destination("nodock")
    )
    for engine in (second, classic):
        assert layered_images.saved_layers(engine, stock.base) == layered_images.layers(here, stock.base)
    assert outcome.status == 1
    assert [line for line in outcome.err.splitlines() if line.startswith("transfer-image: ")] == [
        f"transfer-image: {nowhere} refused the connection: connect to host 127.0.0.1 port 1: Connection refused; "
        f"check that the host is up and that sshd runs there: ssh -p 1 dock@127.0.0.1",
        f"transfer-image: the user of {stranger} is not allowed to use its Docker Engine; add that user to the group docker: "
        f"ssh -p 2222 plain@{other.address} 'sudo usermod -aG docker $USER'",
    ]
    assert sorted(outcome.echoed) == sorted(
        [
            f"docker save {stock.base} | ssh -p 2222 dock@{one.address} 'docker load'",
            f"docker save {stock.base} | ssh -p 2222 dock@{other.address} 'docker load'",
            f"docker save {stock.base} | ssh -p 2222 nodock@{one.address} 'sudo -n docker load'",
        ]
    )


@pytest.mark.parametrize("user", ["dock", "nodock"])
def test_docker_not_on_the_path_of_sessions(user, use_engine, serve_host, transfer_image) -> None:
    there, here = use_engine("second"), use_engine("modern")
    stock = layered_images.ensure(here, "modern")
    host = serve_host(there, docker="/snap/bin/docker")
    outcome = transfer_image(stock.base, host.destination(user))
    assert outcome.status == 0, outcome.err
    sudo = "sudo -n " if user == "nodock" else ""
    [line] = outcome.echoed
    assert line == f"docker save {stock.base} | ssh -p 2222 {user}@{host.address} '{sudo}/snap/bin/docker load'"
    assert layered_images.layers(there, stock.base) == layered_images.layers(here, stock.base)


def test_no_docker_there(use_engine, serve_host, transfer_image) -> None:
    here = use_engine("modern")
    host = serve_host(here, docker="")
    outcome = transfer_image(layered_images.ensure(here, "modern").base, host.destination())
    assert (outcome.status, outcome.err) == (
        1,
        f"transfer-image: {host.destination()} has no docker; install it there, or add its directory to the PATH of that user\n",
    )


def test_dry_run_touches_nothing(use_engine, serve_host, transfer_image, ssh_home, docker_log) -> None:
    here = use_engine("modern")
    host = serve_host(here)
    outcome = transfer_image("--dry-run", "dev", host.destination(), "ada@box")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        f"docker save app-dev:alice | ssh -p 2222 dock@{host.address} 'docker load'",
        "docker save app-dev:alice | ssh ada@box 'docker load'",
    ]
    assert host.authentications() == 0
    assert docker_log.read_text() == ""


def test_printed_line_can_be_pasted(use_engine, serve_host, transfer_image, ssh_home, monkeypatch) -> None:
    there, here = use_engine("second"), use_engine("modern")
    stock = layered_images.ensure(here, "modern")
    host = serve_host(there)
    Path(ssh_home, ".ssh", "id_ed25519").unlink()
    monkeypatch.setenv("SSH_KEY", host.key)
    outcome = transfer_image(stock.base, host.destination("nodock"))
    assert outcome.status == 0, outcome.err
    [line] = outcome.echoed
    assert f"ssh -i {host.key} -p 2222 " in line
    there.docker("image", "rm", stock.base)
    subprocess.run(["sh", "-c", line], check=True)
    assert layered_images.layers(there, stock.base) == layered_images.layers(here, stock.base)


@pytest.mark.parametrize("bad", ["-oProxyCommand=x", "a b", "me@", "box:99999", "ssh://box/path", "", "a\nb"])
def test_invalid_destination(bad, transfer_image) -> None:
    outcome = transfer_image("layered:1", "--", bad)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err == (f"transfer-image: {bad!r} is not a destination; name a dock, or write [user@]host[:port]\n")


@pytest.mark.parametrize("without", [(), ("zstd",)])
def test_slow_link_is_compressed(without, use_engine, serve_host, transfer_image, ssh_home) -> None:
    there, here = use_engine("second"), use_engine("modern")
    layered_images.import_image(here, "layered:modern-zeros", 30_000_000, content="/dev/zero")
    host = serve_host(there, without=without)
    with relaying(host.address, host.port, rate=5e6) as relay:
        behind = host.at(relay.address, relay.port)
        behind.admit(ssh_home)
        outcome = transfer_image("layered:modern-zeros", behind.destination())
        assert outcome.status == 0, outcome.err
        # busybox is in it too.
        assert relay.sent < 2_000_000 + MEASUREMENTS
    assert layered_images.saved_layers(there, "layered:modern-zeros") == layered_images.layers(
        here, "layered:modern-zeros"
    )


def _screen(written: str) -> list[str]:
    """Return the lines of a terminal after this output."""
    lines = [""]
    for part in re.findall(r"\x1b\[\d*[A-Za-z]|\r\n|[^\x1b\r]+", written):
        if part == "\r\n":
            lines.append("")
        elif up := re.fullmatch(r"\x1b\[(\d+)F", part):
            lines[len(lines) - 1 - int(up[1]) :] = [""]
        elif not part.startswith("\x1b"):
            lines[-1] += part
    return lines


@pytest.mark.parametrize("color", [True, False])
def test_progress_on_a_terminal(color, use_engine, serve_host, ssh_home, tmp_path, monkeypatch) -> None:
    there, here = use_engine("second"), use_engine("modern")
    reference = "layered:modern-large"
    layered_images.import_image(here, reference, 30_000_000)
    if not color:
        monkeypatch.setenv("NO_COLOR", "1")
    host = serve_host(there)
    with relaying(host.address, host.port, rate=10e6) as relay:
        behind = host.at(relay.address, relay.port)
        behind.admit(ssh_home)
        to = behind.destination()
        terminal = pexpect.spawn(
            str(Path(sys.executable).parent / "transfer-image"),
            [reference, to],
            cwd=str(tmp_path),
            encoding="utf-8",
            timeout=60,
            dimensions=(24, 160),
        )
        try:
            terminal.expect(pexpect.EOF)
        finally:
            terminal.close()
    assert terminal.exitstatus == 0
    written = str(terminal.before)
    assert ("\x1b[1mdocker save" in written) == color
    pictures = re.findall(
        re.escape(f"{to}: 0 of 1 layers are there; ")
        + r"\[(#*)(\.*)\] ([\d.]+) MB of 32.0 MB at [\d.]+ .?B/s, \d+:\d\d left\r\n",
        written,
    )
    assert pictures
    assert all(len(full) + len(rest) == 24 for full, rest, _ in pictures)
    gone = [float(each) for *_, each in pictures]
    assert gone == sorted(gone)
    *above, last, end = _screen(written)
    assert re.fullmatch(re.escape(f"{to}: {reference} has arrived: 1 of 1 layers, 32.0 MB in ") + r"[\d.]+ s", last)
    assert end == ""
    assert not any(to in line for line in above)
