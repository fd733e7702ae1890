"""Projects: their roots, images, names and tags."""

from __future__ import annotations

import os
import pwd
import re
import time

import pytest

from dockerutils.core.errors import UserError
from dockerutils.project import project as projects
from tests.support import write_tree


def test_the_root_is_the_nearest_directory_with_a_docker_tree(make_project, tmp_path) -> None:
    project = make_project({"src/docker/notes.txt": "", "src/docker/empty/x": "", "src/deep/x": ""}, workdir="src/deep")
    assert project.root == str(tmp_path / "app")
    assert project.workdir == str(tmp_path / "app" / "src" / "deep")


@pytest.mark.parametrize("name", ["dockerutils.cfg", "run.cfg"])
def test_a_configuration_file_makes_a_root(tmp_path, name: str) -> None:
    write_tree(tmp_path, {f"docker/{name}": ""})
    assert projects.find(str(tmp_path), {}).root == str(tmp_path)


def test_no_root(tmp_path) -> None:
    with pytest.raises(UserError) as error:
        projects.find(str(tmp_path), {})
    assert str(error.value) == (
        f"{tmp_path} is not in a project: neither it nor a parent directory has docker/<name>/Dockerfile; "
        "run dockerutils init at the root of the project, or write a Dockerfile"
    )


@pytest.mark.parametrize(
    ("directory", "name"),
    [("app", "app"), ("My Project", "my-project"), ("a__b.c-d", "a__b.c-d"), ("a._b", "a-b"), ("-_x_-", "x"), ("é", "project"), ("a---b", "a---b"), ("a..b", "a-b")],
)  # fmt: skip
def test_project_name(make_project, directory: str, name: str) -> None:
    assert make_project({}, name=directory).name == name


@pytest.mark.parametrize(
    ("text", "image", "reference"),
    [
        pytest.param("", "dev", "app-dev:alice", id="default"),
        pytest.param("[dev]\ntag = t1", "dev", "app-dev:t1", id="tag"),
        pytest.param("[dev]\nname = web", "dev", "app-web:alice", id="name"),
        pytest.param("[dev]\nname = org/web\nprefix = False", "dev", "org/web:alice", id="no prefix"),
        pytest.param("[DEFAULT]\ntag = t1", "dev", "app-dev:t1", id="default section"),
        pytest.param("[run_image]\nsynthetic_images = sh\n[sh]\nname=dev", "sh", "app-dev:alice", id="synthetic"),
        pytest.param("[run-image]\nsynthetic_images = a, sh\n[a]\nname=dev\n[sh]\nname=dev\n[dev]\ntag=t", "sh", "app-dev:t", id="tag of the directory"),
        pytest.param("[run_image]\nsynthetic_images = sh\n[sh]\nname=dev\ntag=u\n[dev]\ntag=t", "sh", "app-dev:u", id="tag of its own"),
        pytest.param("[run_image]\nsynthetic_images = sh\n[sh]\nname=dev\n[DEFAULT]\nprefix=False", "sh", "dev:alice", id="no prefix by default"),
        pytest.param("[run_image]\nsynthetic_images = sh\n[sh]\nname=dev\n[dev]\nname=org/x\nprefix=F", "sh", "org/x:alice", id="name of the directory"),
        pytest.param("[nb]\nname = org/ds\nprefix = False\ntag = latest", "nb", "org/ds:latest", id="configuration-only"),
        pytest.param("[nb]\nname = h:5000/org/ds:1.2\nprefix = False", "nb", "h:5000/org/ds:1.2", id="tag in the name"),
        pytest.param("[dev]\ntag = {date}", "dev", None, id="date"),
    ],
)  # fmt: skip
def test_image_names_and_tags(make_project, text: str, image: str, reference: str | None) -> None:
    project = make_project({"docker/dockerutils.cfg": text})
    assert project.image(image).reference == (reference or f"app-dev:{time.strftime('%y.%m.%d', project.now)}")


@pytest.mark.parametrize(
    ("text", "image", "found"),
    [
        pytest.param("", "sh", (), id="none"),
        pytest.param("[dev]\nplatform = a/b", "dev", ("a/b",), id="directory"),
        pytest.param("[dev]\nplatform = a/b", "sh", ("a/b",), id="synthetic: that of its directory"),
        pytest.param("[dev]\nplatform = a/b\n[sh]\nplatform = a/c", "sh", ("a/c",), id="synthetic: its own"),
        pytest.param("[dev]\nplatform = a/b\n[sh]\nplatform =", "sh", (), id="synthetic: none of its own"),
    ],
)
def test_platforms(make_project, text: str, image: str, found: tuple[str, ...]) -> None:
    synthetic = "[run_image]\nsynthetic_images = sh\n"
    text = text if "[sh]" in text else f"{text}\n[sh]\n"
    project = make_project({"docker/dockerutils.cfg": f"{synthetic}{text}\n".replace("[sh]\n", "[sh]\nname = dev\n")})
    assert project.platforms(project.image(image)) == found
    assert project.platforms(project.image(image), "x/y,x/z") == ("x/y", "x/z")


def test_the_tag_can_be_the_version_of_the_project(make_project, tmp_path, monkeypatch) -> None:
    own = "def get_versions():\n    import os\n    os.write(os.open('asked', 1025 | 64), b'x')\n    return {'version': '1.2+3.g0'}\n"
    files = {"docker/dockerutils.cfg": "[dev]\ntag = v{version}\n", "setup.cfg": "[versioneer]\n", "versioneer.py": own}
    project = make_project(files)
    assert [project.image("dev").tag for _ in range(3)] == ["v1.2_3.g0"] * 3
    assert (tmp_path / "app" / "asked").read_text() == "x"


