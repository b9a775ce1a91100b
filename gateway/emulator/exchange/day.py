"""The course of a trading day: what happens when a session opens or closes, and when the equity is noted.

Promises: boundaries are passed in order, each at its own instant. At the close the auction comes first, then day orders
expire, then the day's closing numbers are taken; at the open queued orders begin, and wait for the first quote.
"""

from __future__ import annotations

from typing import Final

from gateway.domain.types import AssetClass, TimeInForce
from gateway.emulator.exchange.engine import Engine
from gateway.emulator.exchange.orders import ExchangeOrder, OrderStatus
from gateway.emulator.exchange.sessions import new_york_date
from gateway.emulator.exchange.state import State

_AUCTIONS: Final = (TimeInForce.OPG, TimeInForce.CLS)


class TradingDay:
    """Passes time over one state."""

    def __init__(self, state: State, engine: Engine) -> None:
        self._state = state
        self._engine = engine

    def pass_time(self, now_ns: int) -> None:
        """Let it be now, after everything that was due before. It ends: each round is one boundary nearer."""
        state = self._state
        while state.next_boundary_ns <= now_ns:
            self._pass_boundary(state.next_boundary_ns)
        state.now_ns = max(state.now_ns, now_ns)
        if state.next_sample_ns <= state.now_ns:
            state.history.add(state.now_ns, state.valuation().equity)
            state.schedule_sample()

    def _pass_boundary(self, boundary_ns: int) -> None:
        state = self._state
        state.now_ns = max(state.now_ns, boundary_ns)
        ended = state.hours.day(new_york_date(boundary_ns - 1))
        closing = ended is not None and ended.close_time_ns == boundary_ns
        if closing:
            self._hold_closing_auctions(boundary_ns)
        self._expire(boundary_ns)
        if closing:
            self._end_day(boundary_ns)
        self.change_phase(boundary_ns, opening=state.hours.current(boundary_ns).open_time_ns == boundary_ns)

    def change_phase(self, now_ns: int, *, opening: bool = False) -> None:
        """Other hours begin: orders begin, go on or rest, as the hours let them."""
        state = self._state
        state.phase = state.hours.phase(now_ns)
        state.next_boundary_ns = state.hours.next_boundary_ns(now_ns)
        if opening:
            for asset in state.assets:
                if asset.asset_class is not AssetClass.CRYPTO:
                    state.book(asset.symbol).start_session()
        for order in state.store.open_orders():
            if order.is_open and order.asset_class is not AssetClass.CRYPTO:
                self._resume(order, opening=opening)
        self._engine.settle()

    def _resume(self, order: ExchangeOrder, *, opening: bool) -> None:
        engine = self._engine
        if order.time_in_force is TimeInForce.OPG:
            if opening and self._is_its_opening(order):
                engine.begin(order)
        elif not engine.may_work(order):
            engine.unrest(order)
        elif order.status is OrderStatus.ACCEPTED:
            engine.begin(order)
        elif order.time_in_force is not TimeInForce.CLS:
            engine.rest(order)

    def _is_its_opening(self, order: ExchangeOrder) -> bool:
        today = self._state.hours.current(self._state.now_ns)
        return order.status is OrderStatus.ACCEPTED and _ends(order, today.close_time_ns)

    def _hold_closing_auctions(self, close_ns: int) -> None:
        """Who wanted the close gets the last price; who waited for an opening price in vain ends."""
        engine = self._engine
        for order in self._state.store.open_orders():
            if not order.is_open or order.time_in_force not in _AUCTIONS or not _ends(order, close_ns):
                continue
            price = self._state.price(order.symbol)
            if order.time_in_force is TimeInForce.OPG or order.status is OrderStatus.ACCEPTED or price is None:
                engine.end(order, engine.unfilled_status())
            else:
                engine.hold_auction([order], price)
        engine.settle()

    def _expire(self, boundary_ns: int) -> None:
        for order in self._state.store.open_orders():
            if order.is_open and _ends(order, boundary_ns):
                self._engine.end_family(order, OrderStatus.EXPIRED)

    def _end_day(self, close_ns: int) -> None:
        """The closing numbers, which tomorrow's profits count from."""
        state = self._state
        valuation = state.valuation()
        state.last_equity, state.last_maintenance_margin = valuation.equity, valuation.maintenance_margin
        state.last_close_ns = close_ns
        state.holdings.start_day(state.price)
        for asset in state.assets:
            book = state.book(asset.symbol)
            book.lastday_price = book.mark()


def _ends(order: ExchangeOrder, boundary_ns: int) -> bool:
    return order.expires_ns is not None and order.expires_ns <= boundary_ns
