"""A silence that ends by itself is told as a hole when the feed swallowed something, and not when it did not.

And of any hole, a stream is told, and made up for, what it had when the hole began.
"""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.errors import VenueUnreachable
from gateway.domain.models.market_data import Page
from gateway.domain.types import Channel, ConflationPolicy
from gateway.services.streaming import HubTimes, StreamLimits, silence, stray_symbols
from tests.services.streaming.conftest import Corridor, Reader, eventually
from tests.services.streaming.venue import quote, trade
from trading_gateway.v1 import common_pb2

SILENCE_S = 0.15
PROOF_S = 0.08


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> StreamLimits:
    monkeypatch.setattr(silence, "PROOF_S", PROOF_S)
    return StreamLimits(500, 65_536, times=HubTimes(linger_s=5, ack_timeout_s=5, silence_s=SILENCE_S))


async def silent(corridor: Corridor, *symbols: str) -> Reader:
    """A reader of every quote, whose feed has said something once and was asked about by now."""
    reader = await corridor.live(*symbols, conflation=ConflationPolicy.NONE)
    corridor.publish(*(quote(symbol, 1) for symbol in symbols))
    await reader.until(lambda r: len(r.values) == len(symbols))
    return reader


async def asked(corridor: Corridor) -> None:
    """Wait until all channels have been asked about; there are quotes alone."""
    before = corridor.venue.requests.copy()
    await eventually(lambda: len(corridor.venue.requests) > len(before))


async def test_what_a_feed_swallowed_before_it_spoke_again_is_told(corridor: Corridor) -> None:
    reader = await silent(corridor, "AAPL", "MSFT")
    last_ns = reader.values[-1].receive_time.ToNanoseconds()
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 5)
    await asked(corridor)
    corridor.publish(quote("AAPL", 6))
    await reader.until(lambda r: r.of("gaps"))
    [gap] = reader.of("gaps")
    back_ns = reader.values[-1].receive_time.ToNanoseconds()
    assert (gap.from_time.ToNanoseconds(), gap.to_time.ToNanoseconds()) == (last_ns, back_ns)
    assert (list(gap.symbols), gap.backfilled) == (["AAPL", "MSFT"], False)
    assert {feed.state for feed in reader.of("feeds")} <= {common_pb2.FEED_STATE_CONNECTING, common_pb2.FEED_STATE_LIVE}


async def test_a_feed_that_goes_on_without_a_symbol_has_swallowed_it(corridor: Corridor) -> None:
    reader = await silent(corridor, "AAPL", "MSFT")
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 5)
    await asked(corridor)
    corridor.publish(quote("MSFT", 2))
    await reader.until(lambda r: r.of("gaps"))
    assert common_pb2.FEED_STATE_MUTE not in {feed.state for feed in reader.of("feeds")}, "told before it was proven"


@pytest.mark.parametrize(
    "late",
    [(5,), (2, 5, 6), (3, 4)],
    ids=["what the venue had", "all of it, and more", "older, newer ones are on their way"],
)
async def test_a_feed_that_was_only_late_has_no_gap(corridor: Corridor, late: tuple[int, ...]) -> None:
    reader = await silent(corridor, "AAPL")
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 5)
    await asked(corridor)
    corridor.publish(*(quote("AAPL", number) for number in late))
    await asyncio.sleep(3 * PROOF_S)
    corridor.publish(quote("AAPL", 9))
    await reader.until(lambda r: r.values[-1].bid_price == 100.09)
    assert not reader.of("gaps")


async def test_what_comes_while_the_question_is_under_way_is_the_answer_too(corridor: Corridor) -> None:
    reader = await silent(corridor, "AAPL")
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 5)
    corridor.venue.gate = asyncio.Event()
    await asked(corridor)
    corridor.publish(quote("AAPL", 6))
    corridor.venue.gate.set()
    await reader.until(lambda r: r.of("gaps"))


