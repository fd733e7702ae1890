"""The configuration of a project, `docker/dockerutils.cfg`: its keys in one table, and its values, typed and filled in.

`KEYS` defines the keys; the table in docs/configuration.md is checked against it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from dockerutils.core import shell_words
from dockerutils.core.errors import UserError
from dockerutils.core.suggestions import nearest
from dockerutils.docker import options, platforms, references
from dockerutils.project import ini
from dockerutils.project.ini import Value

FILES = ("docker/dockerutils.cfg", "docker/run.cfg")  # the second is the earlier name

INTERACTIVE_ADVICE = "write -it, -i or -d"
Fields = Mapping[str, Callable[[], str]]


class Key(NamedTuple):
    """A key of an image's section: the commands that read it, its type, its default and its meaning."""

    name: str
    read_by: str  # "all", "run", "build", "publish", "submit" or "build, publish"
    # "text", "word" (filled in), "list" (of words), "boolean", "options" (of docker), "command", "platforms", "tags",
    # "x or y"
    type: str
    default: str
    meaning: str

    @property
    def table(self) -> options.Table:
        """The options of the docker command that reads the key."""
        if self.name == "service":
            return options.SERVICE
        return options.BUILD if self.read_by == "build" else options.RUN


KEYS = (
    Key("name", "all", "text", "", "the image's name; for a synthetic image, the directory that it runs"),
    Key("tag", "all", "text", "", "the image's tag; default: that of the directory it names, else your login name"),
    Key("prefix", "all", "boolean", "True", "prefix the name with `<project>-`"),
    Key("platform", "all", "platforms", "", "such as `linux/amd64`; several, with commas, for publishing"),
    Key("environment", "run", "options", "", "environment variables: `-e VAR=value …`"),
    Key("env", "run", "text", "", "the section whose keys become environment variables"),
    Key("interactive", "run", "options", "", "`-it` (default on a terminal), `-i` (default elsewhere) or `-d`"),
    Key(
        "gpu",
        "run",
        "options",
        "",
        "options for GPUs; without the key, `-g` adds `--gpus all` or its equivalent",
    ),
    Key("network", "run", "word", "", "the network to join"),
    Key("volumes", "run", "options", "", "mounts: `-v …` and `--mount …`"),
    Key("ports", "run", "options", "", "published ports: `-p …`"),
    Key("args", "run", "options", "", "other docker run options"),
    Key("init", "run", "options", "--init", "options for the init process; empty for none"),
    Key("keep_container", "run", "boolean", "False", "keep the container and run it detached, like `-k`"),
    Key("service", "run", "options", "", "docker service create options, for `--replicas`"),
    Key("sync", "run", "boolean", "True", "sync the project up before a docked run that mounts it"),
    Key("cmd", "run", "command", "", "the container's command, verbatim"),
    Key("build_args", "build", "options", "", "docker build options"),
    Key("pull_FROM_on_force", "build", "boolean", "False", "pull the FROM images with `-f`"),
    Key(
        "pre_build_script",
        "build",
        "command",
        "",
        "command to run at the root before the build; if it fails, the build stops",
    ),
    Key("post_build_script", "build", "command", "", "command to run at the root after a successful build"),
    Key("image_repo", "publish", "text", "docker_hub", "`docker_hub`, `aws`, or a registry `host[:port]`"),
    Key("publication_tag", "publish", "tags", "", "full name and tag to push; separate several with white space"),
    Key(
        "manifest",
        "build, publish",
        "oci or docker",
        "oci",
        "`docker`: a Docker v2 manifest without attestations",
    ),
    Key("batch_queue", "submit", "word", "", "the job queue of AWS Batch"),
    Key("batch_cpus", "submit", "word", "1", "vCPUs of a job"),
    Key("batch_memory", "submit", "word", "2", "GB of memory of a job"),
    Key("batch_gpus", "submit", "word", "0", "GPUs of a job"),
    Key("batch_secrets", "submit", "list", "", "variables from AWS Secrets Manager: `NAME=ARN …`"),
    Key("batch_execution_role", "submit", "word", "", "role that starts a job: for Fargate and secrets"),
    Key("batch_job_role", "submit", "word", "", "role of the program in a job"),
)
_KEYS = {key.name: key for key in KEYS}
NUL = "NUL characters are not possible in a command line; remove them"
DOCKED = "_docked"  # <key>_docked replaces <key> while the shell is docked

