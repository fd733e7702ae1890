"""HTTP as docker speaks it with registries: TLS, certificate authorities, proxies, redirections, and clear errors.

Importing this module takes longer than most commands run: import it late.
"""

from __future__ import annotations

import glob
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from email.message import Message
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import BaseHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

from dockerutils.core.errors import DockerutilsError
from dockerutils.core.retries import TemporaryFailure

# Where docker looks for the authorities of a registry: the engine, Docker Desktop, the rootless engine.
_AUTHORITIES = ["/etc/docker/certs.d", "~/.docker/certs.d", "~/.config/docker/certs.d"]

TIMEOUT = 30.0  # seconds without an answer
_SIZE = 16 << 20  # largest answer in bytes: 100,000 of the longest tags fit
_NETWORK = "check that this machine can reach it, and the proxy variables"


class Answer(NamedTuple):
    """A registry's answer, and the URL that gave it."""

    status: int
    url: str
    headers: Message
    body: bytes


class Unreachable(DockerutilsError):
    """No trusted server answers there."""


class NoTls(Unreachable):
    """The server does not use TLS; a local registry can do without."""


class Broken(NoTls, TemporaryFailure):
    """The connection broke."""


def is_local(host: str) -> bool:
    """Return whether a host, without port, is this machine, where docker allows registries without TLS."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network("127.0.0.0/8")
    except ValueError:
        return host == "localhost"


class Connection:
    """HTTPS to a registry and the hosts that it redirects to. Set `scheme` to http for a local one without TLS."""

    def __init__(self, host: str) -> None:
        self.scheme = "https"
        self._host = host
        self._opener = _opener(host, self._require_safe)

    def fetch(
        self,
        url: str,
        *,
        method: str | None = None,
        authorization: str = "",
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request, a POST if it has a form, and return the answer, whatever its status.

        The Authorization header is not sent to a host that the answer redirects to. Raises Unreachable, Broken, or
        DockerutilsError.
        """
        self._require_safe(url)
        request = Request(  # noqa: S310 - _require_safe admits only http and https
            url,
            urlencode(form).encode() if form else None,
            # Some registries refuse Python's default user agent.
            {"User-Agent": "dockerutils", "Accept": "application/json", **(headers or {})},
            method=method,
        )
        if authorization:
            request.add_unredirected_header("Authorization", authorization)
        try:
            try:
                response = self._opener.open(request, timeout=TIMEOUT)
            except HTTPError as error:
                response = error
            with response:
                answer = Answer(response.status, response.url, response.headers, response.read(_SIZE + 1))
        # UnicodeError: a host name that is not valid.
        except (OSError, HTTPException, UnicodeError) as error:
            raise _explained(urlsplit(url).netloc, error, self._host) from None
        if len(answer.body) > _SIZE:
            raise unexpected(url, f"an answer of more than {_SIZE >> 20} MB")
        return answer

    def _require_safe(self, url: str) -> None:
        """Allow http only from a local registry without TLS to a local host."""
        parts = urlsplit(url)
        if parts.scheme == "https" or (parts.scheme == self.scheme and is_local(parts.hostname or "")):
            return
        raise DockerutilsError(
            f"{self._host} redirects to {parts.scheme}://{parts.netloc}, which is not safe; "
            "report this to the registry's operator"
        )


class _Guard(BaseHandler):
    """Check a redirection before it is followed."""

    def __init__(self, require_safe: Callable[[str], None]) -> None:
        self._require_safe = require_safe

    def http_response(self, request: Request, response: HTTPResponse) -> HTTPResponse:
        location = response.headers.get("Location")
        if location and response.status // 100 == 3:  # noqa: PLR2004
            try:
                self._require_safe(urljoin(request.full_url, location))
            except (DockerutilsError, ValueError):
                response.close()
                raise
        return response

    https_response = http_response


class _Proxies(ProxyHandler):
    """Use the proxy variables but, as docker does, not for this machine."""

    def proxy_open(self, req: Request, proxy: str, type: str) -> Any:  # noqa: A002 - the parent's name
        host = urlsplit(req.full_url).hostname or ""
        return None if is_local(host) else super().proxy_open(req, proxy, type)


def _opener(host: str, require_safe: Callable[[str], None]) -> OpenerDirector:
    return build_opener(HTTPSHandler(context=_context(host)), _Proxies(), _Guard(require_safe))


def _context(host: str) -> ssl.SSLContext:
    """Return a context with the system's authorities, and those that docker has for the registry.

    Their place: https://docs.docker.com/engine/security/certificates/.
    """
    context = ssl.create_default_context()
    for directory in map(os.path.expanduser, _AUTHORITIES):
        for path in sorted(glob.glob(os.path.join(glob.escape(directory), host, "*.crt"))):
            try:
                context.load_verify_locations(path)
            except OSError as error:
                why = "is not a certificate" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
                raise DockerutilsError(f"{path} {why}; correct or remove it") from None
    return context


def unexpected(url: str, what: str) -> DockerutilsError:
    """Return the error for an answer that is not a registry's."""
    return DockerutilsError(f"{urlsplit(url).netloc} returned {what}; check that it is a registry")


def _explained(where: str, error: Exception, host: str) -> DockerutilsError:
    """Return the one-line error for a failed request to `where`, which the registry `host` named."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        place = f"{_AUTHORITIES[0]}/{host}/ca.crt"
        why = reason.verify_message.rstrip(".")
        return Unreachable(f"the certificate of {where} is not trusted: {why}; put its authority's at {place}")
    if isinstance(reason, (socket.gaierror, UnicodeError)):
        return Unreachable(f"{where} was not found in the DNS; correct the image name, or {_NETWORK}")
    if isinstance(reason, TimeoutError):
        return Unreachable(f"{where} did not answer for {TIMEOUT:.0f} seconds; try again later, or {_NETWORK}")
    # SSLEOFError: TLS's word for a reset.
    if isinstance(reason, (ConnectionResetError, BrokenPipeError, IncompleteRead, ssl.SSLEOFError)):
        return Broken(f"{where} closed the connection; try again later, or {_NETWORK}")
    if isinstance(reason, ssl.SSLError):
        why = reason.reason or "no reason given"
        return NoTls(f"no TLS with {where} ({why}), which only a local registry can do without; {_NETWORK}")
    why = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return NoTls(f"{where} does not answer ({why}); {_NETWORK}")
