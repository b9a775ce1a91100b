"""The one spelling of option contracts."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from gateway.domain.option_symbols import OptionSymbol, option_symbol_meant, parse_option_symbol
from gateway.domain.types import AssetClass, asset_class_of, is_quoted_symbol, is_symbol


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("AAPL261218C00200000", OptionSymbol("AAPL", date(2026, 12, 18), True, Decimal(200))),
        ("F260116P00012500", OptionSymbol("F", date(2026, 1, 16), False, Decimal("12.5"))),
        ("SPXW240327P04925000", OptionSymbol("SPXW", date(2024, 3, 27), False, Decimal(4925))),
        ("AAPL1240229C00000001", OptionSymbol("AAPL1", date(2024, 2, 29), True, Decimal("0.001"))),
        ("GOOGLX261218C99999999", OptionSymbol("GOOGLX", date(2026, 12, 18), True, Decimal("99999.999"))),
    ],
)
def test_the_parts_of_a_symbol_are_read_and_written_back(text: str, parts: OptionSymbol) -> None:
    assert parse_option_symbol(text) == parts
    assert str(parts) == text
    assert asset_class_of(text) is AssetClass.US_OPTION
    assert is_quoted_symbol(text)
    assert not is_symbol(text), "no order is for it"


@pytest.mark.parametrize(
    "text",
    [
        "", "AAPL", "BTC/USD", "261218C00200000", "AAPL261318C00200000", "AAPL260230C00200000", "AAPL250229C00200000",
        "AAPL261218X00200000", "AAPL261218C0020000", "AAPL261218C002000000", "AAPL261218C00000000",
        "TOOLONG261218C00200000", "1APL261218C00200000", "AAPL２61218C00200000", "aapl261218C00200000",
        "AAPL  261218C00200000", "O:AAPL261218C00200000", "AAPL261218C00200000\n", "A" * 5_000,
    ],
)  # fmt: skip
def test_another_text_is_none(text: str) -> None:
    assert parse_option_symbol(text) is None


@pytest.mark.parametrize(
    "text", ["aapl261218c00200000", "AAPL  261218C00200000", "O:AAPL261218C00200000", "o:aapl 261218C00200000"]
)
def test_others_spellings_are_understood_and_not_taken(text: str) -> None:
    assert option_symbol_meant(text) == "AAPL261218C00200000"
    assert parse_option_symbol(text) is None


@pytest.mark.parametrize("text", ["", "AAPL", "AAPL261318C00200000", " " * 40 + "AAPL261218C00200000", "<b>" * 9])
def test_what_means_no_contract_is_not_guessed(text: str) -> None:
    assert option_symbol_meant(text) == ""
