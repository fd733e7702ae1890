"""create-dock: an instance of EC2 becomes a dock, or nothing is left of it."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest

from dockerutils.aws import readiness
from dockerutils.aws.service_catalog import Catalog, Provisioned
from dockerutils.cli import signals
from dockerutils.commands import destroy_dock
from dockerutils.commands.create_dock import main
from dockerutils.core.process import Captured
from dockerutils.docks import inventory, ssh_config
from dockerutils.docks.records import Dock
from tests import support
from tests.commands.conftest import Cloud
from tests.support import Outcome, call, script, wait_for
from tests.testbed import aws as testbed
from tests.testbed import aws_command

# All calls that create a dock, in this order.
ACTIONS = [
    "GetCallerIdentity", "DescribeInstanceTypes", "GetParameter", "DescribeImages", "DescribeVpcs",
    "CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "ImportKeyPair", "RunInstances",
    "DescribeInstances", "GetConsoleOutput",
]  # fmt: skip
MAKING = ["CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "ImportKeyPair", "RunInstances"]
ALLOWED = "grant this IAM identity the permission"
RENEW = "renew the credentials: aws sso login, or a new AWS_SESSION_TOKEN"


@pytest.fixture
def create(cloud, tmp_path, capfd):
    """Return a function that calls the command in this process."""
    return lambda *argv: call(main, *argv, directory=tmp_path, capfd=capfd)


@pytest.fixture
def recorded(monkeypatch) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls that boto3 makes from now on: operations and parameters."""
    import botocore.session  # type: ignore[import-untyped]

    calls: list[tuple[str, dict[str, Any]]] = []
    get_session = botocore.session.get_session

    def recording():
        session = get_session()
        session.register("provide-client-params", lambda params, model, **_: calls.append((model.name, dict(params))))
        return session

    monkeypatch.setattr(botocore.session, "get_session", recording)
    return calls


def test_an_instance_becomes_a_dock(create, cloud) -> None:
    outcome = create("gpu", "-i", "c5.xlarge", "-v", "200")
    assert (outcome.status, outcome.out) == (0, "")
    assert cloud.front.actions() == ACTIONS
    [instance] = cloud.instances()
    address, identity = cloud.addresses[0], f"{cloud.home}/.ssh/id_ed25519"
    tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    run = tags["dockerutils:run"]
    dock = Dock("gpu", address, "dock", address, address, None, identity, instance["InstanceId"], "us-east-1")
    assert inventory.known(cloud.home) == [dock._replace(account=testbed.ACCOUNT, run=run)]
    assert (tags["Name"], tags["user"], tags["tool"]) == ("gpu", "alice", "dockerutils")
    assert (instance["InstanceType"], instance["ImageId"]) == ("c5.xlarge", testbed.UBUNTU)
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["KeyName"].startswith("dockerutils-alice-")
    [volume] = cloud.ec2.describe_volumes()["Volumes"]
    assert (volume["Size"], volume["VolumeType"], volume["Encrypted"]) == (200, "gp3", True)
    assert cloud.open() == ["127.0.0.1/32"]
    # The keys of the console are those that the first connection was held against; none was added.
    known = Path(cloud.home, ".docker", address, "known_hosts").read_text().splitlines()
    assert known == [f"{instance['InstanceId']} {key}" for key in ("ecdsa-sha2-nistp256 AAAAE2Vj=", cloud.key)]
    assert outcome.err.splitlines()[-1].startswith(f"create-dock: gpu at {address} is ready after ")
    answer = subprocess.run(["ssh", "dock-gpu", "docker version -f ok"], capture_output=True, text=True, check=False)
    assert answer.stdout == "ok\n"