# What to write instead of a word that is not an option.
_ADVICE = {
    "environment": ("write -e {}",),
    "interactive": (INTERACTIVE_ADVICE,),
    "volumes": ("write -v {}",),
    "ports": ("write -p {}",),
    "build_args": ("write the option before it, as in --build-arg NAME=value",),
}

# A home directory on the host's side of a mount, after `-v` or another spelling of it, or in the fields of `--mount`.
_HOME_OF_VOLUME = r"(-v=?|--volume=)?~(?=[/:])"
_HOME_OF_MOUNT = r"((?:^|[,=])(?:source|src)=)~(?=[/,]|$)"

_REPOS = ("docker_hub", "docker", "aws")

PUBLICATION_FIELDS = ("account", "region", "image", "tag")

_BOOLEANS = dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True) | dict.fromkeys(
    ("false", "f", "no", "n", "off", "0"), False
)


def is_false(value: Value | None) -> bool:
    """Return whether a value means no; an invalid one does not."""
    return value is not None and _BOOLEANS.get(value.text.lower()) is False


def is_known(key: str) -> bool:
    """Return whether a command reads this key of an image's section."""
    return key in _KEYS or key.removesuffix(DOCKED) in _KEYS


class Config:
    """The sections of the configuration file; each inherits from `[DEFAULT]`."""

    def __init__(self, file: ini.File) -> None:
        self.file = file

    @property
    def path(self) -> str:
        """The file, relative to the root."""
        return self.file.path

    def __contains__(self, section: str) -> bool:
        return section in self.file.sections

    def __iter__(self) -> Iterator[str]:
        return iter(self.file.sections)

    def section(self, name: str) -> dict[str, Value]:
        """Return the values of a section, with those of `[DEFAULT]`; UserError has its first fault."""
        for fault in self.faults(name):
            raise UserError(fault)
        return self.peek(name)

    def own(self, name: str) -> dict[str, Value]:
        """Return the values of a section without those of `[DEFAULT]`; UserError has its first fault."""
        self.section(name)
        return self.file.sections[name].values

    def peek(self, name: str) -> dict[str, Value]:
        """Return the values of a section, whatever its faults; those of `[DEFAULT]` if it does not exist."""
        own = self.file.sections.get(name)
        return {**self.file.default.values, **(own.values if own else {})}

    def faults(self, name: str) -> list[str]:
        """Return the faults that affect a section: those outside of sections, those of `[DEFAULT]` and its own."""
        own = self.file.sections.get(name)
        return [*self.file.faults, *self.file.default.faults, *(own.faults if own else [])]

    def unknown_keys(self, name: str) -> Iterator[str]:
        """Yield a warning for each key of an image's section that no command reads."""
        for key, value in self.peek(name).items():
            if not is_known(key):
                yield value.describe(f"unknown key; {_suggest(key)}")


