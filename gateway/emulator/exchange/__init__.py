"""The simulated exchange: a pure state machine of one account at one venue.

`exchange.SimulatedExchange` is the whole; the modules beside it are its parts: `orders` the nouns, `validation` the
rules of single orders, `matching` prices and fills, `account` money and positions, `sessions` the hours.
"""

from gateway.emulator.exchange.assets import AssetTable, make_asset, make_assets, position_symbol
from gateway.emulator.exchange.config import (
    AccountConfiguration,
    ExchangeConfig,
    ReplaceQuantity,
    SessionRule,
    StopTrigger,
    UnfilledAuction,
)
from gateway.emulator.exchange.exchange import SimulatedExchange
from gateway.emulator.exchange.history import PortfolioHistory
from gateway.emulator.exchange.orders import (
    ExchangeOrder,
    NewOrder,
    OrderCanceled,
    OrderStatus,
    PositionClosed,
    TradeUpdate,
)
from gateway.emulator.exchange.refusals import Refusal

__all__ = [
    "AccountConfiguration",
    "AssetTable",
    "ExchangeConfig",
    "ExchangeOrder",
    "NewOrder",
    "OrderCanceled",
    "OrderStatus",
    "PortfolioHistory",
    "PositionClosed",
    "Refusal",
    "ReplaceQuantity",
    "SessionRule",
    "SimulatedExchange",
    "StopTrigger",
    "TradeUpdate",
    "UnfilledAuction",
    "make_asset",
    "make_assets",
    "position_symbol",
]
