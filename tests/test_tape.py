"""Real input, end to end: a recorded tape through the emulator, Alpaca's wire, the gateway and gRPC.

Every recorded quote arrives, in order, bit for bit, stamped by the tape's formula to the nanosecond, none of them
stale and none conflated; an order placed meanwhile fills at the recorded bid or offer of that moment.
"""

from __future__ import annotations

import csv
import gzip
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest

from gateway.emulator.tape import Tape
from tests.gateway_host import GatewayHost, RunningGateway
from trading_gateway import Client
from trading_gateway.v1 import common_pb2, market_data_pb2 as md, market_data_pb2_grpc, trading_pb2 as pb

RECORDINGS = Path(__file__).resolve().parents[1].parent / "shared" / "tape"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no recorded tape beside this checkout"),
]

NANOS = 1_000_000_000
REPLAY_S_MAX = 40.0
MESSAGE_BYTES_MAX = 8 * 1024 * 1024


RECORDED_QUOTES = {"us_equity/2018-01-02": 49_536, "crypto/2024-08-08": 52_117}


class Row(NamedTuple):
    """What a quote says, as recorded or as received; `conditions` is their text joined."""

    symbol: str
    time_ns: int
    bid_price: float
    bid_size: float
    bid_exchange: str
    ask_price: float
    ask_size: float
    ask_exchange: str
    conditions: str


def recorded(name: str) -> list[Row]:
    """The file's rows, read without the emulator's own reader. Alpaca's crypto quotes name no exchange."""
    with gzip.open(RECORDINGS / name / "quotes.csv.gz", "rt") as file:
        return [
            Row(
                row["symbol"],
                int(row["ts_ns"]),
                float(row["bid_price"]),
                float(row["bid_size"]),
                row["bid_exchange"] if is_stock(row) else "",
                float(row["ask_price"]),
                float(row["ask_size"]),
                row["ask_exchange"] if is_stock(row) else "",
                row["conditions"],
            )
            for row in csv.DictReader(file)
        ]


def is_stock(row: dict[str, str]) -> bool:
    """Whether the row is an equity's."""
    return "/" not in row["symbol"]


def received(quote: md.Quote) -> Row:
    """What came over gRPC."""
    return Row(
        quote.symbol,
        quote.time.seconds * NANOS + quote.time.nanos,
        quote.bid_price,
        quote.bid_size,
        quote.bid_exchange,
        quote.ask_price,
        quote.ask_size,
        quote.ask_exchange,
        "".join(quote.conditions),
    )


class Replay:
    """One subscription to a tape that begins with it.

    Attributes:
        quotes: Live quotes so far, in the order of arrival.
        conflated: As the stream last said.
        gaps: Holes in the feed that the stream told of.
    """

    def __init__(self, channel: grpc.Channel, symbols: list[str]) -> None:
        request = md.StreamQuotesRequest(
            symbols=symbols, conflation=md.CONFLATION_POLICY_NONE, skip_snapshot=True, max_batch_delay={"nanos": 0}
        )
        self._call = market_data_pb2_grpc.MarketDataServiceStub(channel).StreamQuotes(request, timeout=REPLAY_S_MAX)
        self._sequence = 0
        self.quotes: list[md.Quote] = []
        self.conflated = 0
        self.gaps: list[common_pb2.GapNotice] = []
        self.refusals: list[md.SubscriptionAck] = []

    def read_until(self, count: int) -> None:
        """Read on until so many quotes have come."""
        while len(self.quotes) < count:
            message = next(self._call)
            self._sequence += 1
            assert message.batch_sequence == self._sequence
            self.conflated = max(self.conflated, message.status.conflated_total)
            self.gaps += message.status.gaps
            self.refusals += [ack for ack in message.status.acks if ack.status.code]
            self.quotes += message.quotes

    def close(self) -> None:
        """Read no more."""
        self._call.cancel()


