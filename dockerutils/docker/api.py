"""Requests to a Docker Engine over its own protocol, https://docs.docker.com/reference/api/engine/.

They go where docker's command line cannot: names in them are in no process's arguments.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from dockerutils.core.process.children import Child

# An empty login, which old engines need to see.
_NO_LOGIN = {"X-Registry-Auth": "e30="}
_JSON = {"Content-Type": "application/json"}
_CONTAINERD = "io.containerd.snapshotter"
_CHUNK = 1 << 16
# Requests that are sent before the first of their answers is read. They fit into any pipe.
_AHEAD = 64


class ApiError(Exception):
    """The engine refused a request; the message is its own."""


class Disconnected(ApiError):
    """The connection to the engine ended, or it does not answer."""


class Api:
    """A connection to an engine, for one thread at a time. All methods raise ApiError."""

    def __init__(self, stream: _Stream) -> None:
        self._connection = http.client.HTTPConnection("docker")
        self._connection.sock = self._stream = stream
        self._connection.auto_open = 0

    def close(self) -> None:
        """Close the connection: the engine cancels what it is still doing for it."""
        self._stream.close()

    def abort(self) -> None:
        """End the connection while another thread waits for an answer, which raises Disconnected there."""
        self._stream.abort()

    def info(self) -> dict[str, Any]:
        """Return what `docker info` shows of the engine."""
        return _object(self._call("GET", "/info"))

    def image(self, name: str, platform: str = "") -> dict[str, Any]:
        """Return what `docker image inspect` prints of an image: of one for several platforms, the engine's own.

        Or that for `platform`, such as linux/arm64, which engines before API 1.49 ignore.
        """
        return _object(self._call("GET", f"/images/{quote(name)}/json", **_specified(platform)))

    def manifests(self, name: str) -> list[dict[str, Any]]:
        """Return the manifests of the images with this name; none before API 1.47 and in classic image stores."""
        images = _objects(self._call("GET", "/images/json", manifests="1", filters=json.dumps({"reference": [name]})))
        return [each for image in images for each in image.get("Manifests") or ()]

    def layers(self) -> Iterator[tuple[str, ...]]:
        """Yield the diff ids of each image that the engine has."""
        images = [each["Id"] for each in _objects(self._call("GET", "/images/json", all="1"))]
        for start in range(0, len(images), _AHEAD):
            for record in self._get_all([f"/images/{each}/json" for each in images[start : start + _AHEAD]]):
                yield tuple(record.get("RootFS", {}).get("Layers") or ())

    def create(self, name: str, image: str, platform: str) -> None:
        """Create a container, which has no network and runs nothing."""
        body = {"Image": image, "Entrypoint": ["/dockerutils"], "HostConfig": {"NetworkMode": "none"}}
        self._call("POST", "/containers/create", json.dumps(body), name=name, platform=platform)

    def remove(self, name: str) -> None:
        """Remove a container."""
        self._call("DELETE", f"/containers/{name}", force="1", v="1")

    def tag(self, name: str, repository: str, tag: str) -> None:
        """Give an image another name."""
        self._call("POST", f"/images/{quote(name)}/tag", repo=repository, tag=tag)

    def untag(self, name: str) -> None:
        """Take a name from an image; layers stay."""
        self._call("DELETE", f"/images/{quote(name)}", noprune="1")

    def push(self, repository: str, tag: str, platform: str = "") -> None:
        """Push an image to the registry in its name; it needs no login.

        Of an image for several platforms, all are pushed, or the engine's own if some are missing, or that for
        `platform`.
        """
        self._work(f"/images/{quote(repository)}/push", tag=tag, **_specified(platform))

    def pull(self, repository: str, tag: str, platform: str) -> None:
        """Pull an image for a platform, such as linux/amd64, from the registry in its name; it needs no login."""
        self._work("/images/create", fromImage=repository, tag=tag, platform=platform)

    def service(self, name: str) -> dict[str, Any]:
        """Return a service of the swarm, or {} if there is none with this name."""
        return next((each for each in self.services(name=name) if each["Spec"]["Name"] == name), {})

    def services(self, **filters: str) -> list[dict[str, Any]]:
        """Return the services of the swarm, with the numbers of their tasks."""
        return _objects(self._call("GET", "/services", status="1", filters=_filters(filters)))

    def tasks(self, **filters: str) -> list[dict[str, Any]]:
        """Return the tasks of the swarm: those that run, and the last ones that have ended."""
        return _objects(self._call("GET", "/tasks", filters=_filters(filters)))

    def nodes(self) -> list[dict[str, Any]]:
        """Return the nodes of the swarm."""
        return _objects(self._call("GET", "/nodes"))

    def join_token(self) -> str:
        """Return the secret with which workers join the swarm of this manager."""
        return str(_object(self._call("GET", "/swarm"))["JoinTokens"]["Worker"])

    def join_swarm(self, manager: str, token: str) -> None:
        """Join the swarm of a manager at `address:port`; return when the engine is its node."""
        body = {"ListenAddr": "0.0.0.0:2377", "RemoteAddrs": [manager], "JoinToken": token}
        self._call("POST", "/swarm/join", json.dumps(body))

    def networks(self) -> list[dict[str, Any]]:
        """Return the networks of the engine and of its swarm."""
        return _objects(self._call("GET", "/networks"))

    def _get_all(self, paths: list[str]) -> Iterator[dict[str, Any]]:
        """Yield the answers to several requests, which are sent at once; nothing for one that fails."""
        try:
            self._stream.sendall("".join(f"GET {each} HTTP/1.1\r\nHost: docker\r\n\r\n" for each in paths).encode())
            for _ in paths:
                response = http.client.HTTPResponse(self._stream, method="GET")  # type: ignore[arg-type]
                response.begin()
                data = response.read()
                if response.status == http.client.OK:
                    yield _object(data)
        except (OSError, http.client.HTTPException) as error:
            raise Disconnected(str(error)) from error

    def _call(self, method: str, path: str, body: str | None = None, **query: str) -> bytes:
        try:
            return self._open(method, path, _JSON if body else {}, query, body).read()
        except (OSError, http.client.HTTPException) as error:
            raise Disconnected(str(error)) from error

    def _work(self, path: str, **query: str) -> None:
        """Start a long operation of the engine and wait for its end; the engine reports progress in lines of JSON."""
        errors = []
        try:
            response = self._open("POST", path, _NO_LOGIN, query)
            rest = b""
            # Not by lines: http.client would not see that the connection broke before the end of the answer.
            while data := response.read1(_CHUNK):
                *lines, rest = (rest + data).split(b"\n")
                errors += _errors(lines)
            errors += _errors([rest])
        except (OSError, http.client.HTTPException) as error:
            raise Disconnected(str(error)) from error
        if errors:
            raise ApiError(errors[-1])

    def _open(
        self, method: str, path: str, headers: Mapping[str, str], query: Mapping[str, str], body: str | None = None
    ) -> http.client.HTTPResponse:
        self._connection.request(method, f"{path}?{urlencode(query)}" if query else path, body, dict(headers))
        response = self._connection.getresponse()
        if response.status >= http.client.BAD_REQUEST:
            text = response.read().decode(errors="replace")
            try:
                raise ApiError(json.loads(text)["message"])
            except (ValueError, LookupError, TypeError, RecursionError):
                raise ApiError(text.strip() or f"status {response.status}") from None
        return response


def _filters(filters: Mapping[str, str]) -> str:
    return json.dumps({name: [value] for name, value in filters.items()})


def _object(text: bytes) -> dict[str, Any]:
    [found] = _checked([_parsed(text)])
    return found


def _objects(text: bytes) -> list[dict[str, Any]]:
    found = _parsed(text)
    return _checked(found if isinstance(found, list) else [found])


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _checked(found: list[Any]) -> list[dict[str, Any]]:
    if not all(isinstance(each, dict) for each in found):
        raise ApiError("the engine's answer is no JSON object")
    return found


def _errors(lines: Iterable[bytes]) -> list[str]:
    """Return the errors in lines of progress."""
    return [str(error) for line in lines if line.strip() and (error := _object(line).get("error"))]


def is_classic(info: Mapping[str, Any]) -> bool:
    """Return whether an engine with this `Api.info` has a classic image store, not that of containerd."""
    return _CONTAINERD not in json.dumps(info.get("DriverStatus"))


def platform_of(manifest: Mapping[str, Any]) -> str:
    """Return the platform of an image's manifest, as `Api.manifests` describes it, such as linux/amd64."""
    platform = manifest["ImageData"]["Platform"]
    return "/".join(filter(None, (platform["os"], platform["architecture"], platform.get("variant"))))


