"""run-image: the command lines, and real containers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

import pexpect
import pytest

from dockerutils.commands.run_image import main
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.support import Child, call, exit_status, first_line, processes, script, wait_for, write_tree

BIN = Path(sys.executable).parent
BUSYBOX = "[box]\nname = local/busybox:latest\nprefix = False\n"
SECRET = "s3cr3t-marker"
NAME = re.compile(r"--name (alice_\w+_\d\d-\d\d-\d\d_\d\d\.\d\d\.\d\d\.\d{6})")


def _container(text: str) -> str:
    """Return the name of the container."""
    match = NAME.search(text)
    assert match
    return match[1]


@pytest.fixture
def app(tmp_path):
    """Return a function that makes a project, by default in a directory with a space and capitals."""

    def make(config: str = "", root: str = "My App", **files: str) -> Path:
        defaults = {"docker/dev/Dockerfile": "FROM local/busybox\n", "docker/dockerutils.cfg": BUSYBOX + config}
        return write_tree(tmp_path / root, {**defaults, **files})

    return make


@pytest.fixture
def dry(app, capfd):
    """Return a function that returns the line of a dry run, with NAME for the container's name, without labels."""

    def run(config: str, *argv: str, image: str = "dev") -> str:
        outcome = call(main, image, "--dry-run", *argv, directory=app(config), capfd=capfd)
        assert (outcome.status, outcome.err) == (0, "")
        line, name = NAME.subn(
            "--name NAME", re.sub(r" --label ('dockerutils[.][^']*'|dockerutils[.]\S+)", "", outcome.out)
        )
        assert name == 1
        return line.removesuffix("\n")

    return run


ROW = "docker run --init --name NAME {}my-app-dev:alice"


