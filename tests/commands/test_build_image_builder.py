"""What build-image says when the classic builder cannot build a Dockerfile."""

from __future__ import annotations

import pytest

from tests.support import script, write_tree
from tests.testbed import images

DOCKERFILE = f"FROM {images.BUSYBOX}\nRUN true\nRUN --mount=type=cache,target=/x \\\n  true\n"
MESSAGE = (
    "build-image: docker/web/Dockerfile:3: RUN --mount needs BuildKit, and docker build uses the classic builder here; "
    "install docker's buildx plugin (docker-buildx), or set DOCKER_BUILDKIT=1\n"
)


@pytest.mark.parametrize("argv", [["web"], ["all"]])
def test_classic_builder(engine, tmp_path, argv) -> None:
    root = write_tree(
        tmp_path, {"docker/web/Dockerfile": DOCKERFILE, "docker/zoo/Dockerfile": f"FROM {images.BUSYBOX}\n"}
    )
    outcome = script("build-image", *argv, directory=root)
    assert outcome.status == 1
    assert "the --mount option requires BuildKit" in outcome.err  # docker's own message
    assert outcome.err.endswith(MESSAGE)


def test_other_failures(engine, modern_engine, tmp_path) -> None:
    # BuildKit has the option, and the classic builder no trouble with this file.
    root = write_tree(tmp_path, {"docker/web/Dockerfile": DOCKERFILE.replace("  true", "  false")})
    assert "classic builder" not in script("build-image", "web", directory=root).err


def test_other_failures_of_the_classic_builder(engine, tmp_path) -> None:
    root = write_tree(tmp_path, {"docker/web/Dockerfile": f"FROM {images.BUSYBOX}\nRUN false\n"})
    outcome = script("build-image", "web", directory=root)
    assert outcome.status == 1
    assert "BuildKit" not in outcome.err.splitlines()[-1]
