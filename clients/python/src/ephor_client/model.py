"""Orders, decisions, reports and events as Python sees them: exact decimals, times with a zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Optional, Union

Number = Union[Decimal, int, str]
"""An exact amount. A float is refused: it is not the number that was meant."""

Report = Mapping[str, Any]
"""Something that happened, as `ephor run` reads it a line: `type`, `id`, `ts`, `strategy_id` and the rest.
Amounts are `Decimal`, times `datetime` with a zone."""


class Action(str, Enum):
    """What the gate answers, mildest first."""

    ALLOW = "allow"
    REDUCE_SIZE = "reduce_size"
    BLOCK = "block"
    DEMOTE = "demote"
    PAUSE = "pause"
    KILL = "kill"


class Execution(str, Enum):
    """Where an order may go."""

    NONE = "none"
    PAPER = "paper"
    LIVE = "live"
    POSITION = "position"


GOES_ON = frozenset({Action.ALLOW, Action.REDUCE_SIZE, Action.DEMOTE})


@dataclass(frozen=True)
class Order:
    """An order before any venue has seen it. What is not known is left out: it is then taken at its worst."""

    order_id: str
    strategy_id: str
    instrument: str
    side: str
    qty: Number
    price: Optional[Number] = None
    ref_price: Optional[Number] = None
    notional: Optional[Number] = None
    currency: Optional[str] = None
    venue: Optional[str] = None
    reduce_only: bool = False
    leverage: Optional[Number] = None
    position_qty: Optional[Number] = None
    equity: Optional[Number] = None
    open_positions: Optional[int] = None
    token: Optional[str] = None
    trace_id: Optional[str] = None
    ts: Optional[datetime] = None


@dataclass(frozen=True)
class Verdict:
    """What one component said, with the numbers it looked at."""

    component: str
    action: Action
    multiplier: Decimal
    code: str
    reason: Mapping[str, Any]


@dataclass(frozen=True)
class Decision:
    """The gate's answer to one order, or a block because there was none (`answered` is false)."""

    order_id: str
    strategy_id: str
    action: Action
    multiplier: Decimal
    execution: Execution
    reason: str
    """The code of what decided, `CATEGORY_CONDITION`."""
    detail: str = ""
    """What went wrong, where the gate gave no answer."""
    answered: bool = True
    seq: Optional[int] = None
    trace_id: Optional[str] = None
    decided_at: Optional[datetime] = None
    repeat: bool = False
    level: Optional[str] = None
    tier: Optional[str] = None
    verdicts: tuple[Verdict, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def blocked(cls, reason: str, detail: str = "", order_id: str = "", strategy_id: str = "") -> Decision:
        """No answer: nothing goes out."""
        return cls(order_id, strategy_id, Action.BLOCK, Decimal(0), Execution.NONE, reason, detail, answered=False)

    @property
    def goes_on(self) -> bool:
        """Whether something of the order may go out: to where `execution` says."""
        return self.action in GOES_ON and self.multiplier > 0 and self.execution is not Execution.NONE

    @property
    def goes_live(self) -> bool:
        """Whether something of the order may go to a live venue; an exit goes to wherever its position is held."""
        return self.goes_on and self.execution in (Execution.LIVE, Execution.POSITION)

    def size(self, qty: Number) -> Decimal:
        """How much of this quantity may go out, not rounded to what the venue takes."""
        if isinstance(qty, float):
            raise TypeError("a quantity is a Decimal, an int or a text: a float is not exact")
        return Decimal(qty) * self.multiplier if self.goes_on else Decimal(0)


@dataclass(frozen=True)
class Result:
    """What one report came to: `recorded`, `repeated`, `rejected`, or `failed` (send it again)."""

    line: int
    status: str
    id: Optional[str] = None
    seq: Optional[int] = None
    events: tuple[str, ...] = ()
    code: Optional[str] = None
    field: Optional[str] = None
    detail: Optional[str] = None

    @property
    def ok(self) -> bool:
        """Whether it is in the log."""
        return self.status in ("recorded", "repeated")


@dataclass(frozen=True)
class Event:
    """One recorded fact."""

    seq: int
    type: str
    stream: str
    recorded_at: datetime
    data: Mapping[str, Any]
    raw: Mapping[str, Any] = field(repr=False)
