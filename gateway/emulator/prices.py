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
"""Relative amplitude of the lattice whose step is a day; the others follow by the roots of their steps."""

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_SLOW_STEPS: Final = np.array(_MINUTE_STEPS)[:, None]
_SLOW_AMPLITUDES: Final = tuple(
    _DAY_AMPLITUDE * factor for factor in (1 / 38, 2 / 38, 4 / 38, 8 / 38, 16 / 38, 1.0, 2.0, 4.0, 8.0)
)
_FAST_AMPLITUDES: Final = (0.00012, 0.00006)


def key_of(seed: int, symbol: str, purpose: str) -> np.uint64:
    """The key of one family of hashes."""
    digest = hashlib.sha256(f"{seed}:{symbol}:{purpose}".encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


def hash64(key: np.uint64 | Hashes, index: Ints) -> Hashes:
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
        self._slow_keys = np.array([key_of(seed, symbol, f"minutes:{step}") for step in _MINUTE_STEPS])[:, None]
        self._fast = tuple(
            (step, amplitude, key_of(seed, symbol, f"slots:{step}"))
            for step, amplitude in zip(_SLOT_STEPS, _FAST_AMPLITUDES, strict=True)
        )

    def mid(self, minutes: range, offsets: Ints) -> Floats:
        """Midpoints, shaped (minutes, offsets); offsets are slots within the minute, 0 to 239."""
        nodes = self._at_minute(np.arange(minutes.start, minutes.stop + 1))
        here, after = nodes[:-1, None], nodes[1:, None]
        total = here + (after - here) * (offsets / SLOTS_PER_MINUTE)[None, :]
        for step, amplitude, key in self._fast:
            total = total + amplitude * _between(key, np.arange(minutes.start, minutes.stop), offsets, step)
        mid: Floats = self._base_price * (1.0 + total)
        return mid

    def _at_minute(self, minutes: Ints) -> Floats:
        """The sum of the slow lattices, all of them hashed at once and added in a fixed order."""
        node, rest = np.divmod(minutes[None, :], _SLOW_STEPS)
        a, b = _unit(self._slow_keys, node), _unit(self._slow_keys, node + 1)
        noise = a + (b - a) * (rest / _SLOW_STEPS)
        total = np.zeros(len(minutes))
        for amplitude, row in zip(_SLOW_AMPLITUDES, noise, strict=True):
            total = total + amplitude * row
        return total


def _unit(key: np.uint64 | Hashes, index: Ints) -> Floats:
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
