"""The emulator's dictionary of option contracts and their snapshots; quotes and trades are `wire`'s.

Source: schemas OptionContract of Alpaca's trading OpenAPI document, and option_snapshot of its market data one.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from gateway.domain.models.market_data import Greeks, Quote, Trade
from gateway.domain.types import format_decimal
from gateway.emulator.exchange.assets import derived_uuid
from gateway.emulator.option_chain import Contract
from gateway.emulator.wire import JsonObject, format_time, quote_fields, trade_fields

SHARES_PER_CONTRACT: Final = "100"


def contract_json(contract: Contract) -> JsonObject:
    """A contract. Nobody holds any here: open interest and closing prices, which may be absent, are."""
    return {
        "id": contract.contract_id,
        "symbol": contract.symbol,
        "name": contract.name,
        "status": "active",
        "tradable": False,
        "expiration_date": contract.expiration.isoformat(),
        "root_symbol": contract.underlying,
        "underlying_symbol": contract.underlying,
        "underlying_asset_id": derived_uuid("asset", contract.underlying),
        "type": "call" if contract.is_call else "put",
        "style": "american",
        "strike_price": format_decimal(contract.strike_price),
        "multiplier": SHARES_PER_CONTRACT,
        "size": SHARES_PER_CONTRACT,
        "ppind": True,
    }


def option_snapshot_json(
    quote: Quote | None, trade: Trade | None, sensitivities: tuple[float, Greeks] | None
) -> JsonObject:
    """What is known of a contract; parts that are not known are absent."""
    found: JsonObject = {}
    if trade is not None:
        found["latestTrade"] = trade_fields(trade, format_time(trade.time_ns))
    if quote is not None:
        found["latestQuote"] = quote_fields(quote, format_time(quote.time_ns))
    if sensitivities is not None:
        volatility, greeks = sensitivities
        found |= {"impliedVolatility": volatility, "greeks": asdict(greeks)}
    return found
