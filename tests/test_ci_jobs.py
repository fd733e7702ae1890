"""The jobs of CI systems in docs/publishing.md: their own lines build and publish, to a registry and to ECR."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import boto3  # type: ignore[import-untyped]
import pytest
import yaml
from botocore import UNSIGNED  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

from tests.support import write_tree
from tests.test_docs import DOCS, _blocks, _parse, _strings
from tests.testbed import aws, aws_command, registry
from tests.testbed.aws import ACCOUNT, PASSWORD, Front
from tests.testbed.engine import Engine

PAGE = DOCS / "publishing.md"
ECR = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
TOKEN = "header.of-the-job.signature"


class Job(NamedTuple):
    """A job of a page: its YAML, and the lines of its texts."""

    yaml: Any
    lines: list[str]

    @property
    def work(self) -> str:
        """What the job does in the checkout, as a script."""
        return "\n".join(line for line in self.lines if _parse(line) or line.startswith(("cat ", "printf ")))

    @property
    def steps(self) -> dict[str, Any]:
        """The actions that a job of GitHub uses, and their inputs."""
        steps = self.yaml.get("jobs", {}).get("publish", {}).get("steps", ())
        return {step["uses"]: step.get("with", {}) for step in steps if "uses" in step}


def _jobs() -> list[Job]:
    loaded = [yaml.safe_load(block.text) for block in _blocks(PAGE) if block.language == "yaml"]
    jobs = [Job(each, [line for text in _strings(each) for line in text.splitlines()]) for each in loaded]
    return [job for job in jobs if any(map(_parse, job.lines))]  # not single steps


def _to_ecr(job: Job) -> bool:
    return any("arn:aws:iam" in line for line in job.lines)


def _documents() -> tuple[Any, Any]:
    trust, push = (json.loads(block.text) for block in _blocks(PAGE) if block.language == "json")
    return trust, push


def test_the_jobs_are_yaml_that_builds_and_publishes() -> None:
    assert [_to_ecr(job) for job in _jobs()] == [False, False, False, True, True]
    for job in _jobs():
        assert [name for line in job.lines for name in _parse(line)] == ["build-image", "publish-image"]
        assert 'pip install "$DOCKERUTILS"' in job.lines


def test_jobs_for_ecr_have_no_keys_and_ask_for_a_token() -> None:
    github, gitlab = (job.yaml for job in _jobs() if _to_ecr(job))
    assert github["permissions"] == {"contents": "read", "id-token": "write"}
    assert gitlab["publish"]["id_tokens"] == {"AWS_ID_TOKEN": {"aud": "sts.amazonaws.com"}}
    assert not [line for job in _jobs() if _to_ecr(job) for line in job.lines if "SECRET" in line.upper()]


def _run(work: str, project: Path, environ: Mapping[str, str]) -> str:
    shell = subprocess.run(
        ["bash", "-ec", work], cwd=project, env={**os.environ, **environ}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert shell.returncode == 0, shell.stderr
    return shell.stdout


def _project(directory: Path, section: str) -> Path:
    dockerfile = "FROM local/busybox\nCOPY docker/prod/Dockerfile /\n"
    return write_tree(
        directory, {"docker/prod/Dockerfile": dockerfile, "docker/dockerutils.cfg": f"[prod]\n{section}\n"}
    )


def test_the_jobs_publish(engine, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.setenv("DOCKER_USERNAME", "carol")
    monkeypatch.setenv("DOCKER_PASSWORD", "s3cret")
    with registry.serving(engine, "localhost", user="carol", password="s3cret") as there:
        monkeypatch.setenv("DOCKER_REGISTRY", there.host)
        for number, job in enumerate(job for job in _jobs() if not _to_ecr(job)):
            tag = f"v{number}"
            project = _project(tmp_path / f"job{number}", f"publication_tag = {there.host}/org/app:$VERSION")
            printed = _run(job.work, project, {"VERSION": tag, "TRAVIS_TAG": tag})
            assert printed.endswith(f"{there.host}/org/app@{there.digest('org/app', tag)}\n")
            engine.docker("image", "rm", "--force", f"job{number}-prod:{tag}", f"{there.host}/org/app:{tag}")


@pytest.fixture
def front(isolated: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """Return an AWS that the commands use without credentials."""
    with aws.serving() as moto, aws.before(moto) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.aws.url)
        yield front


def _make_role(front: Front, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the lines of the page as an administrator does."""
    trust, push = _documents()
    write_tree(directory, {"trust.json": json.dumps(trust), "push.json": json.dumps(push)})
    [lines] = [block.text for block in _blocks(PAGE) if block.language == "sh" and "create-role" in block.text]
    with monkeypatch.context() as context:
        for name, value in front.aws.environment().items():
            context.setenv(name, value)
        context.chdir(directory)
        with aws_command.installed(directory):
            _run(lines, directory, {"PATH": f"{directory}:{os.environ['PATH']}"})
        role = boto3.client("iam").get_role(RoleName="publish")["Role"]
        assert role["AssumeRolePolicyDocument"] == trust
        [provider] = boto3.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]
        assert provider["Arn"] == trust["Statement"][0]["Principal"]["Federated"]


