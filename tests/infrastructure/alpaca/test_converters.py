"""The dictionary, both ways: every word of ours, every word of Alpaca's, and words that nobody knows."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from enum import Enum
from typing import Any

import alpaca.data.enums as alpaca_data
import alpaca.trading.enums as alpaca_trading
import msgpack
import pytest

from gateway.domain.interfaces import VenueOrderFilter
from gateway.domain.models.market_data import Adjustment, Greeks, Snapshot, Timeframe, TimeframeUnit
from gateway.domain.models.orders import OrderChanges, OrderSpec, StopLoss, TakeProfit
from gateway.domain.types import (
    AssetClass,
    Channel,
    DataFeed,
    OrderClass,
    OrderSide,
    OrderType,
    TimeInForce,
    TwoWay,
    Venue,
)
from gateway.infrastructure.alpaca.converters import account, market_data, orders, reference
from gateway.infrastructure.alpaca.converters.fields import Unreadable
from gateway.infrastructure.alpaca.trading_adapter import ORDER_FILTER
from tests.infrastructure.alpaca import samples

TABLES: dict[str, tuple[TwoWay[Any, str], set[Any], set[str], set[str]]] = {
    # name: table, our members, Alpaca's words, Alpaca's words that this build does not support
    "side": (orders.SIDE, set(OrderSide), {side.value for side in alpaca_trading.OrderSide}, set()),
    "type": (orders.ORDER_TYPE, set(OrderType), {kind.value for kind in alpaca_trading.OrderType}, set()),
    "time in force": (
        orders.TIME_IN_FORCE, set(TimeInForce), {kind.value for kind in alpaca_trading.TimeInForce}, set(),
    ),
    "class": (
        orders.ORDER_CLASS, set(OrderClass), {kind.value for kind in alpaca_trading.OrderClass},
        set(orders.UNSUPPORTED_ORDER_CLASSES),
    ),
    "asset class": (
        orders.ASSET_CLASS, set(AssetClass) - {AssetClass.UNRECOGNIZED},
        {kind.value for kind in alpaca_trading.AssetClass} | {"ipo"}, set(orders.UNSUPPORTED_ASSET_CLASSES),
    ),
    "position side": (
        account.POSITION_SIDE, set(OrderSide), {side.value for side in alpaca_trading.PositionSide}, set(),
    ),
    "channel": (
        market_data.CHANNEL, set(Channel),
        {"trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "orderbooks", "news",
         "corrections", "cancelErrors", "imbalances"},
        set(market_data.UNSUPPORTED_CHANNELS),
    ),
    "stock feed": (
        market_data.STOCK_FEED, {DataFeed.IEX, DataFeed.SIP}, {feed.value for feed in alpaca_data.DataFeed},
        set(market_data.UNSUPPORTED_FEEDS),
    ),
    "option feed": (
        market_data.OPTION_FEED, {DataFeed.OPRA, DataFeed.INDICATIVE},
        {feed.value for feed in alpaca_data.OptionsFeed}, set(),
    ),
    "adjustment": (
        market_data.ADJUSTMENT, set(Adjustment), {kind.value for kind in alpaca_data.Adjustment} | {"spin-off"}, set(),
    ),
    "order filter": (
        ORDER_FILTER, set(VenueOrderFilter), {status.value for status in alpaca_trading.QueryOrderStatus}, set(),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("table", "ours", "theirs", "unsupported"), TABLES.values(), ids=TABLES.keys())
def test_tables_are_total_both_ways(
    table: TwoWay[Enum, str], ours: set[Enum], theirs: set[str], unsupported: set[str]
) -> None:
    assert set(table) == ours, "every member of ours is mapped"
    mapped = {table[member] for member in table}
    assert mapped | unsupported == theirs, "every word of Alpaca's is mapped, or listed as unsupported"
    assert not mapped & unsupported
    for member in table:
        assert table.back(table[member]) is member


SPEC = OrderSpec("AAPL", OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY, Decimal(1), limit_price=Decimal("0.30"))


@pytest.mark.parametrize("side", OrderSide)
@pytest.mark.parametrize("order_type", OrderType)
@pytest.mark.parametrize("time_in_force", TimeInForce)
@pytest.mark.parametrize("order_class", OrderClass)
def test_a_spec_goes_out_and_comes_back(
    side: OrderSide, order_type: OrderType, time_in_force: TimeInForce, order_class: OrderClass
) -> None:
    spec = replace(SPEC, side=side, order_type=order_type, time_in_force=time_in_force, order_class=order_class)
    body = orders.spec_to_alpaca(spec, "default.k1")
    back = orders.order_from_alpaca(samples.order(**{"order_class": ""} | body))
    assert (back.side, back.order_type, back.time_in_force, back.order_class) == (
        side,
        order_type,
        time_in_force,
        order_class,
    )
    assert (back.quantity, back.limit_price, back.symbol) == (spec.quantity, spec.limit_price, spec.symbol)
    assert back.venue_client_order_id == "default.k1"


def test_numbers_of_an_order_leave_as_plain_decimal_strings() -> None:
    spec = OrderSpec(
        "BTC/USD", OrderSide.SELL, OrderType.STOP_LIMIT, TimeInForce.GTC,
        quantity=Decimal("0.00000001"), limit_price=Decimal("1E+2"), stop_price=Decimal("9007199254740993.123456789"),
        extended_hours=True, order_class=OrderClass.BRACKET,
        take_profit=TakeProfit(Decimal("1.10")), stop_loss=StopLoss(Decimal("0.90"), Decimal("0.89")),
    )  # fmt: skip
    body = orders.spec_to_alpaca(spec, "s.k")
    assert body == {
        "symbol": "BTC/USD", "side": "sell", "type": "stop_limit", "time_in_force": "gtc", "client_order_id": "s.k",
        "qty": "0.00000001", "limit_price": "100", "stop_price": "9007199254740993.123456789", "extended_hours": True,
        "order_class": "bracket", "take_profit": {"limit_price": "1.1"},
        "stop_loss": {"stop_price": "0.9", "limit_price": "0.89"},
    }  # fmt: skip
    assert not [value for value in json.loads(json.dumps(body)).values() if isinstance(value, float)]


def test_notional_and_trails_leave_too_and_what_is_not_set_does_not() -> None:
    by_money = OrderSpec("AAPL", OrderSide.BUY, OrderType.MARKET, TimeInForce.DAY, notional=Decimal("1.5"))
    assert orders.spec_to_alpaca(by_money, "s.k") == {
        "symbol": "AAPL", "side": "buy", "type": "market", "time_in_force": "day", "client_order_id": "s.k",
        "notional": "1.5",
    }  # fmt: skip
    trailing = replace(by_money, notional=None, quantity=Decimal(2), order_type=OrderType.TRAILING_STOP)
    assert orders.spec_to_alpaca(replace(trailing, trail_price=Decimal("0.5")), "s.k")["trail_price"] == "0.5"
    assert orders.spec_to_alpaca(replace(trailing, trail_percent=Decimal("1.50")), "s.k")["trail_percent"] == "1.5"


def test_changes_name_what_changes_alone() -> None:
    assert orders.changes_to_alpaca(OrderChanges(), "s.k2") == {"client_order_id": "s.k2"}
    every = OrderChanges(Decimal(3), Decimal("1.20"), Decimal("1.10"), Decimal("0.50"), TimeInForce.GTC)
    assert orders.changes_to_alpaca(every, "s.k2") == {
        "client_order_id": "s.k2", "qty": "3", "limit_price": "1.2", "stop_price": "1.1", "trail": "0.5",
        "time_in_force": "gtc",
    }  # fmt: skip


@pytest.mark.parametrize("status", [status.value for status in alpaca_trading.OrderStatus] + ["frozen", "NEW"])
def test_a_status_is_kept_verbatim_known_or_not(status: str) -> None:
    assert orders.order_from_alpaca(samples.order(status=status)).venue_status == status


def test_unknown_words_are_none_or_unrecognized_never_an_error() -> None:
    strange = samples.order(
        asset_class="tulips", side="lend", type="iceberg", order_type="iceberg", time_in_force="gtd", order_class="mleg"
    )
    order = orders.order_from_alpaca(strange)
    assert order.asset_class is AssetClass.UNRECOGNIZED
    assert (order.side, order.order_type, order.time_in_force, order.order_class) == (None, None, None, None)


def test_nulls_and_missing_fields_are_nothing() -> None:
    sparse = {"id": samples.ORDER_ID, "status": "new", "submitted_at": None, "legs": None}
    order = orders.order_from_alpaca(sparse)
    assert (order.symbol, order.submit_time_ns, order.quantity, order.filled_quantity) == ("", None, None, 0)


def test_multi_leg_parents_with_empty_words_are_read() -> None:
    leg = samples.order(id=samples.BTC_ID, type="", order_type="", ratio_qty="1")
    credit = {"limit_price": "-0.85", "filled_avg_price": "-0.9"}
    parent = samples.order(symbol="", asset_class="", side="", order_class="mleg", legs=[leg], **credit)
    order = orders.order_from_alpaca(parent)
    assert (order.limit_price, order.filled_average_price) == (Decimal("-0.85"), Decimal("-0.9"))
    assert [one.venue_order_id for one in order.legs] == [samples.BTC_ID]


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None}, {"id": ""}, {"id": 7}, {"status": None}, {"status": 3}, {"qty": "NaN"}, {"filled_qty": "-1"},
        {"filled_avg_price": "1e400"}, {"limit_price": "-2"}, {"qty": True}, {"qty": []}, {"legs": {}}, {"legs": [7]},
        {"legs": [{}] * 9}, {"stop_price": "Infinity"}, {"notional": "1_000"},
    ],
)  # fmt: skip
def test_an_order_with_a_broken_field_is_unreadable(changes: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        orders.order_from_alpaca(samples.order(**changes))


@pytest.mark.parametrize("raw", [None, [], "order", 7, True])
def test_what_is_no_object_is_no_order(raw: object) -> None:
    with pytest.raises(Unreadable):
        orders.order_from_alpaca(raw)


def test_updates_keep_decimals_and_unknown_events() -> None:
    raw = {
        "event": "trade_bust",
        "execution_id": "e1",
        "timestamp": "2026-03-02T14:30:01.000000007Z",
        "price": "107.08",
        "qty": "9007199254740993.123456789",
        "position_qty": "-3",
        "order": samples.order(status="partially_filled"),
    }
    update = orders.update_from_alpaca(raw, 5)
    assert (update.event, update.execution_id, update.receive_time_ns) == ("trade_bust", "e1", 5)
    assert update.quantity == Decimal("9007199254740993.123456789")
    assert update.position_quantity == Decimal(-3)
    assert update.event_time_ns is not None
    assert update.event_time_ns % 1_000_000_000 == 7


@pytest.mark.parametrize("changes", [{"price": "-1"}, {"event": None}, {"order": None}, {"qty": "NaN"}, {"order": []}])
def test_a_broken_update_is_unreadable(changes: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        orders.update_from_alpaca({"event": "fill", "order": samples.order()} | changes, 5)


def test_the_account_in_its_new_shape_has_no_day_trade_counters() -> None:
    new = account.account_from_alpaca(samples.account(), Venue.PAPER, 9)
    assert (new.cash, new.multiplier, new.read_time_ns) == (Decimal("-23140.2"), "2", 9)
    assert (new.daytrade_count, new.pattern_day_trader, new.daytrading_buying_power) == (None, None, None)
    legacy = samples.account(daytrade_count=2, pattern_day_trader=False, daytrading_buying_power="262113.632")
    old = account.account_from_alpaca(legacy, Venue.PAPER, 9)
    assert (old.daytrade_count, old.pattern_day_trader) == (2, False)


def test_an_account_status_that_nobody_knows_is_kept() -> None:
    status = "ACCOUNT_CLOSED_PENDING"
    assert account.account_from_alpaca(samples.account(status=status), Venue.PAPER, 9).status == status


@pytest.mark.parametrize("lock", ["trading_blocked", "account_blocked", "trade_suspended_by_user"])
def test_a_lock_that_cannot_be_read_counts_as_locked(lock: str) -> None:
    assert getattr(account.account_from_alpaca(samples.account(**{lock: "yes"}), Venue.PAPER, 9), lock)
    assert not getattr(account.account_from_alpaca(samples.account(**{lock: None}), Venue.PAPER, 9), lock)


@pytest.mark.parametrize("changes", [{"cash": None}, {"equity": "NaN"}, {"buying_power": "1e400"}, {"status": None}])
def test_a_broken_account_is_unreadable(changes: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        account.account_from_alpaca(samples.account(**changes), Venue.PAPER, 9)


@pytest.mark.parametrize("spelled", ["5", "-5"])
def test_a_short_position_is_negative_however_the_venue_spells_it(spelled: str) -> None:
    raw = samples.position(qty=spelled, qty_available=spelled, side="short")
    position = account.position_from_alpaca(raw, "AAPL", 9)
    assert (position.quantity, position.available_quantity) == (Decimal(-5), Decimal(-5))


def test_a_long_position_of_a_negative_quantity_contradicts_itself() -> None:
    with pytest.raises(Unreadable):
        account.position_from_alpaca(samples.position(qty="-5"), "AAPL", 9)


def test_days_are_new_yorks_also_across_daylight_saving() -> None:
    winter = {"date": "2026-01-02", "open": "09:30", "close": "16:00", "session_open": "0400", "session_close": "2000"}
    summer = winter | {"date": "2026-07-02", "settlement_date": "2026-07-06"}
    day = reference.market_day_from_alpaca(winter)
    assert day.open_time_ns == 1_767_364_200_000_000_000  # 14:30 UTC
    assert day.session_close_time_ns - day.session_open_time_ns == 16 * 3_600_000_000_000
    assert reference.market_day_from_alpaca(summer).open_time_ns == 1_782_999_000_000_000_000  # 13:30 UTC
    assert str(reference.market_day_from_alpaca(summer).settlement_date) == "2026-07-06"
    for broken in ({"open": "25:00"}, {"close": None}, {"date": "2026-13-01"}, {"open": 930}):
        with pytest.raises(Unreadable):
            reference.market_day_from_alpaca(winter | broken)


def test_assets_of_unknown_classes_are_kept_and_broken_rows_are_left_out() -> None:
    rows = [
        samples.crypto_asset(),
        samples.asset(**{"class": "ipo"}, status="retired", exchange="MOON"),
        samples.asset(symbol="spaced out"),
        samples.asset(id=None),
        samples.crypto_asset(price_increment="NaN"),
        7,
    ]
    assets, left_out = reference.assets_from_alpaca(rows)
    assert [one.symbol for one in assets] == ["AAPL", "BTC/USD"]
    assert assets[0].asset_class is AssetClass.UNRECOGNIZED
    assert (assets[1].min_order_size, assets[1].price_increment) == (Decimal("0.0000103"), Decimal("0.01"))
    assert left_out == 4


T_NS = 1_790_000_000_123_456_789
QUOTE = {
    "T": "q",
    "S": "AAPL",
    "bx": "V",
    "bp": 240.23,
    "bs": 3,
    "ax": "Q",
    "ap": 240.25,
    "as": 1,
    "c": ["R"],
    "z": "C",
}


def frame(*messages: dict[str, Any]) -> bytes:
    stamped = [{"t": msgpack.Timestamp(*divmod(T_NS, 10**9)), **message} for message in messages]
    packed: bytes = msgpack.packb(stamped)
    return packed


def test_a_quote_of_a_frame_is_bit_for_bit_and_to_the_nanosecond() -> None:
    messages = market_data.unpack_frame(frame(QUOTE, QUOTE | {"bp": 0.1 + 0.2, "S": "MSFT"}))
    first, second = market_data.quotes_from_frame(messages, DataFeed.IEX, 5)
    assert (first.time_ns, first.receive_time_ns, first.feed) == (T_NS, 5, DataFeed.IEX)
    assert (first.bid_price, first.bid_size, first.ask_exchange, first.conditions, first.tape) == (
        240.23,
        3.0,
        "Q",
        ("R",),
        "C",
    )
    assert type(first.bid_size) is float
    assert second.bid_price.hex() == (0.1 + 0.2).hex()
    assert [market_data.quote_from_alpaca(raw["S"], raw, DataFeed.IEX, 5) for raw in messages] == [first, second]


def test_crypto_quotes_have_no_exchanges() -> None:
    raw = {"T": "q", "S": "BTC/USD", "bp": 94363.83, "bs": 1.5452, "ap": 94369.83, "as": 1.0153}
    (quote,) = market_data.quotes_from_frame(market_data.unpack_frame(frame(raw)), DataFeed.CRYPTO_US, 5)
    assert (quote.bid_exchange, quote.conditions, quote.tape, quote.bid_size) == ("", (), "", 1.5452)


def test_whole_prices_are_floats_too() -> None:
    (quote,) = market_data.quotes_from_frame(market_data.unpack_frame(frame(QUOTE | {"bp": 240})), DataFeed.IEX, 5)
    assert type(quote.bid_price) is float


@pytest.mark.parametrize(
    "changes",
    [
        {"bp": float("nan")}, {"ap": float("inf")}, {"bp": -0.01}, {"bs": -1}, {"as": float("nan")}, {"bp": "240"},
        {"bs": True}, {"bp": None}, {"t": 1_790_000_000}, {"t": "soon"}, {"t": None}, {"S": 7}, {"S": ""},
        {"as": 10**400}, {"bs": float("inf")}, {"ap": []},
    ],
)  # fmt: skip
def test_a_broken_quote_is_unreadable_on_both_roads(changes: dict[str, Any]) -> None:
    raw = QUOTE | {"t": T_NS} | changes
    with pytest.raises(Unreadable):
        market_data.quotes_from_frame([raw], DataFeed.IEX, 5)
    with pytest.raises(Unreadable):
        market_data.quote_from_alpaca(raw["S"], raw, DataFeed.IEX, 5)


@pytest.mark.parametrize(
    ("changes", "exchange", "conditions"),
    [
        ({"bx": None}, "", ("R",)),
        ({"bx": 7}, "", ("R",)),
        ({"c": None}, "V", ()),
        ({"c": "A"}, "V", ("A",)),
        ({"c": ["R", 3, "Z"]}, "V", ("R", "Z")),
        ({"c": [["R"]]}, "V", ()),
    ],
)
def test_words_beside_a_price_are_kept_or_left_out(changes: dict[str, Any], exchange: str, conditions: Any) -> None:
    raw = QUOTE | {"t": T_NS} | changes
    one_by_one = market_data.quote_from_alpaca(raw["S"], raw, DataFeed.IEX, 5)
    assert (one_by_one.bid_exchange, one_by_one.conditions) == (exchange, conditions)
    try:
        assert market_data.quotes_from_frame([raw], DataFeed.IEX, 5) == [one_by_one]
    except Unreadable:
        assert changes == {"c": [["R"]]}  # then the caller takes them one by one


@pytest.mark.parametrize("bad", [b"", b"\xc1", b"\x81", b"\x81\xa1T\xa1q", b"\x92\x01", "[", '{"T":"q"}', "[NaN]"])
def test_a_frame_that_is_no_array_is_unreadable(bad: bytes | str) -> None:
    with pytest.raises(Unreadable):
        market_data.unpack_frame(bad)


def test_text_frames_are_read_as_json() -> None:
    text = json.dumps([QUOTE | {"t": "2026-09-21T13:33:20.123456789Z"}])
    (quote,) = market_data.quotes_from_frame(market_data.unpack_frame(text), DataFeed.IEX, 5)
    assert quote.time_ns % 10**9 == 123_456_789


def test_trades_and_bars_say_what_they_have() -> None:
    raw = {
        "t": T_NS,
        "p": 1.5,
        "s": 7,
        "i": 52_983_525_029_461,
        "x": "D",
        "c": ["@"],
        "z": "C",
        "tks": "B",
        "u": "canceled",
    }
    trade = market_data.trade_from_alpaca("AAPL", raw, DataFeed.IEX, 5)
    assert (trade.trade_id, trade.size, trade.taker_side, trade.update) == (52_983_525_029_461, 7.0, "B", "canceled")
    bar = {"t": T_NS, "o": 1, "h": 2, "l": 0.5, "c": 1.5, "v": 10, "n": 3, "vw": 1.25}
    assert market_data.bar_from_alpaca("AAPL", bar, DataFeed.IEX, 5).vwap == 1.25
    assert market_data.bar_from_alpaca("AAPL", bar | {"vw": 0}, DataFeed.IEX, 5).vwap is None
    for broken in ({"o": None}, {"v": -1}, {"t": None}):
        with pytest.raises(Unreadable):
            market_data.bar_from_alpaca("AAPL", bar | broken, DataFeed.IEX, 5)


def test_a_page_of_bars_is_by_symbol_then_by_time_and_knows_what_still_runs() -> None:
    def bar(start_ns: int) -> dict[str, Any]:
        return {"t": start_ns, "o": 1.0, "h": 1.0, "l": 1.0, "c": 1.0, "v": 1, "n": 1, "vw": 1.0}

    minute_ns = 60 * 10**9
    page = {"bars": {"MSFT": [bar(T_NS)], "AAPL": [bar(T_NS), bar(T_NS + minute_ns)]}, "next_page_token": "n"}
    timeframe = Timeframe(1, TimeframeUnit.MINUTE)
    bars, token = market_data.bars_from_alpaca(page, DataFeed.IEX, T_NS + minute_ns, timeframe, newest_first=False)
    assert token == "n"
    assert [(one.symbol, one.start_time_ns, one.final) for one in bars] == [
        ("AAPL", T_NS, True),
        ("AAPL", T_NS + minute_ns, False),
        ("MSFT", T_NS, True),
    ]
    newest, _ = market_data.bars_from_alpaca(page, DataFeed.IEX, 5, timeframe, newest_first=True)
    assert [one.start_time_ns for one in newest] == [T_NS + minute_ns, T_NS, T_NS]
    for nothing in ({"bars": None, "next_page_token": None}, {"bars": {}}, {"bars": {"AAPL": None}}):
        assert market_data.bars_from_alpaca(nothing, DataFeed.IEX, 5, timeframe, newest_first=False) == ((), "")


@pytest.mark.parametrize("unit", TimeframeUnit)
def test_timeframes_are_spelled_as_alpaca_py_spells_them(unit: TimeframeUnit) -> None:
    from alpaca.data.timeframe import TimeFrame, TimeFrameUnit as AlpacaUnit

    assert market_data.timeframe_to_alpaca(Timeframe(1, unit)) == str(TimeFrame(1, AlpacaUnit(unit.value)))
    assert market_data.span_of(Timeframe(1, unit)) >= 60 * 10**9


OPTION = "AAPL240426C00162500"
GREEKS = {"delta": -0.5, "gamma": 0.1, "theta": -0.2, "vega": 0.3, "rho": 1}


def test_a_snapshot_of_an_option_has_what_alpaca_could_compute() -> None:
    def read(**fields: object) -> Snapshot:
        return market_data.snapshot_from_alpaca(OPTION, fields, DataFeed.OPRA, 1)

    whole = read(impliedVolatility=0.25, greeks=GREEKS)
    assert (whole.implied_volatility, whole.greeks) == (0.25, Greeks(-0.5, 0.1, -0.2, 0.3, 1.0))
    assert read() == Snapshot(OPTION)
    assert read(greeks=None, impliedVolatility=None) == Snapshot(OPTION)
    assert read(greeks={**GREEKS, "vega": None}).greeks is None, "some of them would be guessed"
    for bad in ("0.5", True, float("nan"), float("inf"), 10**400):
        with pytest.raises(Unreadable):
            read(greeks={**GREEKS, "delta": bad})
    with pytest.raises(Unreadable):
        read(impliedVolatility=-0.1)


def test_contracts_are_read_and_foreign_spellings_left_out() -> None:
    row = {"id": "1", "symbol": OPTION, "status": "active", "name": "AAPL Apr 26 2024 162.5 Call", "tradable": True}
    page = {"option_contracts": [row, {**row, "symbol": "AAPL"}], "next_page_token": "more"}
    contracts, token = reference.option_contracts_from_alpaca(page)
    assert [(one.symbol, one.asset_class, one.tradable, one.name) for one in contracts] == [
        (OPTION, AssetClass.US_OPTION, True, row["name"])
    ]
    assert token == "more"
    assert reference.option_contracts_from_alpaca({"option_contracts": None}) == ([], "")
    with pytest.raises(Unreadable):
        reference.option_contracts_from_alpaca({"option_contracts": [{**row, "symbol": 1}]})
