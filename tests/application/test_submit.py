"""TradingEngine.submit: at most once, and never a guess."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from gateway.domain.errors import (
    BuyingPowerExceeded,
    ClientOrderIdReused,
    Draining,
    ExpiredUnsent,
    FieldInvalid,
    InsufficientTime,
    KeyFate,
    OrderDenied,
    OrderRejected,
    OutcomeUnknown,
    VenueUnreachable,
)
from gateway.domain.models.orders import OrderSpec
from gateway.domain.types import OrderState
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec

BUY = make_spec("AAPL", "buy", 10, limit_price="90")
MARKET_BUY = make_spec("AAPL", "buy", 10)


async def test_an_order_is_accepted_and_filled(rig: Rig) -> None:
    submitted = await rig.submit("k1", MARKET_BUY)
    assert not submitted.replayed
    assert rig.trouble.posts == ["default.k1"]
    await settle()
    order = rig.order("k1")
    assert order.state is OrderState.FILLED
    assert (order.filled_quantity, order.filled_average_price) == (10, 100)
    assert rig.gateway.positions.held("AAPL") == 10
    kinds = rig.kinds("k1")
    assert kinds[:2] == ["recorded", "submitted"]
    assert kinds[-1] == "fill"


async def test_the_same_key_again_is_a_read(rig: Rig) -> None:
    first = await rig.submit("k1", BUY)
    again = await rig.submit("k1", BUY)
    assert again.replayed
    assert again.order.order_id == first.order.order_id
    assert len(rig.trouble.posts) == 1


async def test_another_content_under_a_key_is_refused(rig: Rig) -> None:
    await rig.submit("k1", BUY)
    with pytest.raises(ClientOrderIdReused) as caught:
        await rig.submit("k1", make_spec("AAPL", "buy", 11, limit_price="90"))
    assert caught.value.key is KeyFate.TAKEN
    assert len(rig.trouble.posts) == 1


async def test_a_key_in_flight_attaches(rig: Rig) -> None:
    rig.trouble.hang = asyncio.Event()
    first = asyncio.create_task(rig.submit("k1", BUY))
    await settle()
    second = asyncio.create_task(rig.submit("k1", BUY))
    await settle()
    with pytest.raises(ClientOrderIdReused):
        await rig.submit("k1", MARKET_BUY)
    rig.trouble.hang.set()
    answers = await asyncio.gather(first, second)
    assert [answer.replayed for answer in answers] == [False, True]
    assert len(rig.trouble.posts) == 1


async def test_a_caller_that_goes_away_cancels_nothing(rig: Rig) -> None:
    rig.trouble.hang = asyncio.Event()
    caller = asyncio.create_task(rig.submit("k1", BUY))
    await settle()
    caller.cancel()
    await settle()
    rig.trouble.hang.set()
    await settle()
    assert rig.order("k1").state is OrderState.WORKING
    assert (await rig.submit("k1", BUY)).replayed
    assert len(rig.trouble.posts) == 1


async def test_a_slow_venue_is_answered_for_with_the_state(rig: Rig) -> None:
    rig.trouble.hang = asyncio.Event()
    rig.venue.streaming.orders.is_connected = False  # nothing is told: the answer is what is awaited
    submission = asyncio.create_task(rig.submit("k1", make_spec("MSFT", "buy", 1, limit_price="1")))
    await settle()
    rig.clock.now_ns += 10**9  # the wait is over by the gateway's clock
    submitted = await submission
    assert submitted.order.state is OrderState.SUBMITTING
    rig.trouble.hang.set()
    await settle()
    assert rig.order("k1").state is OrderState.ACCEPTED


async def test_a_lost_answer_is_unknown_and_then_found(rig: Rig) -> None:
    rig.venue.streaming.orders.is_connected = False  # nothing is told: only a lookup can know
    rig.trouble.after = [OutcomeUnknown("read timeout")]
    submitted = await rig.submit("k1", BUY)
    assert submitted.order.state is OrderState.OUTCOME_UNKNOWN
    assert (await rig.submit("k1", BUY)).replayed
    await rig.clock.advance(0.3)
    assert rig.order("k1").state is OrderState.WORKING
    assert rig.kinds("k1") == ["recorded", "submitted", "outcome_unknown", "accepted"]
    assert len(rig.trouble.posts) == 1


async def test_an_error_of_ours_after_sending_is_unknown_too(rig: Rig) -> None:
    rig.venue.streaming.orders.is_connected = False
    rig.trouble.after = [RuntimeError("a bug in the adapter")]
    submitted = await rig.submit("k1", BUY)
    assert submitted.order.state is OrderState.OUTCOME_UNKNOWN
    await rig.clock.advance(0.3)
    assert rig.order("k1").state is OrderState.WORKING


async def test_absence_takes_time_and_proof(rig: Rig) -> None:
    rig.trouble.before = [OutcomeUnknown("504")]
    await rig.submit("k1", BUY)
    await rig.clock.advance(55)
    assert rig.order("k1").state is OrderState.OUTCOME_UNKNOWN
    await rig.clock.advance(20)
    order = rig.order("k1")
    assert order.state is OrderState.ABSENT
    assert order.failure is not None
    assert order.failure.reason == "ABSENT"
    again = await rig.submit("k1", BUY)  # it was answered OK once: it is, for ever
    assert again.replayed
    assert again.order.state is OrderState.ABSENT
    assert rig.trouble.posts == []


async def test_a_bug_in_a_lookup_does_not_end_the_search(rig: Rig) -> None:
    rig.venue.streaming.orders.is_connected = False
    rig.trouble.after = [OutcomeUnknown("504")]
    find, failures = rig.trouble._inner.find_order, [ValueError("a bug")]

    async def failing(*arguments: object) -> object:
        if failures:
            raise failures.pop()
        return await find(*arguments)

    rig.trouble._inner.find_order = failing
    await rig.submit("k1", BUY)
    await rig.clock.advance(1)
    assert rig.order("k1").state is OrderState.WORKING


async def test_an_early_404_proves_nothing(rig: Rig) -> None:
    rig.venue.streaming.orders.is_connected = False
    rig.trouble.after = [OutcomeUnknown("504")]
    rig.trouble.blind_lookups = 4
    await rig.submit("k1", BUY)
    await rig.clock.advance(20)
    assert rig.order("k1").state is OrderState.WORKING


async def test_an_absent_order_that_turns_up_lives_and_is_canceled(rig: Rig) -> None:
    rig.trouble.before = [OutcomeUnknown("504")]
    await rig.submit("k1", BUY)
    await rig.clock.advance(75)
    await rig.venue.trading.submit_order(rig.call(), "default.k1", BUY)  # the delayed request arrives
    await settle()
    await rig.clock.advance(1)
    kinds = rig.kinds("k1")
    assert "resurrected" in kinds
    assert rig.order("k1").state is OrderState.CANCELED
    assert rig.order("k1").failure is None


async def test_what_certainly_did_not_leave_is_sent_again(rig: Rig) -> None:
    rig.trouble.before = [VenueUnreachable("refused"), VenueUnreachable("refused")]
    submission = asyncio.create_task(rig.submit("k1", BUY))
    await rig.clock.advance(1)
    await submission
    assert rig.order("k1").state is OrderState.WORKING
    assert rig.kinds("k1")[:4] == ["recorded", "submitted", "submitted", "submitted"]
    assert len(rig.trouble.posts) == 1


async def test_what_never_left_ends_when_it_is_too_old(rig: Rig) -> None:
    rig.trouble.before = [VenueUnreachable("refused")] * 100
    rig.gateway.desk._submit_wait_s = 1_000
    submission = asyncio.create_task(rig.submit("k1", BUY))
    await rig.clock.advance(6)
    with pytest.raises(ExpiredUnsent) as caught:
        await submission
    assert caught.value.key is KeyFate.SPENT
    assert rig.order("k1").state is OrderState.NOT_SENT
    with pytest.raises(ExpiredUnsent) as again:
        await rig.submit("k1", BUY)
    assert again.value.key is KeyFate.SPENT
    assert again.value.metadata["order_id"] == rig.order("k1").order_id
    assert rig.trouble.posts == []


async def test_a_reject_in_the_answer_is_the_keys_answer_for_ever(rig: Rig) -> None:
    rig.trouble.before = [
        OrderRejected("no", is_bad_value=True, metadata={"venue_code": "40310000", "venue_http_status": "422"})
    ]
    for _ in range(2):
        with pytest.raises(OrderRejected) as caught:
            await rig.submit("k1", BUY)
        assert caught.value.key is KeyFate.SPENT
        assert caught.value.is_bad_value
        assert caught.value.metadata["venue_code"] == "40310000"
    assert rig.order("k1").state is OrderState.REJECTED


async def test_a_reject_after_an_ok_is_a_state(rig: Rig) -> None:
    rig.trouble.before = [VenueUnreachable("refused"), OrderRejected("no")]
    rig.gateway.desk._submit_wait_s = 0.01
    submission = asyncio.create_task(rig.submit("k1", BUY))
    await settle()
    rig.clock.now_ns += 20_000_000
    assert (await submission).order.state is OrderState.SUBMITTING
    await rig.clock.advance(1)
    again = await rig.submit("k1", BUY)
    assert again.replayed
    assert again.order.state is OrderState.REJECTED


async def test_a_denial_is_recorded_and_repeated(rig: Rig) -> None:
    huge = make_spec("AAPL", "buy", 1_000_000_000, limit_price="90")
    for _ in range(2):
        with pytest.raises(BuyingPowerExceeded) as caught:
            await rig.submit("k1", huge)
        assert caught.value.key is KeyFate.SPENT
        assert caught.value.checks[0].reason == "RISK_BUYING_POWER"
        assert caught.value.metadata["limit"] == "200000"
    assert rig.order("k1").state is OrderState.DENIED
    assert rig.trouble.posts == []


@pytest.mark.parametrize(
    "spec",
    [
        make_spec("AAPL", "buy", 1_000_000_000, limit_price="90"),
        make_spec("AAPL", "buy", 1, limit_price="90", reduce_only=True),
        make_spec("AAPL", "sell", 1, limit_price="110", reduce_only=True),
        make_spec("BTC/USD", "sell", 1, tif="gtc", limit_price="70000"),
    ],
    ids=["buying power", "nothing to buy back", "nothing to sell", "coins that are not held"],
)
async def test_a_preview_refuses_what_a_submit_refuses_and_no_more(rig: Rig, spec: OrderSpec) -> None:
    preview = await rig.gateway.engine.preview("default", spec, rig.call())
    assert not preview.would_be_accepted
    assert rig.gateway.journal.head == 0
    with pytest.raises(OrderDenied) as caught:
        await rig.submit("k1", spec)
    assert [check.reason for check in caught.value.checks] == [
        check.reason for check in preview.checks if not check.passed
    ]
    assert (await rig.gateway.engine.preview("default", BUY, rig.call())).would_be_accepted
    assert (await rig.submit("k2", BUY)).order.state is not OrderState.DENIED


async def test_a_duplicate_id_with_equal_fields_is_ours(rig: Rig) -> None:
    await rig.venue.trading.submit_order(rig.call(), "default.k1", BUY)
    await settle()
    rig.gateway = rig.new_gateway()  # one that has not read the venue yet
    rig.venue.streaming.orders.is_closed = True
    rig.trouble.blind_lookups = 0
    await rig.gateway.engine.start()
    await settle()
    again = await rig.submit("k1", BUY)
    assert again.replayed
    assert again.order.state is OrderState.WORKING
    assert rig.trouble.posts == []


async def test_a_plain_order_is_not_taken_for_the_bracket_under_its_key(rig: Rig) -> None:
    rig.venue.streaming.orders.is_connected = False
    await rig.venue.trading.submit_order(rig.call(), "default.k1", BUY)
    bracket = make_spec("AAPL", "buy", 10, limit_price="90", order_class="bracket", take_profit=110, stop_loss=80)
    with pytest.raises(ClientOrderIdReused) as caught:
        await rig.submit("k1", bracket)
    assert caught.value.key is KeyFate.TAKEN


async def test_an_id_that_another_order_holds_at_the_venue_is_taken(rig: Rig) -> None:
    other = make_spec("MSFT", "buy", 1, limit_price="10")
    rig.venue.streaming.orders.is_connected = False
    await rig.venue.trading.submit_order(rig.call(), "default.k1", other)
    with pytest.raises(ClientOrderIdReused) as caught:
        await rig.submit("k1", BUY)
    assert caught.value.key is KeyFate.TAKEN
    with pytest.raises(ClientOrderIdReused):
        await rig.submit("k1", BUY)
    held = await rig.submit("k1", other)  # the key is that order's
    assert held.replayed
    assert held.order.spec.symbol == "MSFT"


async def test_what_the_last_hop_finds_too_old_is_not_sent(rig: Rig) -> None:
    rig.trouble.before = [ExpiredUnsent("valid_until passed before it could be sent.")]
    for _ in range(2):
        with pytest.raises(ExpiredUnsent) as caught:
            await rig.submit("k1", BUY)
        assert caught.value.key is KeyFate.SPENT
    assert rig.order("k1").state is OrderState.NOT_SENT
    assert rig.trouble.posts == []
    assert rig.gateway.balances.reserved == 0


@pytest.mark.parametrize(
    ("key", "strategy_id", "field"),
    [("", "default", "client_order_id"), ("_k", "default", "client_order_id"), ("k", "account", "strategy_id")],
)
async def test_what_is_no_key_is_refused(rig: Rig, key: str, strategy_id: str, field: str) -> None:
    with pytest.raises(FieldInvalid) as caught:
        await rig.submit(key, BUY, strategy_id=strategy_id)
    assert caught.value.violations[0].field == field


async def test_the_door(rig: Rig) -> None:
    with pytest.raises(InsufficientTime):
        await rig.submit("k1", BUY, timeout_s=0.02)
    with pytest.raises(ExpiredUnsent) as expired:
        await rig.submit("k1", BUY, valid_s=-1)
    assert expired.value.key is KeyFate.FREE
    with pytest.raises(FieldInvalid):
        await rig.submit("k1", BUY, valid_s=61)
    assert rig.gateway.journal.head == 0
    await rig.submit("k1", BUY)  # the key is still free


async def test_orders_in_flight_reserve_buying_power(rig: Rig) -> None:
    half = make_spec("AAPL", "buy", 1_200, limit_price="90")
    rig.trouble.hang = asyncio.Event()
    first = asyncio.create_task(rig.submit("k1", half))
    await settle()
    with pytest.raises(BuyingPowerExceeded):
        await rig.submit("k2", half)
    rig.trouble.hang.set()
    await first
    assert rig.gateway.balances.reserved == Decimal(108_000)
    await rig.clock.advance(1)
    await rig.gateway.balances.refresh(rig.call())
    assert rig.gateway.balances.reserved == 0  # the venue's own figure has it now
    with pytest.raises(BuyingPowerExceeded):
        await rig.submit("k3", half)


async def test_an_order_on_the_wire_when_the_gateway_stops_is_never_called_unsent() -> None:
    rig = await Rig(submit_wait_ms=5_000).start()
    rig.trouble.hang = asyncio.Event()
    rig.venue.streaming.orders.is_connected = False
    submission = asyncio.create_task(rig.submit("k1", BUY))
    await settle()
    await rig.gateway.engine.stop(0)
    answer = await submission
    assert answer.order.state is OrderState.SUBMITTING
    assert rig.trouble.posts == ["default.k1"]


async def test_a_draining_gateway_refuses_what_is_new_and_answers_what_it_knows(rig: Rig) -> None:
    first = await rig.submit("k1", BUY)
    await rig.gateway.engine.stop(0)
    again = await rig.submit("k1", BUY)
    assert (again.replayed, again.order.order_id) == (True, first.order.order_id)
    with pytest.raises(Draining) as caught:
        await rig.submit("k2", BUY)
    assert caught.value.key is KeyFate.FREE
    assert len(rig.trouble.posts) == 1
