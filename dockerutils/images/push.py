"""Where an image goes when it is published, and how it gets there: log in, tag and push."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import NamedTuple

from dockerutils.aws import ecr as aws
from dockerutils.aws.session import Session
from dockerutils.core import complaints, process, retries
from dockerutils.core.complaints import Registry
from dockerutils.core.errors import CommandFailed, DockerutilsError, UserError
from dockerutils.core.process import Command, Input
from dockerutils.core.retries import TemporaryFailure
from dockerutils.core.shell_words import Word
from dockerutils.docker import engine, references
from dockerutils.docker.references import HUB
from dockerutils.images import publication
from dockerutils.images.publication import Form, Target
from dockerutils.project.config import fault_in_image_repo
from dockerutils.project.ini import Value
from dockerutils.project.project import Image, Project
from dockerutils.registries import credentials

_HUB_NAMES = ("docker_hub", "docker", HUB)
Warn = Callable[[str], None]


class Destination(NamedTuple):
    """Where an image goes: its full name and tag there, the registry's host, and its ECR registry if it is one."""

    reference: str
    host: str
    ecr: aws.Registry | None

    @property
    def repository(self) -> str:
        """The full name without the tag."""
        return references.split(self.reference)[0]

    @property
    def is_local(self) -> bool:
        """Whether it is a registry on the machine of an engine, which others do not reach."""
        from dockerutils.registries import http  # late: it is slow to import, and -h needs none

        return http.is_local(self.host.partition(":")[0])

    def in_account(self, account: str) -> Destination:
        """Return this destination with the AWS account filled in."""
        host = aws.with_account(self.host, account)
        return Destination(aws.with_account(self.reference, account), host, aws.registry(host) if self.ecr else None)


def destinations(project: Project, image: Image, session: Session) -> list[Destination]:
    """Return where the image's section sends it. The caller's AWS account is still aws.ACCOUNT."""
    settings = project.settings(image.name)
    repo, value = settings.value("image_repo"), settings.value("publication_tag")
    if repo and (fault := fault_in_image_repo(repo)):
        raise UserError(fault)
    tags = settings.tags("publication_tag", publication.tag_fields(image, aws.ACCOUNT, lambda: session.region))
    if not tags and repo and repo.text == "aws":
        tags = [publication.ecr_tag(image, aws.ACCOUNT, session.region)]
    if not tags:
        where = value or repo
        fault = "publication_tag is missing; add publication_tag = NAME:TAG, the full name to push"
        raise where.error(fault) if where else UserError(f"{project.config.path}: [{image.name}]: {fault}")
    return [destination(tag, repo, value) for tag in dict.fromkeys(tags)]


def destination(tag: str, repo: Value | None, value: Value | None) -> Destination:
    """Return the destination of one publication tag; UserError if image_repo names another registry."""
    shown = tag.replace(aws.ACCOUNT, "0" * 12)
    repository, own_tag = references.split(shown)
    fault = references.fault_in_repository(repository) or references.fault_in_tag(own_tag)
    if fault or "@" in shown:
        fault = f"{shown!r} is not a full name and tag; write it as [registry/]name:tag"
        raise value.error(fault) if value else UserError(fault)
    host = references.registry(tag)
    ecr = aws.registry(host)
    if repo and not _agrees(repo.text, host, ecr):
        raise repo.error(
            f"{repo.text} is not the registry of {shown}, {references.registry(shown)}; correct one of them"
        )
    # A section that names ECR's host instead of aws brings its own credentials, a credential helper for example.
    return Destination(aws.with_account_variable(tag), host, ecr if not repo or repo.text == "aws" else None)


def _agrees(repo: str, host: str, ecr: aws.Registry | None) -> bool:
    return ecr is not None if repo == "aws" else host == (HUB if repo in _HUB_NAMES else repo)


def login(where: Destination, session: Session, project: Project) -> Command:
    """Return the `docker login` command; it reads the password from stdin."""
    if where.ecr:
        user, password = aws.USER, aws.password(session, where.ecr.region)
    else:
        user = Word(project.environ["DOCKER_USERNAME"], "$DOCKER_USERNAME")
        password = Input("printenv DOCKER_PASSWORD", lambda: project.environ["DOCKER_PASSWORD"])
    host = [] if where.host == HUB else [aws.with_account_variable(where.host)]
    return Command(["docker", "login", "--username", user, "--password-stdin", *host], stdin=password)


