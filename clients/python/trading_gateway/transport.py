"""Where the gateway is, how the channel to it is set, and what each call on it shows.

GATEWAY_TARGET names the address; 127.0.0.1:50051 is the default, where `trading-gateway serve` listens.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from trading_gateway.access import Access, AccessRefused, Bearer, Headers
from trading_gateway.call import Call
from trading_gateway.errors import GatewayError
from trading_gateway.session import SessionFollower
from trading_gateway.streams import Stream

TARGET_VARIABLE: Final = "GATEWAY_TARGET"
DEFAULT_TARGET: Final = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S: Final = 10.0
"""Seconds for a call with all its tries; streams have no end."""

_WINDOW_BYTES: Final = 16_384
_KEEPALIVE_MS: Final = 20_000
_KEEPALIVE_TIMEOUT_MS: Final = 10_000
_RECONNECT_MIN_MS: Final = 100
_RECONNECT_MAX_MS: Final = 2_000

CHANNEL_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    # Transports buffer ahead of a reader that stands still: 78,758 small messages, measured. With a fixed small
    # window the gateway notices at once, and keeps only the newest value for it.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
    # A connection whose other end vanished without a word is found out within half a minute.
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.max_pings_without_data", 0),
    # A restarted gateway is back within a second or two; grpc's own pauses grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MIN_MS),
    ("grpc.min_reconnect_backoff_ms", _RECONNECT_MIN_MS),
    ("grpc.max_reconnect_backoff_ms", _RECONNECT_MAX_MS),
    # Orders do not travel through a proxy that an environment variable happens to name.
    ("grpc.enable_http_proxy", 0),
)
"""What every channel of this package is opened with."""


def resolve_target(target: str | None) -> str:
    """The argument, else GATEWAY_TARGET, else the default."""
    return target or os.environ.get(TARGET_VARIABLE) or DEFAULT_TARGET


class Connection:
    """A channel and the methods that were called on it; the same for grpc and grpc.aio.

    Args:
        open_channel: Opens a grpc.Channel or grpc.aio.Channel, at the first use: an asyncio channel belongs to the
            loop that runs then.
        bearer: Knows the token that calls show.
    """

    def __init__(self, open_channel: Callable[[], Any], bearer: Bearer) -> None:
        self._open_channel = open_channel
        self._bearer = bearer
        self._channel: Any = None
        self._methods: dict[str, Any] = {}
        self.closed = False

    def open(self) -> Any:
        """The channel, opened unless it is.

        Raises:
            ValueError: The client is closed.
        """
        if self.closed:
            raise ValueError("the client is closed")
        if self._channel is None:
            self._channel = self._open_channel()
        return self._channel

    def give_up(self) -> Any:
        """Take no more calls; the channel to close, None when there was no call."""
        self.closed = True
        self._methods.clear()
        return self._channel

    def headers(self) -> Headers:
        """What a call that is made now shows."""
        return self._bearer.headers()

    def judge(self, failure: GatewayError, shown: Headers) -> None:
        """Add to an error what it cannot know: whether there is another token by now than the one that was shown."""
        is_refused = failure.code is grpc.StatusCode.UNAUTHENTICATED
        failure.token_replaced = is_refused and self._bearer.has_other_than(shown)

    def unary(self, call: Call[Any]) -> Any:
        """The callable of a unary rpc."""
        if call.path not in self._methods:
            self._methods[call.path] = self.open().unary_unary(call.path, _serialize, call.response.FromString)
        return self._methods[call.path]

    def stream(self, stream: Stream[Any]) -> Any:
        """The callable of a streaming rpc."""
        if stream.path not in self._methods:
            channel = self.open()
            opening = channel.stream_stream if isinstance(stream, SessionFollower) else channel.unary_stream
            self._methods[stream.path] = opening(stream.path, _serialize, stream.response.FromString)
        return self._methods[stream.path]


def reach(
    module: Any,
    target: str | None,
    access: Access,
    credentials: grpc.ChannelCredentials | None,
    channel: Any,
) -> Connection:
    """The connection of a client.

    Args:
        module: grpc or grpc.aio, which open channels alike.
        target: As the client was given it.
        access: Token and TLS.
        credentials: Instead of the TLS of `access`.
        channel: Open already, instead of all of these.

    Raises:
        AccessRefused: What was given cannot be used, or would show a token to the network.
    """
    if channel is not None:
        if access != Access():
            raise AccessRefused("a channel that is given has its own TLS, and shows its own token: leave these out")
        return Connection(lambda: channel, Bearer(access))
    address = resolve_target(target)
    if credentials is None:
        access.check(address)
        credentials = access.credentials()
    if credentials is None:
        return Connection(lambda: module.insecure_channel(address, CHANNEL_OPTIONS), Bearer(access))
    return Connection(lambda: module.secure_channel(address, credentials, CHANNEL_OPTIONS), Bearer(access))


def _serialize(request: Message) -> bytes:
    return request.SerializeToString()
