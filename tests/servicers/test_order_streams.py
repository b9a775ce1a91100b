"""Order streams over a real socket: readers that are killed, that stall, and that come back."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from tests.application.books import BEGIN_NS, Books, Story, sqlite_journal
from tests.servicers.conftest import Served
from tests.servicers.fakes import Rooms, refused
from trading_gateway.v1 import trading_pb2 as pb, trading_pb2_grpc as rpc

EVENTS = 2_500
"""With notes 4 MB: more than sockets take for a reader that reads nothing."""
READER = """
import sys, grpc
from trading_gateway.v1 import trading_pb2 as pb, trading_pb2_grpc as rpc
request = pb.StreamOrderUpdatesRequest(all_strategies=True)
request.start_time.seconds = 1
for message in rpc.TradingServiceStub(grpc.insecure_channel(sys.argv[1])).StreamOrderUpdates(request):
    print(message.sequence, message.resume_token, flush=True)
"""


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    """A journal on disk."""
    kept = Books(sqlite_journal(tmp_path), tail_events_max=100)
    yield kept
    await kept.journal.close()


@pytest.fixture
def rooms(books: Books) -> Rooms:
    """Behind the server's order streams is that journal."""
    rooms = Rooms()
    rooms.updates = books.updates
    return rooms


def stub(channel: grpc.aio.Channel) -> rpc.TradingServiceAsyncStub:
    return rpc.TradingServiceStub(channel)


async def sequences(channel: grpc.aio.Channel, token: str, last: int) -> list[int]:
    """What a token resumes with, up to a sequence."""
    call = stub(channel).StreamOrderUpdates(pb.StreamOrderUpdatesRequest(all_strategies=True, resume_token=token))
    found = []
    async for message in call:
        if message.WhichOneof("payload") == "event":
            found.append(message.sequence)
            if message.sequence == last:
                break
    call.cancel()
    return found


async def test_a_reader_is_killed_and_goes_on_where_it_was(served: Served, books: Books) -> None:
    story = Story(1, books)
    await story.tell(300)
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", READER, served.address, stdout=asyncio.subprocess.PIPE
    )
    assert reader.stdout is not None
    seen: list[tuple[int, str]] = []
    while len(seen) < 150:
        sequence, token = (await reader.stdout.readline()).split()
        seen.append((int(sequence), token.decode()))
    reader.kill()
    await reader.wait()
    await story.tell(100)
    assert [sequence for sequence, _ in seen] == list(range(1, 151))
    rest = await sequences(served.channel(), seen[-1][1], 400)
    assert rest == list(range(151, 401))


async def test_a_stalled_reader_is_ended_with_its_token_and_misses_nothing(
    serve: Callable[..., Awaitable[Served]], books: Books
) -> None:
    served = await serve(write_blocked_ms=300)
    story = Story(2, books)
    events = [story._begin() for _ in range(EVENTS)]
    for event in events:
        if event.request is not None:
            event.request = replace(event.request, labels={f"note-{number}": "x" * 128 for number in range(16)})
    await books.orders.record_all(events)
    small = served.channel(("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16_384))
    request = pb.StreamOrderUpdatesRequest(all_strategies=True)
    request.start_time.FromNanoseconds(BEGIN_NS)
    call = stub(small).StreamOrderUpdates(request)
    assert (await call.read()).sequence == 1
    for _ in range(500):
        if not served.server._doors._streams:
            break
        await asyncio.sleep(0.02)  # real time passes while the socket stays full
    read = [1]

    async def to_the_end() -> None:
        while (message := await call.read()) is not grpc.aio.EOF:
            read.append(message.sequence)

    refusal = await refused(to_the_end())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_CONSUMER")
    assert read == list(range(1, len(read) + 1))
    assert len(read) < EVENTS
    rest = await sequences(served.channel(), refusal.metadata["resume_token"], EVENTS)
    assert rest[0] <= len(read) + 1  # nothing is missing between the two
    assert rest == list(range(rest[0], EVENTS + 1))


async def test_a_server_that_ends_and_another_one_on_its_journal(
    serve: Callable[..., Awaitable[Served]], rooms: Rooms, books: Books, tmp_path: Path
) -> None:
    served = await serve()
    await Story(3, books).tell(50)
    request = pb.StreamOrderUpdatesRequest(strategy_id="momentum")
    call = stub(served.channel()).StreamOrderUpdates(request)
    begin = await call.read()
    while (message := await call.read()).WhichOneof("payload") != "snapshot_end":
        assert message.resume_token == ""
    assert begin.snapshot_begin.count == message.snapshot_end.count
    token = message.resume_token
    await served.server.stop()
    await books.journal.close()

    second = Books(sqlite_journal(tmp_path))
    second.now_ns = books.now_ns
    rooms.updates = second.updates
    again = await serve()
    request = pb.StreamOrderUpdatesRequest(strategy_id="momentum", resume_token=token)
    resumed = await stub(again.channel()).StreamOrderUpdates(request).read()
    assert resumed.sequence == message.sequence == second.orders.log.head("momentum") > 0
    other = pb.StreamOrderUpdatesRequest(strategy_id="pairs", resume_token=token)
    refusal = await refused(stub(again.channel()).StreamOrderUpdates(other).read())
    assert refusal.reason == "RESUME_TOKEN_INVALID"
    await second.journal.close()


async def test_instants_over_the_wire(served: Served, books: Books) -> None:
    await Story(5, books).tell(100)
    since_ns = books.rows(None)[60][1].record_time_ns
    expected = [sequence for sequence, row in books.rows(None) if row.record_time_ns >= since_ns]
    request = pb.StreamOrderUpdatesRequest(all_strategies=True)
    request.start_time.FromNanoseconds(since_ns)
    call = stub(served.channel()).StreamOrderUpdates(request)
    assert [(await call.read()).sequence for _ in expected] == expected
    call.cancel()
    request = pb.StreamOrderUpdatesRequest(all_strategies=True)
    request.include_closed_since.FromNanoseconds(BEGIN_NS)
    call = stub(served.channel()).StreamOrderUpdates(request)
    begin = await call.read()
    shown = [await call.read() for _ in range(begin.snapshot_begin.count)]
    assert (await call.read()).WhichOneof("payload") == "snapshot_end"
    assert {message.snapshot_order.order_id for message in shown} == {row.order_id for _, row in books.rows(None)}
    call.cancel()
