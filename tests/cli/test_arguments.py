"""How command lines are read: our options, docker's, and the command behind the arguments."""

from __future__ import annotations

import os

import pytest

from dockerutils.commands import build_image, image_script, run_image, ssh_dock
from dockerutils.core.errors import UserError
from tests.support import program


@pytest.mark.parametrize(
    ("line", "docker", "rest"),
    [
        pytest.param("dev", "", None, id="nothing"),
        pytest.param("dev python roman.py", "", "python roman.py", id="a command"),
        pytest.param("dev python -c x -e -- --dry-run", "", "python -c x -e -- --dry-run", id="its own options"),
        pytest.param("dev -e A=1 python -c x -p", "-e A=1", "python -c x -p", id="ours before it"),
        pytest.param("dev -- -e A=1", "", "-e A=1", id="-- before options of the command"),
        pytest.param("dev -e A=1 -- python -- -x", "-e A=1", "python -- -x", id="only the first --"),
        pytest.param("dev --", "", "", id="no command"),
        pytest.param("dev -", "", "-", id="a dash is a word"),
        pytest.param("-e A=1 dev -p 80:80 sh", "-e A=1 -p 80:80", "sh", id="on both sides of IMAGE"),
        pytest.param("-e -x dev", "-e -x", None, id="a value that begins with a dash"),
        pytest.param("-it dev bash", "-it", "bash", id="-it"),
        pytest.param("-ti dev bash", "-ti", "bash", id="-ti"),
        pytest.param("-itd dev", "-itd", None, id="-itd"),
        pytest.param("-igkt dev", "-it", None, id="with switches of ours"),
        pytest.param("-gdp 80:80 dev sh", "-d -p 80:80", "sh", id="a cluster with a value"),
        pytest.param("-p80:80 -e=A=1 -i=false dev", "-p80:80 -e=A=1 -i=false", None, id="attached"),
        pytest.param("--publish=80:80 --user ada dev id", "--publish=80:80 --user ada", "id", id="long"),
        pytest.param("--shm-size 1g dev", "--shm-size 1g", None, id="another option of docker run, before IMAGE"),
        pytest.param("dev --shm-size 1g ls", "--shm-size 1g", "ls", id="and behind it"),
        pytest.param("-m 1g -l x dev", "-m 1g -l x", None, id="letters of docker run"),
        pytest.param("--cap_add ALL --rm=false dev", "--cap-add ALL --rm=false", None, id="underscores"),
        pytest.param("-n foo dev", "--network foo", None, id="-n"),
        pytest.param("-nfoo -n=bar --network c dev", "--network foo --network bar --network c", None, id="-n attached"),
        pytest.param("dev --privileged --init sh", "--privileged --init", "sh", id="switches of docker run"),
    ],
)
def test_run_image(line: str, docker: str, rest: str | None) -> None:
    args = run_image.parser().parse(line.split())
    assert (args.image, args.docker) == ("dev", docker.split())
    assert args.rest == (None if rest is None else rest.split())


def test_options_of_ours_keep_their_meaning() -> None:
    argv = "-t v2 -kg -a --privileged -c ls dev --dry_run -q --aws --sync".split()
    args = run_image.parser().parse(argv)
    assert (args.image, args.tag, args.args, args.command) == ("dev", "v2", "--privileged", "ls")
    assert all((args.keep, args.use_gpu, args.dry_run, args.quiet, args.aws, args.sync))
    assert (args.docker, args.rest) == ([], None)


@pytest.mark.parametrize(
    ("line", "docker"),
    [
        ("dev", ""),
        ("dev --no-cache", "--no-cache"),
        ("--no-cache dev", "--no-cache"),
        ("--target x dev --progress=plain", "--target x --progress=plain"),
        ("dev --build_arg A=1 --no_cache", "--build-arg A=1 --no-cache"),
        ("-m 1g dev", "-m 1g"),
        ("dev --secret id=pip,env=T -- --ssh default", "--secret id=pip,env=T --ssh default"),
        ("dev -- --no-cache", "--no-cache"),
    ],
)
def test_build_image(line: str, docker: str) -> None:
    args = build_image.parser().parse(["-fp", *line.split()])
    assert (args.docker, args.force_build_base, args.pull_base) == (docker.split(), True, True)


@pytest.mark.parametrize(
    ("line", "dock", "rest"),
    [
        ("gpu nvidia-smi -L", "gpu", "nvidia-smi -L"),
        ("gpu --dry-run -- ls -l", "gpu", "ls -l"),
        ("-- nvidia-smi", None, "nvidia-smi"),
        ("gpu", "gpu", None),
    ],
)
def test_ssh_dock(line: str, dock: str | None, rest: str | None) -> None:
    args = ssh_dock.parser().parse(line.split())
    assert (args.dock, args.rest) == (dock, rest and rest.split())


def test_image_script() -> None:
    args = image_script.parser().parse("tools --dry-run /x -v -- --dry-run".split())
    assert (args.image, args.rest, args.dry_run) == ("tools", "/x -v -- --dry-run".split(), True)


@pytest.mark.parametrize("line", ["tools", "tools --", "--dry-run"])
def test_a_command_can_be_required(line: str, capsys) -> None:
    assert image_script.main(line.split()) == 2
    assert "arguments are required: " in capsys.readouterr().err


@pytest.fixture
def docker(tmp_path, monkeypatch) -> None:
    """Put a docker on PATH that has options of its own."""
    text = "Options:\\n  -z, --zoom          Look closely\\n      --depth string  How deep\\n"
    program(tmp_path / "docker", f'[ "$*" != "run --help" ] || printf "{text}"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.parametrize("line", ["--zoom dev ls", "-z dev ls", "dev --depth=3 ls", "dev --zoom=false ls"])
def test_options_of_a_newer_docker_pass(docker, line: str) -> None:
    args = run_image.parser().parse(line.split())
    assert (args.image, args.rest) == ("dev", ["ls"])
    assert args.docker == [word for word in line.split() if word.startswith("-")]


@pytest.mark.parametrize(
    ("parser", "line", "message"),
    [
        pytest.param(
            run_image.parser, "dev --dryrun ls",
            "--dryrun is not an option of run-image or docker run; did you mean --dry-run? Otherwise write "
            "-- before the options of a command", id="a near one",
        ),
        pytest.param(
            run_image.parser, "dev --epochs 3",
            "--epochs is not an option of run-image or docker run; write -- before the options of a command",
            id="an option of the command",
        ),
        pytest.param(
            run_image.parser, "--depth 3 dev",
            "--depth takes a value, and this version of run-image does not know it; write --depth=VALUE",
            id="a value that could be IMAGE",
        ),
        pytest.param(
            run_image.parser, "dev -gx",
            "-x is not an option of run-image or docker run; write -- before the options of a command", id="a letter",
        ),
        pytest.param(
            build_image.parser, "dev --nocache",
            "--nocache is not an option of build-image or docker build; did you mean --no-cache?", id="build-image",
        ),
        pytest.param(
            build_image.parser, "dev --zzz",
            "--zzz is not an option of build-image or docker build; run: build-image -h", id="nothing near",
        ),
        pytest.param(run_image.parser, "dev -e", "-e has no value; write one after it", id="no value"),
        pytest.param(
            build_image.parser, "dev -- x",
            "x is not a docker option; write the option before it, as in -e NAME=value", id="no option",
        ),
    ],
)  # fmt: skip
def test_errors(docker, parser, line: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        parser().parse(line.split())
    assert str(raised.value) == message
