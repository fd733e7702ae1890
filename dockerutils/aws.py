"""Amazon's services, as far as an image needs them: who is calling, and ECR, the registry.

Each call is shown before it is made, as the line of the aws command that does the same. boto3 is imported here alone,
and only when it is needed. ECR's calls: https://docs.aws.amazon.com/AmazonECR/latest/APIReference/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, NamedTuple

from dockerutils import console
from dockerutils.errors import DockerutilsError
from dockerutils.process import Command, Input
from dockerutils.words import Word

# The account where nobody may ask for it: a variable of the shell, which a line printed before sets.
ACCOUNT = "${account}"
USER = "AWS"

_ECR = re.compile(
    r"(?P<account>\d{12}|\$\{account\})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)"
)


class Registry(NamedTuple):
    """A registry of ECR: its host, and the account and region that its host names."""

    host: str
    account: str
    region: str


def registry(host: str) -> Registry | None:
    """Return the registry of ECR at `host`, None when it is no such host."""
    match = _ECR.fullmatch(host)
    return Registry(host, match["account"], match["region"]) if match else None


def shown(text: str) -> str:
    """Return a text, which has nothing special to a shell in it but ACCOUNT, so that the shell fills that in."""
    template = text.template.replace(f"\\{ACCOUNT}", ACCOUNT) if isinstance(text, Word) else text
    return Word(text, template) if ACCOUNT in text else text


def filled_in(text: str, account: str) -> str:
    """Put the number of an account in the place of ACCOUNT."""
    if account == ACCOUNT:
        return text
    value = text.replace(ACCOUNT, account)
    template = text.template.replace(ACCOUNT, account) if isinstance(text, Word) else value
    return value if template == value else Word(value, template)


class Session:
    """AWS as the environment, or AWS's own files, give access to it; in a dry run nothing is called.

    DockerutilsError tells of every call that fails.
    """

    def __init__(self, environ: Mapping[str, str], *, dry_run: bool) -> None:
        self._environ = environ
        self._dry_run = dry_run

    @cached_property
    def region(self) -> str:
        """The region that calls go to when nothing else says where."""
        # The aws command heeds AWS_REGION, boto3 does not.
        region = self._environ.get("AWS_REGION") or self._boto3.region_name
        if not region:
            raise DockerutilsError("no AWS region is configured; set AWS_REGION, or run: aws configure set region NAME")
        return str(region)

    def account(self) -> str:
        """Return the number of the account that calls; in a dry run ACCOUNT, which the line that is printed sets."""
        line = _line("sts", "get-caller-identity", self.region, "--query", "Account", "--output", "text")
        if self._dry_run:
            print(f"account=$({line})", flush=True)
            return ACCOUNT
        console.echo(line)
        with _explained():
            return str(self._client("sts", self.region).get_caller_identity()["Account"])

    def password(self, region: str) -> Input:
        """Return the password of USER at the registries of ECR in a region, asked for when it is needed.

        It opens those of other accounts too, as far as they let the caller in.
        """

        def read() -> str:
            import base64

            with _explained():
                answer = self._client("ecr", region).get_authorization_token()
            token = base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode()
            return str(token.partition(":")[2])

        return Input(_line("ecr", "get-login-password", region), read)

    def ensure_repository(self, where: Registry, name: str) -> None:
        """Create the repository unless it is there."""
        at = (where.region, "--registry-id", where.account)
        describe = _line("ecr", "describe-repositories", *at, "--repository-names", name)
        create = _line("ecr", "create-repository", *at, "--repository-name", name)
        if self._dry_run:
            print(f"{describe} || {create}", flush=True)
            return
        client = self._client("ecr", where.region)
        console.echo(describe)
        with _explained():
            try:
                client.describe_repositories(registryId=where.account, repositoryNames=[name])
                return
            except client.exceptions.RepositoryNotFoundException:
                console.echo(create)
            with suppress(client.exceptions.RepositoryAlreadyExistsException):  # somebody was quicker
                client.create_repository(registryId=where.account, repositoryName=name)

    def tags(self, where: Registry, name: str) -> list[str]:
        """Return the tags of a repository, all pages."""
        at = (where.region, "--registry-id", where.account, "--repository-name", name)
        query = ("--filter", "tagStatus=TAGGED", "--query", "imageIds[].imageTag", "--output", "text")
        console.echo(_line("ecr", "list-images", *at, *query))
        with _explained():
            pages = self._client("ecr", where.region).get_paginator("list_images")
            asked = {"registryId": where.account, "repositoryName": name, "filter": {"tagStatus": "TAGGED"}}
            return [image["imageTag"] for page in pages.paginate(**asked) for image in page["imageIds"]]

    @cached_property
    def _boto3(self) -> Any:
        import boto3  # type: ignore[import-untyped]

        with _explained():
            return boto3.session.Session()

    def _client(self, service: str, region: str) -> Any:
        with _explained():
            return self._boto3.client(service, region_name=region)


def _line(service: str, operation: str, region: str, *options: str) -> str:
    return str(Command(["aws", service, operation, "--region", region, *map(shown, options)]))


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what boto3 raises into one line: what is wrong, and what to do."""
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    try:
        yield
    except ClientError as error:
        raise DockerutilsError(_refusal(error)) from error
    # ValueError: an endpoint that is no URL.
    except (BotoCoreError, ValueError) as error:
        remedy = next((remedy for kind, remedy in _REMEDIES.items() if kind in _kinds(error)), _SEE)
        raise DockerutilsError(f"AWS: {' '.join(str(error).split()).rstrip('.')}; {remedy}") from error


def _refusal(error: Any) -> str:
    """Explain an answer of AWS that is an error; codes as https://docs.aws.amazon.com/general/latest/gr has them."""
    code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
    remedy = next((remedy for pattern, remedy in _CODES.items() if re.match(pattern, code)), _SEE)
    return f"AWS refused {error.operation_name}: {message.rstrip('.') or 'no reason given'} ({code}); {remedy}"


def _kinds(error: Exception) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


_SEE = "mend that and run the command again"
_NETWORK = "see whether this machine reaches AWS, and what AWS_ENDPOINT_URL and the proxy variables say"
_REMEDIES = {
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run: aws configure",
    "PartialCredentialsError": "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "ProfileNotFound": "correct AWS_PROFILE, or add the profile to ~/.aws/config",
    "SSOError": "run: aws sso login",
    "TokenRetrievalError": "run: aws sso login",
    "HTTPClientError": _NETWORK,
    "ConnectionError": _NETWORK,
}
_CODES = {
    r"RepositoryNotFound": "correct the name, or publish the image first",
    r"Expired|RequestExpired": "renew the credentials: aws sso login, or a new AWS_SESSION_TOKEN",
    r"AccessDenied|Unauthorized": "have the identity that calls allowed to do it",
    r"InvalidClientTokenId|UnrecognizedClient|InvalidSignature|SignatureDoesNotMatch": (
        "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile"
    ),
}
