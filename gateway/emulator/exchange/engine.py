"""What happens to orders: they begin, are set off, fill and end; and what that does to the account.

Promises: every change of an order goes through here, with its event, its reservation and its family; terminal orders
never change. Consequences that need matching are queued and worked off one by one, so depth is bounded. Leaves
deciding whether an order is taken to `admission`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from gateway.domain.types import AssetClass, LegRole, OrderClass, OrderSide, OrderType, TimeInForce
from gateway.emulator.exchange.account import times
from gateway.emulator.exchange.bookings import book_fill, charge_fee
from gateway.emulator.exchange.config import StopTrigger, UnfilledAuction
from gateway.emulator.exchange.families import (
    covered_quantity,
    is_armed,
    legs_of,
    set_leaves,
    sibling_of,
)
from gateway.emulator.exchange.matching import (
    QUANTITY_STEP,
    crosses,
    fill_quantity,
    trail_stop,
    trailed,
    working_limit,
)
from gateway.emulator.exchange.orders import ZERO, ExchangeOrder, OrderStatus, TradeUpdate
from gateway.emulator.exchange.sessions import Phase
from gateway.emulator.exchange.state import State
from gateway.emulator.exchange.validation import is_whole

_AT_ONCE: Final = (TimeInForce.IOC, TimeInForce.FOK)
_ENDED_AT: Final = {
    OrderStatus.CANCELED: "canceled_ns",
    OrderStatus.EXPIRED: "expired_ns",
}


class Engine:
    """The transitions of orders over one state."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._unsettled: deque[str] = deque()

    # Beginning.

    def accept(self, order: ExchangeOrder, legs: list[ExchangeOrder]) -> ExchangeOrder:
        """Take a new order, and let it begin if its session is on. Returns the answer to the request."""
        self._state.store.add(order)
        for leg in legs:
            self._state.store.add(leg)
        begins = self.may_work(order)
        order.status = OrderStatus.PENDING_NEW if begins else OrderStatus.ACCEPTED
        answer = self._state.nested(order)
        if begins:
            self.begin(order)
        elif self._state.config.announce_accepted:
            self._tell("accepted", order)
        if order.order_class is OrderClass.OCO and begins:
            for leg in legs:
                self.rest(leg)
        self.settle()
        return answer if self._state.config.answer_pending_new else self._state.nested(order)

    def may_work(self, order: ExchangeOrder) -> bool:
        """Whether the hours, and its parent, let the order work now."""
        if not is_armed(self._state, order):
            return False
        if order.asset_class is AssetClass.CRYPTO:
            return True
        phase = self._state.phase
        if order.time_in_force is TimeInForce.OPG:
            return False  # it begins when its session opens, which is `day`'s business
        if order.time_in_force is TimeInForce.CLS or not order.extended_hours:
            return phase is Phase.REGULAR
        return phase is not Phase.CLOSED

    def begin(self, order: ExchangeOrder) -> None:
        """The order works from now on."""
        if self._state.config.announce_pending_new and not order.filled_quantity:
            order.status = OrderStatus.PENDING_NEW
            self._tell("pending_new", order)
        order.status = OrderStatus.PARTIALLY_FILLED if order.filled_quantity else OrderStatus.NEW
        order.updated_ns = self._state.now_ns
        if order.order_type is OrderType.TRAILING_STOP and order.hwm is None:
            self._start_trailing(order)
        self._tell("new", order)
        self._work(order)

    def _work(self, order: ExchangeOrder) -> None:
        if order.time_in_force is TimeInForce.CLS:
            return  # the closing auction finds it among the open orders
        if order.time_in_force is TimeInForce.OPG:
            order.is_resting = True
            self._state.resting(order.symbol).waiting_auction[order.id] = order
        elif order.time_in_force in _AT_ONCE:
            self._fill_at_once(order)
        else:
            self.rest(order)

    def _start_trailing(self, order: ExchangeOrder) -> None:
        price = self._state.book(order.symbol).session_price
        if price is not None:
            order.hwm, order.stop_price = price, trail_stop(order, price)

    def rest(self, order: ExchangeOrder) -> None:
        """Let an order stand in the matching of its symbol; `settle` follows."""
        if not order.is_resting:
            order.is_resting = True
            self._state.resting(order.symbol).add(order, self._limit(order))
        self._queue(order.symbol)

    def unrest(self, order: ExchangeOrder) -> None:
        """Take it out of the matching."""
        if order.is_resting:
            order.is_resting = False
            self._state.resting(order.symbol).remove(order, self._limit(order))

    def _limit(self, order: ExchangeOrder) -> Decimal | None:
        return working_limit(order, buy_stop_collar=self._state.config.buy_stop_collar)

    # Market data.

    def quote_matters(self, symbol: str) -> bool:
        """Whether the newest quote of a symbol changes any order."""
        if not self._state.has_resting(symbol):
            return False
        config = self._state.config
        return self._state.resting(symbol).quote_matters(
            self._state.book(symbol), config.stop_trigger, buy_stop_collar=config.buy_stop_collar
        )

    def trade_matters(self, symbol: str) -> bool:
        """Whether the last price of a symbol, of this session, changes any order."""
        price = self._state.book(symbol).session_price
        if price is None or not self._state.has_resting(symbol):
            return False
        return self._state.resting(symbol).trade_matters(price, self._state.config.stop_trigger)

    def on_quote(self, symbol: str) -> None:
        """A new quote that matters stands in the book."""
        resting = self._state.resting(symbol)
        if resting.waiting_auction:
            price = self._state.book(symbol).mark()
            if price is not None:
                self.hold_auction(list(resting.waiting_auction.values()), price)
        self._queue(symbol)
        self.settle()

    def on_trade(self, symbol: str) -> None:
        """A new price of this session that matters stands in the book."""
        resting = self._state.resting(symbol)
        price = self._state.book(symbol).session_price
        assert price is not None
        if resting.waiting_auction:
            self.hold_auction(list(resting.waiting_auction.values()), price)
        for order in resting.trailing():
            moved = trailed(order, price)
            if moved is not None:
                order.hwm, order.stop_price = moved
                order.updated_ns = self._state.now_ns
        self._queue(symbol)
        self.settle()

    def _queue(self, symbol: str) -> None:
        if symbol not in self._unsettled:
            self._unsettled.append(symbol)

    def settle(self) -> None:
        """Set off and fill what can be, until nothing is left to do.

        It ends: each round either fills, sets off or ends an order, or it is the last one of its symbol.
        """
        while self._unsettled:
            symbol = self._unsettled.popleft()
            self._set_off_stops(symbol)
            for side in OrderSide:
                self._match(symbol, side)

    def _set_off_stops(self, symbol: str) -> None:
        resting, book = self._state.resting(symbol), self._state.book(symbol)
        if not resting.stops:
            return
        by_quote = self._state.config.stop_trigger is StopTrigger.QUOTE
        for side in OrderSide:
            price = book.taker_price(side) if by_quote else book.session_price
            if price is None or (by_quote and not book.taker_size(side)):
                continue
            for order in resting.set_off(price):
                if order.side is side and order.is_resting:
                    self._set_off(order)

    def _set_off(self, order: ExchangeOrder) -> None:
        """A stop works as a market or limit order from now on; its sibling gives way."""
        self.unrest(order)
        order.triggered = True
        order.updated_ns = self._state.now_ns
        sibling = sibling_of(self._state, order)
        if sibling is not None:
            self.end(sibling, OrderStatus.CANCELED)
        if order.status is OrderStatus.HELD:
            order.status = OrderStatus.NEW
            self._tell("new", order)
        self.rest(order)

    def _match(self, symbol: str, side: OrderSide) -> None:
        resting, book = self._state.resting(symbol), self._state.book(symbol)
        while (order := resting.best(side)) is not None:
            price = book.taker_price(side)
            if price is None or not crosses(side, self._limit(order), price):
                return
            if self._has_nothing_to_close(order):
                self.end(order, OrderStatus.CANCELED)
                continue
            quantity = self._fillable(order, price, book.taker_size(side))
            if quantity <= 0:
                return
            book.take(side, quantity)
            self._fill(order, quantity, price)

    def _fillable(self, order: ExchangeOrder, price: Decimal, size: Decimal) -> Decimal:
        whole = order.asset_class is not AssetClass.CRYPTO and order.quantity is not None and is_whole(order.quantity)
        quantity = fill_quantity(order, price, size, whole_shares=whole)
        return min(quantity, self._closable(order)) if _closes(order) else quantity

    def _closable(self, order: ExchangeOrder) -> Decimal:
        """How much there is for a closing order to close: an order that closes never opens the other side."""
        position = self._state.holdings.quantity(order.symbol)
        return max(position if order.side is OrderSide.SELL else -position, ZERO)

    def _has_nothing_to_close(self, order: ExchangeOrder) -> bool:
        return _closes(order) and not self._closable(order)

    def _fill_at_once(self, order: ExchangeOrder) -> None:
        """Immediate or cancel; fill or kill."""
        book = self._state.book(order.symbol)
        price, size = book.taker_price(order.side), book.taker_size(order.side)
        if price is not None and crosses(order.side, order.limit_price, price):
            quantity = self._fillable(order, price, size)
            if quantity > 0 and (order.time_in_force is TimeInForce.IOC or quantity == order.leaves_quantity):
                book.take(order.side, quantity)
                self._fill(order, quantity, price)
        if order.is_open:
            self.end(order, OrderStatus.CANCELED)

    # Filling.

    def _fill(self, order: ExchangeOrder, quantity: Decimal, price: Decimal) -> None:
        """One execution: the order, the account, the activities, the event, the family."""
        assert order.is_open
        assert quantity > 0
        state, now_ns = self._state, self._state.now_ns
        order.filled_quantity += quantity
        order.filled_value += times(quantity, price)
        order.updated_ns = now_ns
        leaves = self._leaves(order, price)
        assert leaves >= 0, "filled beyond its quantity"
        execution_id = state.new_id("execution")
        state.holdings.apply_fill(order.symbol, order.side, quantity, price)
        before_fee = state.holdings.quantity(order.symbol)
        is_done = not leaves or (order.notional is not None and self._sold_out(order))
        if is_done:
            self.unrest(order)
            order.status, order.filled_ns = OrderStatus.FILLED, now_ns
            state.store.close(order)
        else:
            order.status = OrderStatus.PARTIALLY_FILLED
        book_fill(state, order, execution_id, quantity, price, ZERO if is_done else leaves)
        charge_fee(state, order, quantity, price)
        after_fee = state.holdings.quantity(order.symbol)
        self.reserve(order)
        self._tell(
            "fill" if is_done else "partial_fill",
            order,
            execution_id=execution_id,
            price=price,
            quantity=quantity,
            position_quantity=after_fee if state.config.position_quantity_after_fee else before_fee,
        )
        self._after_fill(order, is_done)

    def _leaves(self, order: ExchangeOrder, price: Decimal) -> Decimal:
        """What is still to fill; of a notional order, what its rest buys at this price."""
        if order.quantity is not None:
            return order.quantity - order.filled_quantity
        assert order.notional is not None
        rest = (order.notional - order.filled_value) / price
        return ZERO if rest < QUANTITY_STEP else rest.quantize(QUANTITY_STEP)

    def _sold_out(self, order: ExchangeOrder) -> bool:
        """A notional sale ends with the position, though the price fell and its money is not reached."""
        return self._has_nothing_to_close(order)

    def _after_fill(self, order: ExchangeOrder, is_done: bool) -> None:
        sibling = sibling_of(self._state, order) if is_armed(self._state, order) else None
        if order.parent_id is None and order.order_class not in (OrderClass.SIMPLE, OrderClass.OCO):
            if is_done:
                self._start_legs(order)
        elif sibling is not None and is_done:
            self.end(sibling, OrderStatus.CANCELED)
        elif sibling is not None and order.leaves_quantity is not None:
            set_leaves(sibling, order.leaves_quantity, self._state.now_ns)

    def _start_legs(self, parent: ExchangeOrder) -> None:
        """The parent is wholly filled: the take-profit works, the stop-loss waits behind it."""
        legs = [leg for leg in legs_of(self._state, parent) if leg.is_open]
        for leg in legs:
            set_leaves(leg, covered_quantity(parent), self._state.now_ns)
        for leg in legs:
            if leg.leg_role is LegRole.STOP_LOSS and len(legs) > 1:
                self.rest(leg)
            else:
                self.begin(leg)

    # Reservations.

    def reserve(self, order: ExchangeOrder) -> None:
        """Bind margin for what the order may still open; nothing for a terminal one."""
        amount = ZERO
        if order.is_open and order.reserve_rate:
            rest = order.leaves_quantity
            if rest is None:
                assert order.notional is not None
                rest = order.notional - order.filled_value
            amount = times(rest, order.reserve_rate)
        self._state.holdings.set_reserve(order, amount)

    # Ending.

    def cancel(self, order: ExchangeOrder) -> None:
        """End an open order at its owner's wish, and what belongs to it."""
        order.cancel_requested_ns = self._state.now_ns
        if self._state.config.announce_pending_cancel:
            order.status, order.updated_ns = OrderStatus.PENDING_CANCEL, self._state.now_ns
            self._tell("pending_cancel", order)
        self.end_family(order, OrderStatus.CANCELED)

    def end_family(self, order: ExchangeOrder, status: OrderStatus) -> None:
        """End an order with its legs or its sibling; with a leg, by a setting, the rest of its group."""
        self.end(order, status)
        related = legs_of(self._state, order)
        sibling = sibling_of(self._state, order)
        if order.parent_id is not None and self._state.config.leg_cancel_cancels_group:
            related.append(self._state.store.get(order.parent_id))
            related += [] if sibling is None else [sibling]
        for other in related:
            if other.is_open:
                self.end(other, status)

    def end(self, order: ExchangeOrder, status: OrderStatus) -> None:
        """Cancel or expire this one order."""
        now_ns = self._state.now_ns
        self.unrest(order)
        order.status, order.updated_ns = status, now_ns
        setattr(order, _ENDED_AT[status], now_ns)
        self._state.store.close(order)
        self.reserve(order)
        self._tell(status.value, order)

    def put_in_place(
        self,
        old: ExchangeOrder,
        new: ExchangeOrder,
        adopt: Callable[[State, ExchangeOrder, ExchangeOrder], None],
    ) -> ExchangeOrder:
        """Let a new order replace an open one, in its family too; returns the answer to the request."""
        state, now_ns = self._state, self._state.now_ns
        held = old.status is OrderStatus.HELD
        if state.config.announce_pending_replace:
            old.status, old.updated_ns = OrderStatus.PENDING_REPLACE, now_ns
            self._tell("pending_replace", old)
        self.unrest(old)
        old.status, old.updated_ns, old.replaced_ns = OrderStatus.REPLACED, now_ns, now_ns
        old.replaced_by = new.id
        state.store.close(old)
        self.reserve(old)
        state.store.add(new)
        adopt(state, old, new)
        self.reserve(new)
        self._tell("replaced", old)
        new.status = OrderStatus.HELD if held else OrderStatus.PENDING_NEW
        answer = state.nested(new)
        if held:
            if self.may_work(new):
                self.rest(new)
        elif self.may_work(new):
            self.begin(new)
        else:
            new.status = OrderStatus.ACCEPTED
        self.settle()
        return answer if state.config.answer_pending_new else state.nested(new)

    # Auctions.

    def hold_auction(self, orders: list[ExchangeOrder], price: Decimal) -> None:
        """Everybody trades at one price, whatever is displayed; who does not want it ends."""
        for order in orders:
            if crosses(order.side, order.limit_price, price):
                quantity = self._fillable(order, price, order.leaves_quantity or ZERO)
                if quantity > 0:
                    self._fill(order, quantity, price)
            if order.is_open:
                self.end(order, self.unfilled_status())

    def unfilled_status(self) -> OrderStatus:
        """How an order ends whose auction did not fill it."""
        is_expiry = self._state.config.unfilled_auction is UnfilledAuction.EXPIRED
        return OrderStatus.EXPIRED if is_expiry else OrderStatus.CANCELED

    # Telling.

    def _tell(
        self,
        event: str,
        order: ExchangeOrder,
        *,
        execution_id: str = "",
        price: Decimal | None = None,
        quantity: Decimal | None = None,
        position_quantity: Decimal | None = None,
    ) -> None:
        order.updated_ns = self._state.now_ns
        nested = self._state.config.updates_nest_legs
        self._state.tell(
            TradeUpdate(
                event=event,
                order=self._state.nested(order) if nested else order.copy(),
                execution_id=execution_id or self._state.new_id("execution"),
                time_ns=self._state.now_ns,
                price=price,
                quantity=quantity,
                position_quantity=position_quantity,
            )
        )


def _closes(order: ExchangeOrder) -> bool:
    return order.position_intent.endswith("_close")
