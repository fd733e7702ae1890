"""Register an ssh host as a dock.

source dock, ssh, docker and rsync can then use it by its name.
"""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.core.errors import UserError
from dockerutils.docks import contexts, inventory, records, registration, remote, ssh_config, user_ssh
from dockerutils.docks.records import Dock
from dockerutils.docks.registration import Found, Request

_COMMAND = "register-dock"
_EXAMPLES = """\
  register-dock box                             a host in ~/.ssh/config
  register-dock ada@203.0.113.7:2222 gpu        call it gpu
  register-dock 203.0.113.7 gpu -i ~/gpu.pem    use this private key
  register-dock box gpu --replace               replace another dock"""
_PLACE = "[user@]host[:port], or a host in your ssh configuration"


def parser() -> program.Parser:
    """Return the parser of register-dock."""
    parser = program.Parser(
        _COMMAND,
        f"{__doc__}",
        _EXAMPLES,
        environment="  DOCK_USER          default of --user\n"
        "  DOCK_WORKSPACES    directory of projects on docks (default: /data/workspaces)",
    )
    parser.add_argument("address", metavar="HOST", help=_PLACE)
    parser.add_argument("moniker", metavar="MONIKER", nargs="?", help="name of the dock (default: HOST)")
    parser.add_argument(
        "-u", "--user", metavar="USER", help="user on the dock (default: that of your ssh configuration, or DOCK_USER)"
    )
    parser.add_argument("-P", "--port", metavar="PORT", help="port of sshd")
    parser.add_argument("-i", "--identity", metavar="FILE", help="private key file")
    parser.add_argument("--no-connect", action="store_true", help="do not log in, for example to a host that is down")
    parser.add_argument("--replace", action="store_true", help="replace docks that have this moniker or address")
    instance = parser.add_argument_group("an instance on AWS")
    instance.add_argument("--instance", metavar="ID", help="EC2 instance, for start-dock, stop-dock and destroy-dock")
    instance.add_argument("--region", metavar="REGION", help="region of the instance (default: AWS_REGION)")
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Log in to the host, write the record and the ssh stanza, then the docker context; without docker, warn."""
    home = os.path.expanduser("~")
    before = inventory.known(home)
    request = _request(args, before)
    dock, is_running = _tied(request.dock, args)
    request = request._replace(dock=dock)
    if not args.replace and (fault := inventory.clash(dock, before, "add --replace", hosts=True)):
        raise UserError(fault)
    replaced = inventory.conflicts(dock, before)
    if args.dry_run:
        _list_changes(dock, replaced, home)
    else:
        found = None
        if is_running and not args.no_connect:
            found = registration.connect(request, _workspace(), home, ask=sys.stdin.isatty() and sys.stderr.isatty())
        keys = found.keys if found else user_ssh.known_keys(request.login)
        _write(request, replaced, keys, home)
        _warn(dock, home)
    for other in replaced:
        if other.moniker != dock.moniker:
            contexts.drop(other, dry_run=args.dry_run, command=_COMMAND)
    contexts.keep(dock, dry_run=args.dry_run, command=_COMMAND)
    if not args.dry_run:
        _report(dock, found, is_running=is_running)


def _request(args: argparse.Namespace, before: Sequence[Dock]) -> Request:
    """Return the dock that the arguments and the user's ssh configuration describe.

    The fields about AWS are those of its present record.
    """
    named = records.parse_destination(args.address)
    if not named:
        raise UserError(f"{args.address!r} is not a host; use {_PLACE}")
    moniker = records.moniker_of(named.host) if args.moniker is None else args.moniker
    identity = None if args.identity is None else os.path.abspath(os.path.expanduser(args.identity))
    faults = [
        records.fault_in_moniker(moniker),
        records.fault_in_user(args.user) if args.user is not None else "",
        records.fault_in_port(args.port) if args.port is not None else "",
        records.fault_in_identity(identity) if identity is not None else "",
        records.fault_in_word(args.instance) if args.instance is not None else "",
        records.fault_in_word(args.region) if args.region is not None else "",
    ]
    if fault := next(filter(None, faults), ""):
        raise UserError(fault)
    if identity is not None and not os.path.isfile(identity):
        raise UserError(f"{identity} does not exist; correct -i")
    named = named._replace(user=named.user or args.user, port=named.port or args.port)
    old = next((other for other in before if other.address == named.host), None)
    return registration.request(named, moniker, identity, old, inventory.undocked(os.environ).get("DOCK_USER"))


def _tied(dock: Dock, args: argparse.Namespace) -> tuple[Dock, bool]:
    """Return the dock with the instance that the arguments name, and whether that runs."""
    if args.instance is None:
        if args.region is not None:
            raise UserError("--region is the region of an instance; add --instance ID")
        return dock, True
    if args.dry_run:
        return dock._replace(instance_id=args.instance, region=args.region), True
    from dockerutils.aws import instances  # late: only --instance needs AWS
    from dockerutils.aws.ec2 import RUNNING, Ec2
    from dockerutils.aws.session import Session

    session = Session(os.environ, dry_run=False)
    tied, state = instances.tie(dock, args.instance, Ec2(session, args.region or ""))
    return tied, state == RUNNING


def _write(request: Request, replaced: Sequence[Dock], keys: Sequence[str], home: str) -> None:
    """Register the dock, and note what that changes; the connections of docks that it replaces are closed."""
    dock, old = request.dock, request.old
    had_line = ssh_config.is_included(home)
    ended = [*replaced, *([old] if old and old not in replaced else [])]
    for other in ended:
        if ssh_config.socket(other, home) != ssh_config.socket(dock, home):
            remote.of(other).disconnect()  # without its stanza, nothing finds the connection
    inventory.register(dock, home, replace=True, keys=keys)
    for line in _changes(dock, replaced, had_line=had_line):
        console.note(_COMMAND, line)
    for other in replaced:
        remaining = inventory.remains(other)
        if remaining and other.instance_id != dock.instance_id:
            console.warn(_COMMAND, f"{other.moniker} was replaced; {remaining}")


def _list_changes(dock: Dock, replaced: Sequence[Dock], home: str) -> None:
    """Print what would be written, as comments of a shell, and the stanza."""
    lines = _changes(dock, replaced, had_line=ssh_config.is_included(home))
    stanza = ssh_config.stanza(dock, home).splitlines()
    for line in (*lines, *stanza):
        print(f"# {console.one_line(line)}")


def _changes(dock: Dock, replaced: Sequence[Dock], *, had_line: bool) -> list[str]:
    """Return what registering a dock changes in the user's files."""
    removed = [f"~/.docker/{each.address}/connection_config.txt" for each in replaced if each.address != dock.address]
    names = ", ".join(each.moniker for each in replaced)
    return [
        *([f"replace {names}"] if replaced else []),
        *(f"remove {path}" for path in removed),
        f"write ~/.docker/{dock.address}/connection_config.txt",
        f"write ~/.docker/dock_ssh_config: Host {dock.host}",
        *([] if had_line else [f"write ~/.ssh/config: {ssh_config.INCLUDE}, as its first line"]),
    ]


