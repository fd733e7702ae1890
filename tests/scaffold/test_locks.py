"""Finding lock files, how to install from them, and the credentials that this needs."""

from __future__ import annotations

import pytest

from dockerutils.scaffold import locks, metadata
from dockerutils.scaffold.locks import Lock
from tests.support import write_tree

PROJECT = "[project]\nname = 'a-b'\n[build-system]\n"
TEST_GROUPS = (
    "[dependency-groups]\ndev = ['ruff', {include-group = 'checks'}]\nchecks = ['pytest-cov']\ndocs = ['sphinx']\n"
)


def find(root, files) -> Lock | None:
    write_tree(root, files)
    return locks.find(str(root), metadata.read(str(root)))


def found(root, files) -> Lock:
    lock = find(root, files)
    assert lock
    return lock


@pytest.mark.parametrize(
    ("files", "tool", "requirement", "copied", "run", "test"),
    [
        pytest.param(
            {"pyproject.toml": PROJECT, "uv.lock": ""},
            "uv", "uv", ["pyproject.toml", "uv.lock"], ["--no-default-groups"], None,
            id="uv",
        ),
        pytest.param(
            {
                "pyproject.toml": f"{PROJECT}[project.optional-dependencies]\ntest = []\nx = ['y']\n{TEST_GROUPS}"
                "[tool.uv]\nrequired-version = '>= 0.5, <1'\n",
                "uv.lock": "", "uv.toml": "",
            },
            "uv", "uv>=0.5,<1", ["pyproject.toml", "uv.lock", "uv.toml"],
            ["--no-default-groups"], ["--group=dev", "--group=checks", "--extra=test"],
            id="uv with groups, extras, and a version",
        ),
        pytest.param(
            {"pyproject.toml": f"{PROJECT}[tool.uv]\ndev-dependencies = ['x']\nrequired-version = '; rm'\n", "uv.lock": ""},
            "uv", "uv", ["pyproject.toml", "uv.lock"], ["--no-default-groups"], [],
            id="uv with a default group, and a version that is none",
        ),
        pytest.param(
            {"pyproject.toml": f"{PROJECT}[dependency-groups]\n'x; pytest' = []\n\"a b\" = ['pytest']\n", "uv.lock": ""},
            "uv", "uv", ["pyproject.toml", "uv.lock"], ["--no-default-groups"], None,
            id="names that are no words of a shell",
        ),
        pytest.param(
            {
                "pyproject.toml": "[tool.poetry]\nname = 'x'\nrequires-poetry = '^2.0'\n[tool.poetry.group.test.dependencies]\npytest = '*'\n"
                "[tool.poetry.group.docs]\noptional = true\n[tool.poetry.group.docs.dependencies]\nsphinx = '*'\n"
                "[tool.poetry.extras]\ndev = ['x']\n",
                "poetry.lock": "", "poetry.toml": "",
            },
            "poetry", "poetry", ["pyproject.toml", "poetry.lock", "poetry.toml"],
            ["--without=test,docs"], ["--with=test", "--without=docs", "--extras=dev"],
            id="poetry",
        ),
        pytest.param(
            {
                "pyproject.toml": "[tool.poetry]\nname = 'x'\nrequires-poetry = '>=1.8'\n[tool.poetry.dev-dependencies]\nx = '1'\n",
                "poetry.lock": "",
            },
            "poetry", "poetry>=1.8", ["pyproject.toml", "poetry.lock"], ["--without=dev"], ["--with=dev"],
            id="poetry of earlier days",
        ),
        pytest.param(
            {"pyproject.toml": PROJECT, "poetry.lock": ""},
            "poetry", "poetry", ["pyproject.toml", "poetry.lock"], [], None,
            id="poetry without groups",
        ),
        pytest.param(
            {"pyproject.toml": f"{PROJECT}[tool.pdm.dev-dependencies]\ntest = ['x']\n", "pdm.lock": ""},
            "pdm", "pdm[locked]", ["pyproject.toml", "pdm.lock"], ["--prod"], ["--group=test"],
            id="pdm",
        ),
        pytest.param(
            {"pyproject.toml": PROJECT, "pdm.lock": "", "pdm.toml": ""},
            "pdm", "pdm[locked]", ["pyproject.toml", "pdm.lock", "pdm.toml"], ["--prod"], None,
            id="pdm without groups",
        ),
        pytest.param(
            {"Pipfile": "", "Pipfile.lock": "{}"},
            "pipenv", "pipenv", ["Pipfile", "Pipfile.lock"], [], ["--dev"],
            id="pipenv",
        ),
    ],
)  # fmt: skip
def test_tools(tmp_path, files, tool, requirement, copied, run, test) -> None:
    lock = found(tmp_path, files)
    assert (lock.path, lock.tool, lock.requirement) == (copied[1], tool, requirement)
    assert (lock.files, lock.run, lock.test) == (copied, run, test)
    assert not lock.members
    assert not lock.is_frozen


@pytest.mark.parametrize("files", [{}, {"uv.lock": ""}, {"pyproject.toml": "", "Pipfile.lock": ""}, {"uv.lock/x": ""}])
def test_no_lock_file(tmp_path, files) -> None:
    assert find(tmp_path, files) is None


