"""The part of the v2 registry protocol that lists tags, and shows what a tag names.

The protocol: https://distribution.github.io/distribution/spec/api/; its logins:
https://distribution.github.io/distribution/spec/auth/. Importing this module takes longer than most commands run:
import it late.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import FORBIDDEN, NOT_FOUND, OK, TOO_MANY_REQUESTS, UNAUTHORIZED, responses
from typing import Any, NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import parse_http_list, parse_keqv_list

from dockerutils.core import retries
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.retries import TemporaryFailure
from dockerutils.docker import platforms, references
from dockerutils.docker.references import HUB
from dockerutils.registries import http
from dockerutils.registries.credentials import IDENTITY_TOKEN, Login, how_to_log_in
from dockerutils.registries.http import Answer

PAGE, PAGES = 1000, 1000  # tags per page, as many as all registries allow; and the most pages
_HUB_SERVER = f"registry-1.{HUB}"
_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next\b')
_DIGEST = r"sha256:[0-9a-f]{64}"
_REPORT = "report this to the registry's operator"
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_SINGLE = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_REFUSED = {UNAUTHORIZED, FORBIDDEN}
_MANIFESTS = {"Accept": ", ".join((*_INDEXES, *_SINGLE))}


class Refused(DockerutilsError):
    """The registry, or its token server, rejects the login."""


class Manifest(NamedTuple):
    """What a tag names: the digest and the media type of a manifest or of an index, and the platforms of an index."""

    digest: str
    media_type: str
    platforms: tuple[str, ...]


class Client:
    """Questions to a registry about one of its repositories.

    `host` and `name` are as references.split_registry returns them. The login is sent only to the host, and to the
    token server that the host names. `warn` gets a line for each request that is tried again: after 429, a server
    error (5xx) or a broken connection. Methods raise DockerutilsError.
    """

    def __init__(self, host: str, name: str, login: Login | None, warn: Callable[[str], None]) -> None:
        self._host = host
        self._name = name
        self._login = login
        self._warn = warn
        self._server = _HUB_SERVER if host == HUB else host
        self._connection = http.Connection(host)
        self._authorization = ""
        self._base = ""

    def tags(self) -> list[str]:
        """Return the repository's tags, from all pages."""
        with self._explaining_urls():
            return self._all_tags()

    def manifest(self, tag: str) -> Manifest:
        """Return what a tag names: a manifest, or an index."""
        with self._explaining_urls():
            answer = self._get(f"manifests/{tag}", method="HEAD", headers=_MANIFESTS)
            digest, media_type = answer.headers.get("Docker-Content-Digest", ""), _media_type(answer)
            # The header is optional.
            if not re.fullmatch(_DIGEST, digest) or not media_type.startswith("application/vnd."):
                answer = self._get(f"manifests/{tag}", headers=_MANIFESTS)
                digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
                media_type = str(_object(answer, "manifest").get("mediaType") or _media_type(answer))
            return Manifest(digest, media_type, self._platforms(digest) if media_type in _INDEXES else ())

    def refuses_login(self, *, push_needs_one: bool) -> bool:
        """Return whether the registry, or its token server, rejects the login.

        `push_needs_one`: there is no login, and a registry that asks for one counts as rejecting.
        """
        with self._explaining_urls():
            answer = self._fetch(urljoin(self._repository(), "/v2/"))
            if answer.status != UNAUTHORIZED or push_needs_one:
                return answer.status == UNAUTHORIZED
            try:
                self._get("/v2/")
            except Refused:
                return True
            return False

    def _platforms(self, digest: str) -> tuple[str, ...]:
        """Return the platforms of an index, without its attestations: https://github.com/opencontainers/image-spec."""
        answer = self._get(f"manifests/{digest}", headers=_MANIFESTS)
        try:
            found = [each.get("platform") or {} for each in _object(answer, "index")["manifests"]]
            names = ["/".join(filter(None, map(each.get, ("os", "architecture", "variant")))) for each in found]
        except (LookupError, TypeError, AttributeError):
            raise http.unexpected(answer.url, "no index") from None
        return tuple(platforms.normal(name) for name in names if name and not name.startswith("unknown"))

    @contextmanager
    def _explaining_urls(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise DockerutilsError(f"{self._host} redirects to an invalid URL: {error}; {_REPORT}") from None

    def _all_tags(self) -> list[str]:
        answer = self._get(f"tags/list?n={PAGE}")
        found = _listed(answer)
        seen = {answer.url}
        while link := _NEXT.search(", ".join(answer.headers.get_all("Link", []))):
            url = self._next(answer.url, link[1])
            if url in seen or len(seen) == PAGES:
                raise DockerutilsError(f"the pages of tags at {self._host} do not end; {_REPORT}")
            seen.add(url)
            answer = self._get(url)
            found += _listed(answer)
        return [tag for tag in found if isinstance(tag, str) and not references.fault_in_tag(tag)]

    def _next(self, url: str, link: str) -> str:
        """Return the URL of the next page: on the same server, over the same scheme, as this page.

        Registries behind a proxy that terminates TLS name themselves by http, or by another port.
        """
        here, there = urlsplit(url), urlsplit(urljoin(url, link))
        if there.hostname != here.hostname:
            raise DockerutilsError(
                f"{here.netloc} has its next page of tags at {there.netloc}, another host; {_REPORT}"
            )
        return there._replace(scheme=here.scheme, netloc=here.netloc).geturl()

    def _get(self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
        """Ask, and again with a login if the registry wants one, or its token has expired."""
        url = urljoin(self._repository(), path)
        answer = self._fetch(
            url, method=method, headers=headers, authorization=self._authorization if self._is_own(url) else ""
        )
        if answer.status == UNAUTHORIZED and self._is_own(answer.url):
            self._authorization = self._log_in(answer)
            answer = self._fetch(url, method=method, headers=headers, authorization=self._authorization)
        if answer.status != OK:
            raise self._refusal(answer)
        return answer

    def _repository(self) -> str:
        """Return the repository's URL; a local registry is asked once whether it has TLS."""
        if not self._base:
            if http.is_local(urlsplit(f"//{self._server}").hostname or ""):
                try:
                    self._connection.fetch(f"https://{self._server}/v2/")
                except http.NoTls:
                    self._connection.scheme = "http"
            self._base = f"{self._connection.scheme}://{self._server}/v2/{self._name}/"
        return self._base

    def _is_own(self, url: str) -> bool:
        return urlsplit(url)[:2] == (self._connection.scheme, self._server)

    def _log_in(self, answer: Answer) -> str:
        """Return the value of the Authorization header that answers the challenge (RFC 7235)."""
        challenges = dict(map(_challenge, reversed(answer.headers.get_all("WWW-Authenticate", []))))
        if realm := challenges.get("bearer", {}).get("realm"):
            return f"Bearer {self._token(realm, challenges['bearer'].get('service'))}"
        if "basic" in challenges and self._login and self._login.user != IDENTITY_TOKEN:
            return self._login.basic
        raise self._refusal(answer)

    def _token(self, realm: str, service: str | None) -> str:
        """Ask for a token that only allows to pull from the repository."""
        fields = {"service": service or self._server, "scope": f"repository:{self._name}:pull"}
        if self._login and self._login.user == IDENTITY_TOKEN:
            refresh = {"grant_type": "refresh_token", "refresh_token": self._login.secret, "client_id": "dockerutils"}
            answer = self._fetch(realm, form={**refresh, **fields})
        else:
            query = "&".join(filter(None, [urlsplit(realm).query, urlencode(fields)]))
            url = urlsplit(realm)._replace(query=query).geturl()
            answer = self._fetch(url, authorization=self._login.basic if self._login else "")
        if answer.status != OK:
            raise self._refusal(answer)
        content = _object(answer, "token")
        token = content.get("token") or content.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
            raise http.unexpected(answer.url, "no token")
        return token

    def _fetch(self, url: str, **request: Any) -> Answer:
        """Send a request; try again after a temporary failure."""

        def attempt() -> Answer:
            answer = self._connection.fetch(url, **request)
            if answer.status == TOO_MANY_REQUESTS or answer.status // 100 == 5:  # noqa: PLR2004
                where, text = urlsplit(answer.url).netloc, _shown(answer.status)
                after = answer.headers.get("Retry-After", "")
                seconds = int(after) if re.fullmatch(r"[0-9]{1,6}", after) else 0
                raise TemporaryFailure(f"{where} answers {text}; try again later", retry_after=seconds)
            return answer

        return retries.retry(attempt, self._warn)

    def _refusal(self, answer: Answer) -> DockerutilsError:
        """Return what an answer other than 200 means: what is wrong; what to do."""
        host, status = urlsplit(answer.url).netloc, answer.status
        remedy = how_to_log_in(self._host)
        if status in _REFUSED and host != self._server:
            return Refused(f"{host} refuses the login for {self._host} ({status}); {remedy}")
        if status in _REFUSED:
            whose = "with this login" if self._login else "without a login"
            return Refused(f"{self._host} does not show {self._name} {whose} ({status}); correct the name, or {remedy}")
        if status == NOT_FOUND:
            return DockerutilsError(
                f"{self._host} has no {self._name} (404); correct the name, or publish the image first"
            )
        if status // 100 == 3:  # noqa: PLR2004
            where = f"{urlsplit(answer.url).scheme}://{host}"
            return DockerutilsError(f"{self._host} redirects to {where} without end; {_REPORT}")
        return DockerutilsError(f"{host} answers {_shown(status)}; check that it is a registry")


def _shown(status: int) -> str:
    """Return a status with its meaning, such as 404 Not Found."""
    return f"{status} {responses.get(status, '')}".strip()


def _media_type(answer: Answer) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip()


def _challenge(header: str) -> tuple[str, dict[str, str]]:
    scheme, _, rest = header.strip().partition(" ")
    try:
        return scheme.lower(), parse_keqv_list(parse_http_list(rest))
    except (ValueError, IndexError):
        return "", {}


def _listed(answer: Answer) -> list[Any]:
    found = _object(answer, "list of tags").get("tags") or []  # null after the last tag was deleted
    if not isinstance(found, list):
        raise http.unexpected(answer.url, "no list of tags")
    return found


def _object(answer: Answer, what: str) -> dict[str, Any]:
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise http.unexpected(answer.url, f"no {what}")
    return content
