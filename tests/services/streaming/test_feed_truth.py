"""What a feed is said to be: quiet, delayed, mute, stale, reconciling; and what is made up for after a break."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.domain.errors import VenueUnreachable
from gateway.domain.models.market_data import Page, Quote
from gateway.domain.models.reference import MarketClock
from gateway.domain.types import AssetClass, CallContext, Channel, ConflationPolicy, DataFeed, FeedState
from gateway.services.streaming import HubTimes, StreamLimits, WatchTimes, backfill, feed_watch, silence, stray_symbols
from gateway.services.streaming.feed_watch import FeedWatch
from gateway.services.streaming.kept_prices import PRICE_LINGER_S, KeptPrices
from gateway.services.streaming.market_hours import HOURS_KNOWN_S, HOURS_RETRY_S, HOURS_TRUSTED_S, MarketHours
from gateway.services.streaming.stray_symbols import BUSY_LOOKS_MIN, SILENT_LOOKS_MIN, StraySymbols
from tests.services.streaming.conftest import Corridor, Reader, eventually
from tests.services.streaming.venue import SECOND_NS, T0_NS, Clocks, bar, quote, trade
from trading_gateway.v1 import common_pb2

QUICK = 0.005


def states(reader: Reader) -> list[int]:
    """Each state told, in order, without repetitions."""
    told: list[int] = []
    for feed in reader.of("feeds"):
        if not told or told[-1] != feed.state:
            told.append(feed.state)
    return told


def live_bid(corridor: Corridor, symbol: str) -> float:
    """Of the newest quote that is vouched for."""
    newest = corridor.service.newest(Channel.QUOTES, DataFeed.IEX, symbol)
    assert isinstance(newest, Quote)
    return newest.bid_price


class TestWatch:
    """The watch alone, on a clock that the test turns."""

    @pytest.fixture(autouse=True)
    def quick_looks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(feed_watch, "LOOK_INTERVAL_S", QUICK)

    def watch(self, feed: DataFeed = DataFeed.IEX, **answers: bool) -> tuple[FeedWatch, list[FeedState], list[float]]:
        told: list[FeedState] = []
        now = [100.0]
        self.heard = 0
        watch = FeedWatch(
            feed,
            WatchTimes(),
            change=lambda state, _detail: told.append(state),
            heard=lambda: self.heard,
            is_sparse=lambda: answers.get("is_sparse", False),
            is_open=lambda: answers.get("is_open", True),
            monotonic=lambda: now[0],
        )
        assert watch.connection(FeedState.LIVE, lambda: False) is FeedState.LIVE
        return watch, told, now

    async def looks(self, times: int = 4) -> None:
        await asyncio.sleep(times * QUICK + 0.02)

    @pytest.mark.parametrize(
        ("answers", "silent_s", "quiet"),
        [
            ({"is_open": False}, 4.0, False),
            ({"is_open": False}, 6.0, True),
            ({"is_open": True}, 3_600.0, False),
            ({"is_open": True, "is_sparse": True}, 60.0, False),
            ({"is_open": True, "is_sparse": True}, 66.0, True),
        ],
        ids=["closed, a moment", "closed", "open: suspicious, never quiet", "bars within their minute", "bars alone"],
    )
    async def test_silence_means_what_calendar_and_channel_say(
        self, answers: dict[str, bool], silent_s: float, quiet: bool
    ) -> None:
        watch, told, now = self.watch(DataFeed.IEX, **answers)
        await self.looks()
        now[0] += silent_s
        await self.looks()
        assert told == ([FeedState.QUIET] if quiet else [])
        self.heard += 1
        await self.looks()
        assert told == ([FeedState.QUIET, FeedState.LIVE] if quiet else [])
        await watch.close()

    async def late(self, watch: FeedWatch, now: list[float], seconds: int) -> None:
        for _ in range(seconds):
            now[0] += 1.0
            self.heard += 1
            watch.note_times(0, 3 * SECOND_NS)
            await self.looks()

    async def test_a_feed_of_late_values_alone_is_delayed_until_one_is_not(self) -> None:
        watch, told, now = self.watch()
        await self.late(watch, now, 9)
        assert told == [], "ten seconds are the proof"
        await self.late(watch, now, 3)
        assert told == [FeedState.DELAYED]
        watch.note_times(0, 2 * SECOND_NS)
        await self.looks()
        assert told == [FeedState.DELAYED, FeedState.LIVE]
        await watch.close()

    async def test_a_loop_that_stood_still_has_read_nothing_meanwhile(self) -> None:
        watch, _, now = self.watch()
        await self.looks()
        now[0] += 1.9
        assert not watch.is_behind
        now[0] += 0.2
        assert watch.is_behind, "told by the clock, by no timer that stands still itself"
        watch._look()
        assert watch.is_behind, "what waits in the socket has not had its turn"
        watch._look()
        assert not watch.is_behind
        await watch.close()

    async def test_a_late_value_among_others_proves_nothing(self) -> None:
        watch, told, now = self.watch()
        for _ in range(5):
            await self.late(watch, now, 4)
            watch.note_times(0, SECOND_NS)
            await self.looks()
        assert told == []
        await watch.close()

    async def test_a_feed_that_is_sold_late_is_not_delayed(self) -> None:
        watch, told, now = self.watch(DataFeed.INDICATIVE)
        await self.late(watch, now, 14)
        assert told == []
        await watch.close()

    async def test_what_was_proven_broken_stays_so_until_it_is_connected_anew(self) -> None:
        watch, told, _ = self.watch()
        watch.broken(FeedState.MUTE)
        self.heard += 1
        await self.looks()
        assert watch.connection(FeedState.LIVE, lambda: False) is FeedState.MUTE, "an error frame of the same socket"
        assert watch.connection(FeedState.DISCONNECTED, lambda: False) is FeedState.DISCONNECTED
        assert watch.connection(FeedState.LIVE, lambda: True) is FeedState.RECONCILING
        watch.reconciled()
        assert told == [FeedState.LIVE]
        await watch.close()


class TestHours:
    """The calendar, remembered."""

    class Calendar:
        def __init__(self, clocks: Clocks) -> None:
            self.asked = 0
            self.is_open = False
            self.changes_in_s = 100
            self.error: Exception | None = None

        async def get_clock(self, call: CallContext) -> MarketClock:
            self.asked += 1
            if self.error is not None:
                raise self.error
            changes_ns = T0_NS + self.changes_in_s * SECOND_NS
            return MarketClock(T0_NS, self.is_open, changes_ns, changes_ns)

    async def test_the_clock_is_read_once_and_again_when_the_session_changes(self) -> None:
        clocks = Clocks()
        calendar = self.Calendar(clocks)
        hours = MarketHours(calendar, clocks.monotonic)
        assert hours.is_open(AssetClass.CRYPTO)
        assert hours.is_open(AssetClass.US_EQUITY), "not known counts as open"
        await eventually(lambda: not hours.is_open(AssetClass.US_EQUITY))
        for _ in range(100):
            assert not hours.is_open(AssetClass.US_EQUITY)
        assert calendar.asked == 1
        clocks.ahead_s += 101
        calendar.is_open, calendar.changes_in_s = True, 10_000
        assert hours.is_open(AssetClass.US_EQUITY)
        await eventually(lambda: calendar.asked == 2)
        clocks.ahead_s += HOURS_KNOWN_S - 5
        assert hours.is_open(AssetClass.US_EQUITY)
        assert calendar.asked == 2
        await hours.close()

    async def test_a_closed_market_does_not_look_open_while_it_is_asked_about(self) -> None:
        clocks = Clocks()
        calendar = self.Calendar(clocks)
        calendar.changes_in_s = 40_000
        hours = MarketHours(calendar, clocks.monotonic)
        await eventually(lambda: not hours.is_open(AssetClass.US_EQUITY))
        clocks.ahead_s += HOURS_KNOWN_S + 1
        assert not hours.is_open(AssetClass.US_EQUITY)
        await eventually(lambda: calendar.asked == 2)
        calendar.error = VenueUnreachable("down")
        clocks.ahead_s += HOURS_KNOWN_S + 1
        assert not hours.is_open(AssetClass.US_EQUITY)
        await eventually(lambda: calendar.asked == 3)
        clocks.ahead_s += HOURS_TRUSTED_S - HOURS_KNOWN_S
        assert hours.is_open(AssetClass.US_EQUITY), "not known for too long"
        await hours.close()

    @pytest.mark.parametrize("error", [VenueUnreachable("down"), RuntimeError("a bug")])
    async def test_hours_that_cannot_be_read_are_asked_for_seldom(self, error: Exception) -> None:
        clocks = Clocks()
        calendar = self.Calendar(clocks)
        calendar.error = error
        hours = MarketHours(calendar, clocks.monotonic)
        for round_ in range(1, 4):
            for _ in range(50):
                assert hours.is_open(AssetClass.US_EQUITY)
                await asyncio.sleep(0)
            assert calendar.asked == round_
            clocks.ahead_s += HOURS_RETRY_S
        await hours.close()


class TestStrays:
    """Symbols that fall silent against their habit."""

    def test_a_busy_symbol_that_falls_silent_is_suspected_once(self) -> None:
        strays = StraySymbols()
        for look in range(BUSY_LOOKS_MIN + 1):
            assert strays.look({"BUSY": look, "THIN": 0}) == []
        held = {"BUSY": BUSY_LOOKS_MIN, "THIN": 0}
        found = [strays.look(held) for _ in range(SILENT_LOOKS_MIN + 3)]
        assert found[SILENT_LOOKS_MIN - 1] == ["BUSY"]
        assert sum(map(len, found)) == 1

    def test_a_symbol_that_nobody_holds_is_forgotten(self) -> None:
        strays = StraySymbols()
        for look in range(10):
            strays.look({"A": look})
        strays.look({})
        assert [strays.look({"A": 9}) for _ in range(5)] == [[]] * 5

    @pytest.fixture
    def limits(self, monkeypatch: pytest.MonkeyPatch) -> StreamLimits:
        monkeypatch.setattr(stray_symbols, "LOOK_INTERVAL_S", 0.03)
        monkeypatch.setattr(silence, "PROOF_S", 0.02)
        return StreamLimits(500, 65_536, times=HubTimes(linger_s=5, ack_timeout_s=0.5, silence_s=60))

    async def test_a_symbol_that_the_venue_lost_is_told_and_asked_for_anew(self, corridor: Corridor) -> None:
        reader = await corridor.live("BUSY", "LOST")
        number = 0

        async def flow(*symbols: str, until: Callable[[], object]) -> None:
            nonlocal number
            while not until():
                number += 1
                corridor.publish(*(quote(symbol, number) for symbol in symbols))
                await asyncio.sleep(0.005)

        began = time.monotonic()
        await flow("BUSY", "LOST", until=lambda: time.monotonic() > began + 0.2)
        corridor.venue.newest[Channel.QUOTES, "LOST"] = quote("LOST", 100_000)
        await asyncio.wait_for(flow("BUSY", until=lambda: len(corridor.venue.connection.changes) >= 3), 5)
        await reader.until(lambda r: common_pb2.FEED_STATE_STALE in states(r))
        [told] = [feed for feed in reader.of("feeds") if feed.state == common_pb2.FEED_STATE_STALE]
        assert told.detail.endswith("LOST")
        await reader.until(lambda r: any(v.symbol == "LOST" and v.snapshot and not v.stale for v in r.values))


class TestDelayed:
    """What a reader sees of a feed that is late."""

    @pytest.fixture
    def limits(self, monkeypatch: pytest.MonkeyPatch) -> StreamLimits:
        monkeypatch.setattr(feed_watch, "LOOK_INTERVAL_S", QUICK)
        times = HubTimes(ack_timeout_s=0.5, watch=WatchTimes(delay_proof_s=0.1))
        return StreamLimits(500, 65_536, times=times)

    async def test_delayed_values_are_stale_nothing_is_missing_and_they_are_read_again(
        self, corridor: Corridor
    ) -> None:
        reader = await corridor.live("AAPL")
        for number in range(200):
            corridor.publish(quote("AAPL", number))
            await asyncio.sleep(0.002)
            if common_pb2.FEED_STATE_DELAYED in states(reader):
                break
        corridor.publish(quote("AAPL", 500))
        await reader.until(lambda r: r.values[-1].bid_price == 105.0)
        assert reader.values[-1].stale
        assert not reader.values[0].stale
        corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 501)
        corridor.publish(quote("OTHER", 0), quote("OTHER", 1, time_ns=time.time_ns()))
        await reader.until(lambda r: r.values[-1].bid_price == 105.01)
        assert (reader.values[-1].stale, reader.values[-1].snapshot) == (False, True)
        assert states(reader)[-2:] == [common_pb2.FEED_STATE_DELAYED, common_pb2.FEED_STATE_LIVE]
        assert not reader.of("gaps"), "late is not missing"


class Tape(dict[str, Page[Any]]):
    """The venue's past trades by page token, and what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[tuple[str, ...], dict[str, Any]]] = []


