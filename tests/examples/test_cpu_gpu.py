"""CPU and GPU in one image: the environment follows what the container was given, and is switched by hand."""

from __future__ import annotations

from tests.support import script


def test_the_walk_through(engine, nvidia_runtime, python_image, walk_through, monkeypatch):
    monkeypatch.setenv("BASE", python_image)
    before = nvidia_runtime.environments()
    root = walk_through("cpu-gpu")
    # The container with -g, and no other, was made by the runtime nvidia, with all GPUs.
    [asked] = nvidia_runtime.environments()[len(before) :]
    assert asked["NVIDIA_VISIBLE_DEVICES"] == "all"

    def where(*argv: str, command: str = "where") -> str:
        outcome = script("run-image", "tensors", *argv, "--", "sh", "-c", command, directory=root)
        assert outcome.status == 0, outcome.err
        return outcome.out

    # A base may set the variable to what means no GPU.
    for none in ("none", "void", ""):
        assert where("-e", f"NVIDIA_VISIBLE_DEVICES={none}") == "computing on the CPU, with /opt/cpu\n"
    # A device is enough.
    assert where("-a", "-v /dev/null:/dev/nvidia0") == "computing on the GPU, with /opt/gpu\n"
    # Each has its own package.
    assert where(command="python -c 'import tensors; print(tensors.__file__)'").startswith("/opt/cpu/")
    assert where("-g", command="python -c 'import tensors; print(tensors.__file__)'").startswith("/opt/gpu/")
    assert where(command="id -un") == "tensors\n"
