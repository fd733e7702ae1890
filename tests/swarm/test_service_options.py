"""The options of services: what those of docker run become, what is refused where, and what an update gets."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dockerutils.commands.run_image import main
from dockerutils.docker import api, client
from dockerutils.docker.options import SERVICE
from tests.support import Outcome, call, write_tree

IMAGE = "sha256:" + "1" * 64


class Manager:
    """An engine that is the manager of a swarm, with an image of the project, two networks, and perhaps a service."""

    def __init__(self, service: dict[str, Any]) -> None:
        self._service = service

    def info(self) -> dict[str, Any]:
        return {"Swarm": {"LocalNodeState": "active", "ControlAvailable": True}}

    def service(self, _: str) -> dict[str, Any]:
        return self._service

    def tasks(self, **_: str) -> list[dict[str, Any]]:
        return []

    def networks(self) -> list[dict[str, str]]:
        return [{"Name": "wide", "Id": "w1", "Scope": "swarm"}, {"Name": "narrow", "Id": "n1", "Scope": "local"}]

    def image(self, name: str) -> dict[str, Any]:
        if not name.startswith("app-"):
            raise api.ApiError("no such image")
        return {"Id": IMAGE, "RepoDigests": [], "GraphDriver": {"Name": "overlay2"}}

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Return a function that calls run-image web --dry-run with a section and options, where there is a service."""

    def call_it(section: str, *argv: str, service: dict[str, Any] | None = None) -> Outcome:
        monkeypatch.setattr(api, "local", lambda _: Manager(service or {}))
        files = {"docker/web/Dockerfile": "FROM x\n", "docker/dockerutils.cfg": f"[web]\ninit =\n{section}\n"}
        root = write_tree(tmp_path / "app", files)
        return call(main, "web", "--dry-run", "--replicas", "3", *argv, directory=root, capfd=capfd)

    return call_it


CREATE = (
    "docker service create --detach --name app-web --replicas 3 --no-resolve-image --label dockerutils.project=app "
    "--label dockerutils.image=web --update-order start-first --update-delay 1s --update-failure-action rollback --rollback-order start-first"
)


@pytest.mark.parametrize(
    ("section", "argv", "options"),
    [
        pytest.param("", [], "", id="nothing"),
        pytest.param("interactive = -it\nargs = --rm --pull never\nkeep_container = True", [], "", id="what a service is without"),
        pytest.param("ports = -p 8080:80 -p 53:53/udp", [], "--publish 8080:80 --publish 53:53/udp", id="ports"),
        pytest.param("volumes = -v data:/data -v /srv:/srv:ro,rshared -v /cache --mount type=tmpfs,dst=/t", [],
            "--mount type=volume,source=data,target=/data "
            "--mount type=bind,source=/srv,target=/srv,readonly,bind-propagation=rshared "
            "--mount type=volume,target=/cache --mount type=tmpfs,dst=/t", id="volumes"),
        pytest.param("volumes = -v $DATA/x:/x -v '/a,b:/b'", [],
            '--mount type=bind,source="$DATA"/x,target=/x --mount \'type=bind,"source=/a,b",target=/b\'', id="volumes that are quoted"),
        pytest.param("args = --tmpfs /run:size=1m,rw,mode=700 --shm-size 1g", [],
            "--mount type=tmpfs,target=/run,tmpfs-size=1m,tmpfs-mode=700 --mount type=tmpfs,target=/dev/shm,tmpfs-size=1g", id="tmpfs"),
        pytest.param("gpu = --gpus 2", [], "--generic-resource NVIDIA-GPU=2", id="gpu"),
        pytest.param("", ["-g"], "--generic-resource NVIDIA-GPU=1", id="-g"),
        pytest.param("network = wide", [], "--network wide", id="network"),
        pytest.param("args = --restart unless-stopped", [], "--restart-condition any", id="restart"),
        pytest.param("args = --restart on-failure:4", ["--restart", "no"],
            "--restart-condition on-failure --restart-max-attempts 4 --restart-condition none", id="restart, the last one wins"),
        pytest.param("args = --stop-timeout 30 -m 1g --cpus 2 -l a=b --add-host a:1.2.3.4 -h name --entrypoint 'a b'", [],
            "--stop-grace-period 30s --limit-memory 1g --limit-cpu 2 --container-label a=b --host a:1.2.3.4 "
            "--hostname name --entrypoint ''\"'\"'a b'\"'\"''", id="other names"),
        pytest.param("platform = linux/arm64", [], "--constraint node.platform.arch==aarch64", id="platform"),
        pytest.param("environment = -e A=1 -e B=2 -e NOT_SET", ["-e", "B=3"], "-e A=1 -e B=3", id="environment"),
        pytest.param("service = --update-parallelism 2 --constraint node.role==worker -l x=y --update-monitor=1s", ["-u", "7"],
            "--user 7 --update-parallelism 2 --constraint node.role==worker --label x=y --update-monitor 1s", id="service"),
    ],
)  # fmt: skip
def test_the_options_of_a_new_service(run, monkeypatch, section, argv, options) -> None:
    monkeypatch.setenv("DATA", "/d")
    outcome = run(section, *argv)
    assert (outcome.status, outcome.err) == (0, "")
    line = outcome.out.removesuffix("\n").replace(
        '"type=bind,source=$DATA/x,target=/x"', 'type=bind,source="$DATA"/x,target=/x'
    )
    assert line == " ".join(filter(None, [CREATE, options, IMAGE]))


