"""Tokens, without their secrets: rows of the data directory's file, or in memory.

That a token has ended is also written into a file of its own, see `revocation_file`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from ipaddress import ip_network
from typing import Any, Final

import orjson

from gateway.domain.errors import JournalUnavailable
from gateway.domain.models.identity import Scope, Token
from gateway.domain.types import format_decimal
from gateway.infrastructure.persistence.database import Database
from gateway.infrastructure.persistence.revocation_file import RevocationFile

_READ: Final = """
SELECT token_id, strategy_id, scopes, secret_hash, create_time_ns, expire_time_ns, symbols, max_order_notional,
    networks, certificate, revoke_time_ns, last_used_time_ns, venue
FROM tokens ORDER BY create_time_ns
"""
_WRITE: Final = "INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class SqliteIdentityStore:
    """Implements `IdentityStore` in the data directory's file; a set is a sorted JSON list.

    Args:
        database: The file.
        revocations: What has ended, whatever the file says: it may be a back-up.
    """

    def __init__(self, database: Database, revocations: RevocationFile) -> None:
        self._database = database
        self._revocations = revocations

    def all(self) -> Sequence[Token]:
        """Every token."""
        tokens = read_tokens(self._database.reader)
        with suppress(OSError):  # they are in the database
            self._revocations.add(tokens)
        ended = self._revocations.ended
        return [replace(token, revoke_time_ns=ended.get(token.token_id, token.revoke_time_ns)) for token in tokens]

    async def put(self, tokens: Sequence[Token], forget: Sequence[str] = ()) -> None:
        """Keep these and forget others; see `IdentityStore.put`."""
        rows = [_row(token) for token in tokens]

        def store(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM tokens WHERE token_id = ?", [(token_id,) for token_id in forget])
            connection.executemany(_WRITE, rows)

        await self._database.write(store, len(rows))
        await self._note_ends(tokens)

    async def end(self, token: Token) -> None:
        """Keep that a token has ended; see `IdentityStore.end`."""
        is_noted = await self._note_ends((token,))
        try:
            await self.put((token,))
        except JournalUnavailable:
            if not is_noted:
                raise

    async def _note_ends(self, tokens: Sequence[Token]) -> bool:
        """Whether the ends of these are in the file of their own."""
        try:
            await asyncio.to_thread(self._revocations.add, tokens)
        except OSError:
            return False
        return True


class MemoryIdentities:
    """Implements `IdentityStore`; forgotten with the process."""

    def __init__(self, tokens: Sequence[Token] = ()) -> None:
        self._tokens = {token.token_id: token for token in tokens}

    def all(self) -> Sequence[Token]:
        """Every token."""
        return list(self._tokens.values())

    async def put(self, tokens: Sequence[Token], forget: Sequence[str] = ()) -> None:
        """Keep these and forget others."""
        for token_id in forget:
            self._tokens.pop(token_id, None)
        self._tokens.update({token.token_id: token for token in tokens})

    async def end(self, token: Token) -> None:
        """Keep that a token has ended."""
        await self.put((token,))


def read_tokens(connection: sqlite3.Connection) -> Sequence[Token]:
    """Every token; also beside a gateway that runs."""
    return [_read(row) for row in connection.execute(_READ)]


def _row(token: Token) -> tuple[Any, ...]:
    cap = token.max_order_notional
    return (
        token.token_id,
        token.strategy_id,
        _written(token.scopes),
        token.secret_hash,
        token.create_time_ns,
        token.expire_time_ns,
        _written(token.symbols),
        None if cap is None else format_decimal(cap),
        _written(str(network) for network in token.networks),
        token.certificate,
        token.revoke_time_ns,
        token.last_used_time_ns,
        token.venue,
    )


def _read(row: tuple[Any, ...]) -> Token:
    token_id, strategy_id, scopes, secret_hash, created, expires, symbols, cap, networks, certificate, *rest = row
    revoked, used, venue = rest
    return Token(
        token_id,
        strategy_id,
        frozenset(Scope(scope) for scope in orjson.loads(scopes)),
        secret_hash,
        created,
        expires,
        frozenset(orjson.loads(symbols)),
        None if cap is None else Decimal(cap),
        tuple(ip_network(network) for network in orjson.loads(networks)),
        certificate,
        revoked,
        used,
        venue,
    )


def _written(words: Any) -> str:
    return orjson.dumps(sorted(words)).decode()
