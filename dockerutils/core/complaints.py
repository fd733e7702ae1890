"""What ssh writes to stderr when it fails, and what to do about it."""

from __future__ import annotations

import re

from dockerutils.core import shell_words


def changed_host_key(stderr: str) -> str:
    """Return what to do when ssh tells that a host has another key than before, nothing when it does not tell that."""
    if "IDENTIFICATION HAS CHANGED" not in stderr:
        return ""
    host = re.search(r"(?i)host key for (\S+) has changed", stderr)
    file = re.search(r"Offending .*? key in (\S.*):\d+\s*$", stderr, re.MULTILINE)
    name, known_hosts = (host[1] if host else "HOST"), (file[1] if file else "~/.ssh/known_hosts")
    return (
        f"the host key of {name} has changed; if the machine was set up anew, run: "
        f"{shell_words.render(['ssh-keygen', '-R', name, '-f', known_hosts])}; "
        "if not, somebody may stand between you and it"
    )
