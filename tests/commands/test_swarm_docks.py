"""swarm-docks: docks become a swarm, all of them or none, and leave it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest

from dockerutils.commands import ls_dock, unregister_dock
from dockerutils.commands.swarm_docks import main
from dockerutils.docks import inventory
from dockerutils.swarm import ports
from tests.support import Child, Outcome, call, program, wait_for
from tests.testbed import images
from tests.testbed.swarm import Node, Nodes

INIT = "ssh dock-one 'docker swarm init --advertise-addr 198.51.100.1 >/dev/null'"
TOKEN = "$(ssh dock-one 'docker swarm join-token -q worker')"
JOIN = f'ssh dock-two "docker swarm join --token {TOKEN} 198.51.100.1:2377"'
PAGE = Path(__file__).parents[2] / "docs" / "swarm.md"
_LISTED = ("node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}}")


@pytest.fixture
def swarm_docks(tmp_path, capfd):
    return lambda *argv: call(main, *argv, directory=tmp_path, capfd=capfd)


def listed(manager: Node) -> list[str]:
    return sorted(line.strip() for line in manager.engine.docker(*_LISTED).splitlines())


def states(nodes: Nodes) -> list[str]:
    return [str(node.swarm["LocalNodeState"]) for node in nodes]


def label(node: Node) -> str:
    return f"ssh dock-one 'docker node update --label-add dock={{}} {node.swarm['NodeID']}'"


def record_words(nodes: Nodes, directory: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return files in which each ssh here, and each docker on the docks, notes its arguments."""
    here = directory / "words"
    ssh = program(directory / "bin" / "ssh", f'echo "$@" >>{here}\nexec {shutil.which("ssh")} "$@"')
    monkeypatch.setenv("PATH", str(ssh.parent), prepend=os.pathsep)
    for node in nodes:
        node.host.run("touch /data/words; chmod a+w /data/words")
        node.host.wrap_docker('echo "$@" >>/data/words')
    return [here, *(Path(node.host.path("/data/words")) for node in nodes)]


def test_docks_become_a_swarm_and_leave_it(nodes, swarm_docks, tmp_path, monkeypatch) -> None:
    one, two = nodes
    dry = swarm_docks("one", "two", "--dry-run")
    assert (dry.status, dry.out, dry.err) == (0, f"{INIT}\n{JOIN}\n", "")
    assert dry.out in PAGE.read_text()
    assert states(nodes) == ["inactive", "inactive"]
    files = record_words(nodes, tmp_path, monkeypatch)
    made = swarm_docks("one", "two")
    assert made.status == 0, made.err
    assert listed(one) == ["one Ready Active Leader", "two Ready Active"]
    assert made.echoed == [INIT, JOIN, label(one).format("one"), label(two).format("two")]
    assert made.out == ""
    assert made.err.endswith(
        "swarm-docks: one is a manager of the swarm of one, two; to use it, run: source dock one\n"
    )
    # The join token is in no arguments, no output and no file.
    token = one.engine.docker("swarm", "join-token", "-q", "worker").strip()
    written = [made.err, *(path.read_text() for path in files)]
    written += [path.read_text(errors="replace") for path in Path(os.environ["HOME"]).rglob("*") if path.is_file()]
    assert "swarm init" in files[1].read_text()
    assert "system dial-stdio" in files[2].read_text()
    assert not [text for text in written if token in text or "SWMTKN" in text]

    again = swarm_docks("one", "two")
    assert (again.status, again.echoed) == (0, [])
    assert "swarm-docks: two is already in the swarm of one\n" in again.err

    web = ["service", "create", "-d", "--name", "web", "--no-resolve-image", "--replicas", "2"]
    one.engine.docker(*web, "--stop-grace-period", "3s", images.BUSYBOX, "sleep", "1000")
    running = ("service", "ps", "-f", "desired-state=running", "--format", "{{.Node}} {{.CurrentState}}", "web")
    wait_for(lambda: sorted(line.split()[:2] for line in one.engine.docker(*running).splitlines()) == [
        ["one", "Running"], ["two", "Running"]
    ])  # fmt: skip
    node = two.swarm["NodeID"]
    drain = f"ssh dock-one 'docker node update --availability drain {node}'"
    late = swarm_docks("--leave", "two", "-t", "0.5")
    assert (late.status, late.echoed) == (1, [drain, drain.replace("drain", "active")])
    assert late.err.endswith(
        "swarm-docks: services still run on two after 0.5 s (containers: 1); allow more time with -t\n"
    )
    assert listed(one) == ["one Ready Active Leader", "two Ready Active"]
    left = swarm_docks("--leave", "two")
    assert left.status == 0, left.err
    assert left.echoed == [
        drain,
        "ssh dock-two 'docker swarm leave'",
        f"ssh dock-one 'docker node rm --force {node}'",
    ]
    assert left.err.endswith("swarm-docks: two has left its swarm\n")
    assert listed(one) == ["one Ready Active Leader"]
    assert states(nodes) == ["active", "inactive"]
    wait_for(lambda: [line.split()[0] for line in one.engine.docker(*running).splitlines()] == ["one", "one"])

    alone = swarm_docks("--leave", "one")
    assert (alone.status, alone.err) == (
        1,
        "swarm-docks: one is the last manager: without it, the swarm and its services end; to end them, run: "
        "swarm-docks --leave one --force\n",
    )
    ended = swarm_docks("--leave", "one", "--force")
    assert (ended.status, ended.echoed) == (0, ["ssh dock-one 'docker swarm leave --force'"])
    assert states(nodes) == ["inactive", "inactive"]


