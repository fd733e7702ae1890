"""EC2: the request that makes an instance is the same whenever it is repeated."""

from __future__ import annotations

import boto3  # type: ignore[import-untyped]
import pytest
from botocore.stub import ANY, Stubber  # type: ignore[import-untyped]

from dockerutils.aws import access, ec2
from dockerutils.aws.ec2 import UNKNOWN_KEY, Ec2
from dockerutils.aws.errors import Refused
from dockerutils.aws.launch import Launched, Specification, launch
from dockerutils.aws.machine import Gpus
from dockerutils.aws.session import Session
from dockerutils.core.rollback import Rollback

WANTED = Specification("gpu" * 30, "alice", "t3.large", "#!/bin/sh", 50, image="ami-1", key="mine", group="sg-1")
TYPE = {"InstanceTypes": [{"ProcessorInfo": {"SupportedArchitectures": ["x86_64"]}}]}


@pytest.fixture
def stubbed(isolated, monkeypatch):
    """Return EC2, and the stub that answers its requests and checks them against the service's model."""
    client = boto3.client("ec2", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    session = Session({"AWS_REGION": "us-east-1"}, dry_run=False)
    monkeypatch.setattr(boto3.session.Session, "client", lambda *_, **__: client)
    monkeypatch.setattr(ec2, "TICK", 0)
    with Stubber(client) as stubber:
        yield Ec2(session), stubber
        stubber.assert_no_pending_responses()


def test_the_client_token_stays_when_the_request_is_repeated(stubbed, tmp_path) -> None:
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
        "KeyName": f"dockerutils-alice-{'gpu' * 30}-0a1b",
        "SecurityGroupIds": ["sg-1"],
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/sda1",
                "Ebs": {"VolumeSize": 50, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True},
            }
        ],
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
        "InstanceInitiatedShutdownBehavior": "stop",
        "UserData": "#!/bin/sh",
        "TagSpecifications": ANY,
        "ClientToken": Token(),
        "MinCount": 1,
        "MaxCount": 1,
    }
    stubber.add_response("describe_instance_types", TYPE)
    stubber.add_response("describe_images", {"Images": [{"RootDeviceName": "/dev/sda1"}]}, {"ImageIds": ["ami-1"]})
    stubber.add_client_error("import_key_pair", "InvalidKeyPair.Duplicate")
    stubber.add_client_error("run_instances", UNKNOWN_KEY, expected_params=expected)
    stubber.add_response("run_instances", {"Instances": [{"InstanceId": "i-1"}]}, expected)
    public = tmp_path / "key.pub"
    public.write_text("ssh-ed25519 AAAA")
    assert launch(there, WANTED._replace(key=None, public_key=str(public)), "0a1b", Rollback()) == Launched(
        "i-1", False, Gpus(has_driver=False)
    )
    assert len(tokens) == 2
    assert tokens[0] == f"dockerutils-{'gpu' * 8}-0a1b"


def test_a_key_pair_of_the_users_is_not_waited_for(stubbed) -> None:
    there, stubber = stubbed
    stubber.add_response("describe_instance_types", TYPE)
    stubber.add_response("describe_images", {"Images": [{"RootDeviceName": "/dev/sda1"}]})
    stubber.add_client_error("run_instances", UNKNOWN_KEY)
    with pytest.raises(Refused, match="correct --key-name"):
        launch(there, WANTED, "0a1b", Rollback())


@pytest.mark.parametrize(
    ("source", "ranges"),
    [
        ("203.0.113.7/32", {"IpRanges": [{"CidrIp": "203.0.113.7/32"}]}),
        ("2001:db8::7/128", {"Ipv6Ranges": [{"CidrIpv6": "2001:db8::7/128"}]}),
    ],
)
def test_a_rule(source, ranges) -> None:
    assert access.ssh_rule(source) == {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, **ranges}


def test_a_rule_that_exists_or_is_gone_already_is_not_an_error(stubbed) -> None:
    there, stubber = stubbed
    kept = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.0.0.1/32"}]}
    group = {"GroupId": "sg-1", "IpPermissions": [{**kept, "UserIdGroupPairs": []}]}
    stubber.add_response("describe_security_groups", {"SecurityGroups": [group]})
    stubber.add_client_error("authorize_security_group_ingress", "InvalidPermission.Duplicate")
    stubber.add_client_error("revoke_security_group_ingress", "InvalidPermission.NotFound")
    access.admit(there, ["sg-1"], "alice", lambda: "10.0.0.2/32", Rollback())
