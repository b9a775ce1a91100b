"""A session with one credit: whoever sleeps between batches is given nothing old that is not marked so.

What waits at the gateway is judged when it is written, and with one credit it is written when the reader comes back.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import pytest

from tests.gateway_host import GatewayHost
from tests.test_joins import numbered_tape
from trading_gateway.v1 import market_data_pb2 as pb, market_data_pb2_grpc

OLD_S: Final = 2.0
ON_THE_WAY_S: Final = 0.25
"""Between the judgment and us: this machine has other things to do."""
SLEEP_S: Final = 3.0
BATCHES: Final = 4
WAIT_S_MAX: Final = 10.0
SYMBOLS: Final = ("S0", "S1")
POLICIES: Final = [name for name, number in pb.ConflationPolicy.items() if number]


@dataclass
class Given:
    """Quotes by what was given with them."""

    fresh: int = 0
    marked: int = 0
    old_unmarked: int = 0

    def take(self, quote: pb.Quote) -> None:
        """Now."""
        is_old = time.time() - quote.receive_time.ToNanoseconds() / 1e9 > OLD_S + ON_THE_WAY_S
        self.marked += quote.stale
        self.fresh += not quote.stale and not is_old
        self.old_unmarked += is_old and not quote.stale


async def sleepy_reader(market: market_data_pb2_grpc.MarketDataServiceStub, policy: int) -> Given:
    """Takes a batch, sleeps on it, gives the credit for it, and takes the next."""
    given = Given()
    session = market.MarketDataSession()
    options = pb.SessionOptions(conflation=policy, max_unacknowledged_batches=1)
    wanted = pb.Subscription(channel=pb.CHANNEL_QUOTES, symbols=SYMBOLS)
    await session.write(pb.MarketDataSessionRequest(command_id="open", open=options))
    await session.write(pb.MarketDataSessionRequest(command_id="quotes", subscribe=wanted))
    sleeps = 0
    while sleeps < BATCHES:
        batch = await asyncio.wait_for(session.read(), WAIT_S_MAX)
        quotes = [event.quote for event in batch.events if event.HasField("quote")]
        for quote in quotes:
            given.take(quote)
        if quotes:
            sleeps += 1
            await asyncio.sleep(SLEEP_S)
        credit = pb.BatchCredit(batch_sequence=batch.batch_sequence)
        await session.write(pb.MarketDataSessionRequest(credit=credit))
    session.cancel()
    return given


@pytest.mark.slow
async def test_nothing_old_is_given_unmarked_in_a_session_with_credits(
    start_gateway: GatewayHost, tmp_path: Path
) -> None:
    gateway = start_gateway(venue={"tape": numbered_tape(tmp_path)})
    async with grpc.aio.insecure_channel(gateway.target) as channel:
        market = market_data_pb2_grpc.MarketDataServiceStub(channel)
        readers = (sleepy_reader(market, pb.ConflationPolicy.Value(policy)) for policy in POLICIES)
        given = dict(zip(POLICIES, await asyncio.gather(*readers), strict=True))
    print(given)
    assert {one.old_unmarked for one in given.values()} == {0}
    assert all(one.fresh for one in given.values())
    assert given["CONFLATION_POLICY_NONE"].marked, "every value is wanted: those of the sleep's beginning are old"
