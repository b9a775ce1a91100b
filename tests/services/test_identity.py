"""IdentityService: who is let in, who is not, and what is kept of a secret."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network
from types import FrameType
from typing import Any

import pytest

from gateway.domain.errors import (
    FieldInvalid,
    JournalUnavailable,
    NetworkNotAllowed,
    ResourceExhausted,
    ResourceNotFound,
    TokenExpired,
    TokenInvalid,
)
from gateway.domain.models.identity import TTL_MAX_MS, IPAddress, Scope, Token
from gateway.domain.types import MS_PER_DAY, NANOS_PER_MS, NANOS_PER_SECOND, Venue
from gateway.infrastructure.persistence.identity_store import MemoryIdentities
from gateway.services import identity as subject
from gateway.services.identity import Grant, IdentityService, Minted

START_NS = 1_700_000_000 * NANOS_PER_SECOND


def home() -> IPAddress:
    return ip_address("127.0.0.1")


TRADER = Grant("momentum", frozenset({Scope.ORDERS_TRADE, Scope.ORDERS_READ}))


class Wall:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now_ns = START_NS

    def __call__(self) -> int:
        return self.now_ns

    def pass_ms(self, ms: int) -> None:
        self.now_ns += ms * NANOS_PER_MS


class FailingStore(MemoryIdentities):
    """Keeps nothing from a moment on."""

    is_failing = False

    async def put(self, tokens: object, forget: object = ()) -> None:
        if self.is_failing:
            raise JournalUnavailable("the disk is full")
        await super().put(tokens, forget)  # type: ignore[arg-type]


class SlowStore(MemoryIdentities):
    """Writes when it may; what it was given then is what it writes."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go = asyncio.Event()
        self.may_go.set()
        self.is_asked = asyncio.Event()
        self._writing = asyncio.Lock()

    async def put(self, tokens: Sequence[Token], forget: Sequence[str] = ()) -> None:
        self.is_asked.set()
        async with self._writing:
            await self.may_go.wait()
            await super().put(tokens, forget)
        self.is_asked.clear()


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def store() -> FailingStore:
    return FailingStore()


@pytest.fixture
def identity(store: FailingStore, wall: Wall) -> IdentityService:
    return IdentityService(store, Venue.EMULATOR, wall)


def bearer(minted: Minted) -> str:
    return f"Bearer {minted.secret}"


async def test_a_secret_is_shown_once_kept_as_a_hash_and_lets_its_holder_in(
    identity: IdentityService, store: FailingStore
) -> None:
    minted = await identity.mint(TRADER)
    caller = identity.verify(bearer(minted), home)
    assert (caller.strategy_id, caller.token_id, caller.scopes) == ("momentum", minted.token.token_id, TRADER.scopes)
    (kept,) = store.all()
    assert kept.secret_hash == hashlib.sha256(minted.secret.encode()).digest()
    assert minted.secret.startswith(f"gw_emu_{minted.token.token_id}_")
    assert minted.secret not in repr(kept) + repr(caller)
    assert minted.secret not in repr(minted)
    assert repr(kept.secret_hash) not in repr(kept)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer"])
async def test_the_scheme_may_be_in_any_case(identity: IdentityService, scheme: str) -> None:
    minted = await identity.mint(TRADER)
    assert identity.verify(f"{scheme} {minted.secret}", home).token_id == minted.token.token_id


async def test_every_wrong_secret_is_refused_in_the_same_words(identity: IdentityService) -> None:
    minted = await identity.mint(TRADER)
    revoked = await identity.mint(TRADER)
    await identity.revoke(revoked.token.token_id)
    right = minted.secret
    flipped = right[:-1] + ("A" if right[-1] != "A" else "B")
    wrong = [
        "", "Bearer", "Bearer ", f"Bearer  {right}", f"Basic {right}", right, f"Bearer {right} ",
        f"Bearer {right[:-1]}", f"Bearer {flipped}", f"Bearer {right}x", f"Bearer {right}\0",
        "Bearer " + "g" * 8_192, f"Bearer {revoked.secret}",
        f"Bearer {right.replace('gw_emu', 'gw_live')}", f"Bearer gw_emu_00000000_{'A' * 43}", "Bearer gw_emu_ü",
    ]  # fmt: skip
    words = set()
    for header in wrong:
        with pytest.raises(TokenInvalid) as refused:
            identity.verify(header, home)
        words.add((refused.value.message, refused.value.reason, refused.value.key))
    assert len(words) == 1


