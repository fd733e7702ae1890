"""How -h and --help show a parser."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable

HELP = "show this page and exit"
_COLUMN = 28  # of the explanations, at most


class Formatter(argparse.RawDescriptionHelpFormatter):
    """A formatter that finds the width of the terminal without importing shutil, which costs more than the parser."""

    def __init__(self, prog: str) -> None:
        try:
            width = os.get_terminal_size().columns
        except OSError:
            width = 0
        super().__init__(prog, max_help_position=_COLUMN, width=max(width or 100, 40) - 2)

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None = None,
    ) -> None:
        """Name only what is required and the arguments: the page lists the options."""
        shown = [action for action in actions if action.required or not action.option_strings]
        if len(shown) < len([*actions]):
            self._prog += " [options]"
        super().add_usage(usage, shown, groups, prefix)

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if action.nargs != argparse.REMAINDER:
            return super()._format_args(action, default_metavar)
        return str(action.metavar) if action.required else f"[[--] {action.metavar}]"

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """Name the value once, as Python 3.13 does: `-t, --timeout SECONDS`."""
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"


class Help(argparse.Action):
    """Show the help: `-h` a short page, `--help` all options."""

    def __call__(self, parser: argparse.ArgumentParser, _: object, __: object, option: str | None = None) -> None:
        """Print the page and exit."""
        short = None if option == "--help" else getattr(parser, "format_short_help", None)
        print((short or parser.format_help)(), end="")
        parser.exit()
