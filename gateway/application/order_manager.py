"""OrderManager: the projection of the journal, and the one owner of an order's state.

Promises: an order changes by a journaled event alone, in the order of the journal; replaying the journal gives the
same orders. What the venue reports, twice, late or out of order, becomes each event once. Orders that came from
outside are adopted; ours that an earlier life of the journal sent are recognized by their id and attributed. Leaves
to the engine what is sent, and to the reconciler what is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final
from weakref import WeakValueDictionary

import structlog

from gateway.application.order_index import KeyEntry, OrderIndex, split_venue_client_id
from gateway.application.order_log import OrderLog
from gateway.domain.errors import JournalUnavailable, OrderNotFound
from gateway.domain.interfaces import OrderJournal
from gateway.domain.models.market_data import Page
from gateway.domain.models.orders import (
    JournalEvent,
    Order,
    OrderEventKind,
    OrderFilter,
    OrderRef,
    OrderSpec,
    VenueOrder,
)
from gateway.domain.order_lifecycle import apply, leg_order_id, leg_role_of, spec_from_venue_order
from gateway.domain.types import OrderClass, venue_client_order_id
from gateway.domain.venue_reports import Report, before_fill, interpret, same_order

ORDERS_MAX: Final = 200_000
PARKED_MAX: Final = 1_024
REPLAY_PAGE: Final = 512
_ORDER_IDS: Final = b"order_id"

_log = structlog.get_logger(__name__)

Listener = Callable[[JournalEvent, Order], None]


def order_id_of(venue_client_order_id: str) -> str:
    """The gateway's id of an order: the same in every life of the journal."""
    text = hashlib.blake2b(venue_client_order_id.encode(), digest_size=16, person=_ORDER_IDS).hexdigest()
    # Spelled as a UUID of version 8, "made by the application's own method".
    return f"{text[:8]}-{text[8:12]}-8{text[13:16]}-a{text[17:20]}-{text[20:]}"


