"""Caches, budgets, retries, and what is kept of account, positions and assets."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from gateway.domain.errors import (
    FieldInvalid,
    PageTokenMismatch,
    PositionNotFound,
    SymbolUnknown,
    VenueRateLimited,
    VenueUnreachable,
)
from gateway.domain.models.account import Account, Position
from gateway.domain.models.reference import Asset, MarketClock
from gateway.domain.types import NANOS_PER_SECOND, AssetClass, BudgetLane, CallContext, Caller, Venue
from gateway.services.account import AccountService, BalanceService
from gateway.services.cache import CacheService
from gateway.services.recovery import ErrorService
from gateway.services.reference import AssetFilter, AssetService, MarketCalendarService
from gateway.services.request_budget import CANCELS_BEYOND_MAX, RequestBudget
from gateway.services.trading import PortfolioService, PositionService

CALL = CallContext(Caller(), deadline=1_000.0)
ZERO = Decimal(0)


class World:
    """A venue that answers what a test says, and time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.asked = 0
        self.failures: list[Exception] = []
        self.gate: asyncio.Event | None = None
        self.buying_power = Decimal(1_000)
        self.held = {"AAPL": Decimal(10)}
        self.values: dict[str, Decimal] = {}
        self.assets = [
            Asset("id-1", "AAPL", AssetClass.US_EQUITY, exchange="NASDAQ"),
            Asset("id-2", "BRK.B", AssetClass.US_EQUITY, exchange="NYSE"),
            Asset("id-3", "BTC/USD", AssetClass.CRYPTO),
            Asset("id-4", "OLD", AssetClass.US_EQUITY, status="inactive"),
        ]
        self.slept: list[float] = []
        self.cache = CacheService(self.monotonic, entries_max=3)
        self.errors = ErrorService(self.wall, self.monotonic, self.sleep)
        self.accounts = AccountService(self, self.cache, self.errors)  # type: ignore[arg-type]
        self.balances = BalanceService(self.accounts, self.monotonic)
        self.positions = PositionService(self, self.cache, self.errors, self.wall, self.monotonic)  # type: ignore[arg-type]
        self.asset_service = AssetService(self, self.cache, self.errors, self.monotonic)  # type: ignore[arg-type]

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> int:
        return int(self.now * NANOS_PER_SECOND)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def _ask(self) -> None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)

    async def get_account(self, call: CallContext) -> Account:
        await self._ask()
        return Account("a", "n", Venue.EMULATOR, "ACTIVE", ZERO, ZERO, self.buying_power, self.wall())

    async def list_positions(self, call: CallContext) -> list[Position]:
        await self._ask()
        return [
            Position(
                symbol,
                AssetClass.US_EQUITY,
                "i",
                quantity,
                quantity,
                ZERO,
                ZERO,
                self.wall(),
                market_value=self.values.get(symbol),
            )
            for symbol, quantity in self.held.items()
        ]

    async def list_assets(self, call: CallContext, asset_class: AssetClass) -> list[Asset]:
        await self._ask()
        return [asset for asset in self.assets if asset.asset_class is asset_class]

    async def get_market_clock(self, call: CallContext) -> MarketClock:
        await self._ask()
        return MarketClock(self.wall(), False, 1, 2)


@pytest.fixture
def world() -> World:
    return World()


class TestCache:
    async def test_age_decides(self, world: World) -> None:
        await world.accounts.get_account(CALL)
        world.now += 0.9
        await world.accounts.get_account(CALL)
        assert world.asked == 1
        world.now += 0.2
        await world.accounts.get_account(CALL)
        assert world.asked == 2
        await world.accounts.get_account(CALL, max_staleness_ms=0)
        assert world.asked == 3
        await world.accounts.get_account(CALL, max_staleness_ms=60_000)
        assert world.asked == 3

    async def test_one_fetch_for_all_who_wait(self, world: World) -> None:
        world.gate = asyncio.Event()
        readers = [asyncio.create_task(world.accounts.get_account(CALL)) for _ in range(5)]
        await asyncio.sleep(0)
        readers[0].cancel()
        await asyncio.sleep(0)
        world.gate.set()
        answers = await asyncio.gather(*readers, return_exceptions=True)
        assert world.asked == 1
        assert sum(isinstance(answer, Account) for answer in answers) == 4

    async def test_an_error_is_not_kept(self, world: World) -> None:
        world.failures = [VenueUnreachable("x")] * 3
        with pytest.raises(VenueUnreachable):
            await world.accounts.get_account(CALL)
        assert (await world.accounts.get_account(CALL)).status == "ACTIVE"

    async def test_it_is_bounded(self, world: World) -> None:
        calls: list[int] = []

        async def fetch(key: int) -> int:
            calls.append(key)
            return key

        for key in (1, 2, 3, 4, 1):
            assert await world.cache.get(key, 60_000, lambda key=key: fetch(key)) == key  # type: ignore[misc]
        assert calls == [1, 2, 3, 4, 1]
        world.cache.drop(1)
        await world.cache.get(1, 60_000, lambda: fetch(1))
        assert calls[-1] == 1


