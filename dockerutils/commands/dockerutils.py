"""List the commands; set up, check and explain a project."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
from collections.abc import Iterator, Sequence
from typing import Any

from dockerutils import commands
from dockerutils.cli import completion, completion_files, program
from dockerutils.core import console, shell_words
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.project.config import KEYS
from dockerutils.project.project import Image, Project

_EXAMPLES = """\
  dockerutils                         list the commands
  dockerutils init                    create docker/ for a project
  dockerutils check                   check the configuration and Dockerfiles
  dockerutils config dev              show the settings of an image"""
_INIT = """\
  dockerutils init --dry-run      print the files
  dockerutils init                write them; then: build-image all"""
_CHECK = """\
  dockerutils check                       print one line for each problem
  dockerutils check && build-image all    in CI: build only without problems
  dockerutils check --no-build-checks     check without the Docker Engine"""
_BAKE = """\
  dockerutils bake | docker buildx bake -f -        build all images
  dockerutils bake | docker buildx bake -f - web    build web and its bases"""
_CONFIG = """\
  dockerutils config dev          show key, value and place of each setting
  dockerutils config --json       print the settings of all images for programs"""
_EXPORT = """\
  dockerutils export train                   for Kubernetes, Ray and others
  dockerutils export train | jq -r .image    print only image@digest"""
_COMPLETION = """\
  dockerutils completion --install           write files; says where
  source <(dockerutils completion bash)      in ~/.bashrc
  source <(dockerutils completion zsh)       in ~/.zshrc, after compinit
  dockerutils completion fish | source       in ~/.config/fish/config.fish"""

# What a new shell needs in addition.
_ENABLED = {
    "bash": "new shells complete if they load the package bash-completion; without it, add this line to ~/.bashrc: "
    "source <(dockerutils completion bash)",
    "zsh": "new shells complete if ~/.zshrc has this line before compinit: fpath=({} $fpath)",
    "fish": "new shells complete",
}

_NAME = "dockerutils"

# The list of commands, without the actions of this one; `source dock` is a file for the shell.
_GROUPS = {
    "Images": ["build-image", "run-image", "ls-image", "publish-image", "transfer-image"],
    "Versions": ["find-image", "make-version", "genversion", "image-script"],
    "Notebooks": ["run-notebook", "nb-dock"],
    "Docks": ["register-dock", "source dock", "ls-dock", "ssh-dock", "unregister-dock", "dock-environment"],
    "On a dock": ["sync-up", "sync-down", "attach-image"],
    "AWS": ["create-dock", "start-dock", "stop-dock", "destroy-dock"],
    "Many machines": ["swarm-docks", "submit-image", "ls-job", "stop-job"],
}
_HINTS = """\
Run a command with -h for its options and examples. For completion with TAB, run
once: dockerutils completion --install"""
_SOURCE_DOCK = "Use the dock in this shell, until castoff."


def parser() -> program.Parser:
    """Return the parser of dockerutils."""
    parser = program.Parser(_NAME, f"{__doc__}", _EXAMPLES)
    init = parser.add_action("init", "create docker/; overwrite nothing", _INIT)
    init.add_argument("--dry-run", action="store_true", help="print the files without writing them")
    check = parser.add_action("check", "check the configuration and Dockerfiles", _CHECK)
    check.add_argument("--no-build-checks", action="store_true", help="do not run docker build --check")
    parser.add_action("bake", "print a file for docker buildx bake", _BAKE)
    export = parser.add_action("export", "print digest, command and variables as JSON", _EXPORT)
    export.add_argument("image", metavar="IMAGE", help="a published image of the project")
    config = parser.add_action("config", "show all settings, and where each is from", _CONFIG)
    config.add_argument("image", nargs="?", metavar="IMAGE", help="show only this image")
    config.add_argument("--json", action="store_true", help="print a JSON object with the images as keys")
    script = parser.add_action("completion", "complete commands, images and docks with TAB", _COMPLETION)
    script.add_argument("shell", metavar="SHELL", nargs="?", choices=completion.SHELLS, help="bash, zsh or fish")
    forms = script.add_mutually_exclusive_group()
    forms.add_argument("--install", action="store_true", help="write it where the shell looks (default: SHELL)")
    forms.add_argument("--uninstall", action="store_true", help="remove what --install wrote, for all shells")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Run the action, or list the commands."""
    if args.action == "init":
        from dockerutils.scaffold import init  # late, for the start of the other actions

        init.run(os.getcwd(), os.environ, dry_run=args.dry_run)
    elif args.action == "check":
        check(program.project(), build_checks=not args.no_build_checks)
    elif args.action == "bake":
        print_bake_file(program.project())
    elif args.action == "export":
        from dockerutils.images import export  # late, as above

        project = program.project()
        print(json.dumps(export.definition(project, project.image(args.image))._asdict(), indent=2))
    elif args.action == "config":
        project = program.project()
        images = [project.image(args.image)] if args.image else project.images()
        show_config(project, images, as_json=args.json)
    elif args.action == "completion":
        complete(args)
    else:
        print(f"{overview()}\n\n{_HINTS}")


