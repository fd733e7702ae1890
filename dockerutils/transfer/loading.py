"""The way into the `docker load` of another host: bytes go in here, an image comes out there."""

from __future__ import annotations

import json
import re
import shlex
import time
from typing import NamedTuple

from dockerutils.core.errors import CommandFailed
from dockerutils.core.process import PIPE, Child, Children
from dockerutils.docks import remote
from dockerutils.docks.ssh_config import SSH_FAILED
from dockerutils.transfer.destination import Compressor, Target, sound

# Bytes of an image that are compressed to see how that goes. What is less is sent as it is.
_SAMPLE = 1 << 22
# How much faster than the connection a compressor has to be: it is not the only one to work on these machines.
_HEADROOM = 2.0

_ENDED = r"cannot connect|error during connect|eof|broken pipe|connection reset"


class Refused(Exception):
    """The destination did not take what it was sent; the message says what it said."""


class Arrival(NamedTuple):
    """What a destination has in the end: the image's diff ids, and its files, where the store may lack some."""

    diff_ids: tuple[str, ...]
    files: frozenset[str] | None


class Passage:
    """A transfer to one destination, through a compressor where one pays. The first bytes open it."""

    def __init__(self, to: Target, reference: str, children: Children) -> None:
        self._to = to
        self._reference = shlex.quote(reference)
        self._children = children
        self._held: list[bytes] = []
        self._ways: tuple[Child, Child] | None = None  # what we write to, a compressor perhaps, and what loads
        self.gone = 0

    def write(self, data: bytes) -> None:
        """Send some bytes; Refused when the destination takes no more, CommandFailed when it is gone."""
        self.gone += len(data)
        if self._ways:
            self._push(data)
            return
        self._held.append(data)
        if self.gone >= _SAMPLE:
            self._open(self._compressor())

    def close(self) -> Arrival:
        """Send the end, and return what the destination has now; Refused and CommandFailed as `write`."""
        if not self._ways:
            self._open(None)
        assert self._ways
        first, loading = self._ways
        first.finish()
        said = dict(re.findall(r"(?m)^dockerutils (\w+) (.*)", loading.finish().decode(errors="replace")))
        self._check(loading)
        files = frozenset(said["files"].split()) if "files" in said else None
        return Arrival(tuple(json.loads(said["layers"]) or ()), files)

    def abandon(self) -> None:
        """End what loads, before it takes the end of our bytes for the end of the image."""
        for child in reversed(self._ways or ()):
            child.terminate()
            child.finish()

    def _open(self, compressor: Compressor | None) -> None:
        docker, expand = self._to.docker, f"{compressor.expand} | " if compressor and compressor.expand else ""
        has = f"$({docker} image inspect --format '{{{{json .RootFS.Layers}}}}' {self._reference})"
        script = f'{expand}{docker} load && echo dockerutils layers "{has}"'
        if self._to.containerd:
            # This store takes an image for complete whose lower layers it has, but has in another form.
            script += f" && echo dockerutils files $({docker} save {self._reference} | tar -t)"
        first = loading = self._children.start(self._to.where.argv(f"sh -c {shlex.quote(script)}"), stdin=PIPE)
        if compressor:
            first = self._children.start(compressor.compress, stdin=PIPE, stdout=loading.stdin)
            loading.close_stdin()
        self._ways = first, loading
        for data in self._held:
            self._push(data)
        self._held.clear()

    def _push(self, data: bytes) -> None:
        assert self._ways
        first, loading = self._ways
        try:
            first.write(data)
        except BrokenPipeError:
            loading.finish()
            self._check(loading)
            raise Refused("it took no more") from None

    def _check(self, loading: Child) -> None:
        """Raise what the end of a failed load means."""
        status, where, complaint = loading.wait(), self._to.where, loading.stderr
        if status == SSH_FAILED and not complaint.strip():  # who shares a connection leaves without a word then
            raise CommandFailed(status, f"{where.name}: the connection was cut; run the command again")
        if status == SSH_FAILED:
            raise CommandFailed(status, remote.explain(where, complaint))
        if status and "no space left" in complaint.lower():
            raise CommandFailed(status, f"{where.name}: the disk there is full; free some space, see: docker system df")
        if status and re.search(_ENDED, complaint, re.IGNORECASE):
            raise CommandFailed(status, f"{where.name}: the engine there has ended; see that it runs, and try again")
        if status:
            raise Refused((complaint.strip().splitlines() or ["nothing"])[-1].strip())

    def _compressor(self) -> Compressor | None:
        """Return the compressor that gets most through the connection; None when none is much faster than that."""
        rate = sound(self._to.where, self._children)
        sample = b"".join(self._held)
        best, most = None, 0.0
        for each in self._to.compressors:
            start = time.monotonic()
            packed = self._children.start(each.compress, stdin=PIPE).finish(sample)
            speed = len(sample) / (time.monotonic() - start)
            through = min(speed, rate * len(sample) / max(len(packed), 1))
            if speed >= _HEADROOM * rate and through > most:
                best, most = each, through
        return best
