"""A wall clock that steps by an hour: what is waited for, what is read again and what is told do not depend on it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.application.order_updates import Book, StartSince
from gateway.domain.types import NANOS_PER_SECOND, OrderState
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from tests.application.rig import Clock, Gateway, Rig, settle
from tests.emulator.exchange.desk import make_spec

HOUR_S = 3_600
BUY = make_spec("AAPL", "buy", 10, limit_price="90")


class Skewed:
    """The rig's clock as a machine sees it whose wall clock is off; what is waited for is not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.off_s = 0

    def wall(self) -> int:
        return self._clock.wall() + self.off_s * NANOS_PER_SECOND

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


class SkewedRig(Rig):
    """A gateway on a machine whose wall clock steps, at a venue whose clock does not."""

    def __init__(self, **settings: Any) -> None:
        self.skewed: Skewed | None = None
        super().__init__(**settings)

    def new_gateway(self) -> Gateway:
        self.skewed = self.skewed or Skewed(self.clock)
        return Gateway(self.venue, self.trouble, self.prices, self.skewed, **self.settings)  # type: ignore[arg-type]

    def step(self, seconds: int) -> None:
        assert self.skewed is not None
        self.skewed.off_s += seconds

    def request(self, key: str, spec: Any, strategy_id: str = "default", valid_s: float = 5.0) -> Any:
        assert self.skewed is not None
        return super().request(key, spec, strategy_id, valid_s + self.skewed.off_s)  # a program on the same machine


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
async def test_orders_and_their_ends_are_told_once_and_in_order(step_s: int) -> None:
    rig = await SkewedRig(journal=MemoryJournal()).start()
    await rig.submit("before", BUY)
    rig.step(step_s)
    await rig.submit("after", BUY)
    rig.venue.streaming.orders.break_off("cut")
    rig.quote("AAPL", 89.0, 89.5)  # both are filled while nobody hears
    await settle()
    rig.step(-step_s)
    rig.venue.streaming.orders.come_back()
    await rig.clock.advance(15)
    assert rig.gateway.feed.is_live
    await rig.submit("later", make_spec("MSFT", "buy", 1, limit_price="100"))
    assert {key: rig.order(key).state for key in ("before", "after")} == dict.fromkeys(
        ("before", "after"), OrderState.FILLED
    )
    fills = [event for event in rig.gateway.journal.read(0, 1_000) if event.fill is not None]
    assert sorted(event.order_id for event in fills) == sorted(rig.order(key).order_id for key in ("before", "after"))
    times = [event.record_time_ns for event in rig.gateway.journal.read(0, 1_000)]
    assert times == sorted(times)
    await rig.stop()


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
async def test_an_instant_is_found_whatever_the_clock_did(step_s: int) -> None:
    rig = await SkewedRig(journal=MemoryJournal()).start()
    await rig.submit("before", BUY)
    rig.step(step_s)
    await rig.submit("after", BUY)
    newest = rig.gateway.journal.read(rig.gateway.journal.head - 1, 1)[0]
    rig.step(-step_s)
    found = []
    async for step in rig.gateway.updates.follow(Book(None), StartSince(newest.record_time_ns), 1_000):
        found.append(step.sequence)
        if step.sequence == newest.sequence:
            break
    assert found[-1] == newest.sequence
    await rig.stop()


async def test_what_happened_while_nobody_ran_is_found_although_the_clock_was_ahead() -> None:
    """The journal's newest record seems to lie in the future: nothing is read from there on alone."""
    rig = await SkewedRig(journal=MemoryJournal()).start()
    rig.step(HOUR_S)
    await rig.submit("rests", BUY)
    await rig.stop()
    rig.step(-HOUR_S)
    await rig.clock.advance(1_200)
    await rig.venue.trading.submit_order(rig.call(), "by-hand", make_spec("MSFT", "buy", 3))
    await rig.clock.advance(600)
    rig.gateway = rig.new_gateway()
    await rig.gateway.engine.start()
    await settle()
    fills = [event.fill for event in rig.gateway.journal.read(0, 1_000) if event.fill is not None]
    assert [(fill.symbol, fill.quantity) for fill in fills] == [("MSFT", 3)]
    await rig.stop()
