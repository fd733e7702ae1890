"""Create a dock on AWS: an instance with Docker Engine."""

from __future__ import annotations

import argparse
import functools
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dockerutils.aws import access, autostop, incomplete, instances, readiness
from dockerutils.aws.ec2 import RUNNING, Ec2, Instance
from dockerutils.aws.launch import Specification, launch
from dockerutils.aws.service_catalog import Catalog, Product
from dockerutils.aws.session import Session
from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.core.progress import Lines
from dockerutils.core.rollback import Rollback, all_or_nothing
from dockerutils.docks import contexts, inventory, records, ssh_config
from dockerutils.docks.records import Dock

_COMMAND = "create-dock"
_EXAMPLES = """\
  create-dock gpu --instance-type g5.xlarge --volume 200   choose the instance type, and a disk of 200 GB
  create-dock small --subnet subnet-0abc --autostop 2      use your subnet; stop after two hours without use
  create-dock gpu --product-name dock --param Team=vision  use a product of AWS Service Catalog
  create-dock gpu --dry-run                                print the aws commands, create nothing"""
_ENVIRONMENT = """\
  AWS_PROFILE, AWS_REGION ...  as for the aws command
  DOCK_USER                    the user on the dock (default: ubuntu)"""

# The file names of ssh-keygen for the kinds of keys that EC2 accepts.
_PUBLIC_KEYS = ("id_ed25519.pub", "id_rsa.pub")
_LARGEST = 65536  # GB
_TYPE, _VOLUME = "t3.large", 50


class Created(NamedTuple):
    """A new instance, and the provisioned product that it belongs to, if any."""

    instance: str
    product: str | None = None


# Creates an instance, given the session, the run tag, the deadline and the rollback.
Create = Callable[[Session, str, float, Rollback], Created]


