"""OrderNews: who hears of every event of orders, and who waits for the next one of an order.

Promises: an event is told when it is recorded and its order has changed, to everybody, in the order in which they came;
one who does not take it in keeps it from nobody else, and is told of. Written by OrderManager alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from gateway.domain.models.orders import JournalEvent, Order

Listener = Callable[[JournalEvent, Order], None]


@dataclass(frozen=True, slots=True)
class Unheard:
    """An event that somebody did not take in.

    Attributes:
        listener: Whose, for people.
        is_reader: It would only have looked at the journal sooner.
        error: What was raised.
    """

    listener: str
    is_reader: bool
    event: JournalEvent
    error: Exception


class OrderNews:
    """Tells events.

    Attributes:
        on_unheard: Told of each; must not raise. Without anybody to tell, recording ends.
    """

    def __init__(self) -> None:
        self._listeners: list[tuple[Listener, bool]] = []
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self.on_unheard: Callable[[Unheard], None] = _nobody_to_tell

    def add_listener(self, listener: Listener, *, is_reader: bool = False) -> None:
        """Tell somebody of every event; it must not block. One that raises is an alarm, and nobody else's concern.

        Args:
            listener: Called in the middle of recording.
            is_reader: It hears events only to look at the journal sooner: nothing is wrong by what it did not hear.
        """
        self._listeners.append((listener, is_reader))

    def tell(self, event: JournalEvent, order: Order) -> None:
        """An event was recorded, and the order is so after it."""
        for listener, is_reader in self._listeners:
            try:
                listener(event, order)
            except Exception as error:  # the event is recorded and the order has changed: both stand
                self.on_unheard(Unheard(getattr(listener, "__qualname__", "?"), is_reader, event, error))
        for future in self._waiters.pop(event.order_id, ()):
            if not future.done():
                future.set_result(None)

    async def wait_for_change(self, order_id: str, timeout_s: float) -> bool:
        """Wait for the next event of an order; False when none came in time."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(order_id, []).append(future)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return False
        finally:
            self._forget(order_id, future)
        return True

    def _forget(self, order_id: str, future: asyncio.Future[None]) -> None:
        waiters = self._waiters.get(order_id)
        if waiters is not None:
            with suppress(ValueError):
                waiters.remove(future)
            if not waiters:
                del self._waiters[order_id]


def _nobody_to_tell(unheard: Unheard) -> None:
    raise unheard.error
