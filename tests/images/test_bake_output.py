"""What is shown of a docker buildx bake: the lines of each image."""

from __future__ import annotations

from contextlib import redirect_stderr
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerutils.core.errors import CommandFailed
from dockerutils.core.process import STDERR, STDOUT, Command
from dockerutils.core.process.jobs import Failure, Job
from dockerutils.images.bake_output import BakeOutput
from dockerutils.images.batch import Batch
from dockerutils.images.build_output import LiveLines, PrefixedLines

COMMAND = Command(["docker", "buildx", "bake"])
BAKE = Job("bake", [COMMAND])
OTHER = Job("other", [COMMAND])
TARGETS = {"web": "web", "my_api-builder": "my.api", "my_api": "my.api"}

BEGINNING = b"""\
#0 building with "default" instance using docker driver

#1 [internal] load local bake definitions
#1 DONE 0.0s

#2 [web internal] load build definition from Dockerfile
#2 DONE 0.0s

#3 [my_api builder 1/2] RUN true
#3 0.1 [web] text of a step
#4 [web] exporting to image
#4 exporting layers 0.1s done
#4 DONE 0.1s
#5 [my_api] exporting to image
#5 DONE 0.1s

"""
SUCCESS = b"""\
#6 [my_api-builder] exporting to image
#6 DONE 0.1s

 1 warning found (use docker --debug to expand):
"""
FAILURE = b"""\
#7 [my_api-builder 2/2] RUN false
#7 ERROR: process did not complete
------
 > [my_api-builder 2/2] RUN false:
------
Dockerfile:2
ERROR: target my_api-builder: failed to solve: process did not complete\
"""
MISTAKE = b"""\
Dockerfile:2
--------------------
   2 | >>> RUM x
ERROR: target my_api: failed to solve: dockerfile parse error on line 2: unknown instruction: RUM
"""
SHARED = b"""\
#7 [my_api builder 1/2] RUN false
#7 0.1 what
#7 ...
#7 [web builder 1/2] RUN false
#7 0.2 is wrong
#7 ERROR: process did not complete
------
 > [web builder 1/2] RUN false:
0.2 is wrong
------
"""


class Shown(PrefixedLines):
    """Keeps what is shown."""

    def __init__(self) -> None:
        super().__init__(to_stderr=False)
        self.lines: list[str] = []
        self.ended: list[tuple[str, bool]] = []
        self.started: list[str] = []
        self.canceled: list[str] = []

    def start(self, job: Job, begun: float | None = None) -> None:
        self.started.append(job.name)
        super().start(job, begun)

    def show(self, command: Command) -> None:
        self.lines.append(str(command))

    def end(self, job: Job, failure: Failure | None) -> None:
        super().end(job, failure)
        self.ended.append((job.name, failure is None))

    def cancel(self, job: Job) -> None:
        super().cancel(job)
        self.canceled.append(job.name)

    def _print(self, job: Job, stream: int, lines: list[bytes]) -> None:
        assert stream == STDERR
        self.lines += [f"[{job.name}] {line.decode()}" for line in lines]


def _shown(*pieces: bytes, failure: bool = False) -> tuple[Shown, BakeOutput]:
    shown = Shown()
    output = BakeOutput(shown, [Batch("bake", COMMAND, TARGETS)])
    output.begin(BAKE, COMMAND)
    for piece in pieces:
        output.write(BAKE, STDERR, piece)
    output.end(BAKE, Failure(BAKE, 0, CommandFailed(1)) if failure else None)
    return shown, output


def test_success() -> None:
    shown, output = _shown(BEGINNING, SUCCESS)
    assert shown.started == ["web", "my.api"]
    assert shown.ended == [("web", True), ("my.api", True)]
    assert output.built == {"web", "my.api"}
    assert shown.lines == [
        "docker buildx bake",
        '[bake] #0 building with "default" instance using docker driver',
        "[bake] ",
        "[bake] #1 [internal] load local bake definitions",
        "[bake] #1 DONE 0.0s",
        "[bake] ",
        "[web] #2 [web internal] load build definition from Dockerfile",
        "[web] #2 DONE 0.0s",
        "[web] ",
        "[my.api] #3 [my_api builder 1/2] RUN true",
        "[my.api] #3 0.1 [web] text of a step",
        "[web] #4 [web] exporting to image",
        "[web] #4 exporting layers 0.1s done",
        "[web] #4 DONE 0.1s",
        "[my.api] #5 [my_api] exporting to image",
        "[my.api] #5 DONE 0.1s",
        "[my.api] ",
        "[my.api] #6 [my_api-builder] exporting to image",
        "[my.api] #6 DONE 0.1s",
        "[my.api] ",
        "[bake]  1 warning found (use docker --debug to expand):",
    ]


def test_failure() -> None:
    shown, output = _shown(BEGINNING, FAILURE, failure=True)
    assert shown.ended == [("web", True), ("my.api", False)]
    assert shown.canceled == []
    assert output.built == {"web"}
    assert output.failed(BAKE) == ["my.api"]
    assert shown.lines[-7:] == [f"[my.api] {line}" for line in FAILURE.decode().splitlines()]


