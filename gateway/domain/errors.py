"""Every refusal the gateway can make, as one tree.

The branches are what `servicers/errors.py` maps to gRPC codes; the leaves carry the reason, a name of
ErrorReason in errors.proto that is never renamed:

    GatewayError
    ├── InvalidRequest        FieldInvalid (Unreadable) UnknownField PriceIncrement OrderCombination
    │                         ResumeTokenInvalid PageTokenMismatch
    ├── NotFound              SymbolUnknown OrderNotFound PositionNotFound ResourceNotFound
    ├── AlreadyExists         ClientOrderIdReused
    ├── Aborted               VersionMismatch
    ├── Unauthenticated       TokenInvalid TokenExpired
    ├── PermissionDenied      ScopeMissing SymbolNotAllowed NetworkNotAllowed
    ├── FailedPrecondition    SymbolNotTradable OrderTerminal OrderNotReplaceable NotReplaceableYet
    │   │                     ExpiredUnsent NotSent CancelUnconfirmed VenueAuthentication OrderFeedBlind
    │   │                     InsufficientTime EpochChanged PriceUnavailable MarketClosed
    │   ├── TradingStopped    TradingHalted TradingReducing
    │   ├── OrderDenied       BuyingPowerExceeded ShortNotAllowed ReduceOnlyViolated AccountBlocked TokenCapExceeded
    │   └── OrderRejected
    ├── ResourceExhausted     VenueRateLimited SlowConsumer TooManyStreams TooManyCalls TooManyFailures
    ├── OutOfRange            ResumeTokenCompacted
    └── Unavailable           VenueUnreachable JournalUnavailable Reconciling Draining
    OutcomeUnknown            not a refusal: the venue may have taken it. Never leaves the application room.

A definite error says that the call had no effect. What it says about the caller's key is `key`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Self


class KeyFate(StrEnum):
    """What an error says about the client_order_id of the call; see errors.proto."""

    FREE = "free"
    SPENT = "spent"
    TAKEN = "taken"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One bad field: its path in the request, as `spec.limit_price`, and what is wrong; never its value."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """One failed pre-trade risk check, in plain numbers."""

    reason: str
    subject: str
    description: str


class GatewayError(Exception):
    """A refusal.

    Args:
        message: For people; at most 512 bytes leave the process, and it never echoes input.
        metadata: Plain facts beside the reason.
        retry_after_ms: When trying again may help; None when it does not.
    """

    reason: ClassVar[str] = "INTERNAL"
    key: KeyFate | None = KeyFate.FREE

    def __init__(
        self, message: str, *, metadata: Mapping[str, str] | None = None, retry_after_ms: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_after_ms = retry_after_ms


class InvalidRequest(GatewayError):
    """The request is wrong whatever the state of the world."""

    reason = "FIELD_INVALID"

    def __init__(
        self, message: str, *, violations: Sequence[FieldViolation] = (), metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, metadata=metadata)
        self.violations = tuple(violations)


class FieldInvalid(InvalidRequest):
    """Fields are missing, malformed or out of bounds; `violations` names each."""

    @classmethod
    def of(cls, violations: Sequence[FieldViolation]) -> Self:
        """All of them, and the first one in the message: a terminal or a log shows nothing else."""
        first, *more = violations
        count = f" (and {len(more)} more)" if more else ""
        return cls(f"{first.field}: {first.description}{count}", violations=violations)


class Unreadable(FieldInvalid):
    """The bytes are no message of the contract, so nothing is said about a key either: it cannot be read."""

    key = None


class UnknownField(InvalidRequest):
    """The request has a field that this build does not know."""

    reason = "UNKNOWN_FIELD"


class PriceIncrement(InvalidRequest):
    """A price is not a multiple of the asset's increment."""

    reason = "PRICE_INCREMENT"


class OrderCombination(InvalidRequest):
    """Type, time in force, class, size and session do not go together for this asset."""

    reason = "ORDER_COMBINATION"


class ResumeTokenInvalid(InvalidRequest):
    """The token is garbled, or belongs to another book."""

    reason = "RESUME_TOKEN_INVALID"


class PageTokenMismatch(InvalidRequest):
    """The page token belongs to another request."""

    reason = "PAGE_TOKEN_MISMATCH"


class NotFound(GatewayError):
    """What the request names does not exist, or not for this caller."""

    reason = "RESOURCE_NOT_FOUND"


