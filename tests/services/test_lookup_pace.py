"""LookupPace: never more than its share of any minute, and as fast as that allows."""

from __future__ import annotations

import pytest

from gateway.services.lookup_pace import LOOKUPS_PART_MAX, LookupPace


class Hurry:
    """Somebody who asks as often as the pace lets him."""

    def __init__(self, limit: int, cost: int = 1) -> None:
        self.limit = limit
        self.now = 1_000.0
        self.pace = LookupPace(lambda: self.limit, lambda: self.now)
        self._cost = cost
        self.sent: list[float] = []

    def run(self, seconds: float) -> None:
        """For so long."""
        until = self.now + seconds
        while True:
            wait_s = self.pace.wait_s()
            if self.now + wait_s >= until:
                self.now = until
                return
            self.now += wait_s
            if self.pace.wait_s() < 1e-9:
                self.sent += [self.now] * self._cost
                self.pace.spend(self._cost)

    def most_in_a_minute(self) -> int:
        return max(sum(1 for later in self.sent if at <= later < at + 60) for at in self.sent)


@pytest.mark.parametrize("cost", [1, 3])
def test_any_minute_has_its_share_and_no_more(cost: int) -> None:
    hurry = Hurry(200, cost)
    hurry.run(600)
    share = LOOKUPS_PART_MAX * 200
    assert 0.9 * share <= hurry.most_in_a_minute() <= share + cost - 1
    assert len(hurry.sent) >= 0.7 * share * 10


def test_a_few_need_not_wait() -> None:
    hurry = Hurry(200)
    waits = []
    for _ in range(8):
        waits.append(hurry.pace.wait_s())
        hurry.pace.spend()
    assert waits == [0.0] * 8


def test_without_a_limit_nobody_waits_and_one_that_is_told_later_holds() -> None:
    hurry = Hurry(0)
    hurry.pace.spend(1_000)
    assert hurry.pace.wait_s() == 0
    hurry.limit = 200
    hurry.run(60)
    assert len(hurry.sent) <= LOOKUPS_PART_MAX * 200
