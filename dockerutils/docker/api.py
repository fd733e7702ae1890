"""Requests to a Docker Engine over its own protocol, https://docs.docker.com/reference/api/engine/.

They go where docker's command line cannot: names in them are in no process's arguments.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

from dockerutils.core.process.children import Child

# An empty login, which old engines need to see.
_NO_LOGIN = {"X-Registry-Auth": "e30="}
_CHUNK = 1 << 16


class ApiError(Exception):
    """The engine refused a request; the message is its own."""


class Disconnected(ApiError):
    """The connection to the engine ended, or it does not answer."""


class Api:
    """A connection to an engine, for one thread at a time. All methods raise ApiError."""

    def __init__(self, stream: socket.socket | _Stream) -> None:
        self._connection = http.client.HTTPConnection("docker")
        self._connection.sock = stream
        self._connection.auto_open = 0

    def close(self) -> None:
        """Close the connection: the engine cancels what it is still doing for it."""
        self._connection.close()

    def abort(self) -> None:
        """End the connection while another thread waits for an answer, which raises Disconnected there."""
        if isinstance(stream := self._connection.sock, socket.socket):
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def image(self, name: str) -> dict[str, Any]:
        """Return what `docker image inspect` prints of an image."""
        return _object(self._call("GET", f"/images/{quote(name)}/json"))

    def manifests(self, name: str) -> bytes:
        """Return the images with this name and their manifests as JSON; engines before API 1.47 list no manifests."""
        return self._call("GET", "/images/json", manifests="1", filters=json.dumps({"reference": [name]}))

    def tag(self, name: str, repository: str, tag: str) -> None:
        """Give an image another name."""
        self._call("POST", f"/images/{quote(name)}/tag", repo=repository, tag=tag)

    def untag(self, name: str) -> None:
        """Take a name from an image; layers stay."""
        self._call("DELETE", f"/images/{quote(name)}", noprune="1")

    def push(self, repository: str, tag: str) -> None:
        """Push an image to the registry in its name; it needs no login."""
        self._work(f"/images/{quote(repository)}/push", tag=tag)

    def pull(self, repository: str, tag: str, platform: str) -> None:
        """Pull an image for a platform, such as linux/amd64, from the registry in its name; it needs no login."""
        self._work("/images/create", fromImage=repository, tag=tag, platform=platform)

    def _call(self, method: str, path: str, **query: str) -> bytes:
        try:
            return self._open(method, path, {}, query).read()
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
        self, method: str, path: str, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        self._connection.request(method, f"{path}?{urlencode(query)}" if query else path, headers=dict(headers))
        response = self._connection.getresponse()
        if response.status >= http.client.BAD_REQUEST:
            text = response.read().decode(errors="replace")
            try:
                raise ApiError(json.loads(text)["message"])
            except (ValueError, LookupError, TypeError, RecursionError):
                raise ApiError(text.strip() or f"status {response.status}") from None
        return response


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ApiError("the engine's answer is no JSON object")
    return found


def _errors(lines: Iterable[bytes]) -> list[str]:
    """Return the errors in lines of progress."""
    return [str(error) for line in lines if line.strip() and (error := _object(line).get("error"))]


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
    return Api(stream)


def through(child: Child) -> Api:
    """Return a connection to the engine that `docker system dial-stdio`, a child with pipes, is connected to."""
    return Api(_Stream(child))


class _Stream:
    """What http.client uses of a socket, over the pipes of a child."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def sendall(self, data: bytes) -> None:
        self._child.write(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(_Output(self._child), _CHUNK)

    def close(self) -> None:
        self._child.terminate()


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
