"""What is written about the symbols of the synthetic market: an article or two a minute, day and night.

Promises: a pure function of seed and minute, so that every run reads the same; one article in eight is changed twenty
seconds later and told again under its id. What an article says is made up of nothing and moves no price.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from gateway.domain.models.market_data import News
from gateway.domain.types import NANOS_PER_SECOND, DataFeed, article_symbol
from gateway.emulator.bars import MINUTE_NS
from gateway.emulator.prices import hash64, key_of

ARTICLES_PER_MINUTE: Final = 2
CHANGED_EVERY: Final = 8
CHANGE_DELAY_NS: Final = 20 * NANOS_PER_SECOND
SYMBOLS_PER_ARTICLE_MAX: Final = 3

_NEWS_ID_MIN: Final = 10_000_000
_EVENTS: Final = (
    "opens a new plant",
    "names a new head of research",
    "reports a quiet quarter",
    "renews a supply contract",
    "is raised by an analyst",
    "is cut by an analyst",
    "answers a question nobody asked",
)


class Newsroom:
    """Who writes.

    Args:
        symbols: What there is to write about.
    """

    def __init__(self, seed: int, symbols: Sequence[str]) -> None:
        self._key = key_of(seed, "", "articles")
        self._symbols = [article_symbol(symbol) for symbol in symbols]

    def articles(self, minute: int) -> Iterator[News]:
        """What is told in a minute, in no particular order: its own articles, and changes of those before."""
        for written in (minute - 1, minute):
            for article in self._written(written):
                if article.time_ns // MINUTE_NS == minute:
                    yield article

    def _written(self, minute: int) -> Iterator[News]:
        """The articles of a minute, and their changes, which may be told in the next."""
        noise = hash64(self._key, np.arange(minute * ARTICLES_PER_MINUTE, (minute + 1) * ARTICLES_PER_MINUTE))
        for number, drawn in enumerate(noise.tolist()):
            told_ns = minute * MINUTE_NS + drawn % MINUTE_NS
            article = self._article(minute * ARTICLES_PER_MINUTE + number, drawn >> 16, told_ns)
            yield article
            if drawn >> 8 & 0xFF < 0x100 // CHANGED_EVERY:
                changed_ns = told_ns + CHANGE_DELAY_NS
                headline = f"{article.headline} (changed)"
                yield replace(article, headline=headline, update_time_ns=changed_ns, receive_time_ns=changed_ns)

    def _article(self, number: int, drawn: int, told_ns: int) -> News:
        count = 1 + drawn % SYMBOLS_PER_ARTICLE_MAX
        first = (drawn >> 4) % len(self._symbols)
        about = tuple(self._symbols[(first + step) % len(self._symbols)] for step in range(count))
        what = _EVENTS[(drawn >> 12) % len(_EVENTS)]
        news_id = _NEWS_ID_MIN + number
        return News(
            news_id=news_id,
            headline=f"{about[0]} {what}",
            symbols=about,
            create_time_ns=told_ns,
            update_time_ns=told_ns,
            feed=DataFeed.NEWS,
            receive_time_ns=told_ns,
            summary=f"{', '.join(about)}: {what}.",
            author="Emulator Newsdesk",
            source="emulator",
            url=f"https://news.example/{news_id}",
        )
