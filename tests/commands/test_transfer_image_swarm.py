"""transfer-image --swarm: all nodes that services can run on get the same image."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from dockerutils.docks import inventory
from tests.support import App, Outcome, wait_for
from tests.testbed.engine import Engine
from tests.testbed.swarm import Node, Nodes

NAME = "app-dev:alice"
RUNNING = [["one", "Running"], ["two", "Running"]]


@pytest.fixture
def app(containerd_engine: Engine, swarm: Nodes, transfer_image: App) -> Iterator[App]:
    """Return a project whose image is built here and on no node."""
    with (transfer_image.root / "docker" / "dev" / "layer").open("wb") as layer:
        layer.write(os.urandom(1 << 20))
    transfer_image.write({"docker/dev/Dockerfile": "FROM local/busybox\nCOPY docker/dev/layer /\n"})
    containerd_engine.docker("build", "-t", NAME, "-f", str(transfer_image.root / "docker/dev/Dockerfile"), str(transfer_image.root))  # fmt: skip
    yield transfer_image
    containerd_engine.docker("image", "rm", "--force", NAME)
    for node in swarm:
        if image_id(node.engine):
            node.engine.docker("image", "rm", "--force", NAME)


def image_id(engine: Engine) -> str:
    return str(engine.docker("image", "ls", "--no-trunc", "--quiet", NAME)).strip()


def availability(manager: Node, node: str, state: str) -> None:
    manager.engine.docker("node", "update", "--availability", state, node)


def echoed(outcome: Outcome) -> list[str]:
    """Return the commands that were printed, without the settings of docker here."""
    return sorted(line.partition("docker save ")[2] for line in outcome.echoed)


def test_all_nodes_get_the_same_image(containerd_engine, app, swarm, monkeypatch) -> None:
    one, _ = swarm
    outcome = app("dev", "two", "--swarm")
    assert (outcome.status, outcome.out, outcome.err) == (
        1,
        "",
        "transfer-image: dock two is not a manager of a swarm; name one, or run: swarm-docks two\n",
    )
    availability(one, "two", "pause")
    outcome = app("dev", "one", "--swarm")
    assert outcome.status == 0, outcome.err
    expected = image_id(containerd_engine)
    assert [image_id(node.engine) for node in swarm] == [expected, ""]
    assert outcome.err.endswith(f"\ntransfer-image: one: {NAME} is {expected}\n")

    availability(one, "two", "active")
    availability(one, "one", "drain")
    one.engine.docker("image", "rm", "--force", NAME)
    for name, value in inventory.docked(inventory.find("one", os.environ["HOME"])).items():
        monkeypatch.setenv(inventory.BEFORE + name, os.environ.get(name, ""))
        monkeypatch.setenv(name, value)
    outcome = app("app:none", "--swarm", directory="..")
    assert (outcome.status, outcome.err) == (
        1,
        "transfer-image: app:none does not exist on the engine of this machine, and images on dock one are not sent; run "
        "castoff, build or pull it, and run: source dock one\n",
    )
    dry = app(NAME, "--swarm", "--dry-run", directory="..")
    assert [line.partition("docker save ")[2] for line in dry.out.splitlines()] == [
        f"{NAME} | ssh dock-two 'docker load'"
    ]
    outcome = app(NAME, "--swarm", directory="..")
    assert outcome.status == 0, outcome.err
    assert [image_id(node.engine) for node in swarm] == ["", expected]

    availability(one, "one", "active")
    outcome = app(NAME, "--swarm", directory="..")
    assert outcome.status == 0, outcome.err
    assert echoed(outcome) == [f"{NAME} | ssh dock-{name} 'docker load'" for name in ("one", "two")]
    assert outcome.err.endswith(f"\ntransfer-image: one, two: {NAME} is {expected}\n")
    create = ["service", "create", "--detach", "--no-resolve-image", "--mode", "global", "--stop-grace-period", "0s"]
    one.engine.docker(*create, "--name", "web", f"{NAME}@{expected}", "sleep", "1000")
    listing = ["service", "ps", "web", "--format", "{{.Node}} {{.CurrentState}}"]
    wait_for(lambda: [line.split()[:2] for line in sorted(one.engine.docker(*listing).splitlines())] == RUNNING)
    one.engine.docker("service", "rm", "web")


def test_nodes_that_do_not_get_it_are_named(containerd_engine, app, swarm) -> None:
    one, two = swarm
    for name, node in zip(("one", "two"), swarm, strict=True):
        one.engine.docker("node", "update", "--label-add", f"dock={name}", node.swarm["NodeID"])
    # It answers once, and then no more.
    two.host.wrap_docker('[ "$2" != dial-stdio ] || mkdir /tmp/answered || { echo "it is broken" >&2; exit 1; }')
    outcome = app("dev", "one", "--swarm")
    assert outcome.status == 1
    warning, error = outcome.err.splitlines()[-2:]
    assert (
        warning
        == f"transfer-image: warning: of 2 nodes, one got {NAME}; run this command again before a service uses it"
    )
    assert error.startswith(
        "transfer-image: docker system dial-stdio on two does not connect to the engine: it is broken"
    )
    one.engine.docker("image", "rm", "--force", NAME)

    # Nothing is sent if a node does not answer at all,
    outcome = app("dev", "one", "--swarm")
    assert (outcome.status, outcome.echoed) == (1, [])
    assert outcome.err.startswith("transfer-image: dock two: docker system dial-stdio on two does not connect")

    # or if it is not registered,
    home = os.environ["HOME"]
    inventory.unregister(inventory.find("two", home).address, home)
    outcome = app("dev", "one", "--swarm")
    assert (outcome.status, outcome.err) == (
        1,
        "transfer-image: nodes of the swarm are not docks: two (198.51.100.2); register them with register-dock, or keep "
        "services from them: docker node update --availability drain two\n",
    )
    assert image_id(one.engine) == ""

    # unless it is down: then no service runs there.
    two.link("down")
    wait_for(lambda: "Down" in one.engine.docker("node", "ls", "--format", "{{.Status}}"))
    outcome = app("dev", "one", "--swarm")
    assert outcome.status == 0
    assert outcome.err.startswith(
        "transfer-image: warning: node two is down, so it does not get the image; run this command again when it is up\n"
    )
    assert [image_id(node.engine) for node in swarm] == [image_id(containerd_engine), ""]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["dev"], "no destination; name a dock or [user@]host[:port], or add --swarm"),
        (["dev", "one", "two", "--swarm"], "--swarm takes one manager, not one and two; name one"),
        (["dev", "--swarm"], "this shell is not docked; name a dock, or run: source dock NAME"),
    ],
)
def test_errors(transfer_image, argv, message) -> None:
    outcome = transfer_image(*argv)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"transfer-image: {message}")
