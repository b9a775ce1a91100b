"""How late a message is, by two clocks that may not agree."""

from __future__ import annotations

import random

import pytest

from trading_gateway.lag import Lag

SECOND = 1_000_000_000


class Machine:
    """A machine whose wall clock is ahead of the gateway's."""

    def __init__(self, ahead_ns: int = 0) -> None:
        self.gateway_ns = 1_000 * SECOND
        self.ahead_ns = ahead_ns
        self.slept_ns = 0
        self.lag = Lag(lambda: self.gateway_ns + self.ahead_ns, lambda: self.gateway_ns - self.slept_ns)

    def passes(self, nanoseconds: int) -> None:
        """Time passes for everybody."""
        self.gateway_ns += nanoseconds


def test_clocks_that_agree_measure_to_the_nanosecond() -> None:
    machine = Machine()
    sent_ns = machine.gateway_ns
    machine.passes(SECOND)
    machine.lag.arrived(sent_ns)
    assert machine.lag.since_ns(sent_ns) == SECOND
    machine.passes(2 * SECOND)
    assert machine.lag.since_ns(sent_ns) == 3 * SECOND
    assert machine.lag.gateway_ns == machine.gateway_ns


@pytest.mark.parametrize("ahead_s", [-3_600, -10, -1, 0, 1, 10, 3_600])
def test_nothing_is_called_fresher_than_it_is_whatever_the_clocks_say(ahead_s: int) -> None:
    """But for the quickest journey; and older at most by the time from opening to the first sending."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    machine = Machine(ahead_s * SECOND)
    machine.lag.opened()
    opened_ns = machine.gateway_ns
    quickest_ns, setup_ns = 10**18, 0
    for _ in range(200):
        machine.passes(chance.randrange(SECOND))
        sent_ns = machine.gateway_ns
        setup_ns = setup_ns or sent_ns - opened_ns
        journey_ns = chance.choice([100_000, 50_000_000, 5 * SECOND])
        quickest_ns = min(quickest_ns, journey_ns)
        machine.passes(journey_ns)
        machine.lag.arrived(sent_ns)
        assert journey_ns - quickest_ns <= machine.lag.since_ns(sent_ns) <= journey_ns + setup_ns


def test_a_clock_that_is_set_back_hides_nothing() -> None:
    machine = Machine()
    machine.lag.opened()
    sent_ns = machine.gateway_ns
    machine.lag.arrived(sent_ns)
    machine.ahead_ns = -60 * SECOND
    machine.passes(3 * SECOND)
    assert machine.lag.since_ns(sent_ns) == 3 * SECOND


def test_a_machine_that_slept_knows_that_what_waited_is_old() -> None:
    machine = Machine()
    machine.lag.opened()
    machine.lag.arrived(machine.gateway_ns)
    waiting_ns = machine.gateway_ns
    machine.passes(600 * SECOND)
    machine.slept_ns = 600 * SECOND
    machine.lag.arrived(waiting_ns)
    assert machine.lag.since_ns(waiting_ns) == 600 * SECOND


def test_what_a_clock_did_to_a_connection_ends_with_it() -> None:
    machine = Machine()
    machine.lag.opened()
    machine.lag.arrived(machine.gateway_ns)
    machine.ahead_ns = 30 * SECOND  # set forward: everything seems late
    assert machine.lag.since_ns(machine.gateway_ns) == 30 * SECOND
    machine.lag.opened()
    machine.lag.arrived(machine.gateway_ns)
    assert machine.lag.since_ns(machine.gateway_ns) == 0
