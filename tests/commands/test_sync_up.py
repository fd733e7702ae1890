"""sync-up, to a real host by its ssh stanza."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from dockerutils.commands.sync_up import main
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.commands.conftest import Docked
from tests.support import call, script, wait_for, write_tree
from tests.testbed.host import Host, serving

COPY = "/data/workspaces/alice/code/app"
RSYNC = f"rsync -rlptOz --no-inc-recursive -s -e ssh --info=name,del '--rsync-path=mkdir -p {COPY} && exec rsync'"


def test_what_a_build_context_holds_goes_to_the_dock(docked: Docked) -> None:
    docked.write({".dockerignore": "*.log\n.git\n", "a.py": "1\n", "x.log": "", ".git/config": "", "src/b.py": "2\n"})
    (docked.root / "empty").mkdir()
    (docked.root / "link").symlink_to("src/b.py")
    (docked.root / "a.py").chmod(0o755)
    outcome = docked(main)
    assert (outcome.status, outcome.echoed) == (0, [f"{RSYNC} --exclude=/.git '--exclude=/*.log' ./ dock-gpu:{COPY}/"])
    assert outcome.out.splitlines() == [
        *(".dockerignore", "a.py", "link -> src/b.py", "docker/", "docker/dev/", "docker/dev/Dockerfile"),
        *("empty/", "src/", "src/b.py"),
    ]
    assert docked.there() == {
        *(
            ".dockerignore",
            "a.py",
            "link",
            "docker/",
            "docker/dev/",
            "docker/dev/Dockerfile",
            "empty/",
            "src/",
            "src/b.py",
        )
    }
    assert docked.host.run(f"stat -c %a {COPY}/a.py; cat {COPY}/link") == "755\n2\n"
    # Nothing has changed: nothing is sent. From elsewhere, the line says where it belongs; one connection serves all.
    again = docked(main, directory="src")
    assert (again.out, again.echoed) == ("", [f"(cd {docked.root} && {outcome.echoed[0]})"])
    assert docked.host.authentications() == 1


def test_the_printed_line_does_the_same_when_it_is_pasted(docked: Docked) -> None:
    docked.write({".dockerignore": "b *\n'q'\n[$]HOME\n\\!x\ndata\n!data/a/keep me\n", "b 1": "", "'q'": "", "$HOME": "", "!x": "", "data/a/keep me": "", "data/b": "", "-x y": ""})  # fmt: skip
    line = docked(main, "--dry-run").out
    assert docked.there() == set()
    subprocess.run(["sh", "-c", line], cwd=docked.root, check=True)
    sent = docked.there()
    assert sent == {
        ".dockerignore",
        "docker/",
        "docker/dev/",
        "docker/dev/Dockerfile",
        "data/",
        "data/a/",
        "data/a/keep me",
        "-x y",
    }
    outcome = docked(main)
    assert (outcome.out, outcome.echoed, docked.there()) == ("", [line.strip()], sent)


def test_names_of_every_kind_arrive(docked: Docked) -> None:
    names = ["-rf", "+ x", "a b", "*", "[q]", "q\nr", "é", "back\\slash", "#h", "!e", "a:b", '"', "$(touch x)", "`id`"]
    for name in names:
        (docked.root / name).touch()
    assert docked(main).status == 0
    assert set(names) <= docked.there()
    for name in names:
        (docked.root / name).unlink()
    outcome = docked(main, "--delete")
    assert outcome.status == 0
    assert outcome.err.startswith("to be deleted on dock gpu:\n  ")
    assert "\n  q\\nr\n" in outcome.err
    assert docked.there() == {"docker/", "docker/dev/", "docker/dev/Dockerfile"}


def test_delete_lists_first_and_spares_what_docker_leaves_out(docked: Docked) -> None:
    docked.write({".dockerignore": "**/*.log\n!**/logs\ncache\n", "logs/a": "", "b/c": "", "b/d": ""})
    assert docked(main).status == 0
    # Below logs, docker leaves x.log out though the exception looks as if it did not; see the test of filters.
    docked.run(
        "touch logs/x.log logs/x.log2 b/y.log old && mkdir -p gone/logs cache && touch gone/e gone/logs/z.log cache/1"
    )
    (docked.root / "b/d").unlink()
    kept = docked.there()
    assert docked(main).status == 0
    assert docked.there() == kept
    dry = docked(main, "--delete", "--dry-run")
    assert docked.there() == kept
    outcome = docked(main, "--delete")
    assert outcome.status == 0
    first, *listed = outcome.err[: outcome.err.index("\n\n")].splitlines()
    assert (first, sorted(listed)) == ("to be deleted on dock gpu:", ["  b/d", "  gone/e", "  logs/x.log2", "  old"])
    assert docked.there() == kept - {"b/d", "gone/e", "logs/x.log2", "old"}
    assert dry == (0, f"{outcome.echoed[0]}\n", outcome.err[: outcome.err.index("\n\n") + 1])
    assert shlex.split(outcome.echoed[0])[8:11] == ["--delete", "--exclude=/gone/logs/z.log", "--exclude=/logs/x.log"]


@pytest.mark.parametrize(("answer", "status", "remains"), [("n", 1, True), ("", 1, True), ("y", 0, False)])
def test_on_a_terminal_it_asks_before_it_deletes(docked: Docked, answer, status, remains) -> None:
    docked.write({"old": ""})
    assert docked(main).status == 0
    (docked.root / "old").unlink()
    terminal = pexpect.spawn(
        str(Path(sys.executable).parent / "sync-up"), ["--delete"], cwd=str(docked.root), encoding="utf-8", timeout=60
    )
    terminal.expect_exact("to be deleted on dock gpu:\r\n  old\r\ndelete them? [y/N] ")
    terminal.sendline(answer)
    said = terminal.read()
    terminal.close()
    assert terminal.exitstatus == status
    assert ("old" in docked.there()) == remains
    refusal = "nothing was deleted, and nothing sent; leave out --delete to send without deleting"
    assert (refusal in said) == remains
    # There, rsync shows how far it is.
    assert ("--info=progress2" in said) != remains


def test_the_version_file_is_the_one_for_builds(docked: Docked) -> None:
    docked.write(
        {
            "setup.cfg": "[versioneer]\nVCS = git\nstyle = pep440\nversionfile_source = the app/_version.py\n[x]\n",
            "versioneer.py": "def get_versions():\n    return {'version': '1.2'}\n",
            "the app/_version.py": "raise RuntimeError('there is no git')\n",
            ".dockerignore": "_version.py.bld\nversioneer.py\n",
        }
    )
    outcome = docked(main)
    assert outcome.status == 0
    assert outcome.echoed == [
        f"{RSYNC} '--exclude=/the app/_version.py' --exclude=/versioneer.py --exclude=/_version.py.bld ./ dock-gpu:{COPY}/",
        f"rsync -rlptOz --no-inc-recursive -s -e ssh '--rsync-path=mkdir -p '\"'\"'{COPY}/the app'\"'\"' && exec rsync'"
        f" _version.py.bld 'dock-gpu:{COPY}/the app/_version.py'",
    ]
    assert docked.host.run(f"cat {COPY}/the*/_version.py") == (docked.root / "_version.py.bld").read_text()
    (docked.root / "_version.py.bld").unlink()
    assert docked(main, "--dry-run").out.splitlines() == outcome.echoed
    assert not (docked.root / "_version.py.bld").exists()
    assert docked(main, "--delete").err.count("to be deleted") == 0


def test_elsewhere_on_the_dock(docked: Docked, monkeypatch) -> None:
    place = docked.host.home() + "/my work's/$(x)"
    monkeypatch.setenv("DOCK_WORKSPACES", place + "/")
    assert docked(main).status == 0
    assert "docker/dev/Dockerfile" in docked.there(f"{place}/alice/code/app")


def test_an_odd_user_and_an_odd_project(docked: Docked, tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.setenv("LOGNAME", "DOM\\al ice")
    docked.host.run("install -d -o dock /data/workspaces/DOM-al-ice")
    root = write_tree(tmp_path / "My $App", {"docker/dev/Dockerfile": "FROM scratch\n"})
    assert call(main, directory=root, capfd=capfd).status == 0
    assert "docker/dev/Dockerfile" in docked.there("/data/workspaces/DOM-al-ice/code/my-app")


def test_a_sync_that_was_cut_is_run_again(docked: Docked) -> None:
    for number in range(20):
        (docked.root / f"{number}.bin").write_bytes(os.urandom(4_000_000))
    command = [str(Path(sys.executable).parent / "sync-up")]
    with subprocess.Popen(
        command, cwd=docked.root, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as child:
        wait_for(lambda: any(path.endswith(".bin") for path in docked.there()))
        docked.host.cut()
        said = child.communicate()[1].splitlines()
    assert child.returncode != 0
    assert said[-1].startswith("sync-up: ")
    # The next call opens a connection of its own accord.
    assert docked(main).status == 0
    assert {path for path in docked.there() if not path.startswith("docker")} == {
        f"{number}.bin" for number in range(20)
    }


def test_the_place_cannot_be_written(docked: Docked, monkeypatch) -> None:
    monkeypatch.setenv("DOCK_WORKSPACES", "/data/other")
    for argv in [[], ["--delete"]]:
        outcome = docked(main, *argv)
        assert (outcome.status, outcome.err.splitlines()[-1]) == (
            12,
            "sync-up: /data/other/alice/code/app on dock gpu cannot be written; run: "
            "ssh-dock gpu -- sudo install -d -o dock /data/other/alice; or set DOCK_WORKSPACES to a directory of yours",
        )


def test_no_rsync_there(docked: Docked, ssh_home) -> None:
    with serving(docked.host.engine, without=("rsync",)) as bare:
        bare.admit(ssh_home)
        inventory.register(Dock("bare", bare.address, "dock", bare.address, bare.address, bare.port), ssh_home)
        outcome = docked(main, "--dock", "bare")
    # rsync ends with the status of the dock's shell, or with its own for a connection that closes.
    assert outcome.status in {12, 127}
    message = "sync-up: dock bare has no rsync; install it there: ssh-dock bare -- sudo apt-get install -y rsync"
    assert outcome.err.splitlines()[-1] == message


def test_no_rsync_here(docked: Docked, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = docked(main)
    assert (outcome.status, outcome.err.splitlines()[-1]) == (
        1,
        "sync-up: rsync was not found on PATH; install rsync (3.1 or newer), or add its directory to PATH",
    )


def test_the_dock_is_gone(docked: Docked, ssh_home) -> None:
    inventory.register(Dock("gone", "127.0.0.1", "dock", "127.0.0.1", "127.0.0.1", 1), ssh_home)
    outcome = docked(main, "--dock", "gone")
    # rsync ends with the status of ssh, or with its own for a connection that closes.
    assert outcome.status in {12, 255}
    message = "sync-up: dock gone cannot be reached; ssh says why above: see that it runs, and try ssh-dock gone"
    assert outcome.err.splitlines()[-1] == message


def test_what_rsync_cannot_do(docked: Docked) -> None:
    docked.run(f"mkdir -p {COPY}/x/y", directory="/")  # a directory in the way of a file
    docked.write({"x": ""})
    outcome = docked(main)
    assert (outcome.status, outcome.err.splitlines()[-1]) == (
        23,
        "sync-up: rsync ended with status 23; it says why above: mend that and run the command again",
    )


def test_a_full_disk_there(docked: Docked, host: Host) -> None:
    docked.host.run("mount -t tmpfs -o size=1m,mode=777 tmpfs /data/workspaces")
    (docked.root / "big").write_bytes(os.urandom(3_000_000))
    outcome = docked(main)
    assert outcome.status in {11, 12, 23}
    assert "No space left on device" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("sync-up: rsync ended with status ")


@pytest.mark.parametrize(
    ("argv", "environ", "message"),
    [
        ([], {"DOCK_MONIKER": ""}, "this shell is not docked; name a dock, or run: source dock NAME; known docks: gpu"),
        (["--dock", "cpu"], {}, "unknown dock 'cpu'; known docks: gpu"),
        ([], {"DOCK_WORKSPACES": "work"}, "DOCK_WORKSPACES is 'work', no absolute path; set it to a directory of the dock's, /data/workspaces for example"),
    ],
)  # fmt: skip
def test_bad_usage(docked: Docked, monkeypatch, argv, environ, message) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert docked(main, *argv) == (2, "", f"sync-up: {message}\n")


def test_a_pattern_that_docker_does_not_take(docked: Docked) -> None:
    docked.write({".dockerignore": "a\n[b\n"})
    assert docked(main) == (
        2,
        "",
        "sync-up: .dockerignore:2: '[b': the [ begins no class, such as [abc] or [0-9]; write \\[ for the character\n",
    )


def test_the_console_script(docked: Docked) -> None:
    assert script("sync-up", "--dry-run", directory=docked.root).out == f"{RSYNC} ./ dock-gpu:{COPY}/\n"
