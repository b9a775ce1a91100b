"""OperationsService: tokens, and which scope each method needs. For whoever runs the gateway."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trading_gateway.call import Call, Pages, path, read, whole
from trading_gateway.v1 import operations_pb2 as pb
from trading_gateway.values import DecimalLike, decimal_text, duration, symbol_list


def mint_token(
    scopes: Iterable[str],
    *,
    strategy_id: str = "",
    symbols: str | Iterable[str] = (),
    max_order_notional: DecimalLike | None = None,
    networks: Iterable[str] = (),
    ttl_s: float | None = None,
    certificate: str = "",
) -> Call[pb.MintTokenResponse]:
    """Make a token; the answer's `secret` is told this once. Never repeated by itself: it would make two.

    After an ambiguous error there may be a token whose secret nobody knows: `list_tokens` shows it, to be revoked.

    Args:
        scopes: As "orders:trade"; `list_scopes` names them.
        strategy_id: The strategy that its holder is.
        symbols: Only these may be traded; none: all.
        max_order_notional: US dollars of one order; None: no cap of its own.
        networks: Only from these, as "10.1.0.0/16"; none: from anywhere.
        ttl_s: How long it lives, in seconds; None: 90 days.
        certificate: A URI in a client certificate that stands for the secret, as "spiffe://gateway/momentum".
    """
    cap = None if max_order_notional is None else decimal_text("max_order_notional", max_order_notional)
    request = pb.MintTokenRequest(
        strategy_id=strategy_id,
        scopes=symbol_list(scopes),
        symbols=symbol_list(symbols),
        max_order_notional=cap,
        networks=symbol_list(networks),
        ttl=duration(ttl_s),
        certificate=certificate,
    )
    return Call(path("OperationsService/MintToken"), request, pb.MintTokenResponse, whole, repeatable=False)


def list_tokens(*, strategy_id: str = "", include_ended: bool = False, page_size: int = 0) -> Pages[pb.Token]:
    """Tokens without their secrets, newest first.

    Args:
        strategy_id: Only this strategy's; empty: all.
        include_ended: Also expired and revoked ones.
        page_size: Tokens in one answer; 0: the gateway's default.
    """
    request = pb.ListTokensRequest(strategy_id=strategy_id, include_ended=include_ended, page_size=page_size)
    return Pages("OperationsService/ListTokens", request, pb.ListTokensResponse, _tokens)


def rotate_token(
    token_id: str, *, overlap_s: float | None = None, ttl_s: float | None = None
) -> Call[pb.RotateTokenResponse]:
    """Make a successor with the same rights. Never repeated by itself: it would make two.

    Args:
        token_id: As `list_tokens` tells it; not the secret.
        overlap_s: How long the old one goes on, in seconds; None: 1 h; 0: not at all.
        ttl_s: How long the new one lives, in seconds; None: 90 days.
    """
    request = pb.RotateTokenRequest(token_id=token_id, overlap=duration(overlap_s), ttl=duration(ttl_s))
    return Call(path("OperationsService/RotateToken"), request, pb.RotateTokenResponse, whole, repeatable=False)


def revoke_token(token_id: str) -> Call[pb.Token]:
    """End a token and its open streams within a second; again changes nothing.

    Args:
        token_id: As `list_tokens` tells it; not the secret.
    """
    request = pb.RevokeTokenRequest(token_id=token_id)
    return Call(path("OperationsService/RevokeToken"), request, pb.RevokeTokenResponse, _token, repeatable=True)


def list_scopes() -> Call[list[pb.MethodScope]]:
    """Which method needs which scope."""
    return read("OperationsService/ListScopes", pb.ListScopesRequest(), pb.ListScopesResponse, _methods)


def _tokens(page: pb.ListTokensResponse) -> Sequence[pb.Token]:
    return page.tokens


def _token(response: pb.RevokeTokenResponse) -> pb.Token:
    return response.token


def _methods(response: pb.ListScopesResponse) -> list[pb.MethodScope]:
    return list(response.methods)
