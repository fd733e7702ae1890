"""A docker configuration of the run's own, judged by docker itself where it matters."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from pathlib import Path

import pytest

from dockerutils import credentials, process
from dockerutils.errors import DockerutilsError, Terminated

USERS = {
    "auths": {"other.example": {"auth": "YTpi"}},
    "credsStore": "mine",
    "credHelpers": {"gcr.io": "gcloud"},
    "proxies": {"default": {"httpProxy": "http://proxy.example:3128"}},
    "currentContext": "far",
}


@pytest.fixture
def users_own(isolated, tmp_path, monkeypatch) -> Path:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    directory = Path(os.environ["DOCKER_CONFIG"])
    directory.mkdir()
    return directory


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path):
    yield
    assert not list(tmp_path.glob("tmp/*"))


@pytest.mark.parametrize(
    ("reference", "host"),
    [
        ("org/x:1", "docker.io"),
        ("x:1", "docker.io"),
        ("docker.io/org/x:1", "docker.io"),
        ("index.docker.io/org/x:1", "docker.io"),
        ("localhost/x:1", "localhost"),
        ("localhost:5000/x:1", "localhost:5000"),
        ("registry:5000/x:1", "registry:5000"),
        ("quay.io/org/x:1", "quay.io"),
        ("x.y:1", "docker.io"),
    ],
)
def test_the_registry_of_a_reference(reference, host) -> None:
    assert credentials.registry(reference) == host


def test_all_settings_hold_but_logins_are_written_here(users_own) -> None:
    text = json.dumps(USERS)
    (users_own / "config.json").write_text(text)
    for name in ("cli-plugins", "contexts", "buildx"):
        (users_own / name).mkdir()
    with credentials.private(os.environ, ["r.example:5000", "docker.io"]) as env:
        directory = Path(env["DOCKER_CONFIG"])
        config = directory / "config.json"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
        ours = {"r.example:5000": "", "https://index.docker.io/v1/": ""}
        assert json.loads(config.read_text()) == {**USERS, "credHelpers": {"gcr.io": "gcloud", **ours}}
        for name in ("cli-plugins", "contexts", "buildx"):
            assert (directory / name).samefile(users_own / name)
    assert not directory.exists()
    assert (users_own / "config.json").read_text() == text
    assert sorted(os.listdir(users_own)) == ["buildx", "cli-plugins", "config.json", "contexts"]


def test_docker_sees_the_users_contexts_and_plugins(users_own, monkeypatch) -> None:
    monkeypatch.delenv("DOCKER_HOST")
    create = ["docker", "context", "create", "far", "--docker", "host=tcp://far.example:2375"]
    assert process.capture(create).status == 0
    assert process.capture(["docker", "context", "use", "far"]).status == 0
    (users_own / "cli-plugins").mkdir()
    plugin = users_own / "cli-plugins" / "docker-hello"
    metadata = '{"SchemaVersion": "0.1.0", "Vendor": "x", "Version": "1", "ShortDescription": "x"}'
    plugin.write_text(f"#!/bin/sh\n[ $1 = docker-cli-plugin-metadata ] && echo '{metadata}' || echo hi\n")
    plugin.chmod(0o755)
    with credentials.private(os.environ, ["r.example"]) as env:
        docker = ["docker", "--config", env["DOCKER_CONFIG"]]
        assert process.capture([*docker, "context", "inspect", "-f", "{{.Name}}"]).stdout == "far\n"
        assert process.capture([*docker, "hello"]).stdout == "hi\n"


@pytest.mark.parametrize("registries", [[], ["r.example"]])
def test_the_user_has_no_configuration(users_own, registries) -> None:
    users_own.rmdir()
    with credentials.private({**os.environ, "DOCKER_CONFIG": ""}, registries) as env:
        assert os.listdir(env["DOCKER_CONFIG"]) == (["config.json"] if registries else [])
    assert not users_own.exists()


def test_a_null_where_docker_takes_one(users_own) -> None:
    (users_own / "config.json").write_text('{"credHelpers": null}')
    with credentials.private(os.environ, ["r.example"]) as env:
        assert json.loads(Path(env["DOCKER_CONFIG"], "config.json").read_text()) == {"credHelpers": {"r.example": ""}}


@pytest.mark.parametrize("text", ["{", "[]", "\x00", "\udcff"])
def test_a_file_that_is_none_of_dockers(users_own, text) -> None:
    path = users_own / "config.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    told = rf"^{path} (cannot be read|holds no JSON object)\b.*; mend it, or remove it$"
    with pytest.raises(DockerutilsError, match=told), credentials.private(os.environ, []):
        pytest.fail("it was read")


@pytest.mark.parametrize("event", [Terminated(15), KeyboardInterrupt(), DockerutilsError("x")])
def test_it_is_removed_whatever_happens(users_own, event) -> None:
    def interrupted() -> None:
        with credentials.private(os.environ, ["r.example"]) as env:
            Path(env["DOCKER_CONFIG"], "more").write_text("x")
            raise event

    with pytest.raises(type(event)):
        interrupted()


def test_a_second_interrupt_does_not_keep_it(users_own, monkeypatch) -> None:
    import shutil

    remove, calls = shutil.rmtree, []

    def interrupted(path, **options) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), credentials.private(os.environ, []):
        pass
    assert len(calls) == 2
