"""Create a dock: an instance with Docker Engine."""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dockerutils.aws import access, arguments, autostop, dry_run, incomplete, instances, readiness, session_manager
from dockerutils.aws.ec2 import RUNNING, Ec2, Instance
from dockerutils.aws.launch import Specification, launch
from dockerutils.aws.machine import Gpus
from dockerutils.aws.service_catalog import Catalog, Product
from dockerutils.aws.session import Session
from dockerutils.aws.user_data import user_data
from dockerutils.cli import program
from dockerutils.core import console
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.core.progress import Lines
from dockerutils.core.rollback import Rollback, all_or_nothing
from dockerutils.docks import contexts, inventory, records, ssh_config
from dockerutils.docks.records import Dock

_COMMAND = "create-dock"
_EXAMPLES = """\
  create-dock gpu -i g5.xlarge --volume 200    a GPU, and a disk of 200 GB
  create-dock small --spot --autostop 2        pay less; stop when unused
  create-dock gpu --product-name dock          use AWS Service Catalog
  create-dock gpu --dry-run                    print the aws commands only"""
_ENVIRONMENT = """\
  AWS_PROFILE, AWS_REGION ...  as for the aws command
  DOCK_USER                    the user on the dock (default: ubuntu)"""

_TYPE = "t3.large"
_OWN_IMAGE = 30.0  # seconds that docker with an image of the user's gets to list the GPUs
# Options of the instance itself, which a product decides.
_NOT_WITH_PRODUCT = (
    *("ami", "public_key", "security_group", "cidr", "spot", "spot_or_on_demand", "instance_profile", "user_data"),
    *("jupyter", "ssm"),
)


class Created(NamedTuple):
    """A new instance, the provisioned product that it belongs to, if any, and what its last message adds."""

    instance: str
    product: str | None = None
    gpus: Gpus = Gpus()
    spot: bool = False
    private: bool = False


# Creates an instance, given the session, the run tag, the deadline and the rollback.
Create = Callable[[Session, str, float, Rollback], Created]


def parser() -> program.Parser:
    """Return the parser of create-dock."""
    parser = program.Parser(_COMMAND, f"{__doc__}", _EXAMPLES, environment=_ENVIRONMENT)
    parser.add_argument("name", metavar="NAME", help="name of the dock, its moniker")
    parser.add_timeout("900")
    _add_machine(parser.add_argument_group("machine"))
    _add_preparation(parser.add_more("preparation"))
    _add_network(parser.add_more("network"))
    _add_login(parser.add_more("login"))
    product = parser.add_more("AWS Service Catalog (replaces most of these)")
    product.add_argument("--product-name", metavar="NAME", help="product to provision")
    product.add_argument("--product-version", metavar="NAME", help="version of the product (default: the newest)")
    product.add_argument(
        "--param", metavar="KEY=VALUE", type=arguments.parameter, action="append", default=[],
        help="set a parameter of the product; repeatable",
    )  # fmt: skip
    parser.add_dry_run()
    parser.add_verbose()
    return parser


def _add_machine(group: argparse._ActionsContainer) -> None:
    group.add_argument("-i", "--instance-type", metavar="TYPE", help=f"instance type (default: {_TYPE})")
    group.add_argument(
        "-v", "--volume", metavar="GB", type=arguments.volume, help="disk size in GB (default: 50 or more)"
    )
    spot = group.add_mutually_exclusive_group()
    spot.add_argument("--spot", action="store_true", default=None, help="cheaper spot instance, which AWS can stop")
    spot.add_argument(
        "--spot-or-on-demand", action="store_true", default=None, help="a spot instance, or on demand if there is none"
    )
    group.add_argument(
        "--autostop", metavar="HOURS", type=autostop.positive_hours, help="stop the dock after HOURS without use"
    )


