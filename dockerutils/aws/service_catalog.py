"""Docks as products of AWS Service Catalog.

The calls: https://docs.aws.amazon.com/servicecatalog/latest/dg/API_Reference.html
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from dockerutils.aws.ec2 import TOOL
from dockerutils.aws.errors import Refused
from dockerutils.aws.session import OR_EMPTY, Call, Session
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.rollback import Rollback

TICK = 1.0
# A product can be terminated only when its provisioning has ended. Seconds.
PROVISIONING = 1800.0
_INSTANCE = re.compile(r"i-[0-9a-f]{8,17}")
_ADDRESS = re.compile(r"(?i)(?:public|private)?_?(?:ip|dns)")


class Product(NamedTuple):
    """What to provision, for whom and as what; `version` None is the newest version that is not deprecated.

    `parameters` are values by key. The product must have all of those keys except InstanceName. `tags` are the user's.
    """

    name: str
    version: str | None
    moniker: str
    user: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str] = {}


class Provisioned(NamedTuple):
    """A provisioned product: its id, and the instance or the address in its outputs, or both."""

    id: str
    instance: str | None
    address: str | None


class Catalog:
    """Service Catalog in one region, by default the session's."""

    def __init__(self, session: Session, region: str = "") -> None:
        self._session = session
        self._region = region or session.region
        self._dry_run = session.dry_run

    def provision(self, wanted: Product, run: str, deadline: float, rollback: Rollback) -> Provisioned:
        """Provision a product and wait for it, recorded in `rollback`; a dry run knows only the instance's variable."""
        of = {"Name": wanted.name}
        product = self._call("describe-product", of, "ProductViewSummary.ProductId", "product")
        version = self._call("describe-product", of, _version(wanted.version) + OR_EMPTY, "version")
        what = f"version {wanted.version!r}" if wanted.version else "version that is not deprecated"
        self._session.found(version, f"{wanted.name} has no {what}; name another one with --product-version")
        path = self._call("list-launch-paths", {"ProductId": product}, f"LaunchPathSummaries[0].Id{OR_EMPTY}", "path")
        self._session.found(
            path, f"{wanted.name} has no launch path for you; grant this IAM identity access to its portfolio"
        )
        parameters = {
            "ProductId": product,
            "ProvisioningArtifactId": version,
            "PathId": path,
            "ProvisionedProductName": _product_name(wanted.moniker),
            "ProvisioningParameters": self._parameters(wanted, product, version, path),
            "Tags": [
                {"Key": key, "Value": value}
                for key, value in {**wanted.tags, "Name": wanted.moniker, "user": wanted.user, "tool": TOOL}.items()
            ],
            # AWS provisions one product for a token, however often the request arrives.
            "ProvisionToken": _run_token(run),
        }
        if self._dry_run:
            return self._print_provisioning(parameters)
        made: list[tuple[str, str]] = []  # the ids of the product and of the record of its provisioning

        def remove() -> str:
            return self._remove_provisioned(made[0]) if made else self.remove(wanted.moniker, run)

        with rollback.making(f"product {wanted.moniker}", lambda: f"destroy-dock {wanted.moniker}", remove):
            detail = self._call("provision-product", parameters, "RecordDetail.[ProvisionedProductId,RecordId]")
            made.append((detail[0], detail[1]))
        return self._outcome(made[0], deadline)

    def _print_provisioning(self, parameters: Mapping[str, Any]) -> Provisioned:
        """Print the lines that provision a product, wait for it, and find its instance."""
        of = {"Id": self._call("provision-product", parameters, "RecordDetail.RecordId", "record")}
        status = self._session.line(Call("servicecatalog", "describe-record", of, self._region, "RecordDetail.Status"))
        print(f"while case $({status}) in CREATED|IN_PROGRESS*) ;; *) false ;; esac; do sleep 5; done", flush=True)
        instance = self._call(
            "describe-record",
            of,
            'RecordOutputs[?starts_with(OutputValue,`"i-"`)].OutputValue|[0]' + OR_EMPTY,
            "instance",
        )
        self._session.found(instance, "the product was not provisioned, or has no output with its instance id")
        return Provisioned("", instance, None)

    def terminate(self, product: str, deadline: float) -> bool:
        """Terminate a provisioned product and wait until it is gone; return whether it existed."""
        try:
            record = self._call("terminate-provisioned-product", _termination(product), "RecordDetail.RecordId")
        except Refused as error:
            if error.code != "ResourceNotFoundException":
                raise
            return False
        if not self._dry_run:
            self._until(record, deadline)
        return True

    def remove(self, moniker: str, run: str) -> str:
        """Terminate what `provision` made in a run, if anything; return what was done."""
        name = _product_name(moniker)
        query = f"ProvisionedProducts[?IdempotencyToken=='{_run_token(run)}'].[Id,LastRecordId]|[0]"
        if self._dry_run:
            query = query.replace("[Id,LastRecordId]", "Id")
        search = {"Filters": {"SearchQuery": [f"name:{name}"]}}
        found = self._call("search-provisioned-products", search, query, "product")
        if self._dry_run:
            self.terminate(found, 0)
            return ""
        return self._remove_provisioned((found[0], found[1])) if found else ""

    def _remove_provisioned(self, made: tuple[str, str]) -> str:
        product, record = made
        deadline = time.monotonic() + PROVISIONING
        try:
            self._until(record, deadline)
        except DockerutilsError as error:
            if isinstance(error, Refused):
                raise
        return f"product {product}" if self.terminate(product, deadline) else ""

    def _parameters(self, wanted: Product, product: str, version: str, path: str) -> list[dict[str, str]]:
        parameters = {"ProductId": product, "ProvisioningArtifactId": version, "PathId": path}
        query = "ProvisioningArtifactParameters[].ParameterKey"
        known = self._call("describe-provisioning-parameters", parameters, query)
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
            present = ", ".join(outputs) or "none"
            raise DockerutilsError(
                f"the product has no output with its instance id or address (outputs: {present}); add one"
            )
        return Provisioned(made[0], instance, address)

    def _until(self, record: str, deadline: float) -> dict[str, str]:
        """Wait until the operation of a record has succeeded, and return its outputs by key."""
        query = "[RecordDetail.Status,RecordDetail.RecordErrors[].Description,RecordOutputs[].[OutputKey,OutputValue]]"
        while True:
            status, errors, outputs = self._call("describe-record", {"Id": record}, query)
            if status == "SUCCEEDED":
                return {key: value for key, value in outputs or () if value is not None}
            if status == "FAILED":
                why = "; ".join(errors or ()) or "no reason given"
                raise DockerutilsError(f"Service Catalog failed: {why}; fix this and try again")
            if time.monotonic() > deadline:
                raise DockerutilsError(f"Service Catalog takes too long: {record} is {status}; allow more time with -t")
            time.sleep(TICK)

    def _call(self, operation: str, parameters: Mapping[str, Any], query: str = "", variable: str = "") -> Any:
        call = Call("servicecatalog", operation, parameters, self._region, query)
        return self._session.call(call, variable=variable)


def _version(name: str | None) -> str:
    """Return the query for the id of a version."""
    if name is None:
        return 'sort_by(ProvisioningArtifacts[?Guidance!=`"DEPRECATED"`],&CreatedTime)[-1].Id'
    literal = json.dumps(name).replace("`", "\\`")
    return f"ProvisioningArtifacts[?Name==`{literal}`].Id|[0]"


def _termination(product: str) -> dict[str, str]:
    return {"ProvisionedProductId": product, "TerminateToken": _token()}


def _token() -> str:
    return f"{TOOL}-{os.urandom(8).hex()}"


def _run_token(run: str) -> str:
    return f"{TOOL}-{run}"


def _product_name(moniker: str) -> str:
    return moniker.replace("+", "-")
