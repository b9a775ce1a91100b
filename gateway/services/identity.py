"""IdentityService: tokens, minted, verified, rotated and revoked.

Promises: a secret is known to its holder alone (256 random bits, kept as SHA-256, told once); whether one is right
takes the same work and says the same words for every wrong one; a revoked or expired token grants nothing from that
instant, and `ended_by` says so of callers that are being served. A revocation takes effect even if the disk cannot keep
it, and then says so. Leaves to the doors where a call came from and what its method needs, and to the store what is
kept over a restart.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from gateway.domain.errors import (
    FieldInvalid,
    FieldViolation,
    JournalUnavailable,
    NetworkNotAllowed,
    ResourceExhausted,
    ResourceNotFound,
    TokenExpired,
    TokenInvalid,
    Unauthenticated,
)
from gateway.domain.interfaces import IdentityStore
from gateway.domain.models.identity import OPERATOR_SCOPES, TTL_MAX_MS, IPAddress, IPNetwork, Scope, Token, TokenState
from gateway.domain.models.market_data import Page
from gateway.domain.page_tokens import list_digest, number_of, read_page_token, write_page_token
from gateway.domain.types import MS_PER_DAY, NANOS_PER_MS, NANOS_PER_SECOND, Caller, Venue

TTL_DEFAULT_MS: Final = 90 * MS_PER_DAY
OVERLAP_DEFAULT_MS: Final = 3_600_000
OVERLAP_MAX_MS: Final = 7 * MS_PER_DAY
TOKENS_MAX: Final = 10_000
"""Kept, ended ones included; the oldest ended ones make room."""

AddressOf = Callable[[], IPAddress]

NAMES_OF_NO_STRATEGY: Final = frozenset({"operator", "local", "gateway", "others", "public"})
"""In the audit log these are who acts without a strategy."""

_ID_BYTES: Final = 4
_SECRET_BYTES: Final = 32
_ENVIRONMENTS: Final = {Venue.EMULATOR: "emu", Venue.PAPER: "paper", Venue.LIVE: "live"}
_SECRET: Final = re.compile(r"gw_(emu|paper|live)_([0-9a-f]{8})_[A-Za-z0-9_-]{43}", re.ASCII)
_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] ([^ ]+)", re.ASCII)
_RESOURCE: Final = {"resource": "token"}
_NOBODY_HASH: Final = bytes(32)
_USED_STEP_NS: Final = 60 * NANOS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Grant:
    """What a new token is to allow; the fields are `Token`'s."""

    strategy_id: str
    scopes: frozenset[Scope]
    symbols: frozenset[str] = frozenset()
    max_order_notional: Decimal | None = None
    networks: tuple[IPNetwork, ...] = ()
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class Minted:
    """A token and its secret, which nobody can be told again."""

    token: Token
    secret: str = field(repr=False)


