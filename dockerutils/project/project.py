"""A project: its root, the images that it defines, and what they are called."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from dockerutils.core import shell_words
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.docker import engine, references, version_tags
from dockerutils.project import config
from dockerutils.project.config import Config, Fields, Settings
from dockerutils.project.ini import Value

DIRECTORY, SYNTHETIC, CONFIGURED = "directory", "synthetic", "configuration-only"

LATEST = "{latest}"  # in a tag: the newest version that the engine has

_RUN_SECTIONS = ("run_image", "run-image")


class NoVersion(DockerutilsError):
    """The newest version of an image was asked for, and the engine has none."""


class Image(NamedTuple):
    """An image of a project: the name that commands take, its kind, and the reference that docker knows it by.

    `directory` is the sub-directory of `docker/` that builds it, None for a configuration-only image.
    """

    name: str
    kind: str
    directory: str | None
    repository: str
    tag: str

    @property
    def reference(self) -> str:
        """The image's name and tag, as docker takes them."""
        return f"{self.repository}:{self.tag}"

    @property
    def dockerfile(self) -> str:
        """The path of its Dockerfile, from the root."""
        return f"docker/{self.directory}/Dockerfile"

    @property
    def builder(self) -> str:
        """The reference that its builder stage is tagged with."""
        return f"{self.repository}-builder:{self.tag}"


class Project:
    """The project that `workdir` belongs to. Nothing of its configuration is judged before it is asked for."""

    def __init__(self, root: str, workdir: str, environ: Mapping[str, str]) -> None:
        self.root = root
        self.workdir = workdir
        self.environ = environ
        self.name = references.component(os.path.basename(root))
        self.config: Config = config.read(root)
        self.now = time.gmtime()
        self._computed: dict[str, str] = {}

    @property
    def user(self) -> str:
        """The login name, valid as a tag."""
        return references.tag(login_name(self.environ))

    @property
    def docked(self) -> bool:
        """Whether the shell is docked: its docker commands go to a remote host."""
        return bool(self.environ.get("DOCK_MONIKER"))

    @property
    def fields(self) -> Fields:
        """What `{name}` stands for in docker options."""
        return {
            "project_root": lambda: self.root,
            "root": lambda: self.root,
            "workdir": lambda: self.workdir,
            "project": lambda: self.name,
            "user": lambda: self.user,
            "home": lambda: os.path.expanduser("~"),
            "date": lambda: version_tags.make(version_tags.DATE, self.now),
            "datetime": lambda: version_tags.make(version_tags.DATETIME, self.now),
        }

    def directories(self) -> list[str]:
        """Return the sub-directories of `docker/` with a Dockerfile, in alphabetical order."""
        return sorted(
            entry.name
            for entry in _scan(os.path.join(self.root, "docker"))
            if os.path.isfile(os.path.join(entry.path, "Dockerfile"))
        )

    def synthetic(self) -> dict[str, Value]:
        """Return the names that `synthetic_images` lists, each with the value that lists it."""
        names: dict[str, Value] = {}
        for section in _RUN_SECTIONS:
            value = self.config.section(section).get("synthetic_images") if section in self.config else None
            if value:
                names.update(dict.fromkeys(filter(None, re.split(r"[,\s]+", value.text)), value))
        return names

    def names(self) -> list[str]:
        """Return the name of every image: those with a Dockerfile, the synthetic and the configuration-only ones."""
        configured = (section for section in self.config if self._is_configured(section))
        return list(dict.fromkeys([*self.directories(), *self.synthetic(), *configured]))

    def images(self) -> list[Image]:
        """Return every image of the project; one whose newest version does not exist has LATEST for a tag."""
        return [self._listed(name) for name in self.names()]

    def repository(self, directory: str) -> str:
        """Return the name, without a tag, of the image that a sub-directory of `docker/` builds."""
        settings = self.settings(directory)
        value = settings.value("name")
        name = references.component(directory) if value is None else value.text
        repository = f"{self.name}-{name}" if settings.boolean("prefix") else name
        if value and (fault := references.fault_in_repository(repository)):
            raise value.error(fault)
        return repository

    def image(self, name: str, tag: str | None = None) -> Image:
        """Return the image called `name`; UserError, with the names there are, when the project has none such.

        `tag`, when given, takes the place of the one that is configured, which is then not found out.
        """
        if name in self.directories():
            repository = self.repository(name)
            return Image(name, DIRECTORY, name, repository, tag or self._tag(self.settings(name), repository))
        if self._is_configured(name):
            return self._configured_image(name, tag)
        if name in (synthetic := self.synthetic()):
            return self._synthetic_image(name, synthetic[name], tag)
        if os.path.isdir(os.path.join(self.root, "docker", name)):
            raise UserError(f"docker/{name}/Dockerfile does not exist; write it, or name another image")
        known = ", ".join(self.names()) or "none"
        raise UserError(f"{name!r} is no image of this project; it has: {known}")

    def build_command(self, image: Image) -> str:
        """Return the build-image command line that makes an image of a directory, with its name and its tag."""
        assert image.directory is not None
        words = ["build-image", image.directory]
        if image.repository != self.repository(image.directory):
            words += ["-i", image.repository]
        if image.tag != self._listed(image.directory).tag:
            words += ["-t", image.tag]
        return shell_words.render(words)

    def _listed(self, name: str) -> Image:
        try:
            return self.image(name)
        except NoVersion:
            return self.image(name, LATEST)

    def settings(self, name: str) -> Settings:
        """Return the settings of the image called `name`."""
        return self.settings_of(self.config.section(name), docked=self.docked)

    def settings_of(self, values: Mapping[str, Value], *, docked: bool) -> Settings:
        """Return the settings that the values of a section make."""
        return Settings(values, self.fields, self.environ, docked=docked)

    def variables(self, section: Value) -> dict[str, str]:
        """Return the environment variables of the section that an `env` key names, filled in."""
        if section.text not in self.config:
            raise section.error(f"there is no section [{section.text}]; add it, or correct the name")
        settings = self.settings(section.text)
        values = self.config.own(section.text)
        for key, value in values.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
                raise value.error("is no name of an environment variable; use letters, digits and underscores")
        return {key: settings.fill_in(value.text, value) for key, value in values.items()}

    def _is_configured(self, section: str) -> bool:
        """Tell whether a section defines a configuration-only image: it has a name, to be taken as it stands.

        Sections of other tools may have keys of the same names, with values that mean nothing here. A synthetic image
        may have `prefix=False` from `[DEFAULT]`: it is that of its directory.
        """
        directories = self.directories()
        if section not in self.config or section in directories:
            return False
        values = self.config.peek(section)
        if "name" not in values or not config.is_false(values.get("prefix")):
            return False
        return values["name"].text not in directories or section not in self.synthetic()

    def _synthetic_image(self, name: str, listed: Value, tag: str | None) -> Image:
        settings = self.settings(name)
        target = settings.value("name")
        if target is None:
            raise listed.error(f"[{name}] has no name; add name = and one of: {', '.join(self.directories())}")
        if target.text not in self.directories():
            raise target.error(
                f"docker/{target.text}/Dockerfile does not exist; name one of: {', '.join(self.directories())}"
            )
        repository = self.repository(target.text)
        tagged = settings if settings.value("tag") else self.settings(target.text)
        return Image(name, SYNTHETIC, target.text, repository, tag or self._tag(tagged, repository))

    def _configured_image(self, name: str, tag: str | None) -> Image:
        settings = self.settings(name)
        value = settings.value("name")
        assert value is not None
        repository, own = references.split(value.text)
        if fault := references.fault(value.text):
            raise value.error(fault)
        return Image(name, CONFIGURED, None, repository, tag or own or self._tag(settings, repository))

    def _tag(self, settings: Settings, repository: str) -> str:
        value = settings.value("tag")
        if value is None:
            return self.user
        computed = {"version": lambda: self._version(value), "latest": lambda: self._latest(value, repository)}
        tag = settings.fill_in(value.text, value, computed)
        if fault := references.fault_in_tag(tag):
            raise value.error(fault)
        return tag

    def _version(self, value: Value) -> str:
        """Return the version that versioneer computes, spelt as a tag can be: `_` in the place of `+`."""
        from dockerutils.project import version_file

        if not version_file.applies(self.root):
            raise value.error("{version} is versioneer's; add its section to setup.cfg or pyproject.toml")
        return self._once("version", lambda: str(version_file.compute(self.root)["version"]).replace("+", "_"))

    def _latest(self, value: Value, repository: str) -> str:
        """Return the newest version of a repository that the engine has."""
        newest = self._once(repository, lambda: next(iter(version_tags.newest_first(engine.tags(repository))), ""))
        if not newest:
            raise NoVersion(
                value.describe(f"{LATEST} finds no version of {repository}; build one, with tag = {{datetime}} or -t")
            )
        return newest

    def _once(self, name: str, compute: Callable[[], str]) -> str:
        """Compute what takes a child to find out the first time that it is asked for, and remember it."""
        if name not in self._computed:
            self._computed[name] = compute()
        return self._computed[name]


