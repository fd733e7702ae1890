"""The image of a job: publish it to a registry that AWS Batch reaches, and name it by digest."""

from __future__ import annotations

from dockerutils.aws import ecr
from dockerutils.aws.session import Session
from dockerutils.core.process import Command
from dockerutils.core.shell_words import Word
from dockerutils.docker import engine
from dockerutils.images import publication, push
from dockerutils.images.push import Destination, Publisher
from dockerutils.project.project import Image, Project


def published(project: Project, image: Image, reads: Session, writes: Session, warn: push.Warn) -> tuple[str, str]:
    """Publish an image if the registry does not have it; return `<repository>@sha256:...` and the architecture.

    In a dry run that would publish it, the digest is a variable that a printed line sets. The registry is that of
    publication_tag, or ECR. DockerutilsError if the engine does not have the image.
    """
    form = publication.form(project, image, None)
    publication.require(project, image, form)
    destination = _destination(project, image, reads)
    architecture = str(engine.inspect([image.reference])[image.reference].get("Architecture", ""))
    if known := Publisher(project, image, form, reads, warn).find(destination):
        return known, architecture
    if pushed := [*Publisher(project, image, form, writes, warn).push([destination])]:
        return pushed[0], architecture
    inspect = ["docker", "image", "inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}"]
    pattern = Command(["grep", f"^{destination.repository}@"])
    print(f"image=$({Command([*inspect, destination.reference])} | {pattern})", flush=True)
    return Word("${image}", "${image}"), architecture


def _destination(project: Project, image: Image, session: Session) -> Destination:
    """Return where to publish an image: at the first publication tag that AWS reaches, or in ECR."""
    settings = project.settings_of(project.config.section(image.name), docked=False)
    value = settings.value("publication_tag")
    if value is None:
        tag = publication.ecr_tag(image, ecr.ACCOUNT, session.region)
        return push.destination(tag, None, None).in_account(session.account)
    found = push.destinations(project, image, session)
    reached = next((each for each in found if not each.is_local), None)
    if reached is None:
        raise value.error(f"AWS Batch does not reach {found[0].host}; add a name in ECR, or remove this key")
    return reached.in_account(session.account) if ecr.ACCOUNT in reached.host else reached
