"""One story on both emulated roads, with one seed and one clock: every answer is the same, to the nanosecond."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable
from datetime import date
from decimal import Decimal
from typing import Any

from gateway.domain.errors import GatewayError, OrderRejected, OutcomeUnknown
from gateway.domain.interfaces import VenueOrderFilter
from gateway.domain.models.market_data import SubscriptionSet, Timeframe, TimeframeUnit
from gateway.domain.models.orders import OrderChanges
from gateway.domain.types import AssetClass, Channel, DataFeed, FeedState
from tests.contracts.roads import Road, adapters_road, in_process_road
from tests.contracts.specs import bracket, market, resting
from tests.emulator.host import EmulatorHost
from tests.infrastructure.alpaca.listeners import MarketNotes, OrderNotes

ROADS_OWN = frozenset({"venue_request_id"})
"""What a road adds by itself: only one of them has HTTP headers."""


def plain(answer: Any) -> Any:
    """An answer as plain values that can be compared, and read when they differ."""
    if dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        return {
            field.name: plain(getattr(answer, field.name))
            for field in dataclasses.fields(answer)
            if field.name not in ROADS_OWN
        }
    if isinstance(answer, list | tuple):
        return [plain(item) for item in answer]
    if isinstance(answer, Decimal):
        return answer.normalize()
    return answer


async def told(answer: Awaitable[Any]) -> Any:
    """The answer, or what was refused in which words."""
    try:
        return plain(await answer)
    except OrderRejected as error:
        facts = {name: value for name, value in error.metadata.items() if name not in ROADS_OWN}
        return type(error).__name__, error.is_bad_value, facts
    except OutcomeUnknown as error:
        return type(error).__name__, error.duplicate_id
    except GatewayError as error:
        return type(error).__name__


async def story(road: Road) -> list[Any]:
    """Everything that can be asked, in an order that moves money."""
    trading, account, data, context = road.trading, road.account, road.market_data, road.context
    notes, prices = OrderNotes(), MarketNotes()
    orders = await road.streaming.open_order_updates(notes)
    feed = await road.streaming.open_market_data(DataFeed.IEX, prices)
    await feed.set_subscriptions(SubscriptionSet({channel: frozenset({"AAPL", "MSFT"}) for channel in Channel}))
    await road.until(lambda: prices.states and prices.states[-1][0] is FeedState.LIVE)
    await road.until(lambda: notes.states and notes.states[-1][0] is FeedState.RECONCILING)
    answers: list[Any] = []

    async def ask(answer: Awaitable[Any]) -> None:
        answers.append(await told(answer))

    await road.advance(2.0)
    await ask(trading.submit_order(context(), "default.1", market()))
    await ask(trading.submit_order(context(), "default.1", market()))
    await ask(trading.submit_order(context(), "default.2", market("BTC/USD", "0.0123")))
    await ask(trading.submit_order(context(), "default.3", market(quantity="999999")))
    await ask(trading.submit_order(context(), "default.4", resting("2", "100.123")))
    await ask(trading.submit_order(context(), "default.5", bracket()))
    await road.advance(3.0)
    resting_order = await trading.submit_order(context(), "default.6", resting())
    await road.advance(1.0)
    changes = OrderChanges(quantity=Decimal(4), limit_price=Decimal("1.50"))
    await ask(trading.replace_order(context(), resting_order.venue_order_id, "default.7", changes))
    await road.advance(1.0)
    await ask(trading.cancel_order(context(), resting_order.venue_order_id))
    await ask(trading.find_order(context(), "default.5"))
    await ask(trading.find_order(context(), "default.none"))
    await road.advance(70.0)
    for status in VenueOrderFilter:
        await ask(trading.list_orders(context(), status))
    await ask(account.get_account(context()))
    await ask(account.list_positions(context()))
    await ask(account.list_fill_activities(context()))
    for world, symbols in ((DataFeed.IEX, ["AAPL", "SPY"]), (DataFeed.CRYPTO_US, ["BTC/USD"])):
        await ask(data.get_latest_quotes(context(), world, symbols))
        await ask(data.get_latest_trades(context(), world, symbols))
        await ask(data.get_latest_bars(context(), world, symbols))
        await ask(data.get_snapshots(context(), world, symbols))
        for timeframe in (Timeframe(1, TimeframeUnit.MINUTE), Timeframe(1, TimeframeUnit.DAY)):
            end_ns = road.now_ns()
            start_ns = end_ns - 3 * 86_400 * 10**9
            await ask(
                data.list_bars(context(), world, symbols, timeframe, start_ns=start_ns, end_ns=end_ns, page_size=50)
            )
        for newest_first in (False, True):
            span: dict[str, Any] = {"start_ns": start_ns, "end_ns": end_ns, "newest_first": newest_first}
            await ask(data.list_quotes(context(), world, symbols, **span, page_size=50))
            await ask(data.list_trades(context(), world, symbols, **span, page_size=50))
        await ask(data.get_latest_order_books(context(), world, symbols))
    options = ["AAPL240119C00200000", "SPY240216P00595000", "TSLA240119C00999000"]
    for world in (DataFeed.OPRA, DataFeed.INDICATIVE):
        await ask(data.get_latest_quotes(context(), world, options))
        await ask(data.get_latest_trades(context(), world, options))
        await ask(data.get_snapshots(context(), world, options))
        await ask(data.get_latest_bars(context(), world, options))
        await ask(data.list_trades(context(), world, options, start_ns=start_ns, end_ns=end_ns, page_size=50))
        await ask(data.list_quotes(context(), world, options, start_ns=start_ns, end_ns=end_ns))
    await ask(data.list_option_contracts(context(), "AAPL", date(2024, 1, 19)))
    await ask(data.list_option_contracts(context(), "AAPL", date(2024, 1, 18)))
    for asset_class in (AssetClass.US_EQUITY, AssetClass.CRYPTO):
        await ask(data.list_assets(context(), asset_class))
    await ask(data.get_market_clock(context()))
    # An emulated market that never closes ends its day at 24:00, which the wire's HH:MM can only say as 23:59.
    days = await data.list_market_days(context(), date(2024, 1, 1), date(2024, 1, 31))
    answers.append([(day.date, day.open_time_ns, day.session_open_time_ns, day.settlement_date) for day in days])
    await road.until(lambda: prices.bars)
    await feed.close()
    await orders.close()
    answers += [plain(update) for update in notes.updates]
    answers.append(plain(prices.quotes[:50]))
    answers.append(plain(prices.trades[:20]))
    answers.append(plain(prices.bars[:2]))
    return answers


def without_receive_times(answer: Any) -> Any:
    """A socket hears later than a function call, by a clock that stood still or had moved on."""
    if isinstance(answer, dict):
        return {name: without_receive_times(value) for name, value in answer.items() if name != "receive_time_ns"}
    return [without_receive_times(item) for item in answer] if isinstance(answer, list) else answer


async def test_both_roads_tell_the_same_story(start_emulator: EmulatorHost) -> None:
    told_by = []
    for open_road in (in_process_road, adapters_road):
        async with open_road(start_emulator) as road:
            told_by.append(without_receive_times(await story(road)))
    direct, by_wire = told_by
    assert len(direct) == len(by_wire)
    for here, there in zip(direct, by_wire, strict=True):
        assert here == there
