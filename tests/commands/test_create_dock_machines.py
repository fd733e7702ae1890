"""create-dock: docks with GPUs, spot instances, profiles and tags, and zones without capacity."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dockerutils.aws import machine, readiness
from dockerutils.commands import create_dock, destroy_dock, start_dock, stop_dock
from dockerutils.docker import gpus
from dockerutils.docks import inventory
from tests.support import call
from tests.testbed import aws as testbed
from tests.testbed import debian

NO_CAPACITY = "InsufficientInstanceCapacity"


@pytest.fixture
def create(cloud, tmp_path, capfd):
    """Return a function that calls the command in this process."""
    return lambda *argv: call(create_dock.main, *argv, directory=tmp_path, capfd=capfd)


@pytest.fixture
def devices(cloud, containerd_cdi: Path):
    """Return the file that gives the engine GPUs; it does not exist yet. The docker command is as new as the engine."""
    cloud.host.run(f"mount --bind {debian.modern_usr()}/bin/docker /usr/bin/docker")
    file = containerd_cdi / "nvidia.json"
    yield file
    file.unlink(missing_ok=True)


def _add(devices: Path) -> None:
    all_gpus = [{"name": "all", "containerEdits": {"env": ["GPU=all"]}}]
    devices.write_text(json.dumps({"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": all_gpus}))


def _requests(cloud, action: str) -> list[dict[str, str]]:
    return [each.parameters for each in cloud.front.requests if each.action == action]


def test_a_dock_with_gpus_is_ready_when_docker_lists_them(create, cloud, devices, monkeypatch) -> None:
    cloud.front.answers["DescribeImages"] = lambda text: re.sub("(<volumeSize>)[0-9]+", r"\g<1>75", text)
    answers: list[bool] = []
    lists_gpus = readiness.lists_gpus

    def then_add(answer: Any) -> bool:
        answers.append(lists_gpus(answer))
        if len(answers) == 1:
            _add(devices)
        return answers[-1]

    monkeypatch.setattr(readiness, "lists_gpus", then_add)
    outcome = create("gpu", "-i", "g5.xlarge")
    assert outcome.status == 0, outcome.err
    assert re.search(r" is ready after \d+ s, docker has its GPUs \(1 A10G\); run: source dock gpu\n$", outcome.err)
    assert (answers[0], answers[-1]) == (False, True)
    [instance] = cloud.instances()
    assert instance["ImageId"] == testbed.NVIDIA
    assert [each["Size"] for each in cloud.ec2.describe_volumes()["Volumes"]] == [105]


def test_a_dock_whose_docker_does_not_list_its_gpus(create, cloud, monkeypatch) -> None:
    """With AWS's image it is removed; with the user's there is a warning."""
    monkeypatch.setattr(create_dock, "_OWN_IMAGE", 0.5)
    why = f"docker on gpu does not list its GPUs; {gpus.REMEDY}\n"
    own = create("gpu", "-i", "g5g.xlarge", "--ami", testbed.UBUNTU_ARM)
    assert own.status == 0
    assert f"create-dock: warning: {why}" in own.err
    assert "has its GPUs" not in own.err
    cloud.front.places = [cloud.addresses[1]]
    inventory.unregister(inventory.find("gpu", cloud.home).address, cloud.home)
    before = len(cloud.instances())
    wait = readiness.await_gpus
    monkeypatch.setattr(readiness, "await_gpus", lambda dock, home, _, show: wait(dock, home, 0.5, show))
    ours = create("gpu", "-i", "g5g.xlarge")
    assert (ours.status, ours.err.splitlines()[-1] + "\n") == (1, f"create-dock: {why}")
    assert _requests(cloud, "RunInstances")[-1]["ImageId"] == testbed.NVIDIA_ARM
    assert len(cloud.instances()) == before


def test_gpus_that_the_image_does_not_support(create, cloud) -> None:
    for kind, name in (("p3dn.24xlarge", "V100"), ("g6f.large", "L4")):
        assert create("gpu", "-i", kind).err.splitlines()[-1] == (
            f"create-dock: AWS's image with the NVIDIA driver does not support the {name} of {kind}; choose another type "
            "(-i), or an image with a driver for it (--ami)"
        )
    too_small = create("gpu", "-i", "g5.xlarge", "-v", "1")
    assert re.search(r"create-dock: ami-0+2 needs a disk of \d+ GB; use -v \d+, or more\n$", too_small.err)
    assert (cloud.left(), cloud.front.actions().count("CreateSecurityGroup")) == ([], 0)


def test_the_printed_query_finds_the_image() -> None:
    import jmespath  # type: ignore[import-untyped]

    def parameter(architectures: list[str], *makers: str) -> str:
        gpus = {"GpuInfo": {"Gpus": [{"Manufacturer": maker} for maker in makers]}} if makers else {}
        kind = {"ProcessorInfo": {"SupportedArchitectures": architectures}, **gpus}
        return str(jmespath.search(machine._PARAMETER, {"InstanceTypes": [kind]}))

    assert [testbed.PARAMETERS[parameter(*each)] for each in (
        (["i386", "x86_64"],), (["arm64"],), (["x86_64"], "AMD"), (["x86_64"], "NVIDIA"), (["arm64"], "NVIDIA"),
    )] == [testbed.UBUNTU, testbed.UBUNTU_ARM, testbed.UBUNTU, testbed.NVIDIA, testbed.NVIDIA_ARM]  # fmt: skip


def test_a_spot_instance_lives_and_ends_with_its_request(create, cloud, tmp_path, capfd) -> None:
    """The request of a dock is cancelled first: otherwise AWS would make another instance."""
    outcome = create("gpu", "--spot")
    assert outcome.status == 0, outcome.err
    assert " s, a spot instance; run: source dock gpu\n" in outcome.err
    spot = cloud.front.spot
    assert spot.parameters == [
        {"MarketType": "spot", "SpotOptions.SpotInstanceType": "persistent",
         "SpotOptions.InstanceInterruptionBehavior": "stop"}
    ]  # fmt: skip
    dock = inventory.find("gpu", cloud.home)
    assert dock.run
    assert dock.run.startswith("spot-")
    dry = call(destroy_dock.main, "gpu", "--dry-run", directory=tmp_path, capfd=capfd).out.splitlines()
    assert dry[1].startswith('[ -z "${spotinstancerequest}" ] || aws ec2 cancel-spot-instance-requests ')
    cloud.front.places = list(cloud.addresses)
    assert call(stop_dock.main, "gpu", "-y", directory=tmp_path, capfd=capfd).status == 0
    cloud.front.refuse("StartInstances", "IncorrectSpotRequestState")
    assert call(start_dock.main, "gpu", directory=tmp_path, capfd=capfd).err.splitlines()[-1] == (
        "start-dock: AWS refused StartInstances: Because (IncorrectSpotRequestState); AWS stopped this spot instance and "
        "will start it again itself; try again later"
    )
    cloud.front.refuse("StartInstances", NO_CAPACITY)
    refused = call(start_dock.main, "gpu", directory=tmp_path, capfd=capfd).err
    assert refused.endswith(
        f"({NO_CAPACITY}); AWS has no free machine of this type in the dock's zone; try again later\n"
    )
    assert call(destroy_dock.main, "gpu", "-y", directory=tmp_path, capfd=capfd).status == 0
    assert (list(spot.states.values()), spot.made_again, cloud.left()) == (["cancelled"], [], [])


@pytest.mark.parametrize("action", ["RunInstances", "DescribeInstances"])
def test_the_request_of_a_failed_run_is_cancelled(create, cloud, action) -> None:
    cloud.front.refuse(action, "InternalError" if action == "RunInstances" else "UnauthorizedOperation", 1, done=True)
    assert create("gpu", "--spot").status == 1
    spot = cloud.front.spot
    assert (list(spot.states.values()), spot.made_again, cloud.left()) == (["cancelled"], [], [])


def test_without_spot_capacity(create, cloud) -> None:
    """Every zone is tried; then an instance on demand is created only if the user wants one."""

    def refuse(request: testbed.Request) -> bytes | None:
        return testbed.refusal(NO_CAPACITY) if "InstanceMarketOptions.MarketType" in request.parameters else None

    cloud.front.before["RunInstances"] = refuse
    outcome = create("gpu", "--spot")
    assert outcome.status == 1
    assert cloud.left() == []
    zones = [each.get("SubnetId") for each in _requests(cloud, "RunInstances")]
    default = {each["SubnetId"] for each in cloud.ec2.describe_subnets()["Subnets"]}
    assert (zones[0], set(zones[1:]), len(zones)) == (None, default, len(default) + 1)
    assert len({each["ClientToken"] for each in _requests(cloud, "RunInstances")}) == len(zones)
    assert all(len(each["ClientToken"]) <= 64 for each in _requests(cloud, "RunInstances"))
    outcome = create("gpu", "--spot-or-on-demand")
    assert outcome.status == 0
    assert "create-dock: no spot instance: Because; creating one on demand\n" in outcome.err
    assert "a spot instance" not in outcome.err.splitlines()[-1]
    assert "InstanceMarketOptions.MarketType" not in _requests(cloud, "RunInstances")[-1]


def test_a_zone_without_capacity(create, cloud) -> None:
    cloud.front.refuse("RunInstances", NO_CAPACITY, 2)
    assert create("gpu").status == 0
    assert cloud.front.actions().count("RunInstances") == 3
    cloud.front.requests.clear()
    cloud.front.refuse("RunInstances", NO_CAPACITY)
    subnet = cloud.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    assert create("big", "-s", subnet).status == 1
    assert cloud.front.actions().count("RunInstances") == 1


def test_throttled_polls_are_repeated(create, cloud) -> None:
    cloud.front.refuse("DescribeInstances", "RequestLimitExceeded", 3)
    assert create("gpu").status == 0


def test_what_the_user_adds(create, cloud, tmp_path) -> None:
    file = tmp_path / "setup.sh"
    file.write_text("#!/bin/sh\necho mine\n")
    tags = ("--tag", "Team=vision", "--tag", "Cost=a=b")
    cloud.iam.create_instance_profile(InstanceProfileName="reader")
    outcome = create("gpu", "--instance-profile", "reader", *tags, "--user-data", str(file), "--verbose")
    assert outcome.status == 0, outcome.err
    [instance] = cloud.instances()
    assert instance["IamInstanceProfile"]["Arn"].endswith("/reader")
    [group] = cloud.ec2.describe_security_groups(Filters=[{"Name": "tag:tool", "Values": ["dockerutils"]}])[
        "SecurityGroups"
    ]
    [key] = cloud.ec2.describe_key_pairs()["KeyPairs"]
    [volume] = cloud.ec2.describe_volumes()["Volumes"]
    for each in (instance, group, key, volume):
        found = {tag["Key"]: tag["Value"] for tag in each["Tags"]}
        assert (found["Team"], found["Cost"], found["user"]) == ("vision", "a=b", "alice")
    [run] = _requests(cloud, "RunInstances")
    last = json.loads(base64.b64decode(run["UserData"]).decode().partition("\n")[2])["runcmd"][-1]
    assert base64.b64encode(file.read_bytes()).decode() in last[2]
    # With --verbose the calls that only read are printed too, each once.
    lines = [line.split()[2] for line in outcome.echoed if line.startswith("aws ")]
    assert lines[:3] == ["get-caller-identity", "describe-instance-types", "get-parameter"]
    assert lines.count("describe-instances") == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--tag", "Name=x"], "argument --tag: the tag Name is reserved; choose another key"),
        (["--tag", "AWS:x=y"], "argument --tag: the tag AWS:x is reserved; choose another key"),
        (["--tag", "k=" + 257 * "v"], "argument --tag: 'k=vvvvvvvvvvvvvvvvvv'… is too long; AWS takes keys of 128 and values of 256 characters"),
        (["--spot", "--spot-or-on-demand"], "argument --spot-or-on-demand: not allowed with argument --spot"),
        (["--user-data", "/none"], "/none: No such file or directory; correct --user-data"),
        (["--product-name", "x", "--spot"], "--spot cannot be used with --product-name; set a parameter of the product with --param"),
    ],
)  # fmt: skip
def test_options_that_are_refused(argv, message, ssh_home, tmp_path, capfd) -> None:
    outcome = call(create_dock.main, "gpu", *argv, directory=tmp_path, capfd=capfd)
    assert outcome.status == 2
    assert outcome.err.splitlines()[-1].removeprefix("create-dock: ").removeprefix("error: ") == message


def test_a_product_gets_the_tags(create, cloud) -> None:
    outcome = create("gpu", "--product-name", "dock", "--tag", "Team=vision", "--dry-run")
    line = next(line for line in outcome.out.splitlines() if " provision-product " in line)
    _, parameters = testbed.parsed(line, "product=p; version=v; path=x")
    assert {"Key": "Team", "Value": "vision"} in parameters["Tags"]


def test_the_short_help_fits_on_a_screen() -> None:
    parser = create_dock.parser()
    short, full = parser.format_short_help(), parser.format_help()
    assert len(short.splitlines()) <= 40
    assert short.endswith("\n\nall options: create-dock --help\n")
    flags = {flag for action in parser._actions for flag in action.option_strings}
    assert all(flag in full for flag in flags)
    assert "--product-name NAME" not in short.partition("examples:")[0]
