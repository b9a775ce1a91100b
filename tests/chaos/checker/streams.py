"""Order streams: I15 to I19 and I21. Gapless, in the journal's order, of the right book, and every execution once."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from tests.chaos.checker.findings import Finding, Invariant
from tests.chaos.checker.histories import Message, Stream
from tests.chaos.checker.journal import ACCOUNT_BOOK, Fill, Row
from tests.chaos.checker.ledger import Execution, VenueOrder
from tests.chaos.checker.plain import ZERO
from tests.chaos.checker.records import Records

_PRICE_TOLERANCE: Final = Decimal("1e-9")


def no_gap_no_repeat(records: Records) -> Finding:
    """I15: within a stream, from a token on, and one sequence is one event for everybody who reads the book."""
    found = Finding()
    tokens = _tokens(records)
    told: dict[tuple[bool, str, int], tuple[str, str, str, int]] = {}
    for stream in records.clients.streams.values():
        is_present = stream.start_ns >= records.journal_began_ns
        position = tokens[stream.resume_token][1] if stream.resume_token in tokens else None
        for message, is_first in _events_with_start(stream):
            found.look()
            if is_first is not None:
                position = is_first if stream.start != "token" else position
            if position is not None and message.sequence != position + 1:
                found.violate(stream.stream_id, f"{stream.book}: {message.sequence} follows {position}")
            position = message.sequence
            known = told.setdefault((is_present, stream.book, message.sequence), message.identity or ("", "", "", 0))
            if known != message.identity:
                found.violate(
                    stream.stream_id, f"{stream.book} {message.sequence} is {message.identity} and was {known}"
                )
    return found


def _events_with_start(stream: Stream) -> Iterator[tuple[Message, int | None]]:
    """The events of a stream; with the first one the position that was told before it, if it was."""
    start: int | None = None
    is_first = True
    for message in stream.messages:
        if message.payload != "event":
            start = message.sequence if is_first else start
            continue
        yield message, start if is_first else None
        is_first = False


def _tokens(records: Records) -> dict[str, tuple[str, int]]:
    """Every token that was handed out: of which book, and after which sequence."""
    found: dict[str, tuple[str, int]] = {}
    for stream in records.clients.streams.values():
        for message in stream.messages:
            if message.resume_token:
                found[message.resume_token] = (stream.book, message.sequence)
    return found


def events_are_the_journals(records: Records) -> Finding:
    """I16: each event is the row of that sequence; a snapshot's orders are as of its sequence."""
    found = Finding()
    for stream in records.clients.streams.values():
        if stream.start_ns < records.journal_began_ns:
            continue
        for message in stream.messages:
            if message.payload == "event":
                row = records.row_of(stream.book, message.sequence)
                if row is not None:
                    is_same = row.identity == message.identity
                    found.expect(
                        is_same, stream.stream_id, f"{message.sequence}: {message.identity}, not {row.identity}"
                    )
                elif _is_kept(records, stream.book, message.sequence):
                    found.look()
                    found.violate(stream.stream_id, f"{stream.book} {message.sequence} is not in the journal")
        _check_snapshot(records, stream, found)
    return found


def _is_kept(records: Records, book: str, sequence: int) -> bool:
    """Whether a row that is not there should be: it is not older than what the journal keeps."""
    rows = records.journal.by_book.get(book)
    if not rows:
        return True
    return sequence > ((rows[-1].sequence if book == ACCOUNT_BOOK else rows[-1].book_sequence) or 0)


def _check_snapshot(records: Records, stream: Stream, found: Finding) -> None:
    shown = [message for message in stream.messages if message.payload == "snapshot_order"]
    for message in shown:
        order = message.order
        assert order is not None
        rows = records.rows_of_order_up_to(order.order_id, stream.book, message.sequence)
        text = f"the snapshot at {message.sequence} shows version {order.version} of {order.order_id}, not {rows}"
        found.expect(order.version == rows, stream.stream_id, text)
    for message in stream.messages:
        if message.payload == "snapshot_end" and message.count != len(shown):
            found.violate(stream.stream_id, f"a snapshot of {message.count} orders has {len(shown)}")


def only_its_own_book(records: Records) -> Finding:
    """I17: by the order that the event shows, and by the journal's owner of that order."""
    found = Finding()
    for stream in records.clients.streams.values():
        if stream.book == ACCOUNT_BOOK:
            continue
        for message in stream.messages:
            if message.order is None:
                continue
            rows = records.journal.by_order.get(message.order.order_id)
            owner = rows[0].strategy_id if rows else message.order.strategy_id
            is_own = owner == stream.book == message.order.strategy_id
            found.expect(is_own, stream.stream_id, f"{stream.book} was told of {owner}'s {message.order.order_id}")
    return found


def heartbeats_are_bookmarks(records: Records) -> Finding:
    """I18: whatever is no event repeats the sequence of the last event, so that it can be kept as a bookmark."""
    found = Finding()
    tokens = _tokens(records)
    for stream in records.clients.streams.values():
        position = tokens[stream.resume_token][1] if stream.resume_token in tokens else None
        for message in stream.messages:
            if message.payload == "event" or position is None or message.payload.startswith("snapshot"):
                position = message.sequence
            else:
                text = f"{message.payload} at {message.sequence}, delivered up to {position}"
                found.expect(message.sequence == position, stream.stream_id, text)
    return found


