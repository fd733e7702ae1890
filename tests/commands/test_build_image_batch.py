"""build-image with images that become ready at the same time: one docker buildx bake builds them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from dockerutils.commands.build_image import main
from tests.support import App, exit_status, processes, program, wait_for
from tests.testbed import images
from tests.testbed.engine import Engine

BUILD = str(Path(sys.executable).parent / "build-image")
SECRET = "s3cr3t-marker"
ON_BASE = "FROM app-base:alice\nRUN echo {0} > /own\n"
FAMILY = {
    "docker/base/Dockerfile": "FROM local/busybox\nRUN echo base > /base\n",
    "docker/api/Dockerfile": ON_BASE.format("api"),
    "docker/web/Dockerfile": ON_BASE.format("web"),
}
BASE_COMMAND = "docker build -t app-base:alice -f docker/base/Dockerfile ."
FAILING = {
    "docker/bad/Dockerfile": "FROM local/busybox\nRUN echo what is wrong; exit 3\n",
    "docker/web/Dockerfile": "FROM local/busybox\nRUN exec sleep 98771\n",
}
FAILED = "the build of bad failed with status 1; see its output above; not built: web"


@pytest.fixture
def app(tmp_path, capfd) -> App:
    return App(main, tmp_path / "app", capfd)


@pytest.fixture
def built(containerd_engine: Engine) -> Iterator[Engine]:
    """Return an engine from which the images of the project app are removed in the end."""
    yield containerd_engine
    images.remove(containerd_engine, "app-")


def test_images_on_the_same_base(built, app) -> None:
    app.write(FAMILY)
    dry = app("all", "--dry-run").out.splitlines()
    outcome = app("all")
    assert outcome.status == 0, outcome.err
    assert outcome.echoed == dry
    own = '"{0}":{{"context":".","dockerfile":"docker/{0}/Dockerfile","tags":["app-{0}:alice"]}}'
    assert dry == [
        BASE_COMMAND,
        f"printf %s '{{\"target\":{{{own.format('api')},{own.format('web')}}}}}' | docker buildx bake --builder default -f - api web",
    ]
    shown = {line for line in outcome.err.splitlines() if line and line not in outcome.echoed and line != "=" * 80}
    assert {line.partition(" ")[0] for line in shown} == {"[base]", "[bake]", "[api]", "[web]"}
    assert any(line.startswith("[web] #") and "RUN echo web > /own" in line for line in shown)
    assert built.docker("run", "--rm", "app-web:alice", "cat", "/base", "/own") == "base\nweb\n"
    images.remove(built, "app-")
    subprocess.run(["sh", "-e"], input="\n".join(dry), cwd=app.root, capture_output=True, text=True, check=True)
    assert built.docker("run", "--rm", "app-api:alice", "cat", "/base", "/own") == "base\napi\n"


def test_options_builder_stages_and_secrets(built, app, monkeypatch) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    app.write({
        "docker/my.api/Dockerfile": "FROM local/busybox AS builder\nARG A\nRUN echo $A | tr a-z A-Z > /a\nFROM local/busybox\nCOPY --from=builder /a /\n",
        "docker/web/Dockerfile": "FROM local/busybox\nARG B=none\nRUN --mount=type=secret,id=t --mount=type=secret,id=pip.conf cat /run/secrets/t /run/secrets/pip.conf | tr a-z A-Z > /b; echo $B >> /b\n",
        "docker/dockerutils.cfg": "[my.api]\nname = api\nbuild_args = --build-arg 'A=$TOKEN$$x $${1}'\n[web]\nbuild_args = --secret id=t,env=TOKEN\n",
        "pip.conf.template": "template\n",
    })  # fmt: skip
    outcome = app("all", "--label", "v=$1")
    assert outcome.status == 0, outcome.err
    assert len(outcome.echoed) == 1
    assert SECRET not in outcome.echoed[0]
    assert built.docker("run", "--rm", "app-api:alice", "cat", "/a") == f"{SECRET.upper()}$X ${{1}}\n"
    assert built.docker("run", "--rm", "app-web:alice", "cat", "/b") == f"{SECRET.upper()}TEMPLATE\nnone\n"
    labels = built.docker(
        "image", "inspect", "--format", "{{.Config.Labels.v}}", "app-api-builder:alice", "app-web:alice"
    )
    assert labels.split() == ["$1", "$1"]
    assert any(line.startswith("[my.api] #") for line in outcome.err.splitlines())


@pytest.mark.parametrize(
    ("configuration", "argv"),
    [
        pytest.param("", ["-j", "4"], id="a number of builds"),
        pytest.param("[web]\npre_build_script = true\n", [], id="a script"),
        pytest.param("[web]\nbuild_args = --add-host h:1.2.3.4\n", [], id="an option that bake does not have"),
        pytest.param("[web]\nbuild_args = --network host\n", [], id="an option for which bake asks"),
        pytest.param("", ["--secret", "id=x,src={tmp_path}/x"], id="a secret outside of the project"),
    ],
)  # fmt: skip
def test_what_needs_docker_build(built, app, tmp_path, configuration, argv) -> None:
    app.write({**FAMILY, "docker/dockerutils.cfg": configuration})
    (tmp_path / "x").write_text("secret")
    outcome = app("all", *[word.format(tmp_path=tmp_path) for word in argv])
    assert outcome.status == 0, outcome.err
    assert sum(line.startswith("docker build ") for line in outcome.echoed) == 3
    assert "bake" not in outcome.err


def test_without_an_engine_a_dry_run_prints_docker_build(app) -> None:
    app.write(FAMILY)
    outcome = app("all", "--dry-run")
    assert outcome.status == 0
    assert [line.split()[:2] for line in outcome.out.splitlines()] == [["docker", "build"]] * 3


def test_a_failure_ends_the_others_of_the_batch(built, app) -> None:
    app.write(FAILING)
    outcome = app("all")
    assert outcome.status == 1
    lines = outcome.err.splitlines()
    assert lines[-1] == f"build-image: {FAILED}"
    assert any(line.startswith("[bad] #") and line.endswith("what is wrong") for line in lines)
    assert "[bad] ------" in lines
    assert any(line.startswith("[bad] ERROR: target bad: failed to solve: ") for line in lines)
    wait_for(lambda: not processes("sleep", "98771"))


def test_a_failure_before_any_image(built, app, tmp_path, monkeypatch) -> None:
    failing = 'case $* in *" bake "*) echo >&2 "ERROR: no builder"; exit 1; esac'
    program(tmp_path / "bin" / "docker", f'{failing}\nexec {shutil.which("docker")} "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    app.write(FAMILY)
    outcome = app("all")
    assert outcome.status == 1
    assert outcome.err.splitlines()[-2:] == [
        "[bake] ERROR: no builder",
        "build-image: the build of api, web failed with status 1; see its output above",
    ]


def test_a_batch_whose_layer_the_engine_lost_runs_again(built, app, tmp_path, monkeypatch) -> None:
    lost = f"failed to prepare extraction snapshot 'extract-1-x sha256:a': parent snapshot sha256:{'b' * 64} does not exist: not found"
    first = f'case $* in *" bake "*) mkdir {tmp_path}/lost 2>/dev/null && echo >&2 "ERROR: target web: failed to solve: {lost}" && exit 1; esac'
    program(tmp_path / "bin" / "docker", f'{first}\nexec {shutil.which("docker")} "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    app.write(FAMILY)
    outcome = app("all")
    assert outcome.status == 0, outcome.err
    assert sum(" bake " in line for line in outcome.echoed) == 2
    assert built.docker("image", "ls", "-q", "app-web:alice").strip()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_batch(built, app, number, status) -> None:
    app.write({
        f"docker/{name}/Dockerfile": f"FROM local/busybox\nRUN exec sleep {seconds}\n"
        for name, seconds in {"a": 98781, "b": 98782}.items()
    })  # fmt: skip
    with subprocess.Popen(
        [BUILD, "all"], cwd=app.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as child:
        wait_for(lambda: (processes("sleep", "98781") and processes("sleep", "98782")) or child.poll() is not None)
        assert child.poll() is None
        os.killpg(child.pid, number) if number == signal.SIGINT else child.send_signal(number)
        assert child.wait(60) == status
    wait_for(lambda: not any(processes("sleep", f"9878{digit}") for digit in (1, 2)))


def test_on_a_terminal_a_line_per_image(built, app) -> None:
    app.write({**FAILING, "docker/web/Dockerfile": "FROM local/busybox\nRUN exec sleep 98772\n"})
    child = pexpect.spawn(BUILD, ["all"], cwd=str(app.root), encoding="utf-8", timeout=60, dimensions=(24, 200))
    assert exit_status(child) == 1
    shown = str(child.before)
    assert "web: canceled after " in shown
    failed = shown.partition("bad: failed after ")[2]
    assert "RUN echo what is wrong; exit 3" in failed
    assert "what is wrong\r\n" in failed
    assert "sleep 98772" not in failed
    assert FAILED in shown.splitlines()[-1]
