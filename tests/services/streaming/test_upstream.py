"""What happens above a stream: breaks, gaps, staleness, acknowledgements, subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from gateway.domain.errors import VenueUnreachable
from gateway.domain.models.market_data import Quote
from gateway.domain.types import Channel, ConflationPolicy, DataFeed, FeedState
from gateway.services.streaming import StreamLimits, hub, newest, silence
from gateway.services.streaming.hub import HubTimes
from tests.services.streaming.conftest import Corridor, eventually
from tests.services.streaming.venue import SECOND_NS, ScriptedVenue, quote
from trading_gateway.v1 import common_pb2, market_data_pb2 as pb


async def test_a_break_is_said_and_makes_values_stale(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL", "MSFT")
    corridor.publish(quote("AAPL", 1))
    await reader.until(lambda r: r.values)
    assert corridor.service.newest(Channel.QUOTES, DataFeed.IEX, "AAPL") is not None
    corridor.venue.connection.cut("connection limit exceeded", 406)
    await reader.until(lambda r: r.of("stale_symbols"))
    status = reader.statuses[-1]
    assert (status.feeds[0].state, status.feeds[0].venue_error_code) == (common_pb2.FEED_STATE_DISCONNECTED, 406)
    assert status.feeds[0].detail == "connection limit exceeded"
    assert list(status.stale_symbols) == ["AAPL"]
    assert corridor.service.newest(Channel.QUOTES, DataFeed.IEX, "AAPL") is None


async def test_after_a_break_the_newest_values_are_read_again_and_the_gap_is_told(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL", "MSFT")
    corridor.publish(quote("AAPL", 1))
    await reader.until(lambda r: r.values)
    corridor.venue.connection.cut()
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 7)
    corridor.venue.connection.answer()
    await reader.until(lambda r: len(r.values) == 2)
    again = reader.values[-1]
    assert (again.bid_price, again.snapshot, again.stale) == (100.07, True, False)
    await reader.until(lambda r: r.of("gaps"))
    [gap] = reader.of("gaps")
    assert (gap.feed, list(gap.symbols), gap.backfilled) == ("stocks:iex", ["AAPL", "MSFT"], False)
    assert gap.from_time.ToNanoseconds() == reader.values[0].receive_time.ToNanoseconds()
    assert gap.to_time.ToNanoseconds() > gap.from_time.ToNanoseconds()
    assert corridor.service.newest(Channel.QUOTES, DataFeed.IEX, "AAPL") is not None


async def test_an_unchanged_value_is_vouched_for_again_after_a_break(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL")
    corridor.publish(quote("AAPL", 1))
    await reader.until(lambda r: r.values)
    corridor.venue.connection.cut()
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 1)
    corridor.venue.connection.answer()
    await reader.until(lambda r: len(r.values) == 2)
    assert not reader.values[-1].stale


async def test_the_first_live_value_ends_the_gap_when_nothing_can_be_read(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL")
    corridor.publish(quote("AAPL", 1))
    await reader.until(lambda r: r.values)
    corridor.venue.error = VenueUnreachable("REST is down")
    corridor.venue.connection.cut()
    corridor.venue.connection.answer()
    assert not reader.of("gaps")
    corridor.publish(quote("AAPL", 2))
    await reader.until(lambda r: r.of("gaps") and len(r.values) == 2)
    assert not reader.values[-1].stale


async def test_who_joins_during_a_break_gets_stale_values_then_good_ones(corridor: Corridor) -> None:
    first = await corridor.live("AAPL")
    corridor.publish(quote("AAPL", 1))
    await first.until(lambda r: r.values)
    corridor.venue.connection.cut()
    second = await corridor.read("AAPL")
    await second.until(lambda r: r.values)
    assert (second.values[0].snapshot, second.values[0].stale) == (True, True)
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 2)
    corridor.venue.connection.answer()
    await second.until(lambda r: len(r.values) == 2)
    assert (second.values[1].snapshot, second.values[1].stale) == (True, False)
    assert not second.of("gaps"), "it had missed nothing yet"


async def test_a_feed_that_does_not_come_up_gives_what_can_be_read_flagged_stale(corridor: Corridor) -> None:
    corridor.venue.is_mute = True
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 1)
    reader = await corridor.read("AAPL")
    await reader.until(lambda r: any(status.snapshot_end for status in r.statuses))
    assert [(value.snapshot, value.stale) for value in reader.values] == [(True, True)]
    assert not reader.of("acks")
    corridor.venue.connection.answer()
    await reader.until(lambda r: len(r.values) == 2)
    assert not reader.values[1].stale


@pytest.mark.parametrize("policy", ConflationPolicy)
async def test_a_value_that_waited_too_long_is_stale_when_it_is_written(
    corridor: Corridor, policy: ConflationPolicy
) -> None:
    options = {"conflation": policy, "skip_snapshot": True, "max_batch_delay_ms": 0}
    messages = (await corridor.open("AAPL", "MSFT", **options)).messages()
    await anext(messages)
    await corridor.connected()
    corridor.publish(quote("AAPL", 1), quote("MSFT", 1))
    await asyncio.sleep(0.01)
    corridor.clocks.ahead_s += 3
    corridor.publish(quote("MSFT", 2, receive_ns=corridor.clocks.wall()))
    await asyncio.sleep(0.01)
    read = pb.StreamQuotesResponse.FromString(await anext(messages))
    flags = [(value.symbol, value.stale) for value in read.quotes]
    if policy is not ConflationPolicy.LATEST_PER_SYMBOL:
        assert flags == [("AAPL", True), ("MSFT", True), ("MSFT", False)]
    else:
        assert flags == [("AAPL", True), ("MSFT", False)]
    await messages.aclose()  # type: ignore[attr-defined]


async def test_a_value_that_reached_the_hub_too_late_is_not_vouched_for(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL")
    corridor.publish(quote("AAPL", 1, receive_ns=corridor.clocks.wall() - 3_000_000_000))
    await reader.until(lambda r: r.values)
    assert reader.values[0].stale
    assert corridor.service.newest(Channel.QUOTES, DataFeed.IEX, "AAPL") is None
    corridor.publish(quote("AAPL", 2))
    await reader.until(lambda r: len(r.values) == 2)
    assert not reader.values[1].stale


async def test_age_alone_makes_nothing_stale(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL")
    corridor.publish(quote("AAPL", 1))
    await reader.until(lambda r: r.values)
    corridor.clocks.ahead_s += 600
    assert corridor.service.newest(Channel.QUOTES, DataFeed.IEX, "AAPL") is None, "the loop has not turned since"
    await eventually(lambda: corridor.service.newest(Channel.QUOTES, DataFeed.IEX, "AAPL"))
    late = await corridor.live("AAPL")
    assert [(value.snapshot, value.stale) for value in late.values] == [(True, False)]


async def test_an_error_frame_is_told_without_a_break(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL")
    corridor.publish(quote("AAPL", 1))
    await reader.until(lambda r: r.values)
    since = reader.statuses[-1].feeds[0].since if reader.statuses[-1].feeds else None
    corridor.venue.connection.listener.on_state(FeedState.LIVE, "symbol limit exceeded", 405)
    await reader.until(lambda r: [feed for feed in r.of("feeds") if feed.venue_error_code == 405])
    feed = reader.of("feeds")[-1]
    assert feed.state == common_pb2.FEED_STATE_LIVE
    assert since is None or feed.since == since
    assert not reader.of("stale_symbols")
    assert corridor.service.newest(Channel.QUOTES, DataFeed.IEX, "AAPL") is not None


@pytest.mark.parametrize(("code", "status"), [(0, 14), (405, 8), (409, 9)])
async def test_what_the_venue_does_not_acknowledge_is_told(
    corridor: Corridor, code: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.services.streaming.subscriptions.CHANGE_INTERVAL_S", 0.01)
    corridor.venue.refuses = frozenset({"MSFT"})
    reader = await corridor.read("AAPL", "MSFT")
    await reader.until(lambda r: [ack for ack in r.of("acks") if ack.symbol == "AAPL"])
    if code:
        # The venue answers the change with an error frame, and nothing else from then on.
        corridor.venue.connection.listener.on_state(FeedState.LIVE, "refused", code)
        corridor.venue.is_mute = True
    refused = await reader.until(lambda r: [ack for ack in r.of("acks") if ack.symbol == "MSFT"])
    assert [ack.status.code for ack in refused] == [status]
    assert len(corridor.venue.connection.changes) == 2, "asked once more before giving up"
    corridor.publish(quote("AAPL", 1))
    await reader.until(lambda r: r.values)
    corridor.venue.refuses = frozenset()
    corridor.venue.connection.answer()
    await reader.until(lambda r: [ack for ack in r.of("acks") if ack.symbol == "MSFT" and not ack.status.code])


async def test_asking_again_for_what_was_refused_is_another_try(corridor: Corridor) -> None:
    corridor.venue.refuses = frozenset({"MSFT"})
    first = await corridor.read("MSFT")
    await first.until(lambda r: r.of("acks"))
    second = await corridor.read("MSFT")
    await second.until(lambda r: r.of("acks"))
    assert second.of("acks")[0].status.code == 14


async def test_the_last_to_leave_ends_the_subscription_after_a_while(corridor: Corridor) -> None:
    first, second = await corridor.live("AAPL", "MSFT"), await corridor.live("AAPL")
    await first.close()
    await eventually(lambda: corridor.venue.connection.wanted.symbols == {Channel.QUOTES: {"AAPL"}})
    await second.close()
    await eventually(lambda: corridor.venue.connection.wanted.symbols == {})
    assert corridor.service.held(Channel.QUOTES, DataFeed.IEX, "AAPL") is None


async def test_coming_back_in_time_disturbs_nothing(corridor: Corridor) -> None:
    first = await corridor.live("AAPL")
    await first.close()
    again = await corridor.live("AAPL")
    await asyncio.sleep(0.1)
    assert len(corridor.venue.connection.changes) == 1
    corridor.publish(quote("AAPL", 1))
    await again.until(lambda r: r.values)


async def test_many_changes_are_few_messages_to_the_venue(corridor: Corridor) -> None:
    streams = [await corridor.open(f"S{number}") for number in range(100)]
    await eventually(lambda: corridor.venue.connections and corridor.venue.connection.changes)
    for number in range(100):
        streams.append(await corridor.open(f"T{number}"))
        await asyncio.sleep(0)
    await eventually(lambda: len(corridor.venue.connection.wanted.symbols.get(Channel.QUOTES, ())) == 200)
    assert len(corridor.venue.connection.changes) == 2
    for stream in streams:
        stream.close()


async def test_one_request_for_all_who_join_together(corridor: Corridor) -> None:
    for _ in range(20):
        await corridor.read("AAPL", "MSFT")
    for reader in corridor.readers:
        await reader.until(lambda r: any(status.snapshot_end for status in r.statuses))
    assert corridor.venue.requests == [("quotes", ("AAPL", "MSFT"))]


async def test_long_lists_are_read_in_parts(corridor: Corridor) -> None:
    await corridor.live(*(f"S{number}" for number in range(450)))
    assert [len(symbols) for _, symbols in corridor.venue.requests] == [200, 200, 50]


async def test_newest_values_that_cannot_be_read_are_tried_again(
    corridor: Corridor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.services.streaming.owed_values.RETRY_S", 0.02)
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 1)
    corridor.venue.error = VenueUnreachable("REST is down")
    monkeypatch.setattr(newest.NewestValues, "read", _read_once)
    reader = await corridor.live("AAPL")
    assert not reader.values, "the stream goes on without"
    corridor.venue.error = None
    await reader.until(lambda r: r.values)
    assert (reader.values[0].snapshot, reader.values[0].stale) == (True, False)


async def _read_once(self: newest.NewestValues, channel: Channel, symbols: list[str]) -> list[Quote]:
    return await self._questions[channel](None, self._feed, symbols)  # type: ignore[return-value]


async def test_a_value_that_cannot_be_written_takes_nobody_with_it(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL", conflation=ConflationPolicy.NONE)
    bad = quote("AAPL", 2)
    bad.conditions = ("\ud800",)
    corridor.publish(quote("AAPL", 1), bad, quote("AAPL", 3))
    await reader.until(lambda r: len(r.values) == 2)
    assert [value.bid_price for value in reader.values] == [100.01, 100.03]


@pytest.mark.parametrize("error", [VenueUnreachable("no route"), ValueError("a bug")])
async def test_a_connection_that_cannot_be_opened_is_tried_again(
    corridor: Corridor, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("gateway.services.streaming.subscriptions.CHANGE_RETRY_S", 0.02)
    opened = ScriptedVenue.open_market_data
    attempts: list[int] = []

    async def fails_first(venue: ScriptedVenue, *arguments: object) -> object:
        attempts.append(1)
        if len(attempts) == 1:
            raise error
        call: Callable[..., Awaitable[object]] = opened
        return await call(venue, *arguments)

    monkeypatch.setattr(ScriptedVenue, "open_market_data", fails_first)
    await corridor.live("AAPL")
    assert len(attempts) == 2


async def test_an_idle_corridor_does_nothing(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL", heartbeat_interval_ms=60_000)
    told, requests = len(reader.messages), len(corridor.venue.requests)
    await asyncio.sleep(0.3)
    assert (len(reader.messages), len(corridor.venue.requests)) == (told, requests)
    assert len(corridor.venue.connection.changes) == 1


class TestSilence:
    @pytest.fixture
    def limits(self) -> StreamLimits:
        return StreamLimits(
            500, 65_536, times=HubTimes(linger_s=5, ack_timeout_s=0.5, snapshot_wait_s=0.05, silence_s=0.02)
        )

    @pytest.fixture(autouse=True)
    def little_patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(silence, "SILENCE_MAX_S", 0.02)
        monkeypatch.setattr(silence, "PROOF_S", 0.02)

    async def test_a_feed_that_is_connected_and_mute_is_not_vouched_for_and_connected_anew(
        self, corridor: Corridor
    ) -> None:
        reader = await corridor.live("AAPL", "MSFT")
        corridor.publish(quote("AAPL", 1), quote("MSFT", 1))
        await reader.until(lambda r: len(r.values) == 2)
        corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 9)
        await reader.until(lambda r: r.of("stale_symbols"))
        told = next(status for status in reader.statuses if status.stale_symbols)
        assert (told.feeds[0].state, told.feeds[0].detail) == (common_pb2.FEED_STATE_MUTE, hub.MUTE)
        assert list(told.stale_symbols) == ["AAPL", "MSFT"]
        await reader.until(lambda r: [value.bid_price for value in r.values][2:] == [100.09])
        assert not reader.values[-1].stale
        assert [sorted(change.symbols) for change in corridor.venue.connection.changes] == [
            [Channel.QUOTES],
            [],
            [Channel.QUOTES],
        ]

    async def test_a_quiet_market_is_no_mute_feed(self, corridor: Corridor) -> None:
        reader = await corridor.live("AAPL")
        corridor.publish(quote("AAPL", 1))
        await reader.until(lambda r: r.values)
        corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 1)
        asked = len(corridor.venue.requests)
        await eventually(lambda: len(corridor.venue.requests) >= asked + 3)
        assert not reader.of("stale_symbols")
        corridor.venue.error = VenueUnreachable("REST is down")
        await eventually(lambda: len(corridor.venue.requests) >= asked + 5)
        assert len(corridor.venue.connection.changes) == 1

    async def test_what_the_feed_brings_a_moment_later_was_only_late(self, corridor: Corridor) -> None:
        reader = await corridor.live("AAPL")
        corridor.publish(quote("AAPL", 1))
        await reader.until(lambda r: r.values)
        corridor.venue.gate = asyncio.Event()
        corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 2)
        asked = len(corridor.venue.requests)
        await eventually(lambda: len(corridor.venue.requests) > asked)
        corridor.publish(quote("AAPL", 2))
        corridor.venue.gate.set()
        await asyncio.sleep(0.05)
        assert len(corridor.venue.connection.changes) == 1
        assert not reader.of("stale_symbols")


async def test_a_connection_is_nobodys(corridor: Corridor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the log of a feed that breaks hours later would name the call that wanted it first."""
    caller: ContextVar[str] = ContextVar("caller", default="nobody")
    opened_by: list[str] = []
    opening = corridor.venue.open_market_data

    async def noting(feed: DataFeed, listener: Any) -> Any:
        opened_by.append(caller.get())
        return await opening(feed, listener)

    monkeypatch.setattr(corridor.venue, "open_market_data", noting)
    caller.set("somebody")
    await corridor.live("AAPL")
    assert opened_by == ["nobody"]


