"""RiskManager: may this order go? The checks, with the reservation, in one synchronous section.

Promises: SubmitOrder and PreviewOrder use the same list; between the last check and the reservation nothing else runs.
Figures come from memory, so that nothing goes to the network before the order does. A failed check on figures that are
not fresh is repeated on fresh ones: a denial is never the fault of an old reading.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gateway.application.order_manager import OrderManager
from gateway.application.outstanding import Outstanding
from gateway.application.owned_tasks import OwnedTasks
from gateway.domain import risk_checks
from gateway.domain.errors import (
    AccountBlocked,
    BuyingPowerExceeded,
    FailedCheck,
    FieldInvalid,
    FieldViolation,
    GatewayError,
    OrderDenied,
    PriceCollarExceeded,
    PriceUnavailable,
    ReduceOnlyViolated,
    ShortNotAllowed,
    SymbolNotAllowed,
    SymbolNotTradable,
    TokenCapExceeded,
)
from gateway.domain.interfaces import PriceSource
from gateway.domain.models.identity import Scope
from gateway.domain.models.market_data import Quote
from gateway.domain.models.orders import JournalEvent, Order, OrderEventKind, OrderSpec
from gateway.domain.models.reference import Asset
from gateway.domain.models.risk import RiskCheckResult
from gateway.domain.risk_checks import RiskView
from gateway.domain.types import (
    AssetClass,
    BudgetLane,
    CallContext,
    Caller,
    OrderSide,
    OrderState,
    decimal_from_price,
    format_decimal,
)
from gateway.services.account import BalanceService
from gateway.services.trading import PositionService

FRESH_ENOUGH_S: Final = 1.0
"""A denial is based on figures of at most this age."""
BACKGROUND_REFRESH_S: Final = 10.0
"""Figures older than this are read anew behind the order that noticed."""
REFRESH_TIMEOUT_S: Final = 5.0

_DENIALS: Final[dict[str, type[OrderDenied]]] = {
    denial.reason: denial
    for denial in (
        AccountBlocked,
        TokenCapExceeded,
        PriceCollarExceeded,
        ReduceOnlyViolated,
        ShortNotAllowed,
        BuyingPowerExceeded,
    )
}
_TEXTS: Final = {
    AccountBlocked.reason: "The venue has blocked trading for this account.",
    TokenCapExceeded.reason: "The order is worth more than the caller's token allows one to be.",
    PriceCollarExceeded.reason: "The stop is on the wrong side of the market.",
    ReduceOnlyViolated.reason: "A reduce-only order would open or enlarge a position.",
    ShortNotAllowed.reason: "The order sells more than is held and not already being sold.",
    BuyingPowerExceeded.reason: "The order costs more than the buying power that is left.",
}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcome of all checks for one order now.

    Attributes:
        cost: US dollars of buying power at the worst.
        value: US dollars that it trades at its own price or the market's.
    """

    checks: tuple[RiskCheckResult, ...]
    cost: Decimal
    value: Decimal | None
    is_reduction: bool

    @property
    def passed(self) -> bool:
        """Every check did."""
        return all(check.passed for check in self.checks)


