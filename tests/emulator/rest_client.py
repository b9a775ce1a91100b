"""A plain HTTP client for tests of the emulator: requests without its look at the environment."""

from __future__ import annotations

import json
from typing import Any

import requests

from tests.emulator.host import RunningEmulator

KEYS = {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}


class RestClient:
    """Asks one emulator; answers are requests' own."""

    def __init__(self, emulator: RunningEmulator) -> None:
        self._emulator = emulator
        self._session = requests.Session()
        self._session.trust_env = False

    def ask(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> requests.Response:
        """One request, with credentials unless other headers are given."""
        chosen = KEYS if headers is None else headers
        return self._session.request(method, self._emulator.url + path, headers=chosen, **{"timeout": 10, **options})

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of a GET that succeeds."""
        response = self.ask("GET", path, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    def order(self, **fields: Any) -> requests.Response:
        """POST /v2/orders; a far limit buy unless other fields are given."""
        usual = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "limit", "limit_price": "100",
                 "time_in_force": "gtc"}  # fmt: skip
        body = {name: value for name, value in {**usual, **fields}.items() if value is not None}
        return self.ask("POST", "/v2/orders", data=json.dumps(body))

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()
