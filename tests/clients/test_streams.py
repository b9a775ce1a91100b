"""Both clients' streams against a scripted server: what survives a break, what is told, what ends."""

from __future__ import annotations

import copy
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.clients.messages import BEGIN, END, EPOCH_CHANGED, LOST, batch, update
from tests.clients.scripted import OPEN, Refusal, ScriptedGateway
from trading_gateway import (
    Bookmark,
    Client,
    FileTokenStore,
    GatewayError,
    Interrupted,
    SequenceGap,
    StartedOver,
)
from trading_gateway.market_streams import GATEWAY_FEED
from trading_gateway.order_updates import SNAPSHOT_OVERLAP_S, SNAPSHOT_REACH_S, OrderUpdates
from trading_gateway.v1 import market_data_pb2 as md, trading_pb2 as pb

SECOND = 1_000_000_000


def take(iterator: Any, count: int) -> list[Any]:
    """So many messages, then leave."""
    taken = [next(iterator) for _ in range(count)]
    iterator.close()
    return taken


def test_an_order_stream_resumes_where_it_broke_and_drops_what_comes_twice(
    client: Any, scripted: ScriptedGateway
) -> None:
    requests = scripted.script(
        "StreamOrderUpdates",
        [update(7, BEGIN), update(7, "snapshot_order"), update(7, END), update(8), LOST],
        [LOST],
        [update(8), update(9), OPEN],
    )
    taken = take(client.stream_order_updates(strategy_id="momentum"), 5)
    assert [message.sequence for message in taken] == [7, 7, 7, 8, 9]
    assert [(one.WhichOneof("start"), one.resume_token) for one in requests] == [
        (None, ""),
        ("resume_token", "t-8"),
        ("resume_token", "t-8"),
    ]
    assert {one.strategy_id for one in requests} == {"momentum"}


def test_a_snapshot_that_broke_begins_again(client: Any, scripted: ScriptedGateway) -> None:
    """Its tokens would resume after orders that were never delivered."""
    requests = scripted.script(
        "StreamOrderUpdates",
        [update(7, BEGIN), update(7, "snapshot_order"), LOST],
        [update(7, BEGIN), update(7, "snapshot_order"), update(7, END), OPEN],
    )
    taken = take(client.stream_order_updates(), 5)
    assert [message.WhichOneof("payload") for message in taken].count("snapshot_begin") == 2
    assert [one.WhichOneof("start") for one in requests] == [None, None]


def test_another_life_of_the_gateway_begins_with_a_snapshot(client: Any, scripted: ScriptedGateway) -> None:
    requests = scripted.script(
        "StreamOrderUpdates",
        [update(41), LOST],
        [EPOCH_CHANGED],
        [update(3, BEGIN), update(3, END), update(4), OPEN],
    )
    taken = take(client.stream_order_updates(resume_token="t-40"), 4)
    assert [(message.sequence, message.WhichOneof("payload")) for message in taken] == [
        (41, "event"),
        (3, "snapshot_begin"),
        (3, "snapshot_end"),
        (4, "event"),
    ]
    assert [one.resume_token for one in requests] == ["t-40", "t-41", ""]


def test_what_befell_the_stream_is_told_in_the_order_of_its_messages(client: Any, scripted: ScriptedGateway) -> None:
    """One break, however many tries it takes; another life, with a snapshot of what ended since the last message."""
    drained = Refusal(grpc.StatusCode.UNAVAILABLE, "DRAINING", {"resume_token": "t-99"})
    requests = scripted.script(
        "StreamOrderUpdates",
        [update(41, recorded_ns=400 * SECOND), drained],
        [LOST],
        [update(42, recorded_ns=500 * SECOND), LOST],
        [EPOCH_CHANGED],
        [update(3, BEGIN), update(3, "snapshot_order"), LOST],
        [update(3, BEGIN), update(3, END), update(4), LOST],
        [update(5), OPEN],
    )
    told: list[Any] = []
    stream = client.stream_order_updates(resume_token="t-40", on_notice=told.append)
    for message in stream:
        told.append((message.sequence, message.WhichOneof("payload")))
        if message.sequence == 5:
            break
    stream.close()
    notices = [one for one in told if not isinstance(one, tuple)]
    assert [one if isinstance(one, tuple) else type(one) for one in told] == [
        (41, "event"),
        Interrupted,
        (42, "event"),
        Interrupted,
        StartedOver,
        (3, "snapshot_begin"),
        (3, "snapshot_order"),
        Interrupted,
        (3, "snapshot_begin"),
        (3, "snapshot_end"),
        (4, "event"),
        Interrupted,
        (5, "event"),
    ]
    assert (notices[0].error.reason, notices[0].last_sequence) == ("DRAINING", 41)
    over = notices[2]
    since = datetime.fromtimestamp(500 - SNAPSHOT_OVERLAP_S, UTC)
    assert (over.reason, over.last_sequence, over.closed_since) == ("EPOCH_CHANGED", 42, since)
    assert [one.resume_token for one in requests] == ["t-40", "t-41", "t-41", "t-42", "", "", "t-4"]
    reaching = [request.include_closed_since.ToDatetime(UTC) for request in requests[4:6]]
    assert reaching == [since, since]
    assert not any(one.HasField("include_closed_since") for one in (*requests[:4], requests[6]))


