"""Enums, identifiers, decimals and tables that every room speaks.

Values of the enums are the field's own lower-case words. What a border spells differently is that
border's dictionary (`servicers/wire`, `infrastructure/alpaca/converters`, `emulator/wire.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, Generic, TypeVar

from gateway.domain.models.identity import EVERY_SCOPE, Scope
from gateway.domain.models.risk import Clearance
from gateway.domain.option_symbols import parse_option_symbol

NANOS_PER_SECOND: Final = 1_000_000_000
NANOS_PER_MS: Final = 1_000_000
MS_PER_SECOND: Final = 1_000
MS_PER_DAY: Final = 86_400_000

DEFAULT_STRATEGY: Final = "default"
"""Whose orders they are when the gateway runs without tokens."""

RESERVED_STRATEGIES: Final = frozenset({"account", "unattributed"})

_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?", re.ASCII)
_DECIMAL_LENGTH_MAX: Final = 25  # 15 digits, the point, 9 digits
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_TOKEN_WITHIN = re.compile(r"gw_(?:emu|paper|live)_[0-9a-f]{8}_[A-Za-z0-9_-]{8,}", re.ASCII)
_STRATEGY = re.compile(r"[a-z0-9][a-z0-9-]{0,23}", re.ASCII)
_EQUITY = re.compile(r"[A-Z][A-Z0-9]{0,9}(\.[A-Z0-9]{1,10})?", re.ASCII)
_SYMBOL_LENGTH_MAX: Final = 21
_CRYPTO = re.compile(r"[A-Z][A-Z0-9]{0,9}/[A-Z0-9]{1,10}", re.ASCII)


class Venue(StrEnum):
    """Where orders go."""

    EMULATOR = "emulator"
    PAPER = "paper"
    LIVE = "live"


class Authentication(StrEnum):
    """Whether a call needs a token."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


class AssetClass(StrEnum):
    """Alpaca's asset classes; one that this build does not know is UNRECOGNIZED."""

    US_EQUITY = "us_equity"
    US_OPTION = "us_option"
    CRYPTO = "crypto"
    UNRECOGNIZED = "unrecognized"


class OrderSide(StrEnum):
    """Buy or sell; a short sale is a sell beyond what is held."""

    BUY = "buy"
    SELL = "sell"

    @property
    def opposite(self) -> OrderSide:
        """The other side."""
        return OrderSide.SELL if self is OrderSide.BUY else OrderSide.BUY


class OrderType(StrEnum):
    """How the price is set."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"


class TimeInForce(StrEnum):
    """How long an order may work."""

    DAY = "day"
    GTC = "gtc"
    OPG = "opg"
    CLS = "cls"
    IOC = "ioc"
    FOK = "fok"


class OrderClass(StrEnum):
    """Whether orders belong together."""

    SIMPLE = "simple"
    BRACKET = "bracket"
    OCO = "oco"
    OTO = "oto"


class LegRole(StrEnum):
    """The part of a leg; its value is the suffix of the leg's order_id."""

    TAKE_PROFIT = "take-profit"
    STOP_LOSS = "stop-loss"


class OrderState(StrEnum):
    """Where an order stands, as `OrderState` in trading.proto says it."""

    RECORDED = "recorded"
    SUBMITTING = "submitting"
    OUTCOME_UNKNOWN = "outcome_unknown"
    ACCEPTED = "accepted"
    WORKING = "working"
    PARTIALLY_FILLED = "partially_filled"
    PENDING_REPLACE = "pending_replace"
    PENDING_CANCEL = "pending_cancel"
    UNRECOGNIZED = "unrecognized"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    DENIED = "denied"
    NOT_SENT = "not_sent"
    ABSENT = "absent"

    @property
    def is_terminal(self) -> bool:
        """Can change no more. Everything else counts as open, an unrecognized status included."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {
        OrderState.FILLED,
        OrderState.CANCELED,
        OrderState.EXPIRED,
        OrderState.REJECTED,
        OrderState.DENIED,
        OrderState.NOT_SENT,
        OrderState.ABSENT,
    }
)


class DataFeed(StrEnum):
    """Where market data comes from; the value is the feed's name in `FeedStatus.feed`."""

    IEX = "stocks:iex"
    SIP = "stocks:sip"
    CRYPTO_US = "crypto:us"
    OPRA = "options:opra"
    INDICATIVE = "options:indicative"
    NEWS = "news"

    @property
    def asset_class(self) -> AssetClass | None:
        """Whose prices it brings; None: articles, which are about several."""
        return _CLASS_OF_FEED.get(self)


