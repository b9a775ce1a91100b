"""The command line's own road to a running gateway: address, token, TLS; and how it tells failures.

A secret never stands on a command line, where every process of the machine can read it: there is no option for a token,
only for a file with one. What the options leave out comes from the environment.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import grpc
import typer
from google.protobuf.message import Message

from gateway.cli.remedies import remedy_for
from trading_gateway.access import Access, AccessRefused, Bearer
from trading_gateway.errors import GatewayError
from trading_gateway.plain_words import NOBODY_THERE

TIMEOUT_S: Final = 10.0
"""How long a command waits for one answer."""

DEFAULT_TARGET: Final = "127.0.0.1:50051"

# Without these a stalled terminal lets megabytes of old quotes pile up in the transport.
_CHANNEL_OPTIONS: Final = (
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 16_384),
    # Who follows quotes over a restart of the gateway does not wait for gRPC's own pauses, which grow to two minutes.
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_http_proxy", 0),  # a token is for the gateway, and not for whom an environment variable names
)

_START_IT: Final = (
    f"Is the gateway running? 'make run' or 'trading-gateway serve' starts it. Not at {DEFAULT_TARGET}: say where, by\n"
    "--target HOST:PORT or GATEWAY_TARGET."
)
_LOOK_CLOSER: Final = "'trading-gateway doctor' finds out why."
_LATE: Final = "No answer in time: 'trading-gateway doctor' looks at the gateway and its venue."

_ACCESS: Final[ContextVar[Access | None]] = ContextVar("access", default=None)
_ACCESS_OPTIONS: Final = {
    "token_file": Annotated[Path | None, typer.Option(help="A file with your token; or GATEWAY_TOKEN[_FILE].")],
    "tls_ca": Annotated[
        str | None, typer.Option(help="Who vouches for the gateway: a PEM file, or 'system'; or GATEWAY_TLS_CA.")
    ],
    "tls_client_cert": Annotated[
        Path | None, typer.Option(help="Your own certificate, PEM; or GATEWAY_TLS_CLIENT_CERT.")
    ],
    "tls_client_key": Annotated[Path | None, typer.Option(help="Its key, PEM; or GATEWAY_TLS_CLIENT_KEY.")],
}

Command = TypeVar("Command", bound=Callable[..., None])


def with_access(command: Command) -> Command:
    """Give a command the options for token and TLS; `access` has what they say."""
    signature = inspect.signature(command, eval_str=True)
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _ACCESS_OPTIONS.items()
    ]

    @functools.wraps(command)
    def reaching(**arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in _ACCESS_OPTIONS}
        try:
            _ACCESS.set(Access.of(**given))
        except AccessRefused as refusal:
            fail(str(refusal), code=2)
        command(**arguments)

    reaching.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *options]
    )
    return reaching  # type: ignore[return-value]


def access() -> Access:
    """What the running command shows of itself, and whom it believes.

    Raises:
        AccessRefused: The environment contradicts itself.
    """
    return _ACCESS.get() or Access.of()


@contextmanager
def connected(target: str, *, unanswered: str = "", refused: str = "") -> Iterator[grpc.Channel]:
    """A channel for one command; an rpc's failure becomes one line on stderr, what to do, and exit code 1.

    Args:
        target: HOST:PORT.
        unanswered: What else to do when the gateway did not answer.
        refused: What to do when it refused.
    """
    try:
        given = access()
        channel = open_channel(target, given)
    except AccessRefused as refusal:
        fail(str(refusal), code=2)
    with channel:
        try:
            yield channel
        except grpc.RpcError as error:
            failure = GatewayError.from_call(error)
        except GatewayError as error:
            failure = error
        else:
            return
    if failure.reason or not failure.ambiguous:  # the gateway's own word
        remedy = "" if failure.ambiguous else remedy_for(failure, shows_token=given.shows_token) or refused
        fail(f"{failure.code.name}: {failure.message}", remedy)
    if failure.code is not grpc.StatusCode.UNAVAILABLE:
        fail(f"{failure.code.name}: {failure.message}", "\n".join(filter(None, (_LATE, unanswered))))
    if failure.message.startswith(NOBODY_THERE):
        fail(f"No gateway answers at {target}.", "\n".join(filter(None, (_START_IT, unanswered))))
    fail(f"No connection: {failure.message}", "\n".join(filter(None, (_LOOK_CLOSER, unanswered))))


def open_channel(target: str, given: Access) -> grpc.Channel:
    """A channel whose calls show the token.

    Raises:
        AccessRefused: A file cannot be used, or a token would go over the network for all to read.
    """
    given.check(target)
    credentials = given.credentials()
    shown = _Shown(Bearer(given))
    if credentials is None:
        channel = grpc.insecure_channel(target, options=_CHANNEL_OPTIONS)
    else:
        channel = grpc.secure_channel(target, credentials, options=_CHANNEL_OPTIONS)
    return grpc.intercept_channel(channel, shown)


class _Shown(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Adds the token to each call."""

    def __init__(self, bearer: Bearer) -> None:
        self._bearer = bearer

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Ask one."""
        return continuation(self._with_token(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Open a stream."""
        return continuation(self._with_token(client_call_details), request)

    def _with_token(self, details: Any) -> Any:
        return details._replace(metadata=(*(details.metadata or ()), *self._bearer.headers()))


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
