"""Tags and digests: from a real registry, and from a stand-in for what Debian's does not do, such as pages and errors."""

from __future__ import annotations

import base64
import contextlib
import gc
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http.client import responses
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

from dockerutils.core import retries
from dockerutils.core.errors import DockerutilsError
from dockerutils.docker.references import HUB
from dockerutils.registries import client, http
from dockerutils.registries.client import Client, Manifest
from dockerutils.registries.credentials import IDENTITY_TOKEN, Login
from tests.testbed import front, web
from tests.testbed import registry as testbed
from tests.testbed.aws import free_port
from tests.testbed.web import Asked, Reply

MARKER = "marker-of-the-password"
CAROL = Login("carol", MARKER)
LOGIN = "run docker login r.example, or set DOCKER_REGISTRY=r.example, DOCKER_USERNAME and DOCKER_PASSWORD"
HOSTS = ("r.example", "auth.example", "other.example", "registry-1.docker.io", "auth.docker.io")
NETWORK = "check that this machine can reach it, and the proxy variables"


@pytest.fixture(autouse=True)
def _no_proxy(isolated, monkeypatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch) -> None:
    monkeypatch.setattr(retries, "PAUSES", (0.01, 0.02, 0.03))


@pytest.fixture(scope="session")
def tls(tmp_path_factory) -> dict[str, str]:
    """Return the paths of a certificate for all of HOSTS, and of its key."""
    return testbed.certificate(str(tmp_path_factory.mktemp("tls")), *HOSTS, "127.0.0.1")


@pytest.fixture
def reach(tls, monkeypatch):
    """Return a function that lets each `host` or `host:port` lead to a port of this machine, and be trusted."""
    with contextlib.ExitStack() as stack:

        def lead(**ports: int) -> web.Proxy:
            routes = {place if ":" in place else f"{place}:443": port for place, port in ports.items()}
            proxy = stack.enter_context(web.proxying(routes))
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            for place in ports:
                _trust(place, tls["certificate"])
            return proxy

        yield lead


def _trust(host: str, certificate: str, directory: str = ".docker") -> Path:
    path = Path(os.environ["HOME"], directory, "certs.d", host, "ca.crt")
    path.parent.mkdir(parents=True)
    path.write_bytes(Path(certificate).read_bytes())
    return path


def _ignore(_: str) -> None:
    pass


def _list(host: str, name: str = "org/x", login: Login | None = None, warnings: list[str] | None = None) -> list[str]:
    return Client(host, name, login, _ignore if warnings is None else warnings.append).tags()


def _error(host: str, name: str = "org/x", login: Login | None = None) -> str:
    """Return the error, which contains no secret."""
    with pytest.raises(DockerutilsError) as caught:
        _list(host, name, login)
    assert MARKER not in str(caught.value)
    assert CAROL.basic not in str(caught.value)
    assert caught.value.status == 1
    return str(caught.value)


def _tags(*tags: str, **headers: str) -> Reply:
    return Reply(200, json.dumps({"name": "org/x", "tags": tags}).encode(), headers)


def _json(**fields: object) -> Reply:
    return Reply(200, json.dumps(fields).encode())


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_local_registry_without_tls_bypasses_the_proxy(tmp_path, monkeypatch, name) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with testbed.listening(str(tmp_path)) as real:
        real.add_tags("org/x", "1.0", "1.1", "latest")
        host = real.host.replace("127.0.0.1", name)
        assert sorted(_list(host, "org/x")) == ["1.0", "1.1", "latest"]
        assert _error(host, "org/y") == f"{host} has no org/y (404); correct the name, or publish the image first"


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.255.0.1", True), ("128.0.0.1", False), ("10.0.0.1", False), ("localhost.example", False)],
)  # fmt: skip
def test_local_hosts(host, local) -> None:
    assert http.is_local(host) == local


def test_a_password_of_a_registry_with_tls(tmp_path, tls, reach) -> None:
    with testbed.listening(str(tmp_path), user="carol", password=MARKER, tls=tls) as real:
        real.add_tags("org/x", "1.0")
        proxy = reach(**{"r.example:5000": int(real.host.partition(":")[2])})
        assert _list("r.example:5000", "org/x", CAROL) == ["1.0"]
        assert set(proxy.asked) == {"r.example:5000"}
        remedy = (
            "correct the name, or run docker login r.example:5000, or set DOCKER_REGISTRY=r.example:5000, "
            "DOCKER_USERNAME and DOCKER_PASSWORD"
        )
        where = "r.example:5000 does not show org/x"
        assert _error("r.example:5000") == f"{where} without a login (401); {remedy}"
        for login in (Login("carol", "wrong"), Login(IDENTITY_TOKEN, MARKER)):
            assert _error("r.example:5000", login=login) == f"{where} with this login (401); {remedy}"