@pytest.mark.parametrize("limits", [StreamLimits(500, 8, times=HubTimes(snapshot_wait_s=0.05), price_symbols_max=5)])
async def test_a_kept_symbol_without_any_quote_is_read_once(corridor: Corridor) -> None:
    corridor.service.keep_price(DataFeed.IEX, "MSFT")
    await corridor.connected()
    asked = [("quotes", ("MSFT",))]
    await eventually(lambda: corridor.venue.requests == asked)
    await corridor.live("AAPL", skip_snapshot=True)
    reader = await corridor.live("TSLA")
    assert [symbols for _, symbols in corridor.venue.requests] == [("MSFT",), ("TSLA",)]
    corridor.venue.connection.cut()
    await reader.until(lambda r: r.of("feeds")[-1].state == common_pb2.FEED_STATE_DISCONNECTED)
    corridor.venue.connection.answer()
    await eventually(lambda: corridor.venue.requests.count(asked[0]) == 2)


async def test_newest_values_are_tried_again_after_any_error(
    corridor: Corridor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.services.streaming.owed_values.RETRY_S", 0.05)
    reader = await corridor.live("AAPL")
    corridor.publish(quote("AAPL", 1))
    await reader.until(lambda r: r.values)
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 2)
    corridor.venue.connection.cut()
    failures: list[Exception] = [ValueError("a bug")]
    corridor.venue.error_of_request = lambda: failures.pop() if failures else None  # type: ignore[return-value]
    corridor.venue.connection.answer()
    await reader.until(lambda r: r.values[-1].bid_price == 100.02 and not r.values[-1].stale)
    assert not failures


async def test_a_value_that_came_late_is_read_again(corridor: Corridor) -> None:
    reader = await corridor.live("AAPL")
    late = quote("AAPL", 1, receive_ns=corridor.clocks.wall() - 3 * SECOND_NS)
    corridor.venue.newest[Channel.QUOTES, "AAPL"] = late
    corridor.publish(late)
    await reader.until(lambda r: r.values)
    assert reader.values[0].stale
    await reader.until(lambda r: not r.values[-1].stale)


async def test_an_unreadable_frame_hides_no_reason_of_a_refusal(corridor: Corridor) -> None:
    await corridor.live("AAPL")
    corridor.venue.refuses = frozenset({"MSFT"})
    second = await corridor.read("MSFT")
    await eventually(lambda: "MSFT" in corridor.venue.connection.wanted.symbols[Channel.QUOTES])
    listener = corridor.venue.connection.listener
    listener.on_state(FeedState.LIVE, "symbol limit exceeded", 405)
    listener.on_state(FeedState.LIVE, "unreadable: a message without its kind", 0)
    [ack] = await second.until(lambda r: r.of("acks"))
    assert ack.status.code == 8, "the limit of symbols, and not a venue that is unreachable"
