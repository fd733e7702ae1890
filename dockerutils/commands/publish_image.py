"""Push an image of the project to Docker Hub, ECR or another registry."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from dockerutils.aws import api
from dockerutils.cli import program
from dockerutils.core import console, process
from dockerutils.core.errors import CommandFailed, DockerutilsError, UserError
from dockerutils.core.process import Command, Input
from dockerutils.core.shell_words import Word
from dockerutils.docker import engine, references
from dockerutils.project.ini import Value
from dockerutils.project.project import Image, Project, renamed
from dockerutils.registries import credentials
from dockerutils.registries.credentials import HUB

_EXAMPLES = """\
  publish-image prod                  push what publication_tag names
  publish-image prod -t 1.2           publish <project>-prod:1.2
  publish-image prod --dry-run        show the commands"""
_ENVIRONMENT = """\
  DOCKER_USERNAME, DOCKER_PASSWORD   to log in with, when set; else docker's own credentials serve
  AWS_PROFILE, AWS_REGION ...        for ECR, as the aws command has them"""

_HUB_NAMES = ("docker_hub", "docker", HUB)
_HOST = r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)(?::\d+)?|[A-Za-z0-9-]+:\d+"


class Destination(NamedTuple):
    """Where an image goes: its full name and tag there, the registry's host, and for ECR what the host says."""

    reference: str
    host: str
    ecr: api.Registry | None

    @property
    def repository(self) -> str:
        """The full name without the tag."""
        return references.split(self.reference)[0]

    def of(self, account: str) -> Destination:
        """Return it with the AWS account filled in."""
        host = api.filled_in(self.host, account)
        return Destination(api.filled_in(self.reference, account), host, api.registry(host) if self.ecr else None)


def parser() -> program.Parser:
    """Return the parser of publish-image."""
    parser = program.Parser("publish-image", f"{__doc__}", _EXAMPLES, environment=_ENVIRONMENT)
    parser.add_image()
    parser.add_argument("-i", "--image-name", metavar="NAME", help="publish the image called NAME")
    parser.add_argument("-t", "--image-tag", metavar="TAG", help="publish the image tagged TAG")
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Log in, tag, push, and print on stdout what the registries call the image from now on."""
    project = program.project()
    image = renamed(project.image(args.image, args.image_tag), args.image_name, args.image_tag)
    for warning in project.config.unknown_keys(image.name):
        console.warn("publish-image", warning)
    session = api.Session(project.environ, dry_run=args.dry_run)
    # All that can be wrong with the configuration shows before the first command runs, and the first call is made.
    wanted = destinations(project, image, session)
    credentials_given = credentials.given(project.environ)
    if not args.dry_run:
        require(project, image)
    if any(api.ACCOUNT in each.host for each in wanted):
        account = session.account()
        wanted = [each.of(account) for each in wanted]
    logins = {each.host: login(each, session, project) for each in wanted if each.ecr or credentials_given}
    own: AbstractContextManager[dict[str, str]]
    own = nullcontext({}) if args.dry_run else credentials.private(project.environ, logins)
    with own as env:
        for host, command in logins.items():
            log_in(host, command, env, dry_run=args.dry_run)
        for repository, ecr in {each.repository: each.ecr for each in wanted}.items():
            if ecr:
                session.ensure_repository(ecr, repository.partition("/")[2])
        for each in wanted:
            publish(image, each, env, dry_run=args.dry_run)


def destinations(project: Project, image: Image, session: api.Session) -> list[Destination]:
    """Return where the section says that the image goes; the AWS account is left open where it is the caller's."""
    settings = project.settings(image.name)
    repo, value = settings.value("image_repo"), settings.value("publication_tag")
    if repo and repo.text not in (*_HUB_NAMES, "aws") and not re.fullmatch(_HOST, repo.text):
        raise repo.error(f"{repo.text!r} is no registry; write docker_hub, aws or host[:port]")
    fields = {
        "account": lambda: api.ACCOUNT,
        "region": lambda: session.region,
        "image": lambda: image.repository,
        "tag": lambda: image.tag,
    }
    tags = settings.tags("publication_tag", fields)
    if not tags and repo and repo.text == "aws":
        tags = [f"{api.ACCOUNT}.dkr.ecr.{session.region}.amazonaws.com/{image.repository}:{image.tag}"]
    if not tags:
        where = value or repo
        fault = "there is no publication_tag; write publication_tag = NAME:TAG, the full name to push"
        raise where.error(fault) if where else UserError(f"{project.config.path}: [{image.name}]: {fault}")
    return [destination(tag, repo, value) for tag in dict.fromkeys(tags)]


