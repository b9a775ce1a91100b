"""Quotes, trades, bars and snapshots: Alpaca's letters → domain, from REST and from frames of the websocket.

Promises prices and sizes bit for bit, times to the nanosecond, and that a value which is no finite number of
0 or more raises `Unreadable` instead of becoming one. The road of a whole frame of quotes is written for
speed: everything in it is checked, most of it by one comparison.

Source: schemas stock_quote, stock_trade, stock_bar and their crypto siblings of Alpaca's market data OpenAPI
document, which the websocket repeats letter by letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgpack
import orjson

from gateway.domain.models.market_data import Adjustment, Bar, Greeks, Quote, Snapshot, Timeframe, Trade
from gateway.domain.types import NANOS_PER_SECOND, Channel, DataFeed, TwoWay
from gateway.infrastructure.alpaca.converters.fields import (
    TIME_NS_MAX,
    JsonObject,
    Unreadable,
    as_list,
    as_object,
    next_page_token_of,
    parse_time_ns,
    text_or_empty,
    texts,
    whole_or_none,
)

CHANNEL: Final = TwoWay(
    {
        Channel.QUOTES: "quotes",
        Channel.TRADES: "trades",
        Channel.BARS: "bars",
        Channel.UPDATED_BARS: "updatedBars",
        Channel.DAILY_BARS: "dailyBars",
        Channel.ORDER_BOOKS: "orderbooks",
        Channel.TRADING_STATUS: "statuses",
        Channel.LULD: "lulds",
        Channel.NEWS: "news",
    }
)
UNSUPPORTED_CHANNELS: Final = frozenset({"corrections", "cancelErrors", "imbalances"})
"""Channels of Alpaca's that this build does not subscribe to; corrections and cancels come with trades unasked."""

STOCK_FEED: Final = TwoWay({DataFeed.IEX: "iex", DataFeed.SIP: "sip"})
"""The `feed` parameter of the stock routes; crypto has one feed, which its path names."""
OPTION_FEED: Final = TwoWay({DataFeed.OPRA: "opra", DataFeed.INDICATIVE: "indicative"})
"""The same of the option routes."""
UNSUPPORTED_FEEDS: Final = frozenset({"delayed_sip", "otc", "boats", "overnight"})

ADJUSTMENT: Final = TwoWay(
    {
        Adjustment.RAW: "raw",
        Adjustment.SPLIT: "split",
        Adjustment.DIVIDEND: "dividend",
        Adjustment.SPIN_OFF: "spin-off",
        Adjustment.ALL: "all",
    }
)

MESSAGES_PER_FRAME_MAX: Final = 65_536
"""Alpaca sends hundreds at once; reading more than this would keep everybody waiting."""

_INFINITY: Final = float("inf")
_DAYS_IN: Final = {"Day": 1, "Week": 7, "Month": 31}
_SECONDS_IN: Final = {"Min": 60, "Hour": 3_600}
_KNOWN_CONDITIONS_MAX: Final = 1_024
_known_conditions: dict[object, tuple[str, ...]] = {}
_NO_TEXTS: Final[tuple[str, ...]] = ()
_TIME_AS_NS: Final = 2
_PLAUSIBLE_NS_MIN: Final = 946_684_800 * NANOS_PER_SECOND  # the year 2000: older is no market time in ns


def unpack_frame(frame: bytes | str) -> list[Any]:
    """The messages of one frame: msgpack with its timestamps as nanoseconds, or JSON where the venue sends text.

    Raises:
        Unreadable: It is no array.
    """
    try:
        messages = orjson.loads(frame) if type(frame) is str else msgpack.unpackb(frame, timestamp=_TIME_AS_NS)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise Unreadable(f"unreadable frame ({type(error).__name__})") from None
    if type(messages) is not list:
        raise Unreadable("a frame that is no array")
    if len(messages) > MESSAGES_PER_FRAME_MAX:
        raise Unreadable("more messages than a frame has")
    return messages


def market_json(body: bytes) -> Any:
    """Read JSON of the market data API: fractions become the nearest double; NaN and 1e400 are refused."""
    try:
        return orjson.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"no JSON ({type(error).__name__})") from None


