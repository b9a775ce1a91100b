"""Which symbols there are, and of which feed: asked before anything is subscribed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from gateway.domain.errors import GatewayError, SymbolUnknown, TooManyStreams
from gateway.domain.models.market_data import Selection
from gateway.domain.models.reference import Asset
from gateway.domain.types import AssetClass, CallContext, Channel, DataFeed, is_quoted_symbol
from gateway.services.streaming.selection import FeedChoice, check_channel, choose_feed, choose_news

ASSETS_DEADLINE_S: Final = 10.0


class Assets(Protocol):
    """What may be asked for; QuotedAssets is the implementation."""

    def find(self, symbol: str) -> Asset | None:
        """From memory; None when it is not there."""
        ...

    async def get(self, symbol: str, call: CallContext, field: str = "symbol") -> Asset:
        """Raises FieldInvalid or SymbolUnknown."""
        ...


class SymbolDesk:
    """Knows symbols and feeds.

    Args:
        stock_feed, option_feed: What "the best that the account has" means for stocks and for options.
        symbols_max: In one subscription.
        monotonic: Seconds, the clock of the event loop.
    """

    def __init__(
        self,
        assets: Assets,
        stock_feed: DataFeed,
        option_feed: DataFeed,
        symbols_max: int,
        monotonic: Callable[[], float],
    ) -> None:
        self._assets = assets
        self._stock_feed = stock_feed
        self._option_feed = option_feed
        self._symbols_max = symbols_max
        self._monotonic = monotonic

    def choose(self, selection: Selection, channel: Channel) -> FeedChoice:
        """The feed that a subscription belongs to.

        Raises:
            FieldInvalid: No symbols, two asset classes, another class's feed, or a channel that the feed does not have.
            TooManyStreams: Too many symbols.
        """
        self.check_count(selection)
        if channel is Channel.NEWS:
            return choose_news(selection)
        choice = choose_feed(selection, self._stock_feed, self._option_feed)
        check_channel(choice, channel)
        return choice

    def check_count(self, selection: Selection) -> None:
        """Refuse more symbols than one subscription has.

        Raises:
            TooManyStreams: There are.
        """
        if len(set(selection.symbols)) > self._symbols_max:
            raise TooManyStreams(
                "The subscription has too many symbols.", metadata={"symbols_per_stream_max": str(self._symbols_max)}
            )

    def knows(self, symbols: Sequence[str], choice: FeedChoice) -> bool:
        """Whether the asset table in memory has all of them, in the class of the feed."""
        return all(self._fits(symbol, self._assets.find(symbol), choice) for symbol in symbols)

    async def refusal(
        self, symbol: str, choice: FeedChoice, call: CallContext, field: str = "symbol"
    ) -> GatewayError | None:
        """Why a symbol cannot be subscribed; None when it can. One that is not about the symbol is no NotFound."""
        if self._fits(symbol, self._assets.find(symbol), choice):
            return None
        bounded = replace(call, deadline=min(call.deadline, self._monotonic() + ASSETS_DEADLINE_S))
        try:
            asset = await self._assets.get(symbol, bounded, field)
        except GatewayError as error:
            return error.with_traceback(None)  # it is kept until it is told, and all that it passed through with it
        return None if self._fits(symbol, asset, choice) else SymbolUnknown("This feed has no such symbol.")

    @staticmethod
    def _fits(symbol: str, asset: Asset | None, choice: FeedChoice) -> bool:
        if asset is None or not is_quoted_symbol(symbol):
            return False
        if choice.feed is DataFeed.NEWS:  # articles name underlyings, no contracts
            return asset.asset_class is not AssetClass.US_OPTION
        return asset.asset_class is choice.asset_class
