"""Where Alpaca serves market data: paths and parameters of each feed, under the address of its asset class.

Source: Alpaca's market data OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.domain.types import DataFeed
from gateway.infrastructure.alpaca.converters.market_data import OPTION_FEED, STOCK_FEED
from gateway.infrastructure.alpaca.history_parts import SYMBOLS_PER_REQUEST_MAX

OPTIONS_PER_REQUEST_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class MarketRoutes:
    """The routes of one feed.

    Attributes:
        latest, history: Of a noun, as `quotes`, which stands for {}.
        snapshots_wrapped: Whether the answer has the snapshots in a member of this name, or bare.
        latest_params, history_params: What names the feed.
        snapshots_params: What a request for snapshots says beside.
        symbols_max: In one request.
        is_adjusted: Whether prices may be adjusted, and symbols read as they were named on a day.
    """

    latest: str
    history: str
    snapshots: str
    snapshots_wrapped: bool
    latest_params: Mapping[str, str] = field(default_factory=dict)
    history_params: Mapping[str, str] = field(default_factory=dict)
    snapshots_params: Mapping[str, str] = field(default_factory=dict)
    symbols_max: int = SYMBOLS_PER_REQUEST_MAX
    is_adjusted: bool = False


def _stocks(feed: DataFeed) -> MarketRoutes:
    named = {"feed": STOCK_FEED[feed]}
    return MarketRoutes("/stocks/{}/latest", "/stocks/{}", "/stocks/snapshots", False, named, named, is_adjusted=True)


def _options(feed: DataFeed) -> MarketRoutes:
    named = {"feed": OPTION_FEED[feed]}
    return MarketRoutes(
        "/options/{}/latest",
        "/options/{}",
        "/options/snapshots",
        True,
        named,
        snapshots_params={"limit": str(OPTIONS_PER_REQUEST_MAX)},  # which come in pages, unlike the others
        symbols_max=OPTIONS_PER_REQUEST_MAX,
    )


ROUTES: Final[Mapping[DataFeed, MarketRoutes]] = {
    **{feed: _stocks(feed) for feed in STOCK_FEED},
    **{feed: _options(feed) for feed in OPTION_FEED},
    DataFeed.CRYPTO_US: MarketRoutes("/crypto/us/latest/{}", "/crypto/us/{}", "/crypto/us/snapshots", True),
}
