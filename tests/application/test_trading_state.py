"""TradingStates: who may stop, who may let go on, and what leaves meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.application.commands import CloseRequest, ReplaceRequest
from gateway.application.kill_watch import KillWatch
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.trading_state import TradingStates
from gateway.application.venue_gate import VenueGate
from gateway.domain.errors import (
    ExpiredUnsent,
    FieldInvalid,
    JournalUnavailable,
    KeyFate,
    KillFilePresent,
    NotSent,
    OrderRejected,
    OutcomeUnknown,
    TradingHalted,
    TradingReducing,
    TradingStopped,
    VenueAuthentication,
    VenueUnreachable,
    VersionMismatch,
)
from gateway.domain.models.orders import OrderChanges, OrderRef
from gateway.domain.models.risk import TradingMode, TradingState
from gateway.domain.types import NANOS_PER_SECOND, BudgetLane, CallContext, Caller, OrderState
from gateway.infrastructure.kill_file import KillFile
from gateway.infrastructure.persistence.memory_trading_states import MemoryTradingStates
from gateway.services.request_budget import RequestBudget
from tests.application.rig import Rig, settle, until
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 10, limit_price="90")
MARKET_BUY = make_spec("AAPL", "buy", 10)
SELL = make_spec("AAPL", "sell", 10)
ACTIVE, REDUCING, HALTED, KILLED = TradingMode


class Store(MemoryTradingStates):
    """A store that can be slow, or broken."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False
        self.slow: asyncio.Event | None = None
        self.kept: list[TradingState] = []
        self.before_append: Callable[[], None] = lambda: None

    async def append(self, state: TradingState) -> None:
        self.before_append()
        if self.slow is not None:
            await self.slow.wait()
        if self.broken:
            raise JournalUnavailable("The disk is gone.")
        await super().append(state)
        self.kept.append(state)


@pytest.fixture
async def stopped(request: Any) -> Any:
    """A rig with a store of its own."""
    store = Store()
    running = await Rig(state_store=store).start()
    yield running, store
    if store.slow is not None:
        store.slow.set()
    await running.stop()


async def halt(rig: Rig, mode: TradingMode = HALTED) -> TradingState:
    return await rig.gateway.states.set(mode, "", "local")


async def resume(rig: Rig, mode: TradingMode = ACTIVE) -> TradingState:
    states = rig.gateway.states
    return await states.set(mode, "looked into", "local", expected_version=states.current.version)


async def test_tightening_takes_one_call_and_as_many_as_one_likes(rig: Rig) -> None:
    states = rig.gateway.states
    assert (states.mode, states.current.version) == (ACTIVE, 0)
    first = await halt(rig)
    assert (first.mode, first.version, first.set_time_ns, first.set_by) == (HALTED, 1, rig.clock.now_ns, "local")
    assert await halt(rig) == first, "and nothing is recorded twice"
    assert (await halt(rig, KILLED)).version == 2
    assert (await halt(rig, KILLED)).version == 2


async def test_stopping_at_once_from_many_sides_is_one_change(rig: Rig) -> None:
    states = await asyncio.gather(*(halt(rig, KILLED) for _ in range(20)))
    assert {state.version for state in states} == {1}


async def test_loosening_needs_a_reason_and_the_version_that_was_seen(rig: Rig) -> None:
    states = rig.gateway.states
    await halt(rig, KILLED)
    with pytest.raises(FieldInvalid) as caught:
        await states.set(ACTIVE, " ", "local")
    assert [violation.field for violation in caught.value.violations] == ["reason", "expected_version"]
    for version in (0, 2):
        with pytest.raises(VersionMismatch) as other:
            await states.set(HALTED, "enough", "local", expected_version=version)
        assert other.value.metadata == {"version": "1"}
    assert states.mode is KILLED
    loosened = await states.set(HALTED, "enough", "local", expected_version=1)
    assert (loosened.mode, loosened.version, loosened.reason) == (HALTED, 2, "enough")
    assert (await resume(rig)).mode is ACTIVE
    await rig.submit("k1", BUY)


async def test_nothing_is_loosened_while_the_file_is_there(rig: Rig) -> None:
    states = rig.gateway.states

    async def is_wanted() -> bool:
        return bool(rig.settings.get("kill_file", False))

    watch = KillWatch(states, is_wanted, 100, rig.clock.sleep)
    await watch.look()
    assert states.mode is ACTIVE
    rig.gateway.settings["kill_file"] = True
    rig.settings["kill_file"] = True
    await watch.look()
    assert (states.mode, states.current.set_by, states.current.version) == (KILLED, "file", 1)
    with pytest.raises(KillFilePresent):
        await resume(rig)
    await watch.look()
    assert states.current.version == 1
    rig.gateway.settings["kill_file"] = False
    assert (await resume(rig)).mode is ACTIVE


