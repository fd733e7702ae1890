"""The shape of the house: imports point down, every command is a console script, start-up stays lean."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dockerutils"

# Each row may import the rows above it and its own.
LAYERS = [
    ["errors", "busy_kernels"],
    ["words", "ini", "files", "references", "versions", "ignore", "filters", "layers", "archive", "store", "tasks"],
    ["console", "progress", "config", "dockerfile"],
    ["process"],
    [
        "docker",
        "engine",
        "aws",
        "credentials",
        "registry",
        "dock_records",
        "dock_ssh",
        "docks",
        "autostop",
        "contexts",
        "ssh",
        "version_file",
        "print_versions",
    ],
    ["undo", "ec2", "catalog", "detect"],
    ["target", "passage", "transfer", "forwarding", "notebook", "provision"],
    ["project", "recipes"],
    ["build_order", "cli", "init", "sync", "fleet", "names"],
    ["checks", "completion"],
    ["commands"],
]
ROW = {module: row for row, modules in enumerate(LAYERS) for module in modules}

COMMANDS = sorted(path.stem for path in (PACKAGE / "commands").glob("*.py") if path.stem != "__init__")


def _imports(path: Path) -> set[str]:
    """The modules of ours that a file imports, by their name below the package."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    ours = (name.split(".") for name in names)
    return {parts[1] for parts in ours if parts[0] == "dockerutils" and len(parts) > 1 and parts[1] in ROW}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_imports_point_down(path: Path) -> None:
    if path.stem == "__init__":
        assert _imports(path) == set()
    else:
        assert {module for module in _imports(path) if ROW[module] > ROW[path.stem]} == set()


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


def test_only_process_starts_children() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.stem != "process":
            nodes = list(ast.walk(ast.parse(path.read_text())))
            imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
            assert "subprocess" not in imported, path


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
