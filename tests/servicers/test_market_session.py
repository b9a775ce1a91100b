"""MarketDataSession over a real socket: commands and their acks, credits, policies, and what ends a session."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from gateway.domain.types import Channel
from gateway.servicers.server import REQUEST_WINDOW_BYTES
from gateway.servicers.session_commands import COMMANDS_WAITING_MAX, SYMBOLS_WAITING_MAX
from gateway.servicers.wire.market_session import SYMBOL_CHARACTERS_MAX
from gateway.services.client_limits import ClientBounds
from gateway.services.streaming import HubTimes, StreamLimits
from gateway.services.streaming.outlet import ACKS_WAITING_MAX
from tests.servicers.test_market_data import Market, market, reason, seconds  # noqa: F401 - a fixture
from tests.services.streaming.conftest import corridor, eventually  # noqa: F401 - a fixture
from tests.services.streaming.venue import bar, order_book, quote, trade
from trading_gateway.v1 import common_pb2, market_data_pb2 as pb

QUOTES, TRADES, BARS = pb.CHANNEL_QUOTES, pb.CHANNEL_TRADES, pb.CHANNEL_BARS
WAIT_MAX_S = 5.0


@pytest.fixture
def limits() -> StreamLimits:
    """As the corridor's own, but a venue that is asked again and again may take its time."""
    return StreamLimits(500, 65_536, times=HubTimes(linger_s=0.05, ack_timeout_s=2.0, snapshot_wait_s=0.05))


class Session:
    """A client of a session that reads when it is told to."""

    def __init__(self, market: Market, **options: Any) -> None:  # noqa: F811 - no fixture here
        self.call = market.stub.MarketDataSession()
        self.options = options
        self._commands = 0
        self.messages: list[pb.MarketDataSessionResponse] = []

    async def open(self) -> Session:
        """Open it, and wait until it says so."""
        await self.send(open=pb.SessionOptions(**self.options))
        await self.until(lambda s: s.messages)
        return self

    async def send(self, command_id: str = "", **command: Any) -> None:
        await self.call.write(pb.MarketDataSessionRequest(command_id=command_id, **command))

    async def subscribe(self, channel: int, *symbols: str, command_id: str = "", **fields: Any) -> None:
        """Subscribe, and wait for an ack of each symbol and the end of the snapshot."""
        self._commands += 1
        command_id, ends = command_id or f"command {self._commands}", self.snapshot_ends
        await self.send(command_id, subscribe=pb.Subscription(channel=channel, symbols=symbols, **fields))
        await self.until(lambda s: sum(ack.command_id == command_id for ack in s.acks) == len(symbols))
        if not self.options.get("skip_snapshot"):
            await self.until(lambda s: s.snapshot_ends > ends)

    async def until(self, condition: Callable[[Session], Any]) -> Any:
        async with asyncio.timeout(WAIT_MAX_S):
            while not (found := condition(self)):
                message = await self.call.read()
                assert message, "the session has ended"
                self.messages.append(message)
        return found

    async def ended(self) -> grpc.aio.AioRpcError:
        """Read to the end, which is an error."""
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await self.until(lambda _: False)
        return ended.value

    async def credit(self) -> None:
        await self.send(credit=pb.BatchCredit(batch_sequence=self.messages[-1].batch_sequence))

    @property
    def acks(self) -> list[pb.SubscriptionAck]:
        return [ack for message in self.messages for ack in message.status.acks]

    @property
    def snapshot_ends(self) -> int:
        return sum(message.status.snapshot_end for message in self.messages)

    @property
    def events(self) -> list[Any]:
        """The values, whatever they are."""
        return [getattr(event, event.WhichOneof("event")) for message in self.messages for event in message.events]

    @property
    def refusals(self) -> dict[str, int]:
        return {ack.symbol: ack.status.code for ack in self.acks if ack.status.code}


