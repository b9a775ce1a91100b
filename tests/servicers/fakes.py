"""Rooms behind the servicers that answer what a test tells them, and note what they were asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from google.rpc import error_details_pb2
from grpc_status import rpc_status

from gateway.application.commands import Canceled, CanceledMany, CancelResult, CloseResult, Preview, Submitted
from gateway.application.kill_switch import Killed
from gateway.application.order_timeline import EntryKind, OrderTimeline, TimelineEntry
from gateway.application.order_updates import Step, StreamStart
from gateway.application.owned_tasks import OwnedTasks
from gateway.application.resume_tokens import Book
from gateway.application.trading_state import TradingStates
from gateway.domain.errors import OrderNotFound, PositionNotFound
from gateway.domain.models.account import Account, Position
from gateway.domain.models.market_data import Page
from gateway.domain.models.orders import Fill, FillFilter, Order, OrderRef, OrderRequest, OrderSpec
from gateway.domain.models.reference import Asset, MarketClock, MarketDay
from gateway.domain.types import AssetClass, CallContext, OrderSide, OrderState, OrderType, TimeInForce, Venue
from gateway.infrastructure.persistence.memory_trading_states import MemoryTradingStates
from gateway.services.trading import PositionsRead
from trading_gateway.v1 import market_data_pb2_grpc

NOW_NS = 1_700_000_000_123_456_789

SPEC = OrderSpec(
    "AAPL", OrderSide.BUY, OrderType.LIMIT, TimeInForce.DAY, quantity=Decimal(10), limit_price=Decimal("1.5")
)


def order(order_id: str = "order-1", **changes: Any) -> Order:
    """A working order."""
    values: dict[str, Any] = {
        "strategy_id": "default",
        "client_order_id": "key-1",
        "spec": SPEC,
        "state": OrderState.WORKING,
        "asset_class": AssetClass.US_EQUITY,
        "create_time_ns": NOW_NS,
        "update_time_ns": NOW_NS,
    }
    return Order(order_id=order_id, **(values | changes))


FILL = Fill(
    fill_id="f-1",
    order_id="order-1",
    client_order_id="key-1",
    strategy_id="default",
    venue_order_id="v-1",
    symbol="AAPL",
    side=OrderSide.BUY,
    quantity=Decimal("1.0"),
    price=Decimal("1.50"),
    cumulative_quantity=Decimal(1),
    trade_time_ns=NOW_NS,
)


class FakeEngine:
    """Answers every command with `answer`: a value, an exception to raise, or a coroutine function to await."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.answer: Any = None

    async def _say(self, *asked: Any, otherwise: Any) -> Any:
        self.asked.append(asked)
        if callable(self.answer):
            return await self.answer()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return otherwise if self.answer is None else self.answer

    async def submit(self, request: OrderRequest, call: CallContext) -> Submitted:
        return await self._say("submit", request, call, otherwise=Submitted(order(), replayed=False))

    async def preview(self, strategy_id: str, spec: OrderSpec, call: CallContext) -> Preview:
        answer = Preview(True, spec, (), Decimal(15), Decimal(15))
        return await self._say("preview", strategy_id, spec, call, otherwise=answer)

    async def replace(self, request: Any, call: CallContext) -> Submitted:
        return await self._say("replace", request, call, otherwise=Submitted(order(), replayed=False))

    async def cancel(self, ref: OrderRef, wait_ms: int, call: CallContext) -> Canceled:
        return await self._say("cancel", ref, wait_ms, call, otherwise=Canceled(order(), already_terminal=False))

    async def cancel_orders(self, scope: Any, call: CallContext) -> CanceledMany:
        answer = CanceledMany((CancelResult("order-1", OrderState.PENDING_CANCEL),), 7)
        return await self._say("cancel_orders", scope, call, otherwise=answer)

    async def refresh(self, ref: OrderRef, call: CallContext) -> Order:
        return await self._say("refresh", ref, call, otherwise=order(version=2))


class FakeWorkflow(FakeEngine):
    """Closes positions on paper."""

    async def close_position(self, request: Any, call: CallContext) -> Submitted:
        return await self._say("close", request, call, otherwise=Submitted(order(), replayed=False))

    async def close_positions(self, request: Any, call: CallContext) -> tuple[CloseResult, ...]:
        answer = (
            CloseResult("AAPL", Submitted(order(), replayed=True)),
            CloseResult("MSFT", PositionNotFound("the account holds no such position")),
        )
        return await self._say("close_all", request, call, otherwise=answer)


