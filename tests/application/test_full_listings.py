"""FullListings: one reading for all who ask meanwhile, and never one that began before the question."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.application.full_listings import FullListings
from gateway.application.venue_calls import VenueCalls
from gateway.domain.errors import VenueUnreachable
from tests.application.rig import Rig
from tests.emulator.exchange.desk import make_spec


class Venue:
    """Lists what it has, page by page, as slowly as a test wants."""

    def __init__(self, rig: Rig) -> None:
        self._trading = rig.venue.trading
        self.gate = asyncio.Event()
        self.asked: list[int] = []
        self.fails = False

    async def list(self, call: Any, status: Any, **bounds: Any) -> Any:
        self.asked.append(bounds["after_ns"])
        await self.gate.wait()
        if self.fails:
            raise VenueUnreachable("no")
        return await self._trading.list_orders(call, status, **bounds)


async def test_those_who_wait_share_the_next_reading(rig: Rig) -> None:
    venue = Venue(rig)
    listings = FullListings(venue, VenueCalls(rig.clock.monotonic))  # type: ignore[arg-type]
    await rig.submit("k1", make_spec("AAPL", "buy", 1, limit_price="90"))
    first = asyncio.create_task(listings.read(50))
    await asyncio.sleep(0)
    others = [asyncio.create_task(listings.read(after_ns)) for after_ns in (30, 20, 40)]
    await asyncio.sleep(0)
    venue.gate.set()
    assert await first == frozenset({"default.k1"})
    assert [await other for other in others] == [frozenset({"default.k1"})] * 3
    assert venue.asked == [50, 20]  # the second began after all others had asked, and reaches back far enough


async def test_a_list_that_cannot_be_read_proves_nothing(rig: Rig) -> None:
    venue = Venue(rig)
    venue.gate.set()
    venue.fails = True
    listings = FullListings(venue, VenueCalls(rig.clock.monotonic))  # type: ignore[arg-type]
    assert await listings.read(0) is None
    venue.fails = False
    assert await listings.read(0) == frozenset()
