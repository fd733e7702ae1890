"""The files of a new `docker/` tree, as texts that explain themselves: what suits the project that was detected."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Sequence

from dockerutils.scaffold.detect import LOCAL, Facts, Requirements

NAMES = BASE, DEV, CICD, NOTEBOOK = "base", "dev", "cicd", "notebook"
NEEDS = "docker/base/needs"  # the program that lists the requirements of a package

_TEMPLATES = os.path.join(os.path.dirname(__file__), "templates")
_EXTRAS = "test tests testing dev"  # the names by which packages list what their tests need

_BUILDER = "FROM $BASE_IMAGE AS builder\nUSER root\n"
_PIP_CONF = """\
# pip.conf is there when the project has a pip.conf.template: it says which index pip is to ask. It may hold a password,
# so it stays in this stage, which only this engine has.
"""
_ENTRYPOINT = """\
# root to begin with: the entrypoint becomes whoever the project belongs to.
USER root
"""
_INSTALL = """
# Installed as it stands here: what is edited, outside or inside, counts at once. What base lacks is fetched each time,
# if there is an index, so build base anew when the requirements have changed: build-image dev -f.
PIP_USE_PEP517=1 pip install --quiet --retries 0 --no-build-isolation --editable . ||
    echo "entrypoint: the project is not installed; pip says why above" >&2

"""
_HEAD = """\
# How the images of this project are built and run: a section for each directory with a Dockerfile. `dockerutils config`
# shows what comes of it, `dockerutils check` finds what is wrong in it. With --dry-run a command only shows.
"""
_SHELL = """\
[run_image]
# Not images of their own: other ways to run one of the directories here.
synthetic_images = shell

[shell]
# To look around in what was installed: run-image shell
name = {directory}
cmd = bash
"""


def base(facts: Facts, *, buildkit: bool) -> str:
    """Return the Dockerfile of the image that the others are built on: Python and all that comes from outside."""
    head = f"""\
# Python, and what {facts.name} needs from outside. Its own files are in the images on top of this one,
# so a change of the code builds nothing here.

# Why {facts.python.version}: {facts.python.reason}.
# slim is Debian without compilers. To try another image: BASE=python:{facts.python.version}-bookworm build-image base
ARG BASE=python:{facts.python.version}-slim
"""
    environment = "# A virtual environment: Debian's own packages are left alone, and it can be copied as a whole.\n"
    venv = "RUN python3 -m venv /venv\n"
    if facts.names_needs:
        environment += "# Without the setuptools that comes with older Pythons: it is too old to build with.\n"
        venv = "RUN python3 -m venv /venv && /venv/bin/pip uninstall --quiet --yes setuptools\n"
    steps = _steps(facts.requirements, "python3 needs" if facts.names_needs else "", buildkit=buildkit)
    builder = f"""
FROM $BASE AS builder
{environment}{venv}ENV PATH=/venv/bin:$PATH
WORKDIR /build
{_copied(facts, facts.requirements, listed=facts.names_needs)}{_run(steps, buildkit=buildkit)}
FROM $BASE
COPY --from=builder /venv /venv
"""
    user = f"""\
# Nobody needs to be root to run a program.
RUN useradd --create-home app && install -d -o app -g app /code
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1
{_scm(facts)}WORKDIR /code
USER app
"""
    return head + (builder if steps else f"\nFROM $BASE\n{environment}{venv}") + user


def dev(facts: Facts, *, buildkit: bool) -> str:
    """Return the Dockerfile for development: everything but the project, which is mounted."""
    tools = _tools(facts, buildkit=buildkit)
    stage = f"{tools}\n" if tools else ""
    return f"""\
# Everything but the project, which is mounted at /code when it runs: edited outside, run inside.
{_argument(facts)}
{stage}FROM $BASE_IMAGE
{_venv(tools)}{_ENTRYPOINT}COPY docker/dev/entrypoint /usr/local/bin/
ENTRYPOINT ["sh", "/usr/local/bin/entrypoint"]
CMD ["bash"]
"""


def cicd(facts: Facts, *, buildkit: bool) -> str:
    """Return the Dockerfile for tests: the project as a user has it, nothing mounted, no history."""
    tools = _tools(facts, buildkit=buildkit)
    version = ""
    if facts.version_file:
        version = f"""\
