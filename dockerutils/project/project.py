"""A project: its root, its images, and their names and tags."""

from __future__ import annotations

import os
import pwd
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dockerutils.core import shell_words
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.docker import engine, options, platforms, references, version_tags
from dockerutils.docker.options import BUILD
from dockerutils.project import config
from dockerutils.project.config import Config, Fields, Settings
from dockerutils.project.ini import Value

DIRECTORY, SYNTHETIC, CONFIGURED = "directory", "synthetic", "configuration-only"

LATEST = "{latest}"  # in a tag: the newest version on the engine

RUN_SECTIONS = ("run_image", "run-image")


class NoVersion(DockerutilsError):
    """The engine has no version of an image whose newest version is wanted."""


class Image(NamedTuple):
    """An image of a project: its name in commands, its kind, and its reference for docker.

    `directory` is the sub-directory of `docker/` that builds it, None for a configuration-only image.
    """

    name: str
    kind: str
    directory: str | None
    repository: str
    tag: str

    @property
    def reference(self) -> str:
        """The image's name and tag, in docker's notation."""
        return f"{self.repository}:{self.tag}"

    @property
    def dockerfile(self) -> str:
        """The path of its Dockerfile, relative to the root."""
        return f"docker/{self.directory}/Dockerfile"

    @property
    def builder(self) -> str:
        """The reference of its builder stage."""
        return f"{self.repository}-builder:{self.tag}"