class RiskManager:
    """Runs the checks and keeps the reservations.

    Args:
        monotonic: Seconds, as `time.monotonic`.
    """

    def __init__(
        self,
        orders: OrderManager,
        balances: BalanceService,
        positions: PositionService,
        prices: PriceSource,
        tasks: OwnedTasks,
        monotonic: Callable[[], float],
    ) -> None:
        self._orders = orders
        self._balances = balances
        self._positions = positions
        self._prices = prices
        self._tasks = tasks
        self._monotonic = monotonic
        self._outstanding = Outstanding()
        self._is_refreshing = False
        for order in orders.open_orders():
            self._count(order)
        orders.news.add_listener(self._on_event)

    async def prepare(self, spec: OrderSpec, call: CallContext) -> Quote | None:
        """Have everything at hand that the checks need; usually it already is.

        Returns:
            The quote, where the order cannot be judged without one; for a stop, if one can be had: what protects a
            position does not wait for a price.

        Raises:
            PriceUnavailable: There is none.
            VenueUnreachable, VenueRateLimited, VenueAuthentication: The account could not be read, ever.
        """
        if self._balances.account is None:
            await self._balances.refresh(call)
        elif self._balances.age_s > BACKGROUND_REFRESH_S and not self._is_refreshing:
            self._is_refreshing = True
            self._tasks.spawn(self._refresh_behind())
        is_cautious = spec.side is OrderSide.SELL or spec.reduce_only
        if self._positions.age_s == float("inf") or (is_cautious and self._positions.is_doubtful(spec.symbol)):
            await self._positions.refresh(call)
        is_capped = call.caller.max_order_notional is not None
        is_needed = risk_checks.needs_price(spec, self._positions.held(spec.symbol)) or (
            is_capped and risk_checks.cap_needs_price(spec)
        )
        if not is_needed and risk_checks.live_stop(spec) is None:
            return None
        quote = await self._prices.reference_price(spec.symbol, call)
        if not is_needed:
            return quote
        if quote is None or not (quote.ask_price > 0 if spec.side is OrderSide.BUY else quote.bid_price > 0):
            raise PriceUnavailable("No price could be had to check the order against.")
        return quote

    async def judge(
        self,
        spec: OrderSpec,
        asset: Asset,
        quote: Quote | None,
        call: CallContext,
    ) -> Evaluation:
        """All checks; on fresh figures if one fails on old ones. Nothing else runs between the last and the return."""
        evaluation = self.evaluate(spec, asset, quote, call.caller)
        if not evaluation.passed and self.is_stale:
            await self.refresh(call)
            evaluation = self.evaluate(spec, asset, quote, call.caller)
        return evaluation

    @property
    def is_stale(self) -> bool:
        """Whether the figures are too old to deny anything by."""
        return max(self._balances.age_s, self._positions.age_s) > FRESH_ENOUGH_S

    async def refresh(self, call: CallContext) -> None:
        """Read account and positions anew; raises as the services."""
        await self._balances.refresh(call)
        await self._positions.refresh(call)

    async def refresh_positions(self, call: CallContext) -> None:
        """Read the positions anew, once in a while: fills cannot be followed while the order feed is down.

        What was sent since the last reading still counts as outstanding: nothing is sold twice on an old figure.
        """
        if self._positions.age_s > FRESH_ENOUGH_S:
            await self._positions.refresh(call)

    def evaluate(
        self,
        spec: OrderSpec,
        asset: Asset,
        quote: Quote | None,
        caller: Caller,
        replacing: Order | None = None,
    ) -> Evaluation:
        """All checks on what is known now, with the figures that the caller may see.

        What the account has, and what others hold and have under way, is for `account:read`.

        Args:
            spec: The order.
            asset: What it trades.
            quote: Its market, if it is known.
            caller: Whose order it is; its token may cap it.
            replacing: The order in whose place it would stand.
        """
        view = self._view(spec, asset, quote, replacing, caller.max_order_notional)
        quantity = risk_checks.worst_quantity(spec, view)
        checks = risk_checks.check_all(spec, view, None if replacing is None else replacing.spec)
        if Scope.ACCOUNT_READ not in caller.scopes:
            checks = tuple(map(risk_checks.without_account, checks))
        return Evaluation(
            checks=checks,
            cost=risk_checks.cost_of(spec, view, quantity),
            value=risk_checks.value_of(spec, view),
            is_reduction=risk_checks.is_reduction(spec, view),
        )

    def admit(self, order_id: str, spec: OrderSpec, evaluation: Evaluation) -> None:
        """Reserve for an order that passed; call it in the same step as `evaluate`."""
        if evaluation.cost > 0:
            self._balances.reserve(order_id, evaluation.cost)
        self._outstanding.set_spec(order_id, spec)

    def withdraw(self, order_id: str) -> None:
        """The order will not be sent: the journal did not take it."""
        self._outstanding.forget(order_id)
        self._balances.release(order_id)

    def reserve_replace(self, order_id: str, cost: Decimal) -> None:
        """While a replace is unsettled both the old order and the new one may trade."""
        if cost > 0:
            self._balances.reserve(_replace_id(order_id), cost)

    def release_replace(self, order_id: str) -> None:
        """The replace will not be sent."""
        self._balances.release(_replace_id(order_id))

    def check_symbol(self, spec: OrderSpec, caller: Caller) -> None:
        """Refuse a symbol that the caller's token does not allow.

        Raises:
            SymbolNotAllowed: Nothing is stored: another token may be told to try the same key.
        """
        if not caller.may_trade(spec.symbol):
            raise SymbolNotAllowed("the token does not allow orders in this symbol")

    def check_shortable(self, spec: OrderSpec, asset: Asset) -> None:
        """Refuse a short sale of what cannot be borrowed.

        Raises:
            SymbolNotTradable: The asset is not shortable.
        """
        opens_short = spec.side is OrderSide.SELL and not spec.reduce_only and self._positions.held(spec.symbol) <= 0
        if opens_short and asset.asset_class is AssetClass.US_EQUITY and not asset.shortable:
            raise SymbolNotTradable("The asset cannot be sold short.", metadata={"shortable": "false"})

    def check_size(self, spec: OrderSpec, asset: Asset, quote: Quote | None) -> None:
        """Refuse a fraction of a share that is worth less than the venue takes.

        Raises:
            FieldInvalid: Naming the quantity.
        """
        if asset.asset_class is AssetClass.US_EQUITY and risk_checks.is_too_small(spec, *_market(quote)):
            violation = FieldViolation("spec.quantity", f"is worth less than {risk_checks.FRACTION_MIN_USD} USD")
            raise FieldInvalid("The order is too small.", violations=[violation])

    async def _refresh_behind(self) -> None:
        call = CallContext(Caller(), self._monotonic() + REFRESH_TIMEOUT_S, BudgetLane.READ)
        try:
            await self._balances.refresh(call)
        except GatewayError:
            pass  # the old figures with their reservations stay on the safe side
        finally:
            self._is_refreshing = False

    def _view(
        self, spec: OrderSpec, asset: Asset, quote: Quote | None, replacing: Order | None, order_cap: Decimal | None
    ) -> RiskView:
        account = self._balances.account
        assert account is not None, "prepare comes first"
        bid, ask = _market(quote)
        without = "" if replacing is None else _family(replacing)
        outstanding = self._outstanding
        return RiskView(
            account=account,
            reserved=self._balances.reserved - self._freed(spec, replacing),
            asset=asset,
            held=self._positions.held(spec.symbol),
            buying=outstanding.total(spec.symbol, OrderSide.BUY, without).at(bid or ask),
            selling=outstanding.total(spec.symbol, OrderSide.SELL, without).at(bid or ask),
            bid=bid,
            ask=ask,
            order_cap=order_cap,
            filled=Decimal(0) if replacing is None else replacing.filled_quantity,
        )

    def _freed(self, spec: OrderSpec, replacing: Order | None) -> Decimal:
        """What the old order holds of the buying power, and the new one takes over.

        Nothing, where the size changes: the old one may be filled in part while the new size is on its way, and then
        both were bought. What is sold cannot be sold twice: the venue takes no replace that sells beyond the position.
        """
        if replacing is None or replacing.spec.side is OrderSide.SELL or replacing.leaves_quantity is None:
            return Decimal(0)
        if spec.quantity != replacing.leaves_quantity:
            return Decimal(0)
        return replacing.leaves_quantity * (replacing.spec.limit_price or replacing.spec.stop_price or Decimal(0))

    def _count(self, order: Order) -> None:
        root = self._orders.order(order.parent_order_id) if order.parent_order_id else order
        self._outstanding.set_family(root.order_id, (root, *self._orders.legs(root)))

    def _on_event(self, event: JournalEvent, order: Order) -> None:
        """Follow the fills, what is outstanding, and what the venue's next figures will contain."""
        self._count(order)
        if event.fill is not None:
            fill = event.fill
            signed = fill.quantity if fill.side is OrderSide.BUY else -fill.quantity
            exact = fill.account_position_quantity is not None and order.asset_class is AssetClass.US_EQUITY
            self._positions.note_fill(fill.symbol, signed, fill.account_position_quantity, exact)
            self._balances.note_fill()
        is_settled = event.kind in (OrderEventKind.REPLACED, OrderEventKind.REPLACE_REJECTED)
        if is_settled or order.state.is_terminal:
            self._balances.acknowledge(_replace_id(order.order_id))
        if order.state.is_terminal and not order.filled_quantity:
            self._balances.release(order.order_id)
            self._balances.release(_replace_id(order.order_id))
        elif order.venue_orders and order.state is not OrderState.OUTCOME_UNKNOWN:
            self._balances.acknowledge(order.order_id)


