"""JSON in and out: exact, and strict about what comes in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from ephor_client.model import GOES_ON, Action, Decision, Event, Execution, Order, Result, Verdict


class Malformed(ValueError):
    """An answer that makes no sense."""


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{value} is not an amount")
        return format(value, "f")
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no zone")
        return value.isoformat()
    if isinstance(value, float):
        raise ValueError(f"{value!r} is a float, which is not exact: give a Decimal, an int or a text")
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def dumps(value: Any) -> bytes:
    """Amounts as texts, times in RFC 3339.

    Raises ValueError or TypeError for what has no exact form.
    """
    return json.dumps(_plain(value), allow_nan=False, separators=(",", ":")).encode()


def order_of(order: Order) -> dict[str, Any]:
    """What is sent of an order: what is known."""
    given = ((each.name, getattr(order, each.name)) for each in fields(order))
    return {name: value for name, value in given if value is not None}


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise Malformed(f"{name!r} stands there twice")
        found[name] = value
    return found


def _no_constant(name: str) -> Any:
    raise Malformed(f"{name} is no number")


def loads(text: bytes | str) -> Any:
    """Decimals stay exact; a name that stands twice, NaN and Infinity are refused."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from error


def loads_object(text: bytes | str) -> dict[str, Any]:
    value = loads(text)
    if not isinstance(value, dict):
        raise Malformed("not an object")
    return value


_FRACTION = re.compile(r"\.(\d+)")


def time_of(text: Any) -> datetime:
    """RFC 3339; digits behind the microseconds, which a datetime cannot hold, are cut."""
    if not isinstance(text, str):
        raise Malformed(f"{text!r} is no time")
    six = _FRACTION.sub(lambda found: "." + found.group(1)[:6].ljust(6, "0"), text.replace("Z", "+00:00"))
    try:
        at = datetime.fromisoformat(six)
    except ValueError as error:
        raise Malformed(f"{text!r} is no time") from error
    if at.tzinfo is None:
        raise Malformed(f"{text!r} has no zone")
    return at


def _multiplier(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)) or not 0 <= value <= 1:
        raise Malformed(f"multiplier {value!r} is not from 0 to 1")
    return Decimal(value)


def _action(value: Any) -> Action:
    try:
        return Action(str(value).lower())
    except ValueError as error:
        raise UnknownAction(f"action {value!r} is not known") from error


class UnknownAction(Malformed):
    """A newer service may say what this client does not know."""


def _verdict(value: Any) -> Verdict:
    reason = value["reason"]
    return Verdict(value["component"], _action(value["action"]), _multiplier(value["multiplier"]), reason["code"], reason)


def decision_of(value: Any, order: Order) -> Decision:
    """The gate's answer, held against what was asked."""
    try:
        action, multiplier = _action(value["action"]), _multiplier(value["multiplier"])
        if (value["order_id"], value["strategy_id"]) != (order.order_id, order.strategy_id):
            raise Malformed("the answer is to another order")
        if action not in GOES_ON and multiplier != 0:
            raise Malformed(f"{action.value} with a multiplier of {multiplier}")
        return Decision(
            order_id=order.order_id,
            strategy_id=order.strategy_id,
            action=action,
            multiplier=multiplier,
            execution=Execution(value["execution"]),
            reason=str(value["reason"]),
            seq=value["seq"],
            trace_id=value["trace_id"],
            decided_at=None if value["decided_at"] is None else time_of(value["decided_at"]),
            repeat=value["repeat"] is True,
            level=value.get("level"),
            tier=value.get("tier"),
            verdicts=tuple(_verdict(verdict) for verdict in value["verdicts"]),
            raw=value,
        )
    except Malformed:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Malformed(f"not a decision: {error!r}") from error


def result_of(value: Mapping[str, Any], line: int) -> Result:
    if not isinstance(value.get("status"), str):
        raise Malformed(f"not a result: {dict(value)!r:.200}")
    rest = {name: value.get(name) for name in ("id", "seq", "code", "field", "detail")}
    return Result(line=line, status=value["status"], events=tuple(value.get("events", ())), **rest)


def event_of(text: str) -> Event:
    value = loads_object(text)
    try:
        at = time_of(value["recorded_at"])
        return Event(int(value["seq"]), value["type"], value["stream"], at, value["data"], value)
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(f"not an event: {error!r}") from error
