"""List the docks: whether they run, their engines, containers, free disk and uptime."""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from dockerutils.aws.api import Session
from dockerutils.aws.ec2 import TERMINATED, Ec2, Instance, is_ip
from dockerutils.cli import program
from dockerutils.core import console, process
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process import Captured
from dockerutils.core.tasks import Task
from dockerutils.docks import inventory, ssh_config
from dockerutils.docks.records import Dock

_EXAMPLES = """\
  ls-dock                      a table
  ls-dock -t 2                 wait no longer than two seconds for a dock
  ls-dock --json | jq .        for programs: bytes and seconds"""

RUNNING, NO_ENGINE, UNREACHABLE, INCOMPLETE = "running", "no engine", "unreachable", "incomplete"

# One line, which shells of any kind hand to sh. What it prints is marked: a dock's shell may greet before.
_ASKED = "{{.ServerVersion}} {{.ContainersRunning}} {{.DockerRootDir}}"
_PROBE = "; ".join(
    [
        ssh_config.USUAL_PLACES,
        f'ask() {{ "$@" docker info -f "{_ASKED}" 2>/dev/null; }}',
        "said=$(ask) || said=$(ask sudo -n) || said=",
        'root=${said#* } && printf "engine=%s\\n" "$said"',
        'printf "disk=%s\\n" "$(df -Pk "${root#* }" 2>/dev/null || df -Pk /)"',
        'printf "uptime=%s\\n" "$(cat /proc/uptime 2>/dev/null)"',
    ]
)

# What ssh says when an sshd has too many strangers at its door (MaxStartups): another attempt may find it open.
_TURNED_AWAY = r"kex_exchange_identification|banner exchange|Connection (?:closed|reset) by"


class Row(NamedTuple):
    """One dock: `containers` that run, `free_disk` in bytes where the engine keeps its data, `uptime` in seconds.

    `reason` says why there is no engine to list: what is wrong; what to do.
    """

    moniker: str
    address: str
    state: str
    engine: str | None = None
    containers: int | None = None
    free_disk: int | None = None
    uptime: int | None = None
    reason: str | None = None