def _workspace() -> str:
    """Return the directory of this user's projects on docks."""
    from dockerutils.docks import project_copy  # late: -h does not need it
    from dockerutils.project import project

    return project_copy.workspace(os.environ, project.login_name(os.environ))


def _report(dock: Dock, found: Found | None, *, is_running: bool) -> None:
    """Print what the host has, and what the user would miss there."""
    if not is_running:
        console.note(_COMMAND, f"instance {dock.instance_id} does not run; to start it, run: start-dock {dock.moniker}")
    if not found:
        return
    if found.docker and found.info:
        console.note(_COMMAND, f"{dock.moniker} has {_engine(found)}; run: source dock {dock.moniker}")
    for warning in _shortcomings(dock, found):
        console.warn(_COMMAND, warning)


def _engine(found: Found) -> str:
    """Return the engine of a host with its platform and GPUs."""
    from dockerutils.docker import platforms  # late: -h does not need it

    info = found.info
    platform = platforms.normal(f"{info['OSType']}/{info['Architecture']}")
    gpus = f"{console.count(len(found.gpus), 'GPU')} ({', '.join(found.gpus)})"
    return f"Docker Engine {info['ServerVersion']}, {platform}, {gpus if found.gpus else 'no NVIDIA GPU'}"


def _shortcomings(dock: Dock, found: Found) -> list[str]:
    """Return what the user would miss on a host: what is wrong; what to do."""
    ssh = f"ssh-dock {dock.moniker}"
    if not found.docker:
        return [found.fault]
    faults = []
    if not found.info:
        faults.append(f"docker on {dock.moniker} does not describe its engine; see: {ssh} docker info")
    if found.docker.sudo:
        faults.append(
            f"docker on {dock.moniker} needs sudo, which docker --context {dock.host} does not use; run: "
            f"{ssh} sudo usermod -aG docker {dock.user}"
        )
    if found.docker.path != "docker":
        path = found.docker.path
        faults.append(
            f"{path} on {dock.moniker} is not on the PATH of an ssh command, where docker --context {dock.host} "
            f"needs it; run: {ssh} sudo ln -s {path} /usr/local/bin/docker"
        )
    if found.gpus and found.info:
        from dockerutils.docker import gpus  # late: few docks have GPUs

        faults += filter(None, [gpus.choose({**found.info})[1]])
    if not found.is_writable:
        from dockerutils.docks import project_copy  # late, as in `_workspace`

        workspace = _workspace()
        advice = project_copy.make_writable(dock, workspace)
        faults.append(f"{workspace} on {dock.moniker} is not writable, which syncing needs; {advice}")
    return faults


def _warn(dock: Dock, home: str) -> None:
    """Warn of what limits ssh with this home directory."""
    if ssh_config.socket(dock, home) is None:
        console.warn(
            _COMMAND,
            f"the path {home} is too long for a shared ssh connection; every docker command opens its own",
        )
    try:
        own = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a user without an entry; ssh says so
        return
    if os.path.realpath(own) != os.path.realpath(home):
        console.warn(
            _COMMAND,
            f"ssh reads {own}, not HOME, and does not find this dock; register it with HOME={own}",
        )
