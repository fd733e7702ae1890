"""run-image in a docked shell: the project's files are there before the run, those that .dockerignore leaves out too."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pexpect
import pytest

from dockerutils.commands.run_image import main
from dockerutils.commands.sync_down import main as sync_down
from dockerutils.commands.sync_up import main as sync_up
from dockerutils.docks import mounts
from tests.commands.conftest import Docked
from tests.support import call, wait_for, write_tree

BOX = "[box]\nname = local/busybox:latest\nprefix = False\n"


def configure(docked_shell: Docked, text: str) -> str:
    """Write the section of the image; return the path of the project's copy."""
    docked_shell.write({"docker/dockerutils.cfg": f"{BOX}{text}\n"})
    return f"{docked_shell.host.home('dock')}/work/alice/code/app"


@pytest.mark.usefixtures("not_replaced")
def test_a_run_that_mounts_the_project_finds_its_files(docked_shell: Docked) -> None:
    copy = configure(docked_shell, "volumes = -v {root}/sub:/s")
    docked_shell.write({"sub/a": "first\n", ".dockerignore": "**/*.log\n", "sub/b.log": ""})
    outcome = docked_shell(main, "box", "sh", "-c", "cat /s/*; echo result >/s/result")
    assert (outcome.status, outcome.out) == (0, "first\n")
    up, run = outcome.echoed
    assert " -u " in up
    assert up.endswith(f" ./ dock-gpu:{copy}/")
    assert run.startswith("docker run ")
    assert "sub/a\n" in outcome.err
    # It is not synced down, and nothing has to be; what it wrote stays, and is fetched by sync-down.
    assert not (docked_shell.root / "sub/result").exists()
    assert [name for name in os.listdir(docked_shell.host.path(f"{copy}/.dockerutils")) if "run-" in name] == []
    # When nothing has changed: two sessions, a question and rsync, which sends no file; docker has its own socket.
    sessions = docked_shell.host.log().count("Starting session: command")
    again = docked_shell(main, "box", "--", "cat", "/s/result", directory="sub")
    assert (again.out, len(again.echoed)) == ("result\n", 2)
    assert "sub/a\n" not in again.err
    assert docked_shell.host.log().count("Starting session: command") - sessions == 2
    # A path of the command line that begins at the caller's directory is one of the copy, too.
    relative = docked_shell(main, "box", "-v", "./:/here", "--", "ls", "/here", directory="sub")
    assert (relative.out, relative.status) == ("a\nresult\n", 0)
    assert docked_shell(sync_down).status == 0
    assert (docked_shell.root / "sub/result").read_text() == "result\n"


@pytest.mark.usefixtures("not_replaced")
def test_without_a_sync_the_copy_has_to_be_there(docked_shell: Docked) -> None:
    copy = configure(docked_shell, "volumes = -v {root}:/p -v {root}/data:/d -v {root}/out:/o")
    docked_shell.write({"a": "first\n", ".dockerignore": "data\n", "data/x": "data\n"})
    refused = f"run-image: dock gpu has no {copy}, which is mounted, and this run does not sync; run: sync-up\n"
    assert docked_shell(main, "box", "--no-sync", "--", "cat", "/p/a") == (1, "", refused)
    configure(docked_shell, "volumes = -v {root}:/p -v {root}/data:/d -v {root}/out:/o\n[DEFAULT]\nsync = False")
    assert docked_shell(main, "box", "--", "cat", "/p/a") == (1, "", refused)
    assert docked_shell.there(copy) == set()
    assert docked_shell(sync_up).status == 0
    # sync-up copies what builds get; the data of a run are a part of it no more than before.
    assert docked_shell(main, "box", "--", "cat", "/p/a") == (
        1,
        "",
        f"run-image: dock gpu has no {copy}/data, which is mounted, and this run does not sync; run: run-image box "
        "--sync\n",
    )
    docked_shell.run("mkdir data; echo theirs >data/x", copy)
    outcome = docked_shell(main, "box", "--", "sh", "-c", "cat /p/a /d/x; ls -ln / | grep ' o$'")
    assert (outcome.status, len(outcome.echoed)) == (0, 1)
    assert outcome.out.startswith("first\ntheirs\n")
    # Docker would create as root what is nowhere: it is created before, by the dock's user.
    user = docked_shell.host.run("id -u", "dock").strip()
    assert outcome.out.split()[4] == user
    # The option wins.
    assert docked_shell(main, "box", "--sync", "--", "cat", "/d/x").out == "theirs\n"


