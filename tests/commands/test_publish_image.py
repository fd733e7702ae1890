"""publish-image, to real registries: one under ECR's name with moto's token, one with a password, one without."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import pytest

from dockerutils.commands.publish_image import main
from dockerutils.core import retries
from tests.support import App, Outcome, program, script, wait_for
from tests.testbed import front, registry, relay, web
from tests.testbed.aws import ACCOUNT, PASSWORD, answering
from tests.testbed.engine import running
from tests.testbed.images import add_busybox

ECR = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
OTHER_ECR = "210987654321.dkr.ecr.eu-west-1.amazonaws.com"
MARKER = "marker-of-the-password"
USERS_CONFIG = '{ "auths": {"other.example": {"auth": "YTpi"}},\n\t"HttpHeaders": {"X-Mine": "1"} }\n'


@pytest.fixture
def app(tmp_path, capfd, monkeypatch) -> App:
    app = App(main, tmp_path / "app", capfd)
    # The temporary docker configuration goes there; _nothing_is_left checks that it is removed.
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    app.write({"docker/dev/Dockerfile": "FROM local/busybox\n"})
    return app


@pytest.fixture
def built(each_engine):
    """Build the image on the test's engine; yield the engine, and remove new tags afterwards."""
    before = set(_tags(each_engine))
    with tempfile.TemporaryDirectory() as context:
        Path(context, "Dockerfile").write_text("FROM local/busybox\nCOPY Dockerfile /\n")
        each_engine.docker("build", "-t", "app-dev:alice", "-t", "app-dev:v1", context)
    yield each_engine
    if more := set(_tags(each_engine)) - before:
        each_engine.docker("image", "rm", "-f", *more)


@pytest.fixture
def docker_config(each_engine):
    """Give the user a docker configuration file, and check that it stays as it is."""
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
    tags = engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    return [tag for tag in tags if "<none>" not in tag]


