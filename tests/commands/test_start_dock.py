"""start-dock: it ends when docker answers, at a new address too."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from dockerutils.commands.start_dock import main
from dockerutils.docks import inventory, ssh_config
from dockerutils.docks.records import Dock
from tests.support import call


@pytest.fixture
def start(gpu, cloud, tmp_path, capfd):
    """Return a function that calls the command where there is a dock that is stopped."""
    cloud.ec2.stop_instances(InstanceIds=[gpu.instance_id])
    cloud.front.requests.clear()
    return lambda *argv: call(main, *argv, directory=tmp_path, capfd=capfd)


def test_a_changed_address_is_followed(start, cloud, gpu) -> None:
    before = Path(ssh_config.known_hosts(gpu, cloud.home)).read_text()
    Path(cloud.home, ".docker", gpu.address, "notebook-app").write_text("one")
    outcome = start("gpu")
    address = cloud.addresses[1]
    moved = gpu._replace(address=address, hostname=address, ip=address)
    assert (outcome.status, outcome.out, inventory.known(cloud.home)) == (0, "", [moved])
    assert Path(ssh_config.known_hosts(moved, cloud.home)).read_text() == before
    assert not Path(cloud.home, ".docker", gpu.address).exists()
    assert Path(cloud.home, ".docker", address, "notebook-app").read_text() == "one"
    assert f"aws ec2 start-instances --region us-east-1 --instance-ids {gpu.instance_id}" in outcome.echoed
    assert outcome.err.splitlines()[-1].startswith(f"start-dock: gpu at {address} is ready after ")
    # And ssh asks nothing.
    answer = subprocess.run(
        ["ssh", "-o", "StrictHostKeyChecking=yes", "dock-gpu", "docker version -f ok"], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert answer.stdout == "ok\n"


def test_one_that_runs_is_waited_for_alone(start, cloud, gpu, monkeypatch) -> None:
    start("gpu")
    cloud.front.requests.clear()
    monkeypatch.setenv("DOCK_MONIKER", "gpu")
    monkeypatch.setenv("DOCKER_IP", gpu.ip)
    outcome = start()
    assert (outcome.status, "StartInstances" in cloud.front.actions()) == (0, False)
    assert outcome.err.splitlines()[-1] == (
        "start-dock: warning: DOCKER_IP of this shell is outdated; run: castoff; source dock gpu"
    )


def test_one_that_is_stopping(start, cloud) -> None:
    left = [2]

    def stopping(text: str) -> str:
        left[0] -= 1
        return text.replace("<name>stopped</name>", "<name>stopping</name>") if left[0] >= 0 else text

    cloud.front.answers["DescribeInstances"] = stopping
    assert start("gpu").status == 0
    assert cloud.instances("running")


def test_it_ends_when_docker_answers(start, cloud) -> None:
    cloud.host.run("mv /usr/bin/docker /usr/bin/docker.later 2> /dev/null || umount /usr/bin/docker")
    outcome = start("gpu", "-t", "3")
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith("start-dock: gpu did not answer in time: docker on the dock: ")
    # What it has started is stopped again.
    assert cloud.instances("stopped")
    assert "start-dock: stopped again: " in outcome.err


def test_it_ends_soon_after_docker_answers(start, cloud, gpu, monkeypatch) -> None:
    from dockerutils.aws import readiness

    began: list[float] = []
    again = readiness.again

    def later(answer, show):
        if not began or time.monotonic() < began[0]:
            began[:] = began or [time.monotonic() + 3]
            return True
        return again(answer, show)

    monkeypatch.setattr(readiness, "again", later)
    assert start("gpu").status == 0
    assert time.monotonic() - began[0] < 20


def test_the_group_admits_the_address_that_the_user_has_now(start, cloud) -> None:
    cloud.front.address = b"198.51.100.7\n"
    assert start("gpu").status == 0
    assert cloud.open() == ["198.51.100.7/32"]


def test_a_change_that_was_interrupted_is_completed(start, cloud) -> None:
    """EC2 returns both addresses, of before and of now, as one permission."""
    [group] = cloud.instances()[0]["SecurityGroups"]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "198.51.100.7/32"}]}
    web = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "203.0.113.1/32"}]}
    cloud.ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[rule, web])
    cloud.front.address = b"198.51.100.7\n"
    assert start("gpu").status == 0
    assert sorted(cloud.open()) == ["198.51.100.7/32", "203.0.113.1/32"]


def test_a_network_that_was_named_stays(start, cloud, gpu) -> None:
    [group] = cloud.instances()[0]["SecurityGroups"]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    cloud.ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[rule])
    cloud.front.address = b"198.51.100.7\n"
    assert start("gpu").status == 0
    assert sorted(cloud.open()) == ["10.0.0.0/8", "127.0.0.1/32"]


def test_the_address_service_returns_something_else(start, cloud) -> None:
    cloud.front.address = b"?"
    outcome = start("gpu")
    assert outcome.status == 0
    assert "start-dock: warning: the security group may not admit this machine: http://127.0.0.1:" in outcome.err


def test_the_address_has_gone_to_another_dock(start, cloud, gpu) -> None:
    address = cloud.addresses[1]
    inventory.register(Dock("old", address, "dock", address, address, None, None, "i-0old", "us-east-1"), cloud.home)
    assert start("gpu").status == 0
    assert {dock.moniker: dock.address for dock in inventory.known(cloud.home)} == {"gpu": address, "old": "i-0old"}


def test_a_dock_kept_under_its_id_gets_an_address_again(start, cloud, gpu) -> None:
    inventory.release_address(gpu.address, cloud.home)
    assert start("gpu").status == 0
    [dock] = inventory.known(cloud.home)
    assert (dock.address, dock.ip, dock.hostname) == (cloud.addresses[1],) * 3


def test_a_name_is_trusted_to_lead_there(start, cloud, gpu) -> None:
    named = gpu._replace(address="localhost", hostname="localhost", ip="localhost")
    inventory.change(gpu, named, cloud.home)
    start("gpu", "-t", "0.5")
    assert inventory.known(cloud.home) == [named]


def test_terminated_before(start, cloud, gpu) -> None:
    cloud.ec2.terminate_instances(InstanceIds=[gpu.instance_id])
    outcome = start("gpu")
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == (
        f"start-dock: instance {gpu.instance_id} of gpu was terminated; run: destroy-dock gpu"
    )


def test_what_cannot_be_stopped_again_is_reported(start, cloud, gpu) -> None:
    cloud.front.refuse("StopInstances", "UnauthorizedOperation")
    cloud.front.places = ["127.0.0.254"]
    outcome = start("gpu", "-t", "1")
    assert outcome.status == 1
    assert (
        f"start-dock: warning: not stopped again: {gpu.instance_id}: AWS refused StopInstances: Because "
        "(UnauthorizedOperation); grant this IAM identity the permission; run: aws ec2 stop-instances --region us-east-1 "
        f"--instance-ids {gpu.instance_id}\n"
    ) in outcome.err


def test_the_group_may_not_be_changed(start, cloud) -> None:
    cloud.front.address = b"198.51.100.7\n"
    cloud.front.refuse("AuthorizeSecurityGroupIngress", "UnauthorizedOperation")
    outcome = start("gpu")
    assert outcome.status == 0
    assert "the security group may not admit this machine: AWS refused AuthorizeSecurityGroupIngress" in outcome.err


def test_no_capacity(start, cloud) -> None:
    cloud.front.refuse("StartInstances", "InsufficientInstanceCapacity")
    outcome = start("gpu")
    assert outcome.err.splitlines()[-1].startswith("start-dock: AWS refused StartInstances: Because (Insuff")
    assert cloud.instances("stopped")


def test_dry_run(start, cloud, gpu) -> None:
    outcome = start("gpu", "--dry-run")
    assert outcome == (0, f"aws ec2 start-instances --region us-east-1 --instance-ids {gpu.instance_id}\n", "")
    assert cloud.front.requests == []


@pytest.fixture
def systemd(cloud):
    """Give the dock a systemctl that records its arguments, and its user sudo; return a function that reads them."""
    cloud.host.run(
        "printf '#!/bin/sh\\necho \"$*\" >>/tmp/calls\\n' >/usr/bin/systemctl; chmod 755 /usr/bin/systemctl; "
        "mkdir -p /etc/systemd/system; echo 'dock ALL=(root) NOPASSWD: ALL' >/etc/sudoers.d/dock"
    )

    def calls() -> list[str]:
        return cloud.host.run("cat /tmp/calls; rm /tmp/calls").splitlines()

    return calls


def test_autostop_is_set_changed_and_taken_away(start, cloud, systemd) -> None:
    name = "dockerutils-autostop"
    for hours in ("2", "0.5"):
        outcome = start("gpu", "--autostop", hours)
        assert outcome.status == 0, outcome.err
        assert [line for line in outcome.echoed if line.endswith(" | base64 -d | ssh dock-gpu -- 'sudo -n sh'")]
        assert systemd() == ["daemon-reload", f"enable {name}.timer", f"restart {name}.timer"]
        service = cloud.host.run(f"cat /etc/systemd/system/{name}.service")
        asked = f"/usr/local/sbin/{name} {hours} 22 /run/{name} /usr/local/lib/{name}-kernels.py"
        assert f"! {asked} || systemctl poweroff'" in service
    assert "OnUnitActiveSec=1min" in cloud.host.run(f"cat /etc/systemd/system/{name}.timer")
    # As systemd runs it: who is connected just now uses it.
    line = service.partition("ExecStart=")[2].strip()
    cloud.host.run(f"{line}; test -s /run/{name}")
    assert cloud.host.run("cat /tmp/calls 2>/dev/null || :") == ""
    # And when it was in use long ago, and nothing else uses it.
    cloud.host.run(
        "for each in ss docker; do mkdir -p /opt/b; printf '#!/bin/sh\\n' >/opt/b/$each; done; chmod 755 /opt/b/*"
    )
    cloud.host.run(f"echo 0 >/run/{name}; export PATH=/opt/b:$PATH AUTOSTOP_HOMES=/none AUTOSTOP_NOW=1801; {line}")
    assert systemd() == ["poweroff"]
    assert start("gpu", "--autostop", "0").status == 0
    assert systemd() == [f"disable --now {name}.timer", "daemon-reload"]
    assert cloud.host.run(f"ls /etc/systemd/system /usr/local/sbin /usr/local/lib | grep {name} || :") == ""
    assert start("gpu", "--autostop", "0").status == 0


def test_autostop_where_it_would_be_terminated(start, cloud, gpu) -> None:
    # moto does not return what was set.
    cloud.front.replace["DescribeInstanceAttribute"] = (
        b"<DescribeInstanceAttributeResponse><instanceInitiatedShutdownBehavior><value>terminate</value>"
        b"</instanceInitiatedShutdownBehavior></DescribeInstanceAttributeResponse>"
    )
    outcome = start("gpu", "--autostop", "2")
    assert (outcome.status, outcome.err.splitlines()[-1]) == (
        1,
        f"start-dock: autostop would terminate gpu; change the shutdown behavior of {gpu.instance_id} to stop",
    )
    assert cloud.instances("stopped")


def test_autostop_without_sudo(start, cloud) -> None:
    assert start("gpu", "--autostop", "2").status == 1
    assert cloud.instances("stopped")


def test_autostop_in_a_dry_run(start, cloud) -> None:
    outcome = start("gpu", "--autostop", "2", "--dry-run")
    assert (outcome.status, outcome.err, cloud.front.requests) == (0, "", [])
    assert outcome.out.splitlines()[-1].endswith(" | base64 -d | ssh dock-gpu -- 'sudo -n sh'")


def test_autostop_for_no_number(start) -> None:
    assert start("gpu", "--autostop", "x").status == 2
