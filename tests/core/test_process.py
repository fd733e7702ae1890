"""Child processes: printed, executed, ended. All are real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dockerutils.core import process
from dockerutils.core.errors import CommandFailed, DockerutilsError, Terminated
from dockerutils.core.process import Command, Input, jobs, spawn
from dockerutils.core.process.children import Child, children
from dockerutils.core.process.jobs import Failure, Job
from tests import support
from tests.support import first_line, processes, wait_for

RULE = "=" * 80


def test_run_prints_the_command_to_stderr(capfd) -> None:
    process.run(Command(["echo", "a b"]))
    out, err = capfd.readouterr()
    assert out == "a b\n"
    assert err == f"\n{RULE}\necho 'a b'\n\n"


def test_dry_run_prints_on_stdout_and_runs_nothing(capfd, tmp_path) -> None:
    for action in (process.run, process.replace):
        action(Command(["touch", str(tmp_path / "x")], {"A": "1"}), dry_run=True)
    out, err = capfd.readouterr()
    assert out == f"A=1 touch {tmp_path}/x\n" * 2
    assert err == ""
    assert not (tmp_path / "x").exists()


def test_run_in_a_directory_with_variables(capfd, tmp_path) -> None:
    process.run(Command(["sh", "-c", "pwd; echo $A"], {"A": "1"}, str(tmp_path)))
    out, err = capfd.readouterr()
    assert out == f"{tmp_path}\n1\n"
    assert f"(cd {tmp_path} && A=1 sh -c 'pwd; echo $A')" in err


_SECRET = Input("printenv SECRET", lambda: "s3cret")


def test_of_stdin_only_the_source_is_printed(capfd) -> None:
    process.run(Command(["sh", "-c", "wc -c; echo $A"], stdin=_SECRET), unshown={"A": "1"})
    assert capfd.readouterr() == ("6\n1\n", f"\n{RULE}\nprintenv SECRET | sh -c 'wc -c; echo $A'\n\n")


def test_dry_run_does_not_read_the_input(capfd) -> None:
    process.run(Command(["cat"], stdin=Input("x", lambda: pytest.fail("it was read"))), dry_run=True)
    assert capfd.readouterr().out == "x | cat\n"


def test_run_waits_for_a_child_that_does_not_read() -> None:
    with pytest.raises(CommandFailed) as error:
        process.run(Command(["sh", "-c", "exec <&-; sleep 0.1; exit 4"], stdin=Input("x", lambda: "x" * 200_000)))
    assert error.value.status == 4


def test_the_stdout_of_a_child_goes_to_stderr(capfd) -> None:
    process.run(Command(["echo", "hello"]), to_stderr=True)
    assert capfd.readouterr() == ("", f"\n{RULE}\necho hello\n\nhello\n")


HOSTILE = r"printf '\033]0;x\007 \233 \302'; printf '\251\tb\r\nc' "
ESCAPED = "\\x1b]0;x\\x07 \ufffd \u00a9\tb\r\nc"


def test_the_stderr_of_a_child_is_shown_escaped(capfd) -> None:
    with pytest.raises(CommandFailed) as error:
        process.run(Command(["sh", "-c", f"{{ {HOSTILE}; }} >&2; printf out; exit 3"]), escaped=[process.STDERR])
    out, err = capfd.readouterr()
    assert out == "out"
    assert err.endswith(f"\n\n{ESCAPED}")
    assert error.value.stderr.startswith("\x1b]0;x")


def test_the_stdout_of_a_child_is_shown_escaped_in_order(capfd) -> None:
    both = [process.STDOUT, process.STDERR]
    process.run(Command(["sh", "-c", f"{HOSTILE}; printf d >&2; printf e"]), escaped=both)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.endswith(f"\n\n{ESCAPED}de")


def test_escaped_output_is_shown_while_the_child_runs(tmp_path) -> None:
    script = f"printf 'Password\\033: ' >&2; while [ ! -e {tmp_path}/x ]; do sleep 0.05; done"
    with _child(f"process.run(Command(['sh', '-c', {script!r}]), escaped=[process.STDERR])") as child:
        assert child.stderr is not None
        line = ""
        while not line.endswith("Password\\x1b: "):
            letter = child.stderr.read(1)
            assert letter
            line += letter
        (tmp_path / "x").touch()
        assert child.communicate(timeout=20) == ("", "")


def test_what_a_child_leaves_in_the_background_neither_delays_nor_writes_on(capfd) -> None:
    began = time.monotonic()
    with pytest.raises(CommandFailed) as error:
        process.run(Command(["sh", "-c", "yes 98757 >&2 & sleep 0.2; exit 3"]), escaped=[process.STDERR])
    assert error.value.status == 3
    assert time.monotonic() - began < 30
    assert len(error.value.stderr) <= 1 << 16
    wait_for(lambda: processes("yes", "98757") == [])


def test_a_child_whose_pipe_ssh_makes_non_blocking_can_write_much(capfd) -> None:
    code = """