def _changes(calls: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls that change something: those are printed."""
    return [(operation, parameters) for operation, parameters in calls if not operation.startswith(("Describe", "Get"))]


def test_the_printed_lines_are_the_calls_that_change_something(create, recorded) -> None:
    outcome = create("gpu")
    lines = [line for line in outcome.echoed if line.startswith("aws ")]
    assert [testbed.parsed(line) for line in lines] == _changes(recorded)
    assert [operation for operation, _ in recorded] == ACTIONS


def test_dry_run_prints_and_calls_nothing(create, cloud, recorded, monkeypatch) -> None:
    monkeypatch.setenv("DOCKERUTILS_CHECKIP", "http://127.0.0.1:9/")
    outcome = create("gpu", "--dry-run", "-s", "subnet-1")
    assert (outcome.status, outcome.err, cloud.front.requests, recorded) == (0, "", [], [])
    lines = outcome.out.splitlines()
    assert lines[:2] == ["set -eu", "address=$(curl -fsS http://127.0.0.1:9/)"]
    variables = {"address": "203.0.113.7", "group": "sg-1", "image": "ami-1", "device": "/dev/xvda", "vpc": "vpc-1"}
    variables |= {"parameter": "/aws/x", "volume": "64", "instance": "i-1"}
    assigned = "; ".join(f"{name}={value}" for name, value in variables.items())
    read = [testbed.parsed(line, assigned) for line in lines[2:] if "aws " in line and " wait " not in line]
    assert [operation for operation, _ in read] == [
        *ACTIONS[1:4], "DescribeImages", "DescribeSubnets", *ACTIONS[5:9], "DescribeInstances"
    ]  # fmt: skip
    asked = dict(read)
    assert asked["AuthorizeSecurityGroupIngress"] == {
        "GroupId": "sg-1",
        "IpPermissions": [
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}
        ],
    }
    run = asked["RunInstances"]
    assert (run["SubnetId"], run["SecurityGroupIds"], run["ImageId"]) == ("subnet-1", ["sg-1"], "ami-1")
    disk = run["BlockDeviceMappings"][0]
    assert (disk["DeviceName"], disk["Ebs"]["VolumeSize"]) == ("/dev/xvda", 64)
    key = f"{cloud.home}/.ssh/id_ed25519"
    known = '--instance "${instance}" --region us-east-1'
    assert lines[-1] == f'register-dock "${{ip}}" gpu --user dock --identity {key} {known}'
    assert cloud.left() == []


def test_the_lines_of_a_dry_run_create_the_dock(create, cloud, tmp_path, capfd) -> None:
    """Without a default VPC they stop before they create anything."""
    lines = create("gpu", "--dry-run", "--spot").out
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh"],
            input=lines,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=os.environ | {"PATH": path},
        )

    with aws_command.installed(tmp_path):
        cloud.front.replace["DescribeVpcs"] = b"<DescribeVpcsResponse><vpcSet/></DescribeVpcsResponse>"
        stopped = run()
        assert (stopped.returncode, cloud.left()) == (2, [])
        assert stopped.stderr.endswith(": vpc: us-east-1 has no default VPC; name a subnet with -s\n")
        del cloud.front.replace["DescribeVpcs"]
        done = run()
    assert done.returncode == 0, done.stderr
    [instance] = cloud.instances()
    known = [(dock.ip, dock.instance_id, dock.account) for dock in inventory.known(cloud.home)]
    assert known == [(cloud.addresses[0], instance["InstanceId"], testbed.ACCOUNT)]
    assert call(destroy_dock.main, "gpu", "-y", directory=tmp_path, capfd=capfd).status == 0
    assert (cloud.left(), cloud.instances(), cloud.front.spot.made_again) == ([], [], [])


def test_all_of_it_may_be_named(create, cloud) -> None:
    vpc = cloud.ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    subnet = cloud.ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.0.0/24")["Subnet"]["SubnetId"]
    group = cloud.ec2.create_security_group(GroupName="x", Description="x", VpcId=vpc)["GroupId"]
    public = Path(cloud.home, ".ssh", "id_ed25519.pub")
    cloud.ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=public.read_bytes())
    cloud.ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    identity = str(public.with_suffix(""))
    outcome = create(
        "gpu", "-s", subnet, "--ami", testbed.UBUNTU_ARM, "--key-name", "mine", "--identity", identity,
        "--security-group", group, "-i", "m6g.large",
    )  # fmt: skip
    assert outcome.status == 0
    [instance] = cloud.instances()
    assert (instance["SubnetId"], instance["ImageId"], instance["KeyName"]) == (subnet, testbed.UBUNTU_ARM, "mine")
    assert [each["GroupId"] for each in instance["SecurityGroups"]] == [group]
    assert set(cloud.front.actions()) == {
        "GetCallerIdentity",
        "DescribeInstanceTypes",
        "DescribeImages",
        "RunInstances",
        "DescribeInstances",
        "GetConsoleOutput",
    }
    assert inventory.find("gpu", cloud.home).identity == identity


def test_the_image_is_of_the_types_architecture(create, cloud) -> None:
    create("arm", "-i", "m6g.large")
    assert cloud.instances()[0]["ImageId"] == testbed.UBUNTU_ARM


def test_each_dock_has_its_own_group_and_key(create, cloud) -> None:
    assert create("gpu", "--cidr", "10.0.0.0/8").status == 0
    assert create("big").status == 0
    assert len({each["KeyName"] for each in cloud.instances()}) == 2
    assert len({each["SecurityGroups"][0]["GroupId"] for each in cloud.instances()}) == 2
    # The second dock takes nothing from the first.
    assert sorted(cloud.open()) == ["10.0.0.0/8", "127.0.0.1/32"]


@pytest.mark.parametrize("action", list(dict.fromkeys(ACTIONS[:-1])))
def test_a_call_that_is_refused(create, cloud, action) -> None:
    cloud.front.refuse(action, "UnauthorizedOperation")
    outcome = create("gpu")
    assert outcome.status == 1
    assert (
        outcome.err.splitlines()[-1] == f"create-dock: AWS refused {action}: Because (UnauthorizedOperation); {ALLOWED}"
    )
    cloud.front.reset()
    assert cloud.left() == []


@pytest.mark.parametrize("action", MAKING)
def test_a_call_that_fails_though_it_was_done(create, cloud, action) -> None:
    cloud.front.refuse(action, "InternalError", done=True)
    outcome = create("gpu")
    assert (outcome.status, cloud.left()) == (1, [])
    assert "create-dock: AWS refused" in outcome.err


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("InsufficientInstanceCapacity", "choose another instance type (-i) or subnet (-s), or try again later"),
        ("VcpuLimitExceeded", "choose a smaller instance type (-i), or request a higher quota"),
        ("RequestLimitExceeded", "try again later"),
        ("InvalidSubnetID.NotFound", "correct -s: the subnet must be in this region"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(create, cloud, code, remedy) -> None:
    cloud.front.refuse("RunInstances", code)
    outcome = create("gpu")
    assert outcome.err.splitlines()[-1] == f"create-dock: AWS refused RunInstances: Because ({code}); {remedy}"
    assert cloud.left() == []


def test_throttling_is_tried_again(create, cloud, monkeypatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    cloud.front.refuse("RunInstances", "RequestLimitExceeded", 1)
    assert create("gpu").status == 0
    tokens = {each.parameters["ClientToken"] for each in cloud.front.requests if each.action == "RunInstances"}
    assert (cloud.front.actions().count("RunInstances"), len(tokens)) == (2, 1)


def test_what_aws_does_not_know_everywhere_yet(create, cloud) -> None:
    cloud.front.refuse("AuthorizeSecurityGroupIngress", "InvalidGroup.NotFound", 2)
    cloud.front.refuse("RunInstances", "InvalidKeyPair.NotFound", 2)
    cloud.front.refuse("DescribeInstances", "InvalidInstanceID.NotFound", 2)
    cloud.front.refuse("GetConsoleOutput", "InvalidInstanceID.NotFound", 2)
    assert create("gpu").status == 0
    assert cloud.front.actions().count("AuthorizeSecurityGroupIngress") == 3
    assert "TerminateInstances" not in cloud.front.actions()
    assert cloud.key in Path(cloud.home, ".docker", cloud.addresses[0], "known_hosts").read_text()


def test_a_new_instance_that_aws_does_not_know_yet_is_removed(create, cloud) -> None:
    cloud.front.refuse("DescribeInstances", "UnauthorizedOperation", 1)
    cloud.front.refuse("TerminateInstances", "InvalidInstanceID.NotFound", 2)
    assert create("gpu").status == 1
    assert (cloud.front.actions().count("TerminateInstances"), cloud.left()) == (3, [])


@pytest.mark.parametrize("action", MAKING)
def test_a_call_whose_answer_is_lost_counts_as_made(create, cloud, monkeypatch, action) -> None:
    """boto3 repeats the call, and AWS refuses what exists."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    cloud.front.refuse(action, "InternalError", 1, done=True)
    outcome = create("gpu")
    assert outcome.status == 0, outcome.err
    assert (cloud.front.actions().count(action), len(cloud.instances())) == (2, 1)
    assert cloud.open() == ["127.0.0.1/32"]
    assert len(cloud.ec2.describe_key_pairs()["KeyPairs"]) == 1


def test_a_group_whose_answer_is_lost_is_found_when_its_tag_is_known(create, cloud, monkeypatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    empty = "<DescribeSecurityGroupsResponse><securityGroupInfo/></DescribeSecurityGroupsResponse>"
    left = [2]

    def unknown(text: str) -> str:
        left[0] -= 1
        return empty if left[0] >= 0 else text

    cloud.front.answers["DescribeSecurityGroups"] = unknown
    cloud.front.refuse("CreateSecurityGroup", "InternalError", 1, done=True)
    assert create("gpu").status == 0
    assert cloud.open() == ["127.0.0.1/32"]


def test_a_group_is_deleted_when_aws_releases_it(create, cloud) -> None:
    cloud.front.refuse("DescribeInstances", "UnauthorizedOperation", 1)
    cloud.front.refuse("DeleteSecurityGroup", "DependencyViolation", 3)
    assert create("gpu").status == 1
    assert cloud.front.actions().count("DeleteSecurityGroup") == 4
    assert cloud.left() == []


def test_a_group_that_another_instance_uses_stays(create, cloud) -> None:
    """Somebody has used the group meanwhile."""

    def join(_: testbed.Request) -> bytes:
        [group] = cloud.ec2.describe_security_groups(Filters=[{"Name": "tag:tool", "Values": ["dockerutils"]}])[
            "SecurityGroups"
        ]
        cloud.ec2.run_instances(ImageId=testbed.UBUNTU, MinCount=1, MaxCount=1, SecurityGroupIds=[group["GroupId"]])
        return testbed.refusal("VcpuLimitExceeded")

    cloud.front.before["RunInstances"] = join
    cloud.front.refuse("DeleteSecurityGroup", "DependencyViolation")
    outcome = create("gpu")
    assert (outcome.status, len(cloud.instances()), cloud.open()) == (1, 1, ["127.0.0.1/32"])
    assert "not removed" not in outcome.err


def test_what_does_not_exist_is_not_reported_as_removed(create, cloud) -> None:
    cloud.front.refuse("CreateSecurityGroup", "InternalError")
    cloud.front.refuse("ImportKeyPair", "InternalError")
    assert "removed: " not in create("gpu").err
    del cloud.front.before["CreateSecurityGroup"]
    cloud.front.refuse("DeleteSecurityGroup", "InvalidGroup.NotFound")
    assert "removed: " not in create("gpu").err


def test_credentials_that_expire_in_the_middle(create, cloud, tmp_path, capfd) -> None:
    """What cannot be removed is reported, and destroy-dock removes it later."""

    def expire(_: testbed.Request) -> None:
        for action in ("DescribeInstances", "TerminateInstances", "DescribeKeyPairs", "DescribeSecurityGroups"):
            cloud.front.refuse(action, "ExpiredToken")

    cloud.front.after["RunInstances"] = expire
    outcome = create("gpu")
    [instance] = cloud.instances()
    name = instance["KeyName"]
    assert outcome.status == 1

    def left(what: str, action: str) -> str:
        refused = f"AWS refused {action}: Because (ExpiredToken); {RENEW}"
        return f"create-dock: warning: not removed: {what}: {refused}; run: destroy-dock gpu"

    assert [line for line in outcome.err.splitlines() if line.startswith("create-dock: ")] == [
        left("the instance of gpu", "TerminateInstances"),
        left(f"key pair {name}", "DescribeKeyPairs"),
        left(f"security group {name}", "DescribeSecurityGroups"),
        f"create-dock: AWS refused DescribeInstances: Because (ExpiredToken); {RENEW}",
    ]
    [dock] = inventory.known(cloud.home)
    assert (dock.moniker, dock.is_incomplete, dock.account) == ("gpu", True, testbed.ACCOUNT)
    cloud.front.reset()
    outcome = call(destroy_dock.main, "gpu", "-y", directory=tmp_path, capfd=capfd)
    assert (outcome.status, cloud.left()) == (0, [])
    assert f"destroy-dock: gpu is destroyed: instance {instance['InstanceId']}, key pair {name}, " in outcome.err


def _killed(cloud: Cloud, tmp_path: Path, action: str) -> None:
    """Run create-dock, and kill it when AWS has carried out an action."""
    command = [str(Path(sys.executable).parent / "create-dock"), "gpu"]
    cloud.front.after[action] = lambda _: child.kill()
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    assert child.wait(60) == -signal.SIGKILL
    del cloud.front.after[action]


AFTER_THE_RECORD = list(dict.fromkeys(ACTIONS[1:]))


@pytest.mark.parametrize("action", AFTER_THE_RECORD)
def test_what_a_killed_run_left_is_destroyed(cloud, tmp_path, capfd, action) -> None:
    _killed(cloud, tmp_path, action)
    [dock] = inventory.known(cloud.home)
    assert (dock.moniker, dock.is_incomplete) == ("gpu", True)
    outcome = call(destroy_dock.main, "gpu", "-y", directory=tmp_path, capfd=capfd)
    assert (outcome.status, cloud.left()) == (0, []), outcome.err


def test_a_second_run_removes_what_a_killed_one_left(create, cloud, tmp_path) -> None:
    _killed(cloud, tmp_path, "RunInstances")
    [orphan] = cloud.instances()
    cloud.front.places = list(cloud.addresses)
    outcome = create("gpu")
    assert outcome.status == 0, outcome.err
    assert (
        f"create-dock: removed what an earlier create-dock gpu left: instance {orphan['InstanceId']}\n" in outcome.err
    )
    [instance] = cloud.instances()
    assert [dock.instance_id for dock in inventory.known(cloud.home)] == [instance["InstanceId"]]
    assert len(cloud.open()) == 1


def test_a_dry_run_after_a_killed_run_prints_its_removal(create, cloud, tmp_path) -> None:
    _killed(cloud, tmp_path, "RunInstances")
    cloud.front.requests.clear()
    outcome = create("gpu", "--dry-run")
    lines = outcome.out.splitlines()
    operations = [line.rpartition("aws ec2 ")[2].split()[0] for line in lines if "aws ec2" in line]
    assert lines[0] == "set -eu"
    assert lines[2].startswith('[ -z "${instance}" ] || aws ec2 terminate-instances ')
    assert operations[:7] == [
        "describe-instances", "terminate-instances", "wait", "describe-key-pairs", "delete-key-pair",
        "describe-security-groups", "delete-security-group",
    ]  # fmt: skip
    assert (cloud.front.requests, len(inventory.known(cloud.home))) == ([], 1)


def test_a_run_that_goes_on_is_not_disturbed(create, cloud, tmp_path, capfd) -> None:
    """A second create-dock and a destroy-dock of the name refuse while the first one waits for its instance."""
    command = [str(Path(sys.executable).parent / "create-dock"), "gpu"]
    message = "create-dock gpu is still running; wait for it, or interrupt it"
    release = threading.Event()

    def hold(_: testbed.Request) -> None:
        release.wait(60)

    cloud.front.after["GetConsoleOutput"] = hold
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: "GetConsoleOutput" in cloud.front.actions())
        assert create("gpu").err.splitlines()[-1] == f"create-dock: {message}"
        outcome = call(destroy_dock.main, "gpu", "-y", directory=tmp_path, capfd=capfd)
        assert (outcome.status, outcome.err) == (1, f"destroy-dock: {message}\n")
    finally:
        release.set()
    assert child.wait(60) == 0
    assert [dock.is_incomplete for dock in inventory.known(cloud.home)] == [False]


def test_what_may_have_been_made_is_kept_in_the_record(create, cloud, tmp_path, capfd) -> None:
    """When neither RunInstances nor the search for its instance is answered."""
    cloud.front.refuse("RunInstances", "InternalError", done=True)
    cloud.front.refuse("DescribeInstances", "InternalError")
    outcome = create("gpu")
    assert "create-dock: warning: not removed: the instance of gpu: " in outcome.err
    assert len(cloud.instances()) == 1
    cloud.front.reset()
    assert call(destroy_dock.main, "gpu", "-y", directory=tmp_path, capfd=capfd).status == 0
    assert cloud.left() == []


def test_no_default_vpc(create, cloud) -> None:
    cloud.front.replace["DescribeVpcs"] = b"<DescribeVpcsResponse><vpcSet/></DescribeVpcsResponse>"
    outcome = create("gpu")
    assert outcome.err.splitlines()[-1] == "create-dock: us-east-1 has no default VPC; name a subnet with -s"
    assert (outcome.status, cloud.left()) == (1, [])


def test_no_image(create, cloud) -> None:
    cloud.front.refuse("GetParameter", "ParameterNotFound")
    assert create("gpu").err.splitlines()[-1] == (
        "create-dock: AWS refused GetParameter: Because (ParameterNotFound); name an image of this region with --ami"
    )


def test_an_instance_that_never_answers(create, cloud) -> None:
    cloud.front.places = ["127.0.0.254"]
    outcome = create("gpu", "-t", "3")
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith("create-dock: gpu did not answer in time: ssh: ssh: connect to ")
    assert outcome.err.splitlines()[-1].endswith(
        "check that its network admits this machine, or allow more time with -t"
    )
    assert "create-dock: removed: instance i-" in outcome.err
    assert cloud.left() == []


def test_docker_never_answers(create, cloud, monkeypatch) -> None:
    monkeypatch.setenv("DOCK_USER", "plain")
    outcome = create("gpu", "-t", "3")
    assert outcome.err.splitlines()[-1].startswith("create-dock: gpu did not answer in time: docker on the dock: ")
    assert cloud.left() == []


def test_an_instance_that_ends_by_itself(create, cloud) -> None:
    cloud.front.after["RunInstances"] = lambda _: (
        cloud.ec2.terminate_instances(InstanceIds=[each["InstanceId"] for each in cloud.instances()]) and None
    )
    outcome = create("gpu")
    assert outcome.err.splitlines()[-1].startswith("create-dock: AWS terminated i-")
    assert cloud.left() == []


def test_an_instance_that_is_pending_for_ever(create, cloud) -> None:
    cloud.front.answers["DescribeInstances"] = lambda text: text.replace("<name>running</name>", "<name>pending</name>")
    outcome = create("gpu", "-t", "0.1")
    assert outcome.err.splitlines()[-1].endswith(" is pending; check with ls-dock, or allow more time with -t")
    assert cloud.left() == []


def test_somebody_else_answers(create, cloud) -> None:
    """The host that answers has not the key that the instance has written on its console."""
    cloud.host.rotate_host_key()
    outcome = create("gpu", "-t", "30")
    assert "the host key of i-" in outcome.err.splitlines()[-1]
    assert cloud.left() == []


def test_without_the_console_the_first_connection_counts(create, cloud, monkeypatch) -> None:
    monkeypatch.setattr(readiness, "KEYS_AFTER", 0.1)
    cloud.front.console = ""
    outcome = create("gpu")
    assert outcome.status == 0
    assert (
        "create-dock: warning: AWS did not return the host keys of gpu; the keys of the first connection are trusted\n"
    ) in outcome.err
    assert cloud.key.split()[1] in Path(cloud.home, ".docker", cloud.addresses[0], "known_hosts").read_text()


@pytest.mark.parametrize("code", ["UnsupportedOperation", "UnauthorizedOperation"])
def test_the_console_of_an_older_type(create, cloud, code, monkeypatch) -> None:
    monkeypatch.setattr(readiness, "KEYS_AFTER", 0.1)

    def latest(request: testbed.Request) -> bytes | None:
        return testbed.refusal(code) if "Latest" in request.parameters else None

    cloud.front.before["GetConsoleOutput"] = latest
    outcome = create("gpu")
    assert ("warning" in outcome.err) == (code == "UnauthorizedOperation")


def test_an_address_of_before(create, cloud) -> None:
    """A stopped dock has no address; AWS can give its address of before to another instance."""
    address = cloud.addresses[0]
    old = Dock("old", address, "dock", address, address, None, None, "i-0old", "us-east-1")
    inventory.register(old, cloud.home)
    ssh_config.write_host_keys(old, ["ssh-ed25519 AAAA"], cloud.home)
    assert create("gpu").status == 0
    assert {dock.moniker: dock.address for dock in inventory.known(cloud.home)} == {"gpu": address, "old": "i-0old"}
    assert Path(cloud.home, ".docker", "i-0old", "known_hosts").read_text() == "i-0old ssh-ed25519 AAAA\n"


def test_the_address_of_a_dock_that_is_none_of_aws(create, cloud) -> None:
    address = cloud.addresses[0]
    inventory.register(Dock("mine", address, "dock", address, address), cloud.home)
    outcome = create("gpu")
    assert outcome.err.splitlines()[-1] == f"create-dock: mine is registered at {address}; run: unregister-dock mine"
    assert cloud.instances() == []


def test_without_docker_here(create, cloud, tmp_path, monkeypatch) -> None:
    for name in ("ssh",):
        os.symlink(f"/usr/bin/{name}", tmp_path / name)
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = create("gpu")
    assert outcome.status == 0
    assert (
        "create-dock: warning: no docker context dock-gpu: docker was not found on PATH; install the docker "
        "command-line client, or add its directory to PATH\n"
    ) in outcome.err


def test_docker_refuses_a_context(create, cloud, tmp_path, monkeypatch) -> None:
    support.program(tmp_path / "docker", "exit 3")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert (create("gpu").status, cloud.left()) == (3, [])


@pytest.mark.parametrize(
    ("action", "number"), [*zip(ACTIONS, cycle([signal.SIGINT, signal.SIGTERM]), strict=False)], ids=str
)
def test_interrupted_at_each_call(cloud, tmp_path, action, number) -> None:
    """Before AWS has answered, when it has done already what it was asked."""
    command = [str(Path(sys.executable).parent / "create-dock"), "gpu"]
    came = threading.Event()

    def interrupt(_: testbed.Request) -> None:
        if not came.is_set():
            came.set()
            child.send_signal(number)

    cloud.front.after[action] = interrupt
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    _, err = child.communicate(timeout=60)
    assert came.is_set()
    assert child.returncode == 128 + number, err
    assert "Traceback" not in err
    assert cloud.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted_while_it_waits_and_again(cloud, tmp_path, capfd, number) -> None:
    """The first Ctrl-C removes everything; after a second one the record stays, and destroy-dock removes the rest."""
    cloud.front.places = ["127.0.0.254"]
    cloud.front.refuse("DeleteSecurityGroup", "DependencyViolation")
    command = [str(Path(sys.executable).parent / "create-dock"), "gpu"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as child:

        def interrupt_again() -> bool:
            """Press Ctrl-C again; a burst counts as one."""
            child.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                child.wait(signals.BURST + 0.5)
            return child.poll() is not None

        try:
            wait_for(lambda: "GetConsoleOutput" in cloud.front.actions())
            child.send_signal(signal.SIGINT)
            wait_for(lambda: "DeleteSecurityGroup" in cloud.front.actions())
            wait_for(interrupt_again)
            _, err = child.communicate(timeout=60)
        finally:
            child.kill()
    [group] = [each for each in cloud.left() if each.startswith("sg-")]
    [dock] = inventory.known(cloud.home)
    assert (child.returncode, dock.is_incomplete, cloud.instances()) == (130, True, [])
    name = f"dockerutils-alice-gpu-{dock.run}"
    assert f"warning: not removed: security group {name}: interrupted; run: destroy-dock gpu\n" in err
    cloud.front.reset()
    outcome = call(destroy_dock.main, "gpu", "-y", directory=tmp_path, capfd=capfd)
    assert (outcome.status, cloud.left()) == (0, [])
    assert outcome.err.endswith(f"destroy-dock: gpu is destroyed: security group {group}\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-x"], None),
        (["a b"], "'a b' is not a moniker; use up to 100 letters, digits, '_', '.', '+' and '-', starting with a letter or digit"),
        (["gpu", "-u", "-l"], "'-l' is not a user name; use letters, digits, '_', '.', '@', '+' and '-', starting with a letter, digit or '_'"),
        (["taken"], "'taken' is already taken at 203.0.113.7; choose another moniker, or run: unregister-dock taken"),
        (["gpu", "-t", "x"], "-t: 'x' is not a number of seconds; write a number above 0"),
        (["gpu", "--identity", "x"], "--identity needs --key-name; name your public key with --public-key"),
        (["gpu", "--key-name", "k", "--identity", "/no/key"], "/no/key is not a file; correct --identity"),
        (["gpu", "--public-key", "/no/key"], "/no/key is not a file; correct --public-key"),
        (["gpu", "--public-key", '/k"'], "'/k\"' is not a key file; use an absolute path without quotes, backslashes and dollar signs"),
        (["gpu", "--public-key", "/etc/passwd"], "/etc/passwd is not an ed25519 or RSA public key, which EC2 needs; name another file"),
        (["gpu"], "~/.ssh has no ed25519 or RSA key, which EC2 needs; run: ssh-keygen -t ed25519, or use --public-key"),
    ],
)  # fmt: skip
def test_what_is_refused_before_anything_is_made(argv, message, isolated, tmp_path, capfd) -> None:
    inventory.register(Dock("taken", "203.0.113.7", "a", "203.0.113.7", "203.0.113.7"), os.environ["HOME"])
    outcome = call(main, *argv, directory=tmp_path, capfd=capfd)
    assert (outcome.status, outcome.out) == (2, "")
    if message:
        assert outcome.err == f"create-dock: {message}\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-v", "0"], "-v/--volume: '0' is not a disk size; write a number of GB from 1 to 65536"),
        (["-v", "1T"], "-v/--volume: '1T' is not a disk size; write a number of GB from 1 to 65536"),
        (["--cidr", "0.0.0.0/0"], "--cidr: 0.0.0.0/0 admits everybody; name the network that you connect from"),
        (["--cidr", "::/0"], "--cidr: ::/0 admits everybody; name the network that you connect from"),
        (
            ["--cidr", "x"],
            "--cidr: 'x' does not appear to be an IPv4 or IPv6 network; write ADDRESS/32 for one address",
        ),
        (["--product-name", "dock", "--param", "a"], "--param: 'a' is not KEY=VALUE"),
        (["--autostop", "0"], "--autostop: '0' is not a number of hours above 0; write for example 1.5"),
    ],
)
def test_values_that_options_do_not_take(argv, message, isolated, tmp_path, capfd) -> None:
    outcome = call(main, "gpu", *argv, directory=tmp_path, capfd=capfd)
    assert (outcome.status, outcome.err.splitlines()[-1]) == (2, f"create-dock: error: argument {message}")


