"""The instructions of a Dockerfile. BuildKit's own answers are in test_dockerfile.py."""

from __future__ import annotations

import pytest

from dockerutils.project.dockerfile_parser import parse, split_words


@pytest.mark.parametrize(
    ("text", "instructions"),
    [
        pytest.param("FROM a\nRUN b", [(1, "FROM", "a"), (2, "RUN", "b")], id="lines"),
        pytest.param("\n # x\nfrom a", [(3, "FROM", "a")], id="comments and blank lines"),
        pytest.param("FROM\ta\tAS b\nRUN\tc", [(1, "FROM", "a\tAS b"), (2, "RUN", "c")], id="tabs"),
        pytest.param("\ufeffFROM a\r\nRUN b\r\n", [(1, "FROM", "a"), (2, "RUN", "b")], id="Windows"),
        pytest.param(
            "RUN a \\\n  # why\n\n  b \\  \n c\nCMD", [(1, "RUN", "a   b  c"), (6, "CMD", "")], id="continued"
        ),
        pytest.param("RUN a \\\\\nCMD b", [(1, "RUN", "a \\\\"), (2, "CMD", "b")], id="escaped escape character"),
        pytest.param("RUN a \\", [(1, "RUN", "a")], id="continued at the end of the file"),
        pytest.param("\\\nRUN a", [(1, "RUN", "a")], id="continuation alone"),
        pytest.param(
            "RUN a\vb\fc\x85d\u2028e\rf\nCMD",
            [(1, "RUN", "a\vb\fc\x85d\u2028e\rf"), (2, "CMD", "")],
            id="only newlines end a line",
        ),
        pytest.param("# escape=`\nRUN a `\nb \\\nCMD", [(2, "RUN", "a b \\"), (4, "CMD", "")], id="escape"),
        pytest.param("# Syntax=x\n#escape = `\nRUN a`\nb", [(3, "RUN", "ab")], id="two directives"),
        pytest.param("# foo=bar\n# escape=`\nRUN a`\nCMD", [(3, "RUN", "a`"), (4, "CMD", "")], id="not a directive"),
        pytest.param("\n# escape=`\nRUN a`\nCMD", [(3, "RUN", "a`"), (4, "CMD", "")], id="blank line first"),
        pytest.param("RUN <<A <<'B'\nx\nA\ny\nB\nCMD", [(1, "RUN", "<<A <<'B'"), (6, "CMD", "")], id="heredocs"),
        pytest.param("RUN <<A\n A\n\tA\nA \nA\nCMD", [(1, "RUN", "<<A"), (6, "CMD", "")], id="heredoc: exact end"),
        pytest.param("RUN <<-A\n A\n\t\tA\nCMD", [(1, "RUN", "<<-A"), (4, "CMD", "")], id="heredoc: tabs before end"),
        pytest.param("ADD <<1 /x\nCMD\n1\nCMD", [(1, "ADD", "<<1 /x"), (4, "CMD", "")], id="heredoc: digit"),
        pytest.param("ONBUILD RUN <<A\nx\nA\nCMD", [(1, "ONBUILD", "RUN <<A"), (4, "CMD", "")], id="heredoc: ONBUILD"),
        pytest.param('RUN ["x", "<<A"]\nCMD', [(1, "RUN", '["x", "<<A"]'), (2, "CMD", "")], id="heredoc: not in JSON"),
        pytest.param("CMD <<A\nRUN", [(1, "CMD", "<<A"), (2, "RUN", "")], id="heredoc: not after CMD"),
        pytest.param("RUN \\\n cat <<A\nA\nCMD", [(1, "RUN", "cat <<A"), (4, "CMD", "")], id="heredoc: continued"),
    ],
)
def test_instructions(text: str, instructions: list[tuple[int, str, str]]) -> None:
    parsed = parse(text)
    assert [(each.line, each.keyword, each.rest) for each in parsed.instructions] == instructions
    assert parsed.faults == []


@pytest.mark.parametrize(
    ("text", "flags", "rest"),
    [
        ("COPY --from=b --chown=1:1 a /", ["--from=b", "--chown=1:1"], "a /"),
        ("COPY a --from=b /", [], "a --from=b /"),
        ("RUN echo --mount=from=c", [], "echo --mount=from=c"),
        ("COPY -- --a /", [], "--a /"),
        ('COPY --from=\'b c\' --x="d\\"e" --y=\\z a', ["--from=b c", '--x=d"e', "--y=z"], "a"),
        ("RUN --mount=type=bind,from=b\\\n  --network=none x", ["--mount=type=bind,from=b", "--network=none"], "x"),
        ("RUN --security=insecure", ["--security=insecure"], ""),
    ],
)
def test_flags(text: str, flags: list[str], rest: str) -> None:
    (instruction,) = parse(text).instructions
    assert ([*instruction.flags], instruction.rest) == (flags, rest)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("COPY a\tb  /", ["a", "b", "/"]),
        ('COPY ["a b", "/"]', ["a b", "/"]),
        ("COPY [a] /", ["[a]", "/"]),
        ("CMD []", []),
        ("CMD [1]", ["[1]"]),
        ("CMD", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert parse(text).instructions[0].words == words


def test_split_words_keeps_quotes() -> None:
    assert split_words('a="b c"\td=\'e \\\' f=g\\ h i="j\\"k', "\\") == ['a="b c"', "d='e \\'", "f=g\\ h", 'i="j\\"k']


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("FROM a\nRUN <<EOF\nx", (2, "the here-document does not end; add a line EOF")),
        ("FROM a\nRUN <<-EOF\n EOF", (2, "the here-document does not end; add a line EOF")),
        ("# escape=x\nFROM a", (1, "x cannot be the escape character; use \\ or `")),
        ("# syntax=a\n# syntax=b\nFROM a", (2, "duplicate syntax directive; keep one")),
    ],
)
def test_faults(text: str, fault: tuple[int, str]) -> None:
    parsed = parse(text)
    assert parsed.faults == [fault]
    assert "FROM" in [each.keyword for each in parsed.instructions]
