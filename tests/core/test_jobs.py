"""Jobs run at the same time, each after those that it needs."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from dockerutils.core.errors import CommandFailed, Terminated
from dockerutils.core.process import STDERR, STDOUT, Command, Input
from dockerutils.core.process.jobs import Failure, Job, run_jobs
from tests.support import processes, wait_for


class Record:
    """A report that keeps everything."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.written: dict[tuple[str, int], bytes] = {}
        self.most = 0

    def begin(self, job: Job, _: Command) -> None:
        self.begun.append(job.name)
        self.most = max(self.most, len(set(self.begun) - set(self.ended)))

    def write(self, job: Job, stream: int, data: bytes) -> None:
        self.written[job.name, stream] = self.written.get((job.name, stream), b"") + data

    def end(self, job: Job, _: Failure | None) -> None:
        self.ended.append(job.name)

    def refresh(self) -> None:
        pass


def _shell(*lines: str) -> list[Command]:
    return [Command(["sh", "-c", line]) for line in lines]


@pytest.fixture
def report(tmp_path, monkeypatch) -> Record:
    monkeypatch.chdir(tmp_path)
    return Record()


# Each waits for the other: they end only if they run at the same time.
_MEET = "touch {0}; until [ -e {1} ]; do sleep 0.01; done"


def test_jobs_run_at_the_same_time_after_those_that_they_need(report) -> None:
    jobs = [
        Job("base", _shell("sleep 0.1; touch base")),
        Job("a", _shell("[ -e base ]", _MEET.format("a", "b")), {"base"}),
        Job("b", _shell("[ -e base ]", _MEET.format("b", "a")), {"base"}),
        Job("last", _shell("[ -e a ] && [ -e b ]"), {"a", "b"}),
    ]
    assert run_jobs(jobs, 2, report) == ([], [])
    assert sorted(report.begun[3:5]) == ["a", "b"]
    assert [*report.begun[:3], report.begun[5]] == ["base", "a", "b", "last"]
    assert (report.ended[0], report.ended[-1]) == ("base", "last")


@pytest.mark.parametrize(("at_once", "most"), [(1, 1), (2, 2), (9, 4)])
def test_no_more_than_wanted_run_at_the_same_time(report, at_once, most) -> None:
    jobs = [Job(name, _shell("sleep 0.2")) for name in "abcd"]
    assert run_jobs(jobs, at_once, report) == ([], [])
    assert report.most == most


def test_an_exclusive_job_runs_while_no_other_one_does(report) -> None:
    alone = _shell("mkdir busy", "rmdir busy")
    jobs = [Job(name, alone, exclusive=True) if name in "bd" else Job(name, _shell("[ ! -e busy ]", "sleep 0.05; [ ! -e busy ]")) for name in "abcde"]  # fmt: skip
    assert run_jobs(jobs, 4, report) == ([], [])
    assert sorted(report.ended) == list("abcde")


def test_after_a_failure_running_jobs_go_on_and_no_other_starts(report) -> None:
    jobs = [
        Job("bad", _shell("until [ -e going ]; do sleep 0.01; done; exit 7", "touch never")),
        Job("good", _shell("touch going; sleep 0.2", "touch done")),
        Job("later", _shell("touch never")),
        Job("after", _shell("touch never"), {"bad"}),
    ]
    failures, rest = run_jobs(jobs, 2, report)
    assert [(each.job.name, each.number, each.error.status) for each in failures] == [("bad", 0, 7)]
    assert isinstance(failures[0].error, CommandFailed)
    assert [job.name for job in rest] == ["later", "after"]
    assert sorted(os.listdir()) == ["done", "going"]


def test_a_failure_stops_the_others_if_the_caller_says_so(report) -> None:
    jobs = [Job(name, _shell(f"touch {name}; exit {status}")) for name, status in {"a": 1, "b": 2, "c": 3}.items()]
    failures, rest = run_jobs(jobs, 1, report, goes_on=lambda failure: failure.error.status == 1)
    assert [each.job.name for each in failures] == ["a", "b"]
    assert [job.name for job in rest] == ["c"]
    assert sorted(os.listdir()) == ["a", "b"]