class Settings:
    """The section of one image: typed, filled in, and with `<key>_docked` instead of `<key>` when docked."""

    def __init__(
        self, values: Mapping[str, Value], fields: Fields, environ: Mapping[str, str], *, docked: bool
    ) -> None:
        self._values = values
        self._fields = fields
        self._environ = environ
        self._docked = docked

    def value(self, key: str) -> Value | None:
        """Return the value of `key` in the file, with its place; None if it is absent."""
        assert key in _KEYS, key
        docked = self._values.get(key + DOCKED) if self._docked else None
        return docked if docked is not None else self._values.get(key)

    def text(self, key: str) -> str:
        """Return the value of `key` verbatim, or the default."""
        value = self.value(key)
        return _KEYS[key].default if value is None else value.text

    def boolean(self, key: str) -> bool:
        """Return the value of a yes-or-no key."""
        value = self.value(key)
        if value is None:
            return _BOOLEANS[_KEYS[key].default.lower()]
        try:
            return _BOOLEANS[value.text.lower()]
        except KeyError:
            raise value.error(f"{value.text!r} is neither true nor false; write True or False") from None

    def choice(self, key: str) -> str:
        """Return the value of a key that has a few possible values, or the default."""
        value = self.value(key)
        if value is None:
            return _KEYS[key].default
        if value.text not in _KEYS[key].type.split(" or "):
            raise value.error(f"{value.text!r} is not possible here; write {_KEYS[key].type}")
        return value.text

    def command(self, key: str) -> list[str]:
        """Return the words of a command: split as a shell splits them, not filled in."""
        value = self.value(key)
        if value is not None and "\0" in value.text:
            raise value.error(NUL)
        return [] if value is None else split(value)

    def without_shell(self, *keys: str) -> Iterator[str]:
        """Yield a warning for each of these commands that has an operator of a shell: it is passed as an argument."""
        for key in keys:
            value = self.value(key)
            if value is not None and (fault := shell_words.without_shell(value.text)):
                yield value.describe(fault)

    def read(self, key: Key) -> str | list[str]:
        """Return the value of `key` according to its type: words, or a text."""
        fields = {name: partial("{{{}}}".format, name) for name in PUBLICATION_FIELDS}
        readers: dict[str, Callable[[str], str | list[str]]] = {
            "boolean": lambda name: str(self.boolean(name)),
            "options": self.options,
            "command": self.command,
            "platforms": lambda name: ",".join(self.platforms(name)),
            "tags": lambda name: self.tags(name, fields),
            "list": lambda name: self.tags(name, {}),
            "word": self.word,
            "text": self.text,
        }
        return readers.get(key.type, self.choice)(key.name)

    def options(self, key: str, more: Fields | None = None) -> list[str]:
        """Return the words of docker options: split as a shell splits them, then filled in, `more` fields first."""
        value = self.value(key)
        if value is None:
            return shell_words.split(_KEYS[key].default)
        words = split(value)
        if key in ("volumes", "args") and "~" in value.text:
            words = list(_with_home(words))
        words = [self.fill_in(word, value, more) for word in words]
        if fault := options.fault(words, _KEYS[key].table, *_ADVICE.get(key, ())):
            raise value.error(fault)
        return words

    def word(self, key: str) -> str:
        """Return the value of `key`, filled in as one word, or the default."""
        value = self.value(key)
        return _KEYS[key].default if value is None else self.fill_in(value.text, value)

    def platforms(self, key: str) -> tuple[str, ...]:
        """Return the platforms that `key` lists, in docker's spelling."""
        value = self.value(key)
        if value is None:
            return ()
        try:
            return platforms.parse(self.fill_in(value.text, value))
        except ValueError as error:
            raise value.error(str(error)) from None

    def tags(self, key: str, fields: Fields) -> list[str]:
        """Return the names that `key` lists, each filled in, with `fields` in addition to the common ones.

        White space separates them. A double quote at either end of a name is dropped: existing files have stray ones.
        """
        value = self.value(key)
        if value is None:
            return []
        listed = (word.removeprefix('"').removesuffix('"') for word in value.text.split())
        return [self.fill_in(word, value, fields) for word in listed if word]

    def fill_in(self, word: str, value: Value, more: Fields | None = None) -> str:
        """Fill in one word of `value`, with `more` fields in addition to the common ones."""
        if "\0" in word:
            raise value.error(NUL)
        try:
            return shell_words.substitute(word, {**self._fields, **(more or {})}, self._environ)
        except ValueError as error:
            raise value.error(str(error)) from None


def read(root: str) -> Config:
    """Read the configuration of the project at `root`; without a file it has no sections."""
    for path in FILES:
        if os.path.lexists(os.path.join(root, path)):
            file = ini.read(os.path.join(root, path), shown_as=path)
            break
    else:
        file = ini.parse("", FILES[0])
    return Config(file)


def split(value: Value) -> list[str]:
    """Split a value into words as a shell does; UserError has its place."""
    try:
        return shell_words.split(value.text)
    except ValueError as error:
        raise value.error(str(error)) from None


def _with_home(words: list[str]) -> Iterator[str]:
    """Write `~` on the host's side of mounts as `{home}`: docker does not expand it."""
    before = ""
    for word in words:
        match = re.match(_HOME_OF_VOLUME, word)
        if match and (match[1] or before in ("-v", "--volume")):
            yield f"{match[1] or ''}{{home}}{word[match.end() :]}"
        elif before == "--mount" or word.startswith("--mount="):
            yield re.sub(_HOME_OF_MOUNT, r"\1{home}", word)
        else:
            yield word
        before = word


def fault_in_image_repo(value: Value) -> str:
    """Return what is wrong with a value of `image_repo`, an empty string if it names a registry."""
    if value.text in _REPOS or references.is_registry(value.text):
        return ""
    near = nearest(value.text.lower(), _REPOS)
    advice = f"did you mean {near}?" if near else "use docker_hub, aws or host[:port]"
    return value.describe(f"{value.text!r} is not a registry; {advice}")


def _suggest(key: str) -> str:
    base, docked = key.removesuffix(DOCKED), DOCKED if key.endswith(DOCKED) else ""
    near = nearest(base, _KEYS)
    return f"did you mean {near}{docked}?" if near else "it is ignored"
