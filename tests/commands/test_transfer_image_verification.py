"""transfer-image names an image that has arrived when it runs and is complete; else it sends all layers, or fails."""

from __future__ import annotations

import pytest

from tests.testbed import layered_images
from tests.testbed.engine import Engine


def test_unverified_layers_are_all_sent(use_engine, serve_host, transfer_image) -> None:
    there, here = use_engine("containerd"), use_engine("modern")
    _build_on_the_same_layer(here, there, "")
    to = serve_host(there).destination()
    outcome = transfer_image("layered:modern-more", to)
    assert outcome.status == 0, outcome.err
    reason = "its store has some layers in another form"
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
    version = there.docker("version", "--format", "{{.Server.Version}}").strip()
    host.alter_answers(f'"ServerVersion":"{version}"', f'"ServerVersion":"{"26.1.5".ljust(len(version), "~")}"')
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
            "[ $1 != load ] || { real load; pkill -f '^/usr/bin/docker system dial-stdio'; exit 0; }",
            "the engine there has stopped; start it and run the command again",
        ),
    ],
)
def test_image_or_engine_gone_after_the_load(script, message, use_engine, serve_host, transfer_image) -> None:
    there, here = use_engine("second"), use_engine("modern")
    reference = layered_images.ensure(here, "modern").base
    host = serve_host(there)
    host.wrap_docker(script)
    outcome = transfer_image(reference, host.destination())
    assert outcome.err.splitlines()[-1] == f"transfer-image: {host.destination()}: {message}"
    assert outcome.status == 1