def refused(outcome: Outcome, message: str, status: int = 1) -> None:
    assert (outcome.status, outcome.out, outcome.err) == (status, "", f"swarm-docks: {message}\n")


def test_usage_that_makes_no_sense_is_refused(nodes, swarm_docks) -> None:
    refused(swarm_docks("one", "two", "one"), "dock one is named twice; name each dock once", 2)
    refused(swarm_docks("one", "six"), "unknown dock 'six'; known docks: one, two", 2)
    refused(swarm_docks("--leave", "six"), "unknown dock 'six'; known docks: one, two", 2)
    refused(
        swarm_docks(),
        "name the manager: swarm-docks MANAGER [WORKER ...], or a dock that leaves: --leave DOCK",
        2,
    )
    refused(swarm_docks("one", "--force"), "--force is for --leave DOCK; leave it out", 2)
    one_out = "--leave removes one dock; leave out WORKER and --advertise-addr"
    refused(swarm_docks("--leave", "one", "one", "two"), one_out, 2)
    refused(
        swarm_docks("one", "--advertise-addr=-x"),
        "--advertise-addr: '-x' is not an address; write an IP address or the name of a network interface",
        2,
    )
    refused(swarm_docks("--leave", "one"), "dock one is not in a swarm; see: ls-dock")


def test_a_swarm_that_cannot_be_complete_is_undone(nodes, swarm_docks, monkeypatch) -> None:
    _, two = nodes
    # A firewall.
    block = "-p tcp --dport 2377 -j REJECT"
    two.host.run(f"iptables -I OUTPUT {block}")
    try:
        outcome = swarm_docks("one", "two")
    finally:
        two.host.run(f"iptables -D OUTPUT {block}")
    assert outcome.status == 1
    assert outcome.echoed == [INIT, "ssh dock-one 'docker swarm leave --force'"]
    assert outcome.err.endswith(
        "swarm-docks: undone: one left the swarm\n"
        "swarm-docks: dock two does not reach the manager one at 198.51.100.1:2377; open 2377/tcp, 7946/tcp, 7946/udp "
        "and 4789/udp between the docks, or if that is not the right address, make the swarm with --advertise-addr "
        "ADDRESS\n"
    )
    assert states(nodes) == ["inactive", "inactive"]
    # An address that docker does not take: its own message, and its status.
    outcome = swarm_docks("one", "two", "--advertise-addr", "absent0")
    assert outcome.status == 1
    assert (
        "Error response from daemon: advertise address must be a non-zero IP address or network interface"
        in outcome.err
    )
    # An engine that has stopped, before anything was done.
    two.engine.stop()
    try:
        outcome = swarm_docks("one", "two")
    finally:
        two.engine.start()
    assert (outcome.status, outcome.echoed) == (1, [])
    assert outcome.err.startswith("swarm-docks: dock two: no Docker Engine answers at unix:///var/run/docker.sock; ")
    # A worker that joins and then is not ready: both leave.
    two.host.alter_answers('"NodeID"', '"NodeXX"')
    monkeypatch.setattr("dockerutils.swarm.joining._READY", 0.5)
    outcome = swarm_docks("one", "two", "-q")
    assert (outcome.status, outcome.echoed) == (1, [])
    ports = "2377/tcp, 7946/tcp, 7946/udp and 4789/udp"
    assert outcome.err.endswith(
        "swarm-docks: undone: two left the swarm, one left the swarm\n"
        f"swarm-docks: dock two has joined, but one does not see it ready after 0.5 s; check that {ports} are open "
        "between the docks\n"
    )
    assert states(nodes) == ["inactive", "inactive"]