@pytest.mark.parametrize("directory", [".docker", ".config/docker"])
def test_the_authority_of_a_local_registry(tmp_path, tls, directory) -> None:
    with testbed.listening(str(tmp_path), tls=tls) as real:
        real.add_tags("org/x", "1.0")
        host = real.host
        place = f"/etc/docker/certs.d/{host}/ca.crt"
        text = f"the certificate of {host} is not trusted: {{}}; put its authority's at {place}"
        assert _error(host) in {text.format(f"self{dash}signed certificate") for dash in "- "}
        path = _trust(host, tls["certificate"], directory)
        assert _list(host, "org/x") == ["1.0"]
    path.write_text("nothing")
    assert _error(host) == f"{path} is not a certificate; correct or remove it"
    path.unlink()
    path.mkdir()
    assert _error(host) == f"{path} cannot be read: Is a directory; correct or remove it"


def test_a_certificate_for_another_name(tls, reach) -> None:
    with web.serving(lambda _: _tags("1"), tls) as port:
        reach(**{"wrong.example": port})
        assert _error("wrong.example") == (
            "the certificate of wrong.example is not trusted: Hostname mismatch, certificate is not valid for "
            "'wrong.example'; put its authority's at /etc/docker/certs.d/wrong.example/ca.crt"
        )


class Tokens:
    """The server of tokens that registries of Docker's kind trust: it signs with the key of its certificate."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key, self.certificate = f"{directory}/rsa.key", f"{directory}/rsa.crt"
        new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens"]
        subprocess.run([*new, "-keyout", self.key, "-out", self.certificate], check=True, capture_output=True)
        self.asked: list[Asked] = []

    def configuration(self, realm: str) -> dict[str, str]:
        return {"realm": realm, "service": "tests", "issuer": "tokens", "rootcertbundle": self.certificate}

    def __call__(self, asked: Asked) -> Reply:
        """Anybody may pull from public/x, carol from private/x too, whether by password or identity token."""
        self.asked.append(asked)
        fields = parse_qs(f"{urlsplit(asked.path).query}&{asked.body.decode()}")
        shown = asked.headers["Authorization"]
        if shown not in {None, CAROL.basic} or fields.get("refresh_token", [MARKER]) != [MARKER]:
            return Reply(401)
        allowed = {"public/x"} | ({"private/x"} if shown or "refresh_token" in fields else set())
        kind, name, actions = fields["scope"][0].split(":")
        access = [{"type": kind, "name": name, "actions": actions.split(",")}] if name in allowed else []
        return _json(token=self.signed(fields["service"][0], access))

    def signed(self, service: str, access: Sequence[object]) -> str:
        """Sign as https://distribution.github.io/distribution/spec/auth/jwt/ has it."""
        now = int(time.time())
        der = "".join(Path(self.certificate).read_text().splitlines()[1:-1])
        head = {"typ": "JWT", "alg": "RS256", "x5c": [der]}
        times = {"nbf": now - 10, "iat": now, "exp": now + 60}
        body = {"iss": "tokens", "sub": "", "aud": service, "jti": "1", "access": access, **times}
        text = b".".join(_base64(json.dumps(each).encode()) for each in (head, body))
        sign = ["openssl", "dgst", "-sha256", "-sign", self.key]
        signature = subprocess.run(sign, input=text, check=True, capture_output=True).stdout
        return (text + b"." + _base64(signature)).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def test_tokens_of_a_registry_with_tls(tmp_path, tls, reach) -> None:
    """The realm has a query of its own."""
    tokens = Tokens(tmp_path)
    auth = tokens.configuration("https://auth.example/token?kind=x")
    with web.serving(tokens, tls) as port, testbed.listening(f"{tmp_path}/r", tls=tls, token=auth) as real:
        proxy = reach(**{"r.example": int(real.host.partition(":")[2]), "auth.example": port})
        for name in ("public/x", "private/x"):
            real.add_tags(name, "1.0", "2.0")
        assert sorted(_list("r.example", "public/x")) == ["1.0", "2.0"]
        assert sorted(_list("r.example", "private/x", CAROL)) == ["1.0", "2.0"]
        assert sorted(_list("r.example", "private/x", Login(IDENTITY_TOKEN, MARKER))) == ["1.0", "2.0"]
        remedy = LOGIN
        assert _error("r.example", "private/x") == (
            f"r.example does not show private/x without a login (401); correct the name, or {remedy}"
        )
        for login in (Login("carol", "wrong"), Login(IDENTITY_TOKEN, "wrong")):
            assert _error("r.example", "private/x", login) == (
                f"auth.example refuses the login for r.example (401); {remedy}"
            )
    assert set(proxy.asked) == {"r.example:443", "auth.example:443"}
    first, second, third, *_ = tokens.asked
    query = "kind=x&service=tests&scope=repository%3A{}%2Fx%3Apull"
    assert (first.path, second.path) == (f"/token?{query.format('public')}", f"/token?{query.format('private')}")
    assert (first.headers["Authorization"], second.headers["Authorization"]) == (None, CAROL.basic)
    assert (third.method, third.path, third.headers["Authorization"]) == ("POST", "/token?kind=x", None)
    assert parse_qs(third.body.decode()) == {
        "grant_type": ["refresh_token"],
        "refresh_token": [MARKER],
        "client_id": ["dockerutils"],
        "service": ["tests"],
        "scope": ["repository:private/x:pull"],
    }