# The version: build-image has written it down, because there is no git in here to ask.
RUN cp _version.py.bld {shlex.quote(facts.version_file)}
"""
    install = """\
# A copy is installed, because to build a package leaves things beside the code. What that takes is in base.
USER root
RUN cp -r /code /tmp/code && \\
    PIP_USE_PEP517=1 pip install --no-cache-dir --no-build-isolation /tmp/code && \\
    rm -rf /tmp/code
USER app
"""
    reason, command = _command(facts)
    return f"""\
# The project as it is tested and delivered: copied in, nothing mounted, no .git.
{_argument(facts)}
{tools or _BUILDER}WORKDIR /code
COPY . .
# It may hold a password, and is not for the image.
RUN rm -f pip.conf
{version}
FROM $BASE_IMAGE
{_venv(tools)}COPY --from=builder --chown=app:app /code /code
{install if facts.is_package else ""}
# {reason}
CMD {json.dumps(command)}
"""


def notebook(facts: Facts, *, buildkit: bool) -> str:
    """Return the Dockerfile of what run-notebook runs: JupyterLab at port 8888, with the project mounted."""
    pip = _pip(buildkit=buildkit)
    return f"""\
# JupyterLab, with the project mounted: run-notebook builds it, runs it and opens it in the browser.
{_argument(facts)}
{_BUILDER}WORKDIR /build
{_PIP_CONF}COPY docker/notebook/entrypoint pip.con[f] ./
ENV PIP_CONFIG_FILE=/build/pip.conf
{_run([f"{pip} jupyterlab"], buildkit=buildkit)}
FROM $BASE_IMAGE
COPY --from=builder /venv /venv
{_ENTRYPOINT}# run-notebook mounts the project, and ~/.aws, in the home directory of a user called jovyan.
RUN useradd --create-home jovyan && install -d -o jovyan -g jovyan /home/jovyan/project
COPY docker/notebook/entrypoint /usr/local/bin/
WORKDIR /home/jovyan/project
EXPOSE 8888
ENTRYPOINT ["sh", "/usr/local/bin/entrypoint"]
# The token that it asks for comes from the environment, by run-notebook.
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--allow-root"]
"""


def needs() -> str:
    """Return the program that lists what a package needs."""
    return _template("needs")


def entrypoint(facts: Facts, user: str) -> str:
    """Return the entrypoint of an image that has the project mounted; `user` is whose number it takes."""
    text = _template("entrypoint").replace("@USER@", user)
    return text.replace("@INSTALL@\n", _INSTALL if facts.is_package else "\n")


def dockerignore(facts: Facts) -> str:
    """Return what builds leave out."""
    environments = dict.fromkeys([".venv", "venv", *facts.environments])
    return _template("dockerignore").replace("@ENVIRONMENTS@", "\n".join(environments))


def sections(names: Iterable[str]) -> dict[str, str]:
    """Return the sections of the configuration that the images of these names need, without comments."""
    on_base = "build_args = --build-arg BASE_IMAGE={project}-base:{user}"
    own = {BASE: "build_args = --build-arg BASE", DEV: f"{on_base}\nvolumes = -v {{project_root}}:/code"}
    return {name: own.get(name, on_base) for name in names}


def configuration(names: Sequence[str]) -> str:
    """Return the configuration of the images of these names, with comments that say what else there is."""
    why = {
        BASE: """\
# By name alone, docker takes BASE from the environment; when it is not set, the Dockerfile's default holds.
""",
        DEV: """\
# The base of this project, as you have built it: what you build has your login name for a tag.
""",
        CICD: """\
# To publish it: take away the number signs, and say where. Then: publish-image cicd
# image_repo = registry.example.com
# publication_tag = registry.example.com/{image}:{tag}
""",
        NOTEBOOK: """\
# run-notebook mounts the project and publishes the port; volumes and environment may be added here.
""",
    }
    more = {
        DEV: """\
# More to try; the words are those of docker run, and what is in braces, or behind a $, is filled in.
# ports = -p 127.0.0.1:8000:8000
# environment = -e LOG_LEVEL=debug
""",
    }
    texts = [f"[{name}]\n{why[name]}{section}\n{more.get(name, '')}" for name, section in sections(names).items()]
    return "\n".join([_HEAD, *texts, _SHELL.format(directory=CICD if CICD in names else BASE)])


def _argument(facts: Facts) -> str:
    return f"""\