@pytest.mark.usefixtures("not_replaced")
def test_data_that_dockerignore_leaves_out_are_there_if_they_are_mounted(
    docked_shell: Docked, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = configure(docked_shell, "volumes = -v {root}/data:/data:ro -v {root}/out/a:/out")
    docked_shell.write({".dockerignore": "*\n!docker\n", "data/x": "data\n", "data/deep/y.log": "", "other": ""})
    monkeypatch.setattr(mounts, "ASKED", 4)
    outcome = docked_shell(main, "box", "--", "cat", "/data/x")
    assert (outcome.status, outcome.out, outcome.echoed) == (2, "", [])
    assert "because there is no terminal to ask on; add -y to send it\n" in outcome.err
    outcome = docked_shell(main, "box", "-y", "--", "sh", "-c", "cat /data/x; echo result >/out/r")
    assert (outcome.status, outcome.out) == (0, "data\n")
    there = {path for path in docked_shell.there(copy) if not path.startswith("docker")}
    assert there == {"data/", "data/x", "data/deep/", "data/deep/y.log", "out/", "out/a/", "out/a/r"}
    user = docked_shell.host.run("id -u", "dock").strip()
    assert docked_shell.host.run(f"stat -c %u {copy}/out {copy}/out/a").split() == [user, user]
    # They were sent, so nobody is asked again; and what was mounted comes back, also much later.
    assert docked_shell(main, "box", "--", "cat", "/out/r").out == "result\n"
    assert not (docked_shell.root / "out").exists()
    docked_shell.run("rm -r data/deep; echo other >other", copy)
    assert docked_shell(sync_down).status == 0
    assert (docked_shell.root / "out/a/r").read_text() == "result\n"
    assert (docked_shell.root / "other").read_text() == ""
    # What .dockerignore leaves out is still never deleted.
    assert docked_shell(sync_down, "--delete", "-y").status == 0
    assert (docked_shell.root / "data/deep/y.log").exists()
    # Each sync copies them from now on: what it leaves out, the next one would take for what both sides have.
    docked_shell.write({"out/a/r": "mine\n"})
    assert docked_shell(sync_up).status == 0
    assert docked_shell.host.run(f"cat {copy}/out/a/r") == "mine\n"
    docked_shell.write({"out/a/r": "mine again\n"})
    configure(docked_shell, "volumes = -v {root}/docker:/d")
    assert docked_shell(main, "box", "--", "true").status == 0
    assert docked_shell.host.run(f"cat {copy}/out/a/r") == "mine again\n"
    configure(docked_shell, "volumes = -v {root}/data:/data:ro -v {root}/out/a:/out")
    outcome = docked_shell(main, "box", "--sync", "--", "sh", "-c", "echo new >/out/new")
    assert outcome.status == 0
    assert (docked_shell.root / "out/a/new").read_text() == "new\n"


def test_on_a_terminal_it_asks_before_it_sends_much_data(docked_shell: Docked) -> None:
    copy = configure(docked_shell, "volumes = -v {root}/data:/data")
    docked_shell.write({".dockerignore": "data\n", "data/x": ""})
    with (docked_shell.root / "data/big").open("wb") as stream:
        stream.truncate(1_300_000_000)
    command = str(Path(sys.executable).parent / "run-image")
    terminal = pexpect.spawn(command, ["box", "ls"], cwd=str(docked_shell.root), encoding="utf-8", timeout=60)
    terminal.expect_exact(
        "data (1.3 GB) is mounted, and .dockerignore keeps it out of builds; send it to dock gpu? [y/N] "
    )
    terminal.sendline("n")
    assert "data was not sent and nothing was run" in terminal.read()
    terminal.close()
    assert terminal.exitstatus == 1
    assert docked_shell.there(copy) == set()


@pytest.mark.usefixtures("not_replaced")
def test_another_checkout_of_the_same_name_is_refused(docked_shell: Docked, tmp_path, capfd) -> None:
    copy = configure(docked_shell, "volumes = -v {root}:/p")
    docked_shell.write({"mine": "mine\n"})
    assert docked_shell(main, "box", "--", "cat", "/p/mine").out == "mine\n"
    files = {"docker/dockerutils.cfg": f"{BOX}volumes = -v {{root}}:/p\n", "theirs": "theirs\n"}
    other = write_tree(tmp_path / "other/app", {"docker/dev/Dockerfile": "FROM scratch\n", **files})
    host = os.uname().nodename
    refused = (
        f"run-image: {copy} on dock gpu is the copy of {host}:{docked_shell.root}, not of {host}:{other}; rename this "
        "project's directory, or take the copy over: sync-up --adopt\n"
    )
    for argv in [[], ["--sync"], ["--no-sync"]]:
        assert call(main, "box", *argv, "--", "ls", "/p", directory=other, capfd=capfd) == (1, "", refused)
    assert "theirs" not in docked_shell.there(copy)
    outcome = call(main, "box", "--adopt", "--", "cat", "/p/theirs", directory=other, capfd=capfd)
    assert (outcome.status, outcome.out) == (0, "theirs\n")
    assert docked_shell.host.run(f"cat {copy}/.dockerutils/origin") == f"{host}:{other}"
    assert docked_shell(main, "box", "--", "ls", "/p").status == 1


@pytest.mark.usefixtures("not_replaced")
def test_a_run_does_not_touch_what_another_one_is_writing(docked_shell: Docked) -> None:
    copy = configure(docked_shell, "volumes = -v {root}:/p")
    wait = "until [ -e /p/go ]; do sleep 0.1; echo more >>/p/log; done; echo last >>/p/log"
    started = docked_shell(main, "box", "-k", "--sync", "--", "sh", "-c", wait)
    container = started.out.strip()
    assert started.err.endswith("run-image: to see its log and to fetch its files at its end, run: attach-image box\n")
    try:
        wait_for(lambda: "log" in docked_shell.there(copy))
        outcome = docked_shell(main, "box", "--", "ls", "/p")
        assert "first fetching" not in outcome.err
        assert "log" in outcome.out.split()
        assert not (docked_shell.root / "log").exists()
        docked_shell.run("touch go", copy)
        wait_for(lambda: docked_shell.host.engine.docker("inspect", "-f", "{{.State.Running}}", container) == "false\n")
        assert "sync: first fetching the files that" in docked_shell(main, "box", "--", "ls", "/p").err
        assert (docked_shell.root / "log").read_text().endswith("more\nlast\n")
        assert docked_shell.host.run(f"ls {copy}/.dockerutils") == "origin\n"
    finally:
        docked_shell.host.engine.docker("rm", "-f", container)
