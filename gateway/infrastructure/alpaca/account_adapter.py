"""AccountRepository on alpaca-py: the account, its positions, and what changed it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import structlog

from gateway.domain.models.account import Account, Activity, Position
from gateway.domain.models.market_data import Page
from gateway.domain.types import AssetClass, CallContext, Venue
from gateway.infrastructure.alpaca.asset_table import AssetTable
from gateway.infrastructure.alpaca.clients import ClientFactory
from gateway.infrastructure.alpaca.converters.account import (
    account_from_alpaca,
    activity_from_alpaca,
    position_from_alpaca,
)
from gateway.infrastructure.alpaca.converters.fields import (
    JsonObject,
    as_list,
    as_object,
    exact_json,
    format_time,
    text,
)
from gateway.infrastructure.alpaca.converters.orders import asset_class_from_alpaca
from gateway.infrastructure.alpaca.transport import Answer

ACTIVITIES_PER_PAGE_MAX: Final = 100

_log = structlog.get_logger(__name__)


class AccountAdapter:
    """The account at Alpaca.

    Args:
        factory: Gives the client, and the road to it.
        assets: Tells the symbol of a crypto position or fill.
        clock_ns: Nanoseconds since the epoch.
    """

    def __init__(self, factory: ClientFactory, assets: AssetTable, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._factory = factory
        self._road = factory.road
        self._assets = assets
        self._clock_ns = clock_ns

    async def get_account(self, context: CallContext) -> Account:
        """GET /v2/account."""
        venue: Venue = self._factory.config.venue

        def account_of(answer: Answer) -> Account:
            return account_from_alpaca(exact_json(answer.body), venue, self._clock_ns())

        return await self._road.read(context, self._factory.trading(), "/account", {}, self._road.reading(account_of))

    async def list_positions(self, context: CallContext) -> list[Position]:
        """GET /v2/positions; crypto's asset ids are looked up in the asset table."""
        raw, read_time_ns = await self._road.read(
            context, self._factory.trading(), "/positions", {}, self._road.reading(self._rows)
        )
        await self._assets.ensure_ids(context, [asset_id for row in raw if (asset_id := _crypto_id(row)) is not None])
        return sorted((self._position(row, read_time_ns) for row in raw), key=lambda position: position.symbol)

    async def list_fill_activities(
        self, context: CallContext, *, after_ns: int | None = None, page_token: str = "", page_size: int = 100
    ) -> Page[Activity]:
        """GET /v2/account/activities/FILL, oldest first; a full page may have a next one."""
        size = max(1, min(page_size, ACTIVITIES_PER_PAGE_MAX))
        params: JsonObject = {"direction": "asc", "page_size": str(size)}
        if after_ns is not None:
            params["after"] = format_time(after_ns)
        if page_token:
            params["page_token"] = page_token
        items = await self._road.read(
            context, self._factory.trading(), "/account/activities/FILL", params, self._road.reading(_activities_of)
        )
        await self._assets.ensure_spellings(context, [item.symbol for item in items])
        spelled = (replace(item, symbol=self._assets.symbol_of_spelling(item.symbol)) for item in items)
        return Page(tuple(spelled), items[-1].activity_id if len(items) >= size else "")

    def _rows(self, answer: Answer) -> tuple[list[JsonObject], int]:
        # The whole row is read here once: what is malformed fails as a read, before any symbol is looked up.
        rows = [as_object(row, "position") for row in as_list(exact_json(answer.body), "positions")]
        for row in rows:
            position_from_alpaca(row, text(row, "symbol"), 0)
        return rows, self._clock_ns()

    def _position(self, row: JsonObject, read_time_ns: int) -> Position:
        asset_id = _crypto_id(row)
        if asset_id is None:
            return position_from_alpaca(row, row["symbol"], read_time_ns)
        symbol = self._assets.symbol_of_id(asset_id)
        if symbol is not None:
            return position_from_alpaca(row, symbol, read_time_ns)
        _log.warning("position_of_unknown_asset", asset_id=asset_id)
        position = position_from_alpaca(row, row["symbol"], read_time_ns)
        return replace(position, asset_class=AssetClass.UNRECOGNIZED)


def _crypto_id(row: JsonObject) -> str | None:
    is_crypto = asset_class_from_alpaca(row.get("asset_class")) is AssetClass.CRYPTO
    return text(row, "asset_id") if is_crypto else None


def _activities_of(answer: Answer) -> tuple[Activity, ...]:
    raw: list[Any] = as_list(exact_json(answer.body), "activities")
    return tuple(activity_from_alpaca(item) for item in raw)
