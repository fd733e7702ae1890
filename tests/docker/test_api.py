"""Requests to an engine that answers as a script says, or what no engine should."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from dockerutils.docker import api
from dockerutils.docker.api import ApiError, Disconnected

IMAGES = 150


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Write no log."""

    def do_GET(self) -> None:
        """Answer questions about images; that about the fourth one fails."""
        url = urlsplit(unquote(self.path))
        if url.path == "/images/json":
            self._answer(200, [{"Id": f"sha256:{number}"} for number in range(IMAGES)])
        elif url.path == "/images/sha256:3/json":
            self._answer(404, {"message": "No such image: sha256:3"})
        elif url.path == "/info":
            self._answer(200, None)
        else:
            layers = (
                [url.path, *parse_qs(url.query).get("platform", [])] if url.path != "/images/sha256:4/json" else None
            )
            self._answer(200, {"RootFS": {"Layers": layers}})

    def _answer(self, status: int, document: object) -> None:
        data = json.dumps(document).encode() if document else b"{"
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[[], api.Api]]:
    """Return a function that connects to an engine."""
    path = str(tmp_path / "docker.sock")
    with ThreadingUnixStreamServer(path, _Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield lambda: api.local(path)
        server.shutdown()


def test_layers_of_many_images(connect) -> None:
    with closing(connect()) as engine:
        for _ in range(2):
            found = list(engine.layers())
            assert len(found) == IMAGES - 1
            assert found[:4] == [(f"/images/sha256:{number}/json",) for number in (0, 1, 2)] + [()]
        assert engine.image("app:1", "linux/arm/v7")["RootFS"]["Layers"] == [
            "/images/app:1/json",
            '{"os": "linux", "architecture": "arm", "variant": "v7"}',
        ]


def test_errors(connect, tmp_path) -> None:
    with closing(connect()) as engine:
        with pytest.raises(ApiError, match="No such image: sha256:3") as refused:
            engine.image("sha256:3")
        assert not isinstance(refused.value, Disconnected)
        with pytest.raises(ApiError, match="no JSON object"):
            engine.info()
        assert engine.image("a")["RootFS"]["Layers"] == ["/images/a/json"]
        engine.abort()
        for ask in (engine.info, lambda: list(engine.layers())):
            with pytest.raises(Disconnected):
                ask()
    with pytest.raises(Disconnected, match="No such file"):
        api.local(str(tmp_path / "none"))


def test_answer_that_is_cut_off() -> None:
    here, there = socket.socketpair()
    with here, there, closing(api.Api(api._Socket(here))) as engine:
        there.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{")
        there.shutdown(socket.SHUT_WR)
        with pytest.raises(Disconnected):
            engine.info()


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
