"""Launching an instance for a dock, with a key pair and a security group of its own.

The calls: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from dockerutils.aws import access, machine, resources
from dockerutils.aws.ec2 import RUN, TOOL, UNKNOWN_GROUP, UNKNOWN_KEY, Ec2, filter_list
from dockerutils.aws.errors import Refused
from dockerutils.aws.session import OR_EMPTY, Contents
from dockerutils.core import console
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.rollback import Rollback

# Refusals of one zone, or of a spot instance, that another zone, or an instance on demand, does not have to share:
# https://docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html
_ZONE_LACKS = {"InsufficientInstanceCapacity", "InsufficientCapacity", "UnfulfillableCapacity", "Unsupported"}
_SPOT_LACKS = {*_ZONE_LACKS, "SpotMaxPriceTooLow", "MaxSpotInstanceCountExceeded"}
# AWS stops the instance when it needs the machine, and starts it again later; only a persistent request allows that.
_SPOT = {
    "MarketType": "spot",
    "SpotOptions": {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"},
}


class Specification(NamedTuple):
    """What to launch: the dock's name, the user it is for, and the instance type.

    `volume` is in GB, None for what suits the image. The key is `key`, the name of a key pair, or `public_key`, a file.
    Ssh is admitted by the security group `group`, or from the network `source`. `profile` is an instance profile of
    IAM. With `spot` it is a spot instance, with `on_demand` too if there is none, one on demand. One that is `private`
    has no public address, and its own group admits nobody.
    """

    name: str
    user: str
    type: str
    user_data: str
    volume: int | None = None
    subnet: str | None = None
    image: str | None = None
    key: str | None = None
    public_key: str | None = None
    group: str | None = None
    source: str | None = None
    profile: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    spot: bool = False
    on_demand: bool = False
    private: bool = False


class Launched(NamedTuple):
    """An instance: its id, whether it is a spot instance, and its GPUs."""

    id: str
    spot: bool
    gpus: machine.Gpus


class _Resources(NamedTuple):
    disk: machine.Disk
    group: str
    key: str


def launch(ec2: Ec2, wanted: Specification, run: str, rollback: Rollback) -> Launched:
    """Launch an instance. Everything made gets the tag `run`, and is recorded in `rollback`."""
    image, gpus = machine.image(ec2, wanted.type, wanted.image)
    disk = machine.disk(ec2, image, wanted.volume)
    group = wanted.group or _create_group(ec2, wanted, run, rollback)
    key = wanted.key or _import_key(ec2, wanted, run, rollback)
    instance, spot = _run_instance(ec2, wanted, _Resources(disk, group, key), run, rollback)
    return Launched(instance, spot, gpus)


def _vpc(ec2: Ec2, subnet: str | None) -> str:
    if subnet:
        return str(ec2.call("describe-subnets", {"SubnetIds": [subnet]}, "Subnets[0].VpcId", "vpc"))
    filters = {"Filters": filter_list({"is-default": ["true"]})}
    vpc = ec2.call("describe-vpcs", filters, f"Vpcs[0].VpcId{OR_EMPTY}", "vpc")
    return ec2.session.found(vpc, f"{ec2.region} has no default VPC; name a subnet with -s")


def _create_group(ec2: Ec2, wanted: Specification, run: str, rollback: Rollback) -> str:
    """Create the dock's security group, which admits ssh from `wanted.source`, or nobody."""
    name = _resource_name(wanted, run)
    parameters = {
        "GroupName": name,
        "Description": f"ssh to the dock {wanted.name} of {wanted.user}",
        "VpcId": _vpc(ec2, wanted.subnet),
        "TagSpecifications": [_tagged("security-group", wanted, run)],
    }
    with rollback.making(f"security group {name}", _remedy(wanted), partial(resources.remove_group, ec2, run)):
        try:
            group = str(ec2.call("create-security-group", parameters, "GroupId", "group"))
        except Refused as error:
            # The name is this run's: an earlier attempt, whose answer was lost, created it.
            if error.code != "InvalidGroup.Duplicate":
                raise
            group = resources.await_found(ec2, resources.GROUPS, run)
    if wanted.source:
        rule = {"GroupId": group, "IpPermissions": [access.ssh_rule(wanted.source)]}
        ec2.settled({UNKNOWN_GROUP}, lambda: access.unless_done(ec2, "authorize-security-group-ingress", rule))
    return group


def _import_key(ec2: Ec2, wanted: Specification, run: str, rollback: Rollback) -> str:
    """Create the dock's key pair from the user's public key, and return its name."""
    assert wanted.public_key
    name = _resource_name(wanted, run)
    parameters = {
        "KeyName": name,
        "PublicKeyMaterial": Contents(wanted.public_key),
        "TagSpecifications": [_tagged("key-pair", wanted, run)],
    }
    with rollback.making(f"key pair {name}", _remedy(wanted), partial(resources.remove_key, ec2, run)):
        try:
            ec2.call("import-key-pair", parameters)
        except Refused as error:
            if error.code != "InvalidKeyPair.Duplicate":  # as above
                raise
    return name


