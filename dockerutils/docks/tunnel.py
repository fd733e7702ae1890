"""Ways to the engine of a dock, over the shared connection.

ssh forwards the engine's socket, by direct-streamlocal@openssh.com in OpenSSH's PROTOCOL. sshd does not count these
channels as sessions, and starts no process for them. Where that is not possible, each channel is a session with
`docker system dial-stdio`, as with `ssh://`.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from contextlib import suppress
from typing import NamedTuple

from dockerutils.core import process
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process.children import Child
from dockerutils.docks import inventory, records, remote, ssh_config
from dockerutils.docks.remote import RemoteHost

# Seconds: for the login and the question; for ssh to open the forward, and the engine to answer there; for a ping.
_LOGIN, _OPEN, PING = 60.0, 10.0, 3.0
# Seconds that an unused channel stays open; seconds after which a failure counts as slow, and is shared with others.
_SPARE, _FAILED = 60.0, 2.0
_PING = b"GET /_ping HTTP/1.0\r\n\r\n"

# Prints the socket of the engine that docker on the dock uses, if the user there may use it.
_QUESTION = (
    f"PATH=$PATH:{remote.PLACES}"
    """
engine=${DOCKER_HOST:-$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null)}
case $engine in
unix://*) engine=${engine#unix://} ;;
'') engine=/var/run/docker.sock ;;
*) engine= ;;
esac
if test -S "$engine" && test -r "$engine" && test -w "$engine"; then echo "dockerutils engine $engine"; fi
"""
)


class Channel:
    """A connection to the engine: `stream`, and the child that it leads to, if there is one."""

    def __init__(self, way: _Forward | _Sessions, stream: socket.socket, child: Child | None = None) -> None:
        self.way = way
        self.stream = stream
        self._child = child

    def answers(self, seconds: float) -> bool:
        """Return whether the engine answers a ping in time; the channel cannot be used for anything else afterwards."""
        try:
            self.stream.settimeout(seconds)
            self.stream.sendall(_PING)
            return self.stream.recv(len(b"HTTP/1.")) == b"HTTP/1."
        except OSError:
            return False
        finally:
            self.close()

    @property
    def is_open(self) -> bool:
        """Whether a channel that nobody has used yet is still open."""
        try:
            return bool(self.stream.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """Close it, and end its child."""
        self.stream.close()
        if self._child:
            self._child.terminate()
            self._child.wait()
            self._child.close()


class _Forward(NamedTuple):
    """The engine's socket, `there`, forwarded to a socket `here`."""

    host: RemoteHost
    here: str
    there: str

    def connect(self) -> Channel:
        """Return a channel; OSError if ssh no longer listens."""
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.connect(self.here)
        except OSError:
            stream.close()
            raise
        return Channel(self, stream)

    def open(self) -> bool:
        """Have ssh listen, and return whether the engine answers there."""
        self.close()
        if self._control("forward"):
            with suppress(OSError):
                return self.connect().answers(_OPEN)
        return False

    def close(self) -> None:
        """Stop ssh from listening."""
        if self.host.is_connected:
            self._control("cancel")
        with suppress(FileNotFoundError):
            os.unlink(self.here)

    def _control(self, operation: str) -> bool:
        argv = self.host.control(operation, "-L", f"{self.here}:{self.there}")
        [answer] = process.capture_within([argv], _OPEN, lambda _: False)
        return answer is not None and not answer.status


class _Sessions(NamedTuple):
    """A session for each channel; `command` connects its stdin and stdout to the engine."""

    host: RemoteHost
    command: str

    def connect(self) -> Channel:
        """Return a channel; OSError if there are too many."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                return Channel(self, ours, Child(self.host.argv(self.command), theirs, theirs, None))
            except BaseException:
                ours.close()
                raise

    def close(self) -> None:
        """Do nothing: there are only the channels."""


class Tunnel:
    """The way to the engine of a dock, for several threads. If it fails, a new one is found."""

    def __init__(self, moniker: str, home: str) -> None:
        self._moniker = moniker
        self._home = home
        self._way: _Forward | _Sessions | None = None
        self._record: tuple[str, object] | None = None
        self._spare: Channel | None = None
        self._spare_since = 0.0
        self._failure = DockerutilsError()
        self._failed_until = float("-inf")
        self._lock, self._probing = threading.Lock(), threading.Lock()

    def open(self) -> Channel:
        """Return a new channel; DockerutilsError says why there is none."""
        asked = time.monotonic()
        with self._lock:
            if self._record and self._record[1] != _state(self._record[0]):
                self._give_up()  # the dock has another address now
            channel = self._take_spare() or self._connect(asked)
            if isinstance(channel.way, _Forward):  # opens the next channel in advance, which saves a round trip
                with suppress(OSError):
                    self._spare, self._spare_since = channel.way.connect(), time.monotonic()
            return channel

    def give_up(self, channel: Channel) -> None:
        """Give up the way of a channel that failed."""
        with self._lock:
            if channel.way is self._way:
                self._give_up()

    def is_dead(self, channel: Channel) -> bool:
        """Return whether the connection that a channel uses does not answer a ping either; it is given up then."""
        with self._probing:  # one at a time: the others get its result
            if channel.way is not self._way:
                return True
            try:
                if channel.way.connect().answers(PING):
                    return False
            except (OSError, DockerutilsError):
                pass
            channel.way.host.forget_connection()
            self.give_up(channel)
            return True

    def tidy(self) -> None:
        """Close the spare channel if it was not used for some time; an open one counts as use of the connection."""
        if time.monotonic() - self._spare_since > _SPARE and self._lock.acquire(blocking=False):
            try:
                self._drop_spare()
            finally:
                self._lock.release()

    def close(self) -> None:
        """Close the way."""
        with self._lock:
            self._give_up()

    def _take_spare(self) -> Channel | None:
        spare, self._spare = self._spare, None
        if spare and not spare.is_open:
            spare.close()
            spare = None
        return spare

    def _drop_spare(self) -> None:
        if spare := self._take_spare():
            spare.close()

    def _give_up(self) -> None:
        self._drop_spare()
        if self._way:
            self._way.close()
        self._way = None

    def _connect(self, asked: float) -> Channel:
        """Return a new channel, over a new way if necessary. Callers that asked before a failure share the result."""
        if self._way:
            with suppress(OSError):
                return self._way.connect()
            self._way = None
        if asked < self._failed_until:
            raise self._failure
        began = time.monotonic()
        try:
            self._way = self._find()
            return self._way.connect()
        except (OSError, DockerutilsError) as error:
            self._failure = error if isinstance(error, DockerutilsError) else DockerutilsError(str(error))
            ended = time.monotonic()
            self._failed_until = ended + _FAILED if ended - began > _FAILED else ended
            raise self._failure from None

    def _find(self) -> _Forward | _Sessions:
        """Log in, unless there is a connection, and return the best way."""
        dock = inventory.lookup(self._moniker, self._home)
        shared = dock and ssh_config.socket(dock, self._home)
        if not dock or not shared:
            raise DockerutilsError(f"dock {self._moniker} is no longer registered; run: castoff")
        record = records.path(dock.address, self._home)
        self._record = (record, _state(record))
        host = remote.of(dock)
        answer = host.capture(_QUESTION, seconds=_LOGIN)
        if engine := re.search(r"(?m)^dockerutils engine (/[^:\r\n]*)$", answer.stdout):
            forward = _Forward(host, f"{shared}.engine", engine[1])
            if forward.open():
                return forward
            forward.close()
        return _Sessions(host, f"{host.docker} system dial-stdio")


def _state(path: str) -> object:
    """Return what changes when a file is replaced, None if there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
