"""publish-image, to real registries: one under ECR's name with moto's token, one with a password, one without."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import pytest

from dockerutils.commands.publish_image import main
from tests.support import App, script, wait_for
from tests.testbed import registry
from tests.testbed.aws import ACCOUNT, PASSWORD, answering
from tests.testbed.engine import running
from tests.testbed.images import add_busybox

ECR = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
OTHER_ECR = "210987654321.dkr.ecr.eu-west-1.amazonaws.com"
MARKER = "marker-of-the-password"
ADVICE = "correct the user and password, or try later"
USERS_CONFIG = '{ "auths": {"other.example": {"auth": "YTpi"}},\n\t"HttpHeaders": {"X-Mine": "1"} }\n'


@pytest.fixture
def app(tmp_path, capfd, monkeypatch) -> App:
    app = App(main, tmp_path / "app", capfd)
    # Where the run's own docker configuration stands: what is left there is seen.
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    app.write({"docker/dev/Dockerfile": "FROM local/busybox\n"})
    return app


@pytest.fixture
def built(each_engine):
    """Build the image on the engine that the test runs on, and remove what was tagged; yield the engine."""
    before = set(_tags(each_engine))
    with tempfile.TemporaryDirectory() as context:
        Path(context, "Dockerfile").write_text("FROM local/busybox\nCOPY Dockerfile /\n")
        each_engine.docker("build", "-t", "app-dev:alice", "-t", "app-dev:v1", context)
    yield each_engine
    if more := set(_tags(each_engine)) - before:
        each_engine.docker("image", "rm", "-f", *more)


@pytest.fixture
def users_config(each_engine):
    """Give the user a docker configuration, and see that it stays as it is."""
    path = Path(os.environ["DOCKER_CONFIG"], "config.json")
    path.write_text(USERS_CONFIG)
    before = sorted(os.listdir(path.parent))
    yield path
    assert path.read_text() == USERS_CONFIG
    assert sorted(os.listdir(path.parent)) == before


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path):
    yield
    assert not list(tmp_path.glob("tmp/*"))


def _tags(engine) -> list[str]:
    return engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()


def _configure(app: App, **keys: str) -> None:
    app.write({"docker/dockerutils.cfg": "[dev]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())})


def _give_credentials(monkeypatch, password: str = MARKER) -> None:
    monkeypatch.setenv("DOCKER_USERNAME", "carol")
    monkeypatch.setenv("DOCKER_PASSWORD", password)


@contextlib.contextmanager
def _watching_arguments(secret: str):
    """See that no process of the machine has the secret in its arguments during the block."""
    found: list[bytes] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    found.extend([line] if secret.encode() in line else [])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert found == []


def _repositories(region: str = "us-east-1") -> list[str]:
    answer = boto3.client("ecr", region_name=region).describe_repositories()
    return [each["repositoryName"] for each in answer["repositories"]]


def test_aws_from_nothing_to_the_digest(built, app, aws, users_config) -> None:
    _configure(app, image_repo="aws")
    with registry.serving(built, ECR, user="AWS", password=PASSWORD) as ecr, _watching_arguments(PASSWORD):
        outcome = app("dev")
        assert outcome.status == 0, outcome.err
        assert outcome.out == f"{ECR}/app-dev@{ecr.digest('app-dev', 'alice')}\n"
        at = f"--region us-east-1 --registry-id {ACCOUNT}"
        login = f"docker login --username AWS --password-stdin {ECR}"
        assert outcome.echoed == [
            "aws sts get-caller-identity --region us-east-1 --query Account --output text",
            f"aws ecr get-login-password --region us-east-1 | {login}",
            f"aws ecr describe-repositories {at} --repository-names app-dev",
            f"aws ecr create-repository {at} --repository-name app-dev",
            f"docker tag app-dev:alice {ECR}/app-dev:alice",
            f"docker push {ECR}/app-dev:alice",
        ]
        assert PASSWORD not in outcome.err
        assert "marker" not in outcome.err
        assert _repositories() == ["app-dev"]
        again = app("dev")
        assert (again.status, again.out) == (0, outcome.out)
        assert not any("create-repository" in line for line in again.echoed)


def test_the_registry_is_that_of_the_tag_in_another_account_and_region(built, app, aws, users_config) -> None:
    _configure(app, image_repo="aws", publication_tag=f'{OTHER_ECR}/team/{{image}}:{{tag}}-{{user}}"')
    with registry.serving(built, OTHER_ECR, user="AWS", password=PASSWORD) as ecr:
        outcome = app("dev", "-t", "v1")
        assert outcome.status == 0, outcome.err
        assert outcome.out == f"{OTHER_ECR}/team/app-dev@{ecr.digest('team/app-dev', 'v1-alice')}\n"
    assert not any("sts" in line for line in outcome.echoed)
    assert "--region eu-west-1 --registry-id 210987654321" in outcome.echoed[1]
    assert (_repositories("eu-west-1"), _repositories()) == (["team/app-dev"], [])


def test_a_certificate_that_nobody_knows_is_refused(built, app, aws, users_config) -> None:
    unknown = f"{ACCOUNT}.dkr.ecr.us-west-1.amazonaws.com"
    _configure(app, image_repo="aws", publication_tag=f"{unknown}/x:1")
    with registry.serving(built, unknown, user="AWS", password=PASSWORD, trusted=False):
        outcome = app("dev")
    assert (outcome.status, outcome.out) == (1, "")
    assert "certificate" in outcome.err
    assert outcome.err.endswith(f"\npublish-image: no login at {unknown}; docker says why above: {ADVICE}\n")


def test_several_tags_of_several_registries_with_one_login_each(built, app, monkeypatch, users_config) -> None:
    tags = "localhost:5001/a/{image}:{tag} localhost:5001/b:$RELEASE localhost:5002/c:1"
    _configure(app, publication_tag=tags)
    monkeypatch.setenv("RELEASE", "r7")
    _give_credentials(monkeypatch)
    locked = registry.serving(built, "localhost", port=5001, user="carol", password=MARKER)
    second = registry.serving(built, "localhost", port=5002, user="carol", password=MARKER)
    with locked as one, second as two, _watching_arguments(MARKER):
        outcome = app("dev", "--image_tag", "v1")
        assert outcome.status == 0, outcome.err
        assert outcome.out.splitlines() == [
            f"localhost:5001/a/app-dev@{one.digest('a/app-dev', 'v1')}",
            f"localhost:5001/b@{one.digest('b', 'r7')}",
            f"localhost:5002/c@{two.digest('c', '1')}",
        ]
    login = 'printenv DOCKER_PASSWORD | docker login --username "$DOCKER_USERNAME" --password-stdin'
    assert outcome.echoed == [
        f"{login} localhost:5001",
        f"{login} localhost:5002",
        "docker tag app-dev:v1 localhost:5001/a/app-dev:v1",
        "docker push localhost:5001/a/app-dev:v1",
        'docker tag app-dev:v1 "localhost:5001/b:$RELEASE"',
        'docker push "localhost:5001/b:$RELEASE"',
        "docker tag app-dev:v1 localhost:5002/c:1",
        "docker push localhost:5002/c:1",
    ]
    assert MARKER not in outcome.err


def test_a_registry_without_a_password_as_a_console_script(built, app, users_config) -> None:
    _configure(app, image_repo="localhost:5003", publication_tag="localhost:5003/{project}:1")
    with registry.serving(built, "localhost", port=5003) as plain:
        outcome = script("publish-image", "dev", directory=app.root)
        assert outcome.status == 0, outcome.err
        assert outcome.out == f"localhost:5003/app@{plain.digest('app', '1')}\n"


def test_what_is_shown_can_be_pasted(built, app, monkeypatch) -> None:
    _configure(app, publication_tag="localhost:5001/x:$RELEASE")
    monkeypatch.setenv("RELEASE", "r7")
    _give_credentials(monkeypatch)
    with registry.serving(built, "localhost", port=5001, user="carol", password=MARKER) as plain:
        lines = app("dev", "--dry-run").out
        assert plain.digest("x", "r7") is None
        subprocess.run(["sh", "-ec", lines], cwd=app.root, check=True)
        assert plain.digest("x", "r7")


HELPER = """\
#!/bin/sh
cat >/dev/null
echo "$1" >>{log}
echo '{{"ServerURL": "x", "Username": "dave", "Secret": "helpers-secret"}}'
"""


def test_existing_credentials_of_a_helper_serve_and_ours_never_reach_it(built, app, monkeypatch, tmp_path) -> None:
    log, bin_ = tmp_path / "log", tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "docker-credential-mine").write_text(HELPER.format(log=log))
    (bin_ / "docker-credential-mine").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    config = Path(os.environ["DOCKER_CONFIG"], "config.json")
    config.write_text('{"credsStore": "mine"}')
    _configure(app, publication_tag="localhost:5001/x:1")
    with registry.serving(built, "localhost", port=5001, user="dave", password="helpers-secret"):
        outcome = app("dev")
        assert outcome.status == 0, outcome.err
        assert not any("login" in line for line in outcome.echoed)
    assert set(log.read_text().split()) == {"get"}
    log.unlink()
    _give_credentials(monkeypatch)
    with registry.serving(built, "localhost", port=5001, user="carol", password=MARKER):
        outcome = app("dev")
        assert outcome.status == 0, outcome.err
    assert not log.exists()
    assert config.read_text() == '{"credsStore": "mine"}'


def test_docker_hub_by_its_short_name(app, monkeypatch) -> None:
    """Its role is played under its own name, in an engine that trusts the player."""
    _give_credentials(monkeypatch)
    _configure(app, image_repo="docker_hub", publication_tag="org/{image}:1")
    with running() as own:
        for name, value in own.client(os.environ["DOCKER_CONFIG"]).items():
            monkeypatch.setenv(name, value)
        Path(os.environ["DOCKER_CONFIG"], "config.json").write_text(USERS_CONFIG)
        add_busybox(own)
        own.docker("tag", "local/busybox", "app-dev:alice")
        with registry.serving(own, "registry-1.docker.io", user="carol", password=MARKER) as hub:
            outcome = app("dev")
            assert outcome.status == 0, outcome.err
            assert outcome.out == f"org/app-dev@{hub.digest('org/app-dev', '1')}\n"
    assert outcome.echoed[0].endswith("--password-stdin")
    assert Path(os.environ["DOCKER_CONFIG"], "config.json").read_text() == USERS_CONFIG


def test_the_digest_is_the_pushed_one_when_the_image_has_several(built, app) -> None:
    """The registry's compressed layers went, and came again otherwise: one image, two digests of one repository."""
    _configure(app, publication_tag="localhost:5004/x:1")
    with registry.serving(built, "localhost", port=5004) as plain:
        assert app("dev").status == 0
        first = plain.digest("x", "1")
        assert first
        blobs = Path(plain.directory, "docker/registry/v2/blobs/sha256")
        manifest = json.loads((blobs / first[7:9] / first[7:] / "data").read_text())
        # The same manifest in other words is another digest of the same image.
        other = subprocess.run(
            ["nsenter", f"--target={registry.daemon(built)}", "--net", sys.executable, "-c", PUT],
            input=json.dumps(manifest, indent=1), capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        built.docker("pull", "localhost:5004/x:2")
        digests = json.loads(built.docker("image", "inspect", "-f", "{{json .RepoDigests}}", "app-dev:alice"))
        assert sorted(digests) == sorted(f"localhost:5004/x@{each}" for each in (first, other))
        outcome = app("dev")
        assert outcome.status == 0, outcome.err
        assert outcome.out == f"localhost:5004/x@{plain.digest('x', '1')}\n"


PUT = """
import sys, urllib.request
headers = {"Content-Type": "application/vnd.docker.distribution.manifest.v2+json"}
url = "http://localhost:5004/v2/x/manifests/2"
request = urllib.request.Request(url, sys.stdin.read().encode(), headers, method="PUT")
print(urllib.request.urlopen(request).headers["Docker-Content-Digest"])
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_push_leaves_no_credentials(
    built, app, monkeypatch, tmp_path, users_config, number, status
) -> None:
    """The registry is stopped in the middle; what was logged in with stood in a directory of nobody else's."""
    _configure(app, publication_tag="localhost:5001/x:1")
    _give_credentials(monkeypatch)
    command = [str(Path(sys.executable).parent / "publish-image"), "dev"]
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    docker = subprocess.run(["which", "docker"], capture_output=True, text=True, check=True).stdout.strip()
    (bin_ / "docker").write_text(f'#!/bin/sh\n[ "$1" != push ] || exec sleep 76543\nexec {docker} "$@"\n')
    (bin_ / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    with (
        registry.serving(built, "localhost", port=5001, user="carol", password=MARKER),
        subprocess.Popen(
            command, cwd=app.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        ) as child,
    ):
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        wait_for(lambda: child.poll() is not None or any("76543" in _line(pid) for pid in children.read_text().split()))
        assert child.poll() is None, child.communicate()
        (directory,) = (tmp_path / "tmp").iterdir()
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / "config.json").stat().st_mode) == 0o600
        assert "localhost:5001" in json.loads((directory / "config.json").read_text())["auths"]
        os.killpg(child.pid, number) if number == signal.SIGINT else child.send_signal(number)
        _, err = child.communicate(timeout=60)
    assert child.returncode == status
    assert MARKER.encode() not in err
    assert not directory.exists()


