"""A NautilusTrader strategy that asks Ephor before it submits, inside a small backtest.

    EPHOR_API_KEY=ephor_… python nautilus_strategy.py http://127.0.0.1:8750

The strategy enters on every tenth bar and closes five bars later. `Gated.submit_gated` is all that another strategy needs.
"""

from __future__ import annotations

import json
import sys
from decimal import Decimal

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import TraderId, Venue
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

from ephor_client import Client, Decision, Order


class GatedConfig(StrategyConfig, frozen=True):
    bar_type: str
    ephor_url: str
    ephor_strategy_id: str
    trade_size: str = "100000"


class Gated(Strategy):
    def __init__(self, config: GatedConfig) -> None:
        super().__init__(config)
        # In a backtest the simulated clock stands still while an answer is awaited.
        self.ephor = Client(config.ephor_url, timeout=2.0)
        self.decisions: list[Decision] = []
        self.submitted: list[Decimal] = []
        self.bars = 0

    def on_start(self) -> None:
        self.bar_type = BarType.from_str(self.config.bar_type)
        self.instrument: Instrument = self.cache.instrument(self.bar_type.instrument_id)
        self.subscribe_bars(self.bar_type)

    def on_stop(self) -> None:
        self.ephor.close()

    def submit_gated(self, side: OrderSide, qty: Decimal, price: Decimal, *, reduce_only: bool = False) -> None:
        """Asks, and submits what may go out: nothing, less, or all of it."""
        account = self.portfolio.account(self.instrument.id.venue)
        position = self.portfolio.net_position(self.instrument.id)
        order_id = f"{self.config.ephor_strategy_id}-{self.clock.timestamp_ns()}"
        decision = self.ephor.check(
            Order(
                order_id=order_id,
                strategy_id=self.config.ephor_strategy_id,
                instrument=str(self.instrument.id),
                side="BUY" if side == OrderSide.BUY else "SELL",
                qty=qty,
                price=price,
                currency="USD",
                reduce_only=reduce_only,
                leverage=1,
                position_qty=position,
                equity=account.balance_total(USD).as_decimal(),
                open_positions=len(self.cache.positions_open()),
            )
        )
        self.decisions.append(decision)
        if not decision.goes_live:
            self.log.warning(f"{order_id}: {decision.action.value} {decision.reason} {decision.detail}")
            return
        # Down to what the venue takes: never more than was allowed.
        step = self.instrument.size_increment.as_decimal()
        allowed = decision.size(qty) // step * step
        if allowed <= 0:
            return
        quantity = Quantity.from_str(str(allowed))
        self.submitted.append(allowed)
        self.submit_order(self.order_factory.market(self.instrument.id, side, quantity, reduce_only=reduce_only))

    def on_bar(self, bar: Bar) -> None:
        self.bars += 1
        held = self.portfolio.net_position(self.instrument.id)
        close = bar.close.as_decimal()
        if self.bars % 10 == 0 and held == 0:
            self.submit_gated(OrderSide.BUY, Decimal(self.config.trade_size), close)
        elif self.bars % 10 == 5 and held > 0:
            self.submit_gated(OrderSide.SELL, held, close, reduce_only=True)


def backtest(url: str, strategy_id: str, bars: int = 60) -> dict[str, object]:
    """Runs the strategy over bars that go up and down; says what it asked and what it submitted."""
    instrument = TestInstrumentProvider.default_fx_ccy("EUR/USD")
    venue = Venue("SIM")
    bar_type = BarType.from_str(f"{instrument.id}-1-MINUTE-MID-EXTERNAL")
    quiet = LoggingConfig(bypass_logging=True)
    engine = BacktestEngine(config=BacktestEngineConfig(trader_id=TraderId("DESK-001"), logging=quiet))
    engine.add_venue(venue, OmsType.NETTING, AccountType.MARGIN, [Money(1_000_000, USD)], base_currency=USD)
    engine.add_instrument(instrument)
    minute, start = 60_000_000_000, 1_704_067_200_000_000_000
    data = []
    for number in range(bars):
        price = Price(1.08 + (number % 7) * 0.0001, instrument.price_precision)
        at = start + number * minute
        data.append(Bar(bar_type, price, price, price, price, Quantity.from_int(1_000_000), at, at))
    engine.add_data(data)
    strategy = Gated(GatedConfig(bar_type=str(bar_type), ephor_url=url, ephor_strategy_id=strategy_id))
    engine.add_strategy(strategy)
    engine.run()
    fills = engine.trader.generate_order_fills_report()
    engine.dispose()
    return {
        "asked": len(strategy.decisions),
        "reasons": sorted({decision.reason for decision in strategy.decisions}),
        "answered": all(decision.answered for decision in strategy.decisions),
        "submitted": [str(qty) for qty in strategy.submitted],
        "filled": len(fills),
    }


if __name__ == "__main__":
    print(json.dumps(backtest(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "nautilus-1")))
