"""Launching an instance for a dock, with a key pair and a security group of its own.

The calls: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from dockerutils.aws import access, autostop, resources
from dockerutils.aws.ec2 import RUN, TOOL, UNKNOWN_GROUP, UNKNOWN_KEY, Ec2, filter_list
from dockerutils.aws.errors import Refused
from dockerutils.aws.session import Call, Contents
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.rollback import Rollback
from dockerutils.core.shell_words import Word

# Canonical's public parameter has the current image of a release:
# https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/
UBUNTU = "24.04"
_PARAMETER = "/aws/service/canonical/ubuntu/server/{}/stable/current/{}/hvm/ebs-gp3/ami-id"
# The defaults are 10 sessions on one connection, and logins refused at random beyond 10 at once. Over ssh://, docker
# takes three sessions for each container that is attached. See sshd_config(5).
_SSHD = {
    "path": "/etc/ssh/sshd_config.d/10-dockerutils.conf",
    "content": "MaxSessions 100\nMaxStartups 100:30:200\n",
}
_ARCHITECTURE = "contains(InstanceTypes[0].ProcessorInfo.SupportedArchitectures,'arm64')&&'arm64'||'amd64'"


class Specification(NamedTuple):
    """What to launch: the dock's name, the user it is for, and the user to log in as (`login`).

    `volume` is in GB. The key is `key`, the name of a key pair, or `public_key`, a file. Ssh is admitted by the
    security group `group`, or from the network `source`. The dock stops after `autostop` hours without use, 0: never.
    """

    name: str
    user: str
    login: str
    type: str
    volume: int
    subnet: str | None = None
    image: str | None = None
    key: str | None = None
    public_key: str | None = None
    group: str | None = None
    source: str | None = None
    autostop: float = 0.0


class _Resources(NamedTuple):
    image: str
    device: str
    group: str
    key: str


def launch(ec2: Ec2, wanted: Specification, run: str, rollback: Rollback) -> str:
    """Launch an instance and return its id. Everything made gets the tag `run`, and is recorded in `rollback`."""
    image = wanted.image or _ubuntu(ec2, wanted.type)
    device = ec2.call("describe-images", {"ImageIds": [image]}, "Images[0].RootDeviceName", "device")
    group = wanted.group or _create_group(ec2, wanted, run, rollback)
    key = wanted.key or _import_key(ec2, wanted, run, rollback)
    return _run_instance(ec2, wanted, _Resources(image, device, group, key), run, rollback)


def _ubuntu(ec2: Ec2, instance_type: str) -> str:
    """Return Canonical's current image of Ubuntu for the architecture of an instance type."""
    architecture = ec2.call(
        "describe-instance-types", {"InstanceTypes": [instance_type]}, _ARCHITECTURE, "architecture"
    )
    parameter = {"Name": _PARAMETER.format(UBUNTU, architecture)}
    call = Call("ssm", "get-parameter", parameter, ec2.region, "Parameter.Value")
    return str(ec2.session.call(call, variable="image"))


def _vpc(ec2: Ec2, subnet: str | None) -> str:
    if subnet:
        return str(ec2.call("describe-subnets", {"SubnetIds": [subnet]}, "Subnets[0].VpcId", "vpc"))
    filters = {"Filters": filter_list({"is-default": ["true"]})}
    vpc = ec2.call("describe-vpcs", filters, "Vpcs[0].VpcId", "vpc")
    if not vpc:
        raise DockerutilsError(f"{ec2.region} has no default VPC; name a subnet with -s")
    return str(vpc)


def _create_group(ec2: Ec2, wanted: Specification, run: str, rollback: Rollback) -> str:
    """Create the dock's security group, which admits ssh from `wanted.source`."""
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
    assert wanted.source
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


def _run_instance(ec2: Ec2, wanted: Specification, of: _Resources, run: str, rollback: Rollback) -> str:
    volume = {"VolumeSize": wanted.volume, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    parameters: dict[str, Any] = {
        "ImageId": of.image,
        "InstanceType": wanted.type,
        "KeyName": of.key,
        "SecurityGroupIds": [of.group],
        **({"SubnetId": wanted.subnet} if wanted.subnet else {}),
        "BlockDeviceMappings": [{"DeviceName": of.device, "Ebs": volume}],
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
        "InstanceInitiatedShutdownBehavior": "stop",
        "UserData": user_data(wanted.login, wanted.autostop),
        "TagSpecifications": [_tagged(kind, wanted, run) for kind in ("instance", "volume", "network-interface")],
        # AWS makes one instance for a token, however often the request arrives.
        "ClientToken": f"{TOOL}-{wanted.name[:30]}-{run}",
        "MinCount": 1,
        "MaxCount": 1,
    }
    made: list[str] = []
    # Only what this run has just created can be temporarily unknown.
    temporary = {*(() if wanted.group else (UNKNOWN_GROUP,)), *(() if wanted.key else (UNKNOWN_KEY,))}
    with rollback.making(
        f"the instance of {wanted.name}", _remedy(wanted), partial(resources.remove_instance, ec2, run, made)
    ):
        query = "Instances[0].InstanceId"
        made.append(ec2.settled(temporary, lambda: str(ec2.call("run-instances", parameters, query, "instance"))))
    return made[0]


def _remedy(wanted: Specification) -> Any:
    return lambda: f"destroy-dock {wanted.name}"


def user_data(login: str, autostop_hours: float = 0.0) -> Word:
    """Return what cloud-init does at the first start of an instance.

    It installs Docker Engine and what sync-up and transfer-image use, raises the limits of sshd, installs autostop
    unless 0 hours, and finally lets the user use docker. JSON is YAML: https://cloudinit.readthedocs.io/en/latest/reference/modules.html
    """
    install = f"{autostop.encoded(autostop.installation(autostop_hours))} | sh" if autostop_hours else ""
    steps = {
        "package_update": True,
        "packages": ["docker.io", "rsync", "zstd"],
        "write_files": [_SSHD],
        "runcmd": [
            ["systemctl", "try-reload-or-restart", "ssh"],
            ["apt-get", "install", "-y", "docker-buildx"],  # some releases do not have it
            ["install", "-d", "-o", login, "/data/workspaces"],
            *([["sh", "-c", install]] if install else []),
            ["usermod", "-aG", "docker", login],
        ],
    }
    text = json.dumps(steps, separators=(",", ":"))
    # Two lines, written as one word of a command line.
    return Word(f"#cloud-config\n{text}", f"$(printf '#cloud-config\\n%s' '{text}')")


def _resource_name(wanted: Specification, run: str) -> str:
    return f"{TOOL}-{wanted.user}-{wanted.name}-{run}"


def _tagged(kind: str, wanted: Specification, run: str) -> Mapping[str, Any]:
    tags = {"Name": wanted.name, "user": wanted.user, "tool": TOOL, RUN: run}
    return {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