def resumed_exactly(records: Records) -> Finding:
    """I19: the first event after a token is the next one, no snapshot comes, and the rest is the suffix."""
    found = Finding()
    tokens = _tokens(records)
    for stream in records.clients.streams.values():
        if stream.start != "token" or stream.resume_token not in tokens:
            continue
        book, position = tokens[stream.resume_token]
        if book != stream.book:
            is_refused = not any(message.payload == "event" for message in stream.messages)
            found.expect(is_refused, stream.stream_id, f"a token of {book} was taken for {stream.book}")
            continue
        found.look()
        if any(message.payload.startswith("snapshot") for message in stream.messages):
            found.violate(stream.stream_id, "a resumed stream began with a snapshot")
        expected = position
        for message in stream.messages:
            if message.payload == "event":
                expected += 1
            if message.sequence != expected:
                found.violate(stream.stream_id, f"resumed after {position}: {message.sequence} instead of {expected}")
                break
    return found


def every_execution_once(records: Records) -> Finding:
    """I21: each execution of the venue in exactly one row of the journal, and in the owner's stream where it was read.

    A fill that the gateway made up may stand for several executions, if it begins and ends where they do.
    """
    found = Finding()
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in records.fills:
        assert row.fill is not None
        rows[row.fill.venue_order_id].append(row)
    for order in records.venue.orders.values():
        if order.executions or order.venue_order_id in rows:
            _check_executions(order, rows.get(order.venue_order_id, []), records, found)
    _check_delivery(records, found)
    return found


def _check_executions(order: VenueOrder, rows: list[Row], records: Records, found: Finding) -> None:
    is_over = records.clients.quiescent is not None
    bounds = {execution.cumulative: execution for execution in order.executions}
    told: dict[Decimal, int] = defaultdict(int)
    for row in rows:
        fill = row.fill
        assert fill is not None
        covered = [
            one for one in order.executions if fill.cumulative - fill.quantity < one.cumulative <= fill.cumulative
        ]
        for execution in covered:
            told[execution.cumulative] += 1
        if not _is_true(fill, bounds, len(covered)):
            text = f"a fill of {fill.quantity} at {fill.price} up to {fill.cumulative} was never executed so"
            found.violate(order.venue_order_id, text)
    for execution in order.executions:
        count = told[execution.cumulative]
        if count != 1 and (count or is_over):
            found.violate(order.venue_order_id, f"the execution up to {execution.cumulative} is told {count} times")
        found.look()


def _is_true(fill: Fill, bounds: dict[Decimal, Execution], covered: int) -> bool:
    """Whether a fill begins and ends where executions do, and one that the venue reported is one execution."""
    before = fill.cumulative - fill.quantity
    if fill.cumulative not in bounds or (before != ZERO and before not in bounds):
        return False
    if fill.is_synthesized:
        return True
    execution = bounds[fill.cumulative]
    return covered == 1 and abs(execution.price - fill.price) <= _PRICE_TOLERANCE


def _check_delivery(records: Records, found: Finding) -> None:
    """Every fill of a book that lies in what somebody read of it was delivered there, under one sequence."""
    delivered: dict[str, dict[tuple[str, str], set[int]]] = defaultdict(lambda: defaultdict(set))
    ranges: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for stream in records.clients.streams.values():
        if stream.start_ns < records.journal_began_ns:
            continue
        sequences = [message.sequence for message in stream.messages if message.payload == "event"]
        if sequences:
            ranges[stream.book].append((sequences[0], stream.messages[-1].sequence))
        for message in stream.messages:
            if message.identity is not None and message.identity[2]:
                delivered[stream.book][message.identity[1], message.identity[2]].add(message.sequence)
    for book, fills in delivered.items():
        for (order_id, fill_id), sequences_of in fills.items():
            if len(sequences_of) > 1:
                found.violate(order_id, f"{book}: fill {fill_id} came under {sorted(sequences_of)}")
    read = {book: _joined(spans) for book, spans in ranges.items()}
    for row in records.fills:
        for book, sequence in ((row.strategy_id, row.book_sequence), (ACCOUNT_BOOK, row.sequence)):
            if sequence is None or not _is_within(read.get(book, []), sequence):
                continue
            assert row.fill is not None
            was_told = (row.order_id, row.fill.fill_id) in delivered[book]
            found.expect(was_told, row.order_id, f"{book}: fill {row.fill.fill_id} at {sequence} was not delivered")


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers as spans that neither overlap nor touch, in order."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def _is_within(spans: list[tuple[int, int]], number: int) -> bool:
    index = bisect_right(spans, number, key=lambda span: span[0]) - 1
    return index >= 0 and number <= spans[index][1]


INVARIANTS: Final = (
    Invariant("I15", "a book's sequence is 1, 2, 3, ... without gap or repeat, also across resumes", no_gap_no_repeat),
    Invariant("I16", "a stream's events are the journal's rows of that book, in order", events_are_the_journals),
    Invariant("I17", "no stream tells of another book", only_its_own_book),
    Invariant("I18", "a heartbeat at n comes after everything up to n", heartbeats_are_bookmarks),
    Invariant("I19", "a token resumes with exactly the suffix", resumed_exactly),
    Invariant("I21", "every execution is once in the journal and once in its owner's stream", every_execution_once),
)
