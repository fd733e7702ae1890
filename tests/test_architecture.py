"""The shape of the house: imports point down, every command is a console script, start-up stays lean."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dockerutils"

# A package may import those below it in this list; `shell` runs elsewhere, and nothing imports it.
LAYERS = "commands cli jobs images notebooks scaffold transfer swarm aws docks registries project docker core".split()
ARROWS = 55  # between packages, at most: a drawing of more cannot be read

COMMANDS = sorted(path.stem for path in (PACKAGE / "commands").glob("*.py") if path.stem != "__init__")


def _arrows() -> set[tuple[str, str]]:
    """Return which package imports from which."""
    arrows = set()
    for path in PACKAGE.glob("*/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dockerutils."):
                arrows.add((path.relative_to(PACKAGE).parts[0], node.module.split(".")[1]))
    return {(start, end) for start, end in arrows if end not in {start, "_version"}}


def test_every_package_has_its_layer() -> None:
    assert {path.parent.name for path in PACKAGE.glob("*/*.py")} == {*LAYERS, "shell"}
    assert [path.name for path in PACKAGE.glob("*.py") if path.name != "_version.py"] == ["__init__.py"]


def test_imports_point_down() -> None:
    arrows = _arrows()
    assert {(start, end) for start, end in arrows if LAYERS.index(start) > LAYERS.index(end)} == set()
    assert 30 < len(arrows) <= ARROWS


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "run_notebook"])
def test_commands_do_not_import_each_other(command: str) -> None:
    text = (PACKAGE / "commands" / f"{command}.py").read_text()
    assert "dockerutils.commands" not in text.replace("commands.__name__", "")


def test_every_command_is_a_console_script_and_the_reverse() -> None:
    parser = configparser.ConfigParser()
    parser.read(PACKAGE.parent / "setup.cfg")
    scripts = parser["options.entry_points"]["console_scripts"].split("\n")
    assert sorted(filter(None, scripts)) == sorted(
        f"{command.replace('_', '-')} = dockerutils.commands.{command}:main" for command in COMMANDS
    )


def test_only_one_module_starts_children() -> None:
    starters = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        calls = [each.func for each in ast.walk(tree) if isinstance(each, ast.Call)]
        names = {each.attr for each in calls if isinstance(each, ast.Attribute)}
        if names & {"Popen", "check_output", "system", "execvpe"}:
            starters.append(str(path.relative_to(PACKAGE)))
        imports = [each for each in ast.walk(tree) if isinstance(each, (ast.Import, ast.ImportFrom))]
        names = {alias.name for each in imports if isinstance(each, ast.Import) for alias in each.names}
        names |= {str(each.module) for each in imports if isinstance(each, ast.ImportFrom)}
        assert "subprocess" not in names or path.name == "spawn.py", path
    assert starters == ["core/process/spawn.py"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_that_is_slow(command: str) -> None:
    code = f"""
import sys
from dockerutils.commands.{command} import main
status = main(["-h"])
slow = {{"boto3", "configparser", "subprocess", "dataclasses", "inspect", "importlib.metadata"}}
print(*(slow & set(sys.modules)), file=sys.stderr)
sys.exit(status)
"""
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"COVERAGE": ""}
    )
    assert child.stderr.strip() == ""
    assert "examples:" in child.stdout
