"""Hosts behind ssh: docks, and other hosts by `[user@]host[:port]`; their shared connection and their docker."""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import NamedTuple

from dockerutils.core import complaints, process, shell_words
from dockerutils.core.errors import CommandFailed, DockerutilsError, UserError
from dockerutils.core.process import Captured
from dockerutils.docks import inventory, records, ssh_config
from dockerutils.docks.records import Dock

# Directories that docker can be in, and that the PATH of an ssh command often does not contain.
PLACES = "/usr/local/bin:/usr/bin:/snap/bin:/opt/bin:/opt/homebrew/bin:$HOME/.docker/bin:$HOME/bin"

# Seconds: to connect to a host; for the shared connection to answer, on a busy machine; between signs of life of the
# host, of which three can be missing.
CONNECT, CHECK, KEEP_ALIVE = 15, 2.5, 5
# Limits of a script: seconds, and bytes of output.
ANSWER, LIMIT = 60.0, 1 << 20


class Docker(NamedTuple):
    """The docker command of a host: its path, `docker` when that is on the PATH, and whether it needs `sudo -n`."""

    path: str
    sudo: bool

    def __str__(self) -> str:
        return shell_words.render([*(["sudo", "-n"] if self.sudo else []), self.path])


def find_docker(question: str = "version -f {{.Server.Version}}") -> str:
    """Return a line of sh that finds docker and asks the engine `question`, docker arguments as sh takes them.

    It prints the line that `Docker` is read from (see `docker_in`). It sets `docker` to its path, empty when there is
    none, `sudo` to `sudo -n ` if that is needed, and `answer`. The line has no `!` and no line end: inside single
    quotes, any login shell passes it on.
    """
    ask = f'"$docker" {question}'
    return (
        "docker=docker sudo= answer= refused=; "
        f"command -v docker >/dev/null || {{ PATH=$PATH:{PLACES}; docker=$(command -v docker); }} || docker=; "
        f'test -z "$docker" || answer=$({ask} 2>/dev/null) || '
        f'{{ answer=$(sudo -n {ask} 2>/dev/null) && sudo="sudo -n "; }} || '
        'refused="$("$docker" version 2>&1 >/dev/null | tr "\\r\\n" "  ") "; '
        'if test -n "$refused"; then echo "dockerutils refused $refused"; '
        'elif test -n "$docker"; then echo "dockerutils docker $sudo$docker"; fi'
    )


class RemoteHost:
    """A host behind ssh: `name` is what the user calls it, `dock` its record if it is a dock.

    Commands share one connection: that of the dock's ssh stanza, or one with a socket of its own.
    """

    def __init__(
        self,
        name: str,
        address: str,
        options: Sequence[str] = (),
        sharing: Sequence[str] = (),
        dock: Dock | None = None,
    ) -> None:
        self.name = name
        self.dock = dock
        self.options = tuple(options)
        self._address = address
        self._sharing = tuple(sharing)
        self._socket = ssh_config.socket(dock, os.path.expanduser("~")) if dock else None

    def shown(self, command: str) -> list[str]:
        """Return the words that run `command`, a line for the host's shell, as a user would write them."""
        return ["ssh", *self.options, self._address, command]

    def argv(self, command: str) -> list[str]:
        """Return the words that run `command`, a line for the host's shell, over the shared connection."""
        return ["ssh", *self._sharing, *self.options, self._address, command]

    def control(self, operation: str, *arguments: str) -> list[str]:
        """Return the words that have the shared connection do something: `ssh -O`, see ssh(1)."""
        return ["ssh", *self._sharing, "-O", operation, *arguments, *self.options, self._address]

    def explain(self, stderr: str) -> str:
        """Return what ssh means by its stderr: what is wrong; what to do."""
        return complaints.explain_ssh(stderr, self._host)

    @property
    def is_connected(self) -> bool:
        """Whether the shared connection of a dock has a socket; the connection can be dead."""
        return self._socket is not None and os.path.exists(self._socket)

    def forget_connection(self) -> None:
        """Remove the socket of a dock's shared connection: the next command opens a new one."""
        if self._socket:
            with suppress(FileNotFoundError):
                os.unlink(self._socket)

    def disconnect(self) -> None:
        """End the shared connection, if there is one."""
        if self._socket is None or self.is_connected:
            # A burst of Ctrl-C at the terminal reaches this ssh too: try again if that ended it.
            [answer] = process.capture_within(
                [self.control("exit")], CHECK, lambda answer: answer.status == 128 + signal.SIGINT
            )
            if answer is None:
                self.forget_connection()

    def connect(self) -> None:
        """Open the shared connection unless there is one; CommandFailed says why that fails."""
        self.capture("exit 0")

    def capture(self, script: str, *, seconds: float = ANSWER, limit: int = LIMIT) -> Captured:
        """Run a script with the host's `sh` and return its result; CommandFailed says why ssh failed.

        CommandFailed also if it takes more than `seconds`, or writes more than `limit` bytes.
        """
        drop_dead_connections([self])
        answer = process.capture(self.argv("sh -s"), stdin=script, seconds=seconds, limit=limit)
        if answer.status == process.TIMED_OUT:
            late = f"{self._host.name} did not answer in {seconds:g} s"
            raise CommandFailed(answer.status, f"{late}; check that it is up")
        if answer.status == process.TOO_LONG:
            raise CommandFailed(answer.status, f"{self._host.name} sent more than {limit} bytes; check what runs there")
        if answer.status == ssh_config.SSH_FAILED:
            raise CommandFailed(answer.status, self.explain(answer.stderr))
        return answer

    @cached_property
    def docker(self) -> Docker:
        """Its docker, asked for once; DockerutilsError if it has none, or its user is not allowed to use it."""
        return self.docker_in(self.capture(find_docker()).stdout)

    def docker_in(self, output: str) -> Docker:
        """Read what the line of `find_docker` has printed; DockerutilsError if there is no docker, or none to use."""
        answers = dict(re.findall(r"(?m)^dockerutils (docker|refused) (.*)", output))
        if "refused" in answers:
            raise DockerutilsError(complaints.explain(answers["refused"], self._host))
        if "docker" not in answers:
            raise DockerutilsError(
                f"{self._host.name} has no docker; install it there, or add its directory to the PATH of that user"
            )
        path = answers["docker"].removeprefix("sudo -n ")
        return Docker(path, sudo=path != answers["docker"])

    @property
    def _host(self) -> complaints.Host:
        name = f"dock {self.dock.moniker}" if self.dock else self.name
        login = shell_words.render(["ssh", *self.options, self._address])
        return complaints.Host(name, login, self.dock is not None)


