"""The key is looked up before anything else of a request is judged.

A request whose content is malformed, under a key whose order may be live, must not be told that the key is
free: the order is there. Everything that is well formed is the application room's to compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.application.order_manager import OrderManager
from gateway.application.workflows import closed_under
from gateway.domain.errors import ClientOrderIdReused, InvalidRequest, OrderNotFound
from gateway.domain.models.orders import OrderRef
from gateway.domain.types import Caller, is_client_order_id, is_strategy_id
from trading_gateway.v1 import trading_pb2 as pb

Keyed = pb.SubmitOrderRequest | pb.ReplaceOrderRequest | pb.ClosePositionRequest | pb.ClosePositionsRequest


class KeyFirst:
    """Looks keys up for requests that cannot be read.

    Args:
        orders: Knows every key that was ever recorded.
    """

    def __init__(self, orders: OrderManager) -> None:
        self._orders = orders

    @contextmanager
    def known_before_refusal(self, request: Keyed, caller: Caller) -> Iterator[None]:
        """Around the reading of a request, and the search for its order: a refusal stands only if the key is free.

        Raises:
            ClientOrderIdReused: An order holds the key, so this request's content is another one.
        """
        try:
            yield
        except (InvalidRequest, OrderNotFound):
            if self.is_taken(request, caller):
                raise ClientOrderIdReused("another order holds this key") from None
            raise

    def is_taken(self, request: Keyed, caller: Caller) -> bool:
        """Whether an order holds the request's key, or one of those that its prefix makes."""
        strategy_id = self._strategy_of(request, caller) or caller.strategy_id
        if not caller.may_act_for(strategy_id):  # another's keys are not its business
            return False
        if isinstance(request, pb.ClosePositionsRequest):
            return bool(closed_under(self._orders, strategy_id, request.client_order_id_prefix))
        if not is_client_order_id(request.client_order_id) or not is_strategy_id(strategy_id):
            return False
        return self._orders.key(strategy_id, request.client_order_id) is not None

    def _strategy_of(self, request: Keyed, caller: Caller) -> str:
        """Whose key space the key is in; empty: the caller's own. A replace's is its order's, however that is named.

        An order that is hidden from the caller is one that does not exist.
        """
        if not isinstance(request, pb.ReplaceOrderRequest):
            return request.strategy_id
        named = request.order
        if named.WhichOneof("ref") == "client_order_id":
            return named.strategy_id
        try:
            ref = OrderRef(order_id=named.order_id, venue_order_id=named.venue_order_id)
            owner = self._orders.get(ref).strategy_id
        except OrderNotFound:
            return ""
        return owner if caller.may_read_of(owner) else ""
