"""Articles, from the venue's socket to a session: each once to each reader, none replaced, and every break told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
import pytest

from gateway.domain.models.market_data import News
from gateway.domain.models.simulation import FaultKind
from gateway.domain.types import DataFeed
from tests.gateway_host import GatewayHost, RunningGateway
from trading_gateway.v1 import common_pb2 as common, market_data_pb2 as pb, market_data_pb2_grpc

WAIT_S_MAX: Final = 10.0
WHILE_UNREAD: Final = 200
FEED: Final = "news"
T0_NS: Final = 1_790_000_000 * 10**9
OURS_MAX: Final = 1_000
"""Ids of the articles that a test writes; the emulator's own newsroom counts from ten millions."""


class Session:
    """One session, and all that it was told."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call = market_data_pb2_grpc.MarketDataServiceStub(channel).MarketDataSession()
        self._numbers = itertools.count(1)
        self.articles: list[pb.News] = []
        self.quotes = 0
        self.statuses: list[pb.StreamStatus] = []
        self.acks: dict[str, list[pb.SubscriptionAck]] = {}
        self.last = 0

    async def open(self, **options: Any) -> None:
        """Begin."""
        await self._call.write(pb.MarketDataSessionRequest(command_id="open", open=pb.SessionOptions(**options)))

    async def subscribe(self, symbols: Iterable[str], channel: Any = pb.CHANNEL_NEWS, **chosen: Any) -> str:
        """Ask for more; the command's id."""
        return await self._say(subscribe=pb.Subscription(channel=channel, symbols=symbols, **chosen))

    async def unsubscribe(self, symbols: Iterable[str]) -> str:
        """Ask for less."""
        return await self._say(unsubscribe=pb.Subscription(channel=pb.CHANNEL_NEWS, symbols=symbols))

    async def ask_for_list(self) -> None:
        """Ask what is held."""
        await self._say(list=pb.ListSubscriptions())

    async def credit(self) -> None:
        """Everything so far is taken."""
        await self._say(credit=pb.BatchCredit(batch_sequence=self.last))

    async def until(self, condition: Callable[[], object]) -> None:
        """Read until it is so."""
        async with asyncio.timeout(WAIT_S_MAX):
            while not condition():
                batch = await self._call.read()
                self.last = batch.batch_sequence
                self.articles += [event.news for event in batch.events if event.HasField("news")]
                self.quotes += sum(event.HasField("quote") for event in batch.events)
                if batch.HasField("status"):
                    self.statuses.append(batch.status)
                for ack in batch.status.acks:
                    self.acks.setdefault(ack.command_id, []).append(ack)

    async def acknowledged(self, command_id: str) -> list[int]:
        """The codes of a command's acks."""
        await self.until(lambda: command_id in self.acks)
        return [ack.status.code for ack in self.acks[command_id]]

    @property
    def numbers(self) -> list[int]:
        """The test's articles, by their ids."""
        return [article.news_id for article in self.articles if article.news_id < OURS_MAX]

    @property
    def states(self) -> list[tuple[str, int]]:
        """What was told of feeds."""
        return [(feed.feed, feed.state) for status in self.statuses for feed in status.feeds]

    async def _say(self, **command: Any) -> str:
        command_id = str(next(self._numbers))
        await self._call.write(pb.MarketDataSessionRequest(command_id=command_id, **command))
        return command_id


@asynccontextmanager
async def sessions(gateway: RunningGateway, count: int) -> AsyncIterator[list[Session]]:
    """Some, over one connection."""
    async with grpc.aio.insecure_channel(gateway.target) as channel:
        yield [Session(channel) for _ in range(count)]


def write(gateway: RunningGateway, *articles: tuple[int, tuple[str, ...]]) -> None:
    """The venue publishes."""
    events = [
        News(news_id, f"Article {news_id}", symbols, T0_NS, T0_NS + news_id, DataFeed.NEWS, T0_NS)
        for news_id, symbols in articles
    ]

    def tell() -> None:
        for listener in gateway.emulator.emulator.floor._listeners:
            listener.on_events(events)

    gateway.emulator.call(tell)


async def test_an_article_is_given_once_to_each_reader_of_one_of_its_symbols(start_gateway: GatewayHost) -> None:
    gateway = start_gateway()
    async with sessions(gateway, 3) as (both, pair, other):
        for session, symbols in ((both, ("AAPL", "MSFT")), (pair, ("BTC/USD",)), (other, ("SPY",))):
            await session.open()
            assert await session.acknowledged(await session.subscribe(symbols)) == [0] * len(symbols)
        write(gateway, (1, ("AAPL", "MSFT", "BTCUSD")), (2, ("TSLA",)), (3, ("MSFT",)), (1, ("AAPL",)))
        write(gateway, (9, ("SPY", "AAPL", "BTCUSD")))
        for session, given in ((both, [1, 3, 1, 9]), (pair, [1, 9]), (other, [9])):
            await session.until(lambda: 9 in session.numbers)  # noqa: B023 - asked at once
            assert session.numbers == given
    [first] = [article for article in pair.articles if article.news_id == 1]
    assert (first.headline, list(first.symbols)) == ("Article 1", ["AAPL", "MSFT", "BTCUSD"])
    assert (first.create_time.ToNanoseconds(), first.update_time.ToNanoseconds()) == (T0_NS, T0_NS + 1)
    assert first.receive_time.seconds
    assert (FEED, common.FEED_STATE_LIVE) in both.states


