"""The places inside that read what others wrote, each as a function of bytes that raises only for a fault.

What a place may answer is its value or its own refusal; a value must be sound: finite numbers, and text that can be
stored and sent. `python -m tests.fuzz` gives them to atheris, which looks for new branches; `make test` gives them what
hypothesis makes of their seeds.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from decimal import Decimal
from ipaddress import ip_address
from math import isfinite
from pathlib import Path
from typing import Any, Final

import msgpack
import structlog
from google.protobuf.message import Message
from pydantic import ValidationError

from gateway.application.resume_tokens import Book, read_token, write_token
from gateway.config import Settings
from gateway.domain.errors import GatewayError, PageTokenMismatch, ResumeTokenInvalid, TokenInvalid
from gateway.domain.models.market_data import SubscriptionSet
from gateway.domain.page_tokens import number_of, read_page_token
from gateway.domain.types import (
    Caller,
    Channel,
    DataFeed,
    Venue,
    format_decimal,
    is_client_order_id,
    is_symbol,
    parse_decimal,
)
from gateway.infrastructure.alpaca.clients import ClientFactory
from gateway.infrastructure.alpaca.converters import account as accounts, errors, market_data, orders, reference
from gateway.infrastructure.alpaca.converters.fields import Unreadable, exact_json, parse_date, parse_time_ns
from gateway.infrastructure.alpaca.data_stream import GatewayStockStream
from gateway.infrastructure.alpaca.order_stream import GatewayOrderStream
from gateway.infrastructure.alpaca.reconnect import BackOff, StreamRefused
from gateway.infrastructure.alpaca.secret import Secret
from gateway.infrastructure.alpaca.streaming_adapter import MarketDataFeed
from gateway.servicers.wire import (
    account as wire_account,
    market_data as wire_market,
    market_history as wire_past,
    operations as wire_operations,
    order_history as wire_history,
    order_updates as wire_updates,
    reference as wire_reference,
    risk as wire_risk,
    simulation as wire_simulation,
    trading as wire_trading,
)
from gateway.servicers.wire.errors import error_to_proto
from gateway.servicers.wire.requests import guarded
from gateway.services.identity import IdentityService
from gateway.services.validation import ValidationService
from tests.bad_requests import bars, close, replace, submit
from trading_gateway.v1 import (
    account_pb2 as account,
    market_data_pb2 as data,
    operations_pb2 as operations,
    reference_pb2 as reference_pb,
    risk_pb2 as risk,
    simulation_pb2 as simulation,
    trading_pb2 as pb,
)

NOW_NS: Final = 1_790_000_000_000_000_000
GOLDEN: Final = Path(__file__).parents[1] / "golden"
Parser = Callable[[bytes], None]


class _Store:
    """An IdentityStore without tokens."""

    def all(self) -> tuple[()]:
        return ()

    async def put(self, *_: Any) -> None:
        """Keeps nothing."""


# --- tokens and numbers

_IDENTITY: Final = IdentityService(_Store(), Venue.EMULATOR, lambda: NOW_NS)
_BOOK: Final = Book("default")


def bearer(raw: bytes) -> None:
    """The header that says who calls: nobody is let in by chance."""
    try:
        _IDENTITY.verify(raw.decode("latin-1"), lambda: ip_address("127.0.0.1"))
    except TokenInvalid:
        return
    raise AssertionError("a gateway without tokens let somebody in")


def resume_token(raw: bytes) -> None:
    """Where a reader of a book was: what is read is what was written."""
    text = raw.decode("utf-8", "replace")
    try:
        epoch, sequence, chain_hash = read_token(_BOOK, text)
    except ResumeTokenInvalid:
        return
    assert read_token(_BOOK, write_token(_BOOK, epoch, sequence, chain_hash)) == (epoch, sequence, chain_hash)


def page_token(raw: bytes) -> None:
    """Where a list goes on."""
    text = raw.decode("utf-8", "replace")
    try:
        for part in read_page_token(text, "0" * 16, 2):
            assert 0 <= number_of(part) < 10**20
    except PageTokenMismatch:
        return


def texts(raw: bytes) -> None:
    """Numbers, symbols, keys, times: what passes reads back as itself."""
    text = raw.decode("utf-8", "replace")
    number = parse_decimal(text)
    if number is not None:
        assert number.is_finite()
        assert number >= 0
        assert parse_decimal(format_decimal(number)) == number
    if is_symbol(text) or is_client_order_id(text):
        assert text.isascii()
        assert text.isprintable()
        assert " " not in text
    parse_time_ns(text)
    parse_date(text)


# --- requests, from bytes to the fingerprint

_CALLER: Final = Caller()
_VALIDATION: Final = ValidationService()


def _submitted(request: Any) -> None:
    order = wire_trading.order_request_from_proto(request, _CALLER, NOW_NS)
    once, again = order.fingerprint, order.fingerprint
    assert once == again
    normalized = _VALIDATION.normalize(order.spec, reference.asset_from_alpaca(_alpaca_asset(order.spec.symbol)))
    assert orders.spec_to_alpaca(normalized, "default.a")["symbol"] == order.spec.symbol


def _alpaca_asset(symbol: str) -> dict[str, Any]:
    return {
        "id": "11111111-2222-4333-8444-555555555555",
        "class": "crypto" if "/" in symbol else "us_equity",
        "exchange": "NASDAQ",
        "symbol": symbol,
        "name": symbol,
        "status": "active",
        "tradable": True,
        "fractionable": True,
    }


READERS: Final[tuple[tuple[type[Message], Callable[[Any], Any]], ...]] = (
    (pb.SubmitOrderRequest, _submitted),
    (pb.PreviewOrderRequest, lambda request: wire_trading.preview_from_proto(request, _CALLER)),
    (pb.ReplaceOrderRequest, lambda request: wire_trading.replace_from_proto(request, _CALLER, NOW_NS)),
    (pb.CancelOrderRequest, lambda request: wire_trading.cancel_from_proto(request, _CALLER)),
    (pb.CancelOrdersRequest, lambda request: wire_trading.cancel_scope_from_proto(request, _CALLER)),
    (pb.GetOrderRequest, lambda request: wire_trading.order_ref_from_proto(request, _CALLER)),
    (pb.ListOrdersRequest, lambda request: wire_trading.order_filter_from_proto(request, _CALLER)),
    (pb.ListFillsRequest, lambda request: wire_history.fill_filter_from_proto(request, _CALLER)),
    (pb.ClosePositionRequest, lambda request: wire_trading.close_from_proto(request, _CALLER, NOW_NS)),
    (pb.ClosePositionsRequest, lambda request: wire_trading.close_many_from_proto(request, _CALLER)),
    (pb.StreamOrderUpdatesRequest, lambda request: wire_updates.follow_from_proto(request, _CALLER)),
    (data.GetLatestQuotesRequest, wire_market.read_request_from_proto),
    (data.GetLatestOrderBooksRequest, wire_market.read_request_from_proto),
    (data.ListBarsRequest, wire_past.bars_request_from_proto),
    (data.ListQuotesRequest, lambda request: wire_past.history_request_from_proto(request, Channel.QUOTES)),
    (data.ListTradesRequest, lambda request: wire_past.history_request_from_proto(request, Channel.TRADES)),
    (data.StreamHistoricalBarsRequest, wire_past.long_request_from_proto),
    (account.GetAccountRequest, wire_account.staleness_from_proto),
    (account.GetPositionRequest, wire_account.position_request_from_proto),
    (reference_pb.GetAssetRequest, wire_reference.asset_request_from_proto),
    (reference_pb.ListAssetsRequest, wire_reference.asset_filter_from_proto),
    (reference_pb.ListMarketDaysRequest, lambda request: wire_reference.market_days_from_proto(request, NOW_NS)),
    (risk.SetTradingStateRequest, wire_risk.wanted_state_from_proto),
    (simulation.InjectFaultRequest, wire_simulation.fault_order_from_proto),
    (simulation.ListLedgerRequest, wire_simulation.ledger_query_from_proto),
    (operations.MintTokenRequest, wire_operations.grant_from_proto),
    (operations.ListTokensRequest, wire_operations.token_filter_from_proto),
    (operations.RotateTokenRequest, wire_operations.rotation_from_proto),
)


def request(raw: bytes) -> None:
    """Bytes → message → domain → validation → fingerprint; the first byte says of which rpc."""
    kind, read = READERS[raw[0] % len(READERS)] if raw else READERS[0]
    try:
        sound(read(guarded(kind.FromString)(raw[1:])))
    except GatewayError as error:
        status = error_to_proto(error, carries_key=True)
        assert len(status.message.encode()) <= 512
        status.SerializeToString()


# --- the venue's answers and frames


VENUE_READERS: Final[tuple[Callable[[Any], Any], ...]] = (
    orders.order_from_alpaca,
    orders.listed_order_from_alpaca,
    lambda raw: orders.update_from_alpaca(raw, NOW_NS),
    lambda raw: accounts.account_from_alpaca(raw, Venue.PAPER, NOW_NS),
    lambda raw: accounts.position_from_alpaca(raw, "AAPL", NOW_NS),
    accounts.activity_from_alpaca,
    reference.asset_from_alpaca,
    reference.assets_from_alpaca,
    reference.clock_from_alpaca,
    reference.market_day_from_alpaca,
    reference.option_contracts_from_alpaca,
    lambda raw: market_data.quote_from_alpaca("AAPL", raw, DataFeed.IEX, NOW_NS),
    lambda raw: market_data.trade_from_alpaca("AAPL", raw, DataFeed.IEX, NOW_NS),
    lambda raw: market_data.bar_from_alpaca("AAPL", raw, DataFeed.IEX, NOW_NS),
    lambda raw: market_data.snapshot_from_alpaca("AAPL", raw, DataFeed.IEX, NOW_NS),
)
MARKET_READERS: Final = 4
"""The last of them, which read the JSON of market data."""


def venue_answer(raw: bytes) -> None:
    """The body of an answer; the first byte says which."""
    at = raw[0] % len(VENUE_READERS) if raw else 0
    is_market = at >= len(VENUE_READERS) - MARKET_READERS
    try:
        body = market_data.market_json(raw[1:]) if is_market else exact_json(raw[1:])
        sound(VENUE_READERS[at](body))
    except Unreadable as error:
        sound(str(error))


STATUSES: Final = (302, 400, 401, 403, 404, 409, 422, 429, 500, 502, 504)


def venue_refusal(raw: bytes) -> None:
    """The body of an error; the first byte says of which status. Nothing but the known statuses is definite."""
    status, body = STATUSES[raw[0] % len(STATUSES)] if raw else 500, raw[1:]
    headers = {"x-request-id": "r", "retry-after": body[:8].decode("latin-1"), "x-ratelimit-reset": "9" * 12}
    for error in (errors.change_error(status, body, headers, 1.0), errors.read_error(status, body, headers, 1.0)):
        assert isinstance(error, Exception)
        sound(str(error))
        sound(getattr(error, "metadata", {}))
    errors.is_not_found(status, body)


class _Heard:
    """A listener that looks at what it is told."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        assert name.startswith("on_")
        return lambda *told: sound(told)