class Project:
    """The project that `workdir` belongs to. Its configuration is checked only as far as it is used."""

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
        """The values of `{name}` in docker options."""
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
        """Return the names in `synthetic_images`, each with the value that lists it."""
        names: dict[str, Value] = {}
        for section in RUN_SECTIONS:
            value = self.config.section(section).get("synthetic_images") if section in self.config else None
            if value:
                names.update(dict.fromkeys(filter(None, re.split(r"[,\s]+", value.text)), value))
        return names

    def names(self) -> list[str]:
        """Return the name of every image: those with a Dockerfile, the synthetic and the configuration-only ones."""
        configured = (section for section in self.config if self._is_configured(section))
        return list(dict.fromkeys([*self.directories(), *self.synthetic(), *configured]))

    def images(self) -> list[Image]:
        """Return every image of the project; the tag is LATEST if there is no version of it."""
        return [self._listed(name) for name in self.names()]

    def repository(self, directory: str) -> str:
        """Return the image name, without a tag, of a sub-directory of `docker/`."""
        settings = self.settings(directory)
        value = settings.value("name")
        name = references.component(directory) if value is None else value.text
        repository = f"{self.name}-{name}" if settings.boolean("prefix") else name
        if value and (fault := references.fault_in_repository(repository)):
            raise value.error(fault)
        return repository

    def image(self, name: str, tag: str | None = None) -> Image:
        """Return the image `name`; UserError has the known names if there is no such image.

        `tag` replaces the configured tag, which is then not computed.
        """
        if name in self.directories():
            repository = self.repository(name)
            return Image(name, DIRECTORY, name, repository, tag or self._tag(self.settings(name), repository))
        if self._is_configured(name):
            return self._configured_image(name, tag)
        if name in (synthetic := self.synthetic()):
            return self._synthetic_image(name, synthetic[name], tag)
        if os.path.basename(name) == name not in ("", ".", "..") and os.path.isdir(f"{self.root}/docker/{name}"):
            raise UserError(f"docker/{name}/Dockerfile does not exist; create it, or name another image")
        known = ", ".join(self.names()) or "none"
        raise UserError(f"{name!r} is not an image of this project; its images: {known}")

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

    def platforms(self, image: Image, given: str | None = None) -> tuple[str, ...]:
        """Return the platforms that an image is for: those `given` by --platform, else those of the key `platform`.

        A synthetic image without that key has the platforms of its directory. An empty tuple leaves it to docker.
        """
        if given is not None:
            try:
                return platforms.parse(given)
            except ValueError as error:
                raise UserError(f"--platform: {error}") from None
        return self._settings_with("platform", image).platforms("platform")

    def has_docker_manifest(self, image: Image, platforms: Sequence[str]) -> bool:
        """Return whether an image for `platforms` gets a plain Docker v2 manifest; UserError if it cannot be one."""
        settings = self._settings_with("manifest", image)
        if settings.choice("manifest") != "docker":
            return False
        if len(platforms) > 1 and (value := settings.value("manifest")):
            raise value.error(f"docker is for one platform, not for {' and '.join(platforms)}; name one")
        return True

    def _settings_with(self, key: str, image: Image) -> Settings:
        """Return the settings of an image; of a synthetic image without this key, those of its directory."""
        settings = self.settings(image.name)
        if image.kind == SYNTHETIC and image.directory and settings.value(key) is None:
            return self.settings(image.directory)
        return settings

    def build_options(self, image: Image, given: Sequence[str] = ()) -> list[str]:
        """Return the options of docker build for an image: the platform, its section's, and those `given`.

        Docker would build for the platforms of each `--platform`. So the given ones replace the key `platform`, which
        replaces those in build_args.
        """
        configured = self.settings(image.name).options("build_args")
        replacing = options.values(given, BUILD, "platform") or self.platforms(image)
        wanted = replacing or options.values(configured, BUILD, "platform")
        rest = options.without([*configured, *given], BUILD, "platform")
        return [*(("--platform", ",".join(wanted)) if wanted else ()), *rest]

    def settings(self, name: str) -> Settings:
        """Return the settings of the image `name`."""
        return self.settings_of(self.config.section(name), docked=self.docked)

    def settings_of(self, values: Mapping[str, Value], *, docked: bool) -> Settings:
        """Return the settings with the values of a section."""
        return Settings(values, self.fields, self.environ, docked=docked)

    def variables(self, section: Value) -> dict[str, str]:
        """Return the environment variables of the section that an `env` key names, filled in."""
        if section.text not in self.config:
            raise section.error(f"there is no section [{section.text}]; add it, or correct the name")
        settings = self.settings(section.text)
        values = self.config.own(section.text)
        for key, value in values.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
                raise value.error("is not a valid name of an environment variable; use letters, digits and underscores")
        return {key: settings.fill_in(value.text, value) for key, value in values.items()}

    def _is_configured(self, section: str) -> bool:
        """Return whether a section defines a configuration-only image: it has a name, and `prefix=False`.

        Sections of other tools can have keys of the same names with other values. A synthetic image can inherit
        `prefix=False` from `[DEFAULT]`: that is about the image of its directory.
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
        directory = settings.value("name")
        if directory is None:
            raise listed.error(f"[{name}] has no name; add name = and one of: {', '.join(self.directories())}")
        if directory.text not in self.directories():
            raise directory.error(
                f"docker/{directory.text}/Dockerfile does not exist; name one of: {', '.join(self.directories())}"
            )
        repository = self.repository(directory.text)
        tagged = settings if settings.value("tag") else self.settings(directory.text)
        return Image(name, SYNTHETIC, directory.text, repository, tag or self._tag(tagged, repository))

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
        """Return the version that versioneer computes, with `_` instead of `+`, which a tag cannot have."""
        from dockerutils.project import version_file  # late: each command imports this module, few use {version}

        if not version_file.applies(self.root):
            raise value.error("{version} needs versioneer; add its section to setup.cfg or pyproject.toml")
        return self._once("version", lambda: str(version_file.compute(self.root)["version"]).replace("+", "_"))

    def _latest(self, value: Value, repository: str) -> str:
        """Return the newest version of a repository on the engine."""
        newest = self._once(repository, lambda: next(iter(version_tags.newest_first(engine.tags(repository))), ""))
        if not newest:
            raise NoVersion(
                value.describe(
                    f"{LATEST}: the engine has no version of {repository}; build one with tag = {{datetime}} or -t"
                )
            )
        return newest

    def _once(self, name: str, compute: Callable[[], str]) -> str:
        """Compute a value once: it takes a child process."""
        if name not in self._computed:
            self._computed[name] = compute()
        return self._computed[name]


def find(workdir: str, environ: Mapping[str, str]) -> Project:
    """Return the project of `workdir`: its root is the nearest directory, itself first, with a suitable `docker/`."""
    directory = workdir
    while not _is_root(directory):
        parent = os.path.dirname(directory)
        if parent == directory:
            raise UserError(
                f"{workdir} is not in a project: neither it nor a parent directory has docker/<name>/Dockerfile; "
                "run dockerutils init at the root of the project, or write a Dockerfile"
            )
        directory = parent
    return Project(directory, workdir, environ)


def renamed(image: Image, repository: str | None, tag: str | None) -> Image:
    """Return `image` with another name or tag, those of -i and -t."""
    if repository is not None and (fault := references.fault_in_repository(repository)):
        raise UserError(f"-i: {fault}")
    if tag is not None and (fault := references.fault_in_tag(tag)):
        raise UserError(f"-t: {fault}")
    return image._replace(repository=repository or image.repository, tag=tag or image.tag)


def login_name(environ: Mapping[str, str]) -> str:
    """Return the login name of the user: from the environment, like getpass, else from the user database."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if name := environ.get(variable):
            return name
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
    """Yield the sub-directories of a directory; none if it cannot be read."""
    try:
        with os.scandir(directory) as entries:
            yield from (entry for entry in entries if entry.is_dir())
    except OSError:
        return