class IdentityService:
    """Knows every token of one data directory. On the event loop alone.

    Args:
        store: Keeps tokens over a restart.
        venue: Is part of every secret, so that a paper token opens nothing that is live.
        wall: Nanoseconds since the Unix epoch.
    """

    def __init__(self, store: IdentityStore, venue: Venue, wall: Callable[[], int]) -> None:
        self._store = store
        self._venue = venue
        self._environment = _ENVIRONMENTS[venue]
        self._wall = wall
        self._tokens: dict[str, Token] = {}
        self._callers: dict[str, Caller] = {}
        self._by_certificate: dict[str, str] = {}
        self._used: set[str] = set()
        self._unkept: set[str] = set()
        self._changing = asyncio.Lock()
        for token in store.all():
            self._keep(token)

    def verify(self, authorization: str, address_of: AddressOf) -> Caller:
        """Who holds the secret of this header.

        Args:
            authorization: As "Bearer gw_...".
            address_of: Where the call came from; asked only if the token cares.

        Raises:
            TokenInvalid: No such secret, or a revoked one.
            TokenExpired: Its time is over.
            NetworkNotAllowed: It may not be used from there.
        """
        bearer = _BEARER.fullmatch(authorization)
        secret = bearer[1] if bearer is not None else ""
        parts = _SECRET.fullmatch(secret)
        token = self._tokens.get(parts[2]) if parts is not None else None
        shown = hashlib.sha256(secret.encode(errors="replace")).digest()
        is_right = hmac.compare_digest(shown, _NOBODY_HASH if token is None else token.secret_hash)
        if token is None or parts is None or not is_right or parts[1] != self._environment:
            raise TokenInvalid
        return self._admit(token, address_of)

    def verify_certificate(self, uris: Iterable[str], address_of: AddressOf) -> Caller:
        """Whom a client certificate stands for.

        Args:
            uris: The URIs among its subject alternative names.
            address_of: Where the call came from; asked only if the token cares.

        Raises:
            TokenInvalid: Nobody, or several.
            TokenExpired, NetworkNotAllowed: As `verify`.
        """
        named = {self._by_certificate[uri] for uri in uris if uri in self._by_certificate}
        if len(named) != 1:
            raise TokenInvalid
        return self._admit(self._tokens[named.pop()], address_of)

    def ended_by(self, caller: Caller) -> Unauthenticated | None:
        """Why a caller that was let in may not be here any more; None: it may."""
        now_ns = self._wall()
        if caller.certified_until_ns is not None and now_ns >= caller.certified_until_ns:
            return TokenExpired("the client certificate's time is over")
        if not caller.token_id:
            return None
        token = self._tokens.get(caller.token_id)
        return TokenInvalid() if token is None else _end_of(token, now_ns)

    def is_same_holder(self, one: Caller, other: Caller) -> bool:
        """Whether two tokens are one holder's: a strategy's; operators, who have none, by their certificate."""
        if one.strategy_id or other.strategy_id:
            return one.strategy_id == other.strategy_id
        return self._tokens[one.token_id].certificate == self._tokens[other.token_id].certificate

    def has_usable_token(self) -> bool:
        """Whether anybody could come in."""
        return any(map(self._opens_this_venue, self._tokens.values()))

    def list(self, strategy_id: str = "", *, include_ended: bool = False) -> Sequence[Token]:
        """Tokens, newest first; of one strategy, or of all."""
        now_ns = self._wall()
        found = [
            token
            for token in self._tokens.values()
            if (not strategy_id or token.strategy_id == strategy_id)
            and (include_ended or token.state(now_ns) is TokenState.USABLE)
        ]
        return sorted(found, key=_place)

    def page(self, strategy_id: str, page_size: int, page_token: str, *, include_ended: bool) -> Page[Token]:
        """One page of `list`.

        Raises:
            PageTokenMismatch: The token belongs to another list.
        """
        digest = list_digest("ListTokens", {"strategy_id": strategy_id, "include_ended": include_ended})
        found = self.list(strategy_id, include_ended=include_ended)
        if page_token:
            created, token_id = read_page_token(page_token, digest, 2)
            after = (-number_of(created), token_id)
            found = [token for token in found if _place(token) > after]
        last = found[page_size - 1] if len(found) > page_size else None
        next_token = "" if last is None else write_page_token(digest, last.create_time_ns, last.token_id)
        return Page(tuple(found[:page_size]), next_token)

    async def mint(self, grant: Grant, ttl_ms: int = TTL_DEFAULT_MS) -> Minted:
        """Make a token; durable when this returns.

        Raises:
            FieldInvalid: Scopes, strategy or ttl do not go together.
            ResourceExhausted: There are as many as may be kept.
            JournalUnavailable: It could not be kept, and is not valid.
        """
        async with self._changing:
            is_taken = self._is_certificate_taken(grant.certificate)
            violations = [*_violations_of(grant, is_certificate_taken=is_taken), *_violations_of_ttl(ttl_ms)]
            if violations:
                raise FieldInvalid.of(violations)
            minted = self._minted(grant, ttl_ms)
            await self._store.put((minted.token,), self._make_room())
            self._keep(minted.token)
        return minted

    async def rotate(self, token_id: str, overlap_ms: int = OVERLAP_DEFAULT_MS, ttl_ms: int = TTL_DEFAULT_MS) -> Minted:
        """Make a successor with the same rights; the old one ends after the overlap, both in one step.

        Raises:
            ResourceNotFound: There is none, or it has ended, or it is another venue's.
            FieldInvalid: A duration is out of bounds.
            JournalUnavailable: Nothing changed.
        """
        violations = list(_violations_of_ttl(ttl_ms))
        if not 0 <= overlap_ms <= OVERLAP_MAX_MS:
            violations.append(FieldViolation("overlap", "must be 0 to 7 days"))
        if violations:
            raise FieldInvalid.of(violations)
        async with self._changing:
            old = self._usable_token(token_id)
            minted = self._minted(
                Grant(old.strategy_id, old.scopes, old.symbols, old.max_order_notional, old.networks, old.certificate),
                ttl_ms,
            )
            ending = _ended(old, self._wall() + overlap_ms * NANOS_PER_MS)
            await self._store.put((minted.token, ending), self._make_room())
            # It may have been revoked meanwhile: the earlier end stands, and is on its way to the disk.
            self._keep(_ended(self._tokens.get(token_id, old), ending.revoke_time_ns))
            self._keep(minted.token)
        return minted

    async def revoke(self, token_id: str) -> Token:
        """End a token, now. Revoking again changes nothing.

        Raises:
            ResourceNotFound: There is none.
            JournalUnavailable: It is ended in this process, but the disk could not keep that: a restart would
                bring it back.
        """
        token = self._tokens.get(token_id)
        if token is None:
            raise ResourceNotFound("no such token", metadata=_RESOURCE)
        ended = _ended(token, self._wall())
        if ended is token and token_id not in self._unkept:
            return token
        self._keep(ended)  # first: whoever leaked it is out, whatever the disk says
        self._unkept.add(token_id)
        async with self._changing:
            await self._store.end(ended)
        self._unkept.discard(token_id)
        return ended

    async def keep_uses(self) -> None:
        """Write down which tokens were used since the last time; what cannot be written is no loss."""
        async with self._changing:  # else a change that is being written would be written over
            used = [self._tokens[token_id] for token_id in self._used if token_id in self._tokens]
            self._used.clear()
            if used:
                with suppress(JournalUnavailable):
                    await self._store.put(used)

    async def run(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Keep uses until canceled."""
        while True:
            await sleep(_USED_STEP_NS / NANOS_PER_SECOND)
            await self.keep_uses()

    def _admit(self, token: Token, address_of: AddressOf) -> Caller:
        now_ns = self._wall()
        if (end := _end_of(token, now_ns)) is not None:
            raise end
        if token.networks and not token.allows_address(address_of()):
            raise NetworkNotAllowed("the token may not be used from this address")
        if token.last_used_time_ns is None or now_ns - token.last_used_time_ns >= _USED_STEP_NS:
            minute_ns = now_ns - now_ns % _USED_STEP_NS
            self._tokens[token.token_id] = dataclasses.replace(token, last_used_time_ns=minute_ns)
            self._used.add(token.token_id)
        return self._callers[token.token_id]

    def _usable_token(self, token_id: str) -> Token:
        token = self._tokens.get(token_id)
        if token is None or not self._opens_this_venue(token):
            raise ResourceNotFound("no such token of this venue, or it has ended", metadata=_RESOURCE)
        return token

    def _minted(self, grant: Grant, ttl_ms: int) -> Minted:
        token_id = secrets.token_hex(_ID_BYTES)
        while token_id in self._tokens:
            token_id = secrets.token_hex(_ID_BYTES)
        secret = f"gw_{self._environment}_{token_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        now_ns = self._wall()
        token = Token(
            token_id,
            grant.strategy_id,
            grant.scopes,
            hashlib.sha256(secret.encode()).digest(),
            now_ns,
            now_ns + ttl_ms * NANOS_PER_MS,
            grant.symbols,
            grant.max_order_notional,
            grant.networks,
            grant.certificate,
            venue=self._venue.value,
        )
        return Minted(token, secret)

    def _keep(self, token: Token) -> None:
        self._tokens[token.token_id] = token
        self._callers[token.token_id] = _caller_of(token)
        if not token.certificate or token.venue != self._venue:
            return
        if token.revoke_time_ns is None:
            self._by_certificate[token.certificate] = token.token_id
        elif self._by_certificate.get(token.certificate) == token.token_id:
            del self._by_certificate[token.certificate]

    def _make_room(self) -> Sequence[str]:
        """In a full table the oldest ended token goes; its id, for the store.

        Raises:
            ResourceExhausted: All of them are usable.
        """
        if len(self._tokens) < TOKENS_MAX:
            return ()
        now_ns = self._wall()
        ended = [token for token in self._tokens.values() if token.state(now_ns) is not TokenState.USABLE]
        if not ended:
            raise ResourceExhausted(f"{TOKENS_MAX} tokens are as many as may be kept: revoke some")
        oldest = min(ended, key=lambda token: token.create_time_ns)
        del self._tokens[oldest.token_id], self._callers[oldest.token_id]
        if self._by_certificate.get(oldest.certificate) == oldest.token_id:
            del self._by_certificate[oldest.certificate]
        return (oldest.token_id,)

    def _is_certificate_taken(self, certificate: str) -> bool:
        token = self._tokens.get(self._by_certificate.get(certificate, ""))
        return token is not None and self._opens_this_venue(token)

    def _opens_this_venue(self, token: Token) -> bool:
        return token.venue == self._venue and token.state(self._wall()) is TokenState.USABLE


def _end_of(token: Token, now_ns: int) -> Unauthenticated | None:
    match token.state(now_ns):
        case TokenState.REVOKED:
            return TokenInvalid()
        case TokenState.EXPIRED:
            return TokenExpired("the token's time is over: mint or rotate")
        case TokenState.USABLE:
            return None


def _place(token: Token) -> tuple[int, str]:
    return -token.create_time_ns, token.token_id


def _caller_of(token: Token) -> Caller:
    return Caller(
        f"{token.strategy_id or 'operator'}/{token.token_id}",
        token.strategy_id,
        token.token_id,
        token.scopes,
        token.symbols,
        token.max_order_notional,
    )


def _ended(token: Token, end_ns: int | None) -> Token:
    """The token with that end, or with the earlier one that it has."""
    if token.revoke_time_ns is not None and (end_ns is None or token.revoke_time_ns <= end_ns):
        return token
    return dataclasses.replace(token, revoke_time_ns=end_ns)


def _violations_of(grant: Grant, *, is_certificate_taken: bool) -> Iterable[FieldViolation]:
    if not grant.scopes:
        yield FieldViolation("scopes", "at least one is required")
    if not grant.strategy_id and not grant.scopes <= OPERATOR_SCOPES:
        yield FieldViolation("strategy_id", "is required: orders:read and orders:trade are a strategy's")
    if grant.strategy_id in NAMES_OF_NO_STRATEGY:
        yield FieldViolation("strategy_id", "is a name that the audit log has for others")
    if is_certificate_taken:
        yield FieldViolation("certificate", "stands for another token already")


def _violations_of_ttl(ttl_ms: int) -> Iterable[FieldViolation]:
    if not 0 < ttl_ms <= TTL_MAX_MS:
        yield FieldViolation("ttl", "must be more than 0 and at most 366 days")
