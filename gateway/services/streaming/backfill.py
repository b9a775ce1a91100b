"""What a break of the feed swallowed: its trades and minute bars, read by request when the feed is up again.

Promises bounds: so far back, so many pages, so many values and so long for one break; what lies beyond is named as
lost. Values that came live before the break or after it are left out. A trade at the very nanosecond of one of those
may come twice: `trade_id` tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway.domain.errors import GatewayError
from gateway.domain.interfaces import MarketDataRepository
from gateway.domain.models.market_data import Bar, Page, Timeframe, TimeframeUnit, Trade
from gateway.domain.types import NANOS_PER_SECOND, BudgetLane, CallContext, Caller, Channel, DataFeed
from gateway.services.recovery import ErrorService
from gateway.services.streaming.last_values import LastValues, Stamped, Value, time_of

BACKFILL_AGE_MAX_S: Final = 900
"""Of a longer break its last quarter of an hour is read."""
BACKFILL_PAGES_MAX: Final = 10
"""Requests for one break: out of 200 a minute, in the lane that gives way to orders."""
BACKFILL_PAGE_VALUES: Final = 2_000
BACKFILL_SYMBOLS_MAX: Final = 200
"""In one request: its URL stays below 2 KB."""
BACKFILL_DEADLINE_S: Final = 5.0
"""So long a feed is RECONCILING at most."""
BACKFILL_CHANNELS: Final = (Channel.TRADES, Channel.BARS)
"""Those whose every value counts, and that the venue can be asked about."""
OVERLAP_NS: Final = 5 * NANOS_PER_SECOND
"""Before the last value received: another symbol's may have been on its way."""
MINUTE_NS: Final = 60 * NANOS_PER_SECOND
MINUTE: Final = Timeframe(1, TimeframeUnit.MINUTE)
_CALLER: Final = Caller(name="streaming")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Filled:
    """What came of one channel.

    Attributes:
        values: By their time.
        complete: Symbols of which nothing is missing from `from_ns` on.
        from_ns: From when on was asked; after the break's beginning when the break was too long.
    """

    channel: Channel
    values: tuple[Value, ...]
    complete: frozenset[str]
    from_ns: int


@dataclass(slots=True)
class _Borders:
    """Where the gap begins and ends, symbol by symbol. A sink: the first live value after it is its end."""

    gap_from_ns: int
    end_ns: int
    last: Mapping[str, Value]
    first: dict[str, Value] = field(default_factory=dict)
    wants_whole: bool = False

    def add(self, stamped: Stamped) -> None:
        """A live value."""
        self.first.setdefault(stamped[0].symbol, stamped[0])

    def add_late(self, stamped: Stamped) -> None:
        """A live value that is older than what is held: it is live all the same."""
        self.first.setdefault(stamped[0].symbol, stamped[0])

    def add_notice(self, stamped: Stamped) -> None:
        """A correction or a cancel ends no gap."""

    def supersede(self, stamped: Stamped) -> None:
        """A value that was read is not live."""

    def misses(self, value: Value) -> bool:
        """Whether a value was neither received before the break nor after it."""
        time_ns = time_of(value)
        over_ns = time_ns + MINUTE_NS if isinstance(value, Bar) else time_ns
        last, first = self.last.get(value.symbol), self.first.get(value.symbol)
        if over_ns > self.end_ns or (last is None and over_ns <= self.gap_from_ns):
            return False
        after = last is None or time_ns > time_of(last) or _is_other_at_once(value, last)
        return after and (first is None or time_ns < time_of(first) or _is_other_at_once(value, first))


def _is_other_at_once(value: Value, known: Value) -> bool:
    if not isinstance(value, Trade) or not isinstance(known, Trade) or value.time_ns != known.time_ns:
        return False
    return value.trade_id != known.trade_id


