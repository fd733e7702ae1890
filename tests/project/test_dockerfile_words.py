"""Quotes, variables and here-documents in words."""

from __future__ import annotations

import pytest

from dockerutils.project.dockerfile_words import Heredoc, expand, heredocs

VARIABLES = {"A": "one", "PATH": "a.b.c/d.e", "EMPTY": "", "STAR": "x*y", "B": "two"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("$A", "one"),
        ("${A}-$B", "one-two"),
        ("$UNSET", ""),
        ("$1x", "x"),
        ("$", "$"),
        ("$/x", "$/x"),
        ("é$A é", "éone é"),
        # Quotes and escapes
        ('"x:1"', "x:1"),
        ("'$A'", "$A"),
        ("\"$A 'x'\"", "one 'x'"),
        (r"\$A", "$A"),
        (r'"\$A\""', '$A"'),
        (r'"a\b"', r"a\b"),
        (r"a\b", "ab"),
        ("<<A<", "<<A<"),
        # Defaults and alternatives
        ("${UNSET:-b}", "b"),
        ("${UNSET-b}", "b"),
        ("${EMPTY:-b}", "b"),
        ("${EMPTY-b}", ""),
        ("${A:-b}", "one"),
        ("${A:+b}", "b"),
        ("${A+b}", "b"),
        ("${EMPTY:+b}", ""),
        ("${EMPTY+b}", "b"),
        ("${UNSET+b}", ""),
        ('${UNSET:-"b c"}', "b c"),
        ("${UNSET:-${EMPTY:-$B}}", "two"),
        ("${UNSET:-'}'}", "}"),
        ("${A:?message}", "one"),
        ("${EMPTY?message}", ""),
        # Patterns
        ("${PATH#a.}", "b.c/d.e"),
        ("${PATH#*.}", "b.c/d.e"),
        ("${PATH##*.}", "e"),
        ("${PATH%.*}", "a.b.c/d"),
        ("${PATH%%.*}", "a"),
        ("${PATH%x}", "a.b.c/d.e"),
        ("${PATH#?.?}", ".c/d.e"),
        (r"${STAR#x\*}", "y"),
        ("${PATH#$UNSET}", "a.b.c/d.e"),
        ("${PATH/./-}", "a-b.c/d.e"),
        ("${PATH//./-}", "a-b-c/d-e"),
        (r"${PATH/\//:}", "a.b.c:d.e"),
        ("${PATH//[.]/x}", "a.b.c/d.e"),
        ("${PATH/b*d/$A}", "a.one.e"),
        ("${UNSET/a/b}", ""),
        ("${UNSET%a}", ""),
    ],
)
def test_expand(text: str, value: str) -> None:
    assert expand(text, VARIABLES) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'x", "a single quote is not closed"),
        ('"x', "a double quote is not closed"),
        ("${A", "docker does not support ${A…}"),
        ("${", "'${' is not followed by the name of a variable"),
        ("${}", "'${' is not followed by the name of a variable"),
        ("${A:-b", "'}' is missing"),
        ("${A/x}", "'/' is missing"),
        ("${A@Q}", "docker does not support ${A@…}"),
        ("${A:3}", "docker does not support ${A:3…}"),
        ("${UNSET?}", "UNSET: it must not be unset"),
        ("${EMPTY:?}", "EMPTY: it must not be empty"),
        ("${UNSET:?set the version}", "UNSET: set the version"),
        (r"${A#\n}", r"the pattern '\\n' has an unknown escape"),
    ],
)
def test_expand_rejects_what_docker_rejects(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        expand(text, VARIABLES)
    assert str(error.value) == message


def test_expand_with_the_backquote_as_escape_character() -> None:
    assert expand(r"`$A C:\$A", VARIABLES, "`") == "$A C:\\one"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("RUN <<EOF", [("EOF", False)]),
        ("RUN <<-EOF cat", [("EOF", True)]),
        ("RUN << EOF", [("EOF", False)]),
        ("RUN <<'A' <<\"B\"", [("A", False), ("B", False)]),
        ("COPY <<a.txt <<b.txt /", [("a.txt", False), ("b.txt", False)]),
        ("RUN 3<<EOF", [("EOF", False)]),
        ("RUN <<1", [("1", False)]),
        ("RUN <<E$X", [("E$X", False)]),
        ("RUN (cat <<EOF)", [("EOF)", False)]),
        ("RUN python -c 'print(1 << n)'", []),
        ("RUN echo $((1<<N))", []),
        ('RUN echo "<<EOF"', []),
        ("RUN echo '<<EOF'", []),
        ("RUN cat <<<word", []),
        ("RUN cat a<<EOF", []),
        (r"RUN cat \<<EOF", []),
        ("RUN <<", []),
        ("RUN it's <<EOF", []),
        ("RUN ${x,,} <<EOF", []),
        ("RUN <<${A:- b}", []),
    ],
)
def test_heredocs(line: str, found: list[tuple[str, bool]]) -> None:
    assert heredocs(line) == [Heredoc(*each) for each in found]