@pytest.mark.parametrize(
    ("config", "argv", "line"),
    [
        pytest.param("", [], "docker run --init --name NAME --rm -i my-app-dev:alice", id="least"),
        pytest.param(
            "[dev]\nenvironment = -e A=1\ninteractive = -d\ngpu = --gpus all\nnetwork = n\nvolumes = -v a:/b\n"
            "ports = -p 80:80\nargs = --cpus 2\ncmd = sh -c 'echo $HOME {user}'\ntag = v1",
            [],
            "docker run --init --name NAME -e A=1 --rm -d --gpus all --network n -v a:/b -p 80:80 --cpus 2 my-app-dev:v1"
            " sh -c 'echo $HOME {user}'",
            id="every key, in order",
        ),
        pytest.param(
            "[dev]\nargs = --cpus 2\ncmd = x\nnetwork = n",
            ["-a", "--cpus 3", "-c", "y 'z 1'", "-n", "m"],
            "docker run --init --name NAME --rm -i --network m --cpus 3 my-app-dev:alice y 'z 1'",
            id="the command line wins",
        ),
        pytest.param("[dev]\ncmd = x", ["-c", "y", "--", "z", "-k"], "docker run --init --name NAME --rm -i my-app-dev:alice z -k", id="rest wins"),
        pytest.param("[dev]\ncmd = x", ["--"], "docker run --init --name NAME --rm -i my-app-dev:alice", id="empty rest: the image's own"),
        pytest.param("[dev]\ninteractive = -it", ["-k"], "docker run --init --name NAME -d my-app-dev:alice", id="-k"),
        pytest.param("[dev]\nkeep_container = True", [], "docker run --init --name NAME -d my-app-dev:alice", id="keep_container"),
        pytest.param("[dev]\ninit =", [], "docker run --name NAME --rm -i my-app-dev:alice", id="no init"),
        pytest.param("[dev]\ninteractive = -it", [], "docker run --init --name NAME --rm -i my-app-dev:alice", id="-it, but no terminal"),
        pytest.param("", ["-g"], "docker run --init --name NAME --rm -i --gpus all my-app-dev:alice", id="-g, and no engine answers"),
        pytest.param("[dev]\ngpu = --gpus 1", ["-g"], "docker run --init --name NAME --rm -i --gpus 1 my-app-dev:alice", id="-g with the key"),
        pytest.param("[dev]\nenvironment = -e A=1 -e B=2", ["-e", "A=3", "-e", "C"], "docker run --init --name NAME -e B=2 -e A=3 -e C --rm -i my-app-dev:alice", id="-e adds, and wins"),
        pytest.param(
            "[dev]\nvolumes = -v a:/a -v b:/b\nports = -p 80:80 -p 81:81\nargs = --cpus 2 -e A=1",
            ["-v", "c:/b", "--mount", "type=tmpfs,dst=/c", "-p", "8080:80", "-e", "A=2", "--cpus", "3", "-u", "7", "-w", "/a"],
            "docker run --init --name NAME -e A=2 --rm -i -v a:/a -v c:/b --mount type=tmpfs,dst=/c -p 81:81 -p 8080:80 "
            "--cpus 2 --cpus 3 -u 7 -w /a my-app-dev:alice",
            id="options add, and win where both set the same",
        ),
        pytest.param("[dev]\ncmd = x", ["python", "-c", "1", "-p", "--"], "docker run --init --name NAME --rm -i my-app-dev:alice python -c 1 -p --", id="a command"),
        pytest.param("[dev]\ncmd = x", ["-c", "y", "z"], "docker run --init --name NAME --rm -i my-app-dev:alice z", id="a command wins over -c"),
        pytest.param("", ["-it", "bash"], "docker run --init --name NAME --rm -i my-app-dev:alice bash", id="-it, but no terminal"),
        pytest.param("", ["-itd", "bash"], "docker run --init --name NAME --rm -itd my-app-dev:alice bash", id="-itd"),
        pytest.param("[dev]\ninteractive = -it", ["-d"], "docker run --init --name NAME --rm -d my-app-dev:alice", id="-d"),
        pytest.param("", ["-kit"], "docker run --init --name NAME -d -it my-app-dev:alice", id="-k with a terminal"),
        pytest.param("", ["-kd"], "docker run --init --name NAME -d my-app-dev:alice", id="-k -d"),
        pytest.param("", ["--rm=false"], "docker run --init --name NAME -i my-app-dev:alice", id="no --rm"),
        pytest.param("[dev]\nkeep_container = True", ["--rm"], "docker run --init --name NAME --rm -d my-app-dev:alice", id="--rm"),
        pytest.param("", ["-d", "--restart", "always"], "docker run --init --name NAME -d --restart always my-app-dev:alice", id="docker cannot remove what it restarts"),
        pytest.param("", ["-t", "v2"], "docker run --init --name NAME --rm -i my-app-dev:v2", id="-t"),
        pytest.param("[dev]\nnetwork = n", ["--network", "a", "-nb"], "docker run --init --name NAME --rm -i --network a --network b my-app-dev:alice", id="networks"),
        pytest.param("[dev]\ngpu = --gpus all", ["--gpus", "1"], "docker run --init --name NAME --rm -i --gpus 1 my-app-dev:alice", id="--gpus"),
        pytest.param("[dev]\nplatform = linux/amd64\nargs = -m 1g", [], ROW.format("--rm -i --platform linux/amd64 -m 1g "), id="platform"),
        pytest.param("[dev]\nplatform = linux/amd64,linux/arm64", [], ROW.format("--rm -i "), id="platforms for publishing"),
        pytest.param("[dev]\nplatform = linux/amd64\nargs = --platform linux/386 -m 1g", ["--platform", "linux/arm64/v8"], ROW.format("--rm -i --platform linux/386 -m 1g --platform linux/arm64/v8 "), id="--platform"),
        pytest.param("[dev]\nenv = common\n[common]\nA = b c\nU = $LOGNAME", [], 'U="$LOGNAME" docker run --init --name NAME -e \'A=b c\' -e U --rm -i my-app-dev:alice', id="env"),
        pytest.param("[dev]\nargs = --label 'x={{.ID}}' --label 'j={\"a\": 1}'", [], "docker run --init --name NAME --rm -i --label 'x={{.ID}}' --label 'j={\"a\": 1}' my-app-dev:alice", id="braces"),
    ],
)  # fmt: skip
def test_composition(dry, tmp_path, monkeypatch, config, argv, line) -> None:
    monkeypatch.chdir(tmp_path)
    assert dry(config, *argv) == line


