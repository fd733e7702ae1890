"""Amazon's services: who is calling, ECR, the registry, and the calls that ec2.py and service_catalog.py make.

Each call is shown before it is made, as the line of the aws command that does the same. boto3 is imported here alone,
and only when it is needed. ECR's calls: https://docs.aws.amazon.com/AmazonECR/latest/APIReference/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, NamedTuple

from dockerutils.core import console
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process import Command, Input
from dockerutils.core.shell_words import Word

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


class Refused(DockerutilsError):
    """A call that AWS has refused, and the code of its refusal."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code
        # When AWS itself failed, or the call was made twice, something may exist.
        self.is_final = re.search(r"Internal|Unavailable|Duplicate", code) is None


class Contents(NamedTuple):
    """What stands in a file, as a parameter of a call."""

    path: str


class Call(NamedTuple):
    """A call as the aws command names it, `ec2` and `run-instances`, its parameters as the service names them.

    Without a region it goes to the session's. `query` selects a part of the answer, in JMESPath
    (https://jmespath.org/specification.html).
    """

    service: str
    operation: str
    parameters: Mapping[str, Any]
    region: str = ""
    query: str = ""


class Session:
    """AWS as the environment, or AWS's own files, give access to it; in a dry run nothing is called.

    DockerutilsError tells of every call that fails. With `seconds` an answer is waited for so long, once.
    """

    def __init__(self, environ: Mapping[str, str], *, dry_run: bool, seconds: float | None = None) -> None:
        self.dry_run = dry_run
        self._environ = environ
        self._seconds = seconds
        self._shown: set[str] = set()
        self._variables: set[str] = set()
        self._clients: dict[tuple[str, str], Any] = {}

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
        if self.dry_run:
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
        if self.dry_run:
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

    def ask(self, call: Call, *, variable: str = "", unless: str = "") -> Any:
        """Make a call, and return the part of the answer, all pages, that its query selects.

        A line that was shown is not shown again. In a dry run the answer is a variable of the shell, called
        `variable`, which the printed line sets; one from before, `unless`, may make it needless. `Refused` has the
        code of AWS's refusal.
        """
        line = self.line(call)
        if self.dry_run:
            print(f'[ "{unless}" != None ] || ' * bool(unless) + (f"{variable}=$({line})" if variable else line))
            return self.variable(variable)
        if line not in self._shown:
            self._shown.add(line)
            console.echo(line)
        client, method = self._client(call.service, call.region or self.region), call.operation.replace("-", "_")
        given = {name: _contents(value) for name, value in call.parameters.items()}
        with _explained():
            if client.can_paginate(method):
                answer = client.get_paginator(method).paginate(**given).build_full_result()
            else:
                answer = getattr(client, method)(**given)
        return _selected(call.query, answer)

    def connect(self, service: str, region: str) -> None:
        """Get ready for calls, which may then be made in a thread of their own."""
        self._client(service, region)

    def line(self, call: Call) -> str:
        """Return the line of the aws command that makes a call; https://docs.aws.amazon.com/cli/latest/reference/."""
        argv = ["aws", call.service, call.operation, "--region", call.region or self.region]
        for name, value in call.parameters.items():
            argv += self._option(name, value)
        return str(Command([*argv, *(["--query", call.query, "--output", "text"] if call.query else [])]))

    def variable(self, name: str) -> str:
        """Return what stands, in a dry run, for a value that a line before has given to a variable of the shell."""
        if name:
            self._variables.add(name)
        return f"${{{name}}}" * bool(name)

    def _option(self, name: str, value: Any) -> list[str]:
        # One aws option stands for two parameters, which are the same here.
        if name == "MinCount":
            return []
        option = "--count" if name == "MaxCount" else "--" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
        if value is True:
            return [option]
        if isinstance(value, Contents):
            return [option, f"fileb://{value.path}"]
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return [option, *map(self._word, value)]
        return [option, self._word(value)]

    def _word(self, value: Any) -> str:
        """Return a value as a word of the aws command, in which the shell fills in our variables."""
        if isinstance(value, Word):
            return value
        if isinstance(value, (dict, list)):
            import json

            value = json.dumps(value, separators=(",", ":"))
        text, template = str(value), re.sub(r'([\\"$`])', r"\\\1", str(value))
        for variable in self._variables:
            template = template.replace(f"\\${{{variable}}}", f"${{{variable}}}")
        return Word(text, template) if any(f"${{{variable}}}" in text for variable in self._variables) else text

    @cached_property
    def _boto3(self) -> Any:
        try:
            import boto3  # type: ignore[import-untyped]
        except ImportError as error:
            raise DockerutilsError(f"boto3 cannot be imported: {error}; run: pip install boto3") from error
        with _explained():
            return boto3.session.Session()

    def _client(self, service: str, region: str) -> Any:
        if (service, region) not in self._clients:
            session = self._boto3
            with _explained():
                from botocore.config import Config  # type: ignore[import-untyped]

                once = {"retries": {"total_max_attempts": 1}, "max_pool_connections": 1}
                limits = {**once, "connect_timeout": self._seconds, "read_timeout": self._seconds}
                config = Config(**limits) if self._seconds else None
                self._clients[service, region] = session.client(service, region_name=region, config=config)
        return self._clients[service, region]


