"""Logins at registries: those that the user has, and new ones without a trace.

A new one is in a docker configuration of the run's own, which is gone after it. Docker's file is described at
https://docs.docker.com/reference/cli/docker/#docker-cli-configuration-file-configjson-properties.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from dockerutils.core import process
from dockerutils.core.errors import DockerutilsError, Terminated, UserError

HUB = "docker.io"

# The user's name where the secret is no password but what a registry gives tokens for.
IDENTITY_TOKEN = "<token>"  # noqa: S105

# The name that docker keeps Docker Hub's credentials under.
_HUB_KEY = "https://index.docker.io/v1/"
_FILE = "config.json"
_NOT_FOUND = "credentials not found"


class Login(NamedTuple):
    """A user of a registry, or IDENTITY_TOKEN, and the password."""

    user: str
    secret: str

    @property
    def basic(self) -> str:
        """The value of the header Authorization, by RFC 7617."""
        import base64

        return f"Basic {base64.b64encode(f'{self.user}:{self.secret}'.encode()).decode()}"


def registry(reference: str) -> str:
    """Return the registry of an image's reference, `host[:port]`, by docker's rule: HUB when it names none.

    The rule: https://github.com/distribution/reference, `splitDockerDomain`.
    """
    return place(reference)[0]


def place(reference: str) -> tuple[str, str]:
    """Return the registry, and the rest of the reference as that registry has it, by the same rule."""
    host, slash, rest = reference.partition("/")
    named = slash and ("." in host or ":" in host or host == "localhost" or host != host.lower())
    if named and host not in (HUB, f"index.{HUB}"):
        return host, rest
    path = rest if named else reference
    return HUB, path if "/" in path else f"library/{path}"


def given(environ: Mapping[str, str]) -> Login | None:
    """Return the login that the environment has for registries; UserError when it has half of one."""
    names = ("DOCKER_USERNAME", "DOCKER_PASSWORD")
    missing = [name for name in names if not environ.get(name)]
    if len(missing) == 1:
        (present,) = {*names} - {*missing}
        raise UserError(f"{present} is set, but {missing[0]} is not; set both, or neither to use docker's own logins")
    return None if missing else Login(*(environ[name] for name in names))


def stored(host: str, environ: Mapping[str, str]) -> Login | None:
    """Return the login that docker has for a registry (as `registry` returns it): in its file, or with a helper."""
    path = os.path.join(_users_own(environ), _FILE)
    settings = _read(path) or {}
    key = _HUB_KEY if host == HUB else host
    helper = _section(settings, "credHelpers", path).get(key, settings.get("credsStore"))
    return _from_helper(helper, key, path) if helper else _from_file(_section(settings, "auths", path), key, path)


def _section(settings: Mapping[str, Any], name: str, path: str) -> dict[str, Any]:
    section = settings.get(name) or {}
    if not isinstance(section, dict):
        raise DockerutilsError(f"{path}: {name} is no JSON object; mend it, or remove it")
    return section


def _from_file(auths: Mapping[str, Any], key: str, path: str) -> Login | None:
    """Return what stands in docker's file, under the host or, as older versions wrote it, a URL of it."""
    import base64

    found = auths.get(key) or next((auths[each] for each in auths if _host(each) == _host(key)), None) or {}
    try:
        if token := found.get("identitytoken"):
            return Login(IDENTITY_TOKEN, str(token))
        if auth := found.get("auth"):
            user, _, secret = base64.b64decode(auth, validate=True).decode().rstrip("\0").partition(":")
        else:
            user, secret = str(found.get("username", "")), str(found.get("password", ""))
    except (AttributeError, TypeError, ValueError):
        raise DockerutilsError(f"{path} has a login for {key} that cannot be read; run docker login again") from None
    return Login(user, secret) if user else None


def _host(key: str) -> str:
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _from_helper(name: str, key: str, path: str) -> Login | None:
    """Ask a credential helper, by https://github.com/docker/docker-credential-helpers#development."""
    import json

    helper = f"docker-credential-{name}"
    remedy = f"mend it, or take it out of {path}"
    try:
        answer = process.capture([helper, "get"], stdin=key)
    except DockerutilsError as error:
        raise DockerutilsError(f"{str(error).partition(';')[0]}; {remedy}") from None
    if answer.status:
        if _NOT_FOUND in answer.stdout:
            return None
        said = (answer.stdout.strip() or answer.stderr.strip() or "nothing").splitlines()[-1]
        raise DockerutilsError(f"{helper} gives no login for {key}, and says: {said}; {remedy}")
    try:
        found = json.loads(answer.stdout)
        login = Login(str(found["Username"]), str(found["Secret"]))
    except (ValueError, KeyError, TypeError):
        raise DockerutilsError(f"{helper} answers what is no login for {key}; {remedy}") from None
    return login if login.user else None


@contextmanager
def private(environ: Mapping[str, str], registries: Iterable[str]) -> Iterator[dict[str, str]]:
    """Give the variables that make docker use a configuration directory of its own for the time of the block.

    All settings of the user's hold in it, but credentials for `registries` (as `registry` returns them) are written
    into it and nowhere else, whatever store the user has configured.
    """
    import tempfile

    users_own = _users_own(environ)
    directory = tempfile.mkdtemp(prefix="dockerutils-")  # 0700
    try:
        _furnish(directory, users_own, list(registries))
        yield {"DOCKER_CONFIG": directory}
    finally:
        _remove(directory)


def _users_own(environ: Mapping[str, str]) -> str:
    return os.path.abspath(environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"))


def _furnish(directory: str, users_own: str, registries: list[str]) -> None:
    """Copy the user's file, and link all else: plugins, contexts, builders, keys of TLS and of content trust."""
    if os.path.isdir(users_own):
        for name in os.listdir(users_own):
            if name != _FILE:
                os.symlink(os.path.join(users_own, name), os.path.join(directory, name))
    settings = _read(os.path.join(users_own, _FILE))
    if settings is None and not registries:
        return
    settings = settings or {}
    if registries:
        # The helper without a name is the file itself.
        own = {_HUB_KEY if each == HUB else each: "" for each in registries}
        settings["credHelpers"] = {**(settings.get("credHelpers") or {}), **own}
    _write(os.path.join(directory, _FILE), settings)


def _read(path: str) -> dict[str, Any] | None:
    """Return the settings in docker's file; None when there is no file."""
    import json

    try:
        with open(path, encoding="utf-8") as stream:
            settings = json.load(stream)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DockerutilsError(f"{path} cannot be read: {error}; mend it, or remove it") from None
    if not isinstance(settings, dict):
        raise DockerutilsError(f"{path} holds no JSON object; mend it, or remove it")
    return settings


def _write(path: str, settings: Mapping[str, Any]) -> None:
    import json

    # It holds the user's credentials: for nobody else from the first moment on.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        json.dump(settings, stream)


def _remove(directory: str) -> None:
    """Remove the directory; a second Ctrl-C, of somebody impatient, does not keep it."""
    import shutil

    try:
        shutil.rmtree(directory)
    except (KeyboardInterrupt, Terminated):
        shutil.rmtree(directory, ignore_errors=True)
        raise
