"""The docks of a swarm are machines of their own that reach each other, can fail, and leave nothing."""

from __future__ import annotations

import os
import subprocess
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests.support import wait_for
from tests.testbed import images, swarm
from tests.testbed.engine import command_line

_STATES = ("node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}")


def _states(node: swarm.Node) -> list[str]:
    return sorted(line.strip() for line in node.engine.docker(*_STATES).splitlines())


def _answers(node: swarm.Node, port: int) -> bool:
    with node.published(port) as relay, suppress(OSError):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{relay.port}/", timeout=10)
        except urllib.error.HTTPError as error:
            return error.code == 404  # of busybox, which has nothing to serve
    return False


def test_docks_are_machines_that_reach_each_other(nodes) -> None:
    one, two = nodes
    sshd = {}
    for node, name in zip(nodes, ("one", "two"), strict=True):
        done = subprocess.run(
            ["ssh", f"dock-{name}", "echo $SSH_CONNECTION"], capture_output=True, text=True, check=True
        )
        *_, address, sshd[node.address] = done.stdout.split()
        assert address == node.address
        assert node.engine.docker("info", "--format", "{{.Name}}") == f"{name}\n"
        assert node.swarm["LocalNodeState"] == "inactive"
    for here, there in ((one, two), (two, one)):
        assert here.host.run(f"exec 3<>/dev/tcp/{there.address}/{sshd[there.address]}; head -c 4 <&3") == "SSH-"
    assert "swarm0" not in subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout


def test_a_service_of_the_swarm_outlives_a_lost_node(swarm) -> None:
    one, two = swarm
    assert _states(one) == ["one Ready Leader", "two Ready"]
    publish = "mode=host,target=80,published=8080"
    service = ["service", "create", "-d", "--no-resolve-image", "--mode", "global", "--publish", publish]
    one.engine.docker(*service, images.BUSYBOX, "httpd", "-f", "-p", "80")
    wait_for(lambda: all(_answers(node, 8080) for node in swarm))
    two.engine.stop()
    assert not two.engine.answers()
    assert not _answers(two, 8080)
    wait_for(lambda: _states(one) == ["one Ready Leader", "two Down"])
    assert _answers(one, 8080)
    two.engine.start()
    wait_for(lambda: _states(one) == ["one Ready Leader", "two Ready"])
    wait_for(lambda: _answers(two, 8080))


def test_nothing_is_left_of_engines_whose_swarm_ends_with_them(ssh_home) -> None:
    with swarm.linked() as engines:
        with swarm.serving_docks(engines, ssh_home) as nodes:
            swarm.join(nodes)
            service = ["service", "create", "-d", "--no-resolve-image", "--mode", "global"]
            engines[0].docker(*service, images.BUSYBOX, "sleep", f"{os.getpid() + 20_000_000}")
            wait_for(lambda: all(engine.is_running(f"sleep {os.getpid() + 20_000_000}") for engine in engines))
        engines[1].stop()
        before = [line for engine in engines for line in engine.processes().items() if line[1]]
    names = [os.path.basename(engine.directory) for engine in engines]
    wait_for(lambda: not [pid for pid, line in before if command_line(pid) == line])
    wait_for(lambda: not any(os.path.exists(engine.directory) for engine in engines))
    assert not [line for line in Path("/proc/mounts").read_text().splitlines() if any(name in line for name in names)]
    wait_for(lambda: not [path for path, _, _ in os.walk("/sys/fs/cgroup") if any(name in path for name in names)])
    assert "swarm0" not in subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
