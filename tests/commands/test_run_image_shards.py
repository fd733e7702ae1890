"""run-image --shards: several containers of an image, several at once, with a log of each."""

from __future__ import annotations

import os
import re
import shlex
import signal
import stat
import sys
import threading
from pathlib import Path

import pexpect
import pytest

from dockerutils.commands.run_image import main
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process import spawn
from dockerutils.images.shard_output import Results
from tests.commands.conftest import Docked
from tests.support import App, exit_status, processes, program, wait_for

BOX = "[train]\nname = local/busybox:latest\nprefix = False\n"
RUN = str(Path(sys.executable).parent / "run-image")
# Fails in shards 1 and 4 until there is a file `fixed`; writes what it is to /p.
WORK = (
    "sh -c 'echo shard $AWS_BATCH_JOB_ARRAY_INDEX of $AWS_BATCH_JOB_ARRAY_SIZE; echo to stderr >&2; "
    "[ -e /p/fixed ] || case $AWS_BATCH_JOB_ARRAY_INDEX in 1) exit 7;; 4) exit 1;; esac; "
    "echo >/p/done.$AWS_BATCH_JOB_ARRAY_INDEX'"
)


@pytest.fixture
def app(tmp_path, capfd, monkeypatch) -> App:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return App(main, tmp_path / "app", capfd)


def _left(engine) -> str:
    return str(engine.docker("ps", "--all", "--filter", "name=alice_train", "--format", "{{.Names}}"))


def test_failed_shards_are_named_and_the_printed_line_runs_them_again(containerd_engine, app, tmp_path) -> None:
    keys = "interactive = -it\nkeep_container = True\nvolumes = -v {root}:/p\n"
    app.write({"docker/dockerutils.cfg": f"{BOX}{keys}cmd = {WORK}\n"})
    outcome = app("train", "--shards", "6", "-j", "3")
    assert outcome.status == 2
    assert len(outcome.echoed) == 6
    [logs] = (tmp_path / "state" / "dockerutils" / "shards").iterdir()
    assert stat.S_IMODE(logs.stat().st_mode) == 0o700
    assert sorted(path.name for path in logs.iterdir()) == [f"{index}.log" for index in range(6)]
    assert sorted((logs / "3.log").read_text().splitlines()) == ["shard 3 of 6", "to stderr"]
    for index in range(6):
        [line] = [line for line in outcome.echoed if f" --name {logs.name}-{index} " in line]
        assert f" -e AWS_BATCH_JOB_ARRAY_SIZE=6 -e AWS_BATCH_JOB_ARRAY_INDEX={index} --rm -v {app.root}:/p " in line
    assert sorted(outcome.out.splitlines()) == [f"[{index}] shard {index} of 6" for index in range(6)]
    assert outcome.err.startswith(f"run-image: 6 shards, at most 3 at a time; their logs are in {logs}\n")
    again = "run-image train --shards 6 -j 3 --shard 1,4"
    assert outcome.err.splitlines()[-4:] == [
        "SHARD  STATUS  LOG",
        f"1      7       {logs}/1.log",
        f"4      1       {logs}/4.log",
        f"run-image: of 6 shards, 4 succeeded, 2 failed; to run these again: {again}",
    ]
    assert _left(containerd_engine) == ""
    app.write({"fixed": ""})
    outcome = app(*shlex.split(again)[1:], "-q")
    assert outcome.status == 0
    assert re.fullmatch(r"run-image: 2 shards succeeded in \d+\.\d s", outcome.err.splitlines()[-1])
    assert outcome.echoed == []
    assert sorted(app.root.glob("done.*")) == [app.root / f"done.{index}" for index in range(6)]


def test_a_dry_run_prints_all_commands(app) -> None:
    app.write({"docker/dockerutils.cfg": BOX})
    outcome = app("train", "--shards", "10000", "--shard", "9998-9999,3", "--dry-run", "-p", "80", "-e", "A=1", "echo")
    assert (outcome.status, outcome.err) == (0, "")
    name = r"alice_train_\d\d-\d\d-\d\d_[\d.]+"
    assert re.fullmatch(
        "".join(
            f"docker run --init --name {name}-{index} -e A=1 -e AWS_BATCH_JOB_ARRAY_SIZE=10000 -e "
            f"AWS_BATCH_JOB_ARRAY_INDEX={index} --rm -p 80 local/busybox:latest echo\n"
            for index in (3, 9998, 9999)
        ),
        outcome.out,
    )