class TestBackfill:
    """What a break swallowed."""

    @pytest.fixture
    def tape(self, corridor: Corridor, monkeypatch: pytest.MonkeyPatch) -> Tape:
        """What the venue answers when it is asked for trades."""
        pages = Tape()

        async def list_trades(context: CallContext, feed: DataFeed, symbols: Any, **options: Any) -> Page[Any]:
            pages.asked.append((tuple(symbols), options))
            if corridor.venue.error is not None:
                raise corridor.venue.error
            return pages.get(options["page_token"], Page(()))

        monkeypatch.setattr(corridor.venue, "list_trades", list_trades, raising=False)
        return pages

    async def broken(self, corridor: Corridor, *symbols: str, **options: Any) -> Reader:
        """A reader of trades whose feed broke after a first trade of each symbol."""
        reader = await corridor.live(*symbols, channel=options.pop("channel", Channel.TRADES), **options)
        corridor.publish(*(trade(symbol, 1) for symbol in symbols))
        await reader.until(lambda r: len(r.values) == len(symbols))
        corridor.venue.connection.cut()
        await reader.until(lambda r: r.of("stale_symbols"))
        return reader

    async def test_missed_trades_are_read_flagged_and_counted(self, corridor: Corridor, tape: Tape) -> None:
        tape[""] = Page((trade("AAPL", 1), trade("AAPL", 2), trade("AAPL", 4)), "more")
        tape["more"] = Page((trade("MSFT", 3),))
        reader = await self.broken(corridor, "AAPL", "MSFT")
        corridor.venue.connection.answer()
        await reader.until(lambda r: r.of("gaps") and len(r.values) == 5)
        got = [(value.symbol, value.trade_id, value.backfill, value.stale) for value in reader.values[2:]]
        assert got == [("AAPL", 2, True, False), ("MSFT", 3, True, False), ("AAPL", 4, True, False)]
        [gap] = reader.of("gaps")
        assert (gap.backfilled, gap.backfilled_count, list(gap.symbols)) == (True, 3, ["AAPL", "MSFT"])
        assert gap.from_time.ToNanoseconds() == reader.values[1].receive_time.ToNanoseconds()
        assert states(reader)[-2:] == [common_pb2.FEED_STATE_RECONCILING, common_pb2.FEED_STATE_LIVE]
        corridor.publish(trade("AAPL", 5))
        await reader.until(lambda r: len(r.values) == 6)
        assert (reader.values[-1].backfill, reader.values[-1].stale) == (False, False)
        [(symbols, options), _] = tape.asked
        assert symbols == ("AAPL", "MSFT")
        assert options["page_size"] == backfill.BACKFILL_PAGE_VALUES

    async def test_what_comes_live_meanwhile_comes_once(self, corridor: Corridor, tape: Tape) -> None:
        tape[""] = Page((trade("AAPL", 2), trade("AAPL", 3), trade("AAPL", 4)))
        reader = await self.broken(corridor, "AAPL")
        corridor.venue.connection.answer()
        corridor.publish(trade("AAPL", 3), trade("AAPL", 4))
        await reader.until(lambda r: r.of("gaps"))
        await reader.until(lambda r: sorted(value.trade_id for value in r.values if not value.snapshot) == [1, 2, 3, 4])
        assert [value.trade_id for value in reader.values if value.backfill] == [2]

    async def test_what_cannot_be_read_is_said_to_be_lost(self, corridor: Corridor, tape: Tape) -> None:
        reader = await self.broken(corridor, "AAPL", "MSFT")
        corridor.venue.error = VenueUnreachable("REST is down")
        corridor.venue.connection.answer()
        await reader.until(lambda r: r.of("gaps"))
        [gap] = reader.of("gaps")
        assert (gap.backfilled, gap.backfilled_count, list(gap.symbols)) == (False, 0, ["AAPL", "MSFT"])
        await reader.until(lambda r: states(r)[-1] == common_pb2.FEED_STATE_LIVE)

    async def test_pages_are_bounded_and_what_lies_beyond_is_named(self, corridor: Corridor, tape: Tape) -> None:
        tape[""] = Page((trade("AAPL", 2),), "next")
        tape["next"] = Page((trade("MSFT", 2),), "next")
        reader = await self.broken(corridor, "AAPL", "MSFT")
        corridor.venue.connection.answer()
        await reader.until(lambda r: len(r.of("gaps")) == 2)
        assert len(tape.asked) == backfill.BACKFILL_PAGES_MAX
        told = [(list(gap.symbols), gap.backfilled) for gap in reader.of("gaps")]
        assert told == [(["AAPL"], True), (["MSFT"], False)]

    async def test_of_a_long_break_the_older_part_is_lost(self, corridor: Corridor, tape: Tape) -> None:
        reader = await self.broken(corridor, "AAPL")
        corridor.clocks.ahead_s += 3_600
        corridor.venue.connection.answer()
        await reader.until(lambda r: len(r.of("gaps")) == 2)
        lost, filled = reader.of("gaps")
        assert (lost.backfilled, filled.backfilled) == (False, True)
        assert lost.to_time == filled.from_time
        kept_s = filled.to_time.seconds - filled.from_time.seconds
        assert abs(kept_s - backfill.BACKFILL_AGE_MAX_S) <= 2

    async def test_a_cut_while_it_is_made_up_for_leaves_the_whole_break_owed(
        self, corridor: Corridor, tape: Tape
    ) -> None:
        tape[""] = Page((trade("AAPL", 2),))
        reader = await self.broken(corridor, "AAPL")
        first_ns = reader.values[0].receive_time.ToNanoseconds()
        corridor.venue.connection.answer()
        corridor.venue.connection.cut()
        corridor.venue.connection.answer()
        await reader.until(lambda r: r.of("gaps"))
        [gap] = reader.of("gaps")
        assert (gap.backfilled, gap.from_time.ToNanoseconds()) == (True, first_ns)
        assert [value.trade_id for value in reader.values if value.backfill] == [2]

    async def test_who_wants_the_newest_alone_gets_the_newest_alone(self, corridor: Corridor, tape: Tape) -> None:
        corridor.venue.newest[Channel.TRADES, "AAPL"] = trade("AAPL", 1)
        reader = await self.broken(corridor, "AAPL", conflation=ConflationPolicy.LATEST_PER_SYMBOL)
        corridor.venue.connection.answer()
        await reader.until(lambda r: r.of("gaps"))
        assert tape.asked == []
        assert common_pb2.FEED_STATE_RECONCILING not in states(reader)

    async def test_missed_bars_come_in_order_and_the_running_minute_does_not(self, corridor: Corridor) -> None:
        reader = await corridor.live("AAPL", channel=Channel.BARS)
        corridor.publish(bar("AAPL", 0))
        await reader.until(lambda r: r.values)
        corridor.venue.connection.cut()
        await reader.until(lambda r: r.of("stale_symbols"))
        running = bar("AAPL", (time.time_ns() - T0_NS) // (60 * SECOND_NS) + 1)
        corridor.venue.pages[""] = Page((bar("AAPL", 0), bar("AAPL", 1), bar("AAPL", 2), running))
        corridor.venue.connection.answer()
        await reader.until(lambda r: r.of("gaps") and len(r.values) == 3)
        starts = [(value.start_time.ToNanoseconds(), value.backfill) for value in reader.values]
        assert starts == [(bar("AAPL", n).start_time_ns, n > 0) for n in range(3)]


class TestKeptPrices:
    """Symbols that orders keep subscribed."""

    class Hub:
        def __init__(self) -> None:
            self.held: list[str] = []

        def keep(self, symbol: str) -> None:
            self.held.append(symbol)

        def let_go(self, symbol: str) -> None:
            self.held.remove(symbol)

    async def test_a_symbol_is_kept_once_as_long_as_orders_come(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gateway.services.streaming.kept_prices.PRICE_LINGER_S", 0.05)
        hub = self.Hub()
        prices = KeptPrices(hub, 2, time.monotonic)
        for symbol in ("AAPL", "MSFT", "NVDA", "AAPL"):
            prices.asked(symbol)
        assert hub.held == ["AAPL", "MSFT"], "no room for a third"
        await eventually(lambda: not hub.held)
        prices.asked("NVDA")
        assert hub.held == ["NVDA"]
        prices.close()
        assert PRICE_LINGER_S == 600

    @pytest.fixture
    def limits(self) -> StreamLimits:
        return StreamLimits(500, 65_536, price_symbols_max=1, times=HubTimes(linger_s=0.05, ack_timeout_s=0.05))

    async def test_the_first_order_subscribes_and_the_next_has_a_live_quote(self, corridor: Corridor) -> None:
        corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 1)
        corridor.service.keep_price(DataFeed.IEX, "AAPL")
        assert corridor.service.newest(Channel.QUOTES, DataFeed.IEX, "AAPL") is None
        await eventually(lambda: corridor.service.newest(Channel.QUOTES, DataFeed.IEX, "AAPL"))
        corridor.publish(quote("AAPL", 2))
        assert live_bid(corridor, "AAPL") == 100.02
        corridor.service.keep_price(DataFeed.IEX, "MSFT")
        assert corridor.venue.connection.wanted.symbols == {Channel.QUOTES: frozenset({"AAPL"})}
        corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 3)
        corridor.venue.connection.cut()
        assert corridor.service.newest(Channel.QUOTES, DataFeed.IEX, "AAPL") is None, "nobody can vouch for it"
        corridor.venue.connection.answer()
        await eventually(lambda: corridor.service.newest(Channel.QUOTES, DataFeed.IEX, "AAPL"))
        assert live_bid(corridor, "AAPL") == 100.03