def test_kinds(make_project) -> None:
    text = "[bump]\nname = x\nprefix = v\n[run_image]\nsynthetic_images = sh\n[sh]\nname = dev\n[nb]\nname = ds\nprefix = no\n[other]\nkey = 1\n"
    images = make_project({"docker/dockerutils.cfg": text}).images()
    assert [(image.name, image.kind) for image in images] == [
        ("dev", "directory"),
        ("sh", "synthetic"),
        ("nb", "configuration-only"),
    ]


@pytest.mark.parametrize(
    ("text", "image", "message"),
    [
        ("", "nope", "'nope' is not an image of this project; its images: dev"),
        ("", "", "'' is not an image of this project; its images: dev"),
        ("", "..", "'..' is not an image of this project; its images: dev"),
        ("", "dev/", "'dev/' is not an image of this project; its images: dev"),
        ("", "empty", "docker/empty/Dockerfile does not exist; create it, or name another image"),
        ("[run_image]\nsynthetic_images = sh", "sh", "docker/dockerutils.cfg:2: [run_image] synthetic_images: [sh] has no name; add name = and one of: dev"),
        ("[run_image]\nsynthetic_images = sh\n[sh]\nname = nope", "sh", "docker/dockerutils.cfg:4: [sh] name: docker/nope/Dockerfile does not exist; name one of: dev"),
        ("[dev]\ntag = a b", "dev", "docker/dockerutils.cfg:2: [dev] tag: 'a b' is not a valid tag; use letters, digits, '_', '.' and '-', 128 at most"),
        ("[dev]\ntag = {version}", "dev", "docker/dockerutils.cfg:2: [dev] tag: {version} needs versioneer; add its section to setup.cfg or pyproject.toml"),
        ("[dev]\ntag = --rm", "dev", "docker/dockerutils.cfg:2: [dev] tag: '--rm' is not a valid tag; use letters, digits, '_', '.' and '-', 128 at most"),
        ("[dev]\nname = A b", "dev", "docker/dockerutils.cfg:2: [dev] name: 'app-A b' is not a valid image name; write it as [registry/]name in lower case"),
        ("[nb]\nname = --privileged\nprefix = no", "nb", "docker/dockerutils.cfg:2: [nb] name: '--privileged' is not a valid image name; write it as [registry/]name in lower case"),
        ("[nb]\nname = x:-\nprefix = no", "nb", "docker/dockerutils.cfg:2: [nb] name: '-' is not a valid tag; use letters, digits, '_', '.' and '-', 128 at most"),
        ("[dev]\na = 1\n[dev]", "dev", "docker/dockerutils.cfg:3: [dev] duplicate section, also at line 1; merge the two"),
    ],
)  # fmt: skip
def test_errors_of_images(make_project, text: str, image: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        make_project({"docker/dockerutils.cfg": text, "docker/empty/x": ""}).image(image)
    assert str(error.value) == message


def test_a_fault_in_another_section_does_not_matter(make_project) -> None:
    project = make_project(
        {"docker/dockerutils.cfg": "[dev]\ntag = t\n[other]\nword\n[nb]\nname = x\nprefix = no\nname = y"}
    )
    assert project.image("dev").reference == "app-dev:t"
    with pytest.raises(UserError, match=r"\[nb\] name: duplicate key, also at line 6"):
        project.image("nb")


def test_variables_of_an_env_section(make_project) -> None:
    text = "[DEFAULT]\nenv = common\n[common]\nA = b c\nURL = http://$U\n"
    project = make_project({"docker/dockerutils.cfg": text}, U="bob")
    section = project.settings("dev").value("env")
    assert project.variables(section) == {"A": "b c", "URL": "http://bob"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[dev]\nenv = no", "docker/dockerutils.cfg:2: [dev] env: there is no section [no]; add it, or correct the name"),
        ("[dev]\nenv = c\n[c]\na-b = 1", "docker/dockerutils.cfg:4: [c] a-b: is not a valid name of an environment variable; use letters, digits and underscores"),
        ("[dev]\nenv = c\n[c]\nA = $NO", "docker/dockerutils.cfg:4: [c] A: $NO is not set; export it, or write $$ for a dollar sign"),
    ],
)  # fmt: skip
def test_errors_of_an_env_section(make_project, text: str, message: str) -> None:
    project = make_project({"docker/dockerutils.cfg": text})
    with pytest.raises(UserError) as error:
        project.variables(project.settings("dev").value("env"))
    assert str(error.value) == message


def test_fields(make_project, tmp_path) -> None:
    project = make_project({"sub/x": ""}, workdir="sub")
    values = {name: value() for name, value in project.fields.items()}
    root = str(tmp_path / "app")
    assert values["project_root"] == values["root"] == root
    assert values["workdir"] == f"{root}/sub"
    assert (values["project"], values["user"]) == ("app", "alice")
    assert re.fullmatch(r"\d\d\.\d\d\.\d\d", values["date"])
    assert re.fullmatch(r"\d{8}-\d{6}", values["datetime"])


def test_the_login_name_comes_from_the_environment_or_the_user_database() -> None:
    assert projects.login_name({"LOGNAME": "", "USER": "bob", "USERNAME": "no"}) == "bob"
    assert projects.login_name({}) == pwd.getpwuid(os.getuid()).pw_name


def test_no_login_name(monkeypatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(UserError, match=r"^this user has no login name; set LOGNAME$"):
        projects.login_name({})
