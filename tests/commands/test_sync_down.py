"""sync-down from a real host."""

from __future__ import annotations

import os
import time

import pytest

from dockerutils.commands.sync_down import main
from dockerutils.commands.sync_up import main as sync_up
from tests.commands.conftest import Docked

COPY = "/data/workspaces/alice/code/app"


def down(docked: Docked, filters: str = "--exclude=/docker --exclude=/.dockerignore") -> str:
    """Return the command line of a plain sync-down."""
    log = f"--log-file={os.environ['HOME']}/.docker/{docked.host.address}/sync-app.log --log-file-format="
    return (
        f"rsync -rlptOzS --no-inc-recursive -s -e ssh --info=name,skip -u {log} --backup "
        f"--backup-dir=.dockerutils/replaced-here --exclude=/.dockerutils --exclude=.git {filters} dock-gpu:{COPY}/ ./"
    )


def test_what_is_new_there_comes_back(docked: Docked) -> None:
    docked.write({".dockerignore": "**/*.log\n", "a.py": "old\n", "b.py": "old\n"})
    os.utime(docked.root / "a.py", (1, 1))
    assert docked(sync_up).status == 0
    docked.run(
        "echo new > a.py; touch -d @1 b.py; echo theirs > b.py; touch -d @9 b.py; mkdir out; touch out/x out/y.log"
    )
    outcome = docked(main)
    assert (outcome.status, outcome.echoed) == (
        0,
        [down(docked, "--exclude=/docker --exclude=/.dockerignore '--exclude=**/*.log'")],
    )
    assert outcome.out.splitlines() == ["b.py is newer", "a.py", "out/", "out/x"]
    assert ((docked.root / "a.py").read_text(), (docked.root / "b.py").read_text()) == ("new\n", "old\n")
    assert docked(main, "--dry-run") == (0, f"{outcome.echoed[0]}\n", "")


def test_exceptions_follow_the_tree_on_the_dock(docked: Docked) -> None:
    docked.write({".dockerignore": "*\n!data/*/keep*\n!docker\ndata/c\n"})
    docked.run(
        f"mkdir -p {COPY}; cd {COPY}; mkdir -p data/a data/b data/none data/c docker/dev other/x 'data/é\nf';"
        " touch data/a/keep data/a/drop data/b/keep-é data/c/keep docker/new other/x/keep 'data/é\nf/keep\\#012'",
        directory="/",
    )
    outcome = docked(main, "--include-docker")
    assert outcome.status == 0
    # data/c is passed over, as it is left out already: docker has it so.
    assert docked.here() == {
        *(
            ".dockerignore",
            "docker/",
            "docker/dev/",
            "docker/dev/Dockerfile",
            "docker/new",
            "data/",
            "data/a/",
            "data/a/keep",
        ),
        *("data/b/", "data/b/keep-é", "data/c/", "data/c/keep", "data/é\nf/", "data/é\nf/keep\\#012"),
    }


def test_delete_lists_first_and_keeps_what_docker_leaves_out(docked: Docked) -> None:
    docked.write({".dockerignore": "**/*.log\n!**/logs\n.venv\n", "logs/a": "", "old/b": "", ".venv/c": ""})
    assert docked(sync_up).status == 0
    docked.run("rm -r old logs/a")
    docked.write({"logs/x.log": "", "y.log": ""})
    assert docked(main).status == 0
    assert "old/b" in docked.here()
    before = docked.here()
    outcome = docked(main, "--delete", "-y")
    assert outcome.status == 0
    first, *listed = outcome.err[: outcome.err.index("\n\n")].splitlines()
    assert (first, sorted(listed)) == ("to be deleted here:", ["  logs/a", "  old/", "  old/b"])
    assert docked.here() == before - {"logs/a", "old/", "old/b"}
    assert docked(main, "--delete").err.count("to be deleted") == 0


def test_a_copy_without_docker_deletes_nothing(docked: Docked) -> None:
    docked.write({".git/config": "", "mine": ""})
    before = docked.here()
    docked.run(f"mkdir -p {COPY}", directory="/")
    outcome = docked(main, "--delete", "-y")
    assert (outcome.status, outcome.err) == (
        1,
        f"sync-down: {COPY} on dock gpu has no docker/, so it is not complete; run sync-up first, or leave out --delete\n",
    )
    assert docked.here() == before


def test_without_a_terminal_delete_needs_a_yes(docked: Docked) -> None:
    docked.write({".git/config": "", "mine": ""})
    assert docked(sync_up).status == 0
    docked.run("rm -r mine .git docker/dev; touch new")
    before = docked.here()
    outcome = docked(main, "--delete")
    message = "sync-down: there is no terminal to confirm --delete on, so nothing was deleted or copied; add -y\n"
    assert outcome == (2, "", f"to be deleted here:\n  mine\n{message}")
    assert docked.here() == before
    assert docked(main, "--delete", "-y").status == 0
    # Neither git's files nor docker/ are deleted.
    assert docked.here() == {*before, "new"} - {"mine"}


def test_delete_where_docker_is_left_out(docked: Docked) -> None:
    docked.write({".dockerignore": "docker\n", "mine": ""})
    assert docked(sync_up).status == 0
    docked.run("rm mine")
    assert docked(main, "--delete", "-y").status == 0
    assert docked.here() == {"docker/", "docker/dev/", "docker/dev/Dockerfile", ".dockerignore"}