def test_a_port_of_the_nodes_has_to_be_free_before_the_next_replica_starts(run) -> None:
    line = run("ports = -p mode=host,target=80,published=80").out
    assert (
        "--update-order stop-first --update-delay 1s --update-failure-action rollback --rollback-order stop-first "
        in line
    )
    line = run("ports = -p mode=host,target=80,published=80\nservice = --update-order start-first").out
    assert re.findall(r"--\w+-order \S+", line) == ["--rollback-order stop-first", "--update-order start-first"]


PLACE = "docker/dockerutils.cfg:3: [web] "
LEAVE = "remove it, or run the image without --replicas"


@pytest.mark.parametrize(
    ("section", "argv", "message"),
    [
        pytest.param("args = --cpus 1 --privileged", [], f"{PLACE}args: --privileged is not possible for a service; name what it needs: --cap-add", id="args"),
        pytest.param("args = --device /dev/kvm", [], f"{PLACE}args: --device /dev/kvm is not possible for a service; {LEAVE}", id="a value"),
        pytest.param("", ["--ipc", "host"], f"--ipc host is not possible for a service; {LEAVE}", id="command line"),
        pytest.param("ports = -p 127.0.0.1:80:80", [], f"{PLACE}ports: -p 127.0.0.1:80:80 is not possible for a service; leave out the address: a service publishes its ports on all addresses of its nodes", id="an address"),
        pytest.param("ports = -p published=127.0.0.1:80,target=80", [], f"{PLACE}ports: -p published=127.0.0.1:80,target=80 is not possible for a service; leave out the address: a service publishes its ports on all addresses of its nodes", id="an address in the long form"),
        pytest.param("volumes = -v {root}/data:/data", [], f"{PLACE}volumes: -v ROOT/data:/data is not possible for a service; only one node has the project's files; COPY them into the image", id="files of the project"),
        pytest.param("volumes = -v data:/data:z", [], f"{PLACE}volumes: -v data:/data:z is not possible for a service; leave out z, which services do not support", id="z"),
        pytest.param("volumes = -v $PAIR", [], f'{PLACE}volumes: -v "$PAIR" is not possible for a service; write : next to the variable, not in its value', id="a variable with a colon"),
        pytest.param("volumes = -v a:/b:ro:c", [], f"{PLACE}volumes: -v a:/b:ro:c is not possible for a service; write it as --mount type=bind,source=PATH,target=PATH", id="too many colons"),
        pytest.param("args = --tmpfs /run:noexec", [], f"{PLACE}args: --tmpfs /run:noexec is not possible for a service; leave out noexec, which services do not support", id="--tmpfs"),
        pytest.param("platform = linux/s390x", [], f"{PLACE}platform: --platform linux/s390x is not possible for a service; remove it, and choose nodes with the key service: --constraint node.platform.arch==NAME", id="platform"),
        pytest.param("gpu = --gpus all", [], f"{PLACE}gpu: --gpus all is not possible for a service; write how many GPUs each replica gets, such as --gpus 1", id="all GPUs"),
        pytest.param("network = narrow", [], f"{PLACE}network: --network narrow is not possible for a service; network narrow is on one node only; make one for the swarm: docker network create --driver overlay --attachable NAME", id="a local network"),
        pytest.param("", ["-n", "none"], "--network none is not possible for a service; there is no network none; make one for the swarm: docker network create --driver overlay --attachable none", id="no network"),
        pytest.param("args = --log-opt max-size=1m", [], f"{PLACE}args: --log-opt max-size=1m is not possible for a service; name its driver too, such as --log-driver json-file", id="--log-opt"),
        pytest.param("args = --restart sometimes", [], f"{PLACE}args: --restart sometimes is not possible for a service; write one of no, on-failure, always, unless-stopped", id="--restart"),
        pytest.param("service = --replicas 4", [], f"{PLACE}service: --replicas is not possible for a service; remove it; docker service create --help lists the options", id="service"),
        pytest.param("service = --update-dela 1s", [], f"{PLACE}service: --update-dela is not possible for a service; did you mean --update-delay?", id="a misspelled option"),
        pytest.param("", ["-k"], "--replicas starts a service, which cannot have -k; leave out -k", id="-k"),
        pytest.param("", ["-it"], "--replicas starts a service, which cannot have -it; leave out -it", id="-it"),
        pytest.param("", ["--rm"], "--replicas starts a service, which cannot have --rm; leave out --rm", id="--rm"),
        pytest.param("", ["--sync"], "--replicas starts a service, which cannot have --sync; leave out --sync", id="--sync"),
        pytest.param("", ["--shards", "2"], "--replicas starts a service, which cannot have --shards; leave out --shards", id="--shards"),
        pytest.param("", ["--replicas", "-1"], "--replicas: '-1' is not a number of replicas; write a number above 0", id="negative"),
        pytest.param("", ["--replicas", "many"], "--replicas: 'many' is not a number of replicas; write a number above 0", id="a word"),
        pytest.param("", ["--name", "a.b"], "--name: 'a.b' is not a service name; use letters, digits and dashes, 63 at most", id="--name"),
        pytest.param("", ["--with-registry-auth"], "docker/dockerutils.cfg: [web]: publication_tag is missing; add it, or leave out --with-registry-auth and run transfer-image web --swarm", id="--with-registry-auth"),
        pytest.param("publication_tag = {account}.example.com/x:1", ["--with-registry-auth"], f"{PLACE}publication_tag: a service cannot look up {{account}} and {{region}}; write them out", id="an account"),
    ],
)  # fmt: skip
def test_what_a_service_cannot_have(run, tmp_path, monkeypatch, section, argv, message) -> None:
    monkeypatch.setenv("PAIR", "/a:/b")
    outcome = run(section, *argv)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.replace(str(tmp_path / "app"), "ROOT") == f"run-image: {message}\n"


