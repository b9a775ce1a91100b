"""Alarms: what an operator must see, and what stops trading by itself.

Promises: an alarm is a CRITICAL line in the log under a name that never changes, and it is counted; one that says that
the books cannot be trusted also tightens the account's trading state, durable and marked automatic. Only people loosen
it again. Who finds something wrong decides which of the two it is.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import structlog

from gateway.application.order_news import Unheard
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.trading_state import TradingStates
from gateway.domain.errors import GatewayError
from gateway.domain.models.orders import VenueOrder
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import NANOS_PER_SECOND

REMEMBERED_NS: Final = 30 * 86_400 * NANOS_PER_SECOND
"""For so long at least an order that has ended is remembered."""

_log = structlog.get_logger(__name__)


class Alarms:
    """Raises alarms.

    Attributes:
        counts: How often each was raised in this life.
    """

    def __init__(self, states: TradingStates, tasks: OwnedTasks) -> None:
        self._states = states
        self._tasks = tasks
        self.counts: Counter[str] = Counter()

    def tell(self, name: str, **facts: object) -> None:
        """Say it, and go on."""
        self.counts[name] += 1
        _log.critical(name, **facts)

    def trip(self, name: str, mode: TradingMode, reason: str, **facts: object) -> None:
        """Say it, and let nothing more through than a mode does; one that is in effect and stricter stays.

        Args:
            name: Who tripped, as the trading state's `set_by` says it.
            mode: REDUCING or HALTED.
            reason: For people.
            facts: Which order, which figures.
        """
        self.tell(name, **facts)
        if self._states.mode.severity < mode.severity:
            self._tasks.spawn(self._tighten(name, mode, reason))

    def tell_collision(self, order_id: str, found: VenueOrder, now_ns: int) -> None:
        """The venue holds another order under an id that only we make: two gateways share the account, or the books
        are not the ones that made it. An order older than what is remembered proves neither.
        """
        facts = {"order_id": order_id, "venue_order_id": found.venue_order_id, "symbol": found.symbol}
        if found.create_time_ns is not None and now_ns - found.create_time_ns > REMEMBERED_NS:
            self.tell("id_collision", **facts)
            return
        reason = "The venue holds another order under an id of this gateway's."
        self.trip("id_collision", TradingMode.HALTED, reason, **facts)

    def trip_wrong_answer(self, order_id: str, answer: VenueOrder) -> None:
        """The venue answered with another order than the one it was sent: nobody knows what it has done with that."""
        self.trip(
            "answer_names_another_order",
            TradingMode.HALTED,
            "The venue answered with another order than the one it was sent.",
            order_id=order_id,
            venue_order_id=answer.venue_order_id,
        )

    def tell_deaf(self, unheard: Unheard) -> None:
        """Somebody who hears every event of orders did not take one in. What limits and cancels go by may be wrong from
        here on, until a start makes it anew of the journal; a stream reads the journal again by itself.
        """
        event = unheard.event
        facts = {"order_id": event.order_id, "sequence": event.sequence, "exc_info": unheard.error}
        if unheard.is_reader:
            self.tell("event_not_heard", listener=unheard.listener, **facts)
            return
        reason = "A part of the gateway did not take in what happened to an order: start it again, then resume."
        self.trip("event_not_heard", TradingMode.HALTED, reason, listener=unheard.listener, **facts)

    async def _tighten(self, name: str, mode: TradingMode, reason: str) -> None:
        try:
            await self._states.set(mode, reason, name, automatic=True)
        except GatewayError as error:
            _log.critical("trading_state_unrecorded", set_by=name, detail=error.message)  # it is in effect all the same
