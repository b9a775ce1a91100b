"""Seeded storms: lost answers, refused connections, dropped, doubled and late events, cuts, cancels and replaces.

After the storm everything heals; then the gateway and the venue must agree about every order. A failure prints its
seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any

import pytest

from gateway.application.commands import CancelScope, ReplaceRequest, Submitted
from gateway.domain.errors import GatewayError, KeyFate, OrderRejected, OutcomeUnknown, VenueUnreachable
from gateway.domain.models.orders import OrderChanges, OrderFilter, OrderRef, OrderSpec
from gateway.domain.types import OrderState
from gateway.emulator.exchange import ExchangeConfig
from tests.application.rig import Rig, settle
from tests.emulator.exchange.desk import make_spec

STEPS = 60
SEEDS = range(1, 17)


class Weather:
    """Decides, by its seed, what goes wrong."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.random = random.Random(seed)
        self.rig = rig
        self.late: list[Any] = []
        self.is_fair = False
        feed = rig.venue.streaming.orders
        self._publish = feed.publish
        feed.publish = self.publish

    def publish(self, updates: Any) -> None:
        """The order feed: some messages are lost, some come twice, some late and out of order."""
        for update in updates:
            fate = 1.0 if self.is_fair else self.random.random()
            if fate < 0.10:
                continue
            if fate < 0.20:
                self.late.append(update)
                continue
            self._publish([update])
            if fate < 0.35:
                self._publish([update])
        if self.late and self.random.random() < 0.3:
            self._publish([self.late.pop(self.random.randrange(len(self.late)))])

    def trouble(self) -> None:
        """What the next request meets."""
        fate = self.random.random()
        before = self.rig.trouble.before
        after = self.rig.trouble.after
        before.clear()
        after.clear()
        if fate < 0.10:
            before.append(VenueUnreachable("refused"))
        elif fate < 0.18:
            before.append(OutcomeUnknown("never arrived"))
        elif fate < 0.32:
            after.append(OutcomeUnknown("answer lost"))
        elif fate < 0.36:
            before.append(OrderRejected("no"))

    def spec(self) -> OrderSpec:
        symbol, price = self.random.choice([("AAPL", 100), ("MSFT", 200)])
        side = self.random.choice(["buy", "buy", "sell"])
        quantity = self.random.randint(1, 20)
        match self.random.randrange(4):
            case 0:
                return make_spec(symbol, side, quantity)
            case 1 if side == "buy":
                return make_spec(
                    symbol, side, quantity, limit_price=price - 2, order_class="bracket",
                    take_profit=price + 5, stop_loss=price - 9, tif="gtc",
                )  # fmt: skip
            case _:
                offset = self.random.randint(-6, 6)
                return make_spec(symbol, side, quantity, limit_price=price + offset)