@pytest.mark.parametrize("error", [None, VenueUnreachable("REST is down")], ids=["nothing newer", "no answer"])
async def test_a_quiet_symbol_has_no_gap(corridor: Corridor, error: VenueUnreachable | None) -> None:
    reader = await silent(corridor, "THIN")
    corridor.venue.newest[Channel.QUOTES, "THIN"] = quote("THIN", 1)
    corridor.venue.error = error
    await asked(corridor)
    corridor.publish(quote("THIN", 6))
    await asyncio.sleep(3 * PROOF_S)
    corridor.publish(quote("THIN", 7))
    await reader.until(lambda r: r.values[-1].bid_price == 100.07)
    assert not reader.of("gaps")


async def test_a_break_that_follows_is_told_once(corridor: Corridor) -> None:
    reader = await silent(corridor, "AAPL")
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 5)
    await asked(corridor)
    corridor.venue.connection.cut()
    corridor.venue.connection.answer()
    corridor.publish(quote("AAPL", 8))
    await reader.until(lambda r: r.of("gaps"))
    await asyncio.sleep(3 * PROOF_S)
    corridor.publish(quote("AAPL", 9))
    await reader.until(lambda r: r.values[-1].bid_price == 100.09)
    assert len(reader.of("gaps")) == 1


async def test_who_came_within_the_silence_has_no_gap(corridor: Corridor) -> None:
    reader = await silent(corridor, "AAPL")
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 5)
    await asked(corridor)
    late = await corridor.read("AAPL", conflation=ConflationPolicy.NONE)
    corridor.publish(quote("AAPL", 6))
    await reader.until(lambda r: r.of("gaps"))
    corridor.publish(quote("AAPL", 7))
    await late.until(lambda r: r.values and r.values[-1].bid_price == 100.07)
    assert not late.of("gaps")


async def test_a_symbol_that_strayed_and_came_back_is_told(corridor: Corridor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stray_symbols, "LOOK_INTERVAL_S", 0.03)
    reader = await corridor.live("BUSY", "LOST", conflation=ConflationPolicy.NONE)
    clock, number = asyncio.get_running_loop().time, 0
    until = clock() + 10 * stray_symbols.LOOK_INTERVAL_S
    while clock() < until:
        number += 1
        corridor.publish(quote("BUSY", number), quote("LOST", number))
        await asyncio.sleep(0.005)
    lost_ns = [v for v in reader.values if v.symbol == "LOST"][-1].receive_time.ToNanoseconds()
    corridor.venue.newest[Channel.QUOTES, "LOST"] = quote("LOST", 5_000)
    asked_of = (Channel.QUOTES.value, ("LOST",))
    while asked_of not in corridor.venue.requests:
        number += 1
        corridor.publish(quote("BUSY", number))
        await asyncio.sleep(0.005)
    corridor.publish(quote("LOST", 6_000))
    await reader.until(lambda r: r.of("gaps"))
    [gap] = reader.of("gaps")
    assert (list(gap.symbols), gap.from_time.ToNanoseconds()) == (["LOST"], lost_ns)
    assert common_pb2.FEED_STATE_STALE not in {feed.state for feed in reader.of("feeds")}


async def test_a_symbol_that_is_asked_for_within_a_break_missed_nothing(corridor: Corridor) -> None:
    session = await corridor.live("AAPL", channel=Channel.TRADES)
    corridor.publish(trade("AAPL", 1))
    await session.until(lambda r: len(r.values) == 1)
    other = await corridor.live("MSFT", channel=Channel.TRADES)
    corridor.venue.connection.cut()
    hub = session.stream._hub
    hub.join(session.stream, ["MSFT"])  # type: ignore[attr-defined]
    hub.part(other.stream, ["MSFT"])  # type: ignore[attr-defined]
    hub.join(other.stream, ["MSFT"])  # type: ignore[attr-defined]
    corridor.venue.pages[""] = Page((trade("AAPL", 2), trade("MSFT", 2)))
    corridor.venue.connection.answer()
    await session.until(lambda r: r.of("gaps") and len(r.values) == 2)
    [gap] = session.of("gaps")
    assert (list(gap.symbols), gap.backfilled_count) == (["AAPL"], 1)
    assert [(value.symbol, value.trade_id) for value in session.values] == [("AAPL", 1), ("AAPL", 2)]
    corridor.publish(trade("MSFT", 3))
    await other.until(lambda r: r.values)
    assert [value.trade_id for value in other.values] == [3]
    assert not other.of("gaps")
