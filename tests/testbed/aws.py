"""AWS for the tests: moto in a process of its own, and a proxy that refuses and changes."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import botocore.session  # type: ignore[import-untyped]
from botocore import xform_name

from tests.testbed.spot import Spot

ACCOUNT = "123456789012"  # moto's
PASSWORD = f"{ACCOUNT}-auth-token"  # of ECR, as moto has it
_DEADLINE = 60.0
_REST = "/v1/"  # the paths of Batch
_LOGS = ("GetLogEvents", "FilterLogEvents")
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# A session of botocore reads the models of the services, which takes a quarter of a second; the commands that tests call
# in this process share them.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)


@dataclass(frozen=True)
class Aws:
    """An endpoint of AWS."""

    url: str

    def environment(self, region: str = "us-east-1") -> dict[str, str]:
        """Return the variables that make boto3 talk to it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "marker-of-the-secret-key",
            "AWS_DEFAULT_REGION": region,
            "AWS_MAX_ATTEMPTS": "1",
        }

    def reset(self) -> None:
        """Forget all that was made."""
        with urllib.request.urlopen(f"{self.url}/moto-api/reset", b"", timeout=30):
            pass


@contextlib.contextmanager
def serving(module: str = "moto.server", **variables: str) -> Iterator[Aws]:
    """Start moto's server on a free port and end it; RuntimeError has its log when it does not come up.

    `module` is what to run instead, and `variables` are in its environment.
    """
    port = free_port()
    # The kernel ends it with the tests, however they end.
    command = ["setpriv", "--pdeathsig=KILL", sys.executable, "-m", module, "-H", "127.0.0.1", "-p", str(port)]
    with (
        tempfile.NamedTemporaryFile("w+", suffix=".json") as images,
        tempfile.TemporaryFile("w+") as log,
    ):
        json.dump(_images(), images)
        images.flush()
        environ = {**os.environ, "MOTO_AMIS_PATH": images.name, **variables}
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environ, cwd=_ROOT
        )
        try:
            deadline = time.monotonic() + _DEADLINE
            while not _answers(port):
                if child.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"moto did not come up; its log:\n{log.read()}")
                time.sleep(0.05)
            yield Aws(f"http://127.0.0.1:{port}")
        finally:
            child.terminate()
            child.wait()


def _images() -> list[dict[str, object]]:
    """Return images, one for each parameter of SSM."""
    return [
        {
            "ami_id": image,
            "name": name,
            "owner_id": "099720109477",
            "architecture": "arm64" if "/arm64/" in name else "x86_64",
            "creation_date": "2026-11-01T00:00:00.000Z",
            "root_device_name": "/dev/sda1",
            "root_device_type": "ebs",
            "virtualization_type": "hvm",
            "hypervisor": "xen",
            "image_location": name,
            "public": True,
        }
        for name, image in PARAMETERS.items()
    ]


UBUNTU, UBUNTU_ARM, NVIDIA, NVIDIA_ARM = (f"ami-{number:017x}" for number in range(4))
# moto does not have these: the public parameters of SSM that name the current images of Canonical, and of AWS for GPUs.
PARAMETERS = {
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id": UBUNTU,
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id": UBUNTU_ARM,
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id": NVIDIA,
    "/aws/service/deeplearning/ami/arm64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id": NVIDIA_ARM,
}


class Request(NamedTuple):
    """A request that came by: the action, and its parameters as the query protocol names them.

    The actions of Batch are those of its paths, such as `listjobs`.
    """

    action: str
    parameters: dict[str, str]


