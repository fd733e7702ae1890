"""Child processes: commands that are printed and run, probes whose output is read, and children that run beside us.

`spawn.py` is the only module that starts a child; `command.py` also replaces this process. Few commands need
`children.py`: import it directly.
"""

from dockerutils.core.process.command import Command, Input, replace, run
from dockerutils.core.process.probes import TIMED_OUT, TOO_LONG, Captured, capture, capture_all, capture_within
from dockerutils.core.process.spawn import PIPE, STDERR, STDOUT, deferred_signals

__all__ = [
    "PIPE",
    "STDERR",
    "STDOUT",
    "TIMED_OUT",
    "TOO_LONG",
    "Captured",
    "Command",
    "Input",
    "capture",
    "capture_all",
    "capture_within",
    "deferred_signals",
    "replace",
    "run",
]
