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
from dataclasses import replace
from decimal import Decimal
from typing import Final
from weakref import WeakValueDictionary

import structlog

from gateway.application.beginnings import Beginnings
from gateway.application.order_index import OrderIndex, split_venue_client_id
from gateway.application.order_lists import order_page
from gateway.application.order_log import TAIL_EVENTS_MAX, OrderLog
from gateway.application.order_news import OrderNews
from gateway.application.replaying import replayed
from gateway.domain.errors import JournalUnavailable, OrderNotFound
from gateway.domain.interfaces import OrderJournal
from gateway.domain.models.market_data import Page
from gateway.domain.models.orders import (
    ArchivedOrder,
    JournalEvent,
    KeyEntry,
    Order,
    OrderEventKind,
    OrderFilter,
    OrderRef,
    VenueOrder,
)
from gateway.domain.order_lifecycle import apply, leg_order_id, leg_role_of, venue_order_of
from gateway.domain.types import OrderClass
from gateway.domain.venue_reports import Report, before_fill, interpret, leg_recorded, rewound, same_order

ORDERS_MAX: Final = 200_000
PARKED_MAX: Final = 1_024
SURPLUS_PART: Final = 8
"""Beyond `orders_max` an eighth more fits, until terminal orders are archived."""
NO_SUCH_ORDER: Final = "No such order."
_ORDER_IDS: Final = b"order_id"

_log = structlog.get_logger(__name__)


def order_id_of(venue_client_order_id: str) -> str:
    """The gateway's id of an order: the same in every life of the journal."""
    text = hashlib.blake2b(venue_client_order_id.encode(), digest_size=16, person=_ORDER_IDS).hexdigest()
    # Spelled as a UUID of version 8, "made by the application's own method".
    return f"{text[:8]}-{text[8:12]}-8{text[13:16]}-a{text[17:20]}-{text[20:]}"


