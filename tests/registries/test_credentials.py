"""The user's logins: in the environment, in docker's file, and from credential helpers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.registries import credentials
from dockerutils.registries.credentials import Login
from tests.support import program


@pytest.fixture
def docker_config(isolated) -> Path:
    """Return the user's docker configuration directory, which is empty."""
    directory = Path(os.environ["DOCKER_CONFIG"])
    directory.mkdir()
    return directory


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
def test_stored_logins(docker_config, settings, login) -> None:
    (docker_config / "config.json").write_text(json.dumps(settings))
    assert credentials.stored("r.example", os.environ) == login


def test_the_stored_login_of_docker_hub(docker_config) -> None:
    assert credentials.stored("docker.io", os.environ) is None
    (docker_config / "config.json").write_text(json.dumps({"auths": {HUBS_KEY: {"auth": AUTH}}}))
    assert credentials.stored("docker.io", os.environ) == CAROL


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"auths": []}, None),
        ({"auths": [1]}, "{path}: auths is not a JSON object; correct or remove it"),
        ({"credHelpers": "x"}, "{path}: credHelpers is not a JSON object; correct or remove it"),
        *(
            ({"auths": {"r.example": found}}, "{path}: the login for r.example is not valid; run docker login again")
            for found in ({"auth": "%"}, {"auth": "/w=="}, {"auth": 1}, "x")
        ),
    ],
)  # fmt: skip
def test_invalid_stored_logins(docker_config, settings, message) -> None:
    path = docker_config / "config.json"
    path.write_text(json.dumps(settings))
    if message is None:
        assert credentials.stored("r.example", os.environ) is None
        return
    with pytest.raises(DockerutilsError) as caught:
        credentials.stored("r.example", os.environ)
    assert str(caught.value) == message.format(path=path)