class _Once:
    """A socket on which one frame comes."""

    def __init__(self, frame: bytes | str) -> None:
        self._frames = [frame]

    async def recv(self) -> bytes | str:
        """The frame, then the end."""
        if not self._frames:
            raise EOFError
        return self._frames.pop()


def order_frame(raw: bytes) -> None:
    """A frame of the order feed, as text or as bytes."""
    stream = GatewayOrderStream("ws://127.0.0.1:1", Secret("key"), Secret("secret"))
    stream.listen(_Heard(), lambda: NOW_NS)  # type: ignore[arg-type]  # it has every method
    for frame in (raw, raw.decode("utf-8", "surrogateescape") if raw.isascii() else raw):
        stream._ws = _Once(frame)
        _run(stream.serve())


class _Stocks(ClientFactory):
    """Makes streams, and nothing else."""

    def __init__(self) -> None:
        """Without pools."""

    def data_stream(self, feed: DataFeed) -> Any:
        """One that was never connected."""
        return GatewayStockStream("ws://127.0.0.1:1", Secret("key"), Secret("secret"))


def data_frame(raw: bytes) -> None:
    """A frame of the market data feed, through the connection that serves it."""
    feed = MarketDataFeed(
        _Stocks(),
        DataFeed.IEX,
        _Heard(),
        clock_ns=lambda: NOW_NS,
        monotonic=lambda: 0.0,
        back_off=BackOff(),
        rng=None,  # type: ignore[arg-type]
    )
    feed._stream._ws = _Once(raw)
    _run(feed.serve())


