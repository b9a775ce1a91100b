"""Both clients' market data against a scripted server: what is flagged, what is told, what is given up."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from tests.clients.messages import LOST, batch
from tests.clients.scripted import OPEN, Refusal, ScriptedGateway
from trading_gateway import Disconnected, GatewayError, RetryPolicy, market_data, market_streams
from trading_gateway.lag import Lag
from trading_gateway.retry import Reconnects
from trading_gateway.streams import Silence
from trading_gateway.v1 import market_data_pb2 as md

SECOND = 1_000_000_000


def told(item: Any) -> Any:
    """An item in short: a symbol with its mark, what a status has, or a break."""
    if isinstance(item, md.Quote):
        return item.symbol + ("!" if item.stale else "")
    if isinstance(item, md.StreamStatus):
        return tuple(field.name for field, _ in item.ListFields())
    return type(item)


def taken(items: Any, count: int) -> list[Any]:
    """So many items in short, without marks, then leave: a script that breaks at once makes its last values stale."""
    result = [told(next(items)) for _ in range(count)]
    items.close()
    return [one.rstrip("!") if isinstance(one, str) else one for one in result]


def test_values_come_one_by_one_with_what_befalls_them(client: Any, scripted: ScriptedGateway) -> None:
    """A hole before the values after it, the end of a snapshot after its values, a break at once."""
    scripted.script(
        "StreamQuotes",
        [batch(1, "AAPL", "MSFT", acks=[md.SubscriptionAck(symbol="AAPL")], snapshot_end=True), batch(2, "AAPL"), LOST],
        [LOST],
        [batch(1, "AAPL", snapshot_end=True), batch(2, heartbeat=True, conflated_total=3), OPEN],
    )
    assert taken(client.follow_quotes(["AAPL", "MSFT"]), 10) == [
        ("acks",),
        "AAPL",
        "MSFT",
        ("snapshot_end",),
        "AAPL",
        Disconnected,
        ("gaps",),
        "AAPL",
        ("snapshot_end",),
        ("conflated_total", "heartbeat"),
    ]


def test_trades_come_with_corrections_and_bars_of_the_channel_asked_for(client: Any, scripted: ScriptedGateway) -> None:
    trades = md.StreamTradesResponse(
        batch_sequence=1, cancels=[{"trade_id": 7}], corrections=[{"symbol": "AAPL"}], trades=[{"trade_id": 7}]
    )
    scripted.script("StreamTrades", [trades, OPEN])
    requests = scripted.script("StreamBars", [md.StreamBarsResponse(batch_sequence=1, bars=[{"close": 2.5}]), OPEN])
    items = client.follow_trades("AAPL")
    assert [type(next(items)) for _ in range(3)] == [md.Trade, md.TradeCorrection, md.TradeCancel]
    bars = client.follow_bars("AAPL", channel="daily_bars")
    assert next(bars).close == 2.5
    assert requests[0].channel == md.CHANNEL_DAILY_BARS
    items.close()
    bars.close()


def test_each_value_is_judged_when_it_is_taken() -> None:
    """A reader who sleeps 5 s between the values of one batch: all but the first are old."""
    now_ns = [1_000 * SECOND]
    stream = following(now_ns)
    sent = batch(1, "AAPL", "MSFT", "TSLA", send_time_ns=now_ns[0])
    marks = []
    for item in stream.items(sent):
        marks.append(told(item))
        now_ns[0] += 5 * SECOND
    assert marks == ["AAPL", "MSFT!", "TSLA!"]


@pytest.mark.parametrize(("late_ns", "mark"), [(2 * SECOND, "AAPL"), (2 * SECOND + 1, "AAPL!")])
def test_two_seconds_are_the_bound(late_ns: int, mark: str) -> None:
    now_ns = [1_000 * SECOND]
    stream = following(now_ns)
    sent = batch(1, "AAPL", send_time_ns=now_ns[0])
    now_ns[0] += late_ns
    assert [told(item) for item in stream.items(sent)] == [mark]
    assert stream.lag_ns == late_ns
    again = market_streams.Batches("x/y", md.StreamQuotesRequest(), md.StreamQuotesResponse, lambda b: b.quotes)
    again._lag = stream._lag
    assert [told(next(again.items(sent)).quotes[0])] == [mark]


def following(now_ns: list[int]) -> Any:
    """A stream of values whose clocks are a number."""
    stream = market_data.follow_quotes("AAPL")
    stream._lag = Lag(lambda: now_ns[0], lambda: now_ns[0])
    return stream


def test_what_is_left_of_a_batch_when_its_connection_broke_is_stale(client: Any, scripted: ScriptedGateway) -> None:
    """Nothing says any more that there is nothing newer."""
    scripted.script("StreamQuotes", [batch(1, "AAPL", "MSFT"), LOST], [batch(1, "AAPL"), OPEN])
    items = client.follow_quotes(["AAPL", "MSFT"])
    next(items)
    for _ in range(100):
        if not items._values._is_alive():
            break
        pause(items, 0.05)
    assert told(next(items)) == "MSFT!"
    assert taken(items, 3) == [Disconnected, ("gaps",), "AAPL"]


def pause(items: Any, seconds: float) -> None:
    """Time passes, for the loop of an asyncio client as well."""
    runner = getattr(items, "_runner", None)
    if runner is None:
        time.sleep(seconds)
    else:
        import asyncio

        runner.run(asyncio.sleep(seconds))


def test_a_break_is_told_once_and_at_once_to_readers_of_batches(client: Any, scripted: ScriptedGateway) -> None:
    draining = Refusal(grpc.StatusCode.UNAVAILABLE, "DRAINING", retry_after_ms=1)
    scripted.script("StreamQuotes", [batch(1, send_time_ns=5 * SECOND), draining], [LOST], [batch(1), OPEN])
    notices: list[Any] = []
    batches = client.stream_quotes("AAPL", on_notice=notices.append)
    next(batches)
    assert len(next(batches).status.gaps) == 1
    assert [(one.error.reason, one.last_send_ns) for one in notices] == [("DRAINING", 5 * SECOND)]
    batches.close()


def test_a_refusal_that_says_when_ends_no_stream_that_ran(client: Any, scripted: ScriptedGateway) -> None:
    """The places of the broken connections are not free at once. Before anything came it is a plain refusal."""
    full = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", retry_after_ms=300)
    scripted.script("StreamQuotes", [batch(1, "AAPL"), LOST], [full], [batch(1, "AAPL"), OPEN])
    began = time.monotonic()
    assert taken(client.follow_quotes("AAPL"), 4) == ["AAPL", Disconnected, ("gaps",), "AAPL"]
    assert time.monotonic() - began >= 0.3
    requests = scripted.script("StreamQuotes", [full])
    with pytest.raises(GatewayError, match="TOO_MANY_STREAMS"):
        next(client.follow_quotes("AAPL"))
    assert len(requests) == 4


def test_a_stream_that_says_nothing_any_more_is_given_up(
    client: Any, scripted: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that hangs keeps its connections, and answers pings: only heartbeats tell."""
    monkeypatch.setattr(market_streams, "SILENCE_MIN_S", 0.6)
    scripted.script("StreamQuotes", [batch(1, "AAPL"), OPEN], [batch(1, "AAPL"), OPEN])
    items = client.follow_quotes("AAPL", heartbeat_interval_s=0.1)
    assert told(next(items)) == "AAPL"
    broken = next(items)
    assert isinstance(broken, Disconnected)
    assert "no message for 0.6 s" in broken.error.message
    assert not broken.error.outcome_unknown
    assert taken(items, 2) == [("gaps",), "AAPL"]


