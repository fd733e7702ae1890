"""dockerutils: the page, check, config; and configurations broken in every way."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockerutils.commands import build_image, ls_image, run_image
from dockerutils.commands.dockerutils import main, parser
from tests.support import App, call, write_tree
from tests.test_architecture import COMMANDS

HINTS = """\
Run a command with -h for its options and examples. For completion with TAB, run
once: dockerutils completion --install"""
CONFIG = """
[run_image]
synthetic_images = shell
[dev]
environment = -e URL=http://$TOKEN@h
volumes = -v {project_root}:/code
volumes_docked = -v /there:/code
[shell]
name = dev
cmd = sh
[tool]
anything = goes
"""


@pytest.fixture
def app(tmp_path, capfd) -> App:
    app = App(main, tmp_path / "app", capfd)
    app.write({"docker/dev/Dockerfile": "FROM scratch\n"})
    return app


def test_the_page_lists_every_command_and_action_once_in_small_groups(app) -> None:
    outcome = app()
    page, _, last = outcome.out.partition("\n\n")
    lines = page.splitlines()
    assert (outcome.status, outcome.err, last) == (0, "", f"{HINTS}\n")
    assert lines[0].split() == "dockerutils init Create docker/; overwrite nothing.".split()
    assert re.search(r"(?m)^ +run-image +Run an image with its configured options\.$", page)
    names = [re.split("  +", line)[1] for line in lines]
    listed = {command.replace("_", "-") for command in COMMANDS} - {"dockerutils"}
    assert sorted(names) == sorted([*listed, *parser().actions, "source dock"])
    assert all(re.fullmatch(r"[A-Z].*\w\.", re.split("  +", line)[2]) for line in lines)
    sizes = [len(part.splitlines()) for part in re.split(r"\n(?=\S)", page)]
    assert (min(sizes) >= 2, max(sizes) <= 6) == (True, True)
    assert max(map(len, lines)) <= 80
    assert len(outcome.out.splitlines()) <= 40


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(shell, app) -> None:
    outcome = app("completion", shell)
    assert (outcome.status, outcome.err) == (0, "")
    assert {command for command in COMMANDS if command.replace("_", "-") not in outcome.out.split()} == set()
    assert "ASK_FOR_NAMES" not in outcome.out
    assert "TABLE" not in outcome.out


def test_completion_of_an_unknown_shell(app) -> None:
    assert app("completion", "tcsh").status == 2


def test_check_of_a_project_without_problems(app, monkeypatch) -> None:
    monkeypatch.setenv("TOKEN", "x")
    app.write({"docker/dockerutils.cfg": CONFIG})
    assert app("check", "--no-build-checks") == (
        0,
        "docker/dockerutils.cfg: 2 images, no problems\n",
        "",
    )


def test_check_counts_one_image_in_the_singular(app) -> None:
    assert app("check", "--no-build-checks") == (0, "docker/dockerutils.cfg: 1 image, no problems\n", "")
    app.write({"docker/dockerutils.cfg": "[dev]\nprefix = maybe\n"})
    assert app("check", "--no-build-checks").err == "dockerutils: 1 problem; correct and check again\n"


def test_check_needs_no_engine_for_the_newest_version(app) -> None:
    latest = "tag = {latest}\n"
    app.write(
        {
            "docker/dockerutils.cfg": f"[run_image]\nsynthetic_images = shell\n[dev]\n{latest}[shell]\nname = dev\n{latest}"
        }
    )
    assert app("check", "--no-build-checks") == (0, "docker/dockerutils.cfg: 2 images, no problems\n", "")


def test_check_prints_every_problem(app) -> None:
    config = """
