"""Requests to an engine that answers what no engine should."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from dockerutils.docker import api


@pytest.fixture(params=[b"not JSON", b"[" * 100_000, b"[]"], ids=["text", "too deep", "list"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the socket of an engine that answers one request with this body."""
    path = str(tmp_path_factory.mktemp("s") / "s")

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.param) + request.param)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=answer)
        thread.start()
        yield path
        thread.join(10)


def test_a_record_of_an_image(engine: str) -> None:
    with closing(api.local(engine, 10)) as connection, pytest.raises(api.ApiError, match="no JSON object"):
        connection.image("x")


def test_progress(engine: str) -> None:
    with closing(api.local(engine, 10)) as connection, pytest.raises(api.ApiError, match="no JSON object"):
        connection.push("x", "y")
