"""List docks: state, engine, free disk, GPUs."""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Sequence
from typing import NamedTuple

from dockerutils.aws import states
from dockerutils.aws.ec2 import TERMINATED, Instance, is_ip
from dockerutils.cli import program
from dockerutils.core import complaints, console, process
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process import Captured
from dockerutils.docker import platforms
from dockerutils.docks import gpu_usage, inventory, remote, runs, ssh_config
from dockerutils.docks.gpu_usage import Gpu, Usage
from dockerutils.docks.records import Dock
from dockerutils.docks.runs import Run
from dockerutils.swarm import membership
from dockerutils.swarm.membership import Membership

_EXAMPLES = """\
  ls-dock                      print a table
  ls-dock -v                   also list the runs of images there, of all users
  ls-dock --timeout 2          wait two seconds at most
  ls-dock --json | jq .        print JSON: sizes in bytes, times in seconds"""

RUNNING, NO_ENGINE, UNREACHABLE, INCOMPLETE = "running", "no engine", "unreachable", "incomplete"

_LIMIT = 1 << 16  # bytes of output that are read from a dock
_USERS = 4  # users of a GPU that the table names

# Free disk is that of the engine's data.
_SCRIPT = "; ".join(
    [
        remote.find_docker(
            'info -f "{{.ServerVersion}} {{.ContainersRunning}} {{.OSType}}/{{.Architecture}} '
            f'{membership.FORMAT} {{{{.DockerRootDir}}}}"'
        ),
        'printf "engine=%s\\n" "$answer"; root=${answer#* * * * }',
        membership.PROBE,
        'printf "disk=%s\\n" "$(df -Pk "$root" 2>/dev/null || df -Pk /)"',
        'printf "uptime=%s\\n" "$(cat /proc/uptime 2>/dev/null)"',
    ]
)


class Row(NamedTuple):
    """One dock: its running `containers`, `free_disk` in bytes on the disk of the engine's data, `uptime` in seconds.

    `engine` is the version of its engine, and `platform` what that runs, such as linux/amd64. `gpus` is None if the
    dock was not asked, and so are the `runs` of images. `swarm` is its place in a swarm, None without one. `reason`
    says why the engine or the GPUs are not listed: what is wrong; what to do.
    """

    moniker: str
    address: str
    state: str
    engine: str | None = None
    platform: str | None = None
    containers: int | None = None
    free_disk: int | None = None
    uptime: int | None = None
    gpus: Sequence[Gpu] | None = None
    runs: Sequence[Run] | None = None
    swarm: Membership | None = None
    reason: str | None = None


