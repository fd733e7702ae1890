"""dockerutils check with a Docker Engine: what docker build --check finds, and what is left out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dockerutils.commands import build_image
from dockerutils.commands.dockerutils import main
from tests.support import App, call

ROOT = Path(__file__).parents[2]
PROJECTS = sorted(path.parents[1] for path in [*ROOT.glob("docker/*.cfg"), *ROOT.glob("examples/**/docker/*.cfg")])
CONFIG = "docker/dockerutils.cfg"
SKIPPED = "dockerutils: docker build --check was skipped"
RULES = "https://docs.docker.com/go/dockerfile/rule"


@pytest.fixture
def app(tmp_path, capfd) -> App:
    app = App(main, tmp_path / "app", capfd)
    app.write({"docker/dev/Dockerfile": "FROM local/busybox\n"})
    return app


def test_without_an_engine(app) -> None:
    assert app("check") == (
        0,
        f"{CONFIG}: 1 image, no problems\n",
        f"{SKIPPED}: no Docker Engine answers at unix:///nonexistent/docker.sock; "
        "start it, or point DOCKER_HOST or docker context use at one that runs\n",
    )


def test_without_docker(app, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert app("check") == (
        0,
        f"{CONFIG}: 1 image, no problems\n",
        f"{SKIPPED}: docker was not found on PATH; install the docker command-line client, "
        "or add its directory to PATH\n",
    )


def test_with_the_classic_builder(engine, app) -> None:
    assert app("check") == (
        0,
        f"{CONFIG}: 1 image, no problems\n",
        f"{SKIPPED}: this docker does not have it; install buildx 0.15 or newer, and do not set DOCKER_BUILDKIT=0\n",
    )


def test_what_docker_finds(containerd_engine, app, monkeypatch) -> None:
    monkeypatch.setenv("BUSYBOX", "local/busybox")
    monkeypatch.setenv("TOKEN", "x")
    app.write({
        "docker/base/Dockerfile": "FROM local/busybox\nCMD echo base\n",
        # The base is not built yet: docker must not look for it in a registry, and it can set VERSION.
        "docker/dev/Dockerfile": "ARG BASE\nFROM $BASE as dev\nWORKDIR /$VERSION\n",
        "docker/secret/Dockerfile": "ARG BASE\nFROM $BASE\nARG GH_TOKEN\nCOPY $UNKNOWN /x\n",
        "docker/wrong/Dockerfile": "FROM local/busybox\nRUN --mount=type=nothing true\n",
        # The problem is reported once, by our own check.
        "docker/zero/Dockerfile": "FROM local/busybox as zero\nRUM x\n",
        CONFIG: "[dev]\nbuild_args = --build-arg BASE={project}-base:{user} --no-cache\n"
        "[secret]\nbuild_args = --build-arg BASE=$BUSYBOX --build-arg GH_TOKEN=$TOKEN\n",
    })  # fmt: skip
    outcome = app("check")
    assert outcome.out.splitlines()[3:] == [
        f"docker/base/Dockerfile:2: JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended "
        f"behavior related to OS signals; see {RULES}/json-args-recommended/",
        "docker/dev/Dockerfile:2: FromAsCasing: 'as' and 'FROM' keywords' casing do not match; "
        f"see {RULES}/from-as-casing/",
        f"docker/secret/Dockerfile:4: UndefinedVar: Usage of undefined variable '$UNKNOWN'; see {RULES}/undefined-var/",
        'docker/wrong/Dockerfile:2: docker rejects this line: unsupported mount type "nothing"',
    ]
    assert outcome.err == "dockerutils: 7 problems; correct and check again\n"
    assert app("check", "--no-build-checks").err == "dockerutils: 3 problems; correct and check again\n"


def test_an_image_that_docker_does_not_get(containerd_engine, app) -> None:
    app.write({"docker/web/Dockerfile": "FROM localhost:1/nothing AS web\nMAINTAINER x\n"})
    outcome = app("check")
    assert outcome.out == (
        "docker/web/Dockerfile:2: MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label; "
        f"see {RULES}/maintainer-deprecated/\n"
    )
    assert outcome.err.splitlines()[0] == (
        f"{SKIPPED} for web: docker cannot read localhost:1/nothing:latest: connection refused"
    )
    app.write({"docker/api/Dockerfile": "FROM localhost:1/other\n"})
    assert app("check").err.splitlines()[0] == (
        f"{SKIPPED} in part: api (docker cannot read localhost:1/other:latest: connection refused); "
        "web (docker cannot read localhost:1/nothing:latest: connection refused)"
    )
    # An image is not its own base, whatever its name is.
    app.write({
        "docker/api/Dockerfile": "FROM local/busybox\n",
        CONFIG: "[web]\nname = localhost:1/nothing\nprefix = False\n",
    })  # fmt: skip
    assert app("check").err.splitlines()[0] == (
        f"{SKIPPED} for web: docker cannot read localhost:1/nothing:latest: connection refused"
    )


def test_two_checkouts_with_one_name(containerd_engine, app, tmp_path, capfd) -> None:
    other = App(build_image.main, tmp_path / "other" / "app", capfd)
    other.write({"docker/dev/Dockerfile": "FROM local/busybox\n"})
    here = App(build_image.main, app.root, capfd)
    assert other("dev").status == 0
    warning = f"warning: app-dev:alice was last built in {other.root}; give the image another name or tag in one of the two projects\n"
    assert app("check", "--no-build-checks") == (0, f"{CONFIG}: 1 image, no problems\n", f"dockerutils: {warning}")
    assert f"build-image: {warning}" in here("dev").err
    assert "warning" not in here("dev").err
    assert app("check", "--no-build-checks").err == ""
    assert warning.replace(str(other.root), str(app.root)) in other("dev").err
    app.write({CONFIG: "[dev]\ntag = mine\n"})
    assert app("check", "--no-build-checks").err == ""
    app.write({CONFIG: ""})
    shutil.rmtree(other.root)  # it cannot replace the image any more
    assert app("check", "--no-build-checks").err == ""


def test_our_own_projects_have_no_problems(containerd_engine, capfd, monkeypatch) -> None:
    for name, value in {"BASE": "local/busybox", "BUSYBOX": "local/busybox", "REGISTRY": "localhost:5000"}.items():
        monkeypatch.setenv(name, value)
    assert len(PROJECTS) > 5
    for project in PROJECTS:
        outcome = call(main, "check", directory=project, capfd=capfd)
        assert (outcome.status, outcome.out.endswith("no problems\n")) == (0, True), outcome
        # The base of this one is made by the other project of the example.
        assert (outcome.err == "") is (project.name != "report"), outcome
