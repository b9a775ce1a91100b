"""KeyDesk: one key space for submit, replace and close, and one running command per key.

Promises: the key is looked up before anything else. A known key is a read: the same content gives the order, or the
same error, again; other content is refused. A key in flight attaches to the running command, never begins another.
What a command does is its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

import structlog

from gateway.application.commands import Submitted
from gateway.application.failures import error_of, is_final_answer
from gateway.application.order_manager import OrderManager
from gateway.application.owned_tasks import OwnedTasks
from gateway.domain.errors import (
    ClientOrderIdReused,
    Draining,
    FieldInvalid,
    FieldViolation,
    GatewayError,
    JournalUnavailable,
)
from gateway.domain.models.orders import KeyEntry, Order, OrderSpec
from gateway.domain.order_lifecycle import spec_from_venue_order
from gateway.domain.types import (
    MS_PER_SECOND,
    CallContext,
    OrderClass,
    is_client_order_id,
    is_strategy_id,
    venue_client_order_id,
)

SUBMIT_WAIT_MS: Final = 2_000
ANSWER_MARGIN_MS: Final = 50
"""An answer leaves at least so long before the caller's deadline."""
_ANSWER_MARGIN_S: Final = ANSWER_MARGIN_MS / MS_PER_SECOND

_log = structlog.get_logger(__name__)


class KeyOvertaken(Exception):
    """An order under the key was met at the venue after the key had been found free: the key stands for that one.

    Attributes:
        order_id: Its id; its first row may still be on its way into the journal.
    """

    def __init__(self, order_id: str) -> None:
        super().__init__(order_id)
        self.order_id = order_id


class Command:
    """A running command, and what its callers may be told.

    Attributes:
        fingerprint: Of its content.
        wait_from: Monotonic seconds: callers wait for the venue's answer from then on.
        order_id: Known once the journal has the order; empty before.
        is_done: The venue has answered, or the command failed.
        error: How it failed.
        answered_ok: A caller was told OK before the end: what follows is a state, not an error.
        settling: The end is being recorded: nobody may be told anything else meanwhile.
    """

    __slots__ = (
        "_overdue",
        "_waiters",
        "answered_ok",
        "error",
        "fingerprint",
        "is_done",
        "order_id",
        "settling",
        "wait_from",
    )

    def __init__(self, fingerprint: str, wait_from: float, *, answered_ok: bool = False) -> None:
        self.fingerprint = fingerprint
        self.wait_from = wait_from
        self.order_id = ""
        self.is_done = False
        self.error: Exception | None = None
        self.answered_ok = answered_ok
        self.settling = False
        self._waiters: list[asyncio.Future[None]] = []
        self._overdue: list[asyncio.Future[None]] = []

    def mark_recorded(self, order_id: str) -> None:
        """The journal has it: from now on callers may be told its state, and those whose time is over are."""
        self.order_id = order_id
        self._overdue = _released(self._overdue)

    def settle(self) -> bool:
        """Begin to record the end; whether it is the answer to the key."""
        self.settling = True
        return not self.answered_ok

    def finish(self, error: Exception | None = None) -> None:
        """Tell every caller."""
        self.is_done = True
        self.error = error
        self._wake()

    async def ended(self, timeout_s: float) -> None:
        """Wait until it is done, or so long."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(timeout_s, _release, waiter)
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            timer.cancel()

    async def moved(self) -> None:
        """Wait until it is recorded or done, however long."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._overdue.append(waiter)
        await waiter

    def _wake(self) -> None:
        self._waiters = _released(self._waiters)
        self._overdue = _released(self._overdue)


Work = Callable[[Command], Coroutine[Any, Any, None]]


