"""The file of ended tokens: what a back-up of the journal does not bring back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.domain.errors import JournalUnavailable, TokenInvalid
from gateway.domain.models.identity import Scope, Token
from gateway.domain.types import Venue
from gateway.infrastructure.persistence import database as files
from gateway.infrastructure.persistence.revocation_file import FILE_NAME, KEPT_NS, RevocationFile
from gateway.infrastructure.persistence.schema import DatabaseRefused
from gateway.infrastructure.persistence.stores import Stores, open_stores
from gateway.services.identity import Grant, IdentityService, Minted

NOW_NS = KEPT_NS * 2
GRANT = Grant("momentum", frozenset({Scope.ORDERS_TRADE}))


def token(token_id: str, end_ns: int | None) -> Token:
    return Token(token_id, "momentum", frozenset({Scope.ORDERS_TRADE}), bytes(32), 1, 2, revoke_time_ns=end_ns)


def opened(folder: Path) -> tuple[Stores, IdentityService]:
    stores = open_stores(folder, NOW_NS, 1)
    return stores, IdentityService(stores.identities, Venue.EMULATOR, lambda: NOW_NS)


def is_let_in(identity: IdentityService, minted: Minted) -> bool:
    try:
        identity.verify(f"Bearer {minted.secret}", lambda: pytest.fail("no network is named"))
    except TokenInvalid:
        return False
    return True


async def test_a_back_up_that_is_restored_brings_no_ended_token_back(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    stores, identity = opened(folder)
    leaked, rotated, kept = [await identity.mint(GRANT) for _ in range(3)]
    files.back_up(folder, tmp_path / "copy")
    await identity.revoke(leaked.token.token_id)
    await identity.rotate(rotated.token.token_id, overlap_ms=0)
    await stores.journal.close()
    for name in folder.glob(f"{files.FILE_NAME}*"):
        name.unlink()
    shutil.copy(tmp_path / "copy", folder / files.FILE_NAME)

    stores, identity = opened(folder)
    assert [is_let_in(identity, minted) for minted in (leaked, rotated, kept)] == [False, False, True]
    await stores.journal.close()


async def test_a_journal_that_can_record_no_more_still_lets_a_token_be_ended_for_good(tmp_path: Path) -> None:
    stores, identity = opened(tmp_path)
    leaked, kept = [await identity.mint(GRANT) for _ in range(2)]
    stores.latch("disk full")
    await identity.revoke(leaked.token.token_id)
    with pytest.raises(JournalUnavailable):
        await identity.mint(GRANT)
    await stores.journal.close()
    stores, identity = opened(tmp_path)
    assert [is_let_in(identity, minted) for minted in (leaked, kept)] == [False, True]
    await stores.journal.close()


async def test_without_either_file_it_is_said_that_a_restart_brings_it_back(tmp_path: Path) -> None:
    stores, identity = opened(tmp_path)
    minted = await identity.mint(GRANT)
    stores.latch("disk full")
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(JournalUnavailable):
        await identity.revoke(minted.token.token_id)
    assert not is_let_in(identity, minted)
    await stores.journal.close()
    with pytest.raises(DatabaseRefused, match="which tokens"):
        opened(tmp_path)


def test_lines_that_were_cut_harm_no_other_and_old_ones_go(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    file.write_bytes(b"00000001 1\nabc\xff\n0000000")
    found = RevocationFile(tmp_path, NOW_NS)
    assert dict(found.ended) == {}
    found.add([token("00000002", NOW_NS), token("00000003", None), token("00000002", NOW_NS + 5)])
    file.write_bytes(file.read_bytes() + b"\n00000004 ")
    found.add([token("00000005", NOW_NS + 9)])
    again = RevocationFile(tmp_path, NOW_NS)
    assert dict(again.ended) == {"00000002": NOW_NS, "00000005": NOW_NS + 9}
    assert file.stat().st_mode & 0o777 == 0o600
