"""A real aio server whose answers are written down beforehand, on an event loop of its own.

Each rpc has a script: one step a call, the last step repeated. A step is a message, a `Refusal`, or for a
stream a list of messages and refusals that ends with the connection kept open (`OPEN`), refused or closed. In a session
a number waits until so many commands have come; its requests are the commands of each connection.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from trading_gateway.errors import DOMAIN
from trading_gateway.v1 import market_data_pb2, risk_pb2, simulation_pb2, trading_pb2

OPEN: Final = "open"
"""The last step of a stream that stays open without a word until the client leaves."""


@dataclass(frozen=True)
class Refusal:
    """An error in the gateway's manner; without a reason, one of the transport."""

    code: grpc.StatusCode
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    retry_after_ms: int | None = None
    details: tuple[Message, ...] = ()
    message: str = "scripted"

    def status(self) -> status_pb2.Status:
        """The google.rpc.Status that the gateway would send."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        if self.reason:
            info = error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)
            status.details.add().Pack(info)
        if self.retry_after_ms is not None:
            delay = Duration()
            delay.FromMilliseconds(self.retry_after_ms)
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        for detail in self.details:
            status.details.add().Pack(detail)
        return status

    async def abort(self, context: grpc.aio.ServicerContext) -> None:
        """End the call."""
        context.set_trailing_metadata((("x-request-id", "request-7"),))
        if not (self.reason or self.details or self.retry_after_ms):
            await context.abort(self.code, self.message)
        await context.abort(
            self.code,
            self.message,
            (("x-request-id", "request-7"), *rpc_status.to_status(self.status()).trailing_metadata),
        )


class ScriptedGateway:
    """The server; `requests` has what each rpc was asked.

    Args:
        credentials: TLS; None: plain.
    """

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self._credentials = credentials
        self.scripts: dict[str, list[Any]] = {}
        self.requests: dict[str, list[Any]] = {}
        self.target = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._await(self._start())

    def script(self, rpc: str, *steps: Any) -> list[Any]:
        """Write down the answers of an rpc; the list of its requests is returned, and grows."""
        self.scripts[rpc] = list(steps)
        return self.requests.setdefault(rpc, [])

    def stop(self) -> None:
        """End the server and its loop."""
        self._await(self._server.stop(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _await(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    async def _start(self) -> grpc.aio.Server:
        server = grpc.aio.server()
        for module in (trading_pb2, market_data_pb2, risk_pb2, simulation_pb2):
            for service in module.DESCRIPTOR.services_by_name.values():
                server.add_generic_rpc_handlers((self._handlers(service),))
        anywhere = "127.0.0.1:0"
        if self._credentials is None:
            port = server.add_insecure_port(anywhere)
        else:
            port = server.add_secure_port(anywhere, self._credentials)
        self.target = f"127.0.0.1:{port}"
        await server.start()
        return server

    def _handlers(self, service: Any) -> grpc.GenericRpcHandler:
        handlers: dict[str, Any] = {}
        for method in service.methods:
            if method.client_streaming:
                handlers[method.name] = grpc.stream_stream_rpc_method_handler(
                    self._session(method.name),
                    request_deserializer=method.input_type._concrete_class.FromString,
                    response_serializer=lambda message: message.SerializeToString(),
                )
                continue
            streams = method.server_streaming
            kind = grpc.unary_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
            answer = self._streaming(method.name) if streams else self._unary(method.name)
            handlers[method.name] = kind(
                answer,
                request_deserializer=method.input_type._concrete_class.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
        return grpc.method_handlers_generic_handler(service.full_name, handlers)

    def _step(self, rpc: str, request: Any) -> Any:
        self.requests.setdefault(rpc, []).append(request)
        steps: Sequence[Any] = self.scripts[rpc]
        return steps.pop(0) if len(steps) > 1 else steps[0]  # type: ignore[attr-defined]

    def _unary(self, rpc: str) -> Any:
        async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
            step = self._step(rpc, request)
            if isinstance(step, Refusal):
                await step.abort(context)
            if step == OPEN:
                await asyncio.Event().wait()
            return step

        return answer

    def _streaming(self, rpc: str) -> Any:
        async def answer(request: Any, context: grpc.aio.ServicerContext) -> None:
            for step in self._step(rpc, request):
                if isinstance(step, Refusal):
                    await step.abort(context)
                elif step == OPEN:
                    await asyncio.Event().wait()
                else:
                    await context.write(step)

        return answer

    def _session(self, rpc: str) -> Any:
        async def answer(requests: Any, context: grpc.aio.ServicerContext) -> None:
            commands: list[Any] = []
            came = asyncio.Condition()

            async def read() -> None:
                async for command in requests:
                    async with came:
                        commands.append(command)
                        came.notify_all()

            reading = asyncio.create_task(read())
            try:
                for step in self._step(rpc, commands):
                    if isinstance(step, Refusal):
                        await step.abort(context)
                    elif step == OPEN:
                        await asyncio.Event().wait()
                    elif isinstance(step, int):
                        async with came:
                            await came.wait_for(lambda count=step: len(commands) >= count)  # type: ignore[misc]
                    else:
                        await context.write(step)
            finally:
                reading.cancel()

        return answer