@pytest.mark.parametrize("reason", ["EPOCH_CHANGED", "RESUME_TOKEN_COMPACTED"])
def test_a_token_alone_that_is_lost_reaches_back_as_far_as_was_said(
    client: Any, scripted: ScriptedGateway, reason: str
) -> None:
    since = datetime(2026, 1, 2, tzinfo=UTC)
    requests = scripted.script(
        "StreamOrderUpdates",
        [Refusal(grpc.StatusCode.OUT_OF_RANGE, reason)],
        [update(7, BEGIN), update(7, END), OPEN],
    )
    notices: list[Any] = []
    options = {"resume_token": "t-3", "include_closed_since": since, "on_notice": notices.append}
    take(client.stream_order_updates(**options), 2)
    assert [(one.reason, one.last_sequence, one.closed_since) for one in notices] == [(reason, None, since)]
    assert requests[1].include_closed_since.ToDatetime(UTC) == since


def test_a_token_alone_reaches_back_a_day() -> None:
    notices: list[Any] = []
    day_ns = SNAPSHOT_REACH_S * SECOND
    stream = OrderUpdates(
        pb.StreamOrderUpdatesRequest(), Bookmark("t-3", -1), on_notice=notices.append, now_ns=lambda: day_ns + SECOND
    )
    stream.broken(GatewayError.from_status(EPOCH_CHANGED.status()))
    assert notices[0].closed_since == datetime.fromtimestamp(1, UTC)
    assert stream.request().include_closed_since.seconds == 1


def test_no_end_of_an_order_falls_between_a_heartbeat_a_snapshot_and_what_reaches_back() -> None:
    """An event vouches for what was recorded before it, not for what was recorded before it was sent."""
    stream = OrderUpdates(pb.StreamOrderUpdatesRequest(), Bookmark("t-7", 7))
    vouched = []
    for message in (
        update(8, recorded_ns=1_000 * SECOND, sent_ns=5_000 * SECOND),
        update(8, "feed", sent_ns=6_000 * SECOND),
        update(8, "heartbeat", sent_ns=6_500 * SECOND),
        update(8, BEGIN, sent_ns=7_000 * SECOND),
        update(8, END, sent_ns=8_000 * SECOND),
    ):
        stream.accept(message)
        reading = copy.copy(stream)
        reading.broken(GatewayError.from_status(EPOCH_CHANGED.status()))
        vouched.append(reading.request().include_closed_since.seconds + SNAPSHOT_OVERLAP_S)
    assert vouched == [1_000, 1_000, 6_500, 6_500, 7_000]


def test_an_epoch_that_changes_without_a_token_is_an_error(client: Any, scripted: ScriptedGateway) -> None:
    """Nothing can be asked for instead: trying again would be a loop."""
    requests = scripted.script("StreamOrderUpdates", [EPOCH_CHANGED])
    with pytest.raises(GatewayError, match="EPOCH_CHANGED"):
        next(client.stream_order_updates())
    assert len(requests) == 1


def test_a_kept_token_is_continued_and_what_was_handled_is_kept(
    client: Any, scripted: ScriptedGateway, tmp_path: Path
) -> None:
    """A message counts when the next one is asked for: the one that was being handled comes again."""
    tokens = FileTokenStore(tmp_path / "token.json")
    requests = scripted.script(
        "StreamOrderUpdates",
        [update(7, BEGIN), update(7, "snapshot_order"), update(7, END), update(8), update(9), OPEN],
        [update(9), update(10), OPEN],
    )
    taken = take(client.stream_order_updates(tokens=tokens), 3)
    assert tokens.load() is None
    taken = take(client.stream_order_updates(tokens=tokens, live_only=True), 2)
    assert [message.sequence for message in taken] == [9, 10]
    assert [(one.WhichOneof("start"), one.resume_token) for one in requests] == [(None, ""), ("live_only", "")]
    kept = tokens.load()
    assert kept is not None
    assert (kept.resume_token, kept.sequence) == ("t-9", 9)

    scripted.script("StreamOrderUpdates", [update(11), OPEN])
    with pytest.raises(SequenceGap) as caught:
        next(client.stream_order_updates(tokens=tokens))
    assert (caught.value.expected, caught.value.received, caught.value.resume_token) == (10, 11, "t-9")


