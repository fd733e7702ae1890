"""sync-up to a real host."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from dockerutils.commands.sync_down import main as sync_down
from dockerutils.commands.sync_up import main
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.commands.conftest import Docked
from tests.support import call, script, wait_for, write_tree
from tests.testbed.host import Host, serving

COPY = "/data/workspaces/alice/code/app"
ORIGIN = f"{COPY}/.dockerutils/origin"
RSYNC = "rsync -rlptOzS --no-inc-recursive -s -e ssh"


def up(docked: Docked, filters: str = "") -> str:
    """Return the command line of a plain sync-up."""
    state, origin = f"{COPY}/.dockerutils", shlex.quote(f"{os.uname().nodename}:{docked.root}")
    claim = f"mkdir -p {state} && cd {state} && printf %s {origin} >origin.$$ && mv -f origin.$$ origin && exec rsync"
    options = f"--info=name --backup --backup-dir=.dockerutils/replaced '--rsync-path={claim}' --exclude=/.dockerutils"
    return f"{RSYNC} {options} {filters}{filters and ' '}./ dock-gpu:{COPY}/"


def test_what_a_build_context_holds_goes_to_the_dock(docked: Docked) -> None:
    docked.write({".dockerignore": "*.log\n.git\n", "a.py": "1\n", "x.log": "", ".git/config": "", "src/b.py": "2\n"})
    (docked.root / "empty").mkdir()
    (docked.root / "link").symlink_to("src/b.py")
    (docked.root / "a.py").chmod(0o755)
    outcome = docked(main)
    assert (outcome.status, outcome.echoed) == (0, [up(docked, "--exclude=/.git '--exclude=/*.log'")])
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
    # Nothing has changed: nothing is sent. Elsewhere, the line changes to the root first. One connection serves all.
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
    outcome = docked(main, "--delete", "-y")
    assert outcome.status == 0
    assert outcome.err.startswith("to be deleted on dock gpu:\n  ")
    assert "\n  q\\nr\n" in outcome.err
    assert docked.there() == {"docker/", "docker/dev/", "docker/dev/Dockerfile"}


def test_delete_lists_first_and_keeps_what_docker_leaves_out(docked: Docked) -> None:
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
    outcome = docked(main, "--delete", "-y")
    assert outcome.status == 0
    first, *listed = outcome.err[: outcome.err.index("\n\n")].splitlines()
    # rsync lists gone/logs, because it does not look at what is left out; the directory stays.
    listing = ["  b/d", "  gone/e", "  gone/logs/", "  logs/x.log2", "  old"]
    assert (first, sorted(listed)) == ("to be deleted on dock gpu:", listing)
    assert docked.there() == kept - {"b/d", "gone/e", "logs/x.log2", "old"}
    deletion, transfer = outcome.echoed
    assert dry == (0, f"{deletion}\n{transfer}\n", outcome.err[: outcome.err.index("\n\n") + 1])
    assert deletion.startswith(f"{RSYNC} --info=del --delete --existing --ignore-existing --filter=protect_.git ")
    assert " --delete" not in transfer


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
    output = terminal.read()
    terminal.close()
    assert terminal.exitstatus == status
    assert ("old" in docked.there()) == remains
    refusal = "nothing was deleted or copied; leave out --delete to copy without deleting"
    assert (refusal in output) == remains
    # On a terminal, rsync shows its progress.
    assert ("--info=progress2" in output) != remains


def test_without_a_terminal_delete_needs_a_yes(docked: Docked) -> None:
    docked.write({"old": ""})
    assert docked(main).status == 0
    (docked.root / "old").rename(docked.root / "new")
    message = "sync-up: there is no terminal to confirm --delete on, so nothing was deleted or copied; add -y\n"
    assert docked(main, "--delete") == (2, "", f"to be deleted on dock gpu:\n  old\n{message}")
    assert {"old", "new"} & docked.there() == {"old"}
    assert docked(main, "--delete", "-y").status == 0
    assert {"old", "new"} & docked.there() == {"new"}
    # Nothing is left to delete, so there is nothing to confirm.
    assert docked(main, "--delete").status == 0


def test_git_is_never_deleted(docked: Docked) -> None:
    docked.write({"sub/a": "", ".git/config": ""})
    assert docked(main).status == 0
    docked.run("mkdir -p .git/objects lost/.git && touch .git/objects/1 lost/.git/config lost/a sub/.git")
    git = {".git/", ".git/config", ".git/objects/", ".git/objects/1", "lost/.git/", "lost/.git/config", "sub/.git"}
    shutil.rmtree(docked.root / ".git")
    shutil.rmtree(docked.root / "sub")
    assert docked(main, "--delete", "-y").status == 0
    assert {path for path in docked.there() if ".git" in path} == git
    assert not {"lost/a", "sub/a"} & docked.there()
    # Nor does a file take the place of a directory that holds one.
    docked.write({"sub": ""})
    assert docked(main, "--delete", "-y").status == 23
    assert {path for path in docked.there() if ".git" in path} == git


def test_a_directory_can_become_a_file_only_with_delete(docked: Docked) -> None:
    docked.write({"x/y": ""})
    assert docked(main).status == 0
    shutil.rmtree(docked.root / "x")
    docked.write({"x": ""})
    assert docked(main).status == 23
    assert docked(main, "--delete", "-y").status == 0
    assert {path for path in docked.there() if path.startswith("x")} == {"x"}


def test_another_checkout_of_the_same_name_is_refused(docked: Docked, tmp_path, capfd) -> None:
    docked.write({"mine": ""})
    assert docked(main).status == 0
    other = write_tree(tmp_path / "other/app", {"docker/dev/Dockerfile": "FROM scratch\n", "theirs": ""})
    host = os.uname().nodename
    for command, name in [(main, "sync-up"), (sync_down, "sync-down")]:
        for argv in [[], ["--delete", "-y"]]:
            assert call(command, *argv, directory=other, capfd=capfd) == (
                1,
                "",
                f"{name}: {COPY} on dock gpu is the copy of {host}:{docked.root}, not of {host}:{other}; rename this "
                f"project's directory, or take the copy over: {name} --adopt\n",
            )
    assert {"mine", "theirs"} & docked.there() == {"mine"}
    assert {path.name for path in other.iterdir()} == {"docker", "theirs"}
    assert call(main, "--adopt", directory=other, capfd=capfd).status == 0
    assert {"mine", "theirs"} & docked.there() == {"mine", "theirs"}
    assert docked.host.run(f"cat {ORIGIN}") == f"{host}:{other}"
    # Now the first one is the other one.
    assert docked(main).status == 1
    assert docked(sync_down, "--adopt").status == 0
    assert docked.host.run(f"cat {ORIGIN}") == f"{host}:{docked.root}"
    assert docked(main).status == 0


def test_the_copy_of_an_earlier_version_is_taken_over(docked: Docked) -> None:
    docked.run(f"mkdir -p {COPY}/docker", directory="/")
    assert docked(main).status == 0
    assert docked.host.run(f"cat {ORIGIN}") == f"{os.uname().nodename}:{docked.root}"


def test_what_is_replaced_on_the_dock_is_kept_there(docked: Docked) -> None:
    docked.write({"a/x": "first\n"})
    assert docked(main).status == 0
    docked.run("echo theirs >a/x")
    docked.write({"a/x": "mine\n"})
    assert docked(main).status == 0
    assert docked.host.run(f"cat {COPY}/a/x {COPY}/.dockerutils/replaced/a/x") == "mine\ntheirs\n"


def test_one_more_call_than_rsync_itself(docked: Docked) -> None:
    assert docked(main).status == 0
    before = docked.host.log().count("Starting session: command")
    assert docked(main).status == 0
    assert docked.host.log().count("Starting session: command") - before == 2
    assert docked.host.authentications() == 1


@pytest.mark.parametrize(("shift", "clock"), [("+3600", "1 hour ahead of"), ("-90", "1 minute behind")])
def test_clocks_that_differ_draw_a_warning(docked: Docked, shift, clock) -> None:
    assert "warning" not in docked(main).err
    docked.host.run(rf"printf '#!/bin/sh\necho $(($(/bin/date +%%s) {shift}))\n' >/usr/local/bin/date")
    docked.host.run("chmod +x /usr/local/bin/date")
    for command in (main, sync_down):
        assert docked(command).err.startswith(
            f"sync: warning: the clock of dock gpu is {clock} this machine's, so the newer of two files is uncertain; "
            "set it: ssh-dock gpu sudo timedatectl set-ntp true\n"
        )


def test_a_sparse_file_stays_sparse(docked: Docked) -> None:
    with (docked.root / "sparse").open("wb") as stream:
        stream.truncate(50_000_000)
    assert docked(main).status == 0
    size, kilobytes = docked.host.run(f"stat -c %s {COPY}/sparse; du -k {COPY}/sparse").split()[:2]
    assert size == "50000000"
    assert int(kilobytes) < 1000


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
        up(docked, "'--exclude=/the app/_version.py' --exclude=/versioneer.py --exclude=/_version.py.bld"),
        f"{RSYNC} '--rsync-path=mkdir -p '\"'\"'{COPY}/the app'\"'\"' && exec rsync'"
        f" _version.py.bld 'dock-gpu:{COPY}/the app/_version.py'",
    ]
    assert docked.host.run(f"cat {COPY}/the*/_version.py") == (docked.root / "_version.py.bld").read_text()
    (docked.root / "_version.py.bld").unlink()
    assert docked(main, "--dry-run").out.splitlines() == outcome.echoed
    assert not (docked.root / "_version.py.bld").exists()
    assert docked(main, "--delete").err.count("to be deleted") == 0


def test_another_directory_on_the_dock(docked: Docked, monkeypatch) -> None:
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


def test_an_interrupted_sync_can_be_run_again(docked: Docked) -> None:
    for number in range(20):
        (docked.root / f"{number}.bin").write_bytes(os.urandom(4_000_000))
    command = [str(Path(sys.executable).parent / "sync-up")]
    with subprocess.Popen(
        command, cwd=docked.root, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as child:
        wait_for(lambda: any(path.endswith(".bin") for path in docked.there()))
        docked.host.cut()
        lines = child.communicate(timeout=60)[1].splitlines()
    assert child.returncode != 0
    assert lines[-1].startswith("sync-up: ")
    # The next call opens a new connection.
    assert docked(main).status == 0
    assert {path for path in docked.there() if not path.startswith("docker")} == {
        f"{number}.bin" for number in range(20)
    }


def test_the_copy_is_not_writable(docked: Docked, monkeypatch) -> None:
    monkeypatch.setenv("DOCK_WORKSPACES", "/data/other")
    for argv in [[], ["--delete"]]:
        outcome = docked(main, *argv)
        assert (outcome.status, outcome.err) == (
            1,
            "sync-up: /data/other/alice/code/app on dock gpu is not writable; run: "
            "ssh-dock gpu sudo install -d -o dock /data/other/alice; or set DOCK_WORKSPACES to a directory of yours\n",
        )


def test_no_rsync_on_the_dock(docked: Docked, ssh_home) -> None:
    with serving(docked.host.engine, without=("rsync",)) as bare:
        bare.admit(ssh_home)
        inventory.register(Dock("bare", bare.address, "dock", bare.address, bare.address, bare.port), ssh_home)
        outcome = docked(main, "--dock", "bare")
    message = "sync-up: dock bare has no rsync; install it there: ssh-dock bare sudo apt-get install -y rsync\n"
    assert (outcome.status, outcome.err) == (1, message)


def test_no_rsync_here(docked: Docked, tmp_path, monkeypatch) -> None:
    (tmp_path / "ssh").symlink_to(str(shutil.which("ssh")))
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = docked(main)
    assert (outcome.status, outcome.err.splitlines()[-1]) == (
        1,
        "sync-up: rsync was not found on PATH; install rsync (3.1 or newer), or add its directory to PATH",
    )


def test_an_unreachable_dock(docked: Docked, ssh_home) -> None:
    inventory.register(Dock("gone", "127.0.0.1", "dock", "127.0.0.1", "127.0.0.1", 1), ssh_home)
    outcome = docked(main, "--dock", "gone")
    assert outcome.status == 255
    assert "connect to host 127.0.0.1 port 1: Connection refused" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_rsync_fails(docked: Docked) -> None:
    docked.run(f"mkdir -p {COPY}/x/y", directory="/")  # a directory in the way of a file
    docked.write({"x": ""})
    outcome = docked(main)
    assert (outcome.status, outcome.err.splitlines()[-1]) == (
        23,
        "sync-up: rsync failed with status 23; fix what it reports above, and try again",
    )


def test_a_full_disk_on_the_dock(docked: Docked, host: Host) -> None:
    docked.host.run("mount -t tmpfs -o size=1m,mode=777 tmpfs /data/workspaces")
    (docked.root / "big").write_bytes(os.urandom(3_000_000))
    outcome = docked(main)
    assert outcome.status in {11, 12, 23}
    assert "No space left on device" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("sync-up: rsync failed with status ")


@pytest.mark.parametrize(
    ("argv", "environ", "message"),
    [
        ([], {"DOCK_MONIKER": ""}, "this shell is not docked; name a dock, or run: source dock NAME; known docks: gpu"),
        (["--dock", "cpu"], {}, "unknown dock 'cpu'; known docks: gpu"),
        ([], {"DOCK_WORKSPACES": "work"}, "DOCK_WORKSPACES is 'work', which is not an absolute path; set it to a directory on the dock, such as /data/workspaces"),
    ],
)  # fmt: skip
def test_bad_usage(docked: Docked, monkeypatch, argv, environ, message) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert docked(main, *argv) == (2, "", f"sync-up: {message}\n")


def test_a_pattern_that_docker_refuses(docked: Docked) -> None:
    docked.write({".dockerignore": "a\n[b\n"})
    assert docked(main) == (
        2,
        "",
        "sync-up: .dockerignore:2: '[b': the [ does not start a class such as [abc] or [0-9]; write \\[ for the character\n",
    )


def test_the_console_script(docked: Docked) -> None:
    assert script("sync-up", "--dry-run", directory=docked.root).out == f"{up(docked)}\n"


@pytest.fixture
def bashrc(docked: Docked) -> Iterator[Path]:
    """Return what the shell of the dock's user reads for each command, and restore it."""
    path = Path(docked.host.path(docked.host.home()), ".bashrc")
    before = path.read_text()
    yield path
    path.write_text(before)


def test_what_a_hostile_dock_writes_is_shown_escaped(docked: Docked, bashrc: Path) -> None:
    assert docked(main).status == 0
    docked.run("touch .dockerutils/run-x")  # a run that was not synced down
    hostile = "printf '\\033]0;x\\007\\n' >&2; case $BASH_EXECUTION_STRING in rm*) printf '\\033[8mhidden\\n' ;; esac\n"
    bashrc.write_text(hostile)
    outcome = docked(main)
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.err.splitlines().count("\\x1b]0;x\\x07") == 3  # rsync, ssh, rsync
    assert "\n\\x1b[8mhidden\n" in outcome.err
    assert "\x1b" not in outcome.err
    bashrc.write_text(f"{hostile}case $BASH_EXECUTION_STRING in *rsync\\ --server*) exit 9 ;; esac\n")
    outcome = docked(main, "--delete")
    assert outcome.status != 0
    assert "\n\\x1b]0;x\\x07\n" in f"\n{outcome.err}"
    assert "\x1b" not in outcome.err
