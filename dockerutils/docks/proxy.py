"""The process behind the socket of a dock's engine: `python -m dockerutils.docks.proxy MONIKER DESCRIPTOR USER`.

It passes each connection on to the engine. If the connection to the dock has ended or does not answer, it logs in
again. So docker finds the engine again after the computer was asleep, or the network has changed.

An unanswered request that only reads (GET, HEAD), such as docker's first one, is sent again over the new connection.
Other requests are refused with a message.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import threading
import time
from contextlib import suppress

from dockerutils.core.errors import DockerutilsError
from dockerutils.docks import engine_socket, inventory
from dockerutils.docks.tunnel import Channel, Tunnel

# Seconds between two looks at who uses the socket, and at the environments of all processes.
_TICK, _LONG_TICK = 2.0, 60.0
# Seconds without an answer before the connection is checked; docker gives up its first request after two.
_PATIENCE = 1.5
# Seconds for a client to read a refusal.
_READ = 3.0
_CHUNK = 1 << 18
# Bytes of a request that are kept, to send it again.
_KEPT = 1 << 16
_STACK = 1 << 18
_FILES = 8192  # open ones: a connection takes two, and one of ssh's


class Proxy:
    """A server at a socket; it runs while the processes `users` run or a client is connected."""

    def __init__(self, moniker: str, listener: socket.socket, users: set[int]) -> None:
        self._moniker = moniker
        self._listener = listener
        self._users = users
        self._path = os.fsdecode(listener.getsockname())
        self._inode = os.stat(self._path).st_ino
        self._home = os.path.dirname(os.path.dirname(self._path))
        self._tunnel = Tunnel(moniker, self._home)
        self._connected = 0
        self._used_until = 0.0
        self._lock = threading.Lock()

    def serve(self) -> None:
        """Serve until nobody uses the socket."""
        self._listener.settimeout(_TICK)
        looked = time.monotonic()
        while True:
            if time.monotonic() - looked > _TICK:
                self._tunnel.tidy()
                if not self._is_used() and self._withdraw():
                    break
                looked = time.monotonic()
            with suppress(OSError):  # no client, or too many open files
                client = self._listener.accept()[0]
                client.settimeout(None)
                threading.Thread(target=self._attend, args=(client,), daemon=True).start()
        self._tunnel.close()
        self._listener.close()

    def _is_used(self) -> bool:
        if self._connected:
            return True
        if not self._is_ours():
            return False
        self._users = {user for user in self._users if _runs(user)}
        if self._users or time.monotonic() < self._used_until:
            return True
        is_used = _is_in_environment(self._path)
        self._used_until = time.monotonic() + _LONG_TICK if is_used else 0.0
        return is_used

    def _is_ours(self) -> bool:
        """Return whether the socket in the file system is still this one."""
        try:
            return os.stat(self._path).st_ino == self._inode
        except OSError:
            return False

    def _withdraw(self) -> bool:
        """Remove the socket, unless a client has connected meanwhile; nobody connects to a removed or replaced one."""
        if not self._is_ours():
            return True
        with inventory.locked(self._home, engine_socket.LOCK):
            if self._is_used():
                return False
            if self._is_ours():
                os.unlink(self._path)
            return True

    def _attend(self, client: socket.socket) -> None:
        """Serve a client."""
        with self._lock:
            self._connected += 1
        try:
            with client, suppress(OSError):
                request = client.recv(_CHUNK)
                if request.startswith(engine_socket.HELLO):
                    self._welcome(client, request)
                elif request:
                    self._pass_on(client, request)
        finally:
            with self._lock:
                self._connected -= 1

    def _welcome(self, client: socket.socket, hello: bytes) -> None:
        """Add a user; its ssh-agent is used from now on."""
        _, user, agent = hello.decode().rstrip("\n").split(" ", 2)
        self._users.add(int(user))
        if agent:
            os.environ["SSH_AUTH_SOCK"] = agent
        client.sendall(engine_socket.WELCOME)

    def _pass_on(self, client: socket.socket, request: bytes) -> None:
        """Connect a client to the engine, over a new connection to the dock if necessary."""
        exchange = _Exchange(client, request, self._tunnel)
        try:
            while not exchange.is_over:
                channel = self._tunnel.open()
                try:
                    exchange.run(channel)
                finally:
                    channel.close()
        except DockerutilsError as error:
            _refuse(client, str(error))
        else:
            if exchange.was_cut:
                _refuse(client, f"the connection to dock {self._moniker} was cut; try again")


class _Exchange:
    """The connection of a client: `request` has the bytes sent before the engine's first answer."""

    def __init__(self, client: socket.socket, request: bytes, tunnel: Tunnel) -> None:
        self.is_over = False
        self.was_cut = False
        self._client = client
        self._request = request
        self._tunnel = tunnel
        self._attempts = 0
        self._has_closed = False

    def run(self, channel: Channel) -> None:
        """Pass everything on over a channel until the end, unless it fails before the first answer."""
        self._attempts += 1
        answer = self._first_answer(channel)
        if answer or self._has_closed or len(self._request) > _KEPT:
            self.is_over = True
            self._client.sendall(answer)
            _pass_both_ways(self._client, channel.stream)
        elif not self._is_repeatable:
            self.is_over = self.was_cut = True

    @property
    def _is_repeatable(self) -> bool:
        return self._attempts == 1 and self._request.startswith((b"GET ", b"HEAD "))

    def _first_answer(self, channel: Channel) -> bytes:
        """Send the request and what follows; return the first bytes of the answer, none if there is no answer.

        The client then sends nothing more, or too much to keep, or the channel has failed.
        """
        stream = channel.stream
        answer = b""
        with selectors.DefaultSelector() as ready, suppress(OSError):
            stream.sendall(self._request)
            ready.register(stream, selectors.EVENT_READ)
            ready.register(self._client, selectors.EVENT_READ)
            # Other requests wait until ssh finds the connection dead: perhaps the engine is only slow.
            limit = _PATIENCE if self._is_repeatable else None
            while len(self._request) <= _KEPT:
                events = {key.fileobj for key, _ in ready.select(limit)}
                if stream in events:
                    answer = stream.recv(_CHUNK)
                    break
                if self._client in events:
                    if not self._receive(stream):
                        return b""
                elif not events:
                    if self._tunnel.is_dead(channel):
                        return b""
                    limit = None
            else:
                return b""
        if not answer:
            self._tunnel.give_up(channel)
        return answer

    def _receive(self, stream: socket.socket) -> bool:
        """Pass on more of the request; return False at its end."""
        data = self._client.recv(_CHUNK)
        self._request += data
        stream.sendall(data)
        self._has_closed = not data
        return not self._has_closed