async def test_one_stream_carries_every_channel(market: Market) -> None:  # noqa: F811
    market.corridor.venue.newest[Channel.QUOTES, "AAPL"] = quote("AAPL", 1)
    session = await Session(market, conflation=pb.CONFLATION_POLICY_NONE).open()
    await session.subscribe(QUOTES, "AAPL", "MSFT", command_id="q")
    await session.subscribe(TRADES, "AAPL", command_id="t")
    await session.subscribe(BARS, "AAPL", command_id="b")
    for number in range(2, 12):
        market.corridor.publish(quote("AAPL", number))
        market.corridor.publish(trade("AAPL", number))
        market.corridor.publish(bar("AAPL", number))
    await session.until(lambda s: len(s.events) == 31)
    kinds = [event.WhichOneof("event") for message in session.messages for event in message.events]
    assert kinds == ["quote"] + ["quote", "trade", "bar"] * 10, "in the order of their arrival"
    assert session.events[0].snapshot
    assert [value.bid_price for value in session.events[1::3]] == [quote("AAPL", n).bid_price for n in range(2, 12)]
    assert [value.trade_id for value in session.events[2::3]] == list(range(2, 12))
    assert {(ack.command_id, ack.symbol, ack.channel, ack.status.code) for ack in session.acks} == {
        ("q", "AAPL", QUOTES, 0),
        ("q", "MSFT", QUOTES, 0),
        ("t", "AAPL", TRADES, 0),
        ("b", "AAPL", BARS, 0),
    }
    assert [message.batch_sequence for message in session.messages] == list(range(1, len(session.messages) + 1))


async def test_a_book_and_an_asset_class_of_another_feed_join(market: Market) -> None:  # noqa: F811
    session = await Session(market).open()
    await session.subscribe(QUOTES, "AAPL")
    await session.subscribe(pb.CHANNEL_ORDER_BOOKS, "BTC/USD")
    await eventually(lambda: len(market.corridor.venue.connections) == 2)
    book = order_book("BTC/USD")
    for connection in market.corridor.venue.connections:
        market.corridor.publish(book, connection=connection)
    [event] = await session.until(lambda s: s.events)
    assert [(level.price, level.size) for level in event.bids] == [(level.price, level.size) for level in book.bids]
    assert event.reset
    assert event.feed == common_pb2.DATA_FEED_CRYPTO_US


async def test_subscriptions_change_while_it_runs(market: Market) -> None:  # noqa: F811
    session = await Session(market, conflation=pb.CONFLATION_POLICY_NONE).open()
    await session.subscribe(QUOTES, "AAPL")
    canary = market.stub.StreamQuotes(pb.StreamQuotesRequest(symbols=["AAPL"], conflation=pb.CONFLATION_POLICY_NONE))
    await canary.read()
    changes = [connection.changes for connection in market.corridor.venue.connections]
    assert all("AAPL" in change.symbols[Channel.QUOTES] for [change] in changes)
    for number in range(20):
        market.corridor.publish(quote("AAPL", number))
        await session.subscribe(QUOTES, "MSFT") if number % 2 else await session.send(
            f"u{number}", unsubscribe=pb.Subscription(channel=QUOTES, symbols=["MSFT"])
        )
    await session.until(lambda s: len([v for v in s.events if not v.snapshot]) == 20)
    assert [value.bid_price for value in session.events] == [quote("AAPL", n).bid_price for n in range(20)]
    [first, *_] = [ack for ack in session.acks if ack.command_id == "u0"]
    assert (first.symbol, first.unsubscribed, first.status.code) == ("MSFT", True, grpc.StatusCode.NOT_FOUND.value[0])
    done = [ack for ack in session.acks if ack.command_id == "u2"]
    assert [(ack.unsubscribed, ack.status.code) for ack in done] == [(True, 0)]
    for change in market.corridor.venue.connection.changes:
        assert "AAPL" in change.symbols[Channel.QUOTES], "nobody's symbols go because of another's"