class OrderManager:
    """Orders in memory.

    Args:
        journal: Replayed when this is made; raises ReplayFailed.
        wall: Nanoseconds since the Unix epoch.
        orders_max: In memory. Beyond it terminal orders belong into the archive, where `get` and `key` still find
            them (`application.order_retention` moves them); new orders are refused while that does not help.
        tail_events_max: The newest events, in memory for readers of books.

    Attributes:
        adopts_whole: Orders seen for the first time begin with nothing filled, and their fills are told; before the
            journal was compared with the venue once, what is filled already is history.
        last_record_time_ns: Of the newest event in the books; None while there is none.
        on_adopted: Told of every order that was met at the venue without a row of ours, legs apart, and whether the
            id it bears as ours is another order's.
        news: Who hears of every event.
    """

    def __init__(
        self,
        journal: OrderJournal,
        wall: Callable[[], int],
        orders_max: int = ORDERS_MAX,
        tail_events_max: int = TAIL_EVENTS_MAX,
    ) -> None:
        self._journal = journal
        self._archive = journal.archive
        self._wall = wall
        self.orders_max: Final = orders_max
        self._index = OrderIndex()
        self.keys_beginning = self._index.keys_beginning  # in memory alone
        self._ended: dict[str, int] = {}  # terminal orders and their last event, those that ended first at the front
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._adoption = asyncio.Lock()
        self._beginnings = Beginnings()
        self._parked: deque[Report] = deque(maxlen=PARKED_MAX)
        self.adopts_whole = False
        self.last_record_time_ns: int | None = None
        self.on_adopted: Callable[[Order, VenueOrder, bool], None] = lambda *_: None
        self.news = OrderNews()
        self.log = OrderLog(journal, tail_events_max)
        newest = journal.read(journal.head - 1, 1) if journal.head else ()
        self._last_record_ns = newest[0].record_time_ns if newest else 0
        self._replay()

    # Questions.

    def get(self, ref: OrderRef) -> Order:
        """One order by any of its ids.

        Raises:
            OrderNotFound: No such order.
        """
        order_id: str | None = ref.order_id
        if ref.client_order_id:
            entry = self.key(ref.strategy_id, ref.client_order_id)
            order_id = entry.order_id if entry is not None else None
        elif ref.venue_order_id:
            order_id = self._id_at_venue(ref.venue_order_id)
        order = self._known(order_id) if order_id else None
        if order is None:
            raise OrderNotFound(NO_SUCH_ORDER)
        return order

    def order(self, order_id: str) -> Order:
        """One order that is known to exist."""
        order = self._known(order_id)
        assert order is not None
        return order

    def find_by_venue_id(self, venue_order_id: str) -> Order:
        """The order that a venue order stands for; raises OrderNotFound."""
        return self.get(OrderRef(venue_order_id=venue_order_id))

    def filled_at_venue(self, venue_order: VenueOrder) -> Decimal | None:
        """How much of a venue order is known to be filled; None when it stands for no order that is known."""
        order = self._find(venue_order)
        if order is None:
            return None
        known = venue_order_of(order, venue_order.venue_order_id)
        return known.filled_quantity if known is not None else Decimal(0)

    def legs(self, order: Order) -> tuple[Order, ...]:
        """Its legs, take-profit first."""
        if not order.leg_order_ids:
            return ()
        return tuple(leg for order_id in order.leg_order_ids if (leg := self._known(order_id)) is not None)

    def has_begun(self, order_id: str) -> bool:
        """Whether an order is in memory, or on its way there; `begun` waits for it."""
        return order_id in self._beginnings or self._index.order(order_id) is not None

    async def begun(self, order_id: str) -> None:
        """Wait until an order that has begun is known, or could not be recorded."""
        await self._beginnings.end(order_id)

    async def list(self, wanted: OrderFilter, page_size: int, page_token: str) -> Page[Order]:
        """One page of the orders in memory and in the archive; see `order_lists.order_page`."""
        return await order_page(self._index, self._archive, wanted, page_size, page_token)

    def key(self, strategy_id: str, client_order_id: str) -> KeyEntry | None:
        """What a key stands for; None when it is free."""
        return self._index.key(strategy_id, client_order_id) or self._archive.key(strategy_id, client_order_id)

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
        """Refuse a new order when it cannot be recorded, or there is no room to remember it.

        Raises:
            JournalUnavailable: Nothing was sent.
        """
        if self._journal.fault:
            raise JournalUnavailable("The journal cannot record; nothing is sent.")
        if len(self._index) >= self.orders_max + self.orders_max // SURPLUS_PART:
            raise JournalUnavailable("The gateway remembers as many orders as it may; nothing was sent.")

    @property
    def surplus(self) -> int:
        """How many more orders are in memory than should be."""
        return max(0, len(self._index) - self.orders_max)

    def oldest_terminal(self, limit: int, before_sequence: int, most: int) -> Sequence[ArchivedOrder]:
        """Orders that can change no more, as the archive takes them, those that ended first at the front.

        Args:
            limit: So many, whenever they ended.
            before_sequence: Beyond them, those whose last event is older than this one.
            most: No more at once.
        """
        found: list[ArchivedOrder] = []
        for order_id, last_sequence in self._ended.items():
            if len(found) >= most or (len(found) >= limit and last_sequence >= before_sequence):
                break
            order = self.order(order_id)
            if not order.parent_order_id or self.order(order.parent_order_id).state.is_terminal:
                found.append(ArchivedOrder(order, self._index.keys_of(order), last_sequence))
        return found

    def let_go(self, archived: Sequence[ArchivedOrder]) -> None:
        """Forget orders that the archive has, unless something happened to them meanwhile."""
        gone = {
            known.order.order_id: known
            for known in archived
            if self._ended.get(known.order.order_id) == known.last_sequence
        }
        for order_id in gone:
            del self._ended[order_id]
        self._index.remove([known.order for known in gone.values()])

    # Changes.

    def add_fault_listener(self, listener: Callable[[str], None]) -> None:
        """Tell somebody, once, when nothing can be recorded any more, and why; it must neither block nor raise."""
        self._journal.add_fault_listener(listener)

    async def record(self, events: Sequence[JournalEvent]) -> Order:
        """Journal events together, then let them happen; the order after the last.

        Called from tasks that the application owns: an append that was begun must be seen to its end.

        Raises:
            JournalUnavailable: Nothing was recorded.
        """
        taken: list[Order] = []
        self._date(events)
        with self._beginnings.of(events):
            await self._journal.append(events, lambda event: taken.append(self._take(event)))
        return taken[-1]

    async def record_all(self, events: Sequence[JournalEvent]) -> None:
        """Journal events of several orders in one go; raises as `record`."""
        if events:
            self._date(events)
            await self._journal.append(events, self._take)

    def _date(self, events: Sequence[JournalEvent]) -> None:
        """Record times never go back in the journal, whatever clocks do: readers begin at an instant."""
        for event in events:
            self._last_record_ns = event.record_time_ns = max(event.record_time_ns, self._last_record_ns)

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
            if self._may_be_leg(report.venue_order) and (park or self._is_parent_in_doubt(report.venue_order)):
                self._park(report)
                return None
            async with self._adoption:
                await self._beginnings.end(order_id_of(report.venue_order.venue_client_order_id))
                order = self._find(report.venue_order) or await self._adopt(report)
        async with self.family_lock(order):
            events = interpret(self.order(order.order_id), report)
            if events:
                await self.record(events)
        if report.venue_order.legs:
            await self._observe_legs(order.order_id, report)
        return self.order(order.order_id)

    async def release_parked(self, *, adopt: bool) -> None:
        """Look at the parked reports again; what still has no home is adopted or stays parked."""
        waiting, self._parked = self._parked, deque(maxlen=PARKED_MAX)
        try:
            while waiting:
                await self.observe(waiting.popleft(), park=not adopt)
        finally:
            self._parked.extend(waiting)  # what an error kept from being looked at

    @property
    def parked_count(self) -> int:
        """Reports that wait for their parent."""
        return len(self._parked)

    def _replay(self) -> None:
        """The orders of an earlier life."""
        for event, order in replayed(self._journal.replay(), self._apply):
            self.log.note_replayed(event, order)
        self.log.begin()

    def _apply(self, event: JournalEvent) -> Order:
        order_id = event.order_id
        before = self._index.order(order_id)
        if before is None and event.kind is not OrderEventKind.RECORDED:
            before = self._revived(order_id)
        order = apply(before, event)
        self._index.put(order)
        if order.state.is_terminal:
            self._ended.pop(order_id, None)
            self._ended[order_id] = event.sequence
        elif order_id in self._ended:
            del self._ended[order_id]
        self._note_key(event)
        self.last_record_time_ns = event.record_time_ns
        return order

    def _take(self, event: JournalEvent) -> Order:
        order = self._apply(event)
        self.log.note(event, order)
        self.news.tell(event, order)
        return order

    def _revived(self, order_id: str) -> Order | None:
        """An order of the archive to which something happened after all; its keys come back with it."""
        order = self._archive.order(order_id)
        if order is None:
            return None
        sent = (split_venue_client_id(known.venue_client_order_id) for known in order.venue_orders)
        for key in {order.client_order_id, *(named[1] for named in sent if named is not None)}:
            entry = self._archive.key(order.strategy_id, key)
            if entry is not None and entry.order_id == order_id:
                self._index.set_key(order.strategy_id, key, entry)
        return order

    def _known(self, order_id: str) -> Order | None:
        """An order in memory, or in the archive."""
        return self._index.order(order_id) or self._archive.order(order_id)

    def _id_at_venue(self, venue_order_id: str) -> str | None:
        return self._index.order_id_at_venue(venue_order_id) or self._archive.order_id_at_venue(venue_order_id)

    def _note_key(self, event: JournalEvent) -> None:
        if event.kind is OrderEventKind.RECORDED:
            key = event.request.client_order_id if event.request is not None else event.client_order_id
            if key:
                self._index.set_key(event.strategy_id, key, KeyEntry(event.order_id, event.fingerprint))
        elif event.kind is OrderEventKind.REPLACE_REQUESTED and event.client_order_id:
            self._index.set_key(event.strategy_id, event.client_order_id, KeyEntry(event.order_id, event.fingerprint))
        elif event.kind is OrderEventKind.REPLACE_REJECTED and event.client_order_id:
            entry = self.key(event.strategy_id, event.client_order_id)
            if entry is not None:
                failed = KeyEntry(entry.order_id, entry.fingerprint, event.failure)
                self._index.set_key(event.strategy_id, event.client_order_id, failed)

    def _find(self, venue_order: VenueOrder) -> Order | None:
        """The order that a venue order stands for: by its id, by its chain, then by the id it was sent under."""
        order_id = self._id_at_venue(venue_order.venue_order_id)
        if order_id is None and venue_order.replaces:
            order_id = self._id_at_venue(venue_order.replaces)
        if order_id is None and venue_order.replaced_by:
            order_id = self._id_at_venue(venue_order.replaced_by)
        if order_id is not None:
            return self._known(order_id)
        named = split_venue_client_id(venue_order.venue_client_order_id)
        entry = self.key(*named) if named is not None else None
        order = self._known(entry.order_id) if entry is not None else None
        if order is None or order.pending_replace_id == venue_order.venue_client_order_id:
            return order
        is_expected = not order.venue_orders and same_order(order.spec, venue_order)
        return order if is_expected else None

    def _may_be_leg(self, venue_order: VenueOrder) -> bool:
        """Legs come under ids that the venue makes: only their parent's answer tells whose they are."""
        if venue_order.order_class in (None, OrderClass.SIMPLE):
            return False
        return split_venue_client_id(venue_order.venue_client_order_id) is None

    def _is_parent_in_doubt(self, venue_order: VenueOrder) -> bool:
        """Whether an order of several legs in this symbol may be at the venue, and its answer was not seen."""
        return any(
            not order.venue_orders and order.spec.order_class is not OrderClass.SIMPLE
            for order in self._index.open_in(venue_order.symbol)
        )

    def _park(self, report: Report) -> None:
        """Keep a report; what a read says is kept once."""
        venue_order_id = report.venue_order.venue_order_id
        is_kept = not report.word and any(known.venue_order.venue_order_id == venue_order_id for known in self._parked)
        if not is_kept and len(self._parked) == PARKED_MAX:
            _log.critical("parked_report_dropped", venue_order_id=self._parked[0].venue_order.venue_order_id)
        if not is_kept:
            self._parked.append(report)

    async def _adopt(self, report: Report) -> Order:
        venue_order = rewound(report.venue_order, Decimal(0), None) if self._has_news(report) else before_fill(report)
        named = split_venue_client_id(venue_order.venue_client_order_id)
        order_id = order_id_of(venue_order.venue_client_order_id if named else f"venue:{venue_order.venue_order_id}")
        strategy_id, key = named or ("", "")
        is_collision = named is not None and self._known(order_id) is not None
        if is_collision:  # the key's own order turned out not to be the one at the venue: that one takes the key over
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
        order = await self.record([event])
        self.on_adopted(order, report.venue_order, is_collision)
        return order

    def _has_news(self, report: Report) -> bool:
        return self.adopts_whole and report.venue_order.filled_quantity > 0

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
                known = self._known(order_id)
                if known is None and self._id_at_venue(leg.venue_order_id) is not None:
                    _log.critical("leg_known_as_another_order", order_id=order_id, venue_order_id=leg.venue_order_id)
                    continue
                if known is None:
                    begin = rewound(leg, Decimal(0), None) if self._has_news(leg_report) else leg
                    known = await self.record([leg_recorded(parent, order_id, replace(leg_report, venue_order=begin))])
                if events := interpret(known, leg_report):
                    await self.record(events)
