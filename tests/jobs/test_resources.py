"""vCPUs, memory and GPUs of a job: what the options mean, and what Fargate and EC2 have."""

from __future__ import annotations

import pytest

from dockerutils.core.errors import UserError
from dockerutils.jobs import resources
from dockerutils.jobs.resources import NAMES, Resources


def _read(make_project, **given: str) -> Resources:
    project = make_project({})
    return resources.read({name: given.get(name) for name in NAMES}, project.settings_of({}, docked=False), {})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cpus": "0"}, "--cpus: '0' is not a number of vCPUs; write a number above 0"),
        ({"cpus": "-1"}, "--cpus: '-1' is not a number of vCPUs; write a number above 0"),
        ({"cpus": "\u0661"}, "--cpus: '\u0661' is not a number of vCPUs; write a number above 0"),
        ({"cpus": "1e3"}, "--cpus: '1e3' is not a number of vCPUs; write a number above 0"),
        ({"memory": "4g"}, "--memory: '4g' is not a number of GB; write a number above 0"),
        ({"memory": "0.001"}, "--memory: '0.001' is not possible; AWS Batch takes whole MiB, 4 at least"),
        ({"memory": ""}, "--memory: '' is not a number of GB; write a number above 0"),
        ({"gpus": "all"}, "--gpus: 'all' is not a number of GPUs; write a whole number"),
        ({"gpus": "1.5"}, "--gpus: '1.5' is not a number of GPUs; write a whole number"),
    ],
)
def test_values_that_are_wrong(make_project, given, message) -> None:
    with pytest.raises(UserError) as caught:
        _read(make_project, **given)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("cpus", "memory", "message"),
    [
        ("1", "2", ""),
        ("0.25", "0.5", ""),
        ("16", "120", ""),
        ("32", "244", ""),
        ("1", "1", "--memory: Fargate has no 1 vCPU with 1 GB; use 1 vCPU with 2 GB"),
        ("0.3", "1", "--memory: Fargate has no 0.3 vCPU with 1 GB; use 0.5 vCPU with 1 GB"),
        ("2", "64", "--memory: Fargate has no 2 vCPUs with 64 GB; use 16 vCPUs with 64 GB"),
        ("8", "17", "--memory: Fargate has no 8 vCPUs with 17 GB; use 8 vCPUs with 20 GB"),
        ("48", "192", "--memory: Fargate has no 48 vCPUs with 192 GB; use 32 vCPUs with 244 GB"),
    ],
)
def test_fargate_has_certain_combinations(make_project, cpus, memory, message) -> None:
    needs = _read(make_project, cpus=cpus, memory=memory)
    if message:
        with pytest.raises(UserError) as caught:
            needs.check(is_fargate=True)
        assert str(caught.value) == message
    else:
        needs.check(is_fargate=True)


def test_each_kind_of_queue_has_its_limits(make_project) -> None:
    needs = _read(make_project, cpus="0.5", memory="1", gpus="1")
    with pytest.raises(UserError, match=r"^--gpus: Fargate has no GPUs; name a queue on EC2$"):
        needs.check(is_fargate=True)
    with pytest.raises(UserError, match=r"^--cpus: 0.5 vCPUs are for Fargate only; write a whole number$"):
        needs.check(is_fargate=False)
    large = _read(make_project, cpus="96", memory="1152")
    large.check(is_fargate=False)
    assert large.requirements() == [{"type": "VCPU", "value": "96"}, {"type": "MEMORY", "value": "1179648"}]