class TestRetries:
    async def test_a_read_is_repeated(self, world: World) -> None:
        world.failures = [VenueUnreachable("x"), VenueRateLimited("x", retry_after_ms=700)]
        assert (await world.accounts.get_account(CALL)).status == "ACTIVE"
        assert world.slept == [0.1, 0.7]

    async def test_not_beyond_the_deadline(self, world: World) -> None:
        world.failures = [VenueUnreachable("x")]
        with pytest.raises(VenueUnreachable):
            await world.accounts.get_account(CallContext(Caller(), world.now + 0.05))
        assert world.asked == 1

    async def test_a_change_only_within_its_validity(self, world: World) -> None:
        until = world.wall() + NANOS_PER_SECOND
        error = VenueUnreachable("x")
        assert await world.errors.may_send_again(1, error, until)
        assert await world.errors.may_send_again(2, error, until)
        assert await world.errors.may_send_again(3, error, until)
        assert not await world.errors.may_send_again(4, error, until)
        assert not await world.errors.may_send_again(1, VenueRateLimited("x", retry_after_ms=5_000), until)
        assert not await world.errors.may_send_again(64, error, until * 2)


class TestBudget:
    def test_lanes_leave_reserves(self, world: World) -> None:
        budget = RequestBudget(100, world.wall, world.monotonic)
        lanes = (BudgetLane.READ, BudgetLane.ORDER, BudgetLane.LOOKUP, BudgetLane.CANCEL)
        spent = [self.spend(budget, lane) for lane in lanes]
        assert spent == [50, 10, 20, 20 + CANCELS_BEYOND_MAX], "a fifth is the lookups', another one the cancels'"
        for _ in range(1_000):
            budget.admit(BudgetLane.KILL)

    def test_new_orders_never_take_more_than_their_part_of_a_minute(self, world: World) -> None:
        budget = RequestBudget(100, world.wall, world.monotonic)
        sent: list[float] = []
        for _ in range(600):
            world.now += 0.5
            with suppress(VenueRateLimited):
                budget.admit(BudgetLane.ORDER)
                sent.append(world.now)
        assert max(sum(moment - 60 < other <= moment for other in sent) for moment in sent) == 60
        assert len(sent) == 300, "and they get it in every minute"

    def test_after_a_429_only_cancels_are_tried(self, world: World) -> None:
        budget = RequestBudget(200, world.wall, world.monotonic)
        budget.observe(200, 0, int(world.now) + 30)
        budget.throttled(30_000)
        budget.admit(BudgetLane.CANCEL)
        for lane in (BudgetLane.LOOKUP, BudgetLane.ORDER, BudgetLane.READ):
            with pytest.raises(VenueRateLimited) as caught:
                budget.admit(lane)
            assert caught.value.retry_after_ms is not None
            assert 29_000 <= caught.value.retry_after_ms <= 30_001
        world.now += 31
        budget.admit(BudgetLane.ORDER)

    def test_a_429_without_a_reset_leaves_what_is_reserved(self, world: World) -> None:
        budget = RequestBudget(100, world.wall, world.monotonic)
        budget.throttled(1_000)
        assert self.spend(budget, BudgetLane.CANCEL) == 40 + CANCELS_BEYOND_MAX
        budget = RequestBudget(0, world.wall, world.monotonic)
        budget.throttled(1_000)
        with pytest.raises(VenueRateLimited):
            budget.admit(BudgetLane.ORDER)
        world.now += 1.001
        budget.admit(BudgetLane.ORDER)

    def test_it_refills(self, world: World) -> None:
        budget = RequestBudget(60, world.wall, world.monotonic)
        self.spend(budget, BudgetLane.CANCEL)
        with pytest.raises(VenueRateLimited) as caught:
            budget.admit(BudgetLane.CANCEL)
        assert caught.value.retry_after_ms is not None
        world.now += caught.value.retry_after_ms / 1_000
        budget.admit(BudgetLane.CANCEL)

    def test_the_venues_own_count_corrects_it(self, world: World) -> None:
        budget = RequestBudget(200, world.wall, world.monotonic)
        budget.observe(200, 1, int(world.now) + 30)
        assert self.spend(budget, BudgetLane.CANCEL) == 1 + CANCELS_BEYOND_MAX
        world.now += 31
        assert self.spend(budget, BudgetLane.CANCEL) == 200 + CANCELS_BEYOND_MAX

    def test_an_answer_that_was_overtaken_says_nothing(self, world: World) -> None:
        budget = RequestBudget(200, world.wall, world.monotonic)
        budget.observe(200, 150, int(world.now) + 60)
        budget.observe(200, 0, int(world.now) + 10)
        budget.admit(BudgetLane.READ)

    @pytest.mark.parametrize("ahead_s", [62, 3_600, -3_600])
    def test_a_clock_that_is_wrong_gives_nothing_back(self, world: World, ahead_s: int) -> None:
        """The venue's reset is in its own time: ours may be a minute off, or step by an hour."""
        budget = RequestBudget(100, world.wall, world.monotonic)
        venue_reset_s = int(world.now) - ahead_s + 50
        passed = 0
        for answered in range(200):
            with suppress(VenueRateLimited):
                budget.admit(BudgetLane.ORDER)
                passed += 1
            budget.observe(100, max(0, 100 - answered), venue_reset_s)
        assert passed <= 60
        assert self.spend(budget, BudgetLane.CANCEL) == CANCELS_BEYOND_MAX
        world.now += 60.1
        assert self.spend(budget, BudgetLane.CANCEL) == 100 + CANCELS_BEYOND_MAX, "a minute is a minute"

    def test_a_venue_whose_clock_goes_back_is_heard_again(self, world: World) -> None:
        budget = RequestBudget(100, world.wall, world.monotonic)
        budget.observe(100, 90, int(world.now) + 60)
        budget.observe(100, 20, int(world.now) - 3_540)
        assert self.spend(budget, BudgetLane.CANCEL) == 20 + CANCELS_BEYOND_MAX

    def test_none(self, world: World) -> None:
        budget = RequestBudget(0, world.wall, world.monotonic)
        for _ in range(10_000):
            budget.admit(BudgetLane.READ)

    def spend(self, budget: RequestBudget, lane: BudgetLane) -> int:
        count = 0
        try:
            while count < 1_000:
                budget.admit(lane)
                count += 1
        except VenueRateLimited:
            pass
        return count


