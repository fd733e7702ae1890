"""The options for GPUs: what each engine gets, and containers of the engines that are here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dockerutils.docker import gpus
from tests.support import script, wait_for, write_tree

BOX = {
    "docker/dev/Dockerfile": "FROM local/busybox\n",
    "docker/dockerutils.cfg": "[box]\nname = local/busybox:latest\nprefix = False\n",
}
HOOK = ["--gpus", "all"]
RUNTIME = ["--runtime=nvidia", "-e", "NVIDIA_VISIBLE_DEVICES=all"]
DEVICE = ["--device", "nvidia.com/gpu=all"]


def _info(version: str, runtimes: list[str], devices: list[str] | None) -> dict[str, Any]:
    found = None if devices is None else [{"Source": "cdi", "ID": device} for device in devices]
    return {
        "ServerVersion": version,
        "Runtimes": {name: {"path": "x"} for name in runtimes},
        "DiscoveredDevices": found,
    }


@pytest.mark.parametrize(
    ("version", "runtimes", "devices", "options", "warns"),
    [
        ("20.10.24+dfsg1", ["runc", "nvidia"], None, RUNTIME, False),
        ("28.5.2", ["runc", "nvidia"], ["nvidia.com/gpu=0", "nvidia.com/gpu=all"], RUNTIME, False),
        ("28.5.2", ["runc"], ["nvidia.com/gpu=0", "nvidia.com/gpu=all"], DEVICE, False),
        ("28.5.2", ["runc"], ["nvidia.com/net=0"], HOOK, True),
        ("28.5.2", ["runc"], None, HOOK, True),
        ("29.0.0", ["runc", "nvidia"], ["nvidia.com/gpu=all"], HOOK, False),
        ("29.0.0", ["runc"], ["amd.com/gpu=0"], HOOK, False),
        ("29.0.0", ["runc", "nvidia"], None, RUNTIME, False),
        ("28.5.2", ["runc"], ["amd.com/gpu=0"], HOOK, False),
        ("dev", ["runc", "nvidia"], ["nvidia.com/gpu=all"], RUNTIME, False),
    ],
)
def test_which_options_work(version: str, runtimes: list[str], devices: list[str], options: list[str], warns: bool):
    assert gpus.choose(_info(version, runtimes, devices)) == (options, gpus.MISSING if warns else "")


def test_an_engine_with_the_runtime(engine, nvidia_runtime, tmp_path: Path) -> None:
    before = len(nvidia_runtime.environments())
    outcome = script("run-image", "box", "-g", "true", directory=write_tree(tmp_path, BOX))
    assert outcome.status == 0
    assert " --rm -i --runtime=nvidia -e NVIDIA_VISIBLE_DEVICES=all local/busybox:latest true" in outcome.echoed[0]
    [environment] = nvidia_runtime.environments()[before:]
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "all"


def test_an_engine_with_devices(modern_engine, cdi_directory: Path, tmp_path: Path) -> None:
    devices = [{"name": name, "containerEdits": {"env": [f"GPU={name}"]}} for name in ("0", "all")]
    specification = cdi_directory / "nvidia.json"
    specification.write_text(json.dumps({"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": devices}))
    try:
        assert wait_for(lambda: "nvidia.com/gpu=all" in modern_engine.docker("info", "--format", "{{json .}}"))
        outcome = script("run-image", "box", "-g", "sh", "-c", "echo $GPU", directory=write_tree(tmp_path, BOX))
    finally:
        specification.unlink()
    assert (outcome.status, outcome.out) == (0, "all\n")
    wait_for(lambda: "nvidia.com" not in modern_engine.docker("info", "--format", "{{json .}}"))


def test_an_engine_without_gpus(modern_engine, tmp_path: Path) -> None:
    outcome = script("run-image", "box", "-gq", "true", directory=write_tree(tmp_path, BOX))
    assert outcome.status == 125
    first, *rest = outcome.err.splitlines()
    assert first == (
        "run-image: warning: the engine reports neither a runtime nvidia nor GPUs as CDI devices; if docker refuses, install "
        "the NVIDIA Container Toolkit on the engine's host and run there: sudo nvidia-ctk runtime configure && sudo "
        "systemctl restart docker"
    )
    assert "could not select device driver" in "\n".join(rest)
