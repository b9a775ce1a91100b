"""Which handler a call meets, and how long its request may be on the way.

gRPC's core waits for the message of a call before any handler runs, and would for as long as the connection lives.
Each such call takes one of the places that all callers share, and nobody knows yet who makes it: a few connections that
send headers and nothing else would lock everybody out. Here a call whose request has not come whole in time gives its
place back; its client is told nothing, since gRPC has no way to answer a call that it has not read. What a call meets
after that is the doors' (`interceptors.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import grpc
import structlog

_TICKS: Final = 10
"""Looks within the longest wait."""
_log = structlog.get_logger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Doorway(grpc.GenericRpcHandler):
    """All methods behind one look-up.

    gRPC's registered methods would wait for the next call of each of them: a cost per call that grows with
    the number of methods.

    Args:
        handlers: Of each method, its doors.
        nowhere: For what is no method.
        request_wait_ms: How long a request may be on the way.
    """

    def __init__(self, handlers: Mapping[str, Handler], nowhere: Handler, request_wait_ms: int) -> None:
        self._handlers = {path: self._noting_arrival(handler) for path, handler in handlers.items()}
        self._nowhere = self._noting_arrival(nowhere)
        self._tick_s = request_wait_ms / 1_000 / _TICKS
        self._tick = 0
        self._waiting: dict[asyncio.Task[Any] | None, int] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def service(self, details: grpc.HandlerCallDetails) -> Handler:
        """The handler of a method, or of what there is none of; called in the task of the call."""
        handler = self._handlers.get(details.method, self._nowhere)
        if not handler.request_streaming:  # a stream of requests meets its doors at once
            self._waiting[asyncio.current_task()] = self._tick
        return handler

    def start(self) -> None:
        """Begin to look for requests that do not come; to be called on the event loop."""
        if self._sweeper is None:
            self._sweep()

    def stop(self) -> None:
        """Look no more."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def _sweep(self) -> None:
        self._tick += 1
        late = [task for task, tick in self._waiting.items() if self._tick - tick >= _TICKS]
        gone = [task for task in self._waiting if task is None or task.done()]  # given up by the client
        for task in (*late, *gone):
            self._waiting.pop(task, None)
        for task in late:
            if task is not None:
                task.cancel()
        if late:
            _log.warning("requests_never_came", count=len(late))
        self._sweeper = asyncio.get_running_loop().call_later(self._tick_s, self._sweep)

    def _arrived(self, raw: bytes) -> bytes:
        self._waiting.pop(asyncio.current_task(), None)
        return raw

    def _noting_arrival(self, handler: Handler) -> Handler:
        """The same handler, whose doors get the bytes as they are; it tells when it has them."""
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(handler.unary_unary, self._arrived, handler.response_serializer)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                handler.unary_stream, self._arrived, handler.response_serializer
            )
        return handler
