"""run-image --replicas: services on a swarm of two real engines, from a shell that is docked to its manager."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from dockerutils.commands.build_image import main as build_image
from dockerutils.commands.ls_image import main as ls_image
from dockerutils.commands.run_image import main
from dockerutils.commands.transfer_image import main as transfer_image
from dockerutils.docks import engine_socket, inventory
from dockerutils.swarm import service_watch
from tests.support import Outcome, call, sleeping, wait_for, write_tree
from tests.testbed import registry
from tests.testbed import swarm as testbed_swarm
from tests.testbed.relay import relaying
from tests.testbed.swarm import Nodes

PORT = 8070
# It answers with its version; its health check fails once it has the file /broken, and at once if it has no page.
DOCKERFILE = """\
FROM local/busybox
RUN mkdir /w && echo {version} > /w/index.html
HEALTHCHECK --interval=500ms --timeout=5s --retries=1 CMD wget -q -O /dev/null http://127.0.0.1/{health}
CMD ["httpd", "-f", "-p", "80", "-h", "/w"]
"""
# Shorter times than docker's, and of the health check that of docker's start: so that tests take seconds.
SECTION = """\
[web]
environment = -e TOKEN=$SECRET -e MODE=fast
volumes = -v data:/data:ro
ports = -p mode=host,target=80,published={port}
args = --memory 64m --stop-timeout 2
service = --update-monitor 300ms --rollback-monitor 300ms --restart-delay 100ms
"""
LACKING = "node two does not have the image; run: transfer-image web --swarm, then this command again\n"


class Swarm:
    """A project in a shell that is docked to the manager of a swarm, and the nodes of that."""

    def __init__(self, nodes: Nodes, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.one, self.two = nodes
        self.root = root
        self._capfd = capfd

    def configure(self, config: str) -> None:
        """Write the configuration."""
        write_tree(self.root, {"docker/dockerutils.cfg": config})

    def build(self, version: str, health: str = "") -> None:
        """Build a version of the image on the manager; the other node does not get it."""
        write_tree(self.root, {"docker/web/Dockerfile": DOCKERFILE.format(version=version, health=health)})
        outcome = call(build_image, "web", directory=self.root, capfd=self._capfd)
        assert outcome.status == 0, outcome.err

    def copy(self) -> None:
        """Copy the image to the other node, faster than transfer-image, which checks much."""
        archive = f"{self.root}.tar"
        self.one.engine.docker("save", "-o", archive, "app-web:alice")
        self.two.engine.docker("load", "-i", archive)

    def transfer(self) -> None:
        """Send the image to all nodes, from an engine that is that of the manager here."""
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("DOCK_MONIKER")
            patch.setenv("DOCKER_HOST", self.one.engine.host)
            outcome = call(transfer_image, "web", "one", "--swarm", directory=self.root, capfd=self._capfd)
        assert outcome.status == 0, outcome.err

    def run(self, *argv: str) -> Outcome:
        """Call run-image."""
        return call(main, *argv, directory=self.root, capfd=self._capfd)

    def listed(self, *argv: str) -> str:
        """Call ls-image and return what it prints."""
        outcome = call(ls_image, *argv, directory=self.root, capfd=self._capfd)
        assert (outcome.status, outcome.err) == (0, "")
        return outcome.out

    def service(self, name: str = "app-web") -> Any:
        """Return what the engine says of a service."""
        return self.one.engine.api("GET", f"/services/{name}")

    def nodes(self, name: str) -> list[str]:
        """Return the nodes of the tasks of a service that run."""
        names = {each["ID"]: each["Description"]["Hostname"] for each in self.one.engine.api("GET", "/nodes")}
        tasks = self.one.engine.api("GET", "/tasks", filters={"service": [name], "desired-state": ["running"]})
        return sorted(names[each["NodeID"]] for each in tasks if each["Status"]["State"] == "running")


@contextmanager
def docked(nodes: Nodes, moniker: str, home: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the environment that of a shell that is docked to a node."""
    dock = inventory.find(moniker, home)
    with sleeping() as shell:
        engine = engine_socket.ensure(dock, home, shell)
        for name, value in (inventory.docked(dock) | {"DOCKER_HOST": engine, "DOCKER_BUILDKIT": "1"}).items():
            monkeypatch.setenv(name, value)
        yield


