"""The states of docks' instances: a service that does not answer costs neither time nor the states of other docks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import boto3  # type: ignore[import-untyped]
import pytest

from dockerutils.aws.session import Session
from dockerutils.aws.states import UNKNOWN, Query
from dockerutils.docks.records import Dock
from tests.testbed import aws as testbed
from tests.testbed.aws import Aws, Request


@pytest.mark.usefixtures("session")
def test_a_silent_sts_costs_only_the_docks_that_need_it(connect_to: Callable[[Aws], Session]) -> None:
    """AWS does not know the instance of one dock, and only STS can say whether the account is the same."""
    moto = Aws(os.environ["AWS_ENDPOINT_URL"])
    ec2 = boto3.client("ec2")
    known = ec2.run_instances(ImageId=testbed.UBUNTU, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    release = threading.Event()

    def hold(_: Request) -> None:
        release.wait(60)

    docks = [
        Dock(name, name, "a", name, name, None, None, instance, "us-east-1")
        for name, instance in (("here", known), ("gone", "i-0123456789abcdef0"))
    ]
    warnings: list[str] = []
    with testbed.before(moto) as front:
        front.before["GetCallerIdentity"] = hold
        connect_to(front.aws)
        began = time.monotonic()
        found = Query(docks, os.environ, 0.5).result(began + 20, warnings.append)
        release.set()
    assert time.monotonic() - began < 10
    assert {dock.moniker: instance.state for dock, instance in found.items()} == {"here": "running", "gone": UNKNOWN}
    assert str(found[docks[1]].reason).startswith("AWS: Read timeout on endpoint URL: ")
    assert warnings == []
