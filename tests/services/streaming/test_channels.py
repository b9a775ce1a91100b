"""Every channel through the hub: corrections and cancels, order books, bars by channel, statuses, bands."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.errors import FieldInvalid, SlowConsumer
from gateway.domain.models.market_data import (
    BookLevel,
    Luld,
    News,
    OrderBook,
    TradeCancel,
    TradeCorrection,
    TradingStatus,
)
from gateway.domain.types import Channel, ConflationPolicy, DataFeed
from gateway.services.streaming import MarketDataStream, StreamLimits
from gateway.services.streaming.channel_values import NewsValues
from gateway.services.streaming.feed_health import FeedHealth, Receipt
from gateway.services.streaming.hub import HubTimes
from gateway.services.streaming.mailbox import STALLED_BYTES_MAX, VALUE_BYTES
from gateway.services.streaming.outlet import STALL_S
from tests.services.streaming.conftest import Corridor, eventually
from tests.services.streaming.venue import T0_NS, bar, trade
from trading_gateway.v1 import market_data_pb2 as pb

NONE, LATEST = ConflationPolicy.NONE, ConflationPolicy.LATEST_PER_SYMBOL
PAIR = "BTC/USD"
Levels = dict[float, float]


def cancel(symbol: str, number: int) -> TradeCancel:
    one = trade(symbol, number)
    return TradeCancel(symbol, one.time_ns + 1, number, one.price, one.size, one.feed, one.receive_time_ns, "V", "C")


def correction(symbol: str, number: int, price: float) -> TradeCorrection:
    original = trade(symbol, number)
    corrected = replace(original, price=price, trade_id=1_000 + number, time_ns=original.time_ns + 1)
    return TradeCorrection(symbol, corrected.time_ns, original, corrected, original.feed, original.receive_time_ns)


def book(number: int, bids: Levels, asks: Levels, *, reset: bool) -> OrderBook:
    return OrderBook(
        PAIR,
        T0_NS + number,
        tuple(BookLevel(price, bids[price]) for price in sorted(bids, reverse=True)),
        tuple(BookLevel(price, asks[price]) for price in sorted(asks)),
        reset,
        DataFeed.CRYPTO_US,
        T0_NS,
    )


def elements(message: bytes) -> list[bytes]:
    """The bodies of a message's field 1, which it begins with."""
    found, at = [], 0
    while message[at : at + 1] == b"\x0a":
        at, length, shift = at + 1, 0, 0
        while True:
            length |= (message[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if message[at - 1] < 0x80:
                break
        found.append(message[at : at + length])
        at += length
    return found


async def flushed() -> None:
    """Let a group hand out what is pending: it waits for the next turn of the loop, or some 50 µs."""
    handed_out = asyncio.Event()
    asyncio.get_running_loop().call_later(0.001, handed_out.set)
    await handed_out.wait()


class BookReader:
    """Takes a stream of order books message by message, when it is told to."""

    def __init__(self, stream: MarketDataStream) -> None:
        self.stream = stream
        self._messages = stream.messages()

    async def books(self, count: int = 1) -> list[pb.OrderBook]:
        """The next messages that have any."""
        found: list[pb.OrderBook] = []
        while len(found) < count:
            found += [pb.OrderBook.FromString(body) for body in elements(await anext(self._messages))]
        return found


def sides(message: pb.OrderBook) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    return [(one.price, one.size) for one in message.bids], [(one.price, one.size) for one in message.asks]


async def opened(corridor: Corridor, policy: ConflationPolicy | None = None) -> BookReader:
    stream = await corridor.open(PAIR, channel=Channel.ORDER_BOOKS, conflation=policy, max_batch_delay_ms=0)
    return BookReader(stream)


@pytest.mark.parametrize("policy", [NONE, LATEST])
async def test_corrections_and_cancels_come_with_the_trades(corridor: Corridor, policy: ConflationPolicy) -> None:
    reader = await corridor.live("AAPL", channel=Channel.TRADES, conflation=policy)
    corridor.publish(trade("AAPL", 1), correction("AAPL", 1, 99.5), trade("AAPL", 2), cancel("AAPL", 2))
    await reader.until(lambda r: any(message.cancels for message in r.messages))
    corrections = [one for message in reader.messages for one in message.corrections]
    assert [(one.original.trade_id, one.corrected.price) for one in corrections] == [(1, 99.5)]
    assert [one.trade_id for message in reader.messages for one in message.cancels] == [2]
    wanted = [1, 2] if policy is NONE else [2]
    assert [value.trade_id for value in reader.values] == wanted
    assert not reader.values[-1].stale


async def test_a_reader_who_sleeps_loses_trades_and_no_notice(corridor: Corridor) -> None:
    stream = await corridor.open("AAPL", channel=Channel.TRADES, conflation=LATEST, max_batch_delay_ms=0)
    messages = stream.messages()
    await anext(messages)
    await corridor.connected()
    for number in range(20):
        corridor.publish(trade("AAPL", number), cancel("AAPL", number), correction("AAPL", number, 1.0))
        await flushed()
    said = pb.StreamTradesResponse()
    while len(said.cancels) < 20 or len(said.corrections) < 20:
        said.MergeFromString(await anext(messages))
    assert [one.trade_id for one in said.cancels] == list(range(20))
    assert [one.original.trade_id for one in said.corrections] == list(range(20))
    assert said.trades[-1].trade_id == 19
    stream.close()


async def test_notices_are_few_for_a_reader_who_has_stalled(corridor: Corridor) -> None:
    stream = await corridor.open("AAPL", channel=Channel.TRADES, conflation=LATEST, max_batch_delay_ms=0)
    messages = stream.messages()
    await anext(messages)
    await corridor.connected()
    corridor.publish(cancel("AAPL", 0))
    await flushed()
    await anext(messages)
    corridor.clocks.ahead_s += STALL_S + 0.1
    waiting = 0
    while not stream.outlet.has_failed:
        waiting += 100
        assert waiting * VALUE_BYTES < STALLED_BYTES_MAX
        corridor.publish(*(correction("AAPL", number, 99.5) for number in range(waiting, waiting + 100)))
        await flushed()
    with pytest.raises(SlowConsumer):
        await anext(messages)


@pytest.mark.parametrize("limits", [StreamLimits(500, 8, times=HubTimes(snapshot_wait_s=0.05))])
@pytest.mark.parametrize("is_burst", [True, False])
async def test_notices_that_nobody_reads_are_bounded(corridor: Corridor, is_burst: bool) -> None:
    stream = await corridor.open("AAPL", channel=Channel.TRADES, conflation=LATEST, max_batch_delay_ms=0)
    messages = stream.messages()
    await anext(messages)
    await corridor.connected()
    for number in range(20):
        corridor.publish(cancel("AAPL", number))
        if not is_burst:
            await flushed()
    with pytest.raises(SlowConsumer):
        async for _ in messages:
            pass


async def test_the_newest_trade_is_never_an_annulled_one(corridor: Corridor) -> None:
    await corridor.live("AAPL", channel=Channel.TRADES)
    held = lambda: corridor.service.held(Channel.TRADES, DataFeed.IEX, "AAPL")  # noqa: E731 - said three times
    corridor.publish(trade("AAPL", 1), correction("AAPL", 1, 99.5))
    assert (held().price, held().trade_id, held().time_ns) == (99.5, 1_001, trade("AAPL", 1).time_ns)
    corridor.publish(trade("AAPL", 2), cancel("AAPL", 1))
    assert held().trade_id == 2, "another's cancel changes nothing"
    corridor.publish(cancel("AAPL", 2))
    assert held() is None, "which trade is the newest now is the venue's to say"


async def test_bars_come_by_their_channel(corridor: Corridor) -> None:
    readers = {
        channel: await corridor.live("AAPL", channel=channel, skip_snapshot=True)
        for channel in Channel
        if channel.is_bars
    }
    for channel, reader in readers.items():
        corridor.publish(replace(bar("AAPL"), channel=channel, final=channel is not Channel.DAILY_BARS))
        await reader.until(lambda r: r.messages[-1].bars)
    numbers = {Channel.BARS: 3, Channel.UPDATED_BARS: 4, Channel.DAILY_BARS: 5}
    for channel, reader in readers.items():
        told = [value for message in reader.messages for value in message.bars]
        assert [(value.channel, value.final) for value in told] == [
            (numbers[channel], channel is not Channel.DAILY_BARS)
        ]
    assert len(corridor.venue.connections) == 1


async def test_statuses_and_bands_are_kept_for_who_comes_later(corridor: Corridor) -> None:
    halt = TradingStatus("AAPL", T0_NS, "H", DataFeed.IEX, T0_NS, "Trading Halt", "T12", "Halt", "C")
    band = Luld("AAPL", T0_NS, 105.0, 95.0, DataFeed.IEX, T0_NS, "B", "C")
    kinds: dict[Channel, Any] = {Channel.TRADING_STATUS: pb.TradingStatus, Channel.LULD: pb.Luld}
    for channel, value in ((Channel.TRADING_STATUS, halt), (Channel.LULD, band)):
        first = (await corridor.open("AAPL", channel=channel)).messages()
        await anext(first)
        await corridor.connected()
        await eventually(lambda: corridor.venue.connection.wanted.symbols.get(channel))  # noqa: B023 - asked at once
        corridor.publish(value)
        later = (await corridor.open("AAPL", channel=channel)).messages()
        [live], [held] = [
            [kinds[channel].FromString(body) async for message in stream_until(messages) for body in elements(message)]
            for messages in (first, later)
        ]
        assert (live.snapshot, held.snapshot) == (False, True)
        held.snapshot = False
        assert live == held


async def stream_until(messages: Any) -> Any:
    """The next message that has a value."""
    while not elements(message := await anext(messages)):
        pass
    yield message


async def test_a_book_is_told_whole_and_then_in_changes_where_every_value_is_wanted(corridor: Corridor) -> None:
    reader = await opened(corridor, NONE)
    await corridor.connected()
    corridor.publish(book(1, {100.0: 1.0, 99.0: 2.0}, {101.0: 1.0}, reset=True))
    corridor.publish(book(2, {100.0: 0.0, 98.0: 5.0}, {}, reset=False), book(3, {}, {100.5: 7.0}, reset=False))
    first, second, third = await reader.books(3)
    assert [one.reset for one in (first, second, third)] == [True, False, False]
    assert sides(second) == ([(100.0, 0.0), (98.0, 5.0)], [])
    later = await opened(corridor, NONE)
    [whole] = await later.books()
    assert (whole.snapshot, whole.reset) == (True, True)
    assert sides(whole) == ([(99.0, 2.0), (98.0, 5.0)], [(100.5, 7.0), (101.0, 1.0)])
    corridor.publish(book(4, {99.0: 0.0}, {}, reset=False))
    for one in (reader, later):
        [change] = await one.books()
        assert (change.reset, sides(change)) == (False, ([(99.0, 0.0)], []))


async def test_a_book_is_always_whole_where_the_newest_is_wanted(corridor: Corridor) -> None:
    reader = await opened(corridor)  # which is the default
    await corridor.connected()
    corridor.publish(book(1, {100.0: 1.0}, {101.0: 1.0}, reset=True))
    assert (await reader.books())[0].reset
    for number in range(2, 6):
        corridor.publish(book(number, {100.0: float(number)}, {}, reset=False))
    [newest] = await reader.books()
    assert newest.reset
    assert sides(newest) == ([(100.0, 5.0)], [(101.0, 1.0)])


async def test_changes_without_a_book_are_no_book(corridor: Corridor) -> None:
    """After a break what is held is the past; changes belong to the book that the venue begins anew with."""
    corridor.venue.newest[Channel.ORDER_BOOKS, PAIR] = book(0, {90.0: 1.0}, {}, reset=True)
    reader = await opened(corridor, NONE)
    [read] = await reader.books()
    assert (read.snapshot, sides(read)) == (True, ([(90.0, 1.0)], []))
    corridor.publish(book(1, {91.0: 1.0}, {}, reset=False))
    corridor.publish(book(2, {100.0: 1.0}, {}, reset=True), book(3, {99.0: 1.0}, {}, reset=False))
    begun = await reader.books(2)
    assert [one.reset for one in begun] == [True, False]
    assert corridor.service.held(Channel.ORDER_BOOKS, DataFeed.CRYPTO_US, PAIR) == book(
        3, {100.0: 1.0, 99.0: 1.0}, {}, reset=True
    )
    corridor.venue.connection.cut()
    corridor.publish(book(4, {98.0: 1.0}, {}, reset=False))
    held = corridor.service.held(Channel.ORDER_BOOKS, DataFeed.CRYPTO_US, PAIR)
    assert isinstance(held, OrderBook)
    assert [level.price for level in held.bids] == [100.0, 99.0]
    assert corridor.service.newest(Channel.ORDER_BOOKS, DataFeed.CRYPTO_US, PAIR) is None


async def test_a_book_that_changed_unseen_is_not_vouched_for(corridor: Corridor) -> None:
    """It was read by request, and then the feed told a change of it without having begun it."""
    corridor.venue.newest[Channel.ORDER_BOOKS, PAIR] = book(0, {90.0: 1.0}, {}, reset=True)

    def newest() -> object:
        return corridor.service.newest(Channel.ORDER_BOOKS, DataFeed.CRYPTO_US, PAIR)

    reader = await opened(corridor)
    await corridor.connected()
    [read] = await reader.books()
    assert not read.stale
    await eventually(newest)
    corridor.publish(book(1, {91.0: 1.0}, {}, reset=False))
    assert newest() is None
    assert reader.stream.told_stale == {PAIR}
    again = await opened(corridor)
    [read] = await again.books()
    assert (read.stale, sides(read)) == (True, ([(90.0, 1.0)], []))
    corridor.publish(replace(book(2, {100.0: 1.0}, {}, reset=True), receive_time_ns=time.time_ns()))
    for one in (reader, again):
        [begun] = await one.books()
        assert (begun.stale, sides(begun)) == (False, ([(100.0, 1.0)], []))
    assert newest() is not None


@pytest.mark.parametrize("seed", range(5))
def test_a_book_after_changes_is_what_a_ledger_of_prices_says(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    whole = book(0, {100.0: 1.0}, {101.0: 1.0}, reset=True)
    bids, asks = {100.0: 1.0}, {101.0: 1.0}
    for number in range(1, 200):
        changes = [
            {float(rng.randint(90, 110)): float(rng.randint(0, 2)) for _ in range(rng.randint(0, 3))} for _ in "ba"
        ]
        whole = whole.changed_by(book(number, changes[0], changes[1], reset=False))
        for side, change in zip((bids, asks), changes, strict=True):
            side.update(change)
            for price in [price for price, size in side.items() if not size]:
                del side[price]
        assert whole == book(number, bids, asks, reset=True)


@pytest.mark.parametrize(
    ("symbol", "foreign"),
    [("AAPL", {Channel.ORDER_BOOKS}), (PAIR, {Channel.TRADING_STATUS, Channel.LULD})],
)
@pytest.mark.parametrize("channel", Channel)
async def test_a_channel_that_a_class_does_not_have_is_refused(
    corridor: Corridor, channel: Channel, symbol: str, foreign: set[Channel]
) -> None:
    """The venue would answer 410, and take other symbols of the same change down with it."""
    if channel not in foreign:
        assert (await corridor.open(symbol, channel=channel)).terms.channel is channel
        return
    with pytest.raises(FieldInvalid) as refused:
        await corridor.open(symbol, channel=channel)
    assert [violation.field for violation in refused.value.violations] == ["channel"]
    assert corridor.venue.connections == []


def test_an_article_finds_both_spellings_and_goes_on_finding_the_one_that_is_left() -> None:
    class Reader:
        def __init__(self) -> None:
            self.heard: list[int] = []

        def add_notice(self, stamped: Any) -> None:
            self.heard.append(stamped[0].news_id)

    values = NewsValues(FeedHealth(DataFeed.NEWS, lambda: 7), Channel.NEWS)
    pair, stock = Reader(), Reader()
    values.add([PAIR, "BTCUSD", "AAPL"])
    values.entries[PAIR].sinks = (pair,)  # type: ignore[assignment]
    values.entries["BTCUSD"].sinks = (stock,)  # type: ignore[assignment]
    values.entries["AAPL"].sinks = (pair,)  # type: ignore[assignment]

    def publish(news_id: int) -> None:
        article = News(news_id, "", ("AAPL", "BTCUSD"), 1, 1, DataFeed.NEWS, 1)
        values.publish([article], [b""], Receipt(0.0, 1))

    publish(1)
    values.forget([PAIR])
    publish(2)
    values.forget(["BTCUSD", "AAPL"])
    publish(3)
    assert (pair.heard, stock.heard) == ([1, 2], [1, 2])
    assert values._named == {}
