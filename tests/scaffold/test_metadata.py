"""Reading pyproject.toml, setup.cfg and setup.py as data."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerutils.scaffold import metadata
from tests.support import write_tree


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("a = 'x' # why\n", {"a": "x"}),
        ("[a]\nb.c = 1\n[a.d]\n", {"a": "", "a.b.c": 1, "a.d": ""}),
        ('[ "a" . b ] # table\n"c.d" = ""\n', {"a.b": "", "a.b.c.d": ""}),
        ("a = [ # first ]\n  'x', \"]\",\n]\nb = 2\n", {"a": ["x", "]"], "b": 2}),
        ('a = """\n[no]\nb = 1\n"""\nc = 3\n', {"a": "\n[no]\nb = 1\n", "c": 3}),
        ('a = """x"""\nb = 1\n', {"a": "x", "b": 1}),
        ("a = ['\\d', \"\\\\d\"]\nb = '\\.'\n", {"a": ["\\d", "\\d"], "b": "\\."}),
        ("a = '''\n\\d\n'''\n", {"a": "\n\\d\n"}),
        ("a = true\nb = {c = 'x'}\n", {"a": "true", "b": "{c = 'x'}"}),
        ("[[a]]\nb = 1\n[[a]]\nb = 2\n", {"a": "", "a.b": 2}),
        ("a = [\n'x',\n", {"a": "[\n'x',"}),
        ("not toml\n[", {}),
    ],
)
def test_toml(text, values) -> None:
    assert metadata.parse_toml(text) == values


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("[[a.b]]\nx = 'y'\n[a]\nx = 'z'\n[[a.b]]\nx = 1\nz = [\n'2']\n", [{"x": "y"}, {"x": 1, "z": ["2"]}]),
        ("[a]\nb = [{ x = 'y', z = true }, {x = \"1\"}]\n", [{"x": "y", "z": "true"}, {"x": "1"}]),
        ("[a.b]\nx = 1\n[[a.b.c]]\n", []),
        ("", []),
    ],
)
def test_arrays_of_tables(text, tables) -> None:
    assert metadata.tables(text, "a.b") == tables


_NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,4}", fullmatch=True)
_TEXTS = st.text("ab #[]{}'=.,", max_size=8)
_TABLES = st.dictionaries(
    _NAMES, st.dictionaries(_NAMES, _TEXTS | st.lists(_TEXTS, max_size=3), max_size=4), max_size=4
)


@given(_TABLES)
def test_toml_tables(tables) -> None:
    """Strings and lists in JSON's spelling are TOML, too."""
    lines = [line for name, table in tables.items() for line in (f"[{name}]", *_written(table))]
    expected = dict.fromkeys(tables, "")
    expected |= {f"{name}.{key}": value for name, table in tables.items() for key, value in table.items()}
    assert metadata.parse_toml("\n".join(lines)) == expected


def _written(table: dict[str, object]) -> list[str]:
    return [f"{key} = {json.dumps(value, indent=1)}" for key, value in table.items()]


def test_files(tmp_path) -> None:
    write_tree(
        tmp_path,
        {"setup.py": "import x\nx.setup (name = 'app')\n", "setup.cfg": "[options]\ninstall_requires =\n  a\n  b\n"},
    )
    data = metadata.read(str(tmp_path))
    assert (data.name, data.runs_setup, data.has("project")) == ("app", True, False)
    assert data.option("options", "install_requires") == "\na\nb"
    assert data.option("options", "packages") == data.option("metadata", "name") == ""


@pytest.mark.parametrize(
    "text", ["[project]\nname = 'x'\n", "[tool.poetry]\nname = 'x'\n", "[project]\nversion = '1'\nname = \"x\" # y\n"]
)
def test_the_name(tmp_path, text) -> None:
    assert metadata.read(str(write_tree(tmp_path, {"pyproject.toml": text}))).name == "x"
