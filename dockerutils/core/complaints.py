"""What ssh and docker write to stderr when they fail, and what to do about it, in one table.

The patterns are those of OpenSSH 7.6 to 10 and of docker's clients 20.10 to 28.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dockerutils.core import shell_words


class Host(NamedTuple):
    """A host behind ssh, as a message names it, and the command line that connects to it."""

    name: str
    login: str
    is_dock: bool = False


class Complaint(NamedTuple):
    """A row of the table. `problem` and `remedy` are templates, see `_fields`; `on_dock` is the remedy for a dock.

    A row that is `remote` only applies to a host behind ssh. After a `temporary` one, another attempt can succeed; an
    `unsure` one can also mean that the login is wrong.
    """

    pattern: str
    problem: str
    remedy: str
    on_dock: str = ""
    remote: bool = False
    temporary: bool = False
    unsure: bool = False


class Explanation(NamedTuple):
    """An explanation, whether another attempt can succeed, and whether the login can be wrong all the same."""

    text: str
    is_temporary: bool
    is_unsure: bool


class Registry(NamedTuple):
    """A registry, as a message names it, its directory in /etc/docker/certs.d, and how to log in there."""

    name: str = "the registry"
    directory: str = "HOST[:PORT]"
    log_in: str = "run docker login, or set DOCKER_USERNAME and DOCKER_PASSWORD"

    def fields(self) -> dict[str, str]:
        """Return what the templates of a row name."""
        return {"registry": self.name, "directory": self.directory, "log_in": self.log_in}


_AT = r"(?: at (?P<at>\w+://[^\s\"';,]*[^\s\"';,.:]))?"

# Characters of stderr that are read, the last ones, and of a line that are quoted.
_LONGEST, _LONGEST_LINE = 1 << 16, 300

# What the aws command writes when it carries the bytes of ssh through Session Manager.
_SESSION_MANAGER = (
    Complaint(
        r"\(TargetNotConnected\)",
        "Session Manager does not reach {host}",
        "check that it runs, that its instance profile has the policy AmazonSSMManagedInstanceCore, and that its "
        "subnet has a NAT gateway or the VPC endpoints of Systems Manager",
    ),
    Complaint(
        r"SessionManagerPlugin is not found|not found: aws\b|\baws: (?:command )?not found",
        "ssh to {host} goes through Session Manager, and this machine cannot use it: {message}",
        "install AWS CLI 2 and session-manager-plugin, and put both on the PATH",
    ),
    Complaint(
        r"\(Expired\w*\) when calling|(?i:sso .*(?:token|expired)|token has expired)",
        "the AWS credentials have expired: {message}",
        "renew the credentials: aws sso login, or a new AWS_SESSION_TOKEN",
    ),
    Complaint(
        r"Unable to locate credentials|config profile \(.*\) could not be found",
        "the aws command has no credentials: {message}",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run: aws configure",
    ),
    Complaint(
        r"when calling the StartSession operation",
        "AWS refused the connection to {host}: {message}",
        "grant this IAM identity the permission ssm:StartSession",
    ),
)
# The first row that matches applies.
_TABLE = (
    # what docks/proxy.py answers to docker
    Complaint(r"\bdockerutils: (?P<wrong>[^\r\n]*?); (?P<cure>[^\r\n]*)", "{wrong}", "{cure}"),
    *_SESSION_MANAGER,
    # ssh
    Complaint(
        r"IDENTIFICATION HAS CHANGED",
        "the host key of {alias} has changed",
        "if the host was reinstalled, run: {forget_key}; if not, someone may be intercepting the connection",
    ),
    Complaint(
        r"Host key verification failed|No \S+ host key is known for",
        "the host key of {host} is unknown or does not match: {message}",
        "check the key and accept it once: {login}",
    ),
    Complaint(
        r"Permission denied \(|Permission denied, please|Too many authentication failures",
        "{host} rejected the login: {message}",
        "set SSH_KEY to a private key that it accepts, or name the user: USER@HOST",
        "register it again with the right user (-u) and private key (-i)",
    ),
    Complaint(
        r"Could not resolve hostname|Name or service not known",
        "the name of {host} does not resolve: {message}",
        "correct the name, or register the host as a dock",
        "register it again with an address that resolves",
    ),
    Complaint(
        r"port \d+: Connection refused",
        "{host} refused the connection: {message}",
        "check that the host is up and that sshd runs there: {login}",
    ),
    Complaint(
        r"timed out|No route to host|Network is unreachable|Host is down",
        "{host} does not answer: {message}",
        "check that the host is up and that no firewall blocks ssh: {login}",
        remote=True,
    ),
    Complaint(
        r"Session open refused|mux_client_request_session: session request failed",
        "{host} accepts no more sessions over one connection: {message}",
        "end a session, or raise MaxSessions in its sshd_config",
    ),
    Complaint(
        r"Connection .*(?:closed|reset)|closed by remote host|Broken pipe|mux_client|kex_exchange_identification",
        "the connection to {host} was cut: {message}",
        "try again",
        remote=True,
    ),
    # docker on a host behind ssh
    Complaint(
        r"docker: (?:command )?not found|docker: No such file",
        "{host} has no docker on the PATH of an ssh command",
        "install it there, or link it into /usr/local/bin: {login}",
        remote=True,
    ),
    Complaint(
        r"(?i)permission denied while trying to connect to the docker",
        "the user of {host} is not allowed to use its Docker Engine",
        "add that user to the group docker: {login} 'sudo usermod -aG docker $USER'",
        "add that user to the group docker: {login} 'sudo usermod -aG docker $USER', and close the connection: "
        "{login} -O exit",
        remote=True,
    ),
    # Clients up to 28 report neither which host this was, nor why.
    Complaint(
        r"Cannot connect to the Docker daemon at http://docker\.example\.com",
        "the Docker Engine behind ssh does not answer, or the user there is not allowed to use it",
        "see why: ssh-dock -- docker info",
    ),
    Complaint(
        r"(?s)command \[ssh .*?stderr=(?P<ssh>[^\r\n]*)",
        "the Docker Engine on {host} does not answer: {ssh}",
        "see why: {login} docker info",
        remote=True,
    ),
    # docker
    Complaint(
        rf"(?i)permission denied while trying to connect to the docker (?:daemon socket|api){_AT}",
        "this user is not allowed to use the Docker Engine{at}",
        "join the group docker (sudo usermod -aG docker $USER) and log in again",
    ),
    Complaint(
        rf"(?i)cannot connect to the docker daemon{_AT}|failed to connect to the docker api|error during connect",
        "no Docker Engine answers{at}",
        "start it, or point DOCKER_HOST or docker context use at one that runs",
    ),
    Complaint(
        r"client version (?P<client>[\d.]+) is too new\. Maximum supported API version is (?P<engine>\d+\.\d+)",
        "the docker command{there} is too new for the Docker Engine: it uses API {client}, the engine has up to "
        "{engine}",
        "upgrade the engine, or unset DOCKER_API_VERSION if it is set",
    ),
    Complaint(
        r"client version (?P<client>[\d.]+) is too old\. Minimum supported API version is (?P<engine>\d+\.\d+)",
        "the docker command{there} is too old for the Docker Engine: it uses API {client}, the engine needs {engine} "
        "or newer",
        "upgrade the docker command, or unset DOCKER_API_VERSION if it is set",
    ),
    # a registry
    Complaint(
        r"server gave HTTP response to HTTPS client",
        "{registry} speaks plain HTTP: {message}",
        "add it to insecure-registries in the engine's /etc/docker/daemon.json",
    ),
    Complaint(
        r"x509:",
        "the engine does not trust {registry}'s certificate: {message}",
        "put its CA certificate at /etc/docker/certs.d/{directory}/ca.crt on the engine's host",
    ),
    Complaint(
        r"dial tcp \S+: i/o timeout",
        "{registry} does not answer: {message}",
        "check its name, that it is up, and that the engine's host reaches it",
        temporary=True,
    ),
    Complaint(
        r"dial tcp|no such host",
        "{registry} does not answer: {message}",
        "check its name, that it is up, and that the engine's host reaches it",
    ),
    Complaint(
        # Engines with the containerd image store print the registry's words only.
        r"(?i)toomanyrequests|too many requests|\b429\b|error from registry: .*(?:rate limit|rate exceeded|slow down)",
        "{registry} accepts no more requests for now: {message}",
        "try again later",
        temporary=True,
    ),
    Complaint(
        r"(?i)unexpected (?:HTTP )?status\b.*[ :]5\d\d(?:[ :\n]|$)"
        r"|\b5\d\d (?:Internal Server|Bad Gateway|Service Unav|Gateway Time)|HTTP 5\d\d\b",
        "{registry} failed: {message}",
        "try again later",
        temporary=True,
    ),
    Complaint(
        r"(?i)connection reset|broken pipe|\bEOF\b|closed network connection|handshake timeout|i/o timeout"
        r"|client\.timeout|deadline exceeded",
        "the connection to {registry} broke: {message}",
        "try again later",
        temporary=True,
    ),
    # Engines with the classic image store also say so if the registry's first answer was 429 or 5xx.
    Complaint(
        r"(?i)unauthorized: authentication required",
        "{registry} denied access: {message}",
        "{log_in}; check the name of the repository",
        temporary=True,
        unsure=True,
    ),
    Complaint(
        r"(?i)unauthorized|access .*denied|denied(?::|$)|no basic auth credentials|authentication required|\b40[13]\b",
        "{registry} denied access: {message}",
        "{log_in}; check the name of the repository",
    ),
    Complaint(
        r"error from registry: (?P<said>[^\r\n]*)",
        "{registry} refused: {said}",
        "check the name of the repository, and what your login is allowed to do there",
    ),
    Complaint(r"(?i)no space left on device", "the disk is full: {message}", "free some space"),
)


def explain(stderr: str, host: Host | None = None, program: str = "docker", registry: Registry | None = None) -> str:
    """Return what `program` means by its stderr: what is wrong; what to do.

    `host` is the host behind ssh that it was about, if it was about one; docker names it in some of its messages.
    `registry` is the registry that it was about, if it is known.
    """
    stderr = stderr[-_LONGEST:]
    host = host or _host_of_docker(stderr)
    for row in _TABLE:
        match = re.search(row.pattern, stderr) if host or not row.remote else None
        if match:
            fields = _fields(stderr, host, match) | (registry or Registry()).fields()
            remedy = row.on_dock if host and host.is_dock and row.on_dock else row.remedy
            return f"{row.problem}; {remedy}".format(**fields)
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    message = _trimmed(lines[-1]) if lines else "nothing"
    if host:
        return f"{host.name}: {program} said: {message}; check the host: {host.login}"
    return f"{program} said: {message}; check the engine: docker info"


def explain_registry(stderr: str, registry: Registry) -> Explanation:
    """Return what docker means when a login or push failed."""
    row = next((row for row in _TABLE if not row.remote and re.search(row.pattern, stderr[-_LONGEST:])), None)
    return Explanation(explain(stderr, registry=registry), bool(row and row.temporary), bool(row and row.unsure))


def explain_ssh(stderr: str, host: Host) -> str:
    """Return what ssh means by its stderr: what is wrong; what to do."""
    if not stderr.strip():  # a client of a shared connection ends without a message
        return f"the connection to {host.name} was cut; try again"
    return explain(stderr, host, "ssh")


def changed_host_key(stderr: str) -> str:
    """Return what to do if ssh reports that the key of a host has changed, else ""."""
    return explain(stderr) if "IDENTIFICATION HAS CHANGED" in stderr else ""


def are_missing_images(stderr: str) -> bool:
    """Return whether the only errors of docker are that images do not exist."""
    missing = ("no such image", "image not known")  # docker's words, and podman's
    return all(any(each in line.lower() for each in missing) for line in stderr.splitlines() if line.strip())


def is_refused_connection(stderr: str) -> bool:
    """Return whether sshd had too many connections before login (MaxStartups); another attempt can succeed."""
    is_cut = re.search(r"kex_exchange_identification|banner exchange|Connection (?:closed|reset) by", stderr)
    return is_cut is not None and not any(re.search(row.pattern, stderr) for row in _SESSION_MANAGER)


def _fields(stderr: str, host: Host | None, match: re.Match[str]) -> dict[str, str]:
    """Return what the templates of a row name."""
    start, end = stderr.rfind("\n", 0, match.start()) + 1, stderr.find("\n", match.start())
    found = {name: text or "" for name, text in match.groupdict().items()}
    address = found.get("at") or _address(stderr)
    alias = re.search(r"(?i)host key for (\S+) has changed", stderr)
    file = re.search(r"Offending .*? key in (\S.*?):\d+\s*$", stderr, re.MULTILINE)
    name, known_hosts = (alias[1] if alias else "HOST"), (file[1] if file else "~/.ssh/known_hosts")
    return {
        "message": _trimmed(stderr[start : end if end >= 0 else None]),
        "host": host.name if host else "the host",
        "there": f" on {host.name}" if host else "",
        "login": host.login if host else "ssh HOST",
        "alias": name,
        "forget_key": shell_words.render(["ssh-keygen", "-R", name, "-f", known_hosts]),
        **found,
        "at": f" at {address}" if address else "",
    }


def _trimmed(line: str) -> str:
    """Return the message of ssh or docker in a line of its stderr; docker puts ssh's behind its own."""
    return line.rpartition("stderr=")[2].strip().removeprefix("ssh: ").strip("@ .\t")[:_LONGEST_LINE]


def _address(stderr: str) -> str:
    # docker appends the path of its request to an address of http.
    match = re.search(r"\b(?:(?:unix|tcp|npipe)://[^\s\"';,]*[^\s\"';,.:]|https?://[^\s\"';,/]*[^\s\"';,/.:])", stderr)
    return match[0] if match else ""


def _host_of_docker(stderr: str) -> Host | None:
    """Return the host that docker has connected to over ssh, if it says so."""
    match = re.search(r"command \[ssh (?:.* )?-- (\S+) docker\b", stderr)
    if not match:
        return None
    name = match[1]
    is_dock = name.startswith("dock-")
    return Host(f"dock {name.removeprefix('dock-')}" if is_dock else name, f"ssh {name}", is_dock)