def _run_instance(ec2: Ec2, wanted: Specification, of: _Resources, run: str, rollback: Rollback) -> tuple[str, bool]:
    """Run the instance; return its id, and whether it is a spot instance."""
    made: list[str] = []
    with rollback.making(
        f"the instance of {wanted.name}", _remedy(wanted), partial(resources.remove_instance, ec2, run, made)
    ):
        if wanted.spot:
            try:
                made.append(_run_somewhere(ec2, wanted, of, run))
            except Refused as error:
                _cancel_requests(ec2, run)
                if not wanted.on_demand or error.code not in _SPOT_LACKS:
                    raise
                console.note("create-dock", f"no spot instance: {error.reason}; creating one on demand")
            else:
                return made[0], True
        made.append(_run_somewhere(ec2, wanted._replace(spot=False), of, run))
    return made[0], False


def _cancel_requests(ec2: Ec2, run: str) -> None:
    """Cancel the spot request that a refused call left, if any: it could still make an instance."""
    try:
        resources.cancel_spot_request(ec2, run)
    except Refused as error:
        raise DockerutilsError(str(error)) from error  # it does not tell whether anything was made


def _run_somewhere(ec2: Ec2, wanted: Specification, of: _Resources, run: str) -> str:
    """Run the instance in the zone that AWS chooses, else in any other one, and return its id.

    A subnet that the user names is the only place.
    """
    try:
        return _run(ec2, wanted, of, run)
    except Refused as error:
        if error.code not in _ZONE_LACKS or wanted.subnet:
            raise
        refused = error
    for number, subnet in enumerate(_default_subnets(ec2), 1):
        try:
            return _run(ec2, wanted._replace(subnet=subnet), of, run, number)
        except Refused as error:
            if error.code not in _ZONE_LACKS:
                raise
    raise refused


def _default_subnets(ec2: Ec2) -> list[str]:
    """Return the default subnets, one in each zone."""
    filters = {"Filters": filter_list({"default-for-az": ["true"]})}
    return list(ec2.call("describe-subnets", filters, "Subnets[].SubnetId") or ())


def _run(ec2: Ec2, wanted: Specification, of: _Resources, run: str, number: int = 0) -> str:
    """Run the instance and return its id; `number` is that of the attempt."""
    volume = {"VolumeSize": of.disk.size, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    kinds = ("instance", "volume", "network-interface", *(("spot-instances-request",) if wanted.spot else ()))
    attempt = f"{'s' if wanted.spot else ''}{number or ''}"
    parameters: dict[str, Any] = {
        "ImageId": of.disk.image,
        "InstanceType": wanted.type,
        "KeyName": of.key,
        **_network(wanted, of.group),
        **({"IamInstanceProfile": {"Name": wanted.profile}} if wanted.profile else {}),
        **({"InstanceMarketOptions": _SPOT} if wanted.spot else {}),
        "BlockDeviceMappings": [{"DeviceName": of.disk.device, "Ebs": volume}],
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
        "InstanceInitiatedShutdownBehavior": "stop",
        "UserData": wanted.user_data,
        "TagSpecifications": [_tagged(kind, wanted, run) for kind in kinds],
        # AWS makes one instance for a token, however often the request arrives; other parameters need another token.
        "ClientToken": f"{TOOL}-{wanted.name[:24]}-{run}" + (f"-{attempt}" if attempt else ""),
        "MinCount": 1,
        "MaxCount": 1,
    }
    # Only what this run has just created can be temporarily unknown.
    temporary = {*(() if wanted.group else (UNKNOWN_GROUP,)), *(() if wanted.key else (UNKNOWN_KEY,))}
    query = "Instances[0].InstanceId"
    return ec2.settled(temporary, lambda: str(ec2.call("run-instances", parameters, query, "instance")))


def _network(wanted: Specification, group: str) -> dict[str, Any]:
    subnet = {"SubnetId": wanted.subnet} if wanted.subnet else {}
    if not wanted.private:
        return {"SecurityGroupIds": [group], **subnet}
    # Only an interface of its own can go without the public address that a subnet gives by default.
    interface = {"DeviceIndex": 0, "AssociatePublicIpAddress": False, "Groups": [group], **subnet}
    return {"NetworkInterfaces": [interface | {"DeleteOnTermination": True}]}


def _remedy(wanted: Specification) -> Any:
    return lambda: f"destroy-dock {wanted.name}"


def _resource_name(wanted: Specification, run: str) -> str:
    return f"{TOOL}-{wanted.user}-{wanted.name}-{run}"


def _tagged(kind: str, wanted: Specification, run: str) -> Mapping[str, Any]:
    tags = dict(wanted.tags) | {"Name": wanted.name, "user": wanted.user, "tool": TOOL, RUN: run}
    return {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
