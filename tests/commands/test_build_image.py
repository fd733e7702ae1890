"""build-image with the classic builder and with BuildKit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from dockerutils.commands.build_image import main
from tests.support import App, each_store, processes, script, wait_for

BASE = "FROM local/busybox\n"


@pytest.fixture
def app(tmp_path, capfd) -> App:
    return App(main, tmp_path / "app", capfd)


def _read(engine, image: str, path: str) -> str:
    return engine.docker("run", "--rm", image, "cat", path)


def _has(engine, image: str) -> bool:
    return bool(engine.docker("image", "ls", "-q", image).strip())


@pytest.fixture(autouse=True)
def _remove_images(request):
    """Delete the images of the project app from the engines of the session."""
    engines = [request.getfixturevalue(name) for name in ("engine", "each_engine") if name in request.fixturenames]
    yield
    for engine in engines:
        references = engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
        if ours := [each for each in references if each.startswith(("app-", "renamed"))]:
            engine.docker("image", "rm", "-f", *ours)


def test_builds_one_image_and_prints_the_command(each_engine, app) -> None:
    app.write({"docker/dev/Dockerfile": BASE + "COPY data /data\n", "data": "hello\n"})
    outcome = app("dev")
    assert outcome.status == 0
    assert outcome.echoed == ["docker build -t app-dev:alice -f docker/dev/Dockerfile ."]
    assert _read(each_engine, "app-dev:alice", "/data") == "hello\n"


def test_the_printed_command_works_in_a_sub_directory(each_engine, app) -> None:
    app.write({"docker/dev/Dockerfile": BASE, "docker/src/x": ""})
    outcome = app("dev", directory="docker/src")
    root = app.root
    assert outcome.echoed == [f"(cd {root} && docker build -t app-dev:alice -f docker/dev/Dockerfile .)"]
    each_engine.docker("image", "rm", "app-dev:alice")
    subprocess.run(["sh", "-c", outcome.echoed[0]], cwd=root / "docker", check=True)
    assert _has(each_engine, "app-dev:alice")


def test_all_builds_in_the_order_of_the_from_lines(each_engine, app) -> None:
    app.write({
        "docker/a/Dockerfile": "ARG FROM_IMAGE\nFROM $FROM_IMAGE\nCOPY --from=app-z:alice /z /z\n",
        "docker/base/Dockerfile": BASE + "RUN echo base > /base\n",
        "docker/z/Dockerfile": "FROM app-base:alice\nRUN echo z > /z\n",
        "docker/dockerutils.cfg": "[a]\nbuild_args = --build-arg FROM_IMAGE={project}-base:{user}\n",
    })  # fmt: skip
    outcome = app("all")
    assert outcome.status == 0
    assert [line.split()[3] for line in outcome.echoed] == ["app-base:alice", "app-z:alice", "app-a:alice"]
    assert _read(each_engine, "app-a:alice", "/z") == "z\n"
    assert _read(each_engine, "app-a:alice", "/base") == "base\n"


def test_the_builder_stage_survives_a_prune(each_engine, app) -> None:
    app.write(
        {
            "docker/dev/Dockerfile": "FROM local/busybox As Builder\nRUN echo x > /x\nFROM local/busybox\nCOPY --from=builder /x /x\n"
        }
    )
    outcome = app("dev")
    assert outcome.echoed == [
        "docker build -t app-dev-builder:alice -f docker/dev/Dockerfile --target Builder .",
        "docker build -t app-dev:alice -f docker/dev/Dockerfile .",
    ]
    each_engine.docker("image", "prune", "-f")
    assert _read(each_engine, "app-dev-builder:alice", "/x") == _read(each_engine, "app-dev:alice", "/x") == "x\n"


def test_pip_conf_exists_during_the_build_only(each_engine, app) -> None:
    app.write(
        {"docker/dev/Dockerfile": BASE + "COPY pip.conf /pip.conf\n", "pip.conf.template": "[global]\nindex-url = x\n"}
    )
    (app.root / "pip.conf.template").chmod(0o600)
    assert app("dev").status == 0
    assert "index-url = x" in _read(each_engine, "app-dev:alice", "/pip.conf")
    assert each_engine.docker("run", "--rm", "app-dev:alice", "stat", "-c", "%a", "/pip.conf") == "600\n"
    assert not (app.root / "pip.conf").exists()


# A build that waits, with pip.conf in place, until the file go-IMAGE exists.
_WAITING = """
[{0}]
pre_build_script = sh -c 'touch in-{0}; until [ -e go-{0} ]; do sleep 0.05; done'
"""


def _start_build(app: App, image: str) -> subprocess.Popen[bytes]:
    """Start build-image and return when its pre_build_script runs."""
    command = [str(Path(sys.executable).parent / "build-image"), image]
    child = subprocess.Popen(command, cwd=app.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: (app.root / f"in-{image}").exists() or child.poll() is not None)
    assert child.poll() is None
    return child


def test_two_builds_at_once_share_pip_conf(each_engine, app) -> None:
    images = ("first", "second")
    app.write({f"docker/{name}/Dockerfile": BASE + "COPY pip.conf /pip.conf\n" for name in images})
    app.write({"pip.conf.template": "token", "docker/dockerutils.cfg": "".join(map(_WAITING.format, images))})
    children = {name: _start_build(app, name) for name in images}
    for name, child in children.items():
        (app.root / f"go-{name}").touch()
        assert child.wait(60) == 0
        assert _read(each_engine, f"app-{name}:alice", "/pip.conf").endswith("\ntoken")
    assert not (app.root / "pip.conf").exists()


def test_a_build_after_a_killed_one_uses_the_new_token(each_engine, app) -> None:
    app.write({"docker/dev/Dockerfile": BASE + "COPY pip.conf /pip.conf\n", "pip.conf.template": "old token"})
    app.write({"docker/dockerutils.cfg": _WAITING.format("dev")})
    killed = _start_build(app, "dev")
    killed.kill()
    killed.wait()
    (app.root / "go-dev").touch()
    app.write({"pip.conf.template": "new token"})
    assert app("dev").status == 0
    assert _read(each_engine, "app-dev:alice", "/pip.conf").endswith("\nnew token")
    assert not (app.root / "pip.conf").exists()


def test_a_build_waits_for_one_that_uses_an_earlier_template(engine, app) -> None:
    images = ("first", "second")
    app.write({f"docker/{name}/Dockerfile": BASE + "COPY pip.conf /pip.conf\n" for name in images})
    app.write({"pip.conf.template": "one", "docker/dockerutils.cfg": "".join(map(_WAITING.format, images))})
    first = _start_build(app, "first")
    app.write({"pip.conf.template": "two", "go-second": ""})
    command = [str(Path(sys.executable).parent / "build-image"), "second"]
    with subprocess.Popen(
        command, cwd=app.root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as second:
        assert second.stderr
        assert second.stderr.readline() == (
            "build-image: another build uses an earlier pip.conf.template; waiting for it to end\n"
        )
        (app.root / "go-first").touch()
        assert first.wait(60) == 0
        second.communicate(timeout=60)
    assert second.returncode == 0
    assert _read(engine, "app-first:alice", "/pip.conf").endswith("\none")
    assert _read(engine, "app-second:alice", "/pip.conf").endswith("\ntwo")


def test_the_users_own_pip_conf_is_used_and_kept(each_engine, app) -> None:
    app.write({"docker/dev/Dockerfile": BASE + "COPY pip.conf /pip.conf\n"})
    app.write({"pip.conf.template": "template\n", "pip.conf": "mine\n"})
    assert app("dev").status == 0
    assert _read(each_engine, "app-dev:alice", "/pip.conf") == "mine\n"
    assert (app.root / "pip.conf").read_text() == "mine\n"


def test_scripts_run_at_the_root_before_and_after_the_build(each_engine, app) -> None:
    app.write({
        "docker/dev/Dockerfile": BASE + "COPY made /made\n",
        "docker/dockerutils.cfg": """
            [dev]
            pre_build_script = sh -c 'echo $IMAGE $IMAGE_NAME $IMAGE_TAG > made'
            post_build_script = ./after.sh "one word"
            """,
        "after.sh": '#!/bin/sh\necho "after: $1 $IMAGE_TAG"\n',
    })  # fmt: skip
    (app.root / "after.sh").chmod(0o755)
    outcome = app("dev", directory="docker/dev")
    assert outcome.status == 0
    assert _read(each_engine, "app-dev:alice", "/made") == "dev app-dev alice\n"
    assert outcome.out.endswith("after: one word alice\n")
    prefix = f"(cd {app.root} && IMAGE=dev IMAGE_NAME=app-dev IMAGE_TAG=alice"
    assert outcome.echoed[0] == f"{prefix} sh -c 'echo $IMAGE $IMAGE_NAME $IMAGE_TAG > made')"
    assert outcome.echoed[-1] == f"{prefix} ./after.sh 'one word')"


def test_a_script_with_an_operator_of_a_shell_draws_a_warning(app) -> None:
    app.write({
        "docker/dev/Dockerfile": BASE,
        "docker/dockerutils.cfg": "[dev]\npre_build_script = make wheels && make\npost_build_script = sh -c 'a && b'\n",
    })  # fmt: skip
    outcome = app("dev", "--dry-run")
    assert (outcome.status, outcome.err) == (
        0,
        "build-image: warning: docker/dockerutils.cfg:2: [dev] pre_build_script: no shell runs this, so && is an argument; "
        "write sh -c 'make wheels && make'\n",
    )


def test_docker_options_and_quiet(engine, app) -> None:
    app.write({"docker/dev/Dockerfile": BASE})
    outcome = app("dev", "--label", "by=alice", "--no-cache", "-q")
    assert (outcome.status, outcome.echoed) == (0, [])
    assert engine.docker("image", "inspect", "--format", "{{.Config.Labels.by}}", "app-dev:alice") == "alice\n"


def test_a_failing_pre_script_stops_the_build_with_its_status(each_engine, app) -> None:
    app.write({
        "docker/dev/Dockerfile": BASE,
        "docker/dockerutils.cfg": "[dev]\npre_build_script = sh -c 'exit 7'\npost_build_script = touch after\n",
        "pip.conf.template": "x",
    })  # fmt: skip
    outcome = app("dev")
    assert (outcome.status, len(outcome.echoed)) == (7, 1)
    assert outcome.err.endswith(
        "\nbuild-image: docker/dockerutils.cfg:2: [dev] pre_build_script: exited with status 7; fix the script and build again\n"
    )
    assert not _has(each_engine, "app-dev:alice")
    assert not (app.root / "after").exists()
    assert not (app.root / "pip.conf").exists()


def test_a_failing_build_keeps_dockers_status_and_runs_no_post_script(each_engine, app) -> None:
    app.write({
        "docker/dev/Dockerfile": BASE + "RUN exit 3\n",
        "docker/dockerutils.cfg": "[dev]\npost_build_script = touch after\n",
        "pip.conf.template": "x",
    })  # fmt: skip
    expected = subprocess.run(
        ["docker", "build", "-f", "docker/dev/Dockerfile", "."], cwd=app.root, capture_output=True, check=False
    )
    outcome = app("dev")
    assert outcome.status == expected.returncode != 0
    assert not (app.root / "after").exists()
    assert not (app.root / "pip.conf").exists()


def test_a_versioneer_project_gets_its_version_file_first(each_engine, app) -> None:
    app.write({
        "docker/dev/Dockerfile": BASE + "COPY _version.py.bld /_version.py\n",
        "setup.py": "",
        "setup.cfg": "[versioneer]\nVCS = git\nstyle = pep440\nversionfile_source = app/_version.py\ntag_prefix = v\n",
    })  # fmt: skip
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(app.root)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"], ["tag", "v1.2.3"]):
        subprocess.run([*git, *command], check=True)
    assert app("dev").status == 0
    namespace: dict[str, object] = {}
    exec(_read(each_engine, "app-dev:alice", "/_version.py"), namespace)
    versions = namespace["get_versions"]()  # type: ignore[operator]
    assert versions["version"] in {"1.2.3", "1.2.3+0.g" + versions["full-revisionid"][:7] + ".dirty"}


def test_a_secret_in_a_build_argument_is_not_printed(each_engine, app, monkeypatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cr3t-marker")
    app.write({
        "docker/dev/Dockerfile": BASE + "ARG URL\nRUN echo $URL | tr a-z A-Z > /url\n",
        "docker/dockerutils.cfg": "[dev]\nbuild_args = --build-arg URL=http://$TOKEN@h\n",
    })  # fmt: skip
    outcome = app("dev")
    assert outcome.echoed == [
        'URL="http://$TOKEN@h" docker build -t app-dev:alice -f docker/dev/Dockerfile --build-arg URL .'
    ]
    assert _read(each_engine, "app-dev:alice", "/url") == "HTTP://S3CR3T-MARKER@H\n"


def test_clean_removes_the_images_that_exist(each_engine, app) -> None:
    app.write(
        {
            "docker/dev/Dockerfile": "FROM local/busybox AS builder\nFROM local/busybox\n",
            "docker/other/Dockerfile": BASE,
        }
    )
    assert app("dev").status == 0
    dry = app("clean", "--dry-run")
    assert dry.out == "docker image rm app-dev:alice app-dev-builder:alice\n"
    assert _has(each_engine, "app-dev:alice")
    outcome = app("clean")
    assert (outcome.status, outcome.echoed) == (0, ["docker image rm app-dev:alice app-dev-builder:alice"])
    assert not _has(each_engine, "app-dev:alice")
    again = app("clean")
    assert (again.status, again.echoed) == (0, [])


def test_options_and_names_reach_docker(each_engine, app) -> None:
    app.write({"docker/dev/Dockerfile": BASE})
    app.write({"docker/dockerutils.cfg": "[dev]\nbuild_args = --label one={project}\n"})
    outcome = app("dev", "--image_name", "renamed/x", "-t", "v1", "--", "--label", "two=a b")
    assert outcome.echoed == [
        "docker build -t renamed/x:v1 -f docker/dev/Dockerfile --label one=app --label 'two=a b' ."
    ]
    labels = json.loads(each_engine.docker("image", "inspect", "--format", "{{json .Config.Labels}}", "renamed/x:v1"))
    assert labels == {"one": "app", "two": "a b"}


def test_a_missing_base_is_built_first_and_f_always_builds_it(each_engine, app) -> None:
    app.write({"docker/base/Dockerfile": BASE, "docker/dev/Dockerfile": "FROM app-base:alice\n"})
    outcome = app("dev")
    assert outcome.status == 0
    assert outcome.err.startswith("build-image: the base image app-base:alice is not built yet; building it too\n")
    for argv, names in ((["dev", "-f"], ["base", "dev"]), (["dev"], ["dev"])):
        assert [line.split()[3] for line in app(*argv).echoed] == [f"app-{name}:alice" for name in names]


@pytest.mark.parametrize(
    ("config", "argv", "lines"),
    [
        pytest.param("", ["dev"], ["app-dev:alice -f docker/dev/Dockerfile ."], id="plain"),
        pytest.param(
            "",
            ["dev", "-f"],
            ["app-base:alice -f docker/base/Dockerfile .", "app-dev:alice -f docker/dev/Dockerfile ."],
            id="-f",
        ),
        pytest.param("", ["base", "-f"], ["app-base:alice -f docker/base/Dockerfile ."], id="-f base"),
        pytest.param("", ["base", "-p"], ["app-base:alice -f docker/base/Dockerfile --pull ."], id="-p"),
        pytest.param(
            "", ["dev", "-p"], ["app-dev:alice -f docker/dev/Dockerfile ."], id="-p: no registry has the project's base"
        ),
        pytest.param(
            "[dev]\npull_FROM_on_force = True",
            ["dev", "-f"],
            ["app-base:alice -f docker/base/Dockerfile --pull .", "app-dev:alice -f docker/dev/Dockerfile ."],
            id="pull_FROM_on_force",
        ),
        pytest.param(
            "[base]\npull_FROM_on_force = True",
            ["base"],
            ["app-base:alice -f docker/base/Dockerfile ."],
            id="not without -f",
        ),
        pytest.param(
            "[dev]\ntag = v1",
            ["all", "-t", "v2"],
            ["app-base:v2 -f docker/base/Dockerfile .", "app-dev:v2 -f docker/dev/Dockerfile ."],
            id="-t",
        ),
        pytest.param(
            "", ["dev", "--", "--no-cache"], ["app-dev:alice -f docker/dev/Dockerfile --no-cache ."], id="rest"
        ),
        pytest.param(
            "[DEFAULT]\nplatform = linux/amd64, linux/arm64\n[base]\nbuild_args = --platform linux/386 --label x",
            ["all"],
            [
                "app-base:alice -f docker/base/Dockerfile --platform linux/amd64,linux/arm64 --label x .",
                "app-dev:alice -f docker/dev/Dockerfile --platform linux/amd64,linux/arm64 .",
            ],
            id="platform",
        ),
        pytest.param(
            "[dev]\nplatform = linux/amd64\nbuild_args = --platform linux/386",
            ["dev", "-f", "--platform", "linux/arm64"],
            [
                "app-base:alice -f docker/base/Dockerfile --platform linux/arm64 .",
                "app-dev:alice -f docker/dev/Dockerfile --platform linux/arm64 .",
            ],
            id="--platform wins",
        ),
        pytest.param(
            "[dev]\nplatform = linux/amd64",
            ["dev", "--", "--platform=linux/386", "-q", "--platform", "local"],
            ["app-dev:alice -f docker/dev/Dockerfile --platform linux/386,local -q ."],
            id="--platform of the rest wins",
        ),
    ],
)
def test_dry_run_prints_the_commands_and_needs_no_engine(app, config, argv, lines) -> None:
    app.write({"docker/base/Dockerfile": "FROM x\n", "docker/dev/Dockerfile": "FROM app-base:alice\n"})
    app.write({"docker/dockerutils.cfg": config, "pip.conf.template": "x"})
    outcome = app("--dry-run", *argv)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [f"docker build -t {line}" for line in lines]
    assert sorted(os.listdir(app.root)) == ["docker", "pip.conf.template"]


@pytest.mark.parametrize(
    ("options", "pull"),
    [
        pytest.param(["--build-arg=BASE=x"], "--pull ", id="another base"),
        pytest.param(["--label", "--build-arg=BASE=x"], "", id="the value of another option"),
    ],
)
def test_build_arguments_on_the_command_line_choose_the_base(app, options, pull) -> None:
    app.write({"docker/base/Dockerfile": BASE, "docker/dev/Dockerfile": "ARG BASE=app-base:alice\nFROM $BASE\n"})
    outcome = app("dev", "-p", "--dry-run", "--", *options)
    assert outcome.out == f"docker build -t app-dev:alice -f docker/dev/Dockerfile {pull}{' '.join(options)} .\n"


def test_warns_of_unknown_keys(app) -> None:
    app.write({"docker/dev/Dockerfile": BASE})
    app.write({"docker/dockerutils.cfg": "[dev]\nbuild_arg = x\n[tool]\nanything = x\n"})
    outcome = app("dev", "--dry-run")
    assert (
        outcome.err
        == "build-image: warning: docker/dockerutils.cfg:2: [dev] build_arg: unknown key; did you mean build_args?\n"
    )


CONFIG = """
[run_image]
synthetic_images = sh
[sh]
name = dev
[ds]
name = org/ds
prefix = False
[old]
tag = {latest}
"""


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["nope"], 2, "'nope' is not an image of this project; its images: dev, old, sh, ds"),
        (["sh"], 2, "'sh' has no Dockerfile; run: build-image dev"),
        (["ds"], 2, "'ds' has no Dockerfile; docker pulls it when you run it"),
        (["all", "-i", "x"], 2, "-i cannot be used with all; name one image"),
        (["clean", "-i", "x"], 2, "-i cannot be used with clean; name one image"),
        (["old"], 2, "docker/dockerutils.cfg:9: [old] tag: {{latest}} is the newest version that exists, not a new one; build with -t, or set tag = {{datetime}}"),
        (["empty"], 2, "docker/empty/Dockerfile does not exist; create it, or name another image"),
        (["dev", "-i", "X Y"], 2, "-i: 'X Y' is not a valid image name; write it as [registry/]name in lower case"),
        (["dev", "-t", "-x"], 2, "-t: '-x' is not a valid tag; use letters, digits, '_', '.' and '-', 128 at most"),
        (["dev"], 1, "no Docker Engine answers at {host}; start it, or point DOCKER_HOST or docker context use at one that runs"),
    ],
)  # fmt: skip
def test_errors(app, argv, status, message) -> None:
    app.write({"docker/dev/Dockerfile": BASE})
    app.write(
        {
            "docker/dockerutils.cfg": CONFIG,
            "pip.conf.template": "x",
            "docker/empty/notes": "",
            "docker/old/Dockerfile": BASE,
        }
    )
    outcome = app(*argv)
    assert (outcome.status, outcome.out) == (status, "")
    assert outcome.err == f"build-image: {message.format(host=os.environ['DOCKER_HOST'])}\n"
    assert not (app.root / "pip.conf").exists()


def test_mistakes_in_other_sections_do_not_matter(app) -> None:
    app.write({
        "docker/dev/Dockerfile": "FROM app-base:alice\n",
        "docker/base/Dockerfile": BASE,
        "docker/other/Dockerfile": BASE,
        "docker/latest/Dockerfile": BASE,
        "docker/dockerutils.cfg": "[other]\nword\n[latest]\ntag = {latest}\n",
    })  # fmt: skip
    outcome = app("dev", "--dry-run")
    assert (outcome.status, outcome.err) == (0, "")


def test_a_mistake_in_the_last_section_is_found_before_anything_runs(app) -> None:
    app.write({"docker/a/Dockerfile": BASE, "docker/z/Dockerfile": BASE})
    app.write({"docker/dockerutils.cfg": "[a]\npre_build_script = touch ran\n[z]\nbuild_args = oops\n"})
    outcome = app("all")
    assert outcome.status == 2
    assert outcome.err == (
        "build-image: docker/dockerutils.cfg:4: [z] build_args: oops is not a docker option; write the option before it, as in --build-arg NAME=value\n"
    )
    assert not (app.root / "ran").exists()


def test_a_full_disk(app, engine, tmp_path) -> None:
    """pip.conf does not fit on the disk: one line, and nothing is left."""
    app.write({"docker/dev/Dockerfile": BASE})
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(app.root)], check=True)
    try:
        app.write({"docker/dev/Dockerfile": BASE, "pip.conf.template": "x" * 8192})
        with suppress(OSError), (app.root / "filler").open("wb", buffering=0) as stream:
            while True:
                stream.write(b"x" * 4096)
        outcome = app("dev")
        assert outcome.status == 1
        assert outcome.err == "build-image: No space left on device; free some space on the disk\n"
        assert not (app.root / "pip.conf").exists()
    finally:
        subprocess.run(["umount", str(app.root)], check=True)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_deletes_pip_conf_and_nothing_else(each_engine, app, number, status) -> None:
    app.write({"docker/dev/Dockerfile": BASE + "COPY pip.conf /\nRUN exec sleep 98765\n"})
    app.write({"pip.conf.template": "x", "keep": "y"})
    before = sorted(os.listdir(app.root))
    command = [str(Path(sys.executable).parent / "build-image"), "dev"]
    with subprocess.Popen(
        command, cwd=app.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as child:
        wait_for(lambda: processes("sleep", "98765") or child.poll() is not None)
        assert child.poll() is None
        assert (app.root / "pip.conf").read_text().endswith("\nx")
        os.killpg(child.pid, number) if number == signal.SIGINT else child.send_signal(number)
        child.communicate(timeout=60)
    assert child.returncode == status
    assert sorted(os.listdir(app.root)) == before


@each_store
def test_several_platforms_need_the_containerd_store(each_engine, app) -> None:
    app.write({"docker/dev/Dockerfile": "FROM scratch\nCOPY docker/dev/Dockerfile /\n"})
    outcome = app("dev", "--platform", "linux/amd64,linux/arm64")
    if each_engine.docker("info", "-f", "{{.Driver}}") == "overlayfs\n":
        assert outcome.status == 0, outcome.err
        assert _has(each_engine, "app-dev:alice")
        return
    assert (outcome.status, outcome.err) == (
        1,
        "build-image: linux/amd64,linux/arm64 are several platforms, and the engine's image store, overlay2, holds one of an "
        "image; name one (--platform linux/amd64), or let the engine use the containerd image store\n",
    )
    # The result can also go elsewhere.
    assert "are several platforms" not in app("dev", "--platform", "linux/amd64,linux/arm64", "--push").err


def test_the_console_script(each_engine, app) -> None:
    app.write({"docker/dev/Dockerfile": BASE})
    assert script("build-image", "dev", directory=app.root).status == 0
    assert _has(each_engine, "app-dev:alice")
