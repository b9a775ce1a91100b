"""FillLog: every fill once, by the time of the trade, whatever became of its order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.application.fill_log import FillLog
from gateway.domain.errors import PageTokenMismatch
from gateway.domain.models.orders import Fill, FillFilter
from gateway.infrastructure.persistence.memory_journal import MemoryJournal
from tests.application.books import BEGIN_NS, STRATEGIES, SYMBOLS, Books, Story, sqlite_journal


def known_fills(books: Books, wanted: FillFilter) -> list[Fill]:
    """What the list must be, from the journal's rows."""
    found = [
        (row.fill.trade_time_ns, row.sequence, row.fill)
        for _, row in books.rows(wanted.strategy_id)
        if row.fill is not None
        and (not wanted.symbols or row.fill.symbol in wanted.symbols)
        and (wanted.start_time_ns is None or row.fill.trade_time_ns >= wanted.start_time_ns)
        and (wanted.end_time_ns is None or row.fill.trade_time_ns <= wanted.end_time_ns)
    ]
    found.sort(key=lambda entry: entry[:2], reverse=not wanted.oldest_first)
    return [fill for _, _, fill in found]


async def every_page(fills: FillLog, wanted: FillFilter, page_size: int) -> list[Fill]:
    found: list[Fill] = []
    token = ""
    while True:
        page = await fills.page(wanted, page_size, token)
        assert len(page.items) <= page_size
        found += page.items
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("seed", range(3))
async def test_every_filter_gives_what_the_journal_has(seed: int, kind: str, tmp_path: Path) -> None:
    print(f"seed {seed}")
    books = Books(sqlite_journal(tmp_path) if kind == "disk" else MemoryJournal())
    story = Story(seed, books)
    fills = FillLog(books.journal)
    assert await every_page(fills, FillFilter(None), 3) == []
    for _ in range(3):  # the index is brought up to date by each question
        await story.tell(100)
        for strategy_id in (None, *STRATEGIES, "nobody"):
            for _ in range(4):
                bounds = sorted(BEGIN_NS + story.random.randrange(books.now_ns - BEGIN_NS) for _ in range(2))
                wanted = FillFilter(
                    strategy_id,
                    frozenset(story.random.sample([*SYMBOLS, "NVDA"], story.random.randrange(3))),
                    story.random.choice((None, bounds[0])),
                    story.random.choice((None, bounds[1])),
                    oldest_first=story.random.random() < 0.5,
                )
                assert await every_page(fills, wanted, story.random.choice((1, 7, 1_000))) == known_fills(books, wanted)
    assert known_fills(books, FillFilter(None))
    await books.journal.close()


async def test_pages_hold_while_more_is_filled() -> None:
    books = Books()
    story = Story(2, books)
    await story.tell(200)
    fills = FillLog(books.journal)
    before = known_fills(books, FillFilter(None))
    page = await fills.page(FillFilter(None), 5, "")
    found = [*page.items]
    while page.next_page_token:
        await story.tell(3)
        page = await fills.page(FillFilter(None), 5, page.next_page_token)
        found += page.items
    assert [fill for fill in found if fill in before] == before
    assert len(found) == len(set(found))


async def test_a_token_belongs_to_its_list_and_its_journal() -> None:
    books = Books()
    await Story(3, books).tell(100)
    fills = FillLog(books.journal)
    token = (await fills.page(FillFilter(None), 2, "")).next_page_token
    assert token
    assert (await fills.page(FillFilter(None), 7, token)).items  # the size of a page may change
    other = Books()
    await Story(3, other).tell(100)
    digest, time_text, sequence_text = token.split(".")
    for wanted, log, bad in (
        (FillFilter("pairs"), fills, token),
        (FillFilter(None, oldest_first=True), fills, token),
        (FillFilter(None), FillLog(other.journal), token),
        (FillFilter(None), fills, "garbage"),
        (FillFilter(None), fills, f"{digest}.{time_text}"),
        (FillFilter(None), fills, f"{digest}.{time_text}.٣"),
        (FillFilter(None), fills, f"{digest}.{time_text}.{'9' * 21}"),
    ):
        with pytest.raises(PageTokenMismatch):
            await log.page(wanted, 2, bad)
    assert sequence_text.isdigit()


async def test_one_look_scans_so_much_and_goes_on_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.application.fill_log.PAGE_SCAN_MAX", 10)
    books = Books()
    await Story(4, books).tell(300)
    fills = FillLog(books.journal)
    wanted = FillFilter(None, frozenset({"NVDA"}))
    page = await fills.page(wanted, 5, "")
    assert page.items == ()
    assert page.next_page_token
    wanted = FillFilter(None, frozenset({"AAPL"}))
    assert await every_page(fills, wanted, 50) == known_fills(books, wanted)


async def test_what_the_journal_has_let_go_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.application.fill_log.TRIM_AT_EVENTS", 50)
    books = Books(MemoryJournal(events_max=200))
    story = Story(5, books)
    fills = FillLog(books.journal)
    sizes = []
    for _ in range(8):
        await story.tell(100)
        for strategy_id in (None, *STRATEGIES):
            wanted = FillFilter(strategy_id)
            assert await every_page(fills, wanted, 9) == known_fills(books, wanted)
        sizes.append(len(fills._account.times))
    assert books.journal.oldest > 100
    assert max(sizes) <= 300


async def test_many_ask_at_once_and_one_gives_up() -> None:
    books = Books()
    await Story(6, books).tell(1_000)
    fills = FillLog(books.journal)
    asking = [asyncio.create_task(fills.page(FillFilter(None), 1_000, "")) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    for page in answers[1:]:
        assert not isinstance(page, BaseException)
        assert list(page.items) == known_fills(books, FillFilter(None))