def parser() -> program.Parser:
    """Return the parser of ls-dock."""
    parser = program.Parser("ls-dock", f"{__doc__}", _EXAMPLES)
    parser.add_json()
    parser.add_timeout("5", "how long a dock may take to answer")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Ask all docks at once, over ssh, and lay the answers out; a dock that gives none costs its own row only."""
    seconds = program.seconds(args.timeout)
    home = os.path.expanduser("~")
    listed = inventory.known(home)
    inventory.tell_ssh(listed, home)
    on_aws = [dock for dock in listed if dock.instance_id and dock.region]
    rows = {dock: _incomplete(dock) for dock in listed if dock.is_incomplete}
    # Those whose state AWS knows are asked when it has told, the others, and those that ssh is connected to, meanwhile.
    asking = Task(lambda: _states(on_aws, seconds)) if on_aws else None
    others = [dock for dock in listed if dock not in rows]
    rows |= _asked([dock for dock in others if dock not in on_aws or ssh_config.is_connected(dock, home)], seconds)
    if asking:
        instances = asking.result()
        rows |= {dock: row for dock, instance in instances.items() if (row := _away(dock, instance))}
        rows |= _asked([dock for dock in on_aws if dock not in rows], seconds)
    _show(args, [rows[dock] for dock in listed])


def _show(args: argparse.Namespace, rows: Sequence[Row]) -> None:
    if args.json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
        return
    header = ("MONIKER", "ADDRESS", "STATE", "ENGINE", "CONTAINERS", "FREE", "UPTIME")
    print(console.table(header, [_cells(row) for row in rows]))
    if not rows:
        console.note("ls-dock", "no dock is known yet; run: register-dock ADDRESS MONIKER, or create-dock NAME")
    for row in rows:
        if row.reason:
            console.warn("ls-dock", f"{row.moniker}: {row.reason}")


def _incomplete(dock: Dock) -> Row:
    return Row(dock.moniker, "", INCOMPLETE, reason=inventory.INCOMPLETE.format(dock.moniker))


def _states(on_aws: Sequence[Dock], seconds: float) -> dict[Dock, Instance | None]:
    """Return the instances of docks, None for one that AWS does not know; one call a region, all at the same time.

    What AWS does not tell is missing.
    """
    session = Session(os.environ, dry_run=False, seconds=seconds)
    tasks = {}
    for region in sorted({dock.region or "" for dock in on_aws}):
        those = [dock for dock in on_aws if dock.region == region]
        try:
            ec2 = Ec2(session, region)
            ec2.connect()
        except DockerutilsError as error:
            _warn_of(region, error)
        else:
            ids = [dock.instance_id or "" for dock in those]
            tasks[region] = those, Task(functools.partial(ec2.instances, ids))
    states: dict[Dock, Instance | None] = {}
    for region, (those, task) in tasks.items():
        if failure := task.failure():
            _warn_of(region, failure)
        else:
            states |= {dock: task.result().get(dock.instance_id or "") for dock in those}
    return states


def _warn_of(region: str, error: DockerutilsError) -> None:
    console.warn("ls-dock", f"what AWS knows of the docks in {region} is missing: {error}")


def _asked(those: Sequence[Dock], seconds: float) -> dict[Dock, Row]:
    """Ask docks over ssh."""
    answers = process.capture_within([_probe(dock, seconds) for dock in those], seconds, _is_turned_away)
    return {dock: _row(dock, answer, seconds) for dock, answer in zip(those, answers, strict=True)}


def _away(dock: Dock, instance: Instance | None) -> Row | None:
    """Return the row of a dock that is not asked, because of what AWS knows of it."""
    row = Row(dock.moniker, dock.address, instance.state if instance else TERMINATED)
    if row.state in {TERMINATED, "shutting-down"}:
        return row._replace(reason=f"instance {dock.instance_id} was terminated; run: destroy-dock {dock.moniker}")
    if instance is None or row.state != RUNNING:
        return row
    if dock.ip in {instance.public, instance.private} or not is_ip(dock.ip):
        return None
    where = f"instance {instance.id} is at {instance.address} now"
    return row._replace(state=UNREACHABLE, reason=f"{where}; to follow it, run: start-dock {dock.moniker}")


def _probe(dock: Dock, seconds: float) -> list[str]:
    options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={int(seconds) + 1}"]
    return ["ssh", *options, dock.host, "--", f"sh -c {shlex.quote(_PROBE)}"]


def _is_turned_away(answer: Captured) -> bool:
    return answer.status == ssh_config.SSH_FAILED and re.search(_TURNED_AWAY, answer.stderr) is not None


def _row(dock: Dock, answer: Captured | None, seconds: float) -> Row:
    row = Row(dock.moniker, dock.address, UNREACHABLE)
    if answer is None:
        return row._replace(reason=f"no answer in {seconds:g} s; see whether the host runs, or wait longer with -t")
    if answer.status:
        return row._replace(reason=ssh_config.explain(dock, answer.stderr))
    engine = re.search(r"(?m)^engine=([\w.+~-]+) (\d+) ", answer.stdout)
    disk = re.search(r"(?ms)^disk=.*?\s\d+\s+\d+\s+(\d+)\s+\d+%", answer.stdout)
    uptime = re.search(r"(?m)^uptime=(\d+)", answer.stdout)
    row = row._replace(free_disk=int(disk[1]) * 1024 if disk else None, uptime=int(uptime[1]) if uptime else None)
    if engine:
        return row._replace(state=RUNNING, engine=engine[1], containers=int(engine[2]))
    reason = f"no engine answers there, or {dock.user} may not use it; see what docker info says there"
    return row._replace(state=NO_ENGINE, reason=reason)


def _cells(row: Row) -> tuple[str, ...]:
    containers = "" if row.containers is None else str(row.containers)
    free = "" if row.free_disk is None else f"{row.free_disk / 1e9:.1f} GB"
    uptime = "" if row.uptime is None else console.age(row.uptime)
    return row.moniker, row.address, row.state, row.engine or "", containers, free, uptime