@pytest.mark.parametrize(
    ("moniker", "line"),
    [
        ("", "docker run --init --name NAME --rm -i -v /here:/x --cpus 1 my-app-dev:alice"),
        ("gpu", "docker run --init --name NAME --rm -i -v /there:/x --cpus 1 my-app-dev:alice"),
    ],
)
def test_docked_keys(dry, monkeypatch, moniker, line) -> None:
    inventory.register(Dock("gpu", "192.0.2.7", "me", "192.0.2.7", "192.0.2.7"), os.environ["HOME"])
    monkeypatch.setenv("DOCK_MONIKER", moniker)
    assert dry("[dev]\nvolumes = -v /here:/x\nvolumes_docked = -v /there:/x\nargs = --cpus 1") == line


def test_fields(app, capfd) -> None:
    root = app(
        "[dev]\nvolumes = -v {project_root}:/p -v {root}/x:/r -v {workdir}:/w -v {home}:/h\nargs = --hostname {project}-{user}"
    )
    (root / "sub").mkdir()
    line = call(main, "dev", "--dry-run", directory=root / "sub", capfd=capfd).out
    home = os.environ["HOME"]
    assert f"-v '{root}:/p' -v '{root}/x:/r' -v '{root}/sub:/w' -v {home}:/h --hostname my-app-alice" in line
    assert line.startswith(f"(cd '{root}' && docker run ")


def test_aws_variables_go_by_name_when_they_are_set(dry, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "")
    assert dry("[dev]\nenvironment = -e AWS_ACCESS_KEY_ID=other -e X=1") == (
        "docker run --init --name NAME -e AWS_SECRET_ACCESS_KEY -e AWS_ACCESS_KEY_ID=other -e X=1 --rm -i my-app-dev:alice"
    )


@pytest.mark.parametrize(
    ("config", "argv", "environment"),
    [
        pytest.param("", [], "", id="not by default"),
        pytest.param("", ["--aws"], "-e AWS_ACCESS_KEY_ID -e AWS_SECRET_ACCESS_KEY ", id="--aws"),
        pytest.param(
            "[dev]\nenvironment = -e AWS_ACCESS_KEY_ID", [], "-e AWS_ACCESS_KEY_ID ", id="the section names one"
        ),
        pytest.param("", ["-e", "AWS_ACCESS_KEY_ID"], "-e AWS_ACCESS_KEY_ID ", id="-e"),
    ],
)
def test_a_dock_gets_aws_variables_on_request_only(dry, monkeypatch, config, argv, environment) -> None:
    inventory.register(Dock("gpu", "192.0.2.7", "me", "192.0.2.7", "192.0.2.7"), os.environ["HOME"])
    monkeypatch.setenv("DOCK_MONIKER", "gpu")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert dry(config, *argv) == f"docker run --init --name NAME {environment}--rm -i my-app-dev:alice"


@pytest.mark.parametrize(
    ("config", "argv", "warning"),
    [
        pytest.param("", ["-c", "ls | wc -l"], """-c: no shell runs this, so | is an argument; write -c "sh -c 'ls | wc -l'\"""", id="-c"),
        pytest.param("", ["-c", 'echo "$A" && ls'], """-c: no shell runs this, so && is an argument; write -c 'sh -c '"'"'echo "$A" && ls'"'"''""", id="-c with double quotes"),
        pytest.param("[dev]\ncmd = make > log", [], "docker/dockerutils.cfg:5: [dev] cmd: no shell runs this, so > is an argument; write sh -c 'make > log'", id="cmd"),
        pytest.param("[dev]\ncmd = make > log", ["-c", "sh -c 'a | b'"], "", id="another command"),
        pytest.param("[dev]\ncmd = make > log", ["echo", "|"], "", id="words that the shell has read"),
        pytest.param("[dev]\ncmd = sh -c 'a | b'", [], "", id="quoted"),
    ],
)  # fmt: skip
def test_shell_operators_that_no_shell_reads(app, capfd, config, argv, warning) -> None:
    outcome = call(main, "dev", "--dry-run", *argv, directory=app(config), capfd=capfd)
    assert outcome.status == 0
    assert outcome.out.startswith("docker run ")
    assert outcome.err == (f"run-image: warning: {warning}\n" if warning else "")


