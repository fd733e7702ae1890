"""ECR: hosts, repositories and tags, with moto's AWS and with one that refuses."""

from __future__ import annotations

import os

import boto3  # type: ignore[import-untyped]
import pytest

from dockerutils.aws import ecr
from dockerutils.aws.ecr import ACCOUNT, Registry
from dockerutils.aws.session import Session
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.shell_words import Word, quote
from tests.testbed import aws as testbed
from tests.testbed.aws import Aws, answering

HOST = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
WHERE = Registry(HOST, "123456789012", "us-east-1")


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
    assert ecr.registry(host) == Registry(host, account, region)


@pytest.mark.parametrize(
    "host",
    ["docker.io", "public.ecr.aws", f"{HOST}.example.org", "1234.dkr.ecr.us-east-1.amazonaws.com", f"{HOST}:443"],
)
def test_other_hosts_are_not_registries_of_ecr(host) -> None:
    assert ecr.registry(host) is None


def test_the_account_is_a_shell_variable_until_it_is_known() -> None:
    plain = ecr.with_account_variable(f"{ACCOUNT}/x:1")
    mixed = ecr.with_account_variable(Word(f"{ACCOUNT}/x:7", f"\\{ACCOUNT}/x:$BUILD"))
    assert [quote(plain), quote(mixed)] == ['"${account}/x:1"', '"${account}/x:$BUILD"']
    assert ecr.with_account(plain, ACCOUNT) is plain
    assert [quote(ecr.with_account(each, "12")) for each in (plain, mixed)] == ["12/x:1", '"12/x:$BUILD"']
    assert ecr.with_account(mixed, "12") == "12/x:7"
    assert ecr.with_account_variable("x") == ecr.with_account("x", "12") == "x"


def test_a_repository_is_created_once(session, capfd) -> None:
    ecr.ensure_repository(session, WHERE, "team/x")
    shown = capfd.readouterr().err
    assert "describe-repositories" not in shown
    assert (
        "\naws ecr create-repository --region us-east-1 --registry-id 123456789012 --repository-name team/x\n" in shown
    )
    ecr.ensure_repository(session, WHERE, "team/x")
    assert "create" not in capfd.readouterr().err
    (repository,) = boto3.client("ecr").describe_repositories()["repositories"]
    assert repository["repositoryName"] == "team/x"


def test_somebody_else_created_the_repository_just_now(connect_to) -> None:
    missing, there = (
        {"__type": f"Repository{each}Exception", "message": "x"} for each in ("NotFound", "AlreadyExists")
    )
    with answering((400, missing), (400, there)) as endpoint:
        session = connect_to(endpoint)
        ecr.ensure_repository(session, WHERE, "xy")


def test_a_name_that_ecr_does_not_take(connect_to) -> None:
    session = connect_to(Aws("http://127.0.0.1:9"))
    with pytest.raises(
        DockerutilsError, match=r"^AWS: Parameter validation failed: Invalid length .* min length: 2; fix"
    ):
        ecr.ensure_repository(session, WHERE, "x")


def test_the_tags_of_a_repository(session, capfd) -> None:
    client = boto3.client("ecr")
    client.create_repository(repositoryName="team/x")
    for tag in ("1.0", "1.1"):
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = f'{{"x": "{tag}"}}'
        client.put_image(repositoryName="team/x", imageManifest=manifest, imageManifestMediaType=kind, imageTag=tag)
    assert sorted(ecr.tags(session, WHERE, "team/x")) == ["1.0", "1.1"]
    assert capfd.readouterr().err == ""


def test_the_tags_of_a_repository_on_two_pages(connect_to) -> None:
    first, second = ([{"imageDigest": "sha256:0", "imageTag": tag}] for tag in "12")
    with answering((200, {"imageIds": first, "nextToken": "more"}), (200, {"imageIds": second})) as endpoint:
        session = connect_to(endpoint)
        assert ecr.tags(session, WHERE, "team/x") == ["1", "2"]


def test_no_such_repository(session) -> None:
    with pytest.raises(DockerutilsError) as caught:
        ecr.tags(session, WHERE, "team/x")
    assert str(caught.value) == (
        "AWS refused ListImages: The repository with name 'team/x' does not exist in the registry with id "
        "'123456789012' (RepositoryNotFoundException); correct the name, or publish the image first"
    )


def test_dry_run_prints_and_calls_nothing(isolated, monkeypatch, capfd) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    session = Session(os.environ, dry_run=True)
    assert session.account == ACCOUNT
    ecr.ensure_repository(session, Registry("x", ACCOUNT, "eu-west-1"), "x")
    at = '--region eu-west-1 --registry-id "${account}"'
    assert capfd.readouterr() == (
        "account=$(aws sts get-caller-identity --region eu-west-1 --query Account --output text)\n"
        f"aws ecr describe-repositories {at} --repository-names x || aws ecr create-repository {at} --repository-name x\n",
        "",
    )


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("ExpiredTokenException", "renew the credentials: aws sso login, or a new AWS_SESSION_TOKEN"),
        ("RequestExpired", "renew the credentials: aws sso login, or a new AWS_SESSION_TOKEN"),
        ("AccessDeniedException", "grant this IAM identity the permission"),
        ("UnrecognizedClientException", "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile"),
        ("InvalidSignatureException", "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile"),
        ("LimitExceededException", "fix this and try again"),
    ],
)
def test_refusals(connect_to, code, remedy) -> None:
    with answering((400, {"__type": code, "message": "Because."})) as endpoint:
        session = connect_to(endpoint)
        with pytest.raises(DockerutilsError) as caught:
            ecr.password(session, "us-east-1").read()
    assert (str(caught.value), caught.value.status) == (
        f"AWS refused GetAuthorizationToken: Because ({code}); {remedy}",
        1,
    )


def test_the_password(session, capfd) -> None:
    password = ecr.password(session, "eu-west-1")
    assert password.source == "aws ecr get-login-password --region eu-west-1"
    assert password.read() == testbed.PASSWORD
    assert capfd.readouterr() == ("", "")
