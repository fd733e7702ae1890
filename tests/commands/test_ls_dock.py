"""ls-dock: all docks at the same time, over their shared connections, within the time limit."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import pytest

from dockerutils.commands.ls_dock import main
from dockerutils.docker import platforms
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.support import Outcome, call, program, script, wait_for
from tests.testbed import aws as testbed
from tests.testbed import nvidia
from tests.testbed.host import serving

OWN = platforms.normal(f"linux/{os.uname().machine}")


def add(moniker: str, ip: str, port: int | None = None, user: str = "dock") -> None:
    inventory.register(Dock(moniker, moniker, user, ip, ip, port), os.environ["HOME"])


@pytest.fixture
def ls(tmp_path):
    return lambda *argv: script("ls-dock", *argv, directory=tmp_path)


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """Return the address and port of a host that accepts connections and sends nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()


def test_a_dock_that_answers(ls, host, containerd_engine) -> None:
    add("far", host.address, host.port)
    container = containerd_engine.docker("run", "-d", "--rm", "local/busybox", "sleep", "1000").strip()
    try:
        table, records = ls(), json.loads(ls("--json").out)
    finally:
        containerd_engine.docker("rm", "-f", container)
    header, row = table.out.splitlines()
    version = containerd_engine.docker("version", "-f", "{{.Server.Version}}").strip()
    assert (table.status, table.err) == (0, "")
    assert header.split() == ["MONIKER", "ADDRESS", "STATE", "ENGINE", "CONTAINERS", "FREE", "UPTIME"]
    assert row.split()[:5] == ["far", "far", "running", version, "1"]
    assert " GB  " in row
    [record] = records
    with open("/proc/uptime", encoding="utf-8") as file:
        up = float(file.read().split()[0])
    assert up - 60 < record.pop("uptime") <= up
    root = containerd_engine.docker("info", "-f", "{{.DockerRootDir}}").strip()
    free = int(host.run(f"df -Pk {root} 2> /dev/null || df -Pk /").splitlines()[-1].split()[3]) * 1024
    assert abs(record.pop("free_disk") - free) < 1e9
    assert record == {
        "moniker": "far", "address": "far", "state": "running", "engine": version, "platform": OWN, "containers": 1,
        "gpus": [], "runs": None, "swarm": None, "reason": None,
    }  # fmt: skip
    assert host.authentications() == 1


def _in_control_group_of(container: str, pid: int) -> None:
    """Put a process into the control group of a container, as if the container had started it."""
    group = next(path for path, _, _ in os.walk("/sys/fs/cgroup") if container in path)
    Path(group, "cgroup.procs").write_text(str(pid))


def test_gpus_and_who_uses_them(ls, host, containerd_engine) -> None:
    add("far", host.address, host.port)
    add("by-sudo", host.address, host.port, "nodock")
    label = "--label=dockerutils.user=alice"
    run = ["run", "-d", "--rm", "--name", "alice_train", label, "local/busybox", "sleep", "1000"]
    container = containerd_engine.docker(*run).strip()
    # The engine's processes are not those of the host.
    inside, outside = (int(host.run(f"sleep {n} >/dev/null 2>&1 & echo $!", "dock")) for n in (1001, 1002))
    [pid] = [pid for pid, line in host.processes().items() if line == "sleep 1001"]
    try:
        _in_control_group_of(container, pid)
        first, second = "GPU-5f4d0d4a-2b1c-0c4e-9a55-6f0f8b7d3e21", "GPU-0a3c77e1-91d4-4f2b-8f66-b3f1f2d6c9aa"
        nvidia.write_smi(
            Path(host.path("/usr/bin/nvidia-smi")),
            f"{first}, 21450, 23028, NVIDIA A10G\n{second}, 0, 23028, NVIDIA A10G",
            f"{first}, {inside}, 20000\n{first}, {outside}, 1400\n{first}, 4000000, [N/A]",
        )
        before = host.authentications()
        table, records = ls(), json.loads(ls("--json").out)
    finally:
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not os.path.exists(f"/proc/{pid}"))
        containerd_engine.docker("rm", "-f", container)
    docks, gpus = table.out.split("\n\n")
    assert [line.split()[2] for line in docks.splitlines()] == ["STATE", "running", "running"]
    users = "alice_train (alice) 21.0 GB, dock 1.5 GB, unknown"
    assert (
        gpus
        == f"""\
MONIKER  GPU  MODEL        MEMORY              USED BY
by-sudo  0    NVIDIA A10G  22.5 GB of 24.1 GB  {users}
by-sudo  1    NVIDIA A10G  0.0 GB of 24.1 GB
far      0    NVIDIA A10G  22.5 GB of 24.1 GB  {users}
far      1    NVIDIA A10G  0.0 GB of 24.1 GB
"""
    )
    assert table.err == ""
    assert records[1]["gpus"][0] == {
        "model": "NVIDIA A10G", "memory_used": 21450 << 20, "memory_total": 23028 << 20,
        "used_by": [
            {"container": "alice_train", "user": "alice", "memory": 20000 << 20},
            {"container": None, "user": "dock", "memory": 1400 << 20},
            {"container": None, "user": None, "memory": None},
        ],
    }  # fmt: skip
    assert host.authentications() == before + 2  # one connection for each user


