"""A docker configuration of the run's own, judged by docker itself where it matters."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from pathlib import Path

import pytest

from dockerutils.core import process
from dockerutils.core.errors import DockerutilsError, Terminated, UserError
from dockerutils.registries import credentials
from dockerutils.registries.credentials import Login

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
    ("reference", "host", "path"),
    [
        ("org/x:1", "docker.io", "org/x:1"),
        ("x:1", "docker.io", "library/x:1"),
        ("docker.io/org/x:1", "docker.io", "org/x:1"),
        ("docker.io/x:1", "docker.io", "library/x:1"),
        ("index.docker.io/org/x:1", "docker.io", "org/x:1"),
        ("localhost/x:1", "localhost", "x:1"),
        ("localhost:5000/x:1", "localhost:5000", "x:1"),
        ("registry:5000/x:1", "registry:5000", "x:1"),
        ("quay.io/org/x:1", "quay.io", "org/x:1"),
        ("x.y:1", "docker.io", "library/x.y:1"),
    ],
)
def test_the_place_of_a_reference(reference, host, path) -> None:
    assert credentials.place(reference) == (host, path)
    assert credentials.registry(reference) == host


CAROL = Login("carol", "a:b")
AUTH = "Y2Fyb2w6YTpi"
HUBS_KEY = "https://index.docker.io/v1/"


@pytest.mark.parametrize(
    ("settings", "login"),
    [
        ({}, None),
        ({"auths": None}, None),
        ({"auths": {"other.example": {"auth": AUTH}}}, None),
        ({"auths": {"r.example": {}}}, None),
        ({"auths": {"r.example": {"auth": AUTH}}}, CAROL),
        ({"auths": {"r.example": {"username": "carol", "password": "a:b"}}}, CAROL),
        ({"auths": {"https://r.example/v1/": {"auth": AUTH}}}, CAROL),
        ({"auths": {"http://r.example": {"auth": AUTH}, "r.example": {"auth": "ZTpm"}}}, Login("e", "f")),
        ({"auths": {"r.example": {"auth": AUTH}}, "credsStore": "", "credHelpers": None}, CAROL),
        ({"auths": {"r.example": {"auth": AUTH}}, "credsStore": "x", "credHelpers": {"r.example": ""}}, CAROL),
        ({"auths": {"r.example": {"auth": "eDo=", "identitytoken": "t"}}}, Login("<token>", "t")),
    ],
)
def test_logins_in_dockers_file(users_own, settings, login) -> None:
    (users_own / "config.json").write_text(json.dumps(settings))
    assert credentials.stored("r.example", os.environ) == login


def test_docker_hubs_login_in_dockers_file(users_own) -> None:
    assert credentials.stored("docker.io", os.environ) is None
    (users_own / "config.json").write_text(json.dumps({"auths": {HUBS_KEY: {"auth": AUTH}}}))
    assert credentials.stored("docker.io", os.environ) == CAROL


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"auths": []}, None),
        ({"auths": [1]}, "{path}: auths is no JSON object; mend it, or remove it"),
        ({"credHelpers": "x"}, "{path}: credHelpers is no JSON object; mend it, or remove it"),
        *(
            ({"auths": {"r.example": found}}, "{path} has a login for r.example that cannot be read; run docker login again")
            for found in ({"auth": "%"}, {"auth": "/w=="}, {"auth": 1}, "x")
        ),
    ],
)  # fmt: skip
def test_what_is_no_login_in_dockers_file(users_own, settings, message) -> None:
    path = users_own / "config.json"
    path.write_text(json.dumps(settings))
    if message is None:
        assert credentials.stored("r.example", os.environ) is None
        return
    with pytest.raises(DockerutilsError) as caught:
        credentials.stored("r.example", os.environ)
    assert str(caught.value) == message.format(path=path)


@pytest.fixture
def helper(users_own, tmp_path, monkeypatch):
    """Return a function that makes docker-credential-mine, which notes its stdin and is docker's store, of a body."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (users_own / "config.json").write_text(
        json.dumps({"credsStore": "gone", "credHelpers": {"r.example": "mine", HUBS_KEY: "mine"}})
    )

    def make(body: str) -> Path:
        program = tmp_path / "docker-credential-mine"
        program.write_text(f'#!/bin/sh\necho "$@: $(cat)" >{tmp_path}/log\n{body}\n')
        program.chmod(0o755)
        return tmp_path / "log"

    return make  # fmt: skip


@pytest.mark.parametrize(("host", "key"), [("r.example", "r.example"), ("docker.io", HUBS_KEY)])
def test_a_login_of_a_credential_helper(helper, host, key) -> None:
    log = helper("""echo '{"ServerURL": "x", "Username": "carol", "Secret": "a:b"}'""")
    assert credentials.stored(host, os.environ) == CAROL
    assert log.read_text() == f"get: {key}\n"


@pytest.mark.parametrize(
    "body",
    ["echo credentials not found in native keychain; exit 1", """echo '{"Username": "", "Secret": ""}'"""],
)
def test_a_credential_helper_that_has_none(helper, body) -> None:
    helper(body)
    assert credentials.stored("r.example", os.environ) is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo locked; exit 1", "docker-credential-mine gives no login for r.example, and says: locked"),
        ("echo x >&2; echo no session >&2; exit 2", "docker-credential-mine gives no login for r.example, and says: no session"),
        ("exit 3", "docker-credential-mine gives no login for r.example, and says: nothing"),
        ("echo {", "docker-credential-mine answers what is no login for r.example"),
        ("echo []", "docker-credential-mine answers what is no login for r.example"),
        ("echo {}", "docker-credential-mine answers what is no login for r.example"),
    ],
)  # fmt: skip
def test_a_credential_helper_that_fails(helper, users_own, body, message) -> None:
    helper(body)
    with pytest.raises(DockerutilsError) as caught:
        credentials.stored("r.example", os.environ)
    assert str(caught.value) == f"{message}; mend it, or take it out of {users_own}/config.json"


def test_a_credential_helper_that_is_not_there(helper, users_own) -> None:
    told = f"docker-credential-gone was not found on PATH; mend it, or take it out of {users_own}/config.json"
    with pytest.raises(DockerutilsError) as caught:
        credentials.stored("other.example", os.environ)
    assert str(caught.value) == told


def test_a_login_in_the_environment() -> None:
    both = {"DOCKER_USERNAME": "carol", "DOCKER_PASSWORD": "a:b"}
    assert credentials.given(both) == CAROL
    assert credentials.given({**dict.fromkeys(both, ""), "PATH": "x"}) is None
    for present, missing in (list(both), list(both)[::-1]):
        with pytest.raises(UserError) as caught:
            credentials.given({present: "x"})
        assert str(caught.value) == (
            f"{present} is set, but {missing} is not; set both, or neither to use docker's own logins"
        )


def test_what_is_shown_to_a_registry() -> None:
    assert Login("zoë", "pässword").basic == "Basic em/Dqzpww6Rzc3dvcmQ="


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


def test_no_login_is_new(users_own) -> None:
    (users_own / "config.json").write_text(json.dumps(USERS))
    with credentials.private(os.environ, []) as env:
        assert json.loads(Path(env["DOCKER_CONFIG"], "config.json").read_text()) == USERS


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
