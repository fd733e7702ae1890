"""Create a dock on AWS: an instance with Docker Engine, registered once docker answers."""

from __future__ import annotations

import argparse
import functools
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dockerutils.aws import autostop, instances, readiness
from dockerutils.aws.api import Session
from dockerutils.aws.ec2 import RUNNING, Ec2, Instance, Wanted, caller, caller_unasked
from dockerutils.aws.service_catalog import Catalog, Product
from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.core.errors import CommandFailed, DockerutilsError, UserError
from dockerutils.core.progress import Lines
from dockerutils.core.rollback import Undo, all_or_nothing
from dockerutils.docks import contexts, inventory, records, ssh_config
from dockerutils.docks.records import Dock

_COMMAND = "create-dock"
_EXAMPLES = """\
  create-dock gpu -i g5.xlarge -v 200              with a volume of 200 GB
  create-dock small -s subnet-0abc --autostop 2    in a network of your own; it stops when nobody uses it
  create-dock gpu --product-name dock --param Team=vision    of AWS Service Catalog
  create-dock gpu --dry-run                        the aws commands, and nothing is made"""
_ENVIRONMENT = """\
  AWS_PROFILE, AWS_REGION ...  as the aws command has them
  DOCK_USER                    the user there, when -u names none"""

# The key pairs that EC2 takes, as ssh-keygen names the files.
_PUBLIC_KEYS = ("id_ed25519.pub", "id_rsa.pub")
_LARGEST = 65536  # GB
_TYPE, _VOLUME = "t3.large", "50"


class Made(NamedTuple):
    """An instance that was made, and the provisioned product that it belongs to, if it belongs to one."""

    instance: str
    product: str | None = None


# It is given the session, the time when it has to have ended, and what takes note of what it makes.
Maker = Callable[[Session, float, Undo], Made]


def parser() -> program.Parser:
    """Return the parser of create-dock."""
    parser = program.Parser(_COMMAND, f"{__doc__}", _EXAMPLES, environment=_ENVIRONMENT)
    parser.add_argument("name", metavar="NAME", help="what to call it: its moniker")
    parser.add_user()
    parser.add_argument("--autostop", metavar="HOURS", help="stop by itself when nobody has used it for so long")
    parser.add_timeout("900")
    machine = parser.add_argument_group("the machine")
    machine.add_argument("-i", "--instance-type", metavar="TYPE", help=f"the type of instance; {_TYPE} by default")
    machine.add_argument("-s", "--subnet", metavar="ID", help="the subnet; the default VPC has one, if you name none")
    machine.add_argument("-v", "--volume", metavar="GB", help=f"the size of its disk; {_VOLUME} by default")
    machine.add_argument("--ami", metavar="ID", help="the image; the newest Ubuntu LTS by default")
    access = parser.add_argument_group("who gets in")
    keys = access.add_mutually_exclusive_group()
    keys.add_argument("--key-name", metavar="NAME", help="a key pair that AWS has")
    keys.add_argument("--public-key", metavar="FILE", help="your public key; ~/.ssh/id_ed25519.pub or id_rsa.pub")
    access.add_argument("--identity", metavar="FILE", help="the private key that goes with --key-name")
    groups = access.add_mutually_exclusive_group()
    groups.add_argument("--security-group", metavar="ID", help="a security group; by default one of yours is made")
    groups.add_argument("--cidr", metavar="NETWORK", help="who may connect; your own address alone by default")
    product = parser.add_argument_group("AWS Service Catalog, in place of the machine and who gets in")
    product.add_argument("--product-name", metavar="NAME", help="a product")
    product.add_argument("--product-version", metavar="NAME", help="its version; the newest by default")
    product.add_argument("--param", metavar="KEY=VALUE", action="append", default=[], help="a parameter; repeatable")
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Make the instance, wait for it, register it; on any failure all that was made is taken away again."""
    home = os.path.expanduser("~")
    began = time.monotonic()
    deadline = began + program.seconds(args.timeout)
    login = _login(args, home)
    make, identity = _maker(args, home, login)
    session = Session(os.environ, dry_run=args.dry_run)
    with all_or_nothing(_COMMAND) as undo:
        made = make(session, deadline, undo)
        if args.dry_run:
            return
        lines = Lines()
        ec2 = Ec2(session)
        ip = _running(ec2, made.instance, deadline, lines).address or ""
        dock = Dock(args.name, ip, login, ip, ip, None, identity, made.instance, ec2.region, made.product)
        inventory.vacate(ip, home)
        undo.add(f"the record of {dock.moniker}", lambda: f"unregister-dock {ip}", lambda: _forget(dock, home))
        _greet(ec2, dock, home, deadline, lines)
        _register(dock, undo, home)
    ready = f"{dock.moniker} at {dock.ip} is ready after {time.monotonic() - began:.0f} s"
    console.note(_COMMAND, f"{ready}; source dock {dock.moniker}")


def _login(args: argparse.Namespace, home: str) -> str:
    """Return the user on the dock; UserError when that, or the dock's name, cannot be."""
    login = os.environ.get("DOCK_USER", records.DEFAULT_USER) if args.user is None else args.user
    if fault := records.fault_in_moniker(args.name) or records.fault_in_user(login):
        raise UserError(fault)
    # No record has that address: the moniker alone may be taken.
    if fault := inventory.clash(Dock(args.name, "", login, "", ""), inventory.known(home)):
        raise UserError(fault)
    return str(login)


