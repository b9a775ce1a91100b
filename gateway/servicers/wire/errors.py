"""Refusals as google.rpc.Status: reason and key, fields, failed checks, when to try again.

Everything here is bounded, because a status travels in HTTP/2 trailers and a client drops a call whose
trailers exceed its limit (8 KiB by default): a message of 20 KB arrives as RESOURCE_EXHAUSTED.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from gateway.domain.errors import (
    FieldViolation,
    GatewayError,
    InvalidRequest,
    OrderDenied,
    ResourceExhausted,
    Unavailable,
)
from gateway.domain.models.orders import Failure
from gateway.domain.types import MS_PER_SECOND, NANOS_PER_MS
from gateway.servicers.errors import code_of, code_of_class

DOMAIN: Final = "trading-gateway"
KEY_METADATA: Final = "key"
ERROR_ID_METADATA: Final = "error_id"
INTERNAL_REASON: Final = "INTERNAL"
INTERNAL_MESSAGE: Final = "internal error"

STATUS_BYTES_MAX: Final = 4_096
"""Base64 makes it a third longer, and the message travels beside it; what would go beyond it is left out."""
MESSAGE_BYTES_MAX: Final = 512
METADATA_VALUE_BYTES_MAX: Final = 256
METADATA_ENTRIES_MAX: Final = 10
RETRY_AFTER_DEFAULT_MS: Final = 1_000
"""What UNAVAILABLE and RESOURCE_EXHAUSTED say where nobody knows better: they always say when to ask again."""
_VIOLATIONS_TRIED: Final = (16, 8, 4, 2, 1)
DESCRIPTION_BYTES_MAX: Final = 160
FIELD_BYTES_MAX: Final = 80

_REASON_ABSENT: Final = "ABSENT"
_REASON_REJECTED: Final = "VENUE_REJECTED"
_BAD_VALUE_STATUSES: Final = frozenset({"400", "422"})


def cut(text: str, bytes_max: int) -> str:
    """The text, ended so that it fits in this many bytes of UTF-8, and with no control characters."""
    printable = text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
    encoded = printable.encode(errors="replace")
    if len(encoded) <= bytes_max:
        return printable
    return encoded[: bytes_max - 3].decode(errors="ignore") + "..."


def error_to_proto(error: GatewayError, *, carries_key: bool) -> status_pb2.Status:
    """A refusal as a status.

    Args:
        error: What was refused, and why.
        carries_key: The call has a client_order_id, so the status says what becomes of it.
    """
    metadata = dict(error.metadata)
    metadata.pop(KEY_METADATA, None)
    if carries_key and error.key is not None:
        metadata = {KEY_METADATA: error.key.value, **metadata}
    status = _status(code_of(error), error.message, error.reason, metadata)
    for violations_max in _VIOLATIONS_TRIED:
        for detail in _details(error, violations_max):
            status.details.add().Pack(detail)
        if status.ByteSize() <= STATUS_BYTES_MAX:
            break
        del status.details[1:]
    return status


def internal_to_proto(error_id: str) -> status_pb2.Status:
    """A bug of ours: an id that ties it to the log, and nothing else."""
    return _status(grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE, INTERNAL_REASON, {ERROR_ID_METADATA: error_id})


def deadline_to_proto(limit_ms: int) -> status_pb2.Status:
    """The server's own limit of a call's time passed. Ambiguous, so it says nothing of a key, and has no reason."""
    number: int = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    return status_pb2.Status(code=number, message=f"no answer within {limit_ms} ms; ask again with the same key")


def failure_to_proto(failure: Failure) -> status_pb2.Status:
    """Why an order never came to be, with the code that the call's own error has."""
    return _status(_failure_code(failure), failure.message, failure.reason, failure.metadata)


def _status(code: grpc.StatusCode, message: str, reason: str, metadata: Mapping[str, str]) -> status_pb2.Status:
    number: int = code.value[0]
    status = status_pb2.Status(code=number, message=cut(message, MESSAGE_BYTES_MAX))
    kept = {
        cut(name, FIELD_BYTES_MAX): cut(value, METADATA_VALUE_BYTES_MAX)
        for name, value in list(metadata.items())[:METADATA_ENTRIES_MAX]
    }
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=kept))
    return status


def _details(error: GatewayError, violations_max: int) -> Iterable[Message]:
    if isinstance(error, InvalidRequest) and error.violations:
        yield error_details_pb2.BadRequest(field_violations=map(_violation_to_proto, error.violations[:violations_max]))
    if isinstance(error, OrderDenied) and error.checks:
        yield error_details_pb2.PreconditionFailure(
            violations=[
                error_details_pb2.PreconditionFailure.Violation(
                    type=check.reason,
                    subject=cut(check.subject, FIELD_BYTES_MAX),
                    description=cut(check.description, DESCRIPTION_BYTES_MAX),
                )
                for check in error.checks[:violations_max]
            ]
        )
    if (retry_after_ms := _retry_after_ms(error)) is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.seconds, rest_ms = divmod(retry_after_ms, MS_PER_SECOND)
        retry.retry_delay.nanos = rest_ms * NANOS_PER_MS
        yield retry


def _retry_after_ms(error: GatewayError) -> int | None:
    if error.retry_after_ms is None and isinstance(error, (ResourceExhausted, Unavailable)):
        return RETRY_AFTER_DEFAULT_MS
    return error.retry_after_ms


def _violation_to_proto(violation: FieldViolation) -> error_details_pb2.BadRequest.FieldViolation:
    return error_details_pb2.BadRequest.FieldViolation(
        field=cut(violation.field, FIELD_BYTES_MAX), description=cut(violation.description, DESCRIPTION_BYTES_MAX)
    )


def _failure_code(failure: Failure) -> grpc.StatusCode:
    if failure.reason == _REASON_ABSENT:
        return grpc.StatusCode.NOT_FOUND
    if failure.reason == _REASON_REJECTED and failure.metadata.get("venue_http_status") in _BAD_VALUE_STATUSES:
        return grpc.StatusCode.INVALID_ARGUMENT
    return reason_codes().get(failure.reason, grpc.StatusCode.FAILED_PRECONDITION)


@cache
def reason_codes() -> Mapping[str, grpc.StatusCode]:
    """Reason → code, read off the domain's tree; a reason that several classes share has one code."""
    return {error_class.reason: code_of_class(error_class) for error_class in leaf_errors()}


def leaf_errors() -> list[type[GatewayError]]:
    """Every class of the domain's tree that has no subclass: what really reaches a caller."""
    leaves: list[type[GatewayError]] = []
    waiting: list[type[GatewayError]] = [GatewayError]
    while waiting:
        error_class = waiting.pop()
        below = error_class.__subclasses__()
        waiting.extend(below)
        if not below:
            leaves.append(error_class)
    return leaves
