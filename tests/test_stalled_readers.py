"""A reader who takes nothing: what the gateway holds for it is little, and it is told why it was ended.

Each reader has a connection and a choice of symbols of its own, so that nothing is shared; the tape brings more in the
time that a reader may be blocked than the gateway may hold. Memory is the process's own, by the operating system.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from tests.bench.processes import python
from tests.servicers.fakes import read_error
from tests.soak.clients import STALLED
from tests.soak.flat import look
from tests.soak.gateway import BLOCKED_MS
from tests.test_joins import CANARYS, OTHERS, numbered_tape
from trading_gateway.v1 import market_data_pb2 as pb, market_data_pb2_grpc

READERS: Final = 16
SYMBOLS_EACH: Final = 8
HELD_MAX_KIB: Final = 256.0
COMMANDS_MAX_KIB: Final = 320.0
"""More, when it commands without end: one command that is being done, one that waits, and one that is read."""
CREDITS: Final = 64
A_WRITE_TOO_LATE: Final = (grpc.StatusCode.INTERNAL, "")
"""grpc.aio's own word, of a call that its client wrote to while the end was on its way."""
FLOOD_SYMBOLS: Final = 500
FLOOD_COMMANDS: Final = 120
"""Of 17 KB each."""
TAPE_SPEED: Final = 1.5
"""Of a thousand quotes a second, two thirds of them for each reader. A reader under NONE may be busy for a second
before what waits for it is bounded by bytes: what comes in that second is within the bound, in BLOCKED_MS beyond it."""
ENDED_S: Final = BLOCKED_MS / 1_000 + 3.0
LOOK_S: Final = 0.1
POLICIES: Final = [name for name, number in pb.ConflationPolicy.items() if number]


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """A gateway's process and address, before a tape that is fast."""
    tape = ("--tape", str(numbered_tape(tmp_path)), "--tape-speed", str(TAPE_SPEED))
    emulate = ("-m", "gateway", "emulator", "--listen", "127.0.0.1:0", "--rate-limit", "0", *tape)
    with contextlib.ExitStack() as stack:
        line = stack.enter_context(python(*emulate, ready="http://"))[1]
        url = line[line.index("http://") :].split()[0]
        serve = python("-m", "tests.soak.gateway", url, str(tmp_path), ready="gateway at ")
        gateway, said = stack.enter_context(serve)
        yield gateway.pid, said.removeprefix("gateway at ")


def choices() -> list[tuple[str, ...]]:
    """A choice of symbols for each reader."""
    return list(itertools.islice(itertools.combinations(CANARYS + OTHERS, SYMBOLS_EACH), READERS))


async def stream(market: Any, symbols: tuple[str, ...], policy: int) -> Any:
    """A plain one."""
    return market.StreamQuotes(pb.StreamQuotesRequest(symbols=symbols, conflation=policy))


async def session(market: Any, symbols: tuple[str, ...], policy: int) -> Any:
    """One with credits, of which its client will give none."""
    call = market.MarketDataSession()
    options = pb.SessionOptions(conflation=policy, max_unacknowledged_batches=CREDITS)
    wanted = pb.Subscription(channel=pb.CHANNEL_QUOTES, symbols=symbols)
    await call.write(pb.MarketDataSessionRequest(open=options))
    await call.write(pb.MarketDataSessionRequest(subscribe=wanted))
    return call


async def flooding(market: Any, symbols: tuple[str, ...], policy: int) -> Any:
    """The same, and its client goes on to command what it takes no answers to."""
    call = await session(market, symbols, policy)
    call.floods = asyncio.create_task(flood(call))
    return call


async def flood(call: Any) -> None:
    """Many commands, which name no symbol."""
    unknown = pb.Subscription(channel=pb.CHANNEL_QUOTES, symbols=[f"{n:032}" for n in range(FLOOD_SYMBOLS)])
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for _ in range(FLOOD_COMMANDS):
            await call.write(pb.MarketDataSessionRequest(subscribe=unknown))


async def read_a_while(call: Any) -> None:
    """As one should: what every stream costs once is not what a stalled one costs."""
    for _ in range(50):
        message = await call.read()
        if isinstance(message, pb.MarketDataSessionResponse):
            credit = pb.BatchCredit(batch_sequence=message.batch_sequence)
            await call.write(pb.MarketDataSessionRequest(credit=credit))
    call.cancel()


async def last_word(call: Any) -> Any:
    """Read what is left, to the error at the end."""
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        return read_error(error)
    raise AssertionError("it ended without a word")


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("opened", [stream, session, flooding])
async def test_little_is_held_for_a_reader_who_takes_nothing(fast: tuple[int, str], opened: Any, policy: str) -> None:
    pid, target = fast
    channels = [grpc.aio.insecure_channel(target, options=STALLED) for _ in range(READERS)]
    markets = [market_data_pb2_grpc.MarketDataServiceStub(channel) for channel in channels]
    number = pb.ConflationPolicy.Value(policy)
    try:
        for market, symbols in zip(markets, choices(), strict=True):
            await read_a_while(await (stream if opened is stream else session)(market, symbols, number))
        before = look(pid, 0.0, 0).memory_mib
        calls = [await opened(market, symbols, number) for market, symbols in zip(markets, choices(), strict=True)]
        most, ends_at = before, time.monotonic() + ENDED_S
        while time.monotonic() < ends_at:
            await asyncio.sleep(LOOK_S)
            most = max(most, look(pid, 0.0, 0).memory_mib)
        words = [await asyncio.wait_for(last_word(call), 5) for call in calls]
    finally:
        for channel in channels:
            await channel.close()
    each_kib = (most - before) * 1_024 / READERS
    held_max_kib = HELD_MAX_KIB + COMMANDS_MAX_KIB * (opened is flooding)
    print(f"{opened.__name__}, {policy}: {each_kib:.0f} KiB each, of {held_max_kib:.0f}")
    told = {(word.code, word.reason) for word in words}
    if opened is flooding:
        told.discard(A_WRITE_TOO_LATE)
    assert told == {(grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_CONSUMER")}
    assert each_kib <= held_max_kib