def test_an_interrupted_command_leaves_no_swarm(nodes, tmp_path) -> None:
    _, two = nodes
    drop = "-p tcp --dport 2377 -j DROP"
    two.host.run(f"iptables -I OUTPUT {drop}")
    try:
        argv = [str(Path(sys.executable).parent / "swarm-docks"), "one", "two"]
        with Child(argv, cwd=tmp_path, stderr=subprocess.PIPE) as child:
            wait_for(lambda: [line for line in two.host.processes().values() if "/dev/tcp/" in line])
            os.killpg(child.pid, signal.SIGINT)
            _, err = child.communicate(timeout=60)
    finally:
        two.host.run(f"iptables -D OUTPUT {drop}")
    assert (child.returncode, states(nodes)) == (130, ["inactive", "inactive"])
    assert err.endswith("swarm-docks: undone: one left the swarm\n")


def _interrupted(node: Node, during: str, directory: Path, *argv: str) -> tuple[int, str]:
    """Interrupt a command as a terminal does while docker runs on a dock; return its status and stderr."""
    node.host.wrap_docker(f'case "$*" in "{during}"*) : >/tmp/began; sleep 1;; esac')
    program = str(Path(sys.executable).parent / "swarm-docks")
    with Child([program, *argv], cwd=directory, stderr=subprocess.PIPE) as child:
        wait_for(lambda: os.path.exists(node.host.path("/tmp/began")))
        os.killpg(child.pid, signal.SIGINT)
        _, err = child.communicate(timeout=60)
    return child.returncode, err


def test_an_interruption_while_docker_makes_the_swarm(nodes, tmp_path) -> None:
    status, _ = _interrupted(nodes[0], "swarm init", tmp_path, "one", "two")
    assert status == 130
    assert wait_for(lambda: states(nodes) == ["inactive", "inactive"])


def test_an_interruption_while_docker_leaves_the_swarm(swarm, swarm_docks, tmp_path) -> None:
    """The connection ends, and docker goes on: the manager does not list the dock any more."""
    one, two = swarm
    node = two.swarm["NodeID"]
    status, err = _interrupted(two, "swarm leave", tmp_path, "--leave", "two")
    assert status == 130
    assert err.endswith("swarm-docks: interrupted, but two has left its swarm\n")
    assert "undone" not in err
    assert f"\nssh dock-one 'docker node rm --force {node}'\n" in err
    assert listed(one) == ["one Ready Active Leader"]


def test_docks_of_other_swarms_are_refused(swarm, swarm_docks) -> None:
    one, two = swarm
    refused(
        swarm_docks("two", "one"),
        "dock two is a worker, and its manager is at 198.51.100.1:2377; name the manager first, or remove the worker "
        "from its swarm: swarm-docks --leave two",
    )
    one.engine.api("POST", "/swarm/leave", force=1)
    refused(
        swarm_docks("one", "two"),
        "dock two is in another swarm; remove it from there first: swarm-docks --leave two",
    )
    refused(
        swarm_docks("--leave", "two"),
        "no dock is a manager of the swarm of two, so its containers cannot be moved; register a manager as a dock, "
        "or leave without moving them: swarm-docks --leave two --force",
    )
    node = two.swarm["NodeID"]
    outcome = swarm_docks("--leave", "two", "--force")
    assert (outcome.status, outcome.echoed) == (0, ["ssh dock-two 'docker swarm leave --force'"])
    warning = f"warning: the manager still lists two; run there: docker node rm --force {node}"
    assert f"swarm-docks: {warning}\n" in outcome.err
    assert two.swarm["LocalNodeState"] == "inactive"


