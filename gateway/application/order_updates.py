"""Readers of the order log: snapshot, resume, live, heartbeats, gaps. Never dropped, never conflated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.domain.models.market_data import FeedStatus, Gap
from gateway.domain.models.orders import Order, OrderEvent


@dataclass(frozen=True, slots=True)
class Book:
    """Whose events: one strategy's, or (None) the account's: every strategy and orders from outside."""

    strategy_id: str | None


@dataclass(frozen=True, slots=True)
class StartSnapshot:
    """Begin with the open orders, then live."""


@dataclass(frozen=True, slots=True)
class StartAfter:
    """Everything after a token, then live."""

    resume_token: str


@dataclass(frozen=True, slots=True)
class StartLive:
    """Only what happens from now on."""


StreamStart = StartSnapshot | StartAfter | StartLive


@dataclass(frozen=True, slots=True)
class SnapshotBegin:
    """The snapshot follows: so many orders."""

    count: int


@dataclass(frozen=True, slots=True)
class SnapshotOrder:
    """One order of the snapshot; a leg is an order of its own."""

    order: Order


@dataclass(frozen=True, slots=True)
class SnapshotEnd:
    """The snapshot is complete as of the step's sequence."""

    count: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing happened; everything up to the step's sequence has been delivered.

    Attributes:
        upstream_age_ms: Since the venue's order feed last said something; None when it never did.
    """

    upstream_connected: bool
    upstream_age_ms: int | None


Payload = SnapshotBegin | SnapshotOrder | SnapshotEnd | OrderEvent | Heartbeat | FeedStatus | Gap


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a book's stream.

    Attributes:
        sequence: Of the event; messages without an event repeat the last one.
        resume_token: Continues after this step.
    """

    sequence: int
    resume_token: str
    payload: Payload


class OrderUpdates:
    """Follows books. `follow` raises ResumeTokenInvalid, EpochChanged, ResumeTokenCompacted, SlowConsumer, Draining."""

    def follow(self, book: Book, start: StreamStart, heartbeat_ms: int) -> AsyncIterator[Step]:
        """The steps of a book from `start` on, until the reader stops or the gateway drains."""
        raise NotImplementedError
