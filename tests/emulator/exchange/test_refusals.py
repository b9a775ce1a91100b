"""Every refusal: its code, its text, its further members; and that nothing has changed."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from gateway.domain.models.reference import Asset
from gateway.emulator.exchange import (
    ExchangeConfig,
    NewOrder,
    Refusal,
    SimulatedExchange,
    make_asset,
)
from tests.emulator.exchange.desk import Desk, instant, make_spec, refused
from tests.emulator.exchange.storms import memory

SYNTAX, MEANING, NOT_ALLOWED, NOT_FOUND = 40010001, 42210000, 40310000, 40410000


def ready(**config: Any) -> Desk:
    """A desk with prices, 100 MSFT and one bitcoin."""
    desk = Desk(**config)
    for symbol, price in (("AAPL", 100.0), ("MSFT", 40.0), ("BTC/USD", 50_000.0), ("ETH/USD", 2_000.0)):
        desk.trade(symbol, price)
        desk.quote(symbol, price, price, size=1e6)
    desk.hold("MSFT", 100, 40.0)
    desk.hold("BTC/USD", 1, 50_000.0)
    return desk


BRACKET = {"order_class": "bracket", "take_profit": 110, "stop_loss": 90}

SHAPES: list[tuple[int, str, str, dict[str, Any]]] = [
    (SYNTAX, "qty or notional is required", "buy AAPL", {}),
    (SYNTAX, "only one of qty or notional is accepted", "buy AAPL 1", {"notional": 100}),
    (SYNTAX, "qty must be > 0", "buy AAPL 0", {}),
    (SYNTAX, "qty must be > 0", "buy AAPL -5", {}),
    (SYNTAX, "invalid qty", "buy AAPL NaN", {}),
    (SYNTAX, "invalid qty", "buy AAPL Infinity", {}),
    (SYNTAX, "invalid qty", "buy AAPL 1E+15", {}),
    (SYNTAX, "qty must be limited to 9 decimal places", "buy AAPL 1.0000000001", {}),
    (SYNTAX, "limit_price is required for limit orders", "buy AAPL 1", {"order_type": "limit"}),
    (SYNTAX, "stop_price is required for stop orders", "buy AAPL 1", {"order_type": "stop"}),
    (
        SYNTAX,
        "limit_price is required for stop_limit orders",
        "buy AAPL 1",
        {"order_type": "stop_limit", "stop_price": 9},
    ),
    (SYNTAX, "market orders require no limit_price", "buy AAPL 1", {"order_type": "market", "limit_price": 1}),
    (
        SYNTAX,
        "limit orders require no stop_price",
        "buy AAPL 1",
        {"order_type": "limit", "limit_price": 1, "stop_price": 1},
    ),
    (SYNTAX, "limit_price must be > 0", "buy AAPL 1", {"limit_price": -1}),
    (
        SYNTAX,
        "one of trail_price or trail_percent is required for trailing_stop orders",
        "buy AAPL 1",
        {"trail_price": 1, "trail_percent": 1},
    ),
    (SYNTAX, "trail_percent must be < 100", "buy AAPL 1", {"trail_percent": 100}),
    (MEANING, 'asset "ZZZZ" not found', "buy ZZZZ 1", {}),
    (
        MEANING,
        "invalid limit_price 290.123. sub-penny increment does not fulfill minimum pricing criteria",
        "buy AAPL 1",
        {"limit_price": "290.123"},
    ),
    (
        MEANING,
        "invalid limit_price 0.12345. sub-penny increment does not fulfill minimum pricing criteria",
        "buy AAPL 1",
        {"limit_price": "0.12345"},
    ),
    (
        MEANING,
        "invalid stop_price 100.005. sub-penny increment does not fulfill minimum pricing criteria",
        "buy AAPL 1",
        {"stop_price": "100.005"},
    ),
    (
        MEANING,
        "invalid stop_loss.stop_price 90.001. sub-penny increment does not fulfill minimum pricing criteria",
        "buy AAPL 1",
        BRACKET | {"stop_loss": "90.001"},
    ),
    (MEANING, "fractional orders must be DAY orders", "buy AAPL 0.5", {"tif": "gtc"}),
    (MEANING, "fractional orders must be DAY orders", "buy AAPL", {"notional": 10, "tif": "ioc"}),
    (MEANING, "fractional orders must be simple orders", "buy AAPL 0.5", BRACKET),
    (MEANING, "fractional orders must be simple orders", "buy AAPL 0.5", {"trail_price": 1}),
    (MEANING, "notional orders must be market orders", "buy AAPL", {"notional": 10, "limit_price": 90}),
    (MEANING, "notional must be >= 1.00", "buy AAPL", {"notional": "0.99"}),
    (MEANING, "invalid time_in_force opg for stop orders", "buy AAPL 1", {"stop_price": 110, "tif": "opg"}),
    (MEANING, "invalid time_in_force ioc for trailing_stop orders", "buy AAPL 1", {"trail_price": 1, "tif": "ioc"}),
    (MEANING, "extended hours order must be DAY limit orders", "buy AAPL 1", {"extended_hours": True}),
    (
        MEANING,
        "extended hours order must be DAY limit orders",
        "buy AAPL 1",
        {"extended_hours": True, "limit_price": 90, "tif": "ioc"},
    ),
    (
        MEANING,
        "extended hours order must be DAY limit orders",
        "buy AAPL 1",
        BRACKET | {"extended_hours": True, "limit_price": 100},
    ),
    (
        MEANING,
        "bracket orders require take_profit.limit_price",
        "buy AAPL 1",
        {"order_class": "bracket", "stop_loss": 90},
    ),
    (
        MEANING,
        "bracket orders require stop_loss.stop_price",
        "buy AAPL 1",
        {"order_class": "bracket", "take_profit": 110},
    ),
    (MEANING, "oto orders require either take_profit or stop_loss", "buy AAPL 1", {"order_class": "oto"}),
    (MEANING, "simple orders take no take_profit and no stop_loss", "buy AAPL 1", {"take_profit": 110}),
    (MEANING, "bracket orders must be DAY or GTC orders", "buy AAPL 1", BRACKET | {"tif": "ioc"}),
    (
        MEANING,
        "oco orders must be limit orders",
        "sell MSFT 1",
        {"order_class": "oco", "order_type": "market", "take_profit": 44, "stop_loss": 36},
    ),
    (MEANING, "take_profit.limit_price must be > stop_loss.stop_price", "buy AAPL 1", BRACKET | {"take_profit": 90}),
    (MEANING, "take_profit.limit_price must be < stop_loss.stop_price", "sell AAPL 1", BRACKET),
    (MEANING, "take_profit.limit_price must be >= base_price + 0.01", "buy AAPL 1", BRACKET | {"take_profit": 100}),
    (MEANING, "stop_loss.stop_price must be <= base_price - 0.01", "buy AAPL 1", BRACKET | {"stop_loss": 100}),
    (
        MEANING,
        "bracket orders must be entry orders",
        "sell MSFT 1",
        {"order_class": "bracket", "take_profit": 36, "stop_loss": 44},
    ),
    (
        MEANING,
        "oco orders must be exit orders",
        "sell AAPL 1",
        {"order_class": "oco", "take_profit": 110, "stop_loss": 90},
    ),
    (
        MEANING,
        "position intent mismatch, inferred: sell_to_open, specified: sell_to_close",
        "sell AAPL 1",
        {"position_intent": "sell_to_close"},
    ),
    (MEANING, "invalid crypto time_in_force", "buy BTC/USD 1", {"tif": "day"}),
    (MEANING, "invalid crypto time_in_force", "buy BTC/USD 1", {"limit_price": 1, "tif": "fok"}),
    (MEANING, "invalid order type for crypto order", "buy BTC/USD 1", {"stop_price": 1}),
    (MEANING, "crypto orders not allowed for advanced order_class: bracket", "buy BTC/USD 1", BRACKET),
    (NOT_ALLOWED, "cost basis must be >= minimal amount of order 10", "buy BTC/USD 0.0001", {"limit_price": 99_999}),
    (NOT_ALLOWED, "cost basis must be >= minimal amount of order 10", "buy ETH/USD", {"notional": "9.99"}),
    (NOT_ALLOWED, "insufficient balance for ETH (requested: 1, available: 0)", "sell ETH/USD 1", {}),
    (NOT_ALLOWED, "insufficient balance for BTC (requested: 1, available: 0.9975)", "sell BTC/USD 1", {}),
    (NOT_ALLOWED, "fractional orders cannot be sold short", "sell AAPL 0.5", {}),
    (NOT_ALLOWED, "fractional orders cannot be sold short", "sell AAPL", {"notional": 100}),
    (NOT_ALLOWED, "insufficient qty available for order (requested: 101, available: 100)", "sell MSFT 101", {}),
    (NOT_ALLOWED, "insufficient buying power", "buy AAPL 5000", {}),
    (SYNTAX, "client_order_id must be no more than 128 characters", "buy AAPL 1", {"client_order_id": "x" * 129}),
]


@pytest.mark.parametrize(("code", "message", "words", "fields"), SHAPES)
def test_refused_and_nothing_has_changed(code: int, message: str, words: str, fields: dict[str, Any]) -> None:
    desk = ready()
    side, symbol, *quantity = words.split()
    before = memory(desk.exchange)
    client_order_id, intent = fields.get("client_order_id"), fields.get("position_intent", "")
    rest = {name: value for name, value in fields.items() if name not in ("client_order_id", "position_intent")}
    order = NewOrder(make_spec(symbol, side, *quantity, **rest), client_order_id, intent)
    with refused(code, message):
        desk.exchange.submit(desk.now_ns, order)
    assert memory(desk.exchange) == before
    assert desk.events() == []


@pytest.mark.parametrize(
    ("code", "status"), [(SYNTAX, 422), (MEANING, 422), (NOT_ALLOWED, 403), (NOT_FOUND, 404), (42910000, 429)]
)
def test_the_http_status_is_in_the_code(code: int, status: int) -> None:
    assert Refusal(code, "no").http_status == status


def test_buying_power_is_told_with_what_it_would_cost() -> None:
    desk = Desk()
    desk.quote("AAPL", 100.0, 100.0)
    with pytest.raises(Refusal) as caught:
        desk.buy("AAPL", 2000)
    assert caught.value.extra == {"buying_power": "200000", "cost_basis": "205000"}, "2.5 % above the ask"
    desk.buy("AAPL", 1951)
    with pytest.raises(Refusal) as caught:
        desk.buy("AAPL", 1, limit_price=100_000)
    assert caught.value.code == NOT_ALLOWED


@pytest.mark.parametrize(
    ("price", "quantity", "fields", "allowed"),
    [
        (100.0, 1951, {}, True),  # 102.5 each
        (100.0, 1952, {}, False),
        (40.0, 4807, {}, True),  # 41.6 each
        (40.0, 4808, {}, False),
        (100.0, 2000, {"limit_price": 100}, True),
        (100.0, 2001, {"limit_price": 100}, False),
        (100.0, 1951, {"stop_price": 100}, True),
        (100.0, 1952, {"stop_price": 100}, False),
    ],
)
def test_what_an_order_is_reckoned_to_cost(price: float, quantity: int, fields: dict[str, Any], allowed: bool) -> None:
    desk = Desk()
    desk.quote("AAPL", price, price)
    if allowed:
        desk.buy("AAPL", quantity, **fields)
    else:
        with refused(NOT_ALLOWED, "insufficient buying power"):
            desk.buy("AAPL", quantity, **fields)


def test_crypto_is_bought_with_cash_and_not_on_margin() -> None:
    desk = Desk()
    desk.quote("BTC/USD", 50_000.0, 50_000.0)
    with refused(NOT_ALLOWED, "insufficient buying power"):
        desk.buy("BTC/USD", "2.000000001")
    assert desk.status(desk.buy("BTC/USD", 2)) == "filled"


def test_open_orders_hold_shares_and_are_named() -> None:
    desk = ready()
    resting = desk.sell("MSFT", 70, limit_price=50)
    with pytest.raises(Refusal) as caught:
        desk.sell("MSFT", 31, limit_price=51)
    assert caught.value.message == "insufficient qty available for order (requested: 31, available: 30)"
    assert caught.value.extra == {
        "available": "30",
        "existing_qty": "100",
        "held_for_orders": "70",
        "symbol": "MSFT",
        "related_orders": resting.id,
    }
    desk.cancel(resting)
    assert desk.status(desk.sell("MSFT", 100)) == "filled"


def test_a_short_position_is_not_bought_back_beyond_zero() -> None:
    desk = Desk()
    desk.hold("AAPL", -10, 100.0)
    with refused(NOT_ALLOWED, "insufficient qty available for order (requested: 11, available: 10)"):
        desk.buy("AAPL", 11)


@pytest.mark.parametrize(
    ("config", "switch"),
    [({"shorting_enabled": False}, False), ({}, True), ({"multiplier": 1}, False), ({"cash": Decimal(1999)}, False)],
)
def test_short_sales_need_an_account_that_may(config: dict[str, Any], switch: bool) -> None:
    desk = Desk(**config)
    desk.quote("AAPL", 100.0, 100.0)
    if switch:
        desk.exchange.configure(desk.now_ns, no_shorting=True)
    with refused(NOT_ALLOWED, "account is not allowed to short"):
        desk.sell("AAPL", 1)


def with_asset(asset: Asset) -> Desk:
    now_ns = instant("2024-01-03 10:00")
    desk = Desk(exchange=SimulatedExchange(ExchangeConfig(), [asset], now_ns))
    desk.quote(asset.symbol, 100.0, 100.0)
    return desk


@pytest.mark.parametrize(
    ("changes", "side", "quantity", "code", "message"),
    [
        ({"tradable": False}, "buy", 1, MEANING, 'asset "AAPL" is not active'),
        ({"fractionable": False}, "buy", "0.5", NOT_ALLOWED, 'asset "AAPL" is not fractionable'),
        ({"shortable": False}, "sell", 1, MEANING, 'asset "AAPL" cannot be sold short'),
    ],
)
def test_what_the_asset_does_not_allow(
    changes: dict[str, Any], side: str, quantity: Any, code: int, message: str
) -> None:
    desk = with_asset(replace(make_asset("AAPL"), **changes))
    with refused(code, message):
        getattr(desk, side)("AAPL", quantity)


@pytest.mark.parametrize(
    ("resting", "wanted", "washes"),
    [
        ({"limit_price": 50}, {"limit_price": 49}, False),
        ({"limit_price": 50}, {"limit_price": 50}, True),
        ({"limit_price": 50}, {}, True),
        ({"limit_price": 50}, {"stop_price": 60}, True),
        ({"stop_price": 36}, {"limit_price": 30}, True),
        ({"trail_price": 3}, {"limit_price": 30}, True),
    ],
)
def test_wash_trades_are_refused_by_the_table(resting: dict[str, Any], wanted: dict[str, Any], washes: bool) -> None:
    desk = ready()
    other = desk.sell("MSFT", 10, **resting)
    if not washes:
        assert desk.status(desk.buy("MSFT", 1, **wanted)) == "filled"
        return
    with pytest.raises(Refusal) as caught:
        desk.buy("MSFT", 1, **wanted)
    assert (caught.value.code, caught.value.message) == (
        NOT_ALLOWED,
        "potential wash trade detected. use complex orders",
    )
    assert caught.value.extra == {
        "existing_order_id": other.id,
        "reject_reason": f"opposite side {other.order_type} order exists",
    }
    off = ready(wash_trade_check=False)
    off.sell("MSFT", 10, **resting)
    off.buy("MSFT", 1, **wanted)


def test_exits_of_a_family_are_no_wash_trades() -> None:
    desk = ready()
    desk.buy("AAPL", 10, **BRACKET)
    assert desk.status(desk.buy("AAPL", 1, limit_price=100)) == "filled", "the held stop-loss does not count"
    with refused(NOT_ALLOWED, "potential wash trade detected. use complex orders"):
        desk.buy("AAPL", 1)


def test_a_client_order_id_is_used_once_for_ever() -> None:
    desk = ready()
    first = desk.buy("AAPL", 1, client_order_id="mine", limit_price=90)
    desk.cancel(first)
    for attempt in ({"limit_price": 90}, {"limit_price": "90.001"}):
        with refused(SYNTAX, "client_order_id must be unique"):
            desk.buy("AAPL", 1, client_order_id="mine", **attempt)
    other = desk.buy("AAPL", 1, client_order_id="other", limit_price=90)
    with refused(SYNTAX, "client_order_id must be unique"):
        desk.change(other, "mine", limit_price=91)
    assert desk.exchange.order_by_client_id("mine").id == first.id


@pytest.mark.parametrize("uses_up", [False, True])
def test_whether_a_refused_order_uses_its_id_up_is_a_setting(uses_up: bool) -> None:
    desk = ready(order_ids_unique_after_refusal=uses_up)
    with refused(NOT_ALLOWED, "insufficient buying power"):
        desk.buy("AAPL", 100_000, client_order_id="mine")
    if uses_up:
        with refused(SYNTAX, "client_order_id must be unique"):
            desk.buy("AAPL", 1, client_order_id="mine")
        with refused(NOT_FOUND, "order not found"):
            desk.exchange.order_by_client_id("mine")
    else:
        desk.buy("AAPL", 1, client_order_id="mine")


@pytest.mark.parametrize(
    ("first", "message"), [(True, "client_order_id must be unique"), (False, "insufficient buying power")]
)
def test_which_check_comes_first_is_a_setting(first: bool, message: str) -> None:
    desk = ready(duplicate_check_first=first)
    desk.buy("AAPL", 1, client_order_id="mine")
    with pytest.raises(Refusal, match=message):
        desk.buy("AAPL", 100_000, client_order_id="mine")


def test_cancels() -> None:
    desk = ready()
    filled, resting = desk.buy("AAPL", 1), desk.buy("AAPL", 1, limit_price=90)
    with refused(MEANING, 'order is already in "filled" state'):
        desk.cancel(filled)
    desk.cancel(resting)
    desk.events()
    desk.cancel(resting)
    assert desk.events() == [], "a repeated cancel succeeds and does nothing"
    with refused(NOT_FOUND, "order not found: none"):
        desk.exchange.cancel(desk.now_ns, "none")
    strict = ready(repeat_cancel_succeeds=False)
    order = strict.buy("AAPL", 1, limit_price=90)
    strict.cancel(order)
    with refused(MEANING, 'order is already in "canceled" state'):
        strict.cancel(order)


def test_a_suspended_account_takes_cancels_alone() -> None:
    desk = ready()
    order = desk.buy("AAPL", 1, limit_price=90)
    desk.exchange.configure(desk.now_ns, suspend_trade=True)
    with refused(NOT_ALLOWED, "new orders are rejected by user request"):
        desk.buy("AAPL", 1)
    desk.cancel(order)
    assert desk.exchange.account(desk.now_ns).trade_suspended_by_user


def test_fractions_can_be_switched_off() -> None:
    desk = ready()
    desk.exchange.configure(desk.now_ns, fractional_trading=False)
    for order in ({"quantity": "0.5"}, {"notional": 10}):
        with refused(NOT_ALLOWED, "account is not allowed to trade fractional shares"):
            desk.buy("AAPL", **order)
    desk.buy("AAPL", 1)
    desk.buy("BTC/USD", "0.5", limit_price=100)


@pytest.mark.parametrize(
    "changes", [{"suspend_trade": "yes"}, {"pdt_check": "maybe"}, {"unknown": True}, {"max_margin_multiplier": 4}]
)
def test_configurations_are_checked(changes: dict[str, Any]) -> None:
    desk = Desk()
    with refused(SYNTAX, f"invalid {next(iter(changes))}"):
        desk.exchange.configure(desk.now_ns, **changes)
    assert desk.exchange.configuration() == type(desk.exchange.configuration())()


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"quantity": 1, "percentage": 1}, SYNTAX, "only one of qty or percentage is accepted"),
        ({"percentage": 101}, SYNTAX, "percentage must be between 0 and 100"),
        ({"percentage": 0}, SYNTAX, "percentage must be > 0"),
        ({"quantity": 101}, NOT_ALLOWED, "insufficient qty available for order (requested: 101, available: 100)"),
        ({"percentage": "0.5"}, MEANING, "percentage of the position is less than can be traded"),
    ],
)
def test_closing_what_cannot_be_closed(fields: dict[str, Any], code: int, message: str) -> None:
    desk = ready()
    numbers = {name: Decimal(str(value)) for name, value in fields.items()}
    with refused(code, message):
        desk.exchange.close_position(desk.now_ns, "MSFT", **numbers)
    for symbol in ("AAPL", "ZZZZ"):
        with refused(NOT_FOUND, "position does not exist"):
            desk.exchange.close_position(desk.now_ns, symbol)
