"""The services: one noun each, over the repositories."""

from __future__ import annotations

from injector import Module, provider, singleton

from gateway.config import Settings
from gateway.container.settings import Clocks
from gateway.domain.interfaces import AccountRepository, MarketDataRepository, StreamingRepository, TradingRepository
from gateway.domain.types import MS_PER_SECOND
from gateway.servicers.frames import FrameEncoder
from gateway.services.account import AccountService, BalanceService
from gateway.services.cache import CacheService
from gateway.services.history import HistoryService
from gateway.services.latest_reads import LatestReads
from gateway.services.market_data import PriceService, QuoteService
from gateway.services.option_contracts import OptionContracts, QuotedAssets
from gateway.services.recovery import ErrorService
from gateway.services.reference import AssetService, MarketCalendarService
from gateway.services.streaming import HubTimes, StreamingService, StreamLimits, WatchTimes
from gateway.services.trading import OrderService, PositionService
from gateway.services.validation import ValidationService


class ServicesModule(Module):
    """One noun each."""

    @provider
    @singleton
    def cache(self, clocks: Clocks) -> CacheService:
        """Time-bounded reads."""
        return CacheService(clocks.monotonic)

    @provider
    @singleton
    def errors(self, clocks: Clocks) -> ErrorService:
        """What is tried again."""
        return ErrorService(clocks.wall, clocks.monotonic, clocks.sleep)

    @provider
    @singleton
    def validation(self) -> ValidationService:
        """The closed table of legal orders."""
        return ValidationService()

    @provider
    @singleton
    def assets(
        self, repository: MarketDataRepository, cache: CacheService, errors: ErrorService, clocks: Clocks
    ) -> AssetService:
        """What can be traded."""
        return AssetService(repository, cache, errors, clocks.monotonic)

    @provider
    @singleton
    def quoted_assets(
        self,
        assets: AssetService,
        repository: MarketDataRepository,
        cache: CacheService,
        errors: ErrorService,
        clocks: Clocks,
    ) -> QuotedAssets:
        """What has market data: option contracts too."""
        return QuotedAssets(assets, OptionContracts(repository, cache, errors, clocks.monotonic))

    @provider
    @singleton
    def calendar(
        self, repository: MarketDataRepository, cache: CacheService, errors: ErrorService
    ) -> MarketCalendarService:
        """When."""
        return MarketCalendarService(repository, cache, errors)

    @provider
    @singleton
    def accounts(
        self, repository: AccountRepository, cache: CacheService, errors: ErrorService, settings: Settings
    ) -> AccountService:
        """The account."""
        return AccountService(repository, cache, errors, settings.default_staleness_ms)

    @provider
    @singleton
    def balances(self, accounts: AccountService, clocks: Clocks) -> BalanceService:
        """Buying power less orders in flight."""
        return BalanceService(accounts, clocks.monotonic)

    @provider
    @singleton
    def orders(self, repository: TradingRepository, accounts: AccountRepository, errors: ErrorService) -> OrderService:
        """Orders at the venue."""
        return OrderService(repository, accounts, errors)

    @provider
    @singleton
    def positions(
        self,
        repository: AccountRepository,
        cache: CacheService,
        errors: ErrorService,
        settings: Settings,
        clocks: Clocks,
    ) -> PositionService:
        """What the account holds."""
        return PositionService(repository, cache, errors, clocks.wall, clocks.monotonic, settings.default_staleness_ms)

    @provider
    @singleton
    def streaming(
        self,
        streaming: StreamingRepository,
        market_data: MarketDataRepository,
        assets: QuotedAssets,
        errors: ErrorService,
        calendar: MarketCalendarService,
        settings: Settings,
        clocks: Clocks,
    ) -> StreamingService:
        """The quote corridor."""
        return StreamingService(
            streaming,
            market_data,
            assets,
            errors,
            FrameEncoder(),
            stock_feed=settings.stock_feed,
            option_feed=settings.option_feed,
            wall=clocks.wall,
            monotonic=clocks.monotonic,
            limits=StreamLimits(
                settings.symbols_per_stream_max,
                settings.unread_values_max,
                settings.price_symbols_max,
                HubTimes(watch=WatchTimes(delay_max_s=settings.feed_delay_max_ms / MS_PER_SECOND)),
            ),
            calendar=calendar,
        )

    @provider
    @singleton
    def latest_reads(
        self,
        streaming: StreamingService,
        assets: QuotedAssets,
        cache: CacheService,
        errors: ErrorService,
        settings: Settings,
        clocks: Clocks,
    ) -> LatestReads:
        """Newest values, from the stream or the venue."""
        return LatestReads(
            streaming,
            assets,
            cache,
            errors,
            stock_feed=settings.stock_feed,
            option_feed=settings.option_feed,
            default_staleness_ms=settings.default_staleness_ms,
            wall=clocks.wall,
            monotonic=clocks.monotonic,
        )

    @provider
    @singleton
    def quotes(
        self,
        repository: MarketDataRepository,
        streaming: StreamingService,
        reads: LatestReads,
        settings: Settings,
        clocks: Clocks,
    ) -> QuoteService:
        """Latest quotes, vouched or not."""
        return QuoteService(
            repository,
            streaming,
            reads,
            stock_feed=settings.stock_feed,
            option_feed=settings.option_feed,
            monotonic=clocks.monotonic,
            price_wait_ms=settings.reference_price_wait_ms,
        )

    @provider
    @singleton
    def prices(self, repository: MarketDataRepository, streaming: StreamingService, reads: LatestReads) -> PriceService:
        """Trades, bars, snapshots."""
        return PriceService(repository, streaming, reads)

    @provider
    @singleton
    def history(
        self, repository: MarketDataRepository, reads: LatestReads, errors: ErrorService, clocks: Clocks
    ) -> HistoryService:
        """Past quotes, trades and bars."""
        return HistoryService(repository, reads, errors, wall=clocks.wall, monotonic=clocks.monotonic)
