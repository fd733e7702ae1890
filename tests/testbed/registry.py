"""Registries: in the network of an engine, which they do not outlive, or on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from tests.testbed import web
from tests.testbed.aws import free_port
from tests.testbed.engine import Engine, children
from tests.testbed.relay import relaying

# An address reserved for documentation: docker treats 127.0.0.0/8 as insecure and would not check the certificate.
_ADDRESS = "192.0.2.3"
_DEADLINE = 60.0
_SYSTEMS = "ssl/certs/ca-certificates.crt"
_LISTENING = "0A"  # in /proc/net/tcp


@dataclass(frozen=True)
class Registry:
    """A registry at `host`, as in image references; its files are in `directory`."""

    host: str
    directory: str

    def digest(self, repository: str, tag: str) -> str | None:
        """Return the digest of a tag, None if the tag does not exist."""
        path = f"{self.directory}/docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}/current/link"
        with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as file:
            return file.read().strip()
        return None

    def add_tags(self, repository: str, *tags: str) -> None:
        """Create tags that are listed but have no manifest."""
        for tag in tags:
            path = f"{self.directory}/docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}/current"
            os.makedirs(path)
            with open(f"{path}/link", "w", encoding="ascii") as file:
                file.write(f"sha256:{'0' * 64}")


@contextlib.contextmanager
def listening(
    directory: str, *, user: str = "", password: str = "", tls: Mapping[str, str] | None = None, **auth: Any
) -> Iterator[Registry]:
    """Start a registry on a port of 127.0.0.1, and stop it; `auth` is that key of its configuration."""
    os.makedirs(directory, exist_ok=True)
    port = free_port()
    config = _configuration(directory, "127.0.0.1", port)
    if user:
        auth = {"htpasswd": {"realm": "tests", "path": _htpasswd(directory, user, password)}}
    config.update({"auth": auth} if auth else {})
    config["http"].update({"tls": tls} if tls else {})
    # The kernel ends it when the tests end, even if they are killed.
    start = ["setpriv", "--pdeathsig=KILL"]
    with _running([*start, "docker-registry", "serve"], config, directory, os.getpid(), port):
        yield Registry(f"127.0.0.1:{port}", directory)


@contextlib.contextmanager
def serving(
    engine: Engine,
    host: str,
    *,
    port: int | None = None,
    user: str = "",
    password: str = "",
    trusted: bool = True,
    near: bool = True,
) -> Iterator[Registry]:
    """Start a registry in the network of an engine, with TLS unless `host` is localhost, and stop it.

    `near`: the one on localhost is also reached from here, at the same port; see `reachable` for others. Without `port` it is 443, on localhost one that is free. `trusted`: the engine knows its certificate.
    """
    if port is None:
        port = free_port_of(engine) if host == "localhost" else 443
    directory = f"{engine.directory}/registries/{host}-{port}"
    os.makedirs(directory, exist_ok=True)
    pid = daemon(engine)
    local = host == "localhost"
    address = "127.0.0.1" if local else _ADDRESS
    config = _configuration(directory, address, port)
    if user:
        config["auth"] = {"htpasswd": {"realm": "tests", "path": _htpasswd(directory, user, password)}}
    name = host if port == 443 else f"{host}:{port}"
    if not local:
        _announce(pid, host)
        config["http"]["tls"] = certificate(directory, host)
        if trusted:
            _trust(pid, name, config["http"]["tls"]["certificate"])
    # In the pid namespace of the engine, so that the kernel ends both together.
    start = ["nsenter", f"--target={pid}", "--net", "--pid"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(_running([*start, "docker-registry", "serve"], config, directory, pid, port))
        if local and near:
            stack.enter_context(relaying(address, port, server=pid, listen=port))
        _await_name(engine, name)
        yield Registry(name, directory)


@contextlib.contextmanager
def reachable(engine: Engine, registry: Registry) -> Iterator[str]:
    """Yield the URL of a proxy that leads from here to a registry under a name, in the engine's network."""
    host, _, port = registry.host.partition(":")
    with (
        relaying(_ADDRESS, int(port or 443), server=daemon(engine)) as relay,
        web.proxying({f"{host}:{port or 443}": relay.port}) as proxy,
    ):
        yield proxy.url


@contextlib.contextmanager
def shared(engine: Engine, host: str) -> Iterator[None]:
    """Let an engine reach a server `127.0.0.1:port` of this process's network at the same place."""
    address, _, port = host.partition(":")
    with relaying(address, int(port), clients=daemon(engine), listen=int(port)):
        yield