def _maker(args: argparse.Namespace, home: str, login: str) -> tuple[Maker, str | None]:
    """Return what makes the instance that is asked for, and the private key to log in with; UserError for a fault."""
    if args.volume is not None and (fault := _fault_in_volume(args.volume)):
        raise UserError(fault)
    if args.product_name is not None:
        return functools.partial(_provision, _product(args)), _private_key(args)
    if args.product_version is not None or args.param:
        raise UserError("--product-version and --param go with --product-name")
    if args.cidr is not None:
        args.cidr = _network(args.cidr)
    public_key, identity = _keys(args, home)
    wanted = Wanted(
        name=args.name,
        user=instances.user(os.environ),
        login=login,
        type=args.instance_type or _TYPE,
        volume=int(args.volume or _VOLUME),
        subnet=args.subnet,
        image=args.ami,
        key=args.key_name,
        public_key=public_key,
        group=args.security_group,
        source=args.cidr,
        autostop=0.0 if args.autostop is None else autostop.hours(args.autostop, least=0.0001),
    )
    return functools.partial(_launch, wanted), identity


def _launch(wanted: Wanted, session: Session, _: float, undo: Undo) -> Made:
    """Make an instance of EC2."""
    if not wanted.group and not wanted.source:
        wanted = wanted._replace(source=_own_address(session))
    return Made(Ec2(session).make(wanted, undo))


def _product(args: argparse.Namespace) -> Product:
    if args.autostop is not None:
        raise UserError("--autostop does not go with --product-name; once it is there: start-dock --autostop HOURS")
    for option in ("ami", "public_key", "security_group", "cidr"):
        if getattr(args, option) is not None:
            raise UserError(f"--{option.replace('_', '-')} does not go with --product-name; the product settles that")
    options = {
        "InstanceName": args.name,
        "InstanceType": args.instance_type,
        "SubnetID": args.subnet,
        "VolumeSize": args.volume,
        "KeyName": args.key_name,
    }
    parameters = {key: value for key, value in options.items() if value is not None}
    for each in args.param:
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise UserError(f"--param: {each!r} is no KEY=VALUE")
        parameters[key] = value
    return Product(args.product_name, args.product_version, args.name, instances.user(os.environ), parameters)


def _provision(product: Product, session: Session, deadline: float, undo: Undo) -> Made:
    """Provision a product of Service Catalog."""
    found = Catalog(session).provision(product, deadline, undo)
    if found is None:
        return Made("")
    instance = found.instance or Ec2(session).at(found.address or "")
    if not instance:
        raise DockerutilsError(
            f"no instance in {session.region} has the address {found.address} that the product tells"
        )
    return Made(instance, found.id)


def _own_address(session: Session) -> str:
    return caller_unasked(os.environ, session) if session.dry_run else caller(os.environ)


def _fault_in_volume(text: str) -> str:
    if re.fullmatch("[0-9]{1,5}", text) and 0 < int(text) <= _LARGEST:
        return ""
    return f"-v: {text!r} is no size of a disk; write a number of GB, from 1 to {_LARGEST}"


