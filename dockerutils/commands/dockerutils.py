"""Show the commands, start, check or explain a docker/ tree, or make a shell complete it."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
from collections.abc import Iterator, Sequence
from typing import Any

from dockerutils import commands
from dockerutils.cli import program
from dockerutils.core import console, shell_words
from dockerutils.core.errors import DockerutilsError
from dockerutils.project.check import findings
from dockerutils.project.config import KEYS
from dockerutils.project.project import Image, Project

_EXAMPLES = """\
  dockerutils                     the commands, a line each
  dockerutils init                a docker/ tree for a project that has none; nothing is overwritten
  dockerutils check               every fault of docker/dockerutils.cfg and the Dockerfiles
  dockerutils config dev          the settings of an image, and where each comes from
  source <(dockerutils completion bash)      complete commands, images and docks; for ~/.bashrc"""
_INIT = """\
  dockerutils init --dry-run      what would be written
  dockerutils init                write it; then: build-image all"""
_CHECK = """\
  dockerutils check                       every fault, a line each
  dockerutils check && build-image all    in CI: build what has none"""
_CONFIG = """\
  dockerutils config dev          key, value and place of each setting
  dockerutils config --json       of all images, for programs"""
_COMPLETION = """\
  source <(dockerutils completion bash)      in ~/.bashrc
  source <(dockerutils completion zsh)       in ~/.zshrc, behind compinit
  dockerutils completion fish | source       in ~/.config/fish/config.fish"""

# The commands by what they are about, and for what; `source dock` is no program, but a file that the shell reads.
_SOURCE_DOCK = (
    "source dock",
    "Dock this shell: the commands here, and docker, work on that host then; castoff ends it.",
)
_TABLE = {
    "dock: a host with a Docker Engine, reached over ssh": {
        "creation": ["create-dock", "destroy-dock", "register-dock", "unregister-dock"],
        "execution": ["start-dock", "stop-dock"],
        "notebook": ["nb-dock"],
        "utility": ["source dock", "ls-dock", "ssh-dock", "sync-up", "sync-down", "dock-environment"],
    },
    "image: what the Dockerfiles of a project make": {
        "creation": ["build-image"],
        "execution": ["run-image", "image-script"],
        "notebook": ["run-notebook"],
        "utility": [
            *("publish-image", "transfer-image", "ls-image", "find-image"),
            *("make-version", "genversion", "dockerutils"),
        ],
    },
}


def parser() -> program.Parser:
    """Return the parser of dockerutils."""
    parser = program.Parser("dockerutils", f"{__doc__}", _EXAMPLES)
    init = parser.add_action("init", "start a docker/ tree that suits the project here; overwrite nothing", _INIT)
    init.add_argument("--dry-run", action="store_true", help="print the files that would be written, and write none")
    parser.add_action(
        "check", "validate the configuration and the Dockerfiles; status 1 when anything is wrong", _CHECK
    )
    config = parser.add_action("config", "show the settings of the images, with the place each comes from", _CONFIG)
    config.add_argument("image", nargs="?", metavar="IMAGE", help="show this image alone")
    config.add_argument("--json", action="store_true", help="print a JSON object, by image")
    completion = parser.add_action(
        "completion", "print what makes a shell complete commands, images and docks", _COMPLETION
    )
    completion.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Do the action, or list the commands."""
    if args.action == "init":
        from dockerutils.scaffold import init

        init.run(os.getcwd(), os.environ, dry_run=args.dry_run)
    elif args.action == "check":
        check(program.project())
    elif args.action == "config":
        project = program.project()
        images = [project.image(args.image)] if args.image else project.images()
        show_config(project, images, as_json=args.json)
    elif args.action == "completion":
        from dockerutils.cli import completion

        parsers = {name: module.parser() for name, module in _modules()}
        print(completion.script(args.shell, parsers), end="")
    else:
        print(f"{overview()}\n\nEach shows its usage with -h; 'dockerutils check' finds what is wrong in a project.")


def overview() -> str:
    """Return the commands by entity and purpose, each with the first line of its documentation."""
    does = {name: (module.__doc__ or "").splitlines()[0] for name, module in _modules()} | dict([_SOURCE_DOCK])
    width = max(map(len, does))
    lines: list[str] = []
    for entity, purposes in _TABLE.items():
        lines += ["", entity] if lines else [entity]
        for purpose, names in purposes.items():
            heads = [purpose, *[""] * (len(names) - 1)]
            lines += [f"  {head:9}  {name:{width}}  {does[name]}" for head, name in zip(heads, names, strict=True)]
    return "\n".join(lines)


def _modules() -> list[tuple[str, Any]]:
    """Return the modules of the commands, each with the command's name, in alphabetical order."""
    names = sorted(module.name for module in pkgutil.iter_modules(commands.__path__))
    return [(name.replace("_", "-"), importlib.import_module(f"{commands.__name__}.{name}")) for name in names]


def check(project: Project) -> None:
    """Print every finding; DockerutilsError counts them."""
    found = findings(project)
    for finding in found:
        print(console.one_line(finding))
    if found:
        raise DockerutilsError(f"{len(found)} found; correct them and check again")
    print(f"{project.config.path}: {len(project.names())} images, nothing found")


def show_config(project: Project, images: Sequence[Image], *, as_json: bool) -> None:
    """Print the settings of images: the values filled in, environment variables unexpanded, and their places."""
    if as_json:
        print(json.dumps({image.name: _record(project, image) for image in images}, indent=2))
        return
    for image in images:
        source = image.dockerfile if image.directory else "no Dockerfile"
        print(f"[{image.name}]  {image.reference}  ({image.kind}, {source})")
        rows = [(f"  {key}", value, place) for key, value, place in _settings(project, image)]
        print(console.table(("  KEY", "VALUE", "FROM"), rows), end="\n\n")


def _record(project: Project, image: Image) -> dict[str, Any]:
    settings = {key: {"value": value, "from": place} for key, value, place in _settings(project, image)}
    return {**image._asdict(), "reference": image.reference, "settings": settings}


def _settings(project: Project, image: Image) -> Iterator[tuple[str, str, str]]:
    """Yield key, value and place of each setting that is not empty by default."""
    settings = project.settings(image.name)
    for key in KEYS:
        value = settings.value(key.name)
        if value is not None:
            read = settings.read(key)
            yield value.key, read if isinstance(read, str) else shell_words.render(read), str(value.place)
        elif key.default:
            yield key.name, key.default, "default"
