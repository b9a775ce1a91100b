"""Newest values by request, for where the stream has not brought any: at the start, and after a break.

Leaves to others which symbols, and what becomes of the values. A fetch is shared by all streams that wait
for a symbol, and a symbol is never asked for twice at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import structlog

from gateway.domain.errors import GatewayError
from gateway.domain.interfaces import MarketDataRepository
from gateway.domain.types import CallContext, Caller, Channel, DataFeed
from gateway.services.recovery import ErrorService
from gateway.services.streaming.feed_health import NO_EPOCH
from gateway.services.streaming.last_values import Value

FETCH_SYMBOLS_MAX: Final = 200
"""In one request: its URL stays below 2 KB."""
FETCH_DEADLINE_S: Final = 5.0
_CALLER: Final = Caller(name="streaming")

_log = structlog.get_logger(__name__)

Fetched = Callable[[Channel, frozenset[str], Sequence[Value] | None, int], None]
"""Told what came of a fetch (None: it failed), and the epoch that it was begun in."""


class NewestValues:
    """Fetches for one feed.

    Args:
        on_fetched: Called on the event loop, once for each fetch.
        monotonic: Seconds, as `CallContext.deadline`.
    """

    def __init__(
        self,
        feed: DataFeed,
        repository: MarketDataRepository,
        errors: ErrorService,
        on_fetched: Fetched,
        monotonic: Callable[[], float],
    ) -> None:
        self._feed = feed
        self._questions: dict[Channel, Callable[..., Awaitable[Sequence[Value]]]] = {
            Channel.QUOTES: repository.get_latest_quotes,
            Channel.TRADES: repository.get_latest_trades,
            Channel.BARS: repository.get_latest_bars,
            Channel.ORDER_BOOKS: repository.get_latest_order_books,
        }
        self._errors = errors
        self._on_fetched = on_fetched
        self._monotonic = monotonic
        self._asked: dict[Channel, set[str]] = {channel: set() for channel in Channel}
        self._doubted: dict[Channel, set[str]] = {channel: set() for channel in Channel}
        self._tasks: set[asyncio.Task[None]] = set()

    def fetch(self, channel: Channel, symbols: Iterable[str], epoch: int) -> None:
        """Ask for the newest values, except for those that are being asked for.

        Args:
            channel: One that the venue can be asked about; of the others there is nothing.
            symbols: Any number; they are asked for in parts.
            epoch: The feed's epoch, if all of these are subscribed in it: what changes from now on, it brings.
        """
        wanted = sorted(set(symbols) - self._asked[channel])
        for start in range(0, len(wanted), FETCH_SYMBOLS_MAX):
            part = frozenset(wanted[start : start + FETCH_SYMBOLS_MAX])
            self._asked[channel] |= part
            task = asyncio.get_running_loop().create_task(self._run(channel, part, epoch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def doubt(self, channel: Channel, symbols: Iterable[str]) -> None:
        """The feed does not bring these now: what is being asked for may be old before it does again."""
        self._doubted[channel] |= self._asked[channel].intersection(symbols)

    async def read(self, channel: Channel, symbols: Sequence[str]) -> Sequence[Value]:
        """The newest values as the venue has them now; none of a channel without such a question. Raises as it does."""
        question = self._questions.get(channel)
        if question is None:
            return ()
        call = CallContext(_CALLER, self._monotonic() + FETCH_DEADLINE_S)
        return await self._errors.read(call, lambda: question(call, self._feed, symbols))

    async def close(self) -> None:
        """End what is under way."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, channel: Channel, symbols: frozenset[str], epoch: int) -> None:
        values: Sequence[Value] | None = None
        try:
            values = await self.read(channel, sorted(symbols))
        except GatewayError as error:
            _log.warning("newest_values_unread", feed=self._feed.value, channel=channel.value, error=str(error))
        except Exception:  # whatever it is: who waits for them must not wait for ever
            _log.exception("newest_values_unread", feed=self._feed.value, channel=channel.value)
        finally:
            self._asked[channel] -= symbols
        doubted = not symbols.isdisjoint(self._doubted[channel])
        self._doubted[channel] -= symbols
        self._on_fetched(channel, symbols, values, NO_EPOCH if doubted else epoch)
