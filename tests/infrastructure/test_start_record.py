"""Which starts count as a crash loop."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.domain.types import NANOS_PER_SECOND
from gateway.infrastructure.start_record import FILE_NAME, STARTS_KEPT_MAX, StartRecord

NOW_NS = 1_700_000_000 * NANOS_PER_SECOND


def crashed(folder: Path, *ages_s: float) -> int:
    """Starts that ended without a word so long ago; what the next one counts."""
    for age_s in ages_s:
        StartRecord(folder, NOW_NS - int(age_s * NANOS_PER_SECOND))
    return StartRecord(folder, NOW_NS).crashed_before


def test_those_of_the_last_minute_that_neither_served_nor_said_why(tmp_path: Path) -> None:
    assert crashed(tmp_path) == 0
    assert crashed(tmp_path / "nowhere", 3, 2, 1) == 0, "what cannot be written stops nothing"
    (tmp_path / FILE_NAME).unlink()
    assert crashed(tmp_path, 90, 61, 59, 30, 1) == 3
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_one_that_served_ends_the_count(tmp_path: Path) -> None:
    assert crashed(tmp_path, 3, 2) == 2
    StartRecord(tmp_path, NOW_NS).settle()
    assert not (tmp_path / FILE_NAME).exists()
    assert crashed(tmp_path) == 0


def test_a_clock_that_went_back_counts_nothing(tmp_path: Path) -> None:
    assert crashed(tmp_path, -3_600, -3_601) == 0


def test_whatever_is_in_the_file_is_bounded(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(os.urandom(100_000))
    assert crashed(tmp_path) == 0
    assert crashed(tmp_path, *[1] * 50) == STARTS_KEPT_MAX
    assert len((tmp_path / FILE_NAME).read_text().splitlines()) == STARTS_KEPT_MAX
