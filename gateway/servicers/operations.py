"""OperationsService: who may use the gateway."""

# ruff: noqa: ARG002 - gRPC's signature; what a call carries beside its request is in call_context()
from __future__ import annotations

from typing import Any

from gateway.domain.models.audit import AuditAction
from gateway.servicers.identity import call_context
from gateway.servicers.permissions import METHODS
from gateway.servicers.wire import operations as wire
from gateway.services.audit import ASKED, AuditService, facts_of
from gateway.services.identity import IdentityService
from trading_gateway.v1 import operations_pb2 as pb, operations_pb2_grpc


class OperationsServicer(operations_pb2_grpc.OperationsServiceServicer):
    """Tokens over gRPC. What gives rights is on record before it does; what takes them away waits for no record.

    Args:
        identity: Knows tokens.
        audit: Is told of every deed.
    """

    def __init__(self, identity: IdentityService, audit: AuditService) -> None:
        self._identity = identity
        self._audit = audit

    async def MintToken(self, request: pb.MintTokenRequest, context: Any) -> pb.MintTokenResponse:
        """Make a token."""
        grant, ttl_ms = wire.grant_from_proto(request)
        caller = call_context().caller.name
        await self._audit.record(caller, AuditAction.TOKEN_MINT, grant.strategy_id or "operator", outcome=ASKED)
        minted = await self._identity.mint(grant, ttl_ms)
        self._audit.note(caller, AuditAction.TOKEN_MINT, minted.token.token_id, facts_of(minted.token))
        return wire.minted_to_proto(minted)

    async def ListTokens(self, request: pb.ListTokensRequest, context: Any) -> pb.ListTokensResponse:
        """One page of tokens."""
        strategy_id, include_ended, page_size, page_token = wire.token_filter_from_proto(request)
        page = self._identity.page(strategy_id, page_size, page_token, include_ended=include_ended)
        return wire.token_page_to_proto(page)

    async def RotateToken(self, request: pb.RotateTokenRequest, context: Any) -> pb.RotateTokenResponse:
        """Make a successor."""
        token_id, overlap_ms, ttl_ms = wire.rotation_from_proto(request)
        caller = call_context().caller.name
        await self._audit.record(caller, AuditAction.TOKEN_ROTATE, token_id, outcome=ASKED)
        minted = await self._identity.rotate(token_id, overlap_ms, ttl_ms)
        self._audit.note(caller, AuditAction.TOKEN_ROTATE, minted.token.token_id, facts_of(minted.token))
        return wire.rotated_to_proto(minted)

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Any) -> pb.RevokeTokenResponse:
        """End a token."""
        token_id = wire.token_id_from_proto(request)
        self._audit.note(call_context().caller.name, AuditAction.TOKEN_REVOKE, token_id)
        return pb.RevokeTokenResponse(token=wire.token_to_proto(await self._identity.revoke(token_id)))

    async def ListScopes(self, request: pb.ListScopesRequest, context: Any) -> pb.ListScopesResponse:
        """The table of methods."""
        return wire.scopes_to_proto(METHODS)
