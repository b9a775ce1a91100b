"""A venue that answers at once, without a socket: what is left is the gateway's own work.

Implements the repository interfaces honestly: it accepts orders, finds them again, and its order feed is live and
says nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from gateway.domain.interfaces import OrderUpdateListener, VenueOrderFilter
from gateway.domain.models.account import Account, Activity, Position
from gateway.domain.models.market_data import Page
from gateway.domain.models.orders import OrderSpec, VenueOrder
from gateway.domain.models.reference import Asset, MarketClock, MarketDay
from gateway.domain.types import AssetClass, CallContext, FeedState, Venue

HOUR_NS = 3_600_000_000_000


class InstantVenue:
    """Trading, account, market-data and streaming repository in one."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._orders: dict[str, VenueOrder] = {}
        self._by_venue_id: dict[str, VenueOrder] = {}
        self._by_time: list[VenueOrder] = []

    async def submit_order(self, _context: CallContext, venue_client_order_id: str, spec: OrderSpec) -> VenueOrder:
        assert venue_client_order_id not in self._orders, "sent twice"
        now = time.time_ns()
        order = VenueOrder(
            venue_order_id=str(uuid.UUID(int=next(self._numbers))),
            venue_client_order_id=venue_client_order_id,
            venue_status="new",
            symbol=spec.symbol,
            asset_class=AssetClass.US_EQUITY,
            side=spec.side,
            order_type=spec.order_type,
            time_in_force=spec.time_in_force,
            quantity=spec.quantity,
            limit_price=spec.limit_price,
            create_time_ns=now,
            submit_time_ns=now,
            update_time_ns=now,
        )
        self._orders[venue_client_order_id] = self._by_venue_id[order.venue_order_id] = order
        self._by_time.append(order)
        return order

    async def find_order(self, _context: CallContext, venue_client_order_id: str) -> VenueOrder | None:
        return self._orders.get(venue_client_order_id)

    async def get_order(self, _context: CallContext, venue_order_id: str) -> VenueOrder:
        return self._by_venue_id[venue_order_id]

    async def list_orders(
        self,
        _context: CallContext,
        _status: VenueOrderFilter,
        *,
        after_ns: int | None = None,
        until_ns: int | None = None,
        oldest_first: bool = False,
        limit: int = 500,
    ) -> list[VenueOrder]:
        await asyncio.sleep(0)  # as a read of a real venue, it lets others run
        low = 0 if after_ns is None else bisect_right(self._by_time, after_ns, key=_submitted)
        high = len(self._by_time) if until_ns is None else bisect_left(self._by_time, until_ns, key=_submitted)
        if oldest_first:
            return self._by_time[low : min(high, low + limit)]
        return self._by_time[max(low, high - limit) : high][::-1]

    async def get_account(self, _context: CallContext) -> Account:
        plenty_usd = Decimal(10**12)
        now = time.time_ns()
        return Account("bench", "BENCH1", Venue.EMULATOR, "ACTIVE", *[plenty_usd] * 3, now, shorting_enabled=True)

    async def list_positions(self, _context: CallContext) -> list[Position]:
        return []

    async def list_fill_activities(self, _context: CallContext, **_filters: Any) -> Page[Activity]:
        return Page(())

    async def list_assets(self, _context: CallContext, asset_class: AssetClass) -> list[Asset]:
        if asset_class is not AssetClass.US_EQUITY:
            return []
        asset_id = str(uuid.UUID(int=1))
        return [Asset(asset_id, "AAPL", AssetClass.US_EQUITY, fractionable=True, marginable=True, shortable=True)]

    async def get_market_clock(self, _context: CallContext) -> MarketClock:
        now = time.time_ns()
        return MarketClock(now, True, now + 24 * HOUR_NS, now + HOUR_NS)

    async def list_market_days(self, _context: CallContext, _start: date, _end: date) -> list[MarketDay]:
        return []

    async def get_latest_quotes(self, *_arguments: Any) -> list[Any]:
        return []

    get_latest_trades = get_latest_bars = get_latest_order_books = get_latest_quotes

    async def open_order_updates(self, listener: OrderUpdateListener) -> Quiet:
        listener.on_state(FeedState.RECONCILING, "", 0)
        return Quiet()

    async def open_market_data(self, *_arguments: Any) -> Quiet:
        return Quiet()


def _submitted(order: VenueOrder) -> int:
    assert order.submit_time_ns is not None
    return order.submit_time_ns


class Quiet:
    """A connection that never says anything."""

    async def set_subscriptions(self, _wanted: Sequence[Any]) -> None:
        return None

    async def close(self) -> None:
        return None
