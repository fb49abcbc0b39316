"""The client for programs without asyncio: the asynchronous one, on a thread of its own.

So a time-out holds for the whole question, however slowly an answer trickles in, and there is one way to ask, not two.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType
from typing import Any, Optional, TypeVar, Union

from ephor_client.asynchronous import AsyncClient
from ephor_client.errors import GateUnavailable
from ephor_client.model import Decision, Event, Order, Report, Result

T = TypeVar("T")

GRACE_SECONDS = 0.5
"""How long beyond its time-out an answer may take to come over from the thread."""


class Client:
    """Asks one service; see `AsyncClient`. May be used from many threads; not over a fork."""

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
        self._asked = AsyncClient(url, key, timeout=timeout, raise_on_failure=raise_on_failure, verify=verify)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ephor-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes every connection. A question after that is answered with a block."""
        if self._loop.is_closed():
            return
        self._wait(self._asked.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, question: Coroutine[Any, Any, T], seconds: Optional[float] = None) -> T:
        try:
            future = asyncio.run_coroutine_threadsafe(question, self._loop)
        except RuntimeError:
            question.close()
            raise
        try:
            return future.result(seconds)
        except FutureTimeout:
            future.cancel()
            raise

    def _decided(self, question: Coroutine[Any, Any, list[Decision]], orders: Sequence[Order]) -> list[Decision]:
        # What the asynchronous client cannot catch: its thread does not answer, or has ended.
        batches = max(1, -(-len(orders) // 256))
        try:
            return self._wait(question, batches * self._timeout + GRACE_SECONDS)
        except GateUnavailable:
            raise
        except Exception as error:
            late = isinstance(error, (FutureTimeout, TimeoutError))
            code, detail = ("CLIENT_TIMEOUT", "no answer came in time") if late else ("CLIENT_FAULT", repr(error))
            if self._raise:
                raise GateUnavailable(code, detail) from error
            return [Decision.blocked(code, detail, order.order_id, order.strategy_id) for order in orders]

    def check(self, order: Order) -> Decision:
        """May this order go out, and how large? Whatever goes wrong, the answer is a block."""

        async def one() -> list[Decision]:
            return [await self._asked.check(order)]

        return self._decided(one(), [order])[0]

    def check_many(self, orders: Sequence[Order]) -> list[Decision]:
        """Several orders; a decision for each, at its place."""
        return self._decided(self._asked.check_many(orders), orders)

    def report(self, report: Report) -> Result:
        """Reports one thing."""
        return self._wait(self._asked.report(report))

    def report_many(self, reports: Iterable[Report]) -> Iterator[Result]:
        """Reports many things; a result for each, in order."""
        return self._each(self._asked.report_many(reports))

    def events(
        self, from_seq: int = 1, *, strategy: Optional[str] = None, type: Optional[str] = None
    ) -> Iterator[Event]:
        """What is recorded, from `from_seq` on and as it comes; never ends by itself."""
        return self._each(self._asked.events(from_seq, strategy=strategy, type=type))

    def _each(self, found: AsyncIterator[T]) -> Iterator[T]:
        async def following() -> T:
            return await found.__anext__()

        async def close() -> None:
            ended = getattr(found, "aclose", None)
            if ended is not None:
                await ended()

        try:
            while True:
                try:
                    yield self._wait(following())
                except StopAsyncIteration:
                    return
        finally:
            if not self._loop.is_closed():
                self._wait(close())

    def call(self, method: str, path: str, body: Optional[Mapping[str, Any]] = None) -> dict[str, Any]:
        """Any other route of the service."""
        return self._wait(self._asked.call(method, path, body))

    def set_level(self, strategy: str, to: str, reason: str, *, without_evidence: bool = False) -> dict[str, Any]:
        """Raises or lowers a strategy."""
        return self._wait(self._asked.set_level(strategy, to, reason, without_evidence=without_evidence))

    def pause(self, strategy: str, reason: str) -> dict[str, Any]:
        """Lets a strategy stand still."""
        return self._wait(self._asked.pause(strategy, reason))

    def resume(self, strategy: str, reason: str) -> dict[str, Any]:
        """Lets a strategy go on."""
        return self._wait(self._asked.resume(strategy, reason))

    def kill(self, scope: str, reason: str, *, block_exits: bool = False) -> dict[str, Any]:
        """Engages a kill switch."""
        return self._wait(self._asked.kill(scope, reason, block_exits=block_exits))

    def rearm(self, scope: str, reason: str) -> dict[str, Any]:
        """Releases a kill switch."""
        return self._wait(self._asked.rearm(scope, reason))

    def approvals(self) -> dict[str, Any]:
        """The orders that wait for a person."""
        return self._wait(self._asked.approvals())

    def approve(self, strategy: str, order_id: str, reason: str) -> dict[str, Any]:
        """Approves one order."""
        return self._wait(self._asked.approve(strategy, order_id, reason))

    def decline(self, strategy: str, order_id: str, reason: str) -> dict[str, Any]:
        """Declines one order."""
        return self._wait(self._asked.decline(strategy, order_id, reason))
