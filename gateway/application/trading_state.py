"""TradingStates: the one owner of the account's mode: ACTIVE, REDUCING, HALTED or KILLED.

Promises: a mode is durable before it takes effect; to tighten it takes one call, without a version, as often as one
likes; to loosen it takes a reason and the version that was seen, and no file KILL. Where the store cannot record,
tightening takes effect all the same, at once, and says that a restart would forget it: stopping must never depend on
a disk. A kill is then kept by the file KILL, if at least that can be made. What was admitted before a stop never leaves
after it, not even when trading goes on again. What a kill does to open orders is left to `kill_switch`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from gateway.application.owned_tasks import OwnedTasks
from gateway.domain.errors import (
    ExpiredUnsent,
    FieldInvalid,
    FieldViolation,
    GatewayError,
    JournalUnavailable,
    KillFilePresent,
    OrderRejected,
    TradingHalted,
    TradingReducing,
    VenueAuthentication,
    VersionMismatch,
)
from gateway.domain.interfaces import TradingStateStore
from gateway.domain.models.risk import Clearance, TradingMode, TradingState
from gateway.domain.types import MS_PER_SECOND

STORE_WAIT_MS: Final = 500
"""A store that has not recorded a tighter mode by then is not waited for."""
_BLOCKED_MESSAGES: Final = (
    "trading is blocked",
    "account is blocked",
    "account blocked",
    "account is restricted",
    "account is not authorized",
)
"""What a 403 says about the account; every other one is about the order."""

_log = structlog.get_logger(__name__)


class TradingStates:
    """The account's mode.

    Args:
        store: Where it is kept; read when this is made.
        tasks: See a change to its end when its caller goes away.
        wall: Nanoseconds since the Unix epoch.
        is_kill_wanted: Whether the file KILL is there; while it is, nothing is loosened.
        keep_kill: Makes that file, and says whether it is there; on a thread, because it may block.
    """

    def __init__(
        self,
        store: TradingStateStore,
        tasks: OwnedTasks,
        wall: Callable[[], int],
        is_kill_wanted: Callable[[], bool] = lambda: False,
        keep_kill: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._wall = wall
        self._is_kill_wanted = is_kill_wanted
        self._keep_kill = keep_kill
        self._state = store.current()
        self._is_unsaved = False
        self._tightened = 0
        self._halted = 0
        self._recording = asyncio.Lock()
        self._listeners: list[Callable[[TradingState], None]] = []

    @property
    def current(self) -> TradingState:
        """What is in effect."""
        return self._state

    @property
    def mode(self) -> TradingMode:
        """What is in effect."""
        return self._state.mode

    @property
    def is_killed(self) -> bool:
        """Whether everything open is being canceled."""
        return self._state.mode is TradingMode.KILLED

    def add_listener(self, listener: Callable[[TradingState], None]) -> None:
        """Tell somebody of every change, when it is in effect; it must neither block nor raise."""
        self._listeners.append(listener)

    # Questions: may it go?

    def check_door(self) -> None:
        """Refuse a new command while nothing may be sent, whatever it is.

        Raises:
            TradingHalted: HALTED or KILLED.
        """
        if not self._state.mode.lets_through(is_reduction=True):
            raise self._refusal(self._state.mode)

    def admit(self, *, is_reduction: bool, valid_until_ns: int | None = None) -> Clearance:
        """Let a checked order in; what it gets is shown again before it leaves.

        Raises:
            TradingHalted, TradingReducing: Nothing is stored.
        """
        clearance = Clearance(is_reduction, self._stops(is_reduction=is_reduction), valid_until_ns)
        self.check(clearance)
        return clearance

    def check(self, clearance: Clearance | None) -> None:
        """Refuse what may not leave any more; without a clearance as what enlarges a position. From any thread.

        Raises:
            TradingHalted, TradingReducing: The mode forbids it, or did since it was admitted.
        """
        is_reduction = clearance is not None and clearance.is_reduction
        mode = self._state.mode
        if not mode.lets_through(is_reduction=is_reduction):
            raise self._refusal(mode)
        if clearance is not None and clearance.stops != self._stops(is_reduction=is_reduction):
            raise TradingHalted("Trading was stopped after this was admitted.", metadata={"trading_mode": mode.name})

    def check_leaving(self, clearance: Clearance | None) -> None:
        """The same right before the first byte: it may have waited, and so may this whole process. From any thread.

        Raises:
            TradingHalted, TradingReducing: As `check`.
            ExpiredUnsent: It is too late.
        """
        self.check(clearance)
        valid_until_ns = None if clearance is None else clearance.valid_until_ns
        if valid_until_ns is not None and self._wall() >= valid_until_ns:
            raise ExpiredUnsent("valid_until passed before it could be sent.")

    # Changes.

    async def set(
        self,
        mode: TradingMode,
        reason: str,
        set_by: str,
        *,
        expected_version: int | None = None,
        automatic: bool = False,
    ) -> TradingState:
        """Enter a mode; the state that is then in effect. The caller may go away meanwhile.

        Args:
            mode: The one wanted.
            reason: For people; required to loosen.
            set_by: Who wants it.
            expected_version: Of the state seen; required to loosen, and not looked at to tighten: a stop never fails.
            automatic: The gateway wants it by itself.

        Raises:
            FieldInvalid: Loosening without a reason or a version.
            VersionMismatch: Another state is in effect.
            KillFilePresent: Loosening while the file KILL is there.
            JournalUnavailable: A looser mode was not recorded, and is not in effect. A tighter one IS in effect and was
                not recorded: metadata has `in_effect`.
        """
        wanted = TradingState(mode, reason, set_by, automatic)
        is_tighter = mode.severity >= self._state.mode.severity
        work = self._tighten(wanted) if is_tighter else self._loosen(wanted, expected_version)
        return await self._tasks.see_through(work)

    def note_refusal(self, error: BaseException) -> None:
        """The venue would not take a change: stop sending where it says that no other will fare better.

        That is a refusal of the credentials or of the account, and a redirect, which means a wrong address. Cancels
        are still tried. Only people let it go on.
        """
        why = _why_to_halt(error)
        if why and self._state.mode.severity < TradingMode.HALTED.severity:
            self._tasks.spawn(self.set(TradingMode.HALTED, why, "venue", automatic=True))

    async def _tighten(self, wanted: TradingState) -> TradingState:
        if wanted.mode is self._state.mode and not self._is_unsaved:
            return self._state
        recorded = self._tasks.spawn(self._record_tighter(wanted))
        await asyncio.wait((recorded,), timeout=STORE_WAIT_MS / MS_PER_SECOND)
        if recorded.done() and recorded.exception() is None:
            return recorded.result()
        if wanted.mode.severity > self._state.mode.severity:
            unsaved = replace(wanted, set_time_ns=self._wall(), version=self._state.version + 1)
            self._enter(unsaved, is_unsaved=True)
        is_kept = wanted.mode is TradingMode.KILLED and await self._is_kept_by_file()
        then = (
            "it is kept by the file KILL in the data directory"
            if is_kept
            else "a restart of the gateway would forget it"
        )
        raise JournalUnavailable(
            f"Trading is {self._state.mode.name}, in effect at once; but this could not be recorded, and {then}.",
            metadata={"in_effect": "true", "trading_mode": self._state.mode.name},
        )

    async def _is_kept_by_file(self) -> bool:
        """Have the file KILL tell the next life; a disk that hangs is not waited for."""
        if self._is_kill_wanted():
            return True
        made = self._tasks.spawn(asyncio.to_thread(self._keep_kill))
        await asyncio.wait((made,), timeout=STORE_WAIT_MS / MS_PER_SECOND)
        is_kept = made.done() and made.exception() is None and made.result()
        _log.critical("kill_kept_by_file", is_kept=is_kept)
        return is_kept

    async def _record_tighter(self, wanted: TradingState) -> TradingState:
        async with self._recording:
            kept = self._store.current()
            if kept.mode.severity >= wanted.mode.severity:
                return self._state  # somebody else was faster
            state = await self._append(wanted)
            if self._state.mode.severity <= state.mode.severity:
                self._enter(state, is_unsaved=False)
            return self._state

    async def _loosen(self, wanted: TradingState, expected_version: int | None) -> TradingState:
        _check_loosening(wanted, expected_version)
        async with self._recording:
            if self._is_kill_wanted():
                raise KillFilePresent(
                    "The file KILL in the data directory keeps trading KILLED: remove it, then set the mode.",
                    metadata={"trading_mode": self._state.mode.name},
                )
            if expected_version != self._state.version:
                raise VersionMismatch(
                    "The trading state has another version: read it, then decide.",
                    metadata={"version": str(self._state.version)},
                )
            before = self._state
            if self._is_unsaved:
                kept = await self._append(before)
                if self._state is not before:
                    return self._state  # a stop overtook it, and stays
                before = self._state = kept
                self._is_unsaved = False
            state = await self._append(wanted)
            if self._state is before:  # else a stop overtook it, and stays
                self._enter(state, is_unsaved=False)
            return self._state

    async def _append(self, wanted: TradingState) -> TradingState:
        state = replace(wanted, set_time_ns=self._wall(), version=self._store.current().version + 1)
        await self._store.append(state)
        return state

    def _enter(self, state: TradingState, *, is_unsaved: bool) -> None:
        if state.mode.severity > self._state.mode.severity:
            self._tightened += 1
            self._halted += state.mode.severity >= TradingMode.HALTED.severity
        self._state = state
        self._is_unsaved = is_unsaved
        _log.critical(
            "trading_state",
            mode=state.mode.name,
            reason=state.reason,
            set_by=state.set_by,
            automatic=state.automatic,
            version=state.version,
            durable=not is_unsaved,
        )
        for listener in self._listeners:
            listener(state)

    def _stops(self, *, is_reduction: bool) -> int:
        return self._halted if is_reduction else self._tightened

    def _refusal(self, mode: TradingMode) -> GatewayError:
        metadata = {"trading_mode": mode.name}
        if mode is TradingMode.REDUCING:
            return TradingReducing("Only orders that reduce a position pass.", metadata=metadata)
        return TradingHalted(f"Trading is {mode.name}; cancels pass.", metadata=metadata)


def _check_loosening(wanted: TradingState, expected_version: int | None) -> None:
    violations = []
    if not wanted.reason.strip():
        violations.append(FieldViolation("reason", "is required to loosen"))
    if expected_version is None:
        violations.append(FieldViolation("expected_version", "is required to loosen: there is no blind resume"))
    if violations:
        raise FieldInvalid.of(violations)


def _why_to_halt(error: BaseException) -> str:
    """Why no other order will fare better; empty when the refusal is about this one."""
    if isinstance(error, VenueAuthentication):
        return "The venue refuses the gateway's credentials."
    if not isinstance(error, OrderRejected):
        return ""
    status, message = error.metadata.get("venue_http_status", ""), error.metadata.get("venue_message", "").lower()
    if status.startswith("3"):
        return "The venue redirects elsewhere: its address is wrong."
    if status == "403" and any(text in message for text in _BLOCKED_MESSAGES):
        return "The venue has blocked trading for this account."
    return ""
