"""The independent checker: proves from three records that no order was lost, doubled or guessed.

    python -m tests.chaos.checker --ledger ledger.jsonl --journal journal.sqlite3 --histories *.history.jsonl

Several `--ledger` files are one ledger (by `sequence`). `--journal` takes the SQLite file, opened read-only, or a dump
as JSON lines. Options give the run's figures: `--settle-ms`, `--transit-ms` (the longest delay of a proxy between the
gateway and the venue), `--initial-cash`, `--fee-bps`, `--rto-ms`, `--no-void` (judge a run however little happened).
Exit: 0 fine, 1 violations, 3 VOID (too little happened to prove anything), 2 the records cannot be read.

It shares no code with the gateway: it may read the generated stubs, SQLite and JSON, and nothing under `gateway/`; a
test holds that. A program that has the records in memory calls `check(Records(ledger, journal, history))`.

The records:

**B, the emulator's ledger.** An object per line: sequence, time_ns, kind (REQUEST, RESPONSE, ORDER, EXECUTION, EVENT,
FAULT), route, http_status, venue_order_id, venue_client_order_id, symbol, side, quantity, price, venue_status,
fault_id, body. A REQUEST that places or changes an order has the JSON as sent in `body`, or at least
`venue_client_order_id`. ORDER: `body`, when there is one, is the order in Alpaca's JSON; without it what was asked for
is read from its request. `journal_head` on a REQUEST (a simulation may know it) is the sequence of the last journal row
that was durable when it arrived: then I5 compares sequences, else times.

**J, the journal.** Tables meta, events, trading_states. As JSON lines: each row with `table` beside its columns, `body`
an object or text, `chain` in hex or left out.

**H, the histories.** `tests.chaos.history` says what is in them.
"""

from tests.chaos.checker.records import Records, Settings
from tests.chaos.checker.report import Report, check

__all__ = ["Records", "Report", "Settings", "check"]
