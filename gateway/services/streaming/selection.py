"""Which feed a list of symbols belongs to. One request names symbols of one asset class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gateway.domain.errors import FieldInvalid, FieldViolation
from gateway.domain.models.market_data import Selection
from gateway.domain.types import AssetClass, DataFeed, asset_class_of, is_symbol

CLASS_OF_FEED: Final[Mapping[DataFeed, AssetClass]] = MappingProxyType(
    {
        DataFeed.IEX: AssetClass.US_EQUITY,
        DataFeed.SIP: AssetClass.US_EQUITY,
        DataFeed.CRYPTO_US: AssetClass.CRYPTO,
    }
)


@dataclass(frozen=True, slots=True)
class FeedChoice:
    """The feed that a request is answered from."""

    asset_class: AssetClass
    feed: DataFeed


def choose_feed(selection: Selection, stock_feed: DataFeed) -> FeedChoice:
    """The feed of a selection; malformed symbols do not count, they are refused elsewhere.

    Args:
        selection: What the request says.
        stock_feed: What "the best that the account has" means for stocks.

    Raises:
        FieldInvalid: No symbols, symbols of two classes, or a feed or class that is not theirs.
    """
    if not selection.symbols:
        raise _invalid("symbols", "is required")
    asset_class, feed = selection.asset_class, selection.feed
    if asset_class is None and feed is not None:
        asset_class = CLASS_OF_FEED[feed]
    for position, symbol in enumerate(selection.symbols):
        if not is_symbol(symbol):
            continue
        if asset_class is None:
            asset_class = asset_class_of(symbol)
        elif asset_class_of(symbol) is not asset_class:
            raise _invalid(f"symbols[{position}]", "is of another asset class than the rest of the request")
    if asset_class is None:
        asset_class = AssetClass.US_EQUITY
    if feed is None:
        feed = DataFeed.CRYPTO_US if asset_class is AssetClass.CRYPTO else stock_feed
    elif CLASS_OF_FEED[feed] is not asset_class:
        raise _invalid("feed", "is a feed of another asset class")
    return FeedChoice(asset_class, feed)


def _invalid(field: str, description: str) -> FieldInvalid:
    return FieldInvalid.of([FieldViolation(field, description)])
