"""transfer-image between engines with the containerd image store: one pulls what the other one pushes."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import wait_for
from tests.testbed import debian, layered_images, oci_images
from tests.testbed.engine import CONTAINERD, Engine, running
from tests.testbed.host import Host, serving
from tests.testbed.oci_images import Image, Layer
from tests.testbed.registry import daemon
from tests.testbed.relay import Relay, relaying, within

# Bytes of the ssh protocol, of questions and answers: an upper bound.
OVERHEAD = 60_000
# Bytes that are sent to measure the bandwidth, at most.
MEASUREMENTS = 4_500_000


class Bed(NamedTuple):
    """An engine in whose network this process is, another one behind ssh, and docker's subcommands that ran here."""

    here: Engine
    there: Engine
    host: Host
    relay: Relay
    log: Path

    @property
    def to(self) -> str:
        """The destination."""
        return f"dock@{self.relay.address}:{self.relay.port}"

    def saved(self) -> bool:
        """Return whether docker save has run here."""
        return "save" in self.log.read_text().split()

    def tags(self) -> list[str]:
        """Return the names on both sides that a transfer has left."""
        listing = ("image", "ls", "--format", "{{.Repository}}")
        names = [name for engine in (self.here, self.there) for name in engine.docker(*listing).split()]
        return [name for name in names if "127.0.0.1" in name or "dockerutils" in name]


@pytest.fixture
def make_bed(use_engine, serve_host, docker_log) -> Iterator[Callable[..., Bed]]:
    """Return a function that connects two engines; it takes keywords of sshd_config."""
    with ExitStack() as stack:

        def make(near: str = "containerd", far: str = "second_containerd", **settings: str) -> Bed:
            there, here = use_engine(far), use_engine(near)
            host = serve_host(there, near=True, **settings)
            relay = stack.enter_context(relaying(host.address, host.port, clients=daemon(here)))
            host.at(relay.address, relay.port).admit(os.environ["HOME"])
            stack.enter_context(within(daemon(here)))
            return Bed(here, there, host, relay, docker_log)

        yield make


def _check_image(bed: Bed, reference: str) -> None:
    """Check that the image is the same, that it runs, and that it is complete."""
    _check_id(bed, reference)
    assert bed.there.docker("run", "--rm", reference) == f"{layered_images.MARKER}\n"
    assert layered_images.saved_layers(bed.there, reference) == layered_images.layers(bed.here, reference)


def _check_id(bed: Bed, reference: str) -> None:
    inspect = ("image", "inspect", "--format", "{{.Id}}", reference)
    assert bed.there.docker(*inspect) == bed.here.docker(*inspect)


def test_only_missing_layers_are_pulled(make_bed, transfer_image) -> None:
    bed = make_bed()
    _, first, second = layered_images.ensure(bed.here, "containerd")
    count = len(layered_images.layers(bed.here, first))

    outcome = transfer_image(first, bed.to)
    assert outcome.status == 0, outcome.err
    assert f"\n{bed.to}: {first} has arrived: {count} of {count} layers, " in outcome.err
    assert outcome.echoed == [f"docker save {first} | ssh -p {bed.relay.port} dock@127.0.0.1 'docker load'"]
    assert layered_images.SIZE < bed.relay.sent < layered_images.SIZE + 2_200_000 + OVERHEAD
    _check_image(bed, first)

    for missing, size in ((1, layered_images.CHANGE), (0, 0)):
        before = bed.relay.sent
        outcome = transfer_image(second, bed.to)
        assert outcome.status == 0, outcome.err
        assert f"\n{bed.to}: {second} has arrived: {missing} of {count + 1} layers, " in outcome.err
        assert bed.relay.sent - before < size + OVERHEAD
    _check_image(bed, second)
    assert not bed.saved()
    assert bed.tags() == []


@pytest.mark.parametrize("far", ["classic", "modern"])
def test_classic_store_gets_an_archive_of_what_is_missing(far, make_bed, transfer_image) -> None:
    bed = make_bed(far=far)
    _, first, second = layered_images.ensure(bed.here, "containerd")
    count = len(layered_images.layers(bed.here, first))
    for reference, missing, size in (
        (first, count, layered_images.SIZE + 2_200_000 + MEASUREMENTS),
        (second, 1, layered_images.CHANGE),
        (second, 0, 0),
    ):
        before = bed.relay.sent
        outcome = transfer_image("-v", reference, bed.to)
        assert outcome.status == 0, outcome.err
        total = len(layered_images.layers(bed.here, reference))
        assert f"\n{bed.to}: {reference} has arrived: {missing} of {total} layers, " in outcome.err
        assert bed.relay.sent - before < size + OVERHEAD
        assert layered_images.saved_layers(bed.there, reference) == layered_images.layers(bed.here, reference)
        assert bed.there.docker("run", "--rm", reference) == f"{layered_images.MARKER}\n"
    assert not bed.saved()
    assert bed.tags() == []


