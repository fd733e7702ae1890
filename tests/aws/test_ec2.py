"""EC2: the request that makes an instance is the same whenever it is repeated."""

from __future__ import annotations

from collections.abc import Callable

import boto3  # type: ignore[import-untyped]
import pytest
from botocore.stub import ANY, Stubber  # type: ignore[import-untyped]

from dockerutils.aws import api, ec2
from dockerutils.aws.api import Session
from dockerutils.aws.ec2 import Ec2, Wanted
from dockerutils.core.rollback import Undo

WANTED = Wanted("gpu" * 30, "alice", "ubuntu", "t3.large", 50, None, "ami-1", "mine", None, "sg-1")


@pytest.fixture
def stubbed(isolated, monkeypatch):
    """Return EC2 whose answers are said beforehand, and what says them; each request is held against the model."""
    client = boto3.client("ec2", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    monkeypatch.setattr(api.Session, "_client", lambda *_: client)
    monkeypatch.setattr(ec2, "TICK", 0)
    with Stubber(client) as stubber:
        yield Ec2(Session({"AWS_REGION": "us-east-1"}, dry_run=False)), stubber
        stubber.assert_no_pending_responses()


def test_the_client_token_stays_when_the_request_is_repeated(stubbed) -> None:
    there, stubber = stubbed
    tokens: list[str] = []

    class Token:
        """Equal to the token that came first, and to none that AWS would not take."""

        def __eq__(self, other: object) -> bool:
            tokens.append(str(other))
            return tokens[0] == other and len(tokens[0].encode()) <= 64

        __hash__ = None  # type: ignore[assignment]

    expected = {
        "ImageId": "ami-1",
        "InstanceType": "t3.large",
        "KeyName": "mine",
        "SecurityGroupIds": ["sg-1"],
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/sda1",
                "Ebs": {"VolumeSize": 50, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True},
            }
        ],
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
        "InstanceInitiatedShutdownBehavior": "stop",
        "UserData": ANY,
        "TagSpecifications": ANY,
        "ClientToken": Token(),
        "MinCount": 1,
        "MaxCount": 1,
    }
    stubber.add_response("describe_images", {"Images": [{"RootDeviceName": "/dev/sda1"}]}, {"ImageIds": ["ami-1"]})
    stubber.add_client_error("run_instances", "InvalidKeyPair.NotFound", expected_params=expected)
    stubber.add_response("run_instances", {"Instances": [{"InstanceId": "i-1"}]}, expected)
    wanted = WANTED._replace(group="sg-1", key="mine")
    monkey = pytest.MonkeyPatch()
    monkey.setattr(Ec2, "_patiently", lambda _, __, ___, make: _twice(make))
    try:
        assert there.make(wanted, Undo()) == "i-1"
    finally:
        monkey.undo()
    assert len(tokens) == 2


def _twice(make: Callable[[], object]) -> object:
    try:
        return make()
    except api.Refused:
        return make()


def test_two_runs_have_two_tokens(stubbed) -> None:
    there, stubber = stubbed
    tokens: list[str] = []
    for number in "12":
        stubber.add_response("describe_images", {"Images": [{"RootDeviceName": "/dev/sda1"}]})
        stubber.add_response("run_instances", {"Instances": [{"InstanceId": f"i-{number}"}]})
    ask = Session.ask

    def asking(self, call, **more):
        if call.operation == "run-instances":
            tokens.append(call.parameters["ClientToken"])
        return ask(self, call, **more)

    with pytest.MonkeyPatch.context() as monkey:
        monkey.setattr(Session, "ask", asking)
        for _ in "12":
            there.make(WANTED._replace(group="sg-1", key="mine"), Undo())
    assert len(set(tokens)) == 2
    assert all(token.startswith("dockerutils-gpugpu") for token in tokens)


@pytest.mark.parametrize(
    ("source", "ranges"),
    [
        ("203.0.113.7/32", {"IpRanges": [{"CidrIp": "203.0.113.7/32"}]}),
        ("2001:db8::7/128", {"Ipv6Ranges": [{"CidrIpv6": "2001:db8::7/128"}]}),
    ],
)
def test_a_rule(source, ranges) -> None:
    assert ec2._rule(source) == {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, **ranges}


def test_a_rule_that_is_there_or_gone_already_is_no_error(stubbed) -> None:
    there, stubber = stubbed
    kept = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.0.0.1/32"}]}
    group = {"GroupId": "sg-1", "IpPermissions": [{**kept, "UserIdGroupPairs": []}]}
    stubber.add_response("describe_security_groups", {"SecurityGroups": [group]})
    stubber.add_response("describe_security_groups", {"SecurityGroups": [group]})
    stubber.add_client_error("authorize_security_group_ingress", "InvalidPermission.Duplicate")
    stubber.add_client_error("revoke_security_group_ingress", "InvalidPermission.NotFound")
    there.let_in(["sg-1"], "alice", lambda: "10.0.0.2/32", Undo())
