"""dockerutils init: the files it writes, the files it keeps, and what is left after a failure."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from dockerutils.commands import build_image
from dockerutils.commands.dockerutils import main
from dockerutils.core import files
from dockerutils.core.shell_words import quote
from dockerutils.project import dockerignore
from tests.support import App, Outcome, answering_docker, call, write_tree

SCRIPT = {"main.py": ""}
ALL = {"setup.py": "setup(packages=[])\n", "a.ipynb": "", "requirements.txt": "x\n", "tests/test_a.py": ""}
CASE = "class TestIt(TestCase):\n    def test_it(self): pass\n"
NO_TESTS = (
    """["sh", "-c", "echo 'no tests were found; write some, then set CMD in docker/cicd/Dockerfile' >&2; exit 1"]"""
)
NEXT = "dockerutils: next: build-image all, then run-image dev\n"
NEXT_NOTEBOOK = NEXT.replace("\n", " or run-notebook\n")
ON_BASE = "build_args = --build-arg BASE_IMAGE={project}-base:{user}"


@pytest.fixture
def app(tmp_path, capfd) -> App:
    return App(main, tmp_path / "My App", capfd)


def tree(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mode, time and content of everything below a directory, for links the path they lead to."""
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
            {"setup.py": "setup(packages=[])\n"},
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
def test_new_files_pass_the_check_and_build_in_order(app, capfd, project, expected) -> None:
    app.write(project)
    paths = [*(f"docker/{path}" for path in expected), "docker/dockerutils.cfg", ".dockerignore"]
    assert app("init", "--dry-run") == (0, "".join(f"would write {path}\n" for path in paths), "")
    assert set(tree(app.root)) == {path for each in project for path in (each, os.path.dirname(each)) if path}

    following = NEXT_NOTEBOOK if "notebook/Dockerfile" in expected else NEXT
    assert app("init") == (0, wrote(*paths), following)
    names = sorted({path.split("/")[0] for path in expected}, key=["base", "cicd", "dev", "notebook"].index)
    checked = app("check", "--no-build-checks")
    assert checked == (0, f"docker/dockerutils.cfg: {len(names) + 1} images, no problems\n", "")
    planned = call(build_image.main, "all", "--dry-run", directory=app.root, capfd=capfd)
    built = [line for line in planned.out.splitlines() if "--target" not in line]
    assert (planned.status, [line.split()[3] for line in built]) == (0, [f"my-app-{name}:alice" for name in names])
    assert not list(app.root.rglob("*.tmp"))


def test_existing_files_are_kept_and_a_second_init_writes_nothing(app) -> None:
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
    assert second.err == "dockerutils: nothing to do: no file is missing\n"
    assert {line.split()[0] for line in second.out.splitlines()} == {"kept"}
    assert tree(app.root) == between


def test_warnings_about_existing_files(app) -> None:
    app.write(
        {
            **ALL,
            ".dockerignore": "*\n!requirements.txt\n",
            "docker/run.cfg": "[cicd]\n",
            "docker/base/Dockerfile": "FROM x\n",
        }
    )
    warnings = app("init", "--dry-run").err
    outcome = app("init")
    assert outcome.err == warnings + NEXT_NOTEBOOK
    assert "kept docker/run.cfg: it exists\n" in outcome.out
    assert not (app.root / "docker/dockerutils.cfg").exists()
    assert outcome.err.splitlines() == [
        "dockerutils: warning: docker/base/Dockerfile is your own; the new images expect Python in /venv, a user app and a directory /code in it",
        "dockerutils: warning: .dockerignore leaves out docker/base/Dockerfile, which is copied into images; add a line !docker/base/Dockerfile to it",
        "dockerutils: warning: .dockerignore leaves out docker/dev/entrypoint, which is copied into images; add a line !docker/dev/entrypoint to it",
        "dockerutils: warning: .dockerignore leaves out docker/notebook/entrypoint, which is copied into images; add a line !docker/notebook/entrypoint to it",
        "dockerutils: warning: .dockerignore leaves out tests, so cicd cannot run tests/test_a.py; add a line !tests to it",
        f"dockerutils: warning: docker/run.cfg has no section [dev]; docker/dev needs it, with {ON_BASE} and volumes = -v {{project_root}}:/code",
        f"dockerutils: warning: docker/run.cfg has no section [notebook]; docker/notebook needs it, with {ON_BASE}",
        NEXT_NOTEBOOK.rstrip(),
    ]  # fmt: skip


