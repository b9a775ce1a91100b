"""A known key is a read: it is answered whatever else is refused, on every call that has one, and over restarts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from gateway.application.commands import CloseManyRequest, CloseRequest, Submitted
from gateway.domain.errors import (
    BuyingPowerExceeded,
    ClientOrderIdReused,
    Draining,
    ExpiredUnsent,
    GatewayError,
    JournalUnavailable,
    KeyFate,
    OrderFeedBlind,
    OrderRejected,
    TooManyCalls,
    TradingHalted,
    VersionMismatch,
)
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import OrderState
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from tests.application.changes import changes, replace
from tests.application.rig import Rig, settle
from tests.application.test_protocol import FailingJournal
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("MSFT", "buy", 10, limit_price="90")
Ask = Callable[[Rig, str], Awaitable[Submitted]]


async def submit(rig: Rig, key: str) -> Submitted:
    return await rig.submit(key, BUY)


async def change(rig: Rig, key: str) -> Submitted:
    return await replace(rig, "open", key, changes(limit_price=91))


async def close(rig: Rig, key: str) -> Submitted:
    request = CloseRequest("default", "AAPL", key, quantity=Decimal(1))
    return await rig.gateway.workflow.close_position(request, rig.call())


async def close_all(rig: Rig, key: str) -> Submitted:
    [one] = await rig.gateway.workflow.close_positions(CloseManyRequest("default", key), rig.call())
    if isinstance(one.outcome, GatewayError):
        raise one.outcome
    return one.outcome


async def halted(rig: Rig) -> None:
    await rig.gateway.states.set(TradingMode.HALTED, "a drill", "a test")


async def killed(rig: Rig) -> None:
    await rig.gateway.states.set(TradingMode.KILLED, "a drill", "a test")


async def draining(rig: Rig) -> None:
    await rig.gateway.engine.stop(0)


async def overloaded(rig: Rig) -> None:
    rig.gateway.tasks._tasks_max = 0


async def journal_at_fault(rig: Rig) -> None:
    rig.gateway.journal.fail()  # type: ignore[attr-defined]


STOPS: dict[str, tuple[Callable[[Rig], Awaitable[None]], type[GatewayError]]] = {
    "halted": (halted, TradingHalted),
    "killed": (killed, TradingHalted),
    "draining": (draining, Draining),
    "overloaded": (overloaded, TooManyCalls),
    "journal": (journal_at_fault, JournalUnavailable),
}


@pytest.mark.parametrize(("stop", "refusal"), STOPS.values(), ids=STOPS.keys())
@pytest.mark.parametrize("ask", [submit, change, close, close_all])
async def test_a_known_key_is_answered_and_a_new_one_stays_free(
    ask: Ask, stop: Callable[[Rig], Awaitable[None]], refusal: type[GatewayError]
) -> None:
    rig = await Rig(journal=FailingJournal()).start()
    await rig.submit("held", make_spec("AAPL", "buy", 10))
    await rig.submit("open", BUY)
    await settle()
    first = await ask(rig, "known")
    await settle()
    posts, patches = len(rig.trouble.posts), len(rig.trouble.patches)
    await stop(rig)
    again = await ask(rig, "known")
    assert (again.replayed, again.order.order_id) == (True, first.order.order_id)
    if ask is not close_all:  # a new prefix has nothing left to close
        with pytest.raises(refusal) as caught:
            await ask(rig, "new")
        assert caught.value.key is KeyFate.FREE
    assert (len(rig.trouble.posts), len(rig.trouble.patches)) == (posts, patches)
    await rig.stop()


async def test_while_the_feed_is_blind_too(rig: Rig) -> None:
    await submit(rig, "known")
    await settle()
    rig.venue.streaming.orders.break_off("cut")
    assert (await submit(rig, "known")).replayed
    with pytest.raises(OrderFeedBlind) as caught:
        await submit(rig, "new")
    assert caught.value.key is KeyFate.FREE


async def test_a_key_stands_for_one_call_of_all_that_have_one(rig: Rig) -> None:
    await rig.submit("held", make_spec("AAPL", "buy", 10))
    await rig.submit("open", BUY)
    await settle()
    asks = (submit, change, close)
    for number, ask in enumerate(asks):
        await ask(rig, f"k{number}")
        await settle()
        for other in asks:
            if other is not ask:
                with pytest.raises(ClientOrderIdReused) as caught:
                    await other(rig, f"k{number}")
                assert caught.value.key is KeyFate.TAKEN


async def test_what_is_spent_stays_spent_over_restarts() -> None:
    """Denied by a check, refused in the answer, and a replace that was refused."""
    rig = await Rig(journal=MemoryJournal()).start()
    await rig.submit("open", BUY)
    await settle()

    async def refused(key: str) -> Submitted:
        return await rig.submit(key, BUY)

    async def denied(key: str) -> Submitted:
        return await rig.submit(key, make_spec("AAPL", "buy", 10**6, limit_price="90"))

    rig.trouble.before = [OrderRejected("no", metadata={"venue_http_status": "403", "venue_code": "40310000"})]
    spent: dict[str, tuple[Any, type[GatewayError]]] = {
        "denied": (denied, BuyingPowerExceeded),
        "refused": (refused, OrderRejected),
        "unchanged": (lambda key: change(rig, key), OrderRejected),
    }
    answers: dict[str, tuple[str, dict[str, str]]] = {}
    for key, (ask, kind) in spent.items():
        if key == "unchanged":
            rig.trouble.before = [OrderRejected("no")]
        with pytest.raises(kind) as caught:
            await ask(key)
        answers[key] = (caught.value.message, caught.value.metadata)
    posts = list(rig.trouble.posts)
    for _ in range(2):
        await rig.restart()
        for key, (ask, kind) in spent.items():
            with pytest.raises(kind) as caught:
                await ask(key)
            assert caught.value.key is KeyFate.SPENT
            assert (caught.value.message, caught.value.metadata) == answers[key]
    assert (rig.trouble.posts, rig.trouble.patches) == (posts, [])
    assert rig.order("open").state is OrderState.WORKING
    await rig.stop()


async def test_what_is_free_leaves_nothing_behind(rig: Rig) -> None:
    await rig.submit("open", BUY)
    await settle()
    head = rig.gateway.journal.head
    with pytest.raises(ExpiredUnsent) as late:
        await rig.submit("k1", BUY, valid_s=-1)
    with pytest.raises(VersionMismatch) as old:
        await replace(rig, "open", "k1", changes(limit_price=91), version=1)
    assert [error.value.key for error in (late, old)] == [KeyFate.FREE, KeyFate.FREE]
    assert rig.gateway.journal.head == head
    assert not (await submit(rig, "k1")).replayed
