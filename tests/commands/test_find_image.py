"""find-image: the newest version that the engine or a registry has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import pytest

from dockerutils.commands.find_image import main
from tests.support import Outcome, call, script
from tests.testbed import registry
from tests.testbed.aws import ACCOUNT

TAGS = ["21.01.02", "21.04.25", "latest", "dev", "9.9.rc1"]


@pytest.fixture
def tools(each_engine):
    """Tag an image with versions and with other tags."""
    for tag in TAGS:
        each_engine.docker("tag", "local/busybox:latest", f"local/tools:{tag}")
    each_engine.docker("tag", "local/busybox:latest", "local/tools-more:99.1")
    yield
    each_engine.docker("image", "rm", "local/tools-more:99.1", *(f"local/tools:{tag}" for tag in TAGS))


def test_the_newest(tools, tmp_path, capfd) -> None:
    assert call(main, "local/tools", directory=tmp_path, capfd=capfd) == (0, "local/tools:21.04.25\n", "")


def test_all(tools, tmp_path, capfd) -> None:
    outcome = call(main, "--all", "local/tools", directory=tmp_path, capfd=capfd)
    assert outcome == (0, "local/tools:21.04.25\nlocal/tools:21.01.02\nlocal/tools:9.9.rc1\n", "")


@pytest.mark.parametrize("name", ["docker.io/local/tools", "index.docker.io/local/tools"])
def test_docker_hub_by_its_long_name(tools, tmp_path, capfd, name) -> None:
    assert call(main, name, directory=tmp_path, capfd=capfd) == (0, f"{name}:21.04.25\n", "")


def test_none(each_engine, tmp_path, capfd) -> None:
    outcome = call(main, "local/busybox", directory=tmp_path, capfd=capfd)
    assert outcome == (1, "", "find-image: the engine has no version of local/busybox; build, pull or transfer one\n")


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("a:1", 2, "'a:1' is not a valid image name; write it as [registry/]name in lower case"),
        (
            "a",
            1,
            "no Docker Engine answers at {host}; start it, or point DOCKER_HOST or docker context use at one that runs",
        ),
    ],
)
def test_errors(name, status, message, tmp_path, capfd) -> None:
    outcome = call(main, name, directory=tmp_path, capfd=capfd)
    assert outcome == (status, "", f"find-image: {message.format(host=os.environ['DOCKER_HOST'])}\n")


MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MARKER = "marker-of-the-password"
ECR = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"


def _no_engine() -> str:
    return f"find-image: warning: no Docker Engine answers at {os.environ['DOCKER_HOST']}; only the registry was searched\n"


def test_the_registry_and_the_engine(each_engine, tmp_path, capfd) -> None:
    with registry.listening(str(tmp_path)) as real:
        name = f"{real.host}/org/x"
        real.add_tags("org/x", "1.9", "1.10", "1.8", "latest")
        real.add_tags("org/none", "latest")
        each_engine.docker("tag", "local/busybox", f"{name}:1.8")
        each_engine.docker("tag", "local/busybox", f"{name}:1.11.dev1")
        try:
            newest = call(main, name, "--remote", directory=tmp_path, capfd=capfd)
            every = call(main, name, "--remote", "--all", directory=tmp_path, capfd=capfd)
            local = call(main, name, "--all", directory=tmp_path, capfd=capfd)
        finally:
            each_engine.docker("image", "rm", f"{name}:1.8", f"{name}:1.11.dev1")
        assert newest == (0, f"{name}:1.11.dev1\n", "")
        assert every == (0, "".join(f"{name}:{tag}\n" for tag in ("1.11.dev1", "1.10", "1.9", "1.8")), "")
        assert local == (0, f"{name}:1.11.dev1\n{name}:1.8\n", "")
        name = f"{real.host}/org/none"
        assert call(main, name, "--remote", directory=tmp_path, capfd=capfd) == (
            1, "", f"find-image: neither the registry nor the engine has a version of {name}; publish one\n"
        )  # fmt: skip


def test_only_the_registry_without_an_engine(tmp_path, capfd, monkeypatch) -> None:
    with registry.listening(str(tmp_path)) as real:
        real.add_tags("org/x", "1.0")
        name = f"{real.host}/org/x"
        assert call(main, name, "--remote", directory=tmp_path, capfd=capfd) == (0, f"{name}:1.0\n", _no_engine())
        monkeypatch.setenv("PATH", "/nonexistent")
        outcome = call(main, name, "--remote", directory=tmp_path, capfd=capfd)
        message = "find-image: warning: docker was not found on PATH; only the registry was searched\n"
        assert outcome == (0, f"{name}:1.0\n", message)


def test_the_login_is_the_environment_s_or_docker_s(tmp_path, capfd, monkeypatch) -> None:
    with registry.listening(str(tmp_path / "r"), user="carol", password=MARKER) as real:
        real.add_tags("org/x", "1.0")
        name = f"{real.host}/org/x"

        def find() -> Outcome:
            outcome = call(main, name, "--remote", directory=tmp_path, capfd=capfd)
            assert MARKER not in outcome.err
            return outcome

        login = f"run docker login {real.host}, or set DOCKER_REGISTRY={real.host}, DOCKER_USERNAME and DOCKER_PASSWORD"
        message = f"find-image: {real.host} does not show org/x without a login (401); correct the name, or {login}\n"
        assert find() == (1, "", message)
        config = Path(os.environ["DOCKER_CONFIG"], "config.json")
        config.parent.mkdir()
        config.write_text(f'{{"auths": {{"{real.host}": {{"username": "carol", "password": "{MARKER}"}}}}}}')
        assert find() == (0, f"{name}:1.0\n", _no_engine())
        config.write_text("{}")
        monkeypatch.setenv("DOCKER_PASSWORD", MARKER)
        message = "find-image: DOCKER_PASSWORD is set but DOCKER_USERNAME is not; set both, or neither to use docker's own logins\n"
        assert find() == (2, "", message)
        monkeypatch.setenv("DOCKER_USERNAME", "carol")
        message = f"find-image: {real.host} does not show org/x without a login (401); correct the name, or {login}\n"
        assert find() == (1, "", message)  # that login is Docker Hub's
        monkeypatch.setenv("DOCKER_REGISTRY", real.host)
        assert find() == (0, f"{name}:1.0\n", _no_engine())


def test_ecr(aws, tmp_path, capfd) -> None:
    client = boto3.client("ecr")
    client.create_repository(repositoryName="team/x")
    client.put_image(repositoryName="team/x", imageManifest="{}", imageManifestMediaType=MANIFEST, imageTag="1.0")
    outcome = call(main, f"{ECR}/team/x", "--remote", directory=tmp_path, capfd=capfd)
    assert (outcome.status, outcome.out) == (0, f"{ECR}/team/x:1.0\n")
    assert outcome.echoed == []
    assert outcome.err.endswith(_no_engine())


def test_what_docker_pushed_with_what_docker_trusts_and_knows(engine, tmp_path) -> None:
    """Runs in the engine's namespaces: with its /etc/hosts, its /etc/docker, and the file of docker login."""
    with registry.serving(engine, "found.example", port=5443, user="carol", password=MARKER) as real:
        name = f"{real.host}/org/x"
        login = ["docker", "login", "-u", "carol", "--password-stdin", real.host]
        subprocess.run(login, input=MARKER, text=True, check=True, capture_output=True)
        for tag in ("1.2", "1.10"):
            engine.docker("tag", "local/busybox", f"{name}:{tag}")
            subprocess.run(["docker", "push", "-q", f"{name}:{tag}"], check=True, capture_output=True)
            engine.docker("image", "rm", f"{name}:{tag}")
        inside = ["nsenter", f"--target={registry.daemon(engine)}", "--net", "--mount", f"--wd={tmp_path}"]
        find = [str(Path(sys.executable).parent / "find-image"), name, "--remote"]
        found = subprocess.run([*inside, *find], capture_output=True, text=True, check=False)
        assert (found.returncode, found.stdout, found.stderr) == (0, f"{name}:1.10\n", "")
    outside = script("find-image", name, "--remote", directory=tmp_path)
    assert (outside.status, outside.out) == (1, "")
    assert outside.err.startswith("find-image: found.example:5443 was not found in the DNS; ")
