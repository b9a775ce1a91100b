"""What must run as long as the gateway does goes on after whatever it meets, or everybody is told that it does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.application.account_guard import AccountGuard
from gateway.application.kill_watch import KillWatch
from gateway.application.order_feed import GAP_WAIT_S
from gateway.application.venue_calls import VenueCalls
from gateway.domain.models.account import AccountPin
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import OrderState, Venue
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 10, limit_price="90")


class Surprise(Exception):
    """What nobody thought of."""


async def test_the_feed_goes_on_after_a_message_that_could_not_be_looked_at(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.submit("k1", BUY)
    asked = rig.gateway.orders.filled_at_venue
    surprises = [Surprise()]

    def filled_at_venue(venue_order: Any) -> Any:
        if surprises:
            raise surprises.pop()
        return asked(venue_order)

    monkeypatch.setattr(rig.gateway.orders, "filled_at_venue", filled_at_venue)
    rig.quote("AAPL", 89.0, 89.5)  # it is filled, and that message is the one
    await rig.clock.advance(1.0)
    assert not surprises
    assert rig.order("k1").state is OrderState.FILLED, "looked up"
    await rig.submit("k2", make_spec("MSFT", "buy", 1, limit_price="90"))
    rig.exchange.cancel(rig.clock.now_ns, rig.order("k2").venue_order_id)
    rig.floor.publish_updates()
    await settle()
    assert rig.order("k2").state is OrderState.CANCELED, "told by the feed"


async def test_fills_that_wait_are_taken_in_whatever_is_met_while_they_do(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.submit("k1", BUY)
    feed = rig.gateway.feed
    monkeypatch.setattr(feed, "_is_early", lambda _: True)
    rig.quote("AAPL", 89.0, 89.5)
    await settle()

    def surprise(_: object) -> bool:
        raise Surprise

    monkeypatch.setattr(feed, "_is_early", surprise)
    await rig.clock.advance(GAP_WAIT_S)
    assert rig.order("k1").filled_quantity == 10
    assert not feed._held


async def test_no_more_than_so_many_wait_behind_a_missing_fill(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.submit("k1", BUY)
    feed = rig.gateway.feed
    monkeypatch.setattr("gateway.application.order_feed.GAP_UPDATES_MAX", 3)
    monkeypatch.setattr(feed, "_is_early", lambda _: True)
    for price in (89.0, 89.1):
        rig.quote("AAPL", 88.0, price, size=3)
    await settle()
    assert rig.order("k1").filled_quantity == 0
    assert sum(map(len, feed._held.values())) == 2
    rig.quote("AAPL", 88.0, 89.2, size=3)
    await settle()
    assert rig.order("k1").filled_quantity == 9
    assert not feed._held


async def test_the_file_is_looked_for_whatever_a_look_meets(rig: Rig) -> None:
    looks: list[bool | Exception] = [Surprise(), False, Surprise(), True]

    async def is_wanted() -> bool:
        found = looks.pop(0) if looks else True
        if isinstance(found, Exception):
            raise found
        return found

    watching = asyncio.create_task(KillWatch(rig.gateway.states, is_wanted, 100, rig.clock.sleep).run())
    await rig.clock.advance(0.5)
    assert rig.gateway.states.mode is TradingMode.KILLED
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


async def test_a_kill_goes_on_whatever_an_answer_does(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.submit("k1", BUY)
    rig.trouble.cancel_all_errors = [Surprise(), Surprise()]
    await rig.gateway.states.set(TradingMode.KILLED, "", "local")
    await rig.clock.advance(2.0)
    assert (await rig.gateway.kill.progress(0)).all_gone
    assert rig.order("k1").state is OrderState.CANCELED


async def test_a_part_that_ends_all_the_same_stops_trading(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def surprise() -> None:
        raise Surprise

    monkeypatch.setattr(rig.gateway.reconciler, "_look_after", surprise)
    await rig.clock.advance(1.0)
    assert rig.gateway.states.mode is TradingMode.HALTED
    assert rig.gateway.alarms.counts["task_failed"] == 1


async def test_the_door_opens_although_an_account_could_not_be_read_at_all() -> None:
    class Pins:
        def current(self) -> AccountPin | None:
            return AccountPin(Venue.EMULATOR, "mine")

    surprises = [Surprise(), Surprise()]

    class Accounts:
        async def get_account(self, _: object) -> Any:
            if surprises:
                raise surprises.pop()
            return type("Account", (), {"account_id": "mine"})

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    guard = AccountGuard(
        Pins(),  # type: ignore[arg-type]
        Accounts(),  # type: ignore[arg-type]
        Venue.EMULATOR,
        VenueCalls(lambda: 0.0),
        lambda _: None,
        sleep,
    )
    await guard.run()
    guard.check_door()
