"""transfer-image names an image that has arrived when it runs and is complete; else it sends all layers, or fails."""

from __future__ import annotations

import os

import pytest

from tests.testbed import layered_images
from tests.testbed.engine import Engine
from tests.testbed.host import Host


def _wrap_docker(host: Host, script: str) -> None:
    """Put a docker command before the host's own: a script of sh, in which `real` is the host's own."""
    path = host.path("/usr/local/bin/docker")
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(f'#!/bin/sh\nreal() {{ /usr/bin/docker "$@"; }}\n{script}\nreal "$@"\n')
    os.chmod(path, 0o755)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("", "its store has some layers in another form"),
        (
            '[ "$1 $2" != "system dial-stdio" ] || exit 1',
            "the image that arrived has other layers",
        ),
        ("[ $1 != info ] || exit 1", "its store has some layers in another form"),
    ],
)
def test_unverified_layers_are_all_sent(script, reason, use_engine, serve_host, transfer_image) -> None:
    there, here = use_engine("containerd"), use_engine("modern")
    _build_on_the_same_layer(here, there, script)
    host = serve_host(there)
    _wrap_docker(host, script)
    to = host.destination()
    outcome = transfer_image("layered:modern-more", to)
    assert outcome.status == 0, outcome.err
    assert (
        f"\ntransfer-image: warning: {to}: cannot use the layers there ({reason}); sending all layers\n" in outcome.err
    )
    assert f"\n{to}: layered:modern-more has arrived: 2 of 2 layers, " in outcome.err
    assert layered_images.saved_layers(there, "layered:modern-more") == layered_images.layers(
        here, "layered:modern-more"
    )


def _build_on_the_same_layer(here: Engine, there: Engine, salt: str) -> None:
    """Build an image of two layers here, the lower of which the other engine has, compressed; `salt` makes it unique."""
    dockerfile = f"FROM scratch\nCOPY Dockerfile /same\n# {salt}\n"
    for engine, name in ((here, "layered:modern-same"), (there, "layered:containerd-same")):
        layered_images.build(engine, dockerfile, name)
    names = ("layered:modern-same", "layered:containerd-same")
    assert layered_images.layers(here, names[0]) == layered_images.layers(there, names[1])
    layered_images.build(here, "FROM layered:modern-same\nCOPY Dockerfile /change\n", "layered:modern-more")


def test_containerd_store_of_an_engine_that_does_not_say_what_is_complete(
    use_engine, serve_host, transfer_image
) -> None:
    """Such an engine, before 27.2, gets all layers at once."""
    there, here = use_engine("containerd"), use_engine("modern")
    _build_on_the_same_layer(here, there, "26.1")
    host = serve_host(there)
    info = """linux/x86_64 26.1.5 [["driver-type","io.containerd.snapshotter.v1"]]"""
    _wrap_docker(host, f"[ $1 != info ] || {{ echo '{info}'; exit; }}; [ \"$1 $2\" != 'system dial-stdio' ] || exit 1")
    to = host.destination()
    outcome = transfer_image("layered:modern-more", to)
    assert outcome.status == 0, outcome.err
    assert "warning" not in outcome.err
    assert f"\n{to}: layered:modern-more has arrived: 2 of 2 layers, " in outcome.err
    assert layered_images.saved_layers(there, "layered:modern-more") == layered_images.layers(
        here, "layered:modern-more"
    )


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "[ $1 != load ] || { real load; real image rm -f $(real image ls -q dockerutils/arrival); exit 0; }",
            "the image was removed there after it arrived; run the command again",
        ),
        (
            'case "$*" in "image inspect --format "*dockerutils/arrival*) export DOCKER_HOST=unix:///no.sock; esac',
            "the engine there has stopped; start it and run the command again",
        ),
    ],
)
def test_image_or_engine_gone_after_the_load(script, message, use_engine, serve_host, transfer_image) -> None:
    there, here = use_engine("second"), use_engine("modern")
    reference = layered_images.ensure(here, "modern").base
    host = serve_host(there)
    _wrap_docker(host, script)
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
