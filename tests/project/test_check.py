"""dockerutils check: each mistake, with its place, and the whole message. Without an engine."""

from __future__ import annotations

import pytest

from dockerutils.commands.dockerutils import main
from tests.support import App

CONFIG = "docker/dockerutils.cfg"
NO_PROBLEMS = f"{CONFIG}: 1 image, no problems\n"


@pytest.fixture
def app(tmp_path, capfd) -> App:
    app = App(main, tmp_path / "app", capfd)
    app.write({"docker/dev/Dockerfile": "FROM scratch\n"})
    return app


def _check(app: App, config: str = "") -> list[str]:
    """Check the project, with a configuration, without an engine; return the problems."""
    app.write({CONFIG: config})
    outcome = app("check", "--no-build-checks")
    found = outcome.out.splitlines()
    if outcome.status == 0:
        assert found == [f"{CONFIG}: {len(list((app.root / 'docker').glob('*/Dockerfile')))} image, no problems"]
        assert outcome.err == ""
        return []
    problems = "1 problem" if len(found) == 1 else f"{len(found)} problems"
    assert (outcome.status, outcome.err) == (1, f"dockerutils: {problems}; correct and check again\n")
    return found


MISTAKES = [
    ("[dve]\ncmd = sh\n", ":1: [dve] is not an image; did you mean dev?"),
    ("[Dev]\ncmd = sh\n", ":1: [Dev] is not an image; did you mean dev?"),
    ("[app-dev]\ncmd = sh\n", ":1: [app-dev] is not an image; did you mean dev?"),
    ("[dev]\nimage_repo = awz\n", ":2: [dev] image_repo: 'awz' is not a registry; did you mean aws?"),
    (
        "[dev]\nimage_repo = nexus\n",
        ":2: [dev] image_repo: 'nexus' is not a registry; use docker_hub, aws or host[:port]",
    ),
    ("[dev]\nvolumes = -v ~bob/x:/x\n", ":2: [dev] volumes: ~bob is not expanded, only ~ is; write the whole path"),
    ("[dev]\ninteractive = -x\n", ":2: [dev] interactive: docker run has no option -x; write -it, -i or -d"),
    (
        "[dev]\ninteractive = True\n",
        ":2: [dev] interactive: True is not a docker option; write -it, -i or -d",
    ),
    ("[dev]\nargs = --volum a:b\n", ":2: [dev] args: docker run has no option --volum; did you mean --volume?"),
    ("[dev]\nargs = -x\n", ":2: [dev] args: docker run has no option -x; see docker run --help"),
    (
        "[dev]\nbuild_args = --nocache\n",
        ":2: [dev] build_args: docker build has no option --nocache; did you mean --no-cache?",
    ),
    (
        "[dev]\nbuild_args = BASE=x\n",
        ":2: [dev] build_args: BASE=x is not a docker option; write the option before it, as in --build-arg NAME=value",
    ),
    ("[dev]\nports = 8000:8000\n", ":2: [dev] ports: 8000:8000 is not a docker option; write -p 8000:8000"),
    ("[dev]\nvolumes = /a:/b\n", ":2: [dev] volumes: /a:/b is not a docker option; write -v /a:/b"),
    ("[dev]\nenvironment = A=1\n", ":2: [dev] environment: A=1 is not a docker option; write -e A=1"),
    (
        "[dev]\ncmd = ls | wc -l\n",
        ":2: [dev] cmd: no shell runs this, so | is an argument; write sh -c 'ls | wc -l'",
    ),
    (
        "[dev]\npre_build_script = make wheels && make\n",
        ":2: [dev] pre_build_script: no shell runs this, so && is an argument; write sh -c 'make wheels && make'",
    ),
    (
        "[dev]\npost_build_script = cd 'a b'; make\n",
        ":2: [dev] post_build_script: no shell runs this, so ; is an argument; "
        """write sh -c 'cd '"'"'a b'"'"'; make'""",
    ),
    ("[dev]\nbatch_cpus = two\n", ":2: [dev] batch_cpus: 'two' is not a number of vCPUs; write a number above 0"),
    ("[dev]\nbatch_cpus =\n", ":2: [dev] batch_cpus: '' is not a number of vCPUs; write a number above 0"),
    ("[dev]\nbatch_memory = 4g\n", ":2: [dev] batch_memory: '4g' is not a number of GB; write a number above 0"),
    ("[dev]\nbatch_gpus = all\n", ":2: [dev] batch_gpus: 'all' is not a number of GPUs; write a whole number"),
    (
        "[dev]\nbatch_secrets = DB_PASSWORD=marker\n",
        ":2: [dev] batch_secrets: not NAME=ARN, with the full ARN of a secret; write "
        "DB_PASSWORD=arn:aws:secretsmanager:REGION:ACCOUNT:secret:SECRET",
    ),
    (
        "[DEFAULT]\nbatch_execution_role = jobs start\n",
        ":2: [DEFAULT] batch_execution_role: 'jobs start' is not a role; write its ARN, such as "
        "arn:aws:iam::123456789012:role/NAME",
    ),
    (
        "[dev]\nbatch_job_role = arn:aws:iam::123456789012:user/me\n",
        ":2: [dev] batch_job_role: 'arn:aws:iam::123456789012:user/me' is not a role; write its ARN, such as "
        "arn:aws:iam::123456789012:role/NAME",
    ),
    (
        "[dev]\nservice = --replicas 4\n",
        ":2: [dev] service: --replicas is not possible for a service; remove it; docker service create --help lists the "
        "options",
    ),
    (
        "[dev]\nservice = --update-dela 1s\n",
        ":2: [dev] service: --update-dela is not possible for a service; did you mean --update-delay?",
    ),
    (
        "[dev]\nservice = -x\n",
        ":2: [dev] service: -x is not possible for a service; remove it; docker service create --help lists the options",
    ),
]