def find(workdir: str, environ: Mapping[str, str]) -> Project:
    """Return the project of `workdir`: that of the nearest directory, itself first, whose `docker/` is one of ours."""
    directory = workdir
    while not _is_root(directory):
        parent = os.path.dirname(directory)
        if parent == directory:
            raise UserError(
                f"no docker/ directory with a Dockerfile in a sub-directory was found in {workdir} or above it; "
                "make docker/<name>/Dockerfile at the root of the project, or run dockerutils init there"
            )
        directory = parent
    return Project(directory, workdir, environ)


def renamed(image: Image, repository: str | None, tag: str | None) -> Image:
    """Return `image` under another name or tag, as -i and -t ask for it."""
    if repository is not None and (fault := references.fault_in_repository(repository)):
        raise UserError(f"-i: {fault}")
    if tag is not None and (fault := references.fault_in_tag(tag)):
        raise UserError(f"-t: {fault}")
    return image._replace(repository=repository or image.repository, tag=tag or image.tag)


def login_name(environ: Mapping[str, str]) -> str:
    """Return the login name of the user: by the environment, as getpass has it, else by the system's records."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if name := environ.get(variable):
            return name
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise UserError("this user has no login name; set LOGNAME") from None


def _is_root(directory: str) -> bool:
    docker = os.path.join(directory, "docker")
    return any(os.path.lexists(os.path.join(directory, path)) for path in config.FILES) or any(
        os.path.isfile(os.path.join(entry.path, "Dockerfile")) for entry in _scan(docker)
    )


def _scan(directory: str) -> Iterator[os.DirEntry[str]]:
    """Yield the sub-directories of a directory; none when it cannot be read."""
    try:
        with os.scandir(directory) as entries:
            yield from (entry for entry in entries if entry.is_dir())
    except OSError:
        return
