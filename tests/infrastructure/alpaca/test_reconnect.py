"""Waits between attempts, and the loop around them, on a clock that a test turns."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from gateway.infrastructure.alpaca.reconnect import (
    CROWDED_CODES,
    REFUSED_CODES,
    BackOff,
    Crowding,
    StreamRefused,
    keep_connected,
)


@given(st.integers(1, 10_000), st.sampled_from(sorted(CROWDED_CODES)), st.floats(0, 100), st.floats(0, 1))
def test_after_a_connection_limit_no_attempt_comes_within_a_second(
    failures: int, code: int, since_s: float, chance: float
) -> None:
    assert BackOff().delay_s(failures, code, since_s, chance) >= 1.0


@given(st.integers(1, 10_000), st.sampled_from(sorted(REFUSED_CODES)), st.floats(0, 100), st.floats(0, 1))
def test_a_refused_key_is_asked_about_slowly(failures: int, code: int, since_s: float, chance: float) -> None:
    assert 30.0 <= BackOff().delay_s(failures, code, since_s, chance) <= 60.0


@given(st.integers(1, 10_000), st.integers(0, 600), st.floats(0, 1))
def test_attempts_are_a_second_apart_and_waits_are_bounded(failures: int, code: int, chance: float) -> None:
    delay_s = BackOff().delay_s(failures, code, 0.0, chance)
    assert 1.0 <= delay_s <= 60.0


def test_the_first_wait_after_a_long_life_is_short_and_the_next_ones_double() -> None:
    waits = [BackOff().delay_s(failures, 0, 100.0, 1.0) for failures in range(1, 9)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert BackOff().delay_s(3, 0, 100.0, 0.0) == 0.0, "full jitter"
    assert BackOff().delay_s(3, 0, 0.0, 0.0) == 1.0, "but attempts are spaced"
    assert BackOff().delay_s(3, 406, 100.0, 0.0) == 4.0, "a slot that is taken: half of it at least"


class Scripted:
    """An upstream whose attempts end as written: during open, or while serving."""

    def __init__(self, *ends: tuple[str, Exception], done: Callable[[], None]) -> None:
        self._ends = list(ends)
        self._done = done
        self.log: list[str] = []
        self.last_code = 0
        self.shut_error: Exception | None = None

    async def open(self) -> None:
        if not self._ends:
            self._done()
            await asyncio.Event().wait()
        self.log.append("open")
        if self._ends[0][0] == "open":
            raise self._ends.pop(0)[1]

    async def serve(self) -> None:
        raise self._ends.pop(0)[1]

    async def shut(self) -> None:
        self.log.append("shut")
        if self.shut_error is not None:
            raise self.shut_error

    def on_attempt(self) -> None:
        self.log.append("attempt")

    def on_lost(self, detail: str, code: int) -> None:
        self.log.append(f"lost {code} {detail}")


async def run(*ends: tuple[str, Exception], shut_error: Exception | None = None) -> tuple[list[str], list[float]]:
    waits: list[float] = []
    done = asyncio.Event()
    upstream = Scripted(*ends, done=done.set)
    upstream.shut_error = shut_error

    async def sleep(delay_s: float) -> None:
        waits.append(round(delay_s, 3))

    loop = asyncio.create_task(
        keep_connected(
            upstream,
            BackOff(spacing_s=0.0),
            rng=random.Random(1),
            monotonic=lambda: 0.0,
            sleep=sleep,
        )
    )
    await asyncio.wait_for(done.wait(), 2)
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop
    return upstream.log, waits


async def test_every_attempt_is_shut_before_the_next_and_a_handshake_makes_waits_short_again() -> None:
    log, waits = await run(
        ("open", OSError()), ("open", OSError()), ("open", OSError()), ("serve", OSError()), ("open", OSError())
    )
    assert log[:4] == ["attempt", "open", "shut", "lost 0 OSError"]
    assert log[-2:] == ["attempt", "shut"], "canceled in the middle of an attempt: shut as well"
    steps = [0.5, 1.0, 2.0, 0.5, 1.0]
    assert all(0 <= wait <= step for step, wait in zip(steps, waits, strict=True)), waits


async def test_what_the_venue_said_is_told_and_slows_the_next_attempt() -> None:
    log, waits = await run(
        ("open", StreamRefused("auth failed", 402)),
        ("open", StreamRefused("connection limit exceeded", 406)),
        ("open", TimeoutError()),
        ("serve", RuntimeError("a bug")),
    )
    told = [line for line in log if line.startswith("lost")]
    assert told == [
        "lost 402 auth failed",
        "lost 406 connection limit exceeded",
        "lost 0 no handshake in time",
        "lost 0 failed (RuntimeError)",
    ]
    assert waits[0] >= 30.0
    assert waits[1] >= 1.0


@pytest.mark.parametrize(
    ("told", "least_s", "most_s"),
    [("7", 7.0, 7.0), ("", 1.0, 2.0), ("soon", 1.0, 2.0), ("-5", 1.0, 2.0), ("9" * 400, 60.0, 60.0)],
)
async def test_a_handshake_refused_with_429_waits_as_long_as_it_is_told(
    told: str, least_s: float, most_s: float
) -> None:
    headers = Headers({"Retry-After": told} if told else {})
    log, [wait_s] = await run(("open", InvalidStatus(Response(429, "Too Many Requests", headers))))
    assert "lost 429 HTTP 429" in log
    assert least_s <= wait_s <= most_s


def test_what_the_venue_told_outlives_the_loop_that_heard_it() -> None:
    now = [100.0]
    crowding = Crowding(BackOff(), lambda: now[0])
    crowding.heed(7.0)
    crowding.heed(0.0)
    assert crowding.wait_s == 7.0
    now[0] += 8.0
    assert crowding.wait_s == 0.0


async def test_what_goes_wrong_while_it_is_shut_ends_nothing() -> None:
    log, _ = await run(("serve", OSError()), ("serve", OSError()), shut_error=RuntimeError("a bug"))
    assert log.count("lost 0 OSError") == 2, "told that it is not live, and tried again"


class TurnedClock:
    """A clock that stands still but for what is slept; after an hour the sleeper is canceled."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, delay_s: float) -> None:
        self.now += delay_s
        await asyncio.sleep(0)
        if self.now >= 3_600:
            raise asyncio.CancelledError


@pytest.mark.parametrize("code", sorted(CROWDED_CODES))
@pytest.mark.parametrize("rude", [False, True], ids=["one loop", "a new loop after each refusal"])
async def test_a_slot_that_stays_taken_is_asked_for_a_bounded_number_of_times_a_minute(code: int, rude: bool) -> None:
    clock, back_off, attempts = TurnedClock(), BackOff(), []
    crowding = Crowding(back_off, clock)

    class Full(Scripted):
        async def open(self) -> None:
            attempts.append(clock.now)
            raise StreamRefused("connection limit exceeded", code)

        def on_lost(self, detail: str, code: int) -> None:
            if rude:
                raise asyncio.CancelledError  # the last subscriber left, and the next one comes at once

    chance = random.Random(406)
    while clock.now < 3_600:
        upstream = Full(done=lambda: None)
        loop = keep_connected(upstream, back_off, rng=chance, crowding=crowding, monotonic=clock, sleep=clock.sleep)
        await asyncio.wait([asyncio.ensure_future(loop)])
    assert len(attempts) > 60, "nobody gives up"
    for first in attempts:
        assert sum(first <= at < first + back_off.crowded_window_s for at in attempts) <= back_off.crowded_max
