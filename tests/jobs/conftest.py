"""Fixtures for jobs: answers of AWS Batch that a test writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from dockerutils.aws.session import Session
from tests.testbed import aws as testbed
from tests.testbed.aws import Aws, Front


@pytest.fixture
def front(isolated: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """Point boto3 at a proxy with nothing behind it: the test writes the answers."""
    with testbed.before(Aws("http://127.0.0.1:1")) as front:
        for name, value in front.aws.environment().items():
            monkeypatch.setenv(name, value)
        yield front


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
