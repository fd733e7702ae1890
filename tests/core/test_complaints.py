"""Messages of ssh and docker, as their clients write them, and what they mean."""

from __future__ import annotations

import pytest

from dockerutils.core import complaints
from dockerutils.core.complaints import Host

DOCK = Host("dock gpu", "ssh dock-gpu", is_dock=True)
OTHER = Host("me@gpu:22", "ssh -p 22 me@gpu")

CHANGED = (
    "@@@@@\r\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n@@@@@\r\n"
    "Offending ED25519 key in /home/a b/.docker/203.0.113.7/known_hosts:1\r\n"
    "Host key for gpu has changed and you have requested strict checking.\r\nHost key verification failed.\r\n\n"
)
FORGET = (
    "the host key of gpu has changed; if the host was reinstalled, run: ssh-keygen -R gpu -f "
    "'/home/a b/.docker/203.0.113.7/known_hosts'; if not, someone may be intercepting the connection"
)
START = "start it, or point DOCKER_HOST or docker context use at one that runs"


def over_ssh(status: int, stderr: str, host: str = "dock-gpu") -> str:
    """Return what docker writes when the ssh that it has started ended."""
    return (
        f'error during connect: Get "http://docker.example.com/v1.50/info": command [ssh -o ConnectTimeout=30 -T -- {host} '
        f"docker system dial-stdio] has exited with exit status {status}, make sure the URL is valid: stderr={stderr}\n\n"
    )


# What ssh writes when its ProxyCommand ends before sshd has answered.
CUT = "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by UNKNOWN port 65535\r\n"
THROUGH = "ssh to dock gpu goes through Session Manager, and this machine cannot use it"
INSTALL = "install AWS CLI 2 and session-manager-plugin, and put both on the PATH"


@pytest.mark.parametrize(
    ("stderr", "meaning"),
    [
        (
            "\nAn error occurred (TargetNotConnected) when calling the StartSession operation: i-0ab is not connected.\n",
            "Session Manager does not reach dock gpu; check that it runs, that its instance profile has the policy "
            "AmazonSSMManagedInstanceCore, and that its subnet has a NAT gateway or the VPC endpoints of Systems Manager",
        ),
        (
            "\nSessionManagerPlugin is not found. Please refer to SessionManager Documentation here: http://example.com\n",
            f"{THROUGH}: SessionManagerPlugin is not found. Please refer to SessionManager Documentation here: "
            f"http://example.com; {INSTALL}",
        ),
        ("/bin/sh: 1: exec: aws: not found\n", f"{THROUGH}: /bin/sh: 1: exec: aws: not found; {INSTALL}"),
        ("zsh:1: command not found: aws\n", f"{THROUGH}: zsh:1: command not found: aws; {INSTALL}"),
        (
            "\nAn error occurred (ExpiredTokenException) when calling the StartSession operation: The token is expired\n",
            "the AWS credentials have expired: An error occurred (ExpiredTokenException) when calling the StartSession "
            "operation: The token is expired; renew the credentials: aws sso login, or a new AWS_SESSION_TOKEN",
        ),
        (
            "\nThe config profile (work) could not be found\n",
            "the aws command has no credentials: The config profile (work) could not be found; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run: aws configure",
        ),
        (
            "\nAn error occurred (AccessDeniedException) when calling the StartSession operation: User x is not authorized\n",
            "AWS refused the connection to dock gpu: An error occurred (AccessDeniedException) when calling the "
            "StartSession operation: User x is not authorized; grant this IAM identity the permission ssm:StartSession",
        ),
    ],
)
def test_what_the_aws_command_says_below_ssh(stderr: str, meaning: str) -> None:
    assert complaints.explain_ssh(stderr + CUT, DOCK) == meaning
    assert complaints.is_refused_connection(CUT)
    assert not complaints.is_refused_connection(stderr + CUT)


