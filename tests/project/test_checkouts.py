"""The record of builds: it never stops a command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dockerutils.project import checkouts


@pytest.fixture
def record() -> Path:
    path = Path(os.environ["HOME"], ".docker/dockerutils-images.json")
    path.parent.mkdir(exist_ok=True)
    return path


def test_a_build_in_another_directory(make_project, tmp_path, record) -> None:
    here, there = make_project({}), make_project({}, "other/app")
    image = here.image("dev")
    assert checkouts.other(here, image) == ""
    checkouts.record(there, [image])
    assert checkouts.other(here, image) == there.root
    assert checkouts.other(there, image) == ""
    assert checkouts.other(here, image._replace(tag="x")) == ""
    assert record.stat().st_mode & 0o777 == 0o600
    elsewhere = make_project({}, DOCKER_HOST="ssh://dock-gpu")
    assert checkouts.other(elsewhere, image) == ""


@pytest.mark.parametrize("text", ["", "[]", "{", '{"default": 1}', '{"default": {"app-dev": 1}}', "[" * 100000])
def test_a_record_that_is_damaged_is_replaced(text: str, make_project, record) -> None:
    record.write_text(text)
    here, there = make_project({}), make_project({}, "other/app")
    image = here.image("dev")
    assert checkouts.other(here, image) == ""
    checkouts.record(there, [image])
    assert checkouts.other(here, image) == there.root


def test_a_record_that_cannot_be_written(make_project, record) -> None:
    record.parent.rmdir()
    record.parent.write_text("a file in the place of the directory")
    project = make_project({})
    checkouts.record(project, [project.image("dev")])
    assert checkouts.other(project, project.image("dev")) == ""