class OrderManager:
    """Orders in memory.

    Args:
        journal: Replayed when this is made.
        wall: Nanoseconds since the Unix epoch.
        orders_max: At the limit new orders are refused; old ones are never dropped.
    """

    def __init__(self, journal: OrderJournal, wall: Callable[[], int], orders_max: int = ORDERS_MAX) -> None:
        self._journal = journal
        self._wall = wall
        self._orders_max = orders_max
        self._index = OrderIndex()
        self._listeners: list[Listener] = []
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._adoption = asyncio.Lock()
        self._parked: deque[Report] = deque(maxlen=PARKED_MAX)
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self.log = OrderLog(journal)
        for event in _replayed(journal):
            self._take(event)

    # Questions.

    def get(self, ref: OrderRef) -> Order:
        """One order by any of its ids.

        Raises:
            OrderNotFound: No such order.
        """
        order_id: str | None = ref.order_id
        if ref.client_order_id:
            entry = self._index.key(ref.strategy_id, ref.client_order_id)
            order_id = entry.order_id if entry is not None else None
        elif ref.venue_order_id:
            order_id = self._index.order_id_at_venue(ref.venue_order_id)
        order = self._index.order(order_id) if order_id else None
        if order is None:
            raise OrderNotFound("No such order.")
        return order

    def order(self, order_id: str) -> Order:
        """One order that is known to exist."""
        order = self._index.order(order_id)
        assert order is not None
        return order

    def find_by_venue_id(self, venue_order_id: str) -> Order:
        """The order that a venue order stands for; raises OrderNotFound."""
        return self.get(OrderRef(venue_order_id=venue_order_id))

    def legs(self, order: Order) -> tuple[Order, ...]:
        """Its legs, take-profit first."""
        if not order.leg_order_ids:
            return ()
        return tuple(leg for order_id in order.leg_order_ids if (leg := self._index.order(order_id)) is not None)

    def list(self, wanted: OrderFilter, page_size: int, page_token: str) -> Page[Order]:
        """One page, newest first unless asked otherwise; `page_size` 0 is the default, above the maximum it is cut.

        Raises:
            PageTokenMismatch: The token belongs to another list.
        """
        return self._index.page(wanted, page_size, page_token)

    def key(self, strategy_id: str, client_order_id: str) -> KeyEntry | None:
        """What a key stands for; None when it is free."""
        return self._index.key(strategy_id, client_order_id)

    def open_orders(self, strategy_id: str | None = None) -> Sequence[Order]:
        """Every order that may still change: of a strategy, or of the account."""
        found = (self.order(order_id) for order_id in self._index.open_ids())
        return [order for order in found if strategy_id is None or order.strategy_id == strategy_id]

    def open_in(self, symbol: str) -> Iterator[Order]:
        """The orders in a symbol that may still change."""
        return self._index.open_in(symbol)

    @property
    def open_count(self) -> int:
        """How many orders may still change."""
        return self._index.open_count

    def check_room(self) -> None:
        """Refuse a new order when there is no room to remember it.

        Raises:
            JournalUnavailable: The limit is reached.
        """
        if len(self._index) >= self._orders_max:
            raise JournalUnavailable("The gateway remembers as many orders as it may; nothing was sent.")

    # Changes.

    def add_listener(self, listener: Listener) -> None:
        """Tell somebody of every event; it must neither block nor raise."""
        self._listeners.append(listener)

    async def record(self, events: Sequence[JournalEvent]) -> Order:
        """Journal events together, then let them happen; the order after the last.

        Called from tasks that the application owns: an append that was begun must be seen to its end.

        Raises:
            JournalUnavailable: Nothing was recorded.
        """
        order: Order | None = None
        for event in await self._journal.append(events):
            order = self._take(event)
        assert order is not None
        return order

    def family_lock(self, order: Order) -> asyncio.Lock:
        """Held while events of an order or its legs are worked out and recorded: one after the other."""
        root_id = order.parent_order_id or order.order_id
        lock = self._locks.get(root_id)
        if lock is None:
            lock = self._locks[root_id] = asyncio.Lock()
        return lock

    async def observe(self, report: Report, *, park: bool = True) -> Order | None:
        """Take in what the venue says of one order.

        Args:
            report: From the feed or from a read.
            park: Keep a report of what may be a leg of an order that is still in flight, instead of adopting it.

        Returns:
            The order after it; None when the report was parked.
        """
        order = self._find(report.venue_order)
        if order is None:
            if park and self._may_be_leg(report.venue_order):
                self._parked.append(report)
                return None
            async with self._adoption:
                order = self._find(report.venue_order) or await self._adopt(report)
        async with self.family_lock(order):
            events = interpret(self.order(order.order_id), report)
            if events:
                await self.record(events)
        if report.venue_order.legs:
            await self._observe_legs(order.order_id, report)
        return self.order(order.order_id)

    async def release_parked(self, *, adopt: bool) -> int:
        """Look at the parked reports again; what still has no home is adopted or stays parked."""
        waiting = list(self._parked)
        self._parked.clear()
        for report in waiting:
            await self.observe(report, park=not adopt)
        return len(waiting)

    @property
    def parked_count(self) -> int:
        """Reports that wait for their parent."""
        return len(self._parked)

    async def wait_for_change(self, order_id: str, timeout_s: float) -> bool:
        """Wait for the next event of an order; False when none came in time."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(order_id, []).append(future)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return False
        finally:
            self._forget(order_id, future)
        return True

    def _forget(self, order_id: str, future: asyncio.Future[None]) -> None:
        waiters = self._waiters.get(order_id)
        if waiters is not None:
            with suppress(ValueError):
                waiters.remove(future)
            if not waiters:
                del self._waiters[order_id]

    def _take(self, event: JournalEvent) -> Order:
        before = self._index.order(event.order_id)
        order = apply(before, event)
        self._index.put(order)
        self._note_key(event)
        self.log.note(event, order)
        for listener in self._listeners:
            listener(event, order)
        for future in self._waiters.pop(event.order_id, ()):
            if not future.done():
                future.set_result(None)
        return order

    def _note_key(self, event: JournalEvent) -> None:
        if event.kind is OrderEventKind.RECORDED:
            key = event.request.client_order_id if event.request is not None else event.client_order_id
            if key:
                self._index.set_key(event.strategy_id, key, KeyEntry(event.order_id, event.fingerprint))
        elif event.kind is OrderEventKind.REPLACE_REQUESTED and event.client_order_id:
            self._index.set_key(event.strategy_id, event.client_order_id, KeyEntry(event.order_id, event.fingerprint))
        elif event.kind is OrderEventKind.REPLACE_REJECTED and event.client_order_id:
            entry = self._index.key(event.strategy_id, event.client_order_id)
            if entry is not None:
                entry.failure = event.failure

    def _find(self, venue_order: VenueOrder) -> Order | None:
        """The order that a venue order stands for: by its id, by its chain, then by the id it was sent under."""
        index = self._index
        order_id = index.order_id_at_venue(venue_order.venue_order_id)
        if order_id is None and venue_order.replaces:
            order_id = index.order_id_at_venue(venue_order.replaces)
        if order_id is None and venue_order.replaced_by:
            order_id = index.order_id_at_venue(venue_order.replaced_by)
        if order_id is not None:
            return index.order(order_id)
        named = split_venue_client_id(venue_order.venue_client_order_id)
        entry = index.key(*named) if named is not None else None
        order = index.order(entry.order_id) if entry is not None else None
        if order is None or order.pending_replace_id == venue_order.venue_client_order_id:
            return order
        is_expected = not order.venue_orders and same_order(order.spec, venue_order)
        return order if is_expected else None

    def _may_be_leg(self, venue_order: VenueOrder) -> bool:
        """Legs come under ids that the venue makes: only their parent's answer tells whose they are."""
        if venue_order.order_class in (None, OrderClass.SIMPLE):
            return False
        return split_venue_client_id(venue_order.venue_client_order_id) is None

    async def _adopt(self, report: Report) -> Order:
        venue_order = before_fill(report)
        named = split_venue_client_id(venue_order.venue_client_order_id)
        order_id = order_id_of(venue_order.venue_client_order_id if named else f"venue:{venue_order.venue_order_id}")
        strategy_id, key = named or ("", "")
        if named is not None and self._index.order(order_id) is not None:
            # The key's own order turned out not to be the one at the venue: the venue's order takes the key over.
            _log.error("id_collision", venue_order_id=venue_order.venue_order_id)
            order_id = order_id_of(f"venue:{venue_order.venue_order_id}")
        event = JournalEvent(
            kind=OrderEventKind.RECORDED,
            order_id=order_id,
            strategy_id=strategy_id,
            record_time_ns=report.record_time_ns,
            event_time_ns=venue_order.create_time_ns or report.record_time_ns,
            client_order_id=key,
            venue_order=venue_order,
            venue_event=report.word,
            venue_event_id=report.execution_id,
            backfill=not report.word,
        )
        return await self.record([event])

    async def _observe_legs(self, parent_order_id: str, report: Report) -> None:
        parent = self.order(parent_order_id)
        for leg in report.venue_order.legs:
            role = leg_role_of(leg)
            if role is None:
                _log.warning("leg_of_unknown_type", venue_order_id=leg.venue_order_id)
                continue
            leg_report = replace(
                report, venue_order=leg, word="", execution_id="", quantity=None, price=None, position_quantity=None
            )
            order_id = leg_order_id(parent.order_id, role)
            async with self.family_lock(parent):
                known = self._index.order(order_id)
                if known is None:
                    await self.record([_leg_recorded(parent, order_id, leg_report)])
                elif events := interpret(known, leg_report):
                    await self.record(events)