def test_the_hint_for_a_shell_works(engine, app) -> None:
    hint = script("run-image", "box", "-c", "echo a b | wc -w", directory=app()).err.splitlines()[0]
    command = f"{BIN}/run-image box {hint.partition('; write ')[2]}"
    assert subprocess.run(["sh", "-c", command], cwd=app(), capture_output=True, text=True, check=True).stdout == "2\n"


def test_a_name(app, capfd) -> None:
    outcome = call(main, "dev", "--dry-run", "--name", "web", directory=app(), capfd=capfd)
    assert outcome == (0, "docker run --init --name web --rm -i my-app-dev:alice\n", "")


def test_relative_paths_on_the_command_line_begin_where_it_was_typed(app, capfd) -> None:
    root = app("[dev]\nvolumes = -v ./a:/a\nargs = --env-file b\n")
    (root / "sub").mkdir()
    argv = ["dev", "--dry-run", "-v", ".:/c", "-v../d:/d:ro", "-v", "volume:/v", "--env-file", "e", "--label-file=/f"]
    line = call(main, *argv, directory=root / "sub", capfd=capfd).out
    assert line.endswith(
        f" -v ./a:/a --volume '{root}/sub:/c' --volume '{root}/d:/d:ro' -v volume:/v --env-file b "
        f"--env-file '{root}/sub/e' --label-file=/f my-app-dev:alice)\n"
    )
    line = call(main, *argv, directory=root, capfd=capfd).out
    assert " -v .:/c -v../d:/d:ro -v volume:/v --env-file b --env-file e " in line


def test_quiet(engine, app) -> None:
    assert script("run-image", "box", "-q", "echo", "hello", directory=app()) == (0, "hello\n", "")


def test_synthetic_images_run_the_directory_they_name(dry) -> None:
    config = "[run-image]\nsynthetic_images = shell\n[shell]\nname = dev\ncmd = sh\n[dev]\ncmd = no\n"
    assert dry(config, image="shell") == "docker run --init --name NAME --rm -i my-app-dev:alice sh"


def test_two_runs_in_one_second_have_two_names(app, capfd) -> None:
    root = app()
    names = {_container(call(main, "dev", "--dry-run", directory=root, capfd=capfd).out) for _ in range(5)}
    assert len(names) == 5


@pytest.mark.parametrize(
    ("config", "argv", "status", "message"),
    [
        pytest.param("", ["nope"], 2, "'nope' is not an image of this project; its images: dev, box", id="unknown image"),
        pytest.param("[dev]\nvolumes = -v $NOPE:/x", ["dev"], 2, "docker/dockerutils.cfg:5: [dev] volumes: $NOPE is not set; export it, or write $$ for a dollar sign", id="unset variable"),
        pytest.param("[dev]\nvolumes = -v {nope}:/x", ["dev"], 2, "docker/dockerutils.cfg:5: [dev] volumes: {nope} is unknown; known here: {project_root}, {root}, {workdir}, {project}, {user}, {home}, {date}, {datetime}", id="unknown field"),
        pytest.param("[dev]\n[dev]", ["dev"], 2, "docker/dockerutils.cfg:5: [dev] duplicate section, also at line 4; merge the two", id="duplicate section"),
        pytest.param("[dev]\ncmd = a\ncmd = b", ["dev"], 2, "docker/dockerutils.cfg:6: [dev] cmd: duplicate key, also at line 5; remove one of the two", id="duplicate key"),
        pytest.param("[dev]\nwhat", ["dev"], 2, "docker/dockerutils.cfg:5: [dev] this line is not a key; write it as key = value", id="no key"),
        pytest.param("", ["dev", "-t", "a b"], 2, "-t: 'a b' is not a valid tag; use letters, digits, '_', '.' and '-', 128 at most", id="-t"),
        pytest.param("", ["-i", "-t", "dev", "sh"], 2, "-t takes a tag here, and 'sh' is not an image; for a terminal, write -it", id="-i -t"),
        pytest.param("", ["dev", "-c", "it's"], 2, "-c: no closing quotation; close the quote or escape it with a backslash", id="-c"),
        pytest.param("", ["dev"], 1, "no Docker Engine answers at {host}; start it, or point DOCKER_HOST or docker context use at one that runs", id="no engine"),
    ],
)  # fmt: skip
def test_errors(app, capfd, config, argv, status, message) -> None:
    outcome = call(main, *argv, directory=app(config), capfd=capfd)
    assert (outcome.status, outcome.out) == (status, "")
    assert outcome.err == f"run-image: {message.replace('{host}', os.environ['DOCKER_HOST'])}\n"


