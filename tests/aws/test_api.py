"""AWS: what is shown, what is called, and what its refusals mean; moto's AWS, and one that refuses."""

from __future__ import annotations

import os
import subprocess
import sys

import boto3  # type: ignore[import-untyped]
import pytest

from dockerutils.aws import api
from dockerutils.aws.api import ACCOUNT, Registry, Session
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.shell_words import Word, quote
from tests.testbed import aws as testbed
from tests.testbed.aws import Aws, answering, free_port

HOST = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
WHERE = Registry(HOST, "123456789012", "us-east-1")


@pytest.fixture(scope="module")
def _moto():
    with testbed.serving() as served:
        yield served


def _use(monkeypatch, endpoint: Aws, **more: str) -> None:
    for name, value in {**endpoint.environment(), **more}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def moto(_moto, isolated, monkeypatch) -> Aws:
    _moto.reset()
    _use(monkeypatch, _moto)
    return _moto


def _session() -> Session:
    return Session(os.environ, dry_run=False)


@pytest.mark.parametrize(
    ("host", "account", "region"),
    [
        (HOST, "123456789012", "us-east-1"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "123456789012", "us-gov-west-1"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "123456789012", "cn-north-1"),
        ("123456789012.dkr-ecr.eu-west-1.on.aws", "123456789012", "eu-west-1"),
        (f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com", ACCOUNT, "eu-west-1"),
    ],
)
def test_the_host_names_account_and_region(host, account, region) -> None:
    assert api.registry(host) == Registry(host, account, region)


@pytest.mark.parametrize(
    "host",
    ["docker.io", "public.ecr.aws", f"{HOST}.example.org", "1234.dkr.ecr.us-east-1.amazonaws.com", f"{HOST}:443"],
)
def test_other_hosts_are_no_registries_of_ecr(host) -> None:
    assert api.registry(host) is None


def test_the_account_is_left_to_the_shell_or_filled_in() -> None:
    plain = api.shown(f"{ACCOUNT}/x:1")
    mixed = api.shown(Word(f"{ACCOUNT}/x:7", f"\\{ACCOUNT}/x:$BUILD"))
    assert [quote(plain), quote(mixed)] == ['"${account}/x:1"', '"${account}/x:$BUILD"']
    assert api.filled_in(plain, ACCOUNT) is plain
    assert [quote(api.filled_in(each, "12")) for each in (plain, mixed)] == ["12/x:1", '"12/x:$BUILD"']
    assert api.filled_in(mixed, "12") == "12/x:7"
    assert api.shown("x") == api.filled_in("x", "12") == "x"


def test_account_and_password(moto, capfd) -> None:
    session = _session()
    assert session.account() == testbed.ACCOUNT
    assert "\naws sts get-caller-identity --region us-east-1 --query Account --output text\n" in capfd.readouterr().err
    password = session.password("eu-west-1")
    assert password.source == "aws ecr get-login-password --region eu-west-1"
    assert password.read() == testbed.PASSWORD
    assert capfd.readouterr() == ("", "")


def test_the_region_is_the_one_that_the_aws_command_takes(isolated, monkeypatch, tmp_path) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    assert _session().region == "eu-north-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    assert _session().region == "eu-west-2"
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    assert _session().region == "eu-west-3"


def test_a_repository_is_created_once(moto, capfd) -> None:
    _session().ensure_repository(WHERE, "team/x")
    shown = capfd.readouterr().err
    assert (
        "\naws ecr describe-repositories --region us-east-1 --registry-id 123456789012 --repository-names team/x\n"
        in shown
    )
    assert (
        "\naws ecr create-repository --region us-east-1 --registry-id 123456789012 --repository-name team/x\n" in shown
    )
    _session().ensure_repository(WHERE, "team/x")
    assert "create" not in capfd.readouterr().err
    (repository,) = boto3.client("ecr").describe_repositories()["repositories"]
    assert repository["repositoryName"] == "team/x"


def test_somebody_else_created_the_repository_just_now(isolated, monkeypatch) -> None:
    missing, there = (
        {"__type": f"Repository{each}Exception", "message": "x"} for each in ("NotFound", "AlreadyExists")
    )
    with answering((400, missing), (400, there)) as endpoint:
        _use(monkeypatch, endpoint)
        _session().ensure_repository(WHERE, "xy")


def test_a_name_that_ecr_does_not_take(isolated, monkeypatch) -> None:
    _use(monkeypatch, Aws("http://127.0.0.1:9"))
    with pytest.raises(
        DockerutilsError, match=r"^AWS: Parameter validation failed: Invalid length .* min length: 2; mend"
    ):
        _session().ensure_repository(WHERE, "x")


def test_the_tags_of_a_repository(moto, capfd) -> None:
    client = boto3.client("ecr")
    client.create_repository(repositoryName="team/x")
    for tag in ("1.0", "1.1"):
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = f'{{"x": "{tag}"}}'
        client.put_image(repositoryName="team/x", imageManifest=manifest, imageManifestMediaType=kind, imageTag=tag)
    assert sorted(_session().tags(WHERE, "team/x")) == ["1.0", "1.1"]
    assert capfd.readouterr().err.splitlines()[2] == (
        "aws ecr list-images --region us-east-1 --registry-id 123456789012 --repository-name team/x "
        "--filter tagStatus=TAGGED --query 'imageIds[].imageTag' --output text"
    )


def test_the_tags_of_a_repository_on_two_pages(isolated, monkeypatch) -> None:
    first, second = ([{"imageDigest": "sha256:0", "imageTag": tag}] for tag in "12")
    with answering((200, {"imageIds": first, "nextToken": "more"}), (200, {"imageIds": second})) as endpoint:
        _use(monkeypatch, endpoint)
        assert _session().tags(WHERE, "team/x") == ["1", "2"]


def test_no_such_repository(moto) -> None:
    with pytest.raises(DockerutilsError) as caught:
        _session().tags(WHERE, "team/x")
    assert str(caught.value) == (
        "AWS refused ListImages: The repository with name 'team/x' does not exist in the registry with id "
        "'123456789012' (RepositoryNotFoundException); correct the name, or publish the image first"
    )


def test_dry_run_shows_and_calls_nothing(isolated, monkeypatch, capfd) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    session = Session(os.environ, dry_run=True)
    assert session.account() == ACCOUNT
    session.ensure_repository(Registry("x", ACCOUNT, "eu-west-1"), "x")
    at = '--region eu-west-1 --registry-id "${account}"'
    assert capfd.readouterr() == (
        "account=$(aws sts get-caller-identity --region eu-west-1 --query Account --output text)\n"
        f"aws ecr describe-repositories {at} --repository-names x || aws ecr create-repository {at} --repository-name x\n",
        "",
    )


def test_importing_it_does_not_import_boto3() -> None:
    code = (
        "import sys, dockerutils.commands.publish_image; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("ExpiredTokenException", "renew the credentials: aws sso login, or a new AWS_SESSION_TOKEN"),
        ("RequestExpired", "renew the credentials: aws sso login, or a new AWS_SESSION_TOKEN"),
        ("AccessDeniedException", "have the identity that calls allowed to do it"),
        ("UnrecognizedClientException", "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile"),
        ("InvalidSignatureException", "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile"),
        ("LimitExceededException", "mend that and run the command again"),
    ],
)
def test_refusals(isolated, monkeypatch, code, remedy) -> None:
    with answering((400, {"__type": code, "message": "Because."})) as endpoint:
        _use(monkeypatch, endpoint)
        with pytest.raises(DockerutilsError) as caught:
            _session().password("us-east-1").read()
    assert (str(caught.value), caught.value.status) == (
        f"AWS refused GetAuthorizationToken: Because ({code}); {remedy}",
        1,
    )


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"AWS_ACCESS_KEY_ID": ""}, "AWS: Unable to locate credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run: aws configure"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS: Partial credentials found in env, missing: AWS_SECRET_ACCESS_KEY; set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({"AWS_PROFILE": "gone"}, "AWS: The config profile (gone) could not be found; correct AWS_PROFILE, or add the profile to ~/.aws/config"),
        ({"AWS_ENDPOINT_URL": "nowhere"}, "AWS: Invalid endpoint: nowhere; mend that and run the command again"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:{port}"}, 'AWS: Could not connect to the endpoint URL: "http://127.0.0.1:{port}/"; see whether this machine reaches AWS, and what AWS_ENDPOINT_URL and the proxy variables say'),
    ],
)  # fmt: skip
def test_what_keeps_a_call_from_being_made(isolated, monkeypatch, environ, message) -> None:
    port = free_port()
    _use(monkeypatch, Aws("http://127.0.0.1:9"))
    for name, value in environ.items():
        monkeypatch.setenv(name, value.format(port=port)) if value else monkeypatch.delenv(name)
    with pytest.raises(DockerutilsError) as caught:
        _session().account()
    assert str(caught.value) == message.format(port=port)


def test_no_region(isolated) -> None:
    with pytest.raises(DockerutilsError, match=r"^no AWS region is configured; set AWS_REGION, or run: aws configure"):
        _session().account()
