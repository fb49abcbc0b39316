"""The service under test: the real one, where `EPHOR_TEST_URL` and `EPHOR_API_KEY` say it is."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from ephor_client import Client, Order

URL = os.environ["EPHOR_TEST_URL"]


def order(order_id: str, **more: object) -> Order:
    fields = {"strategy_id": "s-1", "instrument": "ABC", "side": "BUY", "qty": "1", "price": "2", **more}
    return Order(order_id, **fields)  # type: ignore[arg-type]


@pytest.fixture
def gate() -> Iterator[Client]:
    with Client(URL, timeout=10) as client:
        yield client


Behave = Callable[[socket.socket, int], None]


@pytest.fixture
def fake() -> Iterator[Callable[[Behave], str]]:
    """A server that does what a test says with each connection, the number of which it is told."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def start(behave: Behave) -> str:
        def serve() -> None:
            number = 0
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                number += 1
                threading.Thread(target=run, args=(connection, number), daemon=True).start()

        def run(connection: socket.socket, number: int) -> None:
            with connection:
                try:
                    behave(connection, number)
                except OSError:
                    pass

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    stop.set()
    listener.close()


def answer(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