def test_nvidia_smi_that_fails_or_hangs_costs_only_the_gpus(ls, host) -> None:
    add("far", host.address, host.port)
    smi = Path(host.path("/usr/bin/nvidia-smi"))
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    nvidia.write_smi(smi, f"{said}\n", status=9)
    outcome = ls("-t", "20")
    assert outcome.out.splitlines()[1].split()[2] == "running"
    assert (len(outcome.out.splitlines()), outcome.err) == (
        2,
        f"ls-dock: warning: nvidia-smi on dock far failed: {said}; see why: ssh-dock far nvidia-smi\n",
    )
    program(smi, "exec sleep 100")
    outcome = ls("-t", "4")
    assert outcome.out.splitlines()[1].split()[2] == "running"
    assert outcome.err == (
        "ls-dock: warning: nvidia-smi on dock far did not answer in time; see why: ssh-dock far nvidia-smi\n"
    )


def test_sudo_and_a_user_without_rights(ls, host) -> None:
    add("by-sudo", host.address, host.port, "nodock")
    add("none", host.address, host.port, "plain")
    outcome = ls()
    rows = [line.split() for line in outcome.out.splitlines()]
    assert rows[1][:3] == ["by-sudo", "by-sudo", "running"]
    assert rows[2][:4] == ["none", "none", "no", "engine"]
    assert rows[2][-2:] != ["no", "engine"]  # disk and uptime are known
    assert outcome[::2] == (
        0,
        "ls-dock: warning: the user of dock none is not allowed to use its Docker Engine; add that user to the group docker: ssh "
        "dock-none 'sudo usermod -aG docker $USER', and close the connection: ssh dock-none -O exit\n",
    )


def test_a_silent_dock_costs_its_own_row(ls, host, silent) -> None:
    with ExitStack() as stack:
        for number in range(15):
            add(f"live{number:02}", host.address, host.port)
        for number in range(5):
            ip, port = stack.enter_context(socket.create_server((f"127.0.1.{number}", 0))).getsockname()
            add(f"dead{number}", ip, port)
        began = time.monotonic()
        outcome = ls("--json", "-t", "10")
        elapsed = time.monotonic() - began
    records = json.loads(outcome.out)
    assert [record["state"] for record in records] == ["unreachable"] * 5 + ["running"] * 15
    assert all(record["uptime"] and record["engine"] and record["free_disk"] for record in records[5:])
    assert records[0]["reason"] == "dock dead0 did not answer in 10 s; check that it is up, or wait longer with -t"
    assert elapsed < 25  # one after the other, the five silent docks would take 50


def test_logins_that_sshd_refuses_are_repeated(ls, containerd_engine, ssh_home) -> None:
    with serving(containerd_engine, MaxStartups="1:100:1") as host:
        host.admit(ssh_home)
        for number in range(6):
            add(f"d{number}", host.address, host.port)
        records = json.loads(ls("--json", "-t", "20").out)
        assert "MaxStartups" in host.log()
    assert [record["state"] for record in records] == ["running"] * 6


