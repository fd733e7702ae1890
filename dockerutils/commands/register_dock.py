"""Register an ssh host as a dock, for source dock, ssh, docker and rsync."""

from __future__ import annotations

import argparse
import os
import pwd
from collections.abc import Sequence

from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.core.errors import UserError
from dockerutils.docks import contexts, inventory, records, ssh_config
from dockerutils.docks.records import Dock

_EXAMPLES = """\
  register-dock 203.0.113.7 gpu                            log in as DOCK_USER, or ubuntu
  register-dock box.example.com --user ada --port 2222     use the address as the moniker
  register-dock 203.0.113.7 gpu --identity ~/.ssh/gpu.pem  use this private key"""


def parser() -> program.Parser:
    """Return the parser of register-dock."""
    parser = program.Parser(
        "register-dock",
        f"{__doc__}",
        _EXAMPLES,
        environment="  DOCK_USER    default of --user",
    )
    parser.add_argument("address", metavar="ADDRESS", help="host name or IP address")
    parser.add_argument("moniker", metavar="MONIKER", nargs="?", help="name of the dock (default: the address)")
    parser.add_user()
    parser.add_argument("-P", "--port", metavar="PORT", help="port of sshd")
    parser.add_argument("-i", "--identity", metavar="FILE", help="private key file")
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Write the record and the ssh stanza, then the docker context; without docker, warn."""
    home = os.path.expanduser("~")
    before = inventory.known(home)
    dock = _dock(args, before)
    if fault := inventory.clash(dock, before):
        raise UserError(fault)
    if not args.dry_run:
        inventory.register(dock, home)
        _warn(dock, home)
    for other in before:
        if other.address == dock.address and other.moniker != dock.moniker:
            contexts.drop(other, dry_run=args.dry_run, command="register-dock")
    contexts.keep(dock, dry_run=args.dry_run, command="register-dock")


def _dock(args: argparse.Namespace, before: Sequence[Dock]) -> Dock:
    """Return the dock that the arguments describe; the fields about AWS are those of its present record."""
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
        raise UserError(f"{identity} does not exist; correct -i")
    port = None if args.port is None else int(args.port)
    dock = Dock(moniker, args.address, user, args.address, args.address, port, identity)
    old = next((other for other in before if other.address == dock.address), dock)
    return dock._replace(instance_id=old.instance_id, region=old.region, provisioned_product=old.provisioned_product)


def _warn(dock: Dock, home: str) -> None:
    """Warn of what limits ssh with this home directory."""
    if ssh_config.socket(dock, home) is None:
        console.warn(
            "register-dock",
            f"the path {home} is too long for a shared ssh connection; every docker command opens its own",
        )
    try:
        own = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a user without an entry; ssh says so
        return
    if os.path.realpath(own) != os.path.realpath(home):
        console.warn(
            "register-dock",
            f"ssh reads {own}, not HOME, and does not find this dock; register it with HOME={own}",
        )
