"""Journals that are closed when their test is done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.infrastructure.persistence.order_journal import SqliteOrderJournal
from tests.infrastructure.persistence.journals import Open, opened


@pytest.fixture
async def open_journal(tmp_path: Path) -> AsyncIterator[Open]:
    journals: list[SqliteOrderJournal] = []

    def open_one() -> SqliteOrderJournal:
        journals.append(opened(tmp_path))
        return journals[-1]

    yield open_one
    for journal in journals:
        await journal.close()
