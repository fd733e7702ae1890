"""nb-dock: a real Jupyter on a real host, reached through a forwarded port."""

from __future__ import annotations

import os
import re
import signal
import sys
import zipfile
from pathlib import Path

import pexpect
import pytest

from dockerutils.commands import nb_dock
from dockerutils.commands.nb_dock import main
from dockerutils.core.process import Captured
from dockerutils.docks.records import Dock
from dockerutils.docks.remote import RemoteHost
from dockerutils.notebooks import server
from tests import support
from tests.commands.conftest import Docked
from tests.support import exit_status, wait_for
from tests.testbed.jupyter import Running, program


@pytest.fixture(scope="session")
def jupyterlab() -> str:
    """Return the directory of a Python that has JupyterLab, on the hosts too."""
    return program()


@pytest.fixture
def dock(docked: Docked, jupyterlab: str) -> Docked:
    """Return a shell that is docked to a host where JupyterLab is in a usual place."""
    docked.host.run(f"ln -s {jupyterlab} ~/.venv", "dock")
    return docked


@pytest.fixture
def start(docked: Docked):
    """Return a function that runs nb-dock, ended with the test."""
    running = []

    def begin(*argv: str) -> Running:
        running.append(Running(["nb-dock", *argv], docked.root, None, {}))
        return running[-1]

    yield begin
    for each in running:
        with each:
            pass


def jupyters(docked: Docked) -> list[str]:
    """Return the command lines of Jupyter on the host, its shell's not among them."""
    lines = docked.host.processes().values()
    return [line for line in lines if "--port-retries=0" in line and "sh -c" not in line]


def fake(docked: Docked, text: str) -> None:
    """Have another program in the place of Jupyter."""
    docked.host.run("mkdir -p ~/.venv/bin", "dock")
    support.program(Path(docked.host.home("dock"), ".venv", "bin", "jupyter-lab"), text)


def test_jupyter_runs_on_the_dock_and_ends_with_the_command(dock: Docked, start) -> None:
    before = dock.host.authentications()
    jupyter = start("gpu")
    url = jupyter.url()
    token = url.partition("?token=")[2]
    api = url.replace("?", "api/status?")
    assert jupyter.ask(url.partition("?")[0] + "api/status") == 403
    assert jupyter.ask(api) == 200
    (line,) = jupyters(dock)
    assert "--ip=127.0.0.1" in line
    everything = Path("/proc").glob("[0-9]*/cmdline")
    assert not any(token.encode() in _bytes(path) for path in everything)
    assert jupyter.end(signal.SIGINT) == (130, ""), jupyter.stderr
    wait_for(lambda: not jupyters(dock))
    assert jupyter.ask(api) == 0
    assert token not in jupyter.stderr
    assert "Serving notebooks from local directory" in jupyter.stderr
    assert dock.host.authentications() == before + 1  # one connection for all


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_second_one_joins_the_first(dock: Docked, start) -> None:
    first = start("gpu")
    url = first.url()
    second = start()
    other = second.url()
    assert other.partition("?")[2] == url.partition("?")[2]
    assert other != url
    assert "nb-dock: joining the Jupyter that is already running on dock gpu\n" in second.stderr
    assert second.ask(other.replace("?", "api/status?")) == 200
    assert len(jupyters(dock)) == 1
    third = start("gpu")
    third.url()
    assert third.end(signal.SIGINT) == (130, "")
    assert first.ask(url.replace("?", "api/status?")) == 200
    first.end(signal.SIGTERM)
    assert second.wait() == (0, "")
    assert second.stderr.endswith("\nnb-dock: Jupyter on dock gpu ended\n")


def test_a_dry_run_shows_it_all(dock: Docked) -> None:
    outcome = dock(main, "--dry-run")
    forward, run, cancel = outcome.out.splitlines()
    port = re.fullmatch(r"ssh -O forward -L 127\.0\.0\.1:(\d+):127\.0\.0\.1:(\d+) dock-gpu", forward)
    assert port
    assert run.startswith("(printf '%s\\n' \"$JUPYTER_TOKEN\"; cat) | ssh dock-gpu 'sh -c ")
    assert f"{dock.host.home('dock')}/.venv/bin/jupyter-lab --no-browser --ip=127.0.0.1 --port={port[2]} " in run
    assert cancel == forward.replace("forward", "cancel")
    assert jupyters(dock) == []


