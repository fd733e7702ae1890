"""Words: split, filled in, and shown so that `sh` makes the same words of them."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from dockerutils.core import shell_words
from dockerutils.core.shell_words import Word, render, substitute

FIELDS = {"user": lambda: "ann", "project_root": lambda: "/My Project"}
ENVIRON = {"U": "bob", "P": 's3"`$x', "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("{project_root}:/code", "/My Project:/code", id="field keeps its spaces"),
        pytest.param("{user}-{user}", "ann-ann", id="field twice"),
        pytest.param("$U", "bob", id="bare"),
        pytest.param("${U}x", "bobx", id="braced"),
        pytest.param("$U/$P", 'bob/s3"`$x', id="value is not read again"),
        pytest.param("$EMPTY", "", id="empty is set"),
        pytest.param("$$U", "$U", id="dollar sign"),
        pytest.param("a$", "a$", id="dollar at the end"),
        pytest.param("$1 $-", "$1 $-", id="dollar before no name"),
        pytest.param("{{.ID}} {{user}}", "{{.ID}} {{user}}", id="Go template"),
        pytest.param('{"a": {"b": 1}}', '{"a": {"b": 1}}', id="JSON"),
        pytest.param("{a b} {} {1}", "{a b} {} {1}", id="no bare name"),
        pytest.param("%U%", "%U%", id="percent means nothing"),
    ],
)
def test_substitute(text: str, value: str) -> None:
    assert substitute(text, FIELDS, ENVIRON) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x$NOPE", "$NOPE is not set; export it, or write $$ for a dollar sign"),
        ("${NOPE}", "$NOPE is not set; export it, or write $$ for a dollar sign"),
        ("{nope}", "{nope} is unknown; known here: {user}, {project_root}"),
    ],
)
def test_substitute_refuses(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="is") as error:
        substitute(text, FIELDS, ENVIRON)
    assert str(error.value) == message


def test_a_field_is_computed_only_when_it_is_used() -> None:
    def fail() -> str:
        raise AssertionError

    assert substitute("{user}", {**FIELDS, "expensive": fail}, {}) == "ann"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://$U:$P@h", '"http://$U:$P@h"'),
        ("${U}x", '"${U}x"'),
        ('say "$U" `id` $$5 \\', '"say \\"$U\\" \\`id\\` \\$5 \\\\"'),
        ("{project_root}", "'/My Project'"),
        ("$$U", "'$U'"),
    ],
)
def test_values_of_the_environment_are_not_shown(text: str, shown: str) -> None:
    assert shell_words.quote(substitute(text, FIELDS, ENVIRON)) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("a\x1b[8mb", """a"$(printf '\\033')"'[8mb'""", id="escape sequence"),
        pytest.param("\x9b8m", """"$(printf '\\302\\233')"8m""", id="C1"),
        pytest.param("a\rb", """a"$(printf '\\015')"b""", id="carriage return"),
        pytest.param("\u202e", """"$(printf '\\342\\200\\256')\"""", id="right to left"),
        pytest.param("\udcff", """"$(printf '\\377')\"""", id="a byte that is not UTF-8"),
        pytest.param("a\n\tb", "'a\n\tb'", id="lines stay lines"),
        pytest.param("é", "'é'", id="letters"),
        pytest.param("$U\x1b[8m", """"$U$(printf '\\033')[8m\"""", id="beside a reference"),
    ],
)
def test_what_a_terminal_does_not_show_is_shown_as_numbers(text: str, shown: str) -> None:
    assert shell_words.quote(substitute(text, {}, ENVIRON)) == shown


def test_a_long_run_of_braces_takes_no_time() -> None:
    start = time.process_time()
    for text in ("{" * 50_000, "{{" * 25_000 + "x", "${" * 25_000, "{{}" * 20_000):
        assert substitute(text, {}, {}) == text
    assert time.process_time() - start < 2


def test_variables_that_a_shell_sets_are_shown_by_value() -> None:
    environ = {"PWD": "/my work", "U": "bob"}
    assert shell_words.quote(substitute("$PWD:/x", {}, environ)) == "'/my work:/x'"
    assert shell_words.quote(substitute("$PWD/$U", {}, environ)) == '"/my work/$U"'


def _env(**texts: str) -> dict[str, str]:
    environ = {name: name.lower() for name in "ABCZ"}
    return {name: substitute(text, {}, environ) for name, text in texts.items()}


