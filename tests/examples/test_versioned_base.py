"""Images with versions made of the date: a project finds its base, a script runs on the host, as the README has it."""

from __future__ import annotations

import re

from tests.support import script

OCTOBER = "team/python:26.10.01"


def test_the_walk_through(engine, python_image, walk_through, monkeypatch):
    monkeypatch.setenv("BASE", python_image)
    monkeypatch.setenv("BUSYBOX", "local/busybox")
    root = walk_through("versioned-base")

    # What is called newest is the one of today; the one of October has gone.
    [newest] = script("find-image", "team/python", "--all", directory=root).out.splitlines()
    assert re.fullmatch(r"team/python:\d\d\.\d\d\.\d\d", newest)
    assert newest > OCTOBER
    assert _id(engine, newest) == _id(engine, "team/python:newest")
    assert script("run-image", "report", directory=root / "report").out == (
        f"computed on base {newest.rpartition(':')[2]}, by worker\n"
    )

    shell = script("run-image", "shell", "--", "cat", "/etc/base-version", directory=root / "team")
    assert shell.out == newest.rpartition(":")[2] + "\n"

    # Several versions may be kept; with none, the script says what find-image says, and removes nothing.
    for day in ("26.01.01", "26.01.02", "26.01.03"):
        engine.docker("tag", newest, f"team/python:{day}")
    tools = script("find-image", "team/tools", directory=root).out.strip()
    keep = ("image-script", tools, "/usr/local/bin/keep-newest")
    assert script(*keep, "team/python", "2", directory=root).status == 0
    kept = script("find-image", "team/python", "--all", directory=root).out.split()
    assert kept == [newest, "team/python:26.01.03"]
    assert script(*keep, "team/python", "2", directory=root).out == ""
    none = script(*keep, "team/absent", directory=root)
    assert (none.status, none.err.splitlines()[-1]) == (
        1,
        "find-image: the engine has no version of team/absent; build, pull or transfer one",
    )

    # A project whose base is nowhere is not built.
    engine.docker("image", "rm", "--force", *kept, "team/python:newest")
    refused = script("build-image", "report", directory=root / "report")
    assert refused.status == 1
    assert "find-image: the engine has no version of team/python; build, pull or transfer one" in refused.err


def _id(engine, image: str) -> str:
    return engine.docker("image", "inspect", "--format", "{{.Id}}", image)
