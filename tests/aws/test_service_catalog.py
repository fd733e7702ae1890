"""Service Catalog: whole conversations, each request and answer held against the service's model."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
from botocore.stub import ANY, Stubber  # type: ignore[import-untyped]

from dockerutils.aws import service_catalog
from dockerutils.aws.service_catalog import Catalog, Product, Provisioned
from dockerutils.aws.session import Session
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.rollback import Rollback, all_or_nothing
from tests.testbed import aws as testbed

DOCK = Product("dock", None, "gpu", "alice", {"InstanceName": "gpu", "InstanceType": "t3.large"})
FOR_EVER = float("inf")


@pytest.fixture
def stub(isolated, monkeypatch) -> Iterator[Stubber]:
    """Return the stub that answers for the service; the test must use all of its answers."""
    client = boto3.client("servicecatalog", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    real = boto3.session.Session.client
    monkeypatch.setattr(
        boto3.session.Session,
        "client",
        lambda self, name, **options: client if name == "servicecatalog" else real(self, name, **options),
    )
    monkeypatch.setattr(service_catalog, "TICK", 0)
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def there(*, dry_run: bool = False) -> Catalog:
    return Catalog(Session({"AWS_REGION": "us-east-1"}, dry_run=dry_run))


def _version(number: int, **more: Any) -> dict[str, Any]:
    made = datetime.datetime(2026, number, 1, tzinfo=datetime.timezone.utc)
    return {"Id": f"pa-{number}", "Name": f"v{number}", "CreatedTime": made, "Guidance": "DEFAULT", **more}


def described(stub: Stubber, versions: list[dict[str, Any]] | None = None) -> None:
    if versions is None:
        versions = [_version(2), _version(3), _version(1), _version(4, Guidance="DEPRECATED")]
    answer = {"ProductViewSummary": {"ProductId": "prod-1"}, "ProvisioningArtifacts": versions}
    for _ in "12":
        stub.add_response("describe_product", answer, {"Name": "dock"})


def prepared(stub: Stubber, version: str = "pa-3", keys: tuple[str, ...] = ("InstanceName", "InstanceType")) -> None:
    described(stub)
    stub.add_response("list_launch_paths", {"LaunchPathSummaries": [{"Id": "path-1"}]}, {"ProductId": "prod-1"})
    asked = {"ProductId": "prod-1", "ProvisioningArtifactId": version, "PathId": "path-1"}
    parameters = [{"ParameterKey": key} for key in keys]
    stub.add_response("describe_provisioning_parameters", {"ProvisioningArtifactParameters": parameters}, asked)


def provisioning(version: str = "pa-3", **parameters: str) -> dict[str, Any]:
    return {
        "ProductId": "prod-1",
        "ProvisioningArtifactId": version,
        "PathId": "path-1",
        "ProvisionedProductName": "gpu",
        "ProvisioningParameters": [{"Key": key, "Value": value} for key, value in parameters.items()],
        "Tags": ANY,
        "ProvisionToken": "dockerutils-product-feed",
    }


STARTED = {"RecordDetail": {"ProvisionedProductId": "pp-1", "RecordId": "rec-1"}}
ENDING = {"RecordDetail": {"ProvisionedProductId": "pp-1", "RecordId": "rec-2"}}


def record(stub: Stubber, status: str, number: int = 1, *, errors: tuple[str, ...] = (), **outputs: str) -> None:
    detail = {"Status": status, "RecordErrors": [{"Description": each} for each in errors]}
    values = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    stub.add_response("describe_record", {"RecordDetail": detail, "RecordOutputs": values}, {"Id": f"rec-{number}"})


def terminated(stub: Stubber) -> None:
    asked = {"ProvisionedProductId": "pp-1", "TerminateToken": ANY}
    stub.add_response("terminate_provisioned_product", ENDING, asked)
    record(stub, "IN_PROGRESS", 2)
    record(stub, "SUCCEEDED", 2)


def attempt(wanted: Product = DOCK, deadline: float = FOR_EVER) -> Provisioned | None:
    with all_or_nothing("create-dock") as rollback:
        return there().provision(wanted, "product-feed", deadline, rollback)


def test_a_product_is_provisioned(stub, capfd) -> None:
    prepared(stub)
    expected = provisioning(InstanceName="gpu", InstanceType="t3.large")
    stub.add_response("provision_product", STARTED, expected)
    record(stub, "CREATED")
    record(stub, "IN_PROGRESS")
    record(stub, "SUCCEEDED", InstanceId="i-0123456789abcdef0", PublicIp="203.0.113.7")
    assert attempt() == Provisioned("pp-1", "i-0123456789abcdef0", "203.0.113.7")
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("aws ")]
    read = dict(map(testbed.parsed, lines))
    assert list(read) == ["ProvisionProduct"]
    run = read["ProvisionProduct"]
    assert {key: value for key, value in run.items() if key not in ("Tags", "ProvisionToken")} == {
        key: value for key, value in expected.items() if key not in ("Tags", "ProvisionToken")
    }
    assert run["Tags"] == [
        {"Key": "Name", "Value": "gpu"}, {"Key": "user", "Value": "alice"}, {"Key": "tool", "Value": "dockerutils"},
    ]  # fmt: skip


def test_a_version_and_parameters_by_name(stub) -> None:
    prepared(stub, "pa-1", ("InstanceType", "Team"))
    stub.add_response("provision_product", STARTED, provisioning("pa-1", InstanceType="t3.large", Team="vision"))
    record(stub, "SUCCEEDED", Address="203.0.113.7", PrivateIpAddress="10.0.0.7")
    wanted = DOCK._replace(version="v1", parameters={**DOCK.parameters, "Team": "vision"})
    assert attempt(wanted) == Provisioned("pp-1", None, "10.0.0.7")


def test_a_parameter_that_the_product_lacks(stub) -> None:
    prepared(stub, keys=())
    with pytest.raises(DockerutilsError, match=r"^dock has no parameter InstanceType; it has: none$"):
        attempt()


def test_no_such_product(stub) -> None:
    stub.add_client_error("describe_product", "ResourceNotFoundException", "No product")
    with pytest.raises(DockerutilsError) as caught:
        attempt()
    assert str(caught.value) == (
        "AWS refused DescribeProduct: No product (ResourceNotFoundException); correct the name, or the region"
    )


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (None, "dock has no version that is not deprecated; name another one with --product-version"),
        ("v`2'\"", "dock has no version 'v`2\\'\"'; name another one with --product-version"),
    ],
)
def test_no_such_version(stub, version, message) -> None:
    described(stub, [_version(4, Guidance="DEPRECATED")])
    with pytest.raises(DockerutilsError) as caught:
        attempt(DOCK._replace(version=version))
    assert str(caught.value) == message


def test_no_launch_path(stub) -> None:
    described(stub)
    stub.add_response("list_launch_paths", {"LaunchPathSummaries": []})
    with pytest.raises(
        DockerutilsError, match=r"^dock has no launch path for you; grant this IAM identity access to its portfolio"
    ):
        attempt()


def test_what_fails_is_terminated(stub, capfd) -> None:
    prepared(stub)
    stub.add_response("provision_product", STARTED)
    record(stub, "FAILED", errors=("No capacity.", "Rolled back"))
    record(stub, "FAILED")
    terminated(stub)
    with pytest.raises(DockerutilsError) as caught:
        attempt()
    assert str(caught.value) == ("Service Catalog failed: No capacity.; Rolled back; fix this and try again")
    assert capfd.readouterr().err.endswith("\ncreate-dock: removed: product pp-1\n")


def test_outputs_that_lead_nowhere(stub) -> None:
    prepared(stub)
    stub.add_response("provision_product", STARTED)
    record(stub, "SUCCEEDED", Bucket="x")
    record(stub, "SUCCEEDED")
    terminated(stub)
    with pytest.raises(
        DockerutilsError,
        match=r"^the product has no output with its instance id or address \(outputs: Bucket\); add one",
    ):
        attempt()


def test_a_deadline_that_passes(stub, capfd) -> None:
    """What is still being made can be terminated only when it is there."""
    prepared(stub)
    stub.add_response("provision_product", STARTED)
    record(stub, "IN_PROGRESS")
    record(stub, "IN_PROGRESS")
    record(stub, "SUCCEEDED")
    terminated(stub)
    with pytest.raises(
        DockerutilsError, match=r"^Service Catalog takes too long: rec-1 is IN_PROGRESS; allow more time"
    ):
        attempt(deadline=0)
    assert "removed: product pp-1" in capfd.readouterr().err


@pytest.mark.parametrize("was_made", [True, False])
def test_what_may_have_been_made_is_found_by_its_token(stub, was_made, capfd) -> None:
    prepared(stub)
    stub.add_client_error("provision_product", "InternalFailure", http_status_code=500)
    found = [{"Id": "pp-0", "IdempotencyToken": "other", "LastRecordId": "rec-0"}]
    if was_made:
        found.append({"Id": "pp-1", "IdempotencyToken": "dockerutils-product-feed", "LastRecordId": "rec-1"})
    asked = {"Filters": {"SearchQuery": ["name:gpu"]}}
    stub.add_response("search_provisioned_products", {"ProvisionedProducts": found}, asked)
    if was_made:
        record(stub, "IN_PROGRESS")
        record(stub, "SUCCEEDED")
        terminated(stub)
    with pytest.raises(DockerutilsError, match=r"^AWS refused ProvisionProduct"):
        attempt()
    assert ("removed: " in capfd.readouterr().err) == was_made


def test_what_cannot_be_terminated_is_reported(stub, capfd) -> None:
    prepared(stub)
    stub.add_response("provision_product", STARTED)
    stub.add_client_error("describe_record", "ExpiredTokenException")
    stub.add_client_error("describe_record", "ExpiredTokenException")
    with pytest.raises(DockerutilsError):
        attempt()
    assert re.search(r"not removed: product gpu: AWS refused .*; run: destroy-dock gpu\n$", capfd.readouterr().err)


def test_terminated_and_gone_already(stub) -> None:
    terminated(stub)
    assert there().terminate("pp-1", FOR_EVER)
    stub.add_client_error("terminate_provisioned_product", "ResourceNotFoundException")
    assert not there().terminate("pp-1", FOR_EVER)
    stub.add_client_error("terminate_provisioned_product", "AccessDeniedException")
    with pytest.raises(DockerutilsError, match="AccessDenied"):
        there().terminate("pp-1", FOR_EVER)


def test_dry_run(stub, capfd) -> None:
    assert there(dry_run=True).provision(DOCK, "product-feed", FOR_EVER, Rollback()).instance == "${instance}"
    assert there(dry_run=True).terminate("pp-1", FOR_EVER)
    assert there(dry_run=True).remove("gpu", "product-feed") == ""
    lines = [line for line in capfd.readouterr().out.splitlines() if re.match(r"(\w+=\$\()?aws ", line)]
    variables = "product=prod-1; version=pa-3; path=path-1; record=rec-1"
    read = [testbed.parsed(line, variables) for line in lines]
    assert [operation for operation, _ in read] == [
        "DescribeProduct", "DescribeProduct", "ListLaunchPaths", "DescribeProvisioningParameters", "ProvisionProduct",
        "DescribeRecord", "TerminateProvisionedProduct", "SearchProvisionedProducts", "TerminateProvisionedProduct",
    ]  # fmt: skip
    assert read[4][1]["ProvisioningArtifactId"] == "pa-3"
