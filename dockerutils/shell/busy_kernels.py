"""Exit with status 0 if no Jupyter server of this machine has a busy kernel. What cannot be determined counts as busy.

`shell/autostop` runs this file on a dock, where dockerutils is not installed; it needs only Python 3.8. Servers are
found by their runtime files (https://docs.jupyter.org/en/latest/use/jupyter-directories.html), and kernels with the
REST API (`GET /api/kernels`).
"""

from __future__ import annotations

import glob
import http.client
import json
import os
import ssl
import sys
from collections.abc import Iterator
from typing import Any

_SERVERS = ".local/share/jupyter/runtime/*server-*.json"
_TIMEOUT = 10  # seconds


def main() -> int:
    """Return 0 when no kernel is busy, else 1."""
    try:
        return 1 if any(map(_is_busy, _servers())) else 0
    except Exception:  # noqa: BLE001 - an error must not stop the dock
        return 1


def _servers() -> Iterator[dict[str, Any]]:
    for home in (os.environ.get("AUTOSTOP_HOMES") or "/root:/home/*").split(":"):
        for path in glob.glob(os.path.join(home, _SERVERS)):
            with open(path, encoding="utf-8") as file:
                server = json.load(file)
            if os.path.exists(f"/proc/{server['pid']}"):
                yield server


def _is_busy(server: dict[str, Any]) -> bool:
    if server.get("secure"):
        # The certificate can be for another name. This is the local host, and the token is the server's own.
        unverified = ssl._create_unverified_context()  # noqa: S323, SLF001 - the standard library has no other name
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            "127.0.0.1", server["port"], timeout=_TIMEOUT, context=unverified
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", server["port"], timeout=_TIMEOUT)
    path = server.get("base_url", "/") + "api/kernels"
    connection.request("GET", path, headers={"Authorization": "token " + server["token"]})
    return any(kernel["execution_state"] != "idle" for kernel in json.load(connection.getresponse()))


if __name__ == "__main__":
    sys.exit(main())