def test_what_decides_about_builds_stays_as_it_is_here(docked: Docked) -> None:
    docked.write({"docker/dockerutils.cfg": "", ".dockerignore": "secret\n", ".git/config": "", "secret": ""})
    assert docked(sync_up).status == 0
    docked.run("echo '[dev]\npre_build_script = evil' >docker/dockerutils.cfg; touch docker/new; echo >.dockerignore")
    docked.run("mkdir .git/hooks sub sub/.git; touch .git/hooks/post-commit sub/.git/config; echo evil >.git/config")
    before = docked.here()
    assert docked(main).status == 0
    assert docked.here() == {*before, "sub/"}
    assert (docked.root / "docker/dockerutils.cfg").read_text() == ""
    assert (docked.root / ".dockerignore").read_text() == "secret\n"
    assert docked(main, "--include-docker").status == 0
    assert docked.here() == {*before, "sub/", "docker/new"}
    assert "evil" in (docked.root / "docker/dockerutils.cfg").read_text()
    assert (docked.root / ".git/config").read_text() == ""


def test_a_file_that_changed_on_both_sides_is_kept_twice(docked: Docked) -> None:
    docked.write({"both": "old\n", "a/theirs": "old\n", "mine": "old\n"})
    for path in ("both", "a/theirs", "mine"):
        os.utime(docked.root / path, (1, 1))  # rsync -u compares whole seconds
    assert docked(sync_up).status == 0
    docked.write({"both": "mine\n", "mine": "mine\n"})
    docked.run("echo theirs >both; echo theirs >a/theirs; touch -d +1hour both a/theirs")
    outcome = docked(main)
    assert outcome.status == 0
    assert outcome.err.endswith("sync: both changed here too; yours is now both~\n")
    texts = {path: (docked.root / path).read_text() for path in ("both", "both~", "a/theirs", "mine")}
    assert texts == {"both": "theirs\n", "both~": "mine\n", "a/theirs": "theirs\n", "mine": "mine\n"}
    docked.write({"both": "mine again\n"})
    docked.run("echo theirs again >both; touch -d +2hour both")
    assert "sync: both changed here too; yours is now both~2\n" in docked(main).err
    assert not {path for path in docked.here() if path.startswith((".dockerutils", "a/theirs~", "mine~"))}


def test_results_that_are_fetched_repeatedly_leave_no_backups(docked: Docked) -> None:
    docked.write({"mine": "old\n"})
    assert docked(sync_up).status == 0
    docked.write({"mine": "edited\n"})
    os.utime(docked.root / "mine", (time.time() + 60, time.time() + 60))
    for number in range(3):
        docked.run(f"echo {number} >result; touch -d '{number - 9} minutes' result")
        assert docked(main).out == "mine is newer\nresult\n"
    assert {path for path in docked.here() if "~" in path} == set()


def test_an_edit_that_never_reached_the_dock_is_kept(docked: Docked) -> None:
    docked.write({"x": "old\n"})
    assert docked(sync_up).status == 0
    docked.write({"x": "mine\n"})
    os.utime(docked.root / "x", (time.time() + 1, time.time() + 1))
    assert docked(main).out == "x is newer\n"
    docked.run("echo theirs >x; touch -d '1 hour' x")
    assert docked(main).status == 0
    assert ((docked.root / "x").read_text(), (docked.root / "x~").read_text()) == ("theirs\n", "mine\n")


def test_files_that_a_killed_sync_has_replaced_are_kept(docked: Docked) -> None:
    assert docked(sync_up).status == 0
    docked.write({".dockerutils/replaced-here/a": "mine\n", "a": "theirs\n"})
    assert docked(main).err.startswith("sync: a changed here too; yours is now a~\n")
    assert (docked.root / "a~").read_text() == "mine\n"
    assert not (docked.root / ".dockerutils").exists()


def test_the_version_file_stays_as_it_is(docked: Docked) -> None:
    docked.write(
        {
            "pyproject.toml": '[tool.versioneer]\nVCS = "git"\nstyle = "pep440"\nversionfile_source = "app/_version.py"\n',
            "versioneer.py": "def get_versions():\n    return {'version': '1.2'}\n",
            "app/_version.py": "ours\n",
        }
    )
    os.utime(docked.root / "app/_version.py", (1, 1))
    assert docked(sync_up).status == 0
    assert "1.2" in docked.host.run(f"cat {COPY}/app/_version.py")
    outcome = docked(main, "--delete")
    assert (outcome.status, outcome.out) == (0, "")
    filters = "--exclude=/docker --exclude=/.dockerignore --exclude=/app/_version.py"
    assert outcome.echoed == [down(docked, filters).replace("--exclude", "--force --exclude", 1)]
    assert (docked.root / "app/_version.py").read_text() == "ours\n"


@pytest.mark.parametrize("patterns", ["", "*\n!a/b\n"])
@pytest.mark.parametrize("argv", [[], ["--delete"]])
def test_there_is_no_copy(docked: Docked, patterns, argv) -> None:
    docked.write({".dockerignore": patterns, "mine": ""})
    outcome = docked(main, *argv)
    assert (outcome.status, outcome.err) == (1, f"sync-down: dock gpu has no {COPY}; run: sync-up\n")
    assert "mine" in docked.here()


def test_not_docked(docked: Docked, monkeypatch) -> None:
    monkeypatch.delenv("DOCK_MONIKER")
    message = "sync-down: this shell is not docked; name a dock, or run: source dock NAME; known docks: gpu\n"
    assert docked(main) == (2, "", message)
    docked.write({".dockerignore": "docker\n"})
    assert docked(sync_up, "--dock", "gpu").status == 0
    assert docked(main, "--dock", "gpu").status == 0