@pytest.fixture
def docker(tmp_path, monkeypatch) -> Path:
    """Return a directory with a docker that has all images; `run` writes what it is called with, and runs its command."""
    there = tmp_path / "docker"
    there.mkdir()
    script = 'shift; while [ "$1" != local/busybox:latest ]; do shift; done; shift; exec "$@"'
    program(there / "docker", f"case $1 in run) {script};; *) exit 0;; esac")  # fmt: skip
    monkeypatch.setenv("PATH", str(there), prepend=":")
    return there


def test_the_command_line_of_the_next_run(app, docker, tmp_path) -> None:
    app.write({"docker/dockerutils.cfg": BOX})
    words = ["--shard=0,1-2", "--shards", "5", "--logs", "my logs", "-q"]
    outcome = app(*words, "train", "--", "sh", "-c", "exit 3", "--shard", "9")
    assert outcome.status == 3
    assert outcome.err.splitlines()[-1] == (
        "run-image: of 3 shards, 3 failed; to run these again: run-image --shards 5 --logs 'my logs' -q train --shard 0-2"
        " -- sh -c 'exit 3' --shard 9"
    )
    assert sorted(os.listdir(app.root / "my logs")) == ["0.log", "1.log", "2.log"]


def test_many_failures(app, docker) -> None:
    app.write({"docker/dockerutils.cfg": BOX})
    outcome = app("train", "--shards", "102", "-q", "--logs", "logs", "false")
    assert outcome.status == 101
    *_, header, last, more, error = outcome.err.splitlines()
    assert header.split()[0] == "18"
    assert last.split() == ["19", "1", f"{app.root}/logs/19.log"]
    assert more == f"and 82 more in {app.root}/logs"
    assert error == (
        "run-image: of 102 shards, 102 failed; to run these again: run-image train --shards 102 -q --logs logs "
        "--shard 0-101 false"
    )


def test_docker_that_can_start_no_shard(app, docker) -> None:
    app.write({"docker/dockerutils.cfg": BOX})
    outcome = app("train", "--shards", "500", "-j", "2", "--", "sh", "-c", "echo cannot; exit 125")
    assert outcome.status == 101
    assert len(outcome.echoed) == 2
    assert ", 2 failed, 498 did not run to the end; to run these again: " in outcome.err


def test_a_terminal_shows_numbers_and_the_end_of_what_failed(app, docker) -> None:
    app.write({"docker/dockerutils.cfg": BOX})
    work = "mkdir first || { seq 100; exit 9; }; until [ -e go ]; do echo waiting; sleep 0.1; done"
    child = pexpect.spawn(
        RUN, ["train", "--shards", "2", "-j", "2", "sh", "-c", work],
        cwd=str(app.root), encoding="utf-8", timeout=60, dimensions=(40, 200),
    )  # fmt: skip
    child.expect(r"shard [01]: failed with status 9 after \d+\.\d s\r\n")
    child.expect("100\r\n")
    assert str(child.before).endswith("".join(f"{number}\r\n" for number in range(91, 100)))
    assert "\n90\r" not in str(child.before)
    child.expect(r"1 of 2 shards done, 1 failed, 1 running, \d+ s\r\nshard [01]: \d+ s  waiting\r\n")
    app.write({"go": ""})
    child.expect(r"shard [01]: done in ")
    assert exit_status(child) == 1


def test_ctrl_c_removes_all_containers(containerd_engine, app, tmp_path) -> None:
    app.write({"docker/dockerutils.cfg": f"{BOX}cmd = sleep 61870\n"})
    child = pexpect.spawn(
        RUN, ["train", "--shards", "3", "-j", "2"], cwd=str(app.root), encoding="utf-8", timeout=60, dimensions=(40, 300)
    )  # fmt: skip
    wait_for(lambda: len(processes("sleep", "61870")) == 2)
    child.sendintr()
    child.expect(
        "run-image: interrupted; of 3 shards, 3 did not run to the end; to run these again: run-image train "
        "--shards 3 -j 2 --shard 0-2\r\n"
    )
    assert exit_status(child) == 130
    assert _left(containerd_engine) == ""


