"""Pages of market history: `limit` items over all symbols, symbol after symbol, and a token for the next.

A token is where the next item stands: its symbol, its time, and how many items of the same symbol and time came
before it; so pages neither repeat nor skip anything, whatever happens at one instant. It is opaque to clients.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Generic, TypeVar

from gateway.emulator.rest.answers import HttpError

TOKEN_LENGTH_MAX: Final = 256
Item = TypeVar("Item")
Series = Callable[[str, int, int], Iterable[Item]]
"""(symbol, from ns, to ns) → items in the page's order."""


@dataclass(frozen=True, slots=True)
class PageToken:
    """Where a page begins."""

    symbol: str
    time_ns: int
    skip: int

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{self.symbol}|{self.time_ns}|{self.skip}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Window:
    """What a request asks for, ns; `descending` turns the order around."""

    start_ns: int
    end_ns: int
    limit: int
    descending: bool
    token: PageToken | None


@dataclass(frozen=True, slots=True)
class HistoryPage(Generic[Item]):
    """One page; symbols without items are absent."""

    items: dict[str, list[Item]]
    next_token: PageToken | None

    @property
    def token_text(self) -> str:
        """The next page's token as text; empty at the end."""
        return "" if self.next_token is None else str(self.next_token)

    def all_items(self) -> Iterator[Item]:
        """Symbol after symbol."""
        return chain.from_iterable(self.items.values())


def parse_token(text: str) -> PageToken | None:
    """Read a token; None for an empty one.

    Raises:
        HttpError: When it is none of ours.
    """
    if not text:
        return None
    try:
        raw = base64.urlsafe_b64decode(text[:TOKEN_LENGTH_MAX].encode()).decode()
        symbol, time_text, skip_text = raw.split("|")
        return PageToken(symbol, int(time_text), int(skip_text))
    except (ValueError, binascii.Error):
        raise HttpError(400, {"message": "invalid page_token"}) from None


def read_page(
    symbols: Sequence[str], window: Window, series: Series[Item], time_of: Callable[[Item], int]
) -> HistoryPage[Item]:
    """Fill one page, symbols in alphabetical order."""
    items: dict[str, list[Item]] = {}
    remaining, token = window.limit, window.token
    for symbol in sorted(symbols):
        if token is not None and symbol < token.symbol:
            continue
        resumed = token if token is not None and symbol == token.symbol else None
        taken, following = _take(symbol, window, resumed, remaining, series, time_of)
        if taken:
            items[symbol] = taken
        if following is not None:
            return HistoryPage(items, following)
        remaining -= len(taken)
    return HistoryPage(items, None)


def _take(
    symbol: str,
    window: Window,
    resumed: PageToken | None,
    remaining: int,
    series: Series[Item],
    time_of: Callable[[Item], int],
) -> tuple[list[Item], PageToken | None]:
    """Items of one symbol, and where to go on when they do not all fit."""
    start_ns, end_ns = window.start_ns, window.end_ns
    last_ns, same, skip = -1, 0, 0
    if resumed is not None:
        start_ns, end_ns = (start_ns, resumed.time_ns) if window.descending else (resumed.time_ns, end_ns)
        last_ns, same, skip = resumed.time_ns, resumed.skip, resumed.skip
    taken: list[Item] = []
    for item in series(symbol, start_ns, end_ns):
        time_ns = time_of(item)
        if skip and time_ns == last_ns:
            skip -= 1
            continue
        if len(taken) == remaining:
            return taken, PageToken(symbol, time_ns, same if time_ns == last_ns else 0)
        same = same + 1 if time_ns == last_ns else 1
        last_ns = time_ns
        taken.append(item)
    return taken, None
