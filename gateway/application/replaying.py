"""Replaying: what the journal says of an earlier life, taken in again; or, in words, which event cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from gateway.domain.models.orders import JournalEvent, Order


class ReplayFailed(Exception):
    """An event makes no sense after those before it: nothing may be built on it; the text says which and what to do."""


def replayed(
    events: Iterable[JournalEvent], apply: Callable[[JournalEvent], Order]
) -> Iterator[tuple[JournalEvent, Order]]:
    """Each event, and the order after it.

    Raises:
        ReplayFailed: One could not be taken in.
    """
    for event in events:
        try:
            order = apply(event)
        except Exception as error:
            raise ReplayFailed(
                f"event {event.sequence} of the journal ({event.kind} of order {event.order_id}) cannot be replayed "
                f"({type(error).__name__}): run the version that wrote it, or restore a back-up."
            ) from error
        yield event, order
