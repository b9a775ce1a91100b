"""Which symbols of a long list one page of history asks for.

An address carries a bounded number of symbols, so a longer list is read part after part, by symbol. Pages of a list
of one part have the venue's own tokens; those of a longer one say before it which part they belong to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.domain.errors import VenueUnreachable

SYMBOLS_PER_REQUEST_MAX: Final = 200
"""Keeps an address under about 2,500 characters."""
_MARK: Final = ":"


@dataclass(frozen=True, slots=True)
class HistoryPart:
    """What one page asks for.

    Attributes:
        symbols: No more than one request may name.
        number, count: Which part it is of how many, from 0.
        venue_token: The venue's own; empty for the first page of a part.
    """

    symbols: Sequence[str]
    number: int
    count: int
    venue_token: str

    def following(self, venue_token: str) -> str:
        """The token of the page after this one; empty after the last page of the last part."""
        if self.count == 1:
            return venue_token
        if venue_token:
            return f"{self.number}{_MARK}{venue_token}"
        return f"{self.number + 1}{_MARK}" if self.number + 1 < self.count else ""


def part_of(symbols: Sequence[str], page_token: str, symbols_max: int = SYMBOLS_PER_REQUEST_MAX) -> HistoryPart:
    """The part that a page belongs to, of at most `symbols_max`.

    Raises:
        VenueUnreachable: The token belongs to no page of this list.
    """
    count = max(1, -(-len(symbols) // symbols_max))
    if count == 1:
        return HistoryPart(symbols, 0, 1, page_token)
    number, venue_token = _read(page_token) if page_token else (0, "")
    if not 0 <= number < count:
        raise VenueUnreachable("the venue does not know this page token")
    first = number * symbols_max
    return HistoryPart(sorted(symbols)[first : first + symbols_max], number, count, venue_token)


def _read(page_token: str) -> tuple[int, str]:
    number, mark, venue_token = page_token.partition(_MARK)
    if not (mark and number.isascii() and number.isdecimal() and len(number) <= 3):
        return -1, ""
    return int(number), venue_token
