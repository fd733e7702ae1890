"""Run shards of an image: containers that share the work by their index, as in an array job of AWS Batch."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from dockerutils.core import console, files, process
from dockerutils.core.errors import CommandFailed, UserError
from dockerutils.core.process import Captured, Command, jobs
from dockerutils.core.process.jobs import Failure, Job
from dockerutils.docker import invocation, options
from dockerutils.docker.options import RUN
from dockerutils.images import build, indices
from dockerutils.images.indices import INDEX, SIZE
from dockerutils.images.shard_output import Results
from dockerutils.project.project import Project

COUNTED = 100  # the highest exit status that is a number of failed shards; 101 means more

_BY = "run-image"
_NOT_STARTED = 125  # docker run: the container was not created or not started
_LISTED = 20  # failed shards with a line of their own
_PATIENCE = 5.0  # seconds for the engine to remove the containers that have ended
# Options for a single container, and switches for a terminal or a container that runs detached.
_ONCE = ("name", "cidfile", "ip", "ip6", "mac-address")
_ALONE = {"detach": "-d", "interactive": "-i", "tty": "-t"}


class Shards(NamedTuple):
    """The shards to run: the number of all shards, the indices of those that run, and how many at the same time.

    `logs` is the directory of the logs, None for a new one. `again` returns the command line that runs the shards of a
    list again. `at_once` is None for the default of builds.
    """

    size: int
    indices: Sequence[int]
    at_once: int | None
    logs: str | None
    again: Callable[[str], str]


def parse_list(text: str, size: int) -> list[int]:
    """Return the indices in the value of --shard; UserError unless each is one of `size` shards."""
    if found := indices.parse(text, size):
        return found
    raise UserError(f"--shard: {text!r} is not a list of shards from 0 to {size - 1}; write one such as 0,3 or 0-3")


def require_sense(run: invocation.Run, given: Sequence[str]) -> None:
    """Raise UserError for options that make no sense for several containers that run to their end.

    `given` are the options of docker run on the command line.
    """
    words = [*given, *run.ports, *run.args]
    for switch, spelling in _ALONE.items():
        if options.is_on(words, RUN, switch):
            raise UserError(f"--shards runs without a terminal, and waits for the end; leave out {spelling}")
    for name in _ONCE:
        if options.values(words, RUN, name):
            raise UserError(f"--{name} is for one container, and --shards runs several; leave it out")
    if options.values(words, RUN, "restart")[-1:] not in ([], ["no"]):
        raise UserError("--restart is for a container that never ends, and each shard ends; leave it out")
    if any("rm" in option.names and option.value in options.FALSE for option in options.parse(given, RUN)):
        raise UserError("--shards removes its containers, and keeps their logs; leave out --rm=false")
    if ports := invocation.published(words):
        port = ports[0].number
        raise UserError(
            f"port {port} is for one container, and --shards runs several; publish the port of the container only, as "
            "in -p 80"
        )
    for variable in (INDEX, SIZE):
        if any(value.partition("=")[0] == variable for value in options.values(given, RUN, "env")):
            raise UserError(f"--shards sets {variable}; leave out -e {variable}, or leave out --shards")


def start(project: Project, run: invocation.Run, shards: Shards, *, dry_run: bool = False) -> None:
    """Run the shards, each in a container with a log of its output.

    A failed shard does not stop the others, unless docker cannot start the first ones. The status of CommandFailed is
    the number of shards that did not succeed, at most COUNTED + 1. An interruption removes the containers.
    """
    run = run._replace(interactive=[], remove=True)
    commands = {index: _command(project, run, shards, index) for index in shards.indices}
    if dry_run:
        for command in commands.values():
            process.run(command, dry_run=True)
        return
    at_once = build.at_once(project, shards.at_once)
    state = files.base_directory("STATE", os.environ, os.path.expanduser("~"))
    with Results(shards.logs or os.path.join(state, "dockerutils", "shards", run.name), len(commands)) as results:
        wanted = console.count(len(commands), "shard")
        console.note(_BY, f"{wanted}, at most {at_once} at a time; their logs are in {results.directory}")
        try:
            _run(commands, at_once, results)
        except BaseException:
            results.close()
            _remove_containers(run.name)
            console.note(_BY, f"interrupted; {_outcome(results, shards)}")
            raise
    _report(results, shards)


def _command(project: Project, run: invocation.Run, shards: Shards, index: int) -> Command:
    variables = ["-e", f"{SIZE}={shards.size}", "-e", f"{INDEX}={index}"]
    shard = run._replace(name=f"{run.name}-{index}", environment=[*run.environment, *variables])
    return invocation.run(shard, project.root)


def _run(commands: dict[int, Command], at_once: int, results: Results) -> None:
    def goes_on(failure: Failure) -> bool:
        return failure.error.status != _NOT_STARTED or bool(results.succeeded) or len(set(results.failed.values())) > 1

    jobs.run_jobs(
        [Job(str(index), [command]) for index, command in commands.items()], at_once, results, goes_on=goes_on
    )


def _report(results: Results, shards: Shards) -> None:
    """Print how the shards ended; CommandFailed if some did not succeed."""
    left = len(shards.indices) - len(results.succeeded)
    if not left:
        console.note(_BY, f"{console.count(len(results.succeeded), 'shard')} succeeded in {results.seconds:.1f} s")
        return
    rows = [(str(index), str(status), results.log(index)) for index, status in sorted(results.failed.items())]
    print(console.table(("SHARD", "STATUS", "LOG"), rows[:_LISTED]), file=sys.stderr)
    if len(rows) > _LISTED:
        print(f"and {len(rows) - _LISTED} more in {results.directory}", file=sys.stderr)
    raise CommandFailed(min(left, COUNTED + 1), _outcome(results, shards))


def _outcome(results: Results, shards: Shards) -> str:
    """Return how many shards succeeded or failed, and the command line that runs the others again."""
    others = [index for index in shards.indices if index not in results.succeeded]
    counts = [
        f"{number} {what}"
        for number, what in (
            (len(results.succeeded), "succeeded"),
            (len(results.failed), "failed"),
            (len(others) - len(results.failed), "did not run to the end"),
        )
        if number
    ]
    again = shards.again(indices.listed(others))
    return f"of {console.count(len(shards.indices), 'shard')}, {', '.join(counts)}; to run these again: {again}"


def _remove_containers(name: str) -> None:
    """Remove the containers of a run whose docker commands have ended: docker removes most of them itself."""
    pattern = re.escape(name).replace("\\-", "-")
    query = ["docker", "ps", "--all", "--filter", f"name=^{pattern}-[0-9]+$", "--format", "{{.Names}} {{.Status}}"]
    [answer] = process.capture_within([query], _PATIENCE, _are_ending)
    if answer and (names := [line.split()[0] for line in answer.stdout.splitlines()]):
        with suppress(CommandFailed):  # docker has removed one meanwhile
            process.run(Command(["docker", "rm", "--force", *names]), to_stderr=True)


def _are_ending(answer: Captured) -> bool:
    """Return whether there are containers, and all of them have ended."""
    lines = answer.stdout.splitlines()
    return bool(lines) and not any(line.split()[1:2] == ["Up"] for line in lines)
