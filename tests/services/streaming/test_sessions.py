"""Sessions over the scripted venue: what several channels of one reader do to each other, and to what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.domain.models.market_data import Selection
from gateway.domain.models.market_session import SessionCommand, SessionOptions, Subscribe, Unsubscribe
from gateway.domain.types import Channel, ConflationPolicy
from gateway.services.streaming.mailbox import STALLED_BYTES_MAX
from gateway.services.streaming.market_session import MarketDataSession
from gateway.services.streaming.outlet import STALL_S
from tests.services.streaming.conftest import Corridor, eventually
from tests.services.streaming.venue import call_context, order_book, quote, trade
from trading_gateway.v1 import market_data_pb2 as pb


class Room:
    """As many symbols as one likes, counted."""

    def __init__(self) -> None:
        self.held = 0

    def take(self) -> bool:
        self.held += 1
        return True

    def give_back(self, count: int) -> None:
        self.held -= count


@dataclass
class Client:
    """A session, and what its reader got."""

    session: MarketDataSession
    messages: list[pb.MarketDataSessionResponse] = field(default_factory=list)

    async def read(self) -> None:
        async for message in self.session.messages():
            self.messages.append(pb.MarketDataSessionResponse.FromString(message))

    async def subscribe(self, channel: Channel, *symbols: str, command_id: str = "on") -> None:
        await self.session.obey(SessionCommand(command_id, Subscribe(channel, Selection(symbols))))

    async def unsubscribe(self, channel: Channel, *symbols: str) -> None:
        await self.session.obey(SessionCommand("off", Unsubscribe(channel, Selection(symbols))))

    def of(self, kind: str) -> list[Any]:
        """The events of one kind."""
        events = [event for message in self.messages for event in message.events]
        return [getattr(event, kind) for event in events if event.WhichOneof("event") == kind]

    @property
    def acks(self) -> list[pb.SubscriptionAck]:
        return [ack for message in self.messages for ack in message.status.acks]


@asynccontextmanager
async def session(corridor: Corridor, *, reads: bool = True, **options: Any) -> AsyncIterator[Client]:
    defaults = {"heartbeat_interval_ms": 60_000, "max_batch_delay_ms": 0, "skip_snapshot": False}
    chosen = SessionOptions(**{**defaults, "conflation": None, "max_unacknowledged_batches": 0, **options})
    client = Client(corridor.service.open_session(chosen, Room(), call_context(60)))
    reading = asyncio.create_task(client.read()) if reads else None
    try:
        yield client
    finally:
        client.session.close()
        if reading is not None:
            await reading


async def after_a_change(corridor: Corridor, told: Callable[[], object]) -> None:
    """Wait for something, and then for the next change of the subscriptions to be one that goes at once."""
    await eventually(told)
    corridor.clocks.ahead_s += 1.0


async def test_a_book_that_is_asked_for_again_before_the_venue_heard_is_kept_up(corridor: Corridor) -> None:
    async with session(corridor, conflation=ConflationPolicy.LATEST_PER_SYMBOL) as client:
        await client.subscribe(Channel.ORDER_BOOKS, "BTC/USD")
        await after_a_change(corridor, lambda: client.acks)
        corridor.publish(order_book("BTC/USD", 1))
        await client.subscribe(Channel.QUOTES, "ETH/USD")  # from here on changes wait
        await client.unsubscribe(Channel.ORDER_BOOKS, "BTC/USD")
        [hub] = corridor.service._hubs.values()
        await eventually(lambda: "BTC/USD" not in hub._subscriptions._holders[Channel.ORDER_BOOKS])
        await client.subscribe(Channel.ORDER_BOOKS, "BTC/USD")
        await eventually(lambda: len(client.acks) == 4)
        assert all(Channel.ORDER_BOOKS in change.symbols for change in corridor.venue.connection.changes)
        corridor.publish(replace(order_book("BTC/USD", 2), reset=False))
        await eventually(lambda: client.of("order_book")[-1].bids[0].price == 100.02)


async def test_who_takes_the_newest_of_several_channels_and_stalls_loses_the_oldest_alone(corridor: Corridor) -> None:
    """The bytes of a stalled reader are shared by its channels, and a policy that may drop does not end it."""
    options = {"conflation": ConflationPolicy.DROP_OLDEST, "max_unacknowledged_batches": 1}
    async with session(corridor, reads=False, **options) as client:
        messages = client.session.messages()
        await anext(messages)  # the one that it has no credit beyond, but for acks
        for channel in (Channel.QUOTES, Channel.TRADES):
            await client.subscribe(channel, "AAPL")
        acks, last = 0, 0
        while acks < 2:
            told = pb.MarketDataSessionResponse.FromString(await anext(messages))
            acks, last = acks + len(told.status.acks), told.batch_sequence
        waiting = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        corridor.clocks.ahead_s += STALL_S + 0.1
        published = range(0, 3_000, 100)
        for start in published:
            corridor.publish(*(quote("AAPL", number) for number in range(start, start + 100)))
            corridor.publish(*(trade("AAPL", number) for number in range(start, start + 100)))
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        client.session._outlet.credit(last)
        told = pb.MarketDataSessionResponse.FromString(await waiting)
        assert told.events
        assert sum(len(event.SerializeToString()) for event in told.events) <= 128 * 1024
        assert told.events[-1].WhichOneof("event") in ("quote", "trade")
        assert len(told.events) + told.status.dropped_total == 2 * 3_000
        assert {event.quote.bid_price for event in told.events} >= {100 + 2_999 / 100}


def answers(client: Client, command_id: str) -> list[tuple[str, int]]:
    """What the acks of one command say."""
    return [(ack.symbol, ack.status.code) for ack in client.acks if ack.command_id == command_id]


async def test_asking_again_for_what_the_venue_refused_is_another_try_and_no_lie(corridor: Corridor) -> None:
    corridor.venue.refuses = frozenset({"MSFT"})
    async with session(corridor) as client:
        await client.subscribe(Channel.QUOTES, "AAPL", "MSFT", command_id="first")
        await eventually(lambda: len(client.acks) == 2)
        assert answers(client, "first") == [("AAPL", 0), ("MSFT", 14)]
        await client.subscribe(Channel.QUOTES, "AAPL", "MSFT", command_id="second")
        await eventually(lambda: len(client.acks) == 4)
        assert answers(client, "second") == [("AAPL", 0), ("MSFT", 14)]
        corridor.clocks.ahead_s += 1.0
        corridor.venue.refuses = frozenset()
        await client.subscribe(Channel.QUOTES, "MSFT", command_id="third")
        await eventually(lambda: answers(client, "third"))
        assert answers(client, "third") == [("MSFT", 0)]


async def test_every_command_is_answered_though_the_venue_never_is_heard(corridor: Corridor) -> None:
    corridor.venue.is_mute = True
    async with session(corridor) as client:
        await client.subscribe(Channel.QUOTES, "AAPL", "MSFT", command_id="first")
        await client.subscribe(Channel.QUOTES, "AAPL", command_id="second")
        await client.unsubscribe(Channel.QUOTES, "AAPL")
        await eventually(lambda: len(client.acks) == 3)
        told = [(ack.command_id, ack.symbol, ack.unsubscribed, ack.status.code) for ack in client.acks]
        assert told == [("first", "AAPL", False, 14), ("second", "AAPL", False, 14), ("off", "AAPL", True, 0)]
        await client.unsubscribe(Channel.QUOTES, "MSFT")
        await eventually(lambda: len(client.acks) == 5)
        assert answers(client, "first") == [("AAPL", 14), ("MSFT", 14)]


async def test_a_credit_that_comes_twice_or_late_takes_nothing_back(corridor: Corridor) -> None:
    async with session(corridor, reads=False, skip_snapshot=True, max_unacknowledged_batches=1) as client:
        messages, credit = client.session.messages(), client.session._outlet.credit

        async def taken() -> int:
            message = await asyncio.wait_for(anext(messages), 2)
            return pb.MarketDataSessionResponse.FromString(message).batch_sequence

        assert await taken() == 1
        await client.subscribe(Channel.QUOTES, "AAPL")
        credit(1)
        assert await taken() == 2
        for given in (2, 2, 1):
            credit(given)
        await corridor.connected()
        corridor.publish(quote("AAPL", 1))
        assert await taken() == 3
        waiting = asyncio.ensure_future(anext(messages))
        corridor.publish(quote("AAPL", 2))
        await asyncio.sleep(0.02)
        assert not waiting.done(), "two credits for one batch are one"
        credit(3)
        await asyncio.wait_for(waiting, 2)


async def test_who_changes_its_symbols_loses_nothing_that_waited_for_its_time(corridor: Corridor) -> None:
    options = {"conflation": ConflationPolicy.NONE, "skip_snapshot": True, "max_batch_delay_ms": 500}
    async with session(corridor, **options) as client:
        await client.subscribe(Channel.QUOTES, "AAPL", "TSLA")
        await eventually(lambda: len(client.acks) == 2)
        for number, change in enumerate((client.subscribe, client.unsubscribe)):
            corridor.publish(quote("AAPL", 10 * number + 1))
            await asyncio.sleep(0.01)
            corridor.publish(quote("AAPL", 10 * number + 2), quote("TSLA", 10 * number + 3))  # these wait
            await change(Channel.QUOTES, "MSFT")
        await eventually(lambda: len(client.of("quote")) == 6)
        assert [event.symbol for event in client.of("quote")] == ["AAPL", "AAPL", "TSLA"] * 2


async def test_what_is_sorted_for_a_stalled_session_is_bounded(corridor: Corridor) -> None:
    async with session(corridor, reads=False, conflation=ConflationPolicy.NONE, heartbeat_interval_ms=50) as client:
        messages = client.session.messages()
        await anext(messages)
        await client.subscribe(Channel.QUOTES, "AAPL")
        await client.subscribe(Channel.TRADES, "AAPL")
        await corridor.connected()
        for start in range(0, 40_000, 500):
            corridor.publish(*(quote("AAPL", number) for number in range(start, start + 500)))
        await anext(messages)  # it takes one message, and then nothing
        corridor.clocks.ahead_s += STALL_S + 0.1
        [outlet] = corridor.service._outlets
        assert outlet.unread_bytes > STALLED_BYTES_MAX
        await eventually(lambda: outlet.has_failed)


async def test_asking_again_while_the_feed_is_down_is_answered_by_the_venue(corridor: Corridor) -> None:
    async with session(corridor) as client:
        await client.subscribe(Channel.QUOTES, "AAPL")
        await eventually(lambda: client.acks)
        corridor.venue.connection.cut()
        corridor.venue.refuses = frozenset({"AAPL"})
        await client.subscribe(Channel.QUOTES, "AAPL", command_id="again")
        corridor.venue.connection.answer()
        await eventually(lambda: client.acks[-1].command_id == "again")
        assert [ack.status.code for ack in client.acks if ack.command_id == "again"] == [14]
