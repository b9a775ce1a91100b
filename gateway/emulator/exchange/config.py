"""The settings of a simulated account, among them what is uncertain about Alpaca.

A setting whose name is a question (does PATCH's quantity count the filled part?) exists so that both answers can be
tested; its default is the best belief. Settings are recorded in the ledger when they change, so a replay meets
them as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from typing import Final

DEFAULT_ACCOUNT_ID: Final = "e0000000-0000-4000-8000-000000000001"
DEFAULT_CASH_USD: Final = Decimal(100_000)
MULTIPLIERS: Final = (1, 2)


class SessionRule(StrEnum):
    """Which hours the equities keep."""

    ALWAYS = "always"
    NYSE = "nyse"


class ReplaceQuantity(StrEnum):
    """What PATCH's qty means after a partial fill.

    REMAINING: of a new order that begins with nothing filled. TOTAL: the filled part included; the new order
    begins with `filled_qty` of the old one.
    """

    REMAINING = "remaining"
    TOTAL = "total"


class StopTrigger(StrEnum):
    """What sets off a stop: the last trade, or the quote's near side (the bid for sells, the ask for buys)."""

    TRADE = "trade"
    QUOTE = "quote"


class UnfilledAuction(StrEnum):
    """The end of an auction order that its auction did not fill."""

    CANCELED = "canceled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class ExchangeConfig:
    """One simulated account and its venue.

    Attributes:
        account_id: A UUID; a data directory is pinned to it.
        account_number: Obviously not a real one.
        cash: US dollars at the beginning.
        session: `always` never closes: a day is New York's, midnight to midnight. `nyse` keeps its calendar.
        seed: Ids are derived from it.
        life: Ids are derived from it too: an account that is forgotten with its process begins with other ids when it
            begins anew, because no venue gives an id twice. Empty for one that is kept.
        crypto_fee_bps: Taken from the coins of a buy and from the dollars of a sell.
        multiplier: Of buying power, 1 or 2; below `margin_equity_min_usd` it is 1.
        legacy_pdt_fields: Whether the account still shows the fields removed on 2026-07-06.
        shorting_enabled: Of the account; the customer's own switch is in its configurations.
        wash_trade_check: Refuse an order that could trade against an own one.
        replace_quantity: V16 of the list of open questions.
        order_ids_unique_after_refusal: Whether a refused POST uses up its client_order_id (V3).
        duplicate_check_first: Whether a used client_order_id is noticed before everything else (V5).
        client_order_id_length_max: Characters; 128 in the present documents, 48 in old ones (V10).
        repeat_cancel_succeeds: Whether canceling a canceled order is a success.
        leg_cancel_cancels_group: Whether canceling one leg cancels its whole group, an open parent included.
        announce_accepted: Whether an order that waits for its session is announced by an `accepted` event.
        announce_pending_new: Whether a `pending_new` event precedes `new`.
        announce_pending_cancel, announce_pending_replace: The same for the other two.
        answer_pending_new: Whether POST answers `pending_new` for an order that works at once, or its later status.
        updates_nest_legs: Whether events of a parent carry its legs.
        position_quantity_after_fee: Whether `position_qty` of a fill has the fee in kind deducted (V13).
        stop_trigger: What sets off stops.
        buy_stop_collar: Whether a triggered buy stop becomes a stop-limit 4 % (below $50) or 2.5 % above its stop.
        extended_hours_gtc: Whether gtc limit orders may be for extended hours.
        notional_limit_orders: Whether a limit order may be notional.
        unfilled_auction: How opg and cls orders end that were not filled.
        market_buy_collar: Whether a market buy must afford 4 % (below $50) or 2.5 % more than the ask.
        short_sale_collar_bps: What a short market sale must afford beyond the bid.
        gtc_days: After which a gtc order expires.
        crypto_cost_min_usd: The least cost of a crypto order.
        notional_min_usd: The least notional of an equity order.
        margin_equity_min_usd: Below it there is no margin.
        equity_sample_s: How often the equity is noted for the portfolio history.
    """

    account_id: str = DEFAULT_ACCOUNT_ID
    account_number: str = "EMULATOR1"
    cash: Decimal = DEFAULT_CASH_USD
    session: SessionRule = SessionRule.ALWAYS
    seed: int = 1
    life: str = ""
    crypto_fee_bps: Decimal = Decimal(25)
    multiplier: int = 2
    legacy_pdt_fields: bool = False
    shorting_enabled: bool = True
    wash_trade_check: bool = True
    replace_quantity: ReplaceQuantity = ReplaceQuantity.REMAINING
    order_ids_unique_after_refusal: bool = False
    duplicate_check_first: bool = True
    client_order_id_length_max: int = 128
    repeat_cancel_succeeds: bool = True
    leg_cancel_cancels_group: bool = True
    announce_accepted: bool = False
    announce_pending_new: bool = False
    announce_pending_cancel: bool = False
    announce_pending_replace: bool = False
    answer_pending_new: bool = True
    updates_nest_legs: bool = True
    position_quantity_after_fee: bool = True
    stop_trigger: StopTrigger = StopTrigger.TRADE
    buy_stop_collar: bool = True
    extended_hours_gtc: bool = True
    notional_limit_orders: bool = False
    unfilled_auction: UnfilledAuction = UnfilledAuction.CANCELED
    market_buy_collar: bool = True
    short_sale_collar_bps: Decimal = Decimal(300)
    gtc_days: int = 90
    crypto_cost_min_usd: Decimal = Decimal(10)
    notional_min_usd: Decimal = Decimal(1)
    margin_equity_min_usd: Decimal = Decimal(2000)
    equity_sample_s: int = 300

    def __post_init__(self) -> None:
        """Refuse what no account can be.

        Raises:
            ValueError: Naming the setting.
        """
        for setting in fields(self):
            if type(getattr(self, setting.name)) is not type(setting.default):
                raise ValueError(f"{setting.name} must be of the type {type(setting.default).__name__}")
        if self.multiplier not in MULTIPLIERS:
            raise ValueError(f"multiplier must be one of {MULTIPLIERS}, not {self.multiplier}")
        if not self.cash.is_finite() or self.cash < 0:
            raise ValueError("cash must be zero or more US dollars")
        if self.equity_sample_s <= 0 or self.gtc_days <= 0:
            raise ValueError("equity_sample_s and gtc_days must be positive")


@dataclass(frozen=True, slots=True)
class AccountConfiguration:
    """What the customer may switch: `GET` and `PATCH /v2/account/configurations`."""

    dtbp_check: str = "entry"
    fractional_trading: bool = True
    max_margin_multiplier: str = "4"
    max_options_trading_level: int = 0
    no_shorting: bool = False
    pdt_check: str = "entry"
    ptp_no_exception_entry: bool = False
    suspend_trade: bool = False
    trade_confirm_email: str = "all"
    disable_overnight_trading: bool = False


CONFIGURATION_WORDS: Final[dict[str, tuple[object, ...]]] = {
    "dtbp_check": ("both", "entry", "exit"),
    "pdt_check": ("both", "entry", "exit"),
    "max_margin_multiplier": ("1", "2", "4"),
    "max_options_trading_level": (0, 1, 2, 3),
    "trade_confirm_email": ("all", "none"),
}
"""The values that a configuration may take, where it is not a switch."""
