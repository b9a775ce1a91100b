"""What a synthetic stock's tape says after the fact: corrections and cancels of prints, minutes made again, bands.

Promises: a pure function of seed, symbol and trades, so that every run tells the same; one print in sixty-four is
corrected or annulled within eight seconds, and its minute's bar is made again half a minute after its end. History
keeps what was printed: bars and trades that are asked for are those of the market, not of its afterthoughts.
Crypto has none of this, and neither has a tape: what was recorded is not second-guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from gateway.domain.models.market_data import Bar, Luld, Trade, TradeCancel, TradeCorrection
from gateway.domain.types import NANOS_PER_SECOND, Channel
from gateway.emulator.bars import MINUTE_NS, VWAP_DECIMALS
from gateway.emulator.prices import hash64, key_of

PRINTS_PER_AFTERTHOUGHT: Final = 64
AFTERTHOUGHT_NS_MIN: Final = NANOS_PER_SECOND
AFTERTHOUGHT_NS_MAX: Final = 8 * NANOS_PER_SECOND
UPDATED_BAR_DELAY_NS: Final = 30 * NANOS_PER_SECOND
"""After the minute's end, as Alpaca does."""
BAND_DELAY_NS: Final = NANOS_PER_SECOND
"""After the minute's beginning: when the band of the minute is told."""
BAND: Final = 0.05
"""Either side of the reference price. Source: the plan's tier 1, for stocks above 3 dollars."""
CORRECTED_ID_OFFSET: Final = 10**12
"""A corrected print has an id of its own, which no print has."""

_CENTS: Final = 100

Afterthought = TradeCorrection | TradeCancel


class Afterthoughts:
    """Of one stock."""

    def __init__(self, seed: int, symbol: str) -> None:
        self._key = key_of(seed, symbol, "afterthoughts")

    def of(self, trades: Sequence[Trade]) -> list[Afterthought]:
        """What will be said of these prints, in their order."""
        noise = hash64(self._key, np.array([trade.trade_id for trade in trades], dtype=np.int64))
        chosen = np.flatnonzero(noise % np.uint64(PRINTS_PER_AFTERTHOUGHT) == 0)
        return [_afterthought(trades[index], int(noise[index])) for index in chosen.tolist()]


def updated_bar(bar: Bar, trades: Sequence[Trade], said: Sequence[Afterthought]) -> Bar | None:
    """The minute's bar again; None when nothing was said of its prints, or none of them is left.

    Args:
        bar: As it was told first.
        trades: Its prints.
        said: What was said of them.
    """
    prices = {trade.trade_id: round(trade.price * _CENTS) for trade in trades}
    for one in said:
        if isinstance(one, TradeCorrection):
            prices[one.original.trade_id] = round(one.corrected.price * _CENTS)
        else:
            del prices[one.trade_id]
    kept = [(prices[trade.trade_id], trade.size) for trade in trades if trade.trade_id in prices]
    if not said or not kept:
        return None
    cents = [price for price, _ in kept]
    volume = sum(size for _, size in kept)
    return replace(
        bar,
        open=cents[0] / _CENTS,
        high=max(cents) / _CENTS,
        low=min(cents) / _CENTS,
        close=cents[-1] / _CENTS,
        volume=volume,
        trade_count=len(kept),
        vwap=round(sum(price * size for price, size in kept) / volume / _CENTS, VWAP_DECIMALS),
        channel=Channel.UPDATED_BARS,
    )


def band_after(bar: Bar, tape: str) -> Luld:
    """The band of the minute after a bar: around what was paid in it."""
    reference = bar.vwap or bar.close
    told_ns = bar.start_time_ns + MINUTE_NS + BAND_DELAY_NS
    up, down = round(reference * (1 + BAND), 2), round(reference * (1 - BAND), 2)
    return Luld(bar.symbol, told_ns, up, down, bar.feed, told_ns, "B", tape)


def _afterthought(trade: Trade, noise: int) -> Afterthought:
    span_ns = AFTERTHOUGHT_NS_MAX - AFTERTHOUGHT_NS_MIN
    told_ns = trade.time_ns + AFTERTHOUGHT_NS_MIN + (noise >> 16) % span_ns
    if noise >> 6 & 1:
        action = "C" if noise >> 7 & 1 else "E"
        return TradeCancel(
            trade.symbol, told_ns, trade.trade_id, trade.price, trade.size, trade.feed, told_ns, trade.exchange, action
        )
    original = replace(trade, time_ns=told_ns, receive_time_ns=told_ns)
    corrected = replace(
        original,
        trade_id=trade.trade_id + CORRECTED_ID_OFFSET,
        price=(round(trade.price * _CENTS) + (1 if noise >> 7 & 1 else -1)) / _CENTS,
    )
    return TradeCorrection(trade.symbol, told_ns, original, corrected, trade.feed, told_ns)