@pytest.fixture
def app(
    swarm: Nodes, ssh_home: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Swarm]:
    """Return a project in a shell that is docked to the manager."""
    monkeypatch.setenv("SECRET", "s3cr3t")
    with docked(swarm, "one", ssh_home, monkeypatch):
        yield Swarm(swarm, write_tree(tmp_path / "app", {"docker/web/Dockerfile": "FROM scratch\n"}), capfd)


def test_a_service_from_start_to_end(app: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    app.configure(SECTION.format(port=PORT))
    assert app.listed().splitlines()[1].split()[0] == "web"
    app.build("1")
    lacking = app.run("web", "--replicas", "2")
    assert lacking.status == 1
    assert lacking.err.endswith(f"run-image: app-web failed to start: {LACKING}")
    assert app.run("web", "--replicas", "0").status == 0
    app.copy()
    first = app.one.engine.api("GET", "/images/app-web:alice/json")["Id"]
    outcome = app.run("web", "--replicas", "2")
    assert outcome.status == 0, outcome.err
    create, keep = outcome.echoed
    assert create == (
        'TOKEN="$SECRET" docker service create --detach --name app-web --replicas 2 --no-resolve-image '
        "--label dockerutils.project=app --label dockerutils.image=web --update-order stop-first --update-delay 1s "
        "--update-failure-action rollback --rollback-order stop-first --init -e TOKEN -e MODE=fast "
        "--mount type=volume,source=data,target=/data,readonly "
        f"--publish mode=host,target=80,published={PORT} --limit-memory 64m --stop-grace-period 2s "
        f"--update-monitor 300ms --rollback-monitor 300ms --restart-delay 100ms {first}"
    )
    assert keep == "docker tag app-web:alice app-web:alice-service"
    assert "app-web: 0 of 2 replicas running\n" in outcome.err
    followed = "run-image: app-web: 2 replicas running on one, two; follow the log: docker service logs -f app-web\n"
    assert followed in outcome.err
    assert "s3cr3t" not in outcome.err + outcome.out
    assert app.service()["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"] == ["TOKEN=s3cr3t", "MODE=fast"]
    assert app.nodes("app-web") == ["one", "two"]

    row = app.listed().splitlines()[-1]
    assert row.split(maxsplit=5) == [
        "app-web",
        "web",
        "2",
        "of",
        "2",
        f"one, two  {first[7:19]}  docker service logs -f app-web",
    ]
    [record] = json.loads(app.listed("--json"))
    assert record["services"] == [
        {"service": "app-web", "image": "web", "replicas": 2, "running": 2, "nodes": ["one", "two"], "runs": first}
    ]

    again = app.run("web", "--replicas", "2")
    assert (again.status, again.echoed) == (0, [])
    assert (
        "run-image: app-web is up to date; to restart its containers: docker service update --force app-web\n"
        in again.err
    )

    # A port of a node is there once.
    with monkeypatch.context() as patch:
        patch.setattr(service_watch, "PATIENCE", 0.5)
        crowded = app.run("web", "--replicas", "3")
    assert (crowded.status, crowded.echoed) == (1, ["docker service update --detach --replicas 3 app-web"])
    assert crowded.err.endswith(
        "run-image: app-web: 1 of 3 replicas waits: no suitable node (host-mode port already in use on 2 nodes); add a "
        "node with swarm-docks, or run fewer replicas\n"
    )

    # What differs goes to docker, and no more.
    monkeypatch.setenv("SECRET", "other")
    app.configure(SECTION.format(port=PORT + 1).replace("-v data:/data:ro", "-v more:/more"))
    outcome = app.run("web", "--replicas", "1")
    assert outcome.status == 0, outcome.err
    assert outcome.echoed == [
        'TOKEN="$SECRET" docker service update --detach --replicas 1 --env-add TOKEN --mount-rm /data '
        "--mount-add type=volume,source=more,target=/more --publish-rm mode=host,target=80,protocol=tcp "
        f"--publish-add mode=host,target=80,published={PORT + 1} app-web"
    ]
    spec = app.service()["Spec"]
    assert set(spec["TaskTemplate"]["ContainerSpec"]["Env"]) == {"TOKEN=other", "MODE=fast"}
    assert [each["Target"] for each in spec["TaskTemplate"]["ContainerSpec"]["Mounts"]] == ["/more"]
    assert [each["PublishedPort"] for each in spec["EndpointSpec"]["Ports"]] == [PORT + 1]

    removal = app.run("web", "--replicas", "0")
    assert (removal.status, removal.echoed) == (0, ["docker service rm app-web"])
    assert app.run("web", "--replicas", "0").err == "run-image: there is no service app-web\n"
    assert "app-web" not in app.listed().split("\n\n")[-1].split()


EVERYTHING = """\
[box]
name = local/busybox:latest
prefix = False
environment = -e A=1 -e B='x y'
network = wide
volumes = -v data:/data -v /etc:/t:ro,rprivate -v /anonymous --mount type=volume,source=model,target=/m,volume-nocopy
ports = -p mode=host,target=80,published=8075 -p mode=host,target=81,published=8076,protocol=udp
args = --add-host db:10.0.0.9 --cap-add net_admin --cap-drop MKNOD --dns 10.0.0.1 --dns-option ndots:1
  --dns-search example.com --group-add 7 --hostname h --user 5:5 --workdir /tmp --label a=b --log-driver json-file
  --log-opt max-size=1m --health-cmd true --health-interval 1s --health-timeout 2s --health-retries 4
  --health-start-period 1s --health-start-interval 500ms --cpus 0.5 --memory 32m --memory-reservation 8m
  --pids-limit 50 --oom-score-adj 100 --read-only --restart on-failure:3 --stop-signal SIGKILL --stop-timeout 1
  --sysctl net.ipv4.ip_unprivileged_port_start=0 --ulimit nofile=1024:2048 --entrypoint sleep --shm-size 8m
  --tmpfs /run:size=1m,mode=755 --platform linux/amd64
service = --constraint 'node.role == manager' --placement-pref spread=node.labels.x --replicas-max-per-node 2
  --endpoint-mode dnsrr --update-delay 1s --update-parallelism 2 --update-monitor 1s --reserve-cpu 0.1
  --restart-window 5s --restart-delay 1s --secret key --config source=settings,target=/settings --label c=d
cmd = 1000
"""
NOTHING = """\
[box]
name = local/busybox:latest
prefix = False
init =
args = --log-driver json-file
service = --update-monitor 500ms --constraint node.role==manager
cmd = sh -c 'trap exit TERM; echo "it is up"; while :; do sleep 0.1; done'
"""


def test_docker_keeps_each_option_as_it_is_read_again(app: Swarm) -> None:
    """So the second run finds nothing to change, and what is no longer in the section goes."""
    app.one.engine.docker("network", "create", "--driver", "overlay", "wide")
    app.one.engine.docker("secret", "create", "key", "/etc/hostname")
    app.one.engine.docker("config", "create", "settings", "/etc/hostname")
    for config in (EVERYTHING, NOTHING):
        app.configure(config)
        outcome = app.run("box", "--replicas", "1")
        assert outcome.status == 0, outcome.err
        again = app.run("box", "--replicas", "1", "--dry-run")
        assert (again.status, again.out) == (0, "")
    spec = app.service("app-box")["Spec"]
    container = spec["TaskTemplate"]["ContainerSpec"]
    left = {"Image", "Args", "Init", "StopGracePeriod", "DNSConfig", "Isolation", "Healthcheck", "StopSignal"}
    assert {key for key, value in container.items() if value} <= left
    assert container["Args"][2] == 'trap exit TERM; echo "it is up"; while :; do sleep 0.1; done'
    assert spec["EndpointSpec"] == {"Mode": "vip"}
    assert spec["Labels"] == {"dockerutils.project": "app", "dockerutils.image": "box"}
    app.configure(NOTHING.replace("--log-driver json-file", ""))
    assert app.run("box", "--replicas", "1").err == (
        "run-image: docker cannot unset the log driver json-file of a running service; keep it, or remove the service "
        "first, with --replicas 0\n"
    )


def test_the_nodes_pull_what_is_published(app: Swarm) -> None:
    with registry.serving(app.one.engine, "localhost", user="alice", password="p4ss", near=False) as there:
        port = int(there.host.rpartition(":")[2])
        ends = {"server": app.one.engine.network, "clients": app.two.engine.network}
        with relaying("127.0.0.1", port, listen=port, **ends):
            name = f"{there.host}/web:1"
            app.configure(f"[web]\npublication_tag = {name}\nservice = --update-monitor 500ms\n")
            app.build("1")
            lacking = app.run("web", "--replicas", "2", "--with-registry-auth")
            assert lacking.status == 1
            assert re.search(
                r"run-image: app-web failed to start: nodes? \S+( and two)? do(es)? not have the image; "
                "run: publish-image web, and docker login, then this command again\n$",
                lacking.err,
            )
            login = ["docker", "login", "--username", "alice", "--password-stdin", there.host]
            subprocess.run(login, input="p4ss", text=True, check=True, stderr=subprocess.DEVNULL)
            for each in (["tag", "app-web:alice", name], ["push", "--quiet", name]):
                subprocess.run(["docker", *each], check=True)
            outcome = app.run("web", "--replicas", "2", "--with-registry-auth")
            assert outcome.status == 0, outcome.err
            assert outcome.echoed == [f"docker service update --detach --with-registry-auth --image {name} app-web"]
            image = app.service()["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
            assert re.fullmatch(f"{name}@sha256:[0-9a-f]{{64}}", image)
            assert app.nodes("app-web") == ["one", "two"]


@contextmanager
def load(*urls: str) -> Iterator[tuple[list[str], list[str]]]:
    """Request a page again and again, and from the next URL when one does not answer; yield the answers, and failures."""
    answers: list[str] = []
    failures: list[str] = []
    is_over = threading.Event()
    order = deque(urls)

    def request() -> None:
        while not is_over.wait(0.01):
            errors = []
            for _ in urls:
                try:
                    with urlopen(order[0], timeout=5) as answer:
                        answers.append(answer.read().decode().strip())
                    break
                except (OSError, HTTPException) as error:
                    errors.append(str(error))
                    order.rotate()
            else:
                failures.append("; ".join(errors))

    thread = threading.Thread(target=request)
    thread.start()
    try:
        yield answers, failures
    finally:
        is_over.set()
        thread.join()


def test_no_request_fails_when_the_image_changes_or_a_node_is_lost(app: Swarm) -> None:
    """The client tries the next node if one does not answer, as a load balancer does.

    Without IPVS only ports of the nodes answer, and on one node there is no room for a replica before another stops.
    """
    free = "[free]\nname = web\nservice = --update-monitor 300ms\n[run_image]\nsynthetic_images = free\n"
    app.configure(SECTION.format(port=PORT) + free)
    app.build("1")
    app.copy()
    assert app.run("web", "--replicas", "2").status == 0
    assert "--update-order start-first " in app.run("free", "--replicas", "2").echoed[0]
    assert app.nodes("app-free") == ["one", "two"]
    with ExitStack() as stack:
        relays = [stack.enter_context(node.published(PORT)) for node in (app.one, app.two)]
        answers, failures = stack.enter_context(load(*(f"http://127.0.0.1:{relay.port}/" for relay in relays)))

        def later() -> set[str]:
            """Return the answers to the next requests."""
            count = len(answers) + 1  # one is on its way
            wait_for(lambda: len(answers) > count + 10)
            return set(answers[count:])

        assert later() == {"1"}
        app.build("2")
        app.copy()
        outcome = app.run("web", "--replicas", "2")
        assert outcome.status == 0, outcome.err
        assert later() == {"2"}

        app.build("3", health="absent")
        app.transfer()
        broken = app.run("web", "--replicas", "2")
        assert broken.status == 1
        assert re.search(
            "run-image: app-web was rolled back to the previous version: its health check failed on node (one|two); "
            "see why: docker service logs app-web\n$",
            broken.err,
        )
        assert later() == {"2"}

        app.two.engine.stop()
        stack.callback(app.two.engine.start)
        wait_for(lambda: app.nodes("app-free") == ["one", "one"])
        assert later() == {"2"}
    assert failures == []


def test_only_a_manager_takes_services(
    nodes: Nodes, ssh_home: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Swarm(nodes, write_tree(tmp_path / "app", {"docker/web/Dockerfile": "FROM scratch\n"}), capfd)
    with docked(nodes, "two", ssh_home, monkeypatch):
        outside = app.run("web", "--replicas", "2", "--dry-run")
        assert (outside.status, outside.out) == (1, "")
        assert outside.err == "run-image: dock two is not in a swarm; run: swarm-docks two\n"
        testbed_swarm.join(nodes)
        worker = app.run("web", "--replicas", "0")
        assert worker.err == (
            "run-image: dock two is a worker of its swarm, and only a manager starts services; run: source dock MANAGER\n"
        )
        assert worker.status == 1
    monkeypatch.delenv("DOCK_MONIKER")
    testbed_swarm.part(nodes)
    monkeypatch.setenv("DOCKER_HOST", nodes[0].engine.host)
    local = app.run("web", "--replicas", "2", "--dry-run")
    assert local.err == (
        "run-image: the engine of this shell is not in a swarm; run: source dock MANAGER; swarm-docks makes docks a swarm\n"
    )
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    assert "no Docker Engine answers" in app.run("web", "--replicas", "2", "--dry-run").err
