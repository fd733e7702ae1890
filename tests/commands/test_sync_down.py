"""sync-down, from a real host by its ssh stanza."""

from __future__ import annotations

import os

import pytest

from dockerutils.commands.sync_down import main
from dockerutils.commands.sync_up import main as sync_up
from tests.commands.conftest import Docked

COPY = "/data/workspaces/alice/code/app"
RSYNC = "rsync -rlptOz --no-inc-recursive -s -e ssh --info=name,del -u"


def test_what_is_new_there_comes_back(docked: Docked) -> None:
    docked.write({".dockerignore": "**/*.log\n", "a.py": "old\n", "b.py": "old\n"})
    os.utime(docked.root / "a.py", (1, 1))
    assert docked(sync_up).status == 0
    docked.run(
        "echo new > a.py; touch -d @1 b.py; echo theirs > b.py; touch -d @9 b.py; mkdir out; touch out/x out/y.log"
    )
    outcome = docked(main)
    assert (outcome.status, outcome.echoed) == (0, [f"{RSYNC} '--exclude=**/*.log' dock-gpu:{COPY}/ ./"])
    assert outcome.out.splitlines() == ["a.py", "out/", "out/x"]
    # What is newer here stays.
    assert ((docked.root / "a.py").read_text(), (docked.root / "b.py").read_text()) == ("new\n", "old\n")
    assert docked(main, "--dry-run") == (0, f"{outcome.echoed[0]}\n", "")


def test_exceptions_are_found_out_on_the_dock(docked: Docked) -> None:
    docked.write({".dockerignore": "*\n!data/*/keep*\n!docker\ndata/c\n"})
    docked.run(
        f"mkdir -p {COPY}; cd {COPY}; mkdir -p data/a data/b data/none data/c docker/dev other/x 'data/é\nf';"
        " touch data/a/keep data/a/drop data/b/keep-é data/c/keep docker/new other/x/keep 'data/é\nf/keep\\#012'",
        directory="/",
    )
    outcome = docked(main)
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


def test_delete_lists_first_and_spares_what_docker_leaves_out(docked: Docked) -> None:
    docked.write({".dockerignore": "**/*.log\n!**/logs\n.venv\n", "logs/a": "", "old/b": "", ".venv/c": ""})
    assert docked(sync_up).status == 0
    docked.run("rm -r old logs/a")
    docked.write({"logs/x.log": "", "y.log": ""})
    assert docked(main).status == 0
    assert "old/b" in docked.here()
    before = docked.here()
    outcome = docked(main, "--delete")
    assert outcome.status == 0
    first, *listed = outcome.err[: outcome.err.index("\n\n")].splitlines()
    assert (first, sorted(listed)) == ("to be deleted here:", ["  logs/a", "  old/", "  old/b"])
    assert docked.here() == before - {"logs/a", "old/", "old/b"}
    assert docked(main, "--delete").err.count("to be deleted") == 0


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
    assert outcome.echoed == [f"{RSYNC.removesuffix(' -u')} --delete -u --exclude=/app/_version.py dock-gpu:{COPY}/ ./"]
    assert (docked.root / "app/_version.py").read_text() == "ours\n"


@pytest.mark.parametrize("patterns", ["", "*\n!a/b\n"])
@pytest.mark.parametrize("argv", [[], ["--delete"]])
def test_there_is_no_copy(docked: Docked, patterns, argv) -> None:
    docked.write({".dockerignore": patterns, "mine": ""})
    outcome = docked(main, *argv)
    assert (outcome.status, outcome.err.splitlines()[-1]) == (23, f"sync-down: dock gpu has no {COPY}; run: sync-up")
    assert "mine" in docked.here()


def test_not_docked(docked: Docked, monkeypatch) -> None:
    monkeypatch.delenv("DOCK_MONIKER")
    message = "sync-down: this shell is not docked; name a dock, or run: source dock NAME; known docks: gpu\n"
    assert docked(main) == (2, "", message)
    docked.write({".dockerignore": "docker\n"})
    assert docked(sync_up, "--dock", "gpu").status == 0
    assert docked(main, "--dock", "gpu").status == 0