async def wrong_secrets(identity: IdentityService, wall: Wall) -> dict[str, str]:
    """Headers of everybody who guesses, well formed; whoever has no right secret must not learn which one he is."""
    usable, revoked, expired = [await identity.mint(TRADER, ttl_ms=ttl) for ttl in (90 * MS_PER_DAY, MS_PER_DAY, 1)]
    await identity.revoke(revoked.token.token_id)
    wall.pass_ms(2)

    def guess(minted: Minted) -> str:
        return f"Bearer {minted.secret[:-43]}{'A' * 43}"

    right = usable.secret
    return {
        "unknown id": f"Bearer gw_emu_00000000_{'A' * 43}",
        "wrong from the first character": guess(usable),
        "wrong in the last character": f"Bearer {right[:-1]}{'A' if right[-1] != 'A' else 'B'}",
        "revoked": guess(revoked),
        "expired": guess(expired),
    }


async def test_who_guesses_cannot_tell_from_the_work_what_was_wrong(identity: IdentityService, wall: Wall) -> None:
    """Not by time, which a test cannot hold, but by what is called: the same functions, in the same order."""
    traces = {}
    for name, header in (await wrong_secrets(identity, wall)).items():
        calls: list[str] = []

        def note(frame: FrameType, event: str, argument: Any, calls: list[str] = calls) -> None:
            if event in {"call", "c_call"}:
                calls.append(frame.f_code.co_qualname if event == "call" else argument.__qualname__)

        sys.setprofile(note)
        try:
            with suppress(TokenInvalid):
                identity.verify(header, home)
        finally:
            sys.setprofile(None)
        traces[name] = calls
    assert len({tuple(calls) for calls in traces.values()}) == 1, traces
    (work, *_) = traces.values()
    assert [work.count(name) for name in ("openssl_sha256", "compare_digest")] == [1, 1], work


async def test_a_token_of_another_venue_opens_nothing(store: FailingStore, wall: Wall) -> None:
    minted = await IdentityService(store, Venue.PAPER, wall).mint(TRADER)
    assert minted.secret.startswith("gw_paper_")
    with pytest.raises(TokenInvalid):
        IdentityService(store, Venue.LIVE, wall).verify(bearer(minted), home)


async def test_a_token_of_another_venue_counts_for_nothing_here(store: FailingStore, wall: Wall) -> None:
    """Neither its certificate nor a successor opens this one, and nobody could come in by it; it can be ended."""
    grant = Grant("momentum", TRADER.scopes, certificate="spiffe://gw/momentum")
    paper = IdentityService(store, Venue.PAPER, wall)
    foreign = (await paper.mint(grant)).token
    here = IdentityService(store, Venue.EMULATOR, wall)
    assert (paper.has_usable_token(), here.has_usable_token()) == (True, False)
    assert paper.verify_certificate([grant.certificate], home).token_id == foreign.token_id
    with pytest.raises(TokenInvalid):
        here.verify_certificate([grant.certificate], home)
    with pytest.raises(ResourceNotFound):
        await here.rotate(foreign.token_id)
    own = await here.mint(grant)  # the name on the certificate is not taken here
    assert here.verify_certificate([grant.certificate], home).token_id == own.token.token_id
    assert (await here.revoke(foreign.token_id)).revoke_time_ns is not None
    assert not IdentityService(store, Venue.PAPER, wall).has_usable_token()


async def test_time_ends_a_token_and_says_so_to_its_holder(identity: IdentityService, wall: Wall) -> None:
    minted = await identity.mint(TRADER, ttl_ms=1_000)
    caller = identity.verify(bearer(minted), home)
    wall.pass_ms(999)
    assert identity.ended_by(caller) is None
    wall.pass_ms(1)
    assert isinstance(identity.ended_by(caller), TokenExpired)
    assert not identity.has_usable_token()
    with pytest.raises(TokenExpired):
        identity.verify(bearer(minted), home)


async def test_revoking_ends_at_once_twice_is_once_and_a_restart_remembers(
    identity: IdentityService, store: FailingStore, wall: Wall
) -> None:
    minted = await identity.mint(TRADER)
    caller = identity.verify(bearer(minted), home)
    ended = await identity.revoke(minted.token.token_id)
    wall.pass_ms(5)
    assert await identity.revoke(minted.token.token_id) == ended
    assert isinstance(identity.ended_by(caller), TokenInvalid)
    with pytest.raises(TokenInvalid):
        IdentityService(store, Venue.EMULATOR, wall).verify(bearer(minted), home)
    with pytest.raises(ResourceNotFound):
        await identity.revoke("00000000")


