"""Docks as products of AWS Service Catalog: provisioned, and terminated again.

The calls: https://docs.aws.amazon.com/servicecatalog/latest/dg/API_Reference.html
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from dockerutils.aws.api import Call, Refused, Session
from dockerutils.aws.ec2 import TOOL
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.rollback import Undo

TICK = 1.0
# A product that somebody has interrupted can be terminated only when it is there. Seconds.
_COMES_TO_AN_END = 1800.0
_INSTANCE = re.compile(r"i-[0-9a-f]{8,17}")
_ADDRESS = re.compile(r"(?i)(?:public|private)?_?(?:ip|dns)")


class Product(NamedTuple):
    """What is to be provisioned, for whom, and under what name; `version` None is the newest that is not deprecated.

    `parameters` are values by key. The product has to have all of those keys but InstanceName.
    """

    name: str
    version: str | None
    moniker: str
    user: str
    parameters: Mapping[str, str]


class Provisioned(NamedTuple):
    """A provisioned product: its id, and what its outputs tell, which is one of instance and address at least."""

    id: str
    instance: str | None
    address: str | None


class Catalog:
    """Service Catalog in one region: the session's, when none is named."""

    def __init__(self, session: Session, region: str = "") -> None:
        self._session = session
        self._region = region or session.region
        self._dry_run = session.dry_run

    def provision(self, wanted: Product, deadline: float, undo: Undo) -> Provisioned | None:
        """Provision a product and wait until it is there; what is made is noted in `undo`. None in a dry run."""
        of = {"Name": wanted.name}
        product = self._ask("describe-product", of, "ProductViewSummary.ProductId", "product")
        version = self._ask("describe-product", of, _version(wanted.version), "version")
        if not version:
            what = f"version {wanted.version!r}" if wanted.version else "version that is not deprecated"
            raise DockerutilsError(f"{wanted.name} has no {what}; name one with --product-version")
        path = self._ask("list-launch-paths", {"ProductId": product}, "LaunchPathSummaries[0].Id", "path")
        if not path:
            raise DockerutilsError(f"no launch path leads to {wanted.name}; have the identity that calls granted one")
        asked = {
            "ProductId": product,
            "ProvisioningArtifactId": version,
            "PathId": path,
            "ProvisionedProductName": wanted.moniker.replace("+", "-"),
            "ProvisioningParameters": self._parameters(wanted, product, version, path),
            "Tags": [
                {"Key": "Name", "Value": wanted.moniker},
                {"Key": "user", "Value": wanted.user},
                {"Key": "tool", "Value": TOOL},
            ],
            # The same for each time that this request is sent, so that AWS provisions it once.
            "ProvisionToken": _token(),
        }
        made: list[tuple[str, str]] = []  # the product and the record of its making, once AWS has told them
        token = asked["ProvisionToken"]
        name = asked["ProvisionedProductName"]
        with undo.making(f"product {name}", lambda: self._by_hand(made, name), lambda: self._remove(made, name, token)):
            detail = self._ask("provision-product", asked, "RecordDetail.[ProvisionedProductId,RecordId]")
            if detail:
                made.append((detail[0], detail[1]))
        return None if self._dry_run else self._outcome(made[0], deadline)

    def terminate(self, product: str, deadline: float) -> bool:
        """Terminate a provisioned product, and wait until it is gone; tell whether it was there."""
        try:
            record = self._ask("terminate-provisioned-product", _termination(product), "RecordDetail.RecordId")
        except Refused as error:
            if error.code != "ResourceNotFoundException":
                raise
            return False
        if not self._dry_run:
            self._until(record, deadline)
        return True

    def _parameters(self, wanted: Product, product: str, version: str, path: str) -> list[dict[str, str]]:
        asked = {"ProductId": product, "ProvisioningArtifactId": version, "PathId": path}
        query = "ProvisioningArtifactParameters[].ParameterKey"
        known = self._ask("describe-provisioning-parameters", asked, query)
        if self._dry_run:
            known = list(wanted.parameters)
        for key in wanted.parameters:
            if key not in known and key != "InstanceName":
                raise DockerutilsError(f"{wanted.name} has no parameter {key}; it has: {', '.join(known) or 'none'}")
        return [{"Key": key, "Value": value} for key, value in wanted.parameters.items() if key in known]

    def _outcome(self, made: tuple[str, str], deadline: float) -> Provisioned:
        outputs = self._until(made[1], deadline)
        instance = next(filter(_INSTANCE.fullmatch, outputs.values()), None)
        address = next((value for key, value in outputs.items() if _ADDRESS.search(key)), None)
        if not instance and not address:
            told = ", ".join(outputs) or "nothing"
            raise DockerutilsError(
                f"the product tells neither its instance nor its address, but {told}; have it do that"
            )
        return Provisioned(made[0], instance, address)

    def _until(self, record: str, deadline: float) -> dict[str, str]:
        """Wait until what a record is of has been done, and return its outputs by key."""
        query = "[RecordDetail.Status,RecordDetail.RecordErrors[].Description,RecordOutputs[].[OutputKey,OutputValue]]"
        while True:
            status, errors, outputs = self._ask("describe-record", {"Id": record}, query)
            if status == "SUCCEEDED":
                return {key: value for key, value in outputs or () if value is not None}
            if status == "FAILED":
                why = "; ".join(errors or ()) or "it does not say why"
                raise DockerutilsError(f"Service Catalog has failed: {why}; mend that and run the command again")
            if time.monotonic() > deadline:
                raise DockerutilsError(f"Service Catalog takes too long: {record} is {status}; allow more time with -t")
            time.sleep(TICK)

    def _remove(self, made: list[tuple[str, str]], name: str, token: str) -> str:
        deadline = time.monotonic() + _COMES_TO_AN_END
        if made:
            product, record = made[0]
            try:
                self._until(record, deadline)
            except DockerutilsError as error:
                if isinstance(error, Refused):
                    raise
        else:
            found = {"Filters": {"SearchQuery": [f"name:{name}"]}}
            ours = f"ProvisionedProducts[?IdempotencyToken=='{token}'].Id|[0]"
            product = self._ask("search-provisioned-products", found, ours)
            if not product:
                return ""
        return f"product {name}" if self.terminate(product, deadline) else ""

    def _by_hand(self, made: list[tuple[str, str]], name: str) -> str:
        which = {"ProvisionedProductId": made[0][0]} if made else {"ProvisionedProductName": name}
        return self._session.line(self._call("terminate-provisioned-product", which))

    def _call(self, operation: str, parameters: Mapping[str, Any], query: str = "") -> Call:
        return Call("servicecatalog", operation, parameters, self._region, query)

    def _ask(self, operation: str, parameters: Mapping[str, Any], query: str = "", variable: str = "") -> Any:
        return self._session.ask(self._call(operation, parameters, query), variable=variable)


def _version(name: str | None) -> str:
    """Return the query for the id of a version."""
    if name is None:
        return 'sort_by(ProvisioningArtifacts[?Guidance!=`"DEPRECATED"`],&CreatedTime)[-1].Id'
    literal = json.dumps(name).replace("`", "\\`")
    return f"ProvisioningArtifacts[?Name==`{literal}`].Id|[0]"


def _termination(product: str) -> dict[str, str]:
    return {"ProvisionedProductId": product, "TerminateToken": _token()}


def _token() -> str:
    import secrets

    return f"{TOOL}-{secrets.token_hex(8)}"
