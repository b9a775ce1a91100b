"""The order stream that outlives its connection, and waiting for an order on it. No I/O.

After a break the stream resumes with the newest token, so that nothing is lost and nothing comes twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from trading_gateway.call import path
from trading_gateway.errors import GatewayError, SequenceGap
from trading_gateway.streams import is_survivable
from trading_gateway.v1 import trading_pb2 as pb
from trading_gateway.values import duration, word

_LOST_TOKEN: Final = frozenset({"EPOCH_CHANGED", "RESUME_TOKEN_COMPACTED"})
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


def stream_order_updates(
    *,
    strategy_id: str = "",
    all_strategies: bool = False,
    resume_token: str = "",
    live_only: bool = False,
    heartbeat_interval_s: float | None = None,
) -> OrderUpdates:
    """Follow a book of orders for as long as the updates are taken: in order, none lost, none twice.

    A lost connection is resumed with the newest token. A snapshot_begin that comes later than first means that
    the gateway began a new life, or forgot the events after the token: what ended in between has to be read
    with `list_orders`.

    Args:
        strategy_id: One strategy; empty: the caller's own.
        all_strategies: Every strategy, and orders from outside the gateway.
        resume_token: Continue after this token of an earlier run; empty: a snapshot of the open orders first. To
            keep one, wait for snapshot_end: before it, orders of the snapshot are still to come.
        live_only: Only what happens from now on.
        heartbeat_interval_s: 1 to 120; None: 15.
    """
    if resume_token and live_only:
        raise ValueError("resume_token and live_only exclude each other")
    request = pb.StreamOrderUpdatesRequest(
        strategy_id=strategy_id,
        all_strategies=all_strategies,
        heartbeat_interval=duration(heartbeat_interval_s),
    )
    if resume_token:
        request.resume_token = resume_token
    elif live_only:
        request.live_only = True
    return OrderUpdates(request)


class OrderUpdates:
    """Follows a book of orders.

    Args:
        request: The first request; later ones start where the messages ended.
    """

    path = path("TradingService/StreamOrderUpdates")
    response = pb.StreamOrderUpdatesResponse

    def __init__(self, request: pb.StreamOrderUpdatesRequest) -> None:
        self._request = request
        self._sequence: int | None = None
        self._snapshot_open = False

    def request(self) -> pb.StreamOrderUpdatesRequest:
        """The subscription, from the newest token on."""
        request = pb.StreamOrderUpdatesRequest()
        request.CopyFrom(self._request)
        return request

    def accept(self, message: pb.StreamOrderUpdatesResponse) -> bool:
        """False for an event that came before the break already.

        Raises:
            SequenceGap: An event is missing, which the contract excludes.
        """
        payload = message.WhichOneof("payload")
        if payload == "snapshot_begin":
            self._snapshot_open = True
        elif payload == "snapshot_end":
            self._snapshot_open = False
            self._sequence = message.sequence
        if self._snapshot_open:  # its tokens would resume after orders that were not delivered yet
            return True
        if payload == "event" and self._sequence is not None and message.sequence <= self._sequence:
            return False
        self._follow(message.sequence, payload == "event")
        if message.resume_token:
            self._request.resume_token = message.resume_token
        return True

    def broken(self, error: GatewayError) -> None:
        """Resume after a lost connection; begin with a snapshot when the token's events are gone."""
        self._snapshot_open = False
        if error.reason in _LOST_TOKEN:
            self._request.ClearField("start")
            self._sequence = None
        elif not is_survivable(error):
            raise error

    def _follow(self, sequence: int, is_event: bool) -> None:
        """Events count one by one; other messages repeat the last number, which proves that none is missing."""
        if self._sequence is not None and sequence > self._sequence + is_event:
            raise SequenceGap(self._sequence + 1, sequence)
        self._sequence = max(sequence, self._sequence or 0)


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
