"""Every check at its limit, and one step beyond."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gateway.domain.models.account import Account
from gateway.domain.models.orders import OrderSpec, StopLoss, TakeProfit
from gateway.domain.models.reference import Asset
from gateway.domain.risk_checks import (
    RiskView,
    cap_needs_price,
    check_all,
    check_order_cap,
    cost_of,
    is_reduction,
    is_too_small,
    live_stop,
    needs_price,
    worst_quantity,
)
from gateway.domain.types import AssetClass, OrderClass, OrderSide, OrderType, TimeInForce, Venue


def view(**changes: Any) -> RiskView:
    account: dict[str, Any] = {"shorting_enabled": True, **changes.pop("account", {})}
    values: dict[str, Any] = {
        "account": Account("a", "n", Venue.EMULATOR, "ACTIVE", Decimal(1), Decimal(1), Decimal(1_000), 0, **account),
        "reserved": Decimal(0),
        "asset": Asset("i", "AAPL", AssetClass.US_EQUITY, shortable=True),
        "held": Decimal(0),
        "buying": Decimal(0),
        "selling": Decimal(0),
        "bid": Decimal(99),
        "ask": Decimal(100),
    }
    return RiskView(**(values | {name: _decimal(value) for name, value in changes.items()}))


def _decimal(value: Any) -> Any:
    return Decimal(value) if isinstance(value, int) else value


def spec(side: str = "buy", quantity: Any = 1, order_type: OrderType = OrderType.MARKET, **changes: Any) -> OrderSpec:
    size = None if quantity is None else Decimal(str(quantity))
    return OrderSpec("AAPL", OrderSide(side), order_type, TimeInForce.DAY, quantity=size, **changes)


def failed(wanted: OrderSpec, found: RiskView) -> list[str]:
    return [check.reason for check in check_all(wanted, found) if not check.passed]


LIMIT = {"order_type": OrderType.LIMIT}


@pytest.mark.parametrize(
    ("wanted", "changes", "reasons"),
    [
        (spec(quantity=10, limit_price=Decimal(100), **LIMIT), {}, []),
        (spec(quantity=10, limit_price=Decimal("100.01"), **LIMIT), {}, ["RISK_BUYING_POWER"]),
        (spec(quantity=5, limit_price=Decimal(100), **LIMIT), {"reserved": 501}, ["RISK_BUYING_POWER"]),
        (spec(quantity=9), {}, []),
        (spec(quantity=10), {}, ["RISK_BUYING_POWER"]),  # at the ask x 1.04
        (spec(quantity=None, notional=Decimal(1_000)), {}, []),
        (spec(quantity=None, notional=Decimal(1_001)), {}, ["RISK_BUYING_POWER"]),
        (spec(quantity=None, notional=Decimal(1_001)), {"bid": None, "ask": None}, ["RISK_BUYING_POWER"]),
        (spec(quantity=50), {"held": -50}, []),  # covering costs nothing
        (spec(quantity=60), {"held": -50}, ["RISK_BUYING_POWER"]),
        (spec("sell", 10), {"held": 10}, []),
        (spec("sell", 11), {"held": 10}, ["RISK_SHORT_NOT_ALLOWED"]),  # through zero
        (spec("sell", 5), {"held": 10, "selling": 6}, ["RISK_SHORT_NOT_ALLOWED"]),
        (spec("sell", 5), {}, []),  # a short sale
        (spec("sell", 5), {"account": {"shorting_enabled": False}}, ["RISK_SHORT_NOT_ALLOWED"]),
        (spec("sell", "0.5"), {}, ["RISK_SHORT_NOT_ALLOWED"]),
        (spec("sell", 10), {"held": -1}, ["RISK_BUYING_POWER"]),  # 10 x 103
        (spec("sell", None, notional=Decimal(900)), {"held": 10}, []),
        (spec("sell", None, notional=Decimal(990)), {"held": 10}, ["RISK_SHORT_NOT_ALLOWED"]),
        (spec("sell", 10, reduce_only=True), {"held": 10}, []),
        (spec("sell", 10, reduce_only=True), {}, ["RISK_REDUCE_ONLY", "RISK_SHORT_NOT_ALLOWED"]),
        (spec("sell", 6, reduce_only=True), {"held": 10, "selling": 5}, ["RISK_REDUCE_ONLY", "RISK_SHORT_NOT_ALLOWED"]),
        (spec("buy", 1, reduce_only=True), {"held": 10}, ["RISK_REDUCE_ONLY"]),
        (spec("buy", 10, reduce_only=True), {"held": -10}, []),
        (spec(), {"account": {"trading_blocked": True}}, ["RISK_ACCOUNT_BLOCKED"]),
        (spec(), {"account": {"account_blocked": True}}, ["RISK_ACCOUNT_BLOCKED"]),
        (spec(), {"account": {"trade_suspended_by_user": True}}, ["RISK_ACCOUNT_BLOCKED"]),
    ],
)
def test_checks(wanted: OrderSpec, changes: dict[str, Any], reasons: list[str]) -> None:
    assert failed(wanted, view(**changes)) == reasons


def test_every_figure_is_there() -> None:
    check = check_all(spec(quantity=12, limit_price=Decimal(100), **LIMIT), view(reserved=100))[-1]
    assert (check.observed, check.limit, check.headroom, check.unit) == (1_300, 1_000, -300, "USD")


def test_crypto_is_bought_with_cash() -> None:
    coin = Asset("i", "BTC/USD", AssetClass.CRYPTO)
    found = view(asset=coin, account={"non_marginable_buying_power": Decimal(500)})
    assert failed(spec(quantity=5, limit_price=Decimal(100), **LIMIT), found) == []
    assert failed(spec(quantity=6, limit_price=Decimal(100), **LIMIT), found) == ["RISK_BUYING_POWER"]


def test_what_needs_a_price() -> None:
    assert needs_price(spec(), Decimal(0))
    assert not needs_price(spec(limit_price=Decimal(1), **LIMIT), Decimal(0))
    assert not needs_price(spec("sell", 1), Decimal(5))
    assert needs_price(spec("sell", 1), Decimal(0))
    assert needs_price(spec("sell", None, notional=Decimal(5)), Decimal(5))


def test_what_only_reduces() -> None:
    assert is_reduction(spec("sell", 10), view(held=10))
    assert not is_reduction(spec("sell", 10), view(held=10, selling=1))
    assert is_reduction(spec("buy", 10), view(held=-10))
    assert not is_reduction(spec("buy", 1), view(held=10))


def test_stops_and_trails_are_judged_at_their_worst() -> None:
    stop = spec(quantity=1, order_type=OrderType.STOP, stop_price=Decimal(200))
    assert cost_of(stop, view(), worst_quantity(stop, view())) == 208
    trail = spec(quantity=1, order_type=OrderType.TRAILING_STOP, trail_percent=Decimal(10))
    assert cost_of(trail, view(), worst_quantity(trail, view())) == Decimal("114.4")


@pytest.mark.parametrize(
    ("side", "stop_price", "is_fine"),
    [("buy", "99", False), ("buy", "99.01", True), ("sell", "100", False), ("sell", "99.99", True)],
)
def test_a_stop_is_beyond_the_market(side: str, stop_price: str, is_fine: bool) -> None:
    """At the bid a buy stop is triggered at once, at the ask a sell stop; in between the venue decides."""
    wanted = spec(side, order_type=OrderType.STOP, stop_price=Decimal(stop_price))
    reasons = [] if is_fine else ["RISK_PRICE_COLLAR"]
    assert failed(wanted, view(held=1)) == reasons
    assert failed(wanted, view(held=1, bid=None, ask=None)) == []
    assert [check.reason for check in check_all(wanted, view(held=1), wanted) if not check.passed] == []


def test_the_stops_that_watch_the_market_at_once() -> None:
    """An OCO's and a market entry's stop loss do; that of a limit entry waits for its fill."""
    loss = StopLoss(Decimal(150))
    profit = TakeProfit(Decimal(200))
    assert live_stop(spec(order_class=OrderClass.OTO, stop_loss=loss)) == (OrderSide.SELL, Decimal(150))
    exits = spec("sell", order_type=OrderType.LIMIT, order_class=OrderClass.OCO, take_profit=profit, stop_loss=loss)
    assert live_stop(exits) == (OrderSide.SELL, Decimal(150))
    entry = spec(limit_price=Decimal(100), order_class=OrderClass.BRACKET, take_profit=profit, stop_loss=loss, **LIMIT)
    assert live_stop(entry) is None


@pytest.mark.parametrize(
    ("wanted", "changes", "worth"),
    [
        (spec(quantity=2, limit_price=Decimal(10), **LIMIT), {}, 20),
        (spec(quantity=2, limit_price=Decimal(10), **LIMIT), {"filled": 3}, 50),
        (spec("sell", quantity=2, limit_price=Decimal(10), **LIMIT), {"filled": 3}, 495),
        (spec("sell", quantity=2, limit_price=Decimal(200), **LIMIT), {}, 400),
        (spec("sell", quantity=2, limit_price=Decimal(10), **LIMIT), {"bid": None}, None),
        (spec("sell", quantity=2, order_type=OrderType.STOP, stop_price=Decimal(50)), {"bid": None}, 100),
        (
            spec("sell", quantity=2, order_type=OrderType.STOP_LIMIT, stop_price=Decimal(50), limit_price=Decimal(1)),
            {"bid": None},
            100,
        ),
        (spec("sell", quantity=2, order_type=OrderType.TRAILING_STOP, trail_price=Decimal(1)), {}, 198),
        (spec(quantity=None, notional=Decimal(30)), {"bid": None, "ask": None}, 30),
    ],
)
def test_a_cap_is_on_the_most_that_all_of_an_order_trades_for(
    wanted: OrderSpec, changes: dict[str, Any], worth: int | None
) -> None:
    """What is filled of it counts too, so that no chain of replaces goes beyond; without a value known it is denied."""
    for cap in (0, 1):
        check = check_order_cap(wanted, view(**changes), Decimal(worth or 10**9) - cap)
        assert (check.passed, check.observed) == (worth is not None and not cap, None if worth is None else worth)
    needs_market = worth is None or wanted.order_type in (OrderType.LIMIT, OrderType.TRAILING_STOP)
    assert cap_needs_price(wanted) is (needs_market and wanted.side is OrderSide.SELL)


def test_fractions_are_worth_a_dollar() -> None:
    """At their own price or at the ask; what is held may be sold however little it is worth."""
    assert is_too_small(spec(quantity="0.0099"), Decimal(99), Decimal(100))
    assert not is_too_small(spec(quantity="0.01"), Decimal(99), Decimal(100))
    assert is_too_small(spec(quantity="0.01", limit_price=Decimal(99), **LIMIT), None, Decimal(100))
    assert not is_too_small(spec("sell", quantity="0.0001"), Decimal(99), Decimal(100))
    assert not is_too_small(spec(quantity="0.0001"), None, None)
    assert not is_too_small(spec(quantity=1), Decimal("0.1"), Decimal("0.2"))  # a penny stock
