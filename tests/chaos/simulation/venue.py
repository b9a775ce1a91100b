"""The road between the gateway and the exchange: requests take time, and what can happen to them happens.

What has left arrives, whatever becomes of the process that sent it. Promises to raise what the Alpaca adapters raise:
`VenueUnreachable` when nothing left, `OutcomeUnknown` for everything that proves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from gateway.domain.errors import (
    GatewayError,
    OrderRejected,
    OutcomeUnknown,
    VenueRateLimited,
    VenueUnreachable,
)
from gateway.domain.interfaces import RequestGate, VenueOrderFilter
from gateway.domain.models.account import Account, Activity, Position
from gateway.domain.models.market_data import Page
from gateway.domain.models.orders import OrderChanges, OrderSpec, VenueOrder
from gateway.domain.types import CallContext
from gateway.emulator.in_process import InProcessVenue
from tests.chaos.simulation.journal import Disk, driven
from tests.chaos.simulation.ledger import Json, RecordB, spec_in_alpacas_words
from tests.chaos.simulation.life import Life
from tests.chaos.simulation.weather import Fault, Weather

OUT_S: Final = (0.000_5, 0.030)
"""From the first byte to the exchange, seconds."""
BACK_S: Final = (0.000_5, 0.030)
READ_TIMEOUT_S: Final = 5.0
SLOW_S: Final = (1.0, 4.5)
LATE_S: Final = (1.0, 40.0)
AFTER_SETTLE_S: Final = (62.0, 100.0)
"""Later than anybody believes: the order was called absent, and turns up."""
OUTAGE_S: Final = (1.0, 15.0)
OUTAGE_RARITY: Final = 4
BLIND_S: Final = 20.0
"""For so long after it was taken an order may not be found."""
HELD_BACK_S: Final = (0.2, 6.0)
"""Between the decision to send and the first byte."""
RETRY_AFTER_MS: Final = (50, 200, 900)
SLOW_REJECTS: Final = 0.3
"""Of the refusals, those that come after the caller was told that the order is under way."""
MUTE_PATCH: Final = "PATCH /v2/orders/"

T = TypeVar("T")

_UNKNOWN_AT_ONCE: Final = frozenset({Fault.SERVER_ERROR, Fault.SERVER_ERROR_AFTER})
_NEVER_ARRIVES: Final = frozenset({Fault.LOST_BEFORE, Fault.SERVER_ERROR})


class UnreadableAnswer(TypeError):
    """What a library may raise after the venue took an order; the engine must not believe that it failed."""


@dataclass(slots=True)
class Exchange:
    """What all lives share.

    Attributes:
        outage_until: Until then no question is answered; loop seconds.
        blind_until: When an order can be found, by its client's id; loop seconds.
    """

    venue: InProcessVenue
    record: RecordB
    weather: Weather
    disk: Disk
    loop: asyncio.AbstractEventLoop
    blind_until: dict[str, float]
    outage_until: float = 0.0

    def fire(self, fault: Fault) -> None:
        """A fault has struck."""
        self.weather.fired[fault] += 1
        self.record.fault(fault.value)


class Road:
    """`TradingRepository` and `AccountRepository` of one life."""

    def __init__(self, exchange: Exchange, life: Life, gate: Callable[[], RequestGate]) -> None:
        self._exchange = exchange
        self._life = life
        self._gate = gate
        self._loop = exchange.loop
        self._random = exchange.weather.random
        self._inner = exchange.venue
        self._sent_before: dict[str, None] = {}

    # Changes.

    async def submit_order(self, context: CallContext, venue_client_order_id: str, spec: OrderSpec) -> VenueOrder:
        """POST /v2/orders."""
        body = spec_in_alpacas_words(spec, venue_client_order_id)
        trading = self._inner.trading

        def act() -> Coroutine[Any, Any, VenueOrder]:
            return trading.submit_order(context, venue_client_order_id, spec)

        return await self._change(context, "POST /v2/orders", venue_client_order_id, body, act)

    async def replace_order(
        self, context: CallContext, venue_order_id: str, venue_client_order_id: str, changes: OrderChanges
    ) -> VenueOrder:
        """PATCH /v2/orders/{id}."""
        trading = self._inner.trading

        def act() -> Coroutine[Any, Any, VenueOrder]:
            return trading.replace_order(context, venue_order_id, venue_client_order_id, changes)

        route = f"{MUTE_PATCH}{venue_order_id}"
        return await self._change(context, route, venue_client_order_id, {}, act)

    async def cancel_order(self, context: CallContext, venue_order_id: str) -> None:
        """DELETE /v2/orders/{id}."""
        route = f"DELETE /v2/orders/{venue_order_id}"
        await self._change(context, route, "", {}, lambda: self._inner.trading.cancel_order(context, venue_order_id))

    async def cancel_all_orders(self, context: CallContext) -> Any:
        """DELETE /v2/orders."""
        trading = self._inner.trading
        return await self._change(context, "DELETE /v2/orders", "", {}, lambda: trading.cancel_all_orders(context))

    # Questions.

    async def get_order(self, context: CallContext, venue_order_id: str) -> VenueOrder:
        """GET /v2/orders/{id}."""
        return await self._ask(context, lambda: self._inner.trading.get_order(context, venue_order_id))

    async def find_order(self, context: CallContext, venue_client_order_id: str) -> VenueOrder | None:
        """GET /v2/orders:by_client_order_id, which may not show for a while what was taken."""

        async def find() -> VenueOrder | None:
            if self._is_hidden(venue_client_order_id):
                self._exchange.fire(Fault.BLIND_LOOKUP)
                return None
            return await self._inner.trading.find_order(context, venue_client_order_id)

        return await self._ask(context, find)

    async def list_orders(
        self,
        context: CallContext,
        status: VenueOrderFilter,
        *,
        after_ns: int | None = None,
        until_ns: int | None = None,
        oldest_first: bool = False,
        limit: int = 500,
    ) -> list[VenueOrder]:
        """GET /v2/orders."""
        list_orders = self._inner.trading.list_orders
        bounds = {"after_ns": after_ns, "until_ns": until_ns}
        return await self._ask(
            context,
            lambda: list_orders(context, status, **bounds, oldest_first=oldest_first, limit=limit),
        )

    async def get_account(self, context: CallContext) -> Account:
        """GET /v2/account."""
        return await self._ask(context, lambda: self._inner.account.get_account(context))

    async def list_positions(self, context: CallContext) -> list[Position]:
        """GET /v2/positions."""
        return await self._ask(context, lambda: self._inner.account.list_positions(context))

    async def list_fill_activities(
        self, context: CallContext, *, after_ns: int | None = None, page_token: str = "", page_size: int = 100
    ) -> Page[Activity]:
        """GET /v2/account/activities."""
        fills = self._inner.account.list_fill_activities
        return await self._ask(
            context, lambda: fills(context, after_ns=after_ns, page_token=page_token, page_size=page_size)
        )

    # How they travel.

    async def _change(
        self,
        context: CallContext,
        route: str,
        client_id: str,
        body: Json,
        act: Callable[[], Coroutine[Any, Any, T]],
    ) -> T:
        verb = route.partition(" ")[0]
        self._life.at(f"send:{verb}")
        gate = self._gate()
        gate.admit(context.lane)
        fault = self._exchange.weather.of_change(verb)
        if fault is Fault.REFUSED:
            await self._pass(0.001)
            self._exchange.fire(fault)
            raise VenueUnreachable("connection refused")
        if fault is Fault.HELD_BACK:  # it waits for a thread or a connection, or the whole process is stopped
            self._exchange.fire(fault)
            await self._pass(self._random.uniform(*HELD_BACK_S))
            fault = None
        await self._pass(0.000_2)
        gate.permit(context)
        answer: asyncio.Future[T] = self._loop.create_future()
        head = len(self._exchange.disk.rows)
        self._depart(fault, answer, _Parcel(route, client_id, body, act, self._exchange.record.now(), head))
        self._life.at(f"sent:{verb}")
        if client_id in self._sent_before:
            self._life.at(f"resent:{verb}")
        self._sent_before[client_id] = None
        try:
            found = await answer
        except VenueRateLimited:
            self._life.at(f"limited:{verb}")
            raise
        except GatewayError:
            self._life.at(f"refused:{verb}")
            raise
        except Exception:
            self._life.at(f"lost:{verb}")
            raise
        self._life.at(f"answered:{verb}")
        if fault is Fault.UNREADABLE_ANSWER:
            raise UnreadableAnswer if verb != "DELETE" else OutcomeUnknown("an answer that nobody can read")
        return found

    def _depart(self, fault: Fault | None, answer: asyncio.Future[T], parcel: _Parcel[T]) -> None:
        """The bytes have left: whoever sent them, they arrive when they arrive."""
        out_s = self._random.uniform(*OUT_S)
        timeout_s = READ_TIMEOUT_S
        if fault is Fault.LATE:
            out_s = self._random.uniform(*LATE_S)
            timeout_s = self._random.choice((0.05, READ_TIMEOUT_S))
        if fault is Fault.AFTER_SETTLE:
            out_s = self._random.uniform(*AFTER_SETTLE_S)
        if fault in _UNKNOWN_AT_ONCE or (
            fault in (Fault.LOST_BEFORE, Fault.LOST_AFTER) and self._random.random() < 0.7
        ):
            timeout_s = out_s + self._random.uniform(*BACK_S)
        if fault in _NEVER_ARRIVES:
            self._exchange.fire(fault)
        else:
            self._loop.call_later(out_s, self._arrive, fault, answer, parcel)
        self._loop.call_later(timeout_s, _fail, answer, OutcomeUnknown("no answer in time"))

    def _arrive(self, fault: Fault | None, answer: asyncio.Future[T], parcel: _Parcel[T]) -> None:
        exchange = self._exchange
        if fault is not None:
            exchange.fire(fault)
        if parcel.client_id:
            exchange.record.request(parcel.route, parcel.client_id, parcel.body, parcel.left_ns, parcel.head)
        back_s = self._random.uniform(*BACK_S)
        if fault is Fault.RATE_LIMITED:
            error = VenueRateLimited("the venue asks to wait", retry_after_ms=self._random.choice(RETRY_AFTER_MS))
            self._loop.call_later(back_s, _fail, answer, error)
            return
        if fault is Fault.REJECTED:
            if self._random.random() < SLOW_REJECTS:
                back_s = self._random.uniform(*SLOW_S)
            self._loop.call_later(back_s, _fail, answer, _rejected())
            return
        try:
            found = driven(parcel.act())
        except (GatewayError, OutcomeUnknown) as error:
            self._loop.call_later(back_s, _fail, answer, error)
            return
        if isinstance(found, VenueOrder):
            exchange.record.order(exchange.venue.floor.exchange.order(found.venue_order_id, nested=True))
            self._hide(parcel.client_id)
        self._life_passes(f"accepted:{parcel.route.partition(' ')[0]}")
        if fault is Fault.SLOW:
            back_s = self._random.uniform(*SLOW_S)
        if fault not in (Fault.LOST_AFTER, Fault.SERVER_ERROR_AFTER, Fault.LATE, Fault.AFTER_SETTLE):
            self._loop.call_later(back_s, _succeed, answer, found)

    async def _ask(self, context: CallContext, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self._life.at("ask")
        self._gate().admit(context.lane)
        fault = self._exchange.weather.of_read() or self._outage()
        await self._pass(self._random.uniform(*OUT_S))
        if fault is not None:
            self._exchange.fire(fault)
            if fault is Fault.READ_LIMITED:
                raise VenueRateLimited("the venue asks to wait", retry_after_ms=RETRY_AFTER_MS[1])
            raise VenueUnreachable("the question was not answered")
        try:
            found = driven(question())
        finally:
            await self._pass(self._random.uniform(*BACK_S))
        self._life.at("told")
        return found

    def _outage(self) -> Fault | None:
        """For a while no question is answered at all."""
        exchange, now = self._exchange, self._loop.time()
        weather = exchange.weather
        if now >= exchange.outage_until and weather.strikes(weather.outage_rate / OUTAGE_RARITY):
            exchange.outage_until = now + self._random.uniform(*OUTAGE_S)
        return Fault.READ_OUTAGE if now < exchange.outage_until and not weather.is_fair else None

    async def _pass(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self._life.check()

    def _life_passes(self, name: str) -> None:
        """A point that the venue passes, while the process waits."""
        if not self._life.is_dead:
            self._life.crash_point(name)

    def _hide(self, client_id: str) -> None:
        weather = self._exchange.weather
        if client_id and weather.strikes(weather.blind_rate):
            self._exchange.blind_until[client_id] = self._loop.time() + self._random.uniform(0, BLIND_S)

    def _is_hidden(self, client_id: str) -> bool:
        return self._loop.time() < self._exchange.blind_until.get(client_id, 0.0)


@dataclass(frozen=True, slots=True)
class _Parcel(Generic[T]):
    route: str
    client_id: str
    body: Json
    act: Callable[[], Coroutine[Any, Any, T]]
    left_ns: int
    head: int


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # seen: nobody may be left who waits for it


def _succeed(answer: asyncio.Future[Any], found: Any) -> None:
    if not answer.done():
        answer.set_result(found)


def _rejected() -> OrderRejected:
    metadata = {"venue_http_status": "403", "venue_code": "40310000", "venue_message": "not now"}
    return OrderRejected("the venue refused: not now", metadata=metadata)