def test_docker_hub_with_the_system_s_authorities(tmp_path, tls, reach, monkeypatch) -> None:
    tokens = Tokens(tmp_path)
    auth = tokens.configuration("https://auth.docker.io/token")
    with web.serving(tokens, tls) as port, testbed.listening(f"{tmp_path}/r", tls=tls, token=auth) as real:
        real.add_tags("public/x", "3.12-slim", "3.13")
        proxy = reach(**{"registry-1.docker.io": int(real.host.partition(":")[2]), "auth.docker.io": port})
        monkeypatch.setenv("SSL_CERT_FILE", tls["certificate"])
        assert sorted(_list(HUB, "public/x")) == ["3.12-slim", "3.13"]
        assert _error(HUB, "library/y") == (
            "docker.io does not show library/y without a login (401); correct the name, or run docker login, or set "
            "DOCKER_USERNAME and DOCKER_PASSWORD"
        )
    assert set(proxy.asked) == {"registry-1.docker.io:443", "auth.docker.io:443"}


def test_tokens_of_a_local_registry_without_tls(tmp_path) -> None:
    tokens = Tokens(tmp_path)
    with web.serving(tokens) as port:
        auth = tokens.configuration(f"http://localhost:{port}/token")
        with testbed.listening(f"{tmp_path}/r", token=auth) as real:
            real.add_tags("private/x", "1.0")
            assert _list(real.host, "private/x", CAROL) == ["1.0"]


