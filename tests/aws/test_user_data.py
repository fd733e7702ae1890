"""User data: what installs docker, with autostop, and with what the user wants after that."""

from __future__ import annotations

import base64
import email
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dockerutils.aws.user_data import user_data
from dockerutils.core.errors import UserError
from dockerutils.docks import jupyter
from tests.support import program


def _config(text: str) -> dict[str, Any]:
    header, _, config = text.partition("\n")
    assert header == "#cloud-config"
    read: dict[str, Any] = json.loads(config)
    return read


def test_it_installs_docker_where_it_is_missing(tmp_path: Path) -> None:
    config = _config(user_data("ubuntu"))
    assert config["packages"] == ["rsync", "zstd"]
    assert config["runcmd"][-1] == ["usermod", "-aG", "docker", "ubuntu"]
    log = tmp_path / "log"
    program(tmp_path / "apt-get", f'echo "$@" >>{log}')

    def install() -> None:
        subprocess.run(["/bin/sh", *config["runcmd"][1][1:]], check=True, env={"PATH": str(tmp_path)})

    install()
    installed = log.read_text()
    assert [line.split()[-1] for line in installed.splitlines()] == ["docker.io", "docker-buildx"]
    program(tmp_path / "docker", "")
    install()
    assert log.read_text() == installed


@pytest.mark.parametrize("listed", [True, False])
def test_docker_gets_the_runtime_that_it_does_not_list(tmp_path: Path, listed: bool) -> None:
    log = tmp_path / "log"
    for name in ("nvidia-ctk", "systemctl"):
        program(tmp_path / name, f'echo "${{0##*/}}" "$@" >>{log}')
    program(tmp_path / "docker", f"echo 'Runtimes: runc{' nvidia' * listed}'")
    step = _config(user_data("ubuntu"))["runcmd"][2][1:]
    subprocess.run(["/bin/sh", *step], check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    wanted = "" if listed else "nvidia-ctk runtime configure --runtime=docker\nsystemctl restart docker\n"
    assert (log.read_text() if log.exists() else "") == wanted


def test_jupyterlab_is_installed_for_the_user_before_docker_can_be_used(tmp_path: Path) -> None:
    *steps, last = _config(user_data("ubuntu", jupyter=True))["runcmd"]
    assert last == ["usermod", "-aG", "docker", "ubuntu"]
    log = tmp_path / "log"
    program(tmp_path / "apt-get", f'echo "$@" >>{log}')
    subprocess.run(["/bin/sh", *steps[-2][1:]], check=True, env={"PATH": str(tmp_path)})
    assert log.read_text().endswith("install -y python3-venv\n")
    # A login, so that ~ is the home directory of the user.
    assert steps[-1] == ["runuser", "-l", "ubuntu", "-c", jupyter.INSTALL]
    assert "python3-venv" not in user_data("ubuntu")


def test_it_raises_the_limits_of_sshd() -> None:
    config = _config(user_data("ubuntu"))
    assert config["write_files"] == [
        {
            "path": "/etc/ssh/sshd_config.d/10-dockerutils.conf",
            "content": "MaxSessions 100\nMaxStartups 100:30:200\n",
        }
    ]
    assert ["systemctl", "try-reload-or-restart", "ssh"] in config["runcmd"]


def test_a_script_of_the_users_comes_last() -> None:
    *_, user, theirs = _config(user_data("ubuntu", 1.0, "#!/bin/sh\necho 'é'\n"))["runcmd"]
    assert user == ["usermod", "-aG", "docker", "ubuntu"]
    assert theirs[:2] == ["sh", "-c"]
    written, _, rest = theirs[2].partition(" | install -D -m 700 /dev/stdin /var/lib/dockerutils/user-data")
    assert rest == " && exec /var/lib/dockerutils/user-data"
    assert (
        subprocess.run(["sh", "-c", written], capture_output=True, check=True).stdout
        == "#!/bin/sh\necho 'é'\n".encode()
    )


def test_a_cloud_config_of_the_users_is_merged_into_ours() -> None:
    """The merge itself is cloud-init's."""
    theirs = "#cloud-config\nruncmd: ['é']\n"
    both = user_data("ubuntu", 0.0, theirs)
    _, *parts = email.message_from_string(both).walk()
    texts = [base64.b64decode(str(part.get_payload())).decode() for part in parts]
    assert texts == [user_data("ubuntu"), theirs]
    assert [part.get_content_type() for part in parts] == ["text/cloud-config"] * 2
    assert parts[1]["Merge-Type"] == "list(append)+dict(no_replace,recurse_list)+str()"
    shown = subprocess.run(
        ["sh", "-c", f'printf %s "{both.template}"'], capture_output=True, text=True, check=True
    ).stdout
    assert shown == both


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("echo", "--user-data: the file is neither a script nor a cloud-config; begin it with #! or #cloud-config"),
        (
            "#!/bin/sh\n" + 12288 * "#",
            r"--user-data: with ours it has \d{5} bytes, EC2 takes 16384; let it download the rest",
        ),
    ],
)
def test_what_cannot_be_user_data(extra: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        user_data("ubuntu", 0.0, extra)
