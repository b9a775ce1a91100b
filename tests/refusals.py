"""What a client reads off a refusal, over a blocking channel; and which reasons a test has really met."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message

from tests.servicers.fakes import Refused, read_error
from trading_gateway.v1 import (
    account_pb2,
    errors_pb2,
    market_data_pb2,
    operations_pb2,
    reference_pb2,
    risk_pb2,
    simulation_pb2,
    trading_pb2,
)

CALL_S_MAX: Final = 20.0
REASON_PREFIX: Final = "ERROR_REASON_"
REASONS: Final = frozenset(
    value.name.removeprefix(REASON_PREFIX) for value in errors_pb2.ErrorReason.DESCRIPTOR.values if value.number
)

_SERVICES: Final = [
    module.DESCRIPTOR.services_by_name[name]
    for module, name in (
        (trading_pb2, "TradingService"),
        (market_data_pb2, "MarketDataService"),
        (account_pb2, "AccountService"),
        (reference_pb2, "ReferenceDataService"),
        (risk_pb2, "RiskService"),
        (operations_pb2, "OperationsService"),
        (simulation_pb2, "SimulationService"),
    )
]
METHODS: Final = {
    method.name: (f"/{service.full_name}/{method.name}", method.output_type._concrete_class)
    for service in _SERVICES
    for method in service.methods
}
"""Name of an rpc → its path and the class of its answer."""

_met: set[str] = set()
F = TypeVar("F", bound=Callable[..., Any])


class Wire:
    """A connection of its own to a gateway; requests may be bytes.

    Args:
        target: HOST:PORT.
        options: gRPC channel arguments.
        headers: Sent with every call.
    """

    def __init__(self, target: str, *options: tuple[str, int], headers: Sequence[tuple[str, str]] = ()) -> None:
        self.headers = tuple(headers)
        self.channel = grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1), *options])

    def call(
        self,
        method: str,
        request: Message | bytes,
        *,
        timeout: float | None = CALL_S_MAX,
        metadata: Sequence[tuple[str, str | bytes]] = (),
        **options: Any,
    ) -> Any:
        """One unary call, with more headers if there are some; raises grpc.RpcError."""
        headers = (*self.headers, *metadata)
        return self._unary(method)(_written(request), timeout=timeout, metadata=headers, **options)

    def begin(self, method: str, request: Message | bytes, *, timeout: float | None = CALL_S_MAX) -> Any:
        """The same, not waited for: a future."""
        return self._unary(method).future(_written(request), timeout=timeout, metadata=self.headers)

    def stream(self, method: str, request: Message | bytes, *, timeout: float | None = CALL_S_MAX) -> Any:
        """The messages of a streaming rpc, as they come."""
        path, answer = METHODS[method]
        stub = self.channel.unary_stream(path, None, answer.FromString)
        return stub(_written(request), timeout=timeout, metadata=self.headers)

    def refusal(self, method: str, request: Message | bytes, **options: Any) -> Refused:
        """The error of a call, or of a stream, that must fail."""
        try:
            answer = self.call(method, request, **options)
        except grpc.RpcError as error:
            return noted(error)
        raise AssertionError(f"not refused: {answer}")

    def stream_refusal(self, stream: Any) -> Refused:
        """The error that a stream ends with; what comes before is read over."""
        try:
            for _ in stream:
                pass
        except grpc.RpcError as error:
            return noted(error)
        raise AssertionError("the stream ended without an error")

    def close(self) -> None:
        """Hang up."""
        self.channel.close()

    def _unary(self, method: str) -> Any:
        path, answer = METHODS[method]
        return self.channel.unary_unary(path, None, answer.FromString)


def noted(error: grpc.RpcError) -> Refused:
    """The error as facts; its reason counts as met."""
    refusal = read_error(error)
    _met.add(refusal.reason)
    return refusal


def produces(*reasons: str) -> Callable[[F], F]:
    """Marks a test as the producer of reasons, and holds it to having met each of them on the wire."""
    unknown = set(reasons) - REASONS
    assert not unknown, f"no such reasons: {unknown}"

    def mark(test: F) -> F:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            _met.clear()
            test(*args, **kwargs)
            assert set(reasons) <= _met, f"not met: {set(reasons) - _met}"

        run.produces = reasons  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return mark


def meet(reason: str) -> None:
    """A reason that came not as a call's error but inside an answer (Order.failure, a result's status)."""
    _met.add(reason)


def _written(request: Message | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


def said(refusal: Refused) -> tuple[grpc.StatusCode, str, str]:
    """Code, reason and what becomes of the key."""
    return refusal.code, refusal.reason, refusal.metadata.get("key", "")
