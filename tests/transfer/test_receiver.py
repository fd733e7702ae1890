"""A receiver has nothing for those who do not know the names of its repositories."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from dockerutils.transfer.exchange import Exchange
from dockerutils.transfer.receiver import ADDRESS, TAG, Receiver

_BLOB = f"sha256:{'1' * 64}"
_MANIFEST = json.dumps({"layers": [{"digest": _BLOB, "size": 10}]}).encode()


@pytest.fixture
def exchange() -> Exchange:
    exchange = Exchange()
    exchange.add_manifest(TAG, "application/json", _MANIFEST)
    exchange.open()
    return exchange


@pytest.fixture
def receiver(exchange: Exchange) -> Iterator[Receiver]:
    receiver = Receiver(exchange)
    yield receiver
    exchange.close()
    receiver.close()


def _ask(receiver: Receiver, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(ADDRESS, receiver.port, timeout=10)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_stranger_finds_nothing(receiver, exchange) -> None:
    before = dict(exchange.sizes)
    for name in ("x", "library/x", "", "%2e%2e", receiver.pull_name[:-1], receiver.push_name.upper()):
        for method, rest in (
            ("GET", f"manifests/{TAG}"),
            ("HEAD", f"manifests/{TAG}"),
            ("PUT", f"manifests/{TAG}"),
            ("GET", f"blobs/{_BLOB}"),
            ("HEAD", f"blobs/{_BLOB}"),
            ("POST", "blobs/uploads/"),
            ("PUT", f"blobs/uploads/1?digest={_BLOB}"),
            ("GET", "tags/list"),
        ):
            body = b"{}" if method == "PUT" else None
            assert _ask(receiver, method, f"/v2/{name}/{rest}", body) == (404, b""), (name, method, rest)
    assert _ask(receiver, "GET", "/v2/_catalog") == (404, b"")
    assert _ask(receiver, "GET", "/") == (404, b"")
    assert dict(exchange.sizes) == before


def test_names_are_for_one_side_only(receiver) -> None:
    assert _ask(receiver, "GET", f"/v2/{receiver.pull_name}/manifests/{TAG}") == (200, _MANIFEST)
    assert _ask(receiver, "GET", f"/v2/{receiver.push_name}/manifests/{TAG}") == (404, b"")
    assert _ask(receiver, "PUT", f"/v2/{receiver.pull_name}/manifests/{TAG}", b"{}") == (404, b"")
    assert _ask(receiver, "POST", f"/v2/{receiver.pull_name}/blobs/uploads/") == (404, b"")


def test_names_are_random(receiver, exchange) -> None:
    other = Receiver(exchange)
    other.close()
    names = {receiver.push_name, receiver.pull_name, other.push_name, other.pull_name}
    assert len(names) == 4
    assert min(map(len, names)) == 32


def test_tls_is_refused_so_that_engines_go_on_without(receiver) -> None:
    with socket.create_connection((ADDRESS, receiver.port), 10) as client:
        client.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert client.makefile("rb").read() == b"HTTP/1.0 400 Bad Request\r\n\r\n"


@pytest.mark.parametrize(("start", "answer"), [("", (200, b"0123456789")), ("bytes=7-", (206, b"789"))])
def test_blob_passes_from_the_byte_that_is_asked_for(start, answer, receiver, exchange) -> None:
    def push() -> None:
        if _ask(receiver, "HEAD", f"/v2/{receiver.push_name}/blobs/{_BLOB}")[0] == 404:
            status, _ = _ask(receiver, "POST", f"/v2/{receiver.push_name}/blobs/uploads/")
            assert status == 202
            path = f"/v2/{receiver.push_name}/blobs/uploads/1?digest=sha256%3A{'1' * 64}"
            assert _ask(receiver, "PUT", path, b"0123456789") == (201, b"")

    thread = threading.Thread(target=exchange.serve, args=(push,))
    thread.start()
    headers = {"Range": start} if start else {}
    assert _ask(receiver, "GET", f"/v2/{receiver.pull_name}/blobs/{_BLOB}", **headers) == answer
    exchange.close()
    thread.join()


def test_manifest_that_is_none_or_too_long(receiver) -> None:
    path = f"/v2/{receiver.push_name}/manifests/other"
    assert _ask(receiver, "PUT", path, b"{") == (400, b"")
    with socket.create_connection((ADDRESS, receiver.port), 10) as client:
        client.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n".encode())
        assert client.makefile("rb").readline() == b"HTTP/1.1 404 Not Found\r\n"


def test_closed_receiver_leaves_no_connection(exchange) -> None:
    receiver = Receiver(exchange)
    with socket.create_connection((ADDRESS, receiver.port), 10) as client:
        client.sendall(f"GET /v2/{receiver.pull_name}/blobs/{_BLOB} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        exchange.close()
        receiver.close()
        with suppress(ConnectionResetError):
            client.makefile("rb").read()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ADDRESS, receiver.port), 10)
