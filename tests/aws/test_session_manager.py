"""The way to docks through Session Manager, as a line of an ssh stanza."""

from __future__ import annotations

import pytest

from dockerutils.aws import session_manager
from dockerutils.docks import records
from dockerutils.docks.records import Dock

DOCK = Dock("gpu", "creating-1", "ubuntu", "x", "x", instance_id="i-0ab", region="eu-west-1")
PROXY = (
    "ProxyCommand aws ssm start-session --target %h --document-name AWS-StartSSHSession --parameters portNumber=%p "
    "--region eu-west-1"
)


@pytest.mark.parametrize(
    ("environ", "setting"),
    [
        ({}, PROXY),
        ({"AWS_PROFILE": "work"}, f"{PROXY} --profile work"),
        ({"AWS_PROFILE": "100% mine"}, f"{PROXY} --profile '100%% mine'"),
        ({"AWS_PROFILE": "work", "AWS_ACCESS_KEY_ID": "AKIA"}, PROXY),
    ],
)
def test_the_setting_names_region_and_profile(environ: dict[str, str], setting: str) -> None:
    dock = session_manager.through(DOCK, environ)
    assert dock == DOCK._replace(hostname="i-0ab", ip="i-0ab", settings=(setting,))
    assert records.fault_in_setting(setting) == ""
    assert (session_manager.is_used_by(dock), session_manager.is_used_by(DOCK)) == (True, False)
