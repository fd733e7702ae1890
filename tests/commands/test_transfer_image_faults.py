"""transfer-image cut off in every way: one clear line, nothing left on either side, and it works when it is run again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.support import Outcome, wait_for
from tests.testbed import crates, debian
from tests.testbed.engine import Engine, running
from tests.testbed.host import Host
from tests.testbed.relay import Relay, relaying

_RATE = 8e6  # bytes a second
# When that many bytes have gone, the image is on its way, and not all of it.
_MIDDLE = 3_000_000


class Bed:
    """An engine here, one behind a slow link, and what they and their machines have before anything is sent."""

    def __init__(self, here: Engine, host: Host, relay: Relay, reference: str, directory: Path) -> None:
        self.here, self.there, self.host, self.relay, self.reference = here, host.engine, host, relay, reference
        self.to = f"dock@{relay.address}:{relay.port}"
        self._directory = directory
        self._others = _temporary()  # of those who use this machine
        self._before = self.look()

    def ends(self, environ: Mapping[str, str] | None = None) -> Outcome:
        """Run the command to its end."""
        with _started(self.reference, self.to, directory=self._directory, environ=environ or {}) as child:
            out, err = child.communicate(timeout=60)
        return Outcome(child.returncode, out, err)

    def in_the_middle(self, fault: Callable[[Bed, int], object]) -> Outcome:
        """Run the command, and do that to it when some of the image has gone."""
        before = self.relay.sent
        with _started(self.reference, self.to, directory=self._directory) as child:
            wait_for(lambda: self.relay.sent > before + _MIDDLE)
            fault(self, child.pid)
            out, err = child.communicate(timeout=60)
        return Outcome(child.returncode, out, err)

    def runs(self) -> None:
        """See that the command does what it is for."""
        outcome = self.ends()
        assert outcome.status == 0, outcome.err
        assert crates.saved(self.there, self.reference) == crates.layers(self.here, self.reference)

    def look(self) -> dict[str, object]:
        """Return all that a transfer could leave."""
        return {
            "processes here": _ours(),
            "files here": sorted(_temporary() - self._others),
            "processes there": self.host.processes(),
            "files there": self.host.run("find /tmp /var/tmp /root /home $(echo ~dock) -not -name '.bash*' | sort"),
            "engine here": crates.traces(self.here),
            "engine there": crates.traces(self.there),
        }

    def is_as_before(self) -> None:
        """See that nothing is left; what ends needs its time."""
        with suppress(AssertionError):
            wait_for(lambda: self.look() == self._before, 10)
        assert self.look() == self._before


def _started(*argv: str, directory: Path, environ: Mapping[str, str] = MappingProxyType({})) -> subprocess.Popen[str]:
    """Start the command as a user does, with some variables more."""
    return subprocess.Popen(
        [str(Path(sys.executable).parent / "transfer-image"), *argv],
        cwd=directory,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _temporary() -> set[str]:
    return {str(path) for path in Path("/tmp").glob("dockerutils-????????")}


def _ours() -> list[str]:
    """Return the command lines of the processes that the test has brought about: they have its home."""
    marker = f"\0NSS_WRAPPER_PASSWD={os.environ['NSS_WRAPPER_PASSWD']}\0".encode()
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if marker in b"\0" + Path(f"/proc/{pid}/environ").read_bytes():
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.fixture
def bed(use, connect, ssh_home, tmp_path, request) -> Iterator[Bed]:
    """Put two engines at the ends of a slow link."""
    near, far = getattr(request, "param", ("hidden", "second"))
    there, here = use(far), use(near)
    reference = crates.stock(here, near).base
    host = connect(there)
    with relaying(host.address, host.port, rate=_RATE) as relay:
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
    """Return what is said besides the echo and how far it was."""
    shown = [*outcome.echoed, "=" * 80, ""]
    return [line for line in outcome.err.splitlines() if line not in shown and " layers are there; " not in line]


_CUT_OFF = "transfer-image: {to}: the connection was cut; run the command again"
_ENDED_THERE = "transfer-image: {to}: the engine there has ended; see that it runs, and try again"


@pytest.mark.parametrize(
    ("bed", "fault", "status", "lines"),
    [
        (("hidden", "second"), _cut, 255, [_CUT_OFF]),
        (("modern", "classic"), _cut, 255, [_CUT_OFF]),
        (("hidden", "second"), _crash_there, 1, [_ENDED_THERE]),
        (("modern", "classic"), _crash_there, 1, [_ENDED_THERE]),
        (("hidden", "second"), _interrupt, 130, []),
        (("classic", "second"), _interrupt, 130, []),
        (("hidden", "second"), _terminate, 143, []),
        (("classic", "second"), _hang_up, 129, []),
    ],
    indirect=["bed"],
)
def test_cut_off_in_the_middle(bed, fault, status, lines) -> None:
    outcome = bed.in_the_middle(fault)
    assert _lines(outcome) == [line.format(to=bed.to) for line in lines]
    assert (outcome.status, outcome.out) == (status, "")
    bed.is_as_before()
    bed.runs()


@pytest.mark.parametrize("bed", [("modern", "containerd")], indirect=True)
def test_cut_off_before_a_containerd_store(bed) -> None:
    outcome = bed.in_the_middle(_cut)
    assert _lines(outcome) == [_CUT_OFF.format(to=bed.to)]
    # That may keep what came of a layer, out of reach of docker, until the layer comes or its time is over.
    (ingest,) = (place for place in crates.traces(bed.there) if place.endswith("/ingest"))
    wait_for(lambda: not bed.host.processes(), 10)
    assert len(crates.traces(bed.there)[ingest]) <= 1
    bed.runs()
    assert crates.traces(bed.there)[ingest] == []


def test_engine_here_ended_in_the_middle(bed, ssh_home, tmp_path) -> None:
    # More than all the pipes and sockets on the way hold.
    crates.add(bed.here, f"{crates.NAME}:large", 40_000_000)
    with relaying(bed.host.address, bed.host.port, rate=10e6) as relay:
        bed.host.at(relay.address, relay.port).admit(ssh_home)
        large = Bed(bed.here, bed.host, relay, f"{crates.NAME}:large", tmp_path)
        outcome = large.in_the_middle(_crash_here)
        assert _lines(outcome) == [
            "transfer-image: the engine here has ended; see that it runs, and run the command again"
        ]
        assert (outcome.status, outcome.out) == (1, "")
        large.is_as_before()
        large.runs()


def test_disk_there_is_full(use, connect, ssh_home, tmp_path) -> None:
    here = use("hidden")
    crates.add(here, f"{crates.NAME}:large", 40_000_000)
    with running(debian.modern_usr(), disk="50m") as there:
        host = connect(there)
        with relaying(host.address, host.port) as relay:
            host.at(relay.address, relay.port).admit(ssh_home)
            bed = Bed(here, host, relay, f"{crates.NAME}:large", tmp_path)
            outcome = bed.ends()
            assert _lines(outcome) == [
                f"transfer-image: {bed.to}: the disk there is full; free some space, see: docker system df"
            ]
            assert (outcome.status, outcome.out) == (1, "")
            bed.is_as_before()
            enter = ["nsenter", f"--target={there.dockerd}", "--mount", "mount", "-o", "remount,size=200m"]
            subprocess.run([*enter, f"{there.directory}/data"], check=True)
            bed.runs()


@pytest.mark.parametrize("near", ["classic", "hidden"])
def test_memory_does_not_grow_with_the_image(near, use, connect, tmp_path) -> None:
    there, here = use("second"), use(near)
    small, large = crates.stock(here, near).base, f"{crates.NAME}:large"
    # The large layer waits in a file for the end of docker save, which says whose it is, when some are left out.
    crates.build(here, f"FROM {small}\nRUN head -c 320000000 /dev/zero >/zeros\n", large)
    host = connect(there)
    for reference in (small, large):
        with _started(reference, host.destination(), directory=tmp_path) as child:
            peak = 0
            while child.poll() is None:
                peak = max(peak, _peak(child.pid))
            assert child.wait() == 0
    assert 10_000 < peak < 100_000_000 / 1024
    assert crates.layers(there, large) == crates.layers(here, large)


def _peak(pid: int) -> int:
    """Return the most memory, in KiB, that a process has had so far; nothing when it has ended."""
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()):
            return int(found[1])
    return 0


def test_no_secret_is_in_arguments_or_output(bed, ssh_home) -> None:
    key = Path(ssh_home, ".ssh", "id_ed25519")
    secrets = [crates.SECRET, key.read_text().splitlines()[1]]
    bed.reference = crates.stock(bed.here, "hidden").first
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
        outcome = bed.ends({"SSH_KEY": str(key)})
    finally:
        ended.set()
        thread.join()
    assert outcome.status == 0, outcome.err
    assert any(b"docker load" in line for line in seen)
    assert not [line for line in seen for secret in secrets if secret.encode() in line]
    assert not [secret for secret in secrets if secret in outcome.err]


def _refused(bed: Bed, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Return the status and the line, the only one, that a refusal consists of; nothing has come of it."""
    outcome = bed.ends(environ)
    [line] = outcome.err.splitlines()
    bed.is_as_before()
    return outcome.status, line.replace(bed.to, "TO").replace(str(bed.relay.port), "PORT")


