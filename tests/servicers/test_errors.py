"""The table of errors is total: every refusal has a code, and every reason of the contract a refusal."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2

from gateway.domain.errors import (
    FailedCheck,
    FieldViolation,
    GatewayError,
    InvalidRequest,
    KeyFate,
    OrderDenied,
    TooManyFailures,
    Unauthenticated,
    Unreadable,
)
from gateway.domain.models.orders import Failure
from gateway.servicers.errors import CODES, code_of, code_of_class
from gateway.servicers.wire.errors import (
    STATUS_BYTES_MAX,
    cut,
    error_to_proto,
    failure_to_proto,
    leaf_errors,
    reason_codes,
)
from trading_gateway.v1 import errors_pb2

Code = grpc.StatusCode
REASONS = {
    name.removeprefix("ERROR_REASON_") for name, _ in errors_pb2.ErrorReason.items() if not name.endswith("UNSPECIFIED")
}
NO_CLASS = {
    "ABSENT": "in Order.failure alone: proof that came after the call was answered",
    "INTERNAL": "whatever is not in the domain's tree",
}
LEAVES = leaf_errors()


def made(error_class: type[GatewayError]) -> GatewayError:
    return error_class("refused")


@pytest.mark.parametrize("error_class", LEAVES, ids=lambda error_class: error_class.__name__)
def test_every_refusal_has_a_code_and_a_reason_of_the_contract(error_class: type[GatewayError]) -> None:
    error = made(error_class)
    assert error.reason in REASONS
    status = error_to_proto(error, carries_key=True)
    assert status.code == code_of(error).value[0] != 0
    # A key that cannot be read, or a caller whom nobody knows: nothing is said about the key.
    assert isinstance(error.key, KeyFate) or issubclass(error_class, Unreadable | Unauthenticated | TooManyFailures)


@pytest.mark.parametrize("error_class", LEAVES, ids=lambda error_class: error_class.__name__)
def test_what_may_pass_later_says_when_to_ask_again(error_class: type[GatewayError]) -> None:
    status = error_to_proto(made(error_class), carries_key=True)
    retries = [detail for detail in status.details if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR)]
    is_passing = code_of(made(error_class)) in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED)
    assert len(retries) == is_passing


def test_every_reason_has_a_refusal_or_says_why_not() -> None:
    assert {error_class.reason for error_class in LEAVES} == REASONS - set(NO_CLASS)


def test_one_reason_has_one_code() -> None:
    assert {error_class.reason: code_of_class(error_class) for error_class in reversed(LEAVES)} == reason_codes()


def test_only_definite_codes_and_unavailable_are_in_the_table() -> None:
    ambiguous = {Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS, Code.OK}
    assert not ambiguous & set(CODES.values())


def test_an_error_outside_the_branches_is_found_out() -> None:
    with pytest.raises(LookupError):
        code_of(GatewayError("bare"))


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Failure("ABSENT", "gone"), Code.NOT_FOUND),
        (Failure("RISK_BUYING_POWER", "too much"), Code.FAILED_PRECONDITION),
        (Failure("NOT_SENT", "too late"), Code.FAILED_PRECONDITION),
        (Failure("VENUE_REJECTED", "no", {"venue_http_status": "403"}), Code.FAILED_PRECONDITION),
        (Failure("VENUE_REJECTED", "no", {"venue_http_status": "422"}), Code.INVALID_ARGUMENT),
    ],
)
def test_a_failure_has_the_code_that_its_call_had(failure: Failure, code: grpc.StatusCode) -> None:
    assert failure_to_proto(failure).code == code.value[0]


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("m" * 9_999, violations=[FieldViolation("f" * 99, "d" * 999)] * 99),
        OrderDenied("é" * 9_999, checks=[FailedCheck("R", "s" * 999, "d" * 999)] * 99),
        InvalidRequest("m", metadata={f"{number}": "v" * 9_999 for number in range(99)}),
    ],
)
def test_a_status_is_bounded_whatever_is_put_into_it(error: GatewayError) -> None:
    assert error_to_proto(error, carries_key=True).ByteSize() <= STATUS_BYTES_MAX


@pytest.mark.parametrize("text", ["short", "ü" * 400, "line\nbreak\x1b[31m", "\ud800"])
def test_texts_are_cut_to_bytes_and_stay_printable(text: str) -> None:
    short = cut(text, 100)
    assert len(short.encode()) <= 100
    assert short.isprintable()


def test_the_key_is_said_once_and_not_by_the_metadata_of_an_error() -> None:
    error = InvalidRequest("no", metadata={"key": "forged", "other": "kept"})
    assert "forged" not in str(error_to_proto(error, carries_key=True))
    assert "free" not in str(error_to_proto(error, carries_key=False))
