"""The stages of a Dockerfile, the images it is built from, and the faults that docker would find during the build."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence

from dockerutils.core.errors import UserError, remedy_for_reading
from dockerutils.core.suggestions import nearest
from dockerutils.docker import options as docker_options
from dockerutils.docker import platforms
from dockerutils.docker.options import BUILD, fields
from dockerutils.project import dockerfile_parser
from dockerutils.project.dockerfile_parser import Instruction, Parsed
from dockerutils.project.dockerfile_words import expand

# Each instruction with the smallest number of arguments that docker accepts.
INSTRUCTIONS = {
    "ADD": 2, "ARG": 1, "CMD": 0, "COPY": 2, "ENTRYPOINT": 0, "ENV": 1, "EXPOSE": 1, "FROM": 1, "HEALTHCHECK": 1,
    "LABEL": 1, "MAINTAINER": 1, "ONBUILD": 1, "RUN": 0, "SHELL": 1, "STOPSIGNAL": 1, "USER": 1, "VOLUME": 1,
    "WORKDIR": 1,
}  # fmt: skip

# Options that the classic builder refuses.
_OF_BUILDKIT = {
    "ADD": ("checksum", "exclude", "keep-git-dir", "link"),
    "COPY": ("exclude", "link", "parents"),
    "RUN": ("device", "mount", "network", "security"),
}

_STAGE = re.compile(r"[a-z][a-z0-9_.-]*")


class Dockerfile:
    """The content of a Dockerfile."""

    def __init__(self, parsed: Parsed) -> None:
        self.instructions: Sequence[Instruction] = parsed.instructions
        self._escape = parsed.escape
        self._faults = parsed.faults

    @property
    def stages(self) -> list[str]:
        """The names of stages (`FROM image AS name`), as written."""
        return [stage for stage in map(_stage, self._all("FROM")) if stage]

    @property
    def builder(self) -> str | None:
        """The stage with the name builder in any case, as written, or None."""
        return next((stage for stage in self.stages if stage.lower() == "builder"), None)

    @property
    def arguments(self) -> list[tuple[int, str]]:
        """The names that ARG lines declare, with their lines."""
        return [
            (instruction.line, declaration.partition("=")[0])
            for instruction in self._all("ARG")
            for declaration in dockerfile_parser.split_words(instruction.rest, self._escape)
        ]

    @property
    def secrets(self) -> set[str]:
        """The ids of the secrets that RUN instructions mount."""
        mounts = (fields(mount) for instruction in self._all("RUN") for mount in instruction.flag("mount"))
        return {
            mount.get("id") or os.path.basename(mount.get("target") or mount.get("dst") or mount.get("destination", ""))
            for mount in mounts
            if mount.get("type") == "secret"
        }

    @property
    def needs_buildkit(self) -> str:
        """The first option that only BuildKit has, with its line, such as `12: RUN --mount`; "" if there is none."""
        found = (
            f"{instruction.line}: {instruction.keyword} --{name}"
            for instruction in self.instructions
            for name in _OF_BUILDKIT.get(instruction.keyword, ())
            if instruction.flag(name)
        )
        return next(found, "")

    def bases(self, arguments: Mapping[str, str]) -> list[str]:
        """Return the images that the Dockerfile is built from, in order.

        `arguments` are the values of build arguments. Stages and `scratch` are not images. An image whose name docker
        cannot determine is left out.
        """
        images, _ = self._images(arguments)
        stages = {"scratch", *(stage.lower() for stage in self.stages)}
        earlier = {"scratch"}
        found: list[str] = []
        for instruction in self.instructions:
            if instruction.keyword == "FROM":
                found += [images[instruction]] if images[instruction].lower() not in earlier else []
                earlier.add((_stage(instruction) or "scratch").lower())
            else:
                found += [name for name in _sources(instruction) if name.lower() not in stages and not name.isdecimal()]
        return list(dict.fromkeys(filter(None, found)))

    def faults(self, arguments: Mapping[str, str] | None = None) -> Iterator[tuple[int, str]]:
        """Yield the mistakes that make docker stop the build, with their lines.

        `arguments` are the values of build arguments. Without them, variables in FROM lines are not checked.
        """
        yield from self._faults
        for instruction in self.instructions:
            if fault := _fault(instruction, self._escape):
                yield instruction.line, fault
        first = next((one for one in self.instructions if one.keyword != "ARG"), None)
        if first is None:
            yield 1, "there is no FROM; start with FROM and the base image"
        elif first.keyword != "FROM" and first.keyword in INSTRUCTIONS:
            yield first.line, f"{first.keyword} comes before FROM; start with FROM and the base image"
        if arguments is not None:
            yield from self._images(arguments)[1]

    def _all(self, keyword: str) -> Iterator[Instruction]:
        return (instruction for instruction in self.instructions if instruction.keyword == keyword)

    def _declarations(self) -> Iterator[tuple[int, str]]:
        """Yield what ARG lines before the first FROM declare, `name` or `name=default`, with the line."""
        for instruction in self.instructions:
            if instruction.keyword == "FROM":
                return
            if instruction.keyword == "ARG":
                for declaration in dockerfile_parser.split_words(instruction.rest, self._escape):
                    yield instruction.line, declaration

    def _variables(self, arguments: Mapping[str, str]) -> tuple[dict[str, str], list[tuple[int, str]]]:
        """Return the variables that FROM lines can use, and the faults in their defaults."""
        stages = self.stages
        variables = {**_platform_variables("BUILD"), **_platform_variables("TARGET")}
        variables["TARGETSTAGE"] = stages[-1] if stages else "default"
        variables |= {name: value for name, value in arguments.items() if name in variables}
        faults = []
        for line, declaration in self._declarations():
            name, equals, default = declaration.partition("=")
            try:
                if name in arguments:
                    variables[name] = arguments[name]
                elif equals:
                    variables[name] = expand(default, variables, self._escape)
            except ValueError as error:
                faults.append((line, f"docker rejects {declaration}: {error}"))
        return variables, faults

    def _images(self, arguments: Mapping[str, str]) -> tuple[dict[Instruction, str], list[tuple[int, str]]]:
        """Return the image or stage of each FROM line, empty if docker rejects it, and the faults in the variables."""
        variables, faults = self._variables(arguments)
        images = {}
        for instruction in self._all("FROM"):
            word = (*instruction.words, "")[0]
            try:
                images[instruction] = image = expand(word, variables, self._escape)
            except ValueError as error:
                images[instruction] = ""
                faults.append((instruction.line, f"docker rejects {word}: {error}"))
            else:
                if word and not image:
                    advice = "set a default with ARG, or a value in build_args"
                    faults.append((instruction.line, f"FROM {word} is empty; {advice}"))
        return images, faults


def read(root: str, path: str) -> Dockerfile:
    """Read the Dockerfile at `path` below `root`; UserError names that path if it cannot be read."""
    try:
        # Only \n ends a line of a Dockerfile: nothing is to be translated.
        with open(os.path.join(root, path), encoding="utf-8", errors="replace", newline="\n") as stream:
            return parse(stream.read())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; create it, or name another image") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a directory; replace it with a Dockerfile") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; {remedy_for_reading(error)}") from error


def parse(text: str) -> Dockerfile:
    """Parse the text of a Dockerfile."""
    return Dockerfile(dockerfile_parser.parse(text))


def build_arguments(options: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the values that options of docker build give to build arguments, by name.

    `--build-arg NAME` takes the value from the environment, and has no effect if it is not set there. `--platform`
    sets TARGETPLATFORM and its parts.
    """
    split = (pair.partition("=") for pair in docker_options.values(options, BUILD, "build-arg"))
    given = {name: value if equals else environ[name] for name, equals, value in split if equals or name in environ}
    wanted = docker_options.values(options, BUILD, "platform")
    return {**(_platform_variables("TARGET", wanted[-1].partition(",")[0]) if wanted else {}), **given}