def quotes_from_frame(messages: Sequence[JsonObject], feed: DataFeed, receive_time_ns: int) -> list[Quote]:
    """The quotes of one frame, in order; every message must be one.

    Raises:
        Unreadable: One of them is malformed; the caller then takes them one by one.
    """
    quotes: list[Quote] = []
    append = quotes.append
    try:
        for raw in messages:
            symbol, time_ns, bid, ask = raw["S"], raw["t"], raw["bp"], raw["ap"]
            bid_size, ask_size = raw["bs"], raw["as"]
            bid_exchange, ask_exchange, tape = raw.get("bx", ""), raw.get("ax", ""), raw.get("z", "")
            if not (
                type(bid) is float is type(ask)
                and type(time_ns) is int
                and symbol
                and type(symbol) is str is type(tape)
                and type(bid_exchange) is str is type(ask_exchange)
                and 0.0 <= bid < _INFINITY
                and 0.0 <= ask < _INFINITY
                and _PLAUSIBLE_NS_MIN <= time_ns < TIME_NS_MAX
            ):
                append(quote_from_alpaca(symbol, raw, feed, receive_time_ns))
                continue
            if type(bid_size) is not float or type(ask_size) is not float:
                bid_size, ask_size = measure_of(bid_size, "bs"), measure_of(ask_size, "as")
            elif not (0.0 <= bid_size < _INFINITY and 0.0 <= ask_size < _INFINITY):
                raise Unreadable("a quote of no finite size")
            codes = raw.get("c")
            append(
                Quote(
                    symbol,
                    time_ns,
                    bid,
                    bid_size,
                    ask,
                    ask_size,
                    feed,
                    receive_time_ns,
                    bid_exchange,
                    ask_exchange,
                    _conditions(codes) if codes else _NO_TEXTS,
                    tape,
                )
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"a malformed quote ({type(error).__name__})") from None
    return quotes


def quote_from_alpaca(symbol: object, raw: object, feed: DataFeed, receive_time_ns: int) -> Quote:
    """One quote."""
    quote = as_object(raw, "quote")
    return Quote(
        symbol=symbol_of(symbol),
        time_ns=instant_of(quote),
        bid_price=measure_of(quote.get("bp"), "bp"),
        bid_size=measure_of(quote.get("bs"), "bs"),
        ask_price=measure_of(quote.get("ap"), "ap"),
        ask_size=measure_of(quote.get("as"), "as"),
        feed=feed,
        receive_time_ns=receive_time_ns,
        bid_exchange=text_or_empty(quote, "bx"),
        ask_exchange=text_or_empty(quote, "ax"),
        conditions=texts(quote.get("c")),
        tape=text_or_empty(quote, "z"),
    )


def trade_from_alpaca(symbol: object, raw: object, feed: DataFeed, receive_time_ns: int) -> Trade:
    """One trade."""
    trade = as_object(raw, "trade")
    return Trade(
        symbol=symbol_of(symbol),
        time_ns=instant_of(trade),
        price=measure_of(trade.get("p"), "p"),
        size=measure_of(trade.get("s"), "s"),
        feed=feed,
        receive_time_ns=receive_time_ns,
        exchange=text_or_empty(trade, "x"),
        trade_id=whole_or_none(trade, "i") or 0,
        conditions=texts(trade.get("c")),
        tape=text_or_empty(trade, "z"),
        taker_side=text_or_empty(trade, "tks"),
        update=text_or_empty(trade, "u"),
    )


def bar_from_alpaca(symbol: object, raw: object, feed: DataFeed, receive_time_ns: int, *, final: bool = True) -> Bar:
    """One bar. A volume-weighted price of 0 is none: no trade has that price."""
    bar = as_object(raw, "bar")
    vwap = bar.get("vw")
    return Bar(
        symbol=symbol_of(symbol),
        start_time_ns=instant_of(bar),
        open=measure_of(bar.get("o"), "o"),
        high=measure_of(bar.get("h"), "h"),
        low=measure_of(bar.get("l"), "l"),
        close=measure_of(bar.get("c"), "c"),
        volume=measure_of(bar.get("v"), "v"),
        feed=feed,
        receive_time_ns=receive_time_ns,
        trade_count=whole_or_none(bar, "n") or 0,
        vwap=None if vwap is None else measure_of(vwap, "vw") or None,
        final=final,
    )


def snapshot_from_alpaca(symbol: str, raw: object, feed: DataFeed, receive_time_ns: int) -> Snapshot:
    """The state of one symbol. The daily bar is the running one."""
    snapshot = as_object(raw, "snapshot")
    trade, quote = snapshot.get("latestTrade"), snapshot.get("latestQuote")
    volatility = snapshot.get("impliedVolatility")
    return Snapshot(
        symbol=symbol,
        latest_trade=trade_from_alpaca(symbol, trade, feed, receive_time_ns) if trade else None,
        latest_quote=quote_from_alpaca(symbol, quote, feed, receive_time_ns) if quote else None,
        minute_bar=_bar_or_none(symbol, snapshot.get("minuteBar"), feed, receive_time_ns, final=True),
        daily_bar=_bar_or_none(symbol, snapshot.get("dailyBar"), feed, receive_time_ns, final=False),
        previous_daily_bar=_bar_or_none(symbol, snapshot.get("prevDailyBar"), feed, receive_time_ns, final=True),
        implied_volatility=None if volatility is None else measure_of(volatility, "impliedVolatility"),
        greeks=greeks_from_alpaca(snapshot.get("greeks")),
    )


