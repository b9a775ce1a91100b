"""A feed that is connected, answers pings and says nothing: it looks like a quiet market, and is not.

Promises that such a feed is not vouched for long: when nothing was received for a while, the newest values are read
by request, and if the venue has newer ones that the feed does not bring either within a moment, it is told to be mute.
So is a symbol that fell silent on a feed that flows. A quiet market costs a request now and then, ever more rarely; a
closed one is asked about rarely from the first. What is done about it is the hub's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain
from typing import Final

import structlog

from gateway.domain.errors import GatewayError
from gateway.domain.models.market_data import Bar
from gateway.domain.types import NANOS_PER_SECOND, Channel, DataFeed
from gateway.services.streaming import stray_symbols
from gateway.services.streaming.feed_health import WAIT_MAX_S
from gateway.services.streaming.last_values import Value, time_of
from gateway.services.streaming.stray_symbols import StraySymbols

SILENCE_MAX_S: Final = 60.0
"""Between two questions about a feed that stays silent: it doubles up to this."""
PROOF_S: Final = WAIT_MAX_S
"""How long the feed has to bring what was read."""
SYMBOLS_ASKED_MAX: Final = 50
"""The most recently changed ones: if the feed is mute, theirs will show it first."""

BAR_DUE_NS: Final = 90 * NANOS_PER_SECOND
"""A minute's bar has come so long after the minute began, or it will not come."""
WATCHED_CHANNELS: Final = (Channel.QUOTES, Channel.TRADES, Channel.BARS)
"""Those whose newest values can be read by request."""
STRAY_CHANNELS: Final = (Channel.QUOTES, Channel.TRADES)

Held = Mapping[str, int]
"""Symbol → time of the newest value, of those that are vouched for now."""

_log = structlog.get_logger(__name__)


class SilenceWatch:
    """Watches one feed.

    Args:
        heard: Changes whenever the feed brings something.
        held: What is vouched for on a channel; empty while the feed is not live.
        read: The newest values by request.
        on_mute: The feed does not bring what the venue has.
        on_stray: The same of some symbols alone.
        is_open: Whether something is to be expected of the feed now.
        patience_s: Silence before the first question.
        wall: Nanoseconds since the Unix epoch.
    """

    def __init__(
        self,
        feed: DataFeed,
        *,
        heard: Callable[[], object],
        held: Callable[[Channel], Held],
        read: Callable[[Channel, Sequence[str]], Awaitable[Sequence[Value]]],
        on_mute: Callable[[], None],
        on_stray: Callable[[Mapping[Channel, Sequence[str]]], None],
        is_open: Callable[[], bool],
        patience_s: float,
        wall: Callable[[], int],
    ) -> None:
        self._feed = feed
        self._heard = heard
        self._held = held
        self._read = read
        self._on_mute = on_mute
        self._on_stray = on_stray
        self._is_open = is_open
        self._patience_s = patience_s
        self._wall = wall
        self._strays = {channel: StraySymbols() for channel in STRAY_CHANNELS}
        loop = asyncio.get_running_loop()
        self._tasks = (loop.create_task(self._watch()), loop.create_task(self._watch_symbols()))

    async def close(self) -> None:
        """Watch no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self) -> None:
        patience_s = self._patience_s
        while True:
            heard = self._heard()
            await asyncio.sleep(patience_s)
            if self._heard() != heard:
                patience_s = self._patience_s
                continue
            if patience_s < SILENCE_MAX_S and not self._is_open():
                patience_s = max(SILENCE_MAX_S, self._patience_s)
                continue
            try:
                is_mute = any([await self._is_mute(channel) for channel in WATCHED_CHANNELS])
            except GatewayError:
                is_mute = False  # a question that fails is no evidence
            except Exception:  # whatever it is: nobody else would notice that a feed is mute
                _log.exception("silence_unread", feed=self._feed.value)
                is_mute = False
            if is_mute:
                _log.warning("feed_mute", feed=self._feed.value)
                self._on_mute()
            # The longer after a reconnect, too: one that changes nothing must not become a storm.
            patience_s = min(2 * patience_s, max(SILENCE_MAX_S, self._patience_s))

    async def _watch_symbols(self) -> None:
        while True:
            await asyncio.sleep(stray_symbols.LOOK_INTERVAL_S)
            try:
                strayed = {channel: await self._strayed(channel) for channel in STRAY_CHANNELS}
                silent = {channel: symbols for channel, symbols in strayed.items() if symbols}
            except GatewayError:
                silent = {}
            except Exception:  # as above
                _log.exception("silence_unread", feed=self._feed.value)
                silent = {}
            if silent:
                _log.warning("feed_symbols_silent", feed=self._feed.value, symbols=[*chain(*silent.values())])
                self._on_stray(silent)

    async def _is_mute(self, channel: Channel) -> bool:
        """Whether the venue has a newer value than the feed brought, and the feed does not bring it now."""
        held = self._held(channel)
        heard = self._heard()
        symbols = sorted(held, key=lambda symbol: held[symbol], reverse=True)[:SYMBOLS_ASKED_MAX]
        if not await self._newer(channel, symbols, held):
            return False
        await asyncio.sleep(PROOF_S)
        return self._heard() == heard and self._held(channel) == held

    async def _strayed(self, channel: Channel) -> list[str]:
        """Symbols that are silent against their habit, and of which the venue has newer values."""
        held = self._held(channel)
        suspected = self._strays[channel].look(held)[:SYMBOLS_ASKED_MAX]
        newer = await self._newer(channel, suspected, held)
        if not newer:
            return []
        await asyncio.sleep(PROOF_S)
        now_held = self._held(channel)
        return [symbol for symbol in newer if now_held.get(symbol) == held[symbol]]

    async def _newer(self, channel: Channel, symbols: Sequence[str], held: Held) -> list[str]:
        """Those of which the venue has a newer value that is due."""
        if not symbols:
            return []
        read = await self._read(channel, symbols)
        due_ns = self._wall() - BAR_DUE_NS
        return [
            value.symbol
            for value in read
            if time_of(value) > held[value.symbol] and (not isinstance(value, Bar) or time_of(value) <= due_ns)
        ]