def _configure(app: App, **keys: str) -> None:
    app.write({"docker/dockerutils.cfg": "[dev]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())})


def _give_credentials(monkeypatch, password: str = MARKER) -> None:
    monkeypatch.setenv("DOCKER_USERNAME", "carol")
    monkeypatch.setenv("DOCKER_PASSWORD", password)


@contextlib.contextmanager
def _watching_arguments(secret: str):
    """Check that no process of the machine has the secret in its arguments during the block."""
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


def _digest_is_the_engine_s(host: str, reference: str) -> str:
    return f"publish-image: warning: {host} was not found in the DNS; the digest of {reference} is the engine's\n"


def test_aws_from_nothing_to_the_digest(built, app, aws, docker_config, monkeypatch) -> None:
    _configure(app, image_repo="aws")
    with (
        registry.serving(built, ECR, user="AWS", password=PASSWORD) as ecr,
        registry.reachable(built, ecr) as proxy,
        _watching_arguments(PASSWORD),
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        _trust(ecr)
        outcome = app("dev")
        assert outcome.status == 0, outcome.err
        assert outcome.out == f"{ECR}/app-dev@{ecr.digest('app-dev', 'alice')}\n"
        at = f"--region us-east-1 --registry-id {ACCOUNT}"
        login = f"docker login --username AWS --password-stdin {ECR}"
        assert outcome.echoed == [
            f"aws ecr get-login-password --region us-east-1 | {login}",
            f"aws ecr create-repository {at} --repository-name app-dev",
            f"docker tag app-dev:alice {ECR}/app-dev:alice",
            f"docker push {ECR}/app-dev:alice",
        ]
        assert PASSWORD not in outcome.err
        assert "marker" not in outcome.err
        assert "publish-image: " not in outcome.err
        assert _repositories() == ["app-dev"]
        again = app("dev")
        assert (again.status, again.out) == (0, outcome.out)
        assert not any("create-repository" in line for line in again.echoed)


def _trust(of: registry.Registry) -> None:
    """Make this user trust a registry's certificate."""
    path = Path(os.environ["HOME"], ".config/docker/certs.d", of.host, "ca.crt")
    path.parent.mkdir(parents=True)
    path.write_bytes(Path(of.directory, "certificate").read_bytes())


def test_the_registry_is_that_of_the_tag_in_another_account_and_region(built, app, aws, docker_config) -> None:
    """Only the engine reaches it, so the digest is the engine's."""
    _configure(app, image_repo="aws", publication_tag=f'{OTHER_ECR}/team/{{image}}:{{tag}}-{{user}}"')
    with registry.serving(built, OTHER_ECR, user="AWS", password=PASSWORD) as ecr:
        outcome = app("dev", "-t", "v1")
        assert outcome.status == 0, outcome.err
        assert outcome.out == f"{OTHER_ECR}/team/app-dev@{ecr.digest('team/app-dev', 'v1-alice')}\n"
    assert outcome.err.endswith(_digest_is_the_engine_s(OTHER_ECR, f"{OTHER_ECR}/team/app-dev:v1-alice"))
    assert not any("sts" in line for line in outcome.echoed)
    assert "--region eu-west-1 --registry-id 210987654321" in outcome.echoed[1]
    assert (_repositories("eu-west-1"), _repositories()) == (["team/app-dev"], [])


def test_an_untrusted_certificate(built, app, aws, docker_config) -> None:
    unknown = f"{ACCOUNT}.dkr.ecr.us-west-1.amazonaws.com"
    _configure(app, image_repo="aws", publication_tag=f"{unknown}/x:1")
    with registry.serving(built, unknown, user="AWS", password=PASSWORD, trusted=False):
        outcome = app("dev")
    assert (outcome.status, outcome.out) == (1, "")
    last = outcome.err.splitlines()[-1]
    assert last.startswith(f"publish-image: no login at {unknown}: the engine does not trust {unknown}'s certificate: ")
    assert last.endswith(f"; put its CA certificate at /etc/docker/certs.d/{unknown}/ca.crt on the engine's host")


def test_the_password_goes_to_the_registry_that_docker_registry_names_only(
    built, app, monkeypatch, docker_config
) -> None:
    """The others are used with docker's own logins."""
    monkeypatch.setenv("RELEASE", "r7")
    _give_credentials(monkeypatch)
    locked = registry.serving(built, "localhost", user="carol", password=MARKER)
    second = registry.serving(built, "localhost", user="dave", password="stored-secret")
    with locked as one, second as two, _watching_arguments(MARKER):
        _configure(app, publication_tag=f"{one.host}/a/{{image}}:{{tag}} {one.host}/b:$RELEASE {two.host}/c:1")
        settings = {**json.loads(USERS_CONFIG), "auths": {two.host: {"auth": _basic("dave", "stored-secret")}}}
        docker_config.write_text(json.dumps(settings))
        monkeypatch.setenv("DOCKER_REGISTRY", one.host)
        outcome = app("dev", "--image_tag", "v1")
        assert outcome.status == 0, outcome.err
        assert outcome.out.splitlines() == [
            f"{one.host}/a/app-dev@{one.digest('a/app-dev', 'v1')}",
            f"{one.host}/b@{one.digest('b', 'r7')}",
            f"{two.host}/c@{two.digest('c', '1')}",
        ]
    assert outcome.echoed == [
        f'printenv DOCKER_PASSWORD | docker login --username "$DOCKER_USERNAME" --password-stdin {one.host}',
        f"docker tag app-dev:v1 {one.host}/a/app-dev:v1",
        f"docker push {one.host}/a/app-dev:v1",
        f'docker tag app-dev:v1 "{one.host}/b:$RELEASE"',
        f'docker push "{one.host}/b:$RELEASE"',
        f"docker tag app-dev:v1 {two.host}/c:1",
        f"docker push {two.host}/c:1",
    ]
    assert MARKER not in outcome.err
    assert json.loads(docker_config.read_text()) == settings
    docker_config.write_text(USERS_CONFIG)


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def test_docker_hub_s_password_is_not_sent_to_another_registry(built, app, monkeypatch, tmp_path) -> None:
    _give_credentials(monkeypatch)
    asked: list[str | None] = []

    def record(request: web.Asked) -> web.Reply:
        asked.append(request.headers["Authorization"])
        return web.Reply(401, b"", {"WWW-Authenticate": "Basic realm=x"})

    with web.serving(record) as port, registry.shared(built, f"127.0.0.1:{port}"):
        _configure(app, publication_tag=f"127.0.0.1:{port}/x:1")
        outcome = app("dev")
    assert (outcome.status, outcome.out) == (1, "")
    assert not any("login" in line for line in outcome.echoed)
    assert set(asked) == {None}


def test_a_registry_without_a_password_as_a_console_script(built, app, docker_config) -> None:
    with registry.serving(built, "localhost") as plain:
        _configure(app, image_repo=plain.host, publication_tag=f"{plain.host}/{{project}}:1")
        outcome = script("publish-image", "dev", directory=app.root)
        assert outcome.status == 0, outcome.err
        assert outcome.out == f"{plain.host}/app@{plain.digest('app', '1')}\n"


def test_the_printed_commands_can_be_pasted(built, app, monkeypatch) -> None:
    monkeypatch.setenv("RELEASE", "r7")
    _give_credentials(monkeypatch)
    with registry.serving(built, "localhost", user="carol", password=MARKER) as plain:
        monkeypatch.setenv("DOCKER_REGISTRY", plain.host)
        _configure(app, publication_tag=f"{plain.host}/x:$RELEASE")
        lines = app("dev", "--dry-run").out
        assert plain.digest("x", "r7") is None
        subprocess.run(["sh", "-ec", lines], cwd=app.root, check=True)
        assert plain.digest("x", "r7")


HELPER = """\
cat >/dev/null
echo "$1" >>{log}
echo '{{"ServerURL": "x", "Username": "dave", "Secret": "helpers-secret"}}'
"""


def test_a_credential_helper_s_logins_are_used_and_new_ones_not_given_to_it(built, app, monkeypatch, tmp_path) -> None:
    log, bin_ = tmp_path / "log", tmp_path / "bin"
    program(bin_ / "docker-credential-mine", HELPER.format(log=log))
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    config = Path(os.environ["DOCKER_CONFIG"], "config.json")
    config.write_text('{"credsStore": "mine"}')
    with registry.serving(built, "localhost", user="dave", password="helpers-secret") as locked:
        _configure(app, publication_tag=f"{locked.host}/x:1")
        outcome = app("dev")
        assert outcome.status == 0, outcome.err
        assert not any("login" in line for line in outcome.echoed)
    assert set(log.read_text().split()) == {"get"}
    log.unlink()
    _give_credentials(monkeypatch)
    with registry.serving(built, "localhost", user="carol", password=MARKER) as locked:
        monkeypatch.setenv("DOCKER_REGISTRY", locked.host)
        _configure(app, publication_tag=f"{locked.host}/x:1")
        outcome = app("dev")
        assert outcome.status == 0, outcome.err
    assert not log.exists()
    assert config.read_text() == '{"credsStore": "mine"}'


def test_docker_hub_by_its_short_name(app, monkeypatch) -> None:
    """A registry under Docker Hub's name, in an engine that trusts it."""
    _give_credentials(monkeypatch)
    _configure(app, image_repo="docker_hub", publication_tag="org/{image}:1")
    with running() as own:
        for name, value in own.client(os.environ["DOCKER_CONFIG"]).items():
            monkeypatch.setenv(name, value)
        Path(os.environ["DOCKER_CONFIG"], "config.json").write_text(USERS_CONFIG)
        add_busybox(own)
        own.docker("tag", "local/busybox", "app-dev:alice")
        with (
            registry.serving(own, "registry-1.docker.io", user="carol", password=MARKER) as hub,
            registry.reachable(own, hub) as proxy,
        ):
            monkeypatch.setenv("HTTPS_PROXY", proxy)
            monkeypatch.setenv("SSL_CERT_FILE", f"{hub.directory}/certificate")
            outcome = app("dev")
            assert outcome.status == 0, outcome.err
            assert outcome.out == f"org/app-dev@{hub.digest('org/app-dev', '1')}\n"
    assert "publish-image: " not in outcome.err
    assert outcome.echoed[0].endswith("--password-stdin")
    assert Path(os.environ["DOCKER_CONFIG"], "config.json").read_text() == USERS_CONFIG


# With the containerd store, another manifest is another image.
@pytest.mark.parametrize("each_engine", ["classic", "overlay2"], indirect=True)
@pytest.mark.parametrize("reachable", [True, False])
def test_the_digest_is_the_pushed_one_of_an_image_with_several(built, app, reachable) -> None:
    """The same manifest with other white space is another digest of the same image."""
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(registry.serving(built, "localhost", near=reachable))
        _configure(app, publication_tag=f"{plain.host}/x:1")
        assert app("dev").status == 0
        first = plain.digest("x", "1")
        assert first
        blobs = Path(plain.directory, "docker/registry/v2/blobs/sha256")
        manifest = json.loads((blobs / first[7:9] / first[7:] / "data").read_text())
        other = subprocess.run(
            [*relay.inside(registry.daemon(built)), sys.executable, "-c", PUT, f"http://{plain.host}/v2/x/manifests/2"],
            input=json.dumps(manifest, indent=1), capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        built.docker("pull", f"{plain.host}/x:2")
        digests = json.loads(built.docker("image", "inspect", "-f", "{{json .RepoDigests}}", "app-dev:alice"))
        assert sorted(digests) == sorted(f"{plain.host}/x@{each}" for each in (first, other))
        outcome = app("dev")
        assert outcome.status == 0, outcome.err
        assert outcome.out == f"{plain.host}/x@{plain.digest('x', '1')}\n"
        assert ("publish-image: warning: " in outcome.err) != reachable


PUT = """
import sys, urllib.request
headers = {"Content-Type": "application/vnd.docker.distribution.manifest.v2+json"}
request = urllib.request.Request(sys.argv[1], sys.stdin.read().encode(), headers, method="PUT")
print(urllib.request.urlopen(request).headers["Docker-Content-Digest"])
"""


def test_another_digest_in_the_registry_is_an_error(built, app, tmp_path) -> None:
    """Somebody else pushes the same tag at the same time."""
    other = f"sha256:{'0' * 64}"
    with (
        registry.listening(str(tmp_path / "registry")) as plain,
        front.before(plain.host) as before,
        registry.shared(built, before.host),
    ):
        _configure(app, publication_tag=f"{before.host}/x:1")
        media_type = "application/vnd.docker.distribution.manifest.v2+json"
        reply = web.Reply(200, b"", {"Docker-Content-Digest": other, "Content-Type": media_type})
        before.fail("HEAD /v2/x/manifests/1$", reply, times=1, after="PUT /v2/x/manifests/1")
        outcome = app("dev")
        assert (outcome.status, outcome.out) == (1, "")
        assert outcome.err.endswith(
            f"\npublish-image: {before.host} has {other} for {before.host}/x:1, but docker pushed "
            f"{plain.digest('x', '1')}; check who else pushes this tag, and publish again\n"
        )


def test_a_registry_on_the_dock_is_not_asked_from_here(built, app, monkeypatch) -> None:
    monkeypatch.setenv("DOCK_MONIKER", "gpu")
    with registry.serving(built, "localhost", near=False) as plain:
        _configure(app, publication_tag=f"{plain.host}/x:1")
        outcome = app("dev")
        assert (outcome.status, outcome.out) == (0, f"{plain.host}/x@{plain.digest('x', '1')}\n")
    assert outcome.err.endswith(
        f"\npublish-image: warning: {plain.host} is a registry on the engine's machine; "
        f"the digest of {plain.host}/x:1 is the engine's\n"
    )


LIMITED = web.Reply(429, b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "slow down"}]}')
UNAVAILABLE = web.Reply(503)
RESET = None


@pytest.fixture
def flaky(built, monkeypatch, tmp_path):
    """Yield a front before a registry that wants a login, which the environment has."""
    monkeypatch.setattr(retries, "PAUSES", (0.1, 0.2, 0.3))
    _give_credentials(monkeypatch)
    with (
        registry.listening(str(tmp_path / "registry"), user="carol", password=MARKER) as locked,
        front.before(locked.host) as before,
        registry.shared(built, before.host),
    ):
        monkeypatch.setenv("DOCKER_REGISTRY", before.host)
        yield before


@pytest.mark.parametrize("reply", [LIMITED, UNAVAILABLE, RESET], ids=["429", "503", "reset"])
@pytest.mark.parametrize("stage", ["GET /v2/$", "PUT /v2/x/manifests/", "HEAD /v2/x/manifests/1"])
def test_a_temporary_failure_is_tried_again(flaky, app, docker_config, monkeypatch, stage, reply) -> None:
    """The registry recovers after the first attempt: an engine with the containerd store asks several times itself."""
    original = retries.retry

    def retry(action: Callable[[], object], warn: Callable[[str], None]) -> object:
        def recover(text: str) -> None:
            flaky.recover()
            warn(text)

        return original(action, recover)

    monkeypatch.setattr(retries, "retry", retry)
    _configure(app, publication_tag=f"{flaky.host}/x:1")
    flaky.fail(stage, reply, times=99)
    outcome = app("dev")
    assert outcome.status == 0, outcome.err
    assert re.fullmatch(rf"{flaky.host}/x@sha256:[0-9a-f]{{64}}\n", outcome.out)
    assert re.findall(r"; trying again in (.*)", outcome.err) == ["0.1 s (1 of 3)"]


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (LIMITED, "{host} accepts no more requests for now: "),
        (UNAVAILABLE, "{host} failed: "),
        (RESET, "the connection to {host} broke: "),
    ],
    ids=["429", "503", "reset"],
)
@pytest.mark.parametrize(
    ("stage", "failed"), [("GET /v2/$", "no login at {host}"), ("PUT /v2/x/manifests/", "{host}/x:1 was not pushed")]
)
def test_a_temporary_failure_that_stays(flaky, app, docker_config, stage, failed, reply, problem) -> None:
    _configure(app, publication_tag=f"{flaky.host}/x:1")
    flaky.fail(stage, reply, times=99)
    outcome = app("dev")
    assert (outcome.status, outcome.out) == (1, "")
    *warnings, last = [line for line in outcome.err.splitlines() if line.startswith("publish-image: ")]
    expected = f"{failed}: {problem}".format(host=flaky.host)
    assert last.startswith(f"publish-image: {expected}")
    assert last.endswith("; try again later")
    assert len(warnings) == 3
    for number, (warning, pause) in enumerate(zip(warnings, retries.PAUSES, strict=True), 1):
        assert warning.startswith(f"publish-image: warning: {expected}")
        assert warning.endswith(f"; trying again in {pause} s ({number} of 3)")
    assert MARKER not in outcome.err


