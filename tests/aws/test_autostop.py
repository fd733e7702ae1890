"""A dock that stops by itself: the decision, under a clock of the tests, and what is put on a dock for it."""

from __future__ import annotations

import argparse
import http.server
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dockerutils.aws import autostop
from dockerutils.shell import busy_kernels
from tests.support import program

SCRIPT = Path(busy_kernels.__file__).parent / "autostop"
KERNELS = Path(busy_kernels.__file__)


class Dock:
    """A dock as the script sees it, with commands whose output a test sets."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        for name in ("ss", "docker"):
            self.set_output(name, "")
        for name in ("awk", "cat", "timeout"):
            (directory / "bin" / name).symlink_to(str(shutil.which(name)))
        program(directory / "bin" / "python3", f'exec {sys.executable} "$@"')

    def set_output(self, name: str, text: str, status: int = 0) -> None:
        script = f"echo \"$0 $*\" >>{self.directory}/asked\nprintf %s '{text}'\nexit {status}"
        program(self.directory / "bin" / name, script)

    def server(self, port: int, **more: object) -> None:
        runtime = self.directory / "home/alice/.local/share/jupyter/runtime"
        runtime.mkdir(parents=True, exist_ok=True)
        server = {"pid": os.getpid(), "port": port, "token": "t", "base_url": "/base/", **more}
        (runtime / "jpserver-1.json").write_text(json.dumps(server))

    def stops(self, hour: float) -> bool:
        environ = {
            "PATH": f"{self.directory}/bin",
            "AUTOSTOP_NOW": str(hour * 3600),
            "AUTOSTOP_HOMES": f"{self.directory}/home/*",
        }
        argv = ["/bin/sh", str(SCRIPT), "2", "22", str(self.state), str(KERNELS)]
        done = subprocess.run(argv, env=environ, check=False, capture_output=True, text=True)
        assert (done.stderr, done.returncode in (0, 1)) == ("", True)
        return done.returncode == 0


@pytest.fixture
def dock(tmp_path, monkeypatch) -> Dock:
    monkeypatch.setenv("AUTOSTOP_HOMES", f"{tmp_path}/home/*")
    return Dock(tmp_path)


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Return a certificate of another host's, and its key."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=elsewhere", "-days", "1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *request, *files], check=True, capture_output=True)
    return certificate, key


@pytest.fixture(params=[False, True], ids=["http", "https"])
def jupyter(request, tmp_path):
    """Return the port of a Jupyter, whether it speaks TLS, the answers it is to give, and what it was asked."""
    kernels: list[dict[str, str]] = []
    asked: list[tuple[str, str | None]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            body = json.dumps(kernels).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        if request.param:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self_signed(tmp_path))
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1], request.param, kernels, asked
        server.shutdown()
        thread.join()


def test_it_stops_after_so_long(dock) -> None:
    assert [dock.stops(hour) for hour in (1, 2, 2.99, 3)] == [False, False, False, True]
    asked = (dock.directory / "asked").read_text().replace(f"{dock.directory}/bin/", "").splitlines()
    assert asked[:2] == ["ss -Htn state established sport = :22", "docker ps --quiet"]


@pytest.mark.parametrize("name", ["ss", "docker"])
@pytest.mark.parametrize(("text", "status"), [("x", 0), ("", 1)], ids=["in use", "fails"])
def test_use_and_a_probe_that_fails_put_it_off(dock, name, text, status) -> None:
    dock.stops(1)
    dock.set_output(name, text, status)
    assert not dock.stops(9)
    dock.set_output(name, "")
    assert [dock.stops(hour) for hour in (10.99, 11)] == [False, True]


@pytest.mark.parametrize("name", ["ss", "docker", "python3"])
def test_a_probe_that_is_not_there_counts_as_use(dock, name) -> None:
    dock.stops(1)
    (dock.directory / "bin" / name).unlink()
    assert not dock.stops(9)


@pytest.mark.parametrize(
    ("states", "stops"), [([], True), (["idle"], True), (["idle", "busy"], False), (["starting"], False)]
)
def test_kernels(dock, jupyter, states, stops) -> None:
    port, secure, kernels, asked = jupyter
    kernels += [{"execution_state": state} for state in states]
    dock.server(port, secure=secure)
    dock.stops(1)
    assert dock.stops(9) == stops
    assert (busy_kernels.main() == 0) == stops
    assert asked == [("/base/api/kernels", "token t")] * len(asked)
    assert asked


@pytest.mark.parametrize("more", [{}, {"secure": True}], ids=["http", "https"])
def test_a_jupyter_that_does_not_answer_counts_as_use(dock, more) -> None:
    dock.server(1, **more)
    dock.stops(1)
    assert not dock.stops(9)
    assert busy_kernels.main() == 1


def test_a_jupyter_that_has_ended_does_not_count(dock) -> None:
    dock.server(1, pid=1 << 30)
    dock.stops(1)
    assert dock.stops(9)
    assert busy_kernels.main() == 0


@pytest.mark.parametrize("text", ["", "rubbish", "360000"], ids=["cut off", "rubbish", "of a later time"])
def test_a_state_that_is_no_good_counts_as_use(dock, text) -> None:
    dock.state.write_text(text)
    assert [dock.stops(hour) for hour in (9, 10.99, 11)] == [False, False, True]


@pytest.mark.parametrize("text", ["x", "-1", "nan", "inf", "1e3", "9999"])
def test_what_is_not_a_number_of_hours(text) -> None:
    message = f"^{re.escape(repr(text))} is not a number of hours; write for example 1.5, or 0 for never$"
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        autostop.hours(text)


def test_numbers_of_hours() -> None:
    assert (autostop.hours("0"), autostop.positive_hours("1.5")) == (0, 1.5)
    with pytest.raises(
        argparse.ArgumentTypeError, match=r"^'0' is not a number of hours above 0; write for example 1\.5$"
    ):
        autostop.positive_hours("0")
