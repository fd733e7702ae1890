"""An engine that pushes and one that pulls, each in its own order and with its own limit, meet at an exchange."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from dockerutils.transfer.exchange import Exchange
from tests.support import wait_for

TAG = "tag"


def _digest(number: int) -> str:
    return f"sha256:{number:064x}"


def _exchange(count: int) -> Exchange:
    """Return an exchange that knows an image of that many blobs, of 10 bytes each."""
    exchange = Exchange()
    blobs = [{"digest": _digest(number), "size": 10} for number in range(count)]
    exchange.add_manifest(TAG, "m", json.dumps({"config": blobs[0], "layers": blobs[1:]}).encode())
    exchange.open()
    return exchange


class Pusher:
    """An engine that asks for all blobs, some at a time, and uploads those that are not there."""

    def __init__(self, exchange: Exchange, order: list[int], slots: int) -> None:
        self._exchange, self._order, self._slots = exchange, order, slots
        self.pushes = 0

    def __call__(self) -> None:
        self.pushes += 1
        with ThreadPoolExecutor(self._slots) as pool:
            list(pool.map(self._blob, self._order))

    def _blob(self, number: int) -> None:
        if not self._exchange.is_there(_digest(number)):
            self._exchange.upload(_digest(number), iter([b"12345", b"67890"]))


@contextmanager
def _serving(exchange: Exchange, push: Pusher) -> Iterator[None]:
    thread = threading.Thread(target=exchange.serve, args=(push,))
    thread.start()
    try:
        yield
    finally:
        exchange.close()
        thread.join(10)
        assert not thread.is_alive()


def _pull(exchange: Exchange, wanted: list[int], slots: int) -> list[bytes]:
    def blob(number: int) -> bytes:
        received = []
        assert exchange.fetch(_digest(number), lambda content: received.append(b"".join(content)))
        return received[-1]

    with ThreadPoolExecutor(slots) as pool:
        return list(pool.map(blob, wanted))


@pytest.mark.parametrize("seed", range(12))
def test_any_orders_and_limits_meet(seed, monkeypatch) -> None:
    monkeypatch.setattr("dockerutils.transfer.exchange._PATIENCE", 0.01)
    chance = random.Random(seed)
    count = chance.choice([1, 2, 7, 25])
    pushed, wanted = list(range(count)), chance.sample(range(count), chance.randint(1, count))
    if seed % 3:
        chance.shuffle(pushed)
    if seed % 2:
        wanted += chance.sample(wanted, min(2, len(wanted)))  # twice, as after a broken connection
    exchange = _exchange(count)
    push = Pusher(exchange, pushed, chance.choice([1, 2, 5]))
    with _serving(exchange, push):
        assert _pull(exchange, wanted, chance.choice([1, 3, 10])) == [b"1234567890"] * len(wanted)
    assert exchange.arrived == {_digest(number) for number in wanted}


def test_engines_with_the_same_order_need_one_push() -> None:
    exchange = _exchange(101)
    push = Pusher(exchange, list(range(101)), 5)
    with _serving(exchange, push):
        _pull(exchange, list(range(101)), 3)
    assert push.pushes == 1
    assert exchange.passed() == (100, 1010)


def test_nothing_is_pushed_that_nobody_wants() -> None:
    exchange = _exchange(5)
    push = Pusher(exchange, list(range(5)), 5)
    with _serving(exchange, push):
        time.sleep(0.05)  # the time for a push to begin
    assert (push.pushes, exchange.arrived) == (0, set())
    assert not exchange.fetch(_digest(1), lambda _: None)


def test_blob_that_the_image_does_not_have_is_not_awaited_forever() -> None:
    exchange = _exchange(5)
    push = Pusher(exchange, [0, 1, 2], 5)
    with _serving(exchange, push):
        assert not exchange.fetch(_digest(4), lambda _: None)
        assert not exchange.fetch(_digest(9), lambda _: None)
    assert push.pushes == 2


def test_upload_that_breaks_is_repeated() -> None:
    exchange = _exchange(2)
    first = [True]

    def content() -> Iterator[bytes]:
        yield b"12345"
        if first.pop() if first else False:
            raise ConnectionResetError
        yield b"67890"

    def push() -> None:
        if not exchange.is_there(_digest(1)):
            exchange.upload(_digest(1), content())

    thread = threading.Thread(target=exchange.serve, args=(push,))
    thread.start()
    received: list[bytes] = []
    assert not exchange.fetch(_digest(1), received.extend)
    assert exchange.fetch(_digest(1), received.extend)
    exchange.close()
    thread.join()
    assert received == [b"12345", b"12345", b"67890"]


def test_one_who_leaves_does_not_stop_the_push() -> None:
    exchange = _exchange(2)
    content = iter([b"12345", b"67890"])

    def leave(_: object) -> None:
        raise BrokenPipeError

    def push() -> None:
        if not exchange.is_there(_digest(1)):
            exchange.upload(_digest(1), content)

    thread = threading.Thread(target=exchange.serve, args=(push,))
    thread.start()
    assert not exchange.fetch(_digest(1), leave)
    wait_for(lambda: not list(content))
    exchange.close()
    thread.join()
    assert exchange.arrived == set()


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"layers": [{"digest": 1}]}'])
def test_manifest_that_is_none(data) -> None:
    with pytest.raises(ValueError, match="manifest"):
        Exchange().add_manifest(TAG, "m", data)
