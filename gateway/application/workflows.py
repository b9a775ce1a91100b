"""TradingWorkflow: trades of several steps. Closing a position is one: cancel, wait, compute, submit reduce-only.

Promises: a close is an ordinary order under the caller's key, so it is sent at most once and its fate is known like any
other's. The venue's own close route is never used: it has no key, and a percentage sent twice closes more. Nothing is
sent unless every order that had to go first is known to have ended.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal
from typing import Final

from gateway.application.commands import CloseManyRequest, CloseRequest, CloseResult, Submitted
from gateway.application.key_desk import ANSWER_MARGIN_MS, Command, KeyDesk
from gateway.application.order_manager import OrderManager
from gateway.application.trading_engine import TradingEngine
from gateway.domain.errors import (
    CancelUnconfirmed,
    FieldInvalid,
    FieldViolation,
    GatewayError,
    MarketClosed,
    OrderRejected,
    PositionNotFound,
    ScopeMissing,
    SymbolNotAllowed,
)
from gateway.domain.models.identity import Scope
from gateway.domain.models.orders import Order, OrderRef, OrderRequest, OrderSpec
from gateway.domain.models.reference import Asset
from gateway.domain.types import (
    MS_PER_SECOND,
    NANOS_PER_MS,
    AssetClass,
    CallContext,
    OrderSide,
    OrderState,
    OrderType,
    TimeInForce,
    is_client_order_id,
)
from gateway.services.reference import AssetService, MarketCalendarService
from gateway.services.trading import PositionService

VALID_DEFAULT_MS: Final = 5_000
"""How long a closing order may be sent after the cancels are done."""
CANCELS_WAIT_MS: Final = 5_000
"""How long the cancels that come first may take."""
PREFIX_LENGTH_MAX: Final = 40
RETRY_AFTER_MS: Final = 1_000
_WHOLE: Final = Decimal(1)
_NINE_DECIMALS: Final = Decimal("1e-9")
_HUNDRED: Final = Decimal(100)


class TradingWorkflow:
    """Closes positions by explicit orders.

    Args:
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, as `time.monotonic`.
    """

    def __init__(
        self,
        engine: TradingEngine,
        desk: KeyDesk,
        orders: OrderManager,
        positions: PositionService,
        assets: AssetService,
        calendar: MarketCalendarService,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._desk = desk
        self._orders = orders
        self._positions = positions
        self._assets = assets
        self._calendar = calendar
        self._wall = wall
        self._monotonic = monotonic

    async def close_position(self, request: CloseRequest, call: CallContext) -> Submitted:
        """Close one position, or a part of it.

        Raises:
            SymbolNotAllowed, ScopeMissing: Not the caller's to trade, or others' orders not its to cancel; no effect.
            PositionNotFound: The account holds none.
            MarketClosed: The symbol's market is closed.
            CancelUnconfirmed: An order that had to go first is not known to have ended; nothing was sent.
            GatewayError: As `TradingEngine.submit`.
        """
        fingerprint = request.fingerprint()

        async def work(command: Command) -> None:
            await self._close(command, request, fingerprint, call)

        return await self._desk.run(
            (request.strategy_id, request.client_order_id),
            fingerprint,
            call,
            work,
            is_alike=lambda sent: _is_close(sent, request),
            door=lambda: self._check_door(request, call),
        )

    async def close_positions(self, request: CloseManyRequest, call: CallContext) -> tuple[CloseResult, ...]:
        """Close every position of the account, one after the other; tell what earlier calls with the prefix closed.

        Raises:
            FieldInvalid: The prefix makes no keys.
            VenueUnreachable, VenueRateLimited, VenueAuthentication: The positions could not be read. The key is free,
                or nothing is said about it where an earlier call has begun.
        """
        prefix = request.client_order_id_prefix
        if not is_client_order_id(prefix) or len(prefix) > PREFIX_LENGTH_MAX:
            raise _invalid("client_order_id_prefix", f"must be a key of at most {PREFIX_LENGTH_MAX} characters")
        begun = closed_under(self._orders, request.strategy_id, prefix)
        try:
            read = await self._positions.list_positions(call, max_staleness_ms=0)
        except GatewayError as error:
            if begun:
                error.key = None
            raise
        results = []
        for symbol in sorted({*begun, *(position.symbol for position in read.positions)}):
            one = _one_of(request, symbol)
            try:
                results.append(CloseResult(symbol, await self.close_position(one, call)))
            except GatewayError as error:
                results.append(CloseResult(symbol, error))
        return tuple(results)

    def _check_door(self, request: CloseRequest, call: CallContext) -> None:
        self._engine.check_door(self._valid_until_ns(request), call)
        if not call.caller.may_trade(request.symbol):  # before anything is canceled for it
            raise SymbolNotAllowed("the token does not allow orders in this symbol")
        if request.quantity is not None and request.percentage is not None:
            raise _invalid("quantity", "and percentage exclude each other")
        if request.percentage is not None and not 0 < request.percentage <= _HUNDRED:
            raise _invalid("percentage", "must be more than 0 and at most 100")
        if request.quantity is not None and not request.quantity > 0:
            raise _invalid("quantity", "must be more than 0")

    async def _close(self, command: Command, request: CloseRequest, fingerprint: str, call: CallContext) -> None:
        asset = await self._assets.get(request.symbol, call)
        if not await self._calendar.is_open(asset.asset_class, call):
            raise MarketClosed("The market for this symbol is closed.")
        held = await self._held(request.symbol, call)
        if request.cancel_orders:
            await self._cancel_first(request.symbol, _exit_side(held), call)
            held = await self._held(request.symbol, call)  # one of them may have been filled meanwhile
        spec = OrderSpec(
            symbol=request.symbol,
            side=_exit_side(held),
            order_type=OrderType.MARKET,
            time_in_force=TimeInForce.GTC if asset.asset_class is AssetClass.CRYPTO else TimeInForce.DAY,
            quantity=_quantity(request, abs(held), asset),
            reduce_only=True,
        )
        order = OrderRequest(request.strategy_id, request.client_order_id, spec, self._valid_until_ns(request))
        await self._engine.submit_within(command, order, fingerprint, call)

    async def _held(self, symbol: str, call: CallContext) -> Decimal:
        await self._positions.refresh(call)
        held = self._positions.held(symbol)
        if not held:
            raise PositionNotFound("The account holds no such position.")
        return held

    async def _cancel_first(self, symbol: str, side: OrderSide, call: CallContext) -> None:
        """End every order that holds the position, and wait until each is known to have ended; all of them or none."""
        holding = [
            order
            for order in self._orders.open_in(symbol)
            if order.spec.side is side and not self._is_exit_of_open_entry(order)
        ]
        if not all(call.caller.may_cancel_of(order.strategy_id) for order in holding):
            raise ScopeMissing(Scope.ORDERS_CANCEL_ANY)
        deadline = min(
            self._monotonic() + CANCELS_WAIT_MS / MS_PER_SECOND, call.deadline - ANSWER_MARGIN_MS / MS_PER_SECOND
        )
        for order in holding:
            await self._engine.cancel(OrderRef(order_id=order.order_id), 0, call)
        for order in holding:
            wait_ms = int((deadline - self._monotonic()) * MS_PER_SECOND)
            state = await self._state_after(order, max(0, wait_ms), call)
            if not state.is_terminal:
                raise CancelUnconfirmed(
                    "An order that holds the position is not known to have ended; nothing was sent.",
                    metadata={"order_id": order.order_id, "state": state.value},
                    retry_after_ms=RETRY_AFTER_MS,
                )

    async def _state_after(self, order: Order, wait_ms: int, call: CallContext) -> OrderState:
        """Where a cancel has brought an order within that time, also when the venue would not cancel it."""
        try:
            canceled = await self._engine.cancel(OrderRef(order_id=order.order_id), wait_ms, call)
        except OrderRejected:
            return self._orders.order(order.order_id).state
        return canceled.order.state

    def _is_exit_of_open_entry(self, order: Order) -> bool:
        """Whether it is a leg that begins when its entry is filled: it holds nothing yet."""
        if not order.parent_order_id:
            return False
        parent = self._orders.order(order.parent_order_id)
        return not parent.state.is_terminal and parent.spec.side is not order.spec.side

    def _valid_until_ns(self, request: CloseRequest) -> int:
        return request.valid_until_ns or self._wall() + VALID_DEFAULT_MS * NANOS_PER_MS


def closed_under(orders: OrderManager, strategy_id: str, prefix: str) -> list[str]:
    """The symbols that calls of ClosePositions with this prefix have begun to close."""
    symbols = []
    for key, entry in orders.keys_beginning(strategy_id, f"{prefix}-"):
        symbol = orders.order(entry.order_id).spec.symbol
        ways = (_one_of(CloseManyRequest(strategy_id, prefix, way), symbol) for way in (False, True))
        if any((one.client_order_id, one.fingerprint()) == (key, entry.fingerprint) for one in ways):
            symbols.append(symbol)
    return symbols


def _one_of(request: CloseManyRequest, symbol: str) -> CloseRequest:
    """The close of one position, under the key that the prefix makes."""
    key = f"{request.client_order_id_prefix}-{symbol.replace('/', '')}"
    return CloseRequest(request.strategy_id, symbol, key, cancel_orders=request.cancel_orders)


def _is_close(sent: OrderSpec, request: CloseRequest) -> bool:
    """Whether an order of which only the venue's word is known may be this close; a percentage was of what was held."""
    is_same = sent.symbol == request.symbol and sent.order_type is OrderType.MARKET
    return is_same and request.quantity in (None, sent.quantity)


def _exit_side(held: Decimal) -> OrderSide:
    return OrderSide.SELL if held > 0 else OrderSide.BUY


def _quantity(request: CloseRequest, held: Decimal, asset: Asset) -> Decimal:
    """How much to close, rounded down to what the venue takes; all of it needs no rounding."""
    if request.quantity is not None:
        return request.quantity
    if request.percentage is None or request.percentage == _HUNDRED:
        return held
    step = asset.min_trade_increment or (_NINE_DECIMALS if asset.fractionable else _WHOLE)
    quantity = (held * request.percentage / _HUNDRED / step).to_integral_value(ROUND_DOWN) * step
    if not quantity > 0:
        raise _invalid("percentage", "is less than the smallest order")
    return quantity


def _invalid(field: str, description: str) -> FieldInvalid:
    return FieldInvalid(f"{field} {description}.", violations=[FieldViolation(field, description)])
