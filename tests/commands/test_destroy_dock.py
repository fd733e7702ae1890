"""destroy-dock: nothing is left, on AWS and here."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import pexpect
import pytest

from dockerutils.commands import create_dock
from dockerutils.commands.destroy_dock import main
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.support import call, exit_status, script, wait_for
from tests.testbed import aws as testbed
from tests.testbed import images

ROOT = Path(__file__).parent.parent.parent
NO_INSTANCES = b"<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>"


@pytest.fixture
def destroy(gpu, cloud, tmp_path, capfd):
    """Return a function that calls the command where there is a dock."""
    cloud.front.requests.clear()
    return lambda *argv: call(main, *argv, directory=tmp_path, capfd=capfd)


def context(name: str) -> bool:
    return subprocess.run(["docker", "context", "inspect", name], capture_output=True, check=False).returncode == 0


def test_nothing_is_left(destroy, cloud, gpu) -> None:
    assert context("dock-gpu")
    outcome = destroy("gpu", "-y")
    assert (outcome.status, outcome.out, cloud.left(), context("dock-gpu")) == (0, "", [], False)
    lines = [line for line in outcome.err.splitlines() if line.startswith("destroy-dock: ")]
    assert [line.partition(" dockerutils")[0].partition(" sg-")[0] for line in lines] == [
        "destroy-dock: deleted: key pair",
        "destroy-dock: deleted: security group",
        f"destroy-dock: gpu is destroyed: instance {gpu.instance_id}",
    ]


def test_a_node_of_a_swarm_is_warned_about(destroy, cloud) -> None:
    cloud.host.wrap_docker('case "$*" in *.Swarm.*) echo active,false,k3n0bq2m0o7w; exit;; esac')
    outcome = destroy("gpu", "-y")
    what = "gpu is in a swarm, and its services there end; to move them first, run: swarm-docks --leave gpu"
    assert outcome.err.startswith(f"destroy-dock: warning: {what}\n")
    assert (outcome.status, cloud.left()) == (0, [])


def test_other_docks_stay(destroy, cloud, tmp_path, capfd) -> None:
    assert call(create_dock.main, "big", directory=tmp_path, capfd=capfd).status == 0
    assert destroy("gpu", "-y").status == 0
    [instance] = cloud.instances()
    [key] = cloud.ec2.describe_key_pairs()["KeyPairs"]
    assert (instance["KeyName"], len(cloud.open())) == (key["KeyName"], 1)
    assert destroy("big", "-y").status == 0
    assert cloud.left() == []


def test_what_is_not_ours_stays(destroy, cloud, tmp_path, capfd) -> None:
    cloud.ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=Path(cloud.home, ".ssh/id_ed25519.pub").read_bytes())
    group = cloud.ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    argv = ["big", "--key-name", "mine", "--security-group", group]
    assert call(create_dock.main, *argv, directory=tmp_path, capfd=capfd).status == 0
    assert destroy("gpu", "big", "-y").status == 0
    assert [key["KeyName"] for key in cloud.ec2.describe_key_pairs()["KeyPairs"]] == ["mine"]
    assert cloud.left() == []


def test_it_was_terminated_before(destroy, cloud, gpu) -> None:
    cloud.ec2.terminate_instances(InstanceIds=[gpu.instance_id])
    outcome = destroy("gpu", "-y")
    assert f"destroy-dock: gpu was terminated before: instance {gpu.instance_id}\n" in outcome.err
    assert (outcome.status, cloud.left()) == (0, [])


def test_aws_does_not_know_it_any_more(destroy, cloud, gpu) -> None:
    """AWS forgets a terminated instance after an hour; key pair and group are found by the record."""
    cloud.ec2.terminate_instances(InstanceIds=[gpu.instance_id])
    cloud.front.replace["DescribeInstances"] = NO_INSTANCES
    assert destroy("gpu", "-y").status == 0
    cloud.front.reset()
    assert cloud.left() == []


@pytest.mark.parametrize(
    ("account", "message"),
    [
        ("999999999999", "gpu belongs to account 999999999999; set AWS_PROFILE to a profile of that account"),
        (None, "if gpu is in another account, set AWS_PROFILE; if it was terminated, run: unregister-dock gpu"),
    ],
)
def test_an_instance_of_another_account_is_not_forgotten(destroy, cloud, gpu, account, message) -> None:
    """DescribeInstances returns nothing, and the instance still runs and costs."""
    other = gpu._replace(account=account)
    inventory.change(gpu, other, cloud.home)
    cloud.front.replace["DescribeInstances"] = NO_INSTANCES
    outcome = destroy("gpu", "-y")
    assert outcome.status == 1
    between = ": " if account else "; "
    assert outcome.err.splitlines()[-1] == (
        f"destroy-dock: AWS account {testbed.ACCOUNT} has no instance {gpu.instance_id}{between}{message}"
    )
    assert inventory.known(cloud.home) == [other]
    assert cloud.instances("running")


def test_an_instance_that_is_shutting_down(destroy, cloud) -> None:
    left = [2]

    def shutting_down(text: str) -> str:
        left[0] -= 1
        return text.replace("<name>terminated</name>", "<name>shutting-down</name>") if left[0] >= 0 else text

    cloud.front.answers["DescribeInstances"] = shutting_down
    assert destroy("gpu", "-y").status == 0
    assert cloud.left() == []


@pytest.mark.parametrize("address", ["10.111.84.21", "private", "203.0.113.7"])
def test_a_dock_that_is_not_on_aws_is_left_alone(destroy, cloud, address) -> None:
    """Nor is an instance that happens to have its private address."""
    found = cloud.ec2.run_instances(ImageId=testbed.UBUNTU, MinCount=1, MaxCount=1)["Instances"][0]
    address = found["PrivateIpAddress"] if address == "private" else address
    office = Dock("office", address, "a", address, address)
    inventory.register(office, cloud.home)
    outcome = destroy("office", "-y")
    assert (outcome.status, outcome.err.splitlines()[-1]) == (
        1,
        f"destroy-dock: no instance in us-east-1 has the public address {address} of office; if the dock is on AWS, set "
        "AWS_REGION to its region",
    )
    assert office in inventory.known(cloud.home)
    assert len(cloud.instances("running")) == 2


@pytest.fixture
def foreign(cloud) -> tuple[Dock, str]:
    """Return a dock registered by hand, and the id of the untagged instance that AWS gave its address to."""
    address = cloud.addresses[1]
    cloud.front.places = [address]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "payroll"}]}]
    [found] = cloud.ec2.run_instances(ImageId=testbed.UBUNTU, MinCount=1, MaxCount=1, TagSpecifications=tags)[
        "Instances"
    ]
    boto3.client("ec2").describe_instances()
    office = Dock("office", address, "dock", address, address)
    inventory.register(office, cloud.home)
    return office, found["InstanceId"]


@pytest.mark.parametrize("argv", [["-y"], []], ids=["with -y", "asked"])
def test_an_instance_that_others_created(destroy, cloud, foreign, argv) -> None:
    """By its address, it is destroyed on a terminal only, when the user agrees to its id and name."""
    office, instance = foreign
    fact = f"nstance {instance} (Name: payroll) has the address of office, but is not a dock that you created"
    if argv:
        outcome = destroy("office", *argv)
        last = f"destroy-dock: i{fact}; to destroy it, run the command on a terminal without -y"
        assert (outcome.status, outcome.err.splitlines()[-1]) == (1, last)
        assert (office in inventory.known(cloud.home), len(cloud.instances("running"))) == (True, 2)
        return
    for answer, status in (("n", 1), ("y", 0)):
        command = str(Path(sys.executable).parent / "destroy-dock")
        child = pexpect.spawn(
            command, ["office"], encoding="utf-8", timeout=60, env=dict(os.environ), dimensions=(24, 300)
        )
        child.expect_exact("Destroy office at ")
        child.sendline("y")
        child.expect_exact(f"I{fact}. Destroy it? [y/N] ")
        child.sendline(answer)
        assert exit_status(child) == status
    assert [each["InstanceId"] for each in cloud.instances("terminated")] == [instance]


def test_a_dock_that_somebody_else_created_is_foreign(destroy, cloud, gpu, monkeypatch) -> None:
    inventory.change(gpu, gpu._replace(instance_id=None, region=None, account=None, run=None), cloud.home)
    monkeypatch.setenv("LOGNAME", "bob")
    outcome = destroy("gpu", "-y")
    assert "(Name: gpu) has the address of gpu, but is not a dock that you created" in outcome.err
    assert cloud.instances("running")


def test_a_dock_registered_by_hand_is_destroyed_with_its_group_and_key(destroy, cloud, gpu) -> None:
    inventory.change(gpu, gpu._replace(instance_id=None, region=None, account=None, run=None), cloud.home)
    assert destroy("gpu", "-y").status == 0
    assert cloud.left() == []


def test_a_refusal_forgets_nothing(destroy, cloud, gpu) -> None:
    cloud.front.refuse("TerminateInstances", "UnauthorizedOperation")
    assert destroy("gpu", "-y").status == 1
    assert inventory.known(cloud.home) == [gpu]


@pytest.mark.parametrize(
    "action", ["DescribeKeyPairs", "DeleteKeyPair", "DescribeSecurityGroups", "DeleteSecurityGroup"]
)
@pytest.mark.parametrize("code", ["InternalError", "UnauthorizedOperation"])
def test_the_dock_is_forgotten_last(destroy, cloud, gpu, action, code) -> None:
    """While something is left on AWS, the status is not 0, and the command can be run again."""
    cloud.front.refuse(action, code)
    outcome = destroy("gpu", "-y")
    assert (outcome.status, inventory.known(cloud.home)) == (1, [gpu])
    assert outcome.err.splitlines()[-1].startswith(f"destroy-dock: AWS refused {action}: Because ({code}); ")
    cloud.front.reset()
    assert destroy("gpu", "-y").status == 0
    assert cloud.left() == []


ACTIONS = [
    "DescribeInstances", "TerminateInstances", "DescribeKeyPairs", "DeleteKeyPair", "DescribeSecurityGroups",
    "DeleteSecurityGroup",
]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("action", ACTIONS)
def test_interrupted_at_each_call(gpu, cloud, tmp_path, capfd, action, number) -> None:
    """The record stays until nothing is left on AWS."""
    command = [str(Path(sys.executable).parent / "destroy-dock"), "gpu", "-y"]
    child: subprocess.Popen[str]

    def interrupt(_: testbed.Request) -> None:
        child.send_signal(number)

    cloud.front.after[action] = interrupt
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    _, err = child.communicate(timeout=60)
    assert child.returncode == (-number if number == signal.SIGKILL else 128 + number), err
    assert inventory.known(cloud.home) == [gpu]
    del cloud.front.after[action]
    outcome = call(main, "gpu", "-y", directory=tmp_path, capfd=capfd)
    assert (outcome.status, cloud.left()) == (0, []), outcome.err


def test_a_group_that_somebody_else_deleted(destroy, cloud) -> None:
    cloud.front.refuse("DeleteSecurityGroup", "InvalidGroup.NotFound")
    outcome = destroy("gpu", "-y")
    assert (outcome.status, "security group sg-" in outcome.err) == (0, False)


def test_leftovers_are_listed_and_removed(destroy, cloud, gpu, tmp_path) -> None:
    """Only what has our tags and no record."""
    inventory.unregister(gpu.address, cloud.home)
    cloud.front.places = list(cloud.addresses)
    assert script("create-dock", "big", directory=tmp_path).status == 0
    [stranger] = cloud.ec2.run_instances(ImageId=testbed.UBUNTU, MinCount=1, MaxCount=1)["Instances"]
    orphan = f"destroy-dock: gpu: instance {gpu.instance_id} (running), key pair dockerutils-alice-gpu-{gpu.run}, security group sg-"
    outcome = destroy("--leftovers")
    assert outcome.status == 2
    assert [line for line in outcome.err.splitlines() if line.startswith(orphan)]
    assert outcome.err.splitlines()[-1] == (
        'destroy-dock: cannot ask "Remove all of this from us-east-1? It includes docks that you created on other '
        'machines." without a terminal; add -y for yes'
    )
    outcome = destroy("--leftovers", "--dry-run")
    assert [line.split("|| aws ec2 ")[1].split()[0] for line in outcome.out.splitlines() if "|| aws " in line] == [
        "terminate-instances", "wait", "delete-key-pair", "delete-security-group",
    ]  # fmt: skip
    assert len(cloud.instances()) == 3
    outcome = destroy("--leftovers", "-y")
    assert (outcome.status, len(cloud.instances())) == (0, 2)
    assert (
        f"destroy-dock: removed: instance {gpu.instance_id}, key pair dockerutils-alice-gpu-{gpu.run}, security group sg-"
        in outcome.err
    )
    assert destroy("big", "-y").status == 0
    assert cloud.left() == [stranger["InstanceId"]]
    outcome = destroy("--leftovers", "-y")
    assert (outcome.status, outcome.err.splitlines()[-1]) == (0, "destroy-dock: nothing is left in us-east-1")


def test_leftovers_go_without_a_dock(destroy) -> None:
    outcome = destroy("--leftovers", "gpu")
    assert outcome == (2, "", "destroy-dock: --leftovers cannot be used with a dock; run the command twice\n")


def test_a_docked_shell_is_warned(destroy, monkeypatch) -> None:
    monkeypatch.setenv("DOCK_MONIKER", "gpu")
    assert "destroy-dock: warning: this shell is docked to gpu; run: castoff\n" in destroy("-y").err


def test_without_docker_here(destroy, cloud, tmp_path, monkeypatch) -> None:
    (tmp_path / "ssh").symlink_to("/usr/bin/ssh")
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = destroy("gpu", "-y")
    assert outcome.status == 0
    assert (
        "destroy-dock: warning: the docker context dock-gpu may still exist: docker was not found on PATH"
        in outcome.err
    )


def test_without_a_terminal_it_needs_y(destroy, cloud, gpu) -> None:
    outcome = destroy("gpu")
    assert outcome.status == 2
    assert outcome.err == (
        f'destroy-dock: cannot ask "Destroy gpu at {gpu.ip}, with everything on the disk?" without a terminal; add -y for yes\n'
    )
    assert cloud.instances("running")


def test_dry_run(destroy, cloud, gpu) -> None:
    outcome = destroy("gpu", "--dry-run")
    ids = f"--region us-east-1 --instance-ids {gpu.instance_id}"
    lines = outcome.out.splitlines()
    assert (outcome.status, outcome.err, len(lines)) == (0, "", 6)
    assert lines[:2] == [f"aws ec2 terminate-instances {ids}", f"aws ec2 wait instance-terminated {ids}"]
    assert lines[3] == '[ -z "${key}" ] || aws ec2 delete-key-pair --region us-east-1 --key-name "${key}"'
    deletion = 'aws ec2 delete-security-group --region us-east-1 --group-id "${group}"'
    assert lines[5] == f'[ -z "${{group}}" ] || {deletion}'
    assert (cloud.front.requests, inventory.known(cloud.home)) == ([], [gpu])


def test_a_dock_from_creation_to_destruction(cloud, tmp_path) -> None:
    """A docked shell that builds and runs, before and after a stop and a start."""
    (tmp_path / "app" / "docker" / "dev").mkdir(parents=True)
    (tmp_path / "app" / "docker" / "dev" / "Dockerfile").write_text(f"FROM {images.BUSYBOX}\nRUN echo hello > /said\n")
    story = f"""
    set -eu
    PATH={ROOT}/dockerutils/shell:{Path(sys.executable).parent}:$PATH
    export DOCKER_BUILDKIT=0
    create-dock gpu
    source dock gpu
    first=$DOCKER_IP
    build-image dev
    test "$(run-image dev -- cat /said)" = hello
    stop-dock -y
    start-dock
    castoff
    source dock gpu
    test "$DOCKER_IP" != "$first"
    test "$(run-image dev -- cat /said)" = hello
    build-image clean
    destroy-dock -y
    castoff
    echo done
    """
    child = subprocess.run(
        ["bash", "--norc", "-c", story], cwd=tmp_path / "app", capture_output=True, text=True, timeout=120, check=False
    )
    assert (child.returncode, child.stdout.splitlines()[-1:]) == (0, ["done"]), child.stderr
    wait_for(lambda: cloud.left() == [])  # the shared connection ends in the background
    assert cloud.instances("terminated")
    services = {"GetParameter": "ssm", "GetCallerIdentity": "sts"}
    used = {f"{services.get(action, 'ec2')}:{action}" for action in cloud.front.actions()}
    assert used <= {*_allowed(), "sts:GetCallerIdentity"}  # which everybody may call


def _allowed() -> set[str]:
    """Return the actions in the policy of docs/aws.md."""
    [text] = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "aws.md").read_text(), re.DOTALL)
    actions = [statement["Action"] for statement in json.loads(text)["Statement"]]
    return {name for each in actions for name in ([each] if isinstance(each, str) else each)}


def test_the_policy_allows_only_what_is_used() -> None:
    source = "".join(path.read_text() for path in (ROOT / "dockerutils" / "aws").glob("*.py"))
    # Names that the code composes; and tags are created with the resources.
    used = {"ec2:DescribeKeyPairs", "ec2:DescribeSecurityGroups", "ec2:DescribeSpotInstanceRequests"}
    used |= {"ec2:CreateTags", "ssm:GetParameter"} | {
        f"ec2:{verb}SecurityGroupIngress" for verb in ("Authorize", "Revoke")
    }
    used |= {f"ec2:{word.title().replace('-', '')}" for word in re.findall(r'"([a-z]+(?:-[a-z]+)+)"', source)}
    assert _allowed() <= used
