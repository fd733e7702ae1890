"""Upload an archive to the `docker load` of another host, compressed if that is faster, and read what was loaded."""

from __future__ import annotations

import re
import shlex
import time
from typing import NamedTuple

from dockerutils.core.errors import CommandFailed
from dockerutils.core.process import PIPE
from dockerutils.core.process.children import Child, Children
from dockerutils.docks.ssh_config import SSH_FAILED
from dockerutils.transfer.destination import Compressor, Destination, diff_ids, measure_bandwidth

# Bytes of an archive that are compressed to measure a compressor. Smaller archives are sent as they are.
_SAMPLE = 1 << 22
# How much faster than the connection a compressor has to be: other programs run on these machines too.
_HEADROOM = 2.0

# The stderr of loads that also fail with all layers, and what it means.
_FATAL = {
    r"no space left": "the disk there is full; free some space, see: docker system df",
    r"cannot connect|error during connect|eof|broken pipe|connection reset": (
        "the engine there has stopped; start it and run the command again"
    ),
    r"no such image": "the image was removed there after it was loaded; run the command again",
}


class LoadError(Exception):
    """The destination did not load what it was sent; the message says why."""


class Loaded(NamedTuple):
    """What a destination has after the load: the image's diff ids and files, None where it does not say."""

    diff_ids: tuple[str, ...] | None
    files: frozenset[str] | None


class Upload:
    """An upload to one destination. It starts with the first bytes, through a compressor if one is worth it."""

    def __init__(self, destination: Destination, reference: str, children: Children) -> None:
        self.destination = destination
        self._reference = shlex.quote(reference)
        self._children = children
        self._buffer: list[bytes] = []
        self._pipeline: tuple[Child, Child] | None = None  # the child that we write to, and the one that loads
        self.sent = 0

    def write(self, data: bytes) -> None:
        """Send some bytes; LoadError if the destination rejects them, CommandFailed if it is gone."""
        self.sent += len(data)
        if self._pipeline:
            self._send(data)
            return
        self._buffer.append(data)
        if self.sent >= _SAMPLE:
            self._start(self._choose_compressor())

    def close(self) -> Loaded:
        """Send the end of the archive and return what the destination has now; for the errors, see `write`."""
        if not self._pipeline:
            self._start(None)
        assert self._pipeline
        first, loading = self._pipeline
        first.finish()
        answers = dict(re.findall(r"(?m)^dockerutils (\w+) (.*)", loading.finish().decode(errors="replace")))
        self._check(loading)
        files = frozenset(answers.get("files", "").split())
        return Loaded(diff_ids(answers.get("layers", "")), files or None)

    def abort(self) -> None:
        """End the load before it takes the end of our bytes for the end of the archive."""
        for child in reversed(self._pipeline or ()):
            child.terminate()
            child.finish()

    def _start(self, compressor: Compressor | None) -> None:
        docker, expand = self.destination.docker, f"{compressor.expand} | " if compressor and compressor.expand else ""
        inspect = f"{docker} image inspect --format '{{{{json .RootFS.Layers}}}}' {self._reference}"
        # An assignment keeps the status of the command.
        script = f'{expand}{docker} load && layers=$({inspect}) && echo "dockerutils layers $layers"'
        if not self.destination.is_classic:
            # The containerd store considers an image complete if it has its lower layers in another form.
            script += (
                f" && {{ files=$({docker} save {self._reference} | tar -t) && echo dockerutils files $files || :; }}"
            )
        first = loading = self._children.start(self.destination.host.argv(f"sh -c {shlex.quote(script)}"), stdin=PIPE)
        if compressor:
            first = self._children.start(compressor.compress, stdin=PIPE, stdout=loading.stdin)
            loading.close_stdin()
        self._pipeline = first, loading
        for data in self._buffer:
            self._send(data)
        self._buffer.clear()

    def _send(self, data: bytes) -> None:
        assert self._pipeline
        first, loading = self._pipeline
        try:
            first.write(data)
        except BrokenPipeError:
            loading.finish()
            self._check(loading)
            raise LoadError("it stopped reading") from None

    def _check(self, loading: Child) -> None:
        """Raise the error of the load, if it failed."""
        status, host, stderr = loading.wait(), self.destination.host, loading.stderr
        if status == SSH_FAILED:
            raise CommandFailed(status, host.explain(stderr))
        for pattern, message in _FATAL.items():
            if status and re.search(pattern, stderr, re.IGNORECASE):
                raise CommandFailed(status, f"{host.name}: {message}")
        if status:
            raise LoadError((stderr.strip().splitlines() or ["no message"])[-1].strip())

    def _choose_compressor(self) -> Compressor | None:
        """Return the compressor that gets most through the connection; None if none is much faster than that."""
        bandwidth = measure_bandwidth(self.destination.host, self._children)
        sample = b"".join(self._buffer)
        best, most = None, 0.0
        for each in self.destination.compressors:
            start = time.monotonic()
            compressed = self._children.start(each.compress, stdin=PIPE).finish(sample)
            speed = len(sample) / (time.monotonic() - start)
            throughput = min(speed, bandwidth * len(sample) / max(len(compressed), 1))
            if speed >= _HEADROOM * bandwidth and throughput > most:
                best, most = each, throughput
        return best