def test_unreadable_configuration_is_reported_first(app) -> None:
    app.write({**SCRIPT, "docker/dockerutils.cfg/x": ""})
    before = tree(app.root)
    message = "docker/dockerutils.cfg is a directory; replace it with a configuration file"
    assert app("init") == (2, "", f"dockerutils: {message}\n")
    assert tree(app.root) == before


def test_one_missing_image_is_written_again(app) -> None:
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
            "no Python project here: no setup.py, pyproject.toml, setup.cfg or requirements.txt, no *.py, no *.ipynb; change to the project's directory, or create one of these files",
            id="no project",
        ),
        pytest.param(
            {**SCRIPT, "docker": ""},
            "docker is not a directory; move it away, then run dockerutils init again",
            id="a file called docker",
        ),
        pytest.param(
            {**SCRIPT, "docker/dev": ""},
            "docker/dev is not a directory; move it away, then run dockerutils init again",
            id="a file called dev",
        ),
    ],
)
def test_refusals_change_nothing(app, project, message) -> None:
    app.write(project)
    before = tree(app.root)
    for argv in (["init"], ["init", "--dry-run"]):
        assert app(*argv) == (2, "", f"dockerutils: {message}\n")
    assert tree(app.root) == before


def test_home_directory_is_refused(app) -> None:
    home = write_tree(Path(os.environ["HOME"]), SCRIPT)
    assert app("init", directory=str(home)) == (
        2,
        "",
        f"dockerutils: {home} is not a project: builds would send all of it; change to the project's directory\n",
    )


def test_docker_as_a_link(app, tmp_path) -> None:
    app.write({**SCRIPT, "ops/x": ""})
    (app.root / "docker").symlink_to("ops")
    assert app("init").status == 0
    assert (app.root / "ops/dev/Dockerfile").is_file()
    # A link to nowhere, and one out of the project.
    app.write({"other/main.py": "", "third/main.py": ""})
    (app.root / "other/docker").symlink_to("gone")
    assert app("init", directory="other").err.startswith("dockerutils: docker is not a directory; ")
    (app.root / "third/docker").symlink_to(tmp_path)
    assert app("init", directory="third") == (
        2,
        "",
        "dockerutils: docker is a link to a place outside the project, where builds cannot copy from; replace it with a directory\n",
    )


@pytest.mark.parametrize("count", range(6))
def test_full_disk_leaves_nothing(app, monkeypatch, count) -> None:
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


def test_signal_leaves_nothing(app, monkeypatch) -> None:
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
        "dockerutils: removed: docker/cicd/Dockerfile, docker/cicd, docker/dev/Dockerfile, docker/dev, "
        "docker/base/Dockerfile, docker/base, docker\n"
    )
    assert tree(app.root) == before


def test_files_of_others_stay(app, monkeypatch) -> None:
    app.write(SCRIPT)
    write = files.write

    def interfere(path: str, text: str) -> None:
        if path.endswith("docker/dev/Dockerfile"):
            (app.root / "docker/base/Dockerfile").unlink()
            (app.root / "docker/base/theirs").write_text("x")
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        write(path, text)

    monkeypatch.setattr(files, "write", interfere)
    outcome = app("init")
    assert "not removed: docker/base: " in outcome.err
    assert "run: rm -r docker/base\n" in outcome.err
    assert list(tree(app.root)) == ["docker", "docker/base", "docker/base/theirs", "main.py"]


