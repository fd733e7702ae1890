"""The section of an image as a job on AWS Batch: what it becomes, and what is refused with its place."""

from __future__ import annotations

import os

import pytest

from dockerutils.core.errors import UserError
from dockerutils.core.shell_words import Word
from dockerutils.jobs import section
from dockerutils.jobs.resources import NAMES

SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf"
WHERE = "docker/dockerutils.cfg:{}: [dev] {}: "
NOT_THERE = "; COPY it in the Dockerfile, or mount an EFS file system: -v fs-...:PATH"


@pytest.fixture
def read(make_project):
    """Return a function that reads a section; `given` are --cpus, --memory and --gpus."""

    def read(text: str, environ: dict[str, str] | None = None, **given: str) -> section.Section:
        project = make_project({"docker/dockerutils.cfg": f"[dev]\n{text}\n"}, **(environ or {}))
        return section.read(project, project.image("dev"), {name: given.get(name) for name in NAMES})

    return read


def test_an_empty_section(read) -> None:
    found = read("")
    assert found.properties == {"linuxParameters": {"initProcessEnabled": True}}
    assert found.resources.requirements() == [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "2048"}]
    assert found.not_on_fargate == []


def test_a_full_section(read) -> None:
    found = read(
        "\n".join([
            "cmd = python train.py '{epoch}' $HOME",
            "environment = -e MODE=fast -e URL=http://$HOST/x --env USER_NAME -e GONE -e EMPTY=",
            "env = more",
            f"batch_secrets = DB_PASSWORD={SECRET}",
            "  KEY_ID=arn:aws-cn:ssm:cn-north-1:123456789012:parameter/app/key",
            "gpu = --runtime=nvidia -e NVIDIA_VISIBLE_DEVICES=all",
            "batch_gpus = 2",
            "volumes = -v /scratch:/tmp/scratch --mount type=bind,src=/etc/ssl,dst=/ssl,readonly",
            "  -v fs-0123456789abcdef0:/data:ro --mount source=fs-12345678,target=/models,volume-subpath=v1",
            "args = -itd --rm -u 1000:1000 --cpus 4 -m 16g --shm-size 2g --ulimit nofile=1024:4096 --ulimit core=0",
            "  --read-only --privileged --name x --platform linux/amd64",
            "init =",
            "interactive = -it",
            "keep_container = True",
            "batch_execution_role = starter",
            "batch_job_role = arn:aws:iam::123456789012:role/program",
            "[more]",
            "LEVEL = 3",
            "DB_PASSWORD = $PASSWORD",
        ]),
        {"HOST": "db.example", "USER_NAME": "ann", "PASSWORD": "marker"},
        memory="8.5",
    )  # fmt: skip
    environment = {each["name"]: each["value"] for each in found.properties.pop("environment")}
    assert environment == {"LEVEL": "3", "MODE": "fast", "URL": "http://db.example/x", "USER_NAME": "ann"}
    shown = [each.template for each in environment.values() if isinstance(each, Word)]
    assert shown == ["http://$HOST/x", "${USER_NAME}"]
    assert found.properties == {
        "command": ["python", "train.py", "{epoch}", "$HOME"],
        "secrets": [
            {"name": "DB_PASSWORD", "valueFrom": SECRET},
            {"name": "KEY_ID", "valueFrom": "arn:aws-cn:ssm:cn-north-1:123456789012:parameter/app/key"},
        ],
        "volumes": [
            {"name": "volume0", "host": {"sourcePath": "/scratch"}},
            {"name": "volume1", "host": {"sourcePath": "/etc/ssl"}},
            {
                "name": "volume2",
                "efsVolumeConfiguration": {"fileSystemId": "fs-0123456789abcdef0", "transitEncryption": "ENABLED"},
            },
            {
                "name": "volume3",
                "efsVolumeConfiguration": {
                    "fileSystemId": "fs-12345678",
                    "transitEncryption": "ENABLED",
                    "rootDirectory": "/v1",
                },
            },
        ],
        "mountPoints": [
            {"sourceVolume": "volume0", "containerPath": "/tmp/scratch", "readOnly": False},
            {"sourceVolume": "volume1", "containerPath": "/ssl", "readOnly": True},
            {"sourceVolume": "volume2", "containerPath": "/data", "readOnly": True},
            {"sourceVolume": "volume3", "containerPath": "/models", "readOnly": False},
        ],
        "user": "1000:1000",
        "linuxParameters": {"sharedMemorySize": 2048},
        "ulimits": [
            {"name": "nofile", "softLimit": 1024, "hardLimit": 4096},
            {"name": "core", "softLimit": 0, "hardLimit": 0},
        ],
        "readonlyRootFilesystem": True,
        "privileged": True,
        "executionRoleArn": "starter",
        "jobRoleArn": "arn:aws:iam::123456789012:role/program",
    }
    assert found.resources.requirements() == [
        {"type": "VCPU", "value": "4"},
        {"type": "MEMORY", "value": "8704"},
        {"type": "GPU", "value": "2"},
    ]
    assert found.not_on_fargate == [
        f"docker/dockerutils.cfg:9: [dev] volumes: Fargate cannot mount host paths such as {path}; use a queue on "
        "EC2, or EFS"
        for path in ("/scratch", "/etc/ssl")
    ] + [
        f"docker/dockerutils.cfg:11: [dev] args: Fargate has no {option}; use a queue on EC2, or remove it"
        for option in ("--shm-size", "--ulimit", "--ulimit", "--privileged")
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cmd = python ''", "AWS Batch takes no empty argument; remove it"),
        ("network = host", "a job on AWS Batch cannot have it; AWS Batch sets the network of a job; remove it"),
        ("ports = -p 80:80", "--publish is not possible in a job on AWS Batch; AWS Batch sets the network of a job; remove it"),
        ("args = --dns 1.1.1.1", "--dns is not possible in a job on AWS Batch; AWS Batch sets the network of a job; remove it"),
        ("args = -w /x", "--workdir is not possible in a job on AWS Batch; AWS Batch sets no working directory; set WORKDIR in the Dockerfile"),
        ("args = --entrypoint sh", "--entrypoint is not possible in a job on AWS Batch; AWS Batch cannot change it; set ENTRYPOINT in the Dockerfile"),
        ("args = --cap-add ALL", "--cap-add is not possible in a job on AWS Batch; remove it"),
        ("args = --log-driver none", "--log-driver is not possible in a job on AWS Batch; the logs go to CloudWatch; remove it"),
        ("args = -m 10x", "'10x' is not a size; write a number of bytes, or 512m or 4g"),
        ("args = -m 3m", "'3m' is not possible; AWS Batch takes whole MiB, 4 at least"),
        ("args = --ulimit nofile", "--ulimit nofile is not NAME=SOFT[:HARD]; correct it"),
        ("environment = --env-file x", "--env-file is not possible in a job on AWS Batch; write -e NAME=value"),
        ("environment = -e AWS_BATCH_JOB_ID=1", "AWS_BATCH_JOB_ID is reserved: AWS Batch sets AWS_BATCH...; use another name"),
        ("environment = -e API_TOKEN=$T", "AWS shows the variables of a job, and API_TOKEN looks like a secret; keep it in AWS Secrets Manager and write batch_secrets = API_TOKEN=ARN"),
        ("environment = -e URL=x:$DB_PASSWORD", "AWS shows the variables of a job, and DB_PASSWORD looks like a secret; keep it in AWS Secrets Manager and write batch_secrets = URL=ARN"),
        ("environment = -e $T", "the name in -e $T is a variable; write -e NAME=$VARIABLE"),
        ("batch_job_role = a b", "'a b' is not a role; write its ARN, such as arn:aws:iam::123456789012:role/NAME"),
        ("batch_secrets = DB_PASSWORD=marker", "not NAME=ARN, with the full ARN of a secret; write DB_PASSWORD=arn:aws:secretsmanager:REGION:ACCOUNT:secret:SECRET"),
        (f"batch_secrets = {SECRET}", "not NAME=ARN, with the full ARN of a secret; write NAME=arn:aws:secretsmanager:REGION:ACCOUNT:secret:SECRET"),
        ("volumes = -v {project_root}/data:/data", "the machines of AWS Batch do not have {root}/data of this project" + NOT_THERE),
        ("volumes = -v ./data:/data", "the machines of AWS Batch do not have ./data of this project" + NOT_THERE),
        ("volumes = -v ~/.aws:/aws", "the machines of AWS Batch do not have {home}/.aws of your home" + NOT_THERE),
        ("volumes = -v cache:/cache", "the machines of AWS Batch do not have the volume cache" + NOT_THERE),
        ("volumes = -v /cache", "the machines of AWS Batch do not have a volume for /cache" + NOT_THERE),
        ("volumes = --mount type=tmpfs,target=/t", "--mount type=tmpfs,target=/t is not possible in a job on AWS Batch" + NOT_THERE),
        ("gpu = --gpus all", "AWS Batch needs the number of GPUs; add batch_gpus = 1, or use --gpus 1"),
        ("gpu = --gpus device=0", "--gpus device=0 is not possible in a job on AWS Batch; write the number of GPUs"),
        ("batch_cpus = many", "'many' is not a number of vCPUs; write a number above 0"),
        ("batch_memory = 0", "'0' is not a number of GB; write a number above 0"),
        ("batch_memory = 0.0001", "'0.0001' is not possible; AWS Batch takes whole MiB, 4 at least"),
        ("batch_gpus = all", "'all' is not a number of GPUs; write a whole number"),
    ],
)  # fmt: skip
def test_what_a_job_cannot_have(read, tmp_path, line, message) -> None:
    with pytest.raises(UserError) as caught:
        read(line, {"T": "API_TOKEN=marker", "DB_PASSWORD": "marker"})
    where = WHERE.format(2, line.partition(" ")[0])
    message = message.replace("{root}", f"{tmp_path}/app").replace("{home}", os.path.expanduser("~"))
    assert str(caught.value) == where + message
    assert "marker" not in message


def test_docked_keys_are_not_for_jobs(make_project) -> None:
    text = "[dev]\ncmd = a\ncmd_docked = b\nvolumes_docked = -v cache:/c\n"
    project = make_project({"docker/dockerutils.cfg": text}, DOCK_MONIKER="gpu")
    found = section.read(project, project.image("dev"), dict.fromkeys(NAMES))
    assert found.properties["command"] == ["a"]


@pytest.mark.parametrize("given", [{"gpus": "4"}, {"gpus": "0"}])
def test_the_number_of_gpus_replaces_all(read, given) -> None:
    amounts = {each["type"]: each["value"] for each in read("gpu = --gpus all", **given).resources.requirements()}
    assert amounts.get("GPU", "0") == given["gpus"]
