"""build-image in a docked shell: the context goes to the dock over the shared connection."""

from __future__ import annotations

import os

from dockerutils.commands.build_image import main
from dockerutils.docks import inventory
from tests.commands.conftest import Docked
from tests.testbed.relay import relaying

DOCKERFILE = "FROM local/busybox\nCOPY data /data\nCOPY note /note\n"


def test_builds_on_the_dock(docked_shell: Docked) -> None:
    docked_shell.write({"docker/dev/Dockerfile": "FROM local/busybox\nCOPY note /note\n", "note": "from here\n"})
    outcome = docked_shell(main, "dev")
    assert (outcome.status, outcome.echoed) == (0, ["docker build -t app-dev:alice -f docker/dev/Dockerfile ."])
    assert docked_shell.host.engine.docker("run", "--rm", "app-dev:alice", "cat", "/note") == "from here\n"
    assert docked_shell(main, "dev").status == 0
    assert docked_shell.host.authentications() == 1


def test_buildkit_sends_changes_only(docked_shell: Docked) -> None:
    size = 8_000_000
    docked_shell.write({"docker/dev/Dockerfile": DOCKERFILE, "note": "one\n"})
    (docked_shell.root / "data").write_bytes(os.urandom(size))
    dock = inventory.find("gpu", os.environ["HOME"])
    with relaying(docked_shell.host.address, docked_shell.host.port) as link:
        inventory.register(dock._replace(port=link.port, ip=link.address), os.environ["HOME"])
        assert docked_shell(main, "dev").status == 0
        first = link.sent
        docked_shell.write({"note": "two\n"})
        # Another tag: containerd could delete a layer of an image that has lost its name, while the build reuses it.
        assert docked_shell(main, "dev", "-t", "two").status == 0
        assert first > size
        assert link.sent - first < size / 20
    assert docked_shell.host.engine.docker("run", "--rm", "app-dev:two", "cat", "/note") == "two\n"


def test_a_project_is_built_on_the_dock(docked_shell: Docked) -> None:
    """Several builds at once need more channels than sshd accepts sessions over one connection."""
    names = ["a", "b", "c", "dev"]
    docked_shell.write({f"docker/{name}/Dockerfile": "FROM app-base:alice\nCOPY note /note\n" for name in names})
    docked_shell.write({"docker/base/Dockerfile": "FROM local/busybox\n", "note": "from here\n"})
    for number in (["-j", "4"], []):  # four builds at once, then one bake
        outcome = docked_shell(main, "all", *number)
        assert outcome.status == 0, outcome.err
    assert docked_shell.host.authentications() == 1
    for name in names:
        assert docked_shell.host.engine.docker("run", "--rm", f"app-{name}:alice", "cat", "/note") == "from here\n"
    docked_shell.host.engine.docker("image", "rm", "--force", *(f"app-{name}:alice" for name in [*names, "base"]))
