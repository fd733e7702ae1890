"""build-image and secrets: builds can use them, and they are nowhere afterwards."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockerutils.commands.build_image import main
from tests.support import App, wait_for
from tests.testbed.engine import Engine

MARKER = "s3cret-d41f"
SUM = hashlib.sha256(MARKER.encode()).hexdigest()
TEMPLATE = f"[global]\nindex-url = https://ann:{MARKER}@packages.example.com/simple\n"
# Only a sum of each secret stays in the image.
MOUNTS = """\
FROM local/busybox AS builder
RUN --mount=type=secret,id=token,env=TOKEN printf %s "$TOKEN" | sha256sum > /env
RUN --mount=type=secret,id=token sha256sum < /run/secrets/token > /file
RUN --mount=type=ssh test -S "$SSH_AUTH_SOCK"
FROM local/busybox
COPY --from=builder /env /file /
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,required=true sha256sum < /etc/pip.conf > /pip
"""
LEAKS = "FROM local/busybox\nARG TOKEN\nRUN echo $TOKEN | sha256sum > /file\n"
each_buildkit = pytest.mark.parametrize("each_engine", ["overlay2", "containerd"], indirect=True)


@pytest.fixture
def app(tmp_path, capfd) -> App:
    return App(main, tmp_path / "app", capfd)


@pytest.fixture(autouse=True)
def _remove_images(request) -> Iterator[None]:
    """Delete the images of the project app."""
    engine = request.getfixturevalue("each_engine") if "each_engine" in request.fixturenames else None
    yield
    if engine and (ours := engine.docker("image", "ls", "-q", "--filter", "reference=app-*").split()):
        engine.docker("image", "rm", "-f", *set(ours))


@pytest.fixture
def agent(tmp_path, monkeypatch) -> Iterator[None]:
    """Run an ssh-agent, and point SSH_AUTH_SOCK at it."""
    socket = tmp_path / "agent"
    child = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        wait_for(socket.exists)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        yield
    finally:
        child.terminate()
        child.wait(60)


def _parts(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the files in an archive of archives, uncompressed, with their names."""
    if data[:2] == b"\x1f\x8b":
        yield from _parts(name, gzip.decompress(data))
    elif data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                if member.isreg():
                    stream = archive.extractfile(member)
                    assert stream
                    yield from _parts(f"{name}/{member.name}", stream.read())
    else:
        yield name, data


def _builds(engine: Engine) -> set[str]:
    return set(engine.docker("buildx", "history", "ls", "--format", "{{.Ref}}").split())


def _traces(engine: Engine, image: str, builds: set[str], directory: Path) -> set[str]:
    """Return where the marker is: in the image, its layers and attestations, what docker shows of it, and its builds."""
    shown = {
        "history": engine.docker("history", "--no-trunc", image),
        "inspect": engine.docker("image", "inspect", image),
    }
    found = {name for name, text in shown.items() if MARKER in text}
    files = {"image": directory / "image.tar"}
    engine.docker("save", image, "-o", str(files["image"]))
    for build in builds:
        files[build] = directory / build
        engine.docker("buildx", "history", "export", build, "-o", str(files[build]))
        logs = [engine.docker("buildx", "history", action, build) for action in ("inspect", "logs")]
        found |= {"build"} if MARKER in "".join(logs) else set()
    for name, path in files.items():
        contents = list(_parts(name, path.read_bytes()))
        assert len(contents) > 2
        found |= {
            name.replace(name, "build") if name in builds else name for _, data in contents if MARKER.encode() in data
        }
        path.unlink()
    found |= {str(path) for path in Path(os.environ["DOCKER_CONFIG"]).rglob("*") if _holds_marker(path)}
    return found


def _holds_marker(path: Path) -> bool:
    return path.is_file() and "cli-plugins" not in path.parts and MARKER.encode() in path.read_bytes()


