"""OrderIndex: every order by every name it has, and the open ones. Holds and finds; decides nothing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Final

from gateway.domain.models.orders import KeyEntry, Order, OrderFilter
from gateway.domain.types import is_client_order_id, is_strategy_id

PAGE_SCAN_MAX: Final = 50_000
"""Orders looked at for one page: a page may be short, or empty, and still have a token."""
PAGE_LABEL_BYTES_MAX: Final = 1024 * 1024
"""A page ends early rather than grow beyond what a message may have: 500 orders with every label would."""

Stamp = tuple[int, str]
"""When an order was made, nanoseconds since the Unix epoch, and its id."""


def split_venue_client_id(venue_client_order_id: str) -> tuple[str, str] | None:
    """(strategy, key) of an id that the gateway makes; None for any other."""
    strategy_id, dot, key = venue_client_order_id.partition(".")
    if dot and is_strategy_id(strategy_id) and is_client_order_id(key):
        return strategy_id, key
    return None


class OrderIndex:
    """Orders by id, by key, by the venue's ids, by symbol while open, and by time."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._keys: dict[tuple[str, str], KeyEntry] = {}
        self._more_keys: dict[str, list[str]] = {}  # of replaces, by order: its own key is in the order
        self._venue_ids: dict[str, str] = {}
        self._open: dict[str, None] = {}
        self._open_by_symbol: dict[str, dict[str, None]] = {}
        self._by_time: list[Stamp] = []
        self._by_strategy: dict[str, list[Stamp]] = {}

    def __len__(self) -> int:
        return len(self._orders)

    def order(self, order_id: str) -> Order | None:
        """One order by its id."""
        return self._orders.get(order_id)

    def key(self, strategy_id: str, client_order_id: str) -> KeyEntry | None:
        """What a key stands for."""
        return self._keys.get((strategy_id, client_order_id))

    def keys_beginning(self, strategy_id: str, start: str) -> list[tuple[str, KeyEntry]]:
        """Every key of a strategy that begins so, and what it stands for; looks at all of them."""
        return [
            (key, entry) for (owner, key), entry in self._keys.items() if owner == strategy_id and key.startswith(start)
        ]

    def order_id_at_venue(self, venue_order_id: str) -> str | None:
        """The order that a venue order stands for."""
        return self._venue_ids.get(venue_order_id)

    def open_ids(self) -> list[str]:
        """Every order that may still change, oldest first."""
        return list(self._open)

    def open_in(self, symbol: str) -> Iterator[Order]:
        """The orders in a symbol that may still change."""
        for order_id in self._open_by_symbol.get(symbol, ()):
            yield self._orders[order_id]

    @property
    def open_count(self) -> int:
        """How many orders may still change."""
        return len(self._open)

    def set_key(self, strategy_id: str, client_order_id: str, entry: KeyEntry) -> None:
        """Let a key stand for something."""
        self._keys[strategy_id, client_order_id] = entry
        order = self._orders.get(entry.order_id)
        if order is None or order.client_order_id != client_order_id:
            more = self._more_keys.setdefault(entry.order_id, [])
            if client_order_id not in more:
                more.append(client_order_id)

    def keys_of(self, order: Order) -> dict[str, KeyEntry]:
        """Every key of its strategy that stands for an order."""
        names = [order.client_order_id, *self._more_keys.get(order.order_id, ())]
        found = {key: self._keys.get((order.strategy_id, key)) for key in names}
        return {key: entry for key, entry in found.items() if entry is not None and entry.order_id == order.order_id}

    def remove(self, orders: Sequence[Order]) -> None:
        """Forget orders that can change no more, with all their names."""
        for order in orders:
            for key in self.keys_of(order):
                del self._keys[order.strategy_id, key]
            for venue_order in order.venue_orders:
                if self._venue_ids.get(venue_order.venue_order_id) == order.order_id:
                    del self._venue_ids[venue_order.venue_order_id]
            self._more_keys.pop(order.order_id, None)
            del self._orders[order.order_id]
        _take_out(self._by_time, orders)
        for strategy_id in {order.strategy_id for order in orders}:
            of_strategy = [order for order in orders if order.strategy_id == strategy_id]
            _take_out(self._by_strategy[strategy_id], of_strategy)

    def put(self, order: Order) -> None:
        """Store an order as it is now."""
        order_id = order.order_id
        known = self._orders.get(order_id)
        self._orders[order_id] = order
        if known is None:
            self._add(order)
        if known is None or known.venue_orders is not order.venue_orders:
            self._name(order)
        if order.state.is_terminal:
            if known is None or not known.state.is_terminal:
                self._close(order)
        elif known is None or known.state.is_terminal:
            self._open[order_id] = None
            self._open_by_symbol.setdefault(order.spec.symbol, {})[order_id] = None

    def scan(self, wanted: OrderFilter, size: int, after: Stamp | None) -> tuple[list[Order], Stamp | None]:
        """The next orders of a list behind a position, and how far was looked; None: to the end."""
        found: list[Order] = []
        last: Stamp | None = None
        labels = 0
        for stamp in islice(self._stamps(wanted, after), PAGE_SCAN_MAX):
            if len(found) == size or labels >= PAGE_LABEL_BYTES_MAX:
                break
            last = stamp
            order = self._orders[stamp[1]]
            if matches(wanted, order):
                found.append(order)
                labels += label_bytes(order)
        else:
            last = last if self._is_more(wanted, last) else None
        return found, last

    def _is_more(self, wanted: OrderFilter, last: Stamp | None) -> bool:
        return last is not None and next(self._stamps(wanted, last), None) is not None

    def _stamps(self, wanted: OrderFilter, after: Stamp | None) -> Iterator[Stamp]:
        """Candidates in the order of the list, beginning behind a position."""
        stamps: list[Stamp]
        if wanted.states and not any(state.is_terminal for state in wanted.states):
            stamps = sorted((self._orders[order_id].create_time_ns, order_id) for order_id in self._open)
        elif wanted.strategy_id is not None:
            stamps = self._by_strategy.get(wanted.strategy_id, [])
        else:
            stamps = self._by_time
        low = 0 if wanted.start_time_ns is None else bisect_left(stamps, (wanted.start_time_ns, ""))
        high = len(stamps) if wanted.end_time_ns is None else bisect_left(stamps, (wanted.end_time_ns + 1, ""))
        if after is not None and wanted.oldest_first:
            low = max(low, bisect_right(stamps, after))
        elif after is not None:
            high = min(high, bisect_left(stamps, after))
        positions: Iterable[int] = range(low, high) if wanted.oldest_first else range(high - 1, low - 1, -1)
        return (stamps[position] for position in positions)

    def _add(self, order: Order) -> None:
        stamp = stamp_of(order)
        for stamps in (self._by_time, self._by_strategy.setdefault(order.strategy_id, [])):
            if not stamps or stamps[-1] < stamp:
                stamps.append(stamp)
            else:
                insort(stamps, stamp)

    def _name(self, order: Order) -> None:
        for venue_order in order.venue_orders:
            self._venue_ids[venue_order.venue_order_id] = order.order_id
            named = split_venue_client_id(venue_order.venue_client_order_id)
            if named is not None and named not in self._keys and named[0] == order.strategy_id:
                self.set_key(*named, KeyEntry(order.order_id, ""))

    def _close(self, order: Order) -> None:
        self._open.pop(order.order_id, None)
        symbol = order.spec.symbol
        open_there = self._open_by_symbol.get(symbol)
        if open_there is not None:
            open_there.pop(order.order_id, None)
            if not open_there:
                del self._open_by_symbol[symbol]


def stamp_of(order: Order) -> Stamp:
    """Its place among orders by time."""
    return order.create_time_ns, order.order_id


def _take_out(stamps: list[Stamp], orders: Iterable[Order]) -> None:
    """Neighbors go together: orders leave in about the order in which they came, and a list's rest moves each time."""
    places = sorted((bisect_left(stamps, stamp_of(order)) for order in orders), reverse=True)
    for _, neighbors in groupby(enumerate(places), lambda at: at[0] + at[1]):
        run = [place for _, place in neighbors]
        del stamps[run[-1] : run[0] + 1]


def label_bytes(order: Order) -> int:
    """What its labels take of a message."""
    return sum(len(name.encode()) + len(value.encode()) for name, value in order.labels.items())


def matches(wanted: OrderFilter, order: Order) -> bool:
    """Whether a filter wants it, its time apart."""
    return (
        (wanted.strategy_id is None or order.strategy_id == wanted.strategy_id)
        and (not wanted.states or order.state in wanted.states)
        and (not wanted.symbols or order.spec.symbol in wanted.symbols)
        and (wanted.side is None or order.spec.side is wanted.side)
    )
