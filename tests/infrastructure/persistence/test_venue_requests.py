"""What went over the wire about orders: kept with the journal's own commits, and gone with the orders' events."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.domain.models.orders import OrderEventKind
from gateway.domain.venue_requests import EVERY_ORDER, VenueRequest
from gateway.infrastructure.persistence import venue_requests as module
from gateway.infrastructure.persistence.database import back_up
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from gateway.infrastructure.persistence.order_journal import SqliteOrderJournal
from tests.infrastructure.persistence.journals import archived, opened
from tests.infrastructure.persistence.samples import followed, recorded


def a_request(order_id: str, number: int, method: str = "POST") -> VenueRequest:
    return VenueRequest(
        order_id, method, "/v2/orders", None if number == 3 else number, number + 5, 200, f"id-{number}"
    )


def kept(journal: SqliteOrderJournal | MemoryJournal, order_id: str, limit: int = 99) -> list[str]:
    return [request.venue_request_id for _, request in journal.requests.read(order_id, limit)]


async def test_a_request_is_written_with_the_event_that_follows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_DELAY_MS", 3_600_000)
    journal = opened(tmp_path)
    journal.requests.note(a_request("order-1", 1))
    journal.requests.note(a_request("order-2", 2))
    assert kept(journal, "order-1") == ["id-1"], "it is known before it is on the disk"
    count = "SELECT count(*) FROM venue_requests"
    assert journal._database.reader.execute(count).fetchone() == (0,)
    await journal.append([recorded(1)])
    assert journal._database.reader.execute(count).fetchone() == (2,)
    assert (kept(journal, "order-1"), kept(journal, "order-2")) == (["id-1"], ["id-2"])
    assert (journal.head, len(journal.read(0, 9))) == (1, 1), "it has no place in the books"
    await journal.close()
    again = opened(tmp_path)
    assert [request for _, request in again.requests.read("order-1", 9)] == [a_request("order-1", 1)]
    await again.close()


async def test_a_request_that_no_event_follows_is_written_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path)
    is_written = asyncio.Event()
    monkeypatch.setattr(journal.requests, "taken", is_written.set)
    journal.requests.note(a_request("order-1", 3))
    async with asyncio.timeout(10):
        await is_written.wait()
    assert journal._database.reader.execute("SELECT count(*) FROM venue_requests").fetchone() == (1,)
    journal.requests._leaving = []
    assert [request for _, request in journal.requests.read("order-1", 9)] == [a_request("order-1", 3)]
    await journal.close()


async def test_what_waits_is_written_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_DELAY_MS", 3_600_000)
    journal = opened(tmp_path)
    journal.requests.note(a_request("order-1", 1))
    await journal.close()
    again = opened(tmp_path)
    assert kept(again, "order-1") == ["id-1"]
    await again.close()


@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_pages_go_back_from_the_newest_whatever_is_on_the_disk(tmp_path: Path, kind: str) -> None:
    journal = opened(tmp_path) if kind == "file" else MemoryJournal()
    for number in range(20):
        journal.requests.note(a_request(f"order-{number % 2}", number))
        if number == 9:
            await journal.append([recorded(1)])
    found: list[str] = []
    before: int | None = None
    while page := journal.requests.read("order-1", 3, before):
        found += [request.venue_request_id for _, request in page]
        before = page[-1][0]
    assert found == [f"id-{number}" for number in range(19, 0, -2)]
    assert kept(journal, "order-1", 4) == found[:4]
    await journal.close()


async def test_they_go_with_the_events_of_archived_orders(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(4):
        await journal.append([recorded(number), followed(number, OrderEventKind.SUBMITTED)])
        journal.requests.note(a_request(f"order-{number}", number))
    journal.requests.note(a_request(EVERY_ORDER, 50, "DELETE"))
    await journal.append([recorded(4)])
    journal.requests.note(a_request("order-4", 4))
    await journal.archive.put([archived(journal, number) for number in (0, 1)], now_ns=1)
    await journal.compact(4)
    assert [kept(journal, f"order-{number}") for number in range(5)] == [[], ["id-1"], ["id-2"], ["id-3"], ["id-4"]], (
        "of an order that may change everything stays, of an archived one what is not older than its events"
    )
    assert kept(journal, EVERY_ORDER) == ["id-50"]
    await journal.archive.put([archived(journal, 1)], now_ns=1)
    await journal.compact(9)
    assert [kept(journal, f"order-{number}") for number in range(5)] == [[], [], ["id-2"], ["id-3"], ["id-4"]]
    assert kept(journal, EVERY_ORDER) == []
    await journal.close()


async def test_their_number_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUESTS_MAX", 10)
    monkeypatch.setattr(module, "_TRIM_EVERY", 4)
    journal = opened(tmp_path)
    for number in range(40):
        journal.requests.note(a_request("order-1", number))
        await journal.append([recorded(number)])
    newest = [f"id-{number}" for number in range(39, -1, -1)]
    assert kept(journal, "order-1") == newest[: len(kept(journal, "order-1"))]
    assert 10 <= len(kept(journal, "order-1")) <= 10 + 4
    await journal.close()


async def test_what_the_disk_has_no_time_for_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 3)
    journal = opened(tmp_path)
    for number in range(9):
        journal.requests.note(a_request("order-1", number))
    assert kept(journal, "order-1") == ["id-2", "id-1", "id-0"]
    await journal.close()


async def test_a_journal_that_records_no_more_keeps_none(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal._database.latch("broken")
    journal.requests.note(a_request("order-1", 1))
    assert kept(journal, "order-1") == []
    await journal.close()


async def test_a_back_up_has_them(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.requests.note(a_request("order-1", 1))
    await journal.append([recorded(1)])
    (tmp_path / "copy").mkdir()
    assert back_up(tmp_path, tmp_path / "copy" / "journal.sqlite3") == 1
    copy = opened(tmp_path / "copy")
    assert kept(copy, "order-1") == ["id-1"]
    await copy.close()
    await journal.close()