def test_errors_say_what_to_do(ls, host) -> None:
    add("closed", "127.0.0.1", 1)
    add("nobody", host.address, host.port, "stranger")
    add("unknown", "no-such-host.invalid")
    outcome = ls("-t", "20")
    assert outcome.status == 0
    assert [line.split()[2] for line in outcome.out.splitlines()[1:]] == ["unreachable"] * 3
    closed, nobody, unknown = outcome.err.splitlines()
    assert closed == (
        "ls-dock: warning: dock closed refused the connection: connect to host 127.0.0.1 port 1: Connection refused; "
        "check that the host is up and that sshd runs there: ssh dock-closed"
    )
    assert nobody == (
        f"ls-dock: warning: dock nobody rejected the login: stranger@{host.address}: Permission denied (publickey); "
        "register it again with the right user (-u) and private key (-i)"
    )
    assert unknown.startswith(
        "ls-dock: warning: the name of dock unknown does not resolve: Could not resolve hostname no-such-host.invalid"
    )


def test_a_changed_host_key(ls, host) -> None:
    add("far", host.address, host.port)
    assert "running" in ls().out
    host.rotate_host_key()
    host.cut()
    outcome = ls()
    assert "unreachable" in outcome.out
    remedy = f"ssh-keygen -R far -f {os.environ['HOME']}/.docker/far/known_hosts"
    assert outcome.err == (
        f"ls-dock: warning: the host key of far has changed; if the host was reinstalled, run: {remedy}; "
        "if not, someone may be intercepting the connection\n"
    )
    subprocess.run(shlex.split(remedy), check=True, capture_output=True)
    assert "running" in ls().out


HOSTILE = [
    "exec yes",
    "printf 'dockerutils docker docker\\nengine=1.0 %05000d x\\nuptime=%05000d\\ndisk=x\\n 1 1 %05000d 1%%\\n'",
    "printf 'dockerutils docker docker\\nengine=%s 1 x\\n' \"$(head -c 100000 /dev/zero | tr '\\0' 9)\"",
    "printf 'dockerutils refused \\033[8mhidden\\n'",
    "printf '\\377\\000\\n'",
    "printf 'gpus=0\\n'; yes 'gpu=GPU-1, 1, 1, \\033[8mhidden' | head -n 1000",
    "printf 'gpus=15\\ngpu=\\033[8m%0500d\\n'",
    "printf '\\033[8mhidden\\n' >&2; exit 255",
]


def test_a_dock_with_another_architecture(ls, containerd_engine, ssh_home) -> None:
    with serving(containerd_engine, ForceCommand="/usr/local/bin/other") as host:
        host.admit(ssh_home)
        add("graviton", host.address, host.port)
        other = Path(host.path("/usr/local/bin/other"))
        program(other, "printf 'dockerutils docker docker\\nengine=28.5.2 3 linux/s390x /x\\n'")
        assert ls().out.splitlines()[1].split() == ["graviton", "graviton", "running", "28.5.2", "linux/s390x", "3"]
        [record] = json.loads(ls("--json").out)
        assert (record["engine"], record["platform"]) == ("28.5.2", "linux/s390x")


def test_a_hostile_dock_costs_its_own_row(ls, host, containerd_engine, ssh_home) -> None:
    add("live", host.address, host.port)
    with serving(containerd_engine, ForceCommand="/usr/local/bin/hostile") as evil:
        evil.admit(ssh_home)
        add("evil", evil.address, evil.port)
        for script_of_evil in HOSTILE:
            program(Path(evil.path("/usr/local/bin/hostile")), script_of_evil)
            outcome = ls("-t", "5")
            assert outcome.status == 0
            docks, _, gpus = outcome.out.partition("\n\n")
            assert all(map(str.isprintable, outcome.out.splitlines()))
            assert len(gpus.splitlines()) < 50
            rows = {line.split()[0]: line.split()[2] for line in docks.splitlines()[1:]}
            assert rows == {"evil": rows["evil"], "live": "running"}
            assert rows["evil"] != "running"
            [line] = outcome.err.splitlines()
            assert line.startswith("ls-dock: warning: ")
            assert line.isprintable()
            assert len(line) < 1000


def test_a_connection_that_does_not_answer_is_replaced(ls, host) -> None:
    add("far", host.address, host.port)
    assert "running" in ls("-t", "20").out
    answer = subprocess.run(["ssh", "-O", "check", "dock-far"], capture_output=True, text=True, check=True).stderr
    master = int(answer.partition("pid=")[2].partition(")")[0])
    os.kill(master, signal.SIGSTOP)
    try:
        assert "running" in ls("-t", "20").out
    finally:
        os.kill(master, signal.SIGKILL)


