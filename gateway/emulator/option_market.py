"""Quotes and trades of option contracts, priced on their underlying: a function of seed, contract and underlying.

Promises: each second one quote of every contract, at the instant of a quote of its underlying, and now and then a
print, at the instant of a print of its underlying, at the bid or the offer that the contract has there; so the past
can be asked for like the present. Volatility is a smile that the seed bends; it does not move. Only contracts that
somebody reads are priced. A recorded market has no options: nothing says what they cost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log
from typing import Final

from gateway.domain.models.market_data import Bar, Greeks, Quote, Trade
from gateway.domain.types import NANOS_PER_SECOND, DataFeed
from gateway.emulator.bars import DAY_NS
from gateway.emulator.black_scholes import DAYS_PER_YEAR, Terms, greeks_of, price_of
from gateway.emulator.market import QUIET_NS_MAX, Event, Market
from gateway.emulator.option_chain import UNDERLYINGS, Contract, OptionChain
from gateway.emulator.prices import SLOT_NS

RATE_PER_YEAR: Final = 0.04
SLOTS_PER_QUOTE: Final = 4
"""Of its underlying's quotes, every fourth moves a contract: one a second."""
SECONDS_PER_TRADE: Final = 16
"""Of its underlying's seconds with a print, one in so many has one of the contract."""

_BASE_VOLATILITY: Final = 0.22
_VOLATILITY_SPAN: Final = 0.18
_SMILE: Final = 1.2
_SPREAD_SHARE: Final = 0.015
_CENTS: Final = 100
_SIZE_MAX: Final = 200
_TRADE_SIZE_MAX: Final = 20
_DECIMALS: Final = 6
_EXCHANGES: Final = "ACNPXZ"
_QUOTE_CONDITION: Final = ("A",)
_TRADE_CONDITION: Final = ("I",)
_CACHED_CONTRACTS: Final = 2048
_MASK: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class _Book:
    """What does not change about a contract.

    Attributes:
        key: Of its hashes.
    """

    contract: Contract
    key: int
    volatility: float

    def terms(self, time_ns: int) -> Terms:
        """At an instant before it expires."""
        contract = self.contract
        years = max(contract.expires_ns - time_ns, NANOS_PER_SECOND) / (DAYS_PER_YEAR * DAY_NS)
        return Terms(contract.is_call, float(contract.strike_price), years, self.volatility, RATE_PER_YEAR)


class OptionMarket:
    """The options of a market.

    Args:
        market: Of the underlyings.
        chain: What is listed; an empty one for none.
    """

    def __init__(self, market: Market, chain: OptionChain, seed: int) -> None:
        self._market = market
        self._seed = seed
        self.chain = chain
        self._book = lru_cache(maxsize=_CACHED_CONTRACTS)(self._make_book)

    def events(self, events: Sequence[Event], wanted: Collection[str]) -> list[Event]:
        """What the contracts of `wanted` do while their underlyings do `events`."""
        if not wanted or not events:
            return []
        listed = self.chain.contracts(_time_of(events[-1]))
        by_underlying: dict[str, list[_Book]] = {}
        for symbol in sorted(wanted):
            contract = listed.get(symbol)
            if contract is not None:
                by_underlying.setdefault(contract.underlying, []).append(self._book(contract))
        found: list[Event] = []
        for event in events:
            for book in by_underlying.get(event.symbol, ()):
                if isinstance(event, Quote) and _quotes_in(book, event.time_ns):
                    found.append(_quote(book, _mid(event), event.time_ns))
                elif isinstance(event, Trade) and _trades_in(book, event.time_ns):
                    found.append(_trade(book, event.price, event.time_ns))
        return found

    def latest_quote(self, symbol: str, now_ns: int) -> Quote | None:
        """The quote that stands; None of what is not listed."""
        contract = self.chain.find(symbol, now_ns)
        if contract is None:
            return None
        book = self._book(contract)
        for quote in self._market.quotes(contract.underlying, now_ns - QUIET_NS_MAX, now_ns, descending=True):
            if _quotes_in(book, quote.time_ns):
                return _quote(book, _mid(quote), quote.time_ns)
        return None

    def latest_trade(self, symbol: str, now_ns: int) -> Trade | None:
        """The last print; None of what is not listed."""
        return next(self.trades(symbol, now_ns - QUIET_NS_MAX, now_ns, now_ns, descending=True), None)

    def trades(
        self, symbol: str, start_ns: int, end_ns: int, now_ns: int, *, descending: bool = False
    ) -> Iterator[Trade]:
        """Prints in [start, end] of a contract that is listed at `now_ns`."""
        contract = self.chain.find(symbol, now_ns)
        if contract is None:
            return
        book = self._book(contract)
        for trade in self._market.trades(contract.underlying, start_ns, end_ns, descending=descending):
            if _trades_in(book, trade.time_ns):
                yield _trade(book, trade.price, trade.time_ns)

    def sensitivities(self, symbol: str, now_ns: int) -> tuple[float, Greeks] | None:
        """Implied volatility and greeks at the underlying's standing quote; None of what is not listed."""
        contract = self.chain.find(symbol, now_ns)
        quote = None if contract is None else self._market.latest_quote(contract.underlying, now_ns)
        if contract is None or quote is None:
            return None
        book = self._book(contract)
        greeks = greeks_of(book.terms(quote.time_ns), _mid(quote))
        rounded = (round(value, _DECIMALS) for value in _values_of(greeks))
        return book.volatility, Greeks(*rounded)

    def _make_book(self, contract: Contract) -> _Book:
        key = _hash(self._seed, *contract.symbol.encode())
        level = _BASE_VOLATILITY + _VOLATILITY_SPAN * _unit(_hash(self._seed, *contract.underlying.encode()))
        distance = log(float(contract.strike_price) / UNDERLYINGS[contract.underlying][0])
        return _Book(contract, key, round(level + _SMILE * distance * distance, _DECIMALS))