def test_no_docker_on_path(app, capfd, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    outcome = call(main, "dev", directory=app(), capfd=capfd)
    assert (outcome.status, outcome.err) == (
        1, "run-image: docker was not found on PATH; install the docker command-line client, or add its directory to PATH\n"
    )  # fmt: skip


def test_a_command_line_that_is_too_long(each_engine, app, capfd) -> None:
    outcome = call(main, "box", "--", "echo", "x" * 200_000, directory=app(), capfd=capfd)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.splitlines()[-1] == (
        "run-image: docker cannot be started: the arguments and environment variables are too long; shorten them"
    )


def test_no_docker_directory(tmp_path, capfd) -> None:
    outcome = call(main, "dev", directory=tmp_path, capfd=capfd)
    assert (outcome.status, outcome.err) == (
        2,
        f"run-image: {tmp_path} is not in a project: neither it nor a parent directory has docker/<name>/Dockerfile; "
        "run dockerutils init at the root of the project, or write a Dockerfile\n",
    )


def test_a_configuration_that_is_not_text(app, capfd) -> None:
    root = app()
    (root / "docker/dockerutils.cfg").write_bytes(b"[dev]\ncmd = \xe9\n")
    outcome = call(main, "dev", directory=root, capfd=capfd)
    assert (outcome.status, outcome.err) == (
        2,
        "run-image: docker/dockerutils.cfg:2: byte 0xe9 is not UTF-8; save the file as UTF-8\n",
    )


def test_a_configuration_that_is_a_directory(app, capfd) -> None:
    root = app()
    (root / "docker/dockerutils.cfg").unlink()
    (root / "docker/dockerutils.cfg").mkdir()
    outcome = call(main, "dev", directory=root, capfd=capfd)
    assert (outcome.status, outcome.err) == (
        2,
        "run-image: docker/dockerutils.cfg is a directory; replace it with a configuration file\n",
    )


# With real containers.


def test_an_image_that_is_not_built(each_engine, app, capfd) -> None:
    config = "[run_image]\nsynthetic_images = sh\n[sh]\nname = dev\ntag = v2\n"
    root = app(config)
    assert call(main, "dev", directory=root, capfd=capfd) == (
        1,
        "",
        "run-image: my-app-dev:alice is not built yet; run: build-image dev, or add --build\n",
    )
    assert call(main, "sh", directory=root, capfd=capfd) == (
        1,
        "",
        "run-image: my-app-dev:v2 is not built yet; run: build-image dev -t v2, or add --build\n",
    )


def test_the_socket_is_not_permitted(each_engine, app) -> None:
    root = app()
    socket = Path(each_engine.host.removeprefix("unix://"))
    for directory in {*root.parents, *socket.parents} - {Path("/"), Path("/tmp")}:
        directory.chmod(directory.stat().st_mode | 0o055)
    socket.chmod(0o660)
    # Everything has been imported before root's rights go: Python may live where nobody else may look.
    code = """
import os, socket, subprocess, sys
from dockerutils.commands.run_image import main
sys.stdout = open(os.devnull, "w")
main(["box", "--dry-run"])
os.setgroups([]), os.setgid(65534), os.setuid(65534)
os._exit(main(["box"]))
"""
    environ = {**os.environ, "HOME": "/nonexistent", "DOCKER_CONFIG": "/nonexistent"}
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environ, capture_output=True, text=True, check=False
    )
    assert (child.returncode, child.stdout) == (1, "")
    assert child.stderr == (
        f"run-image: this user is not allowed to use the Docker Engine at {each_engine.host}; "
        "join the group docker (sudo usermod -aG docker $USER) and log in again\n"
    )