async def test_a_mode_is_durable_before_it_takes_effect(stopped: tuple[Rig, Store]) -> None:
    rig, store = stopped
    seen: list[TradingMode] = []
    store.before_append = lambda: seen.append(rig.gateway.states.mode)
    await halt(rig)
    await resume(rig)
    assert seen == [ACTIVE, HALTED]


async def test_a_stop_works_without_the_store_and_says_so(stopped: tuple[Rig, Store]) -> None:
    rig, store = stopped
    store.broken = True
    with pytest.raises(JournalUnavailable) as caught:
        await halt(rig)
    assert caught.value.metadata == {"in_effect": "true", "trading_mode": "HALTED"}
    with pytest.raises(TradingHalted):
        await rig.submit("k1", BUY)
    with pytest.raises(JournalUnavailable):
        await resume(rig)
    assert rig.gateway.states.mode is HALTED, "going on needs the store"
    with pytest.raises(JournalUnavailable):
        await halt(rig, KILLED)
    assert rig.gateway.states.mode is KILLED
    store.broken = False
    assert (await halt(rig, KILLED)).version == 1, "the same call again records it"
    assert (await resume(rig)).version == 2
    assert [state.mode for state in store.kept] == [KILLED, ACTIVE]


@pytest.mark.parametrize("can_be_kept", [True, False])
async def test_a_kill_that_could_not_be_recorded_is_kept_by_the_file(can_be_kept: bool) -> None:
    store, made = Store(), list[str]()

    def keep_kill() -> bool:
        if not can_be_kept:
            raise OSError("the disk is full")
        made.append("KILL")
        return True

    states = TradingStates(store, OwnedTasks(), lambda: 0, lambda: bool(made), keep_kill)
    store.broken = True
    with pytest.raises(JournalUnavailable):
        await states.set(HALTED, "why not", "a test")
    assert made == [], "the file means more than that"
    with pytest.raises(JournalUnavailable) as caught:
        await states.set(KILLED, "why not", "a test")
    assert states.mode is KILLED
    assert ("file KILL" in caught.value.message) is can_be_kept
    assert made == ["KILL"] * can_be_kept
    with pytest.raises(JournalUnavailable):
        await states.set(KILLED, "again", "a test")
    assert made == ["KILL"] * can_be_kept, "once is enough"
    store.broken = False
    version = (await states.set(KILLED, "again", "a test")).version
    if can_be_kept:
        with pytest.raises(KillFilePresent):
            await states.set(ACTIVE, "go on", "a test", expected_version=version)


def test_the_file_is_made_and_seen(tmp_path: Path) -> None:
    file = KillFile(tmp_path)
    assert not file.is_present()
    assert file.leave()
    assert file.leave(), "again"
    assert file.is_present()
    assert (tmp_path / "KILL").is_file()
    assert not KillFile(tmp_path / "nowhere").leave()
    assert not KillFile(None).leave()


async def test_going_on_records_the_stop_that_was_not_recorded(stopped: tuple[Rig, Store]) -> None:
    rig, store = stopped
    store.broken = True
    with pytest.raises(JournalUnavailable):
        await halt(rig)
    store.broken = False
    assert (await resume(rig)).version == 2
    assert [(state.mode, state.version) for state in store.kept] == [(HALTED, 1), (ACTIVE, 2)]