def test_the_address_service_cannot_be_reached(create, cloud, monkeypatch) -> None:
    monkeypatch.setenv("DOCKERUTILS_CHECKIP", f"http://127.0.0.1:{testbed.free_port()}/")
    assert re.fullmatch(
        r"create-dock: http://127\.0\.0\.1:\d+/ did not return this machine's address: Connection refused; name the network "
        r"to admit: --cidr ADDRESS/32",
        create("gpu").err.splitlines()[-1],
    )


@pytest.mark.parametrize("answer", [b"<html>", b""])
def test_the_address_service_returns_something_else(create, cloud, answer) -> None:
    cloud.front.address = answer
    outcome = create("gpu")
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].endswith("; name the network to admit: --cidr ADDRESS/32")
    assert (cloud.front.actions(), cloud.left()) == (["GetCallerIdentity"], [])


def test_no_region_and_no_credentials(isolated, ssh_home, tmp_path, capfd, monkeypatch) -> None:
    run = ["gpu", "--cidr", "203.0.113.7/32"]
    assert call(main, *run, directory=tmp_path, capfd=capfd) == Outcome(
        1, "", "create-dock: no AWS region is configured; set AWS_REGION, or run: aws configure set region NAME\n"
    )
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    outcome = call(main, *run, directory=tmp_path, capfd=capfd)
    assert outcome.err.splitlines()[-1] == (
        "create-dock: AWS: Unable to locate credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
        "or run: aws configure"
    )


