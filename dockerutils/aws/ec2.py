"""Instances of EC2: made with all that they need, found, started, stopped and terminated.

The calls: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from dockerutils.aws import autostop
from dockerutils.aws.api import Call, Contents, Refused, Session
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process import Command
from dockerutils.core.rollback import Undo
from dockerutils.core.shell_words import Word

# What everything that is made here is tagged with, and the tag that tells one run's things from another's.
TOOL, RUN = "dockerutils", "dockerutils:run"
RUNNING, STOPPED, TERMINATED = "running", "stopped", "terminated"

# Whose images of Ubuntu are the publisher's: https://ubuntu.com/server/docs/cloud-images/amazon-ec2/
_CANONICAL = "099720109477"
_SSH = 22
# Seconds between two looks at what changes by itself, and how long AWS may take to know what it has made, and to let
# go of an instance. The service is "eventually consistent".
TICK, _SETTLED, _LET_GO = 1.0, 60.0, 600.0
_WHO = "https://checkip.amazonaws.com"
_FIELDS = (
    "InstanceId,State.Name,PublicIpAddress,PrivateIpAddress,PublicDnsName,KeyName,VpcId,StateReason.Message,"
    'join(`","`,SecurityGroups[].GroupId||`[]`)'
)


class Instance(NamedTuple):
    """An instance: its state as AWS calls it, its addresses, as far as it has any, and what it was made with."""

    id: str
    state: str
    public: str | None
    private: str | None
    name: str | None
    key: str | None
    vpc: str | None
    reason: str | None
    groups: tuple[str, ...]

    @property
    def address(self) -> str | None:
        """Where it is reached: from everywhere, if it can be."""
        return self.public or self.private


class Wanted(NamedTuple):
    """What an instance is to be.

    `user` is who it is for, `login` the user there; `volume` is in GB. It has `key`, a key pair of AWS's, or
    `public_key`, a file; and the security `group`, or one that lets `source`, a network, in. It stops by itself when
    it was not in use for `autostop` hours, 0 for never.
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