def test_ls_dock_shows_role_and_availability(swarm, tmp_path, capfd) -> None:
    def ls(*argv: str) -> Outcome:
        return call(ls_dock.main, *argv, directory=tmp_path, capfd=capfd)

    one, two = swarm
    one.engine.docker("node", "update", "--availability", "drain", two.swarm["NodeID"])
    header, *rows = ls().out.splitlines()
    column = header.index("SWARM")
    assert [row[column:] for row in rows] == ["manager, active", "worker, drain"]
    places = {row["moniker"]: row["swarm"] for row in json.loads(ls("--json").out)}
    assert places == {
        "one": {"role": "manager", "availability": "active", "state": "active", "node": one.swarm["NodeID"]},
        "two": {"role": "worker", "availability": "drain", "state": "active", "node": two.swarm["NodeID"]},
    }
    # Without the manager, a worker does not know its availability.
    forgotten = call(unregister_dock.main, "one", directory=tmp_path, capfd=capfd)
    warning = "one stays in its swarm; to remove it from there, register it again, then run: swarm-docks --leave one"
    assert (forgotten.status, forgotten.err) == (0, f"unregister-dock: warning: {warning}\n")
    header, row = ls().out.splitlines()
    assert row[header.index("SWARM") :] == "worker"
    two.engine.api("POST", "/swarm/leave", force=1)
    assert "SWARM" not in ls().out


def test_a_manager_leaves_if_there_is_another_one(swarm, swarm_docks) -> None:
    one, two = swarm
    node = two.swarm["NodeID"]
    one.engine.docker("node", "promote", node)
    wait_for(lambda: two.swarm["ControlAvailable"])
    outcome = swarm_docks("--leave", "two", "one")
    assert outcome.status == 0, outcome.err
    assert outcome.echoed == [
        f"ssh dock-one 'docker node update --availability drain {node}'",
        f"ssh dock-one 'docker node demote {node}'",
        "ssh dock-two 'docker swarm leave'",
        f"ssh dock-one 'docker node rm --force {node}'",
    ]
    assert listed(one) == ["one Ready Active Leader"]
    assert two.swarm["LocalNodeState"] == "inactive"


def test_the_last_manager_takes_the_docks_along(swarm, swarm_docks) -> None:
    outcome = swarm_docks("--leave", "one", "--force")
    assert outcome.status == 0, outcome.err
    assert outcome.echoed == ["ssh dock-two 'docker swarm leave --force'", "ssh dock-one 'docker swarm leave --force'"]
    assert outcome.err.endswith("swarm-docks: one has ended its swarm\n")
    assert states(swarm) == ["inactive", "inactive"]


def test_a_dead_dock_is_removed_from_the_list(swarm, swarm_docks, monkeypatch) -> None:
    one, two = swarm
    node, home = two.swarm["NodeID"], os.environ["HOME"]
    one.engine.docker("node", "update", "--label-add", "dock=two", node)
    dock = inventory.find("two", home)
    unreached = dock._replace(port=1)
    inventory.change(dock, unreached, home)
    # Only ssh does not reach it.
    with monkeypatch.context() as context:
        context.setattr("dockerutils.swarm.leaving._GONE", 0.1)
        outcome = swarm_docks("--leave", "two")
    assert outcome.status == 1
    assert outcome.err.endswith(
        "swarm-docks: one still sees two as ready; check the connection to the dock, or remove it now: swarm-docks --leave "
        "two --force\n"
    )
    assert listed(one) == ["one Ready Active Leader", "two Ready Active"]
    # Neither does the manager.
    two.link("down")
    remove = f"ssh dock-one 'docker node rm --force {node}'"
    assert swarm_docks("--leave", "two", "--dry-run").out == f"{remove}\n"
    outcome = swarm_docks("--leave", "two")
    assert outcome.status == 0, outcome.err
    assert outcome.echoed == [remove]
    assert "swarm-docks: warning: dock two refused the connection: " in outcome.err
    later = "two still has the settings of the swarm; when it answers again, run: swarm-docks --leave two --force"
    assert f"swarm-docks: warning: {later}\n" in outcome.err
    assert listed(one) == ["one Ready Active Leader"]
    refused_now = swarm_docks("--leave", "two")
    assert refused_now.status == 255
    assert refused_now.err.endswith("; none of the docks that answer manages a swarm with it\n")
    # It answers again.
    two.link("up")
    inventory.change(unreached, dock, home)
    outcome = swarm_docks("--leave", "two", "--force")
    assert outcome.status == 0, outcome.err
    assert two.swarm["LocalNodeState"] == "inactive"


def on_aws(*groups: str) -> tuple[list[str], Any]:
    """Register each dock as an instance with one of these security groups, and return the ids of the groups, and EC2."""
    ec2 = boto3.client("ec2")
    network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    ids = {
        name: ec2.create_security_group(GroupName=name, Description=name, VpcId=network)["GroupId"]
        for name in dict.fromkeys(groups)
    }
    home = os.environ["HOME"]
    for moniker, group in zip(("one", "two"), groups, strict=True):
        image = ec2.describe_images()["Images"][0]["ImageId"]
        made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SecurityGroupIds=[ids[group]])
        dock = inventory.find(moniker, home)
        instance = made["Instances"][0]["InstanceId"]
        inventory.change(dock, dock._replace(instance_id=instance, region=ec2.meta.region_name), home)
    return [ids[group] for group in groups], ec2


