"""Where the measuring is done: a fresh installation, a project, an engine; all of it goes when the measuring ends."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from benchmarks.timing import Call, note, run
from tests.testbed.debian import modern_usr
from tests.testbed.engine import running

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SECTIONS = 1000

# What would change how Python, docker or our commands start. A measurement is a plain user's.
_LEFT_OUT = ("PYTHON", "DOCKER_", "DOCK_", "COMPOSE_", "BUILDKIT_", "AWS_", "NO_COLOR")

_DOCKERFILE = 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n'

_CONFIGURATION = """\
[app]
environment = -e GREETING=hello -e WHO=world
volumes = -v {project_root}:/project
"""

# The service that is what the section above is.
_SERVICE = """\
services:
  app:
    image: $REFERENCE
    init: true
    network_mode: bridge
    environment: {GREETING: hello, WHO: world}
    volumes: [".:/project"]
"""

_SECTION = """\
[image%04d]
tag = 1.%d
environment = -e NUMBER=%d -e MODE=test
volumes = -v {project_root}:/workdir -v {home}/data:/data
ports = -p 127.0.0.1:8888:8888
keep_container = False
cmd = python3 -m worker --number %d
"""

# It keeps a record of what it was asked, knows every image, and ends at once.
_STAND_IN = """\
#!/bin/sh
echo "$*" >>"$RECORD"
[ "$1" != image ] || echo '[{"RepoTags": ["'"$4"'"]}]'
"""


class Place(NamedTuple):
    """An installation and a project to run its commands in."""

    bin: str  # the directory of the installed commands
    project: str
    env: Mapping[str, str]


class Lab(NamedTuple):
    """What the measurements use: the installation's commands, two projects, and environments to run them in."""

    bin: str  # the directory of the installed commands and their python
    project: str  # one section, one image, a compose.yml
    large: str  # the same image among 1,000 sections
    env: Mapping[str, str]  # docker is the real one
    stand_in: Mapping[str, str]  # docker is a script that notes its arguments and ends
    bare: list[str]  # the `docker run` line that run-image prints for `true`
    compose: str  # the version of the compose plugin; empty when there is none

    @property
    def reference(self) -> str:
        """The image's name."""
        return self.bare[-2]

    def command(self, *words: str, stand_in: bool = False, directory: str | None = None) -> Call:
        """Call one of the installed commands."""
        return self.call(os.path.join(self.bin, words[0]), *words[1:], stand_in=stand_in, directory=directory)

    def call(self, *words: str, stand_in: bool = False, directory: str | None = None) -> Call:
        """Call any program."""
        return Call(words, directory or self.project, self.stand_in if stand_in else self.env)

    def asked(self, call: Call) -> list[str]:
        """Run a call that meets the stand-in, and return what that was asked: a line for each start of it."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.stand_in["RECORD"])
        run(call)
        with open(self.stand_in["RECORD"]) as record:
            return record.read().splitlines()


@contextlib.contextmanager
def opened() -> Iterator[Lab]:
    """Make all of it, and remove it again."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="dockerutils-benchmarks-"))
        # The image's name, which is the project's, is to collide with no other on the user's engine.
        project = os.path.join(directory, os.path.basename(directory))
        env = environment(directory)
        binaries = install(directory)
        env |= stack.enter_context(_engine(env["DOCKER_CONFIG"]))
        write(os.path.join(project, "docker/app/Dockerfile"), _DOCKERFILE)
        write(os.path.join(project, "docker/dockerutils.cfg"), _CONFIGURATION)
        large = os.path.join(directory, "large")
        shutil.copytree(project, large)
        sections = "".join(_SECTION % (n, n, n, n) for n in range(1, SECTIONS))
        write(os.path.join(large, "docker/dockerutils.cfg"), _CONFIGURATION + sections)
        shutil.copy2(_busybox(), os.path.join(project, "busybox"))

        printed = run(Call([f"{binaries}/run-image", "app", "--dry-run", "--", "true"], project, env))
        lab = Lab(binaries, project, large, env, _stand_in(directory, env), shlex.split(printed), _compose(env))
        write(os.path.join(project, "compose.yml"), _SERVICE.replace("$REFERENCE", lab.reference))
        note("building the image")
        run(lab.command("build-image", "app"))
        stack.callback(run, lab.call("docker", "image", "rm", "--force", lab.reference))
        yield lab


@contextlib.contextmanager
def installed(what: str, *programs: str) -> Iterator[tuple[str, str]]:
    """Install the project in a temporary directory; yield that directory and the one of the installed commands.

    Exit if this is not root or a program is missing; the message says that `what`, such as builds, needs it.
    """
    missing = [name for name in programs if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]
    if os.geteuid() or missing:
        sys.exit(f"benchmarks: {what} need root and {', '.join(programs)}; missing: {', '.join(missing) or 'root'}")
    with tempfile.TemporaryDirectory(prefix="dockerutils-benchmarks-") as directory:
        yield directory, install(directory)


def install(directory: str) -> str:
    """Install the project as a user does, into an environment of its own; return where its commands are.

    From a copy: a build leaves its traces in the source tree.
    """
    note("installing the project into a fresh virtual environment")
    source, venv = os.path.join(directory, "source"), os.path.join(directory, "venv")
    left_out = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".venv", "wheels")
    shutil.copytree(ROOT, source, symlinks=True, ignore=left_out)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    run(Call([sys.executable, "-m", "venv", venv], directory, env))
    run(Call([f"{venv}/bin/python", "-m", "pip", "install", "--quiet", source], directory, env))
    return os.path.join(venv, "bin")


@contextlib.contextmanager
def _engine(config: str) -> Iterator[dict[str, str]]:
    """Give the variables that make docker talk to an engine of our own; to the user's, where none can be made."""
    if os.geteuid() == 0 and shutil.which("debootstrap"):
        note("starting a Docker Engine (the first time, Debian's is fetched)")
        with running(modern_usr()) as engine:
            yield engine.client(config)
    else:
        # Whether it comes from DOCKER_HOST or from the current context.
        address = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
        yield {"DOCKER_HOST": run(Call(address, ROOT, os.environ)).strip()}


def environment(home: str) -> dict[str, str]:
    """Return a plain user's environment with this home."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)}
    return {**env, "HOME": home, "DOCKER_CONFIG": os.path.join(home, ".docker")}


def _compose(env: Mapping[str, str]) -> str:
    command = ["docker", "compose", "version", "--short"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout.strip()


def _busybox() -> str:
    path = shutil.which("busybox")
    if path is None:
        sys.exit("benchmarks: busybox was not found on PATH; install busybox-static: it is all that the image holds")
    return path


def _stand_in(directory: str, env: Mapping[str, str]) -> dict[str, str]:
    place = os.path.join(directory, "stand-in")
    write(os.path.join(place, "docker"), _STAND_IN)
    os.chmod(os.path.join(place, "docker"), 0o755)
    return {**env, "PATH": f"{place}:{env['PATH']}", "RECORD": os.path.join(place, "record")}


def write(path: str, text: str) -> None:
    """Write a file, whose directory may be missing."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as stream:
        stream.write(text)
