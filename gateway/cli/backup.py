"""`backup`: a copy of a journal that can be restored.

Promises: the copy is whole as of one moment, checked and on the disk when the command ends; a gateway that runs on the
directory goes on. To restore: stop the gateway, put the copy in the place of `journal.sqlite3`, and remove the two
files beside it that begin with that name. What happened after the copy is then read from the venue again, and resume
tokens of the lost events are refused as EPOCH_CHANGED. Who may come in is what the copy says, but for the tokens in the
file `revoked-tokens`, which stays where it is: what was ended after the copy stays so.
"""

from __future__ import annotations

from pathlib import Path

import typer

from gateway.infrastructure.persistence.database import back_up
from gateway.infrastructure.persistence.schema import DatabaseRefused


def backup(data_dir: Path, to_file: Path) -> int:
    """Copy; the exit code."""
    try:
        count = back_up(data_dir, to_file)
    except DatabaseRefused as refusal:
        typer.echo(str(refusal), err=True)
        return 1
    typer.echo(f"{to_file}: {count} events")
    return 0