def test_latest_runs_the_newest_version_that_was_built(each_engine, app, capfd) -> None:
    config = "[run_image]\nsynthetic_images = app\n[app]\nname = dev\ntag = {latest}\n[dev]\ntag = {datetime}\n"
    root = app(config, **{"docker/dev/Dockerfile": "FROM local/busybox\nARG N\nRUN echo $N > /n\n"})
    none = call(main, "app", directory=root, capfd=capfd)
    assert (none.status, none.out) == (1, "")
    assert none.err == (
        "run-image: docker/dockerutils.cfg:8: [app] tag: {latest}: the engine has no version of my-app-dev; "
        "build one with tag = {datetime} or -t\n"
    )
    try:
        for number, tag in enumerate(["20200101-000000", "latest"]):
            script("build-image", "dev", "-t", tag, "--", "--build-arg", f"N={number}", directory=root)
        built = script("build-image", "dev", "--", "--build-arg", "N=new", directory=root)
        assert re.search(r" -t my-app-dev:2\d{7}-\d{6} ", built.echoed[0])
        assert script("run-image", "app", "--", "cat", "/n", directory=root).out == "new\n"
    finally:
        tags = each_engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "my-app-dev").split()
        each_engine.docker("image", "rm", "-f", *tags)


def test_stdout_has_only_the_output_of_the_container(each_engine, app) -> None:
    outcome = script("run-image", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 3", directory=app())
    assert (outcome.status, outcome.out) == (3, "out\n")
    assert outcome.err.endswith("\n\nerr\n")
    assert NAME.sub("--name NAME", outcome.echoed[0]) == (
        "docker run --init --name NAME --rm -i local/busybox:latest sh -c 'echo out; echo err >&2; exit 3'"
    )


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["--", "no-such-command"], 127),
        (["--", "/etc"], 126),
        (["-a", "--no-such-option"], 125),
        (["--", "sh", "-c", "kill -9 $$"], 137),
    ],
)
def test_the_exit_status_is_that_of_docker(each_engine, app, argv, status) -> None:
    assert script("run-image", "box", *argv, directory=app()).status == status


def test_a_pipe_reaches_the_container(each_engine, app) -> None:
    assert script("run-image", "box", "-c", "tr a-z A-Z", directory=app(), stdin="a b\n").out == "A B\n"


def test_the_printed_line_can_be_pasted(each_engine, app) -> None:
    root = app(
        "[DEFAULT]\nenvironment = -e URL=http://$U:$P@h -e 'B=b  c' -e H=$HOME/x -e PATH=/bin:$PATH\nvolumes = -v {project_root}/docker:/mnt:ro\n"
    )
    environ = {**os.environ, "U": "bob", "P": f"{SECRET} \"'$`\\"}
    command = 'echo "$URL|$B|$H|$PATH"; ls /mnt'
    outcome = script("run-image", "box", "-c", f"sh -c '{command}'", directory=root, env=environ)
    assert outcome.out.splitlines() == [
        f"http://bob:{environ['P']}@h|b  c|{environ['HOME']}/x|/bin:{environ['PATH']}", "dev", "dockerutils.cfg"
    ]  # fmt: skip
    assert SECRET not in outcome.err
    line = NAME.sub("--name pasted", outcome.echoed[0])
    pasted = subprocess.run(["sh", "-c", line], env=environ, cwd="/", capture_output=True, text=True, check=True)
    assert pasted.stdout == outcome.out


