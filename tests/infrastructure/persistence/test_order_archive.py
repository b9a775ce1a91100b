"""The archive answers for orders whose events are gone, and forgets in the end."""

from __future__ import annotations

import pytest

from gateway.domain.models.orders import OrderEventKind
from gateway.infrastructure.persistence.order_archive import DROP_ORDERS_MAX
from tests.infrastructure.persistence.journals import Open, archived, filled
from tests.infrastructure.persistence.samples import followed, recorded


async def test_the_archive_answers_by_every_name_over_a_restart(open_journal: Open) -> None:
    journal = open_journal()
    await filled(journal, 4)
    known = archived(journal, 1)
    assert journal.archive.order("order-1") is None
    await journal.archive.put([known], 100)
    await journal.close()
    again = open_journal()
    assert again.archive.count == 1
    assert again.archive.order("order-1") == known.order
    assert again.archive.key("b", "key-1") == known.keys["key-1"]
    assert again.archive.key("b", "key-2") is None
    assert [event.order_id for event in again.replay()] == [f"order-{n}" for n in (0, 0, 2, 2, 3, 3)]
    [event] = await again.append([followed(1, OrderEventKind.RESURRECTED, "b")])
    assert [found.sequence for found in again.read_order_events(["order-1"], 99)] == [3, 4, event.sequence]
    await again.close()
    third = open_journal()
    assert [event.sequence for event in third.replay()][-1] == event.sequence


async def test_only_archived_orders_lose_their_events(open_journal: Open) -> None:
    journal = open_journal()
    await filled(journal, 10)
    hashes = [journal.chain_hash(sequence) for sequence in range(21)]
    await journal.archive.put([archived(journal, number) for number in (0, 2, 3)], 100)
    await journal.compact(9)
    await journal.close()
    again = open_journal()
    assert (again.oldest, again.head) == (9, 20)
    assert [event.sequence for event in again.read(0, 100)] == list(range(9, 21))
    assert again.chain_hash(8) == hashes[8]
    with pytest.raises(KeyError):
        again.chain_hash(7)
    kept = [event.sequence for event in again.replay() if event.sequence < 9]
    assert kept == [3, 4]  # order-1 is not archived
    assert [again.book_oldest(strategy) for strategy in "ab"] == [5, 5]
    assert [event.book_sequence for event in again.read(0, 100, "a")] == [5, 6, 7, 8, 9, 10]
    await again.append([recorded(99, "a")])
    assert again.read(10, 9, "a")[0].book_sequence == 11


async def test_a_book_keeps_its_numbers_when_all_of_it_is_gone(open_journal: Open) -> None:
    journal = open_journal()
    await journal.append([recorded(1, "rare"), followed(1, OrderEventKind.SUBMITTED, "rare")])
    await filled(journal, 5, first=10)
    await journal.archive.put([archived(journal, 1), *(archived(journal, n) for n in range(10, 15))], 100)
    await journal.compact(10_000)
    await journal.archive.drop_before(1_000)
    await journal.close()
    again = open_journal()
    [event] = await again.append([recorded(2, "rare")])
    assert (event.sequence, event.book_sequence) == (13, 3)
    assert (again.book_oldest("rare"), again.oldest) == (3, 12)
    await again.close()
    open_journal()


async def test_the_archive_forgets_in_the_end(open_journal: Open) -> None:
    journal = open_journal()
    await filled(journal, 6)
    await journal.archive.put([archived(journal, n) for n in (0, 1)], 100)
    await journal.compact(journal.head)
    await journal.archive.drop_before(100)
    assert journal.archive.count == 2
    await journal.archive.drop_before(101)
    assert (journal.archive.count, journal.archive.order("order-0"), journal.archive.key("a", "key-0")) == (
        0,
        None,
        None,
    )


async def test_it_forgets_any_number_and_never_what_an_event_is_left_of(open_journal: Open) -> None:
    journal = open_journal()
    count = DROP_ORDERS_MAX + 3
    await filled(journal, count)
    await journal.archive.put([archived(journal, n) for n in range(count)], 100)
    await journal.compact(journal.head)
    await journal.archive.drop_before(101)
    reader = journal._database.reader
    left = {row[0] for row in reader.execute("SELECT order_id FROM archive")}
    assert (
        left
        == {row[0] for row in reader.execute("SELECT order_id FROM events")}
        == {
            f"order-{count - 2}",  # the newest of its book
            f"order-{count - 1}",
        }
    )
    assert {row[0] for row in reader.execute("SELECT order_id FROM archive_keys")} == left
