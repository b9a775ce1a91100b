"""Storms: long random sessions at an exchange, from a seed, with everything checked that must always hold."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from typing import Any

from gateway.domain.models.account import Activity
from gateway.domain.models.orders import OrderChanges
from gateway.domain.types import NANOS_PER_SECOND, AssetClass, OrderSide, OrderType, TimeInForce
from gateway.emulator.exchange import (
    ExchangeConfig,
    ExchangeOrder,
    NewOrder,
    Refusal,
    ReplaceQuantity,
    SessionRule,
    SimulatedExchange,
    StopTrigger,
    UnfilledAuction,
    make_assets,
)
from gateway.emulator.exchange.matching import collared
from tests.emulator.exchange.desk import instant, make_spec

START_NS = instant("2024-07-03 12:20")  # a half day: the close is 40 minutes away
BASE_PRICES = {"AAPL": 100.0, "BTC/USD": 60_000.0, "MSFT": 40.0}
SYMBOLS = tuple(BASE_PRICES)
ASSETS = make_assets()

_ACTIONS = {
    "quote": 40,
    "trade": 12,
    "submit": 30,
    "cancel": 3,
    "replace": 8,
    "close": 2,
    "close_all": 0.3,
    "cancel_all": 0.5,
    "wait": 2,
}
_EQUITY_KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"tif": "gtc"},
    {"tif": "ioc"},
    {"tif": "fok"},
    {"tif": "cls"},
    {"tif": "opg"},
    {"limit": 0},
    {"limit": 0, "tif": "gtc"},
    {"limit": 0, "tif": "ioc"},
    {"limit": 0, "tif": "fok"},
    {"limit": 0, "tif": "cls"},
    {"limit": 0, "extended_hours": True},
    {"stop": 0},
    {"stop": 0, "tif": "gtc"},
    {"stop": 0, "limit": 0, "tif": "gtc"},
    {"trail_price": "1.5"},
    {"trail_percent": "2"},
    {"notional": "250.37"},
    {"bracket": True},
    {"bracket": True, "limit": 0, "tif": "gtc"},
    {"oco": True},
    {"oco": True, "tif": "gtc"},
    {"oto": True, "limit": 0},
)
_CRYPTO_KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"tif": "ioc"},
    {"limit": 0},
    {"limit": 0, "tif": "ioc"},
    {"stop": 0, "limit": 0},
    {"notional": "250.37"},
)


def make_config(seed: int) -> ExchangeConfig:
    """Settings of every kind, among them all that are uncertain about Alpaca."""
    chance = random.Random(seed)
    flip = lambda: chance.random() < 0.5  # noqa: E731
    return ExchangeConfig(
        seed=seed,
        session=chance.choice(list(SessionRule)),
        cash=Decimal(chance.choice((500, 9_000, 100_000, 1_000_000))),
        multiplier=chance.choice((1, 2)),
        wash_trade_check=chance.random() < 0.2,
        replace_quantity=chance.choice(list(ReplaceQuantity)),
        stop_trigger=chance.choice(list(StopTrigger)),
        unfilled_auction=chance.choice(list(UnfilledAuction)),
        leg_cancel_cancels_group=flip(),
        announce_pending_new=flip(),
        announce_pending_cancel=flip(),
        announce_pending_replace=flip(),
        announce_accepted=flip(),
        updates_nest_legs=flip(),
        buy_stop_collar=flip(),
        notional_limit_orders=flip(),
        order_ids_unique_after_refusal=flip(),
        gtc_days=chance.choice((1, 90)),
        equity_sample_s=chance.choice((300, 3600)),
    )


class Storm:
    """Random actions on one exchange, each followed by the checks.

    Attributes:
        seen: How often each event, and each refusal, was met.
    """

    def __init__(self, exchange: SimulatedExchange, seed: int) -> None:
        self.exchange = exchange
        self.chance = random.Random(seed)
        self.now_ns = START_NS
        self.cash = exchange.config.cash
        self.shares: dict[str, Decimal] = {}
        self.ends: dict[str, ExchangeOrder] = {}
        self.order_ids: list[str] = []
        self.filled: dict[str, Decimal] = {}
        self.fees: list[Activity] = []
        self.seen: Counter[str] = Counter()

    def run(self, steps: int) -> None:
        for symbol in SYMBOLS:
            self.exchange.on_trade(self.now_ns, symbol, BASE_PRICES[symbol], 1.0)
        names, weights = list(_ACTIONS), list(_ACTIONS.values())
        for name in self.chance.choices(names, weights, k=steps):
            self.now_ns += self.chance.choice((0, 1, NANOS_PER_SECOND // 4, 20 * NANOS_PER_SECOND))
            try:
                getattr(self, name)()
            except Refusal as refusal:
                self.seen[f"{refusal.code} {refusal.message[:30]}"] += 1
            self.check()
        self.exchange.cancel_all(self.now_ns)
        self.check()
        assert self.exchange._state.holdings.reserved == 0, "reservations must return to zero"
        assert not self.exchange._state.symbols_with_resting()

    def quote(self) -> None:
        symbol = self.chance.choice(SYMBOLS)
        bid, sizes = self.price(symbol), (0.0, 0.4, 1.0, 7.0, 30.0, 250.5)
        self.exchange.on_quote(
            self.now_ns, symbol, bid, self.chance.choice(sizes), round(bid * 1.001, 2), self.chance.choice(sizes)
        )

    def trade(self) -> None:
        symbol = self.chance.choice(SYMBOLS)
        self.exchange.on_trade(self.now_ns, symbol, self.price(symbol), 5.0)

    def submit(self) -> None:
        symbol, side = self.chance.choice(SYMBOLS), self.chance.choice(("buy", "buy", "sell"))
        is_coin = symbol == "BTC/USD"
        fields = dict(self.chance.choice(_CRYPTO_KINDS if is_coin else _EQUITY_KINDS))
        whole = ("1", "3", "10", "40", "90")
        quantity = self.chance.choice(("0.01", "0.5", "0.000333333")) if is_coin else self.chance.choice(whole)
        if not is_coin and self.chance.random() < 0.1:
            quantity = "2.25"
        if "oco" in fields:
            side = "sell" if self.shares.get(symbol, Decimal(0)) > 0 else "buy"
        self.put_prices(fields, symbol, side)
        spec = make_spec(symbol, side, None if "notional" in fields else quantity, **fields)
        order = self.exchange.submit(self.now_ns, NewOrder(spec, f"c{self.seen.total()}"))
        self.order_ids.append(order.id)
        self.order_ids += [leg.id for leg in order.legs or ()]

    def put_prices(self, fields: dict[str, Any], symbol: str, side: str) -> None:
        """The kind's prices around the market; legs five percent away on either side."""
        price, away = self.price(symbol), 1.05 if side == "buy" else 0.95
        gain, loss = round(price * away, 2), round(price * (2 - away), 2)
        if fields.pop("limit", None) is not None:
            fields["limit_price"] = round(price * 1.002, 2)
        if fields.pop("stop", None) is not None:
            fields["stop_price"] = price
        if fields.pop("bracket", None):
            fields |= {"order_class": "bracket", "take_profit": gain, "stop_loss": (loss, round(loss * away, 2))}
        if fields.pop("oto", None):
            fields |= {"order_class": "oto", "stop_loss": loss}
        if fields.pop("oco", None):
            fields |= {"order_class": "oco", "take_profit": loss, "stop_loss": gain}

    def cancel(self) -> None:
        self.exchange.cancel(self.now_ns, self.pick())

    def replace(self) -> None:
        order = self.exchange.order(self.pick())
        limit = Decimal(str(self.price(order.symbol))) if order.limit_price is not None else None
        stop = Decimal(str(self.price(order.symbol))) if order.order_type is OrderType.STOP else None
        quantity = self.chance.choice((None, Decimal(2), Decimal(15)))
        tif = self.chance.choice((None, None, TimeInForce.GTC, TimeInForce.DAY))
        changes = OrderChanges(quantity=quantity, limit_price=limit, stop_price=stop, time_in_force=tif)
        new = self.exchange.replace(self.now_ns, order.id, changes)
        self.order_ids.append(new.id)

    def close(self) -> None:
        part = self.chance.choice((None, Decimal(50), Decimal(100)))
        order = self.exchange.close_position(self.now_ns, self.chance.choice(SYMBOLS), percentage=part)
        self.order_ids.append(order.id)

    def close_all(self) -> None:
        closed = self.exchange.close_positions(self.now_ns, cancel_orders=self.chance.random() < 0.5)
        self.order_ids += [one.order.id for one in closed if one.order is not None]

    def cancel_all(self) -> None:
        self.exchange.cancel_all(self.now_ns)

    def wait(self) -> None:
        self.now_ns += self.chance.choice((60, 1800, 1800, 6 * 3600, 26 * 3600)) * NANOS_PER_SECOND
        self.exchange.advance(self.now_ns)

    def price(self, symbol: str) -> float:
        return round(BASE_PRICES[symbol] * (1 + self.chance.gauss(0, 0.02)), 2)

    def pick(self) -> str:
        """An order, an open one more often than not."""
        opened = self.exchange.orders(limit=500)
        if opened and self.chance.random() < 0.8:
            return self.chance.choice(opened).id
        return self.chance.choice(self.order_ids) if self.order_ids else "none"

    def check(self) -> None:
        for update in self.exchange.drain_updates():
            self.seen[update.event] += 1
            assert update.order.updated_ns == update.time_ns
            if update.price is not None:
                assert update.quantity is not None
                self.check_execution(update.order, update.price, update.quantity)
        self.check_fees()
        self.check_orders()
        self.check_account()

    def check_execution(self, order: ExchangeOrder, price: Decimal, quantity: Decimal) -> None:
        assert quantity > 0
        assert order.id not in self.ends, "a terminal order was filled"
        signed = quantity if order.side is OrderSide.BUY else -quantity
        self.seen[f"{order.order_class} {order.order_type} {order.time_in_force} executed"] += 1
        self.cash -= signed * price
        self.shares[order.symbol] = self.shares.get(order.symbol, Decimal(0)) + signed
        if order.position_intent.endswith("_close"):
            assert self.shares[order.symbol] * signed <= 0, "an order that closes opened the other side"
        self.filled[order.id] = self.filled.get(order.id, Decimal(0)) + quantity
        if order.limit_price is not None:
            past = price - order.limit_price if order.side is OrderSide.BUY else order.limit_price - price
            assert past <= 0, "filled through its limit"
        elif order.order_type is OrderType.STOP and order.side is OrderSide.BUY:
            assert order.stop_price is not None
            assert not self.exchange.config.buy_stop_collar or price <= collared(order.stop_price)

    def check_fees(self) -> None:
        """Take what fees took, of coins and of cash."""
        while page := self.exchange.activities(
            types=["CFEE"], direction="asc", page_token=self.fees[-1].activity_id if self.fees else None
        ):
            for fee in page:
                assert fee.net_amount is not None
                assert fee.quantity is not None
                self.cash += fee.net_amount
                self.shares[fee.symbol] += fee.quantity
            self.fees += page

    def check_orders(self) -> None:
        for order in self.exchange.orders(status="all", limit=500):
            if order.quantity is not None:
                assert order.filled_quantity <= order.quantity, "filled beyond its quantity"
            else:
                assert order.notional is not None
                assert order.filled_value <= order.notional
            order.parent_id, order.leg_ids = None, ()  # a leg's successor takes its place in the family
            if order.id in self.ends:
                assert order == self.ends[order.id], "a terminal order changed"
            elif not order.is_open:
                assert not order.reserved
                assert not order.is_resting
                self.ends[order.id] = order
            own = order.filled_quantity
            if self.exchange.config.replace_quantity is ReplaceQuantity.TOTAL and order.replaces is not None:
                own -= self.exchange.order(order.replaces).filled_quantity
            assert own == self.filled.get(order.id, Decimal(0))

    def check_account(self) -> None:
        account = self.exchange.account(self.now_ns)
        assert account.cash == self.cash.quantize(Decimal("1e-9"))
        positions = self.exchange.positions(self.now_ns)
        held = {position.symbol: position.quantity for position in positions}
        assert held == {symbol: quantity for symbol, quantity in self.shares.items() if quantity}
        worth = sum((position.market_value or Decimal(0) for position in positions), account.cash)
        assert abs(account.equity - worth) < Decimal("1e-8")
        for position in positions:
            assert abs(position.available_quantity) <= abs(position.quantity)
            assert position.quantity > 0 or position.asset_class is not AssetClass.CRYPTO, "coins were sold short"


def memory(exchange: SimulatedExchange) -> dict[str, Any]:
    """Everything that the exchange remembers, but prices."""
    state = exchange._state
    return {
        "orders": list(state.store),
        "open": state.store.open_orders(),
        "holdings": [(one.symbol, one.quantity, one.cost, one.day_cost) for one in state.holdings],
        "money": (state.holdings.cash, state.holdings.reserved, state.last_equity, state.last_maintenance_margin),
        "activities": state.activities._all,
        "history": state.history.samples(),
        "counters": state._counters,
        "settings": (state.config, state.configuration),
        "session": (state.phase, state.next_boundary_ns, state.next_sample_ns),
        "resting": sorted(state.symbols_with_resting()),
    }