def test_port_back_that_sshd_does_not_allow(make_bed, transfer_image) -> None:
    bed = make_bed(AllowTcpForwarding="no")
    base = layered_images.ensure(bed.here, "containerd").base
    outcome = transfer_image("-v", base, bed.to)
    assert outcome.status == 0, outcome.err
    reason = f"{bed.to} forwards no port back to this machine (AllowTcpForwarding of its sshd)"
    assert f"\ntransfer-image: {reason}; sending an archive\n" in outcome.err
    assert not bed.saved()
    _check_image(bed, base)
    assert bed.tags() == []


def test_engine_that_does_not_reach_this_process(use_engine, serve_host, transfer_image, docker_log) -> None:
    """As with Docker Desktop, where the engine has a network of its own."""
    there, here = use_engine("second_containerd"), use_engine("containerd")
    host = serve_host(there)
    bed = Bed(here, there, host, host, docker_log)
    base = layered_images.ensure(here, "containerd").base
    outcome = transfer_image("-v", base, host.destination())
    assert outcome.status == 0, outcome.err
    assert outcome.err.startswith("transfer-image: the engine here cannot push to this process: ")
    assert bed.saved()
    _check_image(bed, base)
    assert bed.tags() == []


_TEXT = {"text": b"a line\n" * 1000}
_LAYERS = {
    "a hundred": [oci_images.busybox(), *(Layer({f"{number}": b"x"}) for number in range(99))],
    "several kinds": [
        Layer(_TEXT),
        oci_images.busybox(),
        Layer(_TEXT),  # twice
        Layer({}),
        Layer({"packed": b"x"}, "zstd"),
        Layer({"plain": b"x"}, "tar"),
        Layer({}),
    ],
}


@pytest.mark.parametrize("kind", _LAYERS)
def test_layers_of_all_kinds(kind, make_bed, transfer_image) -> None:
    bed = make_bed()
    reference = f"{layered_images.NAME}:containerd-kind"
    oci_images.load(bed.here, reference, [Image(_LAYERS[kind])])
    outcome = transfer_image("-v", reference, bed.to)
    assert outcome.status == 0, outcome.err
    count = len(_LAYERS[kind])
    assert f" has arrived: {count} of {count} layers, " in outcome.err
    assert not bed.saved()
    _check_image(bed, reference)
    assert bed.tags() == []


def test_image_without_layers(make_bed, transfer_image) -> None:
    bed = make_bed()
    reference = f"{layered_images.NAME}:containerd-none"
    layered_images.build(bed.here, 'FROM scratch\nENV A=b\nCMD ["/x"]\n', reference)
    outcome = transfer_image(reference, bed.to)
    assert outcome.status == 0, outcome.err
    assert not bed.saved()
    _check_id(bed, reference)


def test_only_one_platform_is_sent(make_bed, transfer_image) -> None:
    bed = make_bed()
    reference = f"{layered_images.NAME}:containerd-platforms"
    images = [
        Image([oci_images.busybox(), Layer({"random": os.urandom(1_000_000)})], architecture, attested=True)
        for architecture in ("arm64", "amd64", "s390x")
    ]
    oci_images.load(bed.here, reference, images)
    before = bed.relay.sent
    outcome = transfer_image(reference, bed.to)
    assert outcome.status == 0, outcome.err
    assert bed.relay.sent - before < 1_000_000 + 2_200_000 + OVERHEAD
    assert not bed.saved()
    _check_id(bed, reference)
    assert bed.there.docker("run", "--rm", reference) == f"{layered_images.MARKER}\n"