def _leg_recorded(parent: Order, order_id: str, report: Report) -> JournalEvent:
    leg = report.venue_order
    return JournalEvent(
        kind=OrderEventKind.RECORDED,
        order_id=order_id,
        strategy_id=parent.strategy_id,
        record_time_ns=report.record_time_ns,
        event_time_ns=leg.create_time_ns or report.record_time_ns,
        parent_order_id=parent.order_id,
        leg_role=leg_role_of(leg),
        venue_order=leg,
        backfill=report.backfill,
    )


def _replayed(journal: OrderJournal) -> Iterator[JournalEvent]:
    after = journal.oldest - 1
    while events := journal.read(after, REPLAY_PAGE):
        yield from events
        after = events[-1].sequence


def sent_under(order: Order, client_order_id: str) -> OrderSpec | None:
    """What the venue was sent under a key of an order, as far as the venue knows it; None when it knows none."""
    venue_id = venue_client_order_id(order.strategy_id, client_order_id)
    sent = next((known for known in order.venue_orders if known.venue_client_order_id == venue_id), None)
    if sent is None:
        return None
    legs: dict[str, Any] = {"take_profit": order.spec.take_profit, "stop_loss": order.spec.stop_loss}
    if order.spec.order_class is OrderClass.OCO:
        legs["limit_price"] = None
    return replace(spec_from_venue_order(sent), **legs)
