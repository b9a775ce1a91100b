"""The blocking client. What each method asks and answers is written once, beside its rpc's name in
the module of its service, as `trading`; `aio.AsyncClient` has the same methods to await.

A `Client` may be used by several threads; an iterator belongs to one.
"""

from __future__ import annotations

import copy
import functools
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

import grpc

from trading_gateway import (
    account,
    history,
    market_data,
    operations,
    order_updates,
    reference,
    risk,
    simulation,
    trading,
)
from trading_gateway.access import Access, FilePath
from trading_gateway.call import Call, Pages
from trading_gateway.errors import GatewayError
from trading_gateway.following import Following, MarketDataSession
from trading_gateway.market_streams import Values
from trading_gateway.retry import Attempts, Reconnects, RetryPolicy
from trading_gateway.session import ThreadOutbox
from trading_gateway.streams import WATCH_INTERVAL_S, Silence, Stream, stream_broke
from trading_gateway.transport import DEFAULT_TIMEOUT_S, reach
from trading_gateway.v1 import trading_pb2
from trading_gateway.waiting import OrderWait, is_terminal

T = TypeVar("T")
P = ParamSpec("P")


def _calling(build: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    """The method that carries out a call."""

    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(build(*args, **kwargs))

    functools.update_wrapper(method, build)
    return method


def _listing(build: Callable[P, Pages[T]]) -> Callable[Concatenate[Client, P], Iterator[T]]:
    """The method that iterates over a list, fetching its pages as they are needed."""

    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._items(build(*args, **kwargs))

    functools.update_wrapper(method, build)
    return method


def _following(build: Callable[P, Stream[T]]) -> Callable[Concatenate[Client, P], Iterator[T]]:
    """The method that iterates over a stream, across connections."""

    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._messages(build(*args, **kwargs))

    functools.update_wrapper(method, build)
    return method


def _valuing(build: Callable[P, Values[T]]) -> Callable[Concatenate[Client, P], Following[T]]:
    """The method that iterates over the values of a stream, across connections."""

    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Following[T]:
        values = build(*args, **kwargs)
        return Following(self._messages(values), values)

    functools.update_wrapper(method, build)
    return method


class Client:
    """A connection to the gateway, made at the first call; a context manager.

    Args:
        target: HOST:PORT; None: GATEWAY_TARGET, else 127.0.0.1:50051.
        timeout_s: Seconds for one call, its repetitions included.
        retry: Bounds of repeating.
        token: The secret that was minted; None: GATEWAY_TOKEN. It is not sent in plain text beyond this machine.
        token_file: A file with it instead, read again when it has changed; None: GATEWAY_TOKEN_FILE.
        tls_ca: A file with the certificates of who may vouch for the gateway, or `system`; None: GATEWAY_TLS_CA.
            Without one, and without a client certificate, the connection is plain, as the gateway serves on loopback.
        tls_client_cert: A file with this client's own certificate; None: GATEWAY_TLS_CLIENT_CERT.
        tls_client_key: A file with its key; None: GATEWAY_TLS_CLIENT_KEY.
        credentials: TLS set up elsewhere, instead of the tls_* arguments.
        channel: An open channel to use instead of all of these; its owner closes it.

    Raises:
        AccessRefused: What was given, or the environment, cannot be used.
    """

    submit_order = _calling(trading.submit_order)
    preview_order = _calling(trading.preview_order)
    replace_order = _calling(trading.replace_order)
    cancel_order = _calling(trading.cancel_order)
    cancel_orders = _calling(trading.cancel_orders)
    get_order = _calling(trading.get_order)
    list_orders = _listing(trading.list_orders)
    list_fills = _listing(trading.list_fills)
    get_order_timeline = _calling(trading.get_order_timeline)
    close_position = _calling(trading.close_position)
    close_positions = _calling(trading.close_positions)
    stream_order_updates = _following(order_updates.stream_order_updates)

    get_latest_quotes = _calling(market_data.get_latest_quotes)
    get_latest_trades = _calling(market_data.get_latest_trades)
    get_latest_bars = _calling(market_data.get_latest_bars)
    get_snapshots = _calling(market_data.get_snapshots)
    get_latest_order_books = _calling(market_data.get_latest_order_books)
    list_bars = _listing(market_data.list_bars)
    list_quotes = _listing(history.list_quotes)
    list_trades = _listing(history.list_trades)
    stream_historical_bars = _following(history.stream_historical_bars)
    stream_quotes = _following(market_data.stream_quotes)
    stream_trades = _following(market_data.stream_trades)
    stream_bars = _following(market_data.stream_bars)
    follow_quotes = _valuing(market_data.follow_quotes)
    follow_trades = _valuing(market_data.follow_trades)
    follow_bars = _valuing(market_data.follow_bars)

    get_account = _calling(account.get_account)
    list_positions = _calling(account.list_positions)
    get_position = _calling(account.get_position)
    get_quota = _calling(account.get_quota)

    get_asset = _calling(reference.get_asset)
    list_assets = _listing(reference.list_assets)
    get_market_clock = _calling(reference.get_market_clock)
    list_market_days = _calling(reference.list_market_days)

    get_trading_state = _calling(risk.get_trading_state)
    set_trading_state = _calling(risk.set_trading_state)

    mint_token = _calling(operations.mint_token)
    list_tokens = _listing(operations.list_tokens)
    rotate_token = _calling(operations.rotate_token)
    revoke_token = _calling(operations.revoke_token)
    list_scopes = _calling(operations.list_scopes)

    get_simulation = _calling(simulation.get_simulation)
    inject_fault = _calling(simulation.inject_fault)
    list_faults = _calling(simulation.list_faults)
    clear_faults = _calling(simulation.clear_faults)
    list_ledger = _listing(simulation.list_ledger)

    def __init__(
        self,
        target: str | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = None,
        token: str | None = None,
        token_file: FilePath | None = None,
        tls_ca: FilePath | None = None,
        tls_client_cert: FilePath | None = None,
        tls_client_key: FilePath | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        channel: grpc.Channel | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._retry = retry or RetryPolicy()
        self._owns_channel = channel is None
        access = Access.of(
            token=token,
            token_file=token_file,
            tls_ca=tls_ca,
            tls_client_cert=tls_client_cert,
            tls_client_key=tls_client_key,
            environment=os.environ if channel is None else {},
        )
        self._connection = reach(grpc, target, access, credentials, channel)
        self._connection.open()  # here, before threads could open two

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; iterators end, calls in flight fail."""
        opened = self._connection.give_up()
        if self._owns_channel and opened is not None:
            opened.close()

    def market_data_session(self, **options: Unpack[market_data.SessionOptions]) -> MarketDataSession:
        """Live data of every channel in one stream, its subscriptions changed while it runs; see `MarketDataSession`.

        Args:
            options: As `SessionOptions`.
        """
        session = market_data.market_data_session(ThreadOutbox, **options)
        return MarketDataSession(self._messages(session), session)

    def with_timeout(self, timeout_s: float) -> Self:
        """This client with another timeout, on the same connection."""
        view = copy.copy(self)
        view._timeout_s = timeout_s
        return view

    def run(self, call: Call[T]) -> T:
        """Carry out a call, and repeat it under the same key while that is safe and its timeout lasts.

        Raises:
            GatewayError: The last failure.
        """
        timeout_s = self._timeout_s + call.wait_s
        call = call.dated(time.time_ns(), timeout_s)
        attempts = Attempts(self._retry, call, timeout_s=timeout_s)
        while True:
            shown = self._connection.headers()
            try:
                made = self._connection.unary(call)(call.request, timeout=attempts.try_s, metadata=shown)
                return call.pick(made)
            except grpc.RpcError as error:
                failure = GatewayError.from_call(error)
            self._connection.judge(failure, shown)
            time.sleep(attempts.pause_after(failure))  # raised out here it does not drag grpc's traceback along

    def wait_for(
        self,
        order: trading_pb2.Order,
        *,
        until: Callable[[trading_pb2.Order], bool] = is_terminal,
        timeout_s: float = 60.0,
    ) -> trading_pb2.Order:
        """Wait for an order on its book's update stream; the stream outlives lost connections.

        Args:
            order: As submit_order or get_order answered.
            until: When the wait is over; default: the order can change no more.
            timeout_s: Seconds to wait at most.

        Raises:
            TimeoutError: It did not come so far; the order goes on.
            GatewayError: The stream or the read failed for good.
        """
        wait = OrderWait(order, until)
        if not wait.is_over:
            for update in self._messages(wait.updates(), time.monotonic() + timeout_s):
                if wait.see(update):
                    wait.read(self.get_order(wait.order))
                if wait.is_over:
                    break
        return wait.result()

    def _items(self, pages: Pages[T]) -> Iterator[T]:
        call: Call[Any] | None = pages.first()
        while call is not None:
            page = self.run(call)
            yield from pages.items(page)
            call = pages.after(page)

    def _messages(self, stream: Stream[T], end_s: float = math.inf) -> Generator[T, None, None]:
        """Follow a stream across connections, until an instant of the monotonic clock."""
        reconnects = Reconnects(self._retry, end_s=end_s)
        while not (self._connection.closed or reconnects.is_over):
            shown = self._connection.headers()
            open_stream = self._connection.stream(stream)
            reconnects.opened()
            call = open_stream(stream.request(), timeout=reconnects.remaining_s, metadata=shown)
            stream.opened(call.is_active)
            failure = stream_broke()
            silence = Silence(stream.silence_max_s)
            watched = _watch(silence, call.cancel)
            try:
                for message in call:
                    silence.heard()
                    reconnects.received()
                    yield from stream.items(message)
                    if (work := stream.handled(message)) is not None:
                        work()
                    silence.waiting()
                if stream.is_finite:
                    return
            except grpc.RpcError as error:
                failure = silence.failure() if silence.was_noticed else stream_broke(error)
            finally:
                watched.set()
                call.cancel()
                stream.closed()
            if not self._connection.closed:
                self._connection.judge(failure, shown)
                yield from stream.broken(failure)
                time.sleep(reconnects.pause_after(failure, stream.path))


def _watch(silence: Silence, give_up: Callable[[], object]) -> threading.Event:
    """Give a stream up when it has become silent; until the event is set."""
    done = threading.Event()

    def watching() -> None:
        while not done.wait(WATCH_INTERVAL_S):
            if silence.notice():
                give_up()
                return

    if silence.limit_s is not None:
        threading.Thread(target=watching, name="trading-gateway-silence", daemon=True).start()
    return done
