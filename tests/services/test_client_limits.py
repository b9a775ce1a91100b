"""What one client may: counted by the clock alone, without a server."""

from __future__ import annotations

from random import Random

import pytest

from gateway.domain.models.quota import Quota
from gateway.services.client_limits import (
    BURST_S,
    CANCELS_IN_FLIGHT_RESERVE,
    CLIENTS_MAX,
    DRAW,
    WAIT_S_MAX,
    WAITING_PER_CLIENT_MAX,
    Bucket,
    ClientBounds,
    ClientLimits,
    Draws,
)

SEED = 7
FAULTS_PER_SECOND = ClientBounds().faults_per_second
PEER = "ipv4:127.0.0.1:5050"
WALL_NS = 1_700_000_000_000_000_000


class Clock:
    """Time as the test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limits(clock: Clock, **bounds: int) -> ClientLimits:
    return ClientLimits(ClientBounds(**bounds), clock, lambda: WALL_NS, Random(SEED))


def test_a_bucket_gives_a_burst_and_then_what_comes_back() -> None:
    bucket = Bucket(50)
    assert [bucket.take(10.0) for _ in range(100)] == [0.0] * 100
    assert bucket.take(10.0) == pytest.approx(0.02)
    assert bucket.take(10.0) == pytest.approx(0.02)  # a refusal takes nothing
    assert bucket.take(10.021) == 0.0
    assert bucket.take(10.021) > 0.0
    assert [bucket.take(12.1) for _ in range(100)] == [0.0] * 100
    assert (bucket.left(12.1), bucket.left(12.161)) == (0, 3)


def test_what_is_owed_has_a_bound_and_is_paid_back() -> None:
    bucket = Bucket(50)
    waits = [bucket.owe(0.0) for _ in range(1_000)]
    assert waits[:100] == [0.0] * 100
    assert waits[100] == pytest.approx(0.02)
    assert max(waits) == waits[-1] == pytest.approx(WAIT_S_MAX)
    assert bucket.take(0.0) > WAIT_S_MAX
    assert bucket.take(WAIT_S_MAX + 0.021) == 0.0


def test_nothing_is_counted_where_there_is_no_limit(clock: Clock) -> None:
    none = limits(
        clock,
        calls_in_flight_max=0,
        streams_max=0,
        connections_max=0,
        symbols_max=0,
        reads_per_second=0,
        orders_per_second=0,
        faults_per_second=0,
    )
    client = none.find("t")
    for number in range(1_000):
        assert client.lacks_room(f"{PEER}{number}") == client.lacks_stream_room(f"{PEER}{number}", 900) == ""
        assert {draw(client, clock.now) for draw in DRAW.values()} == {none.delay_of_fault(client)} == {0.0}
        client.enter_call(f"{PEER}{number}")
        client.enter_stream(f"{PEER}{number}", 900)
    assert [quota.name for quota in none.quotas("t")] == ["client:request_bytes"]


@pytest.mark.parametrize(
    ("draws", "free", "is_refused"),
    [(Draws.ORDERS, 100, True), (Draws.READS, 400, True), (Draws.CANCELS, 100, False), (Draws.NOTHING, 5_000, False)],
)
def test_each_budget_has_its_own_rate_and_what_is_not_refused_waits_a_second_at_most(
    clock: Clock, draws: Draws, free: int, is_refused: bool
) -> None:
    client = limits(clock).find("t")
    waits = [DRAW[draws](client, clock.now) for _ in range(5_000)]
    assert waits[:free] == [0.0] * free
    assert all(0.0 < wait <= WAIT_S_MAX + 1e-9 for wait in waits[free:])
    if is_refused:
        clock.now += max(waits)
        assert DRAW[draws](client, clock.now) == 0.0
    others = {Draws.ORDERS, Draws.READS, Draws.CANCELS} - {draws}
    assert {DRAW[other](client, clock.now) for other in others} == {0.0}


def test_a_client_has_so_many_calls_and_connections_and_cancels_some_more(clock: Clock) -> None:
    client = limits(clock, calls_in_flight_max=3, connections_max=2).find("t")
    for peer in ("a", "b", "b"):
        assert client.lacks_room(peer) == ""
        client.enter_call(peer)
    assert client.lacks_room("a") == "client:calls"
    for _ in range(CANCELS_IN_FLIGHT_RESERVE):
        assert client.lacks_room("a", CANCELS_IN_FLIGHT_RESERVE) == ""
        client.enter_call("a")
    assert client.lacks_room("a", CANCELS_IN_FLIGHT_RESERVE) == "client:calls"
    assert client.lacks_room("c", 100) == client.lacks_stream_room("c", 0) == "client:connections"
    client.leave_call("b")
    client.leave_call("b")
    assert client.lacks_room("c", 100) == ""


def test_answers_that_wait_count_as_calls_but_not_against_cancels(clock: Clock) -> None:
    clients = limits(clock, calls_in_flight_max=2)
    client = clients.find("one")
    client.enter_call(PEER)
    clients.begin_wait(client)
    assert client.lacks_room(PEER) == "client:calls"
    assert client.lacks_room(PEER, CANCELS_IN_FLIGHT_RESERVE) == ""
    clients.end_wait(client)
    assert client.lacks_room(PEER) == ""


def test_a_client_has_so_many_streams_and_symbols(clock: Clock) -> None:
    client = limits(clock, streams_max=3, symbols_max=10).find("t")
    client.enter_stream(PEER, 6)
    assert client.lacks_stream_room(PEER, 5) == "client:symbols"
    assert client.lacks_stream_room(PEER, 4) == client.lacks_stream_room(PEER, 0) == ""
    client.enter_stream(PEER, 4)
    client.enter_stream(PEER, 0)
    assert client.lacks_stream_room(PEER, 0) == "client:streams"
    client.leave_stream(PEER, 6)
    assert client.lacks_stream_room(PEER, 6) == ""


def test_faults_are_answered_the_later_the_more_there_are(clock: Clock) -> None:
    all_clients = limits(clock)
    wrong, right = all_clients.find("wrong"), all_clients.find("right")
    free = int(FAULTS_PER_SECOND * BURST_S)
    waits = [all_clients.delay_of_fault(wrong) for _ in range(500)]
    assert waits[:free] == [0.0] * free
    growing = waits[free : free + FAULTS_PER_SECOND - 1]
    assert growing == sorted(growing)
    assert growing[0] > 0
    at_bound = waits[free + FAULTS_PER_SECOND :]
    assert all(0.75 * WAIT_S_MAX <= wait <= WAIT_S_MAX for wait in at_bound)
    assert len(set(at_bound)) > len(at_bound) // 2, "answers that came together must not go together"
    assert all_clients.delay_of_fault(right) == 0.0


def test_a_loop_that_waits_for_its_answers_slows_itself_down(clock: Clock) -> None:
    """One at a time, each at once after the last: what it gets in a minute is its rate, and no more."""
    all_clients = limits(clock)
    client, answered, end = all_clients.find("t"), 0, clock.now + 60
    while clock.now < end:
        clock.now += all_clients.delay_of_fault(client) + 0.000_1
        answered += 1
    assert answered <= FAULTS_PER_SECOND * (60 + BURST_S) + 1


def test_so_many_answers_wait_and_the_next_is_told_at_once(clock: Clock) -> None:
    all_clients = limits(clock)
    client = all_clients.find("t")
    for _ in range(200):
        all_clients.delay_of_fault(client)
    for _ in range(WAITING_PER_CLIENT_MAX):
        assert all_clients.delay_of_fault(client) > 0
        all_clients.begin_wait(client)
    assert all_clients.delay_of_fault(client) == 0.0
    all_clients.end_wait(client)
    assert all_clients.delay_of_fault(client) > 0


def test_records_are_bounded_and_those_that_say_something_stay(clock: Clock) -> None:
    all_clients = limits(clock)
    busy, owing = all_clients.find("busy"), all_clients.find("owing")
    busy.enter_call(PEER)
    for number in range(3 * CLIENTS_MAX):
        all_clients.find(f"peer-{number}")
        owing.orders.owe(clock.now, 100)
    assert all_clients.find("busy") is busy
    assert all_clients.find("owing") is owing
    assert len(all_clients._clients) <= CLIENTS_MAX
    clock.now += 10
    for number in range(CLIENTS_MAX):
        all_clients.find(f"new-{number}")
    assert all_clients.find("owing") is not owing


def test_what_is_left_is_told_with_its_window(clock: Clock) -> None:
    all_clients = limits(clock)
    client = all_clients.find("t")
    for _ in range(30):
        client.orders.take(clock.now)
    client.enter_call(PEER)
    client.enter_stream(PEER, 5)
    assert all_clients.quotas("t") == (
        Quota("client:orders", 100, 70, 2_000, WALL_NS + 600_000_000),
        Quota("client:reads", 400, 400, 2_000, WALL_NS),
        Quota("client:calls", 32, 31),
        Quota("client:streams", 16, 15),
        Quota("client:symbols", 2_000, 1_995),
        Quota("client:connections", 8, 7),
        Quota("client:request_bytes", 65_536, 65_536),
    )
