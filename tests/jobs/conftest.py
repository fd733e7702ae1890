"""Fixtures for jobs."""

from __future__ import annotations

import os

import pytest

from dockerutils.aws.session import Session


@pytest.fixture
def session(isolated: None) -> Session:
    """Return a session that makes calls."""
    return Session(os.environ, dry_run=False)