def _pass_both_ways(client: socket.socket, engine: socket.socket) -> None:
    """Pass bytes on until both directions have ended."""
    upwards = threading.Thread(target=_pass, args=(client, engine), daemon=True)
    upwards.start()
    _pass(engine, client)
    upwards.join()


def _pass(source: socket.socket, destination: socket.socket) -> None:
    """Pass bytes on until the end, which is passed on too; an error ends both connections."""
    try:
        while data := source.recv(_CHUNK):
            destination.sendall(data)
        destination.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (source, destination):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _refuse(client: socket.socket, message: str) -> None:
    """Answer with an error in the format of the engine, so that docker prints the message."""
    import json  # late: most requests are answered by the engine

    body = json.dumps({"message": f"dockerutils: {message}"}).encode()
    head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
    client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    client.shutdown(socket.SHUT_WR)
    client.settimeout(_READ)
    while client.recv(_CHUNK):  # closing it before the request is read would discard the answer
        pass


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_in_environment(path: str) -> bool:
    """Return whether a process was started with the socket as its DOCKER_HOST; never outside Linux (proc(5))."""
    variable = b"DOCKER_HOST=unix://" + os.fsencode(path)
    own = str(os.getpid())
    for pid in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if pid.isdecimal() and pid != own:
            with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as environ:
                if variable in environ.read().split(b"\0"):
                    return True
    return False


def main(moniker: str, descriptor: str, user: str) -> None:
    """Serve the listening socket with this descriptor while the process `user`, or one that said hello, is running."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    # With it, the ssh connections that are started here, and outlive the shell, would count as users of the socket.
    os.environ.pop("DOCKER_HOST", None)
    threading.stack_size(_STACK)
    Proxy(moniker, socket.socket(fileno=int(descriptor)), {int(user)}).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
