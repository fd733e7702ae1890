"""Fixtures for AWS: moto's, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from dockerutils.aws.session import Session
from tests.testbed import aws as testbed
from tests.testbed.aws import Aws


@pytest.fixture(scope="module")
def _moto() -> Iterator[Aws]:
    with testbed.serving() as served:
        yield served


@pytest.fixture
def connect_to(isolated: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[Aws], Session]:
    """Return a function that points boto3 at an endpoint, and returns a session."""

    def connect(endpoint: Aws) -> Session:
        for name, value in endpoint.environment().items():
            monkeypatch.setenv(name, value)
        return Session(os.environ, dry_run=False)

    return connect


@pytest.fixture
def session(_moto: Aws, connect_to: Callable[[Aws], Session]) -> Session:
    """Return a session with an AWS that is empty."""
    _moto.reset()
    return connect_to(_moto)
