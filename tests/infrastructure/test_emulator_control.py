"""VenueControl over the emulator's control routes: nothing is lost on the way, and refusals keep their reasons."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal

import pytest

from gateway.domain.errors import FieldInvalid, VenueUnreachable
from gateway.domain.interfaces import VenueControl
from gateway.domain.models.simulation import UNTIL_CLEARED, FaultKind, FaultOrder, LedgerKind, LedgerQuery
from gateway.domain.types import OrderSide
from gateway.infrastructure.emulator_control import EmulatorControl
from tests.emulator.host import EmulatorHost, RunningEmulator
from tests.emulator.rest_client import RestClient

MARKET = {"type": "market", "limit_price": None, "time_in_force": "day"}


@pytest.fixture
def control(emulator: RunningEmulator) -> Iterator[EmulatorControl]:
    """The other side of the `emulator` of the same test."""
    running = EmulatorControl(emulator.url)
    yield running
    running.close()


async def test_a_fault_comes_back_as_it_was_ordered(control: VenueControl) -> None:
    order = FaultOrder(FaultKind.HTTP_500, "PATCH /v2/orders/*", "BTC/USD", 3, UNTIL_CLEARED, 1_500)
    fault = await control.inject(order)
    assert (fault.order, fault.fired) == (order, 0)
    usual = await control.inject(FaultOrder(FaultKind.EVENT_DROPPED))
    assert usual.order.route == "orders"
    assert await control.list_faults() == [fault, usual]
    await control.clear_faults()
    assert await control.list_faults() == []


@pytest.mark.parametrize("kind", list(FaultKind))
async def test_every_fault_can_be_ordered(control: VenueControl, kind: FaultKind) -> None:
    symbol = "AAPL" if kind is FaultKind.SYMBOL_HALTED else ""
    fault = await control.inject(FaultOrder(kind, symbol=symbol))
    assert fault.order.fault is kind
    assert fault.fired == (kind is FaultKind.SYMBOL_HALTED), "the others wait for what they fit"


async def test_a_refusal_keeps_its_reason(control: VenueControl) -> None:
    with pytest.raises(FieldInvalid, match="route must be orders, the feed that has events"):
        await control.inject(FaultOrder(FaultKind.EVENT_LATE, "stocks:iex"))


async def test_the_record_is_read_in_pages(control: VenueControl, rest_of: RestClient) -> None:
    await asyncio.to_thread(rest_of.order, client_order_id="one", **MARKET)
    whole = await control.read_ledger(LedgerQuery())
    assert whole.next_sequence == 0
    assert {entry.kind for entry in whole.entries} == set(LedgerKind) - {LedgerKind.FAULT, LedgerKind.EVENT}
    execution = next(entry for entry in whole.entries if entry.kind is LedgerKind.EXECUTION)
    assert (execution.side, execution.quantity, execution.venue_client_order_id) == (OrderSide.BUY, Decimal(1), "one")
    assert isinstance(execution.price, Decimal)
    first = await control.read_ledger(LedgerQuery(limit=2))
    rest = await control.read_ledger(LedgerQuery(first.next_sequence))
    assert first.entries + rest.entries == whole.entries
    kinds = frozenset({LedgerKind.EXECUTION, LedgerKind.RESPONSE})
    chosen = await control.read_ledger(LedgerQuery(symbol="AAPL", kinds=kinds))
    assert {entry.kind for entry in chosen.entries} == kinds


async def test_the_simulation_is_shown(start_emulator: EmulatorHost) -> None:
    running = start_emulator(seed=5, cash=Decimal("2500.50"))
    control, rest = EmulatorControl(running.url), RestClient(running)
    await control.inject(FaultOrder(FaultKind.EVENT_LATE, delay_ms=60_000))
    await asyncio.to_thread(rest.order, **MARKET)
    now = await control.get_simulation()
    assert (now.seed, now.tape, now.speed, now.initial_cash) == (5, "", 1.0, Decimal("2500.5"))
    assert (now.order_count, now.execution_count, now.late_arrivals, now.late_events) == (1, 1, 0, 0)
    assert now.start_time_ns < now.now_ns
    assert now.ledger_sequence == (await control.read_ledger(LedgerQuery())).entries[-1].sequence
    rest.close()
    control.close()


async def test_where_there_is_no_emulator_it_says_so() -> None:
    nobody = EmulatorControl("http://127.0.0.1:1")
    for ask in (nobody.get_simulation(), nobody.list_faults(), nobody.clear_faults()):
        with pytest.raises(VenueUnreachable):
            await ask
    nobody.close()


@pytest.fixture
def rest_of(emulator: RunningEmulator) -> Iterator[RestClient]:
    """Asks the `emulator` of the same test."""
    client = RestClient(emulator)
    yield client
    client.close()
