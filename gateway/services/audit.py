"""AuditService: what operators did and what was refused to whom, told to the audit log.

Promises: an act that needs a record has it on the disk before it takes effect (`record`); what must not wait is told at
once and written right after (`note`); a flood of refusals becomes one entry a minute for each who was refused what,
with their count; what the log cannot take is told to the process log. Every minute the log's head goes there too, so
that a cut tail shows. Leaves to its callers which acts may go on although nobody can write them down: those that stop
something.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

import structlog

from gateway.domain.errors import GatewayError, JournalUnavailable
from gateway.domain.interfaces import AuditLog
from gateway.domain.models.audit import AuditAction, AuditEntry
from gateway.domain.models.identity import Token
from gateway.domain.types import format_decimal
from gateway.services.identity import Grant

NOTES_MAX: Final = 1_000
"""Entries that wait for the disk; what comes beyond is counted."""
REFUSED_KINDS_MAX: Final = 100
"""Different refusals of one kind of act told apart within a minute; the others are one entry for each reason."""
REFUSED_FLUSH_MS: Final = 60_000
TEXT_CHARACTERS_MAX: Final = 200

GATEWAY: Final = "gateway"
"""Who acts when nobody asked."""

ASKED: Final = "asked"
"""The outcome of an act that is on record before it takes effect; a second entry tells its end."""

_EVERYBODY_ELSE: Final = "others"
_FLUSH_MS: Final = 200

_log = structlog.get_logger(__name__)
Facts = Mapping[str, str]
_Refusal = tuple[str, AuditAction, str, str]


class AuditService:
    """Writes the audit log. On the event loop alone.

    Args:
        log: Where entries go.
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, as `time.monotonic`.
    """

    def __init__(self, log: AuditLog, wall: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._log = log
        self._wall = wall
        self._monotonic = monotonic
        self._notes: deque[AuditEntry] = deque()
        self._lost = 0
        self._told = 0
        self._refused: dict[_Refusal, int] = {}
        self._kinds: Counter[AuditAction] = Counter()
        self._flush_at = monotonic() + REFUSED_FLUSH_MS / 1_000
        self._writing = asyncio.Lock()

    async def record(
        self,
        actor: str,
        action: AuditAction,
        subject: str,
        detail: Mapping[str, str] | None = None,
        outcome: str = "ok",
    ) -> None:
        """Write an act down; on the disk when this returns.

        Raises:
            JournalUnavailable: It is not.
        """
        entry = self._entry(actor, action, subject, detail, outcome)
        async with self._writing:
            await self._append((entry,))

    @asynccontextmanager
    async def told(
        self, actor: str, action: AuditAction, subject: str = "", detail: Mapping[str, str] | None = None
    ) -> AsyncIterator[None]:
        """Around an act that is on record before it takes effect: what came of it is told as well.

        An act that nobody waits for any more has no end here, as its end is not known.

        Raises:
            JournalUnavailable: There is no record, and the act is not begun.
        """
        await self.record(actor, action, subject, detail, ASKED)
        try:
            yield
        except GatewayError as error:
            self.note(actor, action, subject, detail, error.reason)
            raise
        self.note(actor, action, subject, detail)

    def note(
        self,
        actor: str,
        action: AuditAction,
        subject: str,
        detail: Mapping[str, str] | None = None,
        outcome: str = "ok",
    ) -> None:
        """Tell of an act that has taken effect, or may not wait; `write_notes` writes it."""
        entry = self._entry(actor, action, subject, detail, outcome)
        if len(self._notes) >= NOTES_MAX:
            self._lost += 1
            _tell_unwritten(entry)
            return
        self._notes.append(entry)

    def count_refusal(self, actor: str, action: AuditAction, subject: str, reason: str) -> None:
        """Tell of a refusal; the first of its kind is written soon, those of the next minute as a count."""
        kind = (actor[:TEXT_CHARACTERS_MAX], action, subject[:TEXT_CHARACTERS_MAX], reason)
        if kind not in self._refused and self._kinds[action] >= REFUSED_KINDS_MAX:
            kind = (_EVERYBODY_ELSE, action, "", reason)
        if kind not in self._refused:
            self._kinds[action] += 1  # each has room of its own: a crowd of strangers hides no holder of a token
            self.note(kind[0], action, kind[2], outcome=reason)
        self._refused[kind] = self._refused.get(kind, -1) + 1

    async def write_notes(self) -> None:
        """Write what was told; for a caller that does so several times a second.

        What cannot be written waits for the next time, within its bound.
        """
        self._close_minute()
        if self._notes:
            async with self._writing:
                with suppress(JournalUnavailable):
                    await self._append(())

    async def run(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Write notes until canceled."""
        while True:
            await self.write_notes()
            await sleep(_FLUSH_MS / 1_000)

    def _close_minute(self) -> None:
        if self._monotonic() < self._flush_at:
            return
        self._flush_at = self._monotonic() + REFUSED_FLUSH_MS / 1_000
        refused, self._refused = self._refused, {}
        self._kinds.clear()
        for (actor, action, subject, reason), more in refused.items():
            if more:
                self.note(actor, action, subject, {"more_within_a_minute": str(more)}, outcome=reason)
        sequence, head = self._log.head
        _log.info("audit_head", sequence=sequence, hash=head.hex())

    async def _append(self, entries: tuple[AuditEntry, ...]) -> None:
        """Write the notes and these; the notes stay where that fails."""
        notes = self._taken()
        try:
            await self._log.append((*notes, *entries))
        except JournalUnavailable:
            self._notes.extendleft(reversed(notes))
            for entry in notes[self._told :]:
                _tell_unwritten(entry)
            self._told = len(notes)
            raise
        self._told = 0

    def _taken(self) -> list[AuditEntry]:
        entries = list(self._notes)
        self._notes.clear()
        if self._lost and entries:
            entries[-1] = replace(entries[-1], detail={**entries[-1].detail, "not_recorded": str(self._lost)})
            self._lost = 0
        return entries

    def _entry(self, actor: str, action: AuditAction, subject: str, detail: Facts | None, outcome: str) -> AuditEntry:
        facts = {name: _cut(text) for name, text in (detail or {}).items()}
        return AuditEntry(self._wall(), _cut(actor), action, _cut(subject), outcome, facts)


def _tell_unwritten(entry: AuditEntry) -> None:
    """A journal that is at fault takes no note in this process any more: the process log is all there is."""
    _log.critical(
        "audit_entry_unwritten",
        actor=entry.actor,
        action=entry.action.value,
        subject=entry.subject,
        outcome=entry.outcome,
        detail=dict(entry.detail),
    )


def _cut(text: str) -> str:
    """What fits; that there was more shows."""
    return text if len(text) <= TEXT_CHARACTERS_MAX else text[: TEXT_CHARACTERS_MAX - 1] + "…"


def facts_of(token: Token | Grant) -> dict[str, str]:
    """What a token allows, for the log."""
    cap = token.max_order_notional
    return {
        "strategy_id": token.strategy_id,
        "scopes": " ".join(sorted(token.scopes)),
        "symbols": " ".join(sorted(token.symbols)),
        "max_order_notional": "" if cap is None else format_decimal(cap),
        "networks": " ".join(map(str, token.networks)),
        "certificate": token.certificate,
    }