@pytest.mark.parametrize(
    ("stderr", "on_dock", "elsewhere"),
    [
        pytest.param(CHANGED, FORGET, FORGET, id="changed host key"),
        pytest.param(
            "me@10.0.0.7: Permission denied (publickey).\r\n",
            "dock gpu rejected the login: me@10.0.0.7: Permission denied (publickey); "
            "register it again with the right user (-u) and private key (-i)",
            "me@gpu:22 rejected the login: me@10.0.0.7: Permission denied (publickey); "
            "set SSH_KEY to a private key that it accepts, or name the user: USER@HOST",
            id="rejected key",
        ),
        pytest.param(
            "No ED25519 host key is known for gpu and you have requested strict checking.\nHost key verification failed.",
            "the host key of dock gpu is unknown or does not match: No ED25519 host key is known for gpu and you have "
            "requested strict checking; check the key and accept it once: ssh dock-gpu",
            "the host key of me@gpu:22 is unknown or does not match: No ED25519 host key is known for gpu and you have "
            "requested strict checking; check the key and accept it once: ssh -p 22 me@gpu",
            id="unknown host key",
        ),
        pytest.param(
            "ssh: Could not resolve hostname gpu: Name or service not known",
            "the name of dock gpu does not resolve: Could not resolve hostname gpu: Name or service not known; "
            "register it again with an address that resolves",
            "the name of me@gpu:22 does not resolve: Could not resolve hostname gpu: Name or service not known; "
            "correct the name, or register the host as a dock",
            id="unknown name",
        ),
        pytest.param(
            "ssh: connect to host gpu port 22: Connection refused",
            "dock gpu refused the connection: connect to host gpu port 22: Connection refused; "
            "check that the host is up and that sshd runs there: ssh dock-gpu",
            "me@gpu:22 refused the connection: connect to host gpu port 22: Connection refused; "
            "check that the host is up and that sshd runs there: ssh -p 22 me@gpu",
            id="refused",
        ),
        pytest.param(
            "x\nssh: connect to host gpu port 22: No route to host\r\n\n",
            "dock gpu does not answer: connect to host gpu port 22: No route to host; "
            "check that the host is up and that no firewall blocks ssh: ssh dock-gpu",
            "me@gpu:22 does not answer: connect to host gpu port 22: No route to host; "
            "check that the host is up and that no firewall blocks ssh: ssh -p 22 me@gpu",
            id="no route",
        ),
        pytest.param(
            "mux_client_request_session: session request failed: Session open refused by peer\r\n",
            "dock gpu accepts no more sessions over one connection: mux_client_request_session: session request failed: "
            "Session open refused by peer; end a session, or raise MaxSessions in its sshd_config",
            "me@gpu:22 accepts no more sessions over one connection: mux_client_request_session: session request failed: "
            "Session open refused by peer; end a session, or raise MaxSessions in its sshd_config",
            id="too many sessions",
        ),
        pytest.param(
            "Connection to gpu closed by remote host.",
            "the connection to dock gpu was cut: Connection to gpu closed by remote host; try again",
            "the connection to me@gpu:22 was cut: Connection to gpu closed by remote host; try again",
            id="cut",
        ),
        pytest.param(
            "Permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get",
            "the user of dock gpu is not allowed to use its Docker Engine; add that user to the group docker: ssh dock-gpu 'sudo "
            "usermod -aG docker $USER', and close the connection: ssh dock-gpu -O exit",
            "the user of me@gpu:22 is not allowed to use its Docker Engine; add that user to the group docker: ssh -p 22 me@gpu "
            "'sudo usermod -aG docker $USER'",
            id="no rights there",
        ),
        pytest.param(
            "welcome\nit is late\n",
            "dock gpu: ssh said: it is late; check the host: ssh dock-gpu",
            "me@gpu:22: ssh said: it is late; check the host: ssh -p 22 me@gpu",
            id="anything else",
        ),
        pytest.param(
            "",
            "the connection to dock gpu was cut; try again",
            "the connection to me@gpu:22 was cut; try again",
            id="silence",
        ),
    ],
)
def test_ssh(stderr: str, on_dock: str, elsewhere: str) -> None:
    assert complaints.explain_ssh(stderr, DOCK) == on_dock
    assert complaints.explain_ssh(stderr, OTHER) == elsewhere


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        pytest.param(
            "Cannot connect to the Docker daemon at unix:///x/docker.sock. Is the docker daemon running?\n",
            f"no Docker Engine answers at unix:///x/docker.sock; {START}",
            id="no engine",
        ),
        pytest.param(
            "failed to connect to the docker API at unix:///x/d.sock; check if the path is correct and if the daemon"
            " is running: dial unix /x/d.sock: connect: no such file or directory",
            f"no Docker Engine answers at unix:///x/d.sock; {START}",
            id="no engine, 28.3",
        ),
        pytest.param(
            'error during connect: Get "http://10.0.0.7:2375/v1.50/info": dial tcp 10.0.0.7:2375: connect: connection refused',
            f"no Docker Engine answers at http://10.0.0.7:2375; {START}",
            id="no engine at an address",
        ),
        pytest.param(
            "Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock:"
            ' Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.24/info": dial unix /var/run/docker.sock: connect: permission denied',
            "this user is not allowed to use the Docker Engine at unix:///var/run/docker.sock; "
            "join the group docker (sudo usermod -aG docker $USER) and log in again",
            id="no rights, 20.10",
        ),
        pytest.param(
            "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock",
            "this user is not allowed to use the Docker Engine at unix:///var/run/docker.sock; "
            "join the group docker (sudo usermod -aG docker $USER) and log in again",
            id="no rights, 28",
        ),
        pytest.param(over_ssh(255, CHANGED), FORGET, id="over ssh: a changed host key"),
        pytest.param(
            over_ssh(255, "me@10.0.0.7: Permission denied (publickey).\r\n"),
            "dock gpu rejected the login: me@10.0.0.7: Permission denied (publickey); "
            "register it again with the right user (-u) and private key (-i)",
            id="over ssh: a rejected key",
        ),
        pytest.param(
            over_ssh(255, "ssh: connect to host h port 22: Connection refused", host="me@h"),
            "me@h refused the connection: connect to host h port 22: Connection refused; "
            "check that the host is up and that sshd runs there: ssh me@h",
            id="over ssh: no sshd, and no dock",
        ),
        pytest.param(
            over_ssh(127, "bash: line 1: docker: command not found"),
            "dock gpu has no docker on the PATH of an ssh command; install it there, or link it into /usr/local/bin: "
            "ssh dock-gpu",
            id="over ssh: no docker",
        ),
        pytest.param(
            over_ssh(1, "something else"),
            "the Docker Engine on dock gpu does not answer: something else; see why: ssh dock-gpu docker info",
            id="over ssh: anything else",
        ),
        pytest.param(
            "Cannot connect to the Docker daemon at http://docker.example.com. Is the docker daemon running?\n",
            "the Docker Engine behind ssh does not answer, or the user there is not allowed to use it; see why: ssh-dock -- docker info",
            id="over ssh: no engine, or no rights",
        ),
        pytest.param("warning\nunknown flag: --x\n", "docker said: unknown flag: --x; check the engine: docker info", id="other"),
        pytest.param("", "docker said: nothing; check the engine: docker info", id="silence"),
        pytest.param(
            "a {brace}\n", "docker said: a {brace}; check the engine: docker info", id="what is said is no template"
        ),
    ],
)  # fmt: skip
def test_docker(stderr: str, message: str) -> None:
    assert complaints.explain(stderr) == message


