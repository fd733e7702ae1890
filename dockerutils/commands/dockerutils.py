"""Show the commands of the suite, check a project, or explain its configuration."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
from collections.abc import Iterator, Sequence
from typing import Any

from dockerutils import cli, commands, console, words
from dockerutils.checks import findings
from dockerutils.config import KEYS
from dockerutils.errors import DockerutilsError
from dockerutils.project import Image, Project

_EXAMPLES = """\
  dockerutils                     the commands, a line each
  dockerutils check               every fault of docker/dockerutils.cfg and the Dockerfiles
  dockerutils config dev          the settings of an image, and where each comes from"""


def parser() -> cli.Parser:
    """Return the parser of dockerutils."""
    parser = cli.Parser("dockerutils", f"{__doc__}", _EXAMPLES)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", parser_class=argparse.ArgumentParser)
    actions.add_parser("check", help="validate the configuration and the Dockerfiles; status 1 when anything is wrong")
    config = actions.add_parser("config", help="show the settings of the images, with the place each comes from")
    config.add_argument("image", nargs="?", metavar="IMAGE", help="show this image alone")
    config.add_argument("--json", action="store_true", help="print a JSON object, by image")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return cli.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Do the action, or list the commands."""
    if args.action == "check":
        check(cli.project())
    elif args.action == "config":
        project = cli.project()
        images = [project.image(args.image)] if args.image else project.images()
        show_config(project, images, as_json=args.json)
    else:
        print(f"{overview()}\n\nEach shows its usage with -h; 'dockerutils check' finds what is wrong in a project.")


def overview() -> str:
    """Return the commands, each with the first line of its documentation."""
    names = sorted(module.name for module in pkgutil.iter_modules(commands.__path__))
    modules = [importlib.import_module(f"{commands.__name__}.{name}") for name in names]
    return console.table(
        ("COMMAND", "WHAT IT DOES"),
        [
            (name.replace("_", "-"), (module.__doc__ or "").splitlines()[0])
            for name, module in zip(names, modules, strict=True)
        ],
    )


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
            yield value.key, read if isinstance(read, str) else words.render(read), str(value.place)
        elif key.default:
            yield key.name, key.default, "default"
