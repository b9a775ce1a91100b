"""alpaca-py's REST clients with the gateway's one hook mixed in. Importing this module imports alpaca.

They are used for what they know: the address of each API, its version, and how a verb becomes a request.
Their request models (floats) and answer models (strict enums) are not used.
"""

from __future__ import annotations

from typing import Final

from alpaca.data.historical.crypto import CryptoHistoricalDataClient
from alpaca.data.historical.option import OptionHistoricalDataClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.trading.client import TradingClient

from gateway.infrastructure.alpaca.http import OneRequest, RestClient
from gateway.infrastructure.alpaca.transport import Transport

HELD_ELSEWHERE: Final = "held-by-the-transport"
"""What alpaca-py is given for a key and a secret: it insists on some, and must not hold the real ones."""


class GatewayTradingClient(OneRequest, TradingClient):  # type: ignore[misc]  # the hook answers with more
    """Orders, positions, account, assets, clock and calendar: /v2 of the trading host."""

    def __init__(self, url: str) -> None:
        super().__init__(HELD_ELSEWHERE, HELD_ELSEWHERE, raw_data=True, url_override=url)


class GatewayStockClient(OneRequest, StockHistoricalDataClient):  # type: ignore[misc]  # as above
    """Market data of equities: /v2 of the data host."""

    def __init__(self, url: str) -> None:
        super().__init__(HELD_ELSEWHERE, HELD_ELSEWHERE, raw_data=True, url_override=url)


class GatewayCryptoClient(OneRequest, CryptoHistoricalDataClient):  # type: ignore[misc]  # as above
    """Market data of crypto: /v1beta3 of the data host."""

    def __init__(self, url: str) -> None:
        super().__init__(HELD_ELSEWHERE, HELD_ELSEWHERE, raw_data=True, url_override=url)


class GatewayOptionClient(OneRequest, OptionHistoricalDataClient):  # type: ignore[misc]  # as above
    """Market data of options: /v1beta1 of the data host."""

    def __init__(self, url: str) -> None:
        super().__init__(HELD_ELSEWHERE, HELD_ELSEWHERE, raw_data=True, url_override=url)


_Client = GatewayTradingClient | GatewayStockClient | GatewayCryptoClient | GatewayOptionClient
_CLASSES: Final[dict[str, type[_Client]]] = {
    "trading": GatewayTradingClient,
    "stocks": GatewayStockClient,
    "crypto": GatewayCryptoClient,
    "options": GatewayOptionClient,
}


def new_client(name: str, url: str, transport: Transport) -> RestClient:
    """A client of one kind, sending through the transport."""
    client = _CLASSES[name](url)
    client.join(transport)
    return client
