"""What publish-image takes beside the `docker tag` and `docker push` that it runs."""

from __future__ import annotations

import importlib.util
import os
import shlex

from benchmarks.lab import write
from benchmarks.machines import REGISTRY_PORT, Machines
from benchmarks.timing import Call, Row, Series, compare, note, run, side_by_side
from tests.testbed import aws, registry

PUSHES = 20  # rounds
AT_MOST = 1500.0  # ms of its own

_ECR = f"{aws.ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
_CONFIGURATION = """\
[plain]
name = published
prefix = False
tag = 1
publication_tag = localhost:{port}/published:1

[ecr]
name = published
prefix = False
tag = 1
image_repo = aws
"""


def publishing(machines: Machines) -> list[Row]:
    """Compare it with the two commands, to a registry that has the image: without a login, and as ECR with one."""
    project = f"{machines.directory}/published"
    write(f"{project}/docker/dockerutils.cfg", _CONFIGURATION.format(port=REGISTRY_PORT))
    write(f"{project}/docker/app/Dockerfile", "FROM scratch\nCOPY docker/app/Dockerfile /\n")
    machines.here.docker(
        "build", "--quiet", "--tag", "published:1", "--file", f"{project}/docker/app/Dockerfile", project
    )
    with registry.serving(machines.here, "localhost", port=REGISTRY_PORT) as plain:
        ours = _published(machines, project, "plain")
        rows = [_beside("publish-image, a registry", ours, f"{plain.host}/published:1")]
    if importlib.util.find_spec("moto") is None:
        return [*rows, Row("publish-image, ECR", "no moto here")]
    note("starting moto, as AWS")
    with (
        registry.serving(machines.here, _ECR, user="AWS", password=aws.PASSWORD) as ecr,
        aws.serving() as endpoint,
    ):
        ours = _published(machines, project, "ecr", **endpoint.environment())
        login = f"printf %s {shlex.quote(aws.PASSWORD)} | docker login --username AWS --password-stdin {ecr.host}"
        run(ours._replace(argv=["sh", "-c", login]))
        return [*rows, _beside("publish-image, ECR", ours, f"{ecr.host}/published:1")]


def _published(machines: Machines, project: str, section: str, **env: str) -> Call:
    return Call([os.path.join(machines.bin, "publish-image"), section], project, {**machines.env, **env})


def _beside(name: str, ours: Call, tag: str) -> Row:
    bare = ours._replace(argv=["sh", "-c", f"docker tag published:1 {tag} && docker push {tag}"])
    times = side_by_side({name: ours, "docker tag, docker push": bare}, PUSHES)
    own, theirs = (Series(*each) for each in times.items())
    return compare(own, theirs, at_most=AT_MOST)
