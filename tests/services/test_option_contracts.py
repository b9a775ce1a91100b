"""Which option contracts there are: looked up by series, and known from then on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import cast

import pytest

from gateway.domain.errors import FieldInvalid, SymbolUnknown, VenueRateLimited, VenueUnreachable
from gateway.domain.interfaces import MarketDataRepository
from gateway.domain.models.market_data import Selection
from gateway.domain.models.reference import Asset
from gateway.domain.types import AssetClass, CallContext, Caller, Channel, DataFeed
from gateway.services.cache import CacheService
from gateway.services.option_contracts import LOOK_UPS_PER_MINUTE_MAX, SERIES_KEPT_MAX, OptionContracts, QuotedAssets
from gateway.services.recovery import ErrorService
from gateway.services.reference import AssetService
from gateway.services.streaming.selection import check_channel, choose_feed

CALL = "AAPL261218C00200000"
PUT = "AAPL261218P00200000"
LATER = "AAPL270115C00200000"
CONTEXT = CallContext(Caller(), deadline=1e9)


class Venue:
    """Lists what it is told to list, and counts the questions."""

    def __init__(self, *symbols: str) -> None:
        self.symbols = list(symbols)
        self.asked: list[tuple[str, date]] = []
        self.error: Exception | None = None

    async def list_option_contracts(self, context: CallContext, root: str, expiration: date) -> Sequence[Asset]:
        self.asked.append((root, expiration))
        if self.error is not None:
            raise self.error
        day = f"{root}{expiration:%y%m%d}"
        return [Asset("id", one, AssetClass.US_OPTION) for one in self.symbols if one.startswith(day)]

    async def list_assets(self, context: CallContext, asset_class: AssetClass) -> list[Asset]:
        return [Asset("a", "AAPL", asset_class)] if asset_class is AssetClass.US_EQUITY else []


class Desk:
    """The services over one venue, with a clock that stands."""

    def __init__(self, *symbols: str) -> None:
        self.now = 100.0
        self.venue = Venue(*symbols)
        cache = CacheService(lambda: self.now)
        errors = ErrorService(lambda: 0, lambda: self.now, self._sleep)
        repository = cast(MarketDataRepository, self.venue)
        self.assets = AssetService(repository, cache, errors, lambda: self.now)
        self.quoted = QuotedAssets(self.assets, OptionContracts(repository, cache, errors, lambda: self.now))

    async def _sleep(self, _seconds: float) -> None:
        """Nothing waits here."""


async def test_a_series_costs_one_request_however_many_ask() -> None:
    desk = Desk(CALL, PUT, LATER)
    assert desk.quoted.find(CALL) is None
    found = await asyncio.gather(*(desk.quoted.get(symbol, CONTEXT) for symbol in (CALL, PUT) * 100))
    assert {asset.symbol for asset in found} == {CALL, PUT}
    assert {asset.asset_class for asset in found} == {AssetClass.US_OPTION}
    assert desk.venue.asked == [("AAPL", date(2026, 12, 18))]
    assert desk.quoted.find(PUT) is not None
    assert desk.quoted.find(LATER) is None
    assert (await desk.quoted.get(LATER, CONTEXT)).symbol == LATER
    assert len(desk.venue.asked) == 2


async def test_a_series_is_read_again_after_a_day() -> None:
    desk = Desk(CALL)
    await desk.quoted.get(CALL, CONTEXT)
    desk.now += 24 * 3_600 + 1
    assert desk.quoted.find(CALL) is None
    await desk.quoted.get(CALL, CONTEXT)
    assert len(desk.venue.asked) == 2


async def test_an_unknown_contract_is_asked_for_once_a_minute_and_may_turn_up() -> None:
    desk = Desk(CALL)
    for _ in range(3):
        with pytest.raises(SymbolUnknown):
            await desk.quoted.get(PUT, CONTEXT)
    assert len(desk.venue.asked) == 1
    desk.venue.symbols.append(PUT)
    desk.now += 61
    assert (await desk.quoted.get(PUT, CONTEXT)).symbol == PUT
    assert len(desk.venue.asked) == 2


async def test_a_venue_that_cannot_be_asked_says_nothing_about_the_contract() -> None:
    desk = Desk(CALL)
    desk.venue.error = VenueUnreachable("down")
    with pytest.raises(VenueUnreachable):
        await desk.quoted.get(CALL, CONTEXT)
    desk.venue.error = None
    assert (await desk.quoted.get(CALL, CONTEXT)).symbol == CALL


async def test_no_more_series_are_kept_than_said() -> None:
    desk = Desk(CALL)
    await desk.quoted.get(CALL, CONTEXT)
    for number in range(SERIES_KEPT_MAX):
        desk.now += 2
        with pytest.raises(SymbolUnknown):
            await desk.quoted.get(f"X{number:03d}261218C00200000", CONTEXT)
    assert desk.quoted.find(CALL) is None


async def test_new_series_take_a_fifth_of_the_venues_requests_at_most() -> None:
    desk = Desk(CALL)
    await desk.quoted.get(CALL, CONTEXT)
    desk.now += 30
    for number in range(LOOK_UPS_PER_MINUTE_MAX - 1):
        with pytest.raises(SymbolUnknown):
            await desk.quoted.get(f"X{number:03d}261218C00200000", CONTEXT)
    with pytest.raises(VenueRateLimited) as caught:
        await desk.quoted.get(LATER, CONTEXT)
    assert caught.value.retry_after_ms == 30_001
    assert len(desk.venue.asked) == LOOK_UPS_PER_MINUTE_MAX
    assert (await desk.quoted.get(CALL, CONTEXT)).symbol == CALL, "what is known costs nothing"
    desk.now += 31
    with pytest.raises(SymbolUnknown):
        await desk.quoted.get(LATER, CONTEXT)


async def test_everything_else_is_the_asset_tables() -> None:
    desk = Desk(CALL)
    assert (await desk.quoted.get("AAPL", CONTEXT)).symbol == "AAPL"
    assert desk.quoted.find("AAPL") is not None
    with pytest.raises(SymbolUnknown):
        await desk.quoted.get("ZZZZ", CONTEXT)
    assert desk.venue.asked == []


@pytest.mark.parametrize("text", ["aapl261218c00200000", "O:AAPL261218C00200000", "AAPL  261218C00200000"])
async def test_another_spelling_is_refused_and_the_right_one_named(text: str) -> None:
    desk = Desk(CALL)
    with pytest.raises(FieldInvalid) as caught:
        await desk.quoted.get(text, CONTEXT, "symbols[0]")
    assert [(one.field, one.description) for one in caught.value.violations] == [
        ("symbols[0]", f"is spelled {CALL} here")
    ]
    assert desk.venue.asked == []


async def test_orders_do_not_know_contracts() -> None:
    desk = Desk(CALL)
    await desk.quoted.get(CALL, CONTEXT)
    with pytest.raises(FieldInvalid, match="malformed"):
        await desk.assets.get(CALL, CONTEXT, "spec.symbol")


@pytest.mark.parametrize(
    ("selection", "feed"),
    [
        (Selection((CALL,)), DataFeed.INDICATIVE),
        (Selection((CALL, PUT), feed=DataFeed.OPRA), DataFeed.OPRA),
        (Selection((CALL,), asset_class=AssetClass.US_OPTION), DataFeed.INDICATIVE),
        (Selection(("AAPL",)), DataFeed.IEX),
    ],
)
def test_the_feed_is_told_by_the_symbols(selection: Selection, feed: DataFeed) -> None:
    assert choose_feed(selection, DataFeed.IEX, DataFeed.INDICATIVE).feed is feed


def test_the_best_feed_of_options_is_what_the_settings_say() -> None:
    assert choose_feed(Selection((CALL,)), DataFeed.IEX, DataFeed.OPRA).feed is DataFeed.OPRA


@pytest.mark.parametrize(
    "selection",
    [
        Selection((CALL, "AAPL")),
        Selection((CALL,), feed=DataFeed.SIP),
        Selection(("AAPL",), feed=DataFeed.OPRA),
        Selection((CALL,), asset_class=AssetClass.US_EQUITY),
    ],
)
def test_what_does_not_go_together_is_refused(selection: Selection) -> None:
    with pytest.raises(FieldInvalid):
        choose_feed(selection, DataFeed.IEX, DataFeed.INDICATIVE)


def test_options_have_live_quotes_and_trades_alone() -> None:
    choice = choose_feed(Selection((CALL,)), DataFeed.IEX)
    for channel in set(Channel) - {Channel.QUOTES, Channel.TRADES}:
        with pytest.raises(FieldInvalid, match="options"):
            check_channel(choice, channel)
    check_channel(choice, Channel.QUOTES)
    check_channel(choice, Channel.TRADES)
    for channel in set(Channel) - {Channel.ORDER_BOOKS}:
        check_channel(choose_feed(Selection(("AAPL",)), DataFeed.IEX), channel)