@pytest.mark.parametrize(
    "starts",
    [
        {"resume_token": "t", "live_only": True},
        {"resume_token": "t", "start_time": datetime(2026, 1, 2, tzinfo=UTC)},
        {"live_only": True, "start_time": datetime(2026, 1, 2, tzinfo=UTC)},
    ],
)
def test_only_one_argument_says_where_to_begin(client: Any, starts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="only one"):
        client.stream_order_updates(**starts)


def test_a_stream_begins_at_an_instant_and_resumes_at_its_token(client: Any, scripted: ScriptedGateway) -> None:
    requests = scripted.script("StreamOrderUpdates", [LOST], [update(5), LOST], [update(6), OPEN])
    begin = datetime(2026, 1, 2, tzinfo=UTC)
    assert [one.sequence for one in take(client.stream_order_updates(start_time=begin), 2)] == [5, 6]
    assert [one.WhichOneof("start") for one in requests] == ["start_time", "start_time", "resume_token"]
    assert requests[0].start_time.ToDatetime(UTC) == begin


def test_a_live_reader_to_whom_nothing_came_goes_on_where_the_gateway_says(
    client: Any, scripted: ScriptedGateway
) -> None:
    drained = Refusal(grpc.StatusCode.UNAVAILABLE, "DRAINING", {"resume_token": "t-4"})
    requests = scripted.script("StreamOrderUpdates", [drained], [update(5), OPEN])
    assert take(client.stream_order_updates(live_only=True), 1)[0].sequence == 5
    assert [one.resume_token for one in requests] == ["", "t-4"]


def test_a_reader_told_that_it_is_slow_resumes(client: Any, scripted: ScriptedGateway) -> None:
    slow = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_CONSUMER", {"resume_token": "t-1"})
    requests = scripted.script("StreamOrderUpdates", [update(1), slow], [update(2), OPEN])
    assert [message.sequence for message in take(client.stream_order_updates(live_only=True), 2)] == [1, 2]
    assert [one.WhichOneof("start") for one in requests] == ["live_only", "resume_token"]


@pytest.mark.parametrize("skipping", [update(3), update(2, "heartbeat")])
def test_a_missing_event_is_never_passed_over(client: Any, scripted: ScriptedGateway, skipping: Any) -> None:
    scripted.script("StreamOrderUpdates", [update(1), skipping, OPEN])
    updates = client.stream_order_updates(live_only=True)
    next(updates)
    with pytest.raises(SequenceGap, match="sequence 2"):
        next(updates)


