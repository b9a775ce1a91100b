"""QuoteService and PriceService: from the stream where it can vouch, else asked once; pages of past bars."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.domain.errors import FieldInvalid, PageTokenMismatch, SymbolUnknown, VenueRateLimited, VenueUnreachable
from gateway.domain.models.market_data import (
    Adjustment,
    BarsRequest,
    Page,
    Selection,
    Snapshot,
    Timeframe,
    TimeframeUnit,
)
from gateway.domain.types import NANOS_PER_SECOND, AssetClass, Channel, DataFeed
from gateway.services.bar_pages import first_page, read_token
from gateway.services.cache import CacheService
from gateway.services.latest_reads import LatestReads
from gateway.services.market_data import PriceService, QuoteService
from gateway.services.recovery import ErrorService
from tests.services.streaming.conftest import Corridor, corridor, limits  # noqa: F401 - fixtures
from tests.services.streaming.venue import T0_NS, bar, call_context, quote, trade

QUOTES = Channel.QUOTES
MINUTE = Timeframe(1, TimeframeUnit.MINUTE)
DAY_NS = 24 * 3_600 * NANOS_PER_SECOND


@dataclass
class Services:
    corridor: Corridor
    quotes: QuoteService
    prices: PriceService


@pytest.fixture
def services(corridor: Corridor) -> Services:  # noqa: F811 - the fixture above
    clocks, venue, streaming = corridor.clocks, corridor.venue, corridor.service

    async def no_pause(_seconds: float) -> None:
        await asyncio.sleep(0)

    errors = ErrorService(clocks.wall, clocks.monotonic, no_pause)
    reads = LatestReads(
        streaming,
        corridor.assets,
        CacheService(clocks.monotonic),
        errors,
        stock_feed=DataFeed.IEX,
        default_staleness_ms=1_000,
        wall=clocks.wall,
        monotonic=clocks.monotonic,
    )
    quotes = QuoteService(
        venue, streaming, reads, stock_feed=DataFeed.IEX, monotonic=clocks.monotonic, price_wait_ms=50
    )
    return Services(corridor, quotes, PriceService(venue, streaming, reads, errors, wall=clocks.wall))


def choose(*symbols: str, **options: Any) -> Selection:
    return Selection(symbols, **options)


async def test_a_vouched_value_costs_nothing(services: Services) -> None:
    await services.corridor.live("AAPL", skip_snapshot=True)
    services.corridor.publish(quote("AAPL", 1))
    latest = await services.quotes.latest_quotes(choose("AAPL"), None, call_context())
    assert (latest.from_stream, latest.stale, latest.missing) == (True, frozenset(), ())
    assert latest.read_time_ns == latest.values[0].receive_time_ns
    assert services.corridor.venue.requests == []


async def test_what_the_stream_lacks_is_asked_for_once(services: Services) -> None:
    venue = services.corridor.venue
    await services.corridor.live("AAPL", skip_snapshot=True)
    services.corridor.publish(quote("AAPL", 1))
    venue.newest[QUOTES, "MSFT"] = quote("MSFT", 2)
    asked = [services.quotes.latest_quotes(choose("MSFT", "TSLA", "AAPL"), None, call_context()) for _ in range(5)]
    for latest in await asyncio.gather(*asked):
        assert [value.symbol for value in latest.values] == ["MSFT", "AAPL"]
        assert latest.missing == ("TSLA",)
        assert not latest.from_stream
        assert not latest.stale
    assert venue.requests == [("quotes", ("MSFT", "TSLA"))]


async def test_zero_asks_the_venue_even_past_a_live_feed(services: Services) -> None:
    venue = services.corridor.venue
    await services.corridor.live("AAPL", skip_snapshot=True)
    services.corridor.publish(quote("AAPL", 5))
    venue.newest[QUOTES, "AAPL"] = quote("AAPL", 3)
    for asked in (1, 2):
        latest = await services.quotes.latest_quotes(choose("AAPL"), 0, call_context())
        assert len(venue.requests) == asked
        assert not latest.from_stream
        assert latest.values[0].bid_price == 100.05, "never behind what the feed has brought"


async def test_an_answer_is_shared_only_while_it_is_young_enough(services: Services) -> None:
    venue, clocks = services.corridor.venue, services.corridor.clocks
    venue.newest[QUOTES, "AAPL"] = quote("AAPL", 1)
    first = await services.quotes.latest_quotes(choose("AAPL"), 10_000, call_context())
    clocks.ahead_s += 3
    second = await services.quotes.latest_quotes(choose("AAPL"), 10_000, call_context())
    assert len(venue.requests) == 1
    assert second.read_time_ns == first.read_time_ns
    assert (first.stale, second.stale) == (frozenset(), {"AAPL"})
    await services.quotes.latest_quotes(choose("AAPL"), None, call_context(60))
    assert len(venue.requests) == 2


async def test_a_feed_that_broke_vouches_for_nothing(services: Services) -> None:
    venue = services.corridor.venue
    await services.corridor.live("AAPL", skip_snapshot=True)
    services.corridor.publish(quote("AAPL", 1))
    venue.connection.cut()
    venue.newest[QUOTES, "AAPL"] = quote("AAPL", 2)
    latest = await services.quotes.latest_quotes(choose("AAPL"), None, call_context())
    assert (latest.from_stream, latest.values[0].bid_price, latest.stale) == (False, 100.02, frozenset())
    venue.newest[QUOTES, "AAPL"] = quote("AAPL", 0)
    latest = await services.quotes.latest_quotes(choose("AAPL"), 0, call_context())
    assert (latest.values[0].bid_price, latest.stale) == (100.01, {"AAPL"})


@pytest.mark.parametrize(
    ("selection", "error"),
    [
        (choose("ZZZZZZ"), SymbolUnknown),
        (choose("AAPL", "BTC/USD"), FieldInvalid),
        (choose("AAPL", feed=DataFeed.CRYPTO_US), FieldInvalid),
        (choose("BTC/USD", asset_class=AssetClass.US_EQUITY), FieldInvalid),
    ],
)
async def test_bad_symbols_reach_no_venue(services: Services, selection: Selection, error: type[Exception]) -> None:
    for read in (services.quotes.latest_quotes, services.prices.latest_trades, services.prices.latest_bars):
        with pytest.raises(error):
            await read(selection, None, call_context())
    with pytest.raises(error):
        await services.prices.snapshots(selection, None, call_context())
    with pytest.raises(error):
        await services.prices.list_bars(BarsRequest(selection, MINUTE), call_context())
    assert services.corridor.venue.requests == []


async def test_trades_and_bars(services: Services) -> None:
    venue = services.corridor.venue
    venue.newest[Channel.TRADES, "AAPL"] = trade("AAPL", 1)
    venue.newest[Channel.BARS, "AAPL"] = bar("AAPL")
    trades = await services.prices.latest_trades(choose("AAPL"), None, call_context())
    bars = await services.prices.latest_bars(choose("AAPL"), None, call_context())
    assert (trades.values[0].trade_id, bars.values[0].close) == (1, 1.5)


async def test_snapshots_are_never_behind_the_live_feed(services: Services) -> None:
    venue = services.corridor.venue
    venue.snapshots["AAPL"] = Snapshot("AAPL", trade("AAPL", 1), quote("AAPL", 1), bar("AAPL"))
    await services.corridor.live("AAPL", skip_snapshot=True)
    services.corridor.publish(quote("AAPL", 9))
    latest = await services.prices.snapshots(choose("AAPL", "MSFT"), None, call_context())
    [snapshot] = latest.values
    assert snapshot.latest_quote is not None
    assert snapshot.latest_trade is not None
    assert (snapshot.latest_quote.bid_price, snapshot.latest_trade.trade_id) == (100.09, 1)
    assert (latest.missing, latest.from_stream) == (("MSFT",), False)


async def test_reference_price_comes_from_the_stream_or_within_250_ms(services: Services) -> None:
    venue = services.corridor.venue
    venue.newest[QUOTES, "AAPL"] = quote("AAPL", 1)
    read = await services.quotes.reference_price("AAPL", call_context())
    assert read is not None
    assert read.bid_price == 100.01
    await services.corridor.live("AAPL", skip_snapshot=True)
    services.corridor.publish(quote("AAPL", 2))
    live = await services.quotes.reference_price("AAPL", call_context())
    assert live is not None
    assert live.bid_price == 100.02
    assert len(venue.requests) == 1


async def test_no_reference_price_is_no_error(services: Services) -> None:
    venue = services.corridor.venue
    assert await services.quotes.reference_price("AAPL", call_context()) is None
    venue.error = VenueRateLimited("not now", retry_after_ms=60_000)
    assert await services.quotes.reference_price("MSFT", call_context()) is None
    venue.error = RuntimeError("a bug")  # type: ignore[assignment]
    assert await services.quotes.reference_price("TSLA", call_context()) is None
    venue.error, venue.gate = None, asyncio.Event()
    began = asyncio.get_running_loop().time()
    assert await services.quotes.reference_price("NVDA", call_context()) is None
    assert asyncio.get_running_loop().time() - began < 1
    venue.gate.set()


async def test_a_venue_that_cannot_be_reached_is_said(services: Services) -> None:
    services.corridor.venue.error = VenueUnreachable("no route")
    with pytest.raises(VenueUnreachable):
        await services.quotes.latest_quotes(choose("AAPL"), None, call_context())


async def test_pages_of_bars(services: Services) -> None:
    venue = services.corridor.venue
    venue.pages = {"": Page((bar("AAPL", 0),), "venue-token"), "venue-token": Page((bar("AAPL", 1),))}
    request = BarsRequest(choose("AAPL"), MINUTE, start_ns=T0_NS, newest_first=True, page_size=1)
    first = await services.prices.list_bars(request, call_context())
    services.corridor.clocks.ahead_s += 60
    second = await services.prices.list_bars(
        replace(request, page_token=first.next_page_token, page_size=500), call_context()
    )
    assert [page.items[0].start_time_ns for page in (first, second)] == [bar("AAPL", n).start_time_ns for n in (0, 1)]
    assert second.next_page_token == ""
    one, two = venue.bars_asked
    assert one["end_ns"] == two["end_ns"], "the range was decided with the first page"
    assert (two["page_token"], two["page_size"], two["newest_first"]) == ("venue-token", 500, True)


@pytest.mark.parametrize(
    "change",
    [
        {"selection": choose("MSFT")},
        {"selection": choose("AAPL", feed=DataFeed.SIP)},
        {"timeframe": Timeframe(5, TimeframeUnit.MINUTE)},
        {"start_ns": T0_NS + 1},
        {"end_ns": T0_NS + DAY_NS},
        {"adjustments": (Adjustment.SPLIT,)},
        {"as_of_date": date(2024, 1, 2)},
        {"newest_first": True},
    ],
)
async def test_a_token_belongs_to_its_request(services: Services, change: dict[str, Any]) -> None:
    services.corridor.venue.pages = {"": Page((), "venue-token")}
    request = BarsRequest(choose("AAPL"), MINUTE, start_ns=T0_NS)
    token = (await services.prices.list_bars(request, call_context())).next_page_token
    asked = len(services.corridor.venue.requests)
    with pytest.raises(PageTokenMismatch):
        await services.prices.list_bars(replace(request, page_token=token, **change), call_context())
    assert len(services.corridor.venue.requests) == asked


@pytest.mark.parametrize("token", ["x", "????", "AAAA", "é", "A" * 100, "ÿ" * 40, "=", "\0"])
def test_forged_tokens_are_refused(token: str) -> None:
    with pytest.raises(PageTokenMismatch):
        read_token(BarsRequest(choose("AAPL"), MINUTE, page_token=token))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"start_ns": -62_135_596_800 * NANOS_PER_SECOND}, "start_time"),
        ({"end_ns": 253_402_300_799 * NANOS_PER_SECOND}, "end_time"),
        ({"start_ns": T0_NS, "end_ns": T0_NS - 1}, "start_time"),
        ({"end_ns": T0_NS - DAY_NS}, "start_time"),
        ({"timeframe": Timeframe(0, TimeframeUnit.MINUTE)}, "timeframe"),
        ({"timeframe": Timeframe(60, TimeframeUnit.MINUTE)}, "timeframe"),
        ({"timeframe": Timeframe(7, TimeframeUnit.MONTH)}, "timeframe"),
        ({"timeframe": Timeframe(2, TimeframeUnit.DAY)}, "timeframe"),
        ({"timeframe": Timeframe(-1, TimeframeUnit.HOUR)}, "timeframe"),
    ],
)
def test_ranges_that_make_no_sense(change: dict[str, Any], field: str) -> None:
    request = replace(BarsRequest(choose("AAPL"), MINUTE), **change)
    with pytest.raises(FieldInvalid) as refused:
        first_page(request, AssetClass.US_EQUITY, T0_NS)
    assert [violation.field for violation in refused.value.violations] == [field]


def test_crypto_has_no_corporate_actions() -> None:
    request = BarsRequest(choose("BTC/USD"), MINUTE, adjustments=(Adjustment.SPLIT,), as_of_date=date(2024, 1, 2))
    with pytest.raises(FieldInvalid) as refused:
        first_page(request, AssetClass.CRYPTO, T0_NS)
    assert [violation.field for violation in refused.value.violations] == ["adjustments", "as_of_date"]


def test_the_default_range_is_today_until_now() -> None:
    now = datetime(2024, 7, 3, 2, 30, tzinfo=UTC)  # the evening before in New York
    now_ns = int(now.timestamp()) * NANOS_PER_SECOND
    stocks = first_page(BarsRequest(choose("AAPL"), MINUTE), AssetClass.US_EQUITY, now_ns)
    crypto = first_page(BarsRequest(choose("BTC/USD"), MINUTE), AssetClass.CRYPTO, now_ns)
    new_york = datetime(2024, 7, 2, tzinfo=ZoneInfo("America/New_York"))
    assert stocks.start_ns == int(new_york.timestamp()) * NANOS_PER_SECOND
    assert crypto.start_ns == int(datetime(2024, 7, 3, tzinfo=UTC).timestamp()) * NANOS_PER_SECOND
    assert stocks.end_ns == crypto.end_ns == now_ns