def _network(text: str) -> str:
    """Return a network as AWS writes it; UserError for one that is none, or that is all the world."""
    import ipaddress

    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise UserError(f"--cidr: {error}; write ADDRESS/32 for one address") from None
    if network.prefixlen == 0:
        raise UserError(f"--cidr: {text} is everybody; name the network that you connect from")
    return str(network)


def _keys(args: argparse.Namespace, home: str) -> tuple[str | None, str | None]:
    """Return the file of the public key that AWS is given, and that of the identity that ssh is told."""
    if args.key_name is not None:
        return None, _private_key(args)
    if args.identity is not None:
        raise UserError("--identity goes with --key-name; name your public key with --public-key")
    if args.public_key is not None:
        public = _there(_path(args.public_key), "--public-key")
    else:
        candidates = [os.path.join(home, ".ssh", name) for name in _PUBLIC_KEYS]
        public = next(filter(os.path.isfile, candidates), "")
        if not public:
            raise UserError(
                "~/.ssh has no key that EC2 takes; run: ssh-keygen -t ed25519, or name one with --public-key"
            )
    with open(public, encoding="utf-8", errors="replace") as file:
        if not re.match(r"ssh-(?:ed25519|rsa) AAAA\S+", file.read(4096)):
            raise UserError(
                f"{public} is no public key of the kinds ed25519 and rsa, which EC2 takes; name another file"
            )
    private = public.removesuffix(".pub")
    # ssh takes the public one for a private key that an agent has.
    return public, private if private != public and os.path.isfile(private) else public


def _private_key(args: argparse.Namespace) -> str | None:
    return None if args.identity is None else _there(_path(args.identity), "--identity")


def _path(text: str) -> str:
    return os.path.abspath(os.path.expanduser(text))


def _there(path: str, option: str) -> str:
    if fault := records.fault_in_identity(path):
        raise UserError(fault)
    if not os.path.isfile(path):
        raise UserError(f"{path} is no file; correct {option}")
    return path


def _running(ec2: Ec2, instance: str, deadline: float, lines: Lines) -> Instance:
    """Wait until the instance runs and has an address."""

    def looked(found: Mapping[str, Instance]) -> None:
        state = found[instance].state if instance in found else "not known yet"
        lines.update(instance, f"{instance}: {state}")

    found = ec2.until([instance], {RUNNING}, deadline, looked)[instance]
    lines.end(instance, f"{instance}: {found.state} at {found.address}")
    return found


def _greet(ec2: Ec2, dock: Dock, home: str, deadline: float, lines: Lines) -> None:
    """Take note of the host keys that AWS tells, and wait until ssh and docker answer."""
    assert dock.instance_id
    lines.update(dock.moniker, f"{dock.moniker}: waiting for its host keys")
    keys = readiness.host_keys(ec2, dock.instance_id, dock.ip, deadline)
    ssh_config.know_keys(dock, keys, home)  # if none, the file is there for those of the first connection
    if not keys:
        lines.above(lambda: readiness.warn_unverified(_COMMAND, dock))
    show = functools.partial(_show, lines, dock.moniker)
    reasons = readiness.await_docker([dock], home, deadline, show, sudo=False)
    lines.end(dock.moniker)
    if failure := readiness.failure(reasons):
        raise failure


def _show(lines: Lines, moniker: str, text: str) -> None:
    lines.update(moniker, f"{moniker}: {text}")


def _register(dock: Dock, undo: Undo, home: str) -> None:
    """Write record and stanza, then the docker context; without docker a warning stands for that."""
    inventory.register(dock, home)
    undo.add(f"the docker context {dock.host}", lambda: f"docker context rm {dock.host}", lambda: _dropped(dock))
    try:
        contexts.keep(dock, dry_run=False)
    except CommandFailed:
        raise
    except DockerutilsError as error:
        console.warn(_COMMAND, f"there is no docker context {dock.host}: {error}")


def _dropped(dock: Dock) -> str:
    contexts.drop(dock, dry_run=False)
    return ""


def _forget(dock: Dock, home: str) -> str:
    inventory.unregister(dock.address, home)
    return ""
