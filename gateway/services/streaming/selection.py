"""Which feed a list of symbols belongs to. One request names symbols of one asset class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gateway.domain.errors import FieldInvalid, FieldViolation
from gateway.domain.models.market_data import Selection
from gateway.domain.types import AssetClass, Channel, DataFeed, asset_class_of, is_quoted_symbol

OPTION_CHANNELS: Final = frozenset({Channel.QUOTES, Channel.TRADES})
"""What the venue streams of options."""
FOREIGN_CHANNELS: Final[Mapping[AssetClass, frozenset[Channel]]] = MappingProxyType(
    {
        AssetClass.US_EQUITY: frozenset({Channel.ORDER_BOOKS}),
        AssetClass.CRYPTO: frozenset({Channel.TRADING_STATUS, Channel.LULD}),
    }
)
"""What the venue does not stream of stocks, and of crypto."""


@dataclass(frozen=True, slots=True)
class FeedChoice:
    """The feed that a request is answered from. News has no `asset_class`: its symbols are of several."""

    asset_class: AssetClass | None
    feed: DataFeed


def choose_feed(selection: Selection, stock_feed: DataFeed, option_feed: DataFeed = DataFeed.INDICATIVE) -> FeedChoice:
    """The feed of a selection; malformed symbols do not count, they are refused elsewhere.

    Args:
        selection: What the request says.
        stock_feed: What "the best that the account has" means for stocks.
        option_feed: The same for options.

    Raises:
        FieldInvalid: No symbols, symbols of two classes, or a feed or class that is not theirs.
    """
    if not selection.symbols:
        raise _invalid("symbols", "is required")
    asset_class, feed = selection.asset_class, selection.feed
    if asset_class is None and feed is not None:
        asset_class = feed.asset_class
    for position, symbol in enumerate(selection.symbols):
        if not is_quoted_symbol(symbol):
            continue
        if asset_class is None:
            asset_class = asset_class_of(symbol)
        elif asset_class_of(symbol) is not asset_class:
            raise _invalid(f"symbols[{position}]", "is of another asset class than the rest of the request")
    if asset_class is None:
        asset_class = AssetClass.US_EQUITY
    if feed is None:
        best = {AssetClass.CRYPTO: DataFeed.CRYPTO_US, AssetClass.US_OPTION: option_feed}
        feed = best.get(asset_class, stock_feed)
    elif feed.asset_class is not asset_class:
        raise _invalid("feed", "is a feed of another asset class")
    return FeedChoice(asset_class, feed)


def choose_news(selection: Selection) -> FeedChoice:
    """The one feed of articles; which symbols they may be about is told symbol by symbol.

    Raises:
        FieldInvalid: No symbols, or a feed or an asset class, of which news has none.
    """
    if not selection.symbols:
        raise _invalid("symbols", "is required")
    if selection.feed is not None:
        raise _invalid("feed", "is not chosen for news, which has one")
    if selection.asset_class is not None:
        raise _invalid("asset_class", "is not chosen for news, which is about all of them")
    return FeedChoice(None, DataFeed.NEWS)


def refuse_options(choice: FeedChoice, description: str) -> None:
    """Refuse what the venue does not have of options, as `have no past quotes`.

    Raises:
        FieldInvalid: The request is about options.
    """
    if choice.asset_class is AssetClass.US_OPTION:
        raise _invalid("symbols", f"are of options, which {description}")


def check_channel(choice: FeedChoice, channel: Channel) -> None:
    """Refuse a live channel that the venue does not have of an asset class.

    Raises:
        FieldInvalid: It has none.
    """
    if channel not in OPTION_CHANNELS:
        refuse_options(choice, "have live quotes and trades alone")
    if choice.asset_class and channel in FOREIGN_CHANNELS.get(choice.asset_class, ()):
        raise _invalid("channel", "is not one of this asset class")


def _invalid(field: str, description: str) -> FieldInvalid:
    return FieldInvalid.of([FieldViolation(field, description)])