def admitted(ec2: Any, group: str) -> dict[str, list[str]]:
    """Return the groups that a group admits, by port."""
    [found] = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    return {
        f"{each.get('FromPort', '')}/{each['IpProtocol']}": sorted(pair["GroupId"] for pair in each["UserIdGroupPairs"])
        for each in found["IpPermissions"]
    }


PORTS = ("2377/tcp", "4789/udp", "7946/tcp", "7946/udp")


def test_docks_on_aws_get_the_ports_of_a_swarm(nodes, swarm_docks, aws) -> None:
    (group, _), ec2 = on_aws("shared", "shared")
    pair = f'"UserIdGroupPairs":[{{"GroupId":"{group}","Description":"dockerutils swarm"}}]'
    rules = ",".join(
        f'{{"IpProtocol":"{kind}","FromPort":{port},"ToPort":{port},{pair}}}'
        for kind, port in (("tcp", 2377), ("tcp", 7946), ("udp", 7946), ("udp", 4789))
    )
    line = f"aws ec2 DO-security-group-ingress --region us-east-1 --group-id {group} --ip-permissions '[{rules}]'"
    authorize, revoke = line.replace("DO", "authorize"), line.replace("DO", "revoke")
    dry = swarm_docks("one", "two", "--dry-run")
    assert (dry.status, dry.out, dry.err) == (0, f"{authorize}\n{INIT}\n{JOIN}\n", "")
    assert admitted(ec2, group) == {}
    # What was opened is closed when the swarm fails.
    failed = swarm_docks("one", "two", "--advertise-addr", "absent0")
    assert failed.status == 1
    assert [each for each in failed.echoed if each.startswith("aws")] == [authorize, revoke]
    assert failed.err.endswith(f"swarm-docks: undone: a change of security group {group}\n")
    assert admitted(ec2, group) == {}
    made = swarm_docks("one", "two")
    assert made.status == 0, made.err
    assert made.echoed[:2] == [authorize, INIT]
    assert admitted(ec2, group) == {port: [group] for port in PORTS}
    ended = swarm_docks("--leave", "one", "--force")
    assert (ended.status, ended.echoed[-1]) == (0, revoke)
    assert admitted(ec2, group) == {}
    assert swarm_docks("one", "two", "--no-ports", "--dry-run").out == f"{INIT}\n{JOIN}\n"
    # The address of a dock that ssh reaches through Session Manager.
    dock = inventory.find("one", os.environ["HOME"])
    [instance] = ec2.describe_instances(InstanceIds=[dock.instance_id])["Reservations"][0]["Instances"]
    assert ports.private_address(dock, os.environ) == instance["PrivateIpAddress"]
    assert ports.private_address(dock._replace(instance_id=None), os.environ) == ""


def test_docks_with_groups_of_their_own_admit_each_other(nodes, swarm_docks, aws, monkeypatch) -> None:
    (first, second), ec2 = on_aws("first", "second")
    ec2.authorize_security_group_ingress(
        GroupId=first,
        IpPermissions=[{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": second}]}],
    )
    # One of them needs sudo, which changes nothing else.
    dock, home = inventory.find("two", os.environ["HOME"]), os.environ["HOME"]
    inventory.change(dock, dock._replace(user="nodock"), home)
    made = swarm_docks("one", "two")
    assert made.status == 0, made.err
    assert made.echoed[2] == JOIN.replace('"docker', '"sudo -n docker')
    assert admitted(ec2, second) == {port: [first] for port in PORTS}
    assert admitted(ec2, first) == {"/-1": [second]}  # everything was open
    left = swarm_docks("--leave", "two")
    assert left.status == 0, left.err
    assert admitted(ec2, second) == {}
    # Without credentials, a dock still leaves.
    assert swarm_docks("one", "two").status == 0
    with monkeypatch.context() as context:
        context.delenv("AWS_ACCESS_KEY_ID")
        left = swarm_docks("--leave", "two")
    assert left.status == 0
    warning = "swarm-docks: warning: the rules for the swarm stay in the security groups: "
    assert warning in left.err
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in left.err
    assert admitted(ec2, second) == {port: [first] for port in PORTS}
