"""The requests behind spot instances, which moto does not have: a persistent one makes an instance again."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SPOT = "InstanceMarketOptions."
_LIVE = "active"


class Spot:
    """Spot requests, by id: their instance, their parameters and their state.

    `made_again` are the requests of instances that were terminated first: AWS would have made other ones.
    """

    def __init__(self) -> None:
        self.requests: dict[str, str] = {}
        self.states: dict[str, str] = {}
        self.parameters: list[dict[str, str]] = []
        self.made_again: list[str] = []
        self._tags: dict[str, str] = {}

    def answer(self, action: str, parameters: Mapping[str, str]) -> str:
        """Return the answer of an action about requests, nothing for other ones."""
        if action == "CancelSpotInstanceRequests":
            cancelled = [value for name, value in parameters.items() if name.startswith("SpotInstanceRequestId.")]
            self.states |= dict.fromkeys(cancelled, "cancelled")
            return self._answer(action, cancelled)
        if action == "DescribeSpotInstanceRequests":
            wanted = set(parameters.values())
            found = [each for each, state in self.states.items() if state in wanted and self._tags[each] in wanted]
            return self._answer(action, found)
        return ""

    def completed(self, action: str, parameters: Mapping[str, str], text: str) -> str:
        """Return moto's answer, completed by the requests of instances; remember those that it makes."""
        if action == "RunInstances" and parameters.get(f"{_SPOT}MarketType") == "spot" and "<instancesSet>" in text:
            request = f"sir-{len(self.requests):08d}"
            self.requests[request] = re.findall("<instanceId>(i-[0-9a-f]+)<", text)[0]
            self.states[request] = _LIVE
            self.parameters.append(
                {name.removeprefix(_SPOT): value for name, value in parameters.items() if name.startswith(_SPOT)}
            )
            self._tags[request] = _run(parameters)
        if action == "TerminateInstances":
            ended = set(parameters.values())
            self.made_again += [
                each for each, instance in self.requests.items() if instance in ended and self.states[each] == _LIVE
            ]
        for request, instance in self.requests.items():
            item = f"<instanceId>{instance}</instanceId>"
            text = text.replace(item, f"{item}<spotInstanceRequestId>{request}</spotInstanceRequestId>")
        return text

    def _answer(self, action: str, requests: list[str]) -> str:
        items = "".join(
            f"<item><spotInstanceRequestId>{each}</spotInstanceRequestId><state>{self.states[each]}</state></item>"
            for each in requests
        )
        return f"<{action}Response><spotInstanceRequestSet>{items}</spotInstanceRequestSet></{action}Response>"


def _run(parameters: Mapping[str, str]) -> str:
    """Return the run tag that a call gives to its spot request."""
    kinds = [name for name, value in parameters.items() if value == "spot-instances-request"]
    prefix = kinds[0].removesuffix("ResourceType") if kinds else "?"
    tags = {name: value for name, value in parameters.items() if name.startswith(prefix)}
    keys = [name for name, value in tags.items() if value == "dockerutils:run"]
    return tags[keys[0].removesuffix("Key") + "Value"] if keys else ""
