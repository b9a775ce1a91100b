"""Strategies: they keep their keys, ask again when they do not know, change their minds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from random import Random
from typing import Any, Final

from gateway.application.commands import CloseRequest, ReplaceRequest
from gateway.application.order_updates import StartAfter, StartLive, StartSnapshot, Step, StreamStart
from gateway.domain.models.orders import OrderChanges, OrderRef, OrderRequest, OrderSpec, StopLoss, TakeProfit
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import NANOS_PER_SECOND, OrderClass, OrderSide, OrderType, TimeInForce
from tests.chaos.simulation.doors import UNKNOWN_CODES, Doors, Notebook
from tests.chaos.simulation.market import PROBE, TRADED, Prices
from tests.chaos.simulation.words import Json

RETRIES_MAX: Final = 40
PROBES_MAX: Final = 20
RETRY_S: Final = (0.05, 0.2, 0.5, 1.0, 2.0)
REOPEN_S: Final = (0.01, 0.3)
MESSAGES_BEFORE_CUT: Final = (20, 400)
GLIMPSE: Final = (2, 40)
"""The same, of one who begins anew each time."""
_CENT: Final = Decimal("0.01")


class Trader:
    """The order side of one strategy."""

    def __init__(self, strategy_id: str, doors: Doors, notes: Notebook, prices: Prices, random: Random) -> None:
        self.strategy_id = strategy_id
        self._doors = doors
        self._notes = notes
        self._prices = prices
        self._random = random
        self._count = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._unfinished: dict[str, OrderSpec] = {}
        self._living = asyncio.Event()
        self._living.set()

    def die(self) -> None:
        """`kill -9` of the strategy: calls under way never return to it; what it has of its intents are keys."""
        self._living.clear()
        self._notes.act("kill_client", client=self._notes.client, time_ns=self._doors.loop.wall())
        for task in self._tasks:
            task.cancel()

    def live_again(self) -> None:
        """A new process of it: whatever it had begun, and does not know the end of, is asked for under its key."""
        self._living.set()
        for key, spec in list(self._unfinished.items()):
            self._tasks.append(asyncio.create_task(self._submit(key, spec)))

    async def trade(self, orders: int, per_second: float) -> None:
        """Begin so many intents, at random instants, and see each to its end."""
        random = self._random
        for _ in range(orders):
            await asyncio.sleep(random.expovariate(per_second))
            self._count += 1
            await self._living.wait()
            self._begin(self._count)
        while running := [task for task in self._tasks if not task.done()]:
            await asyncio.wait(running)
            await self._living.wait()
        await asyncio.gather(*(task for task in self._tasks if not task.cancelled()))

    async def probe(self) -> None:
        """One order that must be taken."""
        self._count += 1
        spec = OrderSpec(PROBE, OrderSide.BUY, OrderType.MARKET, TimeInForce.DAY, Decimal(1))
        for attempt in range(PROBES_MAX):
            answer = await self._submit(f"p{self._count}-{attempt}", spec)
            if answer["code"] == "OK":
                return
            await asyncio.sleep(1.0)

    def _begin(self, number: int) -> None:
        self._tasks.append(asyncio.create_task(self._intend(number)))

    async def _intend(self, number: int) -> None:
        random = self._random
        drawn = random.random()
        key = f"k{number}"
        if drawn < 0.04:
            await self._close_position(key)
            return
        if drawn < 0.05:
            await self._doors.cancel_all(self._notes, self.strategy_id)
        spec = self._spec()
        if drawn > 0.97:  # two threads of the strategy with the same intent
            twin = asyncio.create_task(self._submit(key, spec))
            self._tasks.append(twin)
            await self._submit(key, spec)
            await twin
        else:
            await self._submit(key, spec)
        await self._change_mind(key, spec)

    async def _change_mind(self, key: str, spec: OrderSpec) -> None:
        random = self._random
        drawn = random.random()
        if drawn < 0.55:
            return
        await asyncio.sleep(random.expovariate(1.0))
        if drawn < 0.75:
            wait_ms = random.choice((0, 0, 2_000))
            await self._sure(lambda: self._doors.cancel(self._notes, self.strategy_id, key, wait_ms))
        elif drawn < 0.88:
            await self._replace(key, spec)
        elif drawn < 0.95:
            await self._submit(key, spec)
        elif drawn < 0.98:
            await self._submit(key, self._spec())  # a key that was used for something else already
        else:
            await self._doors.get(self._notes, self.strategy_id, key)

    async def _submit(self, key: str, spec: OrderSpec) -> Json:
        timeout_s = self._random.choice((10.0, 10.0, 5.0, 1.0, 0.1))
        valid_s = self._random.choice((5.0, 5.0, 30.0, 1.0, 0.4))

        def request() -> OrderRequest:
            valid_until_ns = self._doors.loop.wall() + int(valid_s * NANOS_PER_SECOND)
            return OrderRequest(self.strategy_id, key, spec, valid_until_ns)

        self._unfinished.setdefault(key, spec)  # written down before it is asked for
        answer = await self._sure(lambda: self._doors.submit(self._notes, request(), timeout_s))
        self._unfinished.pop(key, None)
        return answer

    async def _replace(self, key: str, spec: OrderSpec) -> None:
        random = self._random
        quantity = Decimal(random.randint(1, 30)) if random.random() < 0.6 else None
        price = None
        if spec.limit_price is not None and (quantity is None or random.random() < 0.5):
            price = _cents(float(spec.limit_price) * random.uniform(0.99, 1.01))
        changes = OrderChanges(quantity=quantity, limit_price=price)
        if changes.is_empty:
            return
        ref = OrderRef(client_order_id=key, strategy_id=self.strategy_id)
        self._count += 1
        new_key = f"r{self._count}"

        def request() -> ReplaceRequest:
            valid_until_ns = self._doors.loop.wall() + 5 * NANOS_PER_SECOND
            return ReplaceRequest(ref, self.strategy_id, new_key, changes, valid_until_ns)

        await self._sure(lambda: self._doors.replace(self._notes, request()))

    async def _close_position(self, key: str) -> None:
        symbol = self._random.choice(TRADED)
        cancel_orders = self._random.random() < 0.5

        def request() -> CloseRequest:
            return CloseRequest(self.strategy_id, symbol, key, cancel_orders=cancel_orders)

        await self._sure(lambda: self._doors.close(self._notes, request()))

    async def _sure(self, call: object) -> Json:
        """Ask until it is known, with the same key; a key that is still free is tried a few times more."""
        assert callable(call)
        answer: Json = {}
        free_left = self._random.randint(0, 4)
        for attempt in range(RETRIES_MAX):
            answer = await call()
            if answer["code"] in UNKNOWN_CODES and answer.get("key") is None:
                pass
            elif answer["code"] != "OK" and answer.get("key") == "free" and free_left:
                free_left -= 1
            else:
                return answer
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)] * self._random.uniform(0.8, 1.2))
        return answer

    def _spec(self) -> OrderSpec:
        random = self._random
        symbol = random.choice(TRADED)
        middle = self._prices.middles[symbol]
        is_coin = "/" in symbol
        side = OrderSide.BUY if random.random() < 0.6 else OrderSide.SELL
        tif = TimeInForce.GTC if is_coin else TimeInForce.DAY
        quantity = Decimal(random.randint(1, 9)) / 1000 if is_coin else Decimal(random.randint(1, 40))
        drawn = random.random()
        sign = 1 if side is OrderSide.BUY else -1
        if drawn < 0.35:
            return OrderSpec(symbol, side, OrderType.MARKET, tif, quantity)
        if drawn < 0.40 and side is OrderSide.BUY:
            return OrderSpec(symbol, side, OrderType.MARKET, tif, notional=Decimal(random.randint(20, 2_000)))
        if drawn < 0.50 and not is_coin and side is OrderSide.BUY:
            limit = _cents(middle * random.uniform(0.997, 1.002))
            return OrderSpec(
                symbol, side, OrderType.LIMIT, TimeInForce.GTC, quantity, limit_price=limit,
                order_class=OrderClass.BRACKET, take_profit=TakeProfit(_cents(middle * random.uniform(1.004, 1.02))),
                stop_loss=StopLoss(_cents(middle * random.uniform(0.97, 0.994))),
            )  # fmt: skip
        if drawn < 0.56 and not is_coin:
            stop = _cents(middle * (1 + sign * random.uniform(0.001, 0.01)))
            return OrderSpec(symbol, side, OrderType.STOP, tif, quantity, stop_price=stop)
        if drawn < 0.60 and not is_coin:
            tif = TimeInForce.IOC
        limit = _cents(middle * (1 + sign * random.uniform(-0.004, 0.002)))
        return OrderSpec(symbol, side, OrderType.LIMIT, tif, quantity, limit_price=limit)


class Operator:
    """Somebody who stops trading now and then, and lets it go on."""

    def __init__(self, doors: Doors, notes: Notebook, random: Random) -> None:
        self._doors = doors
        self._notes = notes
        self._random = random

    async def operate(self, stops: Sequence[TradingMode], within_s: float) -> None:
        """These stops, at random instants."""
        for mode in stops:
            await asyncio.sleep(self._random.uniform(0.2, within_s / len(stops)))
            await self._doors.set_mode(self._notes, mode, None)
            await asyncio.sleep(self._random.uniform(0.05, 1.5))
            await self.resume()

    async def resume(self) -> None:
        """ACTIVE, whatever it is."""
        for _ in range(RETRIES_MAX):
            state = await self._doors.get_mode(self._notes)
            if state["code"] == "OK":
                if state["mode"] == TradingMode.ACTIVE.name:
                    return
                await self._doors.set_mode(self._notes, TradingMode.ACTIVE, state["version"])
            await asyncio.sleep(0.3)


class Listener:
    """The stream side of a strategy, or of the account: it resumes by its token, sometimes by an older one.

    Args:
        always: Instead of resuming, begin anew like this: snapshot, live.
    """

    def __init__(
        self, book: str | None, doors: Doors, notes: Notebook, random: Random, *, always: tuple[str, ...] = ()
    ) -> None:
        self._always = always
        self._book = book
        self._doors = doors
        self._notes = notes
        self._random = random
        self._token = ""
        self._older = ""
        self._left = 0
        self.is_patient = False
        self.sequence = 0

    async def listen(self) -> None:
        """Until canceled."""
        kind = "snapshot"
        while True:
            start: StreamStart = StartSnapshot()
            token = ""
            if kind == "token":
                token = self._older if self._older and self._random.random() < 0.2 else self._token
                start = StartAfter(token)
            elif kind == "live":
                start = StartLive()
            self._left = self._random.randint(*(GLIMPSE if self._always else MESSAGES_BEFORE_CUT))
            await self._doors.stream(self._notes, self._book, kind, start, token, self._hear)
            kind = "token" if self._token else "snapshot"
            if self._always:
                kind = self._random.choice(self._always)
            await asyncio.sleep(self._random.uniform(*REOPEN_S))

    def _hear(self, step: Step) -> bool:
        if step.resume_token:
            if self._random.random() < 0.05:
                self._older = self._token
            self._token = step.resume_token
        self.sequence = max(self.sequence, step.sequence)
        self._left -= 1
        return self.is_patient or self._left > 0


def _cents(price: float) -> Decimal:
    return Decimal(repr(round(price, 2))).quantize(_CENT)