def test_containers_that_ignore_signals_are_removed(engine, app, monkeypatch) -> None:
    monkeypatch.setattr(spawn, "PATIENCE", 0.5)
    app.write(
        {"docker/dockerutils.cfg": f"{BOX}init =\ncmd = sleep 61871\n"}
    )  # process 1 ignores what it does not handle

    def stop() -> None:
        wait_for(lambda: len(processes("sleep", "61871")) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    outcome = app("train", "--shards", "2", "-j", "2")
    thread.join()
    assert outcome.status == 128 + signal.SIGTERM
    assert re.fullmatch(r"docker rm --force alice_train_\S+-[01] alice_train_\S+-[01]", outcome.echoed[-1])
    assert _left(engine) == ""


def test_on_a_dock_the_project_is_synced_once(docked_shell: Docked) -> None:
    docked_shell.write({
        "docker/dockerutils.cfg": f"{BOX}volumes = -v {{project_root}}:/p\n",
        "in": "x\n",
    })  # fmt: skip
    work = "cp /p/in /p/out.$AWS_BATCH_JOB_ARRAY_INDEX; exit $AWS_BATCH_JOB_ARRAY_INDEX"
    outcome = docked_shell(main, "train", "--shards", "2", "--sync", "--", "sh", "-c", work)
    assert outcome.status == 1
    up, first, second, down, release = outcome.echoed
    assert " -u " in up
    container = "--label dockerutils.project=app --label dockerutils.image=train --label dockerutils.user=alice"
    assert container in first
    assert container in second
    assert down.endswith(" ./")
    assert re.fullmatch(r"ssh -n dock-gpu 'rm -f \S+/run-alice_train_[\d_.-]+'", release)
    assert (docked_shell.root / "out.0").read_text() == (docked_shell.root / "out.1").read_text() == "x\n"


_LEAVE = "leave it out"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--shards", "0"], "--shards: '0' is not a number of shards; write a number from 1 to 10000"),
        (["--shards", "10001"], "--shards: '10001' is not a number of shards; write a number from 1 to 10000"),
        (["--shards", "-1"], "--shards: '-1' is not a number of shards; write a number from 1 to 10000"),
        (["--shards", "x"], "--shards: 'x' is not a number of shards; write a number from 1 to 10000"),
        (["--shards", "4", "-j", "0"], "-j: '0' is not a number of shards; write a number above 0"),
        (["--shards", "4", "--shard", "4"], "--shard: '4' is not a list of shards from 0 to 3; write one such as 0,3 or 0-3"),
        (["--shards", "4", "--shard", "2-1"], "--shard: '2-1' is not a list of shards from 0 to 3; write one such as 0,3 or 0-3"),
        (["--shards", "4", "--shard", ""], "--shard: '' is not a list of shards from 0 to 3; write one such as 0,3 or 0-3"),
        (["--shard", "1"], "--shard is for several shards; add --shards K, the number of all shards"),
        (["-j", "1"], "-j is for several shards; add --shards K, the number of all shards"),
        (["--logs", "x"], "--logs is for several shards; add --shards K, the number of all shards"),
        (["--shards", "4", "-k"], "--shards removes its containers, and keeps their logs; leave out -k"),
        (["--shards", "4", "--rm=false"], "--shards removes its containers, and keeps their logs; leave out --rm=false"),
        (["--shards", "4", "-it"], "--shards runs without a terminal, and waits for the end; leave out -i"),
        (["--shards", "4", "-d"], "--shards runs without a terminal, and waits for the end; leave out -d"),
        (["--shards", "4", "-a", "-t"], "--shards runs without a terminal, and waits for the end; leave out -t"),
        (["--shards", "4", "--name", "x"], f"--name is for one container, and --shards runs several; {_LEAVE}"),
        (["--shards", "4", "-a", "--ip 10.0.0.2"], f"--ip is for one container, and --shards runs several; {_LEAVE}"),
        (["--shards", "4", "--cidfile", "x"], f"--cidfile is for one container, and --shards runs several; {_LEAVE}"),
        (["--shards", "4", "--restart", "always"], f"--restart is for a container that never ends, and each shard ends; {_LEAVE}"),
        (["--shards", "4", "-p", "8080:80"], "port 8080 is for one container, and --shards runs several; publish the port of the container only, as in -p 80"),
        (["--shards", "4", "-p", "published=8080,target=80"], "port 8080 is for one container, and --shards runs several; publish the port of the container only, as in -p 80"),
        (["--shards", "4", "-e", "AWS_BATCH_JOB_ARRAY_INDEX=3"], "--shards sets AWS_BATCH_JOB_ARRAY_INDEX; leave out -e AWS_BATCH_JOB_ARRAY_INDEX, or leave out --shards"),
    ],
)  # fmt: skip
def test_errors(app, argv, message) -> None:
    app.write({"docker/dockerutils.cfg": BOX})
    outcome = app("train", *argv)
    assert (outcome.status, outcome.out, outcome.err) == (2, "", f"run-image: {message}\n")


def test_a_directory_for_logs_that_is_impossible(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DockerutilsError) as caught, Results(f"{tmp_path}/file/logs", 1):
        pass
    assert (
        str(caught.value)
        == f"no logs in {tmp_path}/file/logs: Not a directory; choose another directory: --logs DIRECTORY"
    )