def overview() -> str:
    """Return the commands by group, each with the first line of its docstring, and the actions of this one."""
    does = {name: (module.__doc__ or "").splitlines()[0] for name, module in _modules()}
    actions = {name: f"{action.description}" for name, action in parser().actions.items()}
    does |= {"source dock": _SOURCE_DOCK, **actions}
    groups = {_NAME: [*actions], **_GROUPS}
    left, width = max(map(len, groups)), max(map(len, does))
    return "\n".join(
        f"{'' if number else group:{left}}  {name:{width}}  {does[name]}"
        for group, names in groups.items()
        for number, name in enumerate(names)
    )


def parsers() -> dict[str, program.Parser]:
    """Return the parsers of all commands, by name, in alphabetical order."""
    return {name: module.parser() for name, module in _modules()}


def _modules() -> list[tuple[str, Any]]:
    """Return the names of the commands and their modules, in alphabetical order."""
    names = sorted(module.name for module in pkgutil.iter_modules(commands.__path__))
    return [(name.replace("_", "-"), importlib.import_module(f"{commands.__name__}.{name}")) for name in names]


def check(project: Project, *, build_checks: bool) -> None:
    """Print every problem on stdout, and warnings on stderr; DockerutilsError has the number of problems."""
    from dockerutils.jobs import section  # late, for the start of the other actions
    from dockerutils.project import check
    from dockerutils.swarm import service_options

    readers = [*section.READERS, service_options.of_section]
    problems, warnings, note = check.report(project, readers, with_engine=build_checks)
    for warning in warnings:
        console.warn(_NAME, warning)
    if note:
        console.note(_NAME, note)
    for problem in problems:
        print(console.one_line(problem))
    if problems:
        raise DockerutilsError(f"{console.count(len(problems), 'problem')}; correct and check again")
    print(f"{project.config.path}: {console.count(len(project.names()), 'image')}, no problems")


def print_bake_file(project: Project) -> None:
    """Print the project as a bake file; warnings say what it leaves out."""
    from dockerutils.images import bake  # late, as above

    file, left_out = bake.definition(project)
    for each in left_out:
        console.warn(_NAME, each)
    print(json.dumps(file, indent=2))


def complete(args: argparse.Namespace) -> None:
    """Print the script of a shell, or write or remove the files that load it."""
    home = os.path.expanduser("~")
    if args.uninstall:
        for shell in [args.shell] if args.shell else completion.SHELLS:
            where = completion_files.directory(shell, os.environ, home)
            if removed := completion_files.uninstall(where):
                print(f"removed {console.count(len(removed), 'file')} from {where}")
        return
    login = os.path.basename(os.environ.get("SHELL", ""))
    shell = args.shell or (login if args.install and login in completion.SHELLS else None)
    if not shell:
        raise UserError(f"which shell? Name it: dockerutils completion {'|'.join(completion.SHELLS)}")
    if not args.install:
        print(completion.script(shell, parsers()), end="")
        return
    where = completion_files.directory(shell, os.environ, home)
    changed = completion_files.install(shell, where, [name for name, _ in _modules()])
    print(f"wrote {console.count(len(changed), 'file')} to {where}" if changed else f"{where} is up to date")
    console.note(_NAME, _ENABLED[shell].format(shell_words.quote(where)))


def show_config(project: Project, images: Sequence[Image], *, as_json: bool) -> None:
    """Print the settings of images, filled in but without the values of environment variables, and their places."""
    if as_json:
        print(json.dumps({image.name: _record(project, image) for image in images}, indent=2))
        return
    for image in images:
        source = image.dockerfile if image.directory else "no Dockerfile"
        print(console.one_line(f"[{image.name}]  {image.reference}  ({image.kind}, {source})"))
        rows = [(f"  {key}", console.one_line(value), place) for key, value, place in _settings(project, image)]
        print(console.table(("  KEY", "VALUE", "FROM"), rows), end="\n\n")


def _record(project: Project, image: Image) -> dict[str, Any]:
    settings = {key: {"value": value, "from": place} for key, value, place in _settings(project, image)}
    return {**image._asdict(), "reference": image.reference, "settings": settings}


def _settings(project: Project, image: Image) -> Iterator[tuple[str, str, str]]:
    """Yield key, value and place of each setting, without those that are absent and empty by default."""
    settings = project.settings(image.name)
    for key in KEYS:
        value = settings.value(key.name)
        if value is not None:
            yield value.key, _shown(settings.read(key)), str(value.place)
        elif key.default:
            yield key.name, key.default, "default"


def _shown(value: str | list[str]) -> str:
    """Return a value without the values of environment variables in it."""
    if isinstance(value, list):
        return shell_words.render(value)
    return shell_words.quote(value) if isinstance(value, shell_words.Word) else value
