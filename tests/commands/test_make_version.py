"""make-version: versions from the current time."""

from __future__ import annotations

import time

import pytest

from dockerutils.commands.make_version import main
from dockerutils.docker import version_tags
from tests.support import call


@pytest.mark.parametrize(
    ("argv", "form"), [([], "%y.%m.%d"), (["--date"], "%y.%m.%d"), (["--datetime"], "%Y%m%d-%H%M%S")]
)
def test_the_current_time_in_utc(argv, form, tmp_path, capfd) -> None:
    before = time.strftime(form, time.gmtime())
    outcome = call(main, *argv, directory=tmp_path, capfd=capfd)
    after = time.strftime(form, time.gmtime())
    assert (outcome.status, outcome.err) == (0, "")
    assert before <= outcome.out.strip() <= after
    assert version_tags.order(outcome.out.strip())


def test_one_form_at_a_time(tmp_path, capfd) -> None:
    assert call(main, "--date", "--datetime", directory=tmp_path, capfd=capfd).status == 2