def _add_preparation(group: argparse._ActionsContainer) -> None:
    group.add_argument("--ami", metavar="ID", help="machine image (default: Ubuntu 24.04, for GPUs with the driver)")
    group.add_argument("--user-data", metavar="FILE", help="script or cloud-config to run on the new dock")
    group.add_argument("--jupyter", action="store_true", default=None, help="install JupyterLab, for nb-dock")
    group.add_argument("--instance-profile", metavar="NAME", help="IAM instance profile: AWS permissions of the dock")
    group.add_argument(
        "--tag", metavar="KEY=VALUE", type=arguments.tag, action="append", default=[],
        help="tag everything that is created; repeatable",
    )  # fmt: skip


def _add_network(group: argparse._ActionsContainer) -> None:
    group.add_argument("-s", "--subnet", metavar="ID", help="subnet (default: one of the default VPC)")
    group.add_argument(
        "--ssm", action="store_true", default=None, help="no public address, no open port: ssh through Session Manager"
    )
    groups = group.add_mutually_exclusive_group()
    groups.add_argument("--security-group", metavar="ID", help="use this security group (default: create one)")
    groups.add_argument(
        "--cidr",
        metavar="NETWORK",
        type=arguments.network,
        help="network that can connect over ssh (default: only your address)",
    )


def _add_login(group: argparse._ActionsContainer) -> None:
    group.add_argument("-u", "--user", metavar="USER", help="user on the dock (default: DOCK_USER, or ubuntu)")
    keys = group.add_mutually_exclusive_group()
    keys.add_argument("--key-name", metavar="NAME", help="use this key pair of EC2")
    keys.add_argument(
        "--public-key", metavar="FILE", help="public key file (default: ~/.ssh/id_ed25519.pub or id_rsa.pub)"
    )
    group.add_argument("--identity", metavar="FILE", help="private key file of --key-name")


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
    if args.dry_run:
        print("set -eu", flush=True)
    if earlier:
        for what in incomplete.remove(earlier, session, home):
            console.note(_COMMAND, f"removed what an earlier create-dock {args.name} left: {what}")
    run = incomplete.new_run(product=args.product_name is not None, spot=bool(args.spot or args.spot_or_on_demand))
    if args.dry_run:
        created = create(session, run, deadline, Rollback())
        dock = Dock(args.name, "", login, "", "", None, identity)
        dry_run.print_registration(created.instance, dock, session, private=created.private)
        return
    dock = incomplete.new(args.name, login, identity, session, run)
    inventory.register(dock, home)
    with incomplete.locked(dock, home), all_or_nothing(_COMMAND) as rollback:
        rollback.add(
            f"the record of {dock.moniker}",
            lambda: f"destroy-dock {dock.moniker}",
            functools.partial(_forget, dock.run or "", rollback, home),
        )
        dock, what = _complete(dock, create, session, deadline, rollback)
    ready = f"{dock.moniker} at {dock.ip} is ready after {time.monotonic() - began:.0f} s{what}"
    console.note(_COMMAND, f"{ready}; run: source dock {dock.moniker}")


