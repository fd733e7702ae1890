"""dockerutils export: what another scheduler needs to run an image as its section says, without values of secrets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dockerutils.commands import publish_image
from dockerutils.commands.dockerutils import main
from tests.support import App, call, program
from tests.testbed import registry

SECRET = "s3cr3t-marker"
CONFIG = """
[train]
name = app-train
tag = 1
prefix = False
publication_tag = %s/org/train:1
env = settings
environment = -e EPOCHS=10 -e TOKEN -e URL=http://$TOKEN@h -e EPOCHS=20 -e AWS_REGION
volumes = -v {project_root}/data:/data -v $TOKEN:/x
ports = -p 8000:8000
gpu = --gpus all
args = --shm-size 1g
platform = linux/amd64
cmd = python3 train.py --note "two words"
[settings]
MODE = fast
KEY = $TOKEN
"""


@pytest.fixture
def app(tmp_path, capfd, monkeypatch) -> App:
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    app = App(main, tmp_path / "app", capfd)
    app.write({"docker/train/Dockerfile": "FROM scratch\n", "docker/dockerutils.cfg": CONFIG % "r.example"})
    return app


def test_export_of_a_published_image(containerd_engine, app, tmp_path, capfd) -> None:
    with registry.serving(containerd_engine, "localhost") as there:
        app.write({"docker/dockerutils.cfg": CONFIG % there.host})
        containerd_engine.docker("tag", "local/busybox", "app-train:1")
        try:
            outcome = app("export", "train")
            fault = "dockerutils: app-train:1 has no digest at a registry; run: publish-image train\n"
            assert outcome == (1, "", fault)
            published = call(publish_image.main, "train", directory=app.root, capfd=capfd)
            assert published.status == 0, published.err
            outcome = app("export", "train")
        finally:
            containerd_engine.docker("image", "rm", "--force", "app-train:1", f"{there.host}/org/train:1")
    assert (outcome.status, outcome.err) == (0, "")
    assert SECRET not in outcome.out
    assert json.loads(outcome.out) == {
        "name": "train",
        "image": published.out.strip(),
        "command": ["python3", "train.py", "--note", "two words"],
        "environment": {"MODE": "fast", "EPOCHS": "20"},
        "secrets": ["KEY", "TOKEN", "URL", "AWS_REGION"],
        "options": {
            "gpu": "--gpus all",
            "volumes": f'-v {app.root}/data:/data -v "$TOKEN:/x"',
            "ports": "-p 8000:8000",
            "args": "--shm-size 1g",
            "platform": "linux/amd64",
        },
    }


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("name = web\nprefix = False\npublication_tag = docker.io/org/web:1\n", "org/web@sha256:2"),
        ("name = web\nprefix = False\nimage_repo = aws\n", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/web@sha256:3"),
        (
            "name = web\nprefix = False\nimage_repo = aws\npublication_tag = {account}.dkr.ecr.{region}.amazonaws.com/o/{image}:1",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/o/web@sha256:4",
        ),
        ("name = web\nprefix = False\npublication_tag = r.example/web:1 quay.io/o/web:1\n", "quay.io/o/web@sha256:5"),
        ("name = web\nprefix = False\n", None),  # the containerd store has a digest of the local name, too
    ],
)
def test_the_digest_is_that_of_the_registry(section, expected, app, tmp_path, monkeypatch) -> None:
    ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    names = ["web", "org/web", f"{ecr}/web", f"{ecr}/o/web", "quay.io/o/web"]
    known = [f"{name}@sha256:{number}" for number, name in enumerate(names, 1)]
    record = json.dumps([{"RepoTags": ["web:alice"], "RepoDigests": known}])
    program(tmp_path / "bin/docker", f"echo '{record}'")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin:/usr/bin")
    app.write({"docker/web/Dockerfile": "FROM scratch\n", "docker/dockerutils.cfg": f"[web]\n{section}"})
    outcome = app("export", "web")
    if expected is None:
        fault = "dockerutils: web:alice has no digest at a registry; run: publish-image web\n"
        assert outcome == (1, "", fault)
    else:
        assert (outcome.status, json.loads(outcome.out)["image"]) == (0, expected), outcome.err


def test_an_image_that_is_pulled_has_its_own_digest(app, tmp_path, monkeypatch) -> None:
    record = json.dumps([{"RepoTags": ["r.example/base:2"], "RepoDigests": ["r.example/base@sha256:1"]}])
    program(tmp_path / "bin/docker", f"echo '{record}'")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin:/usr/bin")
    app.write({"docker/dockerutils.cfg": "[base]\nname = r.example/base:2\nprefix = False\n"})
    assert json.loads(app("export", "base").out) == {
        "name": "base",
        "image": "r.example/base@sha256:1",
        "command": [],
        "environment": {},
        "secrets": [],
        "options": {},
    }
    program(tmp_path / "bin/docker", "echo 'Error: No such image: r.example/base:2' >&2; echo '[]'; exit 1")
    fault = "dockerutils: r.example/base:2 has no digest at a registry; run: docker pull r.example/base:2\n"
    assert app("export", "base") == (1, "", fault)


def test_an_unknown_image_and_none(app) -> None:
    assert app("export", "x") == (2, "", "dockerutils: 'x' is not an image of this project; its images: train\n")
    assert app("export").status == 2


def test_the_page_makes_a_kubernetes_job_of_it(tmp_path) -> None:
    page = (Path(__file__).parents[2] / "docs/scale.md").read_text()
    exported = re.findall(r"^\$ dockerutils export train\n(\{.*?^\})$", page, re.MULTILINE | re.DOTALL)
    [program] = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program, "1000", "100"], input=exported[0], capture_output=True, text=True, check=True
    )
    spec = json.loads(done.stdout)["spec"]
    [container] = spec["template"]["spec"]["containers"]
    image = json.loads(exported[0])
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (1000, 100, "Indexed")
    assert (container["image"], container["args"]) == (image["image"], image["command"])
    secret = {"secretKeyRef": {"name": "train", "key": "API_KEY"}}
    assert container["env"][:2] == [{"name": "EPOCHS", "value": "20"}, {"name": "API_KEY", "valueFrom": secret}]
    assert container["env"][2]["name"] == "AWS_BATCH_JOB_ARRAY_INDEX"