def _line(pid: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def test_a_wrong_password(built, app, monkeypatch, users_config) -> None:
    _configure(app, publication_tag="localhost:5001/x:1")
    _give_credentials(monkeypatch, "wrong-marker")
    with registry.serving(built, "localhost", port=5001, user="carol", password=MARKER):
        outcome = app("dev")
    assert (outcome.status, outcome.out, len(outcome.echoed)) == (1, "", 1)
    assert outcome.err.endswith(
        "\npublish-image: no login at localhost:5001; docker says why above: correct the user and password, or try later\n"
    )
    assert re.search("401|unauthorized|incorrect", outcome.err, re.IGNORECASE)
    assert "wrong-marker" not in outcome.err


@pytest.mark.parametrize("locked", [True, False], ids=["no credentials", "registry down"])
def test_a_push_that_is_refused(built, app, users_config, locked) -> None:
    _configure(app, publication_tag="localhost:5001/x:1")
    with contextlib.ExitStack() as stack:
        if locked:
            stack.enter_context(registry.serving(built, "localhost", port=5001, user="carol", password=MARKER))
        outcome = app("dev")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.endswith(
        "\npublish-image: localhost:5001/x:1 was not pushed; docker says why above: when access is denied, "
        "run docker login first, or set DOCKER_USERNAME and DOCKER_PASSWORD\n"
    )
    assert ("no basic auth credentials" if locked else "connection refused") in outcome.err


def test_the_image_is_not_built_and_aws_is_not_asked(each_engine, app, aws) -> None:
    _configure(app, image_repo="aws")
    outcome = app("dev", "-t", "v9")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == "publish-image: app-dev:v9 is not built yet; run: build-image dev -t v9\n"
    outcome = app("dev", "-i", "x/y")
    assert outcome.err == "publish-image: x/y:alice is not built yet; run: build-image dev -i x/y\n"
    app.write({"docker/dockerutils.cfg": "[ds]\nname = org/ds:1\nprefix = False\npublication_tag = org/ds:2\n"})
    outcome = app("ds")
    assert outcome.err == "publish-image: org/ds:1 is not on this engine; run: docker pull org/ds:1\n"


def test_dry_run_on_aws_calls_nothing_and_needs_no_engine(app, monkeypatch) -> None:
    _configure(app, image_repo="aws", publication_tag="{account}.dkr.ecr.{region}.amazonaws.com/{image}:$BUILD")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("BUILD", "b1")
    outcome = app("dev", "--dry-run")
    host = "${account}.dkr.ecr.eu-west-3.amazonaws.com"
    at = '--region eu-west-3 --registry-id "${account}"'
    create = f"aws ecr create-repository {at} --repository-name app-dev"
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "account=$(aws sts get-caller-identity --region eu-west-3 --query Account --output text)",
        f'aws ecr get-login-password --region eu-west-3 | docker login --username AWS --password-stdin "{host}"',
        f"aws ecr describe-repositories {at} --repository-names app-dev || {create}",
        f'docker tag app-dev:alice "{host}/app-dev:$BUILD"',
        f'docker push "{host}/app-dev:$BUILD"',
    ]