_CLASS_OF_FEED = {
    DataFeed.IEX: AssetClass.US_EQUITY,
    DataFeed.SIP: AssetClass.US_EQUITY,
    DataFeed.CRYPTO_US: AssetClass.CRYPTO,
    DataFeed.OPRA: AssetClass.US_OPTION,
    DataFeed.INDICATIVE: AssetClass.US_OPTION,
}


ORDER_FEED: Final = "orders"
"""The name of the venue's order feed in `FeedStatus.feed`."""


class FeedState(StrEnum):
    """How far an upstream feed can be trusted."""

    LIVE = "live"
    QUIET = "quiet"
    CONNECTING = "connecting"
    DISCONNECTED = "disconnected"
    RECONCILING = "reconciling"
    STALE = "stale"
    MUTE = "mute"
    DELAYED = "delayed"

    @property
    def vouches(self) -> bool:
        """Values received in this state, without a break, are the venue's latest."""
        return self in (FeedState.LIVE, FeedState.QUIET)

    @property
    def flows(self) -> bool:
        """What the venue has to say comes, if not in time or not all of it yet: nothing is being missed."""
        return self.vouches or self in (FeedState.RECONCILING, FeedState.DELAYED)


class Channel(StrEnum):
    """A kind of live market data."""

    QUOTES = "quotes"
    TRADES = "trades"
    BARS = "bars"
    UPDATED_BARS = "updated_bars"
    DAILY_BARS = "daily_bars"
    ORDER_BOOKS = "order_books"
    TRADING_STATUS = "trading_status"
    LULD = "luld"
    NEWS = "news"

    @property
    def is_bars(self) -> bool:
        """Whether its values are bars."""
        return self in (Channel.BARS, Channel.UPDATED_BARS, Channel.DAILY_BARS)

    @property
    def default_policy(self) -> ConflationPolicy:
        """What happens to values while a client is busy that did not say."""
        is_state = self in (Channel.QUOTES, Channel.ORDER_BOOKS)
        return ConflationPolicy.LATEST_PER_SYMBOL if is_state else ConflationPolicy.NONE


class ConflationPolicy(StrEnum):
    """What happens to values while a client is busy."""

    NONE = "none"
    LATEST_PER_SYMBOL = "latest_per_symbol"
    DROP_OLDEST = "drop_oldest"


class OnZombie(StrEnum):
    """What is done with an order that lives although it was given up."""

    CANCEL = "cancel"
    ADOPT = "adopt"


class BudgetLane(StrEnum):
    """Which part of the venue's request budget a call draws on, the most urgent first.

    KILL is the kill switch's own: always admitted, on connections that nobody else uses.
    """

    KILL = "kill"
    CANCEL = "cancel"
    LOOKUP = "lookup"
    ORDER = "order"
    READ = "read"


RETRY_AFTER_MAX_MS: Final = 60_000
"""The venue counts by the minute: whatever it answers, nobody waits longer than one for its budget."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, and what it may do.

    Attributes:
        name: For logs and the audit log: `local`, or the token's strategy and id.
        strategy_id: What an empty strategy_id in a request means; empty for operators, who have none.
        token_id: By which token; empty where none is needed.
        scopes: What it may do.
        symbols: Only these may be traded; empty: all.
        max_order_notional: US dollars of one order; None: no cap of its own.
        certified_until_ns: When the certificate ends that it came with; None: it came with none.
    """

    name: str = "local"
    strategy_id: str = DEFAULT_STRATEGY
    token_id: str = ""
    scopes: frozenset[Scope] = EVERY_SCOPE
    symbols: frozenset[str] = frozenset()
    max_order_notional: Decimal | None = None
    certified_until_ns: int | None = None

    def may_act_for(self, strategy_id: str) -> bool:
        """Whether it may trade in this strategy's name; without tokens everybody on this machine may."""
        return not self.token_id or (bool(strategy_id) and strategy_id == self.strategy_id)

    def may_read_of(self, strategy_id: str) -> bool:
        """Whether it may see this strategy's orders; an empty one: those from outside the gateway."""
        return self.may_act_for(strategy_id) or Scope.ORDERS_READ_ANY in self.scopes

    def may_cancel_of(self, strategy_id: str) -> bool:
        """Whether it may end this strategy's orders."""
        return self.may_act_for(strategy_id) or Scope.ORDERS_CANCEL_ANY in self.scopes

    def may_trade(self, symbol: str) -> bool:
        """Whether orders in this symbol are allowed."""
        return not self.symbols or symbol in self.symbols


