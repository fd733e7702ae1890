"""destroy-dock: back to nothing, on AWS and here; and the whole story before it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dockerutils.commands import create_dock
from dockerutils.commands.destroy_dock import main
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.support import call
from tests.testbed import images

ROOT = Path(__file__).parent.parent.parent


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
    assert lines[0] == f"destroy-dock: gpu is destroyed: instance {gpu.instance_id}"
    assert [line.split(": ")[1] for line in lines[1:]] == ["deleted, since nothing has it any more"] * 2


def test_what_another_dock_has_stays(destroy, cloud, tmp_path, capfd) -> None:
    assert call(create_dock.main, "big", directory=tmp_path, capfd=capfd).status == 0
    # moto would delete it.
    cloud.front.refuse("DeleteSecurityGroup", "DependencyViolation", 1)
    assert "deleted" not in destroy("gpu", "-y").err
    [instance] = cloud.instances()
    [key] = cloud.ec2.describe_key_pairs()["KeyPairs"]
    assert instance["KeyName"] == key["KeyName"]
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


def test_it_was_terminated_behind_our_back(destroy, cloud, gpu) -> None:
    cloud.ec2.terminate_instances(InstanceIds=[gpu.instance_id])
    outcome = destroy("gpu", "-y")
    assert f"destroy-dock: gpu was gone already: instance {gpu.instance_id}\n" in outcome.err
    assert (outcome.status, cloud.left()) == (0, [])


def test_aws_does_not_know_it_any_more(destroy, cloud, gpu) -> None:
    inventory.change(gpu, gpu._replace(instance_id="i-00000000000000000"), cloud.home)
    assert destroy("gpu", "-y").status == 0
    assert inventory.known(cloud.home) == []


def test_a_dock_that_is_not_on_aws_is_left_alone(destroy, cloud) -> None:
    mine = Dock("mine", "203.0.113.7", "a", "203.0.113.7", "203.0.113.7")
    inventory.register(mine, cloud.home)
    outcome = destroy("mine", "-y")
    assert outcome.err.splitlines()[-1].startswith("destroy-dock: mine is not on AWS: no instance in us-east-1 has ")
    assert mine in inventory.known(cloud.home)


def test_a_refusal_forgets_nothing(destroy, cloud, gpu) -> None:
    cloud.front.refuse("TerminateInstances", "UnauthorizedOperation")
    assert destroy("gpu", "-y").status == 1
    assert inventory.known(cloud.home) == [gpu]


def test_what_cannot_be_deleted_is_told(destroy, cloud, gpu) -> None:
    cloud.front.refuse("DeleteKeyPair", "UnauthorizedOperation")
    outcome = destroy("gpu", "-y")
    assert outcome.status == 0
    assert outcome.err.splitlines()[-1] == (
        "destroy-dock: warning: a key pair or security group may be left: AWS refused DeleteKeyPair: Because "
        "(UnauthorizedOperation); have the identity that calls allowed to do it"
    )


def test_a_group_that_went_meanwhile(destroy, cloud) -> None:
    cloud.front.refuse("DeleteSecurityGroup", "InvalidGroup.NotFound")
    assert "security group" not in destroy("gpu", "-y").err.splitlines()[-1]


def test_a_docked_shell_is_told(destroy, monkeypatch) -> None:
    monkeypatch.setenv("DOCK_MONIKER", "gpu")
    assert "destroy-dock: warning: this shell is docked to gpu; run: castoff\n" in destroy("-y").err


def test_without_docker_here(destroy, cloud, tmp_path, monkeypatch) -> None:
    (tmp_path / "ssh").symlink_to("/usr/bin/ssh")
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = destroy("gpu", "-y")
    assert outcome.status == 0
    assert "destroy-dock: warning: a docker context dock-gpu may be left: docker was not found on PATH" in outcome.err


def test_without_a_terminal_it_is_not_asked(destroy, cloud, gpu) -> None:
    outcome = destroy("gpu")
    assert outcome.status == 2
    assert outcome.err == (
        f"destroy-dock: there is no terminal to ask on: Destroy gpu at {gpu.ip}, with all that is on the disk? Add -y for yes\n"
    )
    assert cloud.instances("running")


def test_dry_run(destroy, cloud, gpu) -> None:
    outcome = destroy("gpu", "--dry-run")
    assert outcome == (0, f"aws ec2 terminate-instances --region us-east-1 --instance-ids {gpu.instance_id}\n", "")
    assert (cloud.front.requests, inventory.known(cloud.home)) == ([], [gpu])


def test_the_whole_story(cloud, tmp_path) -> None:
    """From nothing to a docked shell that builds and runs, over a stop and a start, and back to nothing."""
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
    assert cloud.left() == []
    assert cloud.instances("terminated")
    assert {f"ec2:{action}" for action in cloud.front.actions()} <= _allowed()


def _allowed() -> set[str]:
    """Return what the policy of docs/aws.md allows."""
    [text] = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "aws.md").read_text(), re.DOTALL)
    actions = [statement["Action"] for statement in json.loads(text)["Statement"]]
    return {name for each in actions for name in ([each] if isinstance(each, str) else each)}


def test_nothing_is_allowed_that_is_not_asked_for() -> None:
    source = (ROOT / "dockerutils" / "ec2.py").read_text()
    # Names that the code puts together; and the tags go along with what is made.
    asked = {"ec2:DescribeKeyPairs", "ec2:DescribeSecurityGroups", "ec2:CreateTags"} | {
        f"ec2:{verb}SecurityGroupIngress" for verb in ("Authorize", "Revoke")
    }
    asked |= {f"ec2:{word.title().replace('-', '')}" for word in re.findall(r'"([a-z]+(?:-[a-z]+)+)"', source)}
    assert _allowed() <= asked
