"""What went over the wire about an order: one request to the venue and its answer, as the story of the order tells it.

Promises that a noun of this kind says only what the last hop saw: when the first byte left, when the whole answer was
there, its status and its id. It is no event: it changes no order, has no place in a book, and is not what an order's
state is made of. What it means for an order is `domain.order_lifecycle`'s, by events alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

EVERY_ORDER: Final = "*"
"""In place of an order's id: a request about every open order of the account."""
READ_METHOD: Final = "GET"


@dataclass(frozen=True, slots=True)
class VenueRequest:
    """One request about an order.

    Attributes:
        order_id: The gateway's id of the order, or EVERY_ORDER.
        method: POST, PATCH, DELETE, or GET for a look-up.
        path: With the venue's own ids, without the query.
        send_time_ns: When its first byte left; None: it never left.
        end_time_ns: When its answer was whole, or was given up.
        status: HTTP; 0: no whole answer.
        venue_request_id: X-Request-ID of the answer; empty when it gave none.
    """

    order_id: str
    method: str
    path: str
    send_time_ns: int | None
    end_time_ns: int
    status: int = 0
    venue_request_id: str = ""

    @property
    def is_read(self) -> bool:
        """Whether it could change nothing."""
        return self.method == READ_METHOD


class VenueRequestLog(Protocol):
    """Keeps them beside the journal, as long as it keeps the events of their orders."""

    def note(self, request: VenueRequest) -> None:
        """Keep one; returns at once and never raises. It is durable with the next event, or a moment later.

        Where the journal can record no more, or too many wait for the disk, it is not kept.
        """
        ...

    def read(self, order_id: str, limit: int, before: int | None = None) -> Sequence[tuple[int, VenueRequest]]:
        """The newest of an order, newest first, each with its number, on which `before` goes on."""
        ...


class NoRequestLog:
    """Keeps nothing: for adapters without a journal."""

    def note(self, request: VenueRequest) -> None:
        """Nothing is kept."""

    def read(self, order_id: str, limit: int, before: int | None = None) -> Sequence[tuple[int, VenueRequest]]:  # noqa: ARG002
        """None is kept."""
        return ()
