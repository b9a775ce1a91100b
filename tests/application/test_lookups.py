"""Lookups: by themselves while they are few, in one list while they are many, and never by one that began before."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from gateway.application.lookups import (
    ALONE_AFTER_FAILURE,
    CLOCKS_APART_MAX_NS,
    LIST_GAP_S,
    SPAN_MAX_NS,
    TOGETHER_MIN,
    Lookups,
    Question,
    Span,
)
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.venue_calls import VenueCalls
from gateway.application.venue_readings import LIST_PAGE, VenueReadings
from gateway.domain.errors import VenueUnreachable
from gateway.domain.models.orders import OrderChanges
from gateway.domain.models.reference import MarketClock
from gateway.domain.types import NANOS_PER_SECOND, BudgetLane
from gateway.services.lookup_pace import LookupPace
from tests.application.rig import START_NS, Rig, settle
from tests.emulator.exchange.desk import make_spec

NOW = Span(START_NS - 1, START_NS + 600 * NANOS_PER_SECOND)
LISTED = f"list {NOW.after_ns}"


class Venue:
    """Answers what is so, as slowly as a test wants, and remembers what it was asked for."""

    def __init__(self, rig: Rig) -> None:
        self._trading = rig.venue.trading
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[str] = []
        self.lanes: list[BudgetLane] = []
        self.fails = False
        self.page = LIST_PAGE

    async def list(self, call: Any, status: Any, *, is_repeated: bool, limit: int, **bounds: Any) -> Any:
        assert not is_repeated
        await self._ask(f"list {bounds['after_ns']}", call)
        return await self._trading.list_orders(call, status, limit=limit, **bounds)

    async def find(self, call: Any, venue_client_id: str) -> Any:
        await self._ask(venue_client_id, call)
        return await self._trading.find_order(call, venue_client_id)

    async def get(self, call: Any, venue_order_id: str) -> Any:
        await self._ask("get", call)
        return await self._trading.get_order(call, venue_order_id)

    async def _ask(self, what: str, call: Any) -> None:
        self.asked.append(what)
        self.lanes.append(call.lane)
        await self.gate.wait()
        if self.fails:
            raise VenueUnreachable("no")


class Calendar:
    """The venue's clock."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def get_clock(self, call: Any) -> Any:
        self._desk.clock_reads += 1
        now_ns = self._desk.wall() + self._desk.venue_ahead_ns
        return MarketClock(now_ns, is_open=True, next_open_time_ns=now_ns, next_close_time_ns=now_ns)


class Desk:
    """Lookups on a venue."""

    def __init__(self, rig: Rig, per_minute: int = 0) -> None:
        self.wall = rig.clock.wall
        self.venue_ahead_ns = 0
        self.clock_reads = 0
        self.venue = Venue(rig)
        calls = VenueCalls(rig.clock.monotonic)
        readings = VenueReadings(self.venue, calls)  # type: ignore[arg-type]
        pace = LookupPace(lambda: per_minute, rig.clock.monotonic)
        self.lookups = Lookups(
            self.venue,  # type: ignore[arg-type]
            readings,
            Calendar(self),  # type: ignore[arg-type]
            pace,
            calls,
            OwnedTasks(),
            rig.clock.wall,
            rig.clock.monotonic,
            rig.clock.sleep,
        )

    def ask(self, key: str, span: Span | None = NOW, **facts: Any) -> asyncio.Task[Any]:
        return asyncio.create_task(self.lookups.look(Question(key, f"default.{key}", span, **facts)))


@pytest.fixture
def desk(rig: Rig) -> Desk:
    return Desk(rig)


async def rest(rig: Rig, key: str) -> Any:
    """An order that rests at the venue."""
    return await rig.submit(key, make_spec("AAPL", "buy", 1, limit_price="90"))


async def test_few_are_asked_for_by_themselves_and_many_together(rig: Rig, desk: Desk) -> None:
    await rest(rig, "k0")
    few = await asyncio.gather(*(desk.ask(f"k{number}") for number in range(TOGETHER_MIN - 1)))
    assert desk.venue.asked == [f"default.k{number}" for number in range(TOGETHER_MIN - 1)]
    many = await asyncio.gather(*(desk.ask(f"k{number}") for number in range(50)))
    assert desk.venue.asked[TOGETHER_MIN - 1 :] == [LISTED]
    assert all(answer.is_proof for answer in (*few, *many))
    assert [answer.found is not None for answer in many] == [True] + [False] * 49


async def test_an_answer_was_read_after_it_was_asked_for(rig: Rig, desk: Desk) -> None:
    """Who comes while a list is being read waits for the next, and the next waits a moment."""
    desk.venue.gate.clear()
    early = [desk.ask(f"e{number}") for number in range(TOGETHER_MIN)]
    await settle()
    late = [desk.ask(f"l{number}") for number in range(TOGETHER_MIN)]
    await settle()
    desk.venue.gate.set()
    await asyncio.gather(*early)
    await settle()
    assert desk.venue.asked == [LISTED]
    assert not any(task.done() for task in late)
    await rig.clock.advance(LIST_GAP_S)
    await asyncio.gather(*late)
    assert desk.venue.asked == [LISTED, LISTED]


