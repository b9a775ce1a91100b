"""Strangers: who fails too often is told so, and remembered within bounds."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from gateway.domain.errors import GatewayError, TokenInvalid, TooManyFailures
from gateway.servicers import strangers as subject
from gateway.servicers.strangers import Strangers

HOME, ELSEWHERE = ip_address("127.0.0.1"), ip_address("10.0.0.9")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def answers(strangers: Strangers, count: int, address: str = "127.0.0.1") -> list[GatewayError]:
    return [strangers.answer(ip_address(address), TokenInvalid()) for _ in range(count)]


def test_the_eleventh_failure_of_a_minute_is_one_too_many_and_a_minute_later_all_is_forgotten(clock: Clock) -> None:
    told: list[object] = []
    strangers = Strangers(10, clock, told.append)
    assert {type(one) for one in answers(strangers, 10)} == {TokenInvalid}
    clock.now_s += 59
    (refused,) = answers(strangers, 1)
    assert isinstance(refused, TooManyFailures)
    assert (refused.retry_after_ms, refused.key) == (60_000, None)
    assert type(strangers.answer(ELSEWHERE, TokenInvalid())) is TokenInvalid, "another address is another stranger"
    clock.now_s += 59
    assert answers(strangers, 1)[0].retry_after_ms == 1_000
    assert told == [HOME, HOME]
    clock.now_s += 1
    assert {type(one) for one in answers(strangers, 10)} == {TokenInvalid}


def test_failures_that_are_far_apart_are_none_too_many(clock: Clock) -> None:
    strangers = Strangers(10, clock)
    for _ in range(50):
        clock.now_s += 6.5
        assert type(answers(strangers, 1)[0]) is TokenInvalid


def test_all_addresses_of_one_ipv6_network_are_one_stranger(clock: Clock) -> None:
    strangers = Strangers(10, clock)
    for number in range(10):
        assert type(answers(strangers, 1, f"2001:db8::{number:x}")[0]) is TokenInvalid
    assert type(answers(strangers, 1, "2001:db8::ffff:1")[0]) is TooManyFailures
    assert type(answers(strangers, 1, "2001:db8:0:1::1")[0]) is TokenInvalid


def test_what_is_remembered_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "ADDRESSES_MAX", 8)
    strangers = Strangers(10, clock)
    for number in range(100):
        answers(strangers, 1, f"10.0.{number}.1")
    assert len(strangers._records) == 8


def test_nobody_counts_where_nobody_is_to(clock: Clock) -> None:
    assert {type(one) for one in answers(Strangers(0, clock), 50)} == {TokenInvalid}
