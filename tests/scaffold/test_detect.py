"""Detecting what kind of Python project a directory holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockerutils.scaffold import detect
from dockerutils.scaffold.detect import Facts, Python
from tests.support import write_tree

ANY = "the project sets no requires-python, so any version works"


def detected(tmp_path: Path, files: dict[str, str]) -> Facts:
    facts = detect.detect(str(write_tree(tmp_path / "My App", files)))
    assert facts
    return facts


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {"setup.py": "from setuptools import setup\nsetup(name='app')\n", "app/__init__.py": ""},
            {
                "is_package": True,
                "has_dependencies": True,
                "metadata": ["setup.py"],
                "tests": None,
                "version_file": None,
            },
            id="setup.py",
        ),
        pytest.param(
            {
                "setup.py": "import versioneer, setuptools\nsetuptools.setup(cmdclass=versioneer.get_cmdclass())\n",
                "setup.cfg": "[versioneer]\nversionfile_source = app/_version.py\n[options.extras_require]\ntest = x\n",
            },
            {"version_file": "app/_version.py", "metadata": ["setup.cfg", "setup.py"], "has_groups": True},
            id="versioneer",
        ),
        pytest.param(
            {
                "pyproject.toml": '[project]\nname = "x"\n[tool.versioneer]\nversionfile_source = "a/_v.py"\n[build-system]\n'
            },
            {"is_package": True, "version_file": "a/_v.py", "has_code": False},
            id="pyproject.toml with versioneer",
        ),
        pytest.param(
            {"pyproject.toml": "[project]\nname = 'a-b'\n[dependency-groups]\ndev = []\n", "main.py": ""},
            {"is_package": False, "has_dependencies": True, "has_groups": True, "script": "main.py"},
            id="requirements of scripts",
        ),
        pytest.param(
            {"pyproject.toml": "[project]\nname = 'a-b'\n", "a_b/__init__.py": ""},
            {"is_package": True},
            id="flat layout",
        ),
        pytest.param({"pyproject.toml": "[project]\n", "src/a.py": ""}, {"is_package": True}, id="src layout"),
        pytest.param(
            {
                "pyproject.toml": "[tool.poetry]\nname = 'a'\n[build-system]\nbuild-backend = 'poetry.core.masonry.api'\n",
                "a.py": "",
            },
            {"is_package": True},
            id="poetry",
        ),
        pytest.param(
            {"pyproject.toml": "[tool.poetry]\npackage-mode = false\n[build-system]\n", "a.py": ""},
            {"is_package": False},
            id="poetry without a package",
        ),
        pytest.param(
            {"pyproject.toml": "[build-system]\nrequires = ['setuptools']\n[tool.black]\n", "a.py": ""},
            {"is_package": False, "has_dependencies": True},
            id="pyproject.toml without a project",
        ),
        pytest.param(
            {"pyproject.toml": "[tool.black]\n", "a.py": "", "b.py": ""},
            {"is_package": False, "has_dependencies": False, "script": None},
            id="settings of tools",
        ),
        pytest.param(
            {"requirements.txt": "flask\n", "app.py": "", "other.py": ""},
            {
                "requirements": (["requirements.txt"], ["requirements.txt"], [], []),
                "script": "app.py",
                "has_code": True,
            },
            id="requirements.txt",
        ),
        pytest.param(
            {
                "requirements/base.txt": "flask\n",
                "requirements/dev.txt": "-r base.txt\n-c ../limits.txt\n-r ../../out.txt\n-r https://x/y.txt\n-e .\n",
                "limits.txt": "",
                "out.txt": "",
            },
            {
                "requirements": (["requirements/base.txt"], ["requirements/base.txt"], [], []),
                "test_requirements": (
                    ["requirements/dev.txt"],
                    ["requirements/dev.txt", "requirements/base.txt", "limits.txt"],
                    ["requirements/dev.txt"],
                    [],
                ),
            },
            id="requirements that include others",
        ),
        pytest.param(
            {
                "dev-requirements.txt": "-r gone.txt\n-r a b.txt\n",
                "requirements_test.txt": "--editable=.[x, y]\n-e ./[z]\n",
            },
            {
                "requirements": ([], [], [], []),
                "test_requirements": (
                    ["dev-requirements.txt", "requirements_test.txt"],
                    ["dev-requirements.txt", "requirements_test.txt"],
                    ["requirements_test.txt"],
                    ["x", "y", "z"],
                ),
            },
            id="requirements of tests, with extras",
        ),
        pytest.param(
            {"deep/er/a.ipynb": "{}"}, {"has_notebooks": True, "has_code": False, "tests": None}, id="notebooks"
        ),
        pytest.param(
            {"a.py": "", "box/pyvenv.cfg": "", "box/lib/b.ipynb": "", "a b/pyvenv.cfg": "", "venv/test_x.py": ""},
            {"environments": ["box"], "has_notebooks": False, "tests": None},
            id="virtual environments",
        ),
        pytest.param(
            {
                "pyproject.toml": "[tool.uv.workspace]\nmembers = ['a']\n[dependency-groups]\ndev = ['x']\n",
                "a/b.py": "",
            },
            {"is_package": False, "has_dependencies": True, "has_groups": True},
            id="root of a workspace",
        ),
        pytest.param(
            {"pyproject.toml": "[project]\nname = 'a'\noptional-dependencies.dev = ['pytest']\n"},
            {"has_groups": True},
            id="dotted extras",
        ),
        pytest.param({"hatch.toml": "[envs.default]\n", "a.py": ""}, {"has_groups": True}, id="hatch.toml"),
    ],
)
def test_facts(tmp_path, files, expected) -> None:
    facts = detected(tmp_path, files)
    assert {name: getattr(facts, name) for name in expected} == expected
    assert facts.name == "my-app"


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"README.md": "", "Makefile": "", "setup.cfg": "[flake8]\n"},
        {"docker/dev/x.py": "", ".hidden/a.py": "", "node_modules/a.py": ""},
        {"1/2/3/4/5/6/deep.py": ""},
    ],
    ids=["empty", "other tools", "foreign directories", "too deep"],
)
def test_other_directories(tmp_path, files) -> None:
    assert detect.detect(str(write_tree(tmp_path, files))) is None


def test_unreadable_files(tmp_path) -> None:
    write_tree(tmp_path, {"a.py": "", "pyproject.toml/x": "", "requirements/x": ""})
    facts = detect.detect(str(tmp_path))
    assert facts
    assert (facts.metadata, facts.is_package) == (["pyproject.toml"], False)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({}, ("3.12", ANY)),
        ({"pyproject.toml": 'requires-python = ">=3.9"'}, ("3.12", "requires-python is >=3.9 in pyproject.toml")),
        (
            {"pyproject.toml": "requires-python = '>=3.9,<3.12'"},
            ("3.11", "requires-python is >=3.9,<3.12 in pyproject.toml, and this is the newest that it allows"),
        ),
        (
            {"setup.cfg": "[options]\npython_requires = ~=3.8.1\n"},
            ("3.8", "python_requires is ~=3.8.1 in setup.cfg, and this is the newest that it allows"),
        ),
        ({"setup.py": 'setup(python_requires=">=2.7, !=3.0.*")'}, ("3.12", "python_requires is >=2.7, !=3.0.* in setup.py")),
        ({"setup.py": 'setup(python_requires="<3")'}, ("3.12", "python_requires is <3 in setup.py, which allows no Python from 3.7 to 3.14")),
        ({".python-version": "3.10.4\n", "setup.py": 'python_requires=">=3.11"'}, ("3.10", "the file says 3.10 in .python-version")),
        ({".python-version": "2.7\n"}, ("3.12", ANY)),
        ({"Pipfile": '[requires]\npython_version = "3.10"\n'}, ("3.10", "python_version is 3.10 in Pipfile, and this is the newest that it allows")),
        ({"environment.yml": "dependencies:\n  - python=3.8.5\n  - numpy\n"}, ("3.8", "python is =3.8.5 in environment.yml, and this is the newest that it allows")),
        ({"environment.yaml": "- python >=3.9, <3.14  # x\n"}, ("3.12", "python is >=3.9, <3.14 in environment.yaml")),
        ({"pyproject.toml": '[tool.poetry.dependencies]\npython = "^3.9"'}, ("3.12", "python is ^3.9 in pyproject.toml")),
    ],
)  # fmt: skip
def test_python_version(texts, expected) -> None:
    assert detect.python(texts) == Python(*expected)


@pytest.mark.parametrize(
    ("specification", "version"),
    [
        ("==3.9.*", "3.9"),
        ("==3.9.7", "3.9"),
        ("3.10", "3.10"),
        ("==3.*", "3.12"),
        ("3", "3.12"),
        ("~3.9", "3.9"),
        ("~=3.9", "3.12"),
        ("^3.13", "3.14"),
        (">3.12,<4", "3.12"),
        (">=3.13", "3.14"),
        ("<=3.9", "3.9"),
        ("<3.9.2", "3.9"),
        ("<3.9.0", "3.8"),
        ("!=3.12.*,<3.13", "3.11"),
        ("!=3.12.1", "3.12"),
        (">=2.7,<=4", "3.12"),
        ("anything", "3.12"),
    ],
)
def test_version_specifiers(specification, version) -> None:
    assert detect.python({"setup.cfg": f"python_requires = {specification}\n"}).version == version


@pytest.mark.parametrize(
    ("files", "variables"),
    [
        (
            {"pyproject.toml": '[build-system]\nrequires = ["setuptools_scm"]\n'},
            ["SETUPTOOLS_SCM_PRETEND_VERSION=0.0.0"],
        ),
        ({"pyproject.toml": '[build-system]\nrequires = ["hatch-vcs"]\n'}, ["SETUPTOOLS_SCM_PRETEND_VERSION=0.0.0"]),
        (
            {"pyproject.toml": '[build-system]\nrequires = ["hatchling", "uv-dynamic-versioning"]\n'},
            ["UV_DYNAMIC_VERSIONING_BYPASS=0.0.0"],
        ),
        ({"pyproject.toml": '[tool.pdm.version]\nsource = "scm"\n', "a.py": ""}, ["PDM_BUILD_SCM_VERSION=0.0.0"]),
        ({"pyproject.toml": '[tool.pdm]\nversion = { source = "scm" }\n', "a.py": ""}, ["PDM_BUILD_SCM_VERSION=0.0.0"]),
        ({"pyproject.toml": '[tool.pdm.version]\nsource = "file"\n', "a.py": ""}, []),
        ({"setup.py": "setup(setup_requires=['pbr'], pbr=True)\n"}, ["PBR_VERSION=0.0.0"]),
    ],
)
def test_versions_from_git(tmp_path, files, variables) -> None:
    assert detected(tmp_path, files).scm_variables == variables


@pytest.mark.parametrize(
    ("files", "build", "run", "reasons"),
    [
        ({"requirements.txt": "psycopg2-binary\n"}, [], [], []),
        ({"requirements.txt": "PsycoPG2==2.9\n"}, ["gcc", "libpq-dev"], ["libpq5"], ["psycopg2"]),
        ({"pyproject.toml": "[project]\ndependencies = ['x', 'uwsgi>2']\n"}, ["gcc"], [], ["uwsgi"]),
        ({"requirements.txt": "x @ git+https://example.com/x\n"}, ["git"], [], ["git+ requirements"]),
        ({"pyproject.toml": "", "uv.lock": 'source = { git = "https://x/y?rev=1" }\n'}, ["git"], [], ["requirements from git"]),
        ({"pyproject.toml": "", "poetry.lock": '[package.source]\ntype = "git"\n'}, ["git"], [], ["requirements from git"]),
        ({"Pipfile": "", "Pipfile.lock": '{"git": "https://x/y"}\n'}, ["git"], [], ["requirements from git"]),
        ({"setup.py": "setup(ext_modules=[])\n"}, ["gcc"], [], ["ext_modules"]),
        ({"pyproject.toml": "[build-system]\nrequires = ['maturin']\n"}, ["gcc", "cargo"], [], ["maturin"]),
    ],
)  # fmt: skip
def test_system_packages(tmp_path, files, build, run, reasons) -> None:
    assert detected(tmp_path, files).system_packages == (build, run, reasons)
