"""Prices and resting orders of one symbol: what is displayed, who is first, what sets off a stop.

Promises: an order meets the best bid or offer and no other price; what it takes of a displayed size is gone until the
next quote of that symbol; among orders of a side the better price goes first, then the earlier order. Leaves the
consequences of a fill to `engine`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Final

from gateway.domain.types import OrderSide, OrderType, decimal_from_price
from gateway.emulator.exchange.config import StopTrigger
from gateway.emulator.exchange.orders import ZERO, ExchangeOrder

QUANTITY_STEP: Final = Decimal("1e-9")
"""The smallest part of a share or coin."""

TRAIL_STEP: Final = Decimal("0.0001")
"""A trailing stop's price is rounded to it, half to even."""

_WHOLE: Final = Decimal(1)
_HUNDRED: Final = Decimal(100)
_TWO: Final = Decimal(2)
_FIRST: Final = Decimal("-Infinity")  # sorts before every price

COLLAR_SPLIT_USD: Final = Decimal(50)
_COLLAR_BELOW: Final = Decimal("1.04")
_COLLAR_FROM: Final = Decimal("1.025")


def collared(price: Decimal) -> Decimal:
    """A price with Alpaca's allowance for market buys and buy stops: 4 % below $50, 2.5 % from there."""
    return price * (_COLLAR_BELOW if price < COLLAR_SPLIT_USD else _COLLAR_FROM)


@dataclass(slots=True)
class Book:
    """The best bid and offer of a symbol, what is left of their sizes, and the last price.

    Prices and sizes come as the doubles that were measured and become decimals by their shortest spelling, when they
    are first needed: most quotes meet no order. A price of zero is no quote.

    Attributes:
        bid_left, ask_left: What is still to be had; whole again with the next quote.
        session_price: Of the last trade, if it was in this session: what may set off stops.
        lastday_price: At the last close.
    """

    bid_price: Decimal | None = None
    ask_price: Decimal | None = None
    bid_left: Decimal = ZERO
    ask_left: Decimal = ZERO
    last_price: Decimal | None = None
    session_price: Decimal | None = None
    lastday_price: Decimal | None = None
    _pending: tuple[float, float, float, float] | None = None

    def set_quote(self, bid_price: float, bid_size: float, ask_price: float, ask_size: float) -> None:
        """The next quote: sizes are whole again."""
        self._pending = (bid_price, bid_size, ask_price, ask_size)

    def set_last(self, price: float, *, in_session: bool) -> None:
        """The last trade's price."""
        self.last_price = decimal_from_price(price)
        if in_session:
            self.session_price = self.last_price

    def start_session(self) -> None:
        """Nothing of before is to be had any more: fills and triggers wait for this session's quotes and trades."""
        self.refresh()
        self.bid_left = self.ask_left = ZERO
        self.session_price = None

    def refresh(self) -> None:
        """Read the newest quote; cheap when there is none."""
        if self._pending is None:
            return
        bid_price, bid_size, ask_price, ask_size = self._pending
        self._pending = None
        self.bid_price = decimal_from_price(bid_price) if bid_price > 0 else None
        self.ask_price = decimal_from_price(ask_price) if ask_price > 0 else None
        self.bid_left = decimal_from_price(bid_size) if bid_price > 0 and bid_size > 0 else ZERO
        self.ask_left = decimal_from_price(ask_size) if ask_price > 0 and ask_size > 0 else ZERO

    def taker_price(self, side: OrderSide) -> Decimal | None:
        """What an order of this side would pay or get."""
        self.refresh()
        return self.ask_price if side is OrderSide.BUY else self.bid_price

    def taker_size(self, side: OrderSide) -> Decimal:
        """How much is left there."""
        self.refresh()
        return self.ask_left if side is OrderSide.BUY else self.bid_left

    def take(self, side: OrderSide, quantity: Decimal) -> None:
        """Consume displayed size."""
        if side is OrderSide.BUY:
            self.ask_left -= quantity
        else:
            self.bid_left -= quantity

    def mark(self) -> Decimal | None:
        """The present price: of the last trade, else the middle of the quote, else its only side."""
        if self.last_price is not None:
            return self.last_price
        self.refresh()
        if self.bid_price is not None and self.ask_price is not None:
            return (self.bid_price + self.ask_price) / _TWO
        return self.bid_price if self.ask_price is None else self.ask_price

    def reference(self, side: OrderSide) -> Decimal | None:
        """The price that an order of this side is reckoned at: the side it takes, else the present price."""
        price = self.taker_price(side)
        return self.mark() if price is None else price


def is_stop(order: ExchangeOrder) -> bool:
    """Whether it waits for a trigger: a stop that has not been set off."""
    return not order.triggered and order.order_type in (
        OrderType.STOP,
        OrderType.STOP_LIMIT,
        OrderType.TRAILING_STOP,
    )


def working_limit(order: ExchangeOrder, *, buy_stop_collar: bool) -> Decimal | None:
    """The worst price at which the order may trade now; None: any."""
    if order.limit_price is not None:
        return order.limit_price
    if buy_stop_collar and order.order_type is OrderType.STOP and order.side is OrderSide.BUY and order.stop_price:
        return collared(order.stop_price)
    return None


def crosses(side: OrderSide, limit: Decimal | None, price: Decimal) -> bool:
    """Whether an order of this side and limit may trade at a price."""
    if limit is None:
        return True
    return limit >= price if side is OrderSide.BUY else limit <= price


