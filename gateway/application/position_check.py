"""PositionCheck: what the journal's fills say is held, against what the venue says.

Promises: every fill since the journal began is counted, by symbol; the venue's figure is compared when nothing has
moved the symbol for a moment, and a difference counts when a second reading repeats it: then new risk stops (REDUCING)
until people let it go on, and from there the count goes on from the venue's figure. No fill is ever invented. Fees
that the venue takes in coins are allowed for. Who reads the positions, and when, is the reconciler's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import structlog

from gateway.application.alarms import Alarms
from gateway.domain.interfaces import OrderJournal, PositionBaselineStore
from gateway.domain.models.account import PositionBaseline
from gateway.domain.models.orders import Fill, JournalEvent, Order
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import AssetClass, OrderSide, asset_class_of, format_decimal, is_symbol

QUIET_S: Final = 5.0
"""A symbol that a fill moved more recently than this before a reading is not compared."""
FEE_IN_KIND_MAX: Final = Decimal("0.0025")
"""Of the coins bought. Source: Alpaca, crypto fees: at most 25 bps, taken from what is received, at once or later."""
_ROUNDING: Final = Decimal("1e-8")
READ_PAGE: Final = 512
_ZERO: Final = Decimal(0)

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Count:
    """One symbol: what the fills say, and the coins bought whose fee was not seen yet."""

    held: Decimal = _ZERO
    bought: Decimal = _ZERO
    moved_at: float = float("-inf")


class PositionCheck:
    """Counts fills and compares.

    Args:
        monotonic: Seconds, as `time.monotonic`.

    Attributes:
        is_suspicious: A fill contradicts the count, or a difference waits for a second reading: read again soon.
    """

    def __init__(
        self,
        journal: OrderJournal,
        store: PositionBaselineStore,
        alarms: Alarms,
        monotonic: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._store = store
        self._alarms = alarms
        self._monotonic = monotonic
        self._counts: dict[str, _Count] = {}
        self._differences: dict[str, Decimal] = {}
        self._sequence: int | None = None
        self._filled_at = float("-inf")
        self.is_suspicious = False

    async def load(self) -> None:
        """Count what the journal has since the account was last compared."""
        baseline = self._store.current()
        if baseline is None:
            return
        if baseline.sequence < self._journal.oldest - 1:
            _log.error("position_baseline_too_old", sequence=baseline.sequence, oldest=self._journal.oldest)
            return  # a new beginning: what is missing in between cannot be counted
        self._counts = {symbol: _Count(quantity) for symbol, quantity in baseline.positions.items()}
        for symbol, bought in baseline.bought.items():
            self._counts.setdefault(symbol, _Count()).bought = bought
        after = baseline.sequence
        while events := self._journal.read(after, READ_PAGE):  # also what is recorded meanwhile
            for event in events:
                if event.fill is not None:
                    self._note(event.fill)
            after = events[-1].sequence
            await asyncio.sleep(0)
        self._sequence = after

    def on_event(self, event: JournalEvent, _: Order) -> None:
        """Count a fill, once there is something to count from; a listener of OrderManager."""
        if event.fill is None:
            return
        self._filled_at = self._monotonic()
        if self._sequence is not None and event.sequence > self._sequence:
            self._sequence = event.sequence
            self._note(event.fill)

    async def compare(self, held: Mapping[str, Decimal], asked_at: float) -> bool:
        """Compare with a reading of the venue; False when it differs.

        Args:
            held: Signed, by symbol, as the venue told it.
            asked_at: Monotonic seconds when that was asked for.
        """
        self.is_suspicious = False
        if self._sequence is None:
            if self._filled_at > asked_at - QUIET_S:  # it cannot be said whether what was read contains that fill
                return True
            self._counts = {symbol: _Count(quantity) for symbol, quantity in held.items()}
            self._sequence = self._journal.head
        found = dict(self._found(held, asked_at))
        for symbol, difference in found.items():
            count = self._counts.setdefault(symbol, _Count())
            figures = {
                "symbol": symbol,
                "counted": format_decimal(count.held),
                "at_venue": format_decimal(held.get(symbol, _ZERO)),
            }
            if self._differences.get(symbol) != difference:
                self.is_suspicious = True
                _log.error("position_differs", **figures)
                continue
            reason = f"The venue holds another quantity of {symbol} than the fills explain."
            self._alarms.trip("position_drift", TradingMode.REDUCING, reason, **figures)
            count.held, count.bought = held.get(symbol, _ZERO), _ZERO
        self._differences = found if self.is_suspicious else {}
        await self._keep()
        return not found

    def _found(self, held: Mapping[str, Decimal], asked_at: float) -> Iterator[tuple[str, Decimal]]:
        for symbol in {*held, *self._counts}:
            count = self._counts.get(symbol) or _Count()
            if count.moved_at > asked_at - QUIET_S:
                continue
            at_venue = held.get(symbol, _ZERO)
            difference = at_venue - count.held
            if count.bought and -count.bought * FEE_IN_KIND_MAX - _ROUNDING <= difference < 0:
                count.held = at_venue
                count.bought = max(_ZERO, count.bought + difference / FEE_IN_KIND_MAX)
            elif difference:
                yield symbol, difference

    def _note(self, fill: Fill) -> None:
        count = self._counts.setdefault(fill.symbol, _Count())
        count.held += fill.quantity if fill.side is OrderSide.BUY else -fill.quantity
        count.moved_at = self._monotonic()
        if not is_symbol(fill.symbol) or asset_class_of(fill.symbol) is not AssetClass.US_EQUITY:
            count.bought += fill.quantity if fill.side is OrderSide.BUY else _ZERO
        elif fill.account_position_quantity not in (None, count.held):
            self.is_suspicious = True  # or it came out of order: a reading tells

    async def _keep(self) -> None:
        """Move the beginning up to here, so that a restart need not count from far back."""
        sequence = self._sequence
        assert sequence is not None
        baseline = PositionBaseline(
            sequence,
            {symbol: count.held for symbol, count in self._counts.items() if count.held},
            {symbol: count.bought for symbol, count in self._counts.items() if count.bought},
        )
        if self._store.current() != baseline:
            await self._store.put(baseline)
