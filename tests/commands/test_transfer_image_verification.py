"""transfer-image compares what arrived with what was sent: where it cannot, it sends all layers or fails."""

from __future__ import annotations

import os
import shlex

import pytest

from tests.testbed import layered_images
from tests.testbed.host import Host


def _wrap_docker(host: Host, script: str) -> None:
    """Put a docker command before the host's own: a script of sh, in which `real` is the host's own."""
    path = host.path("/usr/local/bin/docker")
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(f'#!/bin/sh\nreal() {{ /usr/bin/docker "$@"; }}\n{script}\nreal "$@"\n')
    os.chmod(path, 0o755)


@pytest.mark.parametrize(
    ("without", "script"),
    [((), ""), (("tar",), ""), ((), "[ $1 != save ] || exit 1"), ((), "[ $1 != info ] || exit 1")],
)
def test_unverified_layers_are_all_sent(without, script, use_engine, serve_host, transfer_image) -> None:
    there, here = use_engine("containerd"), use_engine("modern")
    # The same layer on both engines, compressed there; a layer of its own for each test.
    dockerfile = f"FROM scratch\nCOPY Dockerfile /same\n# {without} {script}\n"
    for engine, name in ((here, "layered:modern-same"), (there, "layered:containerd-same")):
        layered_images.build(engine, dockerfile, name)
    names = ("layered:modern-same", "layered:containerd-same")
    assert layered_images.layers(here, names[0]) == layered_images.layers(there, names[1])
    layered_images.build(here, "FROM layered:modern-same\nCOPY Dockerfile /change\n", "layered:modern-more")
    host = serve_host(there, without=without)
    _wrap_docker(host, script)
    to = host.destination()
    outcome = transfer_image("layered:modern-more", to)
    assert outcome.status == 0, outcome.err
    reason = "the loaded image has other layers"
    assert (
        f"\ntransfer-image: warning: {to}: cannot use the layers there ({reason}); sending all layers\n" in outcome.err
    )
    assert f"\n{to}: layered:modern-more has arrived: 2 of 2 layers, " in outcome.err
    assert layered_images.saved_layers(there, "layered:modern-more") == layered_images.layers(
        here, "layered:modern-more"
    )


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "[ $1 != load ] || { real load; real image rm REFERENCE; exit 0; }",
            "the image was removed there after it was loaded; run the command again",
        ),
        (
            '[ "$1 $2 $3" != "image inspect --format" ] || [ "$5" != REFERENCE ] || export DOCKER_HOST=unix:///no.sock',
            "the engine there has stopped; start it and run the command again",
        ),
    ],
)
def test_image_or_engine_gone_after_the_load(script, message, use_engine, serve_host, transfer_image) -> None:
    there, here = use_engine("second"), use_engine("modern")
    reference = layered_images.ensure(here, "modern").base
    host = serve_host(there)
    _wrap_docker(host, script.replace("REFERENCE", shlex.quote(f"docker.io/library/{reference}")))
    outcome = transfer_image(reference, host.destination())
    assert outcome.err.splitlines()[-1] == f"transfer-image: {host.destination()}: {message}"
    assert outcome.status == 1


def test_classic_store_that_does_not_name_itself(use_engine, serve_host, transfer_image) -> None:
    """Without an answer to docker info the image is read again, which this store answers in a form of its own."""
    there, here = use_engine("second"), use_engine("modern")
    stock = layered_images.ensure(here, "modern")
    host = serve_host(there)
    _wrap_docker(host, "[ $1 != info ] || exit 1")
    for reference in (stock.first, stock.second):
        outcome = transfer_image(reference, host.destination())
        assert outcome.status == 0, outcome.err
        assert layered_images.saved_layers(there, reference) == layered_images.layers(here, reference)
