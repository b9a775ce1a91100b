"""`emulator`: Alpaca's wire over a simulated exchange, by itself, for alpaca-py in anybody's project.

The credentials that it takes come from the environment, or as a child's from its parent; never from the command line,
which every process of the machine can read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Final

import typer
from pydantic import SecretStr

from gateway.cli.embedded_emulator import READY, Credentials
from gateway.emulator.server import EmulatorOptions, run

DEFAULT_LISTEN: Final = "127.0.0.1:8700"
KEY_VARIABLE: Final = "EMULATOR_KEY"
SECRET_VARIABLE: Final = "EMULATOR_SECRET"  # noqa: S105 - a name, not a secret

_READERS: Final = {"tape_speed": Fraction, "cash": Decimal}
"""Options whose text is an exact number."""


def emulate(flags: Mapping[str, Any], *, until_stdin_closes: bool) -> int:
    """Serve until a signal, or until the parent that holds our standard input dies; the exit code."""
    try:
        good = Credentials.from_line(sys.stdin.buffer) if until_stdin_closes else _from_environment()
        told = {"key": good.key.get_secret_value(), "secret": good.secret.get_secret_value()}
        options = EmulatorOptions(**({"listen": DEFAULT_LISTEN} | _read(flags) | told))
        return run(options, ready=_announce, parent_fd=sys.stdin.fileno() if until_stdin_closes else None)
    except (ValueError, OSError) as error:
        typer.echo(f"the emulator cannot start: {error}", err=True)
        return 2 if isinstance(error, ValueError) else 1


def _from_environment() -> Credentials:
    return Credentials(SecretStr(os.environ.get(KEY_VARIABLE, "")), SecretStr(os.environ.get(SECRET_VARIABLE, "")))


def _read(flags: Mapping[str, Any]) -> dict[str, Any]:
    options = dict(flags)
    for name, reader in _READERS.items():
        if name in options:
            try:
                options[name] = reader(options[name])
            except (ValueError, ZeroDivisionError, InvalidOperation):
                raise ValueError(f"--{name.replace('_', '-')} must be a number") from None
    return options


def _announce(url: str) -> None:
    typer.echo(f"{READY}{url}")
    sys.stdout.flush()
