"""The equity over time: bounded samples, from which the portfolio history is answered."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class PortfolioHistory:
    """Equity at the start of each time window, with profit and loss against the base value.

    Attributes:
        timestamps_s: Unix seconds.
        profit_loss_ratio: 0.01 is 1 %; None where the base value is zero.
        base_value: The equity before the first window.
    """

    timestamps_s: tuple[int, ...]
    equity: tuple[Decimal, ...]
    profit_loss: tuple[Decimal, ...]
    profit_loss_ratio: tuple[Decimal | None, ...]
    base_value: Decimal
    timeframe_s: int
