"""The tags that a registry has, by the part of the v2 protocol that lists them.

The protocol: https://distribution.github.io/distribution/spec/api/#listing-image-tags; its logins:
https://distribution.github.io/distribution/spec/auth/. Importing this takes longer than most commands: import it late.
"""

from __future__ import annotations

import glob
import ipaddress
import json
import os
import re
import socket
import ssl
from collections.abc import Callable
from email.message import Message
from http.client import HTTPException, HTTPResponse, responses
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import (
    BaseHandler,
    HTTPSHandler,
    ProxyHandler,
    Request,
    build_opener,
    parse_http_list,
    parse_keqv_list,
)

from dockerutils.core.errors import DockerutilsError
from dockerutils.docker import references
from dockerutils.registries.credentials import HUB, IDENTITY_TOKEN, Login

# Where docker has the authorities of single registries: the engine, Docker Desktop, the engine without root.
_AUTHORITIES = ["/etc/docker/certs.d", "~/.docker/certs.d", "~/.config/docker/certs.d"]

_HUBS_SERVER = f"registry-1.{HUB}"
_PATIENCE = 30.0  # seconds without a word
_PAGE, _PAGES = 1000, 1000  # tags on a page, as many as all registries agree to; and pages at most
_SIZE = 16 << 20  # bytes of an answer at most: a registry without pages fits 100,000 of the longest tags into it
_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next\b')
_NETWORK = "see whether this machine reaches it, and what the proxy variables say"


class _Answer(NamedTuple):
    status: int
    url: str
    headers: Message
    body: bytes


class _Unanswered(DockerutilsError):
    """There is nobody who speaks what we speak."""


def tags(host: str, name: str, login: Login | None) -> list[str]:
    """Return the tags of a repository; host and name are as credentials.place returns them.

    The login is shown to that host, and to the one where it says that logins are, alone.
    DockerutilsError tells why there are none.
    """
    try:
        return _Client(host, name, login).tags()
    except ValueError as error:
        raise DockerutilsError(f"{host} leads to what is no URL: {error}; report that to who runs it") from None


