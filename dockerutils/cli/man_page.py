"""Man pages made from the parsers, in the macros of man(7): https://man7.org/linux/man-pages/man7/groff_man.7.html.

setup.py calls this when it builds a wheel; no command does.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping

from dockerutils.cli.parser import COMMON, Parser

# What roff replaces by a typographic character, which could not be pasted: https://man7.org/linux/man-pages/man7/groff_char.7.html
_ESCAPES = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
_STATUSES = """\
0 after success; that of docker, ssh or a script if this failed; 2 for bad usage or bad configuration, before anything
ran; 1 for any other failure; 130 after Ctrl-C."""


def pages(parsers: Mapping[str, Parser], version: str, date: str) -> dict[str, str]:
    """Return the man pages of commands by the names of their files; `date` is that of the version."""
    return {f"{name}.1": _page(parser, parsers, f"dockerutils {version}", date) for name, parser in parsers.items()}


def _page(parser: Parser, parsers: Mapping[str, Parser], source: str, date: str) -> str:
    name = parser.prog
    what, _, more = (parser.description or "").strip().partition("\n\n")
    others = [f"{_bold(each)}(1)" for each in parsers if each != name]
    lines = [
        f'.TH {_text(name.upper())} 1 "{date}" "{_text(source)}" "User Commands"',
        ".nh",  # neither hyphens nor wide spaces: words can be pasted
        ".ad l",
        ".SH NAME",
        f"{_text(name)} \\- {_text(what.rstrip('.'))}",
        ".SH SYNOPSIS",
        _usage(parser),
        *([".SH DESCRIPTION", *_paragraphs(more)] if more else []),
        *_body(parser, ".SH"),
    ]
    for each, action in parser.actions.items():
        description = (action.description or "").strip()
        lines += [f".SH {_text(f'{name} {each}').upper()}", *_paragraphs(description), ".P", _usage(action)]
        lines += _body(action, ".SS")
    lines += [".SH EXIT STATUS", *_paragraphs(_STATUSES), ".SH SEE ALSO", ",\n".join(others)]
    return re.sub(r"(?m)^(\.S[HS] .*)\n\.P$", r"\1", "\n".join(lines)) + "\n"  # a paragraph begins there anyway


def _usage(parser: argparse.ArgumentParser) -> str:
    command, _, rest = " ".join(parser.format_usage().split()).removeprefix("usage: ").partition(" [options]")
    return f"{_bold(command)} {_text(f'[options]{rest}')}"


def _body(parser: argparse.ArgumentParser, heading: str) -> Iterator[str]:
    """Yield the arguments, the options and the parts of the epilog, each below a heading."""
    formatter = parser._get_formatter()  # noqa: SLF001 - argparse has no public access
    for group in sorted(parser._action_groups, key=lambda group: group.title == COMMON):  # noqa: SLF001
        listed = [action for action in group._group_actions if not isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001
        if listed:
            yield f"{heading} {_text(group.title or '').upper()}"
            yield from _paragraphs(group.description or "")
        for action in listed:
            yield ".TP"
            yield _invocation(action)
            yield _text(formatter._expand_help(action))  # noqa: SLF001
    for part in re.split(r"\n\n(?=\w+:\n)", parser.epilog or ""):
        title, _, block = part.partition(":\n")
        yield f"{heading} {_text(title).upper()}"
        rows, _, remarks = block.partition("\n\n")
        for row in re.split(r"\n(?=  \S)", rows):
            left, *right = re.split(r"\s{2,}", row.strip())
            yield from (".TP", _bold(left), _text(" ".join(right)))
        yield from _paragraphs(remarks)


def _invocation(action: argparse.Action) -> str:
    if not action.option_strings:
        return _italic(str(action.metavar))
    flags = ", ".join(map(_bold, action.option_strings))
    return flags if action.nargs == 0 else f"{flags} {_italic(str(action.metavar))}"


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.strip().split("\n\n"):
        if paragraph:
            yield from (".P", _text(" ".join(paragraph.split())))


def _bold(text: str) -> str:
    return f"\\fB{_text(text)}\\fR"


def _italic(text: str) -> str:
    return f"\\fI{_text(text)}\\fR"


def _text(text: str) -> str:
    """Return text for any place; at the start of a line, a period would make it a request."""
    escaped = "".join(_ESCAPES.get(each, each) for each in text)
    return f"\\&{escaped}" if escaped.startswith(".") else escaped