@each_buildkit
def test_secrets_are_nowhere_after_the_build(each_engine, agent, app, request, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PIP_TOKEN", MARKER)
    provenance = " --provenance=mode=max" if request.node.callspec.params["each_engine"] == "containerd" else ""
    app.write({
        "docker/web/Dockerfile": MOUNTS,
        "docker/leak/Dockerfile": LEAKS,
        "docker/dockerutils.cfg": f"[web]\nbuild_args = --secret id=token,env=PIP_TOKEN --ssh default{provenance}\n"
        f"[leak]\nbuild_args = --build-arg TOKEN=$PIP_TOKEN{provenance}\n",
        "pip.conf.template": TEMPLATE,
    })  # fmt: skip
    before = _builds(each_engine)
    outcome = app("web")
    assert outcome.status == 0, outcome.err
    secrets = f"--secret id=pip.conf,src=pip.conf.template --secret id=token,env=PIP_TOKEN --ssh default{provenance}"
    assert outcome.echoed == [
        f"docker build -t app-web-builder:alice -f docker/web/Dockerfile --target builder {secrets} .",
        f"docker build -t app-web:alice -f docker/web/Dockerfile {secrets} .",
    ]
    assert MARKER not in outcome.err + outcome.out
    sums = each_engine.docker("run", "--rm", "app-web:alice", "cat", "/env", "/file", "/pip").split()
    assert sums[::2] == [SUM, SUM, hashlib.sha256(TEMPLATE.encode()).hexdigest()]
    builds = _builds(each_engine)
    assert _traces(each_engine, "app-web:alice", builds - before, tmp_path) == set()
    # The same search finds a build argument.
    assert app("leak").status == 0
    found = _traces(each_engine, "app-leak:alice", _builds(each_engine) - builds, tmp_path)
    assert found == {"history", "image", "build"}


@each_buildkit
def test_pip_conf_is_a_secret_only_where_the_dockerfile_mounts_it(each_engine, app) -> None:
    mount = "FROM local/busybox\nRUN --mount=type=secret,target=/etc/pip.conf cp /etc/pip.conf /copy; ls > /ls\nCOPY . /context\n"
    app.write({
        "docker/new/Dockerfile": mount,
        "docker/old/Dockerfile": "FROM local/busybox\nCOPY pip.conf /pip.conf\n",
        ".dockerignore": "pip.conf.template\n",
        "pip.conf.template": "from the template\n",
    })  # fmt: skip
    assert app("new").status == 0
    listing = each_engine.docker("run", "--rm", "app-new:alice", "sh", "-c", "cat /copy; ls /context")
    assert listing == "from the template\ndocker\n"
    assert app("all").status == 0
    assert each_engine.docker("run", "--rm", "app-old:alice", "tail", "-n1", "/pip.conf") == "from the template\n"
    assert not (app.root / "pip.conf").exists()
    # The user's own file has precedence.
    app.write({"pip.conf": "own\n"})
    outcome = app("new", "--", "--no-cache")  # docker does not notice that the content of a secret has changed
    assert outcome.echoed[0].endswith(" --secret id=pip.conf,src=pip.conf --no-cache .")
    assert each_engine.docker("run", "--rm", "app-new:alice", "cat", "/copy") == "own\n"


def test_which_file_is_the_secret(app) -> None:
    line = "docker build -t app-dev:alice -f docker/dev/Dockerfile {}."
    app.write({"docker/dev/Dockerfile": "FROM scratch\nRUN --mount=type=secret,id=pip.conf,target=/p true\n"})

    def options() -> str:
        outcome = app("dev", "--dry-run")
        prefix, suffix = line.split("{}")
        assert outcome.out.startswith(prefix)
        return outcome.out.removeprefix(prefix).removesuffix(f"{suffix}\n").strip()

    assert options() == ""
    app.write({"pip.conf.template": "x\n"})
    assert options() == "--secret id=pip.conf,src=pip.conf.template"
    # A copy that a build of another image has made is gone when that build ends.
    app.write(
        {
            "pip.conf": "# Copied from pip.conf.template by dockerutils and deleted after the build. Edit that file, not this one.\nx\n"
        }
    )
    assert options() == "--secret id=pip.conf,src=pip.conf.template"
    app.write({"pip.conf": "own\n"})
    assert options() == "--secret id=pip.conf,src=pip.conf"
    app.write({"docker/dockerutils.cfg": "[dev]\nbuild_args = --secret type=file,id=pip.conf,src={home}/pip.conf\n"})
    assert options() == f"--secret type=file,id=pip.conf,src={os.environ['HOME']}/pip.conf"
