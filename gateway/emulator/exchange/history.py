"""The equity over time: bounded samples, from which the portfolio history is answered.

Promises: at most SAMPLES_MAX samples, the oldest forgotten first; a window shows the last sample before its end. Leaves
when to sample to the exchange.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.exchange.account import ratio
from gateway.emulator.exchange.orders import ZERO
from gateway.emulator.exchange.refusals import field_invalid

SAMPLES_MAX: Final = 20_000
WINDOWS_MAX: Final = 50_000
"""How many windows one question may have."""


@dataclass(frozen=True, slots=True)
class PortfolioHistory:
    """Equity at the end of each time window, labelled by its start, with profit and loss against the base value.

    Attributes:
        timestamps_s: Unix seconds.
        profit_loss_ratio: 0.01 is 1 %.
        base_value: The equity before the first window.
    """

    timestamps_s: tuple[int, ...]
    equity: tuple[Decimal, ...]
    profit_loss: tuple[Decimal, ...]
    profit_loss_ratio: tuple[Decimal, ...]
    base_value: Decimal
    timeframe_s: int


class EquityHistory:
    """Samples of the equity, oldest first; the first is the account's beginning."""

    def __init__(self, created_ns: int, equity: Decimal) -> None:
        self._times_ns = [created_ns]
        self._equity = [equity]

    def add(self, time_ns: int, equity: Decimal) -> None:
        """Note the equity at an instant, not before the last one."""
        assert time_ns >= self._times_ns[-1]
        self._times_ns.append(time_ns)
        self._equity.append(equity)
        if len(self._times_ns) > SAMPLES_MAX:
            del self._times_ns[0], self._equity[0]

    def samples(self) -> list[tuple[int, Decimal]]:
        """Instants and equities."""
        return list(zip(self._times_ns, self._equity, strict=True))

    def at(self, time_ns: int) -> Decimal:
        """The last one known at an instant; before the first sample, that one."""
        return self._equity[max(bisect_right(self._times_ns, time_ns) - 1, 0)]

    def windows(self, start_ns: int, end_ns: int, timeframe_s: int, present: tuple[int, Decimal]) -> PortfolioHistory:
        """Windows that begin within [start, end) and after the account did; `present` is the equity now.

        Raises:
            Refusal: No such windows, or more than WINDOWS_MAX.
        """
        step_ns = timeframe_s * NANOS_PER_SECOND
        if timeframe_s <= 0 or end_ns < start_ns or (end_ns - start_ns) // step_ns > WINDOWS_MAX:
            raise field_invalid("timeframe")
        first_ns = max(start_ns, self._times_ns[0]) // step_ns * step_ns
        starts_ns = range(first_ns, max(end_ns, first_ns + 1), step_ns)
        base = self.at(first_ns)
        equity = tuple(
            present[1] if begin_ns + step_ns > present[0] else self.at(begin_ns + step_ns - 1) for begin_ns in starts_ns
        )
        return PortfolioHistory(
            timestamps_s=tuple(begin_ns // NANOS_PER_SECOND for begin_ns in starts_ns),
            equity=equity,
            profit_loss=tuple(value - base for value in equity),
            profit_loss_ratio=tuple(ratio(value - base, base) if base else ZERO for value in equity),
            base_value=base,
            timeframe_s=timeframe_s,
        )
