"""The command line's own road to a running gateway, and how it tells failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import grpc
import typer
from google.protobuf.message import Message

TIMEOUT_S: Final = 10.0
"""How long a command waits for one answer."""

DEFAULT_TARGET: Final = "127.0.0.1:50051"

# Without these a stalled terminal lets megabytes of old quotes pile up in the transport.
_SMALL_WINDOWS: Final = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16_384))

_HINTS: Final = {
    grpc.StatusCode.UNAVAILABLE: "Is the gateway running? 'trading-gateway serve' starts it.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "No answer in time: 'trading-gateway doctor' looks at the venue.",
}


@contextmanager
def connected(target: str, remedy: str = "") -> Iterator[grpc.Channel]:
    """A channel for one command; an rpc's failure becomes one line on stderr, what to do, and exit code 1."""
    with grpc.insecure_channel(target, options=_SMALL_WINDOWS) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            fail(f"{error.code().name}: {error.details()}", remedy or _HINTS.get(error.code(), ""))


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
