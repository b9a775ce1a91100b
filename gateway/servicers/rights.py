"""What a caller may do with one order, or one strategy's orders: asked at the desk, before anything is done.

A strategy never learns of another's orders: by id they are not found, and its name may not be used. Operators with
`orders:read_any` see every order, with `orders:cancel_any` they end any. Leaves symbols and the token's cap to the
checks of an order, behind its key.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.application.order_manager import NO_SUCH_ORDER, OrderManager
from gateway.domain.errors import OrderNotFound, ScopeMissing
from gateway.domain.models.identity import Scope
from gateway.domain.models.orders import OrderRef
from gateway.domain.types import Caller


class OrderRights:
    """Decides over orders by whose they are.

    Args:
        orders: Knows every order.
    """

    def __init__(self, orders: OrderManager) -> None:
        self._orders = orders

    def require_own(self, caller: Caller, strategy_id: str) -> None:
        """Whether it may trade in this strategy's name.

        Raises:
            ScopeMissing: It may not; no scope would allow it.
        """
        if not caller.may_act_for(strategy_id):
            raise ScopeMissing(f"{Scope.ORDERS_TRADE} of that strategy")

    def require_readable(self, caller: Caller, strategy_id: str | None) -> None:
        """Whether it may see a strategy's orders, or (None) all of them.

        Raises:
            ScopeMissing: It may not.
        """
        if not caller.may_read_of(strategy_id or ""):
            raise ScopeMissing(Scope.ORDERS_READ_ANY)

    def require_cancelable(self, caller: Caller, strategy_id: str | None) -> None:
        """Whether it may end a strategy's orders, or (None) all of them.

        Raises:
            ScopeMissing: It may not.
        """
        if not caller.may_cancel_of(strategy_id or ""):
            raise ScopeMissing(Scope.ORDERS_CANCEL_ANY)

    def read(self, caller: Caller, ref: OrderRef) -> None:
        """Whether it may see this order.

        Raises:
            OrderNotFound: There is none, or it is another's.
            ScopeMissing: It is named by another strategy's key.
        """
        _require_name(ref, caller.may_read_of, Scope.ORDERS_READ_ANY)
        if caller.token_id and not caller.may_read_of(self._orders.get(ref).strategy_id):
            raise _not_found()

    def cancel(self, caller: Caller, ref: OrderRef) -> None:
        """Whether it may end this order.

        Raises:
            OrderNotFound: There is none, or it is another's and hidden.
            ScopeMissing: It is another's, and can be seen or is named by another strategy's key.
        """
        _require_name(ref, caller.may_cancel_of, Scope.ORDERS_CANCEL_ANY)
        if not caller.token_id:
            return
        strategy_id = self._orders.get(ref).strategy_id
        if not caller.may_cancel_of(strategy_id):
            raise ScopeMissing(Scope.ORDERS_CANCEL_ANY) if caller.may_read_of(strategy_id) else _not_found()

    def change(self, caller: Caller, ref: OrderRef) -> None:
        """Whether it may replace this order: its own alone.

        Raises:
            OrderNotFound: There is none, or it is another's and hidden.
            ScopeMissing: It is another's, and can be seen or is named by another strategy's key.
        """
        if ref.strategy_id:
            self.require_own(caller, ref.strategy_id)
        if not caller.token_id:
            return
        strategy_id = self._orders.get(ref).strategy_id
        if caller.may_act_for(strategy_id):
            return
        if not caller.may_read_of(strategy_id):
            raise _not_found()
        self.require_own(caller, strategy_id)


def sees_account(caller: Caller) -> bool:
    """Whether it may be told what the account holds: figures that all strategies have made together."""
    return Scope.ACCOUNT_READ in caller.scopes


def _require_name(ref: OrderRef, may_use: Callable[[str], bool], scope: Scope) -> None:
    if ref.strategy_id and not may_use(ref.strategy_id):
        raise ScopeMissing(scope)


def _not_found() -> OrderNotFound:
    """To the letter what is said of an order that does not exist."""
    return OrderNotFound(NO_SUCH_ORDER)
