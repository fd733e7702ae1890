"""transfer-image interrupted in every way: one line says why, nothing is left on either side, and a rerun works."""

from __future__ import annotations

import glob
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.support import Child, Outcome, wait_for, write_tree
from tests.testbed import debian, layered_images
from tests.testbed.engine import Engine, running
from tests.testbed.host import Host
from tests.testbed.registry import daemon
from tests.testbed.relay import Relay, relaying, within

_RATE = 8e6  # bytes a second
# After so many bytes, the image is sent partly.
_MIDDLE = 3_000_000
# Where containerd keeps parts of a layer, which docker does not see, until the layer arrives or the part expires.
_INGEST = "/ingest"


class Bed:
    """An engine here, one behind a slow link, and the state of both before a transfer."""

    def __init__(self, here: Engine, host: Host, relay: Relay, reference: str, directory: Path) -> None:
        self.here, self.there, self.host, self.relay, self.reference = here, host.engine, host, relay, reference
        self.to = f"dock@{relay.address}:{relay.port}"
        self._directory = directory
        self._pids: list[int] = []
        self._before = self.look()

    def start(self, environ: Mapping[str, str] | None = None) -> Child:
        """Start the command as a user does, with more variables."""
        child = _started(self.reference, self.to, directory=self._directory, environ=environ or {})
        self._pids.append(child.pid)
        return child

    def run(self, environ: Mapping[str, str] | None = None) -> Outcome:
        """Run the command to its end."""
        with self.start(environ) as child:
            out, err = child.communicate(timeout=60)
        return Outcome(child.returncode, out, err)

    def run_with(self, fault: Callable[[Bed, int], object]) -> Outcome:
        """Run the command, and cause a fault when some of the image was sent."""
        before = self.relay.sent
        with self.start() as child:
            wait_for(lambda: self.relay.sent > before + _MIDDLE)
            fault(self, child.pid)
            out, err = child.communicate(timeout=60)
        return Outcome(child.returncode, out, err)

    def works(self) -> None:
        """Check that the command transfers the image."""
        outcome = self.run()
        assert outcome.status == 0, outcome.err
        assert layered_images.saved_layers(self.there, self.reference) == layered_images.layers(
            self.here, self.reference
        )

    def look(self) -> dict[str, set[str]]:
        """Return everything that a transfer could leave behind, of the test's own."""
        sockets = [path for pid in self._pids for path in glob.glob(f"/tmp/dockerutils-{pid}-*")]
        temporary = [str(path) for path in _temporary(self._directory).rglob("*")]
        engines = {"here": self.here, "there": self.there}
        return {
            "processes here": set(_ours()),
            "files here": {*sockets, *temporary},
            "processes there": set(self.host.processes().values()),
            "files there": set(self.host.run("find /tmp $(echo ~dock) -not -name '.bash*'").splitlines()),
        } | {
            f"{place} of the engine {name}": set(found)
            for name, engine in engines.items()
            for place, found in layered_images.stored_files(engine).items()
        }

    def is_as_before(self, ignored: str = "") -> None:
        """Check that nothing is left but in places with the word `ignored`; processes need some time to end."""
        changes: dict[str, list[str]] = {}

        def is_unchanged() -> bool:
            now = {name: found for name, found in self.look().items() if not (ignored and ignored in name)}
            changes.clear()
            changes.update((name, sorted(now[name] ^ self._before[name])[:5]) for name in now)
            return not any(changes.values())

        with suppress(AssertionError):
            wait_for(is_unchanged, 10)
        assert not {name: found for name, found in changes.items() if found}


def _temporary(directory: Path) -> Path:
    """Return the TMPDIR of commands that run in a directory."""
    temporary = directory / "tmp"
    temporary.mkdir(exist_ok=True)
    return temporary


