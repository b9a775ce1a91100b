"""operations.proto: tokens, and which scope each method needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from ipaddress import ip_network
from typing import Final

from gateway.domain.models.identity import TTL_MAX_MS, IPNetwork, Scope, Token
from gateway.domain.models.market_data import Page
from gateway.domain.types import format_decimal
from gateway.servicers.permissions import Access, MethodRule
from gateway.servicers.wire.common import RequestReader, optional_timestamp_to_proto, timestamp_to_proto
from gateway.services.identity import OVERLAP_DEFAULT_MS, OVERLAP_MAX_MS, TTL_DEFAULT_MS, Grant, Minted
from trading_gateway.v1 import operations_pb2 as pb

SYMBOLS_MAX: Final = 1_000
NETWORKS_MAX: Final = 32
CERTIFICATE_CHARACTERS_MAX: Final = 512
TOKENS_PAGE_SIZE_DEFAULT: Final = 100
TOKENS_PAGE_SIZE_MAX: Final = 1_000
TTL_MIN_MS: Final = 1_000

_SCOPES: Final = {scope.value: scope for scope in Scope}
_TOKEN_ID: Final = re.compile(r"[0-9a-f]{8}", re.ASCII)
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*://[!-~]+", re.ASCII)
_NETWORK_CHARACTERS_MAX: Final = 49
"""Of the longest IPv6 network."""


def grant_from_proto(request: pb.MintTokenRequest) -> tuple[Grant, int]:
    """What a token is to allow, and how long, in milliseconds; FieldInvalid with every bad field."""
    reader = RequestReader()
    strategy_id = reader.optional_strategy("strategy_id", request.strategy_id)
    scopes = _scopes(reader, request.scopes)
    symbols = reader.symbols("symbols", request.symbols, at_most=SYMBOLS_MAX)
    cap: Decimal | None = None
    if request.HasField("max_order_notional"):
        cap = reader.decimal("max_order_notional", request.max_order_notional)
    networks = _networks(reader, request.networks)
    certificate = reader.text("certificate", request.certificate, characters_max=CERTIFICATE_CHARACTERS_MAX)
    if certificate and not _URI.fullmatch(certificate):
        reader.refuse("certificate", "must be a URI, as spiffe://gateway/momentum")
    ttl_ms = _ttl_ms(reader, request)
    reader.finish()
    return Grant(strategy_id, scopes, frozenset(symbols), cap, networks, certificate), ttl_ms


def token_filter_from_proto(request: pb.ListTokensRequest) -> tuple[str, bool, int, str]:
    """Whose, whether ended ones too, how many, and the page; FieldInvalid with every bad field."""
    reader = RequestReader()
    strategy_id = reader.optional_strategy("strategy_id", request.strategy_id)
    page_size = reader.page_size(
        "page_size", request.page_size, default=TOKENS_PAGE_SIZE_DEFAULT, most=TOKENS_PAGE_SIZE_MAX
    )
    page_token = reader.token("page_token", request.page_token)
    reader.finish()
    return strategy_id, request.include_ended, page_size, page_token


def rotation_from_proto(request: pb.RotateTokenRequest) -> tuple[str, int, int]:
    """Which token, its overlap and the new one's life, in milliseconds; FieldInvalid with every bad field."""
    reader = RequestReader()
    token_id = _token_id(reader, request.token_id)
    overlap_ms = OVERLAP_DEFAULT_MS
    if request.HasField("overlap"):
        overlap_ms = reader.duration_ms("overlap", request.overlap, least_ms=0, most_ms=OVERLAP_MAX_MS)
    ttl_ms = _ttl_ms(reader, request)
    reader.finish()
    return token_id, overlap_ms, ttl_ms


def token_id_from_proto(request: pb.RevokeTokenRequest) -> str:
    """Which token; FieldInvalid when that cannot be told."""
    reader = RequestReader()
    token_id = _token_id(reader, request.token_id)
    reader.finish()
    return token_id


def token_to_proto(token: Token) -> pb.Token:
    """What the holder of a secret may do."""
    return pb.Token(
        token_id=token.token_id,
        strategy_id=token.strategy_id,
        scopes=sorted(token.scopes),
        symbols=sorted(token.symbols),
        max_order_notional=None if token.max_order_notional is None else format_decimal(token.max_order_notional),
        networks=map(str, token.networks),
        create_time=timestamp_to_proto(token.create_time_ns),
        expire_time=timestamp_to_proto(token.expire_time_ns),
        revoke_time=optional_timestamp_to_proto(token.revoke_time_ns),
        last_used_time=optional_timestamp_to_proto(token.last_used_time_ns),
        certificate=token.certificate,
    )


def minted_to_proto(minted: Minted) -> pb.MintTokenResponse:
    """A new token and its secret."""
    return pb.MintTokenResponse(token=token_to_proto(minted.token), secret=minted.secret)


def rotated_to_proto(minted: Minted) -> pb.RotateTokenResponse:
    """A successor and its secret."""
    return pb.RotateTokenResponse(token=token_to_proto(minted.token), secret=minted.secret)


def token_page_to_proto(page: Page[Token]) -> pb.ListTokensResponse:
    """One page of tokens."""
    return pb.ListTokensResponse(tokens=map(token_to_proto, page.items), next_page_token=page.next_page_token)


def scopes_to_proto(rules: Mapping[str, MethodRule]) -> pb.ListScopesResponse:
    """The table, by method; what is public needs nothing and is left out."""
    return pb.ListScopesResponse(
        methods=(
            pb.MethodScope(method=method, scope=scope)
            for method, rule in sorted(rules.items())
            if rule.access is not Access.PUBLIC
            for scope in (("",) if isinstance(rule.access, Access) else sorted(rule.access))
        )
    )


def _scopes(reader: RequestReader, words: Iterable[str]) -> frozenset[Scope]:
    found: set[Scope] = set()
    listed = list(words)
    if len(listed) > len(_SCOPES):
        reader.refuse("scopes", f"at most {len(_SCOPES)}")
    for position, word in enumerate(listed[: len(_SCOPES)]):
        scope = _SCOPES.get(word)
        if scope is None:
            reader.refuse(f"scopes[{position}]", "is no scope: ListScopes names them")
        else:
            found.add(scope)
    return frozenset(found)


def _networks(reader: RequestReader, texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    found: list[IPNetwork] = []
    listed = list(texts)
    if len(listed) > NETWORKS_MAX:
        reader.refuse("networks", f"at most {NETWORKS_MAX}")
    for position, text in enumerate(listed[:NETWORKS_MAX]):
        try:
            if len(text) > _NETWORK_CHARACTERS_MAX or "%" in text:  # after it Python takes any text for an interface
                raise ValueError
            found.append(ip_network(text))
        except ValueError:
            reader.refuse(f"networks[{position}]", "must be a network in CIDR form, as 10.1.0.0/16 or ::1/128")
    return tuple(found)


def _token_id(reader: RequestReader, text: str) -> str:
    if not _TOKEN_ID.fullmatch(text):
        reader.refuse("token_id", "must be 8 hexadecimal digits in lower case, as ListTokens shows them")
    return text


def _ttl_ms(reader: RequestReader, request: pb.MintTokenRequest | pb.RotateTokenRequest) -> int:
    if not request.HasField("ttl"):
        return TTL_DEFAULT_MS
    return reader.duration_ms("ttl", request.ttl, least_ms=TTL_MIN_MS, most_ms=TTL_MAX_MS)
