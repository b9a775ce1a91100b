"""AccountGuard: nothing is sent before it is known whose account this is, and never to another one."""

from __future__ import annotations

import asyncio

import pytest

from gateway.application.account_guard import AccountGuard, WrongAccount
from gateway.application.venue_calls import VenueCalls
from gateway.domain.errors import VenueUnreachable
from gateway.domain.models.account import Account, AccountPin
from gateway.domain.types import Venue
from gateway.infrastructure.persistence.stores import MemoryAccountPins
from tests.application.rig import Rig


class Setting:
    """A guard before a venue that may be down."""

    def __init__(self, rig: Rig) -> None:
        self.inner = rig.venue.account
        self.is_down = False
        self.slept = 0
        self.latched: list[str] = []
        self.pins = MemoryAccountPins()
        self.guard = AccountGuard(
            self.pins, self, Venue.EMULATOR, VenueCalls(rig.clock.monotonic), self.latched.append, self.sleep  # type: ignore[arg-type]
        )  # fmt: skip

    async def get_account(self, context: object) -> Account:
        if self.is_down:
            raise VenueUnreachable("down")
        return await self.inner.get_account(context)  # type: ignore[arg-type]

    async def sleep(self, _: float) -> None:
        self.slept += 1
        self.is_down = self.slept < 3
        await asyncio.sleep(0)


async def test_the_first_account_is_the_one(rig: Rig) -> None:
    setting = Setting(rig)
    with pytest.raises(VenueUnreachable, match="which account"):
        setting.guard.check_door()
    assert await setting.guard.verify_at_start() is None
    setting.guard.check_door()
    account = await setting.get_account(rig.call())
    assert setting.pins.current() == AccountPin(Venue.EMULATOR, account.account_id)


async def test_a_venue_that_is_down_keeps_the_door_shut_until_it_answers(rig: Rig) -> None:
    setting = Setting(rig)
    setting.is_down = True
    task = await setting.guard.verify_at_start()
    assert task is not None
    with pytest.raises(VenueUnreachable):
        setting.guard.check_door()
    await task
    assert setting.slept == 3
    setting.guard.check_door()


@pytest.mark.parametrize("pin", [AccountPin(Venue.EMULATOR, "another"), AccountPin(Venue.PAPER, "another")])
async def test_another_account_ends_recording(rig: Rig, pin: AccountPin) -> None:
    setting = Setting(rig)
    await setting.pins.put(pin)
    with pytest.raises(WrongAccount, match="another account"):
        await setting.guard.verify_at_start()
    assert len(setting.latched) == 1
    with pytest.raises(VenueUnreachable):
        setting.guard.check_door()


async def test_another_account_that_is_met_late_ends_recording_too(rig: Rig) -> None:
    setting = Setting(rig)
    await setting.pins.put(AccountPin(Venue.EMULATOR, "another"))
    setting.is_down = True
    task = await setting.guard.verify_at_start()
    assert task is not None
    await task
    assert len(setting.latched) == 1
    with pytest.raises(VenueUnreachable):
        setting.guard.check_door()
