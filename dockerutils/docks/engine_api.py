"""A connection to the API of the engine of a host behind ssh: a session with `docker system dial-stdio`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from dockerutils.core.errors import CommandFailed, DockerutilsError
from dockerutils.core.process import PIPE
from dockerutils.core.process.children import Child, Children
from dockerutils.docks.remote import Docker, RemoteHost, find_docker
from dockerutils.docks.ssh_config import SSH_FAILED

if TYPE_CHECKING:
    from dockerutils.docker.api import Api

_CONNECTED = b"dockerutils connected\n"
_LIMIT = 1 << 20  # bytes that the host can print before the connection


class Connection(NamedTuple):
    """A connection to an engine: the docker command that made it, `info` as `docker info` shows it.

    `text` is what the host printed before.
    """

    docker: Docker
    engine: Api
    info: dict[str, Any]
    text: str


def dial(host: RemoteHost, children: Children, question: str = "") -> Child:
    """Start a child that becomes a connection to the engine of a host; see `connect`.

    `question` is a line of sh whose output `Connection.text` has. It marks what it prints: a login shell can print
    something too.
    """
    steps = [
        find_docker(),
        '[ -n "$docker" ] && [ -z "$refused" ] || exit 0',
        *([question] if question else []),
        'echo "dockerutils connected"',
        'exec $sudo"$docker" system dial-stdio',
    ]
    return children.start(host.argv(f"sh -c {shlex.quote('; '.join(steps))}"), stdin=PIPE)


def connect(host: RemoteHost, child: Child) -> Connection:
    """Return the connection that `dial` has begun.

    CommandFailed says why ssh failed, DockerutilsError that there is no docker which the user can use.
    """
    from dockerutils.docker import api  # late: ssh connects meanwhile

    output = b""
    while not output.endswith(_CONNECTED) and len(output) < _LIMIT and (data := child.read()):
        output += data
    text = output.decode(errors="replace")
    if not output.endswith(_CONNECTED):
        child.finish()
        if status := child.wait():
            raise CommandFailed(status, host.explain(child.stderr))
    docker, engine = host.docker_in(text), api.through(child)
    try:
        return Connection(docker, engine, engine.info(), text)
    except api.ApiError as error:
        child.finish()
        if child.wait() == SSH_FAILED:
            raise CommandFailed(SSH_FAILED, host.explain(child.stderr)) from error
        reason = (child.stderr.strip().splitlines() or [str(error)])[-1]
        raise DockerutilsError(
            f"docker system dial-stdio on {host.name} does not connect to the engine: {reason}; update docker there"
        ) from error
