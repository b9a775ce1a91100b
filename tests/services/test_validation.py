"""The closed table: what is in it passes, everything else is refused, naming its fields."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest

from gateway.domain.errors import FieldInvalid, InvalidRequest, OrderCombination, PriceIncrement, SymbolNotTradable
from gateway.domain.models.orders import OrderChanges, OrderSpec
from gateway.domain.models.reference import Asset
from gateway.domain.types import AssetClass, OrderClass, OrderType, TimeInForce
from gateway.services.validation import LEGAL, ValidationService
from tests.emulator.exchange.desk import make_spec

STOCK = Asset("a", "AAPL", AssetClass.US_EQUITY, fractionable=True, shortable=True)
COIN = Asset(
    "b", "BTC/USD", AssetClass.CRYPTO, min_order_size=Decimal("0.0001"), min_trade_increment=Decimal("0.0001"),
    price_increment=Decimal("0.5"),
)  # fmt: skip
ASSETS = {"AAPL": STOCK, "BTC/USD": COIN}


def judged(spec: OrderSpec, asset: Asset | None = None) -> OrderSpec:
    return ValidationService().normalize(spec, asset or ASSETS[spec.symbol])


def one_of(symbol: str, order_class: OrderClass, order_type: OrderType, tif: TimeInForce) -> OrderSpec:
    """The order of a row of the table, with all that it needs."""
    fields: dict[str, Any] = {"order_type": order_type.value, "order_class": order_class.value, "tif": tif.value}
    if order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT) and order_class is not OrderClass.OCO:
        fields["limit_price"] = "100"
    if order_type in (OrderType.STOP, OrderType.STOP_LIMIT):
        fields["stop_price"] = "100"
    if order_type is OrderType.TRAILING_STOP:
        fields["trail_price"] = "1"
    if order_class in (OrderClass.BRACKET, OrderClass.OCO, OrderClass.OTO):
        fields["take_profit"] = "120"
    if order_class in (OrderClass.BRACKET, OrderClass.OCO):
        fields["stop_loss"] = "80"
    return make_spec(symbol, "sell" if order_class is OrderClass.OCO else "buy", 1, **fields)


@pytest.mark.parametrize("symbol", ASSETS)
@pytest.mark.parametrize("order_class", OrderClass)
def test_the_table_is_closed(symbol: str, order_class: OrderClass) -> None:
    for order_type, tif in itertools.product(OrderType, TimeInForce):
        spec = one_of(symbol, order_class, order_type, tif)
        legal = LEGAL.get((ASSETS[symbol].asset_class, order_class, order_type), frozenset())
        if tif in legal:
            assert judged(spec) == spec
        else:
            with pytest.raises(OrderCombination) as caught:
                judged(spec)
            assert caught.value.violations


REFUSED: list[tuple[str, OrderSpec, type[InvalidRequest], str]] = [
    ("limit without price", make_spec("AAPL", "buy", 1, order_type="limit"), OrderCombination, "spec.limit_price"),
    ("market with price", make_spec("AAPL", "buy", 1, order_type="market", limit_price=1), OrderCombination,
     "spec.limit_price"),
    ("stop price on a limit", make_spec("AAPL", "buy", 1, order_type="limit", limit_price=1, stop_price=1),
     OrderCombination, "spec.stop_price"),
    ("both trails", make_spec("AAPL", "buy", 1, trail_price=1, trail_percent=1), OrderCombination, "spec.trail_price"),
    ("no trail", make_spec("AAPL", "buy", 1, order_type="trailing_stop"), OrderCombination, "spec.trail_price"),
    ("trail of 100 %", make_spec("AAPL", "buy", 1, trail_percent=100), FieldInvalid, "spec.trail_percent"),
    ("nothing", make_spec("AAPL", "buy"), OrderCombination, "spec.quantity"),
    ("both sizes", make_spec("AAPL", "buy", 1, notional=5), OrderCombination, "spec.notional"),
    ("zero", make_spec("AAPL", "buy", 0), FieldInvalid, "spec.quantity"),
    ("price 0", make_spec("AAPL", "buy", 1, limit_price=0), FieldInvalid, "spec.limit_price"),
    ("a huge price", make_spec("AAPL", "buy", 1, limit_price=1_000_001), FieldInvalid, "spec.limit_price"),
    ("notional limit", make_spec("AAPL", "buy", notional=5, limit_price=1), OrderCombination, "spec.order_type"),
    ("notional gtc", make_spec("AAPL", "buy", notional=5, tif="gtc"), OrderCombination, "spec.time_in_force"),
    ("notional reduce-only", make_spec("AAPL", "sell", notional=5, reduce_only=True), OrderCombination,
     "spec.reduce_only"),
    ("half a dollar", make_spec("AAPL", "buy", notional="0.5"), FieldInvalid, "spec.notional"),
    ("a fraction gtc", make_spec("AAPL", "buy", "0.5", limit_price=1, tif="gtc"), OrderCombination,
     "spec.time_in_force"),
    ("a fraction trailing", make_spec("AAPL", "buy", "0.5", trail_price=1), OrderCombination, "spec.order_type"),
    ("extended market", make_spec("AAPL", "buy", 1, extended_hours=True), OrderCombination, "spec.extended_hours"),
    ("extended coins", make_spec("BTC/USD", "buy", 1, limit_price=1, extended_hours=True), OrderCombination,
     "spec.extended_hours"),
    ("too small a coin", make_spec("BTC/USD", "buy", "0.00001"), FieldInvalid, "spec.quantity"),
    ("between two lots", make_spec("BTC/USD", "buy", "0.00015"), FieldInvalid, "spec.quantity"),
    ("sub-penny", make_spec("AAPL", "buy", 1, limit_price="1.005"), PriceIncrement, "spec.limit_price"),
    ("sub-sub-penny", make_spec("AAPL", "buy", 1, limit_price="0.00001"), PriceIncrement, "spec.limit_price"),
    ("a coin's tick", make_spec("BTC/USD", "buy", 1, limit_price="100.25"), PriceIncrement, "spec.limit_price"),
    ("bracket without stop", make_spec("AAPL", "buy", 1, order_class="bracket", take_profit=2, tif="gtc"),
     OrderCombination, "spec.stop_loss"),
    ("legs of a simple order", make_spec("AAPL", "buy", 1, take_profit=2), OrderCombination, "spec.take_profit"),
    ("profit below entry", make_spec("AAPL", "buy", 1, limit_price=100, order_class="bracket", take_profit=99,
     stop_loss=90), OrderCombination, "spec.take_profit.limit_price"),
    ("stop above entry", make_spec("AAPL", "buy", 1, limit_price=100, order_class="bracket", take_profit=110,
     stop_loss=101), OrderCombination, "spec.stop_loss.stop_price"),
    ("profit below loss", make_spec("AAPL", "sell", 1, order_class="oco", take_profit=90, stop_loss=95),
     OrderCombination, "spec.take_profit.limit_price"),
    ("a stop-limit that crosses", make_spec("AAPL", "buy", 1, stop_price=100, limit_price=99), OrderCombination,
     "spec.limit_price"),
    ("OCO with market", make_spec("AAPL", "sell", 1, order_class="oco", order_type="market", take_profit=90,
     stop_loss=80), OrderCombination, "spec.order_type"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "error", "field"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(spec: OrderSpec, error: type[InvalidRequest], field: str) -> None:
    with pytest.raises(error) as caught:
        judged(spec)
    assert field in {violation.field for violation in caught.value.violations}


@pytest.mark.parametrize(
    ("asset", "quantity"),
    [
        (Asset("a", "AAPL", AssetClass.US_EQUITY, status="inactive"), 1),
        (Asset("a", "AAPL", AssetClass.US_EQUITY, tradable=False), 1),
        (Asset("a", "AAPL", AssetClass.US_EQUITY, fractionable=False), "0.5"),
    ],
)
def test_assets_that_cannot_be_traded_so(asset: Asset, quantity: Any) -> None:
    with pytest.raises(SymbolNotTradable):
        judged(make_spec("AAPL", "buy", quantity), asset)


def test_the_limit_of_an_oco_stands_in_its_take_profit() -> None:
    spec = make_spec("AAPL", "sell", 1, order_class="oco", limit_price=110, take_profit=110, stop_loss=90)
    assert judged(spec).limit_price is None


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (OrderChanges(), FieldInvalid),
        (OrderChanges(quantity=Decimal("1.5")), FieldInvalid),
        (OrderChanges(quantity=Decimal(0)), FieldInvalid),
        (OrderChanges(limit_price=Decimal("1.005")), PriceIncrement),
        (OrderChanges(stop_price=Decimal(1)), OrderCombination),
        (OrderChanges(trail=Decimal(1)), OrderCombination),
        (OrderChanges(time_in_force=TimeInForce.OPG), None),
    ],
)
def test_changes(changes: OrderChanges, error: type[Exception] | None) -> None:
    spec = make_spec("AAPL", "buy", 1, limit_price=100)
    if error is None:
        ValidationService().check_changes(spec, changes, STOCK)
        return
    with pytest.raises(error):
        ValidationService().check_changes(spec, changes, STOCK)
