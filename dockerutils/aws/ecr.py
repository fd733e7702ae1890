"""ECR, the registry of AWS. Its calls: https://docs.aws.amazon.com/AmazonECR/latest/APIReference/."""

from __future__ import annotations

import re
from typing import NamedTuple

from dockerutils.aws.errors import Refused
from dockerutils.aws.session import Call, Session, with_variables
from dockerutils.core.process import Input
from dockerutils.core.shell_words import Word

# The account where it is not known yet: the shell variable that a printed line sets.
ACCOUNT = "${account}"
USER = "AWS"

_HOST = re.compile(
    r"(?P<account>\d{12}|\$\{account\})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)"
)


class Registry(NamedTuple):
    """A registry of ECR: its host, and the account and region in the host's name."""

    host: str
    account: str
    region: str


def registry(host: str) -> Registry | None:
    """Return the registry of ECR at `host`, None for any other host."""
    match = _HOST.fullmatch(host)
    return Registry(host, match["account"], match["region"]) if match else None


def with_account_variable(text: str) -> str:
    """Return `text` as a word in which the shell expands ACCOUNT."""
    return with_variables(text, ["account"])


def with_account(text: str, account: str) -> str:
    """Return `text` with the number of an account in place of ACCOUNT."""
    if account == ACCOUNT:
        return text
    value = text.replace(ACCOUNT, account)
    template = text.template.replace(ACCOUNT, account) if isinstance(text, Word) else value
    return value if template == value else Word(value, template)


def password(session: Session, region: str) -> Input:
    """Return the password of USER at the registries of a region; AWS is asked when it is read.

    It is valid for other accounts' registries too, where they grant the caller access.
    """

    def read() -> str:
        import base64  # late: only ECR needs it

        call = Call("ecr", "get-authorization-token", {}, region, "authorizationData[0].authorizationToken")
        token = base64.b64decode(session.call(call, echo=False)).decode()
        return token.partition(":")[2]

    return Input(session.line(Call("ecr", "get-login-password", {}, region)), read)


def ensure_repository(session: Session, where: Registry, name: str) -> None:
    """Create the repository unless it exists."""
    account = {"registryId": where.account}
    describe = Call("ecr", "describe-repositories", {**account, "repositoryNames": [name]}, where.region)
    create = Call("ecr", "create-repository", {**account, "repositoryName": name}, where.region)
    if not session.dry_run:
        try:
            session.call(describe)
        except Refused as error:
            if error.code != "RepositoryNotFoundException":
                raise
        else:
            return
    try:
        session.call(create, unless=describe)
    except Refused as error:
        if error.code != "RepositoryAlreadyExistsException":  # somebody else has just created it
            raise


def tags(session: Session, where: Registry, name: str) -> list[str]:
    """Return all tags of a repository."""
    parameters = {"registryId": where.account, "repositoryName": name, "filter": {"tagStatus": "TAGGED"}}
    return list(session.call(Call("ecr", "list-images", parameters, where.region, "imageIds[].imageTag")))
