"""Both clients follow quotes of a gateway before the emulator: slow readers, cut wires, restarts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.clients.conftest import Awaited
from tests.clients.cutting import CuttableWire
from trading_gateway import AsyncClient, Client, Disconnected
from trading_gateway.market_streams import GATEWAY_FEED
from trading_gateway.v1 import market_data_pb2 as md

SYMBOLS = ["AAPL", "MSFT", "TSLA", "NVDA", "AMZN"]
NAP_S = 5.0
STALE_S = 2.0
INSIDE_THE_GATEWAY_S = 0.5
"""A quote is on its way there for so long at most, in a gateway that has nothing else to do."""


@dataclass(frozen=True)
class Taken:
    """A quote as the application took it: `age_s` is since the gateway read it from the venue."""

    quote: md.Quote
    age_s: float


def sleeping_reader(client: Any) -> tuple[list[Taken], list[Taken]]:
    """What a reader takes before it sleeps, and afterwards until it has caught up."""
    quotes = client.follow_quotes(SYMBOLS, conflation="none", heartbeat_interval_s=0.5)

    def take() -> Taken:
        while not isinstance(item := next(quotes), md.Quote):
            pass
        return Taken(item, time.time() - item.receive_time.ToNanoseconds() / 1e9)

    before = [take() for _ in range(20)]
    time.sleep(NAP_S)
    after = [take()]
    while after[-1].age_s > STALE_S / 2:
        after.append(take())
    assert 0 <= quotes.lag_s < STALE_S / 2
    quotes.close()
    return before, after


def in_a_thread(target: str) -> tuple[list[Taken], list[Taken]]:
    with Client(target) as client:
        return sleeping_reader(client)


def in_a_loop(target: str) -> tuple[list[Taken], list[Taken]]:
    """Blocked as a strategy blocks its loop."""
    with asyncio.Runner() as runner:

        async def made() -> AsyncClient:
            return AsyncClient(target)

        client = Awaited(runner, runner.run(made()))
        try:
            return sleeping_reader(client)
        finally:
            client.close()


def test_a_reader_who_sleeps_gets_nothing_old_without_a_mark(gateway: Any) -> None:
    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(reader, gateway.target) for reader in (in_a_thread, in_a_loop)]
        for reader in readers:
            before, after = reader.result(timeout=40)
            live = [one for one in (*before, *after) if not one.quote.snapshot]
            unmarked = [one for one in live if one.age_s > STALE_S + INSIDE_THE_GATEWAY_S and not one.quote.stale]
            assert unmarked == []
            assert not any(one.quote.stale for one in live if one.age_s < STALE_S)
            assert sum(one.quote.stale for one in after) >= 10
            assert not after[-1].quote.stale


@pytest.fixture
def wire(gateway: Any) -> Iterator[CuttableWire]:
    """A wire to the gateway that can be cut."""
    cuttable = CuttableWire(gateway.target)
    yield cuttable
    cuttable.stop()


def until_back(quotes: Any) -> list[Any]:
    """From the break on: everything up to a live quote after it."""
    items: list[Any] = []
    for item in quotes:
        if items or isinstance(item, Disconnected):
            items.append(item)
        if len(items) > 1 and isinstance(item, md.Quote) and not item.snapshot:
            return items
    raise AssertionError("the stream ended")


def assert_is_told(items: list[Any]) -> None:
    """A break at once, the hole before the first value, every symbol anew, and then what is live."""
    assert [one for one in items if isinstance(one, Disconnected)] == items[:1]
    assert items[0].last_send_ns is not None
    gaps = [gap for gap in items[1].gaps if gap.feed == GATEWAY_FEED]
    assert [(list(gap.symbols), gap.from_time.ToNanoseconds()) for gap in gaps] == [(SYMBOLS, items[0].last_send_ns)]
    assert gaps[0].to_time.ToNanoseconds() > items[0].last_send_ns
    acks = [ack for one in items if isinstance(one, md.StreamStatus) for ack in one.acks]
    assert {ack.symbol for ack in acks if not ack.status.code} == set(SYMBOLS)
    quotes = [one for one in items if isinstance(one, md.Quote)]
    assert [one.snapshot for one in quotes[:-1]] == [True] * (len(quotes) - 1)


def test_a_cut_wire_is_told_and_the_same_symbols_come_again(wire: CuttableWire, connect: Callable[..., Any]) -> None:
    with_client = connect(wire.target)
    quotes = with_client.follow_quotes(SYMBOLS)
    while not isinstance(item := next(quotes), md.Quote) or item.snapshot:
        pass
    for _ in range(2):
        assert wire.cut() == 1
        assert_is_told(until_back(quotes))
    quotes.close()


def test_a_restart_of_the_gateway_is_told(start_gateway: Any, connect: Callable[..., Any]) -> None:
    first = start_gateway()
    quotes = connect(first.target).follow_quotes(SYMBOLS)
    while not isinstance(item := next(quotes), md.Quote) or item.snapshot:
        pass
    first.drain()
    start_gateway(first.emulator, listen=first.target)
    items = until_back(quotes)
    assert items[0].error.reason == "DRAINING"
    assert_is_told(items)
    quotes.close()