class Ec2:
    """EC2 in one region: the session's, when none is named."""

    def __init__(self, session: Session, region: str = "") -> None:
        self._session = session
        self.region = region or session.region
        self.dry_run = session.dry_run

    def connect(self) -> None:
        """Get ready for calls, which may then be made in a thread of their own; DockerutilsError if that fails."""
        self._session.connect("ec2", self.region)

    def instances(self, ids: Sequence[str]) -> dict[str, Instance]:
        """Return the instances that AWS knows of these, by id."""
        return self._instances("instance-id", ids)

    def at(self, address: str, variable: str = "instance") -> str | None:
        """Return the id of the instance with that address or name, None when there is none in the region."""
        kinds = ("ip-address", "private-ip-address") if is_ip(address) else ("dns-name", "private-dns-name")
        for kind in kinds:
            filters = [{"Name": kind, "Values": [address]}]
            query = "Reservations[].Instances[].InstanceId|[0]"
            found = self._ask("describe-instances", {"Filters": filters}, query, variable)
            if found:
                return str(found)
        return None

    def start(self, ids: Sequence[str]) -> None:
        """Start instances."""
        self._ask("start-instances", {"InstanceIds": list(ids)})

    def stop(self, ids: Sequence[str]) -> None:
        """Stop instances."""
        self._ask("stop-instances", {"InstanceIds": list(ids)})

    def stop_line(self, ids: Sequence[str]) -> str:
        """Return the line that stops instances."""
        return self._line("stop-instances", {"InstanceIds": list(ids)})

    def survives(self, instance: str) -> bool:
        """Tell whether an instance that shuts itself down is stopped by that, and not terminated."""
        asked = {"InstanceId": instance, "Attribute": "instanceInitiatedShutdownBehavior"}
        query = "InstanceInitiatedShutdownBehavior.Value"
        return bool(self._ask("describe-instance-attribute", asked, query, "behavior") != "terminate")

    def terminate(self, ids: Sequence[str]) -> None:
        """Terminate instances, which may be gone already."""
        self._ask("terminate-instances", {"InstanceIds": list(ids)})

    def until(
        self,
        ids: Sequence[str],
        states: Collection[str],
        deadline: float,
        looked: Callable[[Mapping[str, Instance]], None] = lambda _: None,
    ) -> dict[str, Instance]:
        """Wait until each instance is in one of the states, or is not known any more; return those that are known.

        `looked` is told of what is found each time. One that is terminated instead is an error, and so is a deadline
        that has passed.
        """
        while True:
            found = self.instances(ids)
            looked(found)
            missing = [] if TERMINATED in states else [each for each in ids if each not in found]
            waiting = [each for each in found.values() if each.state not in states]
            for each in waiting:
                if each.state in {"shutting-down", TERMINATED}:
                    why = each.reason or "it does not say why"
                    raise DockerutilsError(f"AWS has terminated {each.id}: {why}; mend that, or make another dock")
            if not missing and not waiting:
                return found
            if time.monotonic() > deadline:
                late = ", ".join([*(f"{each.id} is {each.state}" for each in waiting), *missing])
                raise DockerutilsError(
                    f"AWS takes too long: {late}; look again with ls-dock, or allow more time with -t"
                )
            time.sleep(TICK)

    def console(self, instance: str) -> str:
        """Return what an instance has written on its console so far, nothing when AWS does not tell."""
        for latest in ({"Latest": True}, {}):
            try:
                return str(self._ask("get-console-output", {"InstanceId": instance, **latest}, "Output") or "")
            except Refused as error:
                if error.code != "UnsupportedOperation":  # which only newer types have
                    return ""
        return ""

    def make(self, wanted: Wanted, undo: Undo) -> str:
        """Make an instance with all that it needs, and return its id; what is made is noted in `undo`."""
        import secrets

        run = secrets.token_hex(8)
        image = wanted.image or self._newest_image(wanted.type)
        device = self._ask("describe-images", {"ImageIds": [image]}, "Images[0].RootDeviceName", "device")
        vpc = "" if wanted.group else self._vpc(wanted.subnet)
        tags = {"user": wanted.user, "tool": TOOL, RUN: run}
        group = wanted.group or self._own_group(wanted, vpc, tags, undo)
        key = wanted.key or self._own_key(wanted, tags, undo)
        return self._run(wanted, {"image": image, "device": device, "group": group, "key": key}, tags, undo)

    def let_in(self, groups: Sequence[str], user: str, source: Callable[[], str], undo: Undo) -> None:
        """See that those of the security groups that are the user's own let in `source`, where the user is now.

        One that lets in a whole network is left as the user has made it.
        """
        ours = [{"Name": "tag:tool", "Values": [TOOL]}, {"Name": "tag:user", "Values": [user]}]
        asked = {"Filters": [{"Name": "group-id", "Values": list(groups)}, *ours]}
        networks = "IpPermissions[].[IpRanges[].CidrIp,Ipv6Ranges[].CidrIpv6][][]"
        for group, held in self._ask("describe-security-groups", asked, f"SecurityGroups[].[GroupId,{networks}]"):
            if all(each.endswith(("/32", "/128")) for each in held):
                self._admit(group, source(), undo)

    def tidy(self, instances: Sequence[Instance]) -> list[str]:
        """Delete the groups and keys of instances that are terminated, if they are ours and nothing else has them.

        Return what was deleted.
        """
        groups = sorted({group for each in instances for group in each.groups})
        keys = sorted({each.key for each in instances if each.key})
        ours = {"Name": "tag:tool", "Values": [TOOL]}
        deleted = []
        for key in self._ours("key-pairs", "KeyPairs[].KeyName", "key-name", keys, ours):
            if not any(each.state != TERMINATED for each in self._instances("key-name", [key]).values()):
                self._ask("delete-key-pair", {"KeyName": key})
                deleted.append(f"key pair {key}")
        found = self._ours("security-groups", "SecurityGroups[].GroupId", "group-id", groups, ours)
        return deleted + [f"security group {group}" for group in found if self._delete_group(group)]

    def _ours(self, kind: str, query: str, name: str, values: Sequence[str], ours: Mapping[str, Any]) -> list[str]:
        if not values:
            return []
        filters = [{"Name": name, "Values": list(values)}, ours]
        return list(self._ask(f"describe-{kind}", {"Filters": filters}, query))

    def _call(self, operation: str, parameters: Mapping[str, Any], query: str = "") -> Call:
        return Call("ec2", operation, parameters, self.region, query)

    def _ask(
        self, operation: str, parameters: Mapping[str, Any], query: str = "", variable: str = "", unless: str = ""
    ) -> Any:
        return self._session.ask(self._call(operation, parameters, query), variable=variable, unless=unless)

    def _line(self, operation: str, parameters: Mapping[str, Any]) -> str:
        return self._session.line(self._call(operation, parameters))

    def _patiently(self, codes: Collection[str], seconds: float, make: Callable[[], Any]) -> Any:
        """Make a call again as long as AWS refuses it for a reason that passes."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return make()
            except Refused as error:
                if error.code not in codes or time.monotonic() > deadline:
                    raise
            time.sleep(TICK)

    def _instances(self, kind: str, values: Sequence[str]) -> dict[str, Instance]:
        query = f"Reservations[].Instances[].[{_FIELDS}]"
        filters = [{"Name": kind, "Values": list(values)}]
        found = [
            Instance._make([*fields, tuple(filter(None, groups.split(",")))])
            for *fields, groups in self._ask("describe-instances", {"Filters": filters}, query)
        ]
        return {each.id: each for each in found}

    def _newest_image(self, kind: str) -> str:
        """Return the newest image of the newest Ubuntu LTS there is: one appears every second April."""
        query = "InstanceTypes[0].ProcessorInfo.SupportedArchitectures[-1]"
        architecture = self._ask("describe-instance-types", {"InstanceTypes": [kind]}, query, "architecture")
        year = time.gmtime().tm_year % 100
        for lts in range(year - year % 2, year - 6, -2):
            filters = [
                {"Name": "name", "Values": [f"ubuntu/images/hvm-ssd*/ubuntu-*-{lts}.04-*-server-*"]},
                {"Name": "architecture", "Values": [architecture]},
                {"Name": "state", "Values": ["available"]},
            ]
            asked = {"Owners": [_CANONICAL], "Filters": filters}
            if image := self._ask("describe-images", asked, "sort_by(Images,&CreationDate)[-1].ImageId", "image"):
                return str(image)
        raise DockerutilsError(f"no image of an Ubuntu LTS for {architecture} is in {self.region}; name one with --ami")

    def _vpc(self, subnet: str | None) -> str:
        if subnet:
            return str(self._ask("describe-subnets", {"SubnetIds": [subnet]}, "Subnets[0].VpcId", "vpc"))
        filters = [{"Name": "is-default", "Values": ["true"]}]
        vpc = self._ask("describe-vpcs", {"Filters": filters}, "Vpcs[0].VpcId", "vpc")
        if not vpc:
            raise DockerutilsError(f"there is no default VPC in {self.region}; name a subnet with -s")
        return str(vpc)

    def _own_group(self, wanted: Wanted, vpc: str, tags: Mapping[str, str], undo: Undo) -> str:
        """Return the user's security group in a VPC, which lets in where the user is now, and nobody else."""
        name = f"{TOOL}-{wanted.user}"
        filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": [name]}]
        found = self._ask("describe-security-groups", {"Filters": filters}, "SecurityGroups[0].GroupId", "group")
        assert wanted.source
        if found and not self.dry_run:
            self._admit(found, wanted.source, undo)
            return str(found)
        asked = {
            "GroupName": name,
            "Description": f"ssh to the docks of {wanted.user}",
            "VpcId": vpc,
            "TagSpecifications": [_tagged("security-group", name, tags)],
        }
        made: list[str] = []
        by_hand = functools.partial(self._remedy, "group", made, tags)
        with undo.making(f"security group {name}", by_hand, lambda: self._drop(made, tags)):
            made.append(self._ask("create-security-group", asked, "GroupId", "group", unless=found or ""))
        rule = {"GroupId": made[0], "IpPermissions": [_rule(wanted.source)]}
        settled = {"InvalidGroup.NotFound"}
        self._patiently(settled, _SETTLED, lambda: self._ask("authorize-security-group-ingress", rule))
        return made[0]

    def _drop(self, made: Sequence[str], tags: Mapping[str, str]) -> str:
        """Delete the group of this run, unless another dock has got into it meanwhile."""
        groups = made or self._made("security-groups", "SecurityGroups[].GroupId", tags)
        return " ".join(f"security group {group}" for group in groups if self._delete_group(group))

    def _delete_group(self, group: str) -> bool:
        """Delete a group, as soon as AWS lets go of an instance that is terminated; tell whether it was done.

        It is not if it was gone already, nor if an instance that lives has it.
        """
        deadline = time.monotonic() + _LET_GO
        while True:
            try:
                self._ask("delete-security-group", {"GroupId": group})
                return True
            except Refused as error:
                if error.code == "InvalidGroup.NotFound":
                    return False
                if error.code != "DependencyViolation" or time.monotonic() > deadline:
                    raise
            users = self._instances("instance.group-id", [group]).values()
            if any(each.state not in {"shutting-down", TERMINATED} for each in users):
                return False
            time.sleep(TICK)

    def _made(self, kind: str, query: str, tags: Mapping[str, str]) -> list[str]:
        """Return what AWS has made in this run, when it has not said so."""
        return list(self._ask(f"describe-{kind}", {"Filters": _of_run(tags)}, query))

    def _remedy(self, what: str, made: Sequence[str], tags: Mapping[str, str]) -> str:
        """Return the line that removes what was made; that finds it first when its name is not known."""
        kind, query, operation, parameter = {
            "group": ("security-groups", "SecurityGroups[].GroupId", "delete-security-group", "GroupId"),
            "instance": ("instances", "Reservations[].Instances[].InstanceId", "terminate-instances", "InstanceIds"),
        }[what]
        if not made:
            found = self._session.line(self._call(f"describe-{kind}", {"Filters": _of_run(tags)}, query))
            return self._line(operation, {parameter: "IDS"}).replace("IDS", f"$({found})")
        return self._line(operation, {parameter: list(made) if parameter.endswith("s") else made[0]})

    def _admit(self, group: str, source: str, undo: Undo) -> None:
        """Let in one network at a group's ssh port, and then nobody else that was let in before."""
        rule = _rule(source)
        held = self._ask("describe-security-groups", {"GroupIds": [group]}, "SecurityGroups[0].IpPermissions")
        there = [{name: value for name, value in each.items() if value} for each in held]
        if rule not in there:
            self._change("authorize", "revoke", group, rule, undo)
        for other in there:
            if other != rule:
                self._change("revoke", "authorize", group, other, undo)

    def _change(self, do: str, back: str, group: str, rule: dict[str, Any], undo: Undo) -> None:
        """Authorize or revoke a rule, unless that was done already, and note how to put it back."""
        asked = {"GroupId": group, "IpPermissions": [rule]}
        operation, contrary = (f"{each}-security-group-ingress" for each in (do, back))

        def put_back() -> str:
            self._unless_done(contrary, asked)
            return f"a change of security group {group}"

        with undo.making(f"a change of security group {group}", lambda: self._line(contrary, asked), put_back):
            self._unless_done(operation, asked)

    def _unless_done(self, operation: str, asked: dict[str, Any]) -> None:
        try:
            self._ask(operation, asked)
        except Refused as error:
            if error.code not in {"InvalidPermission.Duplicate", "InvalidPermission.NotFound"}:
                raise

    def _own_key(self, wanted: Wanted, tags: Mapping[str, str], undo: Undo) -> str:
        """Return the name of the key pair with the user's public key, which tells whose it is and which."""
        import hashlib

        assert wanted.public_key
        with open(wanted.public_key, "rb") as file:
            kind, text = file.read().split()[:2]
        name = f"{TOOL}-{wanted.user}-{hashlib.sha256(text).hexdigest()[:8]}"
        asked = {"Filters": [{"Name": "key-name", "Values": [name]}], "IncludePublicKey": True}
        there = self._ask("describe-key-pairs", asked, "KeyPairs[0].PublicKey", "key")
        if not there or self.dry_run:
            imported = {
                "KeyName": name,
                "PublicKeyMaterial": Contents(wanted.public_key),
                "TagSpecifications": [_tagged("key-pair", name, tags)],
            }
            by_hand = self._line("delete-key-pair", {"KeyName": name})
            with undo.making(f"key pair {name}", lambda: by_hand, lambda: self._drop_key(tags)):
                self._ask("import-key-pair", imported, unless=there or "")
        elif there.split()[:2] != [kind.decode(), text.decode()]:
            raise DockerutilsError(
                f"the key pair {name} has another key than {wanted.public_key}; name a right one with --key-name, "
                f"or run: {self._line('delete-key-pair', {'KeyName': name})}"
            )
        return name

    def _drop_key(self, tags: Mapping[str, str]) -> str:
        for name in self._made("key-pairs", "KeyPairs[].KeyName", tags):
            self._ask("delete-key-pair", {"KeyName": name})
            return f"key pair {name}"
        return ""

    def _run(self, wanted: Wanted, of: Mapping[str, str], tags: Mapping[str, str], undo: Undo) -> str:
        volume = {"VolumeSize": wanted.volume, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
        kinds = ("instance", "volume", "network-interface")
        asked = {
            "ImageId": of["image"],
            "InstanceType": wanted.type,
            "KeyName": of["key"],
            "SecurityGroupIds": [of["group"]],
            **({"SubnetId": wanted.subnet} if wanted.subnet else {}),
            "BlockDeviceMappings": [{"DeviceName": of["device"], "Ebs": volume}],
            "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
            "InstanceInitiatedShutdownBehavior": "stop",
            "UserData": user_data(wanted.login, wanted.autostop),
            "TagSpecifications": [_tagged(kind, wanted.name, tags) for kind in kinds],
            # The same for each time that this request is sent, so that AWS makes one instance only.
            "ClientToken": f"{TOOL}-{wanted.name[:30]}-{tags[RUN]}",
            "MinCount": 1,
            "MaxCount": 1,
        }
        made: list[str] = []

        def remove() -> str:
            ids = made or self._made("instances", "Reservations[].Instances[].InstanceId", tags)
            if ids:
                self.terminate(ids)
            return " ".join(f"instance {each}" for each in ids)

        by_hand = functools.partial(self._remedy, "instance", made, tags)
        # What was made just now may not be known everywhere in AWS.
        new = {
            *(() if wanted.group else ("InvalidGroup.NotFound",)),
            *(() if wanted.key else ("InvalidKeyPair.NotFound",)),
        }
        query = "Instances[0].InstanceId"
        with undo.making(f"the instance of {wanted.name}", by_hand, remove):
            found = self._patiently(new, _SETTLED, lambda: self._ask("run-instances", asked, query, "instance"))
            made.append(found)
        return str(found)


def caller(environ: Mapping[str, str]) -> str:
    """Return the network that is this machine alone, as AWS sees it."""
    import ipaddress
    import urllib.request

    url = _who(environ)
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the user's own
            said = answer.read(100).decode(errors="replace").strip()
        address = ipaddress.ip_address(said)
    except (OSError, ValueError) as error:
        raise DockerutilsError(
            f"{url} does not tell this machine's address ({error}); say who may connect: --cidr ADDRESS/32"
        ) from error
    return f"{address}/{address.max_prefixlen}"


def caller_unasked(environ: Mapping[str, str], session: Session) -> str:
    """Print the line that asks for it, and return what stands for it then."""
    print(f"address=$({Command(['curl', '-fsS', _who(environ)])})", flush=True)
    return f"{session.variable('address')}/32"


def _who(environ: Mapping[str, str]) -> str:
    return environ.get("DOCKERUTILS_CHECKIP") or _WHO


def user_data(login: str, after: float = 0.0) -> Word:
    """Return what cloud-init does when an instance starts for the first time.

    It installs Docker Engine and what sync-up and transfer-image use; at last, the user may use it. Unless `after` is
    0, it stops by itself when it was not in use for so many hours. JSON is YAML:
    https://cloudinit.readthedocs.io/en/latest/reference/modules.html
    """
    import json

    steps = {
        "package_update": True,
        "packages": ["docker.io", "rsync", "zstd"],
        "runcmd": [
            ["apt-get", "install", "-y", "docker-buildx"],  # not every release has it
            ["install", "-d", "-o", login, "/data/workspaces"],
            *([["sh", "-c", f"{autostop.encoded(autostop.installation(after))} | sh"]] if after else []),
            ["usermod", "-aG", "docker", login],
        ],
    }
    text = json.dumps(steps, separators=(",", ":"))
    # The two lines as one word of a line.
    return Word(f"#cloud-config\n{text}", f"$(printf '#cloud-config\\n%s' '{text}')")


def _tagged(kind: str, name: str, tags: Mapping[str, str]) -> dict[str, Any]:
    all_tags = {"Name": name, **tags}
    return {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in all_tags.items()]}


def _of_run(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"Name": f"tag:{RUN}", "Values": [tags[RUN]]}]


def _rule(source: str) -> dict[str, Any]:
    ranges = {"Ipv6Ranges": [{"CidrIpv6": source}]} if ":" in source else {"IpRanges": [{"CidrIp": source}]}
    return {"IpProtocol": "tcp", "FromPort": _SSH, "ToPort": _SSH, **ranges}


def is_ip(address: str) -> bool:
    """Tell whether that is an IP address, and not a name."""
    import ipaddress

    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