HUB_LOGIN = 'printenv DOCKER_PASSWORD | docker login --username "$DOCKER_USERNAME" --password-stdin'


@pytest.mark.parametrize(
    ("keys", "environ", "lines"),
    [
        pytest.param({"publication_tag": "a/b:1 docker.io/a/b:2"}, {}, ["a/b:1", "docker.io/a/b:2"], id="existing credentials"),
        pytest.param(
            {"publication_tag": '"a/{image}:{tag}"', "image_repo": "docker"},
            {"DOCKER_USERNAME": "u", "DOCKER_PASSWORD": "p"},
            [HUB_LOGIN, "a/app-dev:alice"],
            id="password",
        ),
        pytest.param(
            {"publication_tag": f"{ECR}/x:1", "image_repo": ECR},
            {},
            [f"{ECR}/x:1"],
            id="who names ECR's host has credentials for it",
        ),
        pytest.param(
            {"publication_tag": f"{ECR}/x:1 a/b:1"},
            {"DOCKER_USERNAME": "u", "DOCKER_PASSWORD": "p"},
            [
                f"aws ecr get-login-password --region us-east-1 | docker login --username AWS --password-stdin {ECR}",
                HUB_LOGIN,
                f"aws ecr describe-repositories --region us-east-1 --registry-id {ACCOUNT} --repository-names x || "
                f"aws ecr create-repository --region us-east-1 --registry-id {ACCOUNT} --repository-name x",
                f"{ECR}/x:1",
                "a/b:1",
            ],
            id="without image_repo the tags say where",
        ),
    ],
)  # fmt: skip
def test_dry_run(app, monkeypatch, keys, environ, lines) -> None:
    _configure(app, **keys)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    outcome = app("dev", "--dry-run")
    assert (outcome.status, outcome.err) == (0, "")
    expected = (
        [each] if " " in each else [f"docker tag app-dev:alice {each}", f"docker push {each}"] for each in lines
    )
    assert outcome.out.splitlines() == [line for each in expected for line in each]