def test_one_lock_file_counts(tmp_path) -> None:
    lock = found(tmp_path, {"pyproject.toml": PROJECT, "poetry.lock": "", "uv.lock": "", "pdm.lock": ""})
    assert (lock.path, lock.others) == ("uv.lock", ["poetry.lock", "pdm.lock"])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("uv.lock", '[[package]]\nname = "pytest"\nversion = "8"\n'),
        ("poetry.lock", '[[package]]\nname = "pytest"\n'),
        ("Pipfile.lock", '{\n    "default": {\n        "pytest": {\n'),
    ],
)
def test_requirements_of_lock_files(tmp_path, path, text) -> None:
    lock = found(tmp_path, {"pyproject.toml": PROJECT, "Pipfile": "", path: text})
    assert [name for name in ("pytest", "Pytest>=7", "pytest-cov", "test") if lock.has(name)] == ["pytest", "Pytest>=7"]


@pytest.mark.parametrize(
    "extra",
    [
        "dynamic = ['version', 'dependencies']\n",
        "[tool.uv.sources]\nx = { path = '../x' }\n",
        "[tool.uv.sources]\nx = { path = 'x.whl' }\n",
        "[tool.uv.sources.x]\npath = 'gone'\n",
    ],
)
def test_what_uv_cannot_compare(tmp_path, extra) -> None:
    lock = found(tmp_path, {"pyproject.toml": f"[build-system]\n[project]\nname = 'x'\n{extra}", "uv.lock": ""})
    assert (lock.is_frozen, lock.members) == (True, [])


def test_workspaces(tmp_path) -> None:
    workspace = "[tool.uv.workspace]\nmembers = ['libs/*', 'more', '-x', '../*']\nexclude = ['libs/old']\n"
    files = {
        **{f"{path}/pyproject.toml": f"[project]\nname = '{name}'\n[build-system]\n" for path, name in {
            "libs/a": "One_A", "libs/b": "b", "libs/old": "old", "more": "more", "beside": "beside", "libs/c d": "c", "-x": "x",
        }.items()},
        "libs/script/pyproject.toml": "[project]\nname = 'script'\n",
        "uv.lock": "",
    }  # fmt: skip
    sources = "[tool.uv.sources]\none-a = { workspace = true }\nbeside = { path = './beside', editable = true }\n"
    lock = found(tmp_path, {**files, "pyproject.toml": f"{PROJECT}{workspace}{sources}"})
    assert (lock.members, lock.is_frozen, lock.run) == (["libs/a", "beside"], False, ["--no-default-groups"])
    # A root that is no project has all of them.
    lock = found(tmp_path, {**files, "pyproject.toml": workspace})
    assert (lock.members, lock.run) == (["libs/a", "libs/b", "more"], ["--all-packages", "--no-default-groups"])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"requirements.txt": "x\n"}, []),
        (
            {"requirements.txt": "--extra-index-url https://${USER_1}:${PASS}@x/ ${PASS}\n# ${NOT}\na @ https://${C}@b\n$D ${e}\n"},
            ["USER_1", "PASS", "C"],
        ),
        (
            {
                "pyproject.toml": "[[tool.uv.index]]\nname = 'my-house.2'\nurl = 'https://x/simple'\n"
                "[[tool.uv.index]]\nname = 'torch'\nurl = 'https://download.pytorch.org/whl/cpu'\n"
                "[[tool.uv.index]]\nurl = 'https://y/simple'\n[tool.uv]\nx = 1\n",
                "uv.lock": "",
            },
            ["UV_INDEX_MY_HOUSE_2_USERNAME", "UV_INDEX_MY_HOUSE_2_PASSWORD"],
        ),
        (
            {"pyproject.toml": "[tool.uv]\nindex = [{ name = 'a', url = 'https://x' }]\n", "uv.lock": "", "uv.toml": "[[index]]\nname = 'b'\nurl = ''\n"},
            ["UV_INDEX_A_USERNAME", "UV_INDEX_A_PASSWORD", "UV_INDEX_B_USERNAME", "UV_INDEX_B_PASSWORD"],
        ),
        (
            {"pyproject.toml": "[[tool.poetry.source]]\nname = 'own'\nurl = 'https://x'\npriority = 'explicit'\n", "poetry.lock": ""},
            ["POETRY_HTTP_BASIC_OWN_USERNAME", "POETRY_HTTP_BASIC_OWN_PASSWORD"],
        ),
        (
            {"pyproject.toml": "[[tool.pdm.source]]\nname = 'own'\nurl = 'https://${A}:${B_2}@x'\n", "pdm.lock": ""},
            ["A", "B_2"],
        ),
        ({"Pipfile": "[[source]]\nurl = 'https://$A:${B}@x'\n", "Pipfile.lock": ""}, ["A", "B"]),
    ],
)  # fmt: skip
def test_credentials(tmp_path, files, expected) -> None:
    lock = find(tmp_path, files)
    assert (
        locks.secrets(str(tmp_path), metadata.read(str(tmp_path)), lock, files.get("requirements.txt", "")) == expected
    )


def test_unsupported_environments(tmp_path) -> None:
    write_tree(tmp_path, {"environment.yml": "", "pixi.lock": "", "x": ""})
    assert locks.unsupported(str(tmp_path)) == [
        "the conda environment in environment.yml",
        "the pixi environment in pixi.lock",
    ]
