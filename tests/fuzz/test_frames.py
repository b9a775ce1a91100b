"""HTTP/2 by hand: whatever a connection does, the others do not notice."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.emulator.host import EmulatorHost, LoopThread
from tests.fuzz.frames import RawConnection
from tests.fuzz.target import Target, start_target
from tests.gateway_host import GatewayHost

PATH: Final = "/trading_gateway.v1.TradingService/GetOrder"
RESETS: Final = 1_000
HELD: Final = 100
ENDS_S_MAX: Final = 10.0
ANSWER_S_MAX: Final = 5.0
EMPTY: Final = b"\0\0\0\0\0"
"""A message of no bytes, as gRPC frames it."""


@pytest.fixture(scope="module")
def target(gateway_loop: LoopThread, emulator_loop: LoopThread) -> Iterator[Target]:
    emulators = EmulatorHost(emulator_loop)
    gateways = GatewayHost(gateway_loop, emulators)
    target = start_target(gateways)
    yield target
    target.close()
    gateways.stop_all()
    emulators.stop_all()


@pytest.fixture
def connection(target: Target) -> Iterator[RawConnection]:
    connection = RawConnection(target.gateway.target)
    yield connection
    connection.close()


def ends(target: Target) -> bool:
    """Nothing is served any more, and the gateway is well."""
    ends_at = time.monotonic() + ENDS_S_MAX
    while target.calls():
        if time.monotonic() >= ends_at:
            return False
        time.sleep(0.02)
    return target.stage.is_healthy()


def test_what_is_sent_by_hand_is_served(target: Target, connection: RawConnection) -> None:
    number = connection.begin(PATH)
    connection.data(number, EMPTY)
    assert connection.status_of(number, ANSWER_S_MAX) == "3"


def test_calls_that_are_reset_as_fast_as_they_begin_leave_nothing(target: Target, connection: RawConnection) -> None:
    for _ in range(RESETS):
        if connection.is_closed:
            break
        connection.reset(connection.begin(PATH))
    assert target.stage.is_healthy()
    assert ends(target)


def test_calls_without_a_body_hold_nobody_up(target: Target, connection: RawConnection) -> None:
    for _ in range(HELD):
        connection.begin(PATH)
    assert target.stage.is_healthy()
    target.stage.wire.call("GetTradingState", b"", timeout=ANSWER_S_MAX)
    connection.close()
    assert ends(target)


WORDS: Final = ("a\nb", "a\r\nx: y", "a\0b", "n\u00e4me", " a ", "Bearer gw_emu_0\0", "")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("note", "x-request-id"), WORDS),
        (("authorization",), WORDS),
        (("Note", "no te", "n\u00f6te"), ("x",)),
    ],
)
def test_headers_that_no_library_sends_let_nobody_in(
    target: Target, names: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """gRPC's core gives the call up, or it is refused for what it asks; nothing is read into such a header."""
    refused = {"13", "reset", "closed", "16" if names == ("authorization",) else "3"}
    for name, text in itertools.product(names, words):
        connection = RawConnection(target.gateway.target)
        number = connection.begin(PATH, more=[(name, text)])
        if not connection.is_closed:
            connection.data(number, EMPTY)
        assert connection.status_of(number, ANSWER_S_MAX) in refused, ascii((name, text))
        connection.close()
    assert ends(target)


@pytest.mark.parametrize(
    ("what", "frames"),
    {
        "no preface": b"\x00" * 64,
        "settings of the wrong size": b"\x00\x00\x05\x04\x00\x00\x00\x00\x00abcde",
        "data on stream 0": b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x",
        "a frame beyond the limit": b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
        "a window of nothing": b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        "a continuation of nothing": b"\x00\x00\x01\x09\x04\x00\x00\x00\x01\x82",
        "headers that are no HPACK": b"\x00\x00\x04\x01\x05\x00\x00\x00\x01\xff\xff\xff\xff",
        "a reset of a stream that is none": b"\x00\x00\x04\x03\x00\x00\x00\x00\x63\x00\x00\x00\x08",
        "a priority on itself": b"\x00\x00\x05\x02\x00\x00\x00\x00\x01\x00\x00\x00\x01\x10",
    }.items(),
)
def test_frames_that_are_none_end_their_own_connection_at_most(
    target: Target, connection: RawConnection, what: str, frames: bytes
) -> None:
    connection.raw(frames * 3)
    connection.read(0.05)
    assert ends(target), what


def test_random_frames_end_their_own_connection_at_most(target: Target) -> None:
    seed = 20_261_122
    drawn = random.Random(seed)
    for _ in range(20):
        connection = RawConnection(target.gateway.target)
        for _ in range(20):
            length, kind, flags = drawn.randrange(64), drawn.randrange(12), drawn.randrange(256)
            stream = drawn.choice([0, 1, 3, 2**31 - 1])
            head = length.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
            connection.raw(head + drawn.randbytes(length))
        connection.read(0.01)
        connection.close()
    assert ends(target), f"seed {seed}"
