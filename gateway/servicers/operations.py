"""OperationsService: who may use the gateway."""

# ruff: noqa: ARG002 - gRPC's signature; what a call carries beside its request is in call_context()
from __future__ import annotations

from typing import Any

from gateway.application.token_acts import TokenActs
from gateway.servicers.identity import caller_name
from gateway.servicers.permissions import METHODS
from gateway.servicers.wire import operations as wire
from gateway.services.identity import IdentityService
from trading_gateway.v1 import operations_pb2 as pb, operations_pb2_grpc


class OperationsServicer(operations_pb2_grpc.OperationsServiceServicer):
    """Tokens over gRPC.

    Args:
        identity: Knows tokens.
        acts: Changes them.
    """

    def __init__(self, identity: IdentityService, acts: TokenActs) -> None:
        self._identity = identity
        self._acts = acts

    async def MintToken(self, request: pb.MintTokenRequest, context: Any) -> pb.MintTokenResponse:
        """Make a token."""
        return wire.minted_to_proto(await self._acts.mint(caller_name(), *wire.grant_from_proto(request)))

    async def ListTokens(self, request: pb.ListTokensRequest, context: Any) -> pb.ListTokensResponse:
        """One page of tokens."""
        strategy_id, include_ended, page_size, page_token = wire.token_filter_from_proto(request)
        page = self._identity.page(strategy_id, page_size, page_token, include_ended=include_ended)
        return wire.token_page_to_proto(page)

    async def RotateToken(self, request: pb.RotateTokenRequest, context: Any) -> pb.RotateTokenResponse:
        """Make a successor."""
        return wire.rotated_to_proto(await self._acts.rotate(caller_name(), *wire.rotation_from_proto(request)))

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Any) -> pb.RevokeTokenResponse:
        """End a token."""
        token = await self._acts.revoke(caller_name(), wire.token_id_from_proto(request))
        return pb.RevokeTokenResponse(token=wire.token_to_proto(token))

    async def ListScopes(self, request: pb.ListScopesRequest, context: Any) -> pb.ListScopesResponse:
        """The table of methods."""
        return wire.scopes_to_proto(METHODS)