import os, time
os.set_blocking(2, False)
while not os.get_blocking(2):
    time.sleep(0.01)
assert os.write(2, b"x" * 1_000_000) == 1_000_000
"""
    process.run(Command([sys.executable, "-c", code]), escaped=[process.STDERR])
    assert capfd.readouterr().err.endswith("x" * 1_000_000)


def test_escaped_output_of_a_program_that_cannot_be_started() -> None:
    with pytest.raises(DockerutilsError, match="no-such-program was not found on PATH"):
        process.run(Command(["no-such-program"]), escaped=[process.STDERR])


def test_the_current_directory_is_not_shown(tmp_path) -> None:
    assert str(Command(["x"], {}, os.curdir)) == str(Command(["x"], {}, os.getcwd())) == "x"


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_the_status_of_a_child_is_kept(script: str, status: int) -> None:
    with pytest.raises(CommandFailed) as error:
        process.run(Command(["sh", "-c", script]))
    assert error.value.status == status


@pytest.mark.parametrize("action", [process.run, process.replace])
@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("no-such-program", "no-such-program was not found on PATH; correct its path, or make it executable (chmod +x)"),
        ("./no-such", "./no-such was not found; correct its path, or make it executable (chmod +x)"),
        ("/etc/passwd", "/etc/passwd cannot be started: Permission denied; correct its path, or make it executable (chmod +x)"),
    ],
)  # fmt: skip
def test_error_of_a_program_that_cannot_be_started(action, program: str, message: str, capfd) -> None:
    with pytest.raises(DockerutilsError) as error:
        action(Command([program]))
    assert str(error.value) == message
    assert error.value.status == 1


def test_failed_replace_restores_signals() -> None:
    before = signal.getsignal(signal.SIGPIPE)
    with pytest.raises(DockerutilsError):
        process.replace(Command(["no-such-program"]))
    assert signal.getsignal(signal.SIGPIPE) == before


def test_no_docker(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DockerutilsError) as error:
        process.capture(["docker", "version"])
    assert str(error.value) == (
        "docker was not found on PATH; install the docker command-line client, or add its directory to PATH"
    )


def test_capture_shows_nothing(capfd, tmp_path) -> None:
    answer = process.capture(["sh", "-c", "cat; pwd; echo err >&2; exit 2"], directory=str(tmp_path))
    assert answer == (2, f"{tmp_path}\n", "err\n")
    assert capfd.readouterr() == ("", "")


def test_a_probe_that_writes_too_much_is_killed() -> None:
    for stream in ("", ">&2"):
        began = time.monotonic()
        answer = process.capture(["sh", "-c", f"cat /dev/zero {stream}"], limit=1_000_000)
        assert answer.status == process.TOO_LONG
        assert answer.stderr == "its output is too long\n"
        assert len(answer.stdout) <= 1_000_000
        assert time.monotonic() - began < 10


def test_a_probe_that_writes_as_much_as_it_may() -> None:
    answer = process.capture(["head", "-c", "1000000", "/dev/zero"], limit=1_000_000)
    assert (answer.status, len(answer.stdout)) == (0, 1_000_000)
    answers = process.capture_within([["cat", "/dev/zero"], ["echo", "a"]], 60, lambda _: False, limit=10_000)
    assert [answer.status for answer in answers if answer] == [process.TOO_LONG, 0]


def test_a_probe_that_takes_too_long_is_ended() -> None:
    began = time.monotonic()
    assert process.capture(["sleep", "98762"], seconds=0.2) == (process.TIMED_OUT, "", "no answer in 0.2 s\n")
    assert time.monotonic() - began < 10
    assert processes("sleep", "98762") == []


def test_a_probe_that_ignores_signals_is_killed() -> None:
    script = "trap '' TERM; while :; do sleep 0.05; done"
    assert process.capture(["sh", "-c", script], seconds=0.2).status == process.TIMED_OUT
    assert processes("sh", "-c", script) == []


def test_a_probe_ends_before_what_it_has_started_in_the_background() -> None:
    began = time.monotonic()
    try:
        assert process.capture(["sh", "-c", "sleep 98761 & echo a; exit 3"]) == (3, "a\n", "")
        assert time.monotonic() - began < 30
    finally:
        for pid in processes("sleep", "98761"):
            os.kill(pid, signal.SIGTERM)


def test_a_probe_reads_and_writes_at_the_same_time() -> None:
    text = "0123456789\n" * 100_000
    assert process.capture(["cat"], stdin=text) == (0, text, "")
    assert process.capture(["true"], stdin=text) == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_probes(number: int) -> None:
    code = """
