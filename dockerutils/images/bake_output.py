"""Output of `docker buildx bake`, divided into that of its images.

Bake has no format for programs before buildx 0.14, so this reads the lines that docker prints without a terminal:
`#7 [web 2/3] RUN make` begins a step of the target web, and later lines with the number 7 belong to it. A step that
several targets have in common is named after any of them, and the name can change: the first one counts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence

from dockerutils.core.process import STDERR, Command
from dockerutils.core.process.jobs import Failure, Job
from dockerutils.images.batch import Batch
from dockerutils.images.build_output import LiveLines, PrefixedLines

_STEP = re.compile(rb"#(\d+) (?:\[([\w-]+)[ \]])?")
_EXPORT = re.compile(rb"#\d+ \[[\w-]+\] exporting to ")
_DONE = re.compile(rb"#\d+ DONE ")
_ERROR = re.compile(rb"#\d+ ERROR: ")
# What names the target that failed. Lines before it belong to it: dashes, or those of the Dockerfile.
_FAILED = re.compile(rb"(?: > \[([\w-]+)[ \]]|ERROR: target ([\w-]+): )")


class BakeOutput:
    """A report that shows each image of a batch like a build of its own. `built` are the images that are built."""

    def __init__(self, output: PrefixedLines | LiveLines, batches: Sequence[Batch]) -> None:
        self.built: set[str] = set()
        self._output = output
        self._bakes = {batch.name: _Bake(batch) for batch in batches}

    def begin(self, job: Job, command: Command) -> None:
        """Show a command that is about to run."""
        bake = self._bakes.get(job.name)
        if not bake:
            self._output.begin(job, command)
            return
        bake.begin()
        for image in bake.exports:
            self._output.start(_job(image))
        self._output.show(command)

    def write(self, job: Job, stream: int, data: bytes) -> None:
        """Show output as that of the image that it belongs to; lines of no image have the name of the batch."""
        bake = self._bakes.get(job.name)
        if not bake or stream != STDERR:
            self._output.write(job, stream, data)
            return
        self._write_lines(job, bake, bake.lines(data))

    def _write_lines(self, job: Job, bake: _Bake, lines: Iterable[bytes]) -> None:
        for line in lines:
            image = bake.image(line)
            self._output.write(_job(image) if image else job, STDERR, line + b"\n")
            if image and bake.is_end(line, image):
                self.built.add(image)
                self._output.end(_job(image), None)

    def end(self, job: Job, failure: Failure | None) -> None:
        """Show that a job has ended, and with it those images of a batch that had not."""
        bake = self._bakes.get(job.name)
        if not bake:
            self.built |= set() if failure else {job.name}
            self._output.end(job, failure)
            return
        self._write_lines(job, bake, bake.rest())
        for image in bake.exports:
            if not failure:
                self.built.add(image)
                self._output.end(_job(image), None)
            elif image != bake.failed:
                self._output.cancel(_job(image))
        if not failure:
            return
        if bake.failed:
            self._output.end(_job(bake.failed), failure)
        else:
            self._output.start(job, bake.begun)
            self._output.end(job, failure)

    def refresh(self) -> None:
        """Update what is shown."""
        self._output.refresh()

    def failed(self, job: Job) -> list[str]:
        """Return the images that a failed job did not build because of itself: all of a batch if none failed first."""
        if bake := self._bakes.get(job.name):
            return [bake.failed] if bake.failed else list(bake.exports)
        return [job.name]


class _Bake:
    """A bake that runs. `exports` are the numbers of images to be written, by the image, until all are."""

    def __init__(self, batch: Batch) -> None:
        self.begun: float | None = None
        self.failed = ""
        self.exports = {image: list(batch.targets.values()).count(image) for image in batch.images}
        self._counts = dict(self.exports)
        self._targets: Mapping[bytes, str] = {target.encode(): image for target, image in batch.targets.items()}
        self._steps: dict[bytes, str] = {}
        self._exporting: set[bytes] = set()
        self._last = ""
        self._unfinished = b""
        self._held: list[bytes] = []

    def begin(self) -> None:
        """Begin, also again after an error that was temporary."""
        self.begun = self.begun or time.monotonic()
        self.failed = self._last = ""
        self.exports = {image: self._counts[image] for image in self.exports}
        self._unfinished = b""
        self._steps.clear()
        self._exporting.clear()
        self._held.clear()

    def lines(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete now; those of no step only together with the line behind them."""
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        found = []
        for line in lines:
            if line and not self.failed and not _STEP.match(line) and not _FAILED.match(line):
                self._held.append(line)
                continue
            found += [b"\n".join([*self._held, line])] if _FAILED.match(line) else [*self._held, line]
            self._held.clear()
        return found

    def rest(self) -> list[bytes]:
        """Return the lines that are left at the end."""
        return [*(self.lines(b"\n") if self._unfinished else []), *self._held]

    def image(self, line: bytes) -> str:
        """Return the image that a line belongs to; "" if that is unknown."""
        if step := _STEP.match(line):
            number, target = step.groups()
            if target in self._targets:
                self._steps.setdefault(number, self._targets[target])
                if _EXPORT.match(line):
                    self._exporting.add(number)
            self._last = self._steps.get(number, "")
            if _ERROR.match(line):
                self.failed = self.failed or self._last
            return self._last
        if not self.failed and (failed := _FAILED.match(line.rpartition(b"\n")[2])):
            self.failed = self._targets.get(failed[1] or failed[2], "")
        return self.failed or ("" if line.strip() else self._last)

    def is_end(self, line: bytes, image: str) -> bool:
        """Return whether this line of an image is its last one: all of its targets are in the engine's store now."""
        step = _STEP.match(line)
        if not step or step[1] not in self._exporting or not _DONE.match(line) or image not in self.exports:
            return False
        self._exporting.discard(step[1])
        self.exports[image] -= 1
        if self.exports[image]:
            return False
        del self.exports[image]
        return True


def _job(image: str) -> Job:
    return Job(image, [])