def greeks_from_alpaca(raw: object) -> Greeks | None:
    """The sensitivities of an option; None where Alpaca could not compute all of them."""
    if not raw:
        return None
    greeks = as_object(raw, "greeks")
    found = [greeks.get(name) for name in ("delta", "gamma", "theta", "vega", "rho")]
    if any(value is None for value in found):
        return None
    return Greeks(*(_finite(value) for value in found))


def bars_from_alpaca(
    raw: object, feed: DataFeed, receive_time_ns: int, timeframe: Timeframe, *, newest_first: bool
) -> tuple[tuple[Bar, ...], str]:
    """One page of past bars, by symbol, then as they came; and the token of the next page.

    A bar is final when its span is over at `receive_time_ns`; days and longer are over a little late, never early.
    """
    page = as_object(raw, "page")
    by_symbol = as_object(page.get("bars") or {}, "bars")
    span_ns = span_of(timeframe)
    bars = []
    for symbol in sorted(by_symbol):
        for item in as_list(by_symbol[symbol], "bars"):
            bar = bar_from_alpaca(symbol, item, feed, receive_time_ns)
            bar.final = bar.start_time_ns + span_ns <= receive_time_ns
            bars.append(bar)
    bars.sort(key=_start, reverse=newest_first)
    bars.sort(key=_symbol_of)
    return tuple(bars), next_page_token_of(page)


def span_of(timeframe: Timeframe) -> int:
    """How long a bar lasts at most, in nanoseconds."""
    unit = timeframe.unit.value
    seconds = _SECONDS_IN[unit] if unit in _SECONDS_IN else _DAYS_IN[unit] * 86_400
    return timeframe.amount * seconds * NANOS_PER_SECOND


def timeframe_to_alpaca(timeframe: Timeframe) -> str:
    """`5Min`, `1Day`, ..."""
    return f"{timeframe.amount}{timeframe.unit.value}"


def _conditions(codes: object) -> tuple[str, ...]:
    # The few combinations there are share one tuple each: quicker than checking, and lighter in the caches above.
    key = tuple(codes) if type(codes) is list else codes
    known = _known_conditions.get(key)
    if known is None:
        known = texts(codes)
        if len(_known_conditions) < _KNOWN_CONDITIONS_MAX and known == key:  # what had to be cut is not kept
            _known_conditions[key] = known
    return known


def _start(bar: Bar) -> int:
    return bar.start_time_ns


def _symbol_of(bar: Bar) -> str:
    return bar.symbol


def _bar_or_none(symbol: str, raw: object, feed: DataFeed, receive_time_ns: int, *, final: bool) -> Bar | None:
    return bar_from_alpaca(symbol, raw, feed, receive_time_ns, final=final) if raw else None


def symbol_of(value: object) -> str:
    """A symbol, which must be there."""
    if type(value) is not str or not value:
        raise Unreadable("S is no symbol")
    return value


def measure_of(value: object, name: str) -> float:
    """A price or a size: a finite number of 0 or more."""
    if type(value) is not float and type(value) is not int:
        raise Unreadable(f"{name} is no number")
    try:
        number = float(value)
    except OverflowError:
        raise Unreadable(f"{name} is no finite number") from None
    if not 0.0 <= number < _INFINITY:
        raise Unreadable(f"{name} is no finite number of 0 or more")
    return number


def _finite(value: object) -> float:
    """A number of any sign."""
    if type(value) is not float and type(value) is not int:
        raise Unreadable("a sensitivity is no number")
    try:
        number = float(value)
    except OverflowError:
        raise Unreadable("a sensitivity is no finite number") from None
    if not abs(number) < _INFINITY:
        raise Unreadable("a sensitivity is no finite number")
    return number


def instant_of(raw: JsonObject) -> int:
    """The venue's time, nanoseconds, as a number or as text."""
    time_ns = instant_or_none(raw, "t")
    if time_ns is None:
        raise Unreadable("t is no time")
    return time_ns


def instant_or_none(raw: JsonObject, name: str) -> int | None:
    """A time that a message may go without; None where it is none, or none of a market."""
    value = raw.get(name)
    time_ns = parse_time_ns(value) if type(value) is str else value
    return time_ns if type(time_ns) is int and _PLAUSIBLE_NS_MIN <= time_ns < TIME_NS_MAX else None
