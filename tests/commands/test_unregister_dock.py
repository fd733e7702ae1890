"""unregister-dock: removes what register-dock wrote, and nothing else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from dockerutils.commands.unregister_dock import main
from dockerutils.docks import inventory
from dockerutils.docks.records import Dock
from tests.support import call, program, wait_for

GPU = Dock("gpu", "203.0.113.7", "a", "203.0.113.7", "203.0.113.7")


@pytest.fixture
def home(isolated) -> str:
    inventory.register(GPU, os.environ["HOME"])
    inventory.register(Dock("big", "203.0.113.9", "a", "b", "c"), os.environ["HOME"])
    for name in ("gpu", "big"):
        create(f"dock-{name}", f"ssh://dock-{name}")
    return os.environ["HOME"]


@pytest.fixture
def unregister(home, tmp_path, capfd):
    return lambda *argv: call(main, *argv, directory=tmp_path, capfd=capfd)


def create(name: str, endpoint: str) -> None:
    argv = ["docker", "context", "create", "--docker", f"host={endpoint}", name]
    subprocess.run(argv, check=True, capture_output=True)


def contexts() -> list[str]:
    argv = ["docker", "context", "ls", "--format", "{{.Name}}"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("name", ["gpu", "203.0.113.7"])
def test_by_moniker_and_address(name, unregister, home) -> None:
    outcome = unregister(name)
    assert (outcome.status, outcome.out, outcome.echoed) == (0, "", ["docker context rm --force dock-gpu"])
    assert [dock.moniker for dock in inventory.known(home)] == ["big"]
    assert "dock-gpu" not in Path(home, ".docker", "dock_ssh_config").read_text()
    assert contexts() == ["default", "dock-big"]


def test_the_current_context_too(unregister) -> None:
    subprocess.run(["docker", "context", "use", "dock-gpu"], check=True, capture_output=True)
    assert unregister("gpu").status == 0
    assert contexts() == ["default", "dock-big"]


def test_what_syncs_and_notebooks_remember_is_removed(unregister, home) -> None:
    directory = Path(home, ".docker", "203.0.113.7")
    for name in ("sync-app", "sync-app.log", "notebook-app-0", "mine"):
        (directory / name).touch()
    unregister("gpu")
    assert os.listdir(directory) == ["mine"]


def test_the_last_dock(unregister, home) -> None:
    unregister("gpu")
    unregister("big")
    assert os.listdir(Path(home, ".ssh")) == []


def test_a_context_with_another_endpoint_stays(unregister, home) -> None:
    subprocess.run(["docker", "context", "rm", "dock-gpu"], check=True, capture_output=True)
    create("dock-gpu", "tcp://mine:1")
    assert unregister("gpu") == (0, "", "")
    assert "dock-gpu" in contexts()


def test_dry_run(unregister, home) -> None:
    assert unregister("gpu", "--dry-run") == (0, "docker context rm --force dock-gpu\n", "")
    assert inventory.find("gpu", home) == GPU
    assert "dock-gpu" in contexts()


@pytest.mark.parametrize(
    ("product", "line"),
    [
        (None, "aws ec2 terminate-instances --instance-ids i-0abc --region eu-west-1"),
        (
            "pp-1",
            "aws servicecatalog terminate-provisioned-product --provisioned-product-id pp-1 --region eu-west-1",
        ),
    ],
)
def test_a_warning_names_the_instance_that_remains(product, line, unregister, home) -> None:
    inventory.register(GPU._replace(instance_id="i-0abc", region="eu-west-1", provisioned_product=product), home)
    assert unregister("gpu", "--dry-run").err == ""
    assert unregister("gpu").err.startswith(
        f"unregister-dock: warning: its AWS instance i-0abc remains and costs money; to terminate it, run: {line}\n"
    )


def test_an_incomplete_dock_may_leave_an_instance(unregister, home) -> None:
    inventory.register(Dock("new", "creating-0a", "a", "creating-0a", "creating-0a", run="0a"), home)
    assert unregister("new").err.startswith(
        "unregister-dock: warning: create-dock may have left an instance on AWS, which costs money; to remove it, run: "
        "destroy-dock --leftovers\n"
    )


def test_a_damaged_record(unregister, home) -> None:
    record = Path(home, ".docker", "203.0.113.7", "connection_config.txt")
    record.write_text("DOCK_MONIKER=$(x)\n")
    outcome = unregister("203.0.113.7")
    assert (outcome.status, outcome.echoed) == (0, [])
    assert not record.parent.exists()


def test_the_dock_of_this_shell(unregister, monkeypatch) -> None:
    monkeypatch.setenv("DOCK_MONIKER", "gpu")
    assert unregister("gpu").err.startswith("unregister-dock: warning: this shell is docked to gpu; run: castoff\n")


@pytest.mark.parametrize("name", ["nope", "", "..", "../203.0.113.7", "$(x)", "contexts"])
def test_unknown(name, unregister) -> None:
    assert unregister(name) == (2, "", f"unregister-dock: unknown dock {name!r}; known docks: big, gpu\n")


def test_without_docker(unregister, tmp_path, monkeypatch, home) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert unregister("gpu") == (
        0,
        "",
        "unregister-dock: warning: the docker context dock-gpu may still exist: docker was not found on PATH; install the "
        "docker command-line client, or add its directory to PATH\n",
    )
    assert [dock.moniker for dock in inventory.known(home)] == ["big"]


def test_docker_fails(unregister, tmp_path, monkeypatch) -> None:
    program(tmp_path / "docker", '[ "$2" = inspect ] && echo ssh://dock-gpu || exit 3')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert unregister("gpu").status == 3


def test_its_connection_is_closed(host, ssh_home, tmp_path, capfd) -> None:
    inventory.register(Dock("far", host.address, "dock", host.address, host.address, host.port), ssh_home)
    subprocess.run(["ssh", "dock-far", "true"], check=True)
    assert host.sessions()
    assert call(main, "far", directory=tmp_path, capfd=capfd).status == 0
    wait_for(lambda: not host.sessions())
    assert [name for name in os.listdir(f"{ssh_home}/.docker") if name.startswith("dock-")] == []
