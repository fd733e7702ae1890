"""Sessions: regions, accounts, time limits, and what is printed when a call fails."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from dockerutils.aws.session import Call, Session
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.shell_words import Word
from tests.testbed import aws as testbed
from tests.testbed.aws import Aws, free_port


def test_the_account_is_asked_for_once(session, monkeypatch) -> None:
    assert session.account == testbed.ACCOUNT
    monkeypatch.setattr(session, "call", lambda *_, **__: None)
    assert session.account == testbed.ACCOUNT


def test_calls_that_change_nothing_are_not_printed(session, capfd) -> None:
    session.call(Call("ecr", "create-repository", {"repositoryName": "team/x"}))
    session.call(Call("ecr", "describe-repositories", {}))
    session.call(Call("ecr", "list-images", {"repositoryName": "team/x"}))
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("aws ")]
    assert lines == ["aws ecr create-repository --region us-east-1 --repository-name team/x"]


def test_references_in_a_structure_stay_references(connect_to) -> None:
    session = connect_to(Aws("http://127.0.0.1:9"))
    name = Word("x-marker", "x-${NAME}")
    properties = {"image": "i", "command": ["$HOME", '"`', "\\", "é"], "environment": [{"name": "N", "value": name}]}
    parameters = {"jobDefinitionName": "d", "type": "container", "containerProperties": properties}
    line = session.line(Call("batch", "register-job-definition", parameters))
    assert "marker" not in line
    expected = {**parameters, "containerProperties": {**properties, "environment": [{"name": "N", "value": "x-y"}]}}
    assert testbed.parsed(line, "NAME=y") == ("RegisterJobDefinition", expected)


def test_the_region_is_the_one_that_the_aws_command_takes(isolated, monkeypatch, tmp_path) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    assert Session(os.environ, dry_run=False).region == "eu-north-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    assert Session(os.environ, dry_run=False).region == "eu-west-2"
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    assert Session(os.environ, dry_run=False).region == "eu-west-3"


def test_importing_it_does_not_import_boto3() -> None:
    code = (
        "import sys, dockerutils.commands.publish_image; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"AWS_ACCESS_KEY_ID": ""}, "AWS: Unable to locate credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run: aws configure"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS: Partial credentials found in env, missing: AWS_SECRET_ACCESS_KEY; set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({"AWS_PROFILE": "gone"}, "AWS: The config profile (gone) could not be found; correct AWS_PROFILE, or add the profile to ~/.aws/config"),
        ({"AWS_ENDPOINT_URL": "nowhere"}, "AWS: Invalid endpoint: nowhere; fix this and try again"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:{port}"}, 'AWS: Could not connect to the endpoint URL: "http://127.0.0.1:{port}/"; check that this machine reaches AWS, and the values of AWS_ENDPOINT_URL and the proxy variables'),
        ({"AWS_ENDPOINT_URL": "http://sts.us-esat-1.invalid"}, 'AWS: Could not connect to the endpoint URL: "http://sts.us-esat-1.invalid/"; check the region (AWS_REGION, or the profile\'s), and that this machine can resolve host names'),
        ({"AWS_REGION": "us east"}, "AWS: Provided region_name 'us east' doesn't match a supported format; correct AWS_REGION, or the profile's region"),
    ],
)  # fmt: skip
def test_what_keeps_a_call_from_being_made(connect_to, monkeypatch, environ, message) -> None:
    port = free_port()
    connect_to(Aws("http://127.0.0.1:9"))
    for name, value in environ.items():
        monkeypatch.setenv(name, value.format(port=port)) if value else monkeypatch.delenv(name)
    with pytest.raises(DockerutilsError) as caught:
        _ = Session(os.environ, dry_run=False).account
    assert str(caught.value) == message.format(port=port)


def test_no_region(isolated) -> None:
    with pytest.raises(DockerutilsError, match=r"^no AWS region is configured; set AWS_REGION, or run: aws configure"):
        _ = Session(os.environ, dry_run=False).account


def test_the_time_limit_holds_for_credentials_too(connect_to, monkeypatch, tmp_path) -> None:
    """A profile with a role makes boto3 call STS before the call itself."""
    config = tmp_path / "config"
    config.write_text(
        "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = base\nregion = us-east-1\n"
        "[profile base]\naws_access_key_id = x\naws_secret_access_key = x\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connect_to(Aws(f"http://127.0.0.1:{silent.getsockname()[1]}"))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_MAX_ATTEMPTS"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        monkeypatch.setenv("AWS_PROFILE", "role")
        began = time.monotonic()
        with pytest.raises(DockerutilsError, match=r"^AWS: Read timeout on endpoint URL"):
            Session(os.environ, dry_run=False, seconds=0.3).call(Call("ec2", "describe-vpcs", {}))
        assert time.monotonic() - began < 10