@pytest.mark.parametrize(("config", "finding"), MISTAKES, ids=[config.splitlines()[-1] for config, _ in MISTAKES])
def test_each_mistake_in_a_section(config: str, finding: str, app) -> None:
    assert _check(app, config) == [CONFIG + finding]


@pytest.mark.parametrize(
    "config",
    [
        "[dev_env]\nA = 1\n[dev]\nenv = dev_env\n",
        "[devel]\nanything = goes\n",
        "[database]\nargs = -x\n",
        "[run_image]\n[dev]\ncmd = sh\n",
        "[dev]\nvolumes = -v ~/a:/a --volume=~:/b --mount type=bind,source=~/c,target=/c\n",
        "[dev]\ninteractive = -itd --detach-keys ctrl-x\n",
        "[dev]\nargs = --uidmap 0:1:2 --later-option value\n",
        "[dev]\ncmd = sh -c 'ls | wc -l; true && echo > /x'\n",
        "[dev]\nimage_repo = docker\n",
        "[dev]\nimage_repo = registry.example.com:5000\n",
        "[dev]\nbatch_cpus = 0.25\nbatch_memory = 0.5\nbatch_gpus = 0\nbatch_execution_role =\nbatch_job_role = Jobs\n"
        "batch_secrets = A=arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf\n",
        "[dev]\nservice = --update-delay 1s --init=false --constraint node.role==manager\n",
    ],
)
def test_no_false_alarm_in_a_section(config: str, app) -> None:
    assert _check(app, config) == []


def test_images_with_the_same_name_and_tag(app) -> None:
    app.write({f"docker/{name}/Dockerfile": "FROM scratch\n" for name in ("Dev", "web", "api")})
    shared = "name = shared\nprefix = False\n"
    assert _check(app, f"[web]\n{shared}[api]\n{shared}[dev]\ntag = x\n[Dev]\ntag = x\n") == [
        f"{CONFIG}:8: [dev] tag: app-dev:x is also the image of Dev; give one of them another name or tag",
        f"{CONFIG}:2: [web] name: shared:alice is also the image of api; give one of them another name or tag",
    ]
    assert _check(app, f"[web]\n{shared}[api]\n{shared}tag = api\n") == [
        "docker/dev/Dockerfile: app-dev:alice is also the image of Dev; give one of them another name or tag",
    ]


def test_a_secret_in_a_build_argument(app, monkeypatch) -> None:
    monkeypatch.setenv("PIP_TOKEN", "s3cret")
    app.write({"docker/dev/Dockerfile": "FROM scratch\nARG VERSION\nARG GH_TOKEN\nRUN pip install x\n"})
    build_args = "--build-arg VERSION=1 --build-arg GH_TOKEN=$PIP_TOKEN --build-arg API_KEY --build-arg DB_PASSWORD=x"
    found = _check(app, f"[dev]\nbuild_args = {build_args}\n")
    assert "s3cret" not in "".join(found)
    assert found == [
        f"{CONFIG}:2: [dev] build_args: docker keeps --build-arg GH_TOKEN in the image's history; "
        "write --secret id=gh_token,env=PIP_TOKEN and mount it in the Dockerfile",
        f"{CONFIG}:2: [dev] build_args: docker keeps --build-arg API_KEY in the image's history; "
        "write --secret id=api_key,env=API_KEY and mount it in the Dockerfile",
        f"{CONFIG}:2: [dev] build_args: docker keeps --build-arg DB_PASSWORD in the image's history; "
        "write --secret id=db_password,env=DB_PASSWORD and mount it in the Dockerfile",
        "docker/dev/Dockerfile:3: docker keeps ARG GH_TOKEN in the image's history; remove it, "
        "and write RUN --mount=type=secret,id=gh_token,env=GH_TOKEN where a command needs it",
    ]


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        *dict.fromkeys(["TOKEN", "pip_token", "GH_TOKENS", "DB_PASSWORD", "APIKEY", "API_KEY", "CLIENT_SECRET"], True).items(),
        *dict.fromkeys(["AWS_CREDENTIALS", "SECRET_ID", "x-token"], True).items(),
        *dict.fromkeys(["VERSION", "KEYBOARD", "MONKEY", "TOKENIZER", "PUBLIC_KEY", "KEYSERVER", "BASE_IMAGE"], False).items(),
    ],
)  # fmt: skip
def test_names_of_secrets(name: str, is_secret: bool, app) -> None:
    assert bool(_check(app, f"[dev]\nbuild_args = --build-arg {name}=x\n")) is is_secret
