"""The options of docker: read as docker reads them, from a table that agrees with docker's own help."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from dockerutils.core.shell_words import Word, substitute
from dockerutils.docker import options
from dockerutils.docker.options import BUILD, RUN, Option, Table
from tests.testbed import debian

# `  -e, --env list   Set …`: a letter, a name, and a type unless it is a switch.
_ROW = re.compile(r"^ +(?:-(\w), |    )--([\w-]+)(?: (\w[\w-]*))?(?:  |$)", re.MULTILINE)


def _check(help_text: str, table: Table) -> int:
    """Compare a help text with a table, and return how many options the help text has."""
    rows = _ROW.findall(help_text)
    for letter, name, kind in rows:
        assert name in (table.valued if kind else table.switches), name
        assert not letter or table.letters[letter] == name, letter
    return len(rows)


@pytest.mark.engine
@pytest.mark.parametrize(("command", "table", "at_least"), [("run", RUN, 90), ("build", BUILD, 25)])
def test_the_table_is_that_of_docker_help(command, table, at_least) -> None:
    # The classic builder: another machine's default could need a plugin.
    environ = {**os.environ, "DOCKER_BUILDKIT": "0"}
    child = subprocess.run(["docker", command, "--help"], env=environ, capture_output=True, text=True, check=True)
    assert _check(child.stdout, table) >= at_least


@pytest.mark.engine
def test_the_table_is_that_of_buildx_help() -> None:
    buildx = f"{debian.modern_usr()}/libexec/docker/cli-plugins/docker-buildx"
    environ = {**os.environ, "BUILDX_EXPERIMENTAL": "0"}
    child = subprocess.run([buildx, "build", "--help"], env=environ, capture_output=True, text=True, check=True)
    assert _check(child.stdout, BUILD) > 30


@pytest.mark.parametrize("table", [RUN, BUILD])
def test_an_option_takes_a_value_or_is_a_switch(table) -> None:
    assert not table.valued & table.switches
    assert set(table.letters.values()) <= table.valued | table.switches


@pytest.mark.parametrize(
    ("words", "parsed"),
    [
        pytest.param(["-it"], [(("interactive", "tty"), None, ("-it",))], id="switches"),
        pytest.param(["-p", "80:80"], [(("publish",), "80:80", ("-p", "80:80"))], id="letter"),
        pytest.param(["-p80:80"], [(("publish",), "80:80", ("-p80:80",))], id="attached"),
        pytest.param(["-p=80:80"], [(("publish",), "80:80", ("-p=80:80",))], id="letter with ="),
        pytest.param(["-p="], [(("publish",), "=", ("-p=",))], id="only = behind a letter is the value, for pflag"),
        pytest.param(["--publish", "80"], [(("publish",), "80", ("--publish", "80"))], id="name"),
        pytest.param(["--publish=80"], [(("publish",), "80", ("--publish=80",))], id="name with ="),
        pytest.param(["--env="], [(("env",), "", ("--env=",))], id="empty value"),
        pytest.param(["-e", "-it"], [(("env",), "-it", ("-e", "-it"))], id="a value can begin with a dash"),
        pytest.param(["-dp", "1:1", "-i"], [(("detach",), None, ("-d",)), (("publish",), "1:1", ("-p", "1:1")), (("interactive",), None, ("-i",))], id="cluster with a value"),
        pytest.param(["-itp1:1"], [(("interactive", "tty"), None, ("-it",)), (("publish",), "1:1", ("-p1:1",))], id="cluster with an attached value"),
        pytest.param(["-id=false"], [(("interactive",), None, ("-i",)), (("detach",), "false", ("-d=false",))], id="a switch with a value"),
        pytest.param(["--rm=false"], [(("rm",), "false", ("--rm=false",))], id="a switch with a value, by name"),
        pytest.param(["-e"], [(("env",), None, ("-e",))], id="no value"),
        pytest.param(["--new", "x", "-d"], [(("new",), None, ("--new",)), ((), None, ("x",)), (("detach",), None, ("-d",))], id="an option of a later docker"),
        pytest.param(["-d", "--", "-p", "1"], [(("detach",), None, ("-d",)), ((), None, ("--",)), ((), None, ("-p",)), ((), None, ("1",))], id="end of options"),
        pytest.param(["-", ""], [((), None, ("-",)), ((), None, ("",))], id="no options"),
    ],
)  # fmt: skip
def test_parse(words, parsed) -> None:
    found = options.parse(words, RUN)
    assert found == [Option(*each) for each in parsed]


def test_values_keep_their_references() -> None:
    environ = {"U": "bob", "O": "-e"}
    words = [substitute(word, {}, environ) for word in ["-eA=$U", "-ite", "B=$U", "--env=C=$U", "-iteD=$U", "$O"]]
    found = [option.value for option in options.parse(words, RUN) if option.names == ("env",)]
    assert found == ["A=bob", "B=bob", "C=bob", "D=bob"]
    assert [value.template for value in found if isinstance(value, Word)] == ["A=$U", "B=$U", "C=$U", "D=$U"]


@pytest.mark.parametrize("word", ["-$X", "-i$X", "--$X=1", "--env=$X"])
def test_a_reference_in_an_option_is_left_alone(word) -> None:
    filled = substitute(word, {}, {"X": "eA=s3cret"})
    (option,) = options.parse([filled], RUN)
    assert option.words == (filled,)
    assert isinstance(option.words[0], Word)


@pytest.mark.parametrize(
    ("words", "on"),
    [("-d", True), ("-itd", True), ("--detach", True), ("--detach=false", False), ("-d -d=0", False), ("-e -d", False), ("", False)],
)  # fmt: skip
def test_switches(words, on) -> None:
    assert options.is_on(words.split(), RUN, "detach") is on


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-v a:b -it --cpus 2 --rm", ""),
        ("--later value -p 80:80", ""),
        ("a:b", "a:b is not a docker option; write the option before it, as in -e NAME=value"),
        ("-v a:b c:d", "c:d is not a docker option; write the option before it, as in -e NAME=value"),
        ("-it -e", "-e has no value; write one after it"),
        ("-ite", "-e has no value; write one after it"),
        ("--cpus", "--cpus has no value; write one after it"),
        ("-- x", "-- is not a docker option; write the option before it, as in -e NAME=value"),
    ],
)
def test_faults(words, message) -> None:
    assert options.fault(words.split(), RUN) == message


@pytest.mark.parametrize(
    ("words", "unknown"),
    [
        ("-it --volume a:b --rm -p 80:80", []),
        ("-ix", [("-x", "")]),
        ("--volum a:b --interactiv", [("--volum", "--volume"), ("--interactiv", "--interactive")]),
        ("--later value", []),
    ],
)
def test_unknown_options(words, unknown) -> None:
    assert options.unknown(words.split(), RUN) == unknown