def test_a_dry_run_of_one_that_joins(dock: Docked, start) -> None:
    start("gpu").url()
    outcome = dock(main, "--dry-run")
    forward, cancel = outcome.out.splitlines()
    assert re.fullmatch(r"ssh -O forward -L 127\.0\.0\.1:\d+:127\.0\.0\.1:\d+ dock-gpu", forward)
    assert cancel == forward.replace("forward", "cancel")


def test_a_dock_without_jupyter(docked: Docked) -> None:
    outcome = docked(main)
    assert outcome.status == 1
    assert outcome.err == (
        "nb-dock: dock gpu has no Jupyter on its PATH or in a usual place; install it: ssh-dock gpu sh -c "
        "'python3 -m venv ~/.venv && ~/.venv/bin/pip install jupyterlab'\n"
    )


def index(docked: Docked, jupyterlab: str) -> None:
    """Let pip on the host find only a package jupyterlab that leads to the JupyterLab of the tests."""
    name = "jupyterlab-1.0"
    program = f'#!/bin/sh\nexec {jupyterlab}/bin/jupyter-lab "$@"\n'
    files = {
        f"{name}.data/scripts/jupyter-lab": program,
        f"{name}.dist-info/METADATA": "Metadata-Version: 2.1\nName: jupyterlab\nVersion: 1.0\n",
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{name}.dist-info/RECORD"] = "".join(f"{path},,\n" for path in files)
    home = Path(docked.host.home("dock"))
    with zipfile.ZipFile(home / f"{name}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = 0o100755 << 16
            wheel.writestr(entry, text)
    Path(docked.host.path("/etc/pip.conf")).write_text(f"[global]\nno-index = true\nfind-links = {home}\n")


def on_a_terminal(docked: Docked, *argv: str) -> pexpect.spawn:
    """Run nb-dock on a terminal."""
    command = str(Path(sys.executable).parent / "nb-dock")
    options = {"encoding": "utf-8", "timeout": 60, "cwd": docked.root, "dimensions": (24, 300)}
    return pexpect.spawn(command, [*argv], env=dict(os.environ), **options)


def test_jupyterlab_is_installed_if_the_user_agrees(docked: Docked, jupyterlab: str) -> None:
    index(docked, jupyterlab)
    child = on_a_terminal(docked, "gpu", "--no-browser")
    child.expect_exact("Dock gpu has no Jupyter. Install JupyterLab in ~/.venv there? [y/N] ")
    child.sendline("n")
    child.expect_exact(": dock gpu has no Jupyter on its PATH or in a usual place; install it: ssh-dock gpu sh -c")
    assert (exit_status(child), os.path.exists(f"{docked.host.home('dock')}/.venv")) == (1, False)
    child = on_a_terminal(docked, "gpu", "--no-browser")
    child.expect_exact("[y/N] ")
    child.sendline("y")
    child.expect_exact("Successfully installed jupyterlab-1.0")
    child.expect(r"http://127\.0\.0\.1:\d+/\?token=\w+")
    child.sendintr()
    assert exit_status(child) == 130


def test_jupyterlab_that_cannot_be_installed(docked: Docked) -> None:
    Path(docked.host.path("/etc/pip.conf")).write_text("[global]\nno-index = true\n")
    child = on_a_terminal(docked)
    child.expect_exact("[y/N] ")
    child.sendline("y")
    child.expect_exact("No matching distribution found for jupyterlab")
    child.expect_exact(
        "JupyterLab was not installed, see above; if python3-venv is missing there, run: ssh-dock gpu sudo apt-get "
        "install -y python3-venv"
    )
    assert exit_status(child) == 1


@pytest.mark.parametrize("where", ["login", "notebook"])
def test_jupyter_is_found(docked: Docked, where: str) -> None:
    name, path = ("jupyter-lab", "~/my own/bin") if where == "login" else ("jupyter-notebook", "~/anaconda3/bin")
    quoted = path.replace(" ", "\\ ")
    docked.host.run(
        f"mkdir -p {quoted}; touch {quoted}/{name}; chmod +x {quoted}/{name}; "
        f"echo 'PATH=$PATH:$HOME/my\\ own/bin; echo welcome' >>~/.profile; echo '. ~/.profile' >~/.bash_profile",
        "dock",
    )
    outcome = docked(main, "--dry-run")
    assert f"{docked.host.home('dock')}/{path[2:]}/{name}" in outcome.out


def test_jupyter_that_ends_before_it_answers(docked: Docked) -> None:
    fake(docked, "echo no such option >&2; exit 3")
    outcome = docked(main)
    assert outcome.status == 3
    assert outcome.err.endswith(
        "\nno such option\nnb-dock: Jupyter on dock gpu exited with status 3 before it answered; see its output above\n"
    )


SERVER = """\
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
        self.server.over = True
port = int(next(word for word in sys.argv if word.startswith("--port="))[7:])
server = http.server.HTTPServer(("127.0.0.1", port), Handler)
server.over = False
while not (server.over and os.path.exists("go")):
    server.timeout = 0.1
    server.handle_request()
sys.exit(4)
"""


def test_jupyter_that_fails_later(docked: Docked, start) -> None:
    fake(docked, f"exec python3 -c '{SERVER}' \"$@\"")
    jupyter = start()
    jupyter.url()
    docked.host.run("touch go", "dock")
    assert jupyter.wait() == (4, "")
    assert jupyter.stderr.endswith("nb-dock: Jupyter on dock gpu exited with status 4; see its output above\n")


def test_jupyter_that_ends_well(docked: Docked, start) -> None:
    fake(docked, f"exec python3 -c '{SERVER.replace('exit(4)', 'exit(0)')}' \"$@\"")
    jupyter = start()
    jupyter.url()
    docked.host.run("touch go", "dock")
    assert jupyter.wait() == (0, "")


def test_jupyter_that_does_not_answer_in_time_is_ended(docked: Docked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.5)
    fake(docked, "exec sleep 613 # --port-retries=0")
    outcome = docked(main)
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == (
        "nb-dock: no answer from Jupyter on dock gpu after 0 s; see its output above, and check whether the dock is overloaded"
    )
    wait_for(lambda: not any("sleep 613" in line for line in docked.host.processes().values()))


def test_a_server_that_has_been_noted_and_does_not_answer(docked: Docked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.5)
    runtime = ".local/share/dockerutils/jupyter"
    listen = "exec python3 -c 'import socket, time; s = socket.create_server((\"127.0.0.1\", 0)); print(s.getsockname()[1], flush=True); time.sleep(600)' >port & echo $! >pid"
    docked.host.run(f"mkdir -p {runtime}; ({listen}) </dev/null 2>/dev/null", "dock")
    home = Path(docked.host.home("dock"))
    port = wait_for(lambda: (home / "port").read_text().strip())
    pid = (home / "pid").read_text().strip()
    (home / runtime / f"jpserver-{pid}.json").write_text(f'{{\n"port": {port}, "token": "x"}}')
    (home / runtime / f"jpserver-{int(pid) + 1}.json").write_text("{")
    (home / runtime / "jpserver-1.json").write_text("{")
    outcome = docked(main)
    docked.host.run(f"kill {pid}")
    assert outcome.status == 1
    assert "nb-dock: no answer from Jupyter on dock gpu after 0 s" in outcome.err.splitlines()[-1]


def test_a_dock_that_is_cut_off(dock: Docked, start) -> None:
    jupyter = start()
    jupyter.url()
    dock.host.cut()
    status, _ = jupyter.wait()
    assert status == 255
    assert re.search(r"nb-dock: the connection to dock gpu was cut.*; try again\n$", jupyter.stderr)
    wait_for(lambda: not jupyters(dock))


def test_a_dock_that_is_not_known(docked: Docked) -> None:
    outcome = docked(main, "cpu")
    assert outcome.status == 2
    assert outcome.err == "nb-dock: unknown dock 'cpu'; known docks: gpu\n"


def test_a_dock_whose_host_does_not_answer(docked: Docked) -> None:
    path = Path(os.environ["HOME"], ".docker", docked.host.address, "connection_config.txt")
    path.write_text(re.sub("DOCK_PORT=.*", "DOCK_PORT=1", path.read_text()))
    outcome = docked(main)
    assert outcome.status == 255
    assert re.fullmatch(r"nb-dock: dock gpu refused the connection: .*Connection refused; check .*\n", outcome.err)


def test_what_a_hostile_dock_writes_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    dock = Dock("gpu", "203.0.113.7", "me", "203.0.113.7", "203.0.113.7")
    lines = [
        "   0: 0100007F:22B8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 x 100 0",
        "x 00000000:zzzz 00000000:0000 0A",
        *("server {", "server 1", "server []", "server {}", 'server {"port": []}', "server " + "[" * 100_000),
        'server {"port": 8888, "token": "\\u001b[8m"}',
        'server {"port": 8889, "token": "good"}',
        'server {"port": 8888, "token": "good"}',
    ]
    monkeypatch.setattr(RemoteHost, "capture", lambda *_: Captured(0, "\n".join(lines), ""))
    assert nb_dock.survey(dock) == ({8888}, [], [{"port": 8888, "token": "good"}])