@pytest.mark.parametrize("rpc", ["StreamOrderUpdates", "StreamQuotes"])
def test_a_stream_that_is_refused_for_good_raises(client: Any, scripted: ScriptedGateway, rpc: str) -> None:
    requests = scripted.script(rpc, [Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")])
    stream = client.stream_order_updates() if rpc == "StreamOrderUpdates" else client.stream_quotes(["AAPL"])
    with pytest.raises(GatewayError, match="TOO_MANY_STREAMS"):
        next(stream)
    assert len(requests) == 1


def test_reopening_has_an_end(client: Any, scripted: ScriptedGateway) -> None:
    requests = scripted.script("StreamQuotes", [batch(1), LOST], [LOST])
    quotes = client.stream_quotes("AAPL")
    next(quotes)
    with pytest.raises(GatewayError, match="UNAVAILABLE"):
        next(quotes)
    assert len(requests) == 1 + 3


def test_quotes_are_subscribed_again_and_the_hole_is_told(client: Any, scripted: ScriptedGateway) -> None:
    requests = scripted.script(
        "StreamQuotes",
        [batch(1, "AAPL", send_time_ns=1_000), batch(2, "MSFT", send_time_ns=2_000), LOST],
        [batch(1, "AAPL", send_time_ns=9_000), batch(2, send_time_ns=9_500), OPEN],
    )
    taken = take(client.stream_quotes(["AAPL", "MSFT"], conflation="none", heartbeat_interval_s=0.5), 4)
    assert [len(one.status.gaps) for one in taken] == [0, 0, 1, 0]
    gap = taken[2].status.gaps[0]
    assert (gap.feed, list(gap.symbols), gap.backfilled) == (GATEWAY_FEED, ["AAPL", "MSFT"], False)
    assert (gap.from_time.ToNanoseconds(), gap.to_time.ToNanoseconds()) == (2_000, 9_000)
    assert [list(one.symbols) for one in requests] == [["AAPL", "MSFT"]] * 2
    assert requests[0].conflation == md.CONFLATION_POLICY_NONE
    assert requests[0].heartbeat_interval.ToMilliseconds() == 500


def test_a_stream_that_ends_without_an_error_is_opened_again(client: Any, scripted: ScriptedGateway) -> None:
    requests = scripted.script("StreamQuotes", [batch(1)], [batch(1), OPEN])
    assert len(take(client.stream_quotes("AAPL"), 2)) == 2
    assert len(requests) == 2


def test_a_missing_batch_is_never_passed_over(client: Any, scripted: ScriptedGateway) -> None:
    scripted.script("StreamQuotes", [batch(1), batch(3), OPEN])
    with pytest.raises(SequenceGap, match="sequence 2"):
        list(client.stream_quotes("AAPL"))


def test_trades_and_bars_are_streams_of_the_same_kind(client: Any, scripted: ScriptedGateway) -> None:
    scripted.script("StreamTrades", [md.StreamTradesResponse(batch_sequence=1, trades=[md.Trade(size=3)]), OPEN])
    scripted.script("StreamBars", [md.StreamBarsResponse(batch_sequence=1, bars=[md.Bar(close=2.5)]), OPEN])
    assert [trade.size for trade in take(client.stream_trades("AAPL"), 1)[0].trades] == [3]
    assert [bar.close for bar in take(client.stream_bars("AAPL"), 1)[0].bars] == [2.5]


def test_closing_the_client_ends_its_streams(scripted: ScriptedGateway) -> None:
    scripted.script("StreamQuotes", [batch(1), OPEN])
    client = Client(scripted.target)
    quotes = client.stream_quotes("AAPL")
    next(quotes)
    closer = threading.Timer(0.05, client.close)
    closer.start()
    assert list(quotes) == []
    closer.join()


async def test_closing_the_asyncio_client_ends_its_streams(scripted: ScriptedGateway) -> None:
    import asyncio

    from trading_gateway import AsyncClient

    scripted.script("StreamQuotes", [batch(1), OPEN])
    client = AsyncClient(scripted.target)
    quotes = client.stream_quotes("AAPL")
    await anext(quotes)
    rest = asyncio.create_task(anext(quotes, None))
    await asyncio.sleep(0)
    await client.close()
    assert await rest is None


def test_an_asyncio_client_may_be_made_before_its_loop(scripted: ScriptedGateway) -> None:
    import asyncio

    from trading_gateway import AsyncClient

    scripted.script("GetOrder", pb.GetOrderResponse(order=pb.Order(order_id="o")))
    client = AsyncClient(scripted.target)

    async def ask() -> str:
        async with client:
            return (await client.with_timeout(5).get_order("o")).order_id

    assert asyncio.run(ask()) == "o"


def test_a_closed_client_says_so(client: Any) -> None:
    client.close()
    with pytest.raises(ValueError, match="closed"):
        client.get_order("o")


async def test_cancelling_a_task_is_not_mistaken_for_a_closed_client(scripted: ScriptedGateway) -> None:
    import asyncio

    from trading_gateway import AsyncClient

    scripted.script("StreamQuotes", [batch(1), OPEN])
    async with AsyncClient(scripted.target) as client:
        quotes = client.stream_quotes("AAPL")
        await anext(quotes)
        rest = asyncio.create_task(anext(quotes, None))
        await asyncio.sleep(0)
        rest.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rest


def test_a_reader_that_stops_is_noticed_by_the_server(scripted: ScriptedGateway) -> None:
    """The small window: a client that stands still leaves far less in the transport than grpc's default."""
    count = 20_000
    written: list[int] = []

    class Counting(list):
        def __iter__(self):
            for sequence in range(1, count + 1):
                written.append(sequence)
                yield batch(sequence, "AAPL")

    scripted.scripts["StreamQuotes"] = [Counting()]
    with Client(scripted.target) as client:
        quotes = client.stream_quotes("AAPL")
        next(quotes)
        settled = 0
        for _ in range(100):
            time.sleep(0.05)
            if len(written) == settled:
                break
            settled = len(written)
        assert settled < 5_000
        quotes.close()
