"""The indices of shards: the variables that a container finds its own in, and lists such as 3,7-9."""

from __future__ import annotations

import re
from collections.abc import Iterable

# As AWS Batch sets them: https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html
INDEX, SIZE = "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"
MOST = 10_000  # shards, the limit of AWS Batch


def parse(text: str, size: int) -> list[int]:
    """Return the indices in a list, in order; none unless each part of the list is of the `size` first ones."""
    found: set[int] = set()
    for part in text.split(","):
        numbers = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part.strip())
        first, last = (int(numbers[1]), int(numbers[2] or numbers[1])) if numbers else (1, 0)
        if not first <= last < size:
            return []
        found.update(range(first, last + 1))
    return sorted(found)


def listed(indices: Iterable[int]) -> str:
    """Return indices in ascending order as a short list, which `parse` reads."""
    ranges: list[list[int]] = []
    for index in indices:
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ranges)
