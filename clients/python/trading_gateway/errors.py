"""What went wrong, decoded from google.rpc details: `GatewayError`, and what it says about the key.

errors.proto is the manual. In short: a definite error says that the call had no effect; after an
ambiguous one the call is repeated with the same client_order_id, never with a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from trading_gateway.plain_words import plain
from trading_gateway.values import NANOS_PER_SECOND

DOMAIN: Final = "trading-gateway"
"""ErrorInfo.domain of the gateway's own errors; another sender's reasons are not ours to read."""

AMBIGUOUS: Final = frozenset(
    {
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes that do not say whether the call had an effect."""

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_Detail = TypeVar("_Detail", bound=Message)


class KeyFate(StrEnum):
    """What an error says about the client_order_id of the call."""

    FREE = "free"
    """Nothing is stored: the same key may be tried again."""
    SPENT = "spent"
    """This answer for ever; the order never existed. Another try needs another key."""
    TAKEN = "taken"
    """Another order holds the key, and it may be live."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One bad field of the request."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """One failed pre-trade check: its reason, what it looked at, and the numbers."""

    reason: str
    subject: str
    description: str


class FailedCall(Protocol):
    """What grpc.RpcError and grpc.aio.AioRpcError have in common."""

    def code(self) -> grpc.StatusCode:
        """The status."""

    def details(self) -> str | None:
        """The text."""

    def trailing_metadata(self) -> Any:
        """Metadata after the last message."""


class GatewayError(Exception):
    """A call or stream that failed.

    Attributes:
        code: The gRPC status.
        message: For people.
        reason: A name of ErrorReason without its prefix, as "RISK_BUYING_POWER"; empty when a proxy or the
            transport failed, not the gateway.
        metadata: Plain facts beside the reason.
        key: What became of the call's client_order_id; None when the error does not say.
        violations: The bad fields, of INVALID_ARGUMENT.
        failed_checks: The failed risk checks, of a denial.
        retry_after_s: When trying again may help, in seconds; None when the error does not say.
        request_id: To find the call in the gateway's log; empty when there was no answer.
        outcome_unknown: The command may have had an effect: ask again with the same key. Never of a read or a stream.
        token_replaced: The token was not taken, and its file has another one by now.
        may_arrive_until: A try that was not answered may still arrive, and act, until then (its valid_until, UTC):
            before that instant only the same key is safe, whatever `key` says. None: no try is on its way.
    """

    def __init__(self, code: grpc.StatusCode, message: str, details: Iterable[Any] = (), request_id: str = "") -> None:
        found = tuple(details)
        info = next((one for one in _unpack(found, error_details_pb2.ErrorInfo) if one.domain == DOMAIN), None)
        self.code = code
        self.message = message
        self.reason: str = info.reason if info else ""
        self.metadata: Mapping[str, str] = dict(info.metadata) if info else {}
        self.key = _key_fate(self.metadata)
        self.violations = tuple(
            FieldViolation(one.field, one.description)
            for bad in _unpack(found, error_details_pb2.BadRequest)
            for one in bad.field_violations
        )
        self.failed_checks = tuple(
            FailedCheck(one.type, one.subject, one.description)
            for failure in _unpack(found, error_details_pb2.PreconditionFailure)
            for one in failure.violations
        )
        delays = [one.retry_delay for one in _unpack(found, error_details_pb2.RetryInfo)]
        self.retry_after_s: float | None = delays[0].ToNanoseconds() / NANOS_PER_SECOND if delays else None
        self.request_id = request_id
        self.outcome_unknown = code in AMBIGUOUS and self.key is None
        self.token_replaced = False
        self.may_arrive_until: datetime | None = None
        super().__init__(f"{code.name} {self.reason}: {message}" if self.reason else f"{code.name}: {message}")

    @property
    def ambiguous(self) -> bool:
        """The code does not say whether the call had an effect."""
        return self.code in AMBIGUOUS

    @classmethod
    def from_call(cls, error: FailedCall) -> GatewayError:
        """Decode what grpc or grpc.aio raised. Details that cannot be read are left out, never guessed."""
        code, message = error.code() or grpc.StatusCode.UNKNOWN, plain(error.details() or "")
        trailers = {key: value for key, value in error.trailing_metadata() or () if isinstance(value, str)}
        try:
            status = rpc_status.from_call(error)
        except (ValueError, DecodeError):  # the details contradict the status, or are not a Status
            status = None
        return cls(code, message, status.details if status else (), trailers.get("x-request-id", ""))

    @classmethod
    def from_status(cls, status: status_pb2.Status) -> GatewayError:
        """Decode a Status that stands in a message: Order.failure, or one result of a call for many."""
        return cls(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, status.details)


class SequenceGap(Exception):
    """A stream skipped a number. The contract excludes it, so that somebody between must have lost a message.

    Args:
        expected: The number that had to come.
        received: The one that came.
        resume_token: Of an order stream: reads the missing event, for it continues after the last one that came.
    """

    def __init__(self, expected: int, received: int, resume_token: str = "") -> None:
        super().__init__(f"sequence {expected} was to come, and {received} came")
        self.expected = expected
        self.received = received
        self.resume_token = resume_token


def _key_fate(metadata: Mapping[str, str]) -> KeyFate | None:
    text = metadata.get("key")
    return KeyFate(text) if text in set(KeyFate) else None


def _unpack(details: Iterable[Any], kind: type[_Detail]) -> list[_Detail]:
    """Every detail of one kind; one that is garbled is left out."""
    result = []
    for detail in details:
        if not detail.Is(kind.DESCRIPTOR):
            continue
        message = kind()
        try:
            detail.Unpack(message)
        except DecodeError:
            continue
        result.append(message)
    return result