async def test_what_cannot_be_read_proves_nothing(rig: Rig, desk: Desk) -> None:
    """Neither by itself nor together; and after a list that failed some are asked for by themselves."""
    desk.venue.fails = True
    assert not (await desk.ask("k")).is_proof
    answers = await asyncio.gather(*(desk.ask(f"k{number}") for number in range(TOGETHER_MIN)))
    assert not any(answer.is_proof for answer in answers)
    desk.venue.fails = False
    asked = len(desk.venue.asked)
    again = await asyncio.gather(*(desk.ask(f"k{number}") for number in range(ALONE_AFTER_FAILURE)))
    assert all(answer.is_proof for answer in again)
    assert desk.venue.asked[asked:] == [f"default.k{number}" for number in range(ALONE_AFTER_FAILURE)]


async def test_a_list_that_was_cut_short_shows_and_does_not_prove(
    rig: Rig, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.application.venue_readings.LIST_PAGE", 2)
    monkeypatch.setattr("gateway.application.lookups.LIST_PAGES_MAX", 2)
    for number in range(6):
        await rest(rig, f"k{number}")
        await rig.clock.advance(0.01)
    first, last, missing = await asyncio.gather(
        *(desk.ask(key, is_for_list=True) for key in ("k0", "k5", "nowhere")), return_exceptions=False
    )
    assert first.found is not None
    assert (last.is_proof, missing.is_proof) == (False, False)
    assert len(desk.venue.asked) == 2


async def test_only_spans_that_touch_are_read_together(rig: Rig, desk: Desk) -> None:
    """What lies between an order of yesterday and one of today is not read for either."""
    spans = [Span(500, 600), Span(10, 20), Span(510, 620), Span(15, 30)]
    asking = [desk.ask(f"k{number}", span, is_for_list=True) for number, span in enumerate(spans)]
    await rig.clock.advance(2 * LIST_GAP_S)
    assert all(answer.is_proof for answer in await asyncio.gather(*asking))
    assert desk.venue.asked == ["list 500", "list 10"]


async def test_what_reaches_back_too_far_is_asked_for_by_itself(rig: Rig, desk: Desk) -> None:
    asking = [desk.ask(f"k{number}", Span(0, SPAN_MAX_NS + 1)) for number in range(TOGETHER_MIN)]
    asking += [desk.ask(f"n{number}", None) for number in range(TOGETHER_MIN)]
    assert all(answer.is_proof for answer in await asyncio.gather(*asking))
    assert not any(asked.startswith("list") for asked in desk.venue.asked)


async def test_one_that_somebody_wants_canceled_comes_first_on_its_own_lane(rig: Rig) -> None:
    desk = Desk(rig, per_minute=200)
    desk.venue.gate.clear()
    asking = [desk.ask("first"), desk.ask("second"), desk.ask("owed", lane=BudgetLane.CANCEL)]
    await settle()
    desk.venue.gate.set()
    await asyncio.gather(*asking)
    assert desk.venue.asked == ["default.owed", "default.first", "default.second"]
    assert desk.venue.lanes == [BudgetLane.CANCEL, BudgetLane.LOOKUP, BudgetLane.LOOKUP]
    owed = [desk.ask(f"o{number}", lane=BudgetLane.CANCEL) for number in range(TOGETHER_MIN)]
    await asyncio.gather(desk.ask("other"), *owed)
    assert (desk.venue.asked[-1], desk.venue.lanes[-1]) == (LISTED, BudgetLane.CANCEL)


@pytest.mark.parametrize("together", [1, TOGETHER_MIN])
async def test_a_replace_is_looked_for_under_both_names(rig: Rig, desk: Desk, together: int) -> None:
    """By itself and in a list: the new order, the old one's successor under another name, the old one as it is."""
    old = (await rest(rig, "old")).order.venue_order_id

    async def look() -> Any:
        asking = [desk.ask("new", replaced_id=old) for _ in range(together)]
        await rig.clock.advance(LIST_GAP_S)
        return (await asyncio.gather(*asking))[0]

    still = await look()
    assert (still.is_proof, still.found, still.replaced.venue_order_id) == (True, None, old)
    other = await rig.venue.trading.replace_order(rig.call(), old, "by-hand", OrderChanges(limit_price=Decimal(91)))
    await rig.clock.advance(LIST_GAP_S)
    followed = await look()
    assert followed.found.venue_order_id == other.venue_order_id
    assert any(asked.startswith("list") for asked in desk.venue.asked) == (together > 1)


async def test_a_list_without_the_replaced_order_proves_nothing(rig: Rig, desk: Desk) -> None:
    asking = [desk.ask("new", replaced_id="gone") for _ in range(TOGETHER_MIN)]
    assert not any(answer.is_proof for answer in await asyncio.gather(*asking))


@pytest.mark.parametrize("sign", [1, -1])
async def test_a_list_by_another_clock_proves_nothing(rig: Rig, desk: Desk, sign: int) -> None:
    """What it shows is there all the same, and a lookup by name needs no clock."""
    await rest(rig, "k0")
    desk.venue_ahead_ns = sign * (CLOCKS_APART_MAX_NS + 1)
    there, *others = await asyncio.gather(*(desk.ask(f"k{number}") for number in range(TOGETHER_MIN)))
    assert there.found is not None
    assert not any(answer.is_proof for answer in others)
    assert desk.venue.asked == [LISTED]
    assert (await desk.ask("k1")).is_proof
    desk.venue_ahead_ns = 0
    for _ in range(3):
        await rig.clock.advance(LIST_GAP_S)
        assert (await desk.ask("k1", is_for_list=True)).is_proof
    assert desk.clock_reads == 2