def _complete(dock: Dock, create: Create, session: Session, deadline: float, rollback: Rollback) -> tuple[Dock, str]:
    """Create the instance of an incomplete dock, wait for docker, and complete the record; also return what it has."""
    assert dock.run
    home = os.path.expanduser("~")
    created = create(session, dock.run, deadline, rollback)
    lines = Lines()
    ec2 = Ec2(session)
    ip = _wait_until_running(ec2, created.instance, deadline, lines).address or ""
    # Its files stay at the address of the incomplete dock until docker answers.
    reachable = dock._replace(hostname=ip, ip=ip, instance_id=created.instance, provisioned_product=created.product)
    if created.private:
        reachable = session_manager.through(reachable, os.environ)
    inventory.release_address(reachable.ip, home)
    _wait_until_ready(ec2, reachable, home, deadline, lines)
    what = ", a spot instance" if created.spot else ""
    if created.gpus.what and _wait_for_gpus(reachable, created.gpus, home, deadline, lines):
        what += f", docker has its GPUs ({created.gpus.what})"
    complete = reachable._replace(address=reachable.ip)
    inventory.change(reachable, complete, home)
    _create_context(complete, rollback)
    return complete, what


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
        return functools.partial(_provision, _product(args)), arguments.private_key(args)
    if args.product_version is not None or args.param:
        raise UserError("--product-version and --param need a product; add --product-name NAME")
    if args.ssm:
        session_manager.check(args)
    public_key, identity = arguments.keys(args, home)
    wanted = Specification(
        name=args.name,
        user=instances.user(os.environ),
        type=args.instance_type or _TYPE,
        user_data=user_data(
            login, args.autostop or 0.0, arguments.text(args.user_data, "--user-data"), jupyter=bool(args.jupyter)
        ),
        volume=args.volume,
        subnet=args.subnet,
        image=args.ami,
        key=args.key_name,
        public_key=public_key,
        group=args.security_group,
        source=args.cidr,
        profile=args.instance_profile,
        tags=tuple(args.tag),
        spot=bool(args.spot or args.spot_or_on_demand),
        on_demand=bool(args.spot_or_on_demand),
        private=bool(args.ssm),
    )
    return functools.partial(_launch, wanted), identity


def _launch(wanted: Specification, session: Session, run: str, _: float, rollback: Rollback) -> Created:
    """Launch an instance of EC2."""
    if not (wanted.group or wanted.source or wanted.private):
        wanted = wanted._replace(source=access.own_network(os.environ, session))
    launched = launch(Ec2(session), wanted, run, rollback)
    return Created(launched.id, gpus=launched.gpus, spot=launched.spot, private=wanted.private)


def _product(args: argparse.Namespace) -> Product:
    if args.autostop is not None:
        raise UserError("--autostop cannot be used with --product-name; afterwards run: start-dock --autostop HOURS")
    for option in _NOT_WITH_PRODUCT:
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
    user = instances.user(os.environ)
    return Product(args.product_name, args.product_version, args.name, user, parameters, dict(args.tag))


def _provision(product: Product, session: Session, run: str, deadline: float, rollback: Rollback) -> Created:
    """Provision a product of Service Catalog."""
    found = Catalog(session).provision(product, run, deadline, rollback)
    instance = found.instance or instances.of_product(Ec2(session), found.address or "")
    if not instance:
        raise DockerutilsError(
            f"no instance in {session.region} has the address {found.address} of the product's outputs; fix the product"
        )
    return Created(instance, found.id)


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
    address = None if session_manager.is_used_by(dock) else dock.ip
    lines.update(dock.moniker, f"{dock.moniker}: waiting for its host keys")
    keys = readiness.host_keys(ec2, dock.instance_id, address, deadline)
    ssh_config.write_host_keys(dock, keys, home)  # without keys, an empty file for those of the first connection
    if not keys:
        lines.above(lambda: readiness.warn_unverified(_COMMAND, dock))
    show = functools.partial(_show, lines, dock.moniker)
    reasons = readiness.await_docker([dock], home, deadline, show, sudo=False)
    lines.end(dock.moniker)
    if failure := readiness.failure(reasons):
        raise failure


def _wait_for_gpus(dock: Dock, gpus: Gpus, home: str, deadline: float, lines: Lines) -> bool:
    """Wait until docker lists the GPUs, and return whether it does; if not, warn if the image is the user's."""
    show = functools.partial(_show, lines, dock.moniker)
    seconds = deadline - time.monotonic()
    reason = readiness.await_gpus(dock, home, seconds if gpus.has_driver else min(seconds, _OWN_IMAGE), show)
    lines.end(dock.moniker)
    if reason and gpus.has_driver:
        raise DockerutilsError(reason)
    if reason:
        lines.above(lambda: console.warn(_COMMAND, reason))
    return not reason


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
