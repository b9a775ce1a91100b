"""Two minutes of the soak: real processes, everybody at once, nothing lost and nothing that grows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
MINUTES: Final = 2
ENDS_S_MAX: Final = 180


@pytest.mark.slow
@pytest.mark.timeout(ENDS_S_MAX + 20)
def test_two_minutes_are_flat_and_lose_nothing() -> None:
    command = [sys.executable, "-m", "tests.soak", "--minutes", str(MINUTES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=ENDS_S_MAX)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout[-2_000:]
