"""Cuts, mutes, 406s and 429s without end: each is told, none is a storm, and every one is recovered from.

FEED_STORM_ROUNDS=1000 makes it the long one (some minutes).
"""

from __future__ import annotations

import os

import pytest

from gateway.services.streaming import silence
from tests.emulator.host import RunningEmulator
from tests.infrastructure.alpaca.feed_storm import KINDS, TIMES, TOLD_MAX_S, storm

SEED = 410
PROOF_S = 0.2
SILENCE_S = 1.0
REST_S = 0.5


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_each_break_is_told_and_recovered_from(
    emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(silence, "PROOF_S", PROOF_S)
    monkeypatch.setattr(silence, "SILENCE_MAX_S", SILENCE_S)
    rounds = int(os.environ.get("FEED_STORM_ROUNDS", "12"))
    noticed_s = {"feed_mute": 2 * SILENCE_S + PROOF_S + REST_S}
    report = await storm(emulator, rounds, SEED, noticed_s)
    with capsys.disabled():
        print(f"\nseed {SEED}: {report}")
    assert sum(report.rounds.values()) == rounds
    assert set(report.rounds) == set(KINDS), "the seed has every kind"
    assert all(told_s <= TOLD_MAX_S + noticed_s.get(kind, 0.0) for kind, told_s in report.told_s.items())
    assert report.attempts <= rounds + report.refusals + 2, "one attempt for each break and each refusal: no storm"
    assert report.refusals_missed == 0, "each 406 and 429 was met"
    assert report.gaps_untold == 0, "each break leaves a gap, and is told with it"
    assert report.unmarked == 0
    assert TIMES.silence_s < SILENCE_S
