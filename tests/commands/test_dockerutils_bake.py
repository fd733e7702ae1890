"""dockerutils bake: docker buildx bake reads what it prints, and builds the same images."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from dockerutils.commands.dockerutils import main
from tests.support import App
from tests.testbed.engine import Engine

SECRET = "s3cr3t-marker"


@pytest.fixture
def app(tmp_path, capfd) -> App:
    return App(main, tmp_path / "app", capfd)


def _bake(app: App, file: str, *argv: str) -> str:
    done = subprocess.run(
        ["docker", "buildx", "bake", "-f", "-", *argv],
        cwd=app.root, input=file, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def _targets(app: App) -> dict[str, Any]:
    """Return the targets as docker buildx bake understands them."""
    outcome = app("bake")
    assert outcome.status == 0, outcome.err
    return json.loads(_bake(app, outcome.out, "--print"))["target"]


FAMILY = {
    "docker/base/Dockerfile": "FROM local/busybox AS Builder\nRUN echo built > /built\nFROM local/busybox\nRUN echo base > /base\n",
    "docker/my.web/Dockerfile": "FROM app-base:alice\nCOPY --from=app-base-builder:alice /built /built\nARG URL\nARG NAME=default\nARG RAW\nRUN echo $URL $NAME $RAW | tr a-z A-Z > /url\n",
    "docker/dockerutils.cfg": "[my.web]\nname = web\nbuild_args = --build-arg URL=http://$TOKEN@h --build-arg NAME --build-arg 'RAW=$${1} %{2} \"q\"'\n",
}


def test_bake_builds_the_images_of_the_project(modern_engine, app, monkeypatch) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    app.write(FAMILY)
    outcome = app("bake")
    assert (outcome.status, outcome.err) == (0, "")
    assert SECRET not in outcome.out
    names = ["app-base-builder:alice", "app-base:alice", "app-web:alice"]
    try:
        _bake(app, outcome.out)
        assert modern_engine.docker("run", "--rm", names[0], "cat", "/built") == "built\n"
        assert modern_engine.docker("run", "--rm", names[2], "cat", "/base", "/built", "/url") == (
            'base\nbuilt\nHTTP://S3CR3T-MARKER@H DEFAULT ${1} %{2} "Q"\n'
        )
        monkeypatch.setenv("NAME", "mine")
        _bake(app, outcome.out, "my_web")
        assert (
            modern_engine.docker("run", "--rm", names[2], "cat", "/url")
            == 'HTTP://S3CR3T-MARKER@H MINE ${1} %{2} "Q"\n'
        )
    finally:
        modern_engine.docker("image", "rm", "--force", *names)


def test_targets_have_the_options_of_the_sections(modern_engine, app, monkeypatch) -> None:
    monkeypatch.setenv("TAGS", "x")
    monkeypatch.setenv("SSH_AUTH_SOCK", modern_engine.host.removeprefix("unix://"))  # any socket: nobody asks it
    app.write({
        "docker/dev/Dockerfile": "FROM scratch\n",
        "docker/dockerutils.cfg": r"""
            [dev]
            tag = v1
            platform = linux/amd64,linux/arm64
            build_args = --build-arg 'A=$$ $${1} 100%{2} "q" \' --label l=$TAGS/1 --secret id=pip,env=PIP_TOKEN --ssh default
                --cache-from type=registry,ref=r/c --cache-to type=registry,ref=r/c,mode=max --no-cache --pull=false
                --network none --provenance=false --sbom=true --shm-size 64m --ulimit nofile=9 --add-host h:1.2.3.4 -m 1g
                --annotation k=v --build-context other=docker --no-cache-filter x --target t
            """,
    })  # fmt: skip
    outcome = app("bake")
    left_out = [line.removeprefix("dockerutils: warning: ") for line in outcome.err.splitlines()]
    assert left_out == [
        "[dev] --add-host h:1.2.3.4: bake has no such option; it is left out",
        "[dev] -m 1g: bake has no such option; it is left out",
    ]
    found = _targets(app)["dev"]
    assert found == {
        "context": ".",
        "dockerfile": "docker/dev/Dockerfile",
        "tags": ["app-dev:v1"],
        "platforms": ["linux/amd64", "linux/arm64"],
        "args": {"A": '$ $${1} 100%%{2} "q" \\'},  # in bake's notation
        "labels": {"l": "x/1"},
        "annotations": ["k=v"],
        "contexts": {"other": "docker"},
        "secret": [{"id": "pip", "env": "PIP_TOKEN"}],
        "ssh": [{"id": "default"}],
        "cache-from": [{"type": "registry", "ref": "r/c"}],
        "cache-to": [{"type": "registry", "ref": "r/c", "mode": "max"}],
        "no-cache": True,
        "pull": False,
        "no-cache-filter": ["x"],
        "target": "t",
        "network": "none",
        "attest": [{"type": "provenance", "disabled": True}, {"type": "sbom"}],
        "shm-size": "64m",
        "ulimits": ["nofile=9"],
    }


def _media_type(engine: Engine, name: str, saved: Path) -> str:
    """Return the media type of what an engine pushes as an image."""
    engine.docker("save", "-o", str(saved), name)
    with tarfile.open(saved) as archive:
        index = archive.extractfile("index.json")
        assert index
        return str(json.load(index)["manifests"][0]["mediaType"])


def test_a_docker_manifest(containerd_engine, app, tmp_path) -> None:
    app.write({
        "docker/dev/Dockerfile": "FROM scratch AS builder\nCOPY setup.cfg /\nFROM builder\n",
        "docker/dockerutils.cfg": "[dev]\nmanifest = docker\n",
        "setup.cfg": "",
    })  # fmt: skip
    outcome = app("bake")
    assert (outcome.status, outcome.err) == (0, "")
    names = ["app-dev-builder:alice", "app-dev:alice"]
    try:
        _bake(app, outcome.out)
        types = [_media_type(containerd_engine, name, tmp_path / "saved") for name in names]
    finally:
        containerd_engine.docker("image", "rm", "--force", *names)
    assert types == [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]


def test_what_bake_does_not_do_is_named(app) -> None:
    app.write({
        "docker/dev/Dockerfile": "FROM scratch\n",
        "docker/secret/Dockerfile": "FROM x\nRUN --mount=type=secret,id=pip.conf pip install x\n",
        "docker/dockerutils.cfg": "[dev]\npre_build_script = make wheels\n",
        "pip.conf.template": "",
        "setup.cfg": "[versioneer]\n",
    })  # fmt: skip
    outcome = app("bake")
    assert [line.removeprefix("dockerutils: warning: ") for line in outcome.err.splitlines()] == [
        "docker/dockerutils.cfg:2: [dev] pre_build_script: bake runs no scripts; run it yourself",
        "docker/dev/Dockerfile: bake does not copy pip.conf.template; copy it to pip.conf first if the Dockerfile copies that",
        "bake does not write _version.py.bld; run genversion first",
    ]
    file = json.loads(outcome.out)
    assert file["group"] == {"default": {"targets": ["dev", "secret"]}}
    assert file["target"]["secret"]["secret"] == ["id=pip.conf,src=pip.conf.template"]


def test_a_builder_stage_that_does_not_exist(app) -> None:
    app.write({"docker/base/Dockerfile": "FROM scratch\n", "docker/web/Dockerfile": "FROM app-base-builder:alice\n"})
    outcome = app("bake")
    assert (outcome.status, outcome.err) == (0, "")
    assert "contexts" not in json.loads(outcome.out)["target"]["web"]  # docker says that there is no such image


def test_a_mistake_is_an_error(app) -> None:
    app.write({"docker/a/Dockerfile": "FROM app-b", "docker/b/Dockerfile": "FROM app-a"})
    outcome = app("bake")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(
        "dockerutils: docker/a/Dockerfile, docker/b/Dockerfile: these images are built from each other"
    )
    assert os.environ["DOCKER_HOST"] == "unix:///nonexistent/docker.sock"
