"""`confirm_trade_entry` of a freqtrade strategy that asks Ephor.

Mix `AsksEphor` into a strategy: `class Mine(AsksEphor, IStrategy)`. freqtrade calls `confirm_trade_entry` right before it
places an entry, and does not place it when the answer is false. It cannot make the order smaller there: an order that may
only go out smaller is refused here, so the strategy's `custom_stake_amount` should ask for less.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Optional

from ephor_client import Client, Order


class AsksEphor:
    """The gate in front of every entry."""

    ephor: Client
    ephor_strategy_id: str

    def confirm_trade_entry(
        self,
        pair: str,
        order_type: str,
        amount: float,
        rate: float,
        time_in_force: str,
        current_time: datetime,
        entry_tag: Optional[str],
        side: str,
        **kwargs: Any,
    ) -> bool:
        # freqtrade counts in floats; their shortest text is the number that it means.
        order = Order(
            order_id=f"{self.ephor_strategy_id}:{pair}:{side}:{current_time.isoformat()}",
            strategy_id=self.ephor_strategy_id,
            instrument=pair,
            side="BUY" if side == "long" else "SELL",
            qty=repr(amount),
            price=repr(rate),
            currency=pair.split("/")[-1].split(":")[0],
        )
        decision = self.ephor.check(order)
        return decision.goes_live and decision.size(Decimal(repr(amount))) == Decimal(repr(amount))