# build-image says which: docker/dockerutils.cfg.
ARG BASE_IMAGE={facts.name}-base:unset
"""


def _scm(facts: Facts) -> str:
    if not facts.wants_scm:
        return ""
    return """\
# The version, because there is no git in here to ask for it.
ENV SETUPTOOLS_SCM_PRETEND_VERSION=0.0.0
"""


def _venv(tools: str) -> str:
    return "COPY --from=builder /venv /venv\n" if tools else ""


def _tools(facts: Facts, *, buildkit: bool) -> str:
    """Return the stage that installs what the tests need on top of base; nothing when that is nothing.

    It is the same for dev and cicd, so that it is built once.
    """
    listing = f"python3 needs {_EXTRAS}" if facts.names_needs and facts.has_extras else ""
    steps = _steps(facts.test_requirements, listing, buildkit=buildkit)
    if facts.tests and facts.runner == "pytest":
        steps.append(f"{_pip(buildkit=buildkit)} pytest")
    if not steps:
        return ""
    return f"""\
# What the tests need on top of base: cicd and dev have this stage in common, so it is built once.
{_BUILDER}WORKDIR /build
{_copied(facts, facts.test_requirements, listed=bool(listing))}{_run(steps, buildkit=buildkit)}"""


def _copied(facts: Facts, requirements: Requirements, *, listed: bool) -> str:
    """Return the lines that copy requirement files and what they include; `listed`: also what lists more of them."""
    paths = [*requirements.all_files, *(facts.metadata if listed else [])]
    lines = [
        f"COPY {' '.join(path for path in paths if os.path.dirname(path) == directory)} {directory}/\n"
        for directory in sorted({os.path.dirname(path) for path in paths} - {""})
    ]
    here = [path for path in paths if not os.path.dirname(path)] + ([NEEDS] if listed else [])
    # One file is to be there for COPY.
    lines.append(f"COPY {' '.join(here or ['docker/base/Dockerfile'])} pip.con[f] ./\n")
    if requirements.local:
        lines.append("# The project itself, which is listed there too, comes later.\n")
        lines.append(f"RUN sed -i -E '/{LOCAL}/d' {' '.join(requirements.local)}\n")
    return f"{_PIP_CONF}{''.join(lines)}ENV PIP_CONFIG_FILE=/build/pip.conf\n"


def _steps(requirements: Requirements, listing: str, *, buildkit: bool) -> list[str]:
    """Return the commands that install requirement files, and what the command `listing` lists."""
    pip = _pip(buildkit=buildkit)
    steps = [f"{pip} -r {path}" for path in requirements.files]
    return [*steps, f"{listing} >needed.txt", f"{pip} -r needed.txt"] if listing else steps


def _pip(*, buildkit: bool) -> str:
    return "pip install" if buildkit else "pip install --no-cache-dir"


def _run(steps: Sequence[str], *, buildkit: bool) -> str:
    """Return the instruction that executes commands; with BuildKit pip's cache is kept, and in no image."""
    commands = " && \\\n    ".join(steps)
    if not buildkit:
        return f"RUN {commands}\n"
    return f"""\
# pip's cache stays with the engine, for the next build. (It takes BuildKit; without: pip install --no-cache-dir.)
RUN --mount=type=cache,target=/root/.cache/pip \\
    {commands}
"""


def _command(facts: Facts) -> tuple[str, list[str]]:
    """Return what is to be said of the command of cicd, and the command."""
    if facts.tests and facts.runner == "unittest":
        top = ["-t", "."] if facts.tests_are_package else []
        return "The tests: run-image cicd", ["python", "-m", "unittest", "discover", "-s", facts.tests, *top]
    if facts.tests:
        # A package is tested as it is installed, scripts where they stand.
        where = [] if facts.tests == "." else [facts.tests]
        return "The tests: run-image cicd", [*([] if facts.is_package else ["python", "-m"]), "pytest", *where]
    if facts.is_package:
        return "There are no tests yet; so far, it says whether all that is installed fits together.", ["pip", "check"]
    if facts.script:
        return "There are no tests yet; so far, the program runs.", ["python", facts.script]
    return "There are no tests yet; so far, it says whether all of it compiles.", [
        "python",
        "-m",
        "compileall",
        "-q",
        ".",
    ]


def _template(name: str) -> str:
    with open(os.path.join(_TEMPLATES, name), encoding="utf-8") as stream:
        return stream.read()
