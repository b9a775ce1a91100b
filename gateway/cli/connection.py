"""The command line's own road to a running gateway, and how it tells failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import grpc
import typer
from google.protobuf.message import Message

from trading_gateway.errors import GatewayError

TIMEOUT_S: Final = 10.0
"""How long a command waits for one answer."""

DEFAULT_TARGET: Final = "127.0.0.1:50051"

# Without these a stalled terminal lets megabytes of old quotes pile up in the transport.
_SMALL_WINDOWS: Final = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16_384))

_START_IT: Final = (
    f"Is the gateway running? 'make run' or 'trading-gateway serve' starts it. Not at {DEFAULT_TARGET}: say where, by\n"
    "--target HOST:PORT or GATEWAY_TARGET."
)
_LATE: Final = "No answer in time: 'trading-gateway doctor' looks at the gateway and its venue."


@contextmanager
def connected(target: str, *, unanswered: str = "", refused: str = "") -> Iterator[grpc.Channel]:
    """A channel for one command; an rpc's failure becomes one line on stderr, what to do, and exit code 1.

    Args:
        target: HOST:PORT.
        unanswered: What else to do when the gateway did not answer.
        refused: What to do when it refused.
    """
    with grpc.insecure_channel(target, options=_SMALL_WINDOWS) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            failure = GatewayError.from_call(error)
        else:
            return
    if failure.reason or not failure.ambiguous:  # the gateway's own word
        fail(f"{failure.code.name}: {failure.message}", "" if failure.ambiguous else refused)
    if failure.code is grpc.StatusCode.UNAVAILABLE:
        fail(f"No gateway answers at {target}.", "\n".join(filter(None, (_START_IT, unanswered))))
    fail(f"{failure.code.name}: {failure.message}", "\n".join(filter(None, (_LATE, unanswered))))


def fail(problem: str, remedy: str = "", *, code: int = 1) -> NoReturn:
    """Say what is wrong and what to do, on stderr, and leave."""
    typer.echo(problem, err=True)
    if remedy:
        typer.echo(remedy, err=True)
    raise typer.Exit(code)


def as_json(message: Message, indent: int | None = 2) -> str:
    """A message in protobuf's JSON, field names as in the protos; without indent one line."""
    from google.protobuf import json_format  # noqa: PLC0415 - only with --json

    return json_format.MessageToJson(message, preserving_proto_field_name=True, indent=indent)
