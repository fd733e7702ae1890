"""dockerutils init: which files it writes, what it leaves alone, and what is left when it fails."""

from __future__ import annotations

import errno
import os
import signal
import stat
from pathlib import Path

import pytest

from dockerutils.commands import build_image
from dockerutils.commands.dockerutils import main
from dockerutils.core import files
from dockerutils.core.shell_words import quote
from dockerutils.scaffold import init
from tests.support import App, Outcome, call, write_tree

SCRIPT = {"main.py": ""}
ALL = {"setup.py": "setup()\n", "a.ipynb": "", "requirements.txt": "x\n", "tests/test_a.py": ""}
NEXT = "dockerutils: next: build-image all, then run-image dev\n"
ON_BASE = "build_args = --build-arg BASE_IMAGE={project}-base:{user}"


@pytest.fixture
def app(tmp_path, capfd) -> App:
    return App(main, tmp_path / "My App", capfd)


def tree(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mode, time and content of all that is below a directory, links by where they lead."""
    found = {}
    for path in sorted(root.rglob("*")):
        record = path.lstat()
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (record.st_mode, record.st_mtime_ns if path.is_file() else 0, content)
    return found


def wrote(*paths: str) -> str:
    return "".join(f"wrote {path}\n" for path in paths)


@pytest.mark.parametrize(
    ("project", "expected"),
    [
        pytest.param(
            SCRIPT,
            ["base/Dockerfile", "dev/Dockerfile", "cicd/Dockerfile", "dev/entrypoint"],
            id="a script",
        ),
        pytest.param(
            {"a.ipynb": ""},
            ["base/Dockerfile", "dev/Dockerfile", "notebook/Dockerfile", "dev/entrypoint", "notebook/entrypoint"],
            id="a notebook",
        ),
        pytest.param(
            {"setup.py": "setup()\n"},
            ["base/Dockerfile", "dev/Dockerfile", "cicd/Dockerfile", "base/needs", "dev/entrypoint"],
            id="a package",
        ),
        pytest.param(
            ALL,
            [
                "base/Dockerfile", "dev/Dockerfile", "cicd/Dockerfile", "notebook/Dockerfile",
                "base/needs", "dev/entrypoint", "notebook/entrypoint",
            ],
            id="all",
        ),
    ],
)  # fmt: skip
def test_what_is_written_passes_the_checks_and_builds_in_order(app, capfd, project, expected) -> None:
    app.write(project)
    paths = [*(f"docker/{path}" for path in expected), "docker/dockerutils.cfg", ".dockerignore"]
    assert app("init", "--dry-run") == (0, "".join(f"would write {path}\n" for path in paths), "")
    assert set(tree(app.root)) == {path for each in project for path in (each, os.path.dirname(each)) if path}

    assert app("init") == (0, wrote(*paths), NEXT)
    names = sorted({path.split("/")[0] for path in expected}, key=["base", "cicd", "dev", "notebook"].index)
    assert app("check") == (0, f"docker/dockerutils.cfg: {len(names) + 1} images, nothing found\n", "")
    planned = call(build_image.main, "all", "--dry-run", directory=app.root, capfd=capfd)
    built = [line for line in planned.out.splitlines() if "--target" not in line]
    assert (planned.status, [line.split()[3] for line in built]) == (0, [f"my-app-{name}:alice" for name in names])
    assert not list(app.root.rglob("*.tmp"))


def test_nothing_is_overwritten_and_a_second_init_writes_nothing(app) -> None:
    app.write(
        {**ALL, ".dockerignore": "mine\n", "docker/dev/entrypoint": "mine\n", "docker/dockerutils.cfg": "[base]\n"}
    )
    (app.root / "docker/dev/entrypoint").chmod(0o741)
    (app.root / "docker/notebook").mkdir()
    (app.root / "docker/notebook/Dockerfile").symlink_to("nowhere")
    before = tree(app.root)
    first = app("init")
    assert first.status == 0
    assert first.out == (
        "kept docker/notebook/Dockerfile: it exists\nkept docker/dev/entrypoint: it exists\n"
        "kept docker/dockerutils.cfg: it exists\nkept .dockerignore: it exists\n"
        + wrote("docker/base/Dockerfile", "docker/dev/Dockerfile", "docker/cicd/Dockerfile", "docker/base/needs")
    )
    between = tree(app.root)
    assert {path: between[path] for path in before} == before

    second = app("init")
    assert second.err == "dockerutils: nothing was missing\n"
    assert {line.split()[0] for line in second.out.splitlines()} == {"kept"}
    assert tree(app.root) == between


def test_what_stands_beside_what_was_there_is_told(app) -> None:
    app.write(
        {
            **ALL,
            ".dockerignore": "*\n!requirements.txt\n",
            "docker/run.cfg": "[cicd]\n",
            "docker/base/Dockerfile": "FROM x\n",
        }
    )
    told = app("init", "--dry-run").err
    outcome = app("init")
    assert outcome.err == told + NEXT
    assert "kept docker/run.cfg: it exists\n" in outcome.out
    assert not (app.root / "docker/dockerutils.cfg").exists()
    assert outcome.err.splitlines() == [
        "dockerutils: warning: docker/base/Dockerfile is your own; what is built on it here is to find Python in /venv, a user app, and /code in it",
        "dockerutils: warning: .dockerignore leaves out docker/base/Dockerfile, which is copied into images; add a line !docker/base/Dockerfile to it",
        "dockerutils: warning: .dockerignore leaves out docker/dev/entrypoint, which is copied into images; add a line !docker/dev/entrypoint to it",
        "dockerutils: warning: .dockerignore leaves out docker/notebook/entrypoint, which is copied into images; add a line !docker/notebook/entrypoint to it",
        f"dockerutils: warning: docker/run.cfg has no section [dev], which docker/dev needs; add it, with {ON_BASE} and volumes = -v {{project_root}}:/code",
        f"dockerutils: warning: docker/run.cfg has no section [notebook], which docker/notebook needs; add it, with {ON_BASE}",
        NEXT.rstrip(),
    ]  # fmt: skip


def test_what_cannot_be_read_is_told_before_anything_is_written(app) -> None:
    app.write({**SCRIPT, "docker/dockerutils.cfg/x": ""})
    before = tree(app.root)
    message = "docker/dockerutils.cfg is a directory; it should be a configuration file"
    assert app("init") == (2, "", f"dockerutils: {message}\n")
    assert tree(app.root) == before


def test_one_image_that_is_missing_comes_back(app) -> None:
    app.write(SCRIPT)
    app("init")
    (app.root / "docker/dev/Dockerfile").unlink()
    outcome = app("init")
    assert (outcome.out.splitlines()[-1], outcome.err) == ("wrote docker/dev/Dockerfile", NEXT)


@pytest.mark.parametrize(
    ("project", "message"),
    [
        pytest.param(
            {"README.md": ""},
            "there is no Python project here: no setup.py, pyproject.toml, setup.cfg or requirements.txt, no *.py and no *.ipynb; change to the project's directory, or begin with one of these files",
            id="no project",
        ),
        pytest.param(
            {**SCRIPT, "docker": ""},
            "docker is no directory; move it away, and run dockerutils init again",
            id="a file called docker",
        ),
        pytest.param(
            {**SCRIPT, "docker/dev": ""},
            "docker/dev is no directory; move it away, and run dockerutils init again",
            id="a file called dev",
        ),
    ],
)
def test_what_is_refused_leaves_nothing(app, project, message) -> None:
    app.write(project)
    before = tree(app.root)
    for argv in (["init"], ["init", "--dry-run"]):
        assert app(*argv) == (2, "", f"dockerutils: {message}\n")
    assert tree(app.root) == before


def test_the_home_directory_is_no_project(app) -> None:
    home = write_tree(Path(os.environ["HOME"]), SCRIPT)
    assert app("init", directory=str(home)) == (
        2,
        "",
        f"dockerutils: {home} is no project: builds would be sent all of it; change to the project's directory\n",
    )


def test_links(app, tmp_path) -> None:
    app.write({**SCRIPT, "ops/x": ""})
    (app.root / "docker").symlink_to("ops")
    assert app("init").status == 0
    assert (app.root / "ops/dev/Dockerfile").is_file()
    # It leads nowhere, or where no build can follow.
    app.write({"other/main.py": "", "third/main.py": ""})
    (app.root / "other/docker").symlink_to("gone")
    assert app("init", directory="other").err.startswith("dockerutils: docker is no directory; ")
    (app.root / "third/docker").symlink_to(tmp_path)
    assert app("init", directory="third") == (
        2,
        "",
        "dockerutils: docker leads out of the project, where no build can copy from; make it a directory here\n",
    )


@pytest.mark.parametrize("count", range(6))
def test_a_full_disk_leaves_nothing(app, monkeypatch, count) -> None:
    app.write({**SCRIPT, "docker/mine": "x"})
    before = tree(app.root)
    write, written = files.write, list[str]()

    def full(path: str, text: str) -> None:
        if len(written) == count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        write(path, text)

    monkeypatch.setattr(files, "write", full)
    outcome = app("init")
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == "dockerutils: No space left on device; free some space on the disk"
    assert tree(app.root) == before


def test_a_signal_leaves_nothing(app, monkeypatch) -> None:
    app.write(SCRIPT)
    before = tree(app.root)
    write = files.write

    def interrupted(path: str, text: str) -> None:
        write(path, text)
        if path.endswith("docker/cicd/Dockerfile"):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(files, "write", interrupted)
    outcome = app("init")
    assert outcome.status == 128 + signal.SIGTERM
    assert outcome.err == (
        "dockerutils: removed again: docker/cicd/Dockerfile, docker/cicd, docker/dev/Dockerfile, docker/dev, "
        "docker/base/Dockerfile, docker/base, docker\n"
    )
    assert tree(app.root) == before


def test_what_another_one_has_put_there_stays(app, monkeypatch) -> None:
    app.write(SCRIPT)
    write = files.write

    def meddled(path: str, text: str) -> None:
        if path.endswith("docker/dev/Dockerfile"):
            (app.root / "docker/base/Dockerfile").unlink()
            (app.root / "docker/base/theirs").write_text("x")
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        write(path, text)

    monkeypatch.setattr(files, "write", meddled)
    outcome = app("init")
    assert "docker/base may be left: " in outcome.err
    assert "to mend that, run: rm -r docker/base\n" in outcome.err
    assert list(tree(app.root)) == ["docker", "docker/base", "docker/base/theirs", "main.py"]


def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, buildx: str) -> None:
    """Put a docker on PATH that says what one of some version does."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncase $1 in version) {version};; buildx) {buildx};; *) exit 9;; esac\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")


