"""Builds of several images: what is said when one fails."""

from __future__ import annotations

import pytest

from dockerutils.core.errors import CommandFailed
from dockerutils.core.process import Command
from dockerutils.images import parallel
from dockerutils.images.parallel import Plan, Step


def test_a_failure_is_named_although_nothing_is_left_to_build(capfd) -> None:
    # The output of builds that run at the same time can come after that of the one that failed.
    plans = {
        name: Plan([Step(Command(["sh", "-c", script], {}))], set())
        for name, script in {"bad": "echo wrong; exit 3", "web": "true"}.items()
    }
    with pytest.raises(CommandFailed) as raised:
        parallel.run(plans, [], 2, to_stderr=True)
    assert raised.value.status == 3
    assert str(raised.value) == "the build of bad failed with status 3; see its output above"
    assert "[bad] wrong" in capfd.readouterr().err
