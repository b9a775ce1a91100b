"""J1 and the files behind the restart figures: the journal alone, written as the engine writes it."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from gateway.application.order_manager import order_id_of
from gateway.application.resume_tokens import Book, write_token
from gateway.cli.runtime import run, settle_collector
from gateway.domain.models.orders import JournalEvent, OrderEventKind, OrderRequest, OrderSpec, VenueOrder
from gateway.domain.types import AssetClass, OrderSide, OrderType, TimeInForce
from gateway.infrastructure.persistence.database import Database
from gateway.infrastructure.persistence.memory_journal import random_epoch
from gateway.infrastructure.persistence.order_journal import SqliteOrderJournal
from tests.bench.ratios import Ratio

TASKS: Final = 64
SLICE_S: Final = 0.5
BLOCK: Final = b"x" * 4096
EVENTS_PER_PAST_ORDER: Final = 5
STRATEGY: Final = "default"
SPEC: Final = OrderSpec(
    "AAPL", OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY, quantity=Decimal(1), limit_price=Decimal("1")
)


def j1(times: int) -> Ratio:
    """Orders whose SUBMITTED event was awaited a second, 64 tasks, against appends of 4 KiB with an fdatasync."""
    ratio = Ratio("J1 journal", "orders/s", "4 KiB append + fdatasync/s", 10, "per_second")
    with tempfile.TemporaryDirectory() as folder:
        run(_measure(Path(folder), ratio, times))
    return ratio


async def _measure(folder: Path, ratio: Ratio, times: int) -> None:
    journal = SqliteOrderJournal(Database(folder, time.time_ns(), random_epoch))
    settle_collector()
    numbers = itertools.count(1)
    for _ in range(times):
        orders = await _orders_per_second(journal, numbers)
        ratio.pairs.append(({"per_second": orders}, {"per_second": _appends_per_second(folder)}))
    await journal.close()


async def _orders_per_second(journal: SqliteOrderJournal, numbers: Any) -> float:
    count = 0
    began = time.monotonic()
    until = began + SLICE_S

    async def submit() -> None:
        nonlocal count
        while time.monotonic() < until:
            await journal.append(_begun(f"key-{next(numbers)}"))
            count += 1

    await asyncio.gather(*(submit() for _ in range(TASKS)))
    return count / (time.monotonic() - began)


def _appends_per_second(folder: Path) -> float:
    path, count = folder / "blocks", 0
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    began = time.monotonic()
    while time.monotonic() < began + SLICE_S:
        os.write(descriptor, BLOCK)
        os.fdatasync(descriptor)
        count += 1
    took_s = time.monotonic() - began
    os.close(descriptor)
    path.unlink()
    return count / took_s


def write_past(folder: Path, orders: int) -> str:
    """Orders that were canceled long ago, five events each; a resume token from before the second event."""
    return run(_write_past(folder, orders))


async def _write_past(folder: Path, orders: int) -> str:
    journal = SqliteOrderJournal(Database(folder, time.time_ns(), random_epoch))
    for start in range(0, orders, TASKS):
        events = [event for number in range(start, min(orders, start + TASKS)) for event in _whole_order(number)]
        await journal.append(events)
    token = write_token(Book(STRATEGY), journal.epoch, 1, journal.chain_hash(1)[:8])
    await journal.close()
    return token


def _begun(key: str) -> list[JournalEvent]:
    """What the engine records before an order leaves."""
    now_ns = time.time_ns()
    order_id = order_id_of(f"{STRATEGY}.{key}")
    request = OrderRequest(STRATEGY, key, SPEC, now_ns)
    return [
        JournalEvent(
            OrderEventKind.RECORDED, order_id, STRATEGY, now_ns, now_ns, request=request, fingerprint="0123abcd" * 8
        ),
        JournalEvent(OrderEventKind.SUBMITTED, order_id, STRATEGY, now_ns, now_ns, attempt=1),
    ]


def _whole_order(number: int) -> list[JournalEvent]:
    begun = _begun(f"past-{number}")
    now_ns, order_id = begun[0].record_time_ns, begun[0].order_id
    working, canceled = (_at_venue(number, status, now_ns) for status in ("new", "canceled"))
    later = (
        (OrderEventKind.WORKING, working),
        (OrderEventKind.CANCEL_REQUESTED, None),
        (OrderEventKind.CANCELED, canceled),
    )
    return [
        *begun,
        *(JournalEvent(kind, order_id, STRATEGY, now_ns, now_ns, venue_order=report) for kind, report in later),
    ]


def _at_venue(number: int, status: str, now_ns: int) -> VenueOrder:
    return VenueOrder(
        f"00000000-0000-4000-8000-{number:012}",
        f"{STRATEGY}.past-{number}",
        status,
        SPEC.symbol,
        AssetClass.US_EQUITY,
        SPEC.side,
        SPEC.order_type,
        SPEC.time_in_force,
        quantity=SPEC.quantity,
        limit_price=SPEC.limit_price,
        create_time_ns=now_ns,
        submit_time_ns=now_ns,
        update_time_ns=now_ns,
        cancel_time_ns=now_ns if status == "canceled" else None,
    )