@pytest.mark.parametrize(
    ("version", "buildx", "environ", "expected"),
    [
        pytest.param("echo 28.2.2 26.1.5", "exit 0", {}, True, id="new"),
        pytest.param("echo 28.2.2 26.1.5", "exit 1", {}, False, id="without the plugin"),
        pytest.param("echo 20.10.24 20.10.24", "exit 0", {}, False, id="old"),
        pytest.param("echo 20.10.24 20.10.24", "exit 1", {"DOCKER_BUILDKIT": "1"}, True, id="asked for"),
        pytest.param("echo 28.2.2 26.1.5", "exit 0", {"DOCKER_BUILDKIT": "0"}, False, id="not wanted"),
        pytest.param("echo 28.2.2; exit 1", "exit 0", {"DOCKER_BUILDKIT": "1"}, False, id="no engine"),
        pytest.param("echo dev-build", "exit 0", {}, False, id="of no version"),
    ],
)
def test_buildkit(tmp_path, monkeypatch, version, buildx, environ, expected) -> None:
    docker(tmp_path, monkeypatch, version, buildx)
    assert init.has_buildkit(environ) is expected


def test_with_buildkit_the_cache_of_pip_is_kept(app, tmp_path, monkeypatch) -> None:
    docker(tmp_path, monkeypatch, "echo 28.2.2 26.1.5", "exit 0")
    app.write({"requirements.txt": "x\n"})
    assert app("init").status == 0
    lines = "RUN --mount=type=cache,target=/root/.cache/pip \\\n    pip install -r requirements.txt\n"
    assert lines in recipe(app, "base")
    assert app("check").status == 0


