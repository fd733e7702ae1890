"""transfer-image sends no image that its destination cannot run, unless the user says so."""

from __future__ import annotations

import os

import pytest

from dockerutils.commands import build_image
from dockerutils.docker import platforms
from tests.support import call

OWN, OTHER = platforms.normal(f"linux/{os.uname().machine}"), "linux/s390x"


@pytest.mark.parametrize(("near", "far"), [("modern", "classic"), ("containerd", "second_containerd")])
def test_image_for_another_platform_is_refused(near, far, use_engine, serve_host, transfer_image, capfd) -> None:
    there, here = use_engine(far), use_engine(near)
    to = serve_host(there).destination()
    transfer_image.write({"docker/dev/Dockerfile": "FROM scratch\nCOPY docker /docker\nCMD ['/none']\n"})

    def build(*argv: str) -> None:
        assert call(build_image.main, *argv, directory=transfer_image.root, capfd=capfd).status == 0

    def refuse(*argv: str, why: str) -> None:
        outcome = transfer_image(*argv)
        assert (outcome.status, outcome.out) == (1, "")
        assert outcome.err == f"transfer-image: app-dev:alice is for {OTHER}, {why}\n"
        assert "app-dev" not in there.docker("image", "ls")

    try:
        build("dev", "--platform", OTHER)
        advised = f"build-image dev --platform {OWN}"
        emulation = f"or, if that host has emulation, add --platform {OTHER}"
        refuse("dev", to, why=f"and {to} runs {OWN}; run: {advised}, {emulation}")
        pull = f"docker pull --platform {OWN} app-dev:alice"
        refuse("app-dev:alice", to, why=f"and {to} runs {OWN}; run: {pull}, {emulation}")
        refuse("dev", to, "--platform", OWN, why=f"not for {OWN}; run: {advised}")
        transfer_image.write({"docker/dockerutils.cfg": f"[dev]\nplatform = {OWN}\n"})
        refuse("dev", to, why=f"not for {OWN}; run: {advised}")
        for platform in (OTHER, OWN):
            outcome = transfer_image("dev", to, "--platform", platform)
            assert outcome.status == 0, outcome.err
            architecture = there.docker("image", "inspect", "--format", "{{.Architecture}}", "app-dev:alice").strip()
            assert architecture == platform.removeprefix("linux/")
            build(*advised.split()[1:])
    finally:
        for engine in (here, there):
            engine.docker("image", "rm", "-f", "app-dev:alice")


def test_invalid_platform(transfer_image) -> None:
    for text in ("amd64", "linux/amd64,linux/arm64", ""):
        outcome = transfer_image("dev", "me@box", "--platform", text)
        assert (outcome.status, outcome.out, outcome.err) == (
            2,
            "",
            f"transfer-image: --platform: {text!r} is not one platform; write it as linux/amd64\n",
        )
