"""Whoever reads what others wrote answers or refuses, in a bounded time, whatever comes."""

from __future__ import annotations

from typing import Final

import pytest

from tests.fuzz.parsers import PARSERS
from tests.fuzz.parsing import try_parser

EXAMPLES: Final = 80
"""For each parser, the same every time; `make fuzz` takes others, for as long as there is time."""


@pytest.mark.parametrize("name", PARSERS)
def test_whatever_comes_is_read_or_refused(name: str) -> None:
    assert try_parser(name, EXAMPLES).cases >= EXAMPLES // 2
