"""Opening a URL in the browser: only this user's browser gets it, once, through an address without the secret."""

from __future__ import annotations

import os
import threading
import webbrowser
from http.client import HTTPConnection
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from dockerutils.notebooks import browser
from tests.support import wait_for

URL = "http://127.0.0.1:1/?token=secret"


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Return the addresses that the browser was given."""
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    return addresses


def request(address: str, path: str = "") -> tuple[int, str | None]:
    """Return the status and the redirect of a request."""
    parts = urlsplit(address)
    connection = HTTPConnection(parts.netloc, timeout=10)
    connection.request("GET", path or parts.path)
    answer = connection.getresponse()
    connection.close()
    return answer.status, answer.headers["Location"]


def start(ended: threading.Event, **options) -> threading.Thread:
    thread = threading.Thread(target=browser.open_url, args=[URL, ended], kwargs=options)
    thread.start()
    return thread


def test_the_first_request_is_redirected_and_others_are_not(opened) -> None:
    ended = threading.Event()
    thread = start(ended)
    address = wait_for(lambda: opened)[0]
    assert "secret" not in address
    assert request(address, "/") == (404, None)
    assert request(address) == (302, URL)
    thread.join(20)
    assert not thread.is_alive()
    with pytest.raises(URLError):
        urlopen(address, timeout=5)


def test_a_request_of_another_user_is_refused(opened, tmp_path) -> None:
    table = tmp_path / "tcp"
    table.write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        + "".join(
            f"{n}: 0100007F:{n:04X} 0100007F:0000 01 00000000:00000000 00:00000000 00000000 {os.getuid() + 1} 0 1\n"
            for n in range(1, 1 << 16)
        )
    )
    ended = threading.Event()
    thread = start(ended, connections=str(table))
    address = wait_for(lambda: opened)[0]
    assert request(address) == (404, None)
    ended.set()
    thread.join(20)
    assert not thread.is_alive()


def test_without_a_table_of_connections_the_address_is_the_secret(opened) -> None:
    thread = start(threading.Event(), connections="/nonexistent")
    assert request(wait_for(lambda: opened)[0]) == (302, URL)
    thread.join(20)
    assert not thread.is_alive()


def test_a_browser_that_does_not_start_is_not_waited_for(opened) -> None:
    browser.open_url(URL, threading.Event(), seconds=0.2)
    with pytest.raises(URLError):
        urlopen(opened[0], timeout=5)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [({}, False), ({"DISPLAY": ""}, False), ({"DISPLAY": ":0"}, True), ({"BROWSER": "x"}, True)],
)
def test_a_browser_needs_a_display(environ, expected) -> None:
    assert browser.has_display(environ) is expected
