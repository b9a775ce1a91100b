"""The tables that a gateway ships with fill for hours before they let go: here at once, to and beyond their plateau.

The soak keeps few of each, as an hour there would only just fill them.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.application.order_log import TAIL_EVENTS_MAX, OrderLog
from gateway.servicers.wire import order_updates, orders
from gateway.servicers.wire.order_updates import ENCODED_BYTES_MAX, StepWriter
from gateway.servicers.wire.orders import ORDER_MESSAGES_MAX
from tests.servicers.test_wire_answers import order

STRATEGIES = ("momentum", "pairs", "")
"""The last one's events are in no book but the account's."""


async def test_the_tail_of_events_stays_within_a_quarter_more_than_it_keeps() -> None:
    assert TAIL_EVENTS_MAX == 20_000
    log, told = OrderLog(SimpleNamespace(head=0, oldest=1, epoch="e")), order("order-1")  # type: ignore[arg-type]
    sequences, most = dict.fromkeys(STRATEGIES, 0), 0
    for sequence in range(1, 3 * TAIL_EVENTS_MAX + 1):
        strategy = STRATEGIES[sequence % len(STRATEGIES)]
        sequences[strategy] += 1
        event: Any = SimpleNamespace(
            sequence=sequence, strategy_id=strategy, book_sequence=sequences[strategy] if strategy else 0
        )
        log.note(event, told)
        most = max(most, len(log._account.noted))
    assert most == TAIL_EVENTS_MAX + TAIL_EVENTS_MAX // 4
    of_books = sum(len(book.noted) for book in log._books.values())
    assert of_books <= len(log._account.noted), "what left the account's book left the strategy's"
    newest = await log.read("pairs", log.head("pairs") - 3, 10)
    assert [event.sequence for event in newest] == [sequences["pairs"] - 2, sequences["pairs"] - 1, sequences["pairs"]]


def test_answers_to_orders_stay_at_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ORDER_MESSAGES_MAX == 8_192
    kept: dict[str, Any] = {}
    monkeypatch.setattr(orders, "_answers", kept)
    for number in range(ORDER_MESSAGES_MAX + 500):
        orders.order_to_proto(order(f"order-{number}"))
        assert len(kept) <= ORDER_MESSAGES_MAX
    assert len(kept) == ORDER_MESSAGES_MAX
    assert "order-499" not in kept


def test_encoded_events_stay_within_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One event of 128 KiB each: 16 MiB are 128 of them."""
    assert ENCODED_BYTES_MAX == 16 * 1024 * 1024
    body = SimpleNamespace(SerializeToString=lambda: b"\0" * (128 * 1024))
    monkeypatch.setattr(order_updates, "_event_fields", lambda event, *, shows_account: None)
    monkeypatch.setattr(order_updates.pb, "StreamOrderUpdatesResponse", lambda event: body)
    writer = StepWriter()
    for sequence in range(1, 301):
        event: Any = SimpleNamespace(event=SimpleNamespace(sequence=sequence, fill=None))
        writer._body(event, shows_account=True)
        assert sum(map(len, writer._encoded.values())) == writer._bytes <= ENCODED_BYTES_MAX
    assert next(iter(writer._encoded)) == (300 - 128 + 1, True), "the newest stay"