def is_local(host: str) -> bool:
    """Tell whether a host, without port, is this machine, where docker does without TLS too."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network("127.0.0.0/8")
    except ValueError:
        return host == "localhost"


class _Client:
    """Questions to one registry about one repository."""

    def __init__(self, host: str, name: str, login: Login | None) -> None:
        self._host = host
        self._name = name
        self._login = login
        self._server = _HUBS_SERVER if host == HUB else host
        self._scheme = "https"
        self._authorization = ""
        self._opener = build_opener(HTTPSHandler(context=_context(host)), _Proxies(), _Guard(self._require_safe))

    def tags(self) -> list[str]:
        """Read page after page."""
        answer = self._first_page()
        found = _listed(answer)
        seen = {answer.url}
        while link := _NEXT.search(", ".join(answer.headers.get_all("Link", []))):
            url = self._next(answer.url, link[1])
            if url in seen or len(seen) == _PAGES:
                raise DockerutilsError(f"the pages of tags at {self._host} do not end; report that to who runs it")
            seen.add(url)
            answer = self._get(url)
            found += _listed(answer)
        # What no image can have is no tag, whoever says so.
        return [tag for tag in found if isinstance(tag, str) and not references.fault_in_tag(tag)]

    def _first_page(self) -> _Answer:
        if is_local(urlsplit(f"//{self._server}").hostname or ""):
            try:
                self._fetch(f"https://{self._server}/v2/")
            except _Unanswered:
                self._scheme = "http"
        return self._get(f"{self._scheme}://{self._server}/v2/{self._name}/tags/list?n={_PAGE}")

    def _next(self, url: str, target: str) -> str:
        """Return where the next page is: with who gave this one, and as safely.

        Registries behind a proxy that ends TLS name themselves by http, or a port of their own.
        """
        here, there = urlsplit(url), urlsplit(urljoin(url, target))
        if there.hostname != here.hostname:
            raise DockerutilsError(
                f"{here.netloc} has its next page of tags at {there.netloc}, another host, which is not asked; "
                "report that to who runs it"
            )
        return there._replace(scheme=here.scheme, netloc=here.netloc).geturl()

    def _get(self, url: str) -> _Answer:
        """Ask, and once more with a login when that is wanted; also when one from before has expired."""
        answer = self._fetch(url, authorization=self._authorization if self._is_ours(url) else "")
        if answer.status == 401 and self._is_ours(answer.url):  # noqa: PLR2004
            self._authorization = self._log_in(answer)
            answer = self._fetch(url, authorization=self._authorization)
        if answer.status != 200:  # noqa: PLR2004
            raise self._refusal(answer)
        return answer

    def _is_ours(self, url: str) -> bool:
        return urlsplit(url)[:2] == (self._scheme, self._server)

    def _log_in(self, answer: _Answer) -> str:
        """Return the value of the header that opens the registry, as its challenge wants it (RFC 7235)."""
        challenges = dict(map(_challenge, reversed(answer.headers.get_all("WWW-Authenticate", []))))
        if realm := challenges.get("bearer", {}).get("realm"):
            return f"Bearer {self._token(realm, challenges['bearer'].get('service'))}"
        if "basic" in challenges and self._login and self._login.user != IDENTITY_TOKEN:
            return self._login.basic
        raise self._refusal(answer)

    def _token(self, realm: str, service: str | None) -> str:
        """Ask for a token that lets its bearer pull from the repository, and no more."""
        fields = {"service": service or self._server, "scope": f"repository:{self._name}:pull"}
        if self._login and self._login.user == IDENTITY_TOKEN:
            given = {"grant_type": "refresh_token", "refresh_token": self._login.secret, "client_id": "dockerutils"}
            answer = self._fetch(realm, form={**given, **fields})
        else:
            query = "&".join(filter(None, [urlsplit(realm).query, urlencode(fields)]))
            url = urlsplit(realm)._replace(query=query).geturl()
            answer = self._fetch(url, authorization=self._login.basic if self._login else "")
        if answer.status != 200:  # noqa: PLR2004
            raise self._refusal(answer)
        said = _object(answer, "token")
        token = said.get("token") or said.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
            raise _strange(answer.url, "no token")
        return token

    def _fetch(self, url: str, *, authorization: str = "", form: dict[str, str] | None = None) -> _Answer:
        self._require_safe(url)
        request = Request(  # noqa: S310 - that leaves http and https alone
            url,
            urlencode(form).encode() if form else None,
            # Some registries turn away what calls itself Python.
            {"User-Agent": "dockerutils", "Accept": "application/json"},
        )
        if authorization:
            request.add_unredirected_header("Authorization", authorization)
        try:
            try:
                response = self._opener.open(request, timeout=_PATIENCE)
            except HTTPError as error:
                response = error
            with response:
                answer = _Answer(response.status, response.url, response.headers, response.read(_SIZE + 1))
        # UnicodeError: a host that cannot be one.
        except (OSError, HTTPException, UnicodeError) as error:
            raise _explained(urlsplit(url).netloc, error, self._host) from None
        if len(answer.body) > _SIZE:
            raise _strange(url, f"more than {_SIZE >> 20} MB at once")
        return answer

    def _require_safe(self, url: str) -> None:
        """Leave TLS only where it was not there to begin with: between a local registry and what else is local."""
        parts = urlsplit(url)
        if parts.scheme == "https" or (parts.scheme == self._scheme and is_local(parts.hostname or "")):
            return
        raise DockerutilsError(
            f"{self._host} leads to {parts.scheme}://{parts.netloc}, which is not safe; report that to who runs it"
        )

    def _refusal(self, answer: _Answer) -> DockerutilsError:
        """Explain an answer that is none."""
        host, status = urlsplit(answer.url).netloc, answer.status
        where = "docker login" if self._host == HUB else f"docker login {self._host}"
        remedy = f"run: {where}, or set DOCKER_USERNAME and DOCKER_PASSWORD"
        if status in {401, 403} and host != self._server:
            return DockerutilsError(f"{host} refuses the login for {self._host} ({status}); {remedy}")
        if status in {401, 403}:
            whose = "with this login" if self._login else "without a login"
            return DockerutilsError(
                f"{self._host} shows no {self._name} {whose} ({status}); correct the name, or {remedy}"
            )
        if status == 404:  # noqa: PLR2004
            return DockerutilsError(
                f"{self._host} has no {self._name} (404); correct the name, or publish the image first"
            )
        if status // 100 == 3:  # noqa: PLR2004
            where = f"{urlsplit(answer.url).scheme}://{host}"
            return DockerutilsError(f"{self._host} leads to {where}, which is not followed; report that to who runs it")
        said = f"{status} {responses.get(status, '')}".strip()
        return DockerutilsError(f"{host} answers {said}; try again later")


class _Guard(BaseHandler):
    """See where a redirection goes before it is followed."""

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
    """Heed the proxy variables, but, as docker does, not for what is on this machine."""

    def proxy_open(self, req: Request, proxy: str, type: str) -> Any:  # noqa: A002 - its name there
        host = urlsplit(req.full_url).hostname or ""
        return None if is_local(host) else super().proxy_open(req, proxy, type)


def _context(host: str) -> ssl.SSLContext:
    """Trust whom the system trusts, and for the registry whom docker trusts for it.

    The place: https://docs.docker.com/engine/security/certificates/.
    """
    context = ssl.create_default_context()
    for directory in map(os.path.expanduser, _AUTHORITIES):
        for path in sorted(glob.glob(os.path.join(glob.escape(directory), host, "*.crt"))):
            try:
                context.load_verify_locations(path)
            except OSError as error:
                why = "is no certificate" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
                raise DockerutilsError(f"{path} {why}; mend it, or remove it") from None
    return context


def _challenge(header: str) -> tuple[str, dict[str, str]]:
    scheme, _, rest = header.strip().partition(" ")
    try:
        return scheme.lower(), parse_keqv_list(parse_http_list(rest))
    except (ValueError, IndexError):
        return "", {}


def _listed(answer: _Answer) -> list[Any]:
    found = _object(answer, "list of tags").get("tags") or []  # null, when the last one was deleted
    if not isinstance(found, list):
        raise _strange(answer.url, "no list of tags")
    return found


def _object(answer: _Answer, what: str) -> dict[str, Any]:
    try:
        said = json.loads(answer.body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise _strange(answer.url, f"no {what}")
    return said


def _strange(url: str, what: str) -> DockerutilsError:
    return DockerutilsError(f"{urlsplit(url).netloc} answers {what}; see whether it is a registry")


def _explained(where: str, error: Exception, host: str) -> DockerutilsError:
    """Turn what went wrong between us and `where`, which the registry `host` led to, into one line."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        place = f"{_AUTHORITIES[0]}/{host}/ca.crt"
        why = reason.verify_message.rstrip(".")
        return DockerutilsError(f"the certificate of {where} is not trusted: {why}; put its authority's at {place}")
    if isinstance(reason, (socket.gaierror, UnicodeError)):
        return DockerutilsError(f"{where} is not found in the DNS; correct the image's name, or {_NETWORK}")
    if isinstance(reason, TimeoutError):
        return DockerutilsError(f"{where} has said nothing for {_PATIENCE:.0f} seconds; try again later, or {_NETWORK}")
    if isinstance(reason, ssl.SSLError):
        why = reason.reason or "no reason given"
        return _Unanswered(
            f"no TLS with {where} ({why}), which a registry on localhost alone may do without; {_NETWORK}"
        )
    why = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return _Unanswered(f"{where} does not answer ({why}); {_NETWORK}")