@pytest.mark.parametrize(
    "reply",
    [
        web.Reply(403, b'{"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}'),
        web.Reply(404, b'{"errors": [{"code": "NAME_UNKNOWN", "message": "repository name not known to registry"}]}'),
    ],
    ids=["403", "404"],
)
def test_a_refused_push_is_not_tried_again(flaky, app, docker_config, reply) -> None:
    _configure(app, publication_tag=f"{flaky.host}/x:1")
    flaky.fail("PUT /v2/x/manifests/", reply, times=99)
    outcome = app("dev")
    assert (outcome.status, outcome.out) == (1, "")
    assert [line for line in outcome.echoed if "push" in line] == [f"docker push {flaky.host}/x:1"]
    assert "trying again" not in outcome.err


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGQUIT, 131), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_an_interrupted_push_leaves_no_credentials(
    built, app, monkeypatch, tmp_path, docker_config, number, status
) -> None:
    """After SIGKILL the next run removes them."""
    _give_credentials(monkeypatch)
    command = [str(Path(sys.executable).parent / "publish-image"), "dev"]
    bin_ = tmp_path / "bin"
    program(bin_ / "docker", f'[ "$1" != push ] || exec sleep 76543\nexec {shutil.which("docker")} "$@"')
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{bin_}:{path}")
    with (
        registry.serving(built, "localhost", user="carol", password=MARKER) as locked,
        contextlib.ExitStack() as stack,
    ):
        monkeypatch.setenv("DOCKER_REGISTRY", locked.host)
        _configure(app, publication_tag=f"{locked.host}/x:1")
        child = stack.enter_context(
            subprocess.Popen(
                command, cwd=app.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        )
        stack.callback(child.kill)
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        wait_for(lambda: child.poll() is not None or any("76543" in _line(pid) for pid in children.read_text().split()))
        assert child.poll() is None, child.communicate()
        (directory,) = (tmp_path / "tmp").iterdir()
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / "config.json").stat().st_mode) == 0o600
        assert locked.host in json.loads((directory / "config.json").read_text())["auths"]
        # As the terminal does it: the signal reaches the child too.
        os.killpg(child.pid, number) if number != signal.SIGTERM else child.send_signal(number)
        _, err = child.communicate(timeout=60)
        assert child.returncode == status
        assert MARKER.encode() not in err
        if number == signal.SIGKILL:
            assert directory.exists()
            monkeypatch.setenv("PATH", path)
            assert app("dev").status == 0
    assert not directory.exists()


