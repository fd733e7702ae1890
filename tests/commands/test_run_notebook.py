"""run-notebook: the commands it composes, and containers that start Jupyter or fail."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import sys
import time
from pathlib import Path

import pexpect
import pytest

from dockerutils.commands import run_notebook
from dockerutils.commands.run_notebook import main
from dockerutils.notebooks import server
from tests.support import App, call, exit_status, wait_for, write_tree
from tests.testbed import registry
from tests.testbed.aws import free_port
from tests.testbed.jupyter import BIN, Running
from tests.testbed.registry import daemon
from tests.testbed.relay import inside

BOX = "[notebook]\nname = local/busybox:latest\nprefix = False\n"
# A web server that answers 404, which counts as an answer.
WEB = "sh -c 'echo started; trap \"exit 0\" INT TERM; httpd -f -p 8888 -h /bin & wait'"
ADVICE = (
    "write docker/notebook/Dockerfile, or choose an image in [notebook] of docker/dockerutils.cfg, for example: "
    "name = quay.io/jupyter/scipy-notebook, prefix = False"
)


@pytest.fixture
def app(tmp_path, capfd):
    """Return a project in a directory with a space, and run-notebook to call there."""
    return App(main, write_tree(tmp_path / "My App", {"docker/dev/Dockerfile": "FROM local/busybox\n"}), capfd)


def configure(app: App, text: str = "") -> None:
    app.write({"docker/dockerutils.cfg": f"{BOX}{text}\n"})


def dry(app: App, *argv: str) -> list[str]:
    """Return the lines of a dry run with a fixed container name."""
    outcome = app("--dry-run", *argv)
    assert (outcome.status, outcome.err) == (0, "")
    return [re.sub(r"--name \S+", "--name NAME", line) for line in outcome.out.splitlines()]


def ran(app: App, rest: str, port: int = 8888, before: str = "") -> str:
    return (
        f"docker run --init --name NAME -e JUPYTER_TOKEN --rm {before}-v '{app.root}:/home/jovyan/project' "
        f"-p 127.0.0.1:{port}:8888 {rest}"
    )


def test_the_default_image_is_pulled(app):
    assert dry(app, "-p", "9000") == [
        "docker pull resero-labs/docker-ds:latest",
        ran(app, "resero-labs/docker-ds:latest", 9000),
    ]


def test_g_selects_the_tag_and_adds_the_options(app):
    assert dry(app, "-g", "-p", "9000") == [
        "docker pull resero-labs/docker-ds:gpu",
        ran(app, "resero-labs/docker-ds:gpu", 9000, "--gpus all "),
    ]


def test_a_variable_with_the_path_is_not_a_mount(app):
    configure(app, "args = -e START=/home/jovyan/project")
    run = ran(app, "-e START=/home/jovyan/project local/busybox:latest", 9000)
    assert dry(app, "-p", "9000")[-1] == run


def test_the_image_is_pulled_for_the_platform_of_the_section(app):
    app.write({"docker/dockerutils.cfg": "[notebook]\nname = x/y\nprefix = False\nplatform = linux/amd64\n"})
    pull, run = dry(app)
    assert pull == "docker pull --platform linux/amd64 x/y:latest"
    assert " --platform linux/amd64 " in run


def test_without_a_pull(app, monkeypatch):
    monkeypatch.setenv("DOCKER_DS_DONT_PULL", "1")
    assert dry(app, "-p", "9000") == [ran(app, "resero-labs/docker-ds:latest", 9000)]


@pytest.mark.parametrize(
    ("section", "argv", "reference"),
    [
        pytest.param("name = jupyter/scipy-notebook\n", [], "jupyter/scipy-notebook:latest", id="latest"),
        pytest.param("name = jupyter/scipy-notebook\n", ["-g"], "jupyter/scipy-notebook:gpu", id="gpu"),
        pytest.param("name = jupyter/scipy-notebook:x\n", ["-g"], "jupyter/scipy-notebook:x", id="tag in the name"),
        pytest.param("name = jupyter/scipy-notebook\ntag = y\n", ["-g"], "jupyter/scipy-notebook:y", id="tag"),
    ],
)
def test_the_configured_image(app, section, argv, reference):
    app.write({"docker/dockerutils.cfg": f"[notebook]\nprefix = False\n{section}"})
    pull, run = dry(app, *argv)
    assert pull == f"docker pull {reference}"
    assert run.endswith(f" {reference}")


def test_the_image_of_the_project_is_built(app):
    app.write({"docker/base/Dockerfile": "FROM x\n", "docker/notebook/Dockerfile": "FROM x\n"})
    app.write({"docker/dockerutils.cfg": "[notebook]\nvolumes = -v {root}/d:/d\nports = -p 1:2\ngpu = --gpus all\n"})
    assert dry(app, "-g", "-p", "9000") == [
        "docker build -t my-app-notebook:alice -f docker/notebook/Dockerfile .",
        f"docker run --init --name NAME -e JUPYTER_TOKEN --rm --gpus all -v '{app.root}:/home/jovyan/project' "
        f"-v '{app.root}/d:/d' -p 127.0.0.1:9000:8888 -p 1:2 my-app-notebook:alice",
    ]


def test_a_synthetic_one_is_built_under_its_tag(app):
    app.write({
        "docker/dockerutils.cfg": "[run_image]\nsynthetic_images = notebook\n[notebook]\nname = dev\ntag = nb\n",
    })  # fmt: skip
    build, run = dry(app)
    assert build == "docker build -t my-app-dev:nb -f docker/dev/Dockerfile ."
    assert run.endswith(" my-app-dev:nb")


def test_variables_are_passed_on_and_nothing_else_is_mounted(app, monkeypatch):
    (Path(os.environ["HOME"]) / ".aws").mkdir()
    monkeypatch.setenv("RESERO_JUPYTER_DIFFS", "1")
    monkeypatch.setenv("DOCKER_DS_DIFFS", "1")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    _, run = dry(app)
    assert "-e AWS_REGION -e JUPYTER_TOKEN -e RESERO_JUPYTER_DIFFS -e DOCKER_DS_DIFFS --rm" in run
    assert (run.count(" -v "), run.count(f" -v '{app.root}:/home/jovyan/project' ")) == (1, 1)


def test_aws_mounts_the_credentials(app):
    _, run = dry(app, "--aws")
    assert f"-v '{app.root}:/home/jovyan/project' -v {os.environ['HOME']}/.aws:/home/jovyan/.aws -p" in run


def test_a_base_that_exists_is_not_built_again(containerd_engine, app):
    app.write(
        {"docker/base/Dockerfile": "FROM local/busybox\n", "docker/notebook/Dockerfile": "FROM my-app-base:alice\n"}
    )
    app.write({"docker/dockerutils.cfg": "[notebook]\ncmd = true\n"})
    builds = [[line for line in app().echoed if line.startswith("docker build")] for _ in range(2)]
    notebook = "docker build -t my-app-notebook:alice -f docker/notebook/Dockerfile ."
    assert builds == [["docker build -t my-app-base:alice -f docker/base/Dockerfile .", notebook], [notebook]]
    containerd_engine.docker("image", "rm", "my-app-notebook:alice", "my-app-base:alice")


def test_the_section_overrides_defaults(app):
    configure(
        app,
        "volumes = --mount type=bind,source={root}/src,target=/home/jovyan/project\ninteractive = -it\n"
        "ports = -p 8888:8888 -p7000:7000/tcp --publish=9:8888/tcp\nkeep_container = True\ncmd = start --here",
    )
    assert dry(app, "-p", "9000")[1] == (
        f"docker run --init --name NAME -e JUPYTER_TOKEN --rm --mount 'type=bind,source={app.root}/src,"
        "target=/home/jovyan/project' -p 127.0.0.1:9000:8888 -p7000:7000/tcp local/busybox:latest start --here"
    )


def test_an_unknown_key_triggers_a_warning(app):
    configure(app, "volume = -v a:b")
    outcome = app("--dry-run")
    assert (
        outcome.err
        == "run-notebook: warning: docker/dockerutils.cfg:4: [notebook] volume: unknown key; did you mean volumes?\n"
    )


def test_a_directory_outside_projects_works(tmp_path, capfd):
    outcome = call(main, "--dry-run", directory=tmp_path, capfd=capfd)
    assert f"-v {tmp_path}:/home/jovyan/project " in outcome.out


@pytest.mark.parametrize("port", ["0", "x", "65536", "-1"])
def test_a_port_is_a_number(app, port):
    outcome = app("-p", port)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err == f"run-notebook: -p: {port!r} is not a port; use a number from 1 to 65535\n"


def test_a_privileged_port_is_left_to_docker(app, monkeypatch):
    def bind(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(socket.socket, "bind", bind)
    assert "-p 127.0.0.1:80:8888 " in app("--dry-run", "-p", "80").out


def test_a_busy_port_is_an_error(app):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        outcome = app("--dry-run", "-p", str(port))
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == f"run-notebook: port {port} is in use on this machine; choose another one, or omit -p\n"


def test_a_port_that_is_taken_during_the_build_is_not_used(app, monkeypatch):
    first = free_port()  # instead of 8888, which tests beside this one take and release
    monkeypatch.setattr(server, "PORT", first)
    with socket.socket() as other:
        provide = run_notebook.provide

        def slow(*args, **options):
            other.bind(("127.0.0.1", first))
            return provide(*args, **options)

        monkeypatch.setattr(run_notebook, "provide", slow)
        used = re.search(rf"-p 127\.0\.0\.1:(\d+):{first} ", app("--dry-run").out)
    assert used
    assert int(used[1]) > first


def test_no_engine(app):
    outcome = app()
    assert outcome.status == 1
    assert outcome.err == (
        "run-notebook: no Docker Engine answers at unix:///nonexistent/docker.sock; start it, or point DOCKER_HOST or "
        "docker context use at one that runs\n"
    )


@pytest.mark.parametrize(
    ("argv", "tag", "fallback"),
    [
        pytest.param([], "latest", "quay.io/jupyter/scipy-notebook:latest", id="latest"),
        pytest.param(["-g"], "gpu", "quay.io/jupyter/pytorch-notebook:cuda12-latest", id="gpu"),
    ],
)
def test_images_that_docker_cannot_pull(containerd_engine, app, argv, tag, fallback):
    outcome = app(*argv)
    assert outcome.status == 1
    assert outcome.echoed == [f"docker pull resero-labs/docker-ds:{tag}", f"docker pull {fallback}"]
    lines = [line for line in outcome.err.splitlines() if line.startswith("run-notebook: docker")]
    assert "denied" not in outcome.err.partition(lines[0])[0]
    assert lines[0] == f"run-notebook: docker cannot pull resero-labs/docker-ds:{tag}; using {fallback}"
    assert lines[-1] == f"run-notebook: docker cannot pull {fallback}, and it is not on this engine; {ADVICE}"


def test_the_default_image_has_a_fallback_that_is_pulled(containerd_engine, app, monkeypatch):
    with registry.serving(containerd_engine, "localhost") as there:
        image = f"{there.host}/jupyter/scipy-notebook:latest"
        containerd_engine.docker("tag", "local/busybox:latest", image)
        containerd_engine.docker("push", "--quiet", image)
        containerd_engine.docker("image", "rm", image)
        monkeypatch.setitem(run_notebook._FALLBACKS, "resero-labs/docker-ds:latest", image)
        pulled = app("-p", "9000")
        monkeypatch.setenv("DOCKER_DS_DONT_PULL", "1")
        local = app("-p", "9000")
        containerd_engine.docker("image", "rm", image)
    rest = f"docker cannot pull resero-labs/docker-ds:latest; using {image}\n"
    assert f"\n\nrun-notebook: {rest}" in pulled.err
    assert "Error" not in pulled.err.partition(rest)[0]
    run = ran(app, image, 9000)
    for outcome, pulls in ((pulled, ["docker pull resero-labs/docker-ds:latest", f"docker pull {image}"]), (local, [])):
        assert [re.sub(r"--name \S+", "--name NAME", line) for line in outcome.echoed] == [*pulls, run]


def test_the_local_default_image_is_preferred_to_the_fallback(containerd_engine, app):
    containerd_engine.docker("tag", "local/busybox:latest", "resero-labs/docker-ds:latest")
    outcome = app("-p", "9000")
    containerd_engine.docker("image", "rm", "resero-labs/docker-ds:latest")
    assert (
        "run-notebook: warning: docker cannot pull resero-labs/docker-ds:latest; using the local image\n" in outcome.err
    )
    assert outcome.echoed[-1].endswith(" resero-labs/docker-ds:latest")


def test_a_missing_image_that_must_not_be_pulled(containerd_engine, app, monkeypatch):
    monkeypatch.setenv("DOCKER_DS_DONT_PULL", "1")
    outcome = app()
    assert outcome.status == 1
    assert outcome.err == (
        "run-notebook: the engine does not have resero-labs/docker-ds:latest, and DOCKER_DS_DONT_PULL is set; unset it, or "
        f"{ADVICE}\n"
    )


def test_an_image_without_jupyter(containerd_engine, app):
    configure(app, "cmd = sh -c 'echo no jupyter in here; exit 7'")
    outcome = app()
    assert outcome.status == 7
    assert "run-notebook: warning: docker cannot pull local/busybox:latest; using the local image\n" in outcome.err
    assert outcome.err.endswith(
        "\nno jupyter in here\nrun-notebook: docker exited with status 7 before Jupyter answered; see the output above, and "
        "make sure that the image starts Jupyter on port 8888\n"
    )
    assert outcome.out == ""


def test_quiet_prints_no_commands(containerd_engine, app, monkeypatch):
    monkeypatch.setenv("DOCKER_DS_DONT_PULL", "1")
    configure(app, "cmd = echo hello")
    outcome = app("-q")
    assert (outcome.status, outcome.echoed) == (1, [])
    assert outcome.err.startswith("hello\nrun-notebook: docker exited with status 0 before Jupyter answered")


def test_a_container_that_exits_with_status_0_too_early_is_a_failure(containerd_engine, app, monkeypatch):
    monkeypatch.setenv("DOCKER_DS_DONT_PULL", "1")
    configure(app, "cmd = true")
    outcome = app()
    assert outcome.status == 1
    assert "docker exited with status 0 before Jupyter answered" in outcome.err


def test_a_command_that_is_not_in_the_image(containerd_engine, app):
    configure(app, "cmd = jupyter lab")
    outcome = app()
    assert outcome.status == 127
    assert "docker exited with status 127 before Jupyter answered" in outcome.err


@pytest.fixture
def start(containerd_engine, app, monkeypatch):
    """Return a function that starts run-notebook in the network of the engine; it ends with the test."""
    monkeypatch.setenv("DOCKER_DS_DONT_PULL", "1")
    running = []

    def begin(text: str, *argv: str, **environ: str) -> Running:
        configure(app, text)
        running.append(Running(["run-notebook", *argv], app.root, daemon(containerd_engine), environ))
        return running[-1]

    yield begin
    for each in running:
        with each:
            pass


def containers(engine) -> list[str]:
    return engine.docker("ps", "-a", "--filter", "name=alice_notebook_", "--format", "{{.Names}}").split()


def arguments_of_all_processes() -> str:
    """Return the arguments of every process of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_stdout_is_the_url_and_the_container_ends_with_the_command(containerd_engine, start, number):
    notebook = start(f"cmd = {WEB}")
    url = notebook.url()
    token = url.partition("?token=")[2]
    ready = "open this URL in a browser, or in VS Code: Select Kernel > Existing Jupyter Server; Ctrl-C stops it\n"
    assert f"\nrun-notebook: Jupyter is ready; {ready}" in notebook.stderr
    assert re.fullmatch("[0-9a-f]{48}", token)
    (name,) = containers(containerd_engine)
    assert f"JUPYTER_TOKEN={token}" in containerd_engine.docker("inspect", "-f", "{{.Config.Env}}", name)
    assert containerd_engine.docker("port", name) == "8888/tcp -> 127.0.0.1:8888\n"
    assert token not in arguments_of_all_processes()
    assert notebook.end(number) == (128 + number, "")
    assert containers(containerd_engine) == []
    assert token not in notebook.stderr
    assert "\nstarted\n" in notebook.stderr


