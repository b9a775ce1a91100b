"""Where the synthetic market's prices come from: noise that is a pure function of (seed, symbol, time).

Promises: the same numbers for the same seed, on every machine and however the question is cut into pieces; any
instant can be asked for directly, so the past costs nothing until somebody wants it.

A price is a base times one plus a sum of value noise: random numbers at the nodes of a time lattice, joined by
straight lines, the amplitude doubling as the lattice's step grows fourfold, as a random walk's does. Every step is
an integer hash or an IEEE operation that is rounded the same everywhere; nothing uses exp, log or sin. Arrays are
shaped (minutes, offsets): steps of a minute and more are straight within a minute and cost two nodes, shorter
steps are evaluated inside it.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

SLOT_NS: Final = 250_000_000
"""Every symbol has one quote in each slot of this length."""

SLOTS_PER_MINUTE: Final = 240

_MINUTE_STEPS: Final = (1, 4, 15, 60, 240, 1440, 4 * 1440, 16 * 1440, 64 * 1440)
"""Steps of the slow lattices, minutes."""

_SLOT_STEPS: Final = (60, 16)
"""Steps of the fast lattices, slots: 15 s and 4 s. Both divide a minute."""

_DAY_AMPLITUDE: Final = 0.008
"""Relative amplitude of the lattice whose step is a day; the others follow by the square root of their steps."""

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_ROOT: Final = {1: 1.0, 4: 2.0, 15: 3.875, 60: 7.75, 240: 15.5, 1440: 37.95, 5760: 75.9, 23040: 151.8, 92160: 303.6}
_DAY_ROOT: Final = 37.95
_FAST_AMPLITUDES: Final = (0.00012, 0.00006)


def key_of(seed: int, symbol: str, purpose: str) -> np.uint64:
    """The key of one family of hashes."""
    digest = hashlib.sha256(f"{seed}:{symbol}:{purpose}".encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


def hash64(key: np.uint64, index: Ints) -> Hashes:
    """64 well-mixed bits for every index (the finalizer of splitmix64).

    Source: Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators".
    """
    x = index.astype(np.uint64) * _GOLDEN + key
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    mixed: Hashes = x ^ (x >> np.uint64(31))
    return mixed


class PricePath:
    """The midpoint of one symbol over time, as base times one plus noise."""

    def __init__(self, seed: int, symbol: str, base_price: float) -> None:
        self._base_price = base_price
        self._slow = tuple(
            (step, _DAY_AMPLITUDE * _ROOT[step] / _DAY_ROOT, key_of(seed, symbol, f"minutes:{step}"))
            for step in _MINUTE_STEPS
        )
        self._fast = tuple(
            (step, amplitude, key_of(seed, symbol, f"slots:{step}"))
            for step, amplitude in zip(_SLOT_STEPS, _FAST_AMPLITUDES, strict=True)
        )

    def mid(self, minutes: Ints, offsets: Ints) -> Floats:
        """Midpoints, shaped (minutes, offsets); offsets are slots within the minute, 0 to 239."""
        here, after = self._at_minute(minutes), self._at_minute(minutes + 1)
        total = here[:, None] + (after - here)[:, None] * (offsets / SLOTS_PER_MINUTE)[None, :]
        for step, amplitude, key in self._fast:
            total = total + amplitude * _between(key, minutes, offsets, step)
        mid: Floats = self._base_price * (1.0 + total)
        return mid

    def _at_minute(self, minutes: Ints) -> Floats:
        total = np.zeros(len(minutes))
        for step, amplitude, key in self._slow:
            node, rest = minutes // step, minutes % step
            a, b = _unit(key, node), _unit(key, node + 1)
            total = total + amplitude * (a + (b - a) * (rest / step))
        return total


def _unit(key: np.uint64, index: Ints) -> Floats:
    """Noise between -1 and 1 at lattice nodes."""
    return (hash64(key, index) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0


def _between(key: np.uint64, minutes: Ints, offsets: Ints, step: int) -> Floats:
    """Noise of a lattice finer than a minute."""
    cells = SLOTS_PER_MINUTE // step
    nodes = _unit(key, (minutes[:, None] * cells + np.arange(cells + 1)[None, :]))
    cell, weight = offsets // step, (offsets % step) / step
    a, b = nodes[:, cell], nodes[:, cell + 1]
    between: Floats = a + (b - a) * weight[None, :]
    return between
