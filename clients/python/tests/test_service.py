"""Against the real service."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from conftest import URL, order

from ephor_client import Action, AsyncClient, Client, Decision, Execution, ProblemError

NOW = datetime.now(timezone.utc)


def registration(strategy: str) -> dict[str, Any]:
    return {
        "type": "strategy", "id": f"register-{strategy}", "ts": NOW, "strategy_id": strategy,
        "initial_capital": Decimal("1000000"), "currency": "USD",
    }  # fmt: skip


def trade(number: int, strategy: str = "s-1") -> dict[str, Any]:
    return {
        "type": "trade_closed", "id": f"{strategy}-t-{number}", "ts": NOW, "strategy_id": strategy, "instrument": "ABC",
        "side": "LONG", "qty": Decimal("1"), "entry_price": Decimal("100.10"), "price": "101", "realized_pnl": Decimal("0.90"),
        "opened_at": NOW, "closed_at": NOW,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def registered(gate: Client) -> None:
    assert gate.report(registration("s-1")).ok


def test_a_decision_is_what_the_service_said(gate: Client) -> None:
    decision = gate.check(order("d-1"))
    assert (decision.action, decision.multiplier, decision.execution) == (Action.BLOCK, Decimal(0), Execution.PAPER)
    assert decision.answered and decision.seq is not None and decision.decided_at is not None
    assert decision.decided_at.tzinfo is not None and decision.level == "L1_paper"
    assert decision.reason in {verdict.code for verdict in decision.verdicts} and not decision.repeat
    again = gate.check(order("d-1"))
    assert again.repeat and again.seq == decision.seq
    out = gate.check(order("d-2", reduce_only=True))
    assert out.goes_live and out.size(Decimal("3.25")) == Decimal("3.25") and out.execution is Execution.POSITION


def test_many_orders_are_answered_at_their_places(gate: Client) -> None:
    orders = [order(f"m-{number}", reduce_only=number % 2 == 0) for number in range(600)]
    orders[7] = order("m-7", strategy_id="nobody")
    orders[9] = order("m-9", qty="-1")
    decisions = gate.check_many(orders)
    assert [decision.order_id for decision in decisions] == [each.order_id for each in orders]
    assert (decisions[7].reason, decisions[9].reason) == ("STRATEGY_UNKNOWN", "FIELD_OUT_OF_RANGE")
    assert all(d.goes_on == (n % 2 == 0) and d.answered == (n not in (7, 9)) for n, d in enumerate(decisions))


def test_what_the_service_refuses_blocks(gate: Client) -> None:
    assert gate.check(order("n-1", strategy_id="nobody")).reason == "STRATEGY_UNKNOWN"
    with Client(URL, "ephor_000000000000_wrong") as stranger:
        assert stranger.check(order("n-2")).reason == "KEY_INVALID"


def test_one_report_counts_once_and_a_wrong_one_is_named(gate: Client) -> None:
    assert gate.report(trade(1)).status == "recorded"
    assert gate.report(trade(1)).status == "repeated"
    with pytest.raises(ProblemError) as refused:
        gate.report({**trade(2), "qty": "-1"})
    assert (refused.value.status, refused.value.field) == (422, "qty")


def test_many_reports_have_a_result_each(gate: Client) -> None:
    assert gate.report(registration("s-many")).ok

    def reports() -> Any:
        for number in range(1_000):
            yield trade(number, "s-many") if number != 300 else {"type": "nothing"}

    results = list(gate.report_many(reports()))
    assert [result.line for result in results] == list(range(1, 1_001))
    assert [result.line for result in results if not result.ok] == [301]
    assert results[300].code == "TYPE_UNKNOWN" and results[5].id == "s-many-t-5"


def test_the_asynchronous_one_asks_many_at_once() -> None:
    async def ask() -> list[Decision]:
        async with AsyncClient(URL, timeout=10) as client:
            return await asyncio.gather(*(client.check(order(f"a-{n}", reduce_only=True)) for n in range(100)))

    assert all(decision.goes_on for decision in asyncio.run(ask()))


def has(gate: Client, path: str) -> bool:
    return path in gate.call("GET", "/openapi.json")["paths"]


def test_an_operator_acts(gate: Client) -> None:
    if not has(gate, "/v1/kill"):
        pytest.skip("this service has no acts")
    assert gate.report(registration("s-op")).ok
    gate.set_level("s-op", "L4_autonomous", "a test", without_evidence=True)
    small = {"strategy_id": "s-op", "equity": "1000000", "leverage": "1", "position_qty": "0", "open_positions": 0}
    assert gate.check(order("op-1", **small)).goes_live
    gate.pause("s-op", "a test")
    assert gate.check(order("op-2", **small)).action is Action.PAUSE
    gate.resume("s-op", "a test")
    assert gate.check(order("op-3", **small)).goes_live
    gate.kill("strategy:s-op", "a test")
    assert gate.check(order("op-4", **small)).action is Action.KILL
    gate.rearm("strategy:s-op", "a test")
    assert gate.check(order("op-5", **small)).goes_live
    assert gate.approvals()["approvals"] == []


def test_events_are_followed(gate: Client) -> None:
    if not has(gate, "/v1/events/stream"):
        pytest.skip("this service has no stream of events")
    wanted = gate.check(order("e-1")).seq
    seen = []
    for event in gate.events(1):
        seen.append(event.seq)
        if event.seq == wanted:
            assert event.data["order"]["id"] == "e-1"
            break
    assert seen == list(range(1, len(seen) + 1))
