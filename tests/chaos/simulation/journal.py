"""The disk that survives the gateway's process, and the journal of one life on it.

The durable part is rows of bytes, made and read by the production codec; each life replays them. An append becomes
durable a moment after it was asked for, together with all that then waits (a group commit), and is acknowledged a
moment after that: the process may die in between, and then nobody knows that it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Any, Final, TypeVar

from gateway.domain.errors import JournalUnavailable
from gateway.domain.models.account import PositionBaseline
from gateway.domain.models.orders import JournalEvent
from gateway.domain.models.risk import TradingMode, TradingState
from gateway.infrastructure.persistence.codec import decode, encode
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from tests.chaos.simulation.life import Life

CHAIN_BYTES: Final = 16
COMMIT_S: Final = (0.000_2, 0.004)
"""From the asking to the disk, seconds."""
ACKNOWLEDGE_S: Final = 0.000_1

TORN: Final = "recorded alone"
"""The process ends between two transactions: one for RECORDED, one for SUBMITTED, as when an order must wait."""

T = TypeVar("T")
Then = Callable[[JournalEvent], object]


@dataclass(slots=True)
class Disk:
    """What is left when a process has ended.

    Attributes:
        rows: The table `events`, as the checker reads it.
        states: The table `trading_states`.
        baseline: What the account held when it was first compared.
        epoch: Of the journal.
    """

    epoch: str
    rows: list[dict[str, Any]]
    heads: dict[str, int]
    chain: bytes = bytes(CHAIN_BYTES)
    states: list[TradingState] = field(default_factory=list)
    baseline: PositionBaseline | None = None

    @classmethod
    def empty(cls, random: Random) -> Disk:
        """A new journal."""
        return cls(random.randbytes(8).hex(), [], {})

    def lines(self) -> list[dict[str, Any]]:
        """Everything on it, as the checker reads it."""
        states = [
            {
                "table": "trading_states",
                "version": state.version,
                "scope": "account",
                "mode": state.mode.name,
                "reason": state.reason,
                "set_by": state.set_by,
                "automatic": int(state.automatic),
                "set_time_ns": state.set_time_ns,
            }
            for state in self.states
        ]
        return [{"table": "meta", "key": "epoch", "value": self.epoch}, *self.rows, *states]

    def write(self, event: JournalEvent) -> None:
        """One more row."""
        body = encode(event)
        self.chain = blake2b(self.chain + body, digest_size=CHAIN_BYTES).digest()
        book_sequence = None
        if event.strategy_id:
            book_sequence = self.heads[event.strategy_id] = self.heads.get(event.strategy_id, 0) + 1
        self.rows.append(
            {
                "table": "events",
                "sequence": len(self.rows) + 1,
                "strategy_id": event.strategy_id,
                "book_sequence": book_sequence,
                "order_id": event.order_id,
                "kind": event.kind.value,
                "record_time_ns": event.record_time_ns,
                "body": body,
                "chain": self.chain,
            }
        )


@dataclass(slots=True)
class _Append:
    events: Sequence[JournalEvent]
    then: Then | None
    done: asyncio.Future[tuple[JournalEvent, ...]]


class LifeJournal:
    """`OrderJournal` of one life; what it does not do itself, `MemoryJournal` does.

    Args:
        disk: Replayed at once.
        life: Whose.
        loop: Of the simulated time.
        random: Draws how long commits take.

    Attributes:
        is_failing: The next commit fails and latches.
        is_unsure: Of that commit, whether it reached the disk all the same.
    """

    def __init__(self, disk: Disk, life: Life, loop: asyncio.AbstractEventLoop, random: Random) -> None:
        self._disk = disk
        self._life = life
        self._loop = loop
        self._random = random
        self._inner = MemoryJournal(new_epoch=lambda: disk.epoch)
        self._waiting: list[_Append] = []
        self._committing: list[_Append] = []
        self._fault = ""
        self._fault_listeners: list[Callable[[str], None]] = []
        self.is_failing = False
        self.is_unsure = False
        for row in disk.rows:
            driven(self._inner.append([decode(JournalEvent, row["body"])]))

    @property
    def fault(self) -> str:
        """Why nothing can be recorded any more; empty while it can."""
        return self._fault

    def add_fault_listener(self, listener: Callable[[str], None]) -> None:
        """Tell somebody when recording ends."""
        self._fault_listeners.append(listener)

    async def append(self, events: Sequence[JournalEvent], then: Then | None = None) -> tuple[JournalEvent, ...]:
        """Durable, and told to `then` in order, when this returns."""
        self._life.at(f"append:{_name(events)}")
        if self._fault:
            raise JournalUnavailable("the journal takes nothing any more")
        append = _Append(events, then, self._loop.create_future())
        self._waiting.append(append)
        if not self._committing and len(self._waiting) == 1:
            self._begin()
        recorded = await append.done
        self._life.at(f"appended:{_name(events)}")
        return recorded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _begin(self) -> None:
        self._life.later(self._random.uniform(*COMMIT_S), self._commit)

    def _commit(self) -> None:
        self._committing, self._waiting = self._waiting, []
        names = [_name(append.events) for append in self._committing]
        if "submitted" in names:
            self._passes(TORN)
            if self._life.is_dead:
                self._disk.write(self._committing[names.index("submitted")].events[0])
                return
        for name in names:
            self._passes(f"commit:{name}")
        if self.is_failing:
            self._latch()
            return
        self._write()
        for name in names:
            self._passes(f"committed:{name}")
        self._life.later(ACKNOWLEDGE_S, self._acknowledge)

    def _passes(self, name: str) -> None:
        """A point outside of any task: the callback itself ends with the process."""
        if not self._life.is_dead:
            self._life.crash_point(name)

    def _write(self) -> None:
        if self._life.is_dead:
            return
        for append in self._committing:
            driven(self._inner.append(append.events))
            for event in append.events:
                self._disk.write(event)

    def _acknowledge(self) -> None:
        done, self._committing = self._committing, []
        for append in done:
            if append.then is not None:
                for event in append.events:
                    append.then(event)
            if not append.done.done():
                append.done.set_result(tuple(append.events))
        if self._waiting:
            self._begin()

    def _latch(self) -> None:
        """The disk failed: nothing more is taken, and of what waited nobody knows whether it is there."""
        if self.is_unsure:
            for append in self._committing:
                for event in append.events:
                    self._disk.write(event)
        self._fault = "the disk failed"
        for append in (*self._committing, *self._waiting):
            if not append.done.done():
                append.done.set_exception(JournalUnavailable("the journal could not be written"))
        self._committing, self._waiting = [], []
        for listener in self._fault_listeners:
            listener(self._fault)


class LifeStates:
    """`TradingStateStore` of one life."""

    def __init__(self, disk: Disk, life: Life, random: Random) -> None:
        self._disk = disk
        self._life = life
        self._random = random

    def current(self) -> TradingState:
        """The newest."""
        return self._disk.states[-1] if self._disk.states else TradingState(TradingMode.ACTIVE)

    async def append(self, state: TradingState) -> None:
        """Durable when this returns."""
        self._life.at(f"state:{state.mode.name}")
        await asyncio.sleep(self._random.uniform(*COMMIT_S))
        self._life.check()
        assert state.version == self.current().version + 1, "versions count up by one"
        self._disk.states.append(state)
        self._life.at(f"stated:{state.mode.name}")


class LifeBaselines:
    """`PositionBaselineStore` of one life."""

    def __init__(self, disk: Disk, life: Life) -> None:
        self._disk = disk
        self._life = life

    def current(self) -> PositionBaseline | None:
        """The newest."""
        return self._disk.baseline

    async def put(self, baseline: PositionBaseline) -> None:
        """Durable when this returns."""
        self._life.at("baseline")
        await asyncio.sleep(COMMIT_S[1])
        self._life.check()
        self._disk.baseline = baseline


def driven(work: Coroutine[Any, Any, T]) -> T:
    """The result of something asynchronous that never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waited")


def _name(events: Sequence[JournalEvent]) -> str:
    return events[-1].kind.value
