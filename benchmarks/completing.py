"""How long a press of TAB takes, in real shells: from the key until the completed word stands in the terminal."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

from benchmarks.lab import Lab, write
from benchmarks.timing import Row, note, verdict

PRESSES = 20
AT_MOST = 60.0  # ms that a press may take
_PATIENCE = 30.0  # seconds for a shell to say something

_SOURCE = "source <(dockerutils completion {})"
_SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "PS1='ready> '; " + _SOURCE.format("bash")),
    "zsh": (["zsh", "-f", "-i"], "PS1='ready> '; " + _SOURCE.format("zsh")),
    "fish": (
        ["fish", "--no-config", "-i"],
        "function fish_prompt; echo -n 'ready> '; end; dockerutils completion fish | source",
    ),
}

# What is typed, and what the shell adds to it.
_LINES = {"an image": ("run-image a", "pp"), "a dock": ("ssh-dock g", "pu"), "an option": ("run-image --dry", "-run")}


def completing(lab: Lab) -> list[Row]:
    """Press TAB behind a word that is the beginning of one name, again and again, in the shells that are there."""
    home = lab.env["HOME"]
    write(os.path.join(home, ".docker/203.0.113.7/connection_config.txt"), "DOCK_MONIKER=gpu\nDOCK_IP=203.0.113.7\n")
    there = [shell for shell in _SHELLS if shutil.which(shell)]
    note(f"{PRESSES} rounds of TAB in: {', '.join(there)}")
    times: dict[tuple[str, str], list[float]] = {(shell, what): [] for shell in there for what in _LINES}
    with ExitStack() as stack:
        terminals = {shell: stack.enter_context(_terminal(shell, lab)) for shell in there}
        for count in range(PRESSES + 1):
            for (shell, what), taken in times.items():
                pressed = _press(terminals[shell], *_LINES[what])
                if count:
                    taken.append(pressed)
    return [_row(shell, what, median(taken)) for (shell, what), taken in times.items()]


def _row(shell: str, what: str, taken: float) -> Row:
    wanted = verdict(f"≤ {AT_MOST:g} ms", met=taken <= AT_MOST)
    return Row(f"TAB in {shell}, {what}", f"{taken:.1f} ms", wanted=wanted)


def _press(terminal: int, typed: str, added: str) -> float:
    """Type a line, press TAB, and return the milliseconds until it is complete; the line is removed again."""
    os.write(terminal, typed.encode())
    _until_quiet(terminal)
    start = time.perf_counter()
    os.write(terminal, b"\t")
    _await(terminal, added)
    taken = (time.perf_counter() - start) * 1000
    os.write(terminal, b"\x15")  # Ctrl-U
    _until_quiet(terminal)
    return taken


def _await(terminal: int, text: str) -> None:
    shown = b""
    while text.encode() not in shown:
        if not select.select([terminal], [], [], _PATIENCE)[0]:
            sys.exit(f"benchmarks: the shell showed {shown!r}, and not {text!r}")
        shown += os.read(terminal, 65536)


def _until_quiet(terminal: int) -> None:
    """Read what the shell still has to say."""
    while select.select([terminal], [], [], 0.1)[0]:
        os.read(terminal, 65536)


@contextmanager
def _terminal(shell: str, lab: Lab) -> Iterator[int]:
    """Start a shell that completes in a terminal of its own, in the project; return what leads to it."""
    argv, script = _SHELLS[shell]
    env = {**lab.env, "PATH": f"{lab.bin}:{lab.env['PATH']}", "TERM": "dumb", "INPUTRC": "/dev/null"}
    child, terminal = pty.fork()
    if not child:
        os.chdir(lab.project)
        os.execvpe(argv[0], argv, env)
    try:
        _until_quiet(terminal)
        os.write(terminal, f"{script}; echo loa''ded\r".encode())
        _await(terminal, "loaded\r\n")
        _until_quiet(terminal)
        yield terminal
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)