def test_a_user_who_is_let_use_docker_just_now(create, cloud, monkeypatch) -> None:
    """Groups are those of the time of the login: each attempt is a login of its own."""
    monkeypatch.setenv("DOCK_USER", "plain")
    answers: list[Captured] = []
    again = readiness.again

    def let_use(answer: Captured, show: Any) -> bool:
        if answer.status not in (0, ssh_config.SSH_FAILED) and not answers:
            group = cloud.host.run("stat -Lc %g /var/run/docker.sock").strip()
            cloud.host.run(f"usermod -aG {group} plain")
        answers.append(answer)
        return again(answer, show)

    monkeypatch.setattr(readiness, "again", let_use)
    assert create("gpu", "-t", "30").status == 0
    assert (answers[0].status == 0, answers[-1].status) == (False, 0)
    assert cloud.host.authentications() == len(answers)


def test_the_user_data_reaches_the_instance(create, cloud) -> None:
    create("gpu")
    [instance] = cloud.instances()
    attribute = cloud.ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
    assert base64.b64decode(attribute["UserData"]["Value"]).decode().splitlines()[0] == "#cloud-config"


def test_the_console_script(cloud, tmp_path) -> None:
    assert script("create-dock", "gpu", directory=tmp_path).status == 0
    assert [dock.moniker for dock in inventory.known(cloud.home)] == ["gpu"]


