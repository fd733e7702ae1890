"""Mounted paths that .dockerignore leaves out: which are recorded, and when a person is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dockerutils.core import console
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.docks import mounts
from dockerutils.docks.project_copy import Copy
from dockerutils.docks.records import Dock
from dockerutils.project import dockerignore

IGNORE = dockerignore.parse("data\nout/*\n")
DOCK = Dock("gpu", "203.0.113.7", "dock", "203.0.113.7", "203.0.113.7")


@pytest.fixture
def copy(make_project, monkeypatch) -> Copy:
    """Return a project with 3000 bytes of data; above 2000 bytes a question is asked."""
    monkeypatch.setattr(mounts, "ASKED", 2000)
    Path(os.environ["HOME"], ".docker", DOCK.address).mkdir(parents=True)
    project = make_project({"data/a/x": "x" * 1000, "data/y": "y" * 2000, "out/z": "z" * 10, "src/b": "b" * 5000})
    (Path(project.root) / "data/link").symlink_to("/")
    return Copy(project, DOCK)


def test_what_is_left_out_is_recorded_with_its_size(copy) -> None:
    mounts.add(copy, IGNORE, ["data/a", "out", "src", "none"], yes=False)
    assert mounts.read(copy) == {"data/a": 1000, "out": 10}
    mounts.add(copy, IGNORE, ["data/none"], yes=False)
    assert mounts.read(copy) == {"data/a": 1000, "out": 10, "data/none": 0}
    # Another checkout with the same name has other data.
    other = Copy(type(copy.project)(copy.project.root + "/x", copy.project.root, {}), DOCK)
    assert mounts.read(other) == {}


def test_much_data_is_not_sent_without_a_question(copy) -> None:
    with pytest.raises(UserError) as refusal:
        mounts.add(copy, IGNORE, ["data"], yes=False)
    assert str(refusal.value) == (
        "data (0.0 GB) was not sent to dock gpu and nothing was run, because there is no terminal to ask on; add -y to send "
        "it"
    )
    assert mounts.read(copy) == {}
    mounts.add(copy, IGNORE, ["data"], yes=True)
    # Sent once, it is sent again if it has not grown much.
    mounts.add(copy, IGNORE, ["data"], yes=False)
    before = mounts.read(copy)["data"]
    assert 3000 <= before < 3100
    (Path(copy.project.root) / "data/more").write_bytes(b"m" * 2001)
    with pytest.raises(UserError):
        mounts.add(copy, IGNORE, ["data"], yes=False)
    assert mounts.read(copy)["data"] == before


@pytest.mark.parametrize("answer", ["y", "n"])
def test_on_a_terminal_the_user_decides(copy, monkeypatch, answer) -> None:
    questions: list[str] = []

    def agreed(question: str) -> bool:
        questions.append(question)
        return answer == "y"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(console, "agreed", agreed)
    if answer == "n":
        with pytest.raises(DockerutilsError, match=r"^data was not sent and nothing was run; to mount other files"):
            mounts.add(copy, IGNORE, ["data"], yes=False)
    else:
        mounts.add(copy, IGNORE, ["data"], yes=False)
    assert questions == ["data (0.0 GB) is mounted, and .dockerignore keeps it out of builds; send it to dock gpu?"]
    assert ("data" in mounts.read(copy)) == (answer == "y")