class Pages:
    """Puts the tags of a real registry on pages, which Debian's does not: no more than 100 on one, as some have it."""

    def __init__(self, behind: testbed.Registry, link: str) -> None:
        self._behind, self._link = behind, link
        self.asked: list[Asked] = []

    def __call__(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        parts = urlsplit(asked.path)
        query = parse_qs(parts.query)
        with urlopen(f"http://{self._behind.host}{parts.path}") as answer:
            tags = sorted(json.load(answer)["tags"])
        last = query.get("last", [""])[0]
        page = [tag for tag in tags if tag > last][: min(int(query["n"][0]), 100)]
        more = f"{parts.path}?n={query['n'][0]}&last={page[-1]}"
        return _tags(*page, **({} if page[-1] == tags[-1] else {"Link": self._link.format(more)}))


@pytest.mark.parametrize(
    "link",
    [
        '<{}>; rel="next"',
        "<https://r.example{}>;rel=next",
        # As they come from behind a proxy that ends TLS, or with others beside it.
        '<http://r.example:8080{}>; rel="next"',
        '</v2/>; rel="first", <{}>; title=x; rel="next"',
    ],
)  # fmt: skip
def test_all_pages(tmp_path, tls, reach, link) -> None:
    wanted = [f"1.{n}" for n in range(250)]
    with testbed.listening(str(tmp_path)) as real:
        real.add_tags("org/x", *wanted)
        pages = Pages(real, link)
        with web.serving(pages, tls) as port:
            proxy = reach(**{"r.example": port})
            assert sorted(_list("r.example", "org/x")) == sorted(wanted)
    assert [len(asked) for asked in (proxy.asked, pages.asked)] == [3, 3]
    assert {parse_qs(urlsplit(asked.path).query)["n"][0] for asked in pages.asked} == {"1000"}


def test_all_tags_on_one_page(tmp_path) -> None:
    wanted = [f"1.{n}" for n in range(1500)]
    with testbed.listening(str(tmp_path)) as real:
        real.add_tags("org/x", *wanted)
        assert sorted(_list(real.host, "org/x")) == sorted(wanted)


def test_a_token_that_expires_between_two_pages(tls, reach) -> None:
    valid = ["one"]

    def answer(asked: Asked) -> Reply:
        if asked.path.startswith("/token"):
            return _json(access_token=valid[-1])
        if asked.headers["Authorization"] != f"Bearer {valid[-1]}":
            return Reply(401, b"", {"WWW-Authenticate": 'Bearer realm="https://r.example/token"'})
        if "last" in asked.path:
            return _tags("2")
        valid.append("two")
        return _tags("1", Link='</v2/org/x/tags/list?last=1>; rel="next"')

    with web.serving(answer, tls) as port:
        reach(**{"r.example": port})
        assert _list("r.example", "org/x", CAROL) == ["1", "2"]


def test_a_list_on_another_host_is_read_without_the_login(tls, reach) -> None:
    """As registry.k8s.io has it; its next page is there too."""
    shown: list[str | None] = []

    def here(asked: Asked) -> Reply:
        if not asked.headers["Authorization"]:
            return Reply(401, b"", {"WWW-Authenticate": "Basic realm=x"})
        return Reply(307, b"", {"Location": f"https://other.example/there{asked.path}"})

    def there(asked: Asked) -> Reply:
        shown.append(asked.headers["Authorization"])
        if "last" in asked.path:
            return _tags("2")
        return _tags("1", Link='</there/v2/org/x/tags/list?last=1>; rel="next"')

    with web.serving(here, tls) as one, web.serving(there, tls) as two:
        reach(**{"r.example": one, "other.example": two})
        assert _list("r.example", "org/x", CAROL) == ["1", "2"]
    assert shown == [None, None]


def test_a_login_is_not_sent_to_another_host(tls, reach) -> None:
    asked: list[Asked] = []

    def there(request: Asked) -> Reply:
        asked.append(request)
        return Reply(401, b"", {"WWW-Authenticate": "Basic realm=x"})

    elsewhere = Reply(302, b"", {"Location": "https://other.example/"})
    with web.serving(lambda _: elsewhere, tls) as one, web.serving(there, tls) as two:
        reach(**{"r.example": one, "other.example": two})
        assert _error("r.example", login=CAROL) == (f"other.example refuses the login for r.example (401); {LOGIN}")
    assert [each.headers["Authorization"] for each in asked] == [None]


UNSAFE = "which is not safe; report this to the registry's operator"
NO_REGISTRY = "check that it is a registry"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(302, b"", {"Location": "http://r.example/"}), f"r.example redirects to http://r.example, {UNSAFE}"),
        (Reply(302, b"", {"Location": "http://127.0.0.1:9/"}), f"r.example redirects to http://127.0.0.1:9, {UNSAFE}"),
        (Reply(302, b"", {"Location": "ftp://r.example/"}), f"r.example redirects to ftp://r.example, {UNSAFE}"),
        (Reply(302, b"", {"Location": "file:///etc/passwd"}), f"r.example redirects to file://, {UNSAFE}"),
        (Reply(302, b"", {"Location": "/v2/org/x/tags/list?n=1000"}), "r.example redirects to https://r.example without end; report this to the registry's operator"),
        (Reply(302, b"", {"Location": "https://[x/"}), "r.example redirects to an invalid URL: Invalid IPv6 URL; report this to the registry's operator"),
        (Reply(401, b"", {"WWW-Authenticate": 'Bearer realm="http://auth.example/"'}), f"r.example redirects to http://auth.example, {UNSAFE}"),
        (Reply(401, b"", {"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}), f"r.example redirects to file://, {UNSAFE}"),
        (Reply(401, b"", {"WWW-Authenticate": "Bearer x="}), f"r.example does not show org/x with this login (401); correct the name, or {LOGIN}"),
        (Reply(403), f"r.example does not show org/x with this login (403); correct the name, or {LOGIN}"),
        (Reply(429), "r.example answers 429 Too Many Requests; try again later"),
        (Reply(599), "r.example answers 599; try again later"),
        (Reply(418), f"r.example answers 418 I'm a Teapot; {NO_REGISTRY}"),
        (Reply(200, b"<html>"), f"r.example returned no list of tags; {NO_REGISTRY}"),
        (Reply(200, b"\xff"), f"r.example returned no list of tags; {NO_REGISTRY}"),
        (Reply(200, b"[" * 100_000), f"r.example returned no list of tags; {NO_REGISTRY}"),
        (Reply(200, b"[]"), f"r.example returned no list of tags; {NO_REGISTRY}"),
        (Reply(200, b'{"tags": "1"}'), f"r.example returned no list of tags; {NO_REGISTRY}"),
        (Reply(200, b"x", {"Content-Length": "9"}), f"r.example returned no list of tags; {NO_REGISTRY}"),
        (Reply(200, b" " * (17 << 20)), f"r.example returned an answer of more than 16 MB; {NO_REGISTRY}"),
        (_tags(Link='<https://other.example/>; rel="next"'), "r.example has its next page of tags at other.example, another host; report this to the registry's operator"),
        (_tags(Link='<https://[x/>; rel="next"'), "r.example redirects to an invalid URL: Invalid IPv6 URL; report this to the registry's operator"),
        (_tags(Link='</v2/org/x/tags/list?n=1000>; rel="next"'), "the pages of tags at r.example do not end; report this to the registry's operator"),
    ],
)  # fmt: skip
def test_invalid_answers(tls, reach, reply, message) -> None:
    with web.serving(lambda _: reply, tls) as port:
        proxy = reach(**{"r.example": port})
        error = _error("r.example", login=CAROL)
    assert error == message
    assert set(proxy.asked) == {"r.example:443"}


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(500), "auth.example answers 500 Internal Server Error; try again later"),
        (Reply(200, b"{"), f"auth.example returned no token; {NO_REGISTRY}"),
        (_json(token=1), f"auth.example returned no token; {NO_REGISTRY}"),
        (_json(token="x\r\nHost: y"), f"auth.example returned no token; {NO_REGISTRY}"),
    ],
)
def test_invalid_tokens(tls, reach, reply, message) -> None:
    challenge = Reply(401, b"", {"WWW-Authenticate": 'Bearer realm="https://auth.example/token",service="x"'})
    with web.serving(lambda _: challenge, tls) as one, web.serving(lambda _: reply, tls) as two:
        reach(**{"r.example": one, "auth.example": two})
        assert _error("r.example", login=CAROL) == message