@pytest.mark.parametrize(
    ("stderr", "problem", "remedy"),
    [
        (
            'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused\n',
            "the registry does not answer",
            "check its name, that it is up, and that the engine's host reaches it",
        ),
        (
            'Get "https://nosuch.invalid/v2/": dial tcp: lookup nosuch.invalid: no such host\n',
            "the registry does not answer",
            "check its name, that it is up, and that the engine's host reaches it",
        ),
        (
            'Get "https://10.0.0.9:5000/v2/": http: server gave HTTP response to HTTPS client\n',
            "the registry speaks plain HTTP",
            "add it to insecure-registries in the engine's /etc/docker/daemon.json",
        ),
        (
            'Get "https://10.0.0.9/v2/": x509: certificate signed by unknown authority\n',
            "the engine does not trust the registry's certificate",
            "put its CA certificate at /etc/docker/certs.d/HOST[:PORT]/ca.crt on the engine's host",
        ),
        (
            "toomanyrequests: You have reached your pull rate limit.\n",
            "the registry accepts no more requests for now",
            "try again later",
        ),
        ("received unexpected HTTP status: 503 Service Unavailable\n", "the registry failed", "try again later"),
        (
            "denied: requested access to the resource is denied\n",
            "the registry denied access",
            "run docker login, or set DOCKER_USERNAME and DOCKER_PASSWORD; check the name of the repository",
        ),
        (
            "unauthorized: authentication required\n",
            "the registry denied access",
            "run docker login, or set DOCKER_USERNAME and DOCKER_PASSWORD; check the name of the repository",
        ),
    ],
)
def test_a_push(stderr: str, problem: str, remedy: str) -> None:
    quoted = stderr.strip().rstrip(".")
    assert complaints.explain(f"The push refers to repository [x/y]\n{stderr}") == f"{problem}: {quoted}; {remedy}"


