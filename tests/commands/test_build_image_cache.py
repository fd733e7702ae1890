"""A cache in a registry, as a CI job uses it on an engine that has built nothing yet."""

from __future__ import annotations

import pytest

from dockerutils.commands import build_image, publish_image
from tests.support import call, write_tree
from tests.testbed import registry

# The cache of the classic store goes with the image, that of the containerd store to a reference of its own.
_TO = {"modern_engine": "type=inline", "containerd_engine": "type=registry,ref=$REGISTRY/app:cache,mode=max"}
_FROM = {
    "modern_engine": "type=registry,ref=$REGISTRY/app:v1",
    "containerd_engine": "type=registry,ref=$REGISTRY/app:cache",
}


@pytest.mark.parametrize("store", _TO)
def test_a_second_job_takes_its_layers_from_the_cache(store, request, tmp_path, capfd, monkeypatch) -> None:
    engine = request.getfixturevalue(store)
    root = write_tree(tmp_path / "app", {
        "docker/prod/Dockerfile": "FROM local/busybox\nRUN head -c 32 /dev/urandom | md5sum > /id\n",
        "docker/dockerutils.cfg": f"[prod]\ntag = v1\npublication_tag = $REGISTRY/app:v1\nbuild_args = --cache-to {_TO[store]}\n",
    })  # fmt: skip
    ids = []
    with registry.serving(engine, "localhost") as there:
        monkeypatch.setenv("REGISTRY", there.host)
        cache = ["--cache-from", _FROM[store].replace("$REGISTRY", there.host)]
        for _ in range(2):
            built = call(build_image.main, "prod", *cache, directory=root, capfd=capfd)
            assert built.status == 0, built.err
            assert f" {' '.join(cache)} " in built.echoed[0]
            ids.append(engine.docker("run", "--rm", "app-prod:v1", "cat", "/id"))
            assert call(publish_image.main, "prod", directory=root, capfd=capfd).status == 0
            engine.docker("image", "rm", "--force", "app-prod:v1", f"{there.host}/app:v1")
            engine.docker("builder", "prune", "--all", "--force")
    assert ids[0] == ids[1]