def test_the_number_of_pages_is_limited(tls, reach, monkeypatch) -> None:
    monkeypatch.setattr(client, "PAGES", 3)
    count = iter(range(9))
    with web.serving(lambda _: _tags(Link=f'</{next(count)}>; rel="next"'), tls) as port:
        proxy = reach(**{"r.example": port})
        assert (
            _error("r.example") == "the pages of tags at r.example do not end; report this to the registry's operator"
        )
    assert len(proxy.asked) == 3


@pytest.mark.parametrize("body", [b'{"tags": null}', b"{}", b'{"tags": [1, "a b", "-x", "\\u001b[0m", null]}'])
def test_invalid_tags_are_left_out(tls, reach, body) -> None:
    with web.serving(lambda _: Reply(200, body), tls) as port:
        reach(**{"r.example": port})
        assert _list("r.example", "org/x") == []


@pytest.mark.parametrize("host", ["r.invalid", "a..b"])
def test_no_such_host(host) -> None:
    assert _error(host) == f"{host} was not found in the DNS; correct the image name, or {NETWORK}"


def test_a_refused_connection() -> None:
    host = f"127.0.0.1:{free_port()}"
    assert _error(host) == f"{host} does not answer (Connection refused); {NETWORK}"


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_proxy_that_does_not_know_the_host(reach) -> None:
    reach()
    assert _error("r.example") == f"r.example does not answer (Tunnel connection failed: 502 Bad Gateway); {NETWORK}"
    # Python 3.10 leaves the connection to such a proxy to the collector; it is to find it here.
    gc.collect()