class TestBalances:
    async def test_a_reservation_lasts_until_a_reading_contains_it(self, world: World) -> None:
        balances = world.balances
        await balances.refresh(CALL)
        balances.reserve("a", Decimal(100))
        balances.reserve("b", Decimal(50))
        world.now += 1
        await balances.refresh(CALL)
        assert balances.reserved == 150  # neither is acknowledged
        balances.acknowledge("a")
        assert balances.reserved == 150  # the last reading was before that
        world.now += 1
        await balances.refresh(CALL)
        assert balances.reserved == 50
        balances.release("b")
        balances.release("b")
        assert balances.reserved == 0


class TestPortfolio:
    async def test_shorts_count_as_much_as_longs_in_gross_and_less_in_net(self, world: World) -> None:
        world.held = {"AAPL": Decimal(10), "MSFT": Decimal(-2), "OLD": Decimal(1)}
        world.values = {"AAPL": Decimal(2_400), "MSFT": Decimal(-868)}  # nobody has a price for OLD
        portfolio = await PortfolioService(world.accounts, world.positions).get_portfolio(CALL)
        assert (portfolio.gross_market_value, portfolio.net_market_value) == (3_268, 1_532)
        assert [position.symbol for position in portfolio.positions] == ["AAPL", "MSFT", "OLD"]
        assert portfolio.account.buying_power == 1_000