def _quotes_in(book: _Book, time_ns: int) -> bool:
    return (time_ns // SLOT_NS + book.key) % SLOTS_PER_QUOTE == 0


def _trades_in(book: _Book, time_ns: int) -> bool:
    return _hash(book.key, time_ns // NANOS_PER_SECOND) % SECONDS_PER_TRADE == 0


def _quote(book: _Book, spot: float, time_ns: int) -> Quote:
    noise = _hash(book.key, time_ns)
    bid, ask = _bid_and_ask(book, spot, time_ns)
    exchange = _EXCHANGES[noise % len(_EXCHANGES)]
    return Quote(
        symbol=book.contract.symbol,
        time_ns=time_ns,
        bid_price=bid,
        bid_size=float((noise >> 8) % _SIZE_MAX + 1) if bid else 0.0,
        ask_price=ask,
        ask_size=float((noise >> 24) % _SIZE_MAX + 1),
        feed=DataFeed.OPRA,
        receive_time_ns=time_ns,
        bid_exchange=exchange,
        ask_exchange=exchange,
        conditions=_QUOTE_CONDITION,
    )


def _trade(book: _Book, spot: float, time_ns: int) -> Trade:
    noise = _hash(book.key, time_ns)
    bid, ask = _bid_and_ask(book, spot, time_ns)
    return Trade(
        symbol=book.contract.symbol,
        time_ns=time_ns,
        price=bid if bid and noise & 1 else ask,
        size=float((noise >> 8) % _TRADE_SIZE_MAX + 1),
        feed=DataFeed.OPRA,
        receive_time_ns=time_ns,
        exchange=_EXCHANGES[noise % len(_EXCHANGES)],
        conditions=_TRADE_CONDITION,
    )


def _bid_and_ask(book: _Book, spot: float, time_ns: int) -> tuple[float, float]:
    """Whole cents around the price; a bid of 0 is none."""
    fair = price_of(book.terms(time_ns), spot) * _CENTS
    half = max(1.0, fair * _SPREAD_SHARE)
    bid = max(int(fair - half), 0)
    return bid / _CENTS, max(round(fair + half), bid + 1) / _CENTS


def _mid(quote: Quote) -> float:
    return (quote.bid_price + quote.ask_price) / 2


def _time_of(event: Event) -> int:
    return event.start_time_ns if isinstance(event, Bar) else event.time_ns


def _values_of(greeks: Greeks) -> tuple[float, ...]:
    return greeks.delta, greeks.gamma, greeks.theta, greeks.vega, greeks.rho


def _hash(*parts: int) -> int:
    """64 well-mixed bits (the finalizer of splitmix64, part after part)."""
    x = 0
    for part in parts:
        x = (x * 0x9E3779B97F4A7C15 + part + 0x9E3779B97F4A7C15) & _MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
        x ^= x >> 31
    return x


def _unit(bits: int) -> float:
    return (bits >> 11) * 2.0**-53