async def test_it_lists_what_it_holds(market: Market) -> None:  # noqa: F811
    session = await Session(market).open()
    await session.send("nothing yet", list=pb.ListSubscriptions())
    status = await session.until(lambda s: s.messages[-1].status.list_command_id and s.messages[-1].status)
    assert (status.list_command_id, list(status.subscriptions)) == ("nothing yet", [])
    await session.subscribe(QUOTES, "AAPL", "MSFT")
    await session.subscribe(TRADES, "AAPL")
    await session.send(unsubscribe=pb.Subscription(channel=QUOTES, symbols=["AAPL"]))
    await session.send(list=pb.ListSubscriptions())
    listed = await session.until(lambda s: list(s.messages[-1].status.subscriptions))
    assert [(held.channel, list(held.symbols), held.feed) for held in listed] == [
        (QUOTES, ["MSFT"], common_pb2.DATA_FEED_IEX),
        (TRADES, ["AAPL"], common_pb2.DATA_FEED_IEX),
    ]


async def test_what_is_wrong_with_a_command_is_an_ack(market: Market) -> None:  # noqa: F811
    session = await Session(market, skip_snapshot=True).open()
    rows: list[tuple[str, pb.Subscription, str]] = [
        ("bad symbol", pb.Subscription(channel=QUOTES, symbols=["aapl$"]), "aapl$"),
        ("unknown", pb.Subscription(channel=QUOTES, symbols=["ZZZZZZ"]), "ZZZZZZ"),
        ("star", pb.Subscription(channel=QUOTES, symbols=["*"]), "*"),
        ("no channel", pb.Subscription(symbols=["AAPL"]), ""),
        ("channel 99", pb.Subscription(channel=99, symbols=["AAPL"]), ""),  # type: ignore[arg-type]
        ("no symbols", pb.Subscription(channel=QUOTES), ""),
        ("two classes", pb.Subscription(channel=QUOTES, symbols=["AAPL", "BTC/USD"]), ""),
        ("too many", pb.Subscription(channel=QUOTES, symbols=[f"A{n}" for n in range(501)]), ""),
    ]
    for command_id, wanted, symbol in rows:
        before = len(session.acks)
        await session.send(command_id, subscribe=wanted)
        await session.until(lambda s, before=before: len(s.acks) > before)
        ack = session.acks[-1]
        assert (ack.command_id, ack.symbol) == (command_id, symbol)
        assert ack.status.code in (3, 5, 8), command_id
        assert ack.status.details, "with a reason"
    await session.send("list", list=pb.ListSubscriptions())
    await session.subscribe(QUOTES, "AAPL")
    await session.subscribe(QUOTES, "AAPL", command_id="again")
    assert (session.acks[-1].command_id, session.acks[-1].status.code) == ("again", 0)