@pytest.fixture
def product(cloud, monkeypatch):
    """Let Service Catalog provision an instance; return the outputs, to be changed, and the terminated products."""
    found = cloud.ec2.run_instances(ImageId=testbed.UBUNTU, MinCount=1, MaxCount=1)["Instances"][0]
    terminated: list[str] = []

    provision_really = Catalog.provision

    def provision(self, wanted, run, deadline, rollback):
        if self._dry_run:
            return provision_really(self, wanted, run, deadline, rollback)
        rollback.add("product", str, lambda: "product")
        return Provisioned("pp-1", *outputs)

    outputs: list[str | None] = [found["InstanceId"], None]
    monkeypatch.setattr(Catalog, "provision", provision)

    def terminate(_, name, deadline) -> bool:
        terminated.append(name)
        return True

    monkeypatch.setattr(Catalog, "terminate", terminate)
    return outputs, terminated


def test_a_product_becomes_a_dock_and_is_destroyed(create, cloud, product, tmp_path, capfd) -> None:
    argv = ["--product-name", "dock", "--product-version", "v1", "--param", "Team=vision", "-v", "100"]
    assert create("gpu", *argv, "--identity", f"{cloud.home}/.ssh/id_ed25519").status == 0
    dock = inventory.find("gpu", cloud.home)
    assert (dock.provisioned_product, dock.instance_id) == ("pp-1", product[0][0])
    outcome = call(destroy_dock.main, "gpu", "-y", directory=tmp_path, capfd=capfd)
    assert (outcome.status, product[1], inventory.known(cloud.home)) == (0, ["pp-1"], [])
    assert "TerminateInstances" not in cloud.front.actions()