RUN_S_MAX: Final = 5.0
_LOOP: Final = asyncio.new_event_loop()


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run what waits for nothing but its turn: whoever closes a socket or refuses a key ends it."""
    with suppress(EOFError, StreamRefused):
        _LOOP.run_until_complete(asyncio.wait_for(work, RUN_S_MAX))


# --- settings


def settings(raw: bytes) -> None:
    """The environment: lines of NAME=VALUE. A value is taken or refused, by name."""
    given: dict[str, Any] = {}
    for line in raw.decode("utf-8", "replace").splitlines()[:20]:
        name, _, value = line.partition("=")
        given[name.strip().lower().replace(" ", "_")[:64]] = value
    try:
        Settings(**given)
    except ValidationError:
        return


# --- soundness


def sound(value: Any) -> None:
    """Everything in it can be stored and sent."""
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, float):
        assert isfinite(value)
    elif isinstance(value, Decimal):
        assert value.is_finite()
        assert abs(value.adjusted()) <= 64
    elif isinstance(value, Mapping):
        for name, inside in value.items():
            sound(name)
            sound(inside)
    elif isinstance(value, list | tuple | set | frozenset):
        for inside in value:
            sound(inside)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type | SubscriptionSet):
        for described in dataclasses.fields(value):
            sound(getattr(value, described.name))


# --- the table


def _golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.alpaca.json").read_bytes()


def _quote_frame() -> bytes:
    quote = {"T": "q", "S": "AAPL", "bx": "V", "bp": 1.5, "bs": 3, "ax": "Q", "ap": 2.5, "as": 1, "c": ["R"], "z": "C"}
    trade = {"T": "t", "S": "AAPL", "i": 7, "x": "V", "p": 1.5, "s": 3, "c": ["@"], "z": "C"}
    bar = {"T": "b", "S": "AAPL", "o": 1.0, "h": 2.0, "l": 1.0, "c": 1.5, "v": 9, "n": 3, "vw": 1.2}
    side = {"oi": 7, "op": 1.5, "os": 3, "oc": ["@"], "ci": 8, "cp": 1.6, "cs": 3, "cc": ["@"]}
    correction = {"T": "c", "S": "AAPL", "x": "V", "z": "C"} | side
    cancel = {"T": "x", "S": "AAPL", "i": 7, "x": "V", "p": 1.5, "s": 3, "a": "C", "z": "C"}
    book = {"T": "o", "S": "BTC/USD", "b": [{"p": 1.5, "s": 1.0}], "a": [{"p": 2.5, "s": 0.0}], "r": True}
    status = {"T": "s", "S": "AAPL", "sc": "H", "sm": "Trading Halt", "rc": "T12", "rm": "Halt", "z": "C"}
    band = {"T": "l", "S": "AAPL", "u": 3.24, "d": 2.65, "i": "B", "z": "C"}
    at = msgpack.Timestamp(1_789_999_999, 123_456_789)
    messages = (quote, trade, correction, cancel, bar, bar | {"T": "u"}, bar | {"T": "d"}, book, status, band)
    packed: bytes = msgpack.packb([message | {"t": at} for message in messages])
    return packed


def _requests() -> tuple[bytes, ...]:
    good: tuple[Message, ...] = (submit(), pb.PreviewOrderRequest(spec=submit().spec), replace(limit_price="51"))
    told = {type(message): message for message in (*good, close(), bars())}
    return tuple(
        bytes([at]) + (told[kind].SerializeToString() if kind in told else b"") for at, (kind, _) in enumerate(READERS)
    )


PARSERS: Final[Mapping[str, tuple[Parser, tuple[bytes, ...]]]] = {
    "bearer": (bearer, (b"Bearer gw_emu_00000000_" + b"A" * 43, b"bearer gw_live_0", b"Basic eA==")),
    "resume_token": (resume_token, (write_token(_BOOK, "00" * 8, 7, bytes(8)).encode(), b"", b"AAAA")),
    "page_token": (page_token, (b"0" * 16 + b".123.456", b"0" * 16 + b".x.y", b"...")),
    "texts": (texts, (b"1.5", b"AAPL", b"BTC/USD", b"2026-03-02T14:30:00.123456789Z", b"2026-03-02", b"key-1")),
    "request": (request, _requests()),
    "venue_answer": (
        venue_answer,
        (
            b"\x00" + _golden("order_filled"),
            b"\x01" + _golden("order_bracket"),
            b"\x02" + b'{"event":"fill","timestamp":"2026-03-02T14:30:00Z","order":' + _golden("order_filled") + b"}",
            b"\x03" + _golden("account"),
            b"\x04" + _golden("position_crypto"),
            b"\x06" + _golden("asset_crypto"),
            b"\x09" + _golden("market_day_half"),
            b"\x0a" + _golden("quote_stock"),
            b"\x0b" + _golden("trade_crypto"),
            b"\x0c" + _golden("bar_stock"),
        ),
    ),
    "venue_refusal": (
        venue_refusal,
        (b'\x01{"code":40010001,"message":"bad"}', b'\x07{"message":"too many requests."}', b"\x0a<html>"),
    ),
    "order_frame": (
        order_frame,
        (
            b'{"stream":"trade_updates","data":{"event":"fill","timestamp":"2026-03-02T14:30:00Z","order":'
            + _golden("order_filled")
            + b"}}",
            b'{"stream":"listening","data":{"streams":["trade_updates"]}}',
            b'[{"T":"error","code":406,"msg":"connection limit exceeded"}]',
        ),
    ),
    "data_frame": (
        data_frame,
        (
            _quote_frame(),
            msgpack.packb([{"T": "subscription", "quotes": ["AAPL"], "trades": [], "bars": []}]),
            msgpack.packb([{"T": "error", "code": 405, "msg": "symbol limit exceeded"}]),
        ),
    ),
    "settings": (
        settings,
        (b"listen=127.0.0.1:0\nvenue=emulator", b"streams_max=5\nlog_level=debug", b"venue=live\nlisten=0.0.0.0:1"),
    ),
}


def quiet() -> None:
    """Say nothing of what is refused a million times."""
    logging.disable(logging.CRITICAL)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=structlog.ReturnLoggerFactory(),
    )