def test_with_registry_auth_is_for_services(tmp_path, capfd) -> None:
    root = write_tree(tmp_path / "app", {"docker/web/Dockerfile": "FROM x\n"})
    outcome = call(main, "web", "--with-registry-auth", directory=root, capfd=capfd)
    assert (outcome.status, outcome.err) == (2, "run-image: --with-registry-auth is for a service; add --replicas N\n")


def test_an_image_of_a_registry(run) -> None:
    line = run("publication_tag = registry.example.com/{image}:{tag}", "--with-registry-auth", "-t", "1.2").out
    assert line == CREATE.replace("no-resolve-image", "with-registry-auth") + " registry.example.com/app-web:1.2\n"


def test_docker_asks_the_registry_at_each_update(run) -> None:
    image = "registry.example.com/web:1"
    service = _service(Image=f"{image}@sha256:2")
    line = run(f"publication_tag = {image}", "--with-registry-auth", service=service).out
    assert line == f"docker service update --detach --with-registry-auth --image {image} app-web\n"


def _service(**container: Any) -> dict[str, Any]:
    labels = {"dockerutils.project": "app", "dockerutils.image": "web"}
    policy = {"Order": "start-first", "FailureAction": "rollback", "Delay": 10**9}
    template = {"ContainerSpec": {"Image": IMAGE, **container}}
    mode = {"Replicated": {"Replicas": 3}}
    spec = {"Name": "app-web", "Labels": labels, "TaskTemplate": template, "Mode": mode, "UpdateConfig": policy}
    return {"ID": "s1", "Spec": {**spec, "RollbackConfig": {"Order": "start-first"}}}