def test_a_remote_registry_without_tls(reach) -> None:
    with web.serving(lambda _: _tags("1")) as port:
        reach(**{"r.example": port})
        error = _error("r.example")
    # Which of the two depends on who is quicker to go.
    assert re.fullmatch(
        r"(no TLS with r\.example \([A-Z_]+\), which only a local registry can do without"
        rf"|r\.example does not answer \(.*\)); {re.escape(NETWORK)}",
        error,
    )


def test_a_server_that_does_not_answer(tls, monkeypatch) -> None:
    monkeypatch.setattr(http, "TIMEOUT", 0.2)
    goes_on = threading.Event()

    def answer(_: Asked) -> Reply:
        goes_on.wait(60)
        return _tags("1")

    with web.serving(answer, tls) as port:
        _trust(f"127.0.0.1:{port}", tls["certificate"])
        error = _error(f"127.0.0.1:{port}")
        goes_on.set()
    assert error == f"127.0.0.1:{port} did not answer for 0 seconds; try again later, or {NETWORK}"


def test_find_image_imports_network_modules_only_when_needed() -> None:
    modules = {"ssl", "socket", "http.client", "urllib.request", "email.message", "dockerutils.registry", "boto3"}
    code = f"import sys, dockerutils.commands.find_image; sys.exit(', '.join({modules} & set(sys.modules)) or 0)"
    # Without coverage, which imports some of them itself.
    subprocess.run([sys.executable, "-c", code], check=True, env={"COVERAGE": ""})


def _times(count: int, failure: Reply, then: Reply, matching: str = "/") -> Callable[[Asked], Reply]:
    """Return a server that fails the first requests whose path contains `matching`."""
    left = [failure] * count

    def answer(asked: Asked) -> Reply:
        return left.pop() if matching in asked.path and left else then

    return answer


@pytest.mark.parametrize("status", [429, 500, 503, 599])
def test_a_list_is_asked_for_again_after_a_temporary_failure(tls, reach, status) -> None:
    warnings: list[str] = []
    with web.serving(_times(3, Reply(status), _tags("1")), tls) as port:
        reach(**{"r.example": port})
        assert _list("r.example", warnings=warnings) == ["1"]
    text = f"{status} {responses.get(status, '')}".strip()
    assert warnings == [
        f"r.example answers {text}; trying again in {pause} s ({n} of 3)" for n, pause in enumerate(retries.PAUSES, 1)
    ]


def test_a_token_is_asked_for_again_after_a_temporary_failure(tls, reach) -> None:
    warnings: list[str] = []

    def registry(asked: Asked) -> Reply:
        if asked.headers["Authorization"] == "Bearer t":
            return _tags("1")
        return Reply(401, b"", {"WWW-Authenticate": 'Bearer realm="https://auth.example/token"'})

    with web.serving(registry, tls) as one, web.serving(_times(2, Reply(502), _json(token="t")), tls) as two:
        reach(**{"r.example": one, "auth.example": two})
        assert _list("r.example", login=CAROL, warnings=warnings) == ["1"]
    assert [warning.partition(";")[0] for warning in warnings] == ["auth.example answers 502 Bad Gateway"] * 2


def test_a_registry_s_own_pause_is_kept(tls, reach) -> None:
    warnings: list[str] = []
    with web.serving(_times(1, Reply(429, b"", {"Retry-After": "1"}), _tags("1")), tls) as port:
        reach(**{"r.example": port})
        assert _list("r.example", warnings=warnings) == ["1"]
    assert warnings == ["r.example answers 429 Too Many Requests; trying again in 1 s (1 of 3)"]


def test_a_connection_that_breaks_is_made_again(tmp_path) -> None:
    warnings: list[str] = []
    with testbed.listening(str(tmp_path)) as real, front.before(real.host) as before:
        real.add_tags("org/x", "1.0")
        before.fail("tags/list", None, times=2)
        assert _list(before.host, warnings=warnings) == ["1.0"]
        assert len([line for line in before.asked if "tags/list" in line]) == 3
        before.fail("tags/list", None, times=4)
        assert _error(before.host) == f"{before.host} closed the connection; try again later, or {NETWORK}"
    assert len(warnings) == 2