parser = program.Parser("x", "x", "x")
print("ready", flush=True)
sys.exit(program.main(parser, lambda args: process.capture_all([["sleep", "98760"], ["sleep", "98760"]]), []))
"""
    with _child(code) as child:
        wait_for(lambda: len(processes("sleep", "98760")) == 2)
        began = time.monotonic()
        child.send_signal(number)
        _, err = child.communicate(timeout=20)
        assert (child.returncode, err) == (128 + number, "")
    assert time.monotonic() - began < 5
    assert processes("sleep", "98760") == []


def test_error_of_arguments_that_are_too_long() -> None:
    for action in (process.run, process.replace):
        with pytest.raises(DockerutilsError) as error:
            action(Command(["true", "x" * 200_000]))
        assert str(error.value) == (
            "true cannot be started: the arguments and environment variables are too long; shorten them"
        )


def _child(code: str) -> support.Child:
    """Start Python with `code` in a process group of its own, as a terminal does."""
    setup = (
        "import os, signal, sys\n"
        "from dockerutils.cli import program\n"
        "from dockerutils.core import process\n"
        "from dockerutils.core.process import Command\n"
    )
    return support.Child([sys.executable, "-c", setup + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_stdin_of_a_probe() -> None:
    assert process.capture(["cat"], stdin="a\n").stdout == "a\n"
    assert process.capture(["cat"]).stdout == ""


def test_replace_takes_the_place_of_this_process() -> None:
    with _child("process.replace(Command(['sh', '-c', 'echo $$; echo $A; pwd; exit 5'], {'A': '1'}, '/'))") as child:
        out, _ = child.communicate(timeout=20)
    assert out.split() == [str(child.pid), "1", "/"]
    assert child.returncode == 5


def test_replace_restores_the_signal_that_python_ignores() -> None:
    with _child("process.replace(Command(['grep', 'SigIgn', '/proc/self/status']))") as child:
        out, _ = child.communicate(timeout=20)
    ignored = int(out.split()[1], 16)
    assert not ignored & 1 << signal.SIGPIPE - 1


def test_probes_with_a_limit() -> None:
    began = time.monotonic()
    answers = process.capture_within(
        [["echo", "a"], ["sleep", "98764"], ["sh", "-c", "echo b >&2; exit 3"]], 0.5, lambda _: False
    )
    assert answers == [process.Captured(0, "a\n", ""), None, process.Captured(3, "", "b\n")]
    assert 0.5 <= time.monotonic() - began < 10
    assert processes("sleep", "98764") == []


def test_probes_end_no_later_than_the_last_of_them() -> None:
    began = time.monotonic()
    assert process.capture_within([], 60, lambda _: False) == []
    assert process.capture_within([["true"]], 60, lambda _: False) == [process.Captured(0, "", "")]
    assert time.monotonic() - began < 30


def test_a_probe_is_repeated(tmp_path) -> None:
    script = f"echo x >> {tmp_path}/tries; wc -l < {tmp_path}/tries; exit 1"
    answers = process.capture_within([["sh", "-c", script]], 60, lambda answer: answer.stdout.strip() != "3")
    assert answers == [process.Captured(1, "3\n", "")]
    # The last result counts when there is no time left.
    assert process.capture_within([["false"]], 0.3, lambda _: True) == [process.Captured(1, "", "")]


def test_an_exception_ends_probes() -> None:
    def interrupt(_: process.Captured) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.capture_within([["sleep", "98765"], ["true"]], 60, interrupt)
    assert processes("sleep", "98765") == []


_TRAPS = "trap 'echo INT; exit 9' INT; trap 'echo TERM; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
_MAIN = f"""
parser = program.Parser("x", "x", "x")
sys.exit(program.main(parser, lambda args: process.run(Command(["sh", "-c", {_TRAPS!r}])), []))
"""


@pytest.mark.parametrize(
    ("number", "group", "output", "status"),
    [
        pytest.param(signal.SIGINT, True, ["INT"], 130, id="Ctrl-C"),
        pytest.param(signal.SIGINT, False, ["INT"], 130, id="INT to the parent"),
        pytest.param(signal.SIGTERM, False, ["TERM"], 143, id="TERM to the parent"),
    ],
)
def test_signals_reach_the_child(number: int, group: bool, output: list[str], status: int) -> None:
    with _child(_MAIN) as child:
        assert first_line(child) == "ready\n"
        (os.killpg if group else os.kill)(child.pid, number)
        out, _ = child.communicate(timeout=20)
    assert out.split() == output
    assert child.returncode == status


def test_a_child_that_ignores_sigterm_is_killed(monkeypatch) -> None:
    code = "process.spawn.PATIENCE = 0.2\n" + _MAIN.replace("trap 'echo TERM; exit 9' TERM", "trap '' TERM; echo $$")
    with _child(code) as child:
        pid = int(first_line(child))
        assert first_line(child) == "ready\n"
        child.terminate()
        child.communicate(timeout=20)
    assert child.returncode == 143
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline


def test_a_signal_during_the_start_of_a_child_ends_it(monkeypatch) -> None:
    """The signal arrives after the fork, before the pid of the child is known."""
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def interrupted(*args, **kwargs):
        started.append(start(*args, **kwargs))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    sessions = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            process.run(Command(["sleep", "98763"]))
    finally:
        signal.signal(signal.SIGINT, sessions)
    assert started[0].returncode == -signal.SIGINT


def test_children_run_side_by_side() -> None:
    with children() as family:
        last = family.start(["cat"], stdin=process.PIPE)
        first = family.start(["cat"], stdin=process.PIPE, stdout=last.stdin)
        last.close_stdin()
        first.write(b"noise\nready\n")
        last.await_line(b"ready\n")
        assert first.finish(b"then") == b""
        assert last.finish() == b"then"
        assert (first.wait(), last.wait()) == (0, 0)


def test_a_child_without_input_reads_nothing() -> None:
    with children() as family:
        child = family.start(["sh", "-c", "cat; echo said >&2; kill -TERM $$"], environ={"PATH": os.environ["PATH"]})
        assert child.finish() == b""
        assert (child.wait(), child.stderr) == (143, "said\n")


def test_children_end_with_the_block() -> None:
    with children() as family:
        child = family.start(["sleep", "611"], stdin=process.PIPE)
    assert child.wait() == 128 + signal.SIGTERM


def test_children_that_ignore_sigterm_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.spawn, "PATIENCE", 0.1)
    with children() as family:
        child = family.start(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"])
        child.await_line(b"up\n")
    assert child.wait() == 128 + signal.SIGKILL


def test_children_end_while_other_threads_use_their_pipes() -> None:
    """What the children have started runs on and keeps their pipes open, as an ssh master does."""
    script = "exec 3<&0; sleep 98759 <&3 & sleep 98758"
    done: list[object] = []

    def write(child: Child) -> None:
        with pytest.raises(BrokenPipeError):
            child.write(bytes(1_000_000))
        done.append(None)

    try:
        with children() as family:
            first, second, third = (family.start(["sh", "-c", script], stdin=process.PIPE) for _ in range(3))
            works = (lambda: done.append(first.finish()), lambda: done.append(second.read()), lambda: write(third))
            threads = [threading.Thread(target=work) for work in works]
            for each in threads:
                each.start()
            wait_for(lambda: len(processes("sleep", "98759")) == 3)
        for each in threads:
            each.join(10)
        assert [each.is_alive() for each in threads] == [False] * 3
        assert len(done) == 3
    finally:
        for number in ("98758", "98759"):
            for pid in processes("sleep", number):
                os.kill(pid, signal.SIGTERM)


def test_no_child_starts_after_the_block() -> None:
    with children() as family:
        pass
    with pytest.raises(DockerutilsError, match="interrupted; run the command again"):
        family.start(["true"])


def test_error_of_a_program_that_does_not_exist() -> None:
    with (
        children() as family,
        pytest.raises(DockerutilsError, match="none was not found on PATH; correct its path"),
    ):
        family.start(["none"])


@pytest.fixture
def terminated() -> Iterator[None]:
    """Let SIGTERM raise Terminated, as in a command."""

    def end(signum: int, _: object) -> None:
        raise Terminated(signum)

    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_deferred_signal_is_not_lost_if_the_block_fails(terminated) -> None:
    """A Ctrl-C reaches the child too, whose failure is then no news."""

    @process.deferred_signals()
    def fail() -> None:
        signal.raise_signal(signal.SIGTERM)
        raise CommandFailed(255, "the connection was cut")

    with pytest.raises(Terminated):
        fail()


class _Silent:
    """A report of jobs that says nothing."""

    def begin(self, job: Job, command: Command) -> None: ...

    def write(self, job: Job, stream: int, data: bytes) -> None: ...

    def end(self, job: Job, failure: Failure | None) -> None: ...

    def refresh(self) -> None: ...


def test_an_interruption_right_after_the_start_of_a_child_ends_it(terminated, monkeypatch) -> None:
    """That is before anybody watches its pipes."""
    started = []
    start = spawn.start

    def interrupted(*args: Any, **options: Any) -> spawn.Process:
        started.append(start(*args, **options))
        signal.raise_signal(signal.SIGTERM)
        return started[0]

    monkeypatch.setattr(spawn, "start", interrupted)
    with pytest.raises(Terminated):
        jobs.run_jobs([Job("one", [Command(["sleep", "60"])])], 1, _Silent())
    assert started[0].poll() is not None
