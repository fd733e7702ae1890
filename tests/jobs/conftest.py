"""Fixtures for jobs."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from dockerutils.aws.session import Session
from tests.testbed.aws import Aws


@pytest.fixture
def session(isolated: None) -> Session:
    """Return a session that makes calls."""
    return Session(os.environ, dry_run=False)


@pytest.fixture
def connect_to(isolated: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[Aws], Session]:
    """Return a function that points boto3 at an endpoint, and returns a session."""

    def connect(endpoint: Aws) -> Session:
        for name, value in endpoint.environment().items():
            monkeypatch.setenv(name, value)
        return Session(os.environ, dry_run=False)

    return connect
