"""The simulated exchange: one account, one venue, a pure state machine.

Promises: the same commands, quotes and trades at the same instants give the same orders, events and account, bit for
bit; there is no clock, no I/O and no randomness but ids from the seed. What leaves it is a copy. Leaves
prices to the market, JSON to the wire, and memory to the ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import fields, replace
from datetime import date, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any, Final

from gateway.domain.models.account import Account, Activity, Position
from gateway.domain.models.orders import OrderChanges, OrderSpec
from gateway.domain.models.reference import Asset, MarketClock, MarketDay
from gateway.domain.types import AssetClass, LegRole, OrderClass, OrderSide, OrderType, TimeInForce
from gateway.emulator.exchange import refusals
from gateway.emulator.exchange.activities import ActivityQuery
from gateway.emulator.exchange.admission import check_account, check_hours, check_suspended, check_switches
from gateway.emulator.exchange.assets import position_symbol
from gateway.emulator.exchange.config import CONFIGURATION_WORDS, AccountConfiguration, ExchangeConfig
from gateway.emulator.exchange.day import TradingDay
from gateway.emulator.exchange.engine import Engine
from gateway.emulator.exchange.families import make_legs
from gateway.emulator.exchange.history import PortfolioHistory
from gateway.emulator.exchange.matching import QUANTITY_STEP
from gateway.emulator.exchange.orders import (
    ZERO,
    ExchangeOrder,
    NewOrder,
    OrderCanceled,
    OrderStatus,
    PositionClosed,
    TradeUpdate,
)
from gateway.emulator.exchange.replacing import adopt_family, make_successor
from gateway.emulator.exchange.sessions import Phase, make_hours, new_york_date
from gateway.emulator.exchange.state import State
from gateway.emulator.exchange.statements import account_statement, position_statement
from gateway.emulator.exchange.store import OrderQuery
from gateway.emulator.exchange.validation import check_number, check_order, is_whole

_OK: Final = 200
_HUNDRED: Final = Decimal(100)
_WHOLE: Final = Decimal(1)


class SimulatedExchange:
    """Orders, positions and money of one account.

    Every command and every piece of market data takes the instant at which it happens, ns since the epoch; instants
    never go backwards (an earlier one counts as the latest seen). Session boundaries on the way are passed first.

    Args:
        config: The account and its venue.
        assets: What can be traded.
        created_ns: When the account begins.
    """

    def __init__(self, config: ExchangeConfig, assets: Iterable[Asset], created_ns: int) -> None:
        self._state = State(config, assets, created_ns)
        self._engine = Engine(self._state)
        self._day = TradingDay(self._state, self._engine)

    @property
    def config(self) -> ExchangeConfig:
        """The settings in force."""
        return self._state.config

    # Commands. Each raises Refusal, and then nothing has changed.

    def submit(self, now_ns: int, order: NewOrder) -> ExchangeOrder:
        """Take an order. The answer shows it as it was accepted, with its legs; what follows at once is in updates."""
        self._day.pass_time(now_ns)
        try:
            return self._submit(order)
        except refusals.Refusal:
            if self._state.config.order_ids_unique_after_refusal and order.client_order_id:
                self._state.store.use_up(order.client_order_id)
            raise

    def replace(
        self, now_ns: int, order_id: str, changes: OrderChanges, client_order_id: str | None = None
    ) -> ExchangeOrder:
        """Put a new order, which is the answer, in the place of an open one."""
        self._day.pass_time(now_ns)
        old = self._state.store.get(order_id)
        if client_order_id:
            self._check_client_order_id(client_order_id)
        self._state.store.require_room(1)
        expires_ns = old.expires_ns
        if changes.time_in_force is not None and changes.time_in_force is not old.time_in_force:
            expires_ns = self._expiry_ns(changes.time_in_force, old.asset_class, old.extended_hours)
        new = make_successor(self._state, old, changes, client_order_id, expires_ns)
        return self._engine.put_in_place(old, new, adopt_family)

    def cancel(self, now_ns: int, order_id: str) -> None:
        """End an open order, with its legs or its sibling."""
        self._day.pass_time(now_ns)
        order = self._state.store.get(order_id)
        if order.status is OrderStatus.CANCELED and self._state.config.repeat_cancel_succeeds:
            return
        if not order.is_open:
            raise refusals.order_done(order.status.value)
        self._engine.cancel(order)

    def cancel_all(self, now_ns: int) -> list[OrderCanceled]:
        """End every open order; one that ends with another of its family is listed as well."""
        self._day.pass_time(now_ns)
        return self._cancel_all()

    def close_position(
        self, now_ns: int, symbol_or_id: str, *, quantity: Decimal | None = None, percentage: Decimal | None = None
    ) -> ExchangeOrder:
        """Order the end of a position or of a part of it, at the market.

        Args:
            now_ns: The instant.
            symbol_or_id: In any spelling.
            quantity: Shares to close; not together with percentage.
            percentage: More than 0, at most 100; whole shares stay whole.
        """
        self._day.pass_time(now_ns)
        return self._close_position(symbol_or_id, quantity, percentage)

    def close_positions(self, now_ns: int, *, cancel_orders: bool = False) -> list[PositionClosed]:
        """Order the end of every position."""
        self._day.pass_time(now_ns)
        if cancel_orders:
            self._cancel_all()
        closed: list[PositionClosed] = []
        for symbol in [holding.symbol for holding in self._state.holdings]:
            try:
                order = self._close_position(symbol)
                closed.append(PositionClosed(position_symbol(symbol), _OK, order=order))
            except refusals.Refusal as refusal:
                closed.append(PositionClosed(position_symbol(symbol), refusal.http_status, refusal=refusal))
        return closed

    def configure(self, now_ns: int, **changes: Any) -> AccountConfiguration:
        """Set switches of the account by their Alpaca names; the answer is the whole configuration."""
        self._day.pass_time(now_ns)
        present = self._state.configuration
        names = {field.name for field in fields(present)}
        for name, value in changes.items():
            known = CONFIGURATION_WORDS.get(name)
            fits = value in known if known is not None else isinstance(value, bool)
            if name not in names or not fits:
                raise refusals.field_invalid(name)
        self._state.configuration = replace(present, **changes)
        return self._state.configuration

    # Market data and time.

    def on_quote(
        self, now_ns: int, symbol: str, bid_price: float, bid_size: float, ask_price: float, ask_size: float
    ) -> None:
        """The best bid and offer, and what is displayed there: fills what can be filled."""
        self._day.pass_time(now_ns)
        self._state.book(symbol).set_quote(bid_price, bid_size, ask_price, ask_size)
        if self._engine.quote_matters(symbol):
            self._react_to_quote(symbol)

    def on_trade(self, now_ns: int, symbol: str, price: float, size: float) -> None:  # noqa: ARG002 - a trade's shape
        """A regular-way print: sets off stops, moves trailing stops, is the last price."""
        self._day.pass_time(now_ns)
        in_session = self._in_session(symbol)
        self._state.book(symbol).set_last(price, in_session=in_session)
        if in_session and self._engine.trade_matters(symbol):
            self._react_to_trade(symbol)

    def advance(self, now_ns: int) -> None:
        """Pass the session boundaries up to an instant: orders begin, expire and meet their auctions."""
        self._day.pass_time(now_ns)

    def next_advance_ns(self) -> int:
        """When `advance` has something to do next."""
        return min(self._state.next_boundary_ns, self._state.next_sample_ns)

    def drain_updates(self) -> list[TradeUpdate]:
        """The messages of trade_updates since the last call, in order."""
        updates, self._state.updates = self._state.updates, []
        return updates

    def reconfigure(self, now_ns: int, config: ExchangeConfig) -> None:
        """Other settings from now on.

        Raises:
            ValueError: The account's id, cash or seed are what it began with, for ever.
        """
        self._day.pass_time(now_ns)
        former = self._state.config
        if (config.account_id, config.cash, config.seed) != (former.account_id, former.cash, former.seed):
            raise ValueError("an account keeps its id, its first cash and its seed")
        self._state.config = config
        self._state.hours = make_hours(config.session)
        self._day.change_phase(self._state.now_ns)

    def set_assets(self, assets: Iterable[Asset]) -> None:
        """These are the assets now; former ones stay known, inactive."""
        self._state.assets.replace_all(assets)

    # Reads.

    @property
    def created_ns(self) -> int:
        """When the account began."""
        return self._state.created_ns

    @property
    def counts(self) -> tuple[int, int]:
        """Orders, legs among them, and executions since then."""
        return self._state.store.next_sequence - 1, self._state.activities.execution_count

    def orders_after(self, count: int) -> list[ExchangeOrder]:
        """The orders after the first so many, in the order of their submission."""
        return [order.copy() for order in self._state.store.after(count)]

    def symbol_of(self, spelling: str) -> str:
        """The symbol that a spelling or an asset id means; empty when it is none that is known."""
        asset = self._state.assets.find(spelling)
        return "" if asset is None else asset.symbol

    def symbol_of_order(self, *, order_id: str = "", client_order_id: str = "") -> str:
        """The symbol of an order, by either id; empty when there is no such order."""
        return self._state.store.symbol_of(order_id or self._state.store.id_of(client_order_id)) or ""

    def order(self, order_id: str, *, nested: bool = False) -> ExchangeOrder:
        """One order; Refusal 40410000 when it is not known."""
        found = self._state.store.get(order_id)
        return self._state.nested(found) if nested else found.copy()

    def order_by_client_id(self, client_order_id: str) -> ExchangeOrder:
        """One order by its client's id; Refusal 40410000."""
        return self._state.store.get_by_client_id(client_order_id).copy()

    def orders(
        self,
        *,
        status: str = "open",
        limit: int = 50,
        after_ns: int | None = None,
        until_ns: int | None = None,
        direction: str = "desc",
        side: OrderSide | None = None,
        symbols: Collection[str] | None = None,
        asset_classes: Collection[AssetClass] | None = None,
        before_order_id: str | None = None,
        after_order_id: str | None = None,
        nested: bool = False,
    ) -> list[ExchangeOrder]:
        """Orders by time of submission; time bounds are exclusive. `status` is open, closed or all.

        Nested, legs stand in their parents alone; else they are orders like others.
        """
        query = OrderQuery(
            status=status,
            limit=limit,
            after_ns=after_ns,
            until_ns=until_ns,
            direction=direction,
            side=side,
            symbols=None if symbols is None else self._symbols(symbols),
            asset_classes=asset_classes,
            before_order_id=before_order_id,
            after_order_id=after_order_id,
            nested=nested,
        )
        found = self._state.store.find(query)
        return [self._state.nested(order) if nested else order.copy() for order in found]

    def position(self, now_ns: int, symbol_or_id: str) -> Position:
        """One position, symbols in the domain's spelling; Refusal 40410000."""
        asset = self._state.assets.find(symbol_or_id)
        holding = None if asset is None else self._state.holdings.find(asset.symbol)
        if holding is None:
            raise refusals.position_not_found()
        return position_statement(self._state, holding, now_ns)

    def positions(self, now_ns: int) -> list[Position]:
        """All positions, by symbol."""
        return [position_statement(self._state, holding, now_ns) for holding in self._state.holdings]

    def account(self, now_ns: int) -> Account:
        """The account, valued at the present prices."""
        return account_statement(self._state, now_ns)

    def configuration(self) -> AccountConfiguration:
        """The customer's switches."""
        return self._state.configuration

    def activities(
        self,
        *,
        types: Collection[str] | None = None,
        category: str | None = None,
        on_date: date | None = None,
        after_ns: int | None = None,
        until_ns: int | None = None,
        direction: str = "desc",
        page_size: int = 100,
        page_token: str | None = None,
    ) -> list[Activity]:
        """Fills and fees; `page_token` is the id of the last one seen. `category`: trade_activity, non_trade_activity.

        Symbols are in the domain's spelling. A FILL is partial while its leaves_quantity is not zero.
        """
        query = ActivityQuery(types, category, on_date, after_ns, until_ns, direction, page_size, page_token)
        return self._state.activities.find(query)

    def portfolio_history(self, now_ns: int, *, start_ns: int, end_ns: int, timeframe_s: int) -> PortfolioHistory:
        """Equity in windows of `timeframe_s` that begin within [start, end); the newest shows the present equity."""
        present = (now_ns, self._state.valuation().equity)
        return self._state.history.windows(start_ns, min(end_ns, now_ns), timeframe_s, present)

    def asset(self, symbol_or_id: str) -> Asset:
        """One asset by any spelling; Refusal 40410000."""
        found = self._state.assets.find(symbol_or_id)
        if found is None:
            raise refusals.asset_unknown(symbol_or_id)
        return found

    def assets(
        self,
        *,
        status: str | None = None,
        asset_class: AssetClass | None = None,
        exchange: str | None = None,
        attributes: Collection[str] = (),
    ) -> list[Asset]:
        """Assets by symbol; an asset needs one of the attributes, if any are given."""
        found = [
            asset
            for asset in self._state.assets
            if (status is None or asset.status == status)
            and (asset_class is None or asset.asset_class is asset_class)
            and (exchange is None or asset.exchange == exchange)
            and (not attributes or any(attribute in asset.attributes for attribute in attributes))
        ]
        return sorted(found, key=lambda asset: asset.symbol)

    def clock(self, now_ns: int) -> MarketClock:
        """The hours of US equities."""
        return self._state.hours.clock(now_ns)

    def calendar(self, start: date, end: date) -> list[MarketDay]:
        """Trading days within [start, end]."""
        return self._state.hours.calendar(start, end)

    # Inside.

    def _react_to_quote(self, symbol: str) -> None:
        """The newest quote changes orders."""
        self._engine.on_quote(symbol)

    def _react_to_trade(self, symbol: str) -> None:
        """The last price changes orders."""
        self._engine.on_trade(symbol)

    def _cancel_all(self) -> list[OrderCanceled]:
        orders = self._state.store.open_orders()
        for order in orders:
            if order.is_open:
                self._engine.cancel(order)
        return [OrderCanceled(order.id, _OK) for order in orders]

    def _close_position(
        self, symbol_or_id: str, quantity: Decimal | None = None, percentage: Decimal | None = None
    ) -> ExchangeOrder:
        asset = self._state.assets.find(symbol_or_id)
        held = ZERO if asset is None else self._state.holdings.quantity(asset.symbol)
        if asset is None or not held:
            raise refusals.position_not_found()
        spec = OrderSpec(
            symbol=asset.symbol,
            side=OrderSide.SELL if held > 0 else OrderSide.BUY,
            order_type=OrderType.MARKET,
            time_in_force=TimeInForce.GTC if asset.asset_class is AssetClass.CRYPTO else TimeInForce.DAY,
            quantity=_closing_quantity(abs(held), quantity, percentage),
        )
        return self._submit(NewOrder(spec))

    def _submit(self, order: NewOrder) -> ExchangeOrder:
        state = self._state
        check_suspended(state)
        if order.client_order_id and state.config.duplicate_check_first:
            self._check_client_order_id(order.client_order_id)
        asset = state.assets.find(order.spec.symbol)
        if asset is None:
            raise refusals.asset_not_found(order.spec.symbol)
        if not asset.tradable:
            raise refusals.asset_not_active(asset.symbol)
        spec = _resolved(order.spec, asset)
        check_order(spec, asset, state.config)
        check_switches(state, spec, asset)
        check_hours(state, spec, asset)
        admitted = check_account(state, spec, asset, order.position_intent)
        if order.client_order_id and not state.config.duplicate_check_first:
            self._check_client_order_id(order.client_order_id)
        state.store.require_room(1 + len(LegRole))
        parent = self._make_order(spec, asset, order.client_order_id or state.new_id("client_order"))
        parent.position_intent, parent.reserve_rate = admitted.position_intent, admitted.reserve_rate
        legs = make_legs(state, parent, spec)
        self._engine.reserve(parent)
        return self._engine.accept(parent, legs)

    def _make_order(self, spec: OrderSpec, asset: Asset, client_order_id: str) -> ExchangeOrder:
        state = self._state
        return ExchangeOrder(
            id=state.new_id("order"),
            client_order_id=client_order_id,
            symbol=asset.symbol,
            asset_id=asset.asset_id,
            asset_class=asset.asset_class,
            side=spec.side,
            order_type=spec.order_type,
            time_in_force=spec.time_in_force,
            status=OrderStatus.ACCEPTED,
            sequence=state.store.next_sequence,
            created_ns=state.now_ns,
            updated_ns=state.now_ns,
            submitted_ns=state.now_ns,
            quantity=spec.quantity,
            notional=spec.notional,
            limit_price=spec.limit_price,
            stop_price=spec.stop_price,
            trail_price=spec.trail_price,
            trail_percent=spec.trail_percent,
            extended_hours=spec.extended_hours,
            order_class=spec.order_class,
            expires_ns=self._expiry_ns(spec.time_in_force, asset.asset_class, spec.extended_hours),
        )

    def _expiry_ns(self, time_in_force: TimeInForce, asset_class: AssetClass, extended_hours: bool) -> int | None:
        """When an order given now ends by itself."""
        state = self._state
        if time_in_force in (TimeInForce.IOC, TimeInForce.FOK):
            return None
        if time_in_force is TimeInForce.GTC:
            last = new_york_date(state.now_ns) + timedelta(days=state.config.gtc_days)
            return state.hours.day_on_or_after(last).close_time_ns
        if time_in_force is TimeInForce.DAY:
            day = state.hours.day_for_order(state.now_ns, extended_hours=extended_hours)
            return day.session_close_time_ns if extended_hours else day.close_time_ns
        assert asset_class is not AssetClass.CRYPTO
        return state.hours.auction_day(state.now_ns, opening=time_in_force is TimeInForce.OPG).close_time_ns

    def _check_client_order_id(self, client_order_id: str) -> None:
        longest = self._state.config.client_order_id_length_max
        if len(client_order_id) > longest:
            raise refusals.syntax(f"client_order_id must be no more than {longest} characters")
        self._state.store.require_unused(client_order_id)

    def _in_session(self, symbol: str) -> bool:
        """Whether prints of a symbol set off stops now: crypto always, equities in regular hours."""
        return "/" in symbol or self._state.phase is Phase.REGULAR

    def _symbols(self, spellings: Collection[str]) -> set[str]:
        found = (self._state.assets.find(spelling) for spelling in spellings)
        return {asset.symbol for asset in found if asset is not None}


def _resolved(spec: OrderSpec, asset: Asset) -> OrderSpec:
    """The same with the asset's own symbol; an OCO's limit price is its take-profit's."""
    limit_price = spec.limit_price
    if spec.order_class is OrderClass.OCO and spec.take_profit is not None:
        limit_price = spec.take_profit.limit_price
    return replace(spec, symbol=asset.symbol, limit_price=limit_price)


def _closing_quantity(held: Decimal, quantity: Decimal | None, percentage: Decimal | None) -> Decimal:
    """How much of a position to close; all of it unless something is said."""
    if quantity is not None and percentage is not None:
        raise refusals.syntax("only one of qty or percentage is accepted")
    if quantity is not None:
        check_number("qty", quantity)
        return quantity
    if percentage is None:
        return held
    check_number("percentage", percentage)
    if percentage > _HUNDRED:
        raise refusals.syntax("percentage must be between 0 and 100")
    part = (held * percentage / _HUNDRED).quantize(_WHOLE if is_whole(held) else QUANTITY_STEP, ROUND_DOWN)
    if not part:
        raise refusals.unprocessable("percentage of the position is less than can be traded")
    return part
