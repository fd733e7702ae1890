"""The temporary docker configuration directory, judged by docker itself where it matters."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dockerutils.core import process
from dockerutils.core.errors import DockerutilsError, Terminated
from dockerutils.registries.private_config import private
from tests.support import first_line, program

USERS = {
    "auths": {"other.example": {"auth": "YTpi"}},
    "credsStore": "mine",
    "credHelpers": {"gcr.io": "gcloud"},
    "proxies": {"default": {"httpProxy": "http://proxy.example:3128"}},
    "currentContext": "far",
}
HOLD = """
import os, sys
from dockerutils.registries.private_config import private
with private(os.environ, ["r.example"]) as env:
    open(env["DOCKER_CONFIG"] + "/config.json", "w").write("secret")
    print(env["DOCKER_CONFIG"], flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """Return the directory for temporary files; the test fails if anything is left in it."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path):
    yield
    assert not list(tmp_path.glob("tmp/*"))


@pytest.fixture
def docker_config(isolated, temporary) -> Path:
    """Return the user's docker configuration directory, which is empty."""
    directory = Path(os.environ["DOCKER_CONFIG"])
    directory.mkdir()
    return directory


def _start() -> subprocess.Popen[str]:
    """Start a process that keeps a directory with a secret, and prints its path."""
    return subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _directory(child: subprocess.Popen[str]) -> Path:
    return Path(first_line(child).strip())


def _end(child: subprocess.Popen[str]) -> None:
    child.communicate(timeout=60)


def test_the_user_s_settings_apply_but_new_logins_go_to_the_copy(docker_config) -> None:
    text = json.dumps(USERS)
    (docker_config / "config.json").write_text(text)
    for name in ("cli-plugins", "contexts", "buildx"):
        (docker_config / name).mkdir()
    with private(os.environ, ["r.example:5000", "docker.io"]) as env:
        directory = Path(env["DOCKER_CONFIG"])
        config = directory / "config.json"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
        ours = {"r.example:5000": "", "https://index.docker.io/v1/": ""}
        assert json.loads(config.read_text()) == {**USERS, "credHelpers": {"gcr.io": "gcloud", **ours}}
        for name in ("cli-plugins", "contexts", "buildx"):
            assert (directory / name).samefile(docker_config / name)
    assert not directory.exists()
    assert (docker_config / "config.json").read_text() == text
    assert sorted(os.listdir(docker_config)) == ["buildx", "cli-plugins", "config.json", "contexts"]


def test_without_new_logins_the_copy_is_equal(docker_config) -> None:
    (docker_config / "config.json").write_text(json.dumps(USERS))
    with private(os.environ, []) as env:
        assert json.loads(Path(env["DOCKER_CONFIG"], "config.json").read_text()) == USERS


def test_docker_sees_the_users_contexts_and_plugins(docker_config, monkeypatch) -> None:
    monkeypatch.delenv("DOCKER_HOST")
    create = ["docker", "context", "create", "far", "--docker", "host=tcp://far.example:2375"]
    assert process.capture(create).status == 0
    assert process.capture(["docker", "context", "use", "far"]).status == 0
    metadata = '{"SchemaVersion": "0.1.0", "Vendor": "x", "Version": "1", "ShortDescription": "x"}'
    script = f"[ $1 = docker-cli-plugin-metadata ] && echo '{metadata}' || echo hi"
    program(docker_config / "cli-plugins" / "docker-hello", script)
    with private(os.environ, ["r.example"]) as env:
        docker = ["docker", "--config", env["DOCKER_CONFIG"]]
        assert process.capture([*docker, "context", "inspect", "-f", "{{.Name}}"]).stdout == "far\n"
        assert process.capture([*docker, "hello"]).stdout == "hi\n"


@pytest.mark.parametrize("registries", [[], ["r.example"]])
def test_a_user_without_a_configuration(docker_config, registries) -> None:
    docker_config.rmdir()
    with private({**os.environ, "DOCKER_CONFIG": ""}, registries) as env:
        assert sorted(os.listdir(env["DOCKER_CONFIG"])) == [".lock", *(["config.json"] if registries else [])]
    assert not docker_config.exists()


def test_null_credential_helpers(docker_config) -> None:
    (docker_config / "config.json").write_text('{"credHelpers": null}')
    with private(os.environ, ["r.example"]) as env:
        assert json.loads(Path(env["DOCKER_CONFIG"], "config.json").read_text()) == {"credHelpers": {"r.example": ""}}


@pytest.mark.parametrize("event", [Terminated(15), KeyboardInterrupt(), DockerutilsError("x")])
def test_the_directory_is_removed_after_any_error(docker_config, event) -> None:
    def interrupted() -> None:
        with private(os.environ, ["r.example"]) as env:
            Path(env["DOCKER_CONFIG"], "more").write_text("x")
            raise event

    with pytest.raises(type(event)):
        interrupted()


def test_a_second_interrupt_does_not_keep_the_directory(docker_config, monkeypatch) -> None:
    import shutil

    remove, calls = shutil.rmtree, []

    def interrupted(path, **options) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), private(os.environ, []):
        pass
    assert len(calls) == 2


def test_a_killed_process_s_directory_is_removed_at_the_next_start(docker_config) -> None:
    child = _start()
    directory = _directory(child)
    child.kill()
    _end(child)
    assert (directory / "config.json").read_text() == "secret"
    with private(os.environ, []):
        assert not directory.exists()


def test_a_running_process_s_directory_is_kept(docker_config) -> None:
    child = _start()
    directory = _directory(child)
    with private(os.environ, []):
        assert (directory / "config.json").read_text() == "secret"
    _end(child)
    assert not directory.exists()


def test_directories_of_others_are_kept(docker_config, temporary) -> None:
    """One that is not locked yet, one of another program, a link, and one of another user."""
    names = ("dockerutils-login-new", "dockerutils-other", "dockerutils-login-user")
    for name in names:
        (temporary / name).mkdir()
    (temporary / "dockerutils-other/.lock").touch()
    (temporary / "dockerutils-login-user/.lock").touch()
    os.chown(temporary / "dockerutils-login-user", 12345, 12345)
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere/.lock").touch()
    (temporary / "dockerutils-login-link").symlink_to(temporary / "elsewhere")
    os.chown(temporary / "dockerutils-login-link", 12345, 12345, follow_symlinks=False)
    before = sorted(os.listdir(temporary))
    with private(os.environ, []):
        pass
    assert sorted(os.listdir(temporary)) == before
    subprocess.run(["rm", "-rf", *map(str, temporary.iterdir())], check=True)


def test_a_directory_removed_before_it_is_locked_is_replaced(docker_config, temporary, monkeypatch) -> None:
    """Another run may find it first."""
    made: list[str] = []
    make = tempfile.mkdtemp

    def removed_at_once(**options: str) -> str:
        made.append(make(**options))
        if len(made) == 1:
            os.rmdir(made[0])
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", removed_at_once)
    with private(os.environ, []) as env:
        assert [env["DOCKER_CONFIG"]] == made[1:]
        with open(f"{env['DOCKER_CONFIG']}/.lock", "r+") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_runs_that_start_together_do_not_remove_each_other_s_directories(docker_config) -> None:
    children = [_start() for _ in range(8)]
    directories = [_directory(child) for child in children]
    assert all((directory / "config.json").exists() for directory in directories)
    for child in children:
        _end(child)
    assert [child.returncode for child in children] == [0] * 8
