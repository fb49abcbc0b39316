"""The freqtrade example, called as freqtrade calls it; freqtrade itself is not installed."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path

from conftest import URL

from ephor_client import Client

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from freqtrade_confirm import AsksEphor  # noqa: E402


def test_an_entry_that_is_not_allowed_is_not_confirmed(gate: Client) -> None:
    class Mine(AsksEphor):
        ephor = gate
        ephor_strategy_id = "s-ft"

    def confirmed(strategy: AsksEphor, minute: int) -> bool:
        return strategy.confirm_trade_entry(
            pair="BTC/USDT:USDT", order_type="limit", amount=0.1, rate=100.5, time_in_force="GTC",
            current_time=datetime(2024, 1, 1, 0, minute, tzinfo=timezone.utc), entry_tag=None, side="long",
        )  # fmt: skip

    assert confirmed(Mine(), 1) is False  # Nobody knows the strategy.

    class Lost(AsksEphor):
        ephor = Client("http://127.0.0.1:9", "k")
        ephor_strategy_id = "s-ft"

    assert confirmed(Lost(), 2) is False