class SymbolUnknown(NotFound):
    """No asset has this symbol."""

    reason = "SYMBOL_UNKNOWN"


class OrderNotFound(NotFound):
    """No such order, or not the caller's."""

    reason = "ORDER_NOT_FOUND"


class PositionNotFound(NotFound):
    """The book holds no such position."""

    reason = "POSITION_NOT_FOUND"


class ResourceNotFound(NotFound):
    """What is named, neither an order nor a symbol nor a position, does not exist."""


class AlreadyExists(GatewayError):
    """The name is taken."""

    reason = "RESOURCE_EXISTS"


class ClientOrderIdReused(AlreadyExists):
    """The key belongs to an order or request with another content."""

    reason = "CLIENT_ORDER_ID_REUSED"
    key = KeyFate.TAKEN


class Aborted(GatewayError):
    """Somebody else was faster: read again, then decide."""

    reason = "VERSION_MISMATCH"


class VersionMismatch(Aborted):
    """expected_version is not the current one."""


class Unauthenticated(GatewayError):
    """Nobody knows who is calling, so nothing is said about a key either."""

    reason = "TOKEN_INVALID"
    key = None


class TokenInvalid(Unauthenticated):
    """No token, an unknown one, or a revoked one: the same words for each, so that they tell nothing apart."""

    def __init__(self, message: str = "a valid token is required: authorization: Bearer gw_...") -> None:
        super().__init__(message)


class TokenExpired(Unauthenticated):
    """The token's time is over; told to who has its secret alone."""

    reason = "TOKEN_EXPIRED"


class PermissionDenied(GatewayError):
    """The caller is known, and may not do this."""

    reason = "SCOPE_MISSING"


class ScopeMissing(PermissionDenied):
    """The token lacks a scope; metadata names it."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"the token lacks the scope {scope}", metadata={"scope": scope})


class SymbolNotAllowed(PermissionDenied):
    """The token does not allow orders in this symbol."""

    reason = "SYMBOL_NOT_ALLOWED"


class NetworkNotAllowed(PermissionDenied):
    """The token may not be used from this address."""

    reason = "NETWORK_NOT_ALLOWED"


class FailedPrecondition(GatewayError):
    """The request is well formed, and the state of the world forbids it."""

    reason = "SYMBOL_NOT_TRADABLE"


class SymbolNotTradable(FailedPrecondition):
    """The asset is inactive, or not tradable, shortable or fractionable as asked."""


class OrderTerminal(FailedPrecondition):
    """The order can change no more."""

    reason = "ORDER_TERMINAL"


class OrderNotReplaceable(FailedPrecondition):
    """Orders of this kind, or in this state, cannot be replaced."""

    reason = "ORDER_NOT_REPLACEABLE"


class NotReplaceableYet(FailedPrecondition):
    """The venue is still taking the order in, or an earlier change is pending."""

    reason = "NOT_REPLACEABLE_YET"


class ExpiredUnsent(FailedPrecondition):
    """valid_until passed before the order could be sent."""

    reason = "EXPIRED_UNSENT"


class NotSent(FailedPrecondition):
    """Recorded but never sent, and never will be."""

    reason = "NOT_SENT"
    key = KeyFate.SPENT


class CancelUnconfirmed(FailedPrecondition):
    """A cancel that had to come first is not confirmed; nothing more was sent."""

    reason = "CANCEL_UNCONFIRMED"


class VenueAuthentication(FailedPrecondition):
    """The venue refuses the gateway's credentials."""

    reason = "VENUE_AUTHENTICATION"


class OrderFeedBlind(FailedPrecondition):
    """The venue's order feed is down: only orders that reduce a position pass."""

    reason = "ORDER_FEED_BLIND"


class TradingStopped(FailedPrecondition):
    """The account's trading state forbids it; cancels pass. metadata has `trading_mode`."""

    reason = "TRADING_HALTED"


class TradingHalted(TradingStopped):
    """Trading is HALTED or KILLED."""


class TradingReducing(TradingStopped):
    """Only orders that reduce a position pass."""

    reason = "TRADING_REDUCING"


class KillFilePresent(FailedPrecondition):
    """The file KILL in the data directory keeps trading KILLED: remove it first."""

    reason = "TRADING_HALTED"


class InsufficientTime(FailedPrecondition):
    """The caller's deadline leaves no time to send the order safely."""

    reason = "INSUFFICIENT_TIME"


class EpochChanged(FailedPrecondition):
    """The token belongs to another life of the journal: begin with a snapshot."""

    reason = "EPOCH_CHANGED"


