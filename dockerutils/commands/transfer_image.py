"""Send an image over ssh, without a registry.

Only the layers that a host does not have are sent.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from dockerutils.cli import program
from dockerutils.core import console, process
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.core.process import Command
from dockerutils.core.process.children import Children, children
from dockerutils.core.progress import Lines, Meter, amount
from dockerutils.core.suggestions import nearest
from dockerutils.docker import references
from dockerutils.docks import inventory, remote
from dockerutils.docks.remote import RemoteHost

if TYPE_CHECKING:
    from concurrent.futures import Future

    from dockerutils.transfer.delivery import Progress
    from dockerutils.transfer.destination import Destination
    from dockerutils.transfer.source import Source

_EXAMPLES = """\
  transfer-image dev gpu                    send an image to the dock gpu
  transfer-image app:1.2 me@10.0.0.7:2222   send any image to any ssh host
  transfer-image dev gpu1 gpu2 gpu3         send to several hosts at once
  transfer-image web gpu1 --swarm           send to all nodes of this manager"""


def parser() -> program.Parser:
    """Return the parser of transfer-image."""
    parser = program.Parser("transfer-image", f"{__doc__}", _EXAMPLES, environment="  SSH_KEY    private key for ssh")
    parser.add_argument("image", metavar="IMAGE", help="image of the project, or NAME[:TAG] of any other")
    parser.add_argument("destinations", metavar="DEST", nargs="*", help="dock, or [USER@]HOST[:PORT]")
    parser.add_argument(
        "--swarm",
        action="store_true",
        help="send to all nodes that services can run on; DEST is a manager (default: this dock)",
    )
    parser.add_argument(
        "--platform",
        metavar="PLATFORM",
        help="send the image for PLATFORM, even to a host that needs emulation",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say why a slower method is used")
    parser.add_dry_run()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return program.main(parser(), handle, argv)


def handle(args: argparse.Namespace) -> None:
    """Send to all destinations at once; one that fails does not stop the others."""
    import tempfile  # late, as what `transfer` imports, for -h

    reference = with_tag(program.reference(args.image))
    request = Request(args.image, reference, _platform(args.platform), _configured(args.image))
    home = os.path.expanduser("~")
    names = _nodes(args.destinations, home) if args.swarm else list(dict.fromkeys(args.destinations))
    if not names:
        raise UserError("no destination; name a dock or [user@]host[:port], or add --swarm")
    ask = len(names) == 1 and sys.stdin.isatty()  # several hosts would ask at the same time
    # Not in TMPDIR: the path of a socket has to be short.
    with tempfile.TemporaryDirectory(prefix=f"dockerutils-{os.getpid()}-", dir="/tmp") as sockets:
        hosts = [remote.destination(each, os.environ, home, sockets=sockets, ask=ask) for each in names]
        if args.dry_run:
            for each in hosts:
                print(equivalent(reference, each, "docker"))
            return
        try:
            remote.drop_dead_connections(hosts)
            if args.swarm:
                _transfer_to_nodes(request, hosts, verbose=args.verbose)
            else:
                transfer(request, hosts, verbose=args.verbose)
        finally:
            with process.deferred_signals():
                for each in hosts:
                    if not each.dock:  # the next command reuses the connection of a dock
                        each.disconnect()


def _nodes(destinations: Sequence[str], home: str) -> list[str]:
    """Return the docks that services of a swarm can run on; `destinations` names at most one, a manager."""
    from dockerutils.swarm import placement  # late, for other transfers

    if len(destinations) > 1:
        raise UserError(f"--swarm takes one manager, not {' and '.join(destinations)}; name one")
    manager = inventory.choose(next(iter(destinations), None), os.environ, home)
    with children() as family:
        docks, down = placement.docks(manager, inventory.known(home), family)
    for name in down:
        console.warn(
            "transfer-image", f"node {name} is down, so it does not get the image; run this command again when it is up"
        )
    return [dock.moniker for dock in docks]


def _transfer_to_nodes(request: Request, hosts: Sequence[RemoteHost], *, verbose: bool) -> None:
    """Send an image to the nodes of a swarm; say which of them have it, and whether it is the same on all of them."""
    arrived: dict[str, str] = {}
    try:
        transfer(request, hosts, arrived, verbose=verbose)
    except DockerutilsError:
        if arrived:
            there = f"of {len(hosts)} nodes, {', '.join(sorted(arrived))} got {request.reference}"
            console.warn("transfer-image", f"{there}; run this command again before a service uses it")
        raise
    names = ", ".join(sorted(arrived))
    if len(set(arrived.values())) == 1:
        console.note("transfer-image", f"{names}: {request.reference} is {next(iter(arrived.values()))}")
        return
    console.warn(
        "transfer-image",
        f"{request.reference} has different IDs on {names}; a service that names it by its digest needs the same: use "
        "engines with the containerd image store, or a registry",
    )


class Request(NamedTuple):
    """An image to send: what the user calls it, its name and tag, and the platforms that it can have.

    `platform` is that of the option, "" without it; it also says that the destination has emulation. `configured` are
    those of the key; none allow any.
    """

    name: str
    reference: str
    platform: str
    configured: Sequence[str]


def _platform(text: str | None) -> str:
    """Return the platform of the option `--platform`; UserError if it is none."""
    from dockerutils.docker import platforms  # late, for -h

    try:
        [platform] = platforms.parse(text) if text is not None else [""]
    except ValueError:
        raise UserError(f"--platform: {text!r} is not one platform; write it as linux/amd64") from None
    return platform


def _configured(name: str) -> Sequence[str]:
    """Return the platforms in the section of the image `name` of the current project, if it has such an image."""
    try:
        project = program.project()
    except UserError:
        return ()
    return project.platforms(project.image(name)) if name in project.names() else ()


def require_platform(request: Request, image: Source) -> None:
    """Raise DockerutilsError unless the engine has an image for a platform that the user wants."""
    wanted = _wanted(request)
    if image.platform and not _candidates(request, image):
        command = _command_for(request.name, ",".join(wanted))
        raise DockerutilsError(
            f"{request.reference} is for {_own(image)}, not for {' or '.join(wanted)}; run: {command}"
        )


def choose_platform(request: Request, image: Source, destination: Destination) -> str:
    """Return the platform of an image that a destination gets: one that it runs without emulation.

    Or the one that the user wants. DockerutilsError if the engine here has none.
    """
    from dockerutils.docker import platforms

    candidates = _candidates(request, image) or [image.platform]
    there = platforms.normal(destination.platform)
    runnable = [each for each in candidates if request.platform or platforms.runs(there, each)]
    if not runnable:
        raise DockerutilsError(
            f"{request.reference} is for {_own(image)}, and {destination.host.name} runs {there}; run: "
            f"{_command_for(request.name, there)}, or, if that host has emulation, add --platform "
            f"{platforms.normal(candidates[0])}"
        )
    return next((each for each in runnable if platforms.normal(each) == there), runnable[0])


def _wanted(request: Request) -> Sequence[str]:
    return [request.platform] if request.platform else request.configured


def _candidates(request: Request, image: Source) -> list[str]:
    """Return the platforms of an image that the user wants, as the engine spells them."""
    from dockerutils.docker import platforms

    wanted = _wanted(request)
    return [each for each in image.platforms if not wanted or platforms.normal(each) in wanted]


def _own(image: Source) -> str:
    """Return the platforms that the engine here has of an image, for a message."""
    from dockerutils.docker import platforms

    return " and ".join(map(platforms.normal, image.platforms))


def _command_for(name: str, platform: str) -> str:
    """Return the command line that gets the image `name` for a platform."""
    from dockerutils.images import build

    with suppress(UserError):
        project = program.project()
        if name in project.names():
            return build.command_for(project, project.image(name), platform)
    return f"docker pull --platform {platform} {name}"


def with_tag(reference: str) -> str:
    """Return a reference with the tag that docker assumes: without one, docker save writes all tags."""
    if "@" in reference:
        raise UserError(f"{reference} has no tag; add one: docker tag {reference} NAME:TAG")
    return reference if references.split(reference)[1] else f"{reference}:latest"


def equivalent(reference: str, host: RemoteHost, docker: str) -> str:
    """Return the command line that does the same without dockerutils; `docker` is the docker command there."""
    now, before = os.environ, inventory.undocked(os.environ)
    docked = [name for name in inventory.CHANGED if name.startswith("DOCKER_") and now.get(name) != before.get(name)]
    unset = [word for name in docked if name not in before for word in ("-u", name)]
    settings = [*unset, *(f"{name}={before[name]}" for name in docked if name in before)]
    save = [*(["env", *settings] if settings else []), "docker", "save", reference]
    return f"{Command(save)} | {Command(host.shown(f'{docker} load'))}"


def transfer(
    request: Request, hosts: Sequence[RemoteHost], arrived: dict[str, str] | None = None, *, verbose: bool
) -> None:
    """Inspect both sides of each transfer at the same time, then send; if some transfers fail, raise the last error.

    `arrived` gets the IDs of the image on the hosts that have it then, by their names.
    """
    from concurrent.futures import ThreadPoolExecutor

    from dockerutils.transfer import destination

    output = Output(Lines(), verbose)
    full_name = "/".join(references.split_registry(request.reference))
    # Children end first, and with them what the threads wait for.
    with ThreadPoolExecutor(2 * len(hosts)) as pool, children() as family:
        probes = [pool.submit(destination.probe, each, family) for each in hosts]
        image = _inspect(request.name, full_name, family)  # while ssh connects
        require_platform(request, image)
        deliveries = [pool.submit(deliver, request, image, each, family, output) for each in probes]
        errors = [error for each in deliveries if (error := each.exception())]
        if arrived is not None:
            there = [each.result() for each in deliveries if not each.exception()]
            arrived.update({each.host.name: each.image_id(full_name) for each in there})
    for error in errors[:-1]:
        if not isinstance(error, DockerutilsError):
            raise error
        console.fail("transfer-image", str(error))
    if errors:
        raise errors[-1]


def _inspect(given: str, full_name: str, children: Children) -> Source:
    """Return what the engine of this machine knows of an image, also in a docked shell; the user calls it `given`."""
    from dockerutils.transfer import source

    try:
        return source.inspect(full_name, children, inventory.undocked(os.environ))
    except source.MissingError as error:
        name = str(error).partition(" ")[0]
        if not (moniker := os.environ.get("DOCK_MONIKER")):
            if near := _resembling(given):
                raise DockerutilsError(
                    f"{name} does not exist on this engine; did you mean {near}? Otherwise build or pull it"
                ) from None
            raise
        raise DockerutilsError(
            f"{name} does not exist on the engine of this machine, and images on dock {moniker} are not sent; run "
            f"castoff, build or pull it, and run: source dock {moniker}"
        ) from None


class Output(NamedTuple):
    """What is shown: the progress, and with `verbose` also why an image takes a slower way."""

    lines: Lines
    verbose: bool


def deliver(
    request: Request, image: Source, probe: Future[Destination], children: Children, output: Output
) -> Destination:
    """Send an image to a destination as soon as its probe is done, show the progress, and return the destination."""
    from dockerutils.transfer import delivery

    lines, meter = output.lines, Meter()

    def report(progress: Progress) -> None:
        there = "" if progress.missing is None else f"{progress.layers - progress.missing} of "
        state = f"{there}{progress.layers} layers{' are there' if there else ''}"
        lines.update(name, f"{name}: {state}; {meter.show(progress.sent, progress.total)}")

    def warn(text: str) -> None:
        lines.above(lambda: console.warn("transfer-image", text))

    def explain(text: str) -> None:
        if output.verbose:
            lines.above(lambda: console.note("transfer-image", text))

    listener = delivery.Listener(report, warn, explain)
    with delivery.offered(image, children, listener) as offer:
        destination = probe.result()
        name = destination.host.name
        image = image.on(choose_platform(request, image, destination), children)
        lines.above(lambda: console.echo(equivalent(request.reference, destination.host, str(destination.docker))))
        start = time.monotonic()
        try:
            done = delivery.send(image, destination, offer, children, listener)
        except BaseException:
            lines.end(name)
            raise
    what = f"{done.missing} of {done.layers} layers, {amount(done.sent)}"
    lines.end(name, f"{name}: {request.reference} has arrived: {what} in {time.monotonic() - start:.1f} s")
    return destination


def _resembling(name: str) -> str:
    """Return the image of the current project whose name an unknown one resembles, or an empty string."""
    with suppress(UserError):
        names = program.project().names()
        return "" if name in names else nearest(name, names)
    return ""
