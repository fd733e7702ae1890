"""What a host answers at its first login is not trusted."""

from __future__ import annotations

import pytest

from dockerutils.docks import registration
from dockerutils.docks.records import Destination, Dock
from dockerutils.docks.registration import Request
from dockerutils.docks.user_ssh import Login

REQUEST = Request(
    Dock("gpu", "box", "ada", "box", "box"), Login("box", "ada", None, (), "", "", "", strict=False), Destination("box"), None
)  # fmt: skip
ENGINE = '"ServerVersion":"29.1","OSType":"linux","Architecture":"x86_64"'


@pytest.mark.parametrize(
    ("answer", "devices"),
    [
        (f'{{{ENGINE},"Runtimes":{{"nvidia":5}},"DiscoveredDevices":[{{"ID":"nvidia.com/gpu=all"}}]}}', ["nvidia.com/gpu=all"]),
        (f'{{{ENGINE},"Runtimes":null,"DiscoveredDevices":null}}', []),
        *((each, None) for each in ("", "{}", "[]", "5", '"x"', "[" * 100_000, f'{{{ENGINE},"DiscoveredDevices":[5]}}')),
    ],
)  # fmt: skip
def test_what_docker_says_of_its_engine(answer, devices) -> None:
    found = registration._read(
        REQUEST, f"Welcome\ndockerutils docker sudo -n /opt/bin/docker\ninfo={answer}\ngpu=T4\nhas=no\n", []
    )
    assert (found.docker, found.fault, found.gpus, found.is_writable) == (("/opt/bin/docker", True), "", ["T4"], False)
    assert (
        [each["ID"] for each in found.info["DiscoveredDevices"]] == devices if devices is not None else found.info == {}
    )
