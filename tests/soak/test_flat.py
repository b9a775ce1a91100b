"""The judge of the soak: what stays is flat, what creeps is not, and a peak is no creep."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.soak.canary import Canary
from tests.soak.flat import KINDS, RISE_MAX, Sample, verdict
from trading_gateway.v1 import market_data_pb2 as pb

HOUR = range(0, 3_600, 60)
WARM_UP_S = 600


def samples(creeping: str = "", per_sample: Callable[[int], float] = lambda _: 0.0) -> list[Sample]:
    """An hour of a process that trembles; one kind has something on top."""
    chance = random.Random(1)
    held = []
    for number, at_s in enumerate(HOUR):
        values = {"memory_mib": 100 + chance.random(), "descriptors": 30, "threads": 20, "tasks": 20}
        if creeping:
            values[creeping] += per_sample(number)
        held.append(Sample(float(at_s), **values))
    return held


def test_what_trembles_is_flat() -> None:
    lines, reasons = verdict(samples(), WARM_UP_S)
    assert len(lines) == len(KINDS)
    assert not reasons


@pytest.mark.parametrize("kind", KINDS)
def test_what_creeps_is_not(kind: str) -> None:
    hourly = RISE_MAX[kind] + RISE_MAX.get(f"{kind}_per_hour", 0.0)
    _, reasons = verdict(samples(kind, lambda number: number * hourly * 1.5 / len(HOUR)), WARM_UP_S)
    assert [reason.split()[2] for reason in reasons] == [kind]


def test_a_peak_and_the_warm_up_are_no_creep() -> None:
    peak = samples("memory_mib", lambda number: 80.0 if number == len(HOUR) - 2 else 0.0)
    warming = samples("descriptors", lambda number: -10.0 if number < 10 else 0.0)
    assert not verdict(peak, WARM_UP_S)[1]
    assert not verdict(warming, WARM_UP_S)[1]


def test_too_few_samples_say_nothing() -> None:
    assert verdict(samples()[:12], WARM_UP_S)[1]


class Scene:
    """A canary and its clock. Quotes are told by their number: a tenth of a second apart."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0
        self.canary = Canary(now_s=lambda: self.now_s)
        self.messages = 0

    def sent(self, number: int) -> None:
        """The venue sent it; so it got to the witness."""
        self.now_s = 1_000_000 + number / 10
        self.canary.witness("S", number, (float(number), 1.0, 1.0, 1.0))

    def heard(self, *numbers: int, price: float = 0.0, gap: tuple[float, float] | None = None) -> None:
        """A message of these came."""
        self.messages += 1
        message = pb.StreamQuotesResponse(batch_sequence=self.messages)
        for number in numbers:
            quote = message.quotes.add(symbol="S", bid_price=price or number, bid_size=1, ask_price=1, ask_size=1)
            quote.time.FromNanoseconds(number)
        if gap is not None:
            told = message.status.gaps.add()
            told.from_time.FromNanoseconds(round((1_000_000 + gap[0]) * 1e9))
            told.to_time.FromNanoseconds(round((1_000_000 + gap[1]) * 1e9))
        self.canary.take(message)

    def errors(self) -> list[str]:
        """What is wrong when everything has settled."""
        self.now_s += 3_600
        self.canary.compare()
        return self.canary.errors


def test_a_canary_that_gets_everything_has_no_complaint() -> None:
    scene = Scene()
    for number in range(1, 50):
        scene.sent(number)
        scene.heard(number)
    assert scene.errors() == []
    assert scene.canary.heard == 48, "what follows the first"


def test_what_is_lost_must_have_been_told() -> None:
    scene = Scene()
    for number in range(1, 50):
        scene.sent(number)
        if not 20 <= number < 30:
            scene.heard(number, gap=(1.9, 3.0) if number == 30 else None)
    assert scene.errors() == []
    assert scene.canary.told_missing == 10


def test_what_is_lost_untold_repeated_or_changed_is_an_error() -> None:
    lost, again, changed, invented = Scene(), Scene(), Scene(), Scene()
    for number in range(1, 50):
        for scene in (lost, again, changed, invented):
            scene.sent(number)
        if number != 20:
            lost.heard(number)
        again.heard(number, *([number] if number == 20 else []))
        changed.heard(number, price=3.25 if number == 20 else 0.0)
        invented.heard(number)
    invented.heard(77)
    assert [len(scene.errors()) for scene in (lost, again, changed, invented)] == [1, 1, 1, 1]


def test_a_message_that_is_missing_is_an_error() -> None:
    scene = Scene()
    scene.sent(1)
    scene.heard(1)
    scene.messages += 1
    scene.heard(2)
    assert len(scene.canary.errors) == 1