class Front:
    """A proxy of moto that gives instances addresses of the tests, records the requests, and refuses some of them.

    It also does what moto does not: it has SSM's PARAMETERS, a ClientToken makes one instance only, and spot instances
    have spot requests (see Spot).

    `places` are the public addresses that instances get, a new one at each start. `console` is the console output of
    every instance. By action: `before` and `after` are called before and after moto gets a request, and may return an
    error to answer with; `replace` has answers, or functions that return one, and `answers` functions that change moto's.
    """

    def __init__(self, url: str, behind: str) -> None:
        self.aws = Aws(url)
        self.behind = behind
        self.reset()

    def reset(self) -> None:
        """Forget all of that."""
        self.places: list[str] = []
        self.console = ""
        self.requests: list[Request] = []
        self.before: dict[str, Callable[[Request], bytes | None]] = {}
        self.after: dict[str, Callable[[Request], bytes | None]] = {}
        self.replace: dict[str, bytes | Callable[[Request], bytes]] = {}
        self.answers: dict[str, Callable[[str], str]] = {}
        self.address = b"127.0.0.1\n"
        self.spot = Spot()
        self._given: dict[str, str] = {}
        self._by_token: dict[str, tuple[int, str]] = {}

    def actions(self) -> list[str]:
        """Return the actions that came by, in order."""
        return [request.action for request in self.requests]

    def refuse(self, action: str, code: str, times: int = 1000, *, done: bool = False) -> None:
        """Answer an action with an error so many times; with `done` after it was carried out."""
        left = [times]

        def answer(_: Request) -> bytes | None:
            left[0] -= 1
            return refusal(code) if left[0] >= 0 else None

        (self.after if done else self.before)[action] = answer

    def answer(self, body: bytes, headers: Mapping[str, str], path: str = "/") -> tuple[int, bytes]:
        """Return status and body of the answer to a request."""
        request = self._request(body.decode(), headers, path)
        self.requests.append(request)
        error = self.before.get(request.action, _nothing)(request)
        if error is None and request.action in self.replace:
            replacement = self.replace[request.action]
            return 200, replacement if isinstance(replacement, bytes) else replacement(request)
        status, text = (0, "") if error is not None else self._forwarded(request, body.decode(), headers, path)
        if error is None:
            error = self.after.get(request.action, _nothing)(request)
        if error is not None:
            return _error(request, error)
        if request.action == "GetConsoleOutput" and status == HTTPStatus.OK:
            text = self._written(request)
        return status, self.answers.get(request.action, str)(text).encode()

    def _forwarded(self, request: Request, body: str, headers: Mapping[str, str], path: str) -> tuple[int, str]:
        """Return status and body of moto's answer, with our addresses."""
        if request.action == "GetParameter":
            name = request.parameters["Name"]
            return (200, json.dumps({"Parameter": {"Value": PARAMETERS[name]}})) if name in PARAMETERS else (404, "{}")
        if answer := self.spot.answer(request.action, request.parameters):
            return 200, answer
        token = request.parameters.get("ClientToken", "")
        if token in self._by_token:
            return self._by_token[token]
        real = self._translated(body, {there: here for here, there in self._given.items()}).encode()
        asked = urllib.request.Request(self.behind + path, real, {**headers, "Content-Length": str(len(real))})
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                status, content = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
        text = self.spot.completed(request.action, request.parameters, content.decode())
        answered = status, self._placed(text)
        if token and status == HTTPStatus.OK:
            self._by_token[token] = answered
        return answered

    def _request(self, body: str, headers: Mapping[str, str], path: str) -> Request:
        if path.startswith(_REST):
            return Request(path.removeprefix(_REST), json.loads(body or "{}"))
        target = next((value for name, value in headers.items() if name.lower() == "x-amz-target"), "")
        if target:
            return Request(target.rpartition(".")[2], json.loads(body))
        parameters = dict(urllib.parse.parse_qsl(body))
        return Request(parameters.pop("Action", ""), parameters)

    def _placed(self, text: str) -> str:
        """Put our addresses in the place of the public ones."""
        for address in re.findall(r"<ipAddress>([\d.]+)</ipAddress>", text):
            if address not in self._given and self.places:
                self._given[address] = self.places.pop(0)
        return self._translated(text, self._given)

    def _translated(self, text: str, names: Mapping[str, str]) -> str:
        pattern = "|".join(rf"(?<![\d.]){re.escape(name)}(?![\d.])" for name in names)
        return re.sub(pattern, lambda match: names[match[0]], text) if names else text

    def _written(self, request: Request) -> str:
        output = base64.b64encode(self.console.encode()).decode()
        what = f"<instanceId>{request.parameters['InstanceId']}</instanceId><output>{output}</output>"
        return f"<GetConsoleOutputResponse>{what}</GetConsoleOutputResponse>"