def test_no_dock(isolated, tmp_path, capfd) -> None:
    assert call(main, directory=tmp_path, capfd=capfd) == (
        0,
        "MONIKER  ADDRESS  STATE  ENGINE  CONTAINERS  FREE  UPTIME\n",
        "ls-dock: no docks yet; run: register-dock HOST MONIKER, or create-dock NAME\n",
    )
    assert call(main, "--json", directory=tmp_path, capfd=capfd) == (0, "[]\n", "")


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "nan", "inf", ""])
def test_invalid_timeouts(seconds, isolated, tmp_path, capfd) -> None:
    assert call(main, "-t", seconds, directory=tmp_path, capfd=capfd) == Outcome(
        2, "", f"ls-dock: -t: {seconds!r} is not a number of seconds; write a number above 0\n"
    )


def test_sigterm_ends_the_probes(ssh_home, silent, tmp_path) -> None:
    add("silent", *silent)
    ls_dock = str(Path(sys.executable).parent / "ls-dock")
    with subprocess.Popen([ls_dock, "-t", "60"], cwd=tmp_path, stdout=subprocess.DEVNULL) as child:
        wait_for(lambda: "dock-silent" in " ".join(_command_lines()))
        began = time.monotonic()
        child.terminate()
        assert child.wait(60) == 128 + signal.SIGTERM
    assert time.monotonic() - began < 10
    assert "dock-silent" not in " ".join(_command_lines())


def test_nothing_is_left_running(ssh_home, ls, silent) -> None:
    add("silent", *silent)
    ls("-t", "0.5")
    assert wait_for(lambda: "dock-silent" not in " ".join(_command_lines()))


def _command_lines() -> Iterator[str]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                yield file.read()
        except OSError:
            continue