class Client:
    """A strategy that repeats its keys, and remembers every answer."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.specs: dict[str, OrderSpec] = {}
        self.answers: dict[str, list[Submitted | GatewayError]] = defaultdict(list)
        self.tasks: set[asyncio.Task[None]] = set()

    def submit(self, key: str, spec: OrderSpec) -> None:
        self.specs[key] = spec
        self._spawn(self._submit(key))

    def act(self, command: Any) -> None:
        self._spawn(self._try(command))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _submit(self, key: str) -> None:
        try:
            self.answers[key].append(await self.rig.submit(key, self.specs[key]))
        except GatewayError as error:
            self.answers[key].append(error)

    async def _try(self, command: Any) -> None:
        with contextlib.suppress(GatewayError):
            await command


async def storm(seed: int) -> None:
    rig = await Rig(ExchangeConfig(cash=Decimal(10_000_000), wash_trade_check=False), submit_wait_ms=20).start()
    weather, client = Weather(rig, seed), Client(rig)
    chance = weather.random
    feed = rig.venue.streaming.orders
    engine = rig.gateway.engine
    for step in range(STEPS):
        weather.trouble()
        keys = list(client.specs)
        match chance.randrange(12):
            case 0 | 1 | 2 | 3 | 4:
                client.submit(f"k{step}", weather.spec())
            case 5 if keys:
                key = chance.choice(keys)
                client.submit(key, client.specs[key])
            case 6 if keys:
                ref = OrderRef(client_order_id=chance.choice(keys), strategy_id="default")
                client.act(engine.cancel(ref, 0, rig.call()))
            case 7 if keys:
                ref = OrderRef(client_order_id=chance.choice(keys), strategy_id="default")
                wanted = OrderChanges(quantity=Decimal(chance.randint(1, 30)), limit_price=Decimal(95))
                request = ReplaceRequest(ref, "default", f"r{step}", wanted, rig.clock.now_ns + 5 * 10**9)
                client.act(engine.replace(request, rig.call()))
            case 8:
                feed.break_off("cut")
                await settle()
                feed.come_back()
            case 9:
                client.act(engine.cancel_orders(CancelScope("default", frozenset({"AAPL"})), rig.call()))
            case _:
                for symbol, price in (("AAPL", 100), ("MSFT", 200)):
                    middle = price + chance.randint(-6, 6)
                    rig.quote(symbol, middle - 0.5, middle + 0.5, chance.randint(3, 30))
        await rig.clock.advance(chance.choice([0, 0.05, 0.7, 3]))
    await heal(rig, weather, client)
    await check(rig, client)
    await rig.stop()


async def heal(rig: Rig, weather: Weather, client: Client) -> None:
    """Nothing goes wrong any more, and time passes: everything must find its end."""
    weather.is_fair = True
    rig.trouble.before.clear()
    rig.trouble.after.clear()
    await rig.clock.advance(100)
    rig.venue.streaming.orders.publish(weather.late)
    await rig.clock.advance(20)
    await asyncio.sleep(0.05)
    await settle()
    assert not client.tasks
    await rig.gateway.engine.cancel_orders(CancelScope(None), rig.call())
    await rig.clock.advance(30)
    await asyncio.sleep(0.02)
    await settle()


async def check(rig: Rig, client: Client) -> None:
    orders = rig.gateway.orders
    mine = (await orders.list(OrderFilter(None), 500, "")).items
    at_venue = {order.id: order for order in rig.exchange.orders(status="all", limit=500)}
    # At most once.
    sent = Counter(order.client_order_id for order in at_venue.values() if order.client_order_id.startswith("default."))
    assert all(count == 1 for count in sent.values())
    assert len(rig.trouble.posts) == len(set(rig.trouble.posts))
    # Nobody is in doubt, and nothing is open.
    assert {order.state for order in mine if not order.state.is_terminal} == set()
    # Nothing was called absent that is there: no request of this storm is older than the settle window.
    assert "resurrected" not in rig.events()
    # The same orders on both sides, none of them twice, and each as the venue has it.
    known = Counter(known.venue_order_id for order in mine for known in order.venue_orders)
    assert set(known) == set(at_venue)
    assert set(known.values()) <= {1}
    for order in mine:
        assert not order.external
        parts = [at_venue[known.venue_order_id] for known in order.venue_orders]
        assert order.filled_quantity == sum((part.filled_quantity for part in parts), Decimal(0))
        if parts and order.state is not OrderState.FILLED:
            assert order.venue_status == parts[-1].status.value
    # Every execution once, and in order.
    events = rig.gateway.journal.read(0, 100_000)
    told: dict[str, Decimal] = defaultdict(Decimal)
    for event in events:
        if event.fill is not None:
            told[event.fill.venue_order_id] += event.fill.quantity
            assert event.fill.cumulative_quantity == told[event.fill.venue_order_id]
    assert dict(told) == {key: order.filled_quantity for key, order in at_venue.items() if order.filled_quantity}
    # Gapless books.
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    log = orders.log
    assert [event.sequence for event in await log.read("default", 0, 100_000)] == list(
        range(1, log.head("default") + 1)
    )
    # A key never changes its mind.
    for key, answers in client.answers.items():
        definite = {type(answer) for answer in answers if getattr(answer, "key", None) is not KeyFate.FREE}
        assert len(definite) <= 1, (key, answers)
        spent = any(isinstance(answer, GatewayError) and answer.key is KeyFate.SPENT for answer in answers)
        assert not (spent and f"default.{key}" in sent), key
    # What is held is what was filled.
    await rig.gateway.positions.refresh(rig.call())
    for symbol in ("AAPL", "MSFT"):
        bought = sum(
            (order.filled_quantity if order.spec.side == "buy" else -order.filled_quantity)
            for order in mine
            if order.spec.symbol == symbol
        )
        assert rig.gateway.positions.held(symbol) == bought
    # Nothing is reserved for what has ended.
    await rig.clock.advance(1)
    await rig.gateway.balances.refresh(rig.call())
    assert rig.gateway.balances.reserved == 0


@pytest.mark.parametrize("seed", SEEDS)
async def test_storm(seed: int) -> None:
    print(f"seed {seed}")
    await storm(seed)
