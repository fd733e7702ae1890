"""AWS for the tests: moto's, in a process of its own, and one that refuses."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

ACCOUNT = "123456789012"  # moto's
PASSWORD = f"{ACCOUNT}-auth-token"  # of ECR, as moto has it
_DEADLINE = 60.0


@dataclass(frozen=True)
class Aws:
    """An endpoint of AWS."""

    url: str

    def environment(self, region: str = "us-east-1") -> dict[str, str]:
        """Return the variables that make boto3 talk to it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "marker-of-the-secret-key",
            "AWS_DEFAULT_REGION": region,
            "AWS_MAX_ATTEMPTS": "1",
        }

    def reset(self) -> None:
        """Forget all that was made."""
        with urllib.request.urlopen(f"{self.url}/moto-api/reset", b"", timeout=30):
            pass


@contextlib.contextmanager
def serving() -> Iterator[Aws]:
    """Start moto's server on a free port and end it; RuntimeError has its log when it does not come up."""
    port = free_port()
    # The kernel ends it with the tests, however they end.
    command = ["setpriv", "--pdeathsig=KILL", sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True) as child,
    ):
        try:
            deadline = time.monotonic() + _DEADLINE
            while not _answers(port):
                if child.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"moto did not come up; its log:\n{log.read()}")
                time.sleep(0.05)
            yield Aws(f"http://127.0.0.1:{port}")
        finally:
            child.terminate()


@contextlib.contextmanager
def answering(*answers: tuple[int, Mapping[str, object]]) -> Iterator[Aws]:
    """Serve these answers, a status and a JSON object each, in this order, the last one for ever."""
    left = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = left.pop(0) if len(left) > 1 else left[0]
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Aws(f"http://127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()
            thread.join()


def free_port() -> int:
    """Return a port on 127.0.0.1 that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