@pytest.mark.parametrize(
    ("env", "line"),
    [
        pytest.param(_env(C="x$Z", B="$C", A="$B"), 'A="$B" B="$C" C="x$Z" docker', id="readers first"),
        pytest.param(_env(A="$A:x", B="${A}"), 'B="${A}" A="$A:x" docker', id="itself is no circle"),
        pytest.param(_env(A="$B", B="x$$A"), "A=\"$B\" B='x$A' docker", id="a dollar sign is no reference"),
        pytest.param(
            _env(A="$B", B="$A"),
            '(_dockerutils_A="$A" && A="$B" B="${_dockerutils_A}" docker)',
            id="a circle",
        ),
    ],
)
def test_no_assignment_changes_what_another_one_reads(env: dict[str, str], line: str) -> None:
    assert render(["docker"], env) == line


def test_render_shows_variables_and_directory() -> None:
    argv = ["docker", "run", "-e", "URL", "a b"]
    line = render(argv, {"URL": substitute("http://$U", {}, ENVIRON), "A": "b c"}, "/My Project")
    assert line == """(cd '/My Project' && URL="http://$U" A='b c' docker run -e URL 'a b')"""


_NAMES = st.sampled_from(["A", "B", "C_1"])
_PIECES = st.lists(
    st.sampled_from(["$A", "${B}", "$C_1", "$$", "x", " ", '"', "'", "\\", "`", "$(id)", "*", "\n", "é"])
)
_VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(_PIECES.map("".join), min_size=1, max_size=4),
    st.fixed_dictionaries({"A": _VALUES, "B": _VALUES, "C_1": _VALUES}),
)
def test_what_is_shown_pasted_into_sh_is_what_is_executed(texts: list[str], environ: dict[str, str]) -> None:
    try:
        argv = [substitute(text, {}, environ) for text in texts]
    except ValueError:  # $A and x have met: $Ax is not set
        reject()
    env = {"NEW": argv[0], "A": argv[-1]} if isinstance(argv[0], Word) else {}
    show = ["sh", "-c", 'printf "%s\\0" "$@" "$NEW" "$A"', "sh", *argv]
    base = {"PATH": os.environ["PATH"], **environ}
    executed = subprocess.run(show, env={**base, **env}, capture_output=True, check=True).stdout
    pasted = subprocess.run(["sh", "-c", render(show, env)], env=base, capture_output=True, check=True).stdout
    assert pasted == executed


def test_assignment_is_partitioned_with_its_template() -> None:
    word = substitute("URL=http://$U=x", {}, ENVIRON)
    assert isinstance(word, Word)
    name, value = word.partition_assignment() or ("", word)
    assert (name, value, value.template) == ("URL", "http://bob=x", "http://$U=x")


@pytest.mark.parametrize("text", ["$U=x", "$U"])
def test_a_name_that_is_a_reference_is_no_assignment(text: str) -> None:
    word = substitute(text, {}, ENVIRON)
    assert isinstance(word, Word)
    assert word.partition_assignment() is None


@pytest.mark.parametrize(
    ("text", "operator"),
    [
        ("ls | wc -l", "|"),
        ("make wheels && make", "&&"),
        ("a || b", "||"),
        ("a |& b", "|&"),
        ("cd /code; pytest", ";"),
        ("cd 'a b'; pytest", ";"),
        ("a ; b", ";"),
        ("sleep 10 &", "&"),
        ("a&&b", "&&"),
        ("a||b", "||"),
        ("a > out.txt", ">"),
        ("a >out.txt", ">out.txt"),
        ("a >> out.txt", ">>"),
        ("a 2> /dev/null", "2>"),
        ("a 2>/dev/null", "2>/dev/null"),
        ("a 2>&1", "2>&1"),
        ("a &> log", "&>"),
        ("a < in.txt", "<"),
        ("a <<< b", "<<<"),
        ("a\n&& b", "&&"),
        ("sh -c 'a && b' && c", "&&"),
    ],
)
def test_operator(text: str, operator: str) -> None:
    assert shell_words.operator(text) == operator


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sh -c 'ls | wc -l'",
        'sh -c "a && b; c > d"',
        r"a \| b \&\& c\;",
        "a '|' b",
        'a "&&" b',
        "a'&&'b",
        "a ';'",
        "curl http://h/?a=1&b=2",
        "pytest -k a|b",
        "pip install six>=1.2",
        "pip install six >=1.2",
        "pip install six<2",
        "test a -> b",
        "serve <image> <name>",
        r"find . -name x -exec rm {} \;",
        "find . -exec rm {} ; -print",
        "it's",
    ],
)
def test_operators_that_a_shell_does_not_see_or_that_are_meant_as_they_are(text: str) -> None:
    assert shell_words.operator(text) == ""
