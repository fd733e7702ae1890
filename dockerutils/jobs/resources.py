"""The vCPUs, memory and GPUs of a job on AWS Batch.

What Fargate has: https://docs.aws.amazon.com/batch/latest/APIReference/API_ResourceRequirement.html.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from dockerutils.core.errors import UserError
from dockerutils.docker import sizes
from dockerutils.project.config import Settings

MIB = 1024  # MiB in a GB of AWS
_LEAST_MEMORY = 4  # MiB
# The MiB that a job on Fargate can have, by the number of its vCPUs.
_FARGATE: Mapping[float, tuple[int, ...]] = {
    0.25: (512, 1024, 2048),
    0.5: tuple(range(1024, 4096 + 1, 1024)),
    1: tuple(range(2048, 8192 + 1, 1024)),
    2: tuple(range(4096, 16384 + 1, 1024)),
    4: tuple(range(8192, 30720 + 1, 1024)),
    8: tuple(range(16384, 61440 + 1, 4096)),
    16: tuple(range(32768, 122880 + 1, 8192)),
    32: (61440, 122880, 249856),
}
KINDS = {"cpus": "VCPU", "memory": "MEMORY", "gpus": "GPU"}  # as AWS Batch calls them
NAMES = tuple(KINDS)
ALL = "all"  # GPUs, as docker run takes it
Error = Callable[[str], UserError]


class Amount(NamedTuple):
    """An amount, and the function that makes an error with its place."""

    number: float
    error: Error


class Resources(NamedTuple):
    """What a job needs: vCPUs, MiB of memory, GPUs."""

    cpus: Amount
    memory: Amount
    gpus: Amount

    def requirements(self) -> list[dict[str, str]]:
        """Return the `resourceRequirements` of a job definition."""
        amounts = zip(KINDS.values(), self, strict=True)
        return [{"type": kind, "value": text(amount.number)} for kind, amount in amounts if amount.number]

    def check(self, *, is_fargate: bool) -> None:
        """Raise UserError unless a queue on Fargate, or one on EC2, can run such a job."""
        if not is_fargate:
            if self.cpus.number % 1:
                raise self.cpus.error(f"{self.cpus.number:g} vCPUs are for Fargate only; write a whole number")
            return
        if self.gpus.number:
            raise self.gpus.error("Fargate has no GPUs; name a queue on EC2")
        if self.memory.number not in _FARGATE.get(self.cpus.number, ()):
            cpus, memory = _nearest(self.cpus.number, self.memory.number)
            raise self.memory.error(
                f"Fargate has no {_shown(self.cpus.number, self.memory.number)}; use {_shown(cpus, memory)}"
            )


def read(given: Mapping[str, str | None], settings: Settings, options: Mapping[str, Amount]) -> Resources:
    """Return the amounts of the command line, `given`, else those of the keys `batch_*`, else of docker options.

    The docker options are those of the section, read by `of_docker`. The last resort are the defaults of the keys.
    """
    found: list[Amount] = []
    for name in NAMES:
        text = given[name]
        if text is not None:
            found.append(of_option(name, text))
        else:
            default = settings.word(f"batch_{name}")
            found.append(of_key(name, settings) or options.get(name) or of_option(name, default))
    resources = Resources(*found)
    if resources.gpus.number < 0:
        raise resources.gpus.error("AWS Batch needs the number of GPUs; add batch_gpus = 1, or use --gpus 1")
    return resources


def of_key(name: str, settings: Settings) -> Amount | None:
    """Return the amount that the key `batch_<name>` gives, None if it is absent; UserError has its place."""
    value = settings.value(f"batch_{name}")
    return None if value is None else amount(name, settings.word(f"batch_{name}"), value.error)


def of_option(name: str, text: str) -> Amount:
    """Return the amount that the option `--<name>` gives."""
    return amount(name, text, lambda message: UserError(f"--{name}: {message}"))


def amount(name: str, text: str, error: Error) -> Amount:
    """Return what the text of an option or key means: vCPUs, GB of memory, or GPUs."""
    if name == "gpus":
        if not re.fullmatch(r"[0-9]{1,2}", text):
            raise error(f"{text!r} is not a number of GPUs; write a whole number")
        return Amount(int(text), error)
    number = float(text) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) else 0.0
    if not number:
        unit = "vCPUs" if name == "cpus" else "GB"
        raise error(f"{text!r} is not a number of {unit}; write a number above 0")
    return Amount(number, error) if name == "cpus" else _of_bytes(number * MIB**3, text, error)


def of_docker(name: str, text: str, error: Error) -> Amount:
    """Return what the value of an option of docker run means: --cpus, --memory or --gpus; all GPUs are -1."""
    if name == "cpus":
        return amount(name, text, error)
    if name == "gpus":
        count = re.fullmatch(r"(?:count=)?(all|[0-9]{1,2})", text)
        if not count:
            raise error(f"--gpus {text} is not possible in a job on AWS Batch; write the number of GPUs")
        return Amount(-1 if count[1] == ALL else int(count[1]), error)
    return of_size(text, error)


def text(number: float) -> str:
    """Return an amount as AWS Batch takes it."""
    return str(int(number)) if number == int(number) else str(number)


def of_size(text: str, error: Error) -> Amount:
    """Return the MiB of a size as docker reads it, such as 512m or 4g."""
    size = sizes.parse(text)
    if size is None:
        raise error(f"{text!r} is not a size; write a number of bytes, or 512m or 4g")
    return _of_bytes(size, text, error)


def _of_bytes(size: float, text: str, error: Error) -> Amount:
    """Return a size in MiB."""
    if size % MIB**2 or size < _LEAST_MEMORY * MIB**2:
        raise error(f"{text!r} is not possible; AWS Batch takes whole MiB, {_LEAST_MEMORY} at least")
    return Amount(int(size / MIB**2), error)


def _nearest(cpus: float, memory: float) -> tuple[float, int]:
    """Return the smallest size of Fargate that is large enough, else its largest one."""
    large = (each for each in _combinations() if each[0] >= cpus and each[1] >= memory)
    return next(large, (max(_FARGATE), max(_FARGATE[max(_FARGATE)])))


def _combinations() -> Iterator[tuple[float, int]]:
    return ((cpus, memory) for cpus, memories in _FARGATE.items() for memory in memories)


def _shown(cpus: float, memory: float) -> str:
    return f"{cpus:g} vCPU{'' if cpus <= 1 else 's'} with {memory / MIB:g} GB"
