"""What AWS and boto3 report when a call fails, as one line: what is wrong; what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dockerutils.core.errors import DockerutilsError


class Refused(DockerutilsError):
    """AWS answered a call with an error. `code` is the error code that AWS documents, `reason` what AWS says."""

    def __init__(self, message: str, code: str, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        # After an internal error the call can have been carried out all the same.
        self.is_final = re.search(r"Internal|Unavailable|Duplicate", code) is None
        # To too many requests: https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
        self.is_throttled = re.match(_THROTTLED, code) is not None


@contextmanager
def explained() -> Iterator[None]:
    """Turn what boto3 raises into DockerutilsError, and an answer that is an error into Refused."""
    # Late: -h and dry runs need no botocore.
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    try:
        yield
    except ClientError as error:
        code, reason = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
        raise Refused(_refusal(error), code, reason.rstrip(".") or code) from error
    # ValueError: an endpoint that is not a URL.
    except (BotoCoreError, ValueError) as error:
        raise DockerutilsError(f"AWS: {' '.join(str(error).split()).rstrip('.')}; {_remedy(error)}") from error


def _refusal(error: Any) -> str:
    """Explain an error code; https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html."""
    code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
    remedy = next((remedy for pattern, remedy in _CODES.items() if re.match(pattern, code)), _FIX)
    if error.operation_name == "StartInstances" and re.match(_CAPACITY, code):
        remedy = "AWS has no free machine of this type in the dock's zone; try again later"
    message = re.sub(r"\s*Encoded authorization failure message: \S+", "", message)
    return f"AWS refused {error.operation_name}: {message.rstrip('.') or 'no reason given'} ({code}); {remedy}"


def _remedy(error: Exception) -> str:
    # boto3 builds the host's name from the region.
    if re.search(r"resolv|Name or service|getaddrinfo|nodename", str(getattr(error, "kwargs", {}).get("error", ""))):
        return "check the region (AWS_REGION, or the profile's), and that this machine can resolve host names"
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return next((remedy for kind, remedy in _EXCEPTIONS.items() if kind in kinds), _FIX)


_FIX = "fix this and try again"
_NETWORK = "check that this machine reaches AWS, and the values of AWS_ENDPOINT_URL and the proxy variables"
_KEYS = "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile"
_EXCEPTIONS = {
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run: aws configure",
    "PartialCredentialsError": "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "ProfileNotFound": "correct AWS_PROFILE, or add the profile to ~/.aws/config",
    "InvalidRegionError": "correct AWS_REGION, or the profile's region",
    "SSOError": "run: aws sso login",
    "TokenRetrievalError": "run: aws sso login",
    "HTTPClientError": _NETWORK,
    "ConnectionError": _NETWORK,
}
_THROTTLED = r"RequestLimitExceeded|Throttling|TooManyRequests"
_CAPACITY = r"Insufficient\w*Capacity|UnfulfillableCapacity|Unsupported$"
_CODES = {
    r"ResourceNotFoundException": "correct the name, or the region",
    r"RepositoryNotFound": "correct the name, or publish the image first",
    r"ParameterNotFound": "name an image of this region with --ami",
    _CAPACITY: "choose another instance type (-i) or subnet (-s), or try again later",
    r"VcpuLimitExceeded|InstanceLimitExceeded": "choose a smaller instance type (-i), or request a higher quota",
    _THROTTLED: "try again later",
    r"MaxSpotInstanceCountExceeded|SpotMaxPriceTooLow": "use --spot-or-on-demand, or request a higher quota",
    r"IncorrectSpotRequestState": "AWS stopped this spot instance and will start it again itself; try again later",
    r"AuthFailure\.ServiceLinkedRole": "ask an administrator: aws iam create-service-linked-role --aws-service-name "
    "spot.amazonaws.com",
    r"InvalidAMIID": "correct --ami: the image must be in this region",
    r"InvalidSubnet": "correct -s: the subnet must be in this region",
    r"InvalidInstanceType": "correct -i: the region must offer the type",
    r"InvalidKeyPair\.NotFound": "correct --key-name: the key pair must be in this region",
    r"InvalidGroup": "correct --security-group: the group must be in the subnet's VPC",
    r"Expired|RequestExpired": "renew the credentials: aws sso login, or a new AWS_SESSION_TOKEN",
    r"AccessDenied|Unauthorized": "grant this IAM identity the permission",
    r"AuthFailure": f"{_KEYS}, and check this machine's clock",
    r"InvalidClientTokenId|UnrecognizedClient|InvalidSignature|SignatureDoesNotMatch": _KEYS,
}
