"""Journals of a few orders, in a folder of a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.domain.models.orders import ArchivedOrder, KeyEntry, Order, OrderEventKind
from gateway.domain.order_lifecycle import apply
from gateway.infrastructure.persistence.database import Database
from gateway.infrastructure.persistence.order_journal import SqliteOrderJournal
from tests.infrastructure.persistence.samples import followed, recorded

EPOCH = "0123456789abcdef"
Open = Callable[[], SqliteOrderJournal]


def opened(folder: Path, epoch: str = EPOCH) -> SqliteOrderJournal:
    return SqliteOrderJournal(Database(folder, 1, lambda: epoch))


async def filled(journal: SqliteOrderJournal, orders: int, first: int = 0) -> None:
    """Orders with two events each, of two strategies in turn."""
    for number in range(first, first + orders):
        strategy = ("a", "b")[number % 2]
        await journal.append([recorded(number, strategy, number + 1)])
        await journal.append([followed(number, OrderEventKind.SUBMITTED, strategy, number + 1)])


def archived(journal: SqliteOrderJournal, number: int) -> ArchivedOrder:
    order: Order | None = None
    last = 0
    for event in journal.read_order_events([f"order-{number}"], journal.head):
        order, last = apply(order, event), event.sequence
    assert order is not None
    return ArchivedOrder(order, {order.client_order_id: KeyEntry(order.order_id, "f" * 64)}, last)
