"""Pages of history: the range that is meant, and tokens that belong to the request that gave them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from gateway.domain.errors import FieldInvalid, FieldViolation
from gateway.domain.models.market_data import Adjustment, BarsRequest, HistoryRequest
from gateway.domain.page_tokens import page_token_mismatch
from gateway.domain.types import NANOS_PER_SECOND, AssetClass, Channel

FUTURE_MAX_NS: Final = 366 * 24 * 3_600 * NANOS_PER_SECOND
"""A time further ahead, like one before 1970, is a mistake in the unit."""
_NEW_YORK: Final = ZoneInfo("America/New_York")
_DIGEST_BYTES: Final = 12
_RANGE: Final = struct.Struct("<qq")

AnyHistory = BarsRequest | HistoryRequest


@dataclass(frozen=True, slots=True)
class HistoryCursor:
    """Where a page begins: the range, decided with the first page, and the venue's own token."""

    start_ns: int
    end_ns: int
    venue_token: str = ""


def cursor_of(request: AnyHistory, asset_class: AssetClass, now_ns: int) -> HistoryCursor:
    """Where the page begins that is asked for: the default range is told by the first page, not by the hour of a later.

    Raises:
        FieldInvalid: The times, the timeframe or the adjustments make no sense.
        PageTokenMismatch: The token is garbled, or belongs to another request.
    """
    if request.page_token:
        cursor = read_token(request)
    else:
        start_ns = _start_of_day(asset_class, now_ns) if request.start_ns is None else request.start_ns
        cursor = HistoryCursor(start_ns, now_ns if request.end_ns is None else request.end_ns)
    _check(request, cursor, asset_class, now_ns)
    return cursor


def _check(request: AnyHistory, cursor: HistoryCursor, asset_class: AssetClass, now_ns: int) -> None:
    """Refuse what makes no sense, in a token too: its digest is no secret."""
    start_ns, end_ns = cursor.start_ns, cursor.end_ns
    violations = [
        FieldViolation(field, "must lie between 1970 and a year from now")
        for field, time_ns in (("start_time", start_ns), ("end_time", end_ns))
        if not 0 <= time_ns <= now_ns + FUTURE_MAX_NS
    ]
    if not violations and start_ns > end_ns:
        violations.append(
            FieldViolation("start_time", "must not be after end_time; its default is the start of the trading day")
        )
    if isinstance(request, BarsRequest):
        violations += _violations_of_bars(request, asset_class)
    if asset_class is AssetClass.CRYPTO and request.as_of_date is not None:
        violations.append(FieldViolation("as_of_date", "crypto pairs are not renamed"))
    if violations:
        raise FieldInvalid.of(violations)


def write_token(request: AnyHistory, cursor: HistoryCursor) -> str:
    """The token of the page at a cursor."""
    content = _RANGE.pack(cursor.start_ns, cursor.end_ns) + cursor.venue_token.encode()
    return base64.urlsafe_b64encode(_digest(request, content) + content).decode().rstrip("=")


def read_token(request: AnyHistory) -> HistoryCursor:
    """The cursor of a request's token.

    Raises:
        PageTokenMismatch: It is garbled, or belongs to another request.
    """
    token = request.page_token
    try:
        written = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        digest, content = written[:_DIGEST_BYTES], written[_DIGEST_BYTES:]
        start_ns, end_ns = _RANGE.unpack_from(content)
        venue_token = content[_RANGE.size :].decode()
    except (binascii.Error, ValueError, struct.error):
        raise page_token_mismatch() from None
    if digest != _digest(request, content):
        raise page_token_mismatch()
    return HistoryCursor(start_ns, end_ns, venue_token)


def _digest(request: AnyHistory, content: bytes) -> bytes:
    """Binds a token to all of its request but the page size, which may change from page to page."""
    selection = request.selection
    meaning: tuple[object, ...] = (
        selection.symbols,
        selection.asset_class and selection.asset_class.value,
        selection.feed and selection.feed.value,
        request.start_ns,
        request.end_ns,
        request.as_of_date and request.as_of_date.isoformat(),
        request.newest_first,
    )
    if isinstance(request, BarsRequest):
        timeframe, adjustments = request.timeframe, tuple(adjustment.value for adjustment in request.adjustments)
        meaning += (Channel.BARS.value, timeframe.amount, timeframe.unit.value, adjustments)
    else:
        meaning += (request.channel.value,)
    return hashlib.blake2b(repr(meaning).encode() + content, digest_size=_DIGEST_BYTES).digest()


def _violations_of_bars(request: BarsRequest, asset_class: AssetClass) -> list[FieldViolation]:
    found = []
    if not request.timeframe.is_legal:
        found.append(
            FieldViolation("timeframe", "must be 1-59 MINUTE, 1-23 HOUR, 1 DAY, 1 WEEK or 1, 2, 3, 4, 6, 12 MONTH")
        )
    if asset_class is AssetClass.CRYPTO and set(request.adjustments) - {Adjustment.RAW}:
        found.append(FieldViolation("adjustments", "crypto has no corporate actions"))
    return found


def _start_of_day(asset_class: AssetClass, now_ns: int) -> int:
    """Midnight in New York, or UTC for crypto, whose day that is."""
    zone = UTC if asset_class is AssetClass.CRYPTO else _NEW_YORK
    now = datetime.fromtimestamp(now_ns // NANOS_PER_SECOND, zone)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return int(midnight.timestamp()) * NANOS_PER_SECOND
