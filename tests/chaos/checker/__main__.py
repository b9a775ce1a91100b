"""`python -m tests.chaos.checker`: reads the records, prints the report, exits with the verdict."""

from __future__ import annotations

import argparse
import gc
import sqlite3
import sys
from decimal import Decimal
from pathlib import Path

from tests.chaos.checker.records import FEE_BPS, INITIAL_CASH_USD, RTO_MS, SETTLE_MS, Records, Settings
from tests.chaos.checker.report import Verdict, check


def main(arguments: list[str]) -> int:
    """Check; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.checker", description="Prove a chaos run right or wrong."
    )
    parser.add_argument("--ledger", type=Path, nargs="+", required=True, help="the emulator's ledger, JSON lines")
    parser.add_argument("--journal", type=Path, required=True, help="the journal: SQLite, or a dump as JSON lines")
    parser.add_argument("--histories", type=Path, nargs="+", required=True, help="the clients' histories, JSON lines")
    parser.add_argument("--settle-ms", type=int, default=SETTLE_MS, help="the settle window of the run")
    parser.add_argument("--transit-ms", type=int, default=0, help="the longest delay of a proxy before the venue")
    parser.add_argument("--rto-ms", type=int, default=RTO_MS, help="the time that recovery may need")
    parser.add_argument("--initial-cash", type=Decimal, default=INITIAL_CASH_USD, help="US dollars")
    parser.add_argument("--fee-bps", type=Decimal, default=FEE_BPS, help="of crypto")
    parser.add_argument("--no-void", action="store_true", help="judge the run however little happened")
    given = parser.parse_args(arguments)
    settings = Settings(
        settle_ms=given.settle_ms,
        transit_ms=given.transit_ms,
        rto_ms=given.rto_ms,
        initial_cash=given.initial_cash,
        fee_bps=given.fee_bps,
        is_void_judged=not given.no_void,
    )
    try:
        records = Records.read(given.ledger, given.journal, given.histories, settings)
    except (OSError, ValueError, KeyError, sqlite3.Error) as error:
        print(f"the records cannot be read: {type(error).__name__}: {error}", file=sys.stderr)
        return Verdict.UNREADABLE
    report = check(records)
    print(report.text())
    return report.verdict


if __name__ == "__main__":
    gc.disable()  # millions of records that all live to the end: looking for garbage among them is half the time
    sys.exit(main(sys.argv[1:]))