def test_host_that_is_not_known_is_refused(bed, ssh_home) -> None:
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
    bed.runs()


def test_changed_host_key_is_refused(bed, ssh_home) -> None:
    bed.host.rotate_host_key()
    known = Path(ssh_home, ".ssh", "known_hosts")
    assert _refused(bed) == (
        255,
        "transfer-image: the host key of [127.0.0.1]:PORT has changed; if the host was reinstalled, run: ssh-keygen -R "
        f"'[127.0.0.1]:PORT' -f {known}; if not, someone may be intercepting the connection",
    )
    Path(ssh_home, ".ssh", "known_hosts").write_text(bed.host.at(bed.relay.address, bed.relay.port).known_hosts_line)
    bed.runs()


def test_wrong_key_is_refused(bed, ssh_home) -> None:
    Path(ssh_home, ".ssh", "id_ed25519").unlink()
    assert _refused(bed) == (
        255,
        "transfer-image: TO rejected the login: dock@127.0.0.1: Permission denied (publickey); "
        "set SSH_KEY to a private key that it accepts, or name the user: USER@HOST",
    )
    assert bed.ends({"SSH_KEY": bed.host.key}).status == 0


def test_ssh_key_that_is_not_there(bed) -> None:
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


def test_image_that_is_absent(bed) -> None:
    bed.reference = "crate:none"
    assert _refused(bed) == (1, "transfer-image: crate:none is not on this engine; build it, or pull it")


def test_no_engine_here(bed) -> None:
    assert _refused(bed, {"DOCKER_HOST": "unix:///no/docker.sock"}) == (
        1,
        "transfer-image: no Docker Engine answers at unix:///no/docker.sock; "
        "start it, or point DOCKER_HOST or docker context use at one that runs",
    )