BROKEN: dict[str, tuple[list[dict[str, Any]], str]] = {
    "no open": ([{"subscribe": pb.Subscription(channel=QUOTES, symbols=["AAPL"])}], "open"),
    "two": ([{"open": pb.SessionOptions()}, {"open": pb.SessionOptions()}], "open"),
    "empty": ([{"open": pb.SessionOptions()}, {}], "command"),
    "id": ([{"open": pb.SessionOptions()}, {"command_id": "x" * 65, "list": pb.ListSubscriptions()}], "command_id"),
    "unsent": ([{"open": pb.SessionOptions()}, {"credit": pb.BatchCredit(batch_sequence=9)}], "credit.batch_sequence"),
    "zero": ([{"open": pb.SessionOptions()}, {"credit": pb.BatchCredit()}], "credit.batch_sequence"),
    "credits": ([{"open": pb.SessionOptions(max_unacknowledged_batches=1025)}], "open.max_unacknowledged_batches"),
    "fewer": ([{"open": pb.SessionOptions(max_unacknowledged_batches=-1)}], "open.max_unacknowledged_batches"),
    "heartbeat": ([{"open": pb.SessionOptions(heartbeat_interval=seconds(0.1))}], "open.heartbeat_interval"),
    "policy": ([{"open": pb.SessionOptions(conflation=77)}], "open.conflation"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", BROKEN)
async def test_a_broken_protocol_ends_it(market: Market, case: str) -> None:  # noqa: F811
    commands, field = BROKEN[case]
    session = Session(market)
    for command in commands:
        await session.send(**command)
    ended = await session.ended()
    assert ended.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (ended.details() or "").startswith(f"{field}:")
    await eventually(lambda: not market.corridor.service._outlets)


async def test_garbage_ends_it(market: Market) -> None:  # noqa: F811
    call = market.channel.stream_stream("/trading_gateway.v1.MarketDataService/MarketDataSession")()
    opened = pb.MarketDataSessionRequest(open=pb.SessionOptions()).SerializeToString()
    await call.write(opened)
    await call.read()
    await call.write(b"\xff\xff\xff")
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await call.read()
    assert ended.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_it_goes_on_when_the_client_has_no_more_to_say(market: Market) -> None:  # noqa: F811
    session = await Session(market).open()
    await session.subscribe(QUOTES, "AAPL")
    await session.call.done_writing()
    market.corridor.publish(quote("AAPL", 1))
    assert await session.until(lambda s: s.events)
    session.call.cancel()
    await eventually(lambda: not market.corridor.service._outlets)


async def test_a_session_keeps_to_its_credits(market: Market) -> None:  # noqa: F811
    session = await Session(market, max_unacknowledged_batches=3, skip_snapshot=True, max_batch_delay=seconds(0)).open()
    await session.subscribe(QUOTES, "AAPL", "MSFT")
    await session.credit()
    held = session.messages[-1].batch_sequence
    for number in range(100):
        market.corridor.publish(quote("AAPL", number, receive_ns=market.corridor.clocks.wall()))
        await asyncio.sleep(0.001)
    await session.until(lambda s: s.messages[-1].batch_sequence == held + 3)
    market.corridor.clocks.ahead_s += 3
    market.corridor.publish(quote("MSFT", 1, receive_ns=market.corridor.clocks.wall()))
    await asyncio.sleep(0.02)
    [outlet] = market.corridor.service._outlets
    assert outlet._batch_sequence == held + 3, "nothing is sent without a credit"
    before = len(session.events)
    await session.credit()
    await session.until(lambda s: len(s.events) >= before + 2)
    late = {value.symbol: value for value in session.events[before:]}
    assert late["AAPL"].bid_price == quote("AAPL", 99).bid_price, "the newest took the place of the others"
    assert late["AAPL"].stale, "and waited more than 2 s"
    assert not late["MSFT"].stale
    told = session.messages[-1].status
    assert told.conflated_total >= 90, "what the wait cost is told at once"


async def test_the_last_credit_of_a_client_that_ended_its_commands_is_the_end(market: Market) -> None:  # noqa: F811
    session = await Session(market, max_unacknowledged_batches=3, skip_snapshot=True, max_batch_delay=seconds(0)).open()
    await session.subscribe(QUOTES, "AAPL")
    await session.credit()
    held = session.messages[-1].batch_sequence
    await session.call.done_writing()
    for number in range(1, 4):
        market.corridor.publish(quote("AAPL", number))
        await session.until(lambda s, last=held + number: s.messages[-1].batch_sequence == last)
    market.corridor.publish(quote("AAPL", 4))  # for which there is no credit
    ended = await session.ended()
    assert ended.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (ended.details() or "").startswith("The credits are used up")
    assert session.messages[-1].batch_sequence == held + 3


async def test_its_symbols_count_against_the_clients_limit(market: Market) -> None:  # noqa: F811
    clients = market.server._doors._turnstile._limits
    clients._bounds = ClientBounds(symbols_max=3)
    session = await Session(market, skip_snapshot=True).open()
    await session.subscribe(QUOTES, "AAPL", "MSFT")
    await session.subscribe(TRADES, "AAPL", "MSFT")
    [refused] = [ack for ack in session.acks if ack.status.code]
    assert (refused.channel, refused.symbol, refused.status.code) == (TRADES, "MSFT", 8)
    await session.send(unsubscribe=pb.Subscription(channel=QUOTES, symbols=["AAPL"]))
    await session.subscribe(TRADES, "MSFT")
    assert session.acks[-1].status.code == 0
    [client] = clients._clients.values()
    assert client.symbols == 3
    session.call.cancel()
    await eventually(lambda: client.symbols == 0)


async def test_who_does_not_read_is_obeyed_no_further(market: Market) -> None:  # noqa: F811
    """Acks are not kept without bound for a client that sends commands and takes no answers."""
    session = await Session(market, skip_snapshot=True).open()
    wanted = pb.Subscription(channel=QUOTES, symbols=[f"bad{n}" for n in range(SYMBOLS_WAITING_MAX)])
    for number in range(2):
        await session.send(f"c{number}", subscribe=wanted)
    [outlet] = market.corridor.service._outlets
    await eventually(lambda: len(outlet._news.acks) >= ACKS_WAITING_MAX)
    assert len(outlet._news.acks) <= 2 * ACKS_WAITING_MAX
    await session.until(lambda s: len(s.acks) == 2 * SYMBOLS_WAITING_MAX)


@pytest.mark.parametrize("credits", [0, 2])
async def test_answers_need_no_credit(market: Market, credits: int) -> None:  # noqa: F811
    """It could only be behind the commands that wait for these."""
    session = await Session(market, max_unacknowledged_batches=credits, skip_snapshot=True).open()
    wanted = pb.Subscription(channel=QUOTES, symbols=[f"bad{n}" for n in range(ACKS_WAITING_MAX)])

    async def send() -> None:
        for number in range(COMMANDS_WAITING_MAX + 6):
            await session.send(f"c{number}", subscribe=wanted)
        await session.send("last", list=pb.ListSubscriptions())

    sending = asyncio.create_task(send())
    await session.until(lambda s: s.messages[-1].status.list_command_id == "last")
    assert len(session.acks) == ACKS_WAITING_MAX * (COMMANDS_WAITING_MAX + 6)
    await sending


async def test_what_cannot_be_a_symbol_is_not_kept_whole(market: Market) -> None:  # noqa: F811
    """Acks wait for their reader, so what is in them has a bound."""
    session = await Session(market, skip_snapshot=True).open()
    await session.send("long", subscribe=pb.Subscription(channel=QUOTES, symbols=["A" * 60_000, "AAPL"]))
    await session.until(lambda s: len(s.acks) == 2)
    assert sorted((ack.symbol, bool(ack.status.code)) for ack in session.acks) == [
        ("A" * SYMBOL_CHARACTERS_MAX, True),
        ("AAPL", False),
    ]


async def test_what_is_sent_faster_than_it_is_done_stays_with_its_sender(market: Market) -> None:  # noqa: F811
    session = await Session(market, skip_snapshot=True).open()
    wanted = pb.Subscription(channel=QUOTES, symbols=[str(number).ljust(500, "x") for number in range(100)])
    sent = 0
    with contextlib.suppress(TimeoutError, asyncio.CancelledError):
        while sent < 100:
            await asyncio.wait_for(session.send("large", subscribe=wanted), 1.0)
            sent += 1
    bound = SYMBOLS_WAITING_MAX // len(wanted.symbols) + REQUEST_WINDOW_BYTES // wanted.ByteSize()
    assert bound <= sent <= bound + 5, "one is being done, one waits for room, few are on their way"


async def test_an_unsubscription_is_no_longer_than_a_subscription(market: Market) -> None:  # noqa: F811
    session = await Session(market, skip_snapshot=True).open()
    await session.send("many", unsubscribe=pb.Subscription(channel=QUOTES, symbols=[f"S{n}" for n in range(501)]))
    [ack] = await session.until(lambda s: s.acks)
    assert (ack.command_id, ack.symbol, ack.status.code) == ("many", "", grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
