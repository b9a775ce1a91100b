"""Planted bugs of sending: ids, attempts, what an answer means, and what was said before."""

from __future__ import annotations

from typing import Any

from gateway.application import key_desk, outcome_resolver, submissions
from gateway.application.key_desk import Command, KeyDesk
from gateway.application.outcome_resolver import OutcomeResolver
from gateway.application.submissions import Submissions
from gateway.application.trading_engine import TradingEngine
from gateway.application.trading_state import TradingStates
from gateway.domain.errors import GatewayError, KeyFate, OrderRejected, OutcomeUnknown
from gateway.domain.models.orders import Failure, JournalEvent, OrderEventKind
from gateway.domain.types import BudgetLane, OrderState, venue_client_order_id
from gateway.services.recovery import ErrorService
from tests.chaos.planted.registry import Patch, bug


@bug("I4", "I5", needs="answers that are lost")
def new_id_per_attempt(patch: Patch) -> None:
    """An unanswered order is sent again, under another id."""

    async def not_accepted(self: Any, command: Any, request: Any, venue_id: str, error: Exception) -> None:
        if isinstance(error, OutcomeUnknown) and not venue_id.endswith("-2"):
            await self._venue.submit(self._calls.own(BudgetLane.ORDER), f"{venue_id}-2", request.spec)
        await was(self, command, request, venue_id, error)

    was = patch.set(Submissions, "_not_accepted", not_accepted)


@bug("I5", needs="answers that are lost")
def sent_again_below_the_journal(patch: Patch) -> None:
    """What alpaca-py does: an unanswered POST is repeated, and the journal knows nothing of it."""

    async def attempt(self: Any, order_id: str, venue_id: str, request: Any, *rest: Any) -> Any:
        try:
            return await was(self, order_id, venue_id, request, *rest)
        except OutcomeUnknown:
            return await self._venue.submit(self._calls.own(BudgetLane.ORDER), venue_id, request.spec)

    was = patch.set(Submissions, "_attempt", attempt)


@bug("I4", "I5")
def sent_before_the_row(patch: Patch) -> None:
    """The request leaves first, and what came of it is journaled with the order."""
    answers: dict[str, Any] = {}

    async def record(self: Any, command: Any, request: Any, fingerprint: str, call: Any) -> Any:
        venue_id = venue_client_order_id(request.strategy_id, request.client_order_id)
        try:
            answers[venue_id] = await self._venue.submit(self._calls.own(BudgetLane.ORDER), venue_id, request.spec)
        except Exception as error:  # kept for the attempt, whatever it is
            answers[venue_id] = error
        return await was_record(self, command, request, fingerprint, call)

    async def attempt(self: Any, order_id: str, venue_id: str, *rest: Any) -> Any:
        answer = answers.pop(venue_id, None)
        if answer is None:
            return await was_attempt(self, order_id, venue_id, *rest)
        if isinstance(answer, Exception):
            raise answer
        return answer

    was_record = patch.set(Submissions, "_record", record)
    was_attempt = patch.set(Submissions, "_attempt", attempt)


@bug("I5", needs="refusals for the venue's rate limit")
def later_attempts_not_journaled(patch: Patch) -> None:
    """Only the first attempt has a row."""

    def event(self: Any, kind: OrderEventKind, order_id: str, request: Any, *rest: Any, **named: Any) -> JournalEvent:
        if named.get("attempt", 0) > 1:
            kind = OrderEventKind.RESTATED
        found: JournalEvent = was(self, kind, order_id, request, *rest, **named)
        return found

    was = patch.set(Submissions, "_event", event)


@bug("I3", needs="answers that are lost after the venue took the order")
def lost_answer_is_a_failure(patch: Patch) -> None:
    """A 504 means that the order was not taken."""

    async def not_accepted(self: Any, command: Any, request: Any, venue_id: str, error: Exception) -> None:
        if isinstance(error, OutcomeUnknown):
            refusal = OrderRejected("The venue did not answer.")
            await self._end(command, request, OrderEventKind.REJECTED, refusal)
            return
        await was(self, command, request, venue_id, error)

    was = patch.set(Submissions, "_not_accepted", not_accepted)


@bug("I3", needs="answers that are lost after the venue took the order")
def duplicate_id_is_a_reject(patch: Patch) -> None:
    """A second attempt under the same id, journaled, and the 422 that it meets is taken for the order's refusal."""

    async def not_accepted(self: Any, command: Any, request: Any, venue_id: str, error: Exception) -> None:
        if not isinstance(error, OutcomeUnknown):
            await was(self, command, request, venue_id, error)
            return
        await self._orders.record([self._event(OrderEventKind.SUBMITTED, command.order_id, request, attempt=2)])
        try:
            answer = await self._venue.submit(self._calls.own(BudgetLane.ORDER), venue_id, request.spec)
        except (OutcomeUnknown, GatewayError):
            await self._end(command, request, OrderEventKind.REJECTED, OrderRejected("The id is taken."))
        else:
            await self._accepted(command, request, venue_id, answer)

    was = patch.set(Submissions, "_not_accepted", not_accepted)