def test_a_second_notebook_takes_the_next_port(start):
    first, second = start(f"cmd = {WEB}"), None
    assert first.url().startswith("http://127.0.0.1:8888/?token=")
    second = start(f"cmd = {WEB}", "--no-browser")
    assert second.url().startswith("http://127.0.0.1:8889/?token=")


def test_the_url_comes_as_soon_as_jupyter_answers(start, app):
    wait = "while [ ! -e /home/jovyan/project/go ]; do usleep 1000; done; exec httpd -f -p 8888 -h /bin"
    notebook = start(f"cmd = sh -c 'echo waiting; {wait}'")
    wait_for(lambda: "\nwaiting\n" in notebook.stderr)
    before = time.monotonic()
    (app.root / "go").touch()
    notebook.url()
    assert time.monotonic() - before < 20


def test_a_later_failure_gives_its_status(start, app):
    notebook = start(
        "cmd = sh -c 'httpd -p 8888 -h /bin; while [ ! -e /home/jovyan/project/go ]; do usleep 1000; done; exit 5'"
    )
    notebook.url()
    (app.root / "go").touch()
    assert notebook.wait() == (5, "")


def test_a_late_jupyter_triggers_a_warning(containerd_engine, app, capfd, monkeypatch):
    monkeypatch.setenv("DOCKER_DS_DONT_PULL", "1")
    monkeypatch.setattr(server, "PATIENCE", 0.2)
    configure(app, "cmd = sh -c 'sleep 2; exit 3'")
    outcome = app()
    assert outcome.status == 3
    warning = "run-notebook: warning: no answer from Jupyter after 0 s; see above, or press Ctrl-C\n"
    assert outcome.err.count(warning) == 1


