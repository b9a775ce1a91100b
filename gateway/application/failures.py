"""Errors as facts and back: what the journal keeps of a refusal, so that its key repeats it for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.domain.errors import FailedCheck, GatewayError, KeyFate, OrderDenied, OrderRejected
from gateway.domain.models.orders import Failure

KEY: Final = "key"
"""What the failure says about the key, in its metadata; absent when an earlier call was answered OK."""
_CHECK: Final = "check."
_SUBJECT: Final = "subject"
_IS_BAD_VALUE: Final = "is_bad_value"


def failure_of(error: GatewayError, key: KeyFate | None) -> Failure:
    """What to keep of an error.

    Args:
        error: The refusal.
        key: SPENT or TAKEN when it is the answer to the key; None when an earlier answer was OK.
    """
    metadata = dict(error.metadata)
    if key is not None:
        metadata[KEY] = key.value
    if isinstance(error, OrderDenied):
        for check in error.checks:
            metadata[_CHECK + check.reason] = check.description
            metadata[_SUBJECT] = check.subject
    if isinstance(error, OrderRejected) and error.is_bad_value:
        metadata[_IS_BAD_VALUE] = "true"
    return Failure(error.reason, error.message, metadata)


def is_final_answer(failure: Failure | None) -> bool:
    """Whether a key with this failure answers with the error, rather than with the order."""
    return failure is not None and KEY in failure.metadata


def error_of(failure: Failure, order_id: str) -> GatewayError:
    """The same error as the first time; metadata has the order_id."""
    kept = dict(failure.metadata)
    key = kept.pop(KEY, None)
    subject = kept.pop(_SUBJECT, "")
    is_bad_value = kept.pop(_IS_BAD_VALUE, "") == "true"
    checks = [
        FailedCheck(name.removeprefix(_CHECK), subject, kept.pop(name))
        for name in sorted(kept)
        if name.startswith(_CHECK)
    ]
    metadata = kept | {"order_id": order_id}
    kind = _BY_REASON.get(failure.reason, GatewayError)
    error: GatewayError
    if issubclass(kind, OrderDenied):
        error = kind(failure.message, checks=checks, metadata=metadata)
    elif issubclass(kind, OrderRejected):
        error = kind(failure.message, is_bad_value=is_bad_value, metadata=metadata)
    else:
        error = kind(failure.message, metadata=metadata)
    error.key = KeyFate(key) if key is not None else None
    return error


def _kinds(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for child in kind.__subclasses__():
        yield from _kinds(child)
        yield child


_BY_REASON: Final = {kind.reason: kind for kind in reversed([*_kinds(GatewayError)])}
"""A reason shared by a branch and its leaf is the leaf's."""
