"""ssh through AWS Systems Manager Session Manager, to docks without a public address and without an open port.

The `aws` command and its plugin carry the bytes of ssh to sshd on the instance:
https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-getting-started-enable-ssh-connections.html
ssh checks the host key as on any other connection.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping

from dockerutils.core.errors import UserError
from dockerutils.core.process import Command
from dockerutils.docks.records import Dock

# The policy of AWS that the role of the instance needs.
_POLICY = "AmazonSSMManagedInstanceCore"
_PROXY = "ProxyCommand aws ssm start-session --target %h --document-name AWS-StartSSHSession --parameters portNumber=%p"


def check(args: argparse.Namespace) -> None:
    """Raise UserError unless the options of create-dock make a dock that Session Manager can reach."""
    if args.cidr is not None:
        raise UserError("--cidr cannot be used with --ssm, which needs no open port; leave out one of them")
    if args.instance_profile is None:
        raise UserError(
            f"--ssm needs an instance profile whose role has the policy {_POLICY}; name it: --instance-profile NAME"
        )
    if args.subnet is None:
        raise UserError(
            "--ssm makes a dock without a public address; name a subnet that has a NAT gateway: --subnet ID"
        )


def setting(region: str, environ: Mapping[str, str]) -> str:
    """Return the line of an ssh stanza that leads to an instance, whose id is the HostName.

    From any shell it uses the present profile, unless boto3 now uses keys of the environment.
    """
    profile = "" if environ.get("AWS_ACCESS_KEY_ID") else environ.get("AWS_PROFILE", "")
    words = ["--region", region, *(["--profile", profile] if profile else [])]
    return f"{_PROXY} {shlex.join(words).replace('%', '%%')}"


def configuration_line(instance: str, region: str, environ: Mapping[str, str]) -> str:
    """Return a shell line that lets the user's ssh connect to an instance by its id, a word of the shell."""
    printf = Command(["printf", "Host %s\\n    %s\\n", instance, setting(region, environ)])
    return f"{printf} >>~/.ssh/config"


def through(dock: Dock, environ: Mapping[str, str]) -> Dock:
    """Return a dock whose ssh connections go through Session Manager."""
    assert dock.instance_id
    assert dock.region
    settings = (*dock.settings, setting(dock.region, environ))
    return dock._replace(hostname=dock.instance_id, ip=dock.instance_id, settings=settings)


def is_used_by(dock: Dock) -> bool:
    """Return whether a dock is reached through Session Manager."""
    return any(setting.startswith(_PROXY) for setting in dock.settings)