class KeyDesk:
    """Admits commands by key.

    Args:
        monotonic: Seconds, as `time.monotonic`.
        submit_wait_ms: How long a caller waits for the venue before it is told the state.
    """

    def __init__(
        self,
        orders: OrderManager,
        tasks: OwnedTasks,
        monotonic: Callable[[], float],
        submit_wait_ms: int = SUBMIT_WAIT_MS,
    ) -> None:
        self._orders = orders
        self._tasks = tasks
        self._monotonic = monotonic
        self._submit_wait_s = submit_wait_ms / MS_PER_SECOND
        self._running: dict[tuple[str, str], Command] = {}

    def check_key(self, strategy_id: str, client_order_id: str) -> None:
        """Refuse what can be no key.

        Raises:
            FieldInvalid: Naming the field.
        """
        if not is_client_order_id(client_order_id):
            raise _invalid("client_order_id", "must be 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit")
        if not is_strategy_id(strategy_id):
            raise _invalid("strategy_id", "is not the name of a strategy")

    def check_free(self, key: tuple[str, str]) -> None:
        """Refuse a key that stands for something, for a command that names nothing it could be compared with.

        Raises:
            ClientOrderIdReused: The key is known, or in flight.
        """
        if key in self._running or self._orders.key(*key) is not None:
            raise ClientOrderIdReused("The key belongs to another request.")

    async def run(
        self,
        key: tuple[str, str],
        fingerprint: str,
        call: CallContext,
        work: Work,
        *,
        is_alike: Callable[[OrderSpec], bool],
        door: Callable[[], None],
    ) -> Submitted:
        """Answer a known key, attach to a running one, or begin.

        Args:
            key: Strategy and client_order_id.
            fingerprint: Of the content.
            call: Whose deadline bounds the wait.
            work: Begun for a new key. It raises what the callers are to be told, or KeyOvertaken before it recorded
                anything.
            is_alike: Compares with an order of which only the venue's word is known: an earlier life sent it.
            door: Raises what keeps a new command out; not asked for a known key.
        """
        self.check_key(*key)
        command = self._running.get(key)
        if command is not None:
            if command.fingerprint != fingerprint:
                raise ClientOrderIdReused("The key belongs to another request, which is in flight.")
            return await self._wait(command, call, replayed=True)
        known = self._replay(key, fingerprint, is_alike)
        if known is not None:
            return known
        door()
        self._tasks.check_room()
        command = Command(fingerprint, self._monotonic())
        self._running[key] = command
        self._tasks.spawn(self._perform(key, command, self._or_replay(key, command, work, is_alike)))
        return await self._wait(command, call, replayed=False)

    def _replay(
        self, key: tuple[str, str], fingerprint: str, is_alike: Callable[[OrderSpec], bool]
    ) -> Submitted | None:
        entry = self._orders.key(*key)
        if entry is None:
            return None
        order = self._orders.order(entry.order_id)
        if not _matches(order, key[1], entry, fingerprint, is_alike):
            raise ClientOrderIdReused("The key belongs to another request.", metadata={"order_id": order.order_id})
        failure = entry.failure if entry.failure is not None else order.failure
        if failure is not None and is_final_answer(failure):
            raise error_of(failure, order.order_id)
        return Submitted(order, replayed=True)

    async def _or_replay(
        self, key: tuple[str, str], command: Command, work: Work, is_alike: Callable[[OrderSpec], bool]
    ) -> None:
        """The work, unless somebody else's order has the key by then."""
        try:
            await work(command)
        except KeyOvertaken as overtaken:
            await self._orders.begun(overtaken.order_id)
            known = self._replay(key, command.fingerprint, is_alike)
            if known is None:
                raise JournalUnavailable("The journal could not take what holds the key; nothing was sent.") from None
            command.mark_recorded(known.order.order_id)

    async def _perform(self, key: tuple[str, str], command: Command, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
            command.finish()
        except Exception as error:
            is_recorded = bool(command.order_id) and isinstance(error, JournalUnavailable)
            if is_recorded and command.settling and not command.answered_ok:
                # The key's answer may be on the disk or not: only the next life can read it. Until then nobody is
                # told anything, whoever asks: the command stays where it is.
                command.finish(_unsure())
            else:
                # What is recorded may be at the venue, or will be looked for: the key is anything but free.
                command.finish(None if is_recorded else error)  # every caller is told, whatever it is
            if is_recorded:
                _log.error("end_unrecorded", order_id=command.order_id)
            elif not isinstance(error, GatewayError):
                _log.exception("command_failed", order_id=command.order_id)
        finally:
            if not command.is_done:  # canceled at the very end of a shutdown: what is recorded may be on the wire
                command.finish(None if command.order_id else Draining("The gateway is shutting down."))
            if not isinstance(command.error, JournalUnavailable) or command.error.key is not None:
                del self._running[key]

    async def _wait(self, command: Command, call: CallContext, *, replayed: bool) -> Submitted:
        while not command.is_done:
            until = min(command.wait_from + self._submit_wait_s, call.deadline - _ANSWER_MARGIN_S)
            left_s = until - self._monotonic()
            if left_s > 0:
                await command.ended(left_s)
            elif command.settling or not command.order_id:
                await command.moved()
            else:
                command.answered_ok = True
                return Submitted(self._orders.order(command.order_id), replayed)
        if command.error is not None:
            raise command.error
        return Submitted(self._orders.order(command.order_id), replayed)


def _matches(
    order: Order, client_order_id: str, entry: KeyEntry, fingerprint: str, is_alike: Callable[[OrderSpec], bool]
) -> bool:
    if entry.fingerprint:
        return entry.fingerprint == fingerprint
    sent = _sent_under(order, client_order_id)
    return sent is not None and is_alike(sent)


def _sent_under(order: Order, client_order_id: str) -> OrderSpec | None:
    """What the venue was sent under a key of an order, as far as the venue knows it; None when it knows none."""
    venue_id = venue_client_order_id(order.strategy_id, client_order_id)
    sent = next((known for known in order.venue_orders if known.venue_client_order_id == venue_id), None)
    if sent is None:
        return None
    legs: dict[str, Any] = {"take_profit": order.spec.take_profit, "stop_loss": order.spec.stop_loss}
    if order.spec.order_class is OrderClass.OCO:
        legs["limit_price"] = None
    return replace(spec_from_venue_order(sent), **legs)


def _unsure() -> JournalUnavailable:
    """Says nothing about the key: ask again, with the same one."""
    error = JournalUnavailable("The journal could not take the end of the order; ask again with the same key.")
    error.key = None
    return error


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _released(waiters: list[asyncio.Future[None]]) -> list[asyncio.Future[None]]:
    """Release them all; the list that takes their place."""
    for waiter in waiters:
        _release(waiter)
    return []


def _invalid(field_name: str, description: str) -> FieldInvalid:
    return FieldInvalid(f"{field_name} {description}.", violations=[FieldViolation(field_name, description)])
