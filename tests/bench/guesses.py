"""How alike the times are that it takes to refuse a guessed token: `python -m tests.bench.guesses`.

Prints the median of each kind of guess and how far they lie apart: 10 % at most is wanted, as beyond that a patient
listener could tell an unknown id from a wrong secret. Rounds of all kinds are interleaved, so that a busy machine
slows them alike. It is no test: a time is no fact on a machine that others use.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from statistics import median
from typing import Final

from gateway.domain.errors import TokenInvalid
from gateway.domain.types import Venue
from gateway.infrastructure.persistence.identity_store import MemoryIdentities
from gateway.services.identity import IdentityService
from tests.services.test_identity import Wall, home, wrong_secrets

ROUNDS: Final = 400
GUESSES_PER_ROUND: Final = 200


def main() -> None:
    """Measure and print."""
    wall = Wall()
    identity = IdentityService(MemoryIdentities(), Venue.EMULATOR, wall)
    headers = asyncio.run(wrong_secrets(identity, wall))
    taken_us: dict[str, list[float]] = {name: [] for name in headers}
    for _ in range(ROUNDS):
        for name, header in headers.items():
            began = time.perf_counter_ns()
            for _ in range(GUESSES_PER_ROUND):
                with suppress(TokenInvalid):
                    identity.verify(header, home)
            taken_us[name].append((time.perf_counter_ns() - began) / GUESSES_PER_ROUND / 1_000)
    medians = {name: median(times) for name, times in taken_us.items()}
    for name, value in medians.items():
        print(f"{name:32} {value:6.2f} us")
    print(f"spread {(max(medians.values()) / min(medians.values()) - 1) * 100:.1f} %")


if __name__ == "__main__":
    main()