def _as_the_action(job: Job, front: Front) -> dict[str, str]:
    """Do what aws-actions/configure-aws-credentials does, and return the variables that it sets."""
    [given] = [step for uses, step in job.steps.items() if uses.startswith("aws-actions/configure-aws-credentials@")]
    sts = boto3.client("sts", region_name=given["aws-region"], config=Config(signature_version=UNSIGNED))
    assumed = sts.assume_role_with_web_identity(
        RoleArn=given["role-to-assume"], RoleSessionName="GitHubActions", WebIdentityToken=TOKEN
    )["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": assumed["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": assumed["SecretAccessKey"],
        "AWS_SESSION_TOKEN": assumed["SessionToken"],
        "AWS_REGION": given["aws-region"],
    }


def _as_gitlab(job: Job, directory: Path) -> dict[str, str]:
    """Return the variables of AWS that a job of GitLab has."""
    own = {name: value for name, value in job.yaml["publish"]["variables"].items() if name.startswith("AWS_")}
    return {**own, "AWS_ID_TOKEN": TOKEN, "AWS_WEB_IDENTITY_TOKEN_FILE": str(directory / "token")}


def _trust(of: registry.Registry) -> None:
    path = Path(os.environ["HOME"], ".config/docker/certs.d", of.host, "ca.crt")
    path.parent.mkdir(parents=True)
    path.write_bytes(Path(of.directory, "certificate").read_bytes())


def test_the_jobs_publish_to_ecr_with_a_role(engine: Engine, front: Front, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    _make_role(front, tmp_path, monkeypatch)
    github, gitlab = (job for job in _jobs() if _to_ecr(job))
    with (
        registry.serving(engine, ECR, user="AWS", password=PASSWORD) as ecr,
        registry.reachable(engine, ecr) as proxy,
    ):
        _trust(ecr)
        front.requests.clear()
        for job, environ in ((github, _as_the_action(github, front)), (gitlab, _as_gitlab(gitlab, tmp_path))):
            tag = f"v{len(environ)}"
            project = _project(tmp_path / "app", "image_repo = aws")
            printed = _run(job.work, project, {**environ, "VERSION": tag, "HTTPS_PROXY": proxy})
            assert printed.endswith(f"{ECR}/app-prod@{ecr.digest('app-prod', tag)}\n")
            engine.docker("image", "rm", "--force", f"app-prod:{tag}", f"{ECR}/app-prod:{tag}")
    assumed = [request.parameters for request in front.requests if request.action == "AssumeRoleWithWebIdentity"]
    assert [(each["RoleArn"], each["WebIdentityToken"]) for each in assumed] == 2 * [
        (f"arn:aws:iam::{ACCOUNT}:role/publish", TOKEN)
    ]
    allowed = {action for statement in _documents()[1]["Statement"] for action in _listed(statement["Action"])}
    done = {request.action for request in front.requests} - {"AssumeRoleWithWebIdentity", "GetCallerIdentity"}
    assert {"CreateRepository", "GetAuthorizationToken"} <= done
    assert {f"ecr:{action}" for action in done} <= allowed


def _listed(actions: str | list[str]) -> list[str]:
    return [actions] if isinstance(actions, str) else actions