CFG = "docker/dockerutils.cfg"


@pytest.mark.parametrize(
    ("config", "environ", "message"),
    [
        ("", {}, f"{CFG}: [dev]: there is no publication_tag; write publication_tag = NAME:TAG, the full name to push"),
        ("image_repo = docker_hub", {}, f"{CFG}:2: [dev] image_repo: there is no publication_tag; write publication_tag = NAME:TAG, the full name to push"),
        ('publication_tag = "', {}, f"{CFG}:2: [dev] publication_tag: there is no publication_tag; write publication_tag = NAME:TAG, the full name to push"),
        ("publication_tag = a/b", {}, f"{CFG}:2: [dev] publication_tag: 'a/b' is no full name and tag; write it as [registry/]name:tag"),
        ("publication_tag = a/B:1", {}, f"{CFG}:2: [dev] publication_tag: 'a/B:1' is no full name and tag; write it as [registry/]name:tag"),
        ("publication_tag = a/b:1@sha256:0", {}, f"{CFG}:2: [dev] publication_tag: 'a/b:1@sha256:0' is no full name and tag; write it as [registry/]name:tag"),
        ("publication_tag = a/b:$UNSET", {}, f"{CFG}:2: [dev] publication_tag: $UNSET is not set; export it, or write $$ for a dollar sign"),
        ("publication_tag = a/b:1\nimage_repo = quay", {}, f"{CFG}:3: [dev] image_repo: 'quay' is no registry; write docker_hub, aws or host[:port]"),
        ("publication_tag = a/b:1\nimage_repo = aws", {}, f"{CFG}:3: [dev] image_repo: aws is not where a/b:1 leads, which is docker.io; correct one"),
        ("publication_tag = r.io/b:1\nimage_repo = docker_hub", {}, f"{CFG}:3: [dev] image_repo: docker_hub is not where r.io/b:1 leads, which is r.io; correct one"),
        ("publication_tag = a/b:1\nimage_repo = r.io:5000", {}, f"{CFG}:3: [dev] image_repo: r.io:5000 is not where a/b:1 leads, which is docker.io; correct one"),
        ("publication_tag = a/b:1", {"DOCKER_USERNAME": "u"}, "DOCKER_USERNAME is set, but DOCKER_PASSWORD is not; set both, or neither to use docker's own logins"),
    ],
)  # fmt: skip
def test_configuration_errors(app, monkeypatch, config, environ, message) -> None:
    app.write({CFG: f"[dev]\n{config}\n"})
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    outcome = app("dev")
    assert (outcome.status, outcome.out, outcome.err) == (2, "", f"publish-image: {message}\n")


