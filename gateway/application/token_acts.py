"""TokenActs: who may come in is changed, and on record.

Promises: what gives rights is on record before it does, what takes them away waits for no record; what was begun is
seen to its end, and both ends of it are on record, also when its caller goes away meanwhile. Leaves tokens themselves
to `services.identity`, and what a record is to `services.audit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from gateway.domain.errors import GatewayError
from gateway.domain.models.audit import AuditAction
from gateway.domain.models.identity import Token
from gateway.services.audit import ASKED, AuditService, facts_of
from gateway.services.identity import Grant, IdentityService, Minted

T = TypeVar("T")


class TokenActs:
    """Carries out what an operator wants of tokens. On the event loop alone.

    Args:
        identity: Knows tokens.
        audit: Is told of every act.
    """

    def __init__(self, identity: IdentityService, audit: AuditService) -> None:
        self._identity = identity
        self._audit = audit
        self._running: set[asyncio.Task[Any]] = set()

    async def mint(self, actor: str, grant: Grant, ttl_ms: int) -> Minted:
        """Make a token.

        Args:
            actor: Who wants it, as the audit log names them.
            grant: What it is to allow.
            ttl_ms: How long.

        Raises:
            JournalUnavailable: There is no record, so there is no token.
            GatewayError: As `IdentityService.mint`.
        """
        return await self._seen_through(self._mint(actor, grant, ttl_ms))

    async def rotate(self, actor: str, token_id: str, overlap_ms: int, ttl_ms: int) -> Minted:
        """Make a successor.

        Raises:
            JournalUnavailable: There is no record, so nothing changed.
            GatewayError: As `IdentityService.rotate`.
        """
        return await self._seen_through(self._rotate(actor, token_id, overlap_ms, ttl_ms))

    async def revoke(self, actor: str, token_id: str) -> Token:
        """End a token, now.

        Raises:
            GatewayError: As `IdentityService.revoke`.
        """
        return await self._seen_through(self._revoke(actor, token_id))

    async def _mint(self, actor: str, grant: Grant, ttl_ms: int) -> Minted:
        subject = grant.strategy_id or "operator"
        await self._audit.record(actor, AuditAction.TOKEN_MINT, subject, facts_of(grant), ASKED)
        minted = await self._told(actor, AuditAction.TOKEN_MINT, subject, self._identity.mint(grant, ttl_ms))
        self._audit.note(actor, AuditAction.TOKEN_MINT, minted.token.token_id, facts_of(minted.token))
        await self._audit.write_notes()
        return minted

    async def _rotate(self, actor: str, token_id: str, overlap_ms: int, ttl_ms: int) -> Minted:
        await self._audit.record(actor, AuditAction.TOKEN_ROTATE, token_id, outcome=ASKED)
        rotating = self._identity.rotate(token_id, overlap_ms, ttl_ms)
        minted = await self._told(actor, AuditAction.TOKEN_ROTATE, token_id, rotating)
        self._audit.note(actor, AuditAction.TOKEN_ROTATE, minted.token.token_id, facts_of(minted.token))
        await self._audit.write_notes()
        return minted

    async def _revoke(self, actor: str, token_id: str) -> Token:
        """The record is asked for first, and not waited for: the token ends now."""
        self._audit.note(actor, AuditAction.TOKEN_REVOKE, token_id, outcome=ASKED)
        recording = asyncio.create_task(self._audit.write_notes())
        token = await self._told(actor, AuditAction.TOKEN_REVOKE, token_id, self._identity.revoke(token_id))
        await recording
        self._audit.note(actor, AuditAction.TOKEN_REVOKE, token_id)
        return token

    async def _told(self, actor: str, action: AuditAction, subject: str, act: Coroutine[Any, Any, T]) -> T:
        """An act whose refusal is on record, too."""
        try:
            return await act
        except GatewayError as error:
            self._audit.note(actor, action, subject, outcome=error.reason)
            raise

    async def _seen_through(self, act: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(act)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)
