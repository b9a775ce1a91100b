"""FullListings: one reading for all who ask meanwhile, and never one that began before the question."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.application.full_listings import LIST_PAGE, FullListings, Span
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
    first = asyncio.create_task(listings.read(Span(50, 60)))
    await asyncio.sleep(0)
    others = [asyncio.create_task(listings.read(Span(after_ns, 60))) for after_ns in (30, 20, 40)]
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
    assert await listings.read(Span(0, 9)) is None
    venue.fails = False
    assert await listings.read(Span(0, 9)) == frozenset()


async def test_spans_that_do_not_touch_are_read_apart(rig: Rig) -> None:
    """What lies between an order of yesterday and one of today is not read for either."""
    venue = Venue(rig)
    listings = FullListings(venue, VenueCalls(rig.clock.monotonic))  # type: ignore[arg-type]
    first = asyncio.create_task(listings.read(Span(500, 600)))
    await asyncio.sleep(0)
    others = [asyncio.create_task(listings.read(span)) for span in (Span(10, 20), Span(510, 620), Span(15, 30))]
    await asyncio.sleep(0)
    venue.gate.set()
    assert await asyncio.gather(first, *others) == [frozenset()] * 4
    assert venue.asked == [500, 10, 510]


async def test_it_stops_behind_the_span(rig: Rig) -> None:
    """However many orders came since."""
    venue = Venue(rig)
    venue.gate.set()
    listings = FullListings(venue, VenueCalls(rig.clock.monotonic))  # type: ignore[arg-type]
    began_ns = rig.clock.wall()
    for number in range(LIST_PAGE + 5):
        await rig.submit(f"k{number}", make_spec("AAPL", "buy", 1, limit_price="90"))
        await rig.clock.advance(0.001)
    listed = await listings.read(Span(began_ns - 1, began_ns + 1_000_000))
    assert listed is not None
    assert "default.k0" in listed
    assert len(venue.asked) == 1
