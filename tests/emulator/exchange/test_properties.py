"""Whatever is asked and quoted: money and shares are conserved, limits hold, ends are final, and memory is exact."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from gateway.emulator.exchange import SimulatedExchange
from gateway.emulator.reopening import open_exchange
from tests.emulator.exchange.storms import ASSETS, START_NS, Storm, make_config, memory

seeds = st.integers(min_value=0, max_value=2**32)
lengths = st.integers(min_value=1, max_value=250)
bounded = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@bounded
@given(seed=seeds, steps=lengths)
def test_storms_conserve_money_and_shares(seed: int, steps: int) -> None:
    Storm(SimulatedExchange(make_config(seed), ASSETS, START_NS), seed).run(steps)


@bounded
@given(seed=seeds, steps=lengths)
def test_a_replayed_ledger_gives_the_same_account(
    tmp_path_factory: pytest.TempPathFactory, seed: int, steps: int
) -> None:
    data_dir, config = tmp_path_factory.mktemp("ledger"), make_config(seed)
    with open_exchange(config, ASSETS, START_NS, data_dir) as exchange:
        Storm(exchange, seed).run(steps)
        remembered = memory(exchange)
    with open_exchange(config, ASSETS, START_NS, data_dir) as again:
        assert memory(again) == remembered


def test_the_recorded_exchange_does_what_the_plain_one_does() -> None:
    seed = 7
    plain = Storm(SimulatedExchange(make_config(seed), ASSETS, START_NS), seed)
    plain.run(400)
    with open_exchange(make_config(seed), ASSETS, START_NS) as exchange:
        recorded = Storm(exchange, seed)
        recorded.run(400)
        assert memory(exchange) == memory(plain.exchange)
    assert recorded.seen == plain.seen


def test_storms_reach_everything() -> None:
    """A storm that meets only refusals proves nothing."""
    seen: Counter[str] = Counter()
    for seed in range(12):
        storm = Storm(SimulatedExchange(make_config(seed), ASSETS, START_NS), seed)
        storm.run(300)
        seen += storm.seen
    for event in ("new", "partial_fill", "fill", "canceled", "expired", "replaced", "accepted", "pending_cancel"):
        assert seen[event] > 5, event
    for kind in (
        "bracket limit day",
        "oco limit gtc",
        "simple trailing_stop day",
        "simple market opg",
        "simple stop gtc",
    ):
        assert seen[f"{kind} executed"], kind
