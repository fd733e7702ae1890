"""build-image with several images: at the same time, with their bases, and their output."""

from __future__ import annotations

import os
import re
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
BASE = "FROM local/busybox\n"
FAMILY = {
    "docker/base/Dockerfile": BASE + "RUN echo base > /base\n",
    "docker/api/Dockerfile": "FROM app-base:alice\nRUN echo api > /own\n",
    "docker/web/Dockerfile": "FROM app-base:alice\nRUN echo web > /own\n",
}


@pytest.fixture
def app(tmp_path, capfd) -> App:
    return App(main, tmp_path / "app", capfd)


@pytest.fixture
def built(modern_engine: Engine) -> Iterator[Engine]:
    """Return an engine from which the images of the project app are removed in the end."""
    yield modern_engine
    images.remove(modern_engine, "app-")


def _has(engine: Engine, image: str) -> bool:
    return bool(engine.docker("image", "ls", "-q", image).strip())


@pytest.fixture
def docker(tmp_path, monkeypatch) -> None:
    """Provide a docker that does nothing and succeeds."""
    program(tmp_path / "bin" / "docker", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_script_that_cannot_be_started(app, docker, jobs) -> None:
    app.write({
        "docker/api/Dockerfile": BASE,
        "docker/web/Dockerfile": BASE,
        "docker/dockerutils.cfg": "[api]\npre_build_script = ./wheels --all\n",
    })  # fmt: skip
    outcome = app("api", "web", "-j", jobs)
    assert (outcome.status, outcome.err.splitlines()[-1]) == (
        1,
        "build-image: docker/dockerutils.cfg:2: [api] pre_build_script: ./wheels was not found; correct its path, "
        "or make it executable (chmod +x); not built: web",
    )


def test_a_system_without_cpu_affinity(app, docker, monkeypatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    app.write({"docker/dev/Dockerfile": BASE})
    assert app("dev").echoed == ["docker build -t app-dev:alice -f docker/dev/Dockerfile ."]


def test_the_images_on_a_base_are_built_after_it_and_their_lines_have_names(built, app) -> None:
    app.write(FAMILY)
    outcome = app("all", "-j", "4")
    assert outcome.status == 0, outcome.err
    assert outcome.echoed[0] == "docker build -t app-base:alice -f docker/base/Dockerfile ."
    assert sorted(outcome.echoed[1:]) == [
        "docker build -t app-api:alice -f docker/api/Dockerfile .",
        "docker build -t app-web:alice -f docker/web/Dockerfile .",
    ]
    shown = {line for line in outcome.err.splitlines() if line and line not in outcome.echoed and line != "=" * 80}
    assert {line.partition(" ")[0] for line in shown} == {"[base]", "[api]", "[web]"}
    assert any(line.startswith("[web] #") and "RUN echo web > /own" in line for line in shown)
    assert built.docker("run", "--rm", "app-web:alice", "cat", "/base", "/own") == "base\nweb\n"


def test_one_image_at_a_time_has_dockers_own_output(built, app) -> None:
    app.write(FAMILY)
    outcome = app("web", "api", "-j", "1")
    assert outcome.status == 0
    assert [line.split()[3] for line in outcome.echoed] == ["app-base:alice", "app-api:alice", "app-web:alice"]
    assert "build-image: the base image app-base:alice is not built yet; building it too\n" in outcome.err
    assert "[web]" not in outcome.err


def test_missing_bases_are_built_with_their_own(built, app) -> None:
    app.write(FAMILY)
    app.write({"docker/worker/Dockerfile": "FROM local/busybox\nCOPY --from=app-tool-builder:alice /t /\n"})
    app.write({"docker/tool/Dockerfile": "FROM app-api:alice AS builder\nRUN echo t > /t\nFROM local/busybox\n"})
    names = ["base", "api", "tool-builder", "tool", "worker"]
    dry = app("worker", "--dry-run")
    assert [line.split()[3] for line in dry.out.splitlines()] == [f"app-{name}:alice" for name in names]
    outcome = app("worker")
    assert outcome.status == 0
    assert [line.split()[3] for line in outcome.echoed] == [f"app-{name}:alice" for name in names]
    again = app("worker", "--no-deps")
    assert [line.split()[3] for line in again.echoed] == ["app-worker:alice"]
    assert "not built yet" not in again.err


def test_no_deps_builds_no_missing_base(built, app) -> None:
    app.write(FAMILY)
    outcome = app("web", "--no-deps")
    assert (outcome.status, outcome.echoed) == (1, [])
    assert outcome.err == "build-image: the base image app-base:alice is not built yet; run: build-image base\n"


def test_a_base_with_another_tag_is_left_to_docker(built, app) -> None:
    app.write({"docker/base/Dockerfile": BASE, "docker/dev/Dockerfile": "FROM app-base:v1\n"})
    assert app("base", "-t", "v1").status == 0
    outcome = app("dev")
    assert (outcome.status, len(outcome.echoed)) == (0, 1)


FAILING = {
    **FAMILY,
    "docker/api/Dockerfile": "FROM app-base:alice\nRUN sleep 1; echo api > /own\n",
    "docker/bad/Dockerfile": "FROM app-base:alice\nRUN echo what is wrong; exit 3\n",
    "docker/dev/Dockerfile": "FROM app-bad:alice\n",
}


def test_after_a_failure_the_others_that_run_end_and_no_more_start(built, app) -> None:
    app.write(FAILING)
    outcome = app("all", "-j", "2")
    assert outcome.status == 1
    # Whether web starts depends on whether api, which runs meanwhile, ends before the failure.
    last = re.fullmatch(r"build-image: (.*); not built: dev(, web)?", outcome.err.splitlines()[-1])
    assert last
    assert last[1] == "the build of bad failed with status 1; see its output above"
    assert "[bad] " in outcome.err
    assert "what is wrong" in outcome.err
    assert _has(built, "app-api:alice")
    assert _has(built, "app-web:alice") == (last[2] is None)


def test_a_failing_script_is_named_with_what_was_not_built(built, app) -> None:
    app.write(FAMILY)
    app.write({"docker/dockerutils.cfg": "[base]\npre_build_script = sh -c 'exit 7'\n"})
    outcome = app("all", "-j", "2")
    assert outcome.status == 7
    assert outcome.err.endswith(
        "\nbuild-image: docker/dockerutils.cfg:2: [base] pre_build_script: exited with status 7; fix the script and build again; not built: api, web\n"
    )


def test_images_with_scripts_have_the_context_to_themselves(built, app) -> None:
    names = "abcd"
    app.write({f"docker/{name}/Dockerfile": BASE + "COPY made pip.conf /\n" for name in names})
    script = "sh -c '[ ! -e made ] && echo $IMAGE > made'"
    app.write({
        "docker/dockerutils.cfg": f"[DEFAULT]\npre_build_script = {script}\npost_build_script = rm made\n",
        "pip.conf.template": "token\n",
    })  # fmt: skip
    outcome = app("all", "-j", "4")
    assert outcome.status == 0, outcome.err
    for name in names:
        assert built.docker("run", "--rm", f"app-{name}:alice", "cat", "/made") == f"{name}\n"
    assert not (app.root / "pip.conf").exists()


def test_a_build_whose_layer_the_engine_lost_runs_again(built, app, tmp_path, monkeypatch) -> None:
    lost = f"failed to prepare extraction snapshot 'extract-1-x sha256:a': parent snapshot sha256:{'b' * 64} does not exist: not found"
    first_of_web = f'case $* in *docker/web/*) mkdir {tmp_path}/lost 2>/dev/null && echo >&2 "ERROR: failed to solve: {lost}" && exit 1; esac'
    program(tmp_path / "bin" / "docker", f'{first_of_web}\nexec {shutil.which("docker")} "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    app.write(FAMILY)
    outcome = app("all", "-j", "4")
    assert outcome.status == 0, outcome.err
    assert outcome.echoed.count("docker build -t app-web:alice -f docker/web/Dockerfile .") == 2
    assert _has(built, "app-web:alice")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_all_builds(built, app, number, status) -> None:
    app.write({
        f"docker/{name}/Dockerfile": BASE + f"COPY pip.conf /\nRUN exec sleep {seconds}\n"
        for name, seconds in {"a": 98761, "b": 98762, "c": 98763}.items()
    })  # fmt: skip
    app.write({"pip.conf.template": "x"})
    before = sorted(os.listdir(app.root))
    with subprocess.Popen(
        [BUILD, "all", "-j", "2"], cwd=app.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as child:  # fmt: skip
        wait_for(lambda: (processes("sleep", "98761") and processes("sleep", "98762")) or child.poll() is not None)
        assert child.poll() is None
        session = _session(child.pid)
        assert len(session) > 2
        os.killpg(child.pid, number) if number == signal.SIGINT else child.send_signal(number)
        assert child.wait(60) == status
    wait_for(lambda: not any(processes("sleep", f"9876{digit}") for digit in (1, 2, 3)))
    wait_for(lambda: not _session(child.pid))
    assert sorted(os.listdir(app.root)) == before


def _session(leader: int) -> list[int]:
    """Return the pids of the processes in the session of a process."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(pid)) == leader:
                found.append(int(pid))
        except ProcessLookupError:
            continue
    return found


def test_on_a_terminal_a_line_per_build_and_the_output_of_what_failed(built, app) -> None:
    app.write(FAILING)
    child = pexpect.spawn(
        BUILD, ["all", "-j", "2"], cwd=str(app.root), encoding="utf-8", timeout=60, dimensions=(24, 200)
    )
    assert exit_status(child) == 1
    shown = str(child.before)
    assert "base: done in " in shown
    assert "api: done in " in shown
    failed = shown.partition("bad: failed after ")[2]
    assert "RUN echo what is wrong; exit 3" in failed
    assert "what is wrong\r\n" in failed
    assert "RUN echo base > /base" not in failed
    assert "the build of bad failed with status 1; see its output above; not built: dev" in shown.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["web", "api", "-i", "x"], "-i cannot be used with several images; name one image"),
        (["all", "web"], "all cannot be combined with other images; run it on its own"),
        (["clean", "web"], "clean cannot be combined with other images; run it on its own"),
        (["all", "-j", "0"], "-j: '0' is not a number of builds; write a number above 0"),
        (["all", "-j", "x"], "-j: 'x' is not a number of builds; write a number above 0"),
    ],
)
def test_errors(app, argv, message) -> None:
    app.write(FAMILY)
    outcome = app(*argv)
    assert (outcome.status, outcome.out, outcome.err) == (2, "", f"build-image: {message}\n")


@pytest.mark.parametrize(
    ("dockerfile", "missing", "advice"),
    [
        ("# syntax=r.invalid/docker/dockerfile:1\n" + BASE, "docker/dockerfile:1", "delete the line # syntax= of docker/base/Dockerfile and of other Dockerfiles that have it"),
        ("FROM r.invalid/python:3.12-slim\n", "python:3.12-slim", "build on an image that this engine has"),
    ],
)  # fmt: skip
def test_a_registry_that_does_not_answer(dockerfile, missing, advice, modern_engine, app) -> None:
    app.write({**FAMILY, "docker/base/Dockerfile": dockerfile})
    outcome = app("all")
    assert outcome.status == 1
    last = outcome.err.splitlines()[-1]
    assert last == (
        f"build-image: the build of base failed: docker cannot reach the registry of r.invalid/{missing}; check the network, or {advice}; "
        "not built: api, web"
    )