@bug("I8", needs="orders that arrive late, or requests that are lost")
def absent_at_the_first_404(patch: Patch) -> None:
    """The first lookup that finds nothing proves absence."""

    async def look(self: Any, order: Any, misses: int) -> int:
        found: int = await was(self, order, misses)
        if found > misses:
            await self._absent(order.order_id)
        return found

    was = patch.set(OutcomeResolver, "_look", look)


@bug("I8", needs="requests that are lost")
def settle_window_ignored(patch: Patch) -> None:
    """Five lookups without a find are enough, however quickly they follow."""

    async def look_until_known(self: Any, order_id: str) -> None:
        self._settle_window_s = 0.0
        await was(self, order_id)

    was = patch.set(OutcomeResolver, "_look_until_known", look_until_known)
    patch.set(outcome_resolver, "LOOKUP_DELAYS_S", (0.25,))


@bug("I7", needs="answers that are lost")
def nobody_looks_for_the_unknown(patch: Patch) -> None:
    """An order without an answer stays unknown."""
    patch.set(OutcomeResolver, "watch", lambda self, order_id: None)


@bug("I3", "I4", "I20", "I21", needs="a crash while requests are under way")
def in_flight_at_the_crash_is_not_sent(patch: Patch) -> None:
    """After a restart, an order that was being sent is said never to have been."""

    def found_open(self: Any, order: Any, now_ns: int) -> Any:
        if order.state is not OrderState.SUBMITTING:
            return was(self, order, now_ns)
        names = (order.order_id, order.strategy_id, now_ns, now_ns)
        failure = Failure("NOT_SENT", "The gateway stopped before the order was sent.", {"key": "spent"})
        return JournalEvent(OrderEventKind.NOT_SENT, *names, failure=failure)

    was = patch.set(TradingEngine, "_found_open", found_open)


@bug("I6", needs="an answer that comes after its caller was told that the order exists")
def refused_after_it_was_answered_ok(patch: Patch) -> None:
    """A reject is the key's answer even if somebody was told OK before."""

    def settle(self: Any) -> bool:
        self.settling = True
        return True

    patch.set(Command, "settle", settle)


@bug("I10", needs="keys that are used for another content")
def content_not_compared(patch: Patch) -> None:
    """The same key gives the first order, whatever is asked for."""
    patch.set(key_desk, "_matches", lambda *_: True)


@bug("I4", "I5", "I6", "I10", "I20", "I33", needs="keys that are asked again")
def key_not_looked_up(patch: Patch) -> None:
    """Every call that finds nobody running begins anew."""
    patch.set(KeyDesk, "_replay", lambda self, key, fingerprint, is_alike: None)


@bug("I33", needs="orders that are denied or refused")
def error_without_the_key(patch: Patch) -> None:
    """Refusals do not say what they mean for the key."""

    def error_of(failure: Failure, order_id: str) -> GatewayError:
        error: GatewayError = was(failure, order_id)
        error.key = None
        return error

    was = patch.set(submissions, "error_of", error_of)


@bug("I3", "I6", needs="orders that are denied, asked again")
def lost_answer_frees_the_key(patch: Patch) -> None:
    """An order without an answer is refused with its key spent, and answered OK when it is found."""

    async def unknown(self: Any, command: Any, request: Any) -> None:
        await was(self, command, request)
        error = OrderRejected("The venue did not answer.")
        error.key = KeyFate.SPENT
        raise error

    was = patch.set(Submissions, "_unknown", unknown)


@bug("I9", needs="orders that wait for a thread, a connection, or the whole process")
def valid_until_not_looked_at_right_before_the_write(patch: Patch) -> None:
    """What was in time when it was decided leaves however long it waited since."""
    patch.set(TradingStates, "check_leaving", TradingStates.check)


@bug("I9", needs="refusals for the venue's rate limit, and short lives")
def valid_until_looked_at_once(patch: Patch) -> None:
    """The instant is looked at when the order is recorded, and never again."""

    async def may_send_again(self: Any, attempts: int, error: Any, valid_until_ns: int) -> bool:
        found: bool = await was(self, attempts, error, valid_until_ns + 3_600_000_000_000)
        return found

    def too_late(self: Any, command: Any, request: Any, *rest: Any) -> None:
        return None

    was = patch.set(ErrorService, "may_send_again", may_send_again)
    patch.set(Submissions, "_too_late", too_late)
    patch.set(TradingStates, "check_leaving", TradingStates.check)