def test_a_product_with_only_an_address(create, cloud, product) -> None:
    cloud.front.places = [cloud.addresses[0]]
    boto3.client("ec2").describe_instances()
    product[0][:] = [None, cloud.addresses[0]]
    assert create("gpu", "--product-name", "dock").status == 0
    assert inventory.find("gpu", cloud.home).instance_id == cloud.instances()[0]["InstanceId"]


def test_a_product_whose_address_nobody_has(create, cloud, product) -> None:
    product[0][:] = [None, "203.0.113.99"]
    outcome = create("gpu", "--product-name", "dock")
    assert (outcome.status, outcome.err.splitlines()[-2:]) == (
        1,
        [
            "create-dock: removed: product",
            "create-dock: no instance in us-east-1 has the address 203.0.113.99 of the product's outputs; fix the product",
        ],
    )


def test_a_product_in_a_dry_run(create, cloud, tmp_path, capfd) -> None:
    outcome = create("gpu", "--product-name", "dock", "--dry-run")
    assert (outcome.status, outcome.err, cloud.front.requests) == (0, "", [])
    assert (outcome.out.splitlines()[0], outcome.out.splitlines()[-1]) == (
        "set -eu",
        'register-dock "${ip}" gpu --user dock --instance "${instance}" --region us-east-1',
    )
    dock = Dock("sc", "203.0.113.7", "a", "203.0.113.7", "203.0.113.7", None, None, "i-1", "us-east-1", "pp-1")
    inventory.register(dock, cloud.home)
    outcome = call(destroy_dock.main, "sc", "--dry-run", directory=tmp_path, capfd=capfd)
    assert outcome.out.startswith(
        "aws servicecatalog terminate-provisioned-product --region us-east-1 --provisioned-product-id pp-1 "
    )
    assert (outcome.err, cloud.front.requests) == ("", [])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--product-version", "v1"], "--product-version and --param need a product; add --product-name NAME"),
        (["--param", "a=b"], "--product-version and --param need a product; add --product-name NAME"),
        (
            ["--product-name", "dock", "--ami", "x"],
            "--ami cannot be used with --product-name; set a parameter of the product with --param",
        ),
        (
            ["--product-name", "dock", "--jupyter"],
            "--jupyter cannot be used with --product-name; set a parameter of the product with --param",
        ),
        (
            ["--product-name", "dock", "--cidr", "1.2.3.4"],
            "--cidr cannot be used with --product-name; set a parameter of the product with --param",
        ),
    ],
)
def test_options_that_do_not_go_together(argv, message, isolated, tmp_path, capfd) -> None:
    assert call(main, "gpu", *argv, directory=tmp_path, capfd=capfd) == Outcome(2, "", f"create-dock: {message}\n")