def test_only_the_time_of_waiting_is_silence() -> None:
    now_s = [0.0]
    silence = Silence(15.0, lambda: now_s[0])
    silence.heard()
    now_s[0] = 60.0
    assert not silence.notice()
    silence.waiting()
    now_s[0] = 75.0
    assert not silence.notice()
    now_s[0] = 75.1
    assert silence.notice()
    assert not silence.notice()


@pytest.mark.parametrize(("asked_s", "silence_s"), [(None, 15.0), (0.5, 5.0), (60.0, 180.0)])
def test_silence_is_measured_in_heartbeats(asked_s: float | None, silence_s: float) -> None:
    options: Any = {} if asked_s is None else {"heartbeat_interval_s": asked_s}
    assert market_data.follow_quotes("AAPL", **options).silence_max_s == silence_s


def test_pauses_grow_while_connections_break_soon() -> None:
    """A gateway that takes a stream, sends one batch and ends it is not asked ten times a second for ever."""
    now_s = [0.0]
    policy = RetryPolicy(reconnects_max=3, backoff_initial_s=0.1, backoff_max_s=5.0)
    reconnects = Reconnects(policy, now_s=lambda: now_s[0], chance=lambda: 0.0)
    error = GatewayError(grpc.StatusCode.UNAVAILABLE, "lost")

    def pause(lasted_s: float) -> float:
        reconnects.opened()
        now_s[0] += lasted_s
        reconnects.received()
        return reconnects.pause_after(error, "quotes")

    assert [pause(0.1) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert [pause(lasted_s) for lasted_s in (5.0, 0.1, 60.0)] == [0.1, 0.2, 0.1]


def test_how_far_behind_a_reader_is(connect: Callable[..., Any], scripted: ScriptedGateway) -> None:
    """A heartbeat measures as well."""
    an_hour_ns = 3_600 * SECOND
    behind = [batch(1, "AAPL", send_time_ns=time.time_ns() + an_hour_ns), OPEN]
    scripted.script("StreamQuotes", [batch(1, "AAPL"), batch(2, heartbeat=True), OPEN], behind)
    client = connect(scripted.target)
    items = client.follow_quotes("AAPL")
    list(itertools.islice(items, 2))
    assert 0 <= items.lag_s < 1
    assert abs(items.gateway_ns - time.time_ns()) < SECOND
    items.close()
    skewed = client.follow_quotes("AAPL")  # an hour ahead of us: its values are not from the future
    assert told(next(skewed)) == "AAPL"
    assert skewed.lag_s == pytest.approx(0, abs=1e-3)
    assert skewed.gateway_ns - time.time_ns() == pytest.approx(an_hour_ns, abs=SECOND)
    skewed.close()


def test_a_thinned_stream_says_how_much(client: Any, scripted: ScriptedGateway) -> None:
    requests = scripted.script("StreamQuotes", [batch(1, "AAPL"), OPEN])
    taken(client.follow_quotes("AAPL", min_interval_s=0.25, conflation="latest_per_symbol"), 1)
    assert requests[0].min_interval.ToMilliseconds() == 250
    assert not market_data.stream_quotes("AAPL").request().HasField("min_interval")
