"""What a Dockerfile says of the images it is built from and of its stages.

Format: https://docs.docker.com/reference/dockerfile/. Only what the order of builds and `check` need is read:
instructions, the stages and their names, and the ARGs that FROM lines may use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from dockerutils.core.errors import UserError

INSTRUCTIONS = frozenset(
    "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER "
    "VOLUME WORKDIR".split()
)

_DIRECTIVE = re.compile(r"#\s*(\w+)\s*=\s*(\S+)\s*$")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)([A-Za-z_]\w*)\1")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?([-+])([^}]*))?\})")
_FROM_OPTION = re.compile(r"--from=(\S+)")
_MOUNT_FROM = re.compile(r"--mount=\S*?\bfrom=([^,\s]+)")


class Instruction(NamedTuple):
    """An instruction: the line it begins at, counted from 1, its keyword in upper case, and the rest, joined."""

    line: int
    keyword: str
    rest: str


class Dockerfile:
    """The instructions of a Dockerfile."""

    def __init__(self, instructions: Sequence[Instruction]) -> None:
        self.instructions = instructions

    @property
    def stages(self) -> list[str]:
        """The names that stages were given with AS, as written."""
        return [words[-1] for words in map(_from_words, self._all("FROM")) if "as" in map(str.lower, words)]

    @property
    def builder(self) -> str | None:
        """The stage named builder, in any case, as the Dockerfile writes it; None when there is none."""
        return next((stage for stage in self.stages if stage.lower() == "builder"), None)

    def bases(self, arguments: Mapping[str, str]) -> list[str]:
        """Return the images that it is built from, in order, with `arguments` in the place of the ARGs' defaults.

        Stages of its own and `scratch` are not images.
        """
        own = {"scratch", *(stage.lower() for stage in self.stages)}
        declared: dict[str, str] = {}
        found: list[str] = []
        for instruction in self.instructions:
            if instruction.keyword == "ARG" and not found:
                declared.update(_defaults(instruction.rest, arguments))
            elif instruction.keyword == "FROM":
                found += _from_words(instruction)[:1]
            elif instruction.keyword == "COPY":
                found += _FROM_OPTION.findall(instruction.rest)
            elif instruction.keyword == "RUN":
                found += _MOUNT_FROM.findall(instruction.rest)
        images = (_expand(reference, declared) for reference in found)
        return list(dict.fromkeys(name for name in images if name.lower() not in own and not name.isdigit()))

    def faults(self) -> Iterator[tuple[int, str]]:
        """Yield what is wrong that docker would only tell during a build, with the line."""
        for instruction in self.instructions:
            if instruction.keyword not in INSTRUCTIONS:
                import difflib

                near = difflib.get_close_matches(instruction.keyword, INSTRUCTIONS, n=1)
                advice = f"did you mean {near[0]}?" if near else "see the Dockerfile reference"
                yield instruction.line, f"{instruction.keyword} is no instruction; {advice}"
            elif not instruction.rest:
                yield instruction.line, f"{instruction.keyword} has no arguments; add them"
        first = next((one for one in self.instructions if one.keyword != "ARG"), None)
        if first is None:
            yield 1, "there is no FROM; begin with the image that it is built from"
        elif first.keyword != "FROM" and first.keyword in INSTRUCTIONS:
            yield first.line, f"{first.keyword} stands before FROM; begin with the image that it is built from"

    def _all(self, keyword: str) -> Iterator[Instruction]:
        return (instruction for instruction in self.instructions if instruction.keyword == keyword)


def read(path: str, shown_as: str) -> Dockerfile:
    """Read the Dockerfile at `path`; messages call it `shown_as`."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as stream:
            return parse(stream.read())
    except FileNotFoundError:
        raise UserError(f"{shown_as} does not exist; write it, or name another image") from None
    except IsADirectoryError:
        raise UserError(f"{shown_as} is a directory; it should be a file of build instructions") from None
    except OSError as error:
        raise UserError(f"{shown_as} cannot be read: {error.strerror}; mend its permissions") from error


def parse(text: str) -> Dockerfile:
    """Parse the text of a Dockerfile."""
    lines = text.splitlines()
    return Dockerfile(list(_instructions(lines, _escape(lines))))


def build_arguments(options: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the values that `--build-arg` options of docker build give, by name.

    One without a value takes that of the environment, and does not count when that has none.
    """
    pairs = [following for option, following in pairwise(options) if option == "--build-arg"]
    pairs += [option.removeprefix("--build-arg=") for option in options if option.startswith("--build-arg=")]
    split = (pair.partition("=") for pair in pairs)
    return {name: value if equals else environ[name] for name, equals, value in split if equals or name in environ}


def _escape(lines: Iterable[str]) -> str:
    """Return the character that continues a line: a directive at the top may choose the backquote."""
    for line in lines:
        directive = _DIRECTIVE.match(line.strip())
        if directive is None:
            break
        if directive[1].lower() == "escape":
            return directive[2]
    return "\\"


def _instructions(lines: Sequence[str], escape: str) -> Iterator[Instruction]:
    numbered = iter(enumerate(lines, start=1))
    stripped = (line.strip() for _, line in numbered)
    for number, line in numbered:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        while text.endswith(escape):
            text = text[:-1]
            # Comments and empty lines inside an instruction do not end it.
            following = next((each for each in stripped if each and not each.startswith("#")), "")
            text += following
        keyword, _, rest = text.partition(" ") if " " in text else text.partition("\t")
        keyword = keyword.upper()
        yield Instruction(number, keyword, rest.strip())
        if keyword in ("RUN", "COPY", "ADD"):
            for _, delimiter in _HEREDOC.findall(rest):
                next((each for each in stripped if each == delimiter), None)


def _from_words(instruction: Instruction) -> list[str]:
    """Return the words of a FROM line without its options: image, or image AS name."""
    return [word for word in instruction.rest.split() if not word.startswith("--")]


def _defaults(rest: str, arguments: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for declaration in rest.split():
        name, _, default = declaration.partition("=")
        yield name, arguments.get(name, default.strip("\"'"))


def _expand(text: str, variables: Mapping[str, str]) -> str:
    """Expand the forms of variables that a FROM line may hold: $A, ${A}, ${A:-b}, ${A:+b}."""

    def value(match: re.Match[str]) -> str:
        current = variables.get(match[1] or match[2], "")
        if match[3] == "-":
            return current or match[4]
        if match[3] == "+":
            return match[4] if current else ""
        return current

    return _VARIABLE.sub(value, text)
