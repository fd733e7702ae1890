"""docs/promises.md says what is true: JSON fields, exit statuses; and what people see who report something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dockerutils.cli import signals
from dockerutils.commands import ls_dock, ls_image
from dockerutils.docks import gpu_usage, runs
from dockerutils.images import export
from dockerutils.project.project import Image
from dockerutils.swarm import membership, service_list
from tests.test_help import PAGES

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "promises.md").read_text()
FORMS = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]

FIELDS = {
    "ls-image --json": ls_image.Row._fields,
    "ls-dock --json": ls_dock.Row._fields,
    "dockerutils config --json": (*Image._fields, "reference", "settings", "value", "from"),
    "dockerutils export": export.Definition._fields,
    "runs": runs.Run._fields,
    "services": service_list.Service._fields,
    "gpus": gpu_usage.Gpu._fields,
    "swarm": membership.Membership._fields,
    "used_by": gpu_usage.Usage._fields,
}


def _rows() -> dict[str, list[str]]:
    """Return the names in the last column of the table of JSON, by the first column."""
    rows = re.findall(r"(?m)^\| (?:in )?`([^`]+)` \| an [^|]* \| (.*) \|$", PAGE)
    return {command: re.findall(r"`(\w+)`", fields) for command, fields in rows}


def test_each_command_that_prints_json_is_listed() -> None:
    commands = {f"{name} --json" for name, _, shown in PAGES if "--json" in shown._option_string_actions}
    assert commands - set(_rows()) == set(), "add its fields to the table in docs/promises.md"


@pytest.mark.parametrize("place", FIELDS)
def test_the_fields_of_json_are_those_of_the_code(place) -> None:
    assert sorted(_rows()[place]) == sorted(FIELDS[place])


def test_the_exit_statuses_are_those_of_the_code() -> None:
    assert f"| {signals.INTERRUPTED} | Ctrl-C |" in PAGE
    assert f"{signals.BROKEN_PIPE} if the reader of the output is gone" in PAGE


def _strings(form: dict[str, Any]) -> Iterator[str]:
    for part in form["body"]:
        assert part["type"] in {"markdown", "textarea"}
        yield part["attributes"]["value" if part["type"] == "markdown" else "label"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_for_issues_have_what_a_forge_needs(path) -> None:
    form = yaml.safe_load(path.read_text())
    assert form["name"]
    assert form["description"]
    assert all(_strings(form))
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(set(ids)) == len(ids)


def test_files_that_forms_and_policies_name_exist() -> None:
    texts = [path.read_text() for path in (ROOT / ".github").rglob("*.*") if path.is_file()]
    named = set(re.findall(r"[\w/]*[\w-]+\.md", "\n".join(texts)))
    assert {name for name in named if not (ROOT / name).exists()} == set()
    assert {"SECURITY.md", "docs/promises.md"} <= named
