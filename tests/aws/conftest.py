"""Fixtures for AWS."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dockerutils.aws.session import Session
from tests.testbed.aws import Aws


@pytest.fixture
def session(_moto: Aws, connect_to: Callable[[Aws], Session]) -> Session:
    """Return a session with an AWS that is empty."""
    _moto.reset()
    return connect_to(_moto)