@pytest.fixture
def helper(docker_config, tmp_path, monkeypatch):
    """Return a function that makes docker-credential-mine from a shell script; it logs its arguments and stdin."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (docker_config / "config.json").write_text(
        json.dumps({"credsStore": "gone", "credHelpers": {"r.example": "mine", HUBS_KEY: "mine"}})
    )

    def make(body: str) -> Path:
        program(tmp_path / "docker-credential-mine", f'echo "$@: $(cat)" >{tmp_path}/log\n{body}')
        return tmp_path / "log"

    return make  # fmt: skip


@pytest.mark.parametrize(("host", "key"), [("r.example", "r.example"), ("docker.io", HUBS_KEY)])
def test_the_login_of_a_credential_helper(helper, host, key) -> None:
    log = helper("""echo '{"ServerURL": "x", "Username": "carol", "Secret": "a:b"}'""")
    assert credentials.stored(host, os.environ) == CAROL
    assert log.read_text() == f"get: {key}\n"


@pytest.mark.parametrize(
    "body",
    ["echo credentials not found in native keychain; exit 1", """echo '{"Username": "", "Secret": ""}'"""],
)
def test_a_credential_helper_without_a_login(helper, body) -> None:
    helper(body)
    assert credentials.stored("r.example", os.environ) is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo locked; exit 1", "docker-credential-mine failed for r.example: locked"),
        ("echo x >&2; echo no session >&2; exit 2", "docker-credential-mine failed for r.example: no session"),
        ("exit 3", "docker-credential-mine failed for r.example: exit status 3"),
        ("echo {", "docker-credential-mine returned no valid login for r.example"),
        ("echo []", "docker-credential-mine returned no valid login for r.example"),
        ("head -c 200000 /dev/zero | tr '\\0' '['", "docker-credential-mine returned no valid login for r.example"),
        ("echo {}", "docker-credential-mine returned no valid login for r.example"),
    ],
)  # fmt: skip
def test_a_credential_helper_that_fails(helper, docker_config, body, message) -> None:
    helper(body)
    with pytest.raises(DockerutilsError) as caught:
        credentials.stored("r.example", os.environ)
    assert str(caught.value) == f"{message}; fix it, or remove it from {docker_config}/config.json"


def test_a_missing_credential_helper(helper, docker_config) -> None:
    message = f"docker-credential-gone was not found on PATH; fix it, or remove it from {docker_config}/config.json"
    with pytest.raises(DockerutilsError) as caught:
        credentials.stored("other.example", os.environ)
    assert str(caught.value) == message


BOTH = {"DOCKER_USERNAME": "carol", "DOCKER_PASSWORD": "a:b"}


@pytest.mark.parametrize(
    ("registry", "host", "login"),
    [
        ("", "docker.io", CAROL),
        ("", "ghcr.io", None),
        ("", "localhost:5000", None),
        ("", "docker.io.example", None),
        ("docker.io", "docker.io", CAROL),
        ("index.docker.io", "docker.io", CAROL),
        ("https://index.docker.io/v1/", "docker.io", CAROL),
        ("registry-1.docker.io", "docker.io", CAROL),
        ("ghcr.io", "ghcr.io", CAROL),
        ("ghcr.io", "docker.io", None),
        ("https://GHCR.io/", "ghcr.io", CAROL),
        ("r.example:5000", "r.example:5000", CAROL),
        ("r.example:5000", "r.example", None),
        ("r.example", "r.example.evil", None),
    ],
)
def test_the_login_in_the_environment_is_for_one_registry(registry, host, login) -> None:
    assert credentials.from_environment(host, {**BOTH, "DOCKER_REGISTRY": registry}) == login


def test_no_login_in_the_environment() -> None:
    assert credentials.from_environment("docker.io", {**dict.fromkeys(BOTH, ""), "PATH": "x"}) is None


@pytest.mark.parametrize("host", ["docker.io", "other.example"])
@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"DOCKER_USERNAME": "x"}, "DOCKER_USERNAME is set but DOCKER_PASSWORD is not; set both, or neither to use docker's own logins"),
        ({"DOCKER_PASSWORD": "x"}, "DOCKER_PASSWORD is set but DOCKER_USERNAME is not; set both, or neither to use docker's own logins"),
        ({**BOTH, "DOCKER_REGISTRY": "org"}, "DOCKER_REGISTRY is 'org', which is not a registry; set it to docker.io or host[:port]"),
        ({**BOTH, "DOCKER_REGISTRY": "https://"}, "DOCKER_REGISTRY is 'https://', which is not a registry; set it to docker.io or host[:port]"),
    ],
)  # fmt: skip
def test_an_invalid_login_in_the_environment(environ, host, message) -> None:
    with pytest.raises(UserError) as caught:
        credentials.from_environment(host, environ)
    assert str(caught.value) == message


def test_the_environment_wins_over_the_stored_login_of_its_registry_only(docker_config) -> None:
    stored = {"auth": "ZTpm"}
    (docker_config / "config.json").write_text(json.dumps({"auths": {"ghcr.io": stored, HUBS_KEY: stored}}))
    environ = {**os.environ, **BOTH}
    assert credentials.find("docker.io", environ) == CAROL
    assert credentials.find("ghcr.io", environ) == Login("e", "f")
    assert credentials.find("quay.io", environ) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "{path} is not valid: "),
        ("\x00", "{path} is not valid: "),
        ("\udcff", "{path} is not valid: "),
        ("[]", "{path} is not a JSON object; correct or remove it"),
        ("[" * 200_000, "{path} is nested too deeply; correct or remove it"),
    ],
    ids=["cut off", "NUL", "not UTF-8", "a list", "nested"],
)
def test_an_invalid_docker_configuration_file(docker_config, text, message) -> None:
    path = docker_config / "config.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DockerutilsError) as caught:
        credentials.stored("r.example", os.environ)
    assert str(caught.value).startswith(message.format(path=path))
    assert str(caught.value).endswith("; correct or remove it")


def test_the_authorization_header_is_utf_8() -> None:
    assert Login("zoë", "pässword").basic == "Basic em/Dqzpww6Rzc3dvcmQ="
