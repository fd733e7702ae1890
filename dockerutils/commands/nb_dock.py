"""Run Jupyter on a dock, outside containers.

Open it in the browser here.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from dockerutils.cli import program
from dockerutils.core import console, process, shell_words
from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.core.process.children import children
from dockerutils.docker.invocation import Port
from dockerutils.docks import forwarding, inventory, jupyter, remote, ssh_config
from dockerutils.docks.records import Dock
from dockerutils.notebooks import server
from dockerutils.notebooks.server import Visit

_EXAMPLES = """\
  nb-dock gpu                   start Jupyter on the dock gpu; Ctrl-C stops it
  nb-dock                       start it on the dock of this shell
  nb-dock gpu --no-browser      print the URL only"""

_POLL = 1.0  # seconds between two requests to a Jupyter that another nb-dock started

# Where Jupyter writes its private record of each server that nb-dock started.
_RUNTIME = "$HOME/.local/share/dockerutils/jupyter"
_PREFIXES = (
    *("~/.venv", "~/venv", "~/.local", "~/miniforge3", "~/mambaforge", "~/miniconda3", "~/anaconda3"),
    *("/opt/conda", "/opt/miniforge3", "/opt/miniconda3", "/opt/anaconda3", "/opt/jupyter", "/opt/venv"),
    *("/usr/local", "/usr"),
)

# Run by sh on a dock: the ports in use, the servers that nb-dock started, and the programs that start Jupyter: on the
# PATH, on the PATH of a login shell (set by files like .profile), or in a usual place.
_SURVEY = f"""\
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null
for each in "{_RUNTIME}"/*server-*.json; do
    pid=${{each##*-}}
    if kill -0 "${{pid%.json}}" 2>/dev/null; then printf 'server %s\\n' "$(tr -d '\\n' <"$each")"; fi
done
for name in jupyter-lab jupyter-notebook; do
    login=$("${{SHELL:-sh}}" -lc "command -v $name" </dev/null 2>/dev/null | tail -n 1)
    for each in "$(command -v $name)" "$login" {" ".join(f"{prefix}/bin/$name" for prefix in _PREFIXES)}; do
        case $each in
            /*) [ ! -x "$each" ] || printf 'program %s\\n' "$each" ;;
        esac
    done
done
"""

# stdin has the token, then stays open as long as the connection; when it ends, Jupyter is stopped.
_START = f"""\
IFS= read -r {server.TOKEN}; export {server.TOKEN} JUPYTER_RUNTIME_DIR="{_RUNTIME}"; exec 3<&0; \
PROGRAM --no-browser --ip={server.LOOPBACK} --port=PORT --port-retries=0 \
$(test "$(id -u)" != 0 || echo --allow-root) </dev/null 2>&1 3<&- & jupyter=$!; \
{{ cat <&3; kill $jupyter; }} >/dev/null 2>&1 & \
wait $jupyter; status=$?; kill $!; exit $status"""


class Found(NamedTuple):
    """State of a dock: ports in use, programs that start Jupyter, records of running servers."""

    listening: set[int]
    programs: list[str]
    running: list[dict[str, object]]


def parser() -> program.Parser:
    """Return the parser of nb-dock."""
    parser = program.Parser("nb-dock", f"{__doc__}", _EXAMPLES)
    parser.add_dock(here=True)
    parser.add_no_browser()
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Join a running Jupyter on the dock, or start one; install it there if the user agrees."""
    dock = inventory.choose(args.dock, os.environ, os.path.expanduser("~"))
    found = survey(dock)
    if not (found.running or found.programs):
        _install(dock, dry_run=args.dry_run)
        found = survey(dock)
    if found.running:
        join(dock, found.running[0], args)
    elif found.programs:
        start(dock, found, args)
    else:
        raise DockerutilsError(_missing(dock))


def _install(dock: Dock, *, dry_run: bool) -> None:
    """Install JupyterLab on a dock, if the user agrees on the terminal; DockerutilsError has the line that does it."""
    can_ask = sys.stdin.isatty() and sys.stderr.isatty() and not dry_run
    if not can_ask or not console.agreed(f"Dock {dock.moniker} has no Jupyter. Install JupyterLab in ~/.venv there?"):
        raise DockerutilsError(_missing(dock))
    command = process.Command(["ssh", dock.host, "--", f"sh -c {shlex.quote(jupyter.INSTALL)}"])
    try:
        process.run(command, escaped=[process.STDOUT, process.STDERR])
    except CommandFailed as error:
        venv = f"ssh-dock {dock.moniker} sudo apt-get install -y python3-venv"
        raise CommandFailed(
            error.status, f"JupyterLab was not installed, see above; if python3-venv is missing there, run: {venv}"
        ) from None


def _missing(dock: Dock) -> str:
    install = shell_words.render(["ssh-dock", dock.moniker, "sh", "-c", jupyter.INSTALL])
    return f"dock {dock.moniker} has no Jupyter on its PATH or in a usual place; install it: {install}"


def survey(dock: Dock) -> Found:
    """Return the state of a dock; CommandFailed if it cannot be reached."""
    import json  # late, for -h

    lines = remote.of(dock).capture(_SURVEY).stdout.splitlines()
    listening = server.listening(lines)
    running = []
    for line in lines:
        if line.startswith("server "):
            with suppress(ValueError, RecursionError):  # an incomplete file, or a hostile dock
                record = json.loads(line.removeprefix("server "))
                if _is_ours(record) and record["port"] in listening:
                    running.append(record)
    return Found(listening, [line.removeprefix("program ") for line in lines if line.startswith("program ")], running)


def _is_ours(record: object) -> bool:
    """Return whether a record of Jupyter has a port, and a token that a URL can contain."""
    if not isinstance(record, dict) or not isinstance(record.get("port"), int):
        return False
    return re.fullmatch(r"[A-Za-z0-9._~-]+", str(record.get("token"))) is not None


def start(dock: Dock, found: Found, args: argparse.Namespace) -> None:
    """Start Jupyter and wait until it ends; it also ends with this process."""
    visit = Visit("nb-dock", server.free_port(None), server.new_token())
    # Not the same port as here: the dock can be this machine.
    there = next(port for port in range(server.PORT, 1 << 16) if port not in {visit.port, *found.listening})
    script = _START.replace("PROGRAM", shlex.quote(found.programs[0])).replace("=PORT ", f"={there} ")
    source = process.Input(f"(printf '%s\\n' \"${server.TOKEN}\"; cat)", lambda: f"{visit.token}\n")
    command = process.Command(["ssh", dock.host, f"sh -c {shlex.quote(script)}"], stdin=source)
    with forwarding.forwarded(dock, [Port(server.LOOPBACK, there)], here=visit.port, dry_run=args.dry_run):
        if args.dry_run:
            print(command)
        else:
            console.echo(str(command))
            _attend(dock, command, visit, args)


def _attend(dock: Dock, command: process.Command, visit: Visit, args: argparse.Namespace) -> None:
    """Run Jupyter until it ends; CommandFailed if it did not start or failed."""
    late: list[bool] = []
    with children() as family:
        child = family.start(command.argv, stdin=process.PIPE, stdout=process.STDERR)
        assert command.stdin

        def give_up() -> None:
            late.append(True)
            child.terminate()

        with suppress(BrokenPipeError):
            child.write(command.stdin.read().encode())
        with server.announced(visit, open_browser=not args.no_browser, environ=os.environ, late=give_up) as answered:
            status = child.wait()
        complaint = child.stderr
    if late:
        raise DockerutilsError(_silent(dock))
    if status == ssh_config.SSH_FAILED:
        raise CommandFailed(status, remote.of(dock).explain(complaint))
    if not answered.is_set():
        raise CommandFailed(
            status or 1,
            f"Jupyter on dock {dock.moniker} exited with status {status} before it answered; see its output above",
        )
    if status:
        raise CommandFailed(status, f"Jupyter on dock {dock.moniker} exited with status {status}; see its output above")


def join(dock: Dock, record: dict[str, object], args: argparse.Namespace) -> None:
    """Forward the port of a running Jupyter until it ends; it continues if this process ends first."""
    there = int(str(record["port"]))
    visit = Visit("nb-dock", server.free_port(None), str(record.get("token", "")))
    with forwarding.forwarded(dock, [Port(server.LOOPBACK, there)], here=visit.port, dry_run=args.dry_run):
        if args.dry_run:
            return
        console.note("nb-dock", f"joining the Jupyter that is already running on dock {dock.moniker}")
        with server.announced(
            visit, open_browser=not args.no_browser, environ=os.environ, late=lambda: None
        ) as answered:
            if not answered.wait(server.PATIENCE):
                raise DockerutilsError(_silent(dock))
            while visit.status():
                time.sleep(_POLL)
    console.note("nb-dock", f"Jupyter on dock {dock.moniker} ended")


def _silent(dock: Dock) -> str:
    return (
        f"no answer from Jupyter on dock {dock.moniker} after {server.PATIENCE:.0f} s; see its output above, and check "
        "whether the dock is overloaded"
    )