def _nothing(_: Request) -> bytes | None:
    return None


def _error(request: Request, error: bytes) -> tuple[int, bytes]:
    """Return status and body of an error: 500, which boto3 tries again, for those of AWS itself; JSON for some services."""
    code = error.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()
    if request.action == "GetParameter" or request.action.islower() or request.action in _LOGS:
        error = json.dumps({"__type": code, "message": "Because."}).encode()
    return (500 if code == "InternalError" else 400), error


def refusal(code: str) -> bytes:
    """Return an error as EC2 and STS answer with it."""
    error = f"<Error><Code>{code}</Code><Message>Because.</Message></Error>"
    return f"<Response><Errors>{error}</Errors><RequestID>0</RequestID></Response>".encode()


@contextlib.contextmanager
def before(behind: Aws) -> Iterator[Front]:
    """Run a proxy of an AWS; at /checkip it returns `address`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # it would hold back each body for 40 ms

        def do_GET(self) -> None:
            self._send(200, front.address)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}}
            try:
                answer = front.answer(body, kept, self.path)
            except (OSError, http.client.HTTPException):  # moto has ended
                self.close_connection = True
            else:
                self._send(*answer)

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        front = Front(f"http://127.0.0.1:{server.server_address[1]}", behind.url)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield front
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def answering(*answers: tuple[int, Mapping[str, object]]) -> Iterator[Aws]:
    """Serve these answers, a status and a JSON object each, in this order, the last one for ever."""
    left = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = left.pop(0) if len(left) > 1 else left[0]
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Aws(f"http://127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()
            thread.join()


def parsed(line: str, variables: str = ":") -> tuple[str, dict[str, Any]]:
    """Read a line of the aws command as that does: the operation of the API, and its parameters.

    `variables` is a line of shell that sets those of the line.
    The service's model says what a word means: https://docs.aws.amazon.com/cli/latest/userguide/cli-usage-parameters.html
    """
    echo = 'aws() { for each; do printf "%s\\0" "$each"; done; }; '
    script = f"{echo}{variables}; " + re.sub(r"^\w+=\$\((.*)\)$", r"\1", re.split(r" \|\| (?=aws )", line)[-1])
    words = subprocess.run(["sh", "-uc", script], capture_output=True, check=True).stdout.decode().split("\0")[:-1]
    return meant(words)


def meant(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the operation and the parameters that the words of the aws command mean."""
    service, operation, *rest = words
    model = botocore.session.get_session().get_service_model(service)
    api = next(each for each in model.operation_names if xform_name(each, "-") == operation)
    members = model.operation_model(api).input_shape.members
    names = {f"--{xform_name(name, '-')}": name for name in members}
    given: dict[str, list[str]] = {}
    for word in rest:
        if word.startswith("--"):
            values = given.setdefault(word, [])
        else:
            values.append(word)
    for option in ("--region", "--query", "--output"):
        given.pop(option, None)
    if "--count" in given:
        given["--min-count"] = given["--max-count"] = given.pop("--count")
    return api, {names[option]: _meant(members[names[option]], values) for option, values in given.items()}


def _meant(shape: Any, values: list[str]) -> Any:
    if shape.type_name == "list" and shape.member.type_name == "string":
        return values
    if shape.type_name == "boolean":
        assert values == []
        return True
    [value] = values
    if shape.type_name in {"list", "structure"}:
        return json.loads(value)
    if shape.type_name == "blob":
        with open(value.removeprefix("fileb://"), "rb") as file:
            return file.read()
    if value.startswith("file://"):
        return Path(value.removeprefix("file://")).read_text()
    return int(value) if shape.type_name == "integer" else value


def free_port() -> int:
    """Return a port on 127.0.0.1 that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