@pytest.mark.parametrize(
    ("section", "argv", "container", "options"),
    [
        pytest.param("", [], {}, "", id="nothing"),
        pytest.param("", [], {"Image": "sha256:2"}, f"--no-resolve-image --image {IMAGE}", id="image"),
        pytest.param("", ["--replicas", "5"], {}, "--replicas 5", id="replicas"),
        pytest.param("environment = -e A=1 -e B=2", [], {"Env": ["A=0", "B=2", "C=3"]}, "--env-rm C --env-add A=1", id="environment"),
        pytest.param("environment = -e LOGNAME", [], {"Env": ["LOGNAME=bob"]}, "--env-add LOGNAME", id="a variable of ours"),
        pytest.param("environment = -e LOGNAME", [], {"Env": ["LOGNAME=alice"]}, "", id="the same"),
        pytest.param("cmd = a 'b c'", [], {"Args": ["a"]}, "--args 'a '\"'\"'b c'\"'\"''", id="cmd"),
        pytest.param("args = --init --cap-add SYS_TIME --stop-timeout 10", [], {"CapabilityAdd": ["CAP_CHOWN"]},
            "--init=true --cap-drop CAP_CHOWN --cap-add CAP_SYS_TIME", id="switches and capabilities"),
        pytest.param("args = --no-healthcheck", [], {"Healthcheck": {"Test": ["CMD-SHELL", "x"]}}, "--no-healthcheck", id="no health check"),
        pytest.param("args = --health-cmd x", [], {"Healthcheck": {"Test": ["NONE"]}}, "--health-cmd x", id="a health check"),
        pytest.param("", [], {"User": "7", "Hostname": "h"}, "--user '' --hostname ''", id="what is no longer there"),
    ],
)  # fmt: skip
def test_an_update_changes_what_differs(run, section, argv, container, options) -> None:
    outcome = run(section, *argv, service=_service(**container))
    assert outcome.status == 0, outcome.err
    assert outcome.out == (f"docker service update --detach {options} app-web\n" if options else "")


def test_a_service_of_others_is_left_alone(run) -> None:
    found = _service()
    found["Spec"]["Labels"] = {"dockerutils.project": "other", "dockerutils.image": "web"}
    outcome = run("", service=found)
    assert (outcome.status, outcome.err) == (
        2,
        "run-image: service app-web was not started for web of app; choose another name with --name\n",
    )
    assert "--name blue " in run("", "--name", "blue").out


def test_the_table_has_the_options_of_docker(modern_engine) -> None:
    """But for those that run-image sets itself, that are for Windows or for jobs, and env-file, which update has not."""
    known = client.options("service create")
    own = {"name", "replicas", "mode", "detach", "quiet", "no-resolve-image", "with-registry-auth", "help"}
    absent = {"credential-spec", "isolation", "max-concurrent", "env-file"}
    assert SERVICE.valued == known.valued - own - absent
    assert SERVICE.switches == known.switches - own
    assert dict(SERVICE.letters) == {letter: name for letter, name in known.letters.items() if name not in own}


@pytest.mark.parametrize(
    ("value", "there", "options"),
    [
        ("8077-8078:80", [(80, 8077), (80, 8078)], ""),
        ("8077-8078:80-81/TCP", [(80, 8077), (81, 8078)], ""),
        ("80-81", [(80, 0), (81, 0)], ""),
        ("target=80,published=8077,protocol=TCP", [(80, 8077)], ""),
        ("target=80", [(80, 0)], ""),
        ("8077-8078:80", [(80, 8077)], "--publish-add 8077-8078:80"),
        ("published=8077,target=80", [(80, 1), (81, 8077)], "--publish-rm mode=ingress,target=80,protocol=tcp "
            "--publish-rm mode=ingress,target=81,protocol=tcp --publish-add published=8077,target=80"),
    ],
)  # fmt: skip
def test_an_update_of_ports(run, value, there, options) -> None:
    service = _service()
    service["Spec"]["EndpointSpec"] = {
        "Ports": [{"TargetPort": target, "PublishedPort": port} for target, port in there]
    }
    line = run(f"ports = -p {value}", service=service).out
    assert line == (f"docker service update --detach {options} app-web\n" if options else "")
