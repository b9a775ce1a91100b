"""AuditService and the audit log: what is written down, and what a changed row looks like."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.domain.errors import JournalUnavailable
from gateway.domain.models.audit import AuditAction, AuditEntry, verify
from gateway.domain.models.identity import Scope
from gateway.infrastructure.persistence.audit_log import MemoryAuditLog, SqliteAuditLog, read_audit
from gateway.infrastructure.persistence.database import Database
from gateway.services import audit as subject
from gateway.services.audit import AuditService, facts_of
from gateway.services.identity import Grant

MINT, DENY = AuditAction.TOKEN_MINT, AuditAction.PERMISSION_DENY


class FailingLog(MemoryAuditLog):
    """A log whose disk may be full."""

    is_failing = False

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        if self.is_failing:
            raise JournalUnavailable("the disk is full")
        await super().append(entries)


class Clock:
    """Seconds that tests set."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> FailingLog:
    return FailingLog()


@pytest.fixture
def audit(log: FailingLog, clock: Clock) -> AuditService:
    return AuditService(log, lambda: int(clock.now_s * 1e9), clock)


def subjects(log: MemoryAuditLog) -> list[str]:
    return [record.entry.subject for record in log.read()]


async def test_a_record_is_durable_when_it_returns_and_notes_keep_their_place(
    audit: AuditService, log: FailingLog
) -> None:
    audit.note("momentum/1", MINT, "first")
    await audit.record("operator/2", MINT, "second", {"strategy_id": "carry"})
    assert subjects(log) == ["first", "second"]
    assert verify(log.read()).fault == ""


async def test_what_cannot_be_written_is_refused_or_waits_within_its_bound(
    audit: AuditService, log: FailingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "NOTES_MAX", 2)
    log.is_failing = True
    for name in ("a", "b", "c"):
        audit.note("operator/2", MINT, name)
    with pytest.raises(JournalUnavailable):
        await audit.record("operator/2", MINT, "d")
    await audit.write_notes()
    log.is_failing = False
    await audit.write_notes()
    assert subjects(log) == ["a", "b"]
    assert [record.entry.detail for record in log.read()][-1] == {"not_recorded": "1"}


async def test_what_the_log_cannot_take_is_told_once_to_the_process_log(
    audit: AuditService, log: FailingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "NOTES_MAX", 2)
    log.is_failing = True
    with capture_logs() as lines:
        for name in "abc":
            audit.note("operator/1", AuditAction.TOKEN_REVOKE, name)
            await audit.write_notes()
        with pytest.raises(JournalUnavailable):
            await audit.record("operator/1", MINT, "d")
        log.is_failing = False
        await audit.write_notes()
    told = [line["subject"] for line in lines if line["event"] == "audit_entry_unwritten"]
    assert told == ["a", "b", "c"]
    assert subjects(log) == ["a", "b"]


async def test_a_flood_of_refusals_is_one_entry_and_a_count_a_minute(
    audit: AuditService, log: FailingLog, clock: Clock
) -> None:
    for _ in range(1_000):
        audit.count_refusal("momentum/1", DENY, "/Submit", "SCOPE_MISSING")
    await audit.write_notes()
    assert subjects(log) == ["/Submit"]
    clock.now_s += subject.REFUSED_FLUSH_MS / 1_000
    await audit.write_notes()
    assert [dict(record.entry.detail) for record in log.read()] == [{}, {"more_within_a_minute": "999"}]


async def test_many_kinds_of_refusals_are_told_as_others(
    audit: AuditService, log: FailingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "REFUSED_KINDS_MAX", 3)
    for number in range(50):
        audit.count_refusal(f"10.0.0.{number}", AuditAction.AUTHENTICATION_FAIL, "/Get", "TOKEN_INVALID")
    await audit.write_notes()
    audit.count_refusal("momentum/1", DENY, "/Submit", "SCOPE_MISSING")  # whom strangers do not hide
    await audit.write_notes()
    actors = [record.entry.actor for record in log.read()]
    assert actors == ["10.0.0.0", "10.0.0.1", "10.0.0.2", "others", "momentum/1"]


async def test_a_text_that_is_too_long_shows_that_it_was_cut(audit: AuditService, log: FailingLog) -> None:
    grant = Grant("momentum", frozenset({Scope.ORDERS_TRADE}), frozenset(f"A{number}" for number in range(1_000)))
    await audit.record("operator/1", AuditAction.TOKEN_MINT, "momentum", facts_of(grant))
    (record,) = log.read()
    symbols = record.entry.detail["symbols"]
    assert (len(symbols), symbols[-1]) == (subject.TEXT_CHARACTERS_MAX, "…")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path, 1, lambda: "00" * 16)
    yield database
    database._close_files()


def entry(number: int) -> AuditEntry:
    return AuditEntry(number, "operator/2", MINT, f"token-{number}", detail={"strategy_id": "momentum", "ü": "€"})


async def test_the_chain_goes_on_over_a_restart(database: Database, tmp_path: Path) -> None:
    await SqliteAuditLog(database).append([entry(1), entry(2)])
    again = SqliteAuditLog(database)
    await again.append([entry(3)])
    verdict = verify(again.read())
    assert (verdict.count, verdict.fault, (verdict.count, verdict.head)) == (3, "", again.head)
    assert [record.entry for record in again.read(after=2)] == [entry(3)]
    await database.close()


@pytest.mark.parametrize(
    ("change", "count", "fault"),
    [
        ("UPDATE audit SET actor = 'somebody' WHERE sequence = 2", 1, "entry 2 is not what was recorded"),
        ("UPDATE audit SET detail = '{}' WHERE sequence = 1", 0, "entry 1 is not what was recorded"),
        ("DELETE FROM audit WHERE sequence = 2", 1, "entry 2 is missing: 3 follows 1"),
        ("UPDATE audit SET hash = x'00' WHERE sequence = 3", 2, "entry 3 is not what was recorded"),
        ("UPDATE audit SET sequence = 9 WHERE sequence = 3", 2, "entry 3 is missing: 9 follows 2"),
    ],
)
async def test_a_changed_log_shows_where(database: Database, change: str, count: int, fault: str) -> None:
    log = SqliteAuditLog(database)
    await log.append([entry(number) for number in (1, 2, 3)])
    await database.close()
    connection = sqlite3.connect(database.path)
    connection.execute(change)
    verdict = verify(read_audit(connection))
    connection.close()
    assert (verdict.count, verdict.fault) == (count, fault)


async def test_a_cut_tail_shows_to_who_knows_a_later_head(database: Database) -> None:
    log = SqliteAuditLog(database)
    await log.append([entry(number) for number in (1, 2, 3)])
    head = log.head
    await database.close()
    connection = sqlite3.connect(database.path)
    connection.execute("DELETE FROM audit WHERE sequence = 3")
    verdict = verify(read_audit(connection))
    connection.close()
    assert (verdict.count, verdict.fault) == (2, "")
    assert (verdict.count, verdict.head) != head