async def test_articles_wait_one_by_one_for_who_does_not_read_and_are_never_conflated(
    start_gateway: GatewayHost,
) -> None:
    gateway = start_gateway()
    numbers = list(range(1, WHILE_UNREAD + 1))
    async with sessions(gateway, 1) as (session,):
        await session.open(conflation=pb.CONFLATION_POLICY_LATEST_PER_SYMBOL, max_unacknowledged_batches=1)
        await session.subscribe(["AAPL"])
        while not session.acks:  # each batch waits for the credit of the one before
            await session.until(lambda last=session.last: session.last > last)
            await session.credit()
        for number in numbers:
            write(gateway, (number, ("AAPL",)))
        while session.numbers[-1:] != numbers[-1:]:
            await session.until(lambda last=session.last: session.last > last)
            await session.credit()
    assert session.numbers == numbers
    assert all(status.conflated_total == 0 for status in session.statuses)


async def test_a_break_of_the_news_is_told_and_nobody_else_notices(start_gateway: GatewayHost) -> None:
    gateway = start_gateway()
    async with sessions(gateway, 1) as (session,):
        await session.open()
        await session.acknowledged(await session.subscribe(["AAPL"], pb.CHANNEL_QUOTES))
        await session.acknowledged(await session.subscribe(["AAPL", "BTC/USD"]))
        write(gateway, (1, ("BTCUSD",)))
        await session.until(lambda: session.numbers)
        gateway.emulator.fault(FaultKind.FEED_DISCONNECTED, FEED)
        await session.until(lambda: any(status.gaps for status in session.statuses))
        write(gateway, (2, ("AAPL",)))
        await session.until(lambda: 2 in session.numbers)
        quotes = session.quotes
        await session.until(lambda: session.quotes > quotes)
    [gap] = [gap for status in session.statuses for gap in status.gaps]
    assert (gap.feed, sorted(gap.symbols)) == (FEED, ["AAPL", "BTC/USD"])
    assert 0 < gap.from_time.ToNanoseconds() < gap.to_time.ToNanoseconds()
    news = [state for feed, state in session.states if feed == FEED]
    assert news.index(common.FEED_STATE_DISCONNECTED) < len(news) - 1 - news[::-1].index(common.FEED_STATE_LIVE)
    stocks = {state for feed, state in session.states if feed.startswith("stocks")}
    assert common.FEED_STATE_DISCONNECTED not in stocks


async def test_what_is_asked_of_news_is_answered_symbol_by_symbol(start_gateway: GatewayHost) -> None:
    gateway = start_gateway()
    refused, unknown = grpc.StatusCode.INVALID_ARGUMENT.value[0], grpc.StatusCode.NOT_FOUND.value[0]
    async with sessions(gateway, 1) as (session,):
        await session.open()
        mixed = await session.subscribe(["AAPL", "NO.SUCH", "BTC/USD", "*", "AAPL261218C00200000"])
        await session.until(lambda: len(session.acks.get(mixed, ())) == 5)
        codes = {ack.symbol: ack.status.code for ack in session.acks[mixed]}
        assert (codes["AAPL"], codes["BTC/USD"], codes["NO.SUCH"]) == (0, 0, unknown)
        assert {codes["*"], codes["AAPL261218C00200000"]} <= {refused, unknown}
        chosen = [{"feed": common.DATA_FEED_IEX}, {"asset_class": common.ASSET_CLASS_US_EQUITY}]
        for one in chosen:
            assert await session.acknowledged(await session.subscribe(["MSFT"], **one)) == [refused]
        assert await session.acknowledged(await session.unsubscribe(["AAPL", "MSFT"])) == [0, unknown]
        await session.ask_for_list()
        await session.until(lambda: any(status.subscriptions for status in session.statuses))
        write(gateway, (1, ("AAPL",)), (2, ("BTCUSD",)))
        await session.until(lambda: session.numbers)
    [held] = [held for status in session.statuses for held in status.subscriptions]
    assert held == pb.Subscription(channel=pb.CHANNEL_NEWS, symbols=["BTC/USD"])
    assert session.numbers == [2]
    [ack] = [ack for ack in session.acks[mixed] if ack.symbol == "AAPL"]
    assert (ack.asset_class, ack.feed) == (common.ASSET_CLASS_UNSPECIFIED, common.DATA_FEED_UNSPECIFIED)


@pytest.mark.parametrize("path", ["/v1beta1/nonsense", "/v2/news"])
async def test_the_emulator_has_no_other_socket(start_gateway: GatewayHost, path: str) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    gateway = start_gateway()
    with pytest.raises(InvalidStatus):
        await connect(gateway.emulator.ws_url + path)