def parser() -> program.Parser:
    """Return the parser of create-dock."""
    parser = program.Parser(_COMMAND, f"{__doc__}", _EXAMPLES, environment=_ENVIRONMENT)
    parser.add_argument("name", metavar="NAME", help="name of the dock, its moniker")
    parser.add_user()
    parser.add_argument(
        "--autostop", metavar="HOURS", type=autostop.positive_hours, help="stop the dock after HOURS without use"
    )
    parser.add_timeout("900")
    machine = parser.add_argument_group("machine")
    machine.add_argument("-i", "--instance-type", metavar="TYPE", help=f"instance type (default: {_TYPE})")
    machine.add_argument("-s", "--subnet", metavar="ID", help="subnet (default: one of the default VPC)")
    machine.add_argument("-v", "--volume", metavar="GB", type=_volume, help=f"disk size in GB (default: {_VOLUME})")
    machine.add_argument("--ami", metavar="ID", help="machine image (default: the current Ubuntu 24.04)")
    access = parser.add_argument_group("access")
    keys = access.add_mutually_exclusive_group()
    keys.add_argument("--key-name", metavar="NAME", help="use this key pair of EC2")
    keys.add_argument(
        "--public-key", metavar="FILE", help="public key file (default: ~/.ssh/id_ed25519.pub or id_rsa.pub)"
    )
    access.add_argument("--identity", metavar="FILE", help="private key file of --key-name")
    groups = access.add_mutually_exclusive_group()
    groups.add_argument("--security-group", metavar="ID", help="use this security group (default: create one)")
    groups.add_argument(
        "--cidr",
        metavar="NETWORK",
        type=_network,
        help="network that can connect over ssh (default: only your address)",
    )
    product = parser.add_argument_group("AWS Service Catalog (replaces machine and access)")
    product.add_argument("--product-name", metavar="NAME", help="product to provision")
    product.add_argument("--product-version", metavar="NAME", help="version of the product (default: the newest)")
    product.add_argument(
        "--param",
        metavar="KEY=VALUE",
        type=_parameter,
        action="append",
        default=[],
        help="set a parameter of the product; repeatable",
    )
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Create the instance, wait for docker, register the dock; on any failure remove what was created."""
    home = os.path.expanduser("~")
    began = time.monotonic()
    deadline = began + program.seconds(args.timeout)
    login, earlier = _checked_names(args, home)
    create, identity = _creator(args, home, login)
    session = Session(os.environ, dry_run=args.dry_run)
    if earlier:
        for what in incomplete.remove(earlier, session, home):
            console.note(_COMMAND, f"removed what an earlier create-dock {args.name} left: {what}")
    if args.dry_run:
        create(session, incomplete.new_run(product=args.product_name is not None), deadline, Rollback())
        return
    dock = incomplete.new(args.name, login, identity, session, product=args.product_name is not None)
    inventory.register(dock, home)
    with incomplete.locked(dock, home), all_or_nothing(_COMMAND) as rollback:
        rollback.add(
            f"the record of {dock.moniker}",
            lambda: f"destroy-dock {dock.moniker}",
            functools.partial(_forget, dock.run or "", rollback, home),
        )
        dock = _complete(dock, create, session, deadline, rollback)
    ready = f"{dock.moniker} at {dock.ip} is ready after {time.monotonic() - began:.0f} s"
    console.note(_COMMAND, f"{ready}; run: source dock {dock.moniker}")


def _complete(dock: Dock, create: Create, session: Session, deadline: float, rollback: Rollback) -> Dock:
    """Create the instance of an incomplete dock, wait for docker, and complete the record."""
    assert dock.run
    home = os.path.expanduser("~")
    created = create(session, dock.run, deadline, rollback)
    lines = Lines()
    ec2 = Ec2(session)
    ip = _wait_until_running(ec2, created.instance, deadline, lines).address or ""
    # Its files stay at the address of the incomplete dock until docker answers.
    reachable = dock._replace(hostname=ip, ip=ip, instance_id=created.instance, provisioned_product=created.product)
    inventory.release_address(ip, home)
    _wait_until_ready(ec2, reachable, home, deadline, lines)
    complete = reachable._replace(address=ip)
    inventory.change(reachable, complete, home)
    _create_context(complete, rollback)
    return complete


def _checked_names(args: argparse.Namespace, home: str) -> tuple[str, Dock | None]:
    """Return the user on the dock, and the incomplete dock of that name; UserError for names that cannot be used."""
    login = os.environ.get("DOCK_USER", records.DEFAULT_USER) if args.user is None else args.user
    if fault := records.fault_in_moniker(args.name) or records.fault_in_user(login):
        raise UserError(fault)
    docks = inventory.known(home)
    earlier = next((each for each in docks if each.is_incomplete and each.moniker == args.name), None)
    # The address is not known yet: only the moniker can clash.
    others = [each for each in docks if each != earlier]
    if fault := inventory.clash(Dock(args.name, "", login, "", ""), others):
        raise UserError(fault)
    return str(login), earlier


def _creator(args: argparse.Namespace, home: str, login: str) -> tuple[Create, str | None]:
    """Return the function that creates the instance, and the private key to log in with."""
    if args.product_name is not None:
        return functools.partial(_provision, _product(args)), _private_key(args)
    if args.product_version is not None or args.param:
        raise UserError("--product-version and --param need --product-name")
    public_key, identity = _keys(args, home)
    wanted = Specification(
        name=args.name,
        user=instances.user(os.environ),
        login=login,
        type=args.instance_type or _TYPE,
        volume=args.volume or _VOLUME,
        subnet=args.subnet,
        image=args.ami,
        key=args.key_name,
        public_key=public_key,
        group=args.security_group,
        source=args.cidr,
        autostop=args.autostop or 0.0,
    )
    return functools.partial(_launch, wanted), identity


def _launch(wanted: Specification, session: Session, run: str, _: float, rollback: Rollback) -> Created:
    """Launch an instance of EC2."""
    if not wanted.group and not wanted.source:
        wanted = wanted._replace(source=access.own_network(os.environ, session))
    return Created(launch(Ec2(session), wanted, run, rollback))


def _product(args: argparse.Namespace) -> Product:
    if args.autostop is not None:
        raise UserError("--autostop cannot be used with --product-name; afterwards run: start-dock --autostop HOURS")
    for option in ("ami", "public_key", "security_group", "cidr"):
        if getattr(args, option) is not None:
            name = option.replace("_", "-")
            raise UserError(f"--{name} cannot be used with --product-name; set a parameter of the product with --param")
    options = {
        "InstanceName": args.name,
        "InstanceType": args.instance_type,
        "SubnetID": args.subnet,
        "VolumeSize": args.volume,
        "KeyName": args.key_name,
    }
    parameters = {key: str(value) for key, value in options.items() if value is not None} | dict(args.param)
    return Product(args.product_name, args.product_version, args.name, instances.user(os.environ), parameters)


def _provision(product: Product, session: Session, run: str, deadline: float, rollback: Rollback) -> Created:
    """Provision a product of Service Catalog."""
    found = Catalog(session).provision(product, run, deadline, rollback)
    if found is None:
        return Created("")
    instance = found.instance or instances.of_product(Ec2(session), found.address or "")
    if not instance:
        raise DockerutilsError(
            f"no instance in {session.region} has the address {found.address} of the product's outputs; fix the product"
        )
    return Created(instance, found.id)


def _volume(text: str) -> int:
    if re.fullmatch("[0-9]{1,5}", text) and 0 < int(text) <= _LARGEST:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a disk size; write a number of GB from 1 to {_LARGEST}")


def _parameter(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _network(text: str) -> str:
    import ipaddress  # late, for -h

    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; write ADDRESS/32 for one address") from None
    if network.prefixlen == 0:
        raise argparse.ArgumentTypeError(f"{text} admits everybody; name the network that you connect from")
    return str(network)


def _keys(args: argparse.Namespace, home: str) -> tuple[str | None, str | None]:
    """Return the file of the public key for EC2, and the identity file for ssh."""
    if args.key_name is not None:
        return None, _private_key(args)
    if args.identity is not None:
        raise UserError("--identity needs --key-name; name your public key with --public-key")
    if args.public_key is not None:
        public = _file(args.public_key, "--public-key")
    else:
        candidates = [os.path.join(home, ".ssh", name) for name in _PUBLIC_KEYS]
        public = next(filter(os.path.isfile, candidates), "")
        if not public:
            raise UserError(
                "~/.ssh has no ed25519 or RSA key, which EC2 needs; run: ssh-keygen -t ed25519, or use --public-key"
            )
    with open(public, encoding="utf-8", errors="replace") as file:
        if not re.match(r"ssh-(?:ed25519|rsa) AAAA\S+", file.read(4096)):
            raise UserError(f"{public} is not an ed25519 or RSA public key, which EC2 needs; name another file")
    private = public.removesuffix(".pub")
    # For a private key in an agent, ssh accepts the file of the public key.
    return public, private if private != public and os.path.isfile(private) else public


def _private_key(args: argparse.Namespace) -> str | None:
    return None if args.identity is None else _file(args.identity, "--identity")


def _file(text: str, option: str) -> str:
    path = os.path.abspath(os.path.expanduser(text))
    if fault := records.fault_in_identity(path):
        raise UserError(fault)
    if not os.path.isfile(path):
        raise UserError(f"{path} is not a file; correct {option}")
    return path


def _wait_until_running(ec2: Ec2, instance: str, deadline: float, lines: Lines) -> Instance:
    """Wait until the instance runs and has an address."""

    def show(found: Mapping[str, Instance]) -> None:
        state = found[instance].state if instance in found else "not known yet"
        lines.update(instance, f"{instance}: {state}")

    found = ec2.until([instance], {RUNNING}, deadline, show)[instance]
    lines.end(instance, f"{instance}: {found.state} at {found.address}")
    return found


def _wait_until_ready(ec2: Ec2, dock: Dock, home: str, deadline: float, lines: Lines) -> None:
    """Save the host keys that AWS returns, and wait until ssh and docker answer."""
    assert dock.instance_id
    lines.update(dock.moniker, f"{dock.moniker}: waiting for its host keys")
    keys = readiness.host_keys(ec2, dock.instance_id, dock.ip, deadline)
    ssh_config.write_host_keys(dock, keys, home)  # without keys, an empty file for those of the first connection
    if not keys:
        lines.above(lambda: readiness.warn_unverified(_COMMAND, dock))
    show = functools.partial(_show, lines, dock.moniker)
    reasons = readiness.await_docker([dock], home, deadline, show, sudo=False)
    lines.end(dock.moniker)
    if failure := readiness.failure(reasons):
        raise failure


def _show(lines: Lines, moniker: str, text: str) -> None:
    lines.update(moniker, f"{moniker}: {text}")


def _create_context(dock: Dock, rollback: Rollback) -> None:
    """Create the docker context; a warning if there is no docker."""
    rollback.add(f"docker context {dock.host}", lambda: f"docker context rm {dock.host}", lambda: _drop_context(dock))
    contexts.keep(dock, dry_run=False, command=_COMMAND)


def _drop_context(dock: Dock) -> str:
    contexts.drop(dock, dry_run=False, command=_COMMAND)
    return ""


def _forget(run: str, rollback: Rollback, home: str) -> str:
    """Remove the record, unless something is left in AWS that only the record leads to."""
    for dock in () if rollback.is_incomplete else inventory.known(home):
        if dock.run == run:
            inventory.unregister(dock.address, home)
    return ""
