"""A registry on a port of this machine that passes one image from the engine that pushes it to the one that pulls it.

It speaks as much of the protocol, https://github.com/opencontainers/distribution-spec, as engines need. Every user of
the machine can connect to the port, so the repository has random names, one to push to and one to pull from: everything
else does not exist. Engines use plain HTTP on loopback addresses if a server does not speak TLS.
"""

from __future__ import annotations

import re
import secrets
import socket
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dockerutils.transfer.exchange import Exchange

ADDRESS, TAG = "127.0.0.1", "image"

_NONE: Mapping[str, str] = MappingProxyType({})
_CLIENT_HELLO = b"\x16"
_CHUNK = 1 << 18
_GZIP = 31  # wbits of zlib
_LARGEST_MANIFEST = 1 << 22
# Seconds until the server notices that it was closed.
_TICK = 0.01


class Receiver:
    """The server, from its start to `close`. `push_name` and `pull_name` are its repositories, `port` is its port."""

    def __init__(self, exchange: Exchange) -> None:
        self.push_name, self.pull_name = secrets.token_hex(16), secrets.token_hex(16)
        self._server = _Server(exchange, self.push_name, self.pull_name)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(_TICK,), daemon=True).start()

    def compress(self) -> None:
        """Compress layers that are stored uncompressed on their way."""
        self._server.compresses = True

    def close(self) -> None:
        """Close the port and all connections."""
        self._server.shutdown()
        self._server.server_close()
        self._server.cut()


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, exchange: Exchange, push_name: str, pull_name: str) -> None:
        self.exchange, self.push_name, self.pull_name = exchange, push_name, pull_name
        self.compresses = False
        self._connections: set[socket.socket] = set()
        super().__init__((ADDRESS, 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the engine at the other end reports what it missed."""

    def cut(self) -> None:
        """End the connections that are open."""
        for each in list(self._connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """A connection of an engine, or of anyone else."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Write no log."""

    def handle(self) -> None:
        """Serve requests until the client has no more."""
        with suppress(ConnectionError):
            if self.connection.recv(1, socket.MSG_PEEK) == _CLIENT_HELLO:
                self.connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            else:
                super().handle()

    def do_HEAD(self) -> None:
        """Say whether a blob is there, to the engine that pushes, or describe a manifest, to the one that pulls."""
        kind, reference = self._pushed()
        if kind == "blobs" and self.server.exchange.is_there(reference):
            self._answer(200, {"Docker-Content-Digest": reference})
        else:
            self.do_GET()

    def do_GET(self) -> None:
        """Send a manifest or a blob to the engine that pulls."""
        kind, reference = self._pulled()
        manifest = self.server.exchange.manifest(reference)
        if kind == "manifests" and manifest:
            headers = {"Content-Type": manifest.media_type, "Docker-Content-Digest": manifest.digest}
            self._answer(200, headers, manifest.data)
        elif kind == "blobs" and reference in self.server.exchange.sizes:
            self._send_blob(reference, self.server.exchange.sizes[reference])
        elif self.path == "/v2/":
            self._answer(200)
        else:
            self._answer(404)

    def do_POST(self) -> None:
        """Let the engine that pushes begin an upload."""
        kind, reference = self._pushed()
        if kind == "blobs" and reference.startswith("uploads/"):
            self.rfile.read(self._length())
            here = f"/v2/{self.server.push_name}/blobs/uploads/{secrets.token_hex(8)}"
            self._answer(202, {"Location": here, "Range": "0-0"})
        else:
            self._refuse()

    def do_PUT(self) -> None:
        """Take a manifest or a blob from the engine that pushes."""
        kind, reference = self._pushed()
        length = self._length()
        if kind == "manifests" and length <= _LARGEST_MANIFEST:
            data = self.rfile.read(length)
            try:
                digest = self.server.exchange.add_manifest(reference, self.headers.get("Content-Type", ""), data)
            except ValueError:
                self._answer(400)
                return
        elif kind == "blobs" and "Content-Length" in self.headers:
            digest = parse_qs(urlsplit(self.path).query).get("digest", [""])[0]
            self.server.exchange.upload(digest, self._content(length))
        else:
            self._refuse()
            return
        self._answer(201, {"Location": self.path, "Docker-Content-Digest": digest})

    def _pushed(self) -> tuple[str, str]:
        """Return what a request is about, if the engine that pushes sent it: `blobs` or `manifests`, and which."""
        return self._about(self.server.push_name)

    def _pulled(self) -> tuple[str, str]:
        return self._about(self.server.pull_name)

    def _about(self, name: str) -> tuple[str, str]:
        match = re.fullmatch(r"/v2/([^/]*)/(blobs|manifests)/([^?]+).*", self.path)
        if match and secrets.compare_digest(match[1].encode(), name.encode()):
            return match[2], match[3]
        return "", ""

    def _length(self) -> int:
        text = self.headers.get("Content-Length", "0")
        return int(text) if text.isdecimal() else 0

    def _content(self, length: int) -> Iterator[bytes]:
        while length:
            chunk = self.rfile.read(min(length, _CHUNK))
            if not chunk:
                raise ConnectionAbortedError
            length -= len(chunk)
            yield chunk

    def _send_blob(self, digest: str, size: int) -> None:
        """Send a blob as it is uploaded, from the byte on that the client asks for."""
        if self.command == "HEAD":
            self._head(200, size, {"Docker-Content-Digest": digest})
            return
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match and int(match[1]) < size else 0
        has_begun = False

        is_packed = (
            self.server.compresses
            and not start
            and digest in self.server.exchange.plain
            and "gzip" in self.headers.get("Accept-Encoding", "")
        )

        def deliver(content: Iterator[bytes]) -> None:
            nonlocal has_begun
            has_begun = True
            headers = {"Docker-Content-Digest": digest}
            if is_packed:
                self._send_packed(content, headers)
                return
            if start:
                self._head(206, size - start, {**headers, "Content-Range": f"bytes {start}-{size - 1}/{size}"})
            else:
                self._head(200, size, headers)
            skipped = start
            for chunk in content:
                self.wfile.write(memoryview(chunk)[skipped:])
                skipped -= min(skipped, len(chunk))

        if not self.server.exchange.fetch(digest, deliver):
            self.close_connection = True
            if not has_begun:
                self._answer(404)

    def _send_packed(self, content: Iterator[bytes], headers: Mapping[str, str]) -> None:
        """Send a blob compressed, which the client undoes, in chunks: https://www.rfc-editor.org/rfc/rfc9112, 7.1."""
        self._head(200, None, {**headers, "Content-Encoding": "gzip", "Transfer-Encoding": "chunked"})
        packer = zlib.compressobj(1, wbits=_GZIP)
        for chunk in content:
            if packed := packer.compress(chunk):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(packed), packed))
        packed = packer.flush()
        self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed))

    def _answer(self, status: int, headers: Mapping[str, str] = _NONE, body: bytes = b"") -> None:
        self._head(status, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, length: int | None, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _refuse(self) -> None:
        """Answer as if there were nothing, and read no body."""
        self.close_connection = True
        self._answer(404)
