"""Reference data: what can be traded, and when."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal

from gateway.domain.types import AssetClass

_ONE_DOLLAR = Decimal(1)
_TICK_FROM_ONE_DOLLAR = Decimal("0.01")
_TICK_BELOW_ONE_DOLLAR = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class Asset:
    """Something that can be traded.

    Attributes:
        symbol: In the gateway's spelling.
        status: "active" or "inactive", verbatim.
        min_order_size, min_trade_increment, price_increment: Given for crypto alone.
        margin_requirement_long, margin_requirement_short: Percent.
    """

    asset_id: str
    symbol: str
    asset_class: AssetClass
    name: str = ""
    exchange: str = ""
    status: str = "active"
    tradable: bool = True
    marginable: bool = False
    shortable: bool = False
    easy_to_borrow: bool = False
    fractionable: bool = False
    min_order_size: Decimal | None = None
    min_trade_increment: Decimal | None = None
    price_increment: Decimal | None = None
    margin_requirement_long: Decimal | None = None
    margin_requirement_short: Decimal | None = None
    cusip: str = ""
    attributes: tuple[str, ...] = ()

    def tick_at(self, price: Decimal) -> Decimal:
        """The step of prices at a price, US dollars.

        Source: SEC Rule 612 for equities (0.01 from a price of 1, 0.0001 below); the asset's own for crypto.
        """
        if self.price_increment is not None:
            return self.price_increment
        return _TICK_FROM_ONE_DOLLAR if price >= _ONE_DOLLAR else _TICK_BELOW_ONE_DOLLAR


@dataclass(frozen=True, slots=True)
class MarketClock:
    """The hours of US equities, by the venue's clock."""

    time_ns: int
    is_open: bool
    next_open_time_ns: int
    next_close_time_ns: int


@dataclass(frozen=True, slots=True)
class MarketDay:
    """One trading day of US equities; `session_` times are the extended hours."""

    date: datetime.date
    open_time_ns: int
    close_time_ns: int
    session_open_time_ns: int
    session_close_time_ns: int
    settlement_date: datetime.date | None = None
