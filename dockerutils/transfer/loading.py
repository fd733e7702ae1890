"""Upload an archive to the `docker load` of another host, compressed if that is faster."""

from __future__ import annotations

import re
import shlex
import time

from dockerutils.core.process import PIPE
from dockerutils.core.process.children import Child, Children
from dockerutils.transfer.destination import Compressor, Destination, LoadError, measure_bandwidth

# Bytes of an archive that are compressed to measure a compressor. Smaller archives are sent as they are.
_SAMPLE = 1 << 22
# How much faster than the connection a compressor has to be: other programs run on these machines too.
_HEADROOM = 2.0


class Upload:
    """An upload to one destination. It starts with the first bytes, through a compressor if one is worth it."""

    def __init__(self, destination: Destination, children: Children) -> None:
        self.destination = destination
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

    def close(self) -> None:
        """Send the end of the archive and return when it is loaded; for the errors, see `write`."""
        if not self._pipeline:
            self._start(None)
        assert self._pipeline
        first, loading = self._pipeline
        first.finish()
        output = loading.finish().decode(errors="replace")
        self._check(loading)
        # Engines with the containerd store report success then.
        if fault := re.search(r"(?m)^Error unpacking image .*", output):
            raise self.destination.failure(1, fault[0])

    def abort(self) -> None:
        """End the load before it takes the end of our bytes for the end of the archive."""
        for child in reversed(self._pipeline or ()):
            child.terminate()
            child.finish()

    def _start(self, compressor: Compressor | None) -> None:
        expand = f"{compressor.expand} | " if compressor and compressor.expand else ""
        command = f"sh -c {shlex.quote(f'{expand}{self.destination.docker} load')}"
        first = loading = self._children.start(self.destination.host.argv(command), stdin=PIPE)
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
        if status := loading.wait():
            raise self.destination.failure(status, loading.stderr)

    def _choose_compressor(self) -> Compressor | None:
        """Return the compressor that gets most through the connection; None if none is much faster than that."""
        bandwidth = measure_bandwidth(self.destination.host, self._children)
        sample = b"".join(self._buffer)
        best, most = None, bandwidth
        for each in self.destination.compressors:
            start = time.monotonic()
            compressed = self._children.start(each.compress, stdin=PIPE).finish(sample)
            speed = len(sample) / (time.monotonic() - start)
            throughput = min(speed, bandwidth * len(sample) / max(len(compressed), 1))
            if speed >= _HEADROOM * bandwidth and throughput > most:
                best, most = each, throughput
        return best
