"""The third story: a strategy is killed while its order fills, and started again.

One large market order fills in parts, quote after quote. The programs write every fill that they see into a
notebook; after some fills they are killed (`kill -9`), are down for a while, and are run again with the same notebook.
What they should have seen is asked of the venue itself.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from tests.demo.notebook import Notebook
from tests.demo.venue import executions_at

SYMBOL: Final = "NVDA"
QUANTITY: Final = 30_000
"""Some fifty displayed sizes, which takes some twelve seconds."""

FILLS_BEFORE_DEATH: Final = 5
DOWN_S: Final = 3.0
LIFE_S_MAX: Final = 30.0
_POLL_S: Final = 0.02


@dataclass(frozen=True)
class Outcome:
    """What a program noted, and what there was.

    Attributes:
        noted: Its notebook.
        executions: Quantities, as the venue has them.
        missed: Executions between its last note and its second life.
        finished: Its second life ended by itself, having seen the order's end.
    """

    noted: Sequence[dict[str, Any]]
    executions: Sequence[str]
    missed: int
    finished: bool

    @property
    def fills(self) -> list[dict[str, Any]]:
        """Lines about fills."""
        return [line for line in self.noted if "quantity" in line]

    @property
    def shares(self) -> Decimal:
        """What they add up to."""
        return sum((Decimal(fill["quantity"]) for fill in self.fills), Decimal(0))

    @property
    def twice(self) -> int:
        """Fills that were noted more than once."""
        return len(self.fills) - len({fill["id"] for fill in self.fills})

    @property
    def is_every_event_once(self) -> bool:
        """Every execution was noted once and in order, events were counted without a gap, and death was in between."""
        sequences = [line["sequence"] for line in self.noted if "event" in line]
        return (
            self.finished
            and self.missed > 0
            and bool(sequences)
            and sequences == list(range(sequences[0], sequences[0] + len(sequences)))
            and [Decimal(fill["quantity"]) for fill in self.fills] == [Decimal(one) for one in self.executions]
            and self.twice == 0
            and self.shares == QUANTITY
        )


async def tell(left_venue: str, right_venue: str, target: str) -> tuple[list[str], list[str], bool]:
    """Both sides at once: their lines, and whether the right one is right."""
    with tempfile.TemporaryDirectory() as folder:
        left, right = await asyncio.gather(
            live_die_live(left_venue, Path(folder) / "alone", "tests.demo.alone", "fills", left_venue),
            live_die_live(right_venue, Path(folder) / "through", "tests.demo.through", "fills", target),
        )
    return lines(left), [*lines(right), _counted(right)], right.is_every_event_once


def lines(outcome: Outcome) -> list[str]:
    """What is printed of a side."""
    seen, there = len(outcome.fills), len(outcome.executions)
    return [
        f"kill -9 after {FILLS_BEFORE_DEATH} fills, back after {DOWN_S:g} s",
        f"fills until it was back: {outcome.missed}",
        f"fills told: {seen} of {there}" + (f", {there - seen} missed" if there > seen else ""),
        f"shares told: {outcome.shares.normalize():f} of {QUANTITY}",
    ]


def _counted(right: Outcome) -> str:
    sequences = [line["sequence"] for line in right.noted if "event" in line]
    numbers = f"{sequences[0]} to {sequences[-1]}" if sequences else "none"
    return f"events {numbers}: {'each once' if right.is_every_event_once else 'NOT each once'}"


async def live_die_live(venue: str, notebook: Path, *program: str) -> Outcome:
    """Run a program, kill it after some fills, wait, run it again to its end."""
    book = Notebook(notebook)
    first = await _run(*program, str(notebook))
    async with asyncio.timeout(LIFE_S_MAX):
        while _fills_in(book) < FILLS_BEFORE_DEATH and first.returncode is None:  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(_POLL_S)
    if first.returncode is None:
        first.kill()
    await first.wait()
    await asyncio.sleep(DOWN_S)  # it is down: this is the story, not a wait for something
    missed = len(await asyncio.to_thread(executions_at, venue, SYMBOL)) - _fills_in(book)
    second = await _run(*program, str(notebook))
    try:
        await asyncio.wait_for(second.wait(), LIFE_S_MAX)
    except TimeoutError:
        second.kill()
        await second.wait()
    executions = await asyncio.to_thread(executions_at, venue, SYMBOL)
    return Outcome(book.lines(), executions, missed, second.returncode == 0)


def _fills_in(book: Notebook) -> int:
    return sum("quantity" in line for line in book.lines())


async def _run(*program: str) -> asyncio.subprocess.Process:
    nothing = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(sys.executable, "-m", *program, stdout=nothing, stderr=nothing)
