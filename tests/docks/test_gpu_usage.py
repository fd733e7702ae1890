"""The GPUs of a dock, from what nvidia-smi writes, and from what a hostile dock writes."""

from __future__ import annotations

import subprocess

import pytest

from dockerutils.docks import gpu_usage, remote
from dockerutils.docks.gpu_usage import Gpu, Usage

MIB = 1 << 20
FIRST, SECOND = "GPU-5f4d0d4a-2b1c-0c4e-9a55-6f0f8b7d3e21", "GPU-0a3c77e1-91d4-4f2b-8f66-b3f1f2d6c9aa"
CONTAINER, OTHER = "a" * 64, "b" * 64
LISTED = f"""\
gpus=0
gpu={FIRST}, 21450, 23028, NVIDIA A10G
gpu={SECOND}, 0, 23028, NVIDIA A10G
"""


def test_memory_is_in_bytes_and_the_processes_of_a_container_count_together() -> None:
    output = f"""{LISTED}\
gpu-process={FIRST} {CONTAINER} root 10240
gpu-process={FIRST} {CONTAINER} UNKNOWN 1024
gpu-process={FIRST}  ada 300
gpu-process={FIRST} {OTHER} root 9886
gpu-container={CONTAINER} /alice_train_26-11-21_20.49.11 alice
"""
    used_by = (
        Usage("alice_train_26-11-21_20.49.11", "alice", 11264 * MIB),
        Usage("b" * 12, None, 9886 * MIB),  # the container has ended, or is not docker's
        Usage(None, "ada", 300 * MIB),
    )
    expected = [Gpu("NVIDIA A10G", 21450 * MIB, 23028 * MIB, used_by), Gpu("NVIDIA A10G", 0, 23028 * MIB)]
    assert gpu_usage.read(output, "far") == (expected, None)


def test_what_nvidia_smi_cannot_tell() -> None:
    output = f"gpus=0\ngpu={FIRST}, [N/A], [N/A], NVIDIA GB10\ngpu-process={FIRST}   [Insufficient Permissions]\n"
    assert gpu_usage.read(output, "far") == ([Gpu("NVIDIA GB10", None, None, (Usage(None, None, None),))], None)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", None),
        ("gpus=6\ngpu=No devices were found\n", None),
        ("gpus=124\ngpu=\n", "nvidia-smi on dock far did not answer in time; see why: ssh-dock far nvidia-smi"),
        (
            "gpus=18\ngpu=Failed to initialize NVML: Driver/library version mismatch\ngpu=NVML library version: 550.107\n",
            "nvidia-smi on dock far failed: Failed to initialize NVML: Driver/library version mismatch; see why: "
            "ssh-dock far nvidia-smi",
        ),
        ("gpus=9\ngpu=\n", "nvidia-smi on dock far failed: nothing; see why: ssh-dock far nvidia-smi"),
    ],
)
def test_no_gpus_and_why(output: str, reason: str | None) -> None:
    assert gpu_usage.read(output, "far") == ([], reason)


@pytest.mark.parametrize(
    "output",
    [
        f"gpus=0\ngpu={FIRST}, 1, 1, \x1b[8mhidden\n",
        f"gpus=0\ngpu={FIRST}, 1, 1\n",
        f"gpus=0\ngpu={FIRST}, 1, 1, {'x' * 81}\n",
        "gpus=0\ngpu=yes\n" + "gpu=\n" * 1000,
        "gpus=9999\ngpu=x\n",
    ],
)
def test_hostile_lines_are_no_gpus(output: str) -> None:
    assert gpu_usage.read(output, "far") == ([], None)


def test_a_hostile_dock_has_not_many_gpus_users_or_digits() -> None:
    lines = [f"gpu={FIRST}, {'9' * 30}, 1, x"] * 1000
    lines += [f"gpu-process={FIRST} {number:012x}{'0' * 52} root 1" for number in range(1000)]
    lines += [f"gpu-container={CONTAINER} /\x1b[8m alice"]
    gpus, _ = gpu_usage.read("\n".join(["gpus=0", *lines, ""]), "far")
    assert (len(gpus), gpus[0].memory_used, len(gpus[0].used_by)) == (32, None, 200)


def test_the_line_passes_any_login_shell() -> None:
    line = f"{remote.find_docker()}; {gpu_usage.probe(1)}"
    assert not set("'!\n") & set(line)
    subprocess.run(["sh", "-nc", line], check=True)
    # Without nvidia-smi it prints nothing, and does not fail.
    argv, environ = ["/bin/sh", "-uc", gpu_usage.probe(0.01)], {"PATH": "/nonexistent"}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
