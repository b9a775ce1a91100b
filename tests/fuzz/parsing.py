"""Tries one parser: by hypothesis in any process, by atheris in one of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, given, seed as seeded, settings, strategies as st
from structlog.testing import capture_logs

from tests.fuzz.mutations import spoiled, spoiled_frame, spoiled_json
from tests.fuzz.parsers import PARSERS
from tests.fuzz.target import collector_still

INPUT_CPU_MS_MAX: Final = 100.0
"""For any input of some KB; what is usual are microseconds."""
INPUT_BYTES_MAX: Final = 8_192
INPUT_S_MAX: Final = 5
MEMORY_MIB_MAX: Final = 2_048
START_S_MAX: Final = 120
_STAT: Final = re.compile(r"stat::(\w+):\s+(\d+)")


@dataclass(slots=True)
class ParserTally:
    """What a parser was given.

    Attributes:
        cases: How many inputs.
        worst_ms: The longest that one took: processor time here, whole seconds' worth where atheris measured.
        fault: What went wrong; empty: nothing.
    """

    name: str
    cases: int = 0
    worst_ms: float = 0.0
    fault: str = ""


def try_parser(name: str, examples: int, seed: int | None = None) -> ParserTally:
    """Give a parser what hypothesis makes of its seeds; raises AssertionError with the smallest bad input."""
    parser, seeds = PARSERS[name]
    tally = ParserTally(name)
    for one in seeds:
        parser(one)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=seed is None,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(name, seeds))
    def tried(raw: bytes) -> None:
        began = time.thread_time()
        parser(raw)
        took_ms = (time.thread_time() - began) * 1_000
        tally.cases += 1
        tally.worst_ms = max(tally.worst_ms, took_ms)
        assert took_ms < INPUT_CPU_MS_MAX

    run: Callable[[], None] = tried if seed is None else seeded(seed)(tried)
    with collector_still(), capture_logs():
        run()
    return tally


def inputs(name: str, seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """What may come to a parser."""
    return st.one_of(list(_inputs(name, seeds)))


def _inputs(name: str, seeds: Sequence[bytes]) -> Iterator[st.SearchStrategy[bytes]]:
    yield spoiled(st.sampled_from(seeds))
    yield st.binary(max_size=200)
    for seed in seeds:
        if name == "venue_answer":
            yield spoiled_json(seed[1:]).map(lambda document, first=seed[:1]: first + document)
        elif name == "order_frame":
            yield spoiled_json(seed)
        elif name == "data_frame":
            yield spoiled_frame(seed)


# --- atheris


def has_atheris() -> bool:
    """Whether it is installed; it exists for few platforms."""
    with suppress(ImportError):
        import atheris  # noqa: F401 - looked for

        return True
    return False


def guide(name: str, seconds: int, seed: int) -> ParserTally:
    """Let atheris look for new branches of a parser, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, one in enumerate(PARSERS[name][1]):
            (corpus / str(number)).write_bytes(one)
        command = [
            *(sys.executable, "-m", "tests.fuzz.guided", name, f"-max_total_time={seconds}", f"-seed={seed or 1}"),
            *(f"-max_len={INPUT_BYTES_MAX}", f"-timeout={INPUT_S_MAX}", f"-rss_limit_mb={MEMORY_MIB_MAX}"),
            *("-print_final_stats=1", f"-artifact_prefix={folder}/", str(corpus)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + START_S_MAX, check=False)
        told = done.stdout + done.stderr
        stats = {name: int(number) for name, number in _STAT.findall(told)}
        tally = ParserTally(name, stats.get("number_of_executed_units", 0))
        tally.worst_ms = stats.get("slowest_unit_time_sec", 0) * 1_000.0
        if done.returncode:
            tally.fault = told[-3_000:] + "".join(f"\n{path.name}: {path.read_bytes()!r}" for path in _found(folder))
        return tally


def _found(folder: str) -> list[Path]:
    return [path for path in Path(folder).iterdir() if path.is_file()]
