"""The client, for asyncio. Everything is here; `Client` is this one on a thread of its own."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Optional, Union
from urllib.parse import quote

import httpx

from ephor_client import wire
from ephor_client.errors import EphorError, GateUnavailable, ProblemError, StreamCut, Unreachable
from ephor_client.model import Decision, Event, Order, Report, Result

BATCH_MAX = 256
"""Orders in one batch; lines in one stream of reports: never more results than the service holds for a reader."""
ANSWER_BYTES_MAX = 16 << 20
"""The largest answer that is read."""
SILENCE_SECONDS_MAX = 45.0
"""A stream of events says something every 15 s; one that does not is taken up again."""


class AsyncClient:
    """Asks one service.

    `timeout` is seconds for a whole question, from the call to its answer, however slowly it trickles in. `key` is an API
    key; without it, `EPHOR_API_KEY` of the environment. `verify` is an `ssl.SSLContext` where the service has a
    certificate of its own authority, or asks for one. With `raise_on_failure`, `check` raises `GateUnavailable` where it
    would give a block that is not the gate's.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8750",
        key: Optional[str] = None,
        *,
        timeout: float = 1.0,
        raise_on_failure: bool = False,
        verify: Union[ssl.SSLContext, bool] = True,
    ) -> None:
        self._timeout = timeout
        self._raise = raise_on_failure
        key = os.environ.get("EPHOR_API_KEY") if key is None else key
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=timeout,
            verify=verify,
            # The service closes a connection after 5 s of silence; one that is about to be closed is not used again.
            limits=httpx.Limits(max_keepalive_connections=32, keepalive_expiry=3.0),
            trust_env=False,
        )

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes every connection. A question after that is answered with a block."""
        await self._http.aclose()

    # ---- orders

    async def check(self, order: Order) -> Decision:
        """May this order go out, and how large?

        Whatever goes wrong, the answer is a block with a multiplier of 0, for an order that only reduces as well.
        """
        try:
            body = wire.dumps(wire.order_of(order))
            return wire.decision_of(await self._asked("/v1/orders/check", body), order)
        except Exception as error:
            return self._blocked(order, error)

    async def check_many(self, orders: Sequence[Order]) -> list[Decision]:
        """Several orders, decided in their order; a decision for each, at its place. `timeout` is for each 256."""
        decisions: list[Decision] = []
        for start in range(0, len(orders), BATCH_MAX):
            decisions += await self._check_batch(orders[start : start + BATCH_MAX])
        return decisions

    async def _check_batch(self, orders: Sequence[Order]) -> list[Decision]:
        try:
            body = wire.dumps({"orders": [wire.order_of(order) for order in orders]})
            answer = await self._asked("/v1/orders/check:batch", body)
            results = answer.get("results")
            if not isinstance(results, list) or len(results) != len(orders):
                raise wire.Malformed("not one result for each order")
        except Exception as error:
            return [self._blocked(order, error) for order in orders]
        return [self._one_of(order, result) for order, result in zip(orders, results)]

    def _one_of(self, order: Order, result: Any) -> Decision:
        try:
            if isinstance(result, dict) and "action" in result and "code" not in result:
                return wire.decision_of(result, order)
            raise _problem(result, 0)
        except Exception as error:
            return self._blocked(order, error)

    def _blocked(self, order: Order, error: Exception) -> Decision:
        code, detail = _failure(error)
        if self._raise:
            raise GateUnavailable(code, detail) from error
        order_id, strategy_id = getattr(order, "order_id", ""), getattr(order, "strategy_id", "")
        return Decision.blocked(code, detail, str(order_id), str(strategy_id))

    async def _asked(self, path: str, body: bytes) -> dict[str, Any]:
        """One question with an id of its own: a connection that breaks is tried once more, within the time."""

        async def ask() -> dict[str, Any]:
            try:
                return await self._send("POST", path, body)
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                return await self._send("POST", path, body)

        return await asyncio.wait_for(ask(), self._timeout)

    async def _send(self, method: str, path: str, body: Optional[bytes] = None) -> dict[str, Any]:
        headers = {} if body is None else {"Content-Type": "application/json"}
        async with self._http.stream(method, path, content=body, headers=headers) as response:
            text = await _bounded(response)
        if response.status_code != 200:
            raise _problem_of(response.status_code, text)
        if response.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            raise wire.Malformed("the answer is not JSON")
        return wire.loads_object(text)

    # ---- reports

    async def report(self, report: Report) -> Result:
        """Reports one thing. Raises `ProblemError` where it cannot be taken, `Unreachable` where nobody knows: send it
        again then, it counts once."""
        return wire.result_of(await self.call("POST", "/v1/reports", report), 1)

    async def report_many(self, reports: Union[Iterable[Report], AsyncIterable[Report]]) -> AsyncIterator[Result]:
        """Reports many things; a result for each, in order. They are read as their results are.

        Raises `StreamCut` where the service is cut off; `ProblemError` where it refuses as a whole.
        """
        answered = 0
        lines: list[bytes] = []
        async for report in _each(reports):
            lines.append(wire.dumps(report))
            if len(lines) == BATCH_MAX:
                async for result in self._ingest(lines, answered):
                    yield result
                answered, lines = answered + len(lines), []
        if lines:
            async for result in self._ingest(lines, answered):
                yield result

    async def _ingest(self, lines: list[bytes], before: int) -> AsyncIterator[Result]:
        answered, done = 0, False
        try:
            async with self._http.stream(
                "POST",
                "/v1/ingest",
                content=b"\n".join(lines) + b"\n",
                headers={"Content-Type": "application/x-ndjson"},
                timeout=httpx.Timeout(self._timeout, read=max(self._timeout, 30.0)),
            ) as response:
                if response.status_code != 200:
                    raise _problem_of(response.status_code, await _bounded(response))
                async for text in response.aiter_lines():
                    line = wire.loads_object(text)
                    if done:
                        raise wire.Malformed("something follows the totals")
                    done = line.get("done") is True
                    if not done:
                        answered += 1
                        yield wire.result_of(line, before + answered)
        except (httpx.HTTPError, wire.Malformed) as error:
            raise StreamCut(before + answered, _failure(error)[1]) from error
        if not done or answered != len(lines):
            raise StreamCut(before + answered, "the stream of results was cut off")

    # ---- events

    async def events(
        self, from_seq: int = 1, *, strategy: Optional[str] = None, type: Optional[str] = None
    ) -> AsyncIterator[Event]:
        """What is recorded, from `from_seq` on and as it comes, without gap or repeat; never ends by itself.

        A stream that breaks is taken up again behind the last event. Raises `ProblemError` where the service refuses.
        """
        last, wait = from_seq - 1, 0.0
        asked = {"strategy": strategy, "type": type}
        while True:
            params = {"from": str(last + 1), **{name: value for name, value in asked.items() if value is not None}}
            headers = {"Accept": "text/event-stream"}
            if last >= from_seq:
                headers["Last-Event-ID"] = str(last)
            timeout = httpx.Timeout(self._timeout, read=SILENCE_SECONDS_MAX)
            try:
                async with self._http.stream(
                    "GET", "/v1/events/stream", params=params, headers=headers, timeout=timeout
                ) as response:
                    if response.status_code != 200:
                        raise _problem_of(response.status_code, await _bounded(response))
                    async for event in _server_sent(response):
                        if event.seq > last:
                            last, wait = event.seq, 0.0
                            yield event
            except (httpx.HTTPError, wire.Malformed):
                pass
            except ProblemError as problem:
                if problem.status not in (429, 502, 503, 504):
                    raise
            wait = min(max(wait * 2, 0.1), 5.0)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))

    # ---- operators

    async def call(self, method: str, path: str, body: Optional[Mapping[str, Any]] = None) -> dict[str, Any]:
        """Any other route of the service, as JSON. Raises `ProblemError` or `Unreachable`."""
        content = None if body is None else wire.dumps(body)
        try:
            return await asyncio.wait_for(self._send(method, path, content), max(self._timeout, 10.0))
        except EphorError:
            raise
        except Exception as error:
            raise Unreachable(*_failure(error)) from error

    async def set_level(self, strategy: str, to: str, reason: str, *, without_evidence: bool = False) -> dict[str, Any]:
        """Raises or lowers a strategy: `to` is such as `L2_gated`."""
        body = {"to": to, "reason": reason, "without_evidence": without_evidence}
        return await self.call("POST", f"/v1/strategies/{_part(strategy)}/level", body)

    async def pause(self, strategy: str, reason: str) -> dict[str, Any]:
        """Lets a strategy stand still."""
        return await self.call("POST", f"/v1/strategies/{_part(strategy)}/pause", {"reason": reason})

    async def resume(self, strategy: str, reason: str) -> dict[str, Any]:
        """Lets a strategy go on."""
        return await self.call("POST", f"/v1/strategies/{_part(strategy)}/resume", {"reason": reason})

    async def kill(self, scope: str, reason: str, *, block_exits: bool = False) -> dict[str, Any]:
        """Engages a kill switch: `all`, `strategy:ID`, `instrument:ID` or `venue:ID`."""
        body = {"scope": scope, "reason": reason, "block_exits": block_exits}
        return await self.call("POST", "/v1/kill", body)

    async def rearm(self, scope: str, reason: str) -> dict[str, Any]:
        """Releases a kill switch."""
        return await self.call("POST", "/v1/kill/rearm", {"scope": scope, "reason": reason})

    async def approvals(self) -> dict[str, Any]:
        """The orders that wait for a person."""
        return await self.call("GET", "/v1/approvals")

    async def approve(self, strategy: str, order_id: str, reason: str) -> dict[str, Any]:
        """Approves one order; the engine then asks again with the same id."""
        path = f"/v1/approvals/{_part(strategy)}/{_part(order_id)}/approve"
        return await self.call("POST", path, {"reason": reason})

    async def decline(self, strategy: str, order_id: str, reason: str) -> dict[str, Any]:
        """Declines one order."""
        path = f"/v1/approvals/{_part(strategy)}/{_part(order_id)}/decline"
        return await self.call("POST", path, {"reason": reason})


def _part(text: str) -> str:
    return quote(text, safe="")


def _failure(error: BaseException) -> tuple[str, str]:
    """A code and a sentence for whatever went wrong."""
    if isinstance(error, ProblemError):
        return error.code, error.detail
    if isinstance(error, (asyncio.TimeoutError, TimeoutError, httpx.TimeoutException)):
        return "CLIENT_TIMEOUT", "no answer came in time"
    if isinstance(error, wire.UnknownAction):
        return "CLIENT_ACTION_UNKNOWN", str(error)
    if isinstance(error, wire.Malformed):
        return "CLIENT_ANSWER_MALFORMED", str(error)
    if isinstance(error, httpx.HTTPError):
        return "CLIENT_UNREACHABLE", str(error) or type(error).__name__
    if isinstance(error, (ValueError, TypeError)):
        return "CLIENT_ORDER_INVALID", str(error)
    return "CLIENT_FAULT", repr(error)


def _problem(value: Any, status: int) -> EphorError:
    if not isinstance(value, dict) or not isinstance(value.get("code"), str):
        return Unreachable("CLIENT_ANSWER_MALFORMED", f"status {status} without a problem")
    given = value.get("status", status)
    return ProblemError(given if isinstance(given, int) else status, value["code"], str(value.get("detail", "")), value.get("field"))


def _problem_of(status: int, text: bytes) -> Exception:
    try:
        problem = _problem(wire.loads(text), status)
    except wire.Malformed:
        problem = _problem(None, status)
    if isinstance(problem, ProblemError):
        return problem
    return ProblemError(status, "CLIENT_ANSWER_MALFORMED", f"status {status} without a problem")


async def _bounded(response: httpx.Response) -> bytes:
    """The body, of bounded size."""
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > ANSWER_BYTES_MAX:
            raise wire.Malformed(f"the answer has more than {ANSWER_BYTES_MAX} bytes")
    return bytes(body)


async def _server_sent(response: httpx.Response) -> AsyncIterator[Event]:
    """Events of a stream; one that is cut in the middle is not taken."""
    data: list[str] = []
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield wire.event_of("\n".join(data))
            data = []


async def _each(reports: Union[Iterable[Report], AsyncIterable[Report]]) -> AsyncIterator[Report]:
    if isinstance(reports, AsyncIterable):
        async for report in reports:
            yield report
        return
    for report in reports:
        yield report
