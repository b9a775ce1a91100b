"""ZombieWatch: orders that live although they should not, and orders that should live and do not.

Promises: an order that never was (absent, not sent, denied, rejected) and is sighted all the same, in an event or a
list, is an alarm, and is canceled or kept, as the setting says. An order that the venue has acknowledged and denies
knowing for DENIED_MAX_S stops trading: somebody is not who they were. Leaves to OrderManager that a sighting revives
the order, and to whoever asks the venue to say what it met.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.application.alarms import Alarms
from gateway.application.cancellations import Cancellations
from gateway.application.order_manager import OrderManager
from gateway.application.owned_tasks import OwnedTasks
from gateway.domain.models.orders import JournalEvent, Order, OrderEventKind
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import OnZombie

DENIED_MAX_S: Final = 60.0
"""A venue is eventually consistent; for so long."""
DENIED_ORDERS_MAX: Final = 1_024
"""Orders that are watched for this at once."""


class ZombieWatch:
    """Hears every event, and what the venue denies.

    Args:
        monotonic: Seconds, as `time.monotonic`.
    """

    def __init__(
        self,
        orders: OrderManager,
        cancellations: Cancellations,
        alarms: Alarms,
        tasks: OwnedTasks,
        monotonic: Callable[[], float],
        on_zombie: OnZombie = OnZombie.CANCEL,
    ) -> None:
        self._cancellations = cancellations
        self._alarms = alarms
        self._tasks = tasks
        self._monotonic = monotonic
        self._on_zombie = on_zombie
        self._denied: dict[str, float] = {}
        orders.news.add_listener(self._on_event)

    def note_denied(self, order: Order) -> None:
        """The venue says that it does not know an order which it has acknowledged."""
        if order.order_id not in self._denied and len(self._denied) >= DENIED_ORDERS_MAX:
            return
        since = self._denied.setdefault(order.order_id, self._monotonic())
        if self._monotonic() - since < DENIED_MAX_S:
            return
        self._alarms.trip(
            "acknowledged_order_unknown_to_venue",
            TradingMode.HALTED,
            "The venue does not know an order that it has acknowledged.",
            order_id=order.order_id,
            venue_order_id=order.venue_order_id,
        )
        self._denied[order.order_id] = self._monotonic()

    def note_known(self, order_id: str) -> None:
        """The venue knows it."""
        self._denied.pop(order_id, None)

    def _on_event(self, event: JournalEvent, order: Order) -> None:
        if event.venue_order is not None or order.state.is_terminal:
            self._denied.pop(order.order_id, None)
        if event.kind is not OrderEventKind.RESURRECTED:
            return
        self._alarms.tell(
            "order_resurrected",
            order_id=order.order_id,
            venue_order_id=order.venue_order_id,
            venue_status=order.venue_status,
            then=self._on_zombie.value,
        )
        if self._on_zombie is OnZombie.CANCEL:
            self._tasks.spawn(self._cancellations.request(order.order_id))