def test_no_secret_is_in_the_arguments_of_any_process(each_engine, app) -> None:
    root = app("[DEFAULT]\nenvironment = -e URL=http://$TOKEN@h -e TOKEN=$TOKEN\n")
    secret = f"{SECRET}-{token_hex(8)}"  # no other process of this machine has it
    environ = {**os.environ, "TOKEN": secret, "AWS_SECRET_ACCESS_KEY": secret}
    command = [str(BIN / "run-image"), "box", "-e", "TOKEN", "-c", "sh -c 'echo $URL $AWS_SECRET_ACCESS_KEY; exec cat'"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Child(command, cwd=root, env=environ, **pipes) as child:
        assert first_line(child) == f"http://{secret}@h {secret}\n"
        arguments = b""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # the process has ended
                arguments += path.read_bytes()
        _, err = child.communicate(timeout=60)
    assert b"docker\0run" in arguments
    assert secret.encode() not in arguments
    assert secret not in err


def test_docker_replaces_the_process(each_engine, app) -> None:
    command = [str(BIN / "run-image"), "box", "--", "sh", "-c", "echo ready; exec cat"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with Child(command, cwd=app(), **pipes) as child:
        assert first_line(child) == "ready\n"
        arguments = Path(f"/proc/{child.pid}/cmdline").read_bytes().split(b"\0")
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text()
        child.communicate(timeout=60)
    assert arguments[:2] == [b"docker", b"run"]
    assert children == ""


def test_a_signal_reaches_the_container_and_it_is_removed(each_engine, app) -> None:
    command = [
        str(BIN / "run-image"),
        "box",
        "--",
        "sh",
        "-c",
        "trap 'echo got; exit 4' TERM; echo ready; while :; do sleep 0.1; done",
    ]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with Child(command, cwd=app(), **pipes) as child:
        assert first_line(child) == "ready\n"
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=60)
    assert (out, child.returncode) == ("got\n", 4)
    wait_for(lambda: not each_engine.docker("ps", "-aq", "--filter", "name=alice_box").strip())


def test_a_terminal(each_engine, app) -> None:
    child = pexpect.spawn(str(BIN / "run-image"), ["box", "-c", "sh"], cwd=str(app()), encoding="utf-8", timeout=60)
    child.expect("--rm -it local/busybox:latest sh")
    child.expect_exact("# ")
    child.sendline("tty && exit 6")
    child.expect("/dev/pts/0")
    assert exit_status(child) == 6


def test_ctrl_c_in_a_terminal(each_engine, app) -> None:
    child = pexpect.spawn(
        str(BIN / "run-image"),
        ["box", "--", "sh", "-c", "echo ready; exec sleep 98764"],
        cwd=str(app()),
        encoding="utf-8",
        timeout=60,
    )
    child.expect("\nready")
    child.sendintr()
    assert exit_status(child) == 130
    wait_for(lambda: not processes("sleep", "98764"))


def test_output_to_a_file_has_no_carriage_returns(each_engine, app, tmp_path) -> None:
    root = app()
    child = pexpect.spawn("sh", ["-c", f"{BIN}/run-image box -- echo hello > out.txt"], cwd=str(root), timeout=60)
    assert exit_status(child) == 0
    assert (root / "out.txt").read_bytes() == b"hello\n"


def test_a_kept_container(each_engine, app) -> None:
    outcome = script("run-image", "box", "-k", "--", "sh", "-c", "echo kept", directory=app())
    container = outcome.out.strip()
    try:
        assert outcome.status == 0
        assert each_engine.docker("wait", container) == "0\n"
        assert each_engine.docker("logs", container) == "kept\n"
        assert each_engine.docker("inspect", "--format", "{{.Name}}", container) == "/" + _container(outcome.err) + "\n"
    finally:
        each_engine.docker("rm", "-f", container)


def test_relative_paths_are_relative_to_the_root(each_engine, app) -> None:
    root = app("[DEFAULT]\nargs = --env-file settings.env\n", **{"settings.env": "FROM_FILE=yes\n", "sub/x": ""})
    outcome = script("run-image", "box", "--", "sh", "-c", "echo $FROM_FILE", directory=root / "sub")
    assert outcome.out == "yes\n"


def test_a_mount_of_the_home_directory(each_engine, app) -> None:
    write_tree(Path(os.environ["HOME"]), {"data/x": "from home\n"})
    root = app("[DEFAULT]\nvolumes = -v ~/data:/data:ro\nargs = --mount type=bind,src=~/data/x,dst=/x\n")
    outcome = script("run-image", "box", "cat", "/data/x", "/x", directory=root)
    assert (outcome.status, outcome.out) == (0, "from home\nfrom home\n")
    assert f" -v {os.environ['HOME']}/data:/data:ro " in outcome.err