def _contents(value: Any) -> Any:
    if not isinstance(value, Contents):
        return value
    with open(value.path, "rb") as file:
        return file.read()


def _selected(query: str, answer: Any) -> Any:
    if not query:
        return answer
    import json

    import jmespath  # type: ignore[import-untyped]

    # As the aws command has it: a time is text.
    return jmespath.search(query, json.loads(json.dumps(answer, default=lambda time: time.isoformat())))


def _line(service: str, operation: str, region: str, *options: str) -> str:
    return str(Command(["aws", service, operation, "--region", region, *map(shown, options)]))


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what boto3 raises into one line: what is wrong, and what to do."""
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    try:
        yield
    except ClientError as error:
        raise Refused(_refusal(error), error.response["Error"].get("Code", "")) from error
    # ValueError: an endpoint that is no URL.
    except (BotoCoreError, ValueError) as error:
        remedy = next((remedy for kind, remedy in _REMEDIES.items() if kind in _kinds(error)), _SEE)
        raise DockerutilsError(f"AWS: {' '.join(str(error).split()).rstrip('.')}; {remedy}") from error


def _refusal(error: Any) -> str:
    """Explain an answer of AWS that is an error; codes as https://docs.aws.amazon.com/general/latest/gr has them."""
    code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
    remedy = next((remedy for pattern, remedy in _CODES.items() if re.match(pattern, code)), _SEE)
    message = re.sub(r"\s*Encoded authorization failure message: \S+", "", message)
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
    r"ResourceNotFoundException": "correct the name; it has to be one of this region",
    r"RepositoryNotFound": "correct the name, or publish the image first",
    r"Insufficient\w*Capacity": "take another instance type (-i), another subnet (-s), or run the command again later",
    r"VcpuLimitExceeded|InstanceLimitExceeded": "take a smaller instance type (-i), or have the quota raised",
    r"RequestLimitExceeded|Throttling": "AWS takes no more calls just now; run the command again later",
    r"InvalidAMIID": "correct --ami: the image has to be one of this region",
    r"InvalidSubnet": "correct -s: the subnet has to be one of this region",
    r"InvalidInstanceType": "correct -i: the region has to have the type",
    r"Invalid(?:KeyPair|Group)\.Duplicate": "another run has made it just now; run the command again",
    r"InvalidKeyPair\.NotFound": "correct --key-name: the key pair has to be one of this region",
    r"InvalidGroup": "correct --security-group: the group has to be one of the subnet's VPC",
    r"Expired|RequestExpired": "renew the credentials: aws sso login, or a new AWS_SESSION_TOKEN",
    r"AccessDenied|Unauthorized": "have the identity that calls allowed to do it",
    r"InvalidClientTokenId|UnrecognizedClient|InvalidSignature|SignatureDoesNotMatch": (
        "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile"
    ),
}
