"""OperationsService on a data directory without a gateway: the same servicer, under the gateway's own lock.

What it does is told to the audit log as done by the `command line`.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import typer
from google.protobuf.message import Message

from gateway.application.token_acts import TokenActs
from gateway.cli.connection import fail
from gateway.cli.serve import Refused, data_directory
from gateway.cli.token import by_option
from gateway.domain.errors import FieldInvalid, GatewayError
from gateway.domain.types import CallContext, Caller, Venue
from gateway.infrastructure.persistence.database import FILE_NAME
from gateway.infrastructure.persistence.schema import DatabaseRefused
from gateway.infrastructure.persistence.stores import Stores, open_stores
from gateway.servicers.identity import enter_call
from gateway.servicers.operations import OperationsServicer
from gateway.services.audit import AuditService
from gateway.services.identity import IdentityService

ACTOR: Final = "command line"
"""Who did it, in the audit log."""

_EVENTS_MAX: Final = 1
"""Of a journal in memory, which there is none of here."""
_MAKES_SECRETS: Final = frozenset({"MintToken", "RotateToken"})
_VENUE_VARIABLE: Final = "GATEWAY_VENUE"
_IT_RUNS: Final = "A gateway that runs is asked itself: leave out --data-dir, and show an operator's token."


class LocalDesk:
    """Carries out rpcs on a directory, one after the other.

    Args:
        runner: Of an event loop.
        stores: What the directory keeps.
        venue: Is part of the secrets that are made.
    """

    def __init__(self, runner: asyncio.Runner, stores: Stores, venue: Venue) -> None:
        self._runner = runner
        self._venue = venue
        self._audit = AuditService(stores.audit, time.time_ns, time.monotonic)
        identity = IdentityService(stores.identities, venue, time.time_ns)
        self._servicer = OperationsServicer(identity, TokenActs(identity, self._audit))

    def __getattr__(self, rpc: str) -> Any:
        return lambda request: self._runner.run(self._carry_out(rpc, request))

    async def _carry_out(self, rpc: str, request: Message) -> Any:
        if rpc in _MAKES_SECRETS:
            typer.echo(f"for the venue {self._venue.value}: a gateway of another one does not take it", err=True)
        enter_call(CallContext(Caller(ACTOR), math.inf))
        answer = await getattr(self._servicer, rpc)(request, None)
        await self._audit.write_notes()
        return answer


@contextmanager
def local_desk(folder: Path, venue: str | None, *, may_begin: bool) -> Iterator[LocalDesk]:
    """A desk on a data directory; what is refused ends the command.

    Args:
        folder: No gateway runs on it.
        venue: emulator, paper or live; None: the directory's own, else GATEWAY_VENUE, else the emulator.
        may_begin: A directory that is not there is made.
    """
    if not may_begin and not (folder / FILE_NAME).is_file():
        fail(f"{folder} is no data directory of a gateway: it has no {FILE_NAME}")
    try:
        with data_directory(folder), asyncio.Runner() as runner:
            stores = open_stores(folder, time.time_ns(), _EVENTS_MAX)
            try:
                yield LocalDesk(runner, stores, _venue_of(stores, venue))
            finally:
                runner.run(stores.journal.close())
    except Refused as refusal:
        fail(str(refusal), _IT_RUNS if refusal.code == 1 else "", code=refusal.code)
    except DatabaseRefused as refusal:
        fail(f"--data-dir {folder}: {refusal}")
    except FieldInvalid as refusal:
        fail(by_option(refusal.violations), code=2)
    except GatewayError as error:
        fail(error.message)


def _venue_of(stores: Stores, asked: str | None) -> Venue:
    pin = stores.pins.current()
    word = asked or (pin.venue if pin else os.environ.get(_VENUE_VARIABLE) or Venue.EMULATOR)
    if word not in set(Venue):
        fail(f"{word} is no venue: emulator, paper or live", code=2)
    venue = Venue(word)
    if pin is not None and pin.venue is not venue:
        fail(f"this directory belongs to the venue {pin.venue.value}: leave out --venue", code=2)
    return venue
