"""create-dock --ssm: a dock that is reached through Session Manager only, by a stand-in for its plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import boto3  # type: ignore[import-untyped]
import pytest

from dockerutils.commands import destroy_dock, ls_dock, start_dock, stop_dock, sync_up
from dockerutils.commands.create_dock import main
from dockerutils.docks import inventory
from tests.commands.conftest import Cloud
from tests.support import Outcome, call, write_tree
from tests.testbed import aws as testbed
from tests.testbed.session_manager import Plugin


class Network(NamedTuple):
    """A subnet that gives public addresses by default, and the options that create a dock there."""

    subnet: str
    options: tuple[str, ...]


@pytest.fixture
def network(cloud) -> Network:
    vpc = cloud.ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    subnet = cloud.ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.0.0/24")["Subnet"]["SubnetId"]
    cloud.ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    iam = boto3.client("iam", endpoint_url=cloud.front.behind)
    iam.create_instance_profile(InstanceProfileName="managed")
    return Network(subnet, ("--ssm", "-s", subnet, "--instance-profile", "managed"))


@pytest.fixture
def plugin(cloud, tmp_path, monkeypatch) -> Plugin:
    plugin = Plugin(tmp_path / "plugin", cloud.host.address)
    # The commands here, and `source dock`.
    places = [plugin.path, str(Path(sys.executable).parent), str(Path(start_dock.__file__).parents[1] / "shell")]
    monkeypatch.setenv("PATH", ":".join([*places, os.environ["PATH"]]))
    return plugin


@pytest.fixture
def run(cloud, tmp_path, capfd):
    """Return a function that calls a command in this process."""
    root = write_tree(tmp_path / "app", {"docker/dev/Dockerfile": "FROM scratch\n", "data.txt": "1\n"})
    return lambda main, *argv: call(main, *argv, directory=root, capfd=capfd)


def ssh(line: str) -> str:
    answer = subprocess.run(["ssh", "dock-gpu", line], capture_output=True, text=True, timeout=60, check=False)
    return answer.stdout or answer.stderr


def test_everything_goes_through_session_manager(run, cloud: Cloud, network: Network, plugin: Plugin) -> None:
    plugin.refuse(2)  # the agent of a new instance connects after a while
    outcome = run(main, "gpu", *network.options)
    assert outcome.status == 0, outcome.err
    [instance] = cloud.instances()
    number = instance["InstanceId"]
    assert "PublicIpAddress" not in instance
    [group] = instance["NetworkInterfaces"][0]["Groups"]
    assert group["GroupName"].startswith("dockerutils-alice-gpu-")
    assert cloud.open() == []
    assert "AuthorizeSecurityGroupIngress" not in cloud.front.actions()
    dock = inventory.find("gpu", cloud.home)
    assert (dock.address, dock.ip, dock.instance_id) == (number, number, number)
    proxy = (
        f"ssm start-session --target {number} --document-name AWS-StartSSHSession --parameters portNumber=22 "
        "--region us-east-1"
    )
    assert set(plugin.calls()) == {proxy}
    # The keys are those of the console.
    known = Path(cloud.home, ".docker", number, "known_hosts").read_text().splitlines()
    assert known[-1] == f"{number} {cloud.key}"
    assert "the keys of the first connection are trusted" not in outcome.err
    assert outcome.err.splitlines()[-1].startswith(f"create-dock: gpu at {number} is ready after ")

    assert ssh("docker version -f ok") == "ok\n"
    [row] = json.loads(run(ls_dock.main, "--json", "-t", "20").out)
    assert (row["state"], row["address"], row["reason"]) == ("running", number, None)
    cloud.host.run("install -d -o dock /data/workspaces/alice")
    assert run(sync_up.main, "--dock", "gpu").status == 0
    assert ssh("cat /data/workspaces/alice/code/app/data.txt") == "1\n"
    line = "set -eu; source dock gpu; docker version -f {{.Server.Os}}; castoff"
    shell = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert shell.stdout == "linux\n", shell.stderr

    # moto does not list the groups of a network interface among those of its instance, as AWS does.
    cloud.ec2.modify_instance_attribute(InstanceId=number, Groups=[group["GroupId"]])
    assert run(stop_dock.main, "gpu", "-y").status == 0
    assert json.loads(run(ls_dock.main, "--json", "-t", "20").out)[0]["state"] == "stopped"
    cloud.front.requests.clear()
    outcome = run(start_dock.main, "gpu")
    assert (outcome.status, cloud.open()) == (0, []), outcome.err
    assert "warning" not in outcome.err
    assert not {"DescribeSecurityGroups", "AuthorizeSecurityGroupIngress"} & set(cloud.front.actions())
    assert inventory.find("gpu", cloud.home) == dock
    assert ssh("docker version -f ok") == "ok\n"
    assert run(destroy_dock.main, "gpu", "-y").status == 0
    assert (cloud.instances(), inventory.known(cloud.home)) == ([], [])


def test_an_instance_that_session_manager_does_not_reach(run, cloud, network, plugin) -> None:
    plugin.refuse(1000)
    outcome = run(main, "gpu", *network.options, "-t", "8")
    assert (outcome.status, cloud.left()) == (1, [])
    assert outcome.err.splitlines()[-1] == (
        "create-dock: gpu did not answer in time: Session Manager does not reach dock gpu; check that it runs, that its "
        "instance profile has the policy AmazonSSMManagedInstanceCore, and that its subnet has a NAT gateway or the VPC "
        "endpoints of Systems Manager; allow more time with -t"
    )


def test_another_host_key_than_that_of_the_console_is_refused(run, cloud, network, plugin) -> None:
    cloud.host.rotate_host_key()
    outcome = run(main, "gpu", *network.options, "-t", "20")
    assert (outcome.status, cloud.left()) == (1, [])
    assert outcome.err.splitlines()[-1].startswith("create-dock: the host key of i-")


NEEDS = "--ssm needs an instance profile whose role has the policy AmazonSSMManagedInstanceCore; name it: --instance-profile NAME"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-s", "subnet-1"], NEEDS),
        (
            ["--instance-profile", "x"],
            "--ssm makes a dock without a public address; name a subnet that has a NAT gateway: --subnet ID",
        ),
        (
            ["-s", "subnet-1", "--instance-profile", "x", "--cidr", "10.0.0.0/8"],
            "--cidr cannot be used with --ssm, which needs no open port; leave out one of them",
        ),
        (
            ["--product-name", "x"],
            "--ssm cannot be used with --product-name; set a parameter of the product with --param",
        ),
    ],
)
def test_what_it_needs(options: list[str], message: str, tmp_path, capfd) -> None:
    outcome = call(main, "gpu", "--ssm", *options, directory=tmp_path, capfd=capfd)
    assert outcome == Outcome(2, "", f"create-dock: {message}\n")


def test_a_refusal_of_the_instance_profile(run, cloud, network) -> None:
    code = "InvalidParameterValue"
    cloud.front.refuse("RunInstances", code)
    outcome = run(main, "gpu", *network.options)
    assert (outcome.status, cloud.left()) == (1, [])
    assert code in outcome.err.splitlines()[-1]


def test_a_dry_run(run, cloud, network) -> None:
    lines = run(main, "gpu", *network.options, "--dry-run").out.splitlines()
    assert not [line for line in lines if "checkip" in line or "authorize-security-group-ingress" in line]
    line = next(line for line in lines if " run-instances " in line)
    _, parameters = testbed.parsed(line, "image=ami-1; group=sg-1; device=/dev/xvda; volume=50")
    assert parameters["NetworkInterfaces"] == [
        {
            "DeviceIndex": 0,
            "AssociatePublicIpAddress": False,
            "Groups": ["sg-1"],
            "SubnetId": network.subnet,
            "DeleteOnTermination": True,
        }
    ]
    assert lines[-2].startswith(
        "printf 'Host %s\\n    %s\\n' \"${instance}\" 'ProxyCommand aws ssm start-session --target %h "
    )
    assert lines[-1].startswith('register-dock "${instance}" gpu --user dock ')
    assert lines[-1].endswith(' --instance "${instance}" --region us-east-1')
