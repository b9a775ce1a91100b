"""Both clients' sessions against a scripted server: what is held, what is told, when credits go back."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gateway.config import Settings
from tests.clients.messages import LOST
from tests.clients.scripted import OPEN, ScriptedGateway
from trading_gateway import Disconnected
from trading_gateway.lag import Lag
from trading_gateway.market_streams import GATEWAY_FEED
from trading_gateway.session import COMMANDS_MAX, SYMBOLS_MAX, LoopOutbox, ThreadOutbox
from trading_gateway.v1 import market_data_pb2 as md

RPC = "MarketDataSession"
SECOND = 1_000_000_000


def batch(sequence: int, *events: Any, **status: Any) -> md.MarketDataSessionResponse:
    """One batch of a session."""
    message = md.MarketDataSessionResponse(batch_sequence=sequence, events=[event(one) for one in events])
    message.send_time.FromNanoseconds(time.time_ns())
    if status:
        message.status.MergeFrom(md.StreamStatus(**status))
    return message


def event(value: Any) -> md.MarketEvent:
    """A value in its envelope."""
    made = md.MarketEvent()
    name = next(field.name for field in made.DESCRIPTOR.fields if field.message_type is value.DESCRIPTOR)
    getattr(made, name).CopyFrom(value)
    return made


def said(commands: list[Any]) -> list[Any]:
    """Commands in short."""
    short: list[Any] = []
    for command in commands:
        kind = command.WhichOneof("command")
        value = getattr(command, kind)
        if kind in ("subscribe", "unsubscribe"):
            short.append((kind, md.Channel.Name(value.channel).removeprefix("CHANNEL_"), *value.symbols))
        elif kind == "credit":
            short.append((kind, value.batch_sequence))
        else:
            short.append(kind)
    return short


def test_every_kind_of_value_comes_in_one_stream(client: Any, scripted: ScriptedGateway) -> None:
    values = [field.message_type._concrete_class() for field in md.MarketEvent.DESCRIPTOR.fields]
    assert len(values) >= 8
    unknown = batch(1, *values)
    unknown.events.add()
    scripted.script(RPC, [unknown, OPEN])
    session = client.market_data_session()
    assert [next(session) for _ in values] == values
    session.close()


def test_what_is_held_is_held_again_after_a_break(client: Any, scripted: ScriptedGateway) -> None:
    """Subscribed before the stream began, while it ran and while it was broken; unsubscribed is forgotten."""
    connections = scripted.script(
        RPC, [3, batch(1, md.Quote(symbol="AAPL")), 6, batch(2), LOST], [3, batch(1, md.Quote(symbol="MSFT")), OPEN]
    )
    session = client.market_data_session(heartbeat_interval_s=0.5, conflation="latest_per_symbol")
    session.subscribe("quotes", ["AAPL", "MSFT"])
    session.subscribe("bars", "AAPL", feed="iex", command_id="c-2")
    assert next(session).symbol == "AAPL"
    session.unsubscribe("quotes", ["AAPL"])
    session.unsubscribe("bars", ["AAPL"], feed="iex")
    session.list_subscriptions("c-4")
    broken = next(session)
    assert isinstance(broken, Disconnected)
    session.subscribe("trades", "TSLA", command_id="c-5")
    (gap,) = next(session).gaps
    assert (gap.feed, set(gap.symbols)) == (GATEWAY_FEED, {"MSFT", "TSLA"})
    assert next(session).symbol == "MSFT"
    session.close()
    first, second = connections
    assert said(first) == [
        "open",
        ("subscribe", "QUOTES", "AAPL", "MSFT"),
        ("subscribe", "BARS", "AAPL"),
        ("unsubscribe", "QUOTES", "AAPL"),
        ("unsubscribe", "BARS", "AAPL"),
        "list",
    ]
    assert [one.command_id for one in first] == ["", "", "c-2", "", "", "c-4"]
    assert said(second) == ["open", ("subscribe", "QUOTES", "MSFT"), ("subscribe", "TRADES", "TSLA")]
    assert [one.command_id for one in second] == ["", "", "c-5"]
    assert first[0] == second[0]
    assert (first[0].open.heartbeat_interval.ToMilliseconds(), first[0].open.max_unacknowledged_batches) == (500, 8)


def test_a_break_makes_no_command_of_more_symbols_than_the_gateway_takes(
    client: Any, scripted: ScriptedGateway
) -> None:
    """It would refuse the whole of a command into which two calls were put together."""
    connections = scripted.script(RPC, [4, batch(1, heartbeat=True), 5, LOST], [6, batch(1, heartbeat=True), OPEN])
    session = client.market_data_session()
    assert Settings.model_fields["symbols_per_stream_max"].default == SYMBOLS_MAX
    symbols = [f"S{number}" for number in range(1_000)]
    session.subscribe("quotes", symbols[:400])
    session.subscribe("quotes", symbols[400:800])
    session.subscribe("quotes", symbols[800:], command_id="c-3")
    assert next(session).heartbeat
    session.subscribe("trades", symbols[:SYMBOLS_MAX], command_id="c-4")
    assert isinstance(next(session), Disconnected)
    session.subscribe("bars", "AAPL", command_id="c-5")
    assert next(session).gaps
    session.close()
    again = connections[1][1:]
    assert [(one.command_id, len(one.subscribe.symbols)) for one in again] == [
        ("", 500), ("", 300), ("c-3", 200), ("c-4", 500), ("c-5", 1)
    ]  # fmt: skip
    assert [symbol for one in again[:3] for symbol in one.subscribe.symbols] == symbols
    assert {one.subscribe.channel for one in again[:3]} == {md.CHANNEL_QUOTES}


def test_a_command_is_of_one_asset_class(client: Any, scripted: ScriptedGateway) -> None:
    """The gateway would refuse the whole of one that is of two."""
    connections = scripted.script(RPC, [4, batch(1, heartbeat=True), OPEN])
    session = client.market_data_session()
    for symbol in ("AAPL", "BTC/USD", "AAPL261218C00250000", "MSFT", "ETH/USD"):
        session.subscribe("quotes", symbol)
    assert next(session).heartbeat
    session.close()
    assert said(connections[0]) == [
        "open",
        ("subscribe", "QUOTES", "AAPL", "MSFT"),
        ("subscribe", "QUOTES", "BTC/USD", "ETH/USD"),
        ("subscribe", "QUOTES", "AAPL261218C00250000"),
    ]


def test_what_an_unsubscription_does_not_name_is_any(client: Any, scripted: ScriptedGateway) -> None:
    connections = scripted.script(RPC, [3, batch(1, heartbeat=True), LOST], [3, batch(1, heartbeat=True), OPEN])
    session = client.market_data_session()
    session.subscribe("quotes", ["AAPL", "MSFT"], feed="iex")
    session.subscribe("quotes", ["TSLA", "NVDA"])
    session.unsubscribe("quotes", "MSFT")
    session.unsubscribe("quotes", "NVDA", feed="iex")
    session.unsubscribe("trades", "AAPL")
    assert next(session).heartbeat
    assert isinstance(next(session), Disconnected)
    assert next(session).gaps
    session.close()
    assert said(connections[1]) == ["open", ("subscribe", "QUOTES", "AAPL"), ("subscribe", "QUOTES", "TSLA")]


def test_a_subscription_has_symbols(client: Any) -> None:
    with pytest.raises(ValueError, match="without symbols"):
        client.market_data_session().subscribe("quotes", [])


def test_what_is_held_may_be_of_more_commands_than_may_wait(client: Any, scripted: ScriptedGateway) -> None:
    """The bound is for what a connection does not take: held by it, no session would come back from a break."""
    count = COMMANDS_MAX + 10
    first = [1 + count, batch(1, heartbeat=True), LOST]
    connections = scripted.script(RPC, first, [1 + count, *(batch(n, heartbeat=True) for n in range(1, 9)), OPEN])
    session = client.market_data_session()
    for number in range(count):
        session.subscribe("quotes", f"S{number}", command_id=f"c-{number}")
    assert next(session).heartbeat
    assert isinstance(next(session), Disconnected)
    assert len([next(session) for _ in range(8)]) == 8  # with their credits
    session.close()
    for connection in connections:
        assert [one.command_id for one in connection[1 : 1 + count]] == [f"c-{number}" for number in range(count)]


def test_credits_go_back_when_values_were_taken(client: Any, scripted: ScriptedGateway) -> None:
    """Not when the transport has them: the gateway waits, and sends what is newest then."""
    sent = [batch(sequence, md.Quote(symbol="AAPL"), md.Quote(symbol="MSFT")) for sequence in range(1, 5)]
    connections = scripted.script(RPC, [*sent, 2, batch(5, heartbeat=True), 3, batch(6, heartbeat=True), OPEN])
    session = client.market_data_session(credits=4)
    taken = [next(session).symbol for _ in range(4)]
    assert said(connections[0]) == ["open"]  # the second batch is still being looked at
    taken += [next(session).symbol for _ in range(4)]
    assert taken == ["AAPL", "MSFT"] * 4
    assert [next(session).heartbeat for _ in range(2)] == [True, True]
    assert said(connections[0]) == ["open", ("credit", 2), ("credit", 4)]
    session.close()


def test_no_credits_where_none_are_wanted(client: Any, scripted: ScriptedGateway) -> None:
    connections = scripted.script(RPC, [1, batch(1, heartbeat=True), batch(2, heartbeat=True), LOST], [batch(1), OPEN])
    session = client.market_data_session(credits=0)
    items = [next(session) for _ in range(3)]
    assert isinstance(items[2], Disconnected)
    assert said(connections[0]) == ["open"]
    session.close()


def test_old_events_are_flagged_where_they_can_become_old(client: Any, scripted: ScriptedGateway) -> None:
    scripted.script(RPC, [batch(1, md.Quote(), md.TradeCancel(), md.Quote(), md.OrderBook()), OPEN])
    session = client.market_data_session()
    now_ns = [time.time_ns()]
    session._values._lag = Lag(lambda: now_ns[0], lambda: now_ns[0])
    fresh = next(session)
    now_ns[0] += 3 * SECOND
    cancel, old, book = (next(session) for _ in range(3))
    assert (fresh.stale, old.stale, book.stale) == (False, True, True)
    assert not hasattr(cancel, "stale")
    session.close()


def test_commands_that_wait_are_bounded() -> None:
    outbox = ThreadOutbox()
    for _ in range(COMMANDS_MAX):
        outbox.put(md.MarketDataSessionRequest())
    with pytest.raises(BufferError, match="4096 commands wait"):
        outbox.put(md.MarketDataSessionRequest())
    outbox.close()
    assert len(list(outbox)) == COMMANDS_MAX


@pytest.mark.parametrize("kind", [ThreadOutbox, LoopOutbox])
def test_commands_that_a_connection_begins_with_leave_their_room_to_those_after_them(
    kind: type[ThreadOutbox | LoopOutbox],
) -> None:
    """A credit among them, whose failure would end the session that has only just come back."""
    outbox = kind([md.MarketDataSessionRequest()] * 5_000)
    for _ in range(COMMANDS_MAX):
        outbox.put(md.MarketDataSessionRequest())
    with pytest.raises(BufferError):
        outbox.put(md.MarketDataSessionRequest())
