"""The states of docks' instances, from all regions at once and within a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dockerutils.aws import instances
from dockerutils.aws.ec2 import TERMINATED, Ec2, Instance
from dockerutils.aws.session import Session
from dockerutils.core.errors import DockerutilsError
from dockerutils.docks.records import Dock

if TYPE_CHECKING:
    import queue

UNKNOWN = "unknown"


class Query:
    """A query for the instances of docks that have an instance id and a region, with one call for each region.

    Each request can take `seconds` at most.
    """

    def __init__(self, docks: Sequence[Dock], environ: Mapping[str, str], seconds: float) -> None:
        # Late: -h, and ls-dock without docks on AWS, need neither.
        import queue
        import threading

        self._by_region: dict[str, list[Dock]] = {}
        for dock in docks:
            self._by_region.setdefault(dock.region or "", []).append(dock)
        self._session = Session(environ, dry_run=False, seconds=seconds)
        self._answers: queue.SimpleQueue[tuple[str, dict[Dock, Instance] | DockerutilsError]] = queue.SimpleQueue()
        # Daemons: resolving a host name, and a program that supplies credentials, have no time limit.
        for region in self._by_region:
            threading.Thread(target=self._request, args=(region,), daemon=True).start()

    def result(self, deadline: float, warn: Callable[[str], None]) -> dict[Dock, Instance]:
        """Return the instances, by dock.

        An instance that its account does not know has the state `terminated`. Where the credentials are for another
        account the state is `unknown`, and `reason` says so. The docks of a region that does not answer before the
        deadline are missing, and `warn` gets the reason.
        """
        import queue

        found: dict[Dock, Instance] = {}
        waiting = sorted(self._by_region)
        while waiting:
            try:
                region, answer = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                for region in waiting:
                    _warn_missing(region, "AWS did not answer in time; wait longer with -t", warn)
                break
            waiting.remove(region)
            if isinstance(answer, DockerutilsError):
                _warn_missing(region, str(answer), warn)
            else:
                found |= answer
        return found

    def _request(self, region: str) -> None:
        docks = self._by_region[region]
        try:
            known = Ec2(self._session, region).instances([dock.instance_id or "" for dock in docks])
            self._answers.put(
                (region, {dock: known.get(dock.instance_id or "") or self._missing(dock) for dock in docks})
            )
        except DockerutilsError as error:
            self._answers.put((region, error))

    def _missing(self, dock: Dock) -> Instance:
        try:
            fault = instances.fault_in_account(dock, self._session.account)
        except DockerutilsError as error:  # the other docks are known all the same
            fault = str(error)
        return Instance(dock.instance_id or "", UNKNOWN if fault else TERMINATED, reason=fault or None)


def _warn_missing(region: str, reason: str, warn: Callable[[str], None]) -> None:
    warn(f"the states of instances in {region} are missing: {reason}")