def _line(pid: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def test_a_wrong_password(built, app, monkeypatch, docker_config) -> None:
    _give_credentials(monkeypatch, "wrong-marker")
    with registry.serving(built, "localhost", user="carol", password=MARKER) as locked:
        monkeypatch.setenv("DOCKER_REGISTRY", locked.host)
        _configure(app, publication_tag=f"{locked.host}/x:1")
        outcome = app("dev")
    assert (outcome.status, outcome.out, len(outcome.echoed)) == (1, "", 1)
    _assert_denied(outcome, "no login at {host}", locked.host)
    assert re.search("401|unauthorized|incorrect", outcome.err, re.IGNORECASE)
    assert "wrong-marker" not in outcome.err


def _assert_denied(outcome: Outcome, failed: str, host: str) -> None:
    """Check the last line: it says how to log in."""
    last = outcome.err.splitlines()[-1]
    assert last.startswith(f"publish-image: {failed.format(host=host)}: {host} denied access: ")
    login = f"run docker login {host}, or set DOCKER_REGISTRY={host}, DOCKER_USERNAME and DOCKER_PASSWORD"
    assert last.endswith(f"; {login}; check the name of the repository")


def test_a_push_without_a_login(built, app, docker_config) -> None:
    with registry.serving(built, "localhost", user="carol", password=MARKER) as locked:
        _configure(app, publication_tag=f"{locked.host}/x:1")
        outcome = app("dev")
    assert (outcome.status, outcome.out) == (1, "")
    assert "no basic auth credentials" in outcome.err
    _assert_denied(outcome, "{host}/x:1 was not pushed", locked.host)


def test_a_push_to_a_registry_that_does_not_run(built, app, docker_config) -> None:
    host = f"localhost:{registry.free_port_of(built)}"
    _configure(app, publication_tag=f"{host}/x:1")
    outcome = app("dev")
    assert (outcome.status, outcome.out) == (1, "")
    assert "connection refused" in outcome.err
    last = outcome.err.splitlines()[-1]
    assert last.startswith(f"publish-image: {host}/x:1 was not pushed: {host} does not answer: ")
    assert last.endswith("; check its name, that it is up, and that the engine's host reaches it")


def test_an_image_that_is_not_built(each_engine, app, aws) -> None:
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
            {"publication_tag": "ghcr.io/a/b:1"},
            {"DOCKER_USERNAME": "u", "DOCKER_PASSWORD": "p"},
            ["ghcr.io/a/b:1"],
            id="Docker Hub's password is not for another registry",
        ),
        pytest.param(
            {"publication_tag": "ghcr.io/a/b:1 a/b:2"},
            {"DOCKER_USERNAME": "u", "DOCKER_PASSWORD": "p", "DOCKER_REGISTRY": "https://ghcr.io"},
            [f"{HUB_LOGIN} ghcr.io", "ghcr.io/a/b:1", "a/b:2"],
            id="a password for another registry",
        ),
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
            id="ECR by its host name: docker's own logins",
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
            id="ECR and Docker Hub by their tags",
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
        ("", {}, f"{CFG}: [dev]: publication_tag is missing; add publication_tag = NAME:TAG, the full name to push"),
        ("image_repo = docker_hub", {}, f"{CFG}:2: [dev] image_repo: publication_tag is missing; add publication_tag = NAME:TAG, the full name to push"),
        ('publication_tag = "', {}, f"{CFG}:2: [dev] publication_tag: publication_tag is missing; add publication_tag = NAME:TAG, the full name to push"),
        ("publication_tag = a/b", {}, f"{CFG}:2: [dev] publication_tag: 'a/b' is not a full name and tag; write it as [registry/]name:tag"),
        ("publication_tag = a/B:1", {}, f"{CFG}:2: [dev] publication_tag: 'a/B:1' is not a full name and tag; write it as [registry/]name:tag"),
        ("publication_tag = a/b:1@sha256:0", {}, f"{CFG}:2: [dev] publication_tag: 'a/b:1@sha256:0' is not a full name and tag; write it as [registry/]name:tag"),
        ("publication_tag = a/b:$UNSET", {}, f"{CFG}:2: [dev] publication_tag: $UNSET is not set; export it, or write $$ for a dollar sign"),
        ("publication_tag = a/b:1\nimage_repo = quay", {}, f"{CFG}:3: [dev] image_repo: 'quay' is not a registry; use docker_hub, aws or host[:port]"),
        ("publication_tag = a/b:1\nimage_repo = aws", {}, f"{CFG}:3: [dev] image_repo: aws is not the registry of a/b:1, docker.io; correct one of them"),
        ("publication_tag = r.io/b:1\nimage_repo = docker_hub", {}, f"{CFG}:3: [dev] image_repo: docker_hub is not the registry of r.io/b:1, r.io; correct one of them"),
        ("publication_tag = a/b:1\nimage_repo = r.io:5000", {}, f"{CFG}:3: [dev] image_repo: r.io:5000 is not the registry of a/b:1, docker.io; correct one of them"),
        ("publication_tag = a/b:1\nmanifest = v2", {}, f"{CFG}:3: [dev] manifest: 'v2' is not possible here; write oci or docker"),
        ("publication_tag = a/b:1\nmanifest = docker\nplatform = linux/386,linux/arm64", {}, f"{CFG}:3: [dev] manifest: docker is for one platform, not for linux/386 and linux/arm64; name one"),
        ("publication_tag = a/b:1\nplatform = amd64", {}, f"{CFG}:3: [dev] platform: 'amd64' is not a platform; write it as linux/amd64"),
        ("publication_tag = a/b:1", {"DOCKER_USERNAME": "u"}, "DOCKER_USERNAME is set but DOCKER_PASSWORD is not; set both, or neither to use docker's own logins"),
    ],
)  # fmt: skip
def test_configuration_errors(app, monkeypatch, config, environ, message) -> None:
    app.write({CFG: f"[dev]\n{config}\n"})
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    outcome = app("dev")
    assert (outcome.status, outcome.out, outcome.err) == (2, "", f"publish-image: {message}\n")


def test_an_unknown_field_and_an_unknown_key(app) -> None:
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


def test_no_aws_credentials(built, app, aws, monkeypatch, docker_config) -> None:
    _configure(app, image_repo="aws")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    outcome = app("dev")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == (
        "publish-image: AWS: Unable to locate credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
        "or AWS_PROFILE, or run: aws configure\n"
    )


def test_an_expired_token_while_logging_in(built, app, aws, monkeypatch, docker_config) -> None:
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


def test_a_repository_that_is_forbidden(built, app, aws, monkeypatch, docker_config) -> None:
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
    assert (outcome.status, outcome.out, len(outcome.echoed)) == (1, "", 1)
    assert outcome.err.endswith(
        "\npublish-image: AWS refused DescribeRepositories: User: x is not authorized to perform: ecr:DescribeRepositories "
        "(AccessDeniedException); grant this IAM identity the permission\n"
    )