async def test_a_stop_does_not_wait_for_a_disk_that_hangs(
    stopped: tuple[Rig, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, store = stopped
    monkeypatch.setattr("gateway.application.trading_state.STORE_WAIT_MS", 20)
    await halt(rig)
    store.slow = asyncio.Event()
    going_on = asyncio.create_task(resume(rig))
    await settle()
    with pytest.raises(JournalUnavailable):
        await halt(rig, KILLED)
    assert rig.gateway.states.mode is KILLED
    store.slow.set()
    await going_on
    await until(lambda: len(store.kept) == 3)
    assert rig.gateway.states.mode is KILLED, "what was loosened before it does not undo it"
    assert [(state.mode, state.version) for state in store.kept] == [(HALTED, 1), (ACTIVE, 2), (KILLED, 3)]
    assert rig.gateway.states.current.version == 3


async def test_a_caller_that_goes_away_changes_nothing(stopped: tuple[Rig, Store]) -> None:
    rig, store = stopped
    store.slow = asyncio.Event()
    calling = asyncio.create_task(halt(rig))
    await settle()
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    store.slow.set()
    await until(lambda: rig.gateway.states.mode is HALTED)


@pytest.mark.parametrize("mode", [HALTED, KILLED])
async def test_while_halted_new_commands_are_refused_and_their_keys_stay_free(rig: Rig, mode: TradingMode) -> None:
    known = await rig.submit("known", BUY)
    await halt(rig, mode)
    for attempt in (
        rig.submit("k1", BUY),
        rig.gateway.engine.replace(
            ReplaceRequest(
                OrderRef(order_id=known.order.order_id), "default", "r1", OrderChanges(limit_price=BUY.limit_price),
                rig.clock.now_ns + 10**9,
            ),
            rig.call(),
        ),
        rig.gateway.workflow.close_position(CloseRequest("default", "AAPL", "c1"), rig.call()),
    ):  # fmt: skip
        with pytest.raises(TradingHalted) as caught:
            await attempt
        assert caught.value.key is KeyFate.FREE
        assert caught.value.metadata == {"trading_mode": mode.name}
    assert rig.gateway.orders.key("default", "k1") is None
    again = await rig.submit("known", BUY)
    assert again.replayed
    await rig.gateway.engine.cancel(OrderRef(client_order_id="known", strategy_id="default"), 0, rig.call())
    await rig.clock.advance(1)
    assert rig.order("known").state is OrderState.CANCELED
    await resume(rig)
    assert not (await rig.submit("k1", BUY)).replayed


async def test_while_reducing_only_what_reduces_even_at_the_worst_passes(rig: Rig) -> None:
    await rig.submit("hold", MARKET_BUY)
    await settle()
    await halt(rig, REDUCING)
    with pytest.raises(TradingReducing) as caught:
        await rig.submit("more", BUY)
    assert caught.value.key is KeyFate.FREE
    assert (await rig.submit("less", make_spec("AAPL", "sell", 6, limit_price="120"))).order.state is OrderState.WORKING
    with pytest.raises(TradingReducing):
        await rig.submit("too-much", make_spec("AAPL", "sell", 5, limit_price="120"))
    closed = await rig.gateway.workflow.close_position(
        CloseRequest("default", "AAPL", "close", cancel_orders=True), rig.call()
    )
    await settle()
    assert rig.gateway.orders.order(closed.order.order_id).state is OrderState.FILLED


async def test_a_dry_run_says_what_a_stop_would_do(rig: Rig) -> None:
    await rig.submit("hold", MARKET_BUY)
    await settle()
    for mode, reason, reduces in ((REDUCING, "TRADING_REDUCING", True), (HALTED, "TRADING_HALTED", False)):
        await halt(rig, mode)
        opening = await rig.gateway.engine.preview("default", BUY, rig.call())
        assert not opening.would_be_accepted
        assert [check.reason for check in opening.checks if not check.passed] == [reason]
        assert (await rig.gateway.engine.preview("default", SELL, rig.call())).would_be_accepted is reduces


async def test_what_waits_for_another_attempt_never_leaves_after_a_stop(rig: Rig) -> None:
    rig.trouble.before = [VenueUnreachable("no connection")]
    submitting = asyncio.create_task(rig.submit("k1", BUY))
    await until(lambda: not rig.trouble.before)
    await settle()
    await halt(rig)
    await resume(rig)  # before the attempt: what was admitted before a stop stays dead
    await rig.clock.advance(1)
    with pytest.raises(NotSent) as caught:
        await submitting
    assert caught.value.key is KeyFate.SPENT
    assert caught.value.metadata["trading_mode"] == "ACTIVE"
    assert rig.order("k1").state is OrderState.NOT_SENT
    assert rig.trouble.posts == []
    with pytest.raises(NotSent):
        await rig.submit("k1", BUY)


async def test_the_last_hop_refuses_what_the_rooms_above_let_pass(rig: Rig) -> None:
    states = rig.gateway.states
    gate = VenueGate(RequestBudget(0, rig.clock.wall, rig.clock.monotonic), states)

    def context(lane: BudgetLane = BudgetLane.ORDER, **fields: Any) -> CallContext:
        return CallContext(Caller(), 0.0, lane, **fields)

    opening = states.admit(is_reduction=False)
    reducing = states.admit(is_reduction=True)
    for clearance in (None, opening, reducing):
        gate.permit(context(clearance=clearance))
    await halt(rig, REDUCING)
    gate.permit(context(clearance=reducing))
    for clearance in (None, opening):
        with pytest.raises(TradingReducing):
            gate.permit(context(clearance=clearance))
    await resume(rig)
    gate.permit(context(clearance=reducing))
    with pytest.raises(TradingStopped):
        gate.permit(context(clearance=opening))
    await halt(rig, HALTED)
    for clearance in (None, opening, reducing):
        with pytest.raises(TradingHalted):
            gate.permit(context(clearance=clearance))
    for lane in set(BudgetLane) - {BudgetLane.ORDER}:
        gate.permit(context(lane))


@pytest.mark.parametrize("is_reduction", [False, True])
async def test_the_last_hop_looks_at_valid_until(rig: Rig, is_reduction: bool) -> None:
    """A thread, a connection or the whole process may have been waited for since it was looked at."""
    gate = VenueGate(RequestBudget(0, rig.clock.wall, rig.clock.monotonic), rig.gateway.states)
    clearance = rig.gateway.states.admit(is_reduction=is_reduction, valid_until_ns=rig.clock.wall() + NANOS_PER_SECOND)
    context = CallContext(Caller(), 0.0, BudgetLane.ORDER, clearance=clearance)
    gate.permit(context)
    await rig.clock.advance(1)
    with pytest.raises(ExpiredUnsent):
        gate.permit(context)
    gate.permit(CallContext(Caller(), 0.0, BudgetLane.CANCEL))


async def test_an_order_that_the_last_hop_refuses_is_not_sent(rig: Rig) -> None:
    rig.trouble.before = [TradingHalted("Trading is HALTED.", metadata={"trading_mode": "HALTED"})]
    with pytest.raises(NotSent) as caught:
        await rig.submit("k1", BUY)
    assert caught.value.key is KeyFate.SPENT
    assert rig.kinds("k1")[-1] == "not_sent"


@pytest.mark.parametrize(
    ("error", "halts"),
    [
        (VenueAuthentication("the venue refuses"), True),
        (OrderRejected("moved", metadata={"venue_http_status": "302", "venue_code": "0", "venue_message": ""}), True),
        (
            OrderRejected(
                "blocked",
                metadata={"venue_http_status": "403", "venue_code": "40310000", "venue_message": "Trading is blocked"},
            ),
            True,
        ),
        (
            OrderRejected(
                "poor",
                metadata={"venue_http_status": "403", "venue_code": "40310000", "venue_message": "insufficient"},
            ),
            False,
        ),
        (OutcomeUnknown("504"), False),
    ],
)
async def test_a_refusal_that_no_other_order_would_escape_halts(rig: Rig, error: Exception, halts: bool) -> None:
    working = await rig.submit("working", BUY)
    rig.trouble.before = [error]
    if isinstance(error, OutcomeUnknown):
        assert (await rig.submit("k1", BUY)).order.state is OrderState.OUTCOME_UNKNOWN
    else:
        with pytest.raises((VenueAuthentication, OrderRejected)):
            await rig.submit("k1", BUY)
    await settle()
    state = rig.gateway.states.current
    assert (state.mode, state.automatic) == ((HALTED, True) if halts else (ACTIVE, False))
    await rig.gateway.engine.cancel(OrderRef(order_id=working.order.order_id), 0, rig.call())
    await settle()
    assert rig.trouble.deletes, "cancels are still tried"


async def test_a_stop_outlives_a_restart(stopped: tuple[Rig, Store]) -> None:
    rig, _ = stopped
    await halt(rig)
    states = TradingStates(rig.settings["state_store"], rig.gateway.tasks, rig.clock.wall)
    assert states.mode is HALTED
    with pytest.raises(TradingHalted):
        states.check_door()


async def test_a_stop_that_comes_while_an_unsaved_one_is_recorded_is_not_lifted(stopped: tuple[Rig, Store]) -> None:
    """The state in effect is recorded first, then the looser one: a kill in between stays, whatever the disk does."""
    rig, store = stopped
    states = rig.gateway.states
    store.broken = True
    with pytest.raises(JournalUnavailable):
        await halt(rig)
    store.broken, store.slow = False, asyncio.Event()
    resuming = asyncio.create_task(resume(rig))
    await settle()
    with pytest.raises(JournalUnavailable):  # the store is slow: it is in effect, and not recorded yet
        await halt(rig, KILLED)
    modes: list[TradingMode] = []
    states.add_listener(lambda state: modes.append(state.mode))
    store.slow.set()
    assert (await resuming).mode is KILLED
    await settle()
    assert (states.mode, store.current().mode) == (KILLED, KILLED)
    assert ACTIVE not in modes
