"""Which feed of stock data a question names, and whether the key's plan has it.

All feeds show the same data here; what differs is who may ask. A plan without SIP, which is one whose socket
`/v2/sip` is refused, is answered 403 for what is younger than 15 minutes, and has IEX when it names no feed.

Source: parameters stock_historical_feed and stock_latest_feed of Alpaca's market data OpenAPI document, and its page
on the data plans.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.rest.answers import HttpError, text_of

SIP: Final = "sip"
HISTORY_FEEDS: Final = frozenset({SIP, "iex", "boats", "otc"})
LATEST_FEEDS: Final = HISTORY_FEEDS | {"delayed_sip", "overnight"}
SIP_DELAY_NS: Final = 15 * 60 * NANOS_PER_SECOND
NO_RECENT_SIP: Final = {"message": "subscription does not permit querying recent SIP data"}


def check_latest_feed(request: Request, *, has_sip: bool) -> None:
    """Refuse a question for newest values of a feed that there is not, or that the plan has not.

    Raises:
        HttpError: 400 or 403.
    """
    feed = _feed(request, LATEST_FEEDS)
    if feed == SIP and not has_sip:
        raise HttpError(403, NO_RECENT_SIP)


def check_history_feed(request: Request, end_ns: int, now_ns: int, *, has_sip: bool) -> None:
    """The same for history that goes up to an instant."""
    feed = _feed(request, HISTORY_FEEDS)
    if feed == SIP and not has_sip and end_ns > now_ns - SIP_DELAY_NS:
        raise HttpError(403, NO_RECENT_SIP)


def _feed(request: Request, feeds: frozenset[str]) -> str:
    feed = text_of(request, "feed") if "/stocks/" in request.url.path else ""  # pairs have one feed, which nobody names
    if feed and feed not in feeds:
        raise HttpError(400, {"message": f"invalid feed: {feed[:32]}"})
    return feed