def test_a_failure_ends_the_other_images() -> None:
    shown, output = _shown(FAILURE, failure=True)
    assert (shown.canceled, shown.ended) == (["web"], [("my.api", False)])
    assert output.failed(BAKE) == ["my.api"]


@pytest.mark.parametrize("error", ["my_api", "web"])
def test_a_failure_of_a_step_of_two_images(error) -> None:
    # docker names such a step after the one or the other; all of its output belongs to one image.
    shown, output = _shown(SHARED, f"ERROR: target {error}: failed to solve: process\n".encode(), failure=True)
    assert shown.lines[1:] == [f"[my.api] {line}" for line in SHARED.decode().splitlines()] + [
        f"[my.api] ERROR: target {error}: failed to solve: process"
    ]
    assert (shown.canceled, shown.ended) == (["web"], [("my.api", False)])
    assert output.failed(BAKE) == ["my.api"]


def test_a_mistake_in_a_dockerfile() -> None:
    shown, _ = _shown(BEGINNING, MISTAKE, failure=True)
    assert shown.lines[-4:] == [f"[my.api] {line}" for line in MISTAKE.decode().splitlines()]


def test_a_failure_of_no_image() -> None:
    shown, output = _shown(b"ERROR: no builder\n", failure=True)
    assert (shown.canceled, shown.ended) == (["web", "my.api"], [("bake", False)])
    assert output.failed(BAKE) == ["web", "my.api"]
    assert shown.lines[-1] == "[bake] ERROR: no builder"


def test_the_time_of_a_failure_is_that_of_its_command(clock, terminal, monkeypatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with redirect_stderr(terminal):
        output = BakeOutput(LiveLines(to_stderr=False), [Batch("bake", COMMAND, TARGETS)])
        clock[0] += 60  # while a base is built
        output.begin(BAKE, COMMAND)
        clock[0] += 1.5
        output.write(BAKE, STDERR, b"ERROR: no builder\n")
        output.end(BAKE, Failure(BAKE, 0, CommandFailed(1)))
    assert "bake: failed after 1.5 s\n" in terminal.getvalue()
    assert "web: canceled after 1.5 s\n" in terminal.getvalue()


def test_a_temporary_failure() -> None:
    shown = Shown()
    output = BakeOutput(shown, [Batch("bake", COMMAND, TARGETS)])
    output.begin(BAKE, COMMAND)
    output.write(BAKE, STDERR, BEGINNING + FAILURE)
    output.begin(BAKE, COMMAND)
    output.write(BAKE, STDERR, BEGINNING + SUCCESS)
    output.end(BAKE, None)
    assert shown.started == ["web", "my.api", "my.api"]
    assert shown.ended == [("web", True), ("my.api", True)]
    assert output.built == {"web", "my.api"}


def test_a_temporary_failure_between_the_targets_of_an_image() -> None:
    shown = Shown()
    output = BakeOutput(shown, [Batch("bake", COMMAND, TARGETS)])
    output.begin(BAKE, COMMAND)
    output.write(BAKE, STDERR, BEGINNING)
    output.begin(BAKE, COMMAND)
    output.write(BAKE, STDERR, BEGINNING)
    output.end(BAKE, Failure(BAKE, 0, CommandFailed(1)))
    assert shown.canceled == ["my.api"]
    assert output.built == {"web"}


def test_other_jobs() -> None:
    shown = Shown()
    output = BakeOutput(shown, [Batch("bake", COMMAND, TARGETS)])
    output.begin(OTHER, COMMAND)
    output.write(OTHER, STDERR, b"#1 [web 1/2] x\n")
    output.end(OTHER, Failure(OTHER, 0, CommandFailed(1)))
    assert output.failed(OTHER) == ["other"]
    assert output.built == set()
    output.end(OTHER, None)
    assert output.built == {"other"}
    assert shown.lines == ["docker buildx bake", "[other] #1 [web 1/2] x"]


def test_stdout_keeps_its_stream(capfd) -> None:
    output = BakeOutput(PrefixedLines(to_stderr=False), [Batch("bake", COMMAND, TARGETS)])
    output.write(BAKE, STDOUT, b"x\n")
    assert capfd.readouterr() == ("[bake] x\n", "")


@given(st.booleans(), st.lists(st.integers(0, len(BEGINNING + FAILURE)), max_size=6))
def test_pieces_of_any_length(failure, cuts) -> None:
    text = BEGINNING + (FAILURE if failure else SUCCESS)
    bounds = [0, *sorted(cuts), len(text)]
    pieces = [text[first:last] for first, last in pairwise(bounds)]
    whole, _ = _shown(text, failure=failure)
    divided, _ = _shown(*pieces, failure=failure)
    assert divided.lines == whole.lines
    assert divided.ended == whole.ended