PASSWORD = r"""sh -c 'while true; do printf "HTTP/1.0 403 Forbidden\r\n\r\n" | nc -l -p 8888; done'"""


def test_a_jupyter_with_its_own_password(start):
    notebook = start(f"cmd = {PASSWORD}")
    notebook.url()
    assert "run-notebook: warning: Jupyter uses its own token or password; see its output above\n" in notebook.stderr


BROWSER = """\
#!{python}
import sys, urllib.request
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None
def get(address):
    try:
        return urllib.request.build_opener(Stay).open(address).status, ""
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Location"]
host = sys.argv[1].rpartition("/")[0]
with open({log!r}, "w") as log:
    print(sys.argv[1], get(host + "/"), get(sys.argv[1]), file=log)
"""


@pytest.fixture
def browser(tmp_path, monkeypatch):
    """Install a browser that logs its requests, and return the path of the log."""
    path, log = tmp_path / "browser", tmp_path / "log"
    path.write_text(BROWSER.format(python=sys.executable, log=str(log)))
    path.chmod(stat.S_IRWXU)
    monkeypatch.setenv("BROWSER", f"{path} %s")
    return log


def in_a_terminal(engine, app, *argv: str):
    command = [*inside(daemon(engine)), str(BIN / "run-notebook"), *argv]
    return pexpect.spawn(command[0], command[1:], cwd=str(app.root), encoding="utf-8", timeout=60)


def test_on_a_terminal_the_browser_opens_without_the_token_in_arguments(containerd_engine, app, browser, monkeypatch):
    monkeypatch.setenv("DOCKER_DS_DONT_PULL", "1")
    configure(app, f"cmd = {WEB}")
    child = in_a_terminal(containerd_engine, app)
    child.expect(r"(http://127\.0\.0\.1:\d+/\?token=[0-9a-f]{48})")
    url = child.match[1]
    wait_for(lambda: browser.exists() and browser.read_text().endswith("\n"))
    address, _, answers = browser.read_text().partition(" ")
    assert url.partition("=")[2] not in address
    assert answers == f"(404, None) (302, {url!r})\n"
    child.sendintr()
    assert exit_status(child) == 130
    assert containers(containerd_engine) == []


def test_no_browser(containerd_engine, app, browser, monkeypatch):
    monkeypatch.setenv("DOCKER_DS_DONT_PULL", "1")
    configure(app, f"cmd = {WEB}")
    child = in_a_terminal(containerd_engine, app, "--no-browser")
    child.expect(r"token=[0-9a-f]{48}")
    child.sendintr()
    assert exit_status(child) == 130
    assert not browser.exists()