OCI_INDEX = "application/vnd.oci.image.index.v1+json"
SINGLE = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {"platform": {"os": "linux", "architecture": "amd64"}},
            {"platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
            {"platform": {"os": "unknown", "architecture": "unknown"}},
            {},
        ],
    }
).encode()
DIGEST = f"sha256:{hashlib.sha256(INDEX).hexdigest()}"


def test_the_manifest_of_a_tag(tls, reach) -> None:
    asked: list[Asked] = []

    def registry(request: Asked) -> Reply:
        asked.append(request)
        if request.headers["Authorization"] != CAROL.basic:
            return Reply(401, b"", {"WWW-Authenticate": "Basic realm=x"})
        return Reply(200, b"", {"Docker-Content-Digest": DIGEST, "Content-Type": f"{SINGLE}; charset=utf-8"})

    with web.serving(registry, tls) as port:
        reach(**{"r.example": port})
        assert Client("r.example", "org/x", CAROL, _ignore).manifest("1.0") == Manifest(DIGEST, SINGLE, ())
    assert [(each.method, each.path) for each in asked] == [("HEAD", "/v2/org/x/manifests/1.0")] * 2
    assert "application/vnd.oci.image.index.v1+json" in asked[0].headers["Accept"]


@pytest.mark.parametrize(
    "headers", [{}, {"Docker-Content-Digest": "x", "Content-Type": OCI_INDEX}, {"Docker-Content-Digest": DIGEST}]
)
def test_an_index_with_and_without_the_headers(tls, reach, headers) -> None:
    """Attestations have no platform."""

    def registry(request: Asked) -> Reply:
        return Reply(200, INDEX if request.method == "GET" else b"", headers)

    with web.serving(registry, tls) as port:
        reach(**{"r.example": port})
        found = Client("r.example", "org/x", None, _ignore).manifest("1.0")
    assert found == Manifest(DIGEST, OCI_INDEX, ("linux/amd64", "linux/arm/v7"))


@pytest.mark.parametrize("manifests", ["null", "[1]", '[{"platform": 1}]', '[{"platform": {"os": 1}}]'])
def test_an_invalid_index(tls, reach, manifests) -> None:
    body = f'{{"mediaType": "{OCI_INDEX}", "manifests": {manifests}}}'.encode()
    with web.serving(lambda _: Reply(200, body), tls) as port:
        reach(**{"r.example": port})
        with pytest.raises(DockerutilsError) as error:
            Client("r.example", "org/x", None, _ignore).manifest("1.0")
    assert str(error.value) == "r.example returned no index; check that it is a registry"


@pytest.mark.parametrize(
    ("login", "needs_one", "refused"), [(CAROL, False, False), (Login("carol", "no"), False, True), (None, True, True)]
)
def test_a_registry_that_refuses_a_login(tls, reach, login, needs_one, refused) -> None:
    def registry(request: Asked) -> Reply:
        if request.headers["Authorization"] != CAROL.basic:
            return Reply(401, b"", {"WWW-Authenticate": "Basic realm=x"})
        return Reply(200)

    with web.serving(registry, tls) as port:
        reach(**{"r.example": port})
        assert Client("r.example", "org/x", login, _ignore).refuses_login(push_needs_one=needs_one) == refused


@pytest.mark.parametrize("needs_one", [False, True])
def test_a_registry_without_logins_refuses_none(tls, reach, needs_one) -> None:
    with web.serving(lambda _: Reply(200), tls) as port:
        reach(**{"r.example": port})
        assert not Client("r.example", "org/x", None, _ignore).refuses_login(push_needs_one=needs_one)


@pytest.mark.parametrize(("password", "refused"), [("s3cr3t", False), ("no", True)])
def test_a_token_server_that_refuses_a_login(tls, reach, password, refused) -> None:
    def registry(request: Asked) -> Reply:
        if request.path.startswith("/token"):
            good = request.headers["Authorization"] == Login("carol", "s3cr3t").basic
            return Reply(200, b'{"token": "t"}') if good else Reply(401)
        if request.headers["Authorization"] != "Bearer t":
            return Reply(401, b"", {"WWW-Authenticate": 'Bearer realm="https://r.example/token",service="r"'})
        return Reply(200)

    with web.serving(registry, tls) as port:
        reach(**{"r.example": port})
        login = Login("carol", password)
        assert Client("r.example", "org/x", login, _ignore).refuses_login(push_needs_one=False) == refused
