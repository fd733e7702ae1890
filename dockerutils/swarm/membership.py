"""The membership of docks in swarms, from the output of probes over ssh."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dockerutils.core import process
from dockerutils.docks import remote
from dockerutils.docks.records import Dock

# For `docker info -f`. The answer is one word, which PROBE finds in the variable `answer` of `remote.find_docker`.
FORMAT = "{{.Swarm.LocalNodeState}},{{.Swarm.ControlAvailable}},{{.Swarm.NodeID}}"
_INACTIVE, _ACTIVE = "inactive", "active"
_SECONDS = 2  # for a manager to list its nodes; without a leader that takes long
_NODES = 1000

# Lines of sh. Only a manager is asked for more; like that of `remote.find_docker`, they have no `!`.
PROBE = (
    f'case $answer in *active,true,*) limit="timeout {_SECONDS}"; command -v timeout >/dev/null || limit=; '
    f'$limit $sudo "$docker" node ls --format "{{{{.ID}}}} {{{{.Availability}}}}" 2>/dev/null | head -n {_NODES} | '
    'sed "s/^/node=/";; esac'
)


class Membership(NamedTuple):
    """The membership of a dock in its swarm: its `role`, manager or worker, and the id of its `node`.

    `state` is active if it works. `availability` is active, pause or drain; None if no manager has answered.
    """

    role: str
    availability: str | None
    state: str
    node: str

    @property
    def shown(self) -> str:
        """The membership in a table."""
        return ", ".join(filter(None, (self.role, self.availability if self.state == _ACTIVE else self.state)))


def read(output: str) -> tuple[Membership | None, dict[str, str]]:
    """Return the membership of a dock (None without a swarm), and the availability of the nodes that it lists.

    The output, with the answer to FORMAT in it, is not trusted.
    """
    found = re.search(r"(?am)^engine=.* ([a-z]{1,20}),(true|false),([a-z0-9]{0,40}) ", output)
    if not found or found[1] == _INACTIVE:
        return None, {}
    listed = dict(re.findall(r"(?am)^node=([a-z0-9]{1,40}) ([A-Z][a-z]{1,20})$", output))
    role = "manager" if found[2] == "true" else "worker"
    return Membership(role, None, found[1], found[3]), {node: each.lower() for node, each in listed.items()}


def completed(found: Membership | None, listed: Mapping[str, str]) -> Membership | None:
    """Return a membership with the availability that a manager has listed."""
    return found and found._replace(availability=listed.get(found.node))


def members(docks: Sequence[Dock], seconds: float) -> list[Dock]:
    """Return the docks that answer in time that they are in a swarm."""
    line = remote.find_docker(f'info -f "{FORMAT}"') + '; printf "engine= %s \\n" "$answer"'
    answers = process.capture_within([remote.probe(dock, line, seconds) for dock in docks], seconds, lambda _: False)
    return [dock for dock, answer in zip(docks, answers, strict=True) if answer and read(answer.stdout)[0]]
