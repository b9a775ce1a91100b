"""How option contracts are spelled: the OCC's symbols without their blanks, `AAPL261218C00200000`.

Root, date of expiration as YYMMDD, C or P, and the strike price in thousandths of a dollar with eight digits. This
is the one spelling here; others are refused, and the right one is named. Whether there is such a contract is the
venue's to say.

Source: The Options Clearing Corporation, Options Symbology Initiative (2010).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

_SYMBOL = re.compile(r"([A-Z][A-Z0-9]{0,5})([0-9]{2})([0-9]{2})([0-9]{2})([CP])([0-9]{8})", re.ASCII)
_CENTURY: Final = 2000
_LENGTH_MIN: Final = 16
_LENGTH_MAX: Final = 21
_ROOT_LENGTH_MAX: Final = 6
_STRIKE_SCALE: Final = Decimal(1000)
_VENDOR_PREFIX: Final = "O:"


@dataclass(frozen=True, slots=True)
class OptionSymbol:
    """What a contract's symbol says.

    Attributes:
        root: The underlying's symbol; with a digit at its end where a corporate action changed what is delivered.
        strike_price: US dollars per share.
    """

    root: str
    expiration: date
    is_call: bool
    strike_price: Decimal

    def __str__(self) -> str:
        day, kind = self.expiration.strftime("%y%m%d"), "C" if self.is_call else "P"
        return f"{self.root}{day}{kind}{int(self.strike_price * _STRIKE_SCALE):08d}"


def parse_option_symbol(text: str) -> OptionSymbol | None:
    """The parts of a contract's symbol; None when the text is none."""
    if not _LENGTH_MIN <= len(text) <= _LENGTH_MAX:
        return None
    match = _SYMBOL.fullmatch(text)
    if match is None:
        return None
    root, year, month, day, kind, strike = match.groups()
    try:
        expiration = date(_CENTURY + int(year), int(month), int(day))
    except ValueError:
        return None
    price = Decimal(int(strike)) / _STRIKE_SCALE
    return OptionSymbol(root, expiration, kind == "C", price) if price else None


def option_symbol_meant(text: str) -> str:
    """The right spelling of what is one in others' spelling (blanks, lower case, `O:`); empty otherwise."""
    if len(text) > len(_VENDOR_PREFIX) + _LENGTH_MAX + _ROOT_LENGTH_MAX:
        return ""
    letters = "".join(text.upper().removeprefix(_VENDOR_PREFIX).split())
    return letters if parse_option_symbol(letters) is not None else ""