def test_autostop_is_in_the_user_data(create, cloud) -> None:
    from dockerutils.aws import autostop

    assert create("gpu", "--autostop", "1.5").status == 0
    [request] = [each for each in cloud.front.requests if each.action == "RunInstances"]
    assert request.parameters["InstanceInitiatedShutdownBehavior"] == "stop"
    header, text = base64.b64decode(request.parameters["UserData"]).decode().split("\n")
    step = json.loads(text)["runcmd"][-2]
    assert (header, step[:2]) == ("#cloud-config", ["sh", "-c"])
    written = subprocess.run([*step[:2], step[2].removesuffix(" | sh")], capture_output=True, text=True, check=True)
    assert written.stdout == autostop.installation(1.5)


def test_autostop_is_in_the_printed_lines(create, recorded) -> None:
    outcome = create("gpu", "--autostop", "1.5")
    lines = [line for line in outcome.echoed if line.startswith("aws ")]
    assert [testbed.parsed(line) for line in lines] == _changes(recorded)


def test_autostop_does_not_go_with_a_product(isolated, tmp_path, capfd) -> None:
    message = "--autostop cannot be used with --product-name; afterwards run: start-dock --autostop HOURS"
    outcome = call(main, "gpu", "--product-name", "x", "--autostop", "1", directory=tmp_path, capfd=capfd)
    assert outcome == Outcome(2, "", f"create-dock: {message}\n")