def instance(moniker: str, ip: str, region: str, **more: str) -> Dock:
    """Register a dock on EC2 without create-dock."""
    client = boto3.client("ec2", region_name=region)
    found = client.run_instances(ImageId="ami-00000000000000000", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    dock = Dock(moniker, moniker, "dock", ip, ip, None, None, found, region)._replace(**more)  # type: ignore[arg-type]
    inventory.register(dock, os.environ["HOME"])
    return dock


def test_docks_on_aws(ls, cloud, gpu) -> None:
    """A stopped one is not asked, though it would answer; one call for each region."""
    add("plain", cloud.host.address)
    stopped = instance("stopped", cloud.host.address, "us-east-1")
    cloud.ec2.stop_instances(InstanceIds=[stopped.instance_id])
    far = instance("far", "far.example.com", "eu-west-1")
    boto3.client("ec2", region_name="eu-west-1").terminate_instances(InstanceIds=[far.instance_id])
    instance("gone", "203.0.113.9", "eu-west-1", instance_id="i-00000000000000000", account=testbed.ACCOUNT)
    instance("other", "203.0.113.9", "eu-west-1", instance_id="i-00000000000000001", account="999999999999")
    instance("moved", "203.0.113.9", "us-east-1")
    cloud.front.requests.clear()
    outcome = ls("--json", "-t", "20")
    states = {record["moniker"]: record["state"] for record in json.loads(outcome.out)}
    assert states == {
        "far": "terminated", "gone": "terminated", "gpu": "running", "moved": "unreachable", "other": "unknown",
        "plain": "running", "stopped": "stopped",
    }  # fmt: skip
    # The account decides whether an instance that AWS does not know is gone.
    assert sorted(cloud.front.actions()) == ["DescribeInstances", "DescribeInstances", "GetCallerIdentity"]
    assert outcome.echoed == []
    reasons = {record["moniker"]: record["reason"] for record in json.loads(outcome.out)}
    assert reasons["far"] == f"instance {far.instance_id} of dock far was terminated; run: destroy-dock far"
    assert reasons["other"] == (
        f"AWS account {testbed.ACCOUNT} has no instance i-00000000000000001: other belongs to account 999999999999; set "
        "AWS_PROFILE to a profile of that account"
    )
    assert reasons["moved"].endswith(" now; to follow it, run: start-dock moved")
    assert "stopped" not in "".join(cloud.host.processes().values())


def test_an_incomplete_dock_is_listed_but_not_probed(ssh_home, ls) -> None:
    new = Dock("new", "creating-0a", "dock", "creating-0a", "creating-0a", region="us-east-1", account="1", run="0a")
    inventory.register(new, ssh_home)
    outcome = ls()
    assert outcome.out.splitlines()[1].split() == ["new", "incomplete"]
    assert outcome.err == (
        "ls-dock: warning: dock new is incomplete; if its create-dock is no longer running, run it again, or run: "
        "destroy-dock new\n"
    )


def test_pages_are_followed(ls, cloud, gpu) -> None:
    second = instance("second", cloud.host.address, "us-east-1")
    asked: list[bool] = []

    def page(text: str) -> str:
        asked.append(True)
        other = second.instance_id if len(asked) == 1 else gpu.instance_id
        kept = [each for each in re.split(r"(?s)(?=<item>\s*<reservationId>)", text)[1:] if other not in each]
        token = "<nextToken>more</nextToken>" if len(asked) == 1 else ""
        head = text.partition("<reservationSet>")[0]
        body = kept[0].partition("</reservationSet>")[0]
        return f"{head}<reservationSet>{body}</reservationSet>{token}</DescribeInstancesResponse>"

    cloud.front.answers["DescribeInstances"] = page
    cloud.front.requests.clear()
    assert "terminated" not in {record["state"] for record in json.loads(ls("--json", "-t", "20").out)}
    assert cloud.front.actions() == ["DescribeInstances"] * 2


def test_without_credentials_ssh_is_enough(ls, cloud, gpu, monkeypatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    outcome = ls("-t", "20")
    assert outcome.out.splitlines()[1].split()[2] == "running"
    assert outcome.err.splitlines()[-1] == (
        "ls-dock: warning: the states of instances in us-east-1 are missing: AWS: Unable to locate credentials; set "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run: aws configure"
    )


def test_without_boto3_ssh_is_enough(ls, cloud, gpu, tmp_path, monkeypatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "boto3.py").write_text("raise ImportError('broken')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    outcome = ls("-t", "20")
    assert outcome.out.splitlines()[1].split()[2] == "running"
    assert outcome.err == (
        "ls-dock: warning: the states of instances in us-east-1 are missing: boto3 cannot be imported: broken; run: pip "
        "install boto3\n"
    )


def test_a_silent_aws_costs_no_more_than_the_limit(ls, cloud, gpu, silent, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*silent))
    began = time.monotonic()
    outcome = ls("-t", "5")
    assert outcome.out.splitlines()[1].split()[2] == "running"
    assert outcome.err.splitlines()[-1] == (
        "ls-dock: warning: the states of instances in us-east-1 are missing: AWS did not answer in time; wait longer with -t"
    )
    assert time.monotonic() - began < 20  # boto3 by itself would wait for a minute, several times


@pytest.mark.parametrize("how", ["role", "program"])
def test_credentials_that_do_not_come_cost_no_more_than_the_limit(
    ls, cloud, gpu, silent, monkeypatch, tmp_path, how
) -> None:
    """Neither from STS, which boto3 asks for a role, nor from a program."""
    config = tmp_path / "config"
    config.write_text(
        "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = base\n"
        "[profile base]\naws_access_key_id = x\naws_secret_access_key = x\n"
        "[profile program]\ncredential_process = sleep 30\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", how)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://{}:{}".format(*silent))
    began = time.monotonic()
    outcome = ls("-t", "3")
    assert "ls-dock: warning: the states of instances in us-east-1 are missing: AWS" in outcome.err
    assert time.monotonic() - began < 20


def test_boto3_is_not_imported_without_need(ls, host, tmp_path, monkeypatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "boto3.py").write_text("raise SystemExit(99)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    add("far", host.address, host.port)
    assert ls().status == 0


def test_twenty_docks_cost_one_call(ls, cloud, gpu) -> None:
    for number in range(19):
        inventory.register(gpu._replace(moniker=f"d{number}", address=f"d{number}"), cloud.home)
    before = len(cloud.front.actions())
    assert ls("-t", "60").out.count(" running ") == 20
    assert cloud.front.actions()[before:] == ["DescribeInstances"]