def test_an_unknown_field_and_an_unknown_key_are_told(app) -> None:
    _configure(app, publication_tag="a/b:{nope}", publication_tags="x")
    outcome = app("dev")
    assert outcome.status == 2
    assert f"{CFG}:2: [dev] publication_tag: {{nope}} is unknown; known here: " in outcome.err
    assert "{account}, {region}, {image}, {tag}" in outcome.err
    assert "warning: docker/dockerutils.cfg:3: [dev] publication_tags: unknown key" in outcome.err


def test_no_region(app, aws, monkeypatch) -> None:
    _configure(app, image_repo="aws")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    outcome = app("dev")
    assert outcome.status == 1
    assert (
        outcome.err
        == "publish-image: no AWS region is configured; set AWS_REGION, or run: aws configure set region NAME\n"
    )


def test_no_aws_credentials(built, app, aws, monkeypatch, users_config) -> None:
    _configure(app, image_repo="aws")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    outcome = app("dev")
    assert (outcome.status, outcome.out, len(outcome.echoed)) == (1, "", 1)
    assert outcome.err.endswith(
        "\npublish-image: AWS: Unable to locate credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
        "or AWS_PROFILE, or run: aws configure\n"
    )


def test_an_expired_token_while_logging_in(built, app, aws, monkeypatch, users_config) -> None:
    _configure(app, image_repo="aws", publication_tag=f"{ECR}/x:1")
    with answering(
        (400, {"__type": "ExpiredTokenException", "message": "The security token has expired."})
    ) as refusing:
        monkeypatch.setenv("AWS_ENDPOINT_URL", refusing.url)
        outcome = app("dev")
    assert (outcome.status, outcome.out, len(outcome.echoed)) == (1, "", 1)
    assert outcome.err.endswith(
        "\npublish-image: AWS refused GetAuthorizationToken: The security token has expired (ExpiredTokenException); "
        "renew the credentials: aws sso login, or a new AWS_SESSION_TOKEN\n"
    )


def test_a_repository_that_is_forbidden(built, app, aws, monkeypatch, users_config) -> None:
    """The login was good: nothing of it is left."""
    _configure(app, image_repo="aws", publication_tag=f"{ECR}/team/x:1")
    token = base64.b64encode(f"AWS:{PASSWORD}".encode()).decode()
    refusal = {
        "__type": "AccessDeniedException",
        "message": "User: x is not authorized to perform: ecr:DescribeRepositories",
    }
    with (
        registry.serving(built, ECR, user="AWS", password=PASSWORD),
        answering((200, {"authorizationData": [{"authorizationToken": token}]}), (400, refusal)) as forbidding,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", forbidding.url)
        outcome = app("dev", "-t", "v1")
    assert (outcome.status, outcome.out, len(outcome.echoed)) == (1, "", 2)
    assert outcome.err.endswith(
        "\npublish-image: AWS refused DescribeRepositories: User: x is not authorized to perform: ecr:DescribeRepositories "
        "(AccessDeniedException); have the identity that calls allowed to do it\n"
    )
