"""The original numbers of shards in a job that runs failed shards of an earlier job again.

AWS Batch sets AWS_BATCH_JOB_ARRAY_INDEX itself, from 0, and a job cannot override it. So the command of the new job is
a line of `sh` that gets the list of the original shards, replaces the variable, and becomes the original command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dockerutils.images import indices
from dockerutils.images.indices import INDEX, SIZE

# $1 is the list, such as 3,7-9; $2 the number of shards of the first job. Without an index the job is the first of one.
SCRIPT = (
    f"n=${{{INDEX}:-0}}; IFS=,; for r in $1; do a=${{r%-*}}; b=${{r#*-}}; [ $n -gt $((b-a)) ] || break; "
    f'n=$((n-b+a-1)); done; unset IFS; export {INDEX}=$((a+n)) {SIZE}=$2; shift 2; exec "$@"'
)
_WRAPPED = ["sh", "-c", SCRIPT, "sh"]


class Shards(NamedTuple):
    """Shards of a job by their original indices, the original number of shards, and the command of each."""

    indices: list[int]
    size: int
    command: list[str]

    @property
    def wrapped(self) -> list[str]:
        """The command that runs them."""
        return [*_WRAPPED, indices.listed(self.indices), str(self.size), *self.command]


def of_job(job: Mapping[str, Any]) -> Shards | None:
    """Return the shards that a job, as DescribeJobs shows it, runs; None if it is neither an array nor a retry."""
    command = [*(job["container"].get("command") or ())]
    size = (job.get("arrayProperties") or {}).get("size")
    return of_command(command) or (Shards(list(range(size)), size, command) if size else None)


def of_command(command: Sequence[str]) -> Shards | None:
    """Return the shards that the command of a retry runs; None for other commands."""
    if [*command[: len(_WRAPPED)]] != _WRAPPED:
        return None
    listed, size, *rest = command[len(_WRAPPED) :]
    return Shards(indices.parse(listed, int(size)), int(size), rest)
