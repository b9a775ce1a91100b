"""account.proto: the account and its positions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.domain.models.account import Account, Position
from gateway.domain.models.quota import Quota
from gateway.domain.types import format_decimal
from gateway.servicers.wire.common import (
    ASSET_CLASS,
    VENUE,
    RequestReader,
    duration_to_proto,
    optional_decimal_to_proto,
    optional_timestamp_to_proto,
    timestamp_to_proto,
)
from trading_gateway.v1 import account_pb2 as pb

ACCOUNT_NUMBER_SHOWN: Final = 4
"""Characters of an account number that stay readable; the rest is masked."""


def staleness_from_proto(request: pb.GetAccountRequest | pb.ListPositionsRequest) -> int | None:
    """How old the answer may be, in milliseconds; None when the caller does not say; FieldInvalid."""
    reader = RequestReader()
    max_staleness_ms = _staleness(reader, request)
    reader.finish()
    return max_staleness_ms


def position_request_from_proto(request: pb.GetPositionRequest) -> tuple[str, int | None]:
    """Which position, and how old the answer may be, in milliseconds; FieldInvalid with every bad field."""
    reader = RequestReader()
    symbol = reader.symbol("symbol", request.symbol)
    max_staleness_ms = _staleness(reader, request)
    reader.finish()
    return symbol, max_staleness_ms


def _staleness(
    reader: RequestReader, request: pb.GetAccountRequest | pb.ListPositionsRequest | pb.GetPositionRequest
) -> int | None:
    if not request.HasField("max_staleness"):
        return None
    return reader.duration_ms("max_staleness", request.max_staleness, least_ms=0)


def mask(account_number: str) -> str:
    """The number with all but its last characters hidden; a short one is hidden whole."""
    hidden = len(account_number) - ACCOUNT_NUMBER_SHOWN
    return "*" * hidden + account_number[hidden:] if hidden > 0 else "*" * len(account_number)


def account_to_proto(account: Account, *, shows_number: bool = False) -> pb.Account:
    """The account; its number masked, unless the caller may see the whole of it."""
    return pb.Account(
        account_id=account.account_id,
        account_number=account.account_number if shows_number else mask(account.account_number),
        venue=VENUE[account.venue],
        status=account.status,
        crypto_status=account.crypto_status,
        currency_code=account.currency_code,
        cash=format_decimal(account.cash),
        equity=format_decimal(account.equity),
        last_equity=optional_decimal_to_proto(account.last_equity),
        buying_power=format_decimal(account.buying_power),
        regt_buying_power=optional_decimal_to_proto(account.regt_buying_power),
        daytrading_buying_power=optional_decimal_to_proto(account.daytrading_buying_power),
        options_buying_power=optional_decimal_to_proto(account.options_buying_power),
        non_marginable_buying_power=optional_decimal_to_proto(account.non_marginable_buying_power),
        long_market_value=optional_decimal_to_proto(account.long_market_value),
        short_market_value=optional_decimal_to_proto(account.short_market_value),
        initial_margin=optional_decimal_to_proto(account.initial_margin),
        maintenance_margin=optional_decimal_to_proto(account.maintenance_margin),
        last_maintenance_margin=optional_decimal_to_proto(account.last_maintenance_margin),
        sma=optional_decimal_to_proto(account.sma),
        accrued_fees=optional_decimal_to_proto(account.accrued_fees),
        pending_regulatory_fees=optional_decimal_to_proto(account.pending_regulatory_fees),
        multiplier=account.multiplier,
        daytrade_count=account.daytrade_count,
        pattern_day_trader=account.pattern_day_trader,
        shorting_enabled=account.shorting_enabled,
        trading_blocked=account.trading_blocked,
        transfers_blocked=account.transfers_blocked,
        account_blocked=account.account_blocked,
        trade_suspended_by_user=account.trade_suspended_by_user,
        options_approved_level=account.options_approved_level,
        options_trading_level=account.options_trading_level,
        create_time=optional_timestamp_to_proto(account.create_time_ns),
        read_time=timestamp_to_proto(account.read_time_ns),
    )


def position_to_proto(position: Position) -> pb.Position:
    """What is held of one symbol."""
    return pb.Position(
        symbol=position.symbol,
        asset_class=ASSET_CLASS[position.asset_class],
        asset_id=position.asset_id,
        exchange=position.exchange,
        marginable=position.marginable,
        quantity=format_decimal(position.quantity),
        available_quantity=format_decimal(position.available_quantity),
        average_entry_price=format_decimal(position.average_entry_price),
        cost_basis=format_decimal(position.cost_basis),
        current_price=optional_decimal_to_proto(position.current_price),
        lastday_price=optional_decimal_to_proto(position.lastday_price),
        change_today=optional_decimal_to_proto(position.change_today),
        market_value=optional_decimal_to_proto(position.market_value),
        unrealized_pl=optional_decimal_to_proto(position.unrealized_pl),
        unrealized_pl_ratio=optional_decimal_to_proto(position.unrealized_pl_ratio),
        unrealized_intraday_pl=optional_decimal_to_proto(position.unrealized_intraday_pl),
        unrealized_intraday_pl_ratio=optional_decimal_to_proto(position.unrealized_intraday_pl_ratio),
    )


def positions_to_proto(positions: tuple[Position, ...], read_time_ns: int) -> pb.ListPositionsResponse:
    """All positions, and when the venue said so."""
    return pb.ListPositionsResponse(
        positions=map(position_to_proto, positions), read_time=timestamp_to_proto(read_time_ns)
    )


def quotas_to_proto(quotas: Iterable[Quota]) -> pb.GetQuotaResponse:
    """The budgets, in the order that they are given in."""
    return pb.GetQuotaResponse(quota=pb.Quota(buckets=map(_bucket_to_proto, quotas)))


def _bucket_to_proto(quota: Quota) -> pb.Quota.Bucket:
    return pb.Quota.Bucket(
        name=quota.name,
        limit=quota.limit,
        remaining=quota.remaining,
        window=None if quota.window_ms is None else duration_to_proto(quota.window_ms),
        reset_time=optional_timestamp_to_proto(quota.reset_time_ns),
    )
