"""The aws command for the lines that dry runs print, made of boto3: the real one wants its own version of botocore."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import jmespath  # type: ignore[import-untyped]
from botocore import xform_name  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from tests.support import program
from tests.testbed.aws import meant


@contextmanager
def installed(directory: Path) -> Iterator[None]:
    """Write the command to a directory; its calls are made in this process, because importing boto3 takes a second."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            words = self.rfile.read(int(self.headers["Content-Length"])).decode().split("\0")[:-1]
            try:
                status, text = 200, _called(words)
            except (BotoCoreError, ClientError) as error:
                status, text = 500, str(error)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        program(directory / "aws", f'printf "%s\\0" "$@" | curl -sS --fail-with-body --data-binary @- {url}')
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def _called(words: list[str]) -> str:
    """Make the call, and return what its query selects as text."""
    client = boto3.client(words[0], region_name=words[words.index("--region") + 1] if "--region" in words else None)
    if words[1] == "wait":
        ids = words[words.index("--instance-ids") + 1 :]
        waiter = client.get_waiter(words[2].replace("-", "_"))
        waiter.wait(InstanceIds=ids, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100})
        return ""
    api, parameters = meant(words)
    answer: Any = getattr(client, xform_name(api))(**parameters)
    if "--query" not in words:
        return ""
    selected = jmespath.search(words[words.index("--query") + 1], answer)
    return ("\t".join(map(str, selected)) if isinstance(selected, list) else str(selected)) + "\n"
