"""Fixtures for commands that reach beyond the engine: AWS and registries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.testbed import aws as testbed_aws
from tests.testbed.aws import Aws


@pytest.fixture(scope="session")
def _moto() -> Iterator[Aws]:
    with testbed_aws.serving() as aws:
        yield aws


@pytest.fixture
def aws(_moto: Aws, isolated: None, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """Point boto3 at an AWS of the session's own, as it is on the first day."""
    _moto.reset()
    for name, value in _moto.environment().items():
        monkeypatch.setenv(name, value)
    return _moto
