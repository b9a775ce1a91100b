"""HistoryService: pages of past values and their tokens; long streams of bars, page by page, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.domain.errors import (
    FieldInvalid,
    GatewayError,
    PageTokenMismatch,
    SymbolUnknown,
    TooManyStreams,
    VenueRateLimited,
    VenueUnreachable,
)
from gateway.domain.models.market_data import (
    Adjustment,
    Bar,
    BarsRequest,
    HistoryRequest,
    Page,
    Selection,
    Timeframe,
    TimeframeUnit,
)
from gateway.domain.types import NANOS_PER_SECOND, AssetClass, Channel, DataFeed
from gateway.services.cache import CacheService
from gateway.services.history import (
    BARS_PER_BATCH,
    BARS_PER_PAGE,
    EMPTY_PAGES_MAX,
    LONG_STREAMS_MAX,
    PAGE_WAIT_MAX_S,
    HistoryService,
)
from gateway.services.history_pages import HistoryCursor, cursor_of, read_token, write_token
from gateway.services.latest_reads import LatestReads
from gateway.services.recovery import ErrorService
from tests.services.streaming.conftest import Corridor, corridor, limits  # noqa: F401 - fixtures
from tests.services.streaming.venue import T0_NS, bar, call_context, quote, trade

MINUTE = Timeframe(1, TimeframeUnit.MINUTE)
DAY_NS = 24 * 3_600 * NANOS_PER_SECOND
FOREVER_S = float("inf")


@dataclass
class Services:
    corridor: Corridor
    history: HistoryService


@pytest.fixture
def services(corridor: Corridor) -> Services:  # noqa: F811 - the fixture above
    clocks, venue = corridor.clocks, corridor.venue

    async def pass_time(seconds: float) -> None:
        clocks.ahead_s += seconds
        await asyncio.sleep(0)

    errors = ErrorService(clocks.wall, clocks.monotonic, pass_time)
    reads = LatestReads(
        corridor.service,
        corridor.assets,
        CacheService(clocks.monotonic),
        errors,
        stock_feed=DataFeed.IEX,
        default_staleness_ms=1_000,
        wall=clocks.wall,
        monotonic=clocks.monotonic,
    )
    history = HistoryService(venue, reads, errors, wall=clocks.wall, monotonic=clocks.monotonic)
    return Services(corridor, history)


def choose(*symbols: str, **options: Any) -> Selection:
    return Selection(symbols, **options)


def long_request(*symbols: str, **options: Any) -> BarsRequest:
    return BarsRequest(choose(*(symbols or ("AAPL",))), MINUTE, start_ns=T0_NS, **options)


async def drain(services: Services, request: BarsRequest) -> list[tuple[Bar, ...]]:
    return [batch async for batch in services.history.stream_bars(request, call_context(FOREVER_S))]


async def test_each_page_behind_the_first_is_asked_for_when_its_reader_may(services: Services) -> None:
    venue, waited = services.corridor.venue, list[int]()
    venue.pages = {"": Page((bar("AAPL", 0),), "b"), "b": Page((), "c"), "c": Page((bar("AAPL", 1),))}

    async def wait() -> None:
        waited.append(len(venue.pages_asked))

    batches = services.history.stream_bars(long_request(), call_context(FOREVER_S), wait)
    assert [len(batch) async for batch in batches] == [1, 1]
    assert waited == [1, 2]


def of_quotes(**options: Any) -> HistoryRequest:
    return HistoryRequest(Channel.QUOTES, choose("AAPL"), start_ns=T0_NS, **options)


def of_trades(**options: Any) -> HistoryRequest:
    return HistoryRequest(Channel.TRADES, choose("AAPL"), start_ns=T0_NS, **options)


@pytest.mark.parametrize(("request_of", "value"), [(of_quotes, quote), (of_trades, trade)])
async def test_pages_of_past_values(
    services: Services, request_of: Callable[..., HistoryRequest], value: Callable[..., Any]
) -> None:
    venue = services.corridor.venue
    first_value, second_value = value("AAPL", 0), value("AAPL", 1)
    venue.pages = {"": Page((first_value,), "venue-token"), "venue-token": Page((second_value,))}
    listed: Any = services.history.list_quotes if request_of is of_quotes else services.history.list_trades
    day = date(2024, 1, 2)
    first = await listed(request_of(newest_first=True, page_size=1, as_of_date=day), call_context())
    services.corridor.clocks.ahead_s += 60
    second = await listed(
        request_of(newest_first=True, as_of_date=day, page_token=first.next_page_token), call_context()
    )
    assert (first.items, second.items, second.next_page_token) == ((first_value,), (second_value,), "")
    one, two = venue.pages_asked
    assert one["end_ns"] == two["end_ns"], "the range was decided with the first page"
    assert one["as_of_date"] == day
    assert (two["page_token"], two["page_size"], two["newest_first"]) == ("venue-token", 1_000, True)
    assert [asked for asked, _ in venue.requests] == [request_of().channel.value] * 2


async def test_a_token_of_another_kind_of_history_is_refused(services: Services) -> None:
    history, venue = services.history, services.corridor.venue
    venue.pages = {"": Page((), "venue-token")}
    tokens = {
        "quotes": (await history.list_quotes(of_quotes(), call_context())).next_page_token,
        "trades": (await history.list_trades(of_trades(), call_context())).next_page_token,
        "bars": (await history.list_bars(long_request(), call_context())).next_page_token,
    }
    assert len(set(tokens.values())) == 3
    for noun, token in tokens.items():
        for other, listed, wanted in (
            ("quotes", history.list_quotes, of_quotes(page_token=token)),
            ("trades", history.list_trades, of_trades(page_token=token)),
            ("bars", history.list_bars, long_request(page_token=token)),
        ):
            if other != noun:
                with pytest.raises(PageTokenMismatch):
                    await listed(wanted, call_context())  # type: ignore[operator]


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
    history = services.history
    with pytest.raises(error):
        await history.list_bars(BarsRequest(selection, MINUTE), call_context())
    with pytest.raises(error):
        await history.list_quotes(HistoryRequest(Channel.QUOTES, selection), call_context())
    with pytest.raises(error):
        await history.list_trades(HistoryRequest(Channel.TRADES, selection), call_context())
    with pytest.raises(error):
        await drain(services, BarsRequest(selection, MINUTE, start_ns=T0_NS))
    assert services.corridor.venue.requests == []


async def test_a_long_stream_is_all_pages_in_batches_and_asks_as_they_are_taken(services: Services) -> None:
    venue = services.corridor.venue
    first = tuple(bar("AAPL", minute) for minute in range(2 * BARS_PER_BATCH + 1))
    second = (bar("AAPL", len(first)), bar("MSFT", 0))
    venue.pages = {"": Page(first, "two"), "two": Page((), "three"), "three": Page(second)}
    request = long_request("AAPL", "MSFT", page_size=1, page_token="not looked at")
    batches = services.history.stream_bars(request, call_context(FOREVER_S))
    taken = []
    for asked, count in ((1, BARS_PER_BATCH), (1, BARS_PER_BATCH), (1, 1), (3, 2)):
        batch = await anext(batches)
        taken += batch
        assert (len(venue.requests), len(batch)) == (asked, count), "nothing is read before it is wanted"
    with pytest.raises(StopAsyncIteration):
        await anext(batches)
    assert tuple(taken) == first + second
    assert {asked["page_size"] for asked in venue.pages_asked} == {BARS_PER_PAGE}
    assert len({asked["end_ns"] for asked in venue.pages_asked}) == 1


async def test_a_stream_without_bars_ends(services: Services) -> None:
    assert await drain(services, long_request()) == []


async def test_an_error_in_the_middle_says_where_to_continue(services: Services) -> None:
    venue = services.corridor.venue
    venue.pages = {"": Page((bar("AAPL", 0), bar("AAPL", 1)), "two")}
    batches = services.history.stream_bars(long_request(), call_context(FOREVER_S))
    last = (await anext(batches))[-1]
    venue.error = VenueUnreachable("no route")
    with pytest.raises(VenueUnreachable) as broken:
        await anext(batches)
    text = datetime.fromtimestamp(last.start_time_ns // NANOS_PER_SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert broken.value.metadata == {"last_symbol": "AAPL", "last_start_time": text}


async def test_an_error_at_the_beginning_has_nothing_to_continue_from(services: Services) -> None:
    services.corridor.venue.error = VenueUnreachable("no route")
    with pytest.raises(VenueUnreachable) as broken:
        await drain(services, long_request())
    assert broken.value.metadata == {}


async def test_a_long_stream_waits_for_the_budget_but_not_for_ever(services: Services) -> None:
    venue, clocks = services.corridor.venue, services.corridor.clocks
    venue.pages = {"": Page((bar("AAPL", 0),))}
    refusals = 20
    began = clocks.monotonic()

    def refuse() -> GatewayError | None:
        nonlocal refusals
        refusals -= 1
        return VenueRateLimited("not now", retry_after_ms=300) if refusals >= 0 else None

    venue.error_of_request = refuse
    assert [len(batch) for batch in await drain(services, long_request())] == [1]
    assert 5 < clocks.monotonic() - began < PAGE_WAIT_MAX_S
    refusals = 1_000_000
    began = clocks.monotonic()
    with pytest.raises(VenueRateLimited):
        await drain(services, long_request())
    assert PAGE_WAIT_MAX_S / 2 < clocks.monotonic() - began <= PAGE_WAIT_MAX_S + 1


@pytest.mark.parametrize(
    ("newest_first", "bars"),
    [
        (False, [bar("AAPL", 1), bar("AAPL", 1)]),
        (False, [bar("AAPL", 2), bar("AAPL", 1)]),
        (True, [bar("AAPL", 1), bar("AAPL", 2)]),
        (False, [bar("AAPL", 1), bar("MSFT", 1), bar("AAPL", 2)]),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
async def test_pages_that_do_not_follow_each_other_are_an_error(
    services: Services, bars: list[Bar], newest_first: bool, apart: bool
) -> None:
    pages = [tuple(bars)] if not apart else [(one,) for one in bars]
    tokens = ["", *(f"page-{number}" for number in range(1, len(pages))), ""]
    services.corridor.venue.pages = {
        tokens[number]: Page(page, tokens[number + 1]) for number, page in enumerate(pages)
    }
    with pytest.raises(VenueUnreachable, match="do not follow"):
        await drain(services, long_request("AAPL", "MSFT", newest_first=newest_first))


async def test_pages_without_end_end(services: Services) -> None:
    services.corridor.venue.pages = {"": Page((), "again"), "again": Page((), "again")}
    with pytest.raises(VenueUnreachable, match="no end"):
        await drain(services, long_request())
    assert len(services.corridor.venue.requests) == EMPTY_PAGES_MAX + 1


async def test_so_many_long_streams_and_no_more(services: Services) -> None:
    services.corridor.venue.pages = {"": Page((bar("AAPL", 0),), "two"), "two": Page((bar("AAPL", 1),))}
    open_streams = [
        services.history.stream_bars(long_request(), call_context(FOREVER_S)) for _ in range(LONG_STREAMS_MAX)
    ]
    for stream in open_streams:
        await anext(stream)
    with pytest.raises(TooManyStreams):
        await drain(services, long_request())
    await open_streams.pop().aclose()
    assert len(await drain(services, long_request())) == 2
    for stream in open_streams:
        await stream.aclose()


async def test_pages_of_bars(services: Services) -> None:
    venue = services.corridor.venue
    venue.pages = {"": Page((bar("AAPL", 0),), "venue-token"), "venue-token": Page((bar("AAPL", 1),))}
    request = BarsRequest(choose("AAPL"), MINUTE, start_ns=T0_NS, newest_first=True, page_size=1)
    first = await services.history.list_bars(request, call_context())
    services.corridor.clocks.ahead_s += 60
    second = await services.history.list_bars(
        replace(request, page_token=first.next_page_token, page_size=500), call_context()
    )
    assert [page.items[0].start_time_ns for page in (first, second)] == [bar("AAPL", n).start_time_ns for n in (0, 1)]
    assert second.next_page_token == ""
    one, two = venue.pages_asked
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
    token = (await services.history.list_bars(request, call_context())).next_page_token
    asked = len(services.corridor.venue.requests)
    with pytest.raises(PageTokenMismatch):
        await services.history.list_bars(replace(request, page_token=token, **change), call_context())
    assert len(services.corridor.venue.requests) == asked


def test_pages_go_on_after_the_midnight_that_ended_their_default_day() -> None:
    evening_ns = int(datetime(2024, 7, 2, 23, 50, tzinfo=ZoneInfo("America/New_York")).timestamp()) * NANOS_PER_SECOND
    request = BarsRequest(choose("AAPL"), MINUTE, end_ns=evening_ns)
    first = cursor_of(request, AssetClass.US_EQUITY, evening_ns)
    again = replace(request, page_token=write_token(request, replace(first, venue_token="next")))
    assert cursor_of(again, AssetClass.US_EQUITY, evening_ns + 3_600 * NANOS_PER_SECOND) == replace(
        first, venue_token="next"
    )


@pytest.mark.parametrize(
    "cursor", [HistoryCursor(-1, T0_NS), HistoryCursor(0, 2**63 - 1), HistoryCursor(T0_NS, T0_NS - 1)]
)
def test_a_range_in_a_token_is_held_to_the_same_rules(cursor: HistoryCursor) -> None:
    request = BarsRequest(choose("AAPL"), MINUTE)
    with pytest.raises(FieldInvalid):
        cursor_of(replace(request, page_token=write_token(request, cursor)), AssetClass.US_EQUITY, T0_NS)


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
        cursor_of(request, AssetClass.US_EQUITY, T0_NS)
    assert [violation.field for violation in refused.value.violations] == [field]


def test_crypto_has_no_corporate_actions() -> None:
    request = BarsRequest(choose("BTC/USD"), MINUTE, adjustments=(Adjustment.SPLIT,), as_of_date=date(2024, 1, 2))
    with pytest.raises(FieldInvalid) as refused:
        cursor_of(request, AssetClass.CRYPTO, T0_NS)
    assert [violation.field for violation in refused.value.violations] == ["adjustments", "as_of_date"]


def test_the_default_range_is_today_until_now() -> None:
    now = datetime(2024, 7, 3, 2, 30, tzinfo=UTC)  # the evening before in New York
    now_ns = int(now.timestamp()) * NANOS_PER_SECOND
    stocks = cursor_of(BarsRequest(choose("AAPL"), MINUTE), AssetClass.US_EQUITY, now_ns)
    crypto = cursor_of(BarsRequest(choose("BTC/USD"), MINUTE), AssetClass.CRYPTO, now_ns)
    new_york = datetime(2024, 7, 2, tzinfo=ZoneInfo("America/New_York"))
    assert stocks.start_ns == int(new_york.timestamp()) * NANOS_PER_SECOND
    assert crypto.start_ns == int(datetime(2024, 7, 3, tzinfo=UTC).timestamp()) * NANOS_PER_SECOND
    assert stocks.end_ns == crypto.end_ns == now_ns