def _started(*argv: str, directory: Path, environ: Mapping[str, str] = MappingProxyType({})) -> Child:
    return Child(
        [str(Path(sys.executable).parent / "transfer-image"), *argv],
        cwd=directory,
        env={**os.environ, "TMPDIR": str(_temporary(directory)), **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _ours() -> list[str]:
    """Return the command lines of the processes that the test has started: they have its home."""
    marker = f"\0NSS_WRAPPER_PASSWD={os.environ['NSS_WRAPPER_PASSWD']}\0".encode()
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if marker in b"\0" + Path(f"/proc/{pid}/environ").read_bytes():
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.fixture
def bed(use_engine, serve_host, ssh_home, tmp_path, request) -> Iterator[Bed]:
    """Return two engines at the ends of a slow link."""
    near, far = getattr(request, "param", ("hidden", "second"))
    there, here = use_engine(far), use_engine(near)
    reference = layered_images.ensure(here, near).base
    host = serve_host(there)
    with relaying(host.address, host.port, rate=_RATE) as relay:
        host.at(relay.address, relay.port).admit(ssh_home)
        yield Bed(here, host, relay, reference, tmp_path)


@pytest.fixture
def pull_bed(use_engine, serve_host, ssh_home, tmp_path, request) -> Iterator[Bed]:
    """Return two engines with containerd stores, of which one can push to a command, and an image, of that size, that is new."""
    there, here = use_engine("second_containerd"), use_engine("containerd")
    reference = f"{layered_images.NAME}:containerd-{secrets.token_hex(4)}"
    layered_images.import_image(here, reference, request.param)
    host, network = serve_host(there, near=True), daemon(here)
    with relaying(host.address, host.port, rate=_RATE, clients=network) as relay, within(network):
        host.at(relay.address, relay.port).admit(ssh_home)
        yield Bed(here, host, relay, reference, tmp_path)


def _cut(bed: Bed, pid: int) -> None:
    bed.host.cut()


def _crash_there(bed: Bed, pid: int) -> None:
    bed.there.crash()


def _crash_here(bed: Bed, pid: int) -> None:
    bed.here.crash()


def _interrupt(bed: Bed, pid: int) -> None:
    os.killpg(pid, signal.SIGINT)


def _terminate(bed: Bed, pid: int) -> None:
    os.kill(pid, signal.SIGTERM)


def _hang_up(bed: Bed, pid: int) -> None:
    os.killpg(pid, signal.SIGHUP)


def _lines(outcome: Outcome) -> list[str]:
    """Return stderr without the printed command and the progress."""
    shown = [*outcome.echoed, "=" * 80, ""]
    progress = re.compile(r" \d+ layers( are there)?; ")
    return [line for line in outcome.err.splitlines() if line not in shown and not progress.search(line)]


_CUT_OFF = "transfer-image: the connection to {to} was cut; try again"
_STOPPED_HERE = "transfer-image: the engine here has stopped; start it and run the command again"
_STOPPED_THERE = "transfer-image: {to}: the engine there has stopped; start it and run the command again"


@pytest.mark.parametrize(
    ("bed", "fault", "status", "lines"),
    [
        (("hidden", "second"), _cut, 255, [_CUT_OFF]),
        (("modern", "classic"), _cut, 255, [_CUT_OFF]),
        (("hidden", "second"), _crash_there, 1, [_STOPPED_THERE]),
        (("modern", "classic"), _crash_there, 1, [_STOPPED_THERE]),
        (("hidden", "second"), _interrupt, 130, []),
        (("classic", "second"), _interrupt, 130, []),
        (("hidden", "second"), _terminate, 143, []),
        (("classic", "second"), _hang_up, 129, []),
    ],
    indirect=["bed"],
)
def test_interrupted_in_the_middle(bed, fault, status, lines) -> None:
    outcome = bed.run_with(fault)
    assert _lines(outcome) == [line.format(to=bed.to) for line in lines]
    assert (outcome.status, outcome.out) == (status, "")
    bed.is_as_before()
    bed.works()


@pytest.mark.parametrize(
    ("pull_bed", "fault", "status", "lines"),
    [
        (layered_images.SIZE, _interrupt, 130, []),
        (layered_images.SIZE, _hang_up, 129, []),
        (layered_images.SIZE, _cut, 255, [_CUT_OFF]),
        (layered_images.SIZE, _crash_there, 1, [_STOPPED_THERE]),
        # More than the pipes and sockets between the engines hold.
        (30_000_000, _crash_here, 1, [_STOPPED_HERE]),
    ],
    indirect=["pull_bed"],
)
def test_pull_interrupted_in_the_middle(pull_bed, fault, status, lines) -> None:
    """The engine there keeps what has arrived, without a name, and continues with it."""
    names = ("image", "ls", "--all", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}")
    engines = (pull_bed.here, pull_bed.there)
    before = [engine.docker(*names) for engine in engines]
    outcome = pull_bed.run_with(fault)
    assert _lines(outcome) == [line.format(to=pull_bed.to) for line in lines]
    assert (outcome.status, outcome.out) == (status, "")
    assert [engine.docker(*names) for engine in engines] == before
    pull_bed.is_as_before(ignored="containerd")
    sent = pull_bed.relay.sent
    pull_bed.works()
    assert pull_bed.relay.sent > sent


def _send_twice_at_once(bed: Bed) -> None:
    with bed.start() as one, bed.start() as other:
        for child in (one, other):
            _, err = child.communicate(timeout=60)
            assert child.returncode == 0, err
    assert bed.there.docker("run", "--rm", bed.reference) == f"{layered_images.MARKER}\n"
    names = bed.there.docker("image", "ls", "--format", "{{.Repository}}").split()
    assert not [name for name in names if "127.0.0.1" in name or "dockerutils" in name]


@pytest.mark.parametrize("bed", [("hidden", "second"), ("hidden", "second_containerd")], indirect=True)
def test_two_transfers_of_one_image_at_once(bed) -> None:
    _send_twice_at_once(bed)


@pytest.mark.parametrize("pull_bed", [layered_images.SIZE], indirect=True)
def test_two_pulls_of_one_image_at_once(pull_bed) -> None:
    _send_twice_at_once(pull_bed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_while_the_destination_is_probed(bed, number) -> None:
    """The engine there does not answer, so that the probe lasts; each signal comes at another moment of the start."""
    os.kill(bed.there.dockerd, signal.SIGSTOP)
    try:
        for delay in (0.2, 0.3, 0.4, 0.6, 1.0):
            with bed.start() as child:
                time.sleep(delay)  # the moment is what is tested
                began = time.monotonic()
                os.killpg(child.pid, number)
                out, err = child.communicate(timeout=20)
            assert time.monotonic() - began < 8
            assert (out, err) == ("", "")
            assert child.returncode in {128 + number, -number}
    finally:
        os.kill(bed.there.dockerd, signal.SIGCONT)
    bed.is_as_before()


@pytest.mark.parametrize("delay", [0.3, 0.6])
def test_burst_of_interrupts_leaves_no_connection(bed, delay) -> None:
    with bed.start() as child:
        time.sleep(delay)
        for _ in range(8):
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGINT)
            time.sleep(0.02)
        out, err = child.communicate(timeout=20)
    assert (out, _lines(Outcome(0, out, err))) == ("", [])
    assert child.returncode in {130, -signal.SIGINT}
    bed.is_as_before()


@pytest.mark.parametrize("bed", [("modern", "containerd")], indirect=True)
def test_connection_cut_with_a_containerd_store(bed) -> None:
    outcome = bed.run_with(_cut)
    assert _lines(outcome) == [_CUT_OFF.format(to=bed.to)]
    (ingest,) = (place for place in layered_images.stored_files(bed.there) if place.endswith(_INGEST))
    wait_for(lambda: not bed.host.processes(), 10)
    assert len(layered_images.stored_files(bed.there)[ingest]) <= 1
    bed.works()
    assert layered_images.stored_files(bed.there)[ingest] == []


def test_link_that_is_dead(bed) -> None:
    """No packet arrives any more, and nothing says so."""
    try:
        outcome = bed.run_with(lambda bed, _: os.kill(bed.relay.pid, signal.SIGSTOP))
    finally:
        os.kill(bed.relay.pid, signal.SIGCONT)
    assert (outcome.status, outcome.out, _lines(outcome)) == (255, "", [_CUT_OFF.format(to=bed.to)])
    bed.is_as_before()


def test_engine_here_stops_in_the_middle(bed, ssh_home, tmp_path) -> None:
    # More than the pipes and sockets between the engines hold.
    layered_images.import_image(bed.here, f"{layered_images.NAME}:large", 40_000_000)
    with relaying(bed.host.address, bed.host.port, rate=10e6) as relay:
        bed.host.at(relay.address, relay.port).admit(ssh_home)
        large = Bed(bed.here, bed.host, relay, f"{layered_images.NAME}:large", tmp_path)
        outcome = large.run_with(_crash_here)
        assert _lines(outcome) == ["transfer-image: the engine here has stopped; start it and run the command again"]
        assert (outcome.status, outcome.out) == (1, "")
        large.is_as_before()
        large.works()


@pytest.mark.parametrize(
    ("disk", "near", "has_containerd_store"),
    [
        pytest.param("30m", "hidden", False, id="overlay2"),
        pytest.param("30m", "hidden", True, id="containerd loads"),
        # It has both the layers that it receives and their files.
        pytest.param("70m", "hidden", True, id="containerd unpacks"),
        pytest.param("30m", "containerd", True, id="containerd pulls"),
        pytest.param("70m", "containerd", True, id="containerd unpacks what it pulls"),
    ],
)
def test_disk_there_is_full(disk, near, has_containerd_store, use_engine, serve_host, ssh_home, tmp_path) -> None:
    here, name = use_engine(near), f"{layered_images.NAME}:{near}-large"
    layered_images.import_image(here, name, 0)
    settings = {"disk": disk, "features": {"containerd-snapshotter": has_containerd_store}}
    with running(debian.modern_usr(), **settings) as there, ExitStack() as stack:
        pulls = near == "containerd"
        host, network = serve_host(there, near=pulls), daemon(here) if pulls else None
        relay = stack.enter_context(relaying(host.address, host.port, clients=network))
        host.at(relay.address, relay.port).admit(ssh_home)
        if network:
            stack.enter_context(within(network))
        Bed(here, host, relay, name, tmp_path).works()
        layered_images.import_image(here, name, 40_000_000)
        bed = Bed(here, host, relay, name, tmp_path)
        outcome = bed.run()
        assert _lines(outcome) == [
            f"transfer-image: {bed.to}: the disk there is full; free some space, see: docker system df"
        ]
        assert (outcome.status, outcome.out) == (1, "")
        bed.is_as_before(ignored=_INGEST)
        assert there.docker("run", "--rm", name) == f"{layered_images.MARKER}\n"
        enter = ["nsenter", f"--target={there.dockerd}", "--mount", "mount", "-o", "remount,size=200m"]
        subprocess.run([*enter, f"{there.directory}/data"], check=True)
        bed.works()


@pytest.mark.parametrize("near", ["classic", "hidden"])
def test_memory_does_not_grow_with_the_image(near, use_engine, serve_host, tmp_path) -> None:
    there, here = use_engine("second"), use_engine(near)
    small, large = layered_images.ensure(here, near).base, f"{layered_images.NAME}:large"
    # The large layer waits in a file for the manifest, which docker save writes last, if layers are omitted.
    layered_images.build(here, f"FROM {small}\nRUN head -c 160000000 /dev/zero >/zeros\n", large)
    host = serve_host(there)
    for reference in (small, large):
        with _started(reference, host.destination(), directory=tmp_path) as child:
            peak = 0
            while child.poll() is None:
                peak = max(peak, _peak(child.pid))
            assert child.wait(60) == 0
    assert 10_000 < peak < 100_000_000 / 1024
    assert layered_images.layers(there, large) == layered_images.layers(here, large)


def _peak(pid: int) -> int:
    """Return the peak memory of a process in KiB, 0 if it has ended."""
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()):
            return int(found[1])
    return 0


def test_no_secret_is_in_arguments_or_output(bed, ssh_home) -> None:
    key = Path(ssh_home, ".ssh", "id_ed25519")
    secrets = [layered_images.SECRET, key.read_text().splitlines()[1]]
    bed.reference = layered_images.ensure(bed.here, "hidden").first
    seen: set[bytes] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with suppress(OSError):
                    seen.add(Path(f"/proc/{pid}/cmdline").read_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        outcome = bed.run({"SSH_KEY": str(key)})
    finally:
        ended.set()
        thread.join()
    assert outcome.status == 0, outcome.err
    assert any(b"docker load" in line for line in seen)
    assert not [line for line in seen for secret in secrets if secret.encode() in line]
    assert not [secret for secret in secrets if secret in outcome.err]


def _refused(bed: Bed, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Return the status and the only line of a command that is refused, and check that nothing has changed."""
    outcome = bed.run(environ)
    [line] = outcome.err.splitlines()
    bed.is_as_before()
    return outcome.status, line.replace(bed.to, "TO").replace(str(bed.relay.port), "PORT")


def test_unknown_host_is_refused(bed, ssh_home) -> None:
    known = Path(ssh_home, ".ssh", "known_hosts")
    before = known.read_text()
    known.write_text("")
    assert _refused(bed) == (
        255,
        "transfer-image: the host key of TO is unknown or does not match: Host key verification failed; "
        "check the key and accept it once: ssh -p PORT dock@127.0.0.1",
    )
    assert known.read_text() == ""
    known.write_text(before)
    bed.works()


def test_changed_host_key_is_refused(bed, ssh_home) -> None:
    bed.host.rotate_host_key()
    known = Path(ssh_home, ".ssh", "known_hosts")
    assert _refused(bed) == (
        255,
        "transfer-image: the host key of [127.0.0.1]:PORT has changed; if the host was reinstalled, run: ssh-keygen -R "
        f"'[127.0.0.1]:PORT' -f {known}; if not, someone may be intercepting the connection",
    )
    Path(ssh_home, ".ssh", "known_hosts").write_text(bed.host.at(bed.relay.address, bed.relay.port).known_hosts_line)
    bed.works()


def test_wrong_key_is_refused(bed, ssh_home) -> None:
    Path(ssh_home, ".ssh", "id_ed25519").unlink()
    assert _refused(bed) == (
        255,
        "transfer-image: TO rejected the login: dock@127.0.0.1: Permission denied (publickey); "
        "set SSH_KEY to a private key that it accepts, or name the user: USER@HOST",
    )
    assert bed.run({"SSH_KEY": bed.host.key}).status == 0


def test_ssh_key_that_does_not_exist(bed) -> None:
    assert _refused(bed, {"SSH_KEY": "/no/key"}) == (
        2,
        "transfer-image: SSH_KEY: /no/key does not exist; set it to a private key, or unset it",
    )


def test_host_that_is_down(bed) -> None:
    bed.to = "dock@127.0.0.1:1"
    assert _refused(bed) == (
        255,
        "transfer-image: TO refused the connection: connect to host 127.0.0.1 port 1: Connection refused; "
        "check that the host is up and that sshd runs there: ssh -p 1 dock@127.0.0.1",
    )


def test_image_that_does_not_exist(bed) -> None:
    bed.reference = "layered:none"
    assert _refused(bed) == (1, "transfer-image: layered:none does not exist on this engine; build or pull it")


def test_image_whose_name_resembles_one_of_the_project(bed, tmp_path) -> None:
    write_tree(tmp_path, {"docker/dev/Dockerfile": "FROM scratch\n"})
    bed.reference = "dve"
    message = "dve:latest does not exist on this engine; did you mean dev? Otherwise build or pull it"
    assert _refused(bed) == (1, f"transfer-image: {message}")


def test_no_engine_here(bed) -> None:
    assert _refused(bed, {"DOCKER_HOST": "unix:///no/docker.sock"}) == (
        1,
        "transfer-image: no Docker Engine answers at unix:///no/docker.sock; "
        "start it, or point DOCKER_HOST or docker context use at one that runs",
    )