class BackFill:
    """The back-fill of one feed; one break at a time.

    Args:
        on_done: Told what came of each channel, once for each break whose back-fill was not ended by the next.
        wall: Nanoseconds since the Unix epoch.
        monotonic: Seconds, as `CallContext.deadline`.
    """

    def __init__(
        self,
        feed: DataFeed,
        repository: MarketDataRepository,
        errors: ErrorService,
        on_done: Callable[[Sequence[Filled]], None],
        *,
        wall: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._feed = feed
        self._repository = repository
        self._errors = errors
        self._on_done = on_done
        self._wall = wall
        self._monotonic = monotonic
        self._task: asyncio.Task[None] | None = None
        self._pages_left = 0
        self._last: dict[Channel, dict[str, Value]] = {channel: {} for channel in BACKFILL_CHANNELS}

    def note_break(self, held: Mapping[Channel, LastValues], *, goes_on: bool) -> None:
        """The feed is down: remember what it brought last, as what is read meanwhile it never brought.

        Args:
            held: The newest values.
            goes_on: The break before is not made up for, and the feed has brought nothing since.
        """
        self.cancel()
        for channel, last in self._last.items():
            if not goes_on:
                last.clear()
            for symbol in held[channel]:
                newest = held[channel].newest(symbol)
                if newest is not None:
                    last.setdefault(symbol, newest[0])

    def begin(
        self, gap_from_ns: int, wanted: Mapping[Channel, Iterable[str]], held: Mapping[Channel, LastValues]
    ) -> bool:
        """Make up for a break that is over now; False when there is nothing that could be.

        Args:
            gap_from_ns: When the last value before it was received.
            wanted: Symbols whose every value somebody wants.
            held: Where live values are heard of from now on.
        """
        self.cancel()
        plan: dict[Channel, tuple[list[str], _Borders]] = {}
        for channel in BACKFILL_CHANNELS:
            symbols = sorted(wanted.get(channel, ()))
            if symbols:
                borders = _Borders(gap_from_ns, self._wall(), self._last[channel])
                plan[channel] = symbols, borders
                _hook(borders, symbols, held[channel])
        if plan:
            self._pages_left = BACKFILL_PAGES_MAX
            self._task = asyncio.get_running_loop().create_task(self._run(plan, held))
        return bool(plan)

    def cancel(self) -> None:
        """The feed is down again: what was begun is owed with the next break."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        """End what is under way."""
        task = self._task
        self.cancel()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    async def _run(
        self, plan: Mapping[Channel, tuple[list[str], _Borders]], held: Mapping[Channel, LastValues]
    ) -> None:
        call = CallContext(_CALLER, self._monotonic() + BACKFILL_DEADLINE_S, lane=BudgetLane.READ)
        filled: list[Filled] = []
        try:
            for channel, (symbols, borders) in plan.items():
                filled.append(await self._fill(channel, symbols, borders, call))
        finally:
            for channel, (symbols, borders) in plan.items():
                _unhook(borders, symbols, held[channel])
        self._task = None
        self._on_done(filled)

    async def _fill(self, channel: Channel, symbols: list[str], borders: _Borders, call: CallContext) -> Filled:
        before_ns = OVERLAP_NS + (MINUTE_NS if channel is Channel.BARS else 0)
        from_ns = max(borders.gap_from_ns - before_ns, borders.end_ns - BACKFILL_AGE_MAX_S * NANOS_PER_SECOND)
        values: list[Value] = []
        complete: set[str] = set()
        try:
            async with asyncio.timeout(max(0.0, call.deadline - self._monotonic())):
                for start in range(0, len(symbols), BACKFILL_SYMBOLS_MAX):
                    part = symbols[start : start + BACKFILL_SYMBOLS_MAX]
                    await self._read(channel, part, (from_ns, borders.end_ns), call, values, complete)
        except (GatewayError, TimeoutError) as error:
            _log.warning("backfill_unread", feed=self._feed.value, channel=channel.value, error=str(error))
        except Exception:  # whatever it is: the feed must not stay RECONCILING for it
            _log.exception("backfill_unread", feed=self._feed.value, channel=channel.value)
        missed = sorted((value for value in values if borders.misses(value)), key=time_of)
        return Filled(channel, tuple(missed), frozenset(complete), from_ns)

    async def _read(
        self,
        channel: Channel,
        symbols: list[str],
        within: tuple[int, int],
        call: CallContext,
        values: list[Value],
        complete: set[str],
    ) -> None:
        """Page by page, by symbol: when the pages run out, those before the last one seen are complete."""
        token = ""
        while self._pages_left > 0:
            self._pages_left -= 1
            page = await self._page(channel, symbols, within, call, token)
            values += page.items
            token = page.next_page_token
            if not token:
                complete.update(symbols)
                return
        if token and values:
            complete.update(symbol for symbol in symbols if symbol < values[-1].symbol)

    async def _page(
        self, channel: Channel, symbols: list[str], within: tuple[int, int], call: CallContext, token: str
    ) -> Page[Trade] | Page[Bar]:
        start_ns, end_ns = within
        if channel is Channel.BARS:
            return await self._errors.read(
                call,
                lambda: self._repository.list_bars(
                    call, self._feed, symbols, MINUTE, start_ns=start_ns, end_ns=end_ns,
                    page_size=BACKFILL_PAGE_VALUES, page_token=token,
                ),
            )  # fmt: skip
        return await self._errors.read(
            call,
            lambda: self._repository.list_trades(
                call, self._feed, symbols, start_ns=start_ns, end_ns=end_ns,
                page_size=BACKFILL_PAGE_VALUES, page_token=token,
            ),
        )  # fmt: skip


def _hook(borders: _Borders, symbols: Iterable[str], held: LastValues) -> None:
    for symbol in symbols:
        entry = held.entries.get(symbol)
        if entry is not None:
            entry.sinks = (*entry.sinks, borders)


def _unhook(borders: _Borders, symbols: Iterable[str], held: LastValues) -> None:
    for symbol in symbols:
        entry = held.entries.get(symbol)
        if entry is not None:
            entry.sinks = tuple(sink for sink in entry.sinks if sink is not borders)
