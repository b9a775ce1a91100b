"""OperationsService: who may use the gateway."""

# ruff: noqa: ARG002 - gRPC's signature; what a call carries beside its request is in call_context()
from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from gateway.domain.errors import GatewayError
from gateway.domain.models.audit import AuditAction
from gateway.domain.models.identity import Token
from gateway.servicers.identity import call_context
from gateway.servicers.permissions import METHODS
from gateway.servicers.wire import operations as wire
from gateway.services.audit import ASKED, AuditService, facts_of
from gateway.services.identity import Grant, IdentityService, Minted
from trading_gateway.v1 import operations_pb2 as pb, operations_pb2_grpc

T = TypeVar("T")


class OperationsServicer(operations_pb2_grpc.OperationsServiceServicer):
    """Tokens over gRPC. What gives rights is on record before it does; what takes them away waits for no record.

    What was begun is seen to its end, and both ends of it are on record, also when its caller goes away meanwhile.

    Args:
        identity: Knows tokens.
        audit: Is told of every deed.
    """

    def __init__(self, identity: IdentityService, audit: AuditService) -> None:
        self._identity = identity
        self._audit = audit
        self._deeds: set[asyncio.Task[Any]] = set()

    async def MintToken(self, request: pb.MintTokenRequest, context: Any) -> pb.MintTokenResponse:
        """Make a token."""
        grant, ttl_ms = wire.grant_from_proto(request)
        return wire.minted_to_proto(await self._seen_through(self._mint(grant, ttl_ms)))

    async def ListTokens(self, request: pb.ListTokensRequest, context: Any) -> pb.ListTokensResponse:
        """One page of tokens."""
        strategy_id, include_ended, page_size, page_token = wire.token_filter_from_proto(request)
        page = self._identity.page(strategy_id, page_size, page_token, include_ended=include_ended)
        return wire.token_page_to_proto(page)

    async def RotateToken(self, request: pb.RotateTokenRequest, context: Any) -> pb.RotateTokenResponse:
        """Make a successor."""
        token_id, overlap_ms, ttl_ms = wire.rotation_from_proto(request)
        return wire.rotated_to_proto(await self._seen_through(self._rotate(token_id, overlap_ms, ttl_ms)))

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Any) -> pb.RevokeTokenResponse:
        """End a token."""
        token_id = wire.token_id_from_proto(request)
        return pb.RevokeTokenResponse(token=wire.token_to_proto(await self._seen_through(self._revoke(token_id))))

    async def ListScopes(self, request: pb.ListScopesRequest, context: Any) -> pb.ListScopesResponse:
        """The table of methods."""
        return wire.scopes_to_proto(METHODS)

    async def _mint(self, grant: Grant, ttl_ms: int) -> Minted:
        subject = grant.strategy_id or "operator"
        await self._audit.record(_caller(), AuditAction.TOKEN_MINT, subject, facts_of(grant), ASKED)
        minted = await self._told(AuditAction.TOKEN_MINT, subject, self._identity.mint(grant, ttl_ms))
        self._audit.note(_caller(), AuditAction.TOKEN_MINT, minted.token.token_id, facts_of(minted.token))
        await self._audit.write_notes()
        return minted

    async def _rotate(self, token_id: str, overlap_ms: int, ttl_ms: int) -> Minted:
        await self._audit.record(_caller(), AuditAction.TOKEN_ROTATE, token_id, outcome=ASKED)
        rotating = self._identity.rotate(token_id, overlap_ms, ttl_ms)
        minted = await self._told(AuditAction.TOKEN_ROTATE, token_id, rotating)
        self._audit.note(_caller(), AuditAction.TOKEN_ROTATE, minted.token.token_id, facts_of(minted.token))
        await self._audit.write_notes()
        return minted

    async def _revoke(self, token_id: str) -> Token:
        """The record is asked for first, and not waited for: the token ends now."""
        self._audit.note(_caller(), AuditAction.TOKEN_REVOKE, token_id, outcome=ASKED)
        recording = asyncio.create_task(self._audit.write_notes())
        token = await self._told(AuditAction.TOKEN_REVOKE, token_id, self._identity.revoke(token_id))
        await recording
        self._audit.note(_caller(), AuditAction.TOKEN_REVOKE, token_id)
        return token

    async def _told(self, action: AuditAction, subject: str, deed: Coroutine[Any, Any, T]) -> T:
        """A deed whose refusal is on record, too."""
        try:
            return await deed
        except GatewayError as error:
            self._audit.note(_caller(), action, subject, outcome=error.reason)
            raise

    async def _seen_through(self, deed: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(deed)
        self._deeds.add(task)
        task.add_done_callback(self._deeds.discard)
        return await asyncio.shield(task)


def _caller() -> str:
    return call_context().caller.name
