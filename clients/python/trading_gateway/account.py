"""AccountService: one function per rpc."""

from __future__ import annotations

from trading_gateway.call import Call, read, whole
from trading_gateway.v1 import account_pb2 as pb
from trading_gateway.values import duration


def get_account(*, max_staleness_s: float | None = None) -> Call[pb.Account]:
    """Cash, equity, buying power and restrictions.

    Args:
        max_staleness_s: How old the answer may be, in seconds; None: 1 s; 0: ask the venue, which spends
            request budget.
    """
    request = pb.GetAccountRequest(max_staleness=duration(max_staleness_s))
    return read("AccountService/GetAccount", request, pb.GetAccountResponse, lambda response: response.account)


def list_positions(*, max_staleness_s: float | None = None) -> Call[pb.ListPositionsResponse]:
    """All positions, and when the venue was read.

    Args:
        max_staleness_s: As in `get_account`.
    """
    request = pb.ListPositionsRequest(max_staleness=duration(max_staleness_s))
    return read("AccountService/ListPositions", request, pb.ListPositionsResponse, whole)


def get_position(symbol: str, *, max_staleness_s: float | None = None) -> Call[pb.Position]:
    """One position; POSITION_NOT_FOUND when there is none.

    Args:
        symbol: As "AAPL" or "BTC/USD".
        max_staleness_s: As in `get_account`.
    """
    request = pb.GetPositionRequest(symbol=symbol, max_staleness=duration(max_staleness_s))
    return read("AccountService/GetPosition", request, pb.GetPositionResponse, lambda response: response.position)


def get_quota() -> Call[pb.Quota]:
    """What is left of the venue's requests, and of this client's own calls, streams and symbols."""
    return read("AccountService/GetQuota", pb.GetQuotaRequest(), pb.GetQuotaResponse, lambda response: response.quota)