class PriceUnavailable(FailedPrecondition):
    """No price could be had to check the order against."""

    reason = "PRICE_UNAVAILABLE"


class MarketClosed(FailedPrecondition):
    """The market for this symbol is closed, and the call needs it open."""

    reason = "MARKET_CLOSED"


class OrderDenied(FailedPrecondition):
    """Refused by one of our risk checks; the venue never saw it, and the key is spent."""

    reason = "RISK_BUYING_POWER"
    key = KeyFate.SPENT

    def __init__(
        self,
        message: str,
        *,
        checks: Sequence[FailedCheck] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message, metadata=metadata, retry_after_ms=retry_after_ms)
        self.checks = tuple(checks)


class BuyingPowerExceeded(OrderDenied):
    """The order would cost more than the buying power less what orders in flight reserve."""


class ShortNotAllowed(OrderDenied):
    """The account may not sell this short, or the order would turn a long position into a short one."""

    reason = "RISK_SHORT_NOT_ALLOWED"


class PriceCollarExceeded(OrderDenied):
    """A stop is on the wrong side of the market: it would be triggered at once."""

    reason = "RISK_PRICE_COLLAR"


class ReduceOnlyViolated(OrderDenied):
    """A reduce-only order would open or enlarge a position."""

    reason = "RISK_REDUCE_ONLY"


class AccountBlocked(OrderDenied):
    """The venue has blocked trading for this account."""

    reason = "RISK_ACCOUNT_BLOCKED"


class TokenCapExceeded(OrderDenied):
    """The order is larger than the caller's token allows one order to be."""

    reason = "RISK_TOKEN_CAP"


class OrderRejected(FailedPrecondition):
    """The venue refused; metadata has `venue_code`, `venue_message` and `venue_http_status`.

    Attributes:
        is_bad_value: The venue calls a value wrong (HTTP 400, 422), which reads INVALID_ARGUMENT.
    """

    reason = "VENUE_REJECTED"
    key: KeyFate | None = KeyFate.SPENT

    def __init__(self, message: str, *, is_bad_value: bool = False, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message, metadata=metadata)
        self.is_bad_value = is_bad_value


class ResourceExhausted(GatewayError):
    """A limit is reached; later it may pass."""

    reason = "TOO_MANY_CALLS"


class VenueRateLimited(ResourceExhausted):
    """The account's request budget at the venue is used up; nothing took effect."""

    reason = "VENUE_RATE_LIMIT"


class SlowConsumer(ResourceExhausted):
    """The reader was too slow for too long."""

    reason = "SLOW_CONSUMER"


class TooManyStreams(ResourceExhausted):
    """The caller holds as many streams or subscriptions as it may."""

    reason = "TOO_MANY_STREAMS"


class TooManyCalls(ResourceExhausted):
    """The caller's own limit of calls."""


class TooManyFailures(ResourceExhausted):
    """Too many calls from one address showed no valid token; nobody knows whose, so nothing is said about a key."""

    key = None


class OutOfRange(GatewayError):
    """The position asked for is not kept any more, or lies in the future."""

    reason = "RESUME_TOKEN_COMPACTED"


class ResumeTokenCompacted(OutOfRange):
    """The events after the token are gone, or it lies in the future; metadata has `oldest_sequence`."""


class Unavailable(GatewayError):
    """Certainly nothing was done; try again."""

    reason = "VENUE_UNREACHABLE"


class VenueUnreachable(Unavailable):
    """No connection to the venue, or it answered a read with an error; nothing was sent that could have effect."""


class JournalUnavailable(Unavailable):
    """The journal cannot record, so nothing is sent; cancels are still tried."""

    reason = "JOURNAL_UNAVAILABLE"


class Reconciling(Unavailable):
    """The journal was not compared with the venue yet since the start: only orders that reduce a position pass."""

    reason = "RECONCILING"


class Draining(Unavailable):
    """The gateway is shutting down."""

    reason = "DRAINING"


class OutcomeUnknown(Exception):
    """A change left for the venue and no proof came back either way: look it up, never guess.

    Raised by the adapters, consumed by the application room; it is never an answer to a caller.

    Args:
        detail: For the log and the timeline: "read timeout", "504", "empty body".
        duplicate_id: The venue said that the client order id is taken: the order is, very likely, there.
    """

    def __init__(self, detail: str, *, duplicate_id: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.duplicate_id = duplicate_id
