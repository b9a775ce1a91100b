"""The account and what it holds. Money and quantities are decimals; what the venue did not give is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from gateway.domain.types import AssetClass, OrderSide, Venue


@dataclass(frozen=True, slots=True)
class Account:
    """The brokerage account, US dollars unless currency_code says otherwise.

    Attributes:
        status: The venue's word, verbatim.
        buying_power: By the venue's reckoning; orders in flight are not yet deducted.
        short_market_value: Negative.
        read_time_ns: When the venue said all this.
    """

    account_id: str
    account_number: str
    venue: Venue
    status: str
    cash: Decimal
    equity: Decimal
    buying_power: Decimal
    read_time_ns: int
    crypto_status: str = ""
    currency_code: str = "USD"
    multiplier: str = ""
    last_equity: Decimal | None = None
    regt_buying_power: Decimal | None = None
    daytrading_buying_power: Decimal | None = None
    options_buying_power: Decimal | None = None
    non_marginable_buying_power: Decimal | None = None
    long_market_value: Decimal | None = None
    short_market_value: Decimal | None = None
    initial_margin: Decimal | None = None
    maintenance_margin: Decimal | None = None
    last_maintenance_margin: Decimal | None = None
    sma: Decimal | None = None
    accrued_fees: Decimal | None = None
    pending_regulatory_fees: Decimal | None = None
    daytrade_count: int | None = None
    pattern_day_trader: bool | None = None
    shorting_enabled: bool = False
    trading_blocked: bool = False
    transfers_blocked: bool = False
    account_blocked: bool = False
    trade_suspended_by_user: bool = False
    options_approved_level: int | None = None
    options_trading_level: int | None = None
    create_time_ns: int | None = None


@dataclass(frozen=True, slots=True)
class AccountPin:
    """Whose a data directory is: one account at one venue."""

    venue: Venue
    account_id: str


@dataclass(frozen=True, slots=True)
class Position:
    """What the account holds of one symbol.

    Attributes:
        symbol: In the gateway's spelling: `BTC/USD`, though the venue says `BTCUSD` here.
        quantity: Signed: negative is short.
        change_today, unrealized_pl_ratio, unrealized_intraday_pl_ratio: Ratios: 0.01 is 1 %.
    """

    symbol: str
    asset_class: AssetClass
    asset_id: str
    quantity: Decimal
    available_quantity: Decimal
    average_entry_price: Decimal
    cost_basis: Decimal
    read_time_ns: int
    exchange: str = ""
    marginable: bool = False
    current_price: Decimal | None = None
    lastday_price: Decimal | None = None
    change_today: Decimal | None = None
    market_value: Decimal | None = None
    unrealized_pl: Decimal | None = None
    unrealized_pl_ratio: Decimal | None = None
    unrealized_intraday_pl: Decimal | None = None
    unrealized_intraday_pl_ratio: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Activity:
    """Something that changed the account: a fill, a fee, a transfer.

    Attributes:
        activity_type: Alpaca's type, verbatim: `FILL`, `CFEE` and others.
        net_amount: Money: positive came in, negative went out.
    """

    activity_id: str
    activity_type: str
    time_ns: int
    symbol: str = ""
    side: OrderSide | None = None
    quantity: Decimal | None = None
    price: Decimal | None = None
    net_amount: Decimal | None = None
    cumulative_quantity: Decimal | None = None
    leaves_quantity: Decimal | None = None
    venue_order_id: str = ""


@dataclass(frozen=True, slots=True)
class PositionBaseline:
    """What the account held after an event of the journal: from there on its fills say what it must hold.

    Attributes:
        sequence: Of that event, in the account's book.
        positions: Signed, by symbol; none is zero.
        bought: Coins bought before it whose fee, taken in coins, was not seen yet.
    """

    sequence: int
    positions: Mapping[str, Decimal]
    bought: Mapping[str, Decimal]
