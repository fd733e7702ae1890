"""Register a host as a dock, known by its moniker to source dock, ssh, docker and rsync."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.core.errors import CommandFailed, DockerutilsError, UserError
from dockerutils.docks import contexts, inventory, records, ssh_config
from dockerutils.docks.records import Dock

_EXAMPLES = """\
  register-dock 203.0.113.7 gpu                    ssh as DOCK_USER, else as ubuntu
  register-dock box.example.com -u ada -P 2222     the address is the moniker too
  register-dock 203.0.113.7 gpu -i ~/.ssh/gpu.pem  with a key of its own"""


def parser() -> program.Parser:
    """Return the parser of register-dock."""
    parser = program.Parser(
        "register-dock",
        f"{__doc__}",
        _EXAMPLES,
        environment="  DOCK_USER    the user there, when -u names none",
    )
    parser.add_argument("address", metavar="ADDRESS", help="the host's name or IP address")
    parser.add_argument("moniker", metavar="MONIKER", nargs="?", help="what to call it; the address by default")
    parser.add_user()
    parser.add_argument("-P", "--port", metavar="PORT", help="the port of its sshd")
    parser.add_argument("-i", "--identity", metavar="FILE", help="the private key to use")
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Write record and stanza, then the docker context; without docker a warning stands for that."""
    home = os.path.expanduser("~")
    before = inventory.known(home)
    dock = _dock(args, before)
    if fault := inventory.clash(dock, before):
        raise UserError(fault)
    if not args.dry_run:
        inventory.register(dock, home)
        _warn(dock, home)
    try:
        for other in before:
            if other.address == dock.address and other.moniker != dock.moniker:
                contexts.drop(other, dry_run=args.dry_run)
        contexts.keep(dock, dry_run=args.dry_run)
    except CommandFailed:
        raise
    except DockerutilsError as error:
        console.warn("register-dock", f"there is no docker context {dock.host}: {error}, and register it again")


def _dock(args: argparse.Namespace, before: Sequence[Dock]) -> Dock:
    """Return the dock that the arguments describe; what AWS calls it is kept from its record."""
    moniker = records.moniker_of(args.address) if args.moniker is None else args.moniker
    user = os.environ.get("DOCK_USER", records.DEFAULT_USER) if args.user is None else args.user
    identity = None if args.identity is None else os.path.abspath(os.path.expanduser(args.identity))
    faults = [
        records.fault_in_address(args.address),
        records.fault_in_moniker(moniker),
        records.fault_in_user(user),
        records.fault_in_port(args.port) if args.port is not None else "",
        records.fault_in_identity(identity) if identity is not None else "",
    ]
    if fault := next(filter(None, faults), ""):
        raise UserError(fault)
    if identity is not None and not os.path.isfile(identity):
        raise UserError(f"{identity} is no file; correct -i")
    port = None if args.port is None else int(args.port)
    dock = Dock(moniker, args.address, user, args.address, args.address, port, identity)
    old = next((other for other in before if other.address == dock.address), dock)
    return dock._replace(instance_id=old.instance_id, region=old.region, provisioned_product=old.provisioned_product)


def _warn(dock: Dock, home: str) -> None:
    """Tell of what will not work as it should, on a machine that is unlike others."""
    import pwd

    if ssh_config.socket(dock, home) is None:
        console.warn(
            "register-dock",
            f"{home} is too long a path for ssh's shared connection; every docker call will open one of its own",
        )
    try:
        own = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # ssh says so itself
        return
    if os.path.realpath(own) != os.path.realpath(home):
        console.warn(
            "register-dock",
            f"ssh takes {own} for your home directory, whatever HOME is, and does not see this dock; "
            f"register it with HOME={own}",
        )
