"""stop-dock: instances are stopped, after a question, and the docks stay registered."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import pexpect
import pytest

from dockerutils.commands import create_dock
from dockerutils.commands.stop_dock import main
from dockerutils.docks import inventory, ssh_config
from dockerutils.docks.records import Dock
from tests.support import Outcome, call, exit_status
from tests.testbed import aws as testbed


@pytest.fixture
def stop(gpu, tmp_path, capfd):
    """Return a function that calls the command where there is a dock."""
    return lambda *argv: call(main, *argv, directory=tmp_path, capfd=capfd)


def test_stop(stop, cloud, gpu) -> None:
    subprocess.run(["ssh", "dock-gpu", "true"], check=True)
    outcome = stop("gpu", "-y")
    [instance] = cloud.instances()
    assert (outcome.status, outcome.out, instance["State"]["Name"]) == (0, "", "stopped")
    assert f"aws ec2 stop-instances --region us-east-1 --instance-ids {gpu.instance_id}" in outcome.echoed
    assert outcome.err.splitlines()[-1] == "stop-dock: gpu has stopped; to start it, run: start-dock gpu"
    assert inventory.known(cloud.home) == [gpu]
    # The shared connection is closed.
    assert subprocess.run(["ssh", "-O", "check", "dock-gpu"], check=False, capture_output=True).returncode == 255
    assert stop("gpu", "-y").status == 0


def test_where_the_shell_is_docked(stop, cloud, gpu, monkeypatch) -> None:
    monkeypatch.setenv("DOCK_MONIKER", "gpu")
    assert stop("--yes").status == 0
    assert cloud.instances("stopped")


def test_several_in_one_call(stop, cloud, tmp_path, capfd) -> None:
    cloud.front.places += [cloud.addresses[0]] * 2
    assert call(create_dock.main, "big", directory=tmp_path, capfd=capfd).status == 0
    cloud.front.requests.clear()
    assert stop("gpu", "big", "gpu", "-y").status == 0
    assert cloud.front.actions() == ["DescribeInstances", "StopInstances", "DescribeInstances"]
    assert len(cloud.instances("stopped")) == 2


def test_a_dock_without_instance_id_is_found_by_its_address(stop, cloud, gpu) -> None:
    inventory.change(gpu, gpu._replace(instance_id=None, region=None, account=None, run=None), cloud.home)
    assert stop("gpu", "-y").status == 0
    assert cloud.instances("stopped")
    # The record is complete: the address is about to change. And the host keys are known as before.
    assert inventory.known(cloud.home) == [gpu]
    assert cloud.key in Path(ssh_config.known_hosts(gpu, cloud.home)).read_text()


def test_a_private_address_finds_nothing(stop, cloud, gpu) -> None:
    """It is the address of other machines too, in other networks."""
    [instance] = cloud.instances()
    for where in (instance["PrivateIpAddress"], instance["PrivateDnsName"]):
        inventory.register(Dock("office", where, "dock", where, where), cloud.home)
        outcome = stop("office", "-y")
        assert outcome.err.splitlines()[-1].startswith(
            f"stop-dock: no instance in us-east-1 has the public address {where} of office; "
        )
        inventory.unregister(where, cloud.home)
    assert cloud.instances("running")


def test_an_instance_that_others_created(stop, cloud) -> None:
    address = cloud.addresses[1]
    cloud.front.places = [address]
    [found] = cloud.ec2.run_instances(ImageId=testbed.UBUNTU, MinCount=1, MaxCount=1)["Instances"]
    boto3.client("ec2").describe_instances()
    inventory.register(Dock("office", address, "dock", address, address), cloud.home)
    outcome = stop("office", "-y")
    assert (outcome.status, outcome.err.splitlines()[-1]) == (
        1,
        f"stop-dock: instance {found['InstanceId']} (Name: none) has the address of office, but is not a dock that you "
        "created; to stop it, run the command on a terminal without -y",
    )
    assert len(cloud.instances("running")) == 2


def test_a_dock_that_is_not_on_aws(stop, cloud) -> None:
    inventory.register(Dock("mine", "203.0.113.7", "a", "203.0.113.7", "203.0.113.7"), cloud.home)
    outcome = stop("gpu", "mine", "-y")
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == (
        "stop-dock: no instance in us-east-1 has the public address 203.0.113.7 of mine; if the dock is on AWS, set "
        "AWS_REGION to its region"
    )
    assert cloud.instances("running")


def test_terminated_before(stop, cloud, gpu) -> None:
    cloud.ec2.terminate_instances(InstanceIds=[gpu.instance_id])
    outcome = stop("gpu", "-y")
    assert outcome.err.splitlines()[-1] == (
        f"stop-dock: instance {gpu.instance_id} of gpu was terminated; run: destroy-dock gpu"
    )


def test_an_instance_of_another_account(stop, cloud, gpu) -> None:
    inventory.change(gpu, gpu._replace(account="999999999999", instance_id="i-00000000000000000"), cloud.home)
    assert stop("gpu", "-y").err.splitlines()[-1] == (
        f"stop-dock: AWS account {testbed.ACCOUNT} has no instance i-00000000000000000: gpu belongs to account 999999999999; "
        "set AWS_PROFILE to a profile of that account"
    )


def test_dry_run(stop, cloud, gpu) -> None:
    inventory.change(gpu, gpu._replace(instance_id=None, region=None, account=None, run=None), cloud.home)
    cloud.front.requests.clear()
    outcome = stop("gpu", "--dry-run")
    first, last = outcome.out.splitlines()
    assert first.startswith("instance=$(aws ec2 describe-instances --region us-east-1 --filters ")
    assert last == 'aws ec2 stop-instances --region us-east-1 --instance-ids "${instance}"'
    assert testbed.parsed(last, "instance=i-1") == ("StopInstances", {"InstanceIds": ["i-1"]})
    assert (outcome.status, outcome.err, cloud.front.requests) == (0, "", [])


def test_without_a_terminal_it_needs_y(stop, cloud, gpu) -> None:
    assert stop("gpu") == Outcome(
        2, "", f'stop-dock: cannot ask "Stop gpu at {gpu.ip}?" without a terminal; add -y for yes\n'
    )
    assert cloud.instances("running")


@pytest.mark.parametrize(("answer", "state"), [("n", "running"), ("", "running"), ("y", "stopped")])
def test_on_a_terminal_it_is_asked(cloud, gpu, answer, state) -> None:
    command = str(Path(sys.executable).parent / "stop-dock")
    child = pexpect.spawn(command, ["gpu"], encoding="utf-8", timeout=60, env=dict(os.environ))
    child.expect_exact(f"Stop {'gpu'} at {gpu.ip}? [y/N] ")
    child.sendline(answer)
    assert exit_status(child) == (0 if answer == "y" else 1)
    assert [each["State"]["Name"] for each in cloud.instances()] == [state]
    assert ("nothing was done; answer y, or add -y" in str(child.before)) == (answer != "y")
