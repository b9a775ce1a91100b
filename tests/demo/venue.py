"""What the venues of the demo know, and what they are told to do wrong: asked over their own wire."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import Any, Final

KEYS: Final = {"APCA-API-KEY-ID": "demo-key", "APCA-API-SECRET-KEY": "demo-secret"}
"""Any will do: these emulators know no others."""

LOST_ANSWERS: Final = 4
"""alpaca-py asks four times in all: every answer is lost, none of the orders."""

_PAGE: Final = 100
_PAGES_MAX: Final = 20
_TIMEOUT_S: Final = 5


def orders_at(venue: str) -> int:
    """How many orders the venue itself has, whatever the programs believe."""
    return len(_read(f"{venue}/v2/orders?status=all"))


def executions_at(venue: str, symbol: str) -> list[str]:
    """The quantities of the executions in a symbol, oldest first, whatever the programs have seen of them."""
    found: list[str] = []
    token = ""
    for _ in range(_PAGES_MAX):
        query = {"direction": "asc", "page_size": str(_PAGE)} | ({"page_token": token} if token else {})
        page = _read(f"{venue}/v2/account/activities/FILL?{urllib.parse.urlencode(query)}")
        found += [execution["qty"] for execution in page if execution["symbol"] == symbol]
        if len(page) < _PAGE:
            return found
        token = page[-1]["id"]
    raise RuntimeError(f"the venue has more than {_PAGE * _PAGES_MAX} executions")


def lose_answers(venue: str) -> None:
    """Let the venue accept the next orders and answer 504."""
    fault = {"fault": "http_504_accepted", "route": "POST /v2/orders", "count": LOST_ANSWERS}
    request = urllib.request.Request(f"{venue}/emulator/v1/faults", json.dumps(fault).encode(), method="POST")
    urllib.request.urlopen(request, timeout=_TIMEOUT_S).close()


def lost_at(venue: str) -> int:
    """How many answers the venue really lost."""
    return sum(fault["fired"] for fault in _read(f"{venue}/emulator/v1/faults"))


def _read(url: str) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, headers=KEYS), timeout=_TIMEOUT_S) as response:
        return json.load(response)