def test_destination_gets_its_own_platform(make_bed, transfer_image) -> None:
    """Also if the engine here does not have all platforms of the image: then it pushes only its own by itself."""
    bed = make_bed()
    reference = f"{layered_images.NAME}:containerd-others"
    images = [
        Image([oci_images.busybox(), Layer({"random": os.urandom(1_000_000)})], architecture)
        for architecture in ("s390x", "amd64")
    ]
    images.append(Image([Layer({"arm64": b"x"})], "arm64"))  # shares no layer: removing it would remove that too
    oci_images.load(bed.here, reference, images)
    bed.host.alter_answers('"Architecture":"x86_64"', '"Architecture": "s390x"')
    for removed in ((), ("arm64",)):
        for each in removed:
            bed.here.docker("image", "rm", "--force", "--platform", f"linux/{each}", reference)
        before = bed.relay.sent
        outcome = transfer_image("-v", reference, bed.to)
        assert outcome.status == 0, outcome.err
        assert bed.relay.sent - before < 1_000_000 + 2_200_000 + OVERHEAD, outcome.err
        assert not bed.saved()
        found = bed.there.docker("image", "inspect", "--format", "{{.Architecture}}", reference).strip()
        assert (found, bed.tags()) == ("s390x", [])
        bed.there.docker("image", "rm", reference)
    bed.host.alter_answers('"Architecture":"x86_64"', '"Architecture":"armv7l"')
    outcome = transfer_image(reference, bed.to)
    assert (outcome.status, outcome.err) == (
        1,
        f"transfer-image: {reference} is for linux/amd64 and linux/s390x, and {bed.to} runs linux/arm/v7; run: "
        f"docker pull --platform linux/arm/v7 {reference}, or, if that host has emulation, add --platform linux/amd64\n",
    )
    outcome = transfer_image(reference, bed.to, "--platform", "linux/amd64")
    assert outcome.status == 0, outcome.err
    assert bed.there.docker("run", "--rm", reference) == f"{layered_images.MARKER}\n"


_STRANGER = """\
import json, os, urllib.error, urllib.request

def status(path):
    try:
        return urllib.request.urlopen(path, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code

def listening():
    with open("/proc/net/tcp") as sockets:
        for line in list(sockets)[1:]:
            address, state, owner = (line.split()[column] for column in (1, 3, 7))
            if state == "0A" and address.startswith("0100007F:") and int(owner) == SSHD:
                yield int(address[9:], 16)

paths = ("", "_catalog", "x/tags/list", "x/manifests/image", f"{'0' * 32}/manifests/image", "x/blobs/sha256:DIGEST")
found = {port: [status(f"http://127.0.0.1:{port}/v2/{path}") for path in paths] for port in listening()}
print(json.dumps([os.getuid(), found]))
"""


def test_another_user_of_the_host_finds_nothing(use_engine, serve_host, transfer_image) -> None:
    """Not even one who may use docker: neither at the port nor in the arguments of processes."""
    there, here = use_engine("second_containerd"), use_engine("containerd")
    reference = f"{layered_images.NAME}:containerd-private"
    layered_images.import_image(here, reference, 10_000_000)
    host, network = serve_host(there, near=True), daemon(here)
    host.run("useradd --groups $(stat --dereference --format %g /run/docker.sock) eve")
    digest = layered_images.layers(here, reference)[0]
    owner = host.run("id -u dock").strip()
    script = _STRANGER.replace("sha256:DIGEST", digest).replace("SSHD", owner)
    look = f"python3 -c {shlex.quote(script)}; ps -e -o args"
    with relaying(host.address, host.port, rate=5e6, clients=network) as relay, ThreadPoolExecutor(1) as pool:

        def looked() -> list[str]:
            wait_for(lambda: relay.sent > 1_000_000)
            return host.run(look, "eve").splitlines()

        answer = pool.submit(looked)
        with within(network):
            host.at(relay.address, relay.port).admit(os.environ["HOME"])
            outcome = transfer_image(reference, f"dock@{relay.address}:{relay.port}")
        assert outcome.status == 0, outcome.err
        first, *others = answer.result()
    user, [statuses] = json.loads(first)[0], json.loads(first)[1].values()
    assert str(user) not in {owner, "0"}
    assert statuses == [200, 404, 404, 404, 404, 404]
    assert any("dial-stdio" in line for line in others)
    assert not [line for line in others if re.search(r"127\.0\.0\.1:\d+/", line)]


def test_foreign_layer(make_bed, transfer_image) -> None:
    bed = make_bed()
    reference = f"{layered_images.NAME}:containerd-foreign"
    foreign = Layer({"foreign": b"x"}, kind="layer.nondistributable.v1.tar")
    oci_images.load(bed.here, reference, [Image([oci_images.busybox(), foreign])])
    outcome = transfer_image("-v", reference, bed.to)
    assert outcome.status == 0, outcome.err
    assert not bed.saved()
    _check_id(bed, reference)
    assert bed.there.docker("run", "--rm", reference, "/bin/busybox", "ls", "/foreign") == "/foreign\n"