@dataclass(frozen=True, slots=True)
class CallContext:
    """What every repository method is told first.

    Attributes:
        caller: On whose behalf.
        deadline: `time.monotonic()` seconds after which nobody waits for the answer.
        lane: The part of the request budget that it draws on.
        request_id: Goes through logs and traces; given back as `x-request-id`.
        clearance: What a new order or a replace was admitted with; None for everything else.
        order_id: The gateway's id of the order that the request is about, whose story it belongs to; empty: none.
    """

    caller: Caller
    deadline: float
    lane: BudgetLane = BudgetLane.READ
    request_id: str = ""
    clearance: Clearance | None = None
    order_id: str = ""


def parse_decimal(text: str) -> Decimal | None:
    r"""Read a decimal string of a request; None when it does not follow the grammar.

    The grammar is `(0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?` and nothing else. It is checked before `Decimal`
    sees the text: Decimal also takes "1_000", "NaN", Arabic digits and exponents that cost seconds.
    """
    if len(text) > _DECIMAL_LENGTH_MAX or not _DECIMAL.fullmatch(text):
        return None
    return Decimal(text)


def format_decimal(value: Decimal) -> str:
    """Write a decimal as contracts spell it: no exponent, no trailing zeros, never "-0"."""
    if not value:
        return "0"
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text


def decimal_from_price(price: float) -> Decimal:
    """A market-data price as money: the shortest decimal that reads back as the same double."""
    return Decimal(repr(price))


def is_symbol(text: str) -> bool:
    """Whether the text is spelled as symbols of what can be traded are: `AAPL`, `BRK.B` or `BTC/USD`."""
    return len(text) <= _SYMBOL_LENGTH_MAX and bool(_EQUITY.fullmatch(text) or _CRYPTO.fullmatch(text))


def is_quoted_symbol(text: str) -> bool:
    """Whether the text is spelled as symbols with market data are: as `is_symbol` says, or an option contract's."""
    return is_symbol(text) or parse_option_symbol(text) is not None


def asset_class_of(symbol: str) -> AssetClass:
    """The class that a symbol's spelling tells; the symbol must pass `is_quoted_symbol`."""
    if "/" in symbol:
        return AssetClass.CRYPTO
    return AssetClass.US_OPTION if parse_option_symbol(symbol) is not None else AssetClass.US_EQUITY


def article_symbol(symbol: str) -> str:
    """How an article spells a symbol: a pair without its slash, `BTCUSD`.

    Source: the parameter `symbols` of the news route in Alpaca's market data OpenAPI document.
    """
    return symbol.replace("/", "")


def is_client_order_id(text: str) -> bool:
    """Whether the text may be an idempotency key: 1 to 64 characters, no separator at the start."""
    return bool(_KEY.fullmatch(text))


def holds_token(text: str) -> bool:
    """Whether a secret token stands in the text, or so much of one that no record should have it."""
    return bool(_TOKEN_WITHIN.search(text))


def without_tokens(text: str) -> str:
    """The text with what `holds_token` means blanked."""
    return _TOKEN_WITHIN.sub("***", text)


def is_strategy_id(text: str) -> bool:
    """Whether the text may name a strategy; reserved names may not."""
    return bool(_STRATEGY.fullmatch(text)) and text not in RESERVED_STRATEGIES


def venue_client_order_id(strategy_id: str, client_order_id: str) -> str:
    """What the venue is sent: deterministic, so that one key can only ever become one order."""
    return f"{strategy_id}.{client_order_id}"


L = TypeVar("L")
R = TypeVar("R")


class TwoWay(Generic[L, R]):
    """A one-to-one table, read in both directions.

    Raises:
        ValueError: At construction, when two keys share a value: a table that cannot be read backwards.
    """

    __slots__ = ("_backward", "_forward")

    def __init__(self, pairs: Mapping[L, R]) -> None:
        self._forward = dict(pairs)
        self._backward = {value: key for key, value in pairs.items()}
        if len(self._backward) != len(self._forward):
            raise ValueError(f"not one-to-one: {pairs!r}")

    def __getitem__(self, key: L) -> R:
        return self._forward[key]

    def __contains__(self, key: L) -> bool:
        return key in self._forward

    def __iter__(self) -> Iterator[L]:
        return iter(self._forward)

    def __len__(self) -> int:
        return len(self._forward)

    def back(self, value: R) -> L:
        """The key of a value; KeyError when there is none."""
        return self._backward[value]

    def find(self, value: R) -> L | None:
        """The key of a value; None when there is none."""
        return self._backward.get(value)
