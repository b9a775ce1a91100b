"""Both clients while connections break at arbitrary bytes, and the gateway goes and comes back: what a strategy sees.

Every seed is printed with the failure: it is the test's parameter.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.clients.cutting import CuttableWire
from trading_gateway import FileTokenStore, GatewayError, Interrupted, KeyFate, RetryPolicy, StartedOver, new_key
from trading_gateway.v1 import trading_pb2 as pb

MARKET: Any = {"symbol": "AAPL", "side": "buy", "quantity": "1", "order_type": "market", "time_in_force": "day"}
RESTING: Any = {**MARKET, "order_type": "limit", "limit_price": "50", "time_in_force": "gtc"}

STUBBORN = RetryPolicy(attempts_max=10, reconnects_max=500, backoff_initial_s=0.001, backoff_max_s=0.02)
CONNECTIONS_BROKEN = 8
HANDSHAKE_BYTES = 120
"""Below it a connection never comes to be, and gRPC itself waits longer and longer before the next."""


@pytest.fixture
def wires(gateway: Any) -> Iterator[Callable[[Any], CuttableWire]]:
    """Wires to the gateway whose first connections break at the bytes that a generator says."""
    made: list[CuttableWire] = []

    def make(bytes_left: Any) -> CuttableWire:
        made.append(CuttableWire(gateway.target, bytes_left))
        return made[-1]

    yield make
    for wire in made:
        wire.stop()


def until(updates: Any, payload: str) -> Any:
    """The first message of a kind."""
    return next(update for update in updates if update.WhichOneof("payload") == payload)


def submit_stubbornly(client: Any, key: str, order: Any) -> pb.Order:
    """The documented recipe: whatever does not say `spent` is asked again under the same key."""
    for _ in range(50):
        try:
            return client.submit_order(client_order_id=key, **order).order
        except GatewayError as error:
            if error.key is KeyFate.SPENT or not (error.outcome_unknown or error.key is KeyFate.FREE):
                raise
    raise AssertionError("fifty tries were not enough")


@pytest.mark.parametrize("seed", [1, 2])
def test_every_event_once_though_the_wire_breaks_anywhere(
    gateway: Any, wires: Callable[[Any], CuttableWire], connect: Callable[..., Any], seed: int
) -> None:
    """In the middle of frames, of messages, of headers; also while the reader is behind and has many to catch up."""
    trader = connect(gateway.target)
    token = next(trader.stream_order_updates(live_only=True)).resume_token
    for number in range(8):
        order = trader.submit_order(client_order_id=f"resting-{number}", **RESTING).order
        trader.cancel_order(order, wait_for_terminal_s=5)
    last = until(trader.stream_order_updates(), "snapshot_end").sequence
    assert last >= 8 * 4

    random_bytes = random.Random(seed)
    wire = wires([random_bytes.randrange(HANDSHAKE_BYTES, 3_000) for _ in range(CONNECTIONS_BROKEN)])
    reader = connect(wire.target, retry=STUBBORN)
    notices: list[Any] = []
    events: list[Any] = []
    updates = reader.stream_order_updates(resume_token=token, heartbeat_interval_s=1, on_notice=notices.append)
    for update in updates:
        if update.WhichOneof("payload") == "event":
            events.append(update)
        if update.sequence == last:
            break
    updates.close()
    assert wire.broken == CONNECTIONS_BROKEN  # an event is some 700 bytes: there are more than all of them carry
    assert [update.sequence for update in events] == list(range(1, last + 1))
    assert notices
    assert {type(notice) for notice in notices} == {Interrupted}
    canceled = [one for one in events if one.event.kind == pb.OrderEvent.KIND_CANCELED]
    assert len(canceled) == 8


@pytest.mark.parametrize("seed", [3, 4])
def test_one_order_per_key_though_the_wire_breaks_anywhere(
    gateway: Any, wires: Callable[[Any], CuttableWire], connect: Callable[..., Any], seed: int
) -> None:
    """Requests that did not arrive, answers that did not: the client asks again with the same key."""
    random_bytes = random.Random(seed)
    wire = wires([random_bytes.randrange(HANDSHAKE_BYTES, 1_500) for _ in range(CONNECTIONS_BROKEN)])
    client = connect(wire.target, retry=STUBBORN)
    keys = [f"key-{number}" for number in range(25)]
    orders = [submit_stubbornly(client, key, RESTING) for key in keys]
    assert wire.broken == CONNECTIONS_BROKEN
    assert gateway.emulator.requests("POST /v2/orders") == len(keys)
    assert len({order.order_id for order in orders}) == len(keys)
    assert {order.client_order_id for order in client.list_orders(page_size=500)} == set(keys)


def test_a_stream_goes_on_over_a_restart_with_the_same_journal(
    start_gateway: Any, connect: Callable[..., Any], tmp_path: Path
) -> None:
    """It drains, and comes back on its data directory: the next event is the next number."""
    first = start_gateway(data_dir=tmp_path)
    client = connect(first.target, retry=STUBBORN)
    notices: list[Any] = []
    updates = client.stream_order_updates(live_only=True, heartbeat_interval_s=1, on_notice=notices.append)
    next(updates)
    resting = client.submit_order(client_order_id="before", **RESTING).order
    events = [until(updates, "event")]
    first.drain()
    again = start_gateway(first.emulator, listen=first.target, data_dir=tmp_path)
    replayed = submit_stubbornly(client, "before", RESTING)
    assert replayed.order_id == resting.order_id
    client.cancel_order(resting, wait_for_terminal_s=5)
    while events[-1].event.order.state != pb.ORDER_STATE_CANCELED:
        events.append(until(updates, "event"))
    updates.close()
    sequences = [event.sequence for event in events]
    assert sequences == list(range(1, len(sequences) + 1))
    assert {event.event.order.order_id for event in events} == {resting.order_id}
    assert [type(notice) for notice in notices] == [Interrupted]
    assert again.emulator.requests("POST /v2/orders") == 1


def test_a_stream_starts_over_aloud_with_another_journal(start_gateway: Any, connect: Callable[..., Any]) -> None:
    """Without a data directory the journal ends with the gateway. What is open is found again at the venue."""
    first = start_gateway()
    client = connect(first.target, retry=STUBBORN)
    notices: list[Any] = []
    updates = client.stream_order_updates(live_only=True, heartbeat_interval_s=1, on_notice=notices.append)
    next(updates)
    resting = client.submit_order(client_order_id="before", **RESTING).order
    client.wait_for(resting, until=lambda one: one.state == pb.ORDER_STATE_WORKING, timeout_s=20)
    while (seen := until(updates, "event")).event.order.state != pb.ORDER_STATE_WORKING:
        pass
    first.drain()
    start_gateway(first.emulator, listen=first.target)
    while (update := next(updates)).WhichOneof("payload") != "snapshot_begin":
        seen = update
    over = notices[-1]
    assert isinstance(over, StartedOver)
    assert (over.reason, over.last_sequence) == ("EPOCH_CHANGED", seen.sequence)
    assert until(updates, "snapshot_end")
    found = client.get_order(pb.OrderRef(client_order_id="before"))
    assert (found.venue_client_order_id, found.state) == ("default.before", pb.ORDER_STATE_WORKING)
    client.cancel_order(found)
    while until(updates, "event").event.order.state != pb.ORDER_STATE_CANCELED:
        pass
    updates.close()


def test_a_kept_token_outlives_the_strategy_and_the_gateway(
    start_gateway: Any, connect: Callable[..., Any], tmp_path: Path
) -> None:
    """Both die; what was handled does not come again, but for the last; what happened in between comes first."""
    tokens = FileTokenStore(tmp_path / "token.json")
    data = tmp_path / "data"
    data.mkdir()
    first = start_gateway(data_dir=data)
    client = connect(first.target)
    updates = client.stream_order_updates(tokens=tokens, live_only=True)
    next(updates)
    client.submit_order(client_order_id="first", **RESTING)
    handled = [until(updates, "event").sequence for _ in range(3)]
    updates.close()
    client.submit_order(client_order_id="meanwhile", **RESTING)
    first.drain()
    second = start_gateway(first.emulator, data_dir=data)
    updates = connect(second.target).stream_order_updates(tokens=tokens)
    seen = [until(updates, "event") for _ in range(3)]
    updates.close()
    assert handled == [1, 2, 3]
    assert [update.sequence for update in seen] == [3, 4, 5]
    assert "meanwhile" in {update.event.order.client_order_id for update in seen}


def test_a_snapshot_has_what_ended_since(gateway: Any, connect: Callable[..., Any]) -> None:
    client = connect(gateway.target)
    before = datetime.now(UTC)
    ended = client.wait_for(client.submit_order(client_order_id=new_key(), **MARKET).order, timeout_s=20)
    between = datetime.now(UTC)

    def snapshot(**options: Any) -> set[str]:
        found: set[str] = set()
        for update in client.stream_order_updates(**options):
            if update.WhichOneof("payload") == "snapshot_order":
                found.add(update.snapshot_order.order_id)
            if update.WhichOneof("payload") == "snapshot_end":
                return found
        raise AssertionError("the snapshot never ended")

    assert snapshot() == set()
    assert snapshot(include_closed_since=before) == {ended.order_id}
    assert snapshot(include_closed_since=between) == set()
    past = client.stream_order_updates(start_time=before)
    assert until(past, "event").event.kind == pb.OrderEvent.KIND_RECORDED
    past.close()
