"""common.proto and the conventions of the contract: enums, times, dates, decimals, feeds; and reading requests.

`RequestReader` reads one request field by field. It never stops at the first bad field: it notes each, hands
back a stand-in, and `finish` refuses the request with all of them. Descriptions never echo what was sent.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from gateway.domain.errors import FieldInvalid, FieldViolation
from gateway.domain.models.market_data import FeedStatus, Gap
from gateway.domain.option_symbols import option_symbol_meant
from gateway.domain.types import (
    NANOS_PER_MS,
    NANOS_PER_SECOND,
    AssetClass,
    DataFeed,
    FeedState,
    TwoWay,
    Venue,
    format_decimal,
    holds_token,
    is_client_order_id,
    is_quoted_symbol,
    is_strategy_id,
    is_symbol,
    parse_decimal,
)
from trading_gateway.v1 import common_pb2 as pb

VENUE: Final = TwoWay(
    {
        Venue.EMULATOR: pb.VENUE_EMULATOR,
        Venue.PAPER: pb.VENUE_PAPER,
    }
)
ASSET_CLASS: Final = TwoWay(
    {
        AssetClass.US_EQUITY: pb.ASSET_CLASS_US_EQUITY,
        AssetClass.US_OPTION: pb.ASSET_CLASS_US_OPTION,
        AssetClass.CRYPTO: pb.ASSET_CLASS_CRYPTO,
        AssetClass.UNRECOGNIZED: pb.ASSET_CLASS_UNSPECIFIED,
    }
)
DATA_FEED: Final = TwoWay(
    {
        DataFeed.IEX: pb.DATA_FEED_IEX,
        DataFeed.SIP: pb.DATA_FEED_SIP,
        DataFeed.CRYPTO_US: pb.DATA_FEED_CRYPTO_US,
        DataFeed.OPRA: pb.DATA_FEED_OPRA,
        DataFeed.INDICATIVE: pb.DATA_FEED_INDICATIVE,
    }
)
FEED_STATE: Final = TwoWay(
    {
        FeedState.LIVE: pb.FEED_STATE_LIVE,
        FeedState.QUIET: pb.FEED_STATE_QUIET,
        FeedState.CONNECTING: pb.FEED_STATE_CONNECTING,
        FeedState.DISCONNECTED: pb.FEED_STATE_DISCONNECTED,
        FeedState.RECONCILING: pb.FEED_STATE_RECONCILING,
        FeedState.STALE: pb.FEED_STATE_STALE,
        FeedState.MUTE: pb.FEED_STATE_MUTE,
        FeedState.DELAYED: pb.FEED_STATE_DELAYED,
    }
)

VIOLATIONS_MAX: Final = 32
"""Bad fields noted for one request; what lies beyond adds nothing that a caller could use."""

TOKEN_CHARACTERS_MAX: Final = 512
FILTER_SYMBOLS_MAX: Final = 500
LABELS_MAX: Final = 16
LABEL_NAME_CHARACTERS_MAX: Final = 32
LABEL_VALUE_CHARACTERS_MAX: Final = 128

_TIMESTAMP_SECONDS_MIN: Final = -62_135_596_800  # 0001-01-01, the range of google.protobuf.Timestamp
_TIMESTAMP_SECONDS_MAX: Final = 253_402_300_799  # 9999-12-31
_DURATION_SECONDS_MAX: Final = 315_576_000_000  # 10,000 years, the range of google.protobuf.Duration
_LOOKS_LIKE_SYMBOL: Final = re.compile(r"[A-Za-z0-9]{1,10}([./_-][A-Za-z0-9]{1,10})?", re.ASCII)
_CRYPTO_QUOTE_CURRENCIES: Final = frozenset({"USD", "USDT", "USDC", "BTC", "ETH"})
_ZERO: Final = Decimal(0)
_HOLDS_TOKEN: Final = "has a secret token in it, and is not kept: have that token revoked"  # noqa: S105

D = TypeVar("D")
E = TypeVar("E", bound=int)


def timestamp_to_proto(time_ns: int) -> Timestamp:
    """An instant, nanoseconds kept."""
    seconds, nanos = divmod(time_ns, NANOS_PER_SECOND)
    return Timestamp(seconds=seconds, nanos=nanos)


def optional_timestamp_to_proto(time_ns: int | None) -> Timestamp | None:
    """An instant that may not be known."""
    return None if time_ns is None else timestamp_to_proto(time_ns)


def timestamp_fields(time_ns: int) -> Any:
    """An instant for the constructor of the message that it is a part of: half the time of one that is copied there."""
    seconds, nanos = divmod(time_ns, NANOS_PER_SECOND)
    return {"seconds": seconds, "nanos": nanos}


def optional_timestamp_fields(time_ns: int | None) -> Any:
    """As `timestamp_fields`, of an instant that may not be known."""
    return None if time_ns is None else timestamp_fields(time_ns)


def timestamp_to_ns(message: Timestamp) -> int:
    """Nanoseconds of a valid instant."""
    return message.seconds * NANOS_PER_SECOND + message.nanos


def duration_to_proto(duration_ms: int) -> Duration:
    """A length of time, from milliseconds."""
    seconds, rest_ms = divmod(duration_ms, 1_000)
    return Duration(seconds=seconds, nanos=rest_ms * NANOS_PER_MS)


def date_to_proto(day: datetime.date) -> Date:
    """A day of the New York calendar."""
    return Date(year=day.year, month=day.month, day=day.day)


def optional_decimal_to_proto(value: Decimal | None) -> str | None:
    """A decimal string; None where the value is not known."""
    return None if value is None else format_decimal(value)


def feed_status_to_proto(status: FeedStatus) -> pb.FeedStatus:
    """The state of one upstream feed."""
    return pb.FeedStatus(
        feed=status.feed,
        state=FEED_STATE[status.state],
        since=timestamp_to_proto(status.since_ns),
        detail=status.detail,
        venue_error_code=status.venue_error_code,
    )


def gap_to_proto(gap: Gap) -> pb.GapNotice:
    """A gap in an upstream feed."""
    return pb.GapNotice(
        feed=gap.feed,
        from_time=optional_timestamp_to_proto(gap.from_time_ns),
        to_time=timestamp_to_proto(gap.to_time_ns),
        symbols=gap.symbols,
        backfilled=gap.backfilled,
        backfilled_count=gap.backfilled_count,
    )


class RequestReader:
    """Reads one request and collects what is wrong with it.

    Methods take the field's path, as `spec.limit_price`, and what was sent. Where that is wrong they note it
    and return a stand-in, which is never used: `finish` comes before anything is built.
    """

    __slots__ = ("_violations",)

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def refuse(self, path: str, description: str) -> None:
        """Note that a field is wrong."""
        if len(self._violations) < VIOLATIONS_MAX:
            self._violations.append(FieldViolation(path, description))

    def finish(self) -> None:
        """Refuse the request if any field was wrong.

        Raises:
            FieldInvalid: With every violation.
        """
        if self._violations:
            raise FieldInvalid.of(self._violations)

    def decimal(self, path: str, text: str) -> Decimal:
        """A number greater than 0, by the contract's grammar."""
        value = parse_decimal(text)
        if value is None:
            self.refuse(path, "must be a decimal: up to 15 digits, and up to 9 after the point; no sign or exponent")
            return _ZERO
        if not value:
            self.refuse(path, "must be greater than 0")
        return value

    def symbol(self, path: str, text: str) -> str:
        """A symbol in the contract's one spelling; another one is refused and the right one named."""
        if not text:
            self.refuse(path, "is required")
        elif not is_symbol(text):
            right = _right_spelling(text)
            self.refuse(
                path,
                f"is not spelled as symbols are here; perhaps {right}"
                if right
                else "must be a symbol, as AAPL, BRK.B or BTC/USD",
            )
        return text

    def quoted_symbol(self, path: str, text: str) -> str:
        """As `symbol`, of what has market data: an option contract too."""
        if is_quoted_symbol(text):
            return text
        right = option_symbol_meant(text)
        if not right:
            return self.symbol(path, text)
        self.refuse(path, f"is spelled {right} here")
        return text

    def symbols(
        self, path: str, texts: Iterable[str], *, at_most: int = FILTER_SYMBOLS_MAX, quoted: bool = False
    ) -> tuple[str, ...]:
        """Distinct symbols; `path` is the field's name, positions are added. `quoted`: of what has market data."""
        listed = tuple(texts)
        read = self.quoted_symbol if quoted else self.symbol
        if len(listed) > at_most:
            self.refuse(path, f"at most {at_most}")
            return ()
        if len(set(listed)) != len(listed):
            self.refuse(path, "names a symbol twice")
        for position, text in enumerate(listed):
            read(f"{path}[{position}]", text)
        return listed

    def choice(self, path: str, table: TwoWay[D, E], number: E) -> D:
        """A value of an enum; UNSPECIFIED and numbers that this build does not know are refused."""
        if number == 0:
            self.refuse(path, "is required")
            return next(iter(table))
        return self._known(path, table, number)

    def optional_choice(self, path: str, table: TwoWay[D, E], number: E) -> D | None:
        """A value of an enum, None for UNSPECIFIED; numbers that this build does not know are refused."""
        return None if number == 0 else self._known(path, table, number)

    def _known(self, path: str, table: TwoWay[D, E], number: E) -> D:
        value = table.find(number)
        if value is None:
            self.refuse(path, "is not a value that this build knows")
            return next(iter(table))
        return value

    def strategy(self, path: str, text: str, own: str) -> str:
        """A strategy; empty is the caller's own."""
        if text and not is_strategy_id(text):
            self.refuse(path, "must be 1 to 24 of a-z, 0-9 and -, not beginning with -, and not a reserved name")
        if not text and not own:
            self.refuse(path, "is required: the token has no strategy of its own")
        return text or own

    def optional_strategy(self, path: str, text: str) -> str:
        """A strategy, or none."""
        return self.strategy(path, text, "none") if text else ""

    def strategy_or_all(self, path: str, text: str, own: str, *, all_strategies: bool) -> str | None:
        """A strategy, or None for all of them; naming one and all is refused."""
        if not all_strategies:
            return self.strategy(path, text, own)
        if text:
            self.refuse(path, "must be empty with all_strategies")
        return None

    def client_order_id(self, path: str, text: str) -> str:
        """An idempotency key."""
        if not text:
            self.refuse(path, "is required")
        elif not is_client_order_id(text):
            self.refuse(path, "must be 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', beginning with a letter or digit")
        elif holds_token(text):
            self.refuse(path, _HOLDS_TOKEN)
        return text

    def timestamp(self, path: str, message: Timestamp) -> int:
        """Nanoseconds of an instant that is set."""
        if not _TIMESTAMP_SECONDS_MIN <= message.seconds <= _TIMESTAMP_SECONDS_MAX:
            self.refuse(path, "must lie in the years 1 to 9999")
        if not 0 <= message.nanos < NANOS_PER_SECOND:
            self.refuse(path, "nanos must be 0 to 999,999,999")
        return timestamp_to_ns(message)

    def duration_ms(self, path: str, message: Duration, *, least_ms: int, most_ms: int | None = None) -> int:
        """Whole milliseconds of a length of time that is set, within bounds."""
        if abs(message.nanos) >= NANOS_PER_SECOND or message.seconds * message.nanos < 0:
            self.refuse(path, "nanos must be 0 to 999,999,999 and of the sign of seconds")
        if abs(message.seconds) > _DURATION_SECONDS_MAX:
            self.refuse(path, "is out of range")
        length_ns = message.seconds * NANOS_PER_SECOND + message.nanos
        if length_ns < least_ms * NANOS_PER_MS:
            self.refuse(path, f"must be {_seconds(least_ms)} or more")
        if most_ms is not None and length_ns > most_ms * NANOS_PER_MS:
            self.refuse(path, f"must be {_seconds(most_ms)} or less")
        return length_ns // NANOS_PER_MS

    def date(self, path: str, message: Date) -> datetime.date:
        """A whole day of the calendar."""
        try:
            return datetime.date(message.year, message.month, message.day)
        except ValueError:
            self.refuse(path, "must be a day of the calendar: year, month and day")
            return datetime.date.min

    def page_size(self, path: str, size: int, *, default: int, most: int) -> int:
        """How many a page holds: 0 takes the default, more than the maximum is cut to it."""
        if size < 0:
            self.refuse(path, "must not be negative")
        return min(size or default, most)

    def token(self, path: str, text: str) -> str:
        """A page or resume token: its length only; what it means is for whoever made it."""
        if len(text) > TOKEN_CHARACTERS_MAX:
            self.refuse(path, "is longer than any token of this gateway")
        return text

    def text(self, path: str, text: str, *, characters_max: int) -> str:
        """Free text: bounded, and nothing that could forge a line of a log."""
        if len(text) > characters_max:
            self.refuse(path, f"must have {characters_max} characters or fewer")
        elif not text.isprintable():
            self.refuse(path, "must not have control characters")
        elif holds_token(text):
            self.refuse(path, _HOLDS_TOKEN)
        return text

    def labels(self, path: str, labels: Mapping[str, str]) -> dict[str, str]:
        """Free notes: bounded in number and length."""
        if len(labels) > LABELS_MAX:
            self.refuse(path, f"at most {LABELS_MAX}")
            return {}
        for name, value in labels.items():
            if not name:
                self.refuse(path, "a label needs a name")
            self.text(path, name, characters_max=LABEL_NAME_CHARACTERS_MAX)
            self.text(path, value, characters_max=LABEL_VALUE_CHARACTERS_MAX)
        return dict(labels)


def _right_spelling(text: str) -> str:
    # Safe to say back: only letters, digits and one separator pass the pattern.
    if len(text) > 21 or not _LOOKS_LIKE_SYMBOL.fullmatch(text):
        return ""
    upper = text.upper()
    for separator in ("-", "_"):
        if separator in upper:
            base, _, quote = upper.partition(separator)
            upper = f"{base}/{quote}" if quote in _CRYPTO_QUOTE_CURRENCIES else f"{base}.{quote}"
    return upper if is_symbol(upper) else ""


def _seconds(length_ms: int) -> str:
    whole, rest = divmod(length_ms, 1_000)
    return f"{whole}.{rest:03d} s".replace(".000", "")