@pytest.mark.parametrize(
    ("stderr", "problem", "is_temporary"),
    [
        ("login attempt to http://r/v2/ failed with status: 429 Too Many Requests", "r.example accepts no more requests for now", True),
        ('error parsing HTTP 429 response body: unexpected end of JSON input: ""', "r.example accepts no more requests for now", True),
        ("toomanyrequests: You have reached your limit", "r.example accepts no more requests for now", True),
        ("error from registry: You have reached your pull rate limit", "r.example accepts no more requests for now", True),
        ("error from registry: Rate exceeded", "r.example accepts no more requests for now", True),
        ("error from registry: unauthorized", "r.example denied access", False),
        ("login attempt to http://r/v2/ failed with status: 503 Service Unavailable", "r.example failed", True),
        ("received unexpected HTTP status: 500 Internal Server Error", "r.example failed", True),
        ("unexpected status from HEAD request to http://127.0.0.1:4/v2/x/blobs/sha256:3d0c: 502 Bad Gateway", "r.example failed", True),
        ("unexpected status from PUT request to http://127.0.0.1:4/v2/x/manifests/1: 599", "r.example failed", True),
        ("error parsing HTTP 500 response body: invalid character", "r.example failed", True),
        ('Put "http://127.0.0.1:41045/v2/x/manifests/1": EOF', "the connection to r.example broke", True),
        ("read tcp 10.0.0.1:5->10.0.0.2:443: read: connection reset by peer", "the connection to r.example broke", True),
        ("net/http: TLS handshake timeout", "the connection to r.example broke", True),
        ("unauthorized: authentication required", "r.example denied access", True),
        ("no basic auth credentials", "r.example denied access", False),
        ("denied", "r.example denied access", False),
        ("denied: requested access to the resource is denied", "r.example denied access", False),
        ("unexpected status from PUT request to http://r/v2/x/manifests/1: 403 Forbidden", "r.example denied access", False),
        ("login attempt to http://r/v2/ failed with status: 401 Unauthorized", "r.example denied access", False),
        ('Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused', "r.example does not answer", False),
        ('Get "https://r.example/v2/": dial tcp 10.0.0.1:443: i/o timeout', "r.example does not answer", True),
        ("unknown: unexpected status from HEAD request to http://r:5000/v2/x/blobs/sha256:a0511fb: 401 Unauthorized", "r.example denied access", False),
        ('Get "https://r.example/v2/": dial tcp: lookup r.example: no such host', "r.example does not answer", False),
        ("http: server gave HTTP response to HTTPS client", "r.example speaks plain HTTP", False),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "the engine does not trust r.example's certificate", False),
        ("{strange}", "docker said", False),
    ],
)  # fmt: skip
def test_a_registry(stderr: str, problem: str, is_temporary: bool) -> None:
    """The texts are those of engines 20.10, 26.1 and 28, with both image stores."""
    explained, temporary, is_unsure = complaints.explain_registry(
        f"{stderr}\n", complaints.Registry("r.example", "r.example", "log in")
    )
    assert explained.startswith(f"{problem}: {stderr}; ")
    assert temporary == is_temporary
    assert is_unsure == (stderr == "unauthorized: authentication required")
    assert ("log in" in explained) == ("denied access" in problem)


def test_a_registry_that_refuses_for_a_reason_of_its_own() -> None:
    registry = complaints.Registry("r.example", "r.example", "log in")
    assert complaints.explain_registry("error from registry: bad name\n", registry) == (
        "r.example refused: bad name; check the name of the repository, and what your login is allowed to do there",
        False,
        False,
    )


def test_api_versions_apart_on_a_dock() -> None:
    said = "Error response from daemon: client version 1.52 is too new. Maximum supported API version is 1.41."
    assert complaints.explain(said, DOCK) == (
        "the docker command on dock gpu is too new for the Docker Engine: it uses API 1.52, the engine has up to 1.41; "
        "upgrade the engine, or unset DOCKER_API_VERSION if it is set"
    )


def test_stderr_of_any_length_takes_little_time() -> None:
    assert complaints.explain("command [ssh " * 1_000_000).startswith("docker said: ")


def test_missing_images() -> None:
    assert complaints.are_missing_images("Error: No such image: x:y\nError response from daemon: No such image: z\n")
    assert not complaints.are_missing_images("Error: No such image: x:y\nCannot connect to the Docker daemon\n")
