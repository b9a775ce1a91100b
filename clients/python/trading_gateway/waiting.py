"""Waiting for an order: what its book's stream shows, and a read for what happened before the stream. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from trading_gateway.order_updates import OrderUpdates, stream_order_updates
from trading_gateway.v1 import trading_pb2 as pb
from trading_gateway.values import word

_TERMINAL: Final = frozenset(
    {
        pb.ORDER_STATE_FILLED,
        pb.ORDER_STATE_CANCELED,
        pb.ORDER_STATE_EXPIRED,
        pb.ORDER_STATE_REJECTED,
        pb.ORDER_STATE_DENIED,
        pb.ORDER_STATE_NOT_SENT,
        pb.ORDER_STATE_ABSENT,
    }
)


class OrderWait:
    """Waits for an order: what its book's stream shows, and a read for what happened before the stream.

    Args:
        order: As last known.
        until: When the wait is over.
    """

    def __init__(self, order: pb.Order, until: Callable[[pb.Order], bool]) -> None:
        self.order = order
        self._until = until

    @property
    def is_over(self) -> bool:
        """The newest state is what was waited for."""
        return self._until(self.order)

    def updates(self) -> OrderUpdates:
        """The stream to watch."""
        if self.order.external:
            return stream_order_updates(all_strategies=True)
        return stream_order_updates(strategy_id=self.order.strategy_id)

    def see(self, message: pb.StreamOrderUpdatesResponse) -> bool:
        """Take note of an update; True: the order has to be read, for it may have ended before the snapshot."""
        payload = message.WhichOneof("payload")
        if payload == "event":
            self._take(message.event.order)
        elif payload == "snapshot_order":
            self._take(message.snapshot_order)
        return payload == "snapshot_end"

    def read(self, order: pb.Order) -> None:
        """Take note of what a read answered: it is the newest, even if a new life of the gateway counts anew."""
        self.order = order

    def _take(self, order: pb.Order) -> None:
        if order.order_id == self.order.order_id and order.version >= self.order.version:
            self.order = order

    def result(self) -> pb.Order:
        """The order, when the wait is over.

        Raises:
            TimeoutError: It is not.
        """
        if not self.is_over:
            raise TimeoutError(f"order {self.order.order_id} is still {word(pb.OrderState, self.order.state)}")
        return self.order


def is_terminal(order: pb.Order) -> bool:
    """The order can change no more. Any other state counts as open, one that this build does not know too."""
    return order.state in _TERMINAL
