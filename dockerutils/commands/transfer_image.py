"""Send an image to other hosts over ssh, without a registry: only the layers they lack."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from dockerutils.cli import program
from dockerutils.core import console, process
from dockerutils.core.errors import UserError
from dockerutils.core.process import Children, Command
from dockerutils.core.progress import Lines, Meter, amount
from dockerutils.docker import references
from dockerutils.docks import inventory, remote
from dockerutils.docks.remote import Destination
from dockerutils.registries import credentials

if TYPE_CHECKING:
    from dockerutils.core.tasks import Task
    from dockerutils.transfer.delivery import Progress, Source
    from dockerutils.transfer.destination import Target

_EXAMPLES = """\
  transfer-image dev gpu                    to the dock called gpu
  transfer-image app:1.2 me@10.0.0.7:2222   an image by its name, to an address
  transfer-image dev gpu1 gpu2 gpu3         to several hosts at once"""


def parser() -> program.Parser:
    """Return the parser of transfer-image."""
    parser = program.Parser(
        "transfer-image", f"{__doc__}", _EXAMPLES, environment="  SSH_KEY    the private key to use"
    )
    parser.add_argument("image", metavar="IMAGE", help="an image of the project, or NAME[:TAG] of any other")
    parser.add_argument("destinations", metavar="DEST", nargs="+", help="a dock, or [USER@]HOST[:PORT]")
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Send to all destinations at once; one that fails does not stop the others."""
    import tempfile

    reference = with_tag(program.reference(args.image))
    names = list(dict.fromkeys(args.destinations))
    ask = len(names) == 1 and sys.stdin.isatty()  # several at once would ask all at once
    home = os.path.expanduser("~")
    # Wherever other temporary files go: the path of a socket has to be short.
    with tempfile.TemporaryDirectory(prefix="dockerutils-", dir="/tmp") as sockets:
        destinations = [remote.destination(each, os.environ, home, sockets=sockets, ask=ask) for each in names]
        if args.dry_run:
            for each in destinations:
                print(equivalent(reference, each, "docker"))
            return
        try:
            remote.drop_dead_connections(destinations)
            transfer_to(reference, destinations)
        finally:
            # A dock's connection is kept for the next command.
            process.capture_all([each.control("exit") for each in destinations if not each.dock])


def with_tag(reference: str) -> str:
    """Return a reference with the tag that docker assumes: docker save would take one without for all tags."""
    if "@" in reference:
        raise UserError(f"{reference} is no name with a tag; give it one: docker tag {reference} NAME:TAG")
    return reference if references.split(reference)[1] else f"{reference}:latest"


def equivalent(reference: str, to: Destination, docker: str) -> str:
    """Return the line that does it without us, all layers every time; `docker` is the docker command there."""
    now, before = os.environ, inventory.undocked(os.environ)
    docked = [name for name in inventory.CHANGED if name.startswith("DOCKER_") and now.get(name) != before.get(name)]
    unset = [word for name in docked if name not in before for word in ("-u", name)]
    settings = [*unset, *(f"{name}={before[name]}" for name in docked if name in before)]
    save = [*(["env", *settings] if settings else []), "docker", "save", reference]
    return f"{Command(save)} | {Command(to.shown(f'{docker} load'))}"


def transfer_to(reference: str, destinations: Sequence[Destination]) -> None:
    """Look at both sides of each transfer at once, then send; when some fail, raise what the last one of them did."""
    from dockerutils.core.tasks import Task
    from dockerutils.transfer import delivery, destination

    lines = Lines()
    with process.children() as children:
        asked = [Task(partial(destination.ask, each, children)) for each in destinations]
        image = delivery.source("/".join(credentials.place(reference)), children, inventory.undocked(os.environ))
        sending = [Task(partial(deliver, reference, image, each, children, lines)) for each in asked]
        failures = [failure for task in sending if (failure := task.failure())]
    for failure in failures[:-1]:
        console.fail("transfer-image", str(failure))
    if failures:
        raise failures[-1]


def deliver(reference: str, image: Source, asked: Task[Target], children: Children, lines: Lines) -> None:
    """Send an image to a destination when that has been asked what it has, and show how far it is."""
    from dockerutils.transfer import delivery

    to = asked.result()
    name, meter = to.where.name, Meter()

    def tell(progress: Progress) -> None:
        count = progress.there + progress.lacking
        lines.update(name, f"{name}: {progress.there} of {count} layers are there; {meter.show(*progress[2:])}")

    def warn(text: str) -> None:
        lines.above(lambda: console.warn("transfer-image", text))

    lines.above(lambda: console.echo(equivalent(reference, to.where, to.docker)))
    start = time.monotonic()
    try:
        done = delivery.send(image, to, children, tell, warn)
    except BaseException:
        lines.end(name)
        raise
    what = f"{done.lacking} of {done.there + done.lacking} layers, {amount(done.gone)}"
    lines.end(name, f"{name}: {reference} has arrived: {what} in {time.monotonic() - start:.1f} s")
