"""Symbols that fell silent on a feed that otherwise flows: a subscription that the venue lost looks like a thin stock.

Promises that a symbol is suspected by its own habit alone: it changed at each of several looks, and now for two
looks not at all. Leaves to `silence` to ask the venue whether there was something to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LOOK_INTERVAL_S: Final = 10.0
"""Between two looks at which symbols have a newer value than at the last."""
BUSY_LOOKS_MIN: Final = 3
"""A symbol that had news at so many looks in a row is expected to have them."""
SILENT_LOOKS_MIN: Final = 2
"""And is suspected after so many looks without."""


class StraySymbols:
    """The looks at one channel."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._busy: dict[str, int] = {}
        self._silent: dict[str, int] = {}

    def look(self, held: Mapping[str, int]) -> list[str]:
        """Take the time of each symbol's newest value in; the symbols that are suspected from this look on."""
        suspected = []
        for symbol, time_ns in held.items():
            if self._times.get(symbol) != time_ns:
                busy = self._busy.get(symbol, 0) + 1
                self._busy[symbol] = busy if not self._silent.get(symbol) else 1
                self._silent[symbol] = 0
                continue
            self._silent[symbol] = self._silent.get(symbol, 0) + 1
            if self._silent[symbol] == SILENT_LOOKS_MIN and self._busy.get(symbol, 0) >= BUSY_LOOKS_MIN:
                suspected.append(symbol)
        self._times = dict(held)
        for counts in (self._busy, self._silent):
            for symbol in counts.keys() - held.keys():
                del counts[symbol]
        return suspected
