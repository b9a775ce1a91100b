"""`audit`: the log of who did what, read from a data directory, also beside a running gateway."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import typer

from gateway.cli.connection import fail
from gateway.domain.models.audit import AuditRecord, verify as verify_chain
from gateway.domain.types import NANOS_PER_SECOND
from gateway.infrastructure.persistence.audit_log import read_audit
from gateway.infrastructure.persistence.database import FILE_NAME


def verify(data_dir: Path, noted: str, *, as_json: bool) -> int:
    """Compare the whole log with its chain, and with a head that was noted elsewhere; exit code 1 when one differs.

    Args:
        data_dir: Of the gateway.
        noted: SEQUENCE:HASH, as a running gateway logs it every minute (`audit_head`); empty: none was noted.
        as_json: Machine-readable output.
    """
    sequence, _, chain = noted.partition(":")
    if noted and not (sequence.isdecimal() and chain):
        fail("--head is SEQUENCE:HASH, as in the line audit_head of a gateway's log", code=2)
    with _opened(data_dir) as connection:
        verdict = verify_chain(read_audit(connection))
        found = next((record.hash.hex() for record in read_audit(connection, int(sequence or 1) - 1)), "")
    fault = verdict.fault
    if noted and not fault and found != chain:
        fault = f"entry {sequence} is not the one that was noted" if found else f"entry {sequence} is gone"
    if as_json:
        facts = {"entries": verdict.count, "head": f"{verdict.count}:{verdict.head.hex()}", "fault": fault}
        typer.echo(orjson.dumps(facts))
    else:
        typer.echo(f"{verdict.count} entries, head {verdict.count}:{verdict.head.hex()}")
        typer.echo(f"NOT INTACT: {fault}" if fault else "intact", err=bool(fault))
    return 1 if fault else 0


def show(data_dir: Path, newest: int, *, as_json: bool) -> None:
    """Print the newest entries, oldest of them first."""
    with _opened(data_dir) as connection:
        kept = deque(read_audit(connection), newest)
    for record in kept:
        facts = _facts(record)
        if as_json:
            typer.echo(orjson.dumps(facts))
        else:
            detail = " ".join(f"{name}={_plain(text)}" for name, text in record.entry.detail.items())
            columns = ("time", "actor", "action", "subject", "outcome")
            words = [f"{record.sequence:>6}", *(_plain(facts[name]) or "-" for name in columns), detail]
            typer.echo("  ".join(words).rstrip())


@contextmanager
def _opened(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """The directory's file, to read; ends the command where that cannot be done."""
    path = data_dir / FILE_NAME
    if not path.is_file():
        fail(f"{data_dir} is no data directory of a gateway: it has no {FILE_NAME}")
    connection = sqlite3.connect(path.resolve().as_uri() + "?mode=ro", uri=True)
    try:
        yield connection
    except (sqlite3.Error, ValueError) as error:
        fail(f"the audit log of {data_dir} cannot be read: {error}")
    finally:
        connection.close()


def _plain(text: str) -> str:
    """Words of strangers, without what moves a terminal or ends a line."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _facts(record: AuditRecord) -> dict[str, Any]:
    entry = record.entry
    when = datetime.fromtimestamp(entry.time_ns / NANOS_PER_SECOND, UTC)
    return {
        "sequence": record.sequence,
        "time": when.isoformat(timespec="milliseconds"),
        "actor": entry.actor,
        "action": entry.action.value,
        "subject": entry.subject,
        "outcome": entry.outcome,
        "detail": dict(entry.detail),
        "hash": record.hash.hex(),
    }
