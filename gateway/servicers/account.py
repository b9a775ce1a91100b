"""AccountService: questions about the account and what it holds."""

# ruff: noqa: ARG002 - gRPC's signature; what a call carries beside its request is in call_context()
from __future__ import annotations

from typing import Any

from gateway.domain.errors import PositionNotFound
from gateway.domain.models.account import Position
from gateway.domain.models.identity import Scope
from gateway.domain.types import CallContext
from gateway.servicers.identity import call_context
from gateway.servicers.turnstile import client_name
from gateway.servicers.wire import account as wire
from gateway.services.account import AccountService
from gateway.services.client_limits import ClientLimits
from gateway.services.reference import AssetService
from gateway.services.request_budget import RequestBudget
from gateway.services.trading import PositionService
from trading_gateway.v1 import account_pb2 as pb, account_pb2_grpc


class AccountServicer(account_pb2_grpc.AccountServiceServicer):
    """The account over gRPC.

    Args:
        accounts: The account.
        positions: What it holds.
        assets: Tells a misspelled symbol from one that is not held.
        budget: The venue's requests a minute.
        clients: What each client has left.
    """

    def __init__(
        self,
        accounts: AccountService,
        positions: PositionService,
        assets: AssetService,
        budget: RequestBudget,
        clients: ClientLimits,
    ) -> None:
        self._accounts = accounts
        self._positions = positions
        self._assets = assets
        self._budget = budget
        self._clients = clients

    async def GetAccount(self, request: pb.GetAccountRequest, context: Any) -> pb.GetAccountResponse:
        """The account."""
        call = call_context()
        account = await self._accounts.get_account(call, wire.staleness_from_proto(request))
        is_whole = Scope.ACCOUNT_READ_SENSITIVE in call.caller.scopes
        return pb.GetAccountResponse(account=wire.account_to_proto(account, shows_number=is_whole))

    async def ListPositions(self, request: pb.ListPositionsRequest, context: Any) -> pb.ListPositionsResponse:
        """All positions."""
        read = await self._positions.list_positions(call_context(), wire.staleness_from_proto(request))
        return wire.positions_to_proto(read.positions, read.read_time_ns)

    async def GetPosition(self, request: pb.GetPositionRequest, context: Any) -> pb.GetPositionResponse:
        """One position."""
        symbol, max_staleness_ms = wire.position_request_from_proto(request)
        position = await self._position(symbol, max_staleness_ms, call_context())
        return pb.GetPositionResponse(position=wire.position_to_proto(position))

    async def GetQuota(self, request: pb.GetQuotaRequest, context: Any) -> pb.GetQuotaResponse:
        """What is left of the venue's budget, and of the caller's own."""
        own = self._clients.quotas(client_name(call_context().caller, context.peer()))
        return wire.quotas_to_proto([quota for quota in (self._budget.quota(), *own) if quota is not None])

    async def _position(self, symbol: str, max_staleness_ms: int | None, call: CallContext) -> Position:
        try:
            return await self._positions.get_position(symbol, call, max_staleness_ms)
        except PositionNotFound:
            await self._assets.get(symbol, call)  # Has the better word for BTCUSD, and for no asset at all.
            raise
