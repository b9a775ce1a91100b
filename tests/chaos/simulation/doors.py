"""The doors of the gateway as clients see them: calls that travel, deadlines, and what is left of both after a crash.

Every call and every message is written into the history, as a client would have to.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from gateway.application.commands import CancelScope, CloseRequest, ReplaceRequest, Submitted
from gateway.application.kill_switch import KillSwitch
from gateway.application.order_manager import OrderManager
from gateway.application.order_updates import OrderUpdates, Step, StreamStart
from gateway.application.resume_tokens import Book
from gateway.application.trading_engine import TradingEngine
from gateway.application.trading_state import TradingStates
from gateway.application.workflows import TradingWorkflow
from gateway.domain.errors import GatewayError
from gateway.domain.models.orders import OrderRef, OrderRequest
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import CallContext, Caller
from tests.chaos.history import HistoryWriter
from tests.chaos.simulation.life import Life
from tests.chaos.simulation.loop import VirtualLoop
from tests.chaos.simulation.words import (
    Json,
    answer_words,
    close_call,
    error_words,
    message_words,
    other_call,
    replace_call,
    submit_call,
    transport_words,
)

TRAVEL_S: Final = (0.000_1, 0.003)
"""Between a client and the gateway, one way, seconds."""
HEARTBEAT_MS: Final = 5_000
DEADLINE_S: Final = 10.0
KILL_WAIT_S: Final = 5.0
UNKNOWN_CODES: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL", "UNKNOWN"})
"""After these a client asks again, with the same key."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """What one life of the process serves."""

    life: Life
    engine: TradingEngine
    workflow: TradingWorkflow
    updates: OrderUpdates
    orders: OrderManager
    states: TradingStates
    kill: KillSwitch


class Notebook(HistoryWriter):
    """A history that stays in memory."""

    def __init__(self, client: str, lines: list[Json]) -> None:  # no file, so not the parent's
        self.client = client
        self._client = client
        self._life = "1"
        self._count = 0
        self._lines = lines

    def _new_id(self) -> str:
        self._count += 1
        return f"{self._client}/{self._count}"

    def _write(self, line: Json) -> None:
        self._lines.append(line)

    def close(self) -> None:
        """Nothing to close."""


class Doors:
    """The address at which the gateway is reached, whichever life of it stands there.

    Args:
        bugs: Told of everything that leaves as INTERNAL.

    Attributes:
        gateway: None while no process stands there.
        tap: May change what a client is told, before it is written down: planted bugs do.
    """

    def __init__(self, loop: VirtualLoop, random: Random, bugs: list[str]) -> None:
        self.loop = loop
        self.gateway: Gateway | None = None
        self.calls_in_flight = 0
        self._random = random
        self._bugs = bugs

    async def submit(self, notes: Notebook, request: OrderRequest, timeout_s: float = DEADLINE_S) -> Json:
        """SubmitOrder."""

        async def work(gateway: Gateway, call: CallContext) -> Json:
            return _submitted(await gateway.engine.submit(request, call))

        return await self._call(notes, submit_call(request), work, timeout_s)

    async def replace(self, notes: Notebook, request: ReplaceRequest, timeout_s: float = DEADLINE_S) -> Json:
        """ReplaceOrder."""

        async def work(gateway: Gateway, call: CallContext) -> Json:
            return _submitted(await gateway.engine.replace(request, call))

        return await self._call(notes, replace_call(request), work, timeout_s)

    async def close(self, notes: Notebook, request: CloseRequest, timeout_s: float = DEADLINE_S) -> Json:
        """ClosePosition."""

        async def work(gateway: Gateway, call: CallContext) -> Json:
            return _submitted(await gateway.workflow.close_position(request, call))

        return await self._call(notes, close_call(request), work, timeout_s)

    async def cancel(self, notes: Notebook, strategy_id: str, key: str, wait_ms: int = 0) -> Json:
        """CancelOrder."""
        ref = OrderRef(client_order_id=key, strategy_id=strategy_id)

        async def work(gateway: Gateway, call: CallContext) -> Json:
            return answer_words((await gateway.engine.cancel(ref, wait_ms, call)).order)

        return await self._call(notes, other_call("CancelOrder", strategy_id, order=key), work, DEADLINE_S)

    async def cancel_all(self, notes: Notebook, strategy_id: str | None) -> Json:
        """CancelOrders."""

        async def work(gateway: Gateway, call: CallContext) -> Json:
            await gateway.engine.cancel_orders(CancelScope(strategy_id), call)
            return answer_words(None)

        return await self._call(notes, other_call("CancelOrders", strategy_id or ""), work, DEADLINE_S)

    async def get(self, notes: Notebook, strategy_id: str, key: str) -> Json:
        """GetOrder."""
        ref = OrderRef(client_order_id=key, strategy_id=strategy_id)

        async def work(gateway: Gateway, call: CallContext) -> Json:
            return answer_words(gateway.orders.get(ref))

        return await self._call(notes, other_call("GetOrder", strategy_id, order=key), work, DEADLINE_S)

    async def set_mode(self, notes: Notebook, mode: TradingMode, version: int | None) -> Json:
        """SetTradingState."""

        async def work(gateway: Gateway, call: CallContext) -> Json:
            state = await gateway.states.set(mode, "the simulation wants it", "operator", expected_version=version)
            if mode is TradingMode.KILLED:
                await gateway.kill.progress(KILL_WAIT_S)
            return answer_words(None) | {"version": state.version}

        return await self._call(notes, other_call("SetTradingState", "", mode=f"TRADING_MODE_{mode.name}"), work, 10.0)

    async def get_mode(self, notes: Notebook) -> Json:
        """GetTradingState."""

        async def work(gateway: Gateway, call: CallContext) -> Json:
            state = gateway.states.current
            return answer_words(None) | {"version": state.version, "mode": state.mode.name}

        return await self._call(notes, other_call("GetTradingState", ""), work, DEADLINE_S)

    async def stream(
        self, notes: Notebook, book: str | None, kind: str, start: StreamStart, token: str, hear: Callable[[Step], bool]
    ) -> Json:
        """StreamOrderUpdates, until it ends or `hear` says that it is enough; how it ended."""
        stream_id = notes.stream_json(book or "account", kind, token, start_ns=self.loop.wall())
        await asyncio.sleep(self._random.uniform(*TRAVEL_S))
        gateway = self.gateway
        if gateway is None:
            answer = transport_words("UNAVAILABLE")
        else:
            answer = await _Listening(self, gateway, notes, stream_id, hear).run(
                gateway.updates.follow(Book(book), start, HEARTBEAT_MS)
            )
        notes.stream_ended(stream_id, answer, time_ns=self.loop.wall())
        return answer

    async def _call(
        self,
        notes: Notebook,
        call: Json,
        work: Callable[[Gateway, CallContext], Coroutine[Any, Any, Json]],
        timeout_s: float,
    ) -> Json:
        loop = self.loop
        deadline_ns = loop.wall() + round(timeout_s * 1e9)
        call_id = notes.call_json(call, start_ns=loop.wall(), deadline_ns=deadline_ns)
        self.calls_in_flight += 1
        try:
            answer = await self._travel(call["rpc"], bool(call["client_order_id"]), work, loop.time() + timeout_s)
        finally:
            self.calls_in_flight -= 1
        notes.returned(call_id, answer, end_ns=loop.wall())
        return answer

    async def _travel(
        self,
        rpc: str,
        carries_key: bool,
        work: Callable[[Gateway, CallContext], Coroutine[Any, Any, Json]],
        deadline: float,
    ) -> Json:
        await asyncio.sleep(self._random.uniform(*TRAVEL_S))
        gateway = self.gateway
        if gateway is None:
            return transport_words("UNAVAILABLE")
        life = gateway.life
        life.crash_point(f"call:{rpc}")
        if life.is_dead:
            return transport_words("UNAVAILABLE")
        reply: asyncio.Future[Json] = self.loop.create_future()
        context = CallContext(Caller(), deadline)
        handler = life.begin(self._handle(rpc, carries_key, work(gateway, context), life, reply))
        mourner = life.mourn(lambda: _reply(reply, transport_words("UNAVAILABLE")))
        timer = self.loop.call_at(deadline, _give_up, handler, reply)
        try:
            return await reply
        finally:
            timer.cancel()
            life.comfort(mourner)
            if not handler.done():
                handler.cancel()  # gRPC ends a handler whose caller has gone

    async def _handle(
        self, rpc: str, carries_key: bool, work: Coroutine[Any, Any, Json], life: Life, reply: asyncio.Future[Json]
    ) -> None:
        try:
            answer = await work
        except GatewayError as error:
            answer = error_words(error, carries_key=carries_key)
        except Exception as error:
            self._bugs.append(f"{rpc} left as INTERNAL: {where(error)}")
            answer = transport_words("INTERNAL")
        life.at(f"reply:{rpc}")
        life.later(self._random.uniform(*TRAVEL_S), _reply, reply, answer)
        life.at(f"replied:{rpc}")


class _Listening:
    """One stream: what the process has written and the client has not read yet dies with the process."""

    def __init__(
        self, doors: Doors, gateway: Gateway, notes: Notebook, stream_id: str, hear: Callable[[Step], bool]
    ) -> None:
        self._doors = doors
        self._gateway = gateway
        self._notes = notes
        self._stream_id = stream_id
        self._hear = hear
        self._written: deque[Step] = deque()
        self._ended: Json | None = None
        self._is_flushing = False
        self._over: asyncio.Future[Json] = doors.loop.create_future()

    async def run(self, steps: AsyncIterator[Step]) -> Json:
        """Until it is over."""
        life = self._gateway.life
        writer = life.begin(self._write(steps))
        mourner = life.mourn(lambda: _reply(self._over, transport_words("UNAVAILABLE")))
        try:
            return await self._over
        finally:
            life.comfort(mourner)
            writer.cancel()

    async def _write(self, steps: AsyncIterator[Step]) -> None:
        try:
            async for step in steps:
                self._written.append(step)
                self._flush_soon()
        except GatewayError as error:
            self._ended = error_words(error, carries_key=False)
        except Exception as error:
            self._doors._bugs.append(f"a stream left as INTERNAL: {where(error)}")
            self._ended = transport_words("INTERNAL")
        else:
            self._ended = transport_words("OK")
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            self._gateway.life.later(self._doors._random.uniform(*TRAVEL_S), self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        while self._written and not self._over.done():
            self._gateway.life.crash_point("message")
            if self._gateway.life.is_dead:
                return
            step = self._written.popleft()
            self._notes.message_json(self._stream_id, message_words(step), time_ns=self._doors.loop.wall())
            if not self._hear(step):
                _reply(self._over, transport_words("CANCELLED"))
        if self._ended is not None:
            _reply(self._over, self._ended)


def where(error: object) -> str:
    """An exception and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__) if isinstance(error, BaseException) else []
    line = f" in {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{error!r}{line}"


def _submitted(submitted: Submitted) -> Json:
    return answer_words(submitted.order, replayed=submitted.replayed)


def _reply(reply: asyncio.Future[Json], answer: Json) -> None:
    if not reply.done():
        reply.set_result(answer)


def _give_up(handler: asyncio.Task[Any], reply: asyncio.Future[Json]) -> None:
    handler.cancel()
    _reply(reply, transport_words("DEADLINE_EXCEEDED"))
