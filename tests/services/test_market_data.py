"""QuoteService and PriceService: from the stream where it can vouch, else asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from gateway.domain.errors import FieldInvalid, SymbolUnknown, VenueRateLimited, VenueUnreachable
from gateway.domain.models.market_data import Quote, Selection, Snapshot
from gateway.domain.types import AssetClass, CallContext, Channel, DataFeed
from gateway.services.cache import CacheService
from gateway.services.latest_reads import LatestReads, _is_whole
from gateway.services.market_data import PriceService, QuoteService
from gateway.services.recovery import ErrorService
from tests.services.streaming.conftest import Corridor, corridor, limits  # noqa: F401 - fixtures
from tests.services.streaming.venue import bar, call_context, order_book, quote, trade

QUOTES = Channel.QUOTES


@dataclass
class Services:
    corridor: Corridor
    quotes: QuoteService
    prices: PriceService
    reads: LatestReads


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
    return Services(corridor, quotes, PriceService(venue, streaming, reads), reads)


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
    assert services.corridor.venue.requests == []


async def test_trades_and_bars(services: Services) -> None:
    venue = services.corridor.venue
    venue.newest[Channel.TRADES, "AAPL"] = trade("AAPL", 1)
    venue.newest[Channel.BARS, "AAPL"] = bar("AAPL")
    trades = await services.prices.latest_trades(choose("AAPL"), None, call_context())
    bars = await services.prices.latest_bars(choose("AAPL"), None, call_context())
    assert (trades.values[0].trade_id, bars.values[0].close) == (1, 1.5)


async def test_order_books_are_read_or_come_from_a_feed_that_brought_a_whole_one(services: Services) -> None:
    venue, corridor_ = services.corridor.venue, services.corridor
    venue.newest[Channel.ORDER_BOOKS, "BTC/USD"] = order_book("BTC/USD", 1)
    read = await services.quotes.latest_order_books(choose("BTC/USD", "ETH/USD"), None, call_context())
    assert (read.values[0].bids[0].price, read.missing, read.from_stream) == (100.01, ("ETH/USD",), False)
    stream = await corridor_.open("BTC/USD", channel=Channel.ORDER_BOOKS, skip_snapshot=True)
    await corridor_.connected()
    corridor_.publish(order_book("BTC/USD", 2))
    live = await services.quotes.latest_order_books(choose("BTC/USD"), None, call_context())
    assert (live.values[0].bids[0].price, live.from_stream) == (100.02, True)
    asked = len(venue.requests)
    zero = await services.quotes.latest_order_books(choose("BTC/USD"), 0, call_context())
    assert (len(venue.requests), zero.values[0].bids[0].price, zero.from_stream) == (asked + 1, 100.02, False)
    stream.close()


def test_what_changed_in_a_book_is_no_book() -> None:
    assert _is_whole(order_book("BTC/USD", 1))
    assert not _is_whole(replace(order_book("BTC/USD", 1), reset=False))


@pytest.mark.parametrize(
    ("selection", "fields"),
    [
        (choose("AAPL"), ["symbols[0]"]),
        (choose("BTC/USD", "AAPL"), ["symbols[1]"]),
        (choose("BTC/USD", asset_class=AssetClass.US_EQUITY), ["asset_class"]),
        (choose("BTC/USD", feed=DataFeed.SIP), ["feed"]),
    ],
)
async def test_order_books_are_of_pairs_alone(services: Services, selection: Selection, fields: list[str]) -> None:
    with pytest.raises(FieldInvalid) as refused:
        await services.quotes.latest_order_books(selection, None, call_context())
    assert [violation.field for violation in refused.value.violations] == fields
    assert services.corridor.venue.requests == []


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


async def test_an_option_is_priced_by_its_own_feed_and_by_none_that_is_late(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    option, venue, feeds = "AAPL250620C00100000", services.corridor.venue, list[DataFeed]()

    async def latest(_call: CallContext, feed: DataFeed, symbols: Sequence[str]) -> list[Quote]:
        feeds.append(feed)
        return [quote(symbol, 1) for symbol in symbols]

    monkeypatch.setattr(venue, "get_latest_quotes", latest)
    assert await services.quotes.reference_price(option, call_context()) is None, "indicative quotes are sold late"
    assert feeds == []
    prompt = QuoteService(
        venue,
        services.corridor.service,
        services.reads,
        stock_feed=DataFeed.IEX,
        option_feed=DataFeed.OPRA,
        monotonic=services.corridor.clocks.monotonic,
        price_wait_ms=50,
    )
    read = await prompt.reference_price(option, call_context())
    assert read is not None
    assert (read.symbol, feeds) == (option, [DataFeed.OPRA])


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