def drop_dead_connections(hosts: Sequence[RemoteHost]) -> None:
    """Forget the shared connections that do not answer, as after SIGSTOP: ssh would wait for them forever."""
    connected = [host for host in hosts if host.is_connected]
    checks = [host.control("check") for host in connected]
    answers = process.capture_within(checks, CHECK, lambda _: False)
    for host, answer in zip(connected, answers, strict=True):
        if answer is None:
            host.forget_connection()


def check_docked_shell(environ: Mapping[str, str]) -> None:
    """Make sure that docker connects to the shell's dock, or says why not.

    Its socket accepts connections again; over `ssh://`, docker would wait forever for a connection that is dead.
    """
    from dockerutils.docks import engine_socket  # late: only docked shells need it

    home = os.path.expanduser("~")
    docks, _ = inventory.survey(home)
    for dock in docks:
        if dock.moniker == environ.get("DOCK_MONIKER"):
            if environ.get("DOCKER_HOST") == f"unix://{engine_socket.path(dock, home)}":
                engine_socket.ensure(dock, home, os.getsid(0))
            else:
                drop_dead_connections([of(dock)])


def probe(dock: Dock, script: str, seconds: float) -> list[str]:
    """Return the command that runs a script of sh on a dock: ssh asks nothing, and connects in time or fails."""
    options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={int(seconds) + 1}"]
    return ["ssh", *options, dock.host, "--", f"sh -c {shlex.quote(script)}"]


def of(dock: Dock) -> RemoteHost:
    """Return a dock as a host behind ssh."""
    return RemoteHost(dock.moniker, dock.host, dock=dock)


def destination(name: str, environ: Mapping[str, str], home: str, *, sockets: str, ask: bool) -> RemoteHost:
    """Return the host that `name` means: a dock's moniker or address, or `[user@]host[:port]`.

    UserError when it is neither. SSH_KEY in `environ` is the identity file. The socket of the shared connection is in
    the directory `sockets`, a dock's where its stanza has it; `ask`: ssh may ask for a passphrase, for example.
    """
    key = environ.get("SSH_KEY")
    if key and not os.path.isfile(key):
        raise UserError(f"SSH_KEY: {key} does not exist; set it to a private key, or unset it")
    options = ["-i", os.path.abspath(key)] if key else []
    asking = () if ask else ("-o", "BatchMode=yes")
    if dock := inventory.lookup(name, home):
        return RemoteHost(name, dock.host, options, asking, dock)
    found = records.parse_destination(name)
    if not found:
        raise UserError(f"{name!r} is not a destination; name a dock, or write [user@]host[:port]")
    if found.port:
        options += ["-p", found.port]
    settings = [
        *("ControlMaster=auto", f"ControlPath={sockets}/%C", "ControlPersist=60", f"ConnectTimeout={CONNECT}"),
        *(f"ServerAliveInterval={KEEP_ALIVE}", "ServerAliveCountMax=3"),
    ]
    sharing = [word for setting in settings for word in ("-o", setting)]
    return RemoteHost(name, f"{found.user}@{found.host}" if found.user else found.host, options, (*asking, *sharing))
