"""What the rooms above need of the journal: the record of everything that happened to orders, and where they go then.

`interfaces` names both again, beside what else is needed of the outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from gateway.domain.models.orders import ArchivedOrder, JournalEvent, KeyEntry, Order
from gateway.domain.venue_requests import VenueRequestLog


class OrderArchive(Protocol):
    """Orders that can change no more and have left memory, by every name they have."""

    @property
    def count(self) -> int:
        """Orders in it."""
        ...

    async def put(self, orders: Sequence[ArchivedOrder], now_ns: int) -> None:
        """Take orders in, or anew; durable when this returns.

        Raises:
            JournalUnavailable: They stay where they are.
        """
        ...

    async def drop_before(self, time_ns: int) -> None:
        """Forget orders that were taken in before an instant, unless an event of theirs is still kept."""
        ...

    def order(self, order_id: str) -> Order | None:
        """One order by its id."""
        ...

    def key(self, strategy_id: str, client_order_id: str) -> KeyEntry | None:
        """What a key stands for."""
        ...

    def order_id_at_venue(self, venue_order_id: str) -> str | None:
        """The order that a venue order stands for."""
        ...

    def created(
        self,
        strategy_id: str | None,
        after: tuple[int, str],
        before: tuple[int, str],
        limit: int,
        *,
        oldest_first: bool,
    ) -> Sequence[Order]:
        """The first orders of a strategy, or of all, between two stamps (creation in ns, order id), both excluded."""
        ...


class OrderJournal(Protocol):
    """The append-only record of everything that happened to orders. Nothing leaves for the venue without it."""

    @property
    def archive(self) -> OrderArchive:
        """Where orders go that leave memory."""
        ...

    @property
    def requests(self) -> VenueRequestLog:
        """What went over the wire about orders."""
        ...

    @property
    def epoch(self) -> str:
        """The random id of this life of the journal; in memory, a new one after a restart."""
        ...

    @property
    def head(self) -> int:
        """The sequence of the newest event; 0 when there is none."""
        ...

    @property
    def oldest(self) -> int:
        """The sequence of the oldest event that can still be told; head + 1 when there is none."""
        ...

    @property
    def fault(self) -> str:
        """Why nothing can be recorded for the rest of this process' life; empty while it can."""
        ...

    def add_fault_listener(self, listener: Callable[[str], None]) -> None:
        """Tell somebody, once, on the event loop, when recording ends; it must neither block nor raise."""
        ...

    async def append(
        self, events: Sequence[JournalEvent], then: Callable[[JournalEvent], object] | None = None
    ) -> tuple[JournalEvent, ...]:
        """Record events together, all or none, and return them with their sequences; durable when this returns.

        Args:
            events: Not appended before.
            then: Called with each event once it is durable, in the order of the sequences over all calls, also when
                the caller has gone meanwhile. Must not raise.

        Raises:
            JournalUnavailable: Nothing may be sent; `fault` says whether that is for good.
        """
        ...

    def read(self, after: int, limit: int, strategy_id: str | None = None) -> tuple[JournalEvent, ...]:
        """At most `limit` events of a book with a sequence in it greater than `after`, in order; None: the account's.

        Takes some 10 µs an event of the event loop.
        """
        ...

    def read_order_events(self, order_ids: Sequence[str], up_to_sequence: int) -> tuple[JournalEvent, ...]:
        """Every event of some orders up to a sequence of the account's book, in order; as long as it is kept."""
        ...

    def read_story(self, order_id: str, limit: int, up_to: int | None = None) -> tuple[Sequence[JournalEvent], int]:
        """The newest events of an order, newest first, and the sequence to go on with as `up_to`; 0 at the end."""
        ...

    def replay(self) -> Iterator[JournalEvent]:
        """What the orders in memory are made of, in order: all that is kept but what the archive contains already."""
        ...

    def book_heads(self) -> Mapping[str, int]:
        """The sequence of the newest event of each strategy's book, those that wait for the disk included."""
        ...

    def book_oldest(self, strategy_id: str) -> int:
        """The sequence of the oldest event of a strategy's book that can still be told; its head + 1 without one."""
        ...

    def first_since(self, record_time_ns: int) -> int:
        """The sequence of the first event recorded at an instant or later; head + 1 when there is none."""
        ...

    def chain_hash(self, sequence: int, strategy_id: str | None = None) -> bytes:
        """What binds all events up to a sequence of a book; a resume token carries its first 8 bytes.

        That of a book's newest event is known however old it is.

        Raises:
            KeyError: Gone, or in the future.
        """
        ...

    async def compact(self, oldest: int) -> None:
        """Let events before a sequence be told no more; those of orders that are not in the archive stay, untold.

        Raises:
            JournalUnavailable: It is not known how many went; none that is needed.
        """
        ...

    async def close(self) -> None:
        """Record what was asked for, then end; appending fails from then on. Idempotent."""
        ...