def destination(tag: str, repo: Value | None, value: Value | None) -> Destination:
    """Return the destination that one publication tag names; UserError when it is not where image_repo says."""
    shown = tag.replace(api.ACCOUNT, "0" * 12)
    repository, own_tag = references.split(shown)
    fault = references.fault_in_repository(repository) or references.fault_in_tag(own_tag)
    if fault or "@" in shown:
        fault = f"{shown!r} is no full name and tag; write it as [registry/]name:tag"
        raise value.error(fault) if value else UserError(fault)
    host = credentials.registry(tag)
    ecr = api.registry(host)
    if repo and not _agrees(repo.text, host, ecr):
        raise repo.error(f"{repo.text} is not where {shown} leads, which is {credentials.registry(shown)}; correct one")
    # Whoever names the host, and not aws, has credentials for it, by a helper for example.
    return Destination(api.shown(tag), host, ecr if not repo or repo.text == "aws" else None)


def _agrees(repo: str, host: str, ecr: api.Registry | None) -> bool:
    return ecr is not None if repo == "aws" else host == (HUB if repo in _HUB_NAMES else repo)


def require(project: Project, image: Image) -> None:
    """See that the engine has the image."""
    if engine.has_image(image.reference, project.environ):
        return
    if image.directory is None:
        raise DockerutilsError(f"{image.reference} is not on this engine; run: docker pull {image.reference}")
    raise DockerutilsError(f"{image.reference} is not built yet; run: {project.build_command(image)}")


def login(where: Destination, session: api.Session, project: Project) -> Command:
    """Compose `docker login`; the password comes by stdin."""
    if where.ecr:
        user, password = api.USER, session.password(where.ecr.region)
    else:
        user = Word(project.environ["DOCKER_USERNAME"], "$DOCKER_USERNAME")
        password = Input("printenv DOCKER_PASSWORD", lambda: project.environ["DOCKER_PASSWORD"])
    host = [] if where.host == HUB else [api.shown(where.host)]
    return Command(["docker", "login", "--username", user, "--password-stdin", *host], stdin=password)


def log_in(host: str, command: Command, env: Mapping[str, str], *, dry_run: bool) -> None:
    """Run `docker login`, which stores what it was given in the configuration that `env` names."""
    try:
        process.run(command, dry_run=dry_run, unshown=env, to_stderr=True)
    except CommandFailed as failure:
        raise CommandFailed(
            failure.status, f"no login at {host}; docker says why above: correct the user and password, or try later"
        ) from None


def publish(image: Image, where: Destination, env: Mapping[str, str], *, dry_run: bool) -> None:
    """Tag and push, and print `<repository>@sha256:...`."""
    process.run(Command(["docker", "tag", image.reference, where.reference]), dry_run=dry_run, to_stderr=True)
    command = Command(["docker", "push", where.reference])
    try:
        process.run(command, dry_run=dry_run, unshown=env, to_stderr=True)
    except CommandFailed as failure:
        raise CommandFailed(
            failure.status,
            f"{where.reference} was not pushed; docker says why above: when access is denied, run docker login first, "
            "or set DOCKER_USERNAME and DOCKER_PASSWORD",
        ) from None
    if not dry_run:
        print(f"{where.repository}@{digest(where, env)}", flush=True)


def digest(where: Destination, env: Mapping[str, str]) -> str:
    """Return the digest of what was pushed."""
    record = engine.inspect([where.reference]).get(where.reference, {})
    pairs = (each.split("@") for each in record.get("RepoDigests") or ())
    familiar = where.repository.removeprefix(f"{HUB}/").removeprefix("library/")
    digests = {value for name, value in pairs if name == familiar}
    if len(digests) == 1:
        return str(digests.pop())
    # The engine knows several of this repository. Another push moves nothing, and tells the digest, but not in a tongue
    # made for programs: so only here.
    said = process.capture(["docker", "--config", env["DOCKER_CONFIG"], "push", where.reference]).stdout
    if found := re.search(r"\bdigest: (sha256:[0-9a-f]{64})", said):
        return found[1]
    raise DockerutilsError(f"{where.reference} was pushed, but docker does not tell its digest; ask the registry")