def test_any_layer_is_reused(make_bed, transfer_image) -> None:
    """Not only those at the bottom."""
    bed = make_bed()
    large = Layer({"random": os.urandom(1_000_000)})
    for name, layers in {
        "low": [oci_images.busybox(), large],
        "high": [Layer(_TEXT), oci_images.busybox(), large],
    }.items():
        oci_images.load(bed.here, f"{layered_images.NAME}:containerd-{name}", [Image(layers)])
    assert transfer_image(f"{layered_images.NAME}:containerd-low", bed.to).status == 0
    before = bed.relay.sent
    outcome = transfer_image(f"{layered_images.NAME}:containerd-high", bed.to)
    assert " has arrived: 1 of 3 layers, " in outcome.err
    assert bed.relay.sent - before < OVERHEAD
    _check_image(bed, f"{layered_images.NAME}:containerd-high")


def test_two_sends_of_one_image_at_once(make_bed, transfer_image) -> None:
    bed = make_bed()
    reference = f"{layered_images.NAME}:containerd-both"
    layered_images.import_image(bed.here, reference, 3_000_000)
    other = bed.to.replace("dock@", "nodock@")
    outcome = transfer_image(reference, bed.to, other)
    assert outcome.status == 0, outcome.err
    assert outcome.err.count(" has arrived: ") == 2
    assert not bed.saved()
    _check_image(bed, reference)
    assert bed.tags() == []


def test_previous_image_stays_without_a_name(make_bed, transfer_image) -> None:
    bed = make_bed()
    reference = f"{layered_images.NAME}:containerd-again"
    oci_images.load(bed.there, reference, [Image([oci_images.busybox()])])
    before = bed.there.docker("image", "inspect", "--format", "{{.Id}}", reference).strip()
    oci_images.load(bed.here, reference, [Image([oci_images.busybox(), Layer(_TEXT)])])
    assert transfer_image(reference, bed.to).status == 0
    _check_image(bed, reference)
    assert before in bed.there.docker("image", "ls", "-a", "--no-trunc", "--quiet").split()


def test_layers_that_are_not_compressed_are_on_a_slow_link(use_engine, serve_host, transfer_image) -> None:
    there, here = use_engine("second_containerd"), use_engine("containerd")
    reference = f"{layered_images.NAME}:containerd-plain"
    zeros = Layer({"zeros": bytes(20_000_000)}, "tar")
    oci_images.load(here, reference, [Image([oci_images.busybox(), zeros])])
    host, network = serve_host(there, near=True), daemon(here)
    with relaying(host.address, host.port, rate=5e6, clients=network) as relay, within(network):
        host.at(relay.address, relay.port).admit(os.environ["HOME"])
        outcome = transfer_image(reference, f"dock@{relay.address}:{relay.port}")
        assert outcome.status == 0, outcome.err
        assert relay.sent < 7_000_000
    assert layered_images.saved_layers(there, reference) == layered_images.layers(here, reference)


def test_layers_there_in_another_form(make_bed, transfer_image) -> None:
    """The pull leaves them out, because they are unpacked there, but the image would not be complete."""
    bed = make_bed()
    one, other = (f"{layered_images.NAME}:containerd-{name}" for name in ("gzip", "zstd"))
    layer = {"random": os.urandom(1_000_000)}
    oci_images.load(bed.there, one, [Image([oci_images.busybox(), Layer(layer, "gzip")])])
    oci_images.load(bed.here, other, [Image([oci_images.busybox(), Layer(layer, "zstd")])])
    outcome = transfer_image(other, bed.to)
    assert outcome.status == 0, outcome.err
    _check_image(bed, other)
    assert bed.tags() == []


def test_disk_there_is_full(use_engine, transfer_image, ssh_home) -> None:
    here = use_engine("containerd")
    reference = f"{layered_images.NAME}:containerd-zeros"
    # Small while it is on its way, large when it is unpacked.
    oci_images.load(here, reference, [Image([oci_images.busybox(), Layer({"zeros": bytes(80_000_000)})])])
    with running(debian.modern_usr(), disk="60m", **CONTAINERD) as there, serving(there, near=True) as host:
        network = daemon(here)
        with relaying(host.address, host.port, clients=network) as relay, within(network):
            to = f"dock@{relay.address}:{relay.port}"
            host.at(relay.address, relay.port).admit(os.environ["HOME"])
            outcome = transfer_image(reference, to)
        assert outcome.err.splitlines()[-1] == (
            f"transfer-image: {to}: the disk there is full; free some space, see: docker system df"
        )
        assert outcome.status == 1
        assert there.docker("image", "ls", "--all", "--quiet") == ""
