"""The parser of a command: its options, its two help pages, and what several commands add to theirs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from dockerutils.cli import arguments, help_page
from dockerutils.core.errors import UserError
from dockerutils.core.suggestions import nearest
from dockerutils.docker import options

DOCK = "MONIKER|ADDRESS"  # a registered dock in the usage
FOR_PLATFORM = "for this platform, such as linux/amd64 (default: the key platform)"  # in the help of --platform
COMMON = "common options"  # the title of the last group of options
_ENVIRONMENT = "\n\nenvironment:\n"
AWS_JOBS = """\
  DOCKERUTILS_QUEUE             job queue (default: the key batch_queue)
  AWS_PROFILE, AWS_REGION ...   as for the aws command"""  # the variables of commands about jobs on AWS Batch
_DEFAULT_DOCK = "dock (default: the dock of this shell)"
_UNKNOWN = "unrecognized arguments: "  # as argparse writes it


class Parser(argparse.ArgumentParser):
    """A parser that accepts `--long_option` for `--long-option`, in any place before a command; see `arguments`.

    `docker` has the options of docker that the command passes on: `args.docker` has their words. `add_command` adds a
    command behind the arguments: `args.rest` has its words, None without one.
    """

    def __init__(
        self, prog: str, description: str, examples: str, docker: options.Table | None = None, environment: str = ""
    ) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=f"examples:\n{examples}" + (f"{_ENVIRONMENT}{environment}" if environment else ""),
            formatter_class=help_page.Formatter,
            allow_abbrev=False,
            add_help=False,
        )
        self.docker = docker
        self._command: argparse.Action | None = None
        self._more: list[argparse._ArgumentGroup] = []
        self._positionals.title = "arguments"
        # Otherwise argparse takes an unknown option such as -1 for an argument.
        self._has_negative_number_optionals.append(True)
        self._common = self.add_argument_group(COMMON)
        self._common.add_argument("-h", "--help", action=help_page.Help, nargs=0, help=help_page.HELP)
        self._common.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")

    def add_action(self, name: str, does: str, examples: str) -> argparse.ArgumentParser:
        """Add an action, a subcommand with its own help page, and return its parser."""
        if not self._subparsers:
            self._actions_of_its_own = self.add_subparsers(
                title="actions", dest="action", metavar="ACTION", parser_class=_ActionParser
            )
        return self._actions_of_its_own.add_parser(
            name,
            help=does,
            description=f"{does[0].upper()}{does[1:]}.",
            epilog=f"examples:\n{examples}",
        )

    @property
    def actions(self) -> dict[str, argparse.ArgumentParser]:
        """The parsers of the actions, by name."""
        return dict(self._actions_of_its_own.choices) if self._subparsers else {}

    def add_more(self, title: str, description: str | None = None) -> argparse._ArgumentGroup:
        """Add a group of options that only `--help` shows, and return it. Then `-h` shows no environment either."""
        self._more.append(self.add_argument_group(title, description))
        return self._more[-1]

    def add_verbose(self) -> None:
        """Add `--verbose`, which `main` reads."""
        self._common.add_argument("--verbose", action="store_true", help="also print the calls that only read")

    def add_dry_run(self) -> None:
        """Add `--dry-run`."""
        self._common.add_argument("--dry-run", action="store_true", help="print the commands to stdout, run nothing")

    def add_quiet(self) -> None:
        """Add `-q`, which `main` reads."""
        self._common.add_argument("-q", "--quiet", action="store_true", help="do not print the commands that run")

    def add_json(self) -> None:
        """Add `--json`."""
        self.add_argument("--json", action="store_true", help="print a JSON array of objects")

    def add_yes(self, what: str = "do not ask; required without a terminal") -> None:
        """Add `-y`, which answers questions with yes."""
        self.add_argument("-y", "--yes", action="store_true", help=what)

    def add_timeout(self, default: str, what: str = "give up after SECONDS") -> None:
        """Add `-t SECONDS`, which `seconds` reads."""
        self.add_argument("-t", "--timeout", metavar="SECONDS", default=default, help=f"{what} (default: {default})")

    def add_no_browser(self) -> None:
        """Add `--no-browser`."""
        self.add_argument("--no-browser", action="store_true", help="print the URL, do not open a browser")

    def add_image(self) -> None:
        """Add the argument IMAGE, an image of the project."""
        self.add_argument("image", metavar="IMAGE", help="subdirectory of docker/, or synthetic image")

    def add_dock(self, *, here: bool = False) -> None:
        """Add an argument, the dock; with `here` it is optional."""
        self.add_argument("dock", metavar=DOCK, nargs="?" if here else None, help=_DEFAULT_DOCK if here else "dock")

    def add_dock_option(self) -> None:
        """Add `--dock`."""
        self.add_argument("--dock", metavar=DOCK, help=_DEFAULT_DOCK)

    def add_docks(self) -> None:
        """Add an argument, any number of docks."""
        self.add_argument("docks", metavar=DOCK, nargs="*", help="docks (default: the dock of this shell)")

    def add_job(self, *, optional: bool = False) -> None:
        """Add an argument, a job on AWS Batch."""
        what = "name, image or id of the job, or the beginning of its id"
        self.add_argument("job", metavar="JOB", nargs="?" if optional else None, help=what)

    def add_queue(self, group: argparse._ArgumentGroup | None = None) -> None:
        """Add `--queue`, the queue of a job, to the parser or to a group of it."""
        what = "job queue (default: the key batch_queue, or DOCKERUTILS_QUEUE)"
        (group or self).add_argument("--queue", metavar="NAME", help=what)

    def add_command(self, metavar: str, what: str, *, required: bool = False) -> None:
        """Add a command behind the arguments that have been added."""
        self._command = self.add_argument("rest", metavar=metavar, nargs=argparse.REMAINDER, help=what)
        self._command.required = required

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong, with the option that an unknown one resembles, and exit with 2."""
        unknown = message.partition(_UNKNOWN)[2].split(" ")[0]
        near = nearest(unknown.replace("_", "-"), self._option_string_actions, at_least=0.8)
        super().error(f"{message}; did you mean {near}?" if unknown.startswith("--") and near else message)

    def format_help(self) -> str:
        """Return the help, with the common options last."""
        self._action_groups.sort(key=lambda group: group is self._common)
        return super().format_help()

    def format_short_help(self) -> str:
        """Return the help without the groups of `add_more`."""
        if not self._more:
            return self.format_help()
        groups, epilog = self._action_groups, self.epilog or ""
        self._action_groups = [group for group in groups if group not in self._more]
        self.epilog = epilog.partition(_ENVIRONMENT)[0]
        try:
            return f"{self.format_help()}\nall options: {self.prog} --help\n"
        finally:
            self._action_groups, self.epilog = groups, epilog

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments of a command, without its name; UserError for an option that docker does not have."""
        if self._subparsers:
            return self.parse_args(argv)
        before = sum(not action.option_strings for action in self._actions) - 1
        line = arguments.read(argv, self._option_string_actions, self.docker, before if self._command else None)
        args = self.parse_args(line.own)
        if self._command and self._command.required and not line.rest:
            self.error(f"the following arguments are required: {self._command.metavar}")
        args.rest = line.rest
        args.given = [*argv]
        args.docker = [*line.docker, *((line.rest or ()) if self.docker and not self._command else ())]
        if line.unknown and self.docker:
            flags = [*self._option_string_actions]
            arguments.reject_unknown(line.unknown, self.prog, flags, self.docker, has_command=bool(self._command))
        if self.docker and (fault := options.fault(args.docker, self.docker)):
            raise UserError(fault)
        return args


def add_docker_option(
    group: argparse._ActionsContainer, *flags: str, what: str, metavar: str | None = None, several: bool = False
) -> None:
    """Describe an option that goes to docker: a switch without `metavar`; docker can take `several` of it."""
    value: dict[str, Any] = (
        {"metavar": metavar, "default": [] if several else None} if metavar else {"action": "store_true"}
    )
    group.add_argument(*flags, dest=arguments.DOCKER, help=what, **value)


def aws_dock_parser(command: str, does: str, examples: str, timeout: str) -> Parser:
    """Return the parser of a command about docks on AWS: docks, a default timeout in seconds, --dry-run."""
    parser = Parser(command, does, examples, environment="  AWS_PROFILE, AWS_REGION ...  as for the aws command")
    parser.add_docks()
    parser.add_timeout(timeout)
    parser.add_dry_run()
    parser.add_verbose()
    return parser


class _ActionParser(argparse.ArgumentParser):
    """A parser of an action, whose help page looks like that of a command."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=help_page.Formatter, allow_abbrev=False, add_help=False, **settings)
        self._positionals.title = "arguments"
        self.add_argument("-h", "--help", action="help", help=help_page.HELP)


class _Version(argparse.Action):
    """Show the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(parser.prog, version())
        parser.exit()


def version() -> str:
    """Return the version of dockerutils: that of the image it was built into, or of the installed package."""
    try:
        from dockerutils._version import get_versions
    except ImportError:
        from importlib.metadata import version as installed  # late: it is slow to import

        return installed("dockerutils")
    return str(get_versions()["version"])