class Action(NamedTuple):
    """A docker command that talks to the registry `host`; its error begins with `failed`.

    `refuses_login` decides where docker's words can mean both a wrong login and a temporary failure.
    """

    command: Command
    host: str
    failed: str
    refuses_login: Callable[[], bool] = lambda: False


class Publisher(NamedTuple):
    """An image to publish in a form, with what that takes; a dry run of the session prints the commands only."""

    project: Project
    image: Image
    form: Form
    session: Session
    warn: Warn

    def find(self, where: Destination) -> str:
        """Return `<repository>@sha256:...` if the registry has the image of the engine, else an empty string.

        It is empty as well if the registry does not answer, or refuses: docker says more when it pushes.
        """
        from dockerutils.registries.client import Client  # late, as in Destination

        record = engine.inspect([self.image.reference]).get(self.image.reference, {})
        name = references.split_registry(where.repository)[1]
        for digest in publication.engine_digests(where.reference, record):
            with suppress(DockerutilsError):
                login = credentials.find(where.host, self.project.environ)
                if where.ecr:
                    login = credentials.Login(aws.USER, aws.password(self.session, where.ecr.region).read())
                if Client(where.host, name, login, self.warn).manifest(digest).digest == digest:
                    return f"{where.repository}@{digest}"
        return ""

    def push(self, wanted: Sequence[Destination]) -> Iterator[str]:
        """Log in, create the repositories of ECR that are missing, tag and push.

        Yield `<repository>@sha256:...` of each destination when the registry has it; in a dry run nothing.
        DockerutilsError if the engine does not have the image in this form.
        """
        project, session, dry_run = self.project, self.session, self.session.dry_run
        from_environment = {each.host for each in wanted if credentials.from_environment(each.host, project.environ)}
        if not dry_run:
            publication.require(project, self.image, self.form)
        if any(aws.ACCOUNT in each.host for each in wanted):
            account = session.account
            wanted = [each.in_account(account) for each in wanted]
        with_login = [each for each in wanted if each.ecr or each.host in from_environment]
        logins = {each.host: login(each, session, project) for each in with_login}
        from dockerutils.registries import private_config  # late: it imports tempfile, 8 ms of -h

        own: AbstractContextManager[dict[str, str]]
        own = nullcontext({}) if dry_run else private_config.private(project.environ, logins)
        with own as env:
            for host, command in logins.items():
                _run(Action(command, host, f"no login at {host}"), env, self.warn, dry_run=dry_run)
            for repository, ecr in {each.repository: each.ecr for each in wanted}.items():
                if ecr:
                    aws.ensure_repository(session, ecr, repository.partition("/")[2])
            for each in wanted:
                target = Target(each.reference, project, env, self.warn)
                yield from _publish(self.image, target, self.form, dry_run=dry_run)


def _run(action: Action, env: Mapping[str, str], warn: Warn, *, dry_run: bool) -> None:
    """Run a docker command; try again after a temporary failure. `env` names the docker configuration."""

    def attempt() -> None:
        try:
            process.run(action.command, dry_run=dry_run, unshown=env, to_stderr=True, escaped=[process.STDERR])
        except CommandFailed as failure:
            host = action.host
            registry = Registry(host, host, credentials.how_to_log_in(host))
            why, is_temporary, is_unsure = complaints.explain_registry(failure.stderr, registry)
            if is_temporary and not (is_unsure and action.refuses_login()):
                raise TemporaryFailure(f"{action.failed}: {why}", status=failure.status) from None
            raise CommandFailed(failure.status, f"{action.failed}: {why}") from None

    retries.retry(attempt, warn)


def _publish(image: Image, target: Target, form: Form, *, dry_run: bool) -> Iterator[str]:
    """Tag and push; yield `<repository>@sha256:...`."""
    process.run(Command(["docker", "tag", image.reference, target.reference]), dry_run=dry_run, to_stderr=True)
    push = Command(["docker", *publication.push_words(target, form)])
    refuses_login = partial(publication.refuses_login, target)
    failed = f"{target.reference} was not pushed"
    _run(Action(push, target.host, failed, refuses_login), target.env, target.warn, dry_run=dry_run)
    if not dry_run:
        repository = references.split(target.reference)[0]
        yield f"{repository}@{publication.verified_digest(target, form)}"