class FakeOrders:
    """Knows the orders that a test gives it."""

    def __init__(self) -> None:
        self.known = [order()]
        self.asked: list[tuple[Any, ...]] = []

    def get(self, ref: OrderRef) -> Order:
        for known in self.known:
            if ref.order_id == known.order_id:
                return known
            if ref.client_order_id and (ref.strategy_id, ref.client_order_id) == (
                known.strategy_id,
                known.client_order_id,
            ):
                return known
        raise OrderNotFound("no such order")

    def key(self, strategy_id: str, client_order_id: str) -> object | None:
        return next(
            (o for o in self.known if (o.strategy_id, o.client_order_id) == (strategy_id, client_order_id)), None
        )

    def keys_beginning(self, strategy_id: str, start: str) -> list[tuple[str, Any]]:
        return []

    def legs(self, parent: Order) -> tuple[Order, ...]:
        return tuple(known for known in self.known if known.parent_order_id == parent.order_id)

    async def list(self, wanted: Any, page_size: int, page_token: str) -> Page[Order]:
        self.asked.append((wanted, page_size, page_token))
        return Page(tuple(self.known[:page_size]), "next")


class FakeFills:
    """One fill in every list."""

    def __init__(self) -> None:
        self.asked: list[tuple[FillFilter, int, str]] = []

    async def page(self, wanted: FillFilter, page_size: int, page_token: str) -> Page[Fill]:
        self.asked.append((wanted, page_size, page_token))
        return Page((FILL,), "next")


class FakeTimelines:
    """One step for every order that is known."""

    def __init__(self, orders: FakeOrders) -> None:
        self._orders = orders

    async def get(self, ref: OrderRef) -> OrderTimeline:
        return OrderTimeline(self._orders.get(ref), (TimelineEntry(7, NOW_NS, EntryKind.INTENT, "recorded"),))


class FakeUpdates:
    """Streams what is put into `steps`; an exception in it is raised, and None ends the stream."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[Step | BaseException | None] = asyncio.Queue()
        self.asked: list[tuple[Book, StreamStart, int]] = []
        self.closed = asyncio.Event()

    async def follow(self, book: Book, start: StreamStart, heartbeat_ms: int) -> AsyncIterator[Step]:
        self.asked.append((book, start, heartbeat_ms))
        try:
            while (step := await self.steps.get()) is not None:
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            self.closed.set()


ACCOUNT = Account(
    account_id="a-1",
    account_number="PA1234567890",
    venue=Venue.EMULATOR,
    status="ACTIVE",
    cash=Decimal("100000.10"),
    equity=Decimal(100000),
    buying_power=Decimal(200000),
    read_time_ns=NOW_NS,
)
POSITION = Position(
    symbol="AAPL",
    asset_class=AssetClass.US_EQUITY,
    asset_id="asset-1",
    quantity=Decimal(-3),
    available_quantity=Decimal(-3),
    average_entry_price=Decimal("1.50"),
    cost_basis=Decimal("-4.5"),
    read_time_ns=NOW_NS,
)
ASSET = Asset("asset-1", "AAPL", AssetClass.US_EQUITY, name="Apple", attributes=("one",))


@dataclass
class FakeAccounts:
    """One account."""

    account: Account = ACCOUNT
    asked: list[int | None] = field(default_factory=list)

    async def get_account(self, call: CallContext, max_staleness_ms: int | None = None) -> Account:
        self.asked.append(max_staleness_ms)
        return self.account


@dataclass
class FakePositions:
    """One position."""

    asked: list[int | None] = field(default_factory=list)

    async def list_positions(self, call: CallContext, max_staleness_ms: int | None = None) -> PositionsRead:
        self.asked.append(max_staleness_ms)
        return PositionsRead((POSITION,), NOW_NS)

    async def get_position(self, symbol: str, call: CallContext, max_staleness_ms: int | None = None) -> Position:
        self.asked.append(max_staleness_ms)
        if symbol != POSITION.symbol:
            raise PositionNotFound("the account holds no such position")
        return POSITION


@dataclass
class FakeAssets:
    """One asset; `refusal` is raised when set."""

    refusal: Exception | None = None
    asked: list[Any] = field(default_factory=list)

    async def get(self, symbol: str, call: CallContext, field: str = "symbol") -> Asset:
        if self.refusal is not None:
            raise self.refusal
        return ASSET

    async def get_by_symbol_or_id(self, symbol_or_id: str, call: CallContext, field: str = "symbol_or_id") -> Asset:
        return await self.get(symbol_or_id, call, field)

    async def list_assets(self, wanted: Any, page_size: int, page_token: str, call: CallContext) -> Page[Asset]:
        self.asked.append((wanted, page_size, page_token))
        return Page((ASSET,), "next")


class FakeCalendar:
    """One day."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def get_clock(self, call: CallContext) -> MarketClock:
        return MarketClock(NOW_NS, True, NOW_NS + 2, NOW_NS + 1)

    async def list_days(self, start: Any, end: Any, call: CallContext) -> tuple[MarketDay, ...]:
        self.asked.append((start, end))
        return (MarketDay(start, NOW_NS, NOW_NS, NOW_NS, NOW_NS),)


