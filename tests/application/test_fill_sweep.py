"""FillSweep: however many executions nobody told, each is found, and none is passed over by a reading cut short."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.application.fill_sweep import SWEEP_PERIOD_S
from gateway.application.reconciler import HOLDINGS_PERIOD_S
from gateway.domain.errors import VenueUnreachable
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec

ORDERS = 11


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading takes four executions, and a step looks up two orders."""
    monkeypatch.setattr("gateway.application.venue_readings.FILLS_PAGE", 2)
    monkeypatch.setattr("gateway.application.venue_readings.FILLS_PAGES_MAX", 2)
    monkeypatch.setattr("gateway.application.fill_sweep.UNTOLD_ORDERS_MAX", 2)


async def trade_unheard(rig: Rig) -> None:
    """Orders by hand, filled at once, of which the feed says nothing."""
    rig.venue.streaming.orders.is_connected = False
    for number in range(ORDERS):
        await rig.venue.trading.submit_order(rig.call(), f"by-hand-{number}", make_spec("AAPL", "buy", 1))
        await rig.clock.advance(0.01)
    rig.venue.streaming.orders.is_connected = True
    await settle()
    assert told(rig) == []


def told(rig: Rig) -> list[str]:
    return [event.fill.fill_id for event in rig.gateway.journal.read(0, 10_000) if event.fill is not None]


@pytest.mark.usefixtures("pages")
async def test_a_sweep_goes_on_where_a_reading_left_off(rig: Rig) -> None:
    await trade_unheard(rig)
    await rig.clock.advance(SWEEP_PERIOD_S + 10)
    assert len(told(rig)) == len(set(told(rig))) == ORDERS


@pytest.mark.usefixtures("pages")
async def test_one_that_fails_in_the_middle_begins_again(rig: Rig) -> None:
    inner = rig.venue.account.list_fill_activities
    failing = [True]

    async def list_fills(context: Any, **options: Any) -> Any:
        page = await inner(context, **options)
        if failing[0] and not page.next_page_token:
            raise VenueUnreachable("the last page cannot be read")
        return page

    rig.venue.account.list_fill_activities = list_fills  # type: ignore[method-assign]
    await trade_unheard(rig)
    await rig.clock.advance(2 * HOLDINGS_PERIOD_S)
    assert 0 < len(told(rig)) < ORDERS
    failing[0] = False
    await rig.clock.advance(SWEEP_PERIOD_S + 10)
    assert len(told(rig)) == len(set(told(rig))) == ORDERS


@pytest.mark.usefixtures("pages")
async def test_a_start_reads_all_of_them_before_it_is_live(rig: Rig) -> None:
    rig.settings["journal"] = rig.gateway.journal
    await rig.submit("k", make_spec("MSFT", "buy", 1))
    await rig.clock.advance(1)
    before = len(told(rig))
    await rig.stop()
    for number in range(ORDERS):
        await rig.venue.trading.submit_order(rig.call(), f"by-hand-{number}", make_spec("AAPL", "buy", 1))
    rig.gateway = rig.new_gateway()
    await rig.gateway.engine.start()
    await settle(300)
    assert rig.gateway.feed.is_live
    assert len(told(rig)) == before + ORDERS