@pytest.fixture
def channel_to() -> Iterator[Callable[[RunningGateway], grpc.Channel]]:
    """Opens channels whose messages may be long: nothing here is a slow reader's."""
    opened: list[grpc.Channel] = []

    def open_channel(gateway: RunningGateway) -> grpc.Channel:
        opened.append(
            grpc.insecure_channel(gateway.target, options=[("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)])
        )
        return opened[-1]

    yield open_channel
    for channel in opened:
        channel.close()


def tape_of(gateway: RunningGateway) -> Tape:
    """The tape that its emulator plays."""
    market = gateway.emulator.emulator.market
    assert isinstance(market, Tape)
    return market


def stamped(rows: list[Row], tape: Tape, speed: int) -> list[Row]:
    """The recorded rows with the times of design: start + (t - first) / speed, rounded down."""
    start_ns = tape.start_ns
    assert start_ns is not None
    return [row._replace(time_ns=start_ns + (row.time_ns - tape.first_ns) // speed) for row in rows]


def assert_every_quote_came(replay: Replay, expected: list[Row]) -> None:
    """All of them, in order, bit for bit; none stale, none conflated, none a snapshot."""
    assert replay.refusals == []
    assert [received(quote) for quote in replay.quotes] == expected
    assert not any(quote.stale or quote.snapshot for quote in replay.quotes)
    assert (replay.conflated, replay.gaps) == (0, [])
    assert all(
        received(quote).time_ns <= quote.receive_time.seconds * NANOS + quote.receive_time.nanos
        for quote in replay.quotes
    )


def quote_at(rows: list[Row], symbol: str, time_ns: int) -> Row:
    """The recorded quote that stood at an instant, by its stamp."""
    of_symbol = [row for row in rows if row.symbol == symbol]
    return of_symbol[bisect_right([row.time_ns for row in of_symbol], time_ns) - 1]


class Trader:
    """Places orders and follows them to their fills on the update stream."""

    def __init__(self, gateway: RunningGateway) -> None:
        self._client = Client(gateway.target)
        self._updates = self._client.stream_order_updates()
        next(update for update in self._updates if update.HasField("snapshot_end"))

    def trade(self, key: str, symbol: str, side: str, quantity: str) -> list[pb.Fill]:
        """A market order's fills, in order, when it is filled."""
        time_in_force = "gtc" if "/" in symbol else "day"
        self._client.submit_order(
            client_order_id=key,
            symbol=symbol,
            side=side,
            quantity=quantity,
            order_type="market",
            time_in_force=time_in_force,
        )
        fills: list[pb.Fill] = []
        for update in self._updates:
            if update.event.order.client_order_id == key and update.event.HasField("fill"):
                fills.append(update.event.fill)
                if update.event.kind == pb.OrderEvent.KIND_FILL:
                    return fills
        raise AssertionError("the stream of order updates ended")

    def close(self) -> None:
        """Follow no more."""
        self._client.close()


def assert_filled_at_the_tape(fills: list[pb.Fill], rows: list[Row], side: str, quantity: str) -> None:
    """Each fill at the best price that stood at its instant, by the tape."""
    assert sum(Decimal(fill.quantity) for fill in fills) == Decimal(quantity)
    for fill in fills:
        standing = quote_at(rows, fill.symbol, fill.trade_time.seconds * NANOS + fill.trade_time.nanos)
        price = standing.ask_price if side == "buy" else standing.bid_price
        assert Decimal(fill.price) == Decimal(repr(price))


@pytest.mark.parametrize(
    ("name", "symbols", "speed", "traded", "quantity", "part"),
    [
        pytest.param("us_equity/2018-01-02", ["XXX"], 10_000, "XXX", "3", "2", id="stock"),
        pytest.param("crypto/2024-08-08", ["BTC/USDT", "ETH/USDT"], 100, "ETH/USDT", "0.05", "0.01", id="crypto"),
        pytest.param(
            "crypto/2024-08-08", ["BTC/USDT", "ETH/USDT"], 2_000, "BTC/USDT", "0.002", "0.001", id="crypto in a burst"
        ),
    ],
)
def test_every_recorded_quote_arrives_and_orders_fill_at_it(
    start_gateway: GatewayHost,
    channel_to: Callable[[RunningGateway], grpc.Channel],
    name: str,
    symbols: list[str],
    speed: int,
    traded: str,
    quantity: str,
    part: str,
) -> None:
    rows = recorded(name)
    assert len(rows) == RECORDED_QUOTES[name]
    gateway = start_gateway(venue={"tape": RECORDINGS / name, "tape_speed": Fraction(speed)})
    replay = Replay(channel_to(gateway), symbols)
    replay.read_until(len(rows) // 4)
    trader = Trader(gateway)
    with ThreadPoolExecutor(1) as readers:
        rest = readers.submit(replay.read_until, len(rows))
        bought = trader.trade("buy", traded, "buy", quantity)
        sold = trader.trade("sell", traded, "sell", part)
        rest.result()
    trader.close()
    replay.close()

    expected = stamped(rows, tape_of(gateway), speed)
    assert_every_quote_came(replay, expected)
    assert_filled_at_the_tape(bought, expected, "buy", quantity)
    assert_filled_at_the_tape(sold, expected, "sell", part)