[run_image]
synthetic_images = shell, ghost
[dev]
prefix = maybe
volums = x
volumes = -v $NOPE:/x
volumes_docked = -v {nope}:/x
cmd = it's
env = absent
publication_tag = org/app:{tag} org/app:{nope}
[dev]
[shell]
name = nowhere
[ds]
name = A B
prefix = no
tag = x
tag = y
"""
    app.write({
        "docker/dockerutils.cfg": config,
        "docker/a/Dockerfile": "FROM app-z\nRUM x\n",
        "docker/z/Dockerfile": "FROM app-a\n",
    })  # fmt: skip
    outcome = app("check", "--no-build-checks")
    c = "docker/dockerutils.cfg"
    assert sorted(outcome.out.splitlines()) == sorted([
        f"{c}:11: [dev] duplicate section, also at line 3; merge the two",
        f"{c}:10: [dev] publication_tag: {{nope}} is unknown; known here: {{project_root}}, {{root}}, {{workdir}}, {{project}}, {{user}}, {{home}}, {{date}}, {{datetime}}, {{account}}, {{region}}, {{image}}, {{tag}}",
        f"{c}:5: [dev] volums: unknown key; did you mean volumes?",
        f"{c}:4: [dev] prefix: 'maybe' is neither true nor false; write True or False",
        f"{c}:6: [dev] volumes: $NOPE is not set; export it, or write $$ for a dollar sign",
        f"{c}:7: [dev] volumes_docked: {{nope}} is unknown; known here: {{project_root}}, {{root}}, {{workdir}}, {{project}}, {{user}}, {{home}}, {{date}}, {{datetime}}",
        f"{c}:8: [dev] cmd: no closing quotation; close the quote or escape it with a backslash",
        f"{c}:9: [dev] env: there is no section [absent]; add it, or correct the name",
        f"{c}:13: [shell] name: docker/nowhere/Dockerfile does not exist; name one of: a, dev, z",
        f"{c}:2: [run_image] synthetic_images: [ghost] has no name; add name = and one of: a, dev, z",
        f"{c}:18: [ds] tag: duplicate key, also at line 17; remove one of the two",
        "docker/a/Dockerfile:2: RUM is not an instruction; did you mean RUN?",
        "docker/a/Dockerfile, docker/z/Dockerfile: these images are built from each other; remove one of the FROM lines",
    ])  # fmt: skip
    assert (outcome.status, outcome.err) == (1, "dockerutils: 13 problems; correct and check again\n")


def test_check_finds_a_circle_of_bases(app) -> None:
    app.write({"docker/a/Dockerfile": "FROM app-z\n", "docker/z/Dockerfile": "FROM app-a\n"})
    outcome = app("check", "--no-build-checks")
    assert (
        outcome.out
        == "docker/a/Dockerfile, docker/z/Dockerfile: these images are built from each other; remove one of the FROM lines\n"
    )


def test_check_of_a_configuration_that_is_a_directory(app) -> None:
    (app.root / "docker/dockerutils.cfg").mkdir()
    outcome = app("check", "--no-build-checks")
    assert outcome == (
        2,
        "",
        "dockerutils: docker/dockerutils.cfg is a directory; replace it with a configuration file\n",
    )


def test_config_shows_values_and_places_but_no_secret(app, monkeypatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    app.write({"docker/dockerutils.cfg": CONFIG})
    outcome = app("config")
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert lines[0] == "[dev] app-dev:alice (directory, docker/dev/Dockerfile)"
    assert 'environment -e "URL=http://$TOKEN@h" docker/dockerutils.cfg:4' in lines
    assert f"volumes -v {app.root}:/code docker/dockerutils.cfg:5" in lines
    assert "init --init default" in lines
    assert "[shell] app-dev:alice (synthetic, docker/dev/Dockerfile)" in lines
    assert "s3cret" not in outcome.out
    monkeypatch.setenv("DOCK_MONIKER", "gpu")
    docked = app("config", "dev").out
    assert "volumes_docked" in docked
    assert "[shell]" not in docked


def test_config_shows_no_value_of_a_variable_that_is_a_whole_word(app, monkeypatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    app.write({"docker/dockerutils.cfg": "[dev]\nnetwork = $TOKEN\npublication_tag = org/$TOKEN:1\n"})
    for outcome in (app("config"), app("config", "--json")):
        assert outcome.status == 0
        assert "s3cret" not in outcome.out
        assert "$TOKEN" in outcome.out


def test_config_shows_control_characters_as_numbers(app) -> None:
    (app.root / "docker/\x1b[8mx").mkdir()
    (app.root / "docker/\x1b[8mx/Dockerfile").write_text("FROM scratch\n")
    config = "[DEFAULT]\nargs = --label \x1b[8mx\nimage_repo = \x9b8m\nnetwork = $U\x1b\n"
    app.write({"docker/dockerutils.cfg": config})
    outcome = app("config")
    assert outcome.status == 2  # U is not set
    app.write({"docker/dockerutils.cfg": config.replace("$U", "u")})
    outcome = app("config")
    assert outcome.status == 0
    assert [each for each in outcome.out if not each.isprintable() and each != "\n"] == []
    assert "\\x1b" in outcome.out


def test_config_as_json(app, monkeypatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    app.write({"docker/dockerutils.cfg": CONFIG})
    record = json.loads(app("config", "shell", "--json").out)["shell"]
    assert (record["reference"], record["kind"], record["directory"]) == ("app-dev:alice", "synthetic", "dev")
    assert record["settings"]["cmd"] == {"value": "sh", "from": "docker/dockerutils.cfg:9"}
    assert record["settings"]["init"] == {"value": "--init", "from": "default"}


def test_config_of_a_configuration_only_image(app) -> None:
    app.write({"docker/dockerutils.cfg": "[ds]\nname = org/ds\nprefix = no\n"})
    outcome = app("config")
    assert "[ds]  org/ds:alice  (configuration-only, no Dockerfile)" in outcome.out


# Broken files: valid keys with wrong values, duplicates, torn lines, random text.
_KEYS = [
    "name",
    "tag",
    "prefix",
    "environment",
    "env",
    "interactive",
    "volumes",
    "volumes_docked",
    "network",
    "args",
    "init",
]
_KEYS += [
    "keep_container",
    "cmd",
    "build_args",
    "pre_build_script",
    "pull_FROM_on_force",
    "synthetic_images",
    "nonsense",
]
_VALUES = st.sampled_from(
    ["dev", "base", "True", "-v a:b", "-e", "-e A=$NOPE", "{nope}", "'", '"', "$", "\\", "\0", "-", "../..", "a b", ""]
)
_LINE = st.one_of(
    st.sampled_from(["[dev]", "[base]", "[DEFAULT]", "[run_image]", "[run-image]", "[shell]", "[", "]", "="]),
    st.builds("{} = {}".format, st.sampled_from(_KEYS), st.one_of(_VALUES, st.text(max_size=5))),
    st.builds("{}{}".format, st.sampled_from(["  ", ": "]), _VALUES),
    st.text(max_size=8),
)
_BROKEN = st.one_of(
    st.lists(_LINE, max_size=12).map("\n".join).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(_BROKEN)
def test_broken_configurations_cause_no_traceback(tmp_path_factory, content: bytes) -> None:
    root = tmp_path_factory.getbasetemp() / "broken"
    write_tree(root, {"docker/dev/Dockerfile": "FROM scratch\n", "docker/base/Dockerfile": "FROM scratch\n"})
    (root / "docker/dockerutils.cfg").write_bytes(content)
    before = os.getcwd()
    os.chdir(root)
    try:
        for command, argv, statuses in [
            (run_image.main, ["dev", "--dry-run"], {0, 2}),
            (run_image.main, ["shell", "--dry-run"], {0, 2}),
            (build_image.main, ["all", "--dry-run"], {0, 2}),
            (main, ["config"], {0, 2}),
            (main, ["check", "--no-build-checks"], {0, 1, 2}),
        ]:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as err:
                status = command(argv)
            errors = [line for line in err.getvalue().splitlines() if "warning:" not in line]
            assert status in statuses
            assert len(errors) == (status != 0), errors
    finally:
        os.chdir(before)


def test_ls_image_reports_a_broken_configuration(app, capfd) -> None:
    app.write({"docker/dockerutils.cfg": "[dev]\ntag = a b\n"})
    outcome = call(ls_image.main, directory=app.root, capfd=capfd)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("ls-image: docker/dockerutils.cfg:2: [dev] tag: 'a b' is not a valid tag")