def parser() -> program.Parser:
    """Return the parser of ls-dock."""
    parser = program.Parser("ls-dock", f"{__doc__}", _EXAMPLES)
    parser.add_json()
    parser.add_argument("-v", "--verbose", action="store_true", help="also list the runs of images, running or kept")
    parser.add_timeout("5", "time limit for all answers")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Ask all docks at once, over ssh, and show the answers; a dock that does not answer affects only its own row."""
    seconds = program.seconds(args.timeout)
    deadline = time.monotonic() + seconds
    home = os.path.expanduser("~")
    listed = inventory.known(home)
    inventory.update_ssh_config(listed, home)
    if seconds >= 2 * remote.CHECK:
        remote.drop_dead_connections([remote.of(dock) for dock in listed])
    nodes: dict[str, str] = {}
    rows = {dock: _incomplete(dock) for dock in listed if dock.is_incomplete}
    complete = [dock for dock in listed if dock not in rows]
    if on_aws := [dock for dock in complete if dock.instance_id and dock.region]:
        # AWS is asked meanwhile. Until it has answered, a dock there may have given its address to another machine,
        # unless ssh is connected to it.
        query = states.Query(on_aws, os.environ, seconds)
        halfway = deadline - seconds / 2
        first = [dock for dock in complete if dock not in on_aws or remote.of(dock).is_connected]
        rows |= _probe(first, halfway, nodes, with_runs=args.verbose)
        instances = query.result(halfway, _warn)
        rows |= {dock: row for dock, instance in instances.items() if (row := _absent(dock, instance))}
    rows |= _probe([dock for dock in listed if dock not in rows], deadline, nodes, with_runs=args.verbose)
    rows = {dock: row._replace(swarm=membership.completed(row.swarm, nodes)) for dock, row in rows.items()}
    late = f"did not answer in {seconds:g} s; check that it is up, or wait longer with -t"
    missing = {dock: _row(dock)._replace(reason=f"dock {dock.moniker} {late}") for dock in listed if dock not in rows}
    _show(args, [(rows | missing)[dock] for dock in listed])


def _show(args: argparse.Namespace, rows: Sequence[Row]) -> None:
    if args.json:
        print(json.dumps([_record(row) for row in rows], indent=2))
        return
    header: tuple[str, ...] = ("MONIKER", "ADDRESS", "STATE", "ENGINE", "CONTAINERS", "FREE", "UPTIME")
    cells = [_cells(row) for row in rows]
    if any(row.swarm for row in rows):
        header = (*header, "SWARM")
        cells = [(*each, row.swarm.shown if row.swarm else "") for each, row in zip(cells, rows, strict=True)]
    print(console.table(header, cells))
    if gpus := [_gpu_cells(row, number, gpu) for row in rows for number, gpu in enumerate(row.gpus or ())]:
        print("\n" + console.table(("MONIKER", "GPU", "MODEL", "MEMORY", "USED BY"), gpus))
    if found := [(row.moniker, *runs.cells(run)) for row in rows for run in row.runs or ()]:
        print("\n" + console.table(("MONIKER", *runs.HEADER), found))
    if not rows:
        console.note("ls-dock", "no docks yet; run: register-dock HOST MONIKER, or create-dock NAME")
    for row in rows:
        if row.reason:
            console.warn("ls-dock", row.reason)


def _record(row: Row) -> dict[str, object]:
    """Return a row for JSON, which has no named tuples."""
    record = row._asdict()
    if row.gpus is not None:
        users = [[usage._asdict() for usage in gpu.used_by] for gpu in row.gpus]
        record["gpus"] = [gpu._asdict() | {"used_by": used_by} for gpu, used_by in zip(row.gpus, users, strict=True)]
    if row.runs is not None:
        record["runs"] = [run._asdict() for run in row.runs]
    if row.swarm is not None:
        record["swarm"] = row.swarm._asdict()
    return record


def _incomplete(dock: Dock) -> Row:
    return Row(dock.moniker, "", INCOMPLETE, reason=inventory.INCOMPLETE.format(dock.moniker))


def _warn(message: str) -> None:
    console.warn("ls-dock", message)


def _absent(dock: Dock, instance: Instance) -> Row | None:
    """Return the row of a dock that is not asked, because of what AWS says about it."""
    row = _row(dock)._replace(state=instance.state)
    if row.state in {TERMINATED, "shutting-down"}:
        gone = f"instance {dock.instance_id} of dock {dock.moniker} was terminated"
        return row._replace(reason=f"{gone}; run: destroy-dock {dock.moniker}")
    if row.state == states.UNKNOWN:
        return row._replace(reason=instance.reason)
    if row.state != RUNNING:
        return row
    if dock.ip in instance.addresses or not is_ip(dock.ip):
        return None
    moved = f"instance {instance.id} of dock {dock.moniker} is at {instance.address} now"
    return row._replace(state=UNREACHABLE, reason=f"{moved}; to follow it, run: start-dock {dock.moniker}")


def _probe(docks: Sequence[Dock], deadline: float, nodes: dict[str, str], *, with_runs: bool) -> dict[Dock, Row]:
    """Ask docks over ssh; those that do not answer in time are missing.

    `nodes` gets the availability of the nodes that managers of swarms list.
    """
    seconds = max(0.0, deadline - time.monotonic())
    # A third of the time for docker, and for each of the two calls of nvidia-smi.
    script = "; ".join([_SCRIPT, *([runs.PROBE] if with_runs else []), gpu_usage.probe(seconds / 3)])
    probes = [remote.probe(dock, script, seconds) for dock in docks]
    answers = process.capture_within(probes, seconds, _is_refused, limit=_LIMIT)
    rows = {dock: _read(dock, answer) for dock, answer in zip(docks, answers, strict=True) if answer}
    for dock, answer in zip(docks, answers, strict=True):
        if answer:
            place, listed = membership.read(answer.stdout)
            rows[dock] = rows[dock]._replace(swarm=place)
            nodes.update(listed)
    if with_runs:
        found = {dock: runs.marked(answer.stdout) for dock, answer in zip(docks, answers, strict=True) if answer}
        rows = {dock: row._replace(runs=found[dock]) for dock, row in rows.items()}
    return rows


def _is_refused(answer: Captured) -> bool:
    return answer.status == ssh_config.SSH_FAILED and complaints.is_refused_connection(answer.stderr)


def _row(dock: Dock) -> Row:
    return Row(dock.moniker, dock.address, UNREACHABLE)


def _read(dock: Dock, answer: Captured) -> Row:
    """Return the row of a dock that has answered. Its output is not trusted."""
    row, host = _row(dock), remote.of(dock)
    if answer.status:
        return row._replace(reason=host.explain(answer.stderr))
    disk = re.search(r"(?am)^disk=[^\n]*(?:\n[^\n]*?)?\s\d{1,18}\s+\d{1,18}\s+(\d{1,18})\s+\d{1,3}%", answer.stdout)
    uptime = re.search(r"(?am)^uptime=(\d{1,18})\b", answer.stdout)
    gpus, fault = gpu_usage.read(answer.stdout, dock.moniker)
    row = row._replace(free_disk=int(disk[1]) * 1024 if disk else None, uptime=int(uptime[1]) if uptime else None)
    row = row._replace(gpus=gpus, reason=fault)
    try:
        host.docker_in(answer.stdout)
    except DockerutilsError as error:
        return row._replace(state=NO_ENGINE, reason=str(error))
    engine = re.search(r"(?am)^engine=([\w.+~-]{1,100}) (\d{1,9}) ([\w/-]{1,100}) ", answer.stdout)
    if engine:
        platform = platforms.normal(engine[3])
        return row._replace(state=RUNNING, engine=engine[1], containers=int(engine[2]), platform=platform)
    reason = f"docker on dock {dock.moniker} reports no version; run: ssh-dock {dock.moniker} docker info"
    return row._replace(state=NO_ENGINE, reason=reason)


def _cells(row: Row) -> tuple[str, ...]:
    containers = "" if row.containers is None else str(row.containers)
    free = _gigabytes(row.free_disk)
    uptime = "" if row.uptime is None else console.age(row.uptime)
    engine = row.engine or ""
    if row.platform not in {None, platforms.normal(f"linux/{os.uname().machine}")}:
        engine += f" {row.platform}"
    return row.moniker, row.address, row.state, engine, containers, free, uptime


def _gpu_cells(row: Row, number: int, gpu: Gpu) -> tuple[str, ...]:
    used, total = _gigabytes(gpu.memory_used), _gigabytes(gpu.memory_total)
    memory = f"{used or '?'} of {total}" if total else used
    users = [_shown(usage) for usage in gpu.used_by[:_USERS]]
    if len(gpu.used_by) > _USERS:
        users.append(f"{len(gpu.used_by) - _USERS} more")
    return row.moniker, str(number), gpu.model, memory, ", ".join(users)


def _shown(usage: Usage) -> str:
    name = usage.container or usage.user or "unknown"
    user = f" ({usage.user})" if usage.container and usage.user else ""
    return f"{name}{user} {_gigabytes(usage.memory)}".rstrip()


def _gigabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e9:.1f} GB"
