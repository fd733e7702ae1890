"""The user's logins for registries: from the environment, docker's configuration file, or a credential helper.

Docker's file is described at
https://docs.docker.com/reference/cli/docker/#docker-cli-configuration-file-configjson-properties.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from dockerutils.core import process
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.docker.references import HUB, is_registry

# For the help of commands that log in.
ENVIRONMENT = """\
  DOCKER_USERNAME, DOCKER_PASSWORD  login (default: docker's own logins)
  DOCKER_REGISTRY                   registry of that login (default: docker.io)
  AWS_PROFILE, AWS_REGION ...       for ECR, as for the aws command"""

# The user name of a login whose secret is not a password but a refresh token.
IDENTITY_TOKEN = "<token>"  # noqa: S105

# The key of Docker Hub's credentials in docker's file.
HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = (HUB, f"index.{HUB}", f"registry-1.{HUB}", "registry.hub.docker.com")
FILE = "config.json"
_NOT_FOUND = "credentials not found"


class Login(NamedTuple):
    """A user name, or IDENTITY_TOKEN, and its secret."""

    user: str
    secret: str

    @property
    def basic(self) -> str:
        """The value of the Authorization header, by RFC 7617."""
        import base64  # late: -h needs no login

        return f"Basic {base64.b64encode(f'{self.user}:{self.secret}'.encode()).decode()}"


def find(host: str, environ: Mapping[str, str]) -> Login | None:
    """Return the login for a registry (see references.registry): from the environment, else docker's own."""
    return from_environment(host, environ) or stored(host, environ)


def from_environment(host: str, environ: Mapping[str, str]) -> Login | None:
    """Return DOCKER_USERNAME and DOCKER_PASSWORD if they are for this registry.

    They are for Docker Hub, or for the one registry that DOCKER_REGISTRY names. Raises UserError if only one of them is
    set, or DOCKER_REGISTRY is not a registry.
    """
    names = ("DOCKER_USERNAME", "DOCKER_PASSWORD")
    missing = [name for name in names if not environ.get(name)]
    if len(missing) == 1:
        (present,) = {*names} - {*missing}
        raise UserError(f"{present} is set but {missing[0]} is not; set both, or neither to use docker's own logins")
    if missing or _canonical(host) != _environment_registry(environ):
        return None
    return Login(*(environ[name] for name in names))


def how_to_log_in(host: str) -> str:
    """Return the advice for a registry that refuses the login, or wants one."""
    if host == HUB:
        return "run docker login, or set DOCKER_USERNAME and DOCKER_PASSWORD"
    return f"run docker login {host}, or set DOCKER_REGISTRY={host}, DOCKER_USERNAME and DOCKER_PASSWORD"


def _environment_registry(environ: Mapping[str, str]) -> str:
    text = environ.get("DOCKER_REGISTRY") or HUB
    host = _host(text)
    if not is_registry(host):
        raise UserError(f"DOCKER_REGISTRY is {text!r}, which is not a registry; set it to {HUB} or host[:port]")
    return _canonical(host)


def _canonical(host: str) -> str:
    return HUB if host.lower() in _HUB_HOSTS else host.lower()


def stored(host: str, environ: Mapping[str, str]) -> Login | None:
    """Return docker's login for a registry, from its file or a credential helper; None if there is none."""
    path = configuration_file(environ)
    settings = read(path) or {}
    key = HUB_KEY if host == HUB else host
    helper = _section(settings, "credHelpers", path).get(key, settings.get("credsStore"))
    return _from_helper(helper, key, path) if helper else _from_file(_section(settings, "auths", path), key, path)


def configuration_file(environ: Mapping[str, str]) -> str:
    """Return the path of the user's docker configuration file, whether it exists or not."""
    return os.path.join(os.path.abspath(environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")), FILE)


def read(path: str) -> dict[str, Any] | None:
    """Return the settings in a docker configuration file, None if it does not exist."""
    import json  # late, for the start of find-image

    try:
        with open(path, encoding="utf-8") as stream:
            settings = json.load(stream)
    except FileNotFoundError:
        return None
    except RecursionError:
        raise DockerutilsError(f"{path} is nested too deeply; correct or remove it") from None
    except ValueError as error:
        raise DockerutilsError(f"{path} is not valid: {error}; correct or remove it") from None
    if not isinstance(settings, dict):
        raise DockerutilsError(f"{path} is not a JSON object; correct or remove it")
    return settings


def _section(settings: Mapping[str, Any], name: str, path: str) -> dict[str, Any]:
    section = settings.get(name) or {}
    if not isinstance(section, dict):
        raise DockerutilsError(f"{path}: {name} is not a JSON object; correct or remove it")
    return section


def _from_file(auths: Mapping[str, Any], key: str, path: str) -> Login | None:
    """Return the login in docker's file. Its key is the host or, in files of older versions, a URL of the host."""
    import base64  # late, as above

    found = auths.get(key) or next((auths[each] for each in auths if _host(each) == _host(key)), None) or {}
    try:
        if token := found.get("identitytoken"):
            return Login(IDENTITY_TOKEN, str(token))
        if auth := found.get("auth"):
            user, _, secret = base64.b64decode(auth, validate=True).decode().rstrip("\0").partition(":")
        else:
            user, secret = str(found.get("username", "")), str(found.get("password", ""))
    except (AttributeError, TypeError, ValueError):
        raise DockerutilsError(f"{path}: the login for {key} is not valid; run docker login again") from None
    return Login(user, secret) if user else None


def _host(key: str) -> str:
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _from_helper(name: str, key: str, path: str) -> Login | None:
    """Ask a credential helper, by https://github.com/docker/docker-credential-helpers#development."""
    import json

    helper = f"docker-credential-{name}"
    remedy = f"fix it, or remove it from {path}"
    try:
        answer = process.capture([helper, "get"], stdin=key)
    except DockerutilsError as error:
        raise DockerutilsError(f"{str(error).partition(';')[0]}; {remedy}") from None
    if answer.status:
        if _NOT_FOUND in answer.stdout:
            return None
        reason = (answer.stdout.strip() or answer.stderr.strip() or f"exit status {answer.status}").splitlines()[-1]
        raise DockerutilsError(f"{helper} failed for {key}: {reason}; {remedy}")
    try:
        found = json.loads(answer.stdout)
        login = Login(str(found["Username"]), str(found["Secret"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DockerutilsError(f"{helper} returned no valid login for {key}; {remedy}") from None
    return login if login.user else None
