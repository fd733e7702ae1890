"""Platforms and manifests: built, published and read back from a real registry, on each image store."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from dockerutils.commands import build_image, publish_image, run_image
from dockerutils.core import retries
from tests.support import Outcome, call, each_store, write_tree
from tests.testbed import registry
from tests.testbed.engine import Engine
from tests.testbed.registry import Registry

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
BOTH = "linux/amd64, linux/arm64"
# No RUN: this machine does not run programs for arm64.
DOCKERFILE = "FROM scratch\nARG TARGETARCH\nCOPY files/$TARGETARCH /x\n"
Run = Callable[..., Outcome]

on_containerd = pytest.mark.parametrize("each_engine", ["containerd"], indirect=True)
# The classic builder creates images for its own platform only.
on_buildkit = pytest.mark.parametrize("each_engine", ["overlay2", "containerd"], indirect=True)


@pytest.fixture
def run(tmp_path, capfd, each_engine: Engine, monkeypatch) -> Iterator[Run]:
    """Return a function that calls a command in a project; its images are removed afterwards."""
    # The docker command of a current engine comes with it: the machine's can be older than the options used here.
    if each_engine.usr:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin/docker").symlink_to(f"{each_engine.usr}/bin/docker")
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    before = set(_tags(each_engine))
    root = write_tree(
        tmp_path / "app", {"docker/dev/Dockerfile": DOCKERFILE, "files/amd64": "amd64", "files/arm64": "arm64"}
    )

    def run(command: Any, *argv: str, config: str | None = None) -> Outcome:
        if config is not None:
            write_tree(root, {"docker/dockerutils.cfg": config})
        return call(command.main, *argv, directory=root, capfd=capfd)

    yield run
    if more := set(_tags(each_engine)) - before:
        each_engine.docker("image", "rm", "-f", *more)


@pytest.fixture
def here(tmp_path, each_engine: Engine) -> Iterator[Registry]:
    """Yield a registry that this process and the engine reach at the same place."""
    with registry.listening(str(tmp_path / "registry")) as there, registry.shared(each_engine, there.host):
        yield there


def _tags(engine: Engine) -> list[str]:
    tags = engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    return [tag for tag in tags if "<none>" not in tag]


def _get(there: Registry, repository: str, tag: str) -> tuple[str, dict[str, Any]]:
    """Return the media type and the content of what a tag names."""
    headers = {"Accept": f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_MANIFEST}"}
    with urlopen(Request(f"http://{there.host}/v2/{repository}/manifests/{tag}", headers=headers)) as answer:
        return answer.headers["Content-Type"], json.load(answer)


def _platforms(index: dict[str, Any]) -> list[str]:
    found = [f"{each['platform']['os']}/{each['platform']['architecture']}" for each in index["manifests"]]
    return sorted(each for each in found if each != "unknown/unknown")


def _last(outcome: Outcome) -> str:
    assert (outcome.status, outcome.out) == (1, "")
    return outcome.err.splitlines()[-1]


@on_containerd
def test_several_platforms_are_published_as_one_index(run, here) -> None:
    config = f"[dev]\nplatform = {BOTH}\npublication_tag = {here.host}/x:1\n"
    built = run(build_image, "dev", config=config)
    assert built.status == 0, built.err
    assert built.echoed == [
        "docker build -t app-dev:alice -f docker/dev/Dockerfile --platform linux/amd64,linux/arm64 ."
    ]
    outcome = run(publish_image, "dev")
    assert (outcome.status, outcome.out) == (0, f"{here.host}/x@{here.digest('x', '1')}\n"), outcome.err
    media_type, index = _get(here, "x", "1")
    assert (media_type, _platforms(index)) == (OCI_INDEX, ["linux/amd64", "linux/arm64"])


@on_containerd
def test_one_platform_of_several_is_published_on_request(run, here) -> None:
    config = f"[dev]\nplatform = {BOTH}\npublication_tag = {here.host}/x:1\n"
    assert run(build_image, "dev", config=config).status == 0
    outcome = run(publish_image, "dev", "--platform", "linux/arm64")
    assert (outcome.status, outcome.out) == (0, f"{here.host}/x@{here.digest('x', '1')}\n"), outcome.err
    assert outcome.echoed[-1] == f"docker push --platform linux/arm64 {here.host}/x:1"
    assert _get(here, "x", "1")[0] == OCI_MANIFEST


@on_containerd
def test_more_platforms_than_those_of_the_section_are_an_error(run, here) -> None:
    config = f"[dev]\nplatform = linux/amd64\npublication_tag = {here.host}/x:1\n"
    assert run(build_image, "dev", "--platform", "linux/amd64,linux/arm64", config=config).status == 0
    assert _last(run(publish_image, "dev")) == (
        f"publish-image: {here.host} has {here.host}/x:1 for linux/amd64 and linux/arm64, not for linux/amd64; "
        "publish it with --platform linux/amd64"
    )
    assert run(publish_image, "dev", "--platform", "linux/amd64").status == 0


@each_store
def test_a_platform_that_the_image_does_not_have(run, here, each_engine) -> None:
    config = f"[dev]\npublication_tag = {here.host}/x:1\n"
    assert run(build_image, "dev", "--platform", "linux/amd64", config=config).status == 0
    outcome = run(publish_image, "dev", "--platform", "linux/arm64")
    advice = "run: build-image dev --platform linux/arm64"
    assert _last(outcome) == f"publish-image: app-dev:alice is not for linux/arm64; {advice}"
    outcome = run(publish_image, "dev", config=f"{config}platform = {BOTH}\n")
    assert _last(outcome) == "publish-image: app-dev:alice is not for linux/arm64; run: build-image dev"
    assert (outcome.echoed, here.digest("x", "1")) == ([], None)


@on_buildkit
def test_a_foreign_platform_is_built_and_published(run, here, each_engine) -> None:
    config = f"[dev]\nplatform = linux/arm64\npublication_tag = {here.host}/x:1\n"
    assert run(build_image, "dev", config=config).status == 0
    assert "arm64" in each_engine.docker("image", "inspect", "-f", "{{.Architecture}}", "app-dev:alice")
    outcome = run(publish_image, "dev")
    assert (outcome.status, outcome.out) == (0, f"{here.host}/x@{here.digest('x', '1')}\n"), outcome.err


@on_containerd
def test_a_pulled_image_of_which_the_engine_has_one_platform(run, here, each_engine) -> None:
    """Docker pushes the manifest of that platform, not the index that it knows."""
    pulled = f"{here.host}/x:1"
    assert run(build_image, "dev", config=f"[dev]\nplatform = {BOTH}\npublication_tag = {pulled}\n").status == 0
    assert run(publish_image, "dev").status == 0
    each_engine.docker("image", "rm", "-f", "app-dev:alice", pulled)
    each_engine.docker("builder", "prune", "-af")
    each_engine.docker("pull", pulled)
    section = f"[other]\nname = {pulled}\nprefix = False\npublication_tag = {here.host}/y:1\n"
    outcome = run(publish_image, "other", config=section)
    assert (outcome.status, outcome.out) == (0, f"{here.host}/y@{here.digest('y', '1')}\n"), outcome.err
    assert _get(here, "y", "1")[0] == OCI_MANIFEST
    outcome = run(publish_image, "other", config=f"{section}platform = {BOTH}\n")
    advice = f"run: docker pull {pulled}"
    assert _last(outcome) == f"publish-image: {pulled} is not for linux/arm64; {advice}"


@each_store
def test_a_docker_manifest(run, here, each_engine) -> None:
    """AWS Lambda and SageMaker take no other one."""
    config = f"[dev]\nmanifest = docker\nplatform = linux/amd64\npublication_tag = {here.host}/x:1\n"
    built = run(build_image, "dev", config=config)
    assert built.status == 0, built.err
    assert ("--provenance=false --sbom=false --output type=image,oci-mediatypes=false" in built.echoed[0]) == (
        "containerd" in each_engine.docker("info", "-f", "{{.DriverStatus}}")
    )
    outcome = run(publish_image, "dev")
    assert (outcome.status, outcome.out) == (0, f"{here.host}/x@{here.digest('x', '1')}\n"), outcome.err
    media_type, manifest = _get(here, "x", "1")
    types = {manifest["config"]["mediaType"], *(layer["mediaType"] for layer in manifest["layers"])}
    assert (media_type, manifest["mediaType"]) == (DOCKER_MANIFEST, DOCKER_MANIFEST)
    assert types == {
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    }


@on_containerd
@pytest.mark.parametrize("is_older", [False, True], ids=["docker of the engine", "an older docker"])
def test_an_image_that_has_no_docker_manifest(run, here, monkeypatch, is_older) -> None:
    """Docker before 28 does not know the manifest: then the registry tells."""
    assert run(build_image, "dev", config=f"[dev]\npublication_tag = {here.host}/x:1\n").status == 0
    if is_older:
        older = shutil.which("docker", path="/usr/bin")
        assert older
        (Path(os.environ["HOME"]) / "docker").symlink_to(older)
        monkeypatch.setenv("PATH", f"{os.environ['HOME']}:{os.environ['PATH']}")
    outcome = run(publish_image, "dev", config=f"[dev]\nmanifest = docker\npublication_tag = {here.host}/x:1\n")
    problem = (
        f"{here.host} has {here.host}/x:1 as {OCI_INDEX}, not as a plain Docker manifest"
        if is_older
        else "app-dev:alice has no plain Docker manifest, which manifest = docker asks for"
    )
    assert _last(outcome) == f"publish-image: {problem}; run: build-image dev"


@each_store
def test_a_base_for_another_platform(run, each_engine, tmp_path) -> None:
    write_tree(tmp_path / "app", {"docker/base/Dockerfile": DOCKERFILE})
    write_tree(tmp_path / "app", {"docker/dev/Dockerfile": "FROM app-base:alice\nCOPY files /files\n"})
    assert run(build_image, "base", "--platform", "linux/amd64").status == 0
    outcome = run(build_image, "dev", config="[dev]\nplatform = linux/arm64\n")
    advice = "run: build-image base --platform linux/arm64"
    assert _last(outcome) == f"build-image: the base image app-base:alice is not for linux/arm64; {advice}"
    assert outcome.echoed == []
    if each_engine.usr:  # BuildKit, as above
        assert run(build_image, "dev", "-f", config="[DEFAULT]\nplatform = linux/arm64\n").status == 0


@on_containerd
def test_a_base_for_the_platform_of_the_build(run, each_engine, tmp_path) -> None:
    """A FROM line with a platform of its own is docker's business."""
    own = "FROM --platform=$BUILDPLATFORM app-base:alice AS x\nFROM scratch\nCOPY --from=x /x /x\n"
    write_tree(tmp_path / "app", {"docker/base/Dockerfile": DOCKERFILE, "docker/dev/Dockerfile": own})
    assert run(build_image, "base").status == 0
    outcome = run(build_image, "dev", "--platform", "linux/arm64")
    assert outcome.status == 0, outcome.err