def _specified(platform: str) -> dict[str, str]:
    """Return the query for a platform, in the form of https://github.com/opencontainers/image-spec, descriptor.md."""
    parts = zip(("os", "architecture", "variant"), platform.split("/"), strict=False)
    return {"platform": json.dumps(dict(parts))} if platform else {}


def local(path: str, seconds: float | None = None) -> Api:
    """Return a connection to the engine at a Unix socket; ApiError if none answers there.

    `seconds` limits the time of each read.
    """
    stream = socket.socket(socket.AF_UNIX)
    try:
        stream.settimeout(seconds)
        stream.connect(path)
    except OSError as error:
        stream.close()
        raise Disconnected(str(error)) from error
    return Api(_Socket(stream))


def through(child: Child) -> Api:
    """Return a connection to the engine that `docker system dial-stdio`, a child with pipes, is connected to."""
    return Api(_Pipes(child))


class _Reader(io.BufferedReader):
    """What an engine answers. http.client closes its reader after each answer, and would lose what was read ahead."""

    def close(self) -> None:
        """Do nothing."""


class _Stream(Protocol):
    """What http.client uses of a socket, and `abort`."""

    def sendall(self, data: bytes) -> None: ...
    def makefile(self, _: str) -> _Reader: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class _Socket:
    """A socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = _Reader(connection.makefile("rb", buffering=0), _CHUNK)

    def sendall(self, data: bytes) -> None:
        self._connection.sendall(data)

    def makefile(self, _: str) -> _Reader:
        return self._reader

    def close(self) -> None:
        self._reader.raw.close()
        self._connection.close()

    def abort(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


class _Pipes:
    """The pipes of a child."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._reader = _Reader(_Output(child), _CHUNK)

    def sendall(self, data: bytes) -> None:
        self._child.write(data)

    def makefile(self, _: str) -> _Reader:
        return self._reader

    def close(self) -> None:
        self._child.terminate()

    abort = close


class _Output(io.RawIOBase):
    """The stdout of a child."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._child.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
