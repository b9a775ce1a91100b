"""What the default run makes of its parts: too little is void, a failure fails, and the exit code says which."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.chaos import __main__ as command_line, everything
from tests.chaos.checker import Records, check
from tests.chaos.processes.run import Result, Wanted
from tests.chaos.simulation import sweep
from tests.chaos.totals import Summary

REPORT = check(Records([], [], []))
"""Of nothing: it is void, and violates nothing."""


def of(monkeypatch: pytest.MonkeyPatch, folder: Path, **changed: object) -> Summary:
    """What `processes` says of a run of real programs that ended like this."""
    usual: dict[str, object] = {"report": REPORT, "orders": 50, "kills": 3, "fired": {"answer_lost": 1}}
    ended = Result(**{**usual, "per_second": 80.0, "failures": [], **changed})  # type: ignore[arg-type]

    def run(wanted: Wanted) -> Result:
        return ended

    monkeypatch.setattr(everything, "run", run)
    monkeypatch.setattr(everything.tempfile, "mkdtemp", lambda prefix: str(folder / "records"))
    (folder / "records").mkdir()
    REPORT.void.clear()
    return everything.processes(50, 3, time.monotonic(), lambda _: None)


def test_a_run_that_had_everything_counts_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    summary = of(monkeypatch, tmp_path)
    assert (summary.void, summary.failures) == ([], [])
    assert not (tmp_path / "records").exists()
    assert command_line._code(summary) == command_line.FINE


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"fired": {"answer_lost": 1, "http_429": 0}}, "these faults never fired: http_429"),
        ({"orders": 49}, "49 real orders and 3 kills in the time given"),
        ({"kills": 2}, "50 real orders and 2 kills in the time given"),
    ],
)
def test_too_little_is_void_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    summary = of(monkeypatch, tmp_path, **changed)
    assert summary.void == [said]
    assert f"VOID: {said}" in summary.text("real processes")
    assert command_line._code(summary) == command_line.VOID
    assert (tmp_path / "records").exists()


def test_what_the_checker_calls_void_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    quiet = check(Records([], [], []))
    summary = of(monkeypatch, tmp_path, report=quiet)
    assert summary.void == ["no fault fired and nothing was killed"]


def test_a_failure_weighs_more_than_void_and_names_its_records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    summary = of(monkeypatch, tmp_path, failures=["a shutdown took too long"], orders=0)
    assert summary.failures == [f"a shutdown took too long\n    the records are in {tmp_path / 'records'}"]
    assert command_line._code(summary) == command_line.VIOLATED
    assert (tmp_path / "records").exists()


def test_too_few_simulated_orders_are_void() -> None:
    total = sweep.sweep(1, 1_000, 0, time.monotonic(), lambda _: None)
    assert total.void == ["0 simulated orders in the time given, 1,000 are the least"]