def _platform_variables(prefix: str, platform: str = "") -> dict[str, str]:
    """Return the variables that docker predefines for a platform, `os/architecture/variant`; default: this machine's.

    https://docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope
    """
    platform = platform or platforms.normal(f"linux/{os.uname().machine}")
    system, architecture, variant = (*platform.split("/"), "", "")[:3]
    parts = {"PLATFORM": platform, "OS": system, "OSVERSION": "", "ARCH": architecture, "VARIANT": variant}
    return {prefix + name: value for name, value in parts.items()}


def _stage(instruction: Instruction) -> str:
    """Return the name in `FROM image AS name`, or an empty string."""
    _, keyword, name = (*instruction.words, "", "", "")[:3]
    return name if keyword.lower() == "as" else ""


def _sources(instruction: Instruction) -> Iterator[str]:
    """Yield the stages and images that an instruction takes files from."""
    if instruction.keyword == "COPY":
        yield from instruction.flag("from")
    elif instruction.keyword == "RUN":
        yield from (mount["from"] for mount in map(fields, instruction.flag("mount")) if "from" in mount)


def _fault(instruction: Instruction, escape: str) -> str:
    """Return what is wrong with an instruction, whatever variables hold, or an empty string."""
    keyword, words = instruction.keyword, instruction.words
    fault = ""
    if keyword not in INSTRUCTIONS:
        near = nearest(keyword, INSTRUCTIONS)
        advice = f"did you mean {near}?" if near else "see the Dockerfile reference"
        fault = f"{keyword} is not an instruction; {advice}"
    elif len(words) < INSTRUCTIONS[keyword]:
        is_copy = INSTRUCTIONS[keyword] > 1
        fault = f"{keyword} needs {'a source and a destination; add them' if is_copy else 'an argument; add it'}"
    elif keyword == "FROM":
        fault = _fault_in_from(instruction)
    elif keyword == "SHELL" and not instruction.array:
        fault = 'SHELL needs a JSON array; write it as ["/bin/bash", "-c"]'
    elif keyword in ("ENV", "LABEL"):
        fault = _fault_in_pairs(instruction, escape)
    elif keyword == "COPY" and any(_is_variable(source, escape) for source in _sources(instruction)):
        fault = "docker does not expand variables in --from; add FROM with the variable AS name, and copy from that"
    return fault


def _fault_in_from(instruction: Instruction) -> str:
    stage = _stage(instruction)
    if len(instruction.words) != (3 if stage else 1):
        return "FROM has too many arguments; write FROM image, or FROM image AS name"
    if stage and not _STAGE.fullmatch(stage.lower()):
        return f"{stage!r} is not a valid name for a stage; use letters, digits, '_', '.' and '-', a letter first"
    return ""


def _fault_in_pairs(instruction: Instruction, escape: str) -> str:
    pairs = dockerfile_parser.split_words(instruction.rest, escape)
    wrong = next((pair for pair in pairs if "=" not in pair), None)
    # Without an equals sign in the first word, it is the old form `ENV name value`.
    if wrong is None or ("=" not in pairs[0] and len(instruction.rest.split()) > 1):
        return ""
    return f"{instruction.keyword} {wrong} has no value; write name=value, with quotes around white space"


def _is_variable(text: str, escape: str) -> bool:
    try:
        return expand(text, {}, escape) != text
    except ValueError:
        return True