@on_containerd
def test_a_run_for_a_platform(run, tmp_path) -> None:
    write_tree(tmp_path / "app", {"docker/dev/Dockerfile": "FROM local/busybox\n"})
    assert run(build_image, "dev", config="[dev]\nplatform = linux/amd64\n").status == 0
    outcome = run(run_image, "dev", "--dry-run")
    assert " --platform linux/amd64 app-dev:alice" in outcome.out
    outcome = run(
        publish_image, "dev", "--dry-run", "--platform", "linux/arm64", config="[dev]\npublication_tag = a/b:1"
    )
    assert outcome.out.splitlines() == ["docker tag app-dev:alice a/b:1", "docker push --platform linux/arm64 a/b:1"]


@each_store
def test_a_wrong_stored_login_is_not_tried_again(run, each_engine, tmp_path, monkeypatch) -> None:
    """Engines with the classic store report it like a registry that answers 503."""
    monkeypatch.setattr(retries, "PAUSES", (99.0,))
    locked = registry.listening(str(tmp_path / "locked"), user="carol", password="right")
    with locked as there, registry.shared(each_engine, there.host):
        path = Path(os.environ["DOCKER_CONFIG"], "config.json")
        path.write_text(json.dumps({"auths": {there.host: {"username": "carol", "password": "wrong"}}}))
        assert run(build_image, "dev", config=f"[dev]\npublication_tag = {there.host}/x:1\n").status == 0
        outcome = run(publish_image, "dev")
    last = _last(outcome)
    assert last.startswith(f"publish-image: {there.host}/x:1 was not pushed: {there.host} denied access: ")
    assert "trying again" not in outcome.err