class TestPositions:
    async def test_fills_move_what_is_held(self, world: World) -> None:
        positions = world.positions
        await positions.refresh(CALL)
        assert positions.held("AAPL") == 10
        world.now += 1
        positions.note_fill("AAPL", Decimal(5), Decimal(15), exact=True)
        positions.note_fill("BTC/USD", Decimal(1), None, exact=False)
        assert (positions.held("AAPL"), positions.held("BTC/USD")) == (15, 1)
        assert positions.is_doubtful("BTC/USD")
        assert not positions.is_doubtful("AAPL")
        world.held = {"AAPL": Decimal(15), "BTC/USD": Decimal("0.9975")}
        world.now += 1
        await positions.refresh(CALL)
        assert positions.held("BTC/USD") == Decimal("0.9975")
        assert not positions.is_doubtful("BTC/USD")

    async def test_a_reading_asked_for_before_a_fill_does_not_undo_it(self, world: World) -> None:
        positions = world.positions
        world.gate = asyncio.Event()
        reading = asyncio.create_task(positions.refresh(CALL))
        await asyncio.sleep(0)
        world.now += 0.1
        positions.note_fill("AAPL", Decimal(-10), ZERO, exact=True)
        world.gate.set()
        await reading
        assert positions.held("AAPL") == 0

    async def test_nobody_is_shown_what_was_read_before_a_fill(self, world: World) -> None:
        """However new it is, and though the reading was still under way."""
        await world.positions.list_positions(CALL)
        world.gate = asyncio.Event()
        reading = asyncio.create_task(world.positions.list_positions(CALL, max_staleness_ms=0))
        await asyncio.sleep(0)
        world.positions.note_fill("AAPL", Decimal(5), Decimal(15), exact=True)
        world.gate.set()
        await reading
        asked = world.asked
        await world.positions.list_positions(CALL, max_staleness_ms=60_000)
        assert world.asked == asked + 1
        await world.accounts.get_account(CALL)
        world.balances.note_fill()
        await world.accounts.get_account(CALL)
        assert world.asked == asked + 3

    async def test_one(self, world: World) -> None:
        assert (await world.positions.get_position("AAPL", CALL)).quantity == 10
        with pytest.raises(PositionNotFound):
            await world.positions.get_position("MSFT", CALL)


class TestAssets:
    @pytest.mark.parametrize("symbol", ["AAPL", "BRK.B", "BTC/USD", "OLD"])
    async def test_the_one_spelling(self, world: World, symbol: str) -> None:
        assert (await world.asset_service.get(symbol, CALL)).symbol == symbol
        assert world.asset_service.find(symbol) is not None

    @pytest.mark.parametrize(
        ("symbol", "meant"),
        [
            ("BTCUSD", "BTC/USD"),
            ("BTC-USD", "BTC/USD"),
            ("BRK/B", "BRK.B"),
            ("BRK-B", "BRK.B"),
            ("BRKB", "BRK.B"),
        ],
    )
    async def test_another_is_refused_and_the_right_one_named(self, world: World, symbol: str, meant: str) -> None:
        with pytest.raises(FieldInvalid) as caught:
            await world.asset_service.get(symbol, CALL, "spec.symbol")
        assert caught.value.metadata["symbol"] == meant
        assert caught.value.violations[0].field == "spec.symbol"

    @pytest.mark.parametrize(
        "symbol", ["", " ", "../orders", "AAPL?x=1", "AAPL\n", "AAPL\0", "аapl", "ＡＡＰＬ", "A" * 10_000, "AAPL,MSFT"]
    )
    async def test_what_is_no_symbol(self, world: World, symbol: str) -> None:
        with pytest.raises(FieldInvalid):
            await world.asset_service.get(symbol, CALL)

    async def test_unknown_ones_are_looked_for_once_a_minute(self, world: World) -> None:
        await world.asset_service.get("AAPL", CALL)
        for _ in range(5):
            with pytest.raises(SymbolUnknown):
                await world.asset_service.get("NEW", CALL)
        assert world.asked == 2
        world.assets.append(Asset("id-5", "NEW", AssetClass.US_EQUITY))
        world.now += 61
        assert (await world.asset_service.get("NEW", CALL)).asset_id == "id-5"

    async def test_by_id(self, world: World) -> None:
        assert (await world.asset_service.get_by_symbol_or_id("id-3", CALL)).symbol == "BTC/USD"

    async def test_pages(self, world: World) -> None:
        service = world.asset_service
        first = await service.list_assets(AssetFilter(), 2, "", CALL)
        assert [asset.symbol for asset in first.items] == ["AAPL", "BRK.B"]
        rest = await service.list_assets(AssetFilter(), 2, first.next_page_token, CALL)
        assert ([asset.symbol for asset in rest.items], rest.next_page_token) == (["BTC/USD"], "")
        with pytest.raises(PageTokenMismatch):
            await service.list_assets(AssetFilter(exchange="NYSE"), 2, first.next_page_token, CALL)
        narrow = await service.list_assets(AssetFilter(exchange="NYSE"), 0, "", CALL)
        assert [asset.symbol for asset in narrow.items] == ["BRK.B"]

    async def test_hours(self, world: World) -> None:
        calendar: Any = MarketCalendarService(world, world.cache, world.errors)  # type: ignore[arg-type]
        assert await calendar.is_open(AssetClass.CRYPTO, CALL)
        assert not await calendar.is_open(AssetClass.US_EQUITY, CALL)