def free_port_of(engine: Engine) -> int:
    """Return a port that nothing listens on in an engine's network."""
    pid = daemon(engine)
    return next(port for port in iter(free_port, None) if not _listens(pid, port))


def daemon(engine: Engine) -> int:
    """Return the pid of a process in the namespaces of an engine."""
    return next(pid for pid, line in engine.processes().items() if line.startswith("dockerd"))


def _announce(pid: int, host: str) -> None:
    """Let the engine resolve `host` to _ADDRESS."""
    inside = ["nsenter", f"--target={pid}", "--net"]
    subprocess.run([*inside, "ip", "address", "replace", f"{_ADDRESS}/32", "dev", "lo"], check=True)
    with open(f"/proc/{pid}/root/etc/hosts", "a+", encoding="ascii") as file:
        file.seek(0)
        if f" {host}\n" not in file.read():
            file.write(f"{_ADDRESS} {host}\n")


def _configuration(directory: str, address: str, port: int) -> dict[str, Any]:
    return {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": directory}},
        "http": {"addr": f"{address}:{port}"},
    }


@contextlib.contextmanager
def _running(command: Sequence[str], config: Mapping[str, Any], directory: str, pid: int, port: int) -> Iterator[None]:
    """Start a registry, wait until it listens in the network of the process `pid`, and stop it."""
    path = f"{directory}/config.yml"
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)  # JSON is YAML
    with (
        open(f"{directory}/log", "w+", encoding="utf-8") as log,
        subprocess.Popen(
            [*command, path], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        ) as child,
    ):
        try:
            _await(pid, port, child, log)
            yield
        finally:
            # nsenter forks, setpriv execs.
            for each in children(child.pid) or [child.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, 15)


def certificate(directory: str, *hosts: str) -> dict[str, str]:
    """Create a certificate for hosts; return its path and that of its key, named as in a registry's configuration."""
    paths = {"certificate": f"{directory}/certificate", "key": f"{directory}/key"}
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ",".join(f"IP:{each}" if each.replace(".", "").isdigit() else f"DNS:{each}" for each in hosts)
    what = ["-subj", "/CN=registry", "-addext", f"subjectAltName={names}"]
    files = ["-out", paths["certificate"], "-keyout", paths["key"]]
    subprocess.run([*new, *what, *files], check=True, capture_output=True)
    return paths


def _trust(pid: int, name: str, path: str) -> None:
    """Let the engine trust a certificate.

    For Docker Hub, the engine uses only the system's certificates, which it reads once.
    """
    etc = f"/proc/{pid}/root/etc"
    os.makedirs(f"{etc}/docker/certs.d/{name}", exist_ok=True)
    os.makedirs(f"{etc}/ssl/certs", exist_ok=True)
    with open(path, "rb") as file:
        text = file.read()
    with open(f"{etc}/docker/certs.d/{name}/ca.crt", "wb") as own, open(f"{etc}/{_SYSTEMS}", "ab") as systems:
        own.write(text)
        systems.write(text)


def _htpasswd(directory: str, user: str, password: str) -> str:
    """Write the password file; the registry requires bcrypt, which Debian's perl provides."""
    program = 'print crypt(<STDIN>, q($2y$05$) . "abcdefghijklmnopqrstuu")'
    hashed = subprocess.run(["perl", "-e", program], input=password, capture_output=True, text=True, check=True).stdout
    path = f"{directory}/htpasswd"
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{user}:{hashed}\n")
    return path


def _await(pid: int, port: int, child: subprocess.Popen[bytes], log: IO[str]) -> None:
    """Wait until something listens on the port in the engine's network."""
    deadline = time.monotonic() + _DEADLINE
    while not _listens(pid, port):
        if child.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise RuntimeError(f"the registry did not start; its log:\n{log.read()}")
        time.sleep(0.02)


def _await_name(engine: Engine, name: str) -> None:
    """Wait until the engine resolves the host; it caches failures for five seconds."""
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline:
        try:
            engine.docker("pull", f"{name}/nothing:none")
        except RuntimeError as error:
            if "lookup" not in str(error):
                return
        time.sleep(0.1)
    raise RuntimeError(f"the engine does not resolve {name}")


def _listens(pid: int, port: int) -> bool:
    with open(f"/proc/{pid}/net/tcp", encoding="ascii") as file:
        lines = [line.split() for line in file]
    return any(line[1].endswith(f":{port:04X}") and line[3] == _LISTENING for line in lines)
