"""The asyncio client: the methods of `client.Client`, to await or to iterate over with `async for`.

One event loop uses one `AsyncClient`. An iterator that is left early is closed with `contextlib.aclosing`,
or when it is collected.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import math
import os
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
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
from trading_gateway.following import AsyncFollowing, AsyncMarketDataSession
from trading_gateway.market_streams import Values
from trading_gateway.retry import Attempts, Reconnects, RetryPolicy
from trading_gateway.session import LoopOutbox
from trading_gateway.streams import WATCH_INTERVAL_S, Silence, Stream, stream_broke
from trading_gateway.transport import DEFAULT_TIMEOUT_S, reach
from trading_gateway.v1 import trading_pb2
from trading_gateway.waiting import OrderWait, is_terminal

T = TypeVar("T")
P = ParamSpec("P")


def _calling(build: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """The method that carries out a call."""

    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.run(build(*args, **kwargs))

    functools.update_wrapper(method, build)
    return method


def _listing(build: Callable[P, Pages[T]]) -> Callable[Concatenate[AsyncClient, P], AsyncGenerator[T]]:
    """The method that iterates over a list, fetching its pages as they are needed."""

    def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T]:
        return self._items(build(*args, **kwargs))

    functools.update_wrapper(method, build)
    return method


def _following(build: Callable[P, Stream[T]]) -> Callable[Concatenate[AsyncClient, P], AsyncGenerator[T]]:
    """The method that iterates over a stream, across connections."""

    def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T]:
        return self._messages(build(*args, **kwargs))

    functools.update_wrapper(method, build)
    return method


def _valuing(build: Callable[P, Values[T]]) -> Callable[Concatenate[AsyncClient, P], AsyncFollowing[T]]:
    """The method that iterates over the values of a stream, across connections."""

    def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncFollowing[T]:
        values = build(*args, **kwargs)
        return AsyncFollowing(self._messages(values), values)

    functools.update_wrapper(method, build)
    return method


class AsyncClient:
    """A connection to the gateway, opened at the first call; an asynchronous context manager.

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
        channel: grpc.aio.Channel | None = None,
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
        self._connection = reach(grpc.aio, target, access, credentials, channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; iterators end, calls in flight fail."""
        opened = self._connection.give_up()
        if self._owns_channel and opened is not None:
            await opened.close()

    def market_data_session(self, **options: Unpack[market_data.SessionOptions]) -> AsyncMarketDataSession:
        """As `Client.market_data_session`."""
        session = market_data.market_data_session(LoopOutbox, **options)
        return AsyncMarketDataSession(self._messages(session), session)

    def with_timeout(self, timeout_s: float) -> Self:
        """This client with another timeout, on the same connection."""
        view = copy.copy(self)
        view._timeout_s = timeout_s
        return view

    async def run(self, call: Call[T]) -> T:
        """As `Client.run`."""
        timeout_s = self._timeout_s + call.wait_s
        call = call.dated(time.time_ns(), timeout_s)
        attempts = Attempts(self._retry, call, timeout_s=timeout_s)
        while True:
            shown = self._connection.headers()
            try:
                made = self._connection.unary(call)(call.request, timeout=attempts.try_s, metadata=shown)
                return call.pick(await made)
            except grpc.RpcError as error:
                failure = GatewayError.from_call(error)
            self._connection.judge(failure, shown)
            await asyncio.sleep(attempts.pause_after(failure))  # out here: see Client.run

    async def wait_for(
        self,
        order: trading_pb2.Order,
        *,
        until: Callable[[trading_pb2.Order], bool] = is_terminal,
        timeout_s: float = 60.0,
    ) -> trading_pb2.Order:
        """As `Client.wait_for`."""
        wait = OrderWait(order, until)
        if not wait.is_over:
            async with aclosing(self._messages(wait.updates(), time.monotonic() + timeout_s)) as updates:
                async for update in updates:
                    if wait.see(update):
                        wait.read(await self.get_order(wait.order))
                    if wait.is_over:
                        break
        return wait.result()

    async def _items(self, pages: Pages[T]) -> AsyncGenerator[T]:
        call: Call[Any] | None = pages.first()
        while call is not None:
            page = await self.run(call)
            for item in pages.items(page):
                yield item
            call = pages.after(page)

    async def _messages(self, stream: Stream[T], end_s: float = math.inf) -> AsyncGenerator[T]:
        """Follow a stream across connections, until an instant of the monotonic clock."""
        reconnects = Reconnects(self._retry, end_s=end_s)
        while not (self._connection.closed or reconnects.is_over):
            shown = self._connection.headers()
            open_stream = self._connection.stream(stream)
            reconnects.opened()
            call = open_stream(stream.request(), timeout=reconnects.remaining_s, metadata=shown)
            stream.opened(functools.partial(_is_alive, call))
            failure = stream_broke()
            silence = Silence(stream.silence_max_s)
            watched = asyncio.create_task(_watch(silence, call.cancel))
            try:
                async for message in call:
                    silence.heard()
                    reconnects.received()
                    for item in stream.items(message):
                        yield item
                    if (work := stream.handled(message)) is not None:
                        await asyncio.to_thread(work)
                    silence.waiting()
                if stream.is_finite:
                    return
            except grpc.RpcError as error:
                failure = stream_broke(error)
            except asyncio.CancelledError:
                # grpc.aio says the same for a closed channel and a call that is given up as for a cancelled task.
                if not (self._connection.closed or silence.was_noticed) or _is_cancelled():
                    raise
            finally:
                watched.cancel()
                call.cancel()
                stream.closed()
            if not self._connection.closed:
                failure = silence.failure() if silence.was_noticed else failure
                self._connection.judge(failure, shown)
                for item in stream.broken(failure):
                    yield item
                await asyncio.sleep(reconnects.pause_after(failure, stream.path))


async def _watch(silence: Silence, give_up: Callable[[], object]) -> None:
    """Give a stream up when it has become silent."""
    while silence.limit_s is not None:
        await asyncio.sleep(WATCH_INTERVAL_S)
        if silence.notice():
            give_up()
            return


def _is_alive(call: grpc.aio.Call) -> bool:
    return not call.done()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
