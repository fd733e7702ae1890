"""The proxy before moto: it ends a connection quietly when there is no answer for it."""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.request

import pytest

from tests.testbed.aws import Aws, before, free_port


def _ask(url: str) -> None:
    with urllib.request.urlopen(url, b"Action=DescribeInstances", timeout=10):
        pass


def test_moto_that_ends_during_a_request(capfd) -> None:
    with socket.socket() as moto:
        moto.bind(("127.0.0.1", 0))
        moto.listen()

        def hang_up() -> None:
            connection, _ = moto.accept()
            connection.recv(1)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{moto.getsockname()[1]}"
        with before(Aws(url)) as front, pytest.raises(http.client.RemoteDisconnected):
            _ask(front.aws.url)
        thread.join()
    assert capfd.readouterr() == ("", "")


def test_moto_that_has_ended(capfd) -> None:
    with before(Aws(f"http://127.0.0.1:{free_port()}")) as front, pytest.raises(http.client.RemoteDisconnected):
        _ask(front.aws.url)
    assert capfd.readouterr() == ("", "")