@pytest.mark.parametrize(("passes_at", "attempts"), [(2, 2), (3, 3), (4, 3)])
def test_a_command_that_fails_for_a_cause_that_passes_runs_again(report, passes_at, attempts) -> None:
    line = f"echo >>runs; [ $(wc -l <runs) = {passes_at} ] || {{ seq 9999 >&2; printf 'try again' >&2; exit 7; }}"
    jobs = [Job("a", _shell("true", line, "true")), Job("b", _shell("echo try again; exit 8"))]
    failures, _ = run_jobs(jobs, 1, report, lambda stderr: stderr.endswith(b"try again"))
    assert Path("runs").read_text().count("\n") == attempts
    # A cause in the stdout of a command, or in what an earlier one wrote, is none.
    failed = [("b", 8)] if passes_at == attempts else [("a", 7)]
    assert [(each.job.name, each.error.status) for each in failures] == failed


def test_a_command_that_cannot_be_started_fails_its_job(report) -> None:
    failures, _ = run_jobs([Job("a", [Command(["./missing"])])], 2, report)
    assert [str(each.error) for each in failures] == [
        "./missing was not found; correct its path, or make it executable (chmod +x)"
    ]


def test_the_whole_output_is_handed_on_and_nothing_is_read(report) -> None:
    line = "cat; i=0; while [ $i -lt 20000 ]; do echo line $i; echo error $i >&2; i=$((i+1)); done; sleep 5 &"
    assert run_jobs([Job("a", _shell(line)), Job("b", _shell("printf end"))], 2, report) == ([], [])
    assert report.written["a", STDOUT] == b"".join(b"line %d\n" % number for number in range(20000))
    assert report.written["a", STDERR] == b"".join(b"error %d\n" % number for number in range(20000))
    assert report.written["b", STDOUT] == b"end"


def test_directory_and_variables_of_a_command(report, tmp_path) -> None:
    (tmp_path / "sub").mkdir()
    command = Command(["sh", "-c", "echo $X; pwd"], {"X": "y"}, str(tmp_path / "sub"))
    assert run_jobs([Job("a", [command])], 1, report) == ([], [])
    assert report.written["a", STDOUT].decode() == f"y\n{tmp_path}/sub\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Terminated(signal.SIGTERM)])
def test_an_interruption_ends_all_children(report, error) -> None:
    """One child ends at SIGTERM and writes more than a pipe holds, another ignores SIGTERM for a while."""

    def interrupt(number: int, _: object) -> None:
        raise error

    before = signal.signal(signal.SIGUSR1, interrupt)
    noisy = "trap 'head -c 200000 /dev/zero; exit 1' TERM; touch noisy; while :; do sleep 0.05; done"
    jobs = [Job("noisy", _shell(noisy)), Job("plain", _shell("touch plain; exec sleep 54321")), Job("later", _shell("touch later"))]  # fmt: skip

    def when_started() -> None:
        wait_for(lambda: Path("noisy").exists() and processes("sleep", "54321"))
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=when_started)
    thread.start()
    try:
        with pytest.raises(type(error)):
            run_jobs(jobs, 2, report)
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert processes("sleep", "54321") == []
    assert len(report.written["noisy", STDOUT]) == 200000
    assert not Path("later").exists()


@pytest.mark.parametrize(
    ("line", "written"), [("wc -c", b"300000\n"), ("true", b""), ("exec <&-; sleep 0.1; echo x", b"x\n")]
)
def test_a_command_with_input(report, line, written) -> None:
    command = Command(["sh", "-c", line], stdin=Input("source", lambda: "x" * 300_000))
    assert run_jobs([Job("a", [command])], 1, report) == ([], [])
    assert report.written.get(("a", STDOUT), b"").strip() == written.strip()
