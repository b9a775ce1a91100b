"""Domain error → gRPC status: one table of branches, walked along a class's ancestors.

What an answer carries besides its code is written by `wire.errors`. Whatever is not in the domain's tree is a
bug: it leaves as a bare INTERNAL with an error id, and the id alone ties it to the log.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import grpc

from gateway.domain.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    GatewayError,
    InvalidRequest,
    NotFound,
    OrderRejected,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)

CODES: Final[Mapping[type[GatewayError], grpc.StatusCode]] = MappingProxyType(
    {
        InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
        NotFound: grpc.StatusCode.NOT_FOUND,
        AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
        Aborted: grpc.StatusCode.ABORTED,
        Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
        PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
        FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
        ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
        OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
        Unavailable: grpc.StatusCode.UNAVAILABLE,
    }
)

_ERROR_ID_BYTES: Final = 8


def code_of(error: GatewayError) -> grpc.StatusCode:
    """The gRPC code of a refusal: that of its nearest ancestor in the table.

    A refusal of the venue is FAILED_PRECONDITION, but INVALID_ARGUMENT when the venue calls a value wrong.

    Raises:
        LookupError: The error belongs to no branch; a test holds that none is so.
    """
    if isinstance(error, OrderRejected) and error.is_bad_value:
        return grpc.StatusCode.INVALID_ARGUMENT
    return code_of_class(type(error))


def code_of_class(error_class: type[GatewayError]) -> grpc.StatusCode:
    """The gRPC code of a kind of refusal; LookupError when it belongs to no branch."""
    for ancestor in error_class.__mro__:
        code = CODES.get(ancestor)
        if code is not None:
            return code
    raise LookupError(f"{error_class.__name__} belongs to no branch of the error table")


def new_error_id() -> str:
    """Ties an INTERNAL answer to its line in the log; 16 hexadecimal digits."""
    return secrets.token_hex(_ERROR_ID_BYTES)
