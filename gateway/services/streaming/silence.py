"""A feed that is connected, answers pings and says nothing: it looks like a quiet market, and is not.

Promises that such a feed is not vouched for long: when nothing was received for a while, the newest values are read
by request, and if the venue has newer ones that the feed does not bring either within a moment, it is told to be mute.
So is a symbol that fell silent on a feed that flows. A quiet market costs a request now and then, ever more rarely; a
closed one is asked about rarely from the first. What is done about it is the hub's.

A silence that ends by itself before that proof is told as a gap if the feed swallowed something: if its first word of
a symbol is newer than what the venue had when it was asked, or if it goes on without a word of that symbol. If it
brings what the venue had, or older values first, it was late, and nothing is told; nor is it of a feed of which the
venue had nothing newer. Not seen is what a feed swallows behind the last question that found nothing, or within its
patience: nothing that the venue can be asked about newest values would tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Final

import structlog

from gateway.domain.errors import GatewayError
from gateway.domain.models.market_data import Bar
from gateway.domain.types import NANOS_PER_SECOND, Channel, DataFeed
from gateway.services.streaming import stray_symbols
from gateway.services.streaming.breaks import ALL_CHANNELS, OpenGap
from gateway.services.streaming.feed_health import WAIT_MAX_S
from gateway.services.streaming.last_values import Value, time_of
from gateway.services.streaming.question import Held, Question
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
BeginGap = Callable[[int | None, Container[Channel], str], OpenGap]
"""From the last value before it, of these channels, of one symbol or, where it is empty, of all."""

_log = structlog.get_logger(__name__)


class SilenceWatch:
    """Watches one feed.

    Args:
        heard: When the feed brought something last, by the wall clock.
        held: What is vouched for on a channel; empty while the feed is not live.
        ask: Begins a question about symbols of a channel.
        gap: Begins a gap for those who are there now.
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
        heard: Callable[[], int | None],
        held: Callable[[Channel], Held],
        ask: Callable[[Channel, Held], Question],
        gap: BeginGap,
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
        self._begin_question = ask
        self._begin_gap = gap
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
                if await self._is_mute():
                    _log.warning("feed_mute", feed=self._feed.value)
                    self._on_mute()
            except Exception:  # whatever it is: nobody else would notice that a feed is mute
                _log.exception("silence_unread", feed=self._feed.value)
            # The longer after a reconnect, too: one that changes nothing must not become a storm.
            patience_s = min(2 * patience_s, max(SILENCE_MAX_S, self._patience_s))

    async def _watch_symbols(self) -> None:
        while True:
            await asyncio.sleep(stray_symbols.LOOK_INTERVAL_S)
            try:
                strayed = {channel: await self._strayed(channel) for channel in STRAY_CHANNELS}
                silent = {channel: symbols for channel, symbols in strayed.items() if symbols}
                if silent:
                    _log.warning("feed_symbols_silent", feed=self._feed.value, symbols=[*chain(*silent.values())])
                    self._on_stray(silent)
            except Exception:  # as above
                _log.exception("silence_unread", feed=self._feed.value)

    async def _is_mute(self) -> bool:
        """Whether the venue has newer values than the feed brought, and the feed brings nothing now.

        If it speaks again instead, what it swallowed is told.
        """
        heard = self._heard()
        gap = self._begin_gap(heard, ALL_CHANNELS, "")
        questions = [self._begin_question(channel, self._most_recent(channel)) for channel in WATCHED_CHANNELS]
        with ExitStack() as listening:
            for question in questions:
                listening.enter_context(question.listening())
            for question in questions:
                await self._mark(question)
            if not any(question.marked for question in questions):
                return False
            await asyncio.sleep(PROOF_S)
            if self._heard() == heard:
                return all(self._stands(question) for question in questions)
            await asyncio.sleep(PROOF_S)  # it has begun to speak: all that was on its way comes now
        self._tell(gap, questions)
        return False

    async def _strayed(self, channel: Channel) -> list[str]:
        """Symbols that are silent against their habit, and of which the venue has newer values."""
        held = self._held(channel)
        suspected = self._strays[channel].look(held)[:SYMBOLS_ASKED_MAX]
        question = self._begin_question(channel, {symbol: held[symbol] for symbol in suspected})
        gaps = {symbol: self._begin_gap(question.received_ns(symbol), (channel,), symbol) for symbol in suspected}
        with question.listening():
            await self._mark(question)
            if not question.marked:
                return []
            await asyncio.sleep(PROOF_S)
        now_held = self._held(channel)
        for symbol in question.swallowed():
            if symbol in question.first:
                gaps[symbol].tell(question.first[symbol].receive_time_ns)
        return [symbol for symbol in question.marked if now_held.get(symbol) == held[symbol]]

    def _most_recent(self, channel: Channel) -> Held:
        held = self._held(channel)
        symbols = sorted(held, key=lambda symbol: held[symbol], reverse=True)[:SYMBOLS_ASKED_MAX]
        return {symbol: held[symbol] for symbol in symbols}

    def _stands(self, question: Question) -> bool:
        """Whether what was held when it was asked is so still, and still vouched for."""
        now_held = self._held(question.channel)
        return all(now_held.get(symbol) == time_ns for symbol, time_ns in question.held.items())

    def _tell(self, gap: OpenGap, questions: Sequence[Question]) -> None:
        """The feed spoke again by itself: say from when to when it did not, if it swallowed something."""
        swallowed = [symbol for question in questions for symbol in question.swallowed()]
        if not swallowed:
            return
        firsts = [value.receive_time_ns for question in questions for value in question.first.values()]
        _log.warning("feed_swallowed", feed=self._feed.value, symbols=swallowed)
        gap.tell(min(firsts, default=self._wall()))

    async def _mark(self, question: Question) -> None:
        """Mark what the venue has newer, and due. A question that fails is no evidence."""
        if not question.held:
            return
        try:
            read = await self._read(question.channel, tuple(question.held))
        except GatewayError:
            return
        due_ns = self._wall() - BAR_DUE_NS
        question.mark(
            value
            for value in read
            if value.symbol in question.held
            and time_of(value) > question.held[value.symbol]
            and (not isinstance(value, Bar) or time_of(value) <= due_ns)
        )
