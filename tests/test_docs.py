"""What the pages say is true without running it: links lead somewhere, commands parse, tables are those of the code."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
import yaml

from dockerutils.commands.dockerutils import _GROUPS as GROUPS
from dockerutils.project import ini
from dockerutils.project.config import KEYS, Config
from tests.test_architecture import COMMANDS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(
    [*ROOT.glob("*.md"), *DOCS.glob("*.md"), *ROOT.glob("examples/*/README.md"), ROOT / "benchmarks/README.md"]
)
NAMES = {command.replace("_", "-"): command for command in COMMANDS}

# Inside a list, a block is indented.
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"^(?:\[dock:\S+\] )?\$ ")
# Where a command line ends, or its next command begins.
_NEXT = re.compile(r"\s+(?:\|\|?|&&|2?>>?|<)\s+|;\s+")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def test_no_message_sends_the_user_to_a_file_of_the_repository() -> None:
    """An installed package has no pages."""
    found = []
    for path in (ROOT / "dockerutils").rglob("*.py"):
        tree = ast.parse(path.read_text())
        nodes = (ast.Module, ast.ClassDef, ast.FunctionDef)
        documentation = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, nodes)}
        texts = (
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
        found += [text for text in texts if re.search(r"\bdocs/\w|\.md\b", text) and text not in documentation]
    assert found == []


class Block(NamedTuple):
    """A block of code on a page."""

    language: str
    text: str


def _blocks(page: Path) -> list[Block]:
    return [Block(language, text) for _, language, text in _BLOCK.findall(page.read_text())]


def _prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text())


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    titles = re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def _parse(line: str) -> list[str]:
    """Parse each of our commands in a line, by its own parser, and return which they are."""
    found = []
    for part in _NEXT.split(line.replace("…", "...")):
        words = shlex.split(part, comments=True)
        while words and re.match(r"\w+=", words[0]):
            del words[0]
        if words and words[0] in NAMES:
            parser = importlib.import_module(f"dockerutils.commands.{NAMES[words[0]]}").parser()
            # `run-image -g` is a way to name the option, `dockerutils completion` the action.
            choices = [action.choices or () for action in parser._actions if action.dest == "action"]
            if not set(words[1:]) <= {*parser._option_string_actions, *chain(*choices)}:
                parser.parse(words[1:])
            found.append(words[0])
    return found


def _commands_in_text(page: Path) -> list[str]:
    """Parse the commands in the text of a page, and return which they are."""
    texts = re.findall(r"`([a-z-]+\s[^`]+)`", _prose(page))
    return [name for text in texts for name in _parse(text.replace("\n", " ").replace("\\|", "|"))]


def _commands_in_blocks(page: Path) -> list[str]:
    """Parse the commands in the blocks of a page that are not run, and return which they are."""
    lines = [line for block in _blocks(page) if block.language in {"text", "sh"} for line in block.text.splitlines()]
    return [name for line in lines if (prompt := _PROMPT.match(line)) for name in _parse(line[prompt.end() :])]


def _configurations(page: Path) -> list[Config]:
    return [Config(ini.parse(block.text, page.name)) for block in _blocks(page) if block.language == "ini"]


@each_page
def test_every_block_is_found(page) -> None:
    assert 2 * len(_blocks(page)) == page.read_text().count("```")


@each_page
def test_links_lead_somewhere(page) -> None:
    text = re.sub(r"`[^`]*`", "", _prose(page))
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    references = re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    assert (len(links), len(references)) == (text.count("]("), text.count("]: "))
    for link in links + references:
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), link
        assert there.is_relative_to(ROOT), link
        assert not anchor or anchor in _anchors(there), link


@each_page
def test_commands_parse(page) -> None:
    _commands_in_text(page)
    _commands_in_blocks(page)


@each_page
def test_sections_have_known_keys(page) -> None:
    for config in _configurations(page):
        assert list(config)
        named = {values["env"].text for values in map(config.section, config) if "env" in values}
        for name in config:
            assert config.faults(name) == []
            assert name in {*named, "run_image"} or list(config.unknown_keys(name)) == []


def test_the_pages_have_commands_and_sections_to_check() -> None:
    assert len(PAGES) > 15
    assert sum(len(_commands_in_text(page)) for page in PAGES) > 60
    assert sum(len(_commands_in_blocks(page)) for page in PAGES) > 15
    assert sum(len(_configurations(page)) for page in PAGES) > 5


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for each in node.values() if isinstance(node, dict) else node:
            yield from _strings(each)


def test_our_own_job_runs_the_tests() -> None:
    job = yaml.safe_load((ROOT / ".travis.yml").read_text())
    assert {type(version) for version in job["python"]} == {str}
    assert job["script"].endswith("bin/test")


def test_the_table_of_keys_is_that_of_the_code() -> None:
    rows = [
        f"| `{key.name}` | {key.read_by} | {key.type} | {f'`{key.default}`' if key.default else ''} | {key.meaning} |"
        for key in KEYS
    ]
    table = "\n".join(["| key | read by | type | default | meaning |", "| --- | --- | --- | --- | --- |", *rows])
    assert table in (DOCS / "configuration.md").read_text()


def test_the_keys_in_the_readme_are_those_of_the_code() -> None:
    [section] = re.findall(r"(?s)\n## Configuration\n(.*?)\n## ", (ROOT / "README.md").read_text())
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE)
    assert len(rows) > 5
    assert set(rows) <= {(key.name, key.meaning) for key in KEYS}


def _figures(text: str) -> list[tuple[float, str, float]]:
    """The times in a text: value, unit, and half of its last digit."""
    found = re.findall(r"(?<![\d.,])(\d[\d,]*(?:\.\d+)?)\xa0? ?(ms|s)\b", text)
    return [
        (float(value.replace(",", "")), unit, 0.5 / 10 ** len(value.partition(".")[2]) + 1e-9) for value, unit in found
    ]


@pytest.mark.parametrize(
    ("page", "part"),
    [
        ("README.md", r"- \*\*No registry needed.*"),
        ("README.md", r"(?s)## What differs from other tools.*?\n\n## "),
        ("docs/design.md", r"(?s)## What it costs.*"),
        ("docs/publishing.md", r"(?s)In \[our measurement\].*"),
        ("docs/transferring.md", r"(?s)## Speed.*"),
    ],
)
def test_figures_are_those_of_the_benchmarks(page, part) -> None:
    measured = _figures((ROOT / "benchmarks/README.md").read_text())
    [text] = re.findall(part, (ROOT / page).read_text())
    shown = _figures(text)
    assert shown
    for value, unit, half in shown:
        assert any(unit == its and abs(value - of) <= half for of, its, _ in measured), f"{value} {unit}"


def test_every_variable_that_is_read_is_documented() -> None:
    sources = [*(ROOT / "dockerutils").rglob("*.py"), ROOT / "dockerutils/shell/dock"]
    names = r"""["'${]((?:DOCK|DOCKER|DOCKERUTILS|RESERO|SSH)_[A-Z_]*[A-Z]|NO_COLOR|BROWSER)\b"""
    read = {name for path in sources for name in re.findall(names, path.read_text())}
    assert "DOCK_WORKSPACES" in read
    documented = "".join(page.read_text() for page in DOCS.glob("*.md"))
    assert {name for name in read if name not in documented} == set()
    rows = re.findall(r"^\| `([A-Z_]+)`", (DOCS / "configuration.md").read_text(), re.MULTILINE)
    assert len(rows) == len(set(rows))


def test_the_table_of_commands_has_every_command() -> None:
    listed = re.findall(r"^\| `([a-z-]+)[^`]*` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(set(listed) & set(NAMES)) == sorted(NAMES)


def test_the_readme_has_the_commands_in_the_groups_of_dockerutils() -> None:
    rows = re.findall(
        r"^\| (?:\*\*(.+)\*\*|`(source dock|[a-z-]+).*?`) \|", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    shown: dict[str, list[str]] = {}
    for group, command in rows:
        if group:
            shown[group] = []
        elif command in {*NAMES, "source dock"}:
            shown[list(shown)[-1]].append(command)
    assert shown == {"A project": ["dockerutils"], **GROUPS}


def test_the_page_start_says_what_each_command_needs() -> None:
    rows = re.findall(r"^\| (`[a-z][^|]*) \| [^|]+ \|[^|]* \|$", (DOCS / "start.md").read_text(), re.MULTILINE)
    listed = [name.split()[0] for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert sorted(set(listed) & set(NAMES)) == sorted(NAMES)


def _rows(page: Path) -> list[str]:
    """The rows of the tables that tell what to do about a message."""
    tables = re.findall(r"^\| message \| what to do \|\n.*\n((?:\|.*\n)+)", page.read_text(), re.MULTILINE)
    return [row for table in tables for row in table.splitlines()]


def _strings_of_the_code() -> Iterator[str]:
    """Each text in the package, with `…` for what is filled in."""
    for path in (ROOT / "dockerutils").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts]
            if isinstance(node, ast.JoinedStr | ast.Constant):
                yield re.sub(r"\{\w*\}", "…", "".join(texts))


def test_troubleshooting_explains_messages_that_exist() -> None:
    messages = [message for row in _rows(DOCS / "troubleshooting.md") for message in re.findall(r"^\| `(.*?)` \|", row)]
    assert len(messages) > 20
    others = {
        "parent snapshot … does not exist: not found",  # docker's
        "Could not resolve hostname dock-gpu",  # ssh's
    }
    texts = "\n".join(_strings_of_the_code())
    for message in sorted({*messages} - others):
        # What the code fills in is `…`, or a name as an example.
        parts = re.split(
            r"^docker | at …|…|'gpu'|\bgpu\b|\bdev\b|\b8888\b|linux/\w+|\bNAME\b|without a login|\b401\b", message
        )
        assert len("".join(parts)) > 10
        assert re.search(".*".join(map(re.escape, parts)), texts), message


def test_the_readme_has_messages_of_troubleshooting() -> None:
    shown = _rows(ROOT / "README.md")
    assert len(shown) > 4
    assert set(shown) <= {
        row.replace("(", "(docs/").replace("(docs/401)", "(401)") for row in _rows(DOCS / "troubleshooting.md")
    }


def test_every_page_is_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)", (ROOT / "README.md").read_text()))
    assert linked == {page.name for page in DOCS.glob("*.md")}


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    """Add a page to `nav` in mkdocs.yml, in the group where a reader looks for it."""
    listed = [
        text for text in _strings(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]) if text.endswith(".md")
    ]
    assert sorted(listed) == sorted(str(page.relative_to(ROOT)) for page in PAGES)


def test_contributing_names_every_module_and_only_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paragraphs = re.findall(r"(?ms)^- \*\*`(\w+)/`\*\*: (.*?)(?=^- \*\*|\n\n)", text)
    packages = {path.name for path in (ROOT / "dockerutils").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert {package for package, _ in paragraphs} == packages
    for package, paragraph in paragraphs:
        folder = ROOT / "dockerutils" / package
        named = set(re.findall(r"`((?:\w+/)*\w+\.py|\w+/)`", paragraph))
        assert [name for name in named if not (folder / name).exists()] == []
        if package != "commands":  # one module per console script, see test_architecture.py
            modules = {str(path.relative_to(folder)) for path in folder.rglob("*.py") if path.name != "__init__.py"}
            assert modules - named == set()
    tables = re.findall(r"(?m)^\| .* \| (`tests/.*) \|$", text)
    assert len(tables) > 5
    for row in tables:
        directory = Path(re.findall(r"`([\w/.]+)`", row)[0]).parent
        paths = re.findall(r"`([\w/]+\.py)`", row)
        assert paths, row
        for path in paths:
            assert (ROOT / path).exists() or (ROOT / directory / path).exists(), path


def _texts(picture: Path, kind: str) -> list[str]:
    """Return the texts of one class in a picture; ElementTree.ParseError if it is not XML."""
    nodes = ElementTree.parse(picture).getroot().iter()
    return ["".join(node.itertext()) for node in nodes if kind in node.get("class", "").split()]


def test_the_diagram_names_commands() -> None:
    shown = set(_texts(DOCS / "diagram.svg", "command"))
    assert shown - set(NAMES) == {"source dock"}
    assert {name for name in NAMES if name.endswith("-dock")} - shown == set()
