"""Whatever goes wrong, the answer blocks, in time."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from decimal import Decimal
from typing import Any, Callable

import pytest
from conftest import Behave, answer, order

from ephor_client import Action, AsyncClient, Client, Decision, GateUnavailable

GOOD: dict[str, Any] = {
    "order_id": "o", "strategy_id": "s-1", "action": "allow", "multiplier": 1.0, "execution": "live", "reason": "X",
    "seq": 1, "trace_id": "o", "decided_at": "2024-01-01T00:00:00.123456789Z", "repeat": False, "verdicts": [],
}  # fmt: skip


def says(body: bytes, status: str = "200 OK", kind: str = "application/json") -> Behave:
    def behave(connection: socket.socket, _: int) -> None:
        connection.recv(65536)
        connection.sendall(answer(body, status, kind))

    return behave


def hangs(connection: socket.socket, _: int) -> None:
    connection.recv(65536)
    time.sleep(5)


def trickles_head(connection: socket.socket, _: int) -> None:
    connection.recv(65536)
    for byte in answer(json.dumps(GOOD).encode()):
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def trickles_body(connection: socket.socket, _: int) -> None:
    connection.recv(65536)
    whole = answer(json.dumps(GOOD).encode())
    connection.sendall(whole[:150])
    for byte in whole[150:]:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def dies(connection: socket.socket, _: int) -> None:
    connection.recv(65536)
    connection.sendall(answer(json.dumps(GOOD).encode())[:-20])


def hangs_up(connection: socket.socket, _: int) -> None:
    connection.recv(65536)


def changed(**fields: Any) -> Behave:
    return says(json.dumps({**GOOD, **fields}).encode())


PROBLEM = json.dumps({"status": 503, "code": "JOURNAL_UNAVAILABLE", "detail": "full", "action": "block"}).encode()

CASES: list[tuple[str, Behave, str]] = [
    ("hangs", hangs, "CLIENT_TIMEOUT"),
    ("trickles its head", trickles_head, "CLIENT_TIMEOUT"),
    ("trickles its body", trickles_body, "CLIENT_TIMEOUT"),
    ("dies in its answer", dies, "CLIENT_UNREACHABLE"),
    ("hangs up", hangs_up, "CLIENT_UNREACHABLE"),
    ("rubbish", lambda c, _: c.sendall(b"\x00\x01 rubbish\r\n\r\n"), "CLIENT_UNREACHABLE"),
    ("not JSON", says(b"<html>"), "CLIENT_ANSWER_MALFORMED"),
    ("another type", says(json.dumps(GOOD).encode(), kind="text/html"), "CLIENT_ANSWER_MALFORMED"),
    ("a list", says(b"[]"), "CLIENT_ANSWER_MALFORMED"),
    ("nothing", says(b""), "CLIENT_ANSWER_MALFORMED"),
    ("deep", says(b"[" * 100_000), "CLIENT_ANSWER_MALFORMED"),
    ("a field twice", says(b'{"action":"block",' + json.dumps(GOOD).encode()[1:]), "CLIENT_ANSWER_MALFORMED"),
    ("NaN", says(json.dumps(GOOD).encode().replace(b"1.0", b"NaN")), "CLIENT_ANSWER_MALFORMED"),
    ("above 1", changed(multiplier=1.5), "CLIENT_ANSWER_MALFORMED"),
    ("below 0", changed(multiplier=-1), "CLIENT_ANSWER_MALFORMED"),
    ("true as a number", changed(multiplier=True), "CLIENT_ANSWER_MALFORMED"),
    ("a text as a number", changed(multiplier="1"), "CLIENT_ANSWER_MALFORMED"),
    ("a block of 1", changed(action="block"), "CLIENT_ANSWER_MALFORMED"),
    ("another order", changed(order_id="p"), "CLIENT_ANSWER_MALFORMED"),
    ("another strategy", changed(strategy_id="s-2"), "CLIENT_ANSWER_MALFORMED"),
    ("another execution", changed(execution="moon"), "CLIENT_ANSWER_MALFORMED"),
    ("an action to come", changed(action="amplify"), "CLIENT_ACTION_UNKNOWN"),
    ("a problem", says(PROBLEM, "503 Service Unavailable", "application/problem+json"), "JOURNAL_UNAVAILABLE"),
    ("a bare 500", says(b"oops", "500 Internal Server Error", "text/plain"), "CLIENT_ANSWER_MALFORMED"),
    ("a good answer with a bad status", says(json.dumps(GOOD).encode(), "201 Created"), "CLIENT_ANSWER_MALFORMED"),
    ("elsewhere", says(b"", "302 Found"), "CLIENT_ANSWER_MALFORMED"),
]  # fmt: skip


def blocks(decision: Decision, reason: str) -> None:
    assert (decision.action, decision.multiplier, decision.answered) == (Action.BLOCK, Decimal(0), False), decision
    assert decision.reason == reason, decision
    assert not decision.goes_on and decision.size("5") == 0


@pytest.mark.parametrize(("behave", "reason"), [pytest.param(b, r, id=name) for name, b, r in CASES])
def test_it_blocks(fake: Callable[[Behave], str], behave: Behave, reason: str) -> None:
    url = fake(behave)
    with Client(url, "k", timeout=0.7) as client:
        for reduce_only in (False, True):
            started = time.monotonic()
            blocks(client.check(order("o", reduce_only=reduce_only)), reason)
            assert time.monotonic() - started < 1.5
        for decision in client.check_many([order("o"), order("o2")]):
            assert (decision.action, decision.answered) == (Action.BLOCK, False)
    with Client(url, "k", timeout=0.7, raise_on_failure=True) as client, pytest.raises(GateUnavailable) as raised:
        client.check(order("o"))
    assert raised.value.code == reason


def test_the_good_answer_that_these_spoil_is_good(fake: Callable[[Behave], str]) -> None:
    with Client(fake(changed()), "k") as client:
        decision = client.check(order("o"))
    assert decision.goes_live and decision.answered and decision.size("2.50") == Decimal("2.50")


def test_nobody_listens() -> None:
    with Client("http://127.0.0.1:9", "k") as client:
        blocks(client.check(order("o")), "CLIENT_UNREACHABLE")


def test_a_connection_that_breaks_once_is_tried_once_more(fake: Callable[[Behave], str]) -> None:
    with Client(fake(lambda c, n: hangs_up(c, n) if n == 1 else changed()(c, n)), "k") as client:
        assert client.check(order("o")).goes_live


def test_an_order_without_an_exact_form_is_not_sent(fake: Callable[[Behave], str]) -> None:
    with Client(fake(changed()), "k") as client:
        for wrong in (1.5, Decimal("NaN"), object()):
            blocks(client.check(order("o", qty=wrong)), "CLIENT_ORDER_INVALID")


def test_a_client_that_was_closed_blocks() -> None:
    client = Client("http://127.0.0.1:9", "k")
    client.close()
    client.close()
    blocks(client.check(order("o")), "CLIENT_FAULT")


def test_the_asynchronous_one_blocks_as_well(fake: Callable[[Behave], str]) -> None:
    async def ask() -> Decision:
        async with AsyncClient(fake(hangs), "k", timeout=0.3) as client:
            return await client.check(order("o"))

    blocks(asyncio.run(ask()), "CLIENT_TIMEOUT")


def test_a_stream_of_events_is_taken_up_again_without_gap_or_repeat(fake: Callable[[Behave], str]) -> None:
    heads: list[bytes] = []

    def event(seq: int) -> bytes:
        data = {"seq": seq, "type": "T", "stream": "s", "recorded_at": "2024-01-01T00:00:00Z", "data": {"x": 0.5}}
        return f"id: {seq}\nevent: T\ndata: {json.dumps(data)}\n\n".encode()

    def behave(connection: socket.socket, number: int) -> None:
        heads.append(connection.recv(65536))
        if number == 2:
            connection.sendall(answer(PROBLEM, "503 Service Unavailable", "application/problem+json"))
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: here\n\n")
        # The first is cut in the middle of an event; the second begins with one that was seen.
        rest = event(3) + event(4)[:-9] if number == 1 else event(3) + event(4) + event(5)
        connection.sendall(rest)

    with Client(fake(behave), "k") as client:
        seen = []
        for found in client.events(3):
            seen.append(found.seq)
            if found.seq == 5:
                break
    assert seen == [3, 4, 5]
    assert b"from=3" in heads[0] and b"ast-" not in heads[0]
    assert b"from=4" in heads[2] and b"last-event-id: 3" in heads[2].lower()
