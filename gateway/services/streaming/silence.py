"""A feed that is connected, answers pings and says nothing: it looks like a quiet market, and is not.

Promises that such a feed is not vouched for long: when nothing was received for a while, the newest values are read
by request, and if the venue has newer ones that the feed does not bring either within a moment, it is told to be mute.
A quiet market costs a request now and then, ever more rarely. What is done about it is the hub's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from gateway.domain.errors import GatewayError
from gateway.domain.types import Channel, DataFeed
from gateway.services.streaming.feed_health import WAIT_MAX_S
from gateway.services.streaming.last_values import Value, time_of

SILENCE_MAX_S: Final = 60.0
"""Between two questions about a feed that stays silent: it doubles up to this."""
PROOF_S: Final = WAIT_MAX_S
"""How long the feed has to bring what was read."""
SYMBOLS_ASKED_MAX: Final = 50
"""The most recently changed ones: if the feed is mute, theirs will show it first."""

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
        patience_s: Silence before the first question.
    """

    def __init__(
        self,
        feed: DataFeed,
        *,
        heard: Callable[[], object],
        held: Callable[[Channel], Held],
        read: Callable[[Channel, Sequence[str]], Awaitable[Sequence[Value]]],
        on_mute: Callable[[], None],
        patience_s: float,
    ) -> None:
        self._feed = feed
        self._heard = heard
        self._held = held
        self._read = read
        self._on_mute = on_mute
        self._patience_s = patience_s
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        """Watch no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        patience_s = self._patience_s
        while True:
            heard = self._heard()
            await asyncio.sleep(patience_s)
            if self._heard() != heard:
                patience_s = self._patience_s
                continue
            try:
                is_mute = any([await self._is_mute(channel) for channel in (Channel.QUOTES, Channel.TRADES)])
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

    async def _is_mute(self, channel: Channel) -> bool:
        """Whether the venue has a newer value than the feed brought, and the feed does not bring it now."""
        held = self._held(channel)
        if not held:
            return False
        heard = self._heard()
        symbols = sorted(held, key=lambda symbol: held[symbol], reverse=True)[:SYMBOLS_ASKED_MAX]
        newer = [value for value in await self._read(channel, symbols) if time_of(value) > held[value.symbol]]
        if not newer:
            return False
        await asyncio.sleep(PROOF_S)
        return self._heard() == heard and self._held(channel) == held