def test_buildkit_keeps_the_cache_of_pip(app, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", answering_docker(tmp_path / "bin", "echo 28.2.2 26.1.5", "exit 0"))
    app.write({"requirements.txt": "x\n"})
    assert app("init").status == 0
    assert """\
RUN --mount=type=cache,target=/root/.cache/pip \\
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \\
    pip install -r requirements.txt
""" in dockerfile(app, "base")
    assert app("check").status == 0


def dockerfile(app: App, name: str) -> str:
    return (app.root / f"docker/{name}/Dockerfile").read_text()


def test_syntax_comes_from_docker_hub_unless_the_project_has_an_index_of_its_own(app, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", answering_docker(tmp_path / "bin", "echo 28.2.2 26.1.5", "exit 0"))
    app.write(
        {
            "setup.py": "setup(extras_require={})\n",
            "a.ipynb": "",
            "own/requirements.txt": "",
            "own/pip.conf.template": "",
        }
    )
    assert app("init").status == 0
    for name in ("base", "dev", "cicd", "notebook"):
        assert dockerfile(app, name).startswith("# syntax=docker/dockerfile:1\n# ")
    assert app("init", directory="own").status == 0
    assert "syntax=" not in (app.root / "own/docker/base/Dockerfile").read_text()


def test_uv(app, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", answering_docker(tmp_path / "bin", "echo 28.2.2 26.1.5", "exit 0"))
    app.write({**LOCKED, "uv.lock": '[[package]]\nname = "pytest"\n', "requirements.txt": "not-installed\n"})
    assert app("init").err == NEXT
    assert """\
# Install what uv.lock lists. uv has its own environment in this stage, which is not published.
COPY pyproject.toml uv.lock ./
ENV VIRTUAL_ENV=/venv
# The engine keeps pip's cache for the next build. pip.conf is the project's pip.conf.template, if there is one: it names the
# package index. It can hold a password, so it is mounted, and no image contains it.
RUN --mount=type=cache,target=/root/.cache/pip \\
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \\
    python3 -m venv /opt/uv && /opt/uv/bin/pip install uv
ENV UV_PROJECT_ENVIRONMENT=/venv UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
# --locked fails if uv.lock does not match pyproject.toml; then run uv lock.
RUN --mount=type=cache,target=/root/.cache/uv \\
    --mount=type=secret,id=UV_INDEX_OWN_USERNAME \\
    --mount=type=secret,id=UV_INDEX_OWN_PASSWORD \\
    for name in UV_INDEX_OWN_USERNAME UV_INDEX_OWN_PASSWORD; do \\
        [ ! -s "/run/secrets/$name" ] || export "$name=$(cat "/run/secrets/$name")"; done && \\
    /opt/uv/bin/uv sync --locked --no-install-project --no-default-groups
# The build tools of the project. They are not in /venv, which has only what uv.lock lists.
COPY pyproject.toml docker/base/needs ./
RUN --mount=type=cache,target=/root/.cache/pip \\
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \\
    python3 needs --build . >needed.txt && \\
    pip install --target /opt/build-system -r needed.txt
""" in dockerfile(app, "base")
    assert "    /opt/uv/bin/uv sync --locked --no-install-project --group=test\n" in dockerfile(app, "cicd")
    assert "pip install pytest" not in dockerfile(app, "cicd")
    secrets = "    --secret id=UV_INDEX_OWN_USERNAME,env=UV_INDEX_OWN_USERNAME\n    --secret id=UV_INDEX_OWN_PASSWORD,env=UV_INDEX_OWN_PASSWORD\n"
    configured = (app.root / "docker/dockerutils.cfg").read_text()
    assert f"build_args = --build-arg BASE\n{secrets}" in configured
    assert configured.count(f"{ON_BASE}\n{secrets}") == 2


def test_workspace_of_uv(app) -> None:
    app.write({
        "pyproject.toml": "[tool.uv.workspace]\nmembers = ['libs/*']\n",
        "libs/one/pyproject.toml": "[project]\nname = 'one'\n[build-system]\n",
        "uv.lock": "",
    })  # fmt: skip
    assert app("init").status == 0
    assert """\
COPY libs/one/pyproject.toml libs/one/
# --locked fails if uv.lock does not match pyproject.toml; then run uv lock.
RUN \\
    /opt/uv/bin/uv sync --locked --no-install-local --all-packages --no-default-groups
""" in dockerfile(app, "base")
    assert "    python3 needs --build libs/one >needed.txt && \\\n" in dockerfile(app, "base")
    assert dockerfile(app, "base").count("COPY libs/one/pyproject.toml libs/one/\n") == 1
    entrypoint = (app.root / "docker/dev/entrypoint").read_text()
    assert "    pip install --quiet --no-build-isolation --no-deps --editable ./libs/one ||\n" in entrypoint


@pytest.mark.parametrize(
    ("files", "warning"),
    [
        (
            {"environment.yml": "", "a.py": ""},
            "not supported: the conda environment in environment.yml; list its Python packages in requirements.txt, and "
            "install others in docker/base/Dockerfile",
        ),
        (
            {"environment.yml": "", "requirements.txt": "x\n", "setup.py": "setup()\n"},
            "not supported: the conda environment in environment.yml; the images install what requirements.txt and setup.py list",
        ),
        (
            {"pixi.lock": "", "pyproject.toml": "[project]\nname = 'x'\n[build-system]\n", "uv.lock": ""},
            "not supported: the pixi environment in pixi.lock; the images install what uv.lock lists",
        ),
        (
            {"pyproject.toml": "[build-system]\n", "poetry.lock": "", "uv.lock": ""},
            "the images install what uv.lock lists, and ignore poetry.lock; delete the file that is out of date, and the "
            "files of docker/, then run dockerutils init again",
        ),
        (
            {"requirements.txt": "--extra-index-url https://${USER}:${PASS}@x\n"},
            "builds get no credentials for private package indexes (USER, PASS): that needs BuildKit; install docker's "
            "buildx plugin, delete the new files, then run dockerutils init again",
        ),
    ],
)
def test_what_the_images_do_not_have(app, files, warning) -> None:
    app.write({**files, "src/x.py": ""})
    assert app("init").err.removeprefix("dockerutils: warning: ").splitlines()[0] == warning
    assert "/run/secrets" not in dockerfile(app, "base")
    assert "--secret" not in (app.root / "docker/dockerutils.cfg").read_text()


def test_requirements_in_several_files(app) -> None:
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
# The project itself is installed later.
RUN sed -i -E '/^ *((-e|--editable)[ =]*)?(\\.|file:)/d' requirements/base.txt
# pip.conf comes from the project's pip.conf.template, if there is one: it names the package index. It can hold a password,
# so it stays in this stage, which is not published.
ENV PIP_CONFIG_FILE=/build/pip.conf PIP_NO_CACHE_DIR=1
RUN \\
    pip install -r requirements/base.txt && \\
    python3 needs >needed.txt && \\
    pip install -r needed.txt
""" in dockerfile(app, "base")
    tools = """\
COPY requirements/dev.txt requirements/base.txt requirements/
COPY limits.txt setup.py docker/base/needs pip.con[f] ./
# The project itself is installed later.
RUN sed -i -E '/^ *((-e|--editable)[ =]*)?(\\.|file:)/d' requirements/base.txt
# pip.conf comes from the project's pip.conf.template, if there is one: it names the package index. It can hold a password,
# so it stays in this stage, which is not published.
ENV PIP_CONFIG_FILE=/build/pip.conf PIP_NO_CACHE_DIR=1
RUN \\
    pip install -r requirements/dev.txt && \\
    python3 needs test tests testing dev >needed.txt && \\
    pip install -r needed.txt && \\
    pip install pytest
"""
    # The same in both, so that it is built once.
    assert tools in dockerfile(app, "dev")
    assert tools in dockerfile(app, "cicd")


@pytest.mark.parametrize(
    ("project", "command"),
    [
        ({"setup.py": "setup()\n"}, NO_TESTS),
        ({"setup.py": "setup()\n", "app/tests/test_a.py": ""}, '["pytest", "app"]'),
        ({"setup.py": "setup()\n", "tests/test_a.py": ""}, '["pytest", "tests"]'),
        ({"a.py": "", "tests/test_a.py": ""}, '["python", "-m", "pytest", "tests"]'),
        ({"a.py": "", "test_a.py": ""}, '["python", "-m", "pytest"]'),
        ({"a.py": "", "test_a.py": CASE}, '["python", "-m", "unittest", "discover", "-s", "."]'),
        (
            {"tests/test_a.py": CASE, "tests/__init__.py": ""},
            '["python", "-m", "unittest", "discover", "-s", "tests", "-t", "."]',
        ),
        ({"manage.py": "django", "tests.py": CASE}, '["python", "manage.py", "test"]'),
        (
            {"a b/manage.py": "django", "a b/tests.py": CASE},
            """["sh", "-c", "cd 'a b' && exec python manage.py test"]""",
        ),
        ({"manage.py": "django", "a/tests.py": ""}, NO_TESTS),
        ({"a.py": "", "app.py": ""}, NO_TESTS),
        ({"a.py": "", "b.py": ""}, NO_TESTS),
    ],
)
def test_command_of_cicd(app, project, command) -> None:
    app.write(project)
    assert app("init").status == 0
    assert dockerfile(app, "cicd").endswith(f"\nCMD {command}\n")


def test_versions(app) -> None:
    app.write({"setup.cfg": "[versioneer]\nversionfile_source = a b/_v.py\n", "setup.py": "setup()\n"})
    assert app("init").status == 0
    assert f"RUN cp _version.py.bld {quote('a b/_v.py')}\n" in dockerfile(app, "cicd")
    app.write({"scm/pyproject.toml": '[build-system]\nrequires = ["hatch-vcs"]\n'})
    assert app("init", directory="scm").status == 0
    assert "ENV SETUPTOOLS_SCM_PRETEND_VERSION=0.0.0\n" in (app.root / "scm/docker/base/Dockerfile").read_text()


def test_read_only_directory(app, monkeypatch) -> None:
    app.write(SCRIPT)

    def refused(path: str, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.path.relpath(path))

    monkeypatch.setattr(os, "mkdir", refused)
    assert app("init") == Outcome(1, "", "dockerutils: docker: Permission denied; change its permissions\n")


def track(root: Path, *paths: str) -> None:
    """Let git track files."""
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["git", "add", "-f", *paths], cwd=root, check=True)


def test_tracked_files_are_not_left_out(app) -> None:
    app.write({
        **SCRIPT, ".env": "", "app/.env": "", "new/.env": "", "build/a.py": "", "build/b/c.py": "", "a[1].pyc": "",
        "pip.conf.template": "", "tests/x.egg-info/PKG-INFO": "",
    })  # fmt: skip
    track(app.root, ".env", "app/.env", "build", "a[1].pyc", "pip.conf.template", "tests", "main.py")
    assert app("init").err == (
        "dockerutils: warning: builds get the .env files that git tracks (.env, app/.env); if they hold secrets, "
        f"remove their lines from the end of .dockerignore\n{NEXT}"
    )
    written = (app.root / ".dockerignore").read_text()
    lines = ["!.env", r"!a\[1\].pyc", "!app/.env", "!build", "!tests/x.egg-info"]
    assert written.endswith(
        "\n# Git tracks these files, so builds get them although a pattern above matches.\n" + "\n".join(lines) + "\n"
    )
    ignored = dockerignore.read(str(app.root))
    paths = [*subprocess.check_output(["git", "ls-files"], cwd=app.root, text=True).split(), "new/.env"]
    assert [path for path in paths if ignored.judge_from_root(path).ignored] == ["pip.conf.template", "new/.env"]
    # An existing .dockerignore is the user's own.
    assert app("init").err == "dockerutils: nothing to do: no file is missing\n"


def test_without_git_the_patterns_hold_for_all_files(app) -> None:
    app.write({**SCRIPT, ".env": ""})
    assert app("init").err == NEXT
    assert "Tracked" not in (app.root / ".dockerignore").read_text()


def test_extras_in_requirement_files(app) -> None:
    app.write({
        "setup.py": "setup(extras_require={})\n", "requirements.txt": "-e .[web]\n", "requirements-dev.txt": "-e .[lint,dev]\n",
    })  # fmt: skip
    assert app("init").status == 0
    assert "    (python3 needs && python3 needs web) >needed.txt && \\\n" in dockerfile(app, "base")
    assert "    python3 needs test tests testing dev lint >needed.txt && \\\n" in dockerfile(app, "dev")


def test_system_packages_are_proposed(app) -> None:
    app.write({**SCRIPT, "requirements.txt": "psycopg2\nx @ git+https://example.com/x\n"})
    assert app("init").status == 0
    assert """\
# Likely needed to install git+ requirements, psycopg2. If the build fails without it, remove the number sign:
# RUN apt-get update && apt-get install --yes --no-install-recommends git gcc libpq-dev
""" in dockerfile(app, "base")
    assert """\
# Likely needed to run it:
# RUN apt-get update && apt-get install --yes --no-install-recommends libpq5 && rm -rf /var/lib/apt/lists/*
""" in dockerfile(app, "base")


def test_docker_stays_out_of_packages(app) -> None:
    app.write({"pyproject.toml": "[project]\nname = 'my-app'\n", "my_app/x.py": ""})
    warning = (
        "dockerutils: warning: outside these images, setuptools would package docker/, or refuse to build because of it; "
        'in pyproject.toml, under [tool.setuptools.packages.find], write: include = ["my_app*"]\n'
    )
    assert app("init").err == warning + NEXT
    assert "    rm -rf /tmp/code/docker && \\\n" in dockerfile(app, "cicd")
    assert "! -name docker" in (app.root / "docker/dev/entrypoint").read_text()
    # The user's file is not touched, and the warning stays until it has the setting.
    assert app("init").err == f"{warning}dockerutils: nothing to do: no file is missing\n"
    app.write(
        {"pyproject.toml": "[project]\nname = 'my-app'\n[tool.setuptools.packages.find]\ninclude = ['my_app*']\n"}
    )
    assert app("init").err == "dockerutils: nothing to do: no file is missing\n"


LOCKED = {
    "pyproject.toml": "[project]\nname = 'my-app'\n[dependency-groups]\ntest = ['pytest']\n[build-system]\n"
    "[[tool.uv.index]]\nname = 'own'\n[[tool.poetry.source]]\nname = 'own'\n[[tool.pdm.source]]\nurl = '${PASS}'\n",
    "Pipfile": "[[source]]\nurl = '$PASS'\n",
    "src/my_app.py": "",
    "tests/test_a.py": "",
}


@pytest.mark.parametrize("buildkit", [False, True])
@pytest.mark.parametrize(
    "project",
    [
        SCRIPT,
        ALL,
        {"a.ipynb": ""},
        {"pyproject.toml": "[project]\nname = 'my-app'\n", "my_app.py": ""},
        *({**LOCKED, f"{name}.lock": ""} for name in ("uv", "poetry", "pdm", "Pipfile")),
    ],
)
def test_templates_leave_no_trace(app, tmp_path, monkeypatch, project, buildkit) -> None:
    if buildkit:
        monkeypatch.setenv("PATH", answering_docker(tmp_path / "bin", "echo 28.2.2 26.1.5", "exit 0"))
    app.write(project)
    assert app("init").status == 0
    written = [
        path for path in app.root.rglob("*") if path.is_file() and str(path.relative_to(app.root)) not in project
    ]
    assert len(written) > 5
    for path in written:
        text = path.read_text()
        assert "#@" not in text
        assert not re.search(r"@\w+@", text)
        assert "\n\n\n\n" not in text
        assert not re.search(r"[ \t]$", text, re.MULTILINE)
        assert max(map(len, text.splitlines())) <= 160
        if path.name == "entrypoint":
            subprocess.run(["sh", "-n", path], check=True)