async def test_a_revocation_takes_effect_although_the_disk_cannot_keep_it(
    identity: IdentityService, store: FailingStore
) -> None:
    minted = await identity.mint(TRADER)
    store.is_failing = True
    with pytest.raises(JournalUnavailable):
        await identity.revoke(minted.token.token_id)
    with pytest.raises(TokenInvalid):
        identity.verify(bearer(minted), home)
    with pytest.raises(JournalUnavailable):  # it is as unkept as before
        await identity.revoke(minted.token.token_id)
    store.is_failing = False
    ended = await identity.revoke(minted.token.token_id)
    assert store.all() == [ended]


async def test_a_revocation_stands_whatever_is_being_written_at_that_moment(wall: Wall) -> None:
    """A rotation that began before it, and the note of a use: neither brings the token back, here or on the disk."""
    store = SlowStore()
    identity = IdentityService(store, Venue.EMULATOR, wall)
    for work in ("rotate", "use"):
        minted = await identity.mint(TRADER)
        identity.verify(bearer(minted), home)
        store.may_go.clear()
        begun = identity.rotate(minted.token.token_id) if work == "rotate" else identity.keep_uses()
        writing = asyncio.create_task(begun)
        await store.is_asked.wait()
        revoking = asyncio.create_task(identity.revoke(minted.token.token_id))
        await asyncio.sleep(0)
        with pytest.raises(TokenInvalid):
            identity.verify(bearer(minted), home)
        store.may_go.set()
        await asyncio.gather(writing, revoking)
        for service in (identity, IdentityService(store, Venue.EMULATOR, wall)):
            with pytest.raises(TokenInvalid):
                service.verify(bearer(minted), home)


async def test_a_use_that_is_noted_during_a_rotation_does_not_undo_its_end(wall: Wall) -> None:
    store = SlowStore()
    identity = IdentityService(store, Venue.EMULATOR, wall)
    minted = await identity.mint(TRADER)
    identity.verify(bearer(minted), home)
    store.may_go.clear()
    rotating = asyncio.create_task(identity.rotate(minted.token.token_id, overlap_ms=0))
    await store.is_asked.wait()
    noting = asyncio.create_task(identity.keep_uses())
    await asyncio.sleep(0)
    store.may_go.set()
    await asyncio.gather(rotating, noting)
    with pytest.raises(TokenInvalid):
        IdentityService(store, Venue.EMULATOR, wall).verify(bearer(minted), home)


async def test_two_tokens_minted_at_once_do_not_share_a_certificate(wall: Wall) -> None:
    store = SlowStore()
    store.may_go.clear()
    identity = IdentityService(store, Venue.EMULATOR, wall)
    grant = Grant("momentum", TRADER.scopes, certificate="spiffe://gw/m")
    minting = asyncio.gather(identity.mint(grant), identity.mint(grant), return_exceptions=True)
    await store.is_asked.wait()
    await asyncio.sleep(0)
    store.may_go.set()
    answers = await minting
    assert [type(answer) for answer in answers] == [Minted, FieldInvalid]


async def test_a_token_that_could_not_be_kept_is_not_valid(identity: IdentityService, store: FailingStore) -> None:
    store.is_failing = True
    with pytest.raises(JournalUnavailable):
        await identity.mint(TRADER)
    assert not identity.list()


async def test_a_rotation_keeps_the_rights_and_both_secrets_for_the_overlap(
    identity: IdentityService, wall: Wall
) -> None:
    old = await identity.mint(Grant("momentum", TRADER.scopes, frozenset({"AAPL"}), certificate="spiffe://gw/m"))
    new = await identity.rotate(old.token.token_id, overlap_ms=1_000)
    for minted in (old, new):
        assert identity.verify(bearer(minted), home).symbols == frozenset({"AAPL"})
    assert identity.verify_certificate(["spiffe://gw/m"], home).token_id == new.token.token_id
    wall.pass_ms(1_000)
    with pytest.raises(TokenInvalid):
        identity.verify(bearer(old), home)
    assert identity.verify(bearer(new), home).strategy_id == "momentum"
    with pytest.raises(ResourceNotFound):
        await identity.rotate(old.token.token_id)


async def test_networks_bind_a_token_to_addresses(identity: IdentityService) -> None:
    minted = await identity.mint(Grant("momentum", TRADER.scopes, networks=(ip_network("10.0.0.0/8"),)))
    assert identity.verify(bearer(minted), lambda: ip_address("10.1.2.3")).strategy_id == "momentum"
    for elsewhere in (ip_address("11.0.0.1"), ip_address("::1")):
        with pytest.raises(NetworkNotAllowed):
            identity.verify(bearer(minted), lambda address=elsewhere: address)