def is_set_off(order: ExchangeOrder, price: Decimal) -> bool:
    """Whether a price sets off a stop: up to it for buys, down to it for sells."""
    if order.stop_price is None:
        return False
    return price >= order.stop_price if order.side is OrderSide.BUY else price <= order.stop_price


def trailed(order: ExchangeOrder, price: Decimal) -> tuple[Decimal, Decimal] | None:
    """New high-water mark and stop price of a trailing stop at a price; None when the mark stays."""
    is_buy = order.side is OrderSide.BUY
    if order.hwm is not None and (price >= order.hwm if is_buy else price <= order.hwm):
        return None
    return price, trail_stop(order, price)


def trail_stop(order: ExchangeOrder, mark: Decimal) -> Decimal:
    """The stop price of a trailing stop at a high-water mark (a buy's is the lowest price)."""
    distance = order.trail_price
    if distance is None:
        assert order.trail_percent is not None
        distance = mark * order.trail_percent / _HUNDRED
    stop = mark + distance if order.side is OrderSide.BUY else mark - distance
    return stop.quantize(TRAIL_STEP, ROUND_HALF_EVEN)


def fill_quantity(order: ExchangeOrder, price: Decimal, size: Decimal, *, whole_shares: bool) -> Decimal:
    """How much of a displayed size the order takes at a price.

    A notional order takes what its money buys, rounded down to QUANTITY_STEP. An order for whole shares stays whole,
    though another order may have left a fraction on display.
    """
    if order.notional is not None:
        wanted = ((order.notional - order.filled_value) / price).quantize(QUANTITY_STEP, ROUND_DOWN)
        return min(wanted, size.quantize(QUANTITY_STEP, ROUND_DOWN))
    assert order.quantity is not None
    leaves = order.quantity - order.filled_quantity
    if leaves <= size:
        return leaves
    return size.quantize(_WHOLE if whole_shares else QUANTITY_STEP, ROUND_DOWN)


Rank = tuple[Decimal, int, str]


class RestingOrders:
    """The orders of one symbol that work now: those that may trade, by rank, and the stops that wait."""

    __slots__ = ("_by_id", "_ranks", "stops", "waiting_auction")

    def __init__(self) -> None:
        self._by_id: dict[str, ExchangeOrder] = {}
        self._ranks: dict[OrderSide, list[Rank]] = {OrderSide.BUY: [], OrderSide.SELL: []}
        self.stops: dict[str, ExchangeOrder] = {}
        self.waiting_auction: dict[str, ExchangeOrder] = {}

    def __bool__(self) -> bool:
        return bool(self._by_id or self.stops or self.waiting_auction)

    def add(self, order: ExchangeOrder, limit: Decimal | None) -> None:
        """Let an order work; a stop waits for its trigger."""
        if is_stop(order):
            self.stops[order.id] = order
            return
        self._by_id[order.id] = order
        insort(self._ranks[order.side], _rank(order, limit))

    def remove(self, order: ExchangeOrder, limit: Decimal | None) -> None:
        """Take an order out, wherever it is."""
        self.stops.pop(order.id, None)
        self.waiting_auction.pop(order.id, None)
        if self._by_id.pop(order.id, None) is not None:
            ranks, rank = self._ranks[order.side], _rank(order, limit)
            index = bisect_left(ranks, rank)
            assert ranks[index] == rank, "an order's rank changed while it rested"
            del ranks[index]

    def best(self, side: OrderSide) -> ExchangeOrder | None:
        """The first of a side."""
        ranks = self._ranks[side]
        return self._by_id[ranks[0][2]] if ranks else None

    def set_off(self, price: Decimal) -> list[ExchangeOrder]:
        """Stops that a price sets off, oldest first."""
        found = [order for order in self.stops.values() if is_set_off(order, price)]
        return sorted(found, key=lambda order: order.sequence)

    def trailing(self) -> Iterator[ExchangeOrder]:
        """Trailing stops that wait."""
        return (order for order in self.stops.values() if order.order_type is OrderType.TRAILING_STOP)

    def trade_matters(self, price: Decimal, trigger: StopTrigger) -> bool:
        """Whether a print in the session changes anything but the last price."""
        if self.waiting_auction:
            return True
        if any(trailed(order, price) for order in self.trailing()):
            return True
        return trigger is StopTrigger.TRADE and any(is_set_off(order, price) for order in self.stops.values())

    def quote_matters(self, book: Book, trigger: StopTrigger, *, buy_stop_collar: bool) -> bool:
        """Whether the newest quote changes anything but the quote."""
        if self.waiting_auction:
            return True
        for side in OrderSide:
            price = book.taker_price(side)
            if price is None or not book.taker_size(side):
                continue
            first = self.best(side)
            if first is not None and crosses(side, working_limit(first, buy_stop_collar=buy_stop_collar), price):
                return True
            if trigger is StopTrigger.QUOTE and any(
                stop.side is side and is_set_off(stop, price) for stop in self.stops.values()
            ):
                return True
        return False


def _rank(order: ExchangeOrder, limit: Decimal | None) -> Rank:
    if limit is None:
        return _FIRST, order.sequence, order.id
    return (-limit if order.side is OrderSide.BUY else limit), order.sequence, order.id
