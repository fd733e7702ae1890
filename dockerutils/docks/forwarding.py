"""The connection to a dock that is shared: ports of the dock at the same ports of this machine, over it, and its end.

How: ssh(1), `-O forward`, `-O cancel` and `-O exit`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dockerutils.core import process
from dockerutils.core.errors import CommandFailed
from dockerutils.core.process import Command
from dockerutils.docker.invocation import Port
from dockerutils.docks.records import Dock
from dockerutils.docks.ssh_config import explain


@contextmanager
def forwarded(
    dock: Dock, ports: Sequence[Port], *, container: str = "", here: int | None = None, dry_run: bool = False
) -> Iterator[None]:
    """Make ports of a dock answer on localhost for the time of the block, at the same numbers, or one alone at `here`.

    With `container`, which the block starts detached, for as long as that runs. CommandFailed when the dock is not
    reached, or a port is taken here.
    """
    if not ports:
        yield
        return
    specifications = [_specification(port, here or port.number) for port in ports]
    _begin(dock, specifications, dry_run=dry_run)
    try:
        yield
    except BaseException:
        container = ""
        raise
    finally:
        cancel = _argv("cancel", dock.host, specifications)
        if dry_run:
            print(Command(cancel))
        elif container:
            process.spawn_detached([sys.executable, "-m", __name__, container, dock.host, *specifications])
        else:
            process.capture(cancel)  # the connection may have gone before


def hang_up(dock: Dock) -> None:
    """End the connection, if there is one: it would wait for a host that is gone."""
    process.capture(["ssh", "-O", "exit", dock.host])


def _begin(dock: Dock, specifications: Sequence[str], *, dry_run: bool) -> None:
    if not dry_run:
        _connect(dock)
    try:
        process.run(Command(_argv("forward", dock.host, specifications)), dry_run=dry_run, to_stderr=True)
    except CommandFailed as failure:
        process.capture(_argv("cancel", dock.host, specifications))  # those that were not taken
        numbers = ", ".join(each.split(":")[1] for each in specifications)
        raise CommandFailed(
            failure.status,
            f"ssh cannot listen here on {numbers}, and says why above; free that port, or publish another",
        ) from None


def _connect(dock: Dock) -> None:
    """See that there is a connection to share."""
    answer = process.capture(["ssh", dock.host, "true"])
    if answer.status:
        raise CommandFailed(answer.status, explain(dock, answer.stderr))


def _argv(operation: str, host: str, specifications: Sequence[str]) -> list[str]:
    return ["ssh", "-O", operation, *(word for each in specifications for word in ("-L", each)), host]


def _specification(port: Port, here: int) -> str:
    there = "localhost" if port.address in ("", "0.0.0.0", "::") else port.address  # noqa: S104 - it is the dock's
    return f"127.0.0.1:{here}:{f'[{there}]' if ':' in there else there}:{port.number}"


if __name__ == "__main__":
    _, name, where, *wanted = sys.argv
    process.capture(["docker", "wait", name])
    process.capture(_argv("cancel", where, wanted))