class SilentMarketData(market_data_pb2_grpc.MarketDataServiceServicer):
    """Sends one frame of bytes as often as it is read; StreamTrades is not of the kind that sends bytes."""

    RAW_METHODS = frozenset({"StreamQuotes"})

    def __init__(self, frames: Callable[[], AsyncIterator[bytes]]) -> None:
        self._frames = frames

    async def StreamQuotes(self, request: Any, context: Any) -> AsyncIterator[bytes]:
        async for frame in self._frames():
            yield frame


class FakeKill:
    """A kill that is as far as `killed` says; notes how long it was waited for."""

    def __init__(self) -> None:
        self.killed = Killed((), all_gone=True)
        self.waited_s: list[float] = []

    async def progress(self, wait_s: float) -> Killed:
        self.waited_s.append(wait_s)
        return self.killed


class Rooms:
    """Everything behind the servicers."""

    def __init__(self) -> None:
        self.engine: Any = FakeEngine()
        self.workflow: Any = FakeWorkflow()
        self.orders: Any = FakeOrders()
        self.updates: Any = FakeUpdates()
        self.fills: Any = FakeFills()
        self.timelines: Any = FakeTimelines(self.orders)
        self.accounts: Any = FakeAccounts()
        self.positions: Any = FakePositions()
        self.assets: Any = FakeAssets()
        self.calendar: Any = FakeCalendar()
        self.states = TradingStates(MemoryTradingStates(), OwnedTasks(), lambda: NOW_NS)
        self.kill: Any = FakeKill()
        self.frame = b""
        self.frame_count = 1

    async def frames(self) -> AsyncIterator[bytes]:
        for _ in range(self.frame_count):
            yield self.frame


@dataclass(frozen=True)
class Refused:
    """What a client reads off a failed call."""

    code: Any
    message: str
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    retry_s: float | None = None


def read_error(error: Any) -> Refused:
    """The status and its details."""
    status = rpc_status.from_call(error)
    found: dict[str, Any] = {}
    for detail in [] if status is None else status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.PreconditionFailure):
            message = kind()
            if detail.Unpack(message):
                found[kind.DESCRIPTOR.name] = message
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            found["RetryInfo"] = retry
    info = found.get("ErrorInfo")
    bad = found["BadRequest"].field_violations if "BadRequest" in found else ()
    checks = found["PreconditionFailure"].violations if "PreconditionFailure" in found else ()
    retry = found.get("RetryInfo")
    return Refused(
        code=error.code(),
        message=error.details(),
        reason=info.reason if info else "",
        metadata=dict(info.metadata) if info else {},
        fields=tuple(violation.field for violation in bad),
        descriptions=tuple(violation.description for violation in bad),
        checks=tuple(violation.type for violation in checks),
        retry_s=None if retry is None else retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9,
    )


async def refused(call: Awaitable[Any]) -> Refused:
    """Await a call that must fail, and read its error."""
    import grpc

    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return read_error(error)
    raise AssertionError(f"not refused: {answer}")