def denial_of(evaluation: Evaluation, spec: OrderSpec) -> OrderDenied:
    """The first failed check as an error that lists all of them."""
    failed = [check for check in evaluation.checks if not check.passed]
    checks = [FailedCheck(check.reason, spec.symbol, _description(check)) for check in failed]
    return _DENIALS[failed[0].reason](_TEXTS[failed[0].reason], checks=checks, metadata=_figures(failed[0]))


def _figures(check: RiskCheckResult) -> dict[str, str]:
    if check.observed is None or check.limit is None:
        return {}
    return {"observed": format_decimal(check.observed), "limit": format_decimal(check.limit), "unit": check.unit}


def _description(check: RiskCheckResult) -> str:
    if check.observed is None or check.limit is None:
        return _TEXTS[check.reason]
    figures = _figures(check)
    return f"{_TEXTS[check.reason]} {figures['observed']} of {figures['limit']} {check.unit}."


def _market(quote: Quote | None) -> tuple[Decimal | None, Decimal | None]:
    """Bid and ask, US dollars; None for a side without a price."""
    if quote is None:
        return None, None
    bid = decimal_from_price(quote.bid_price) if quote.bid_price > 0 else None
    return bid, decimal_from_price(quote.ask_price) if quote.ask_price > 0 else None


def _family(order: Order) -> str:
    return order.parent_order_id or order.order_id


def _replace_id(order_id: str) -> str:
    return f"{order_id}#replace"