def test_no_docker_at_all(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert init.has_buildkit({"DOCKER_BUILDKIT": "1"}) is False


def recipe(app: App, name: str) -> str:
    return (app.root / f"docker/{name}/Dockerfile").read_text()


def test_requirements_that_are_spread(app) -> None:
    app.write({
        "setup.py": "setup(extras_require={})\n",
        "requirements/base.txt": "-e .\nx\n",
        "requirements/dev.txt": "-r base.txt\n-c ../limits.txt\n",
        "limits.txt": "",
        "tests/test_a.py": "import pytest\n",
    })  # fmt: skip
    assert app("init").status == 0
    assert """\
COPY requirements/base.txt requirements/
COPY setup.py docker/base/needs pip.con[f] ./
# The project itself, which is listed there too, comes later.
RUN sed -i -E '/^ *((-e|--editable)[ =]*)?(\\.|file:)/d' requirements/base.txt
ENV PIP_CONFIG_FILE=/build/pip.conf
RUN pip install --no-cache-dir -r requirements/base.txt && \\
    python3 needs >needed.txt && \\
    pip install --no-cache-dir -r needed.txt
""" in recipe(app, "base")
    tools = """\
COPY requirements/dev.txt requirements/base.txt requirements/
COPY limits.txt setup.py docker/base/needs pip.con[f] ./
# The project itself, which is listed there too, comes later.
RUN sed -i -E '/^ *((-e|--editable)[ =]*)?(\\.|file:)/d' requirements/base.txt
ENV PIP_CONFIG_FILE=/build/pip.conf
RUN pip install --no-cache-dir -r requirements/dev.txt && \\
    python3 needs test tests testing dev >needed.txt && \\
    pip install --no-cache-dir -r needed.txt && \\
    pip install --no-cache-dir pytest
"""
    # The same in both, so that it is built once.
    assert tools in recipe(app, "dev")
    assert tools in recipe(app, "cicd")


@pytest.mark.parametrize(
    ("project", "command"),
    [
        ({"setup.py": "setup()\n"}, '["pip", "check"]'),
        ({"setup.py": "setup()\n", "tests/test_a.py": ""}, '["pytest", "tests"]'),
        ({"a.py": "", "tests/test_a.py": ""}, '["python", "-m", "pytest", "tests"]'),
        ({"a.py": "", "test_a.py": ""}, '["python", "-m", "pytest"]'),
        ({"a.py": "", "test_a.py": "unittest"}, '["python", "-m", "unittest", "discover", "-s", "."]'),
        (
            {"tests/test_a.py": "unittest", "tests/__init__.py": ""},
            '["python", "-m", "unittest", "discover", "-s", "tests", "-t", "."]',
        ),
        ({"a.py": "", "app.py": ""}, '["python", "app.py"]'),
        ({"a.py": "", "b.py": ""}, '["python", "-m", "compileall", "-q", "."]'),
    ],
)
def test_what_cicd_runs(app, project, command) -> None:
    app.write(project)
    assert app("init").status == 0
    assert recipe(app, "cicd").endswith(f"\nCMD {command}\n")


def test_versions(app) -> None:
    app.write({"setup.cfg": "[versioneer]\nversionfile_source = a b/_v.py\n", "setup.py": "setup()\n"})
    assert app("init").status == 0
    assert f"RUN cp _version.py.bld {quote('a b/_v.py')}\n" in recipe(app, "cicd")
    app.write({"scm/pyproject.toml": '[build-system]\nrequires = ["hatch-vcs"]\n'})
    assert app("init", directory="scm").status == 0
    assert "ENV SETUPTOOLS_SCM_PRETEND_VERSION=0.0.0\n" in (app.root / "scm/docker/base/Dockerfile").read_text()


def test_a_directory_that_cannot_be_written(app, monkeypatch) -> None:
    app.write(SCRIPT)

    def refused(path: str, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.path.relpath(path))

    monkeypatch.setattr(os, "mkdir", refused)
    assert app("init") == Outcome(1, "", "dockerutils: docker: Permission denied; mend its permissions\n")
