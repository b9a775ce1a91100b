"""The journal in memory: gapless, chained, bounded."""

from __future__ import annotations

import pytest

from gateway.domain.models.orders import JournalEvent, OrderEventKind
from gateway.infrastructure.persistence.memory_journal import MemoryJournal


def event(order_id: str = "o") -> JournalEvent:
    return JournalEvent(OrderEventKind.WORKING, order_id, "s", 1, 1)


async def test_sequences_and_pages() -> None:
    journal = MemoryJournal()
    assert (journal.head, journal.oldest, journal.read(0, 10)) == (0, 1, ())
    assert [found.sequence for found in await journal.append([event(), event()])] == [1, 2]
    await journal.append([event()])
    assert [found.sequence for found in journal.read(0, 2)] == [1, 2]
    assert [found.sequence for found in journal.read(2, 10)] == [3]
    assert journal.read(3, 10) == ()


async def test_the_chain_binds_everything_before() -> None:
    one, other = (MemoryJournal(new_epoch=lambda: "00" * 8) for _ in range(2))
    for order_id in "abc":
        await one.append([event(order_id)])
    for order_id in "axc":
        await other.append([event(order_id)])
    assert one.chain_hash(0) == other.chain_hash(0)
    assert one.chain_hash(1) == other.chain_hash(1)
    assert one.chain_hash(2) != other.chain_hash(2)
    assert one.chain_hash(3) != other.chain_hash(3)
    assert len(one.chain_hash(3)) == 16
    with pytest.raises(KeyError):
        one.chain_hash(4)


async def test_the_oldest_go_at_the_bound() -> None:
    journal = MemoryJournal(events_max=32)
    hashes = {}
    for _ in range(100):
        await journal.append([event()])
        hashes[journal.head] = journal.chain_hash(journal.head)
        assert journal.head - journal.oldest + 1 <= 32
    assert journal.head == 100
    assert [found.sequence for found in journal.read(0, 100)] == list(range(journal.oldest, 101))
    assert journal.chain_hash(journal.oldest - 1) == hashes[journal.oldest - 1]
    with pytest.raises(KeyError):
        journal.chain_hash(journal.oldest - 2)


def test_every_life_has_its_epoch() -> None:
    assert MemoryJournal().epoch != MemoryJournal().epoch
    with pytest.raises(ValueError, match="events_max"):
        MemoryJournal(events_max=0)