async def test_a_certificate_stands_for_one_token_until_that_ends(identity: IdentityService, wall: Wall) -> None:
    grant = Grant("momentum", TRADER.scopes, certificate="spiffe://gw/momentum")
    minted = await identity.mint(grant)
    assert identity.verify_certificate(["spiffe://other", grant.certificate], home).strategy_id == "momentum"
    with pytest.raises(FieldInvalid, match="certificate"):
        await identity.mint(grant)
    with pytest.raises(TokenInvalid):
        identity.verify_certificate(["spiffe://gw/nobody"], home)
    await identity.revoke(minted.token.token_id)
    with pytest.raises(TokenInvalid):
        identity.verify_certificate([grant.certificate], home)
    await identity.mint(grant, ttl_ms=1)
    wall.pass_ms(1)  # nor does one whose time is over keep it
    again = await identity.mint(grant)
    assert identity.verify_certificate([grant.certificate], home).token_id == again.token.token_id


async def test_a_certificate_with_two_names_is_nobodys(identity: IdentityService) -> None:
    """Whoever signed it did not say which of them its holder is; one that has ended is a name no more."""
    names = ("spiffe://gw/momentum", "spiffe://gw/carry")
    minted = [await identity.mint(Grant(name.rpartition("/")[2], TRADER.scopes, certificate=name)) for name in names]
    with pytest.raises(TokenInvalid):
        identity.verify_certificate(names, home)
    await identity.revoke(minted[0].token.token_id)
    assert identity.verify_certificate(names, home).strategy_id == "carry"


@pytest.mark.parametrize(
    ("grant", "ttl_ms", "field"),
    [
        (Grant("momentum", frozenset()), 1, "scopes"),
        (Grant("", frozenset({Scope.ORDERS_TRADE})), 1, "strategy_id"),
        (Grant("operator", TRADER.scopes), 1, "strategy_id"),
        (Grant("gateway", TRADER.scopes), 1, "strategy_id"),
        (TRADER, 0, "ttl"),
        (TRADER, TTL_MAX_MS + 1, "ttl"),
    ],
)
async def test_a_grant_that_makes_no_sense_is_refused(
    identity: IdentityService, grant: Grant, ttl_ms: int, field: str
) -> None:
    with pytest.raises(FieldInvalid) as refused:
        await identity.mint(grant, ttl_ms)
    assert [violation.field for violation in refused.value.violations] == [field]


async def test_a_full_table_forgets_the_oldest_ended_token_and_no_usable_one(
    identity: IdentityService, store: FailingStore, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "TOKENS_MAX", 2)
    ended = await identity.mint(Grant("momentum", TRADER.scopes, certificate="spiffe://gw/m"), ttl_ms=1)
    wall.pass_ms(1)
    await identity.mint(TRADER)
    newest = await identity.mint(TRADER)
    assert ended.token.token_id not in {token.token_id for token in store.all()}
    with pytest.raises(TokenInvalid):
        identity.verify_certificate(["spiffe://gw/m"], home)
    with pytest.raises(ResourceExhausted):
        await identity.mint(TRADER)
    assert len(identity.list()) == 2
    assert newest.token in identity.list()


async def test_uses_are_kept_to_the_minute(identity: IdentityService, store: FailingStore, wall: Wall) -> None:
    minted = await identity.mint(TRADER)
    wall.pass_ms(MS_PER_DAY)
    identity.verify(bearer(minted), home)
    identity.verify(bearer(minted), home)
    await identity.keep_uses()
    (kept,) = store.all()
    used_ns = kept.last_used_time_ns
    assert used_ns is not None
    assert used_ns % (60 * NANOS_PER_SECOND) == 0
    assert 0 <= wall.now_ns - used_ns < 60e9


async def test_lists_are_newest_first_and_leave_out_what_has_ended(identity: IdentityService, wall: Wall) -> None:
    first = await identity.mint(TRADER)
    wall.pass_ms(1)
    second = await identity.mint(Grant("carry", frozenset({Scope.ORDERS_READ})))
    wall.pass_ms(1)
    third = await identity.mint(TRADER)
    await identity.revoke(third.token.token_id)

    def ids(tokens: object) -> list[str]:
        return [token.token_id for token in tokens if isinstance(token, Token)]  # type: ignore[attr-defined]

    assert ids(identity.list()) == [second.token.token_id, first.token.token_id]
    assert ids(identity.list("momentum", include_ended=True)) == [third.token.token_id, first.token.token_id]
