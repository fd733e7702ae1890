"""Who can connect to a dock: the rules of its security group, and the address of this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dockerutils.aws.ec2 import TOOL, Ec2, filter_list
from dockerutils.aws.errors import Refused
from dockerutils.aws.session import Session
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process import Command
from dockerutils.core.rollback import Rollback

_SSH = 22
_CHECKIP = "https://checkip.amazonaws.com"


def own_network(environ: Mapping[str, str], session: Session) -> str:
    """Return the network that contains only this machine, as AWS sees it; in a dry run print the line that asks."""
    url = environ.get("DOCKERUTILS_CHECKIP") or _CHECKIP
    if session.dry_run:
        print(f"address=$({Command(['curl', '-fsS', url])})", flush=True)
        return f"{session.variable('address')}/32"
    # Late: urllib is slow to import, and the default network is rarely needed.
    import ipaddress
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the user's own
            text = answer.read(100).decode(errors="replace").strip()
        address = ipaddress.ip_address(text)
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        reason = reason.strerror or reason if isinstance(reason, OSError) else reason
        raise DockerutilsError(
            f"{url} did not return this machine's address: {reason}; name the network to admit: --cidr ADDRESS/32"
        ) from error
    return f"{address}/{address.max_prefixlen}"


def ssh_rule(network: str) -> dict[str, Any]:
    """Return the rule, as EC2 takes it, that admits a network at the ssh port."""
    ranges = {"Ipv6Ranges": [{"CidrIpv6": network}]} if ":" in network else {"IpRanges": [{"CidrIp": network}]}
    return {"IpProtocol": "tcp", "FromPort": _SSH, "ToPort": _SSH, **ranges}


def admit(ec2: Ec2, groups: Sequence[str], user: str, network: Callable[[], str], rollback: Rollback) -> None:
    """Admit `network`, where the user is now, in those groups that create-dock made for the user.

    It replaces the address from before. A group that admits a larger network stays as it is.
    """
    if not groups:
        return
    ours = {"group-id": list(groups), "tag:tool": [TOOL], "tag:user": [user]}
    found = ec2.call(
        "describe-security-groups", {"Filters": filter_list(ours)}, "SecurityGroups[].[GroupId,IpPermissions]"
    )
    for group, permissions in found:
        admitted = [each for permission in permissions for each in _ssh_networks(permission)]
        if all(each.endswith(("/32", "/128")) for each in admitted):
            _replace(ec2, group, admitted, network(), rollback)


def _ssh_networks(permission: Mapping[str, Any]) -> list[str]:
    """Return the networks that a permission, which holds several, admits at the ssh port."""
    if (permission.get("FromPort"), permission.get("ToPort")) != (_SSH, _SSH):
        return []
    ranges = [*permission.get("IpRanges", ()), *permission.get("Ipv6Ranges", ())]
    return [each.get("CidrIp") or each["CidrIpv6"] for each in ranges]


def _replace(ec2: Ec2, group: str, admitted: Sequence[str], network: str, rollback: Rollback) -> None:
    if network not in admitted:
        change(ec2, "authorize", group, [ssh_rule(network)], rollback)
    for other in admitted:
        if other != network:
            change(ec2, "revoke", group, [ssh_rule(other)], rollback)


def change(ec2: Ec2, do: str, group: str, rules: Sequence[Mapping[str, Any]], rollback: Rollback) -> None:
    """Authorize or revoke rules, as EC2 takes them, and record how to put that back."""
    parameters = {"GroupId": group, "IpPermissions": [*rules]}
    back = "revoke" if do == "authorize" else "authorize"
    operation, opposite = (f"{each}-security-group-ingress" for each in (do, back))
    what = f"a change of security group {group}"

    def put_back() -> str:
        unless_done(ec2, opposite, parameters)
        return what

    with rollback.making(what, lambda: ec2.line(opposite, parameters), put_back):
        unless_done(ec2, operation, parameters)


def unless_done(ec2: Ec2, operation: str, parameters: Mapping[str, Any]) -> None:
    """Authorize or revoke a rule; it is not an error if that was done before."""
    try:
        ec2.call(operation, parameters)
    except Refused as error:
        if error.code not in {"InvalidPermission.Duplicate", "InvalidPermission.NotFound"}:
            raise
