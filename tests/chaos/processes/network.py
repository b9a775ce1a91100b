"""What happens between gateway and venue: connections cut, requests and answers held, bytes swallowed, ports closed.

Promises: one thing at a time, at drawn instants; each is written down when it has struck a connection, and not before.
Bytes that were swallowed are never followed by others on the same connection: it is cut, as TCP would end it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

from tests.chaos.history import HistoryWriter
from tests.chaos.processes.strategies import wall_ns
from tests.chaos.proxy import Cut, TcpProxy, Way

BETWEEN_S: Final = (0.3, 2.0)
HELD_S: Final = 0.5
SWALLOWED_S: Final = 1.0
REFUSED_S: Final = 0.3
SLOW_S: Final = 1.0
DELAY_S: Final = 0.02
CUT_S: Final = 1.5
BYTES_BEFORE_CUT: Final = (1, 3_000)


class Network:
    """Strikes, one kind after the other.

    Args:
        proxy: Between gateway and venue.
        notes: Where each strike is written down.

    Attributes:
        fired: How often each kind has struck; 0 for one that never did.
    """

    def __init__(self, proxy: TcpProxy, notes: HistoryWriter, random: Random) -> None:
        self._proxy = proxy
        self._notes = notes
        self._random = random
        self._strikes: dict[str, Callable[[], Awaitable[int]]] = {
            "connections_reset": self._reset,
            "answers_held": lambda: self._hold(proxy.to_client),
            "connections_closed": self._close,
            "requests_held": lambda: self._hold(proxy.to_server),
            "requests_swallowed": lambda: self._swallow(proxy.to_server),
            "answer_cut": self._cut_next,
            "answers_swallowed": lambda: self._swallow(proxy.to_client),
            "connections_refused": self._refuse,
            "answers_slow": self._slow,
        }
        self.fired: Counter[str] = Counter(dict.fromkeys(self._strikes, 0))

    async def play(self) -> None:
        """Until canceled; then `heal`."""
        count = 0
        while True:
            for kind, strike in self._strikes.items():
                await asyncio.sleep(self._random.uniform(*BETWEEN_S))
                struck = await strike()
                if struck:
                    count += 1
                    self.fired[kind] += 1
                    facts = {"fault_id": f"network-{count}", "fault": kind, "count": struck}
                    self._notes.act("fault_fired", time_ns=wall_ns(), **facts)

    async def heal(self) -> None:
        """Let everything pass."""
        self._proxy.to_client.heal()
        self._proxy.to_server.heal()
        await self._proxy.accept()

    async def _reset(self) -> int:
        return self._proxy.cut(Cut.RST)

    async def _close(self) -> int:
        return self._proxy.cut(Cut.FIN)

    async def _hold(self, way: Way) -> int:
        struck = self._proxy.open
        way.hold()
        await asyncio.sleep(HELD_S)
        way.release()
        return struck

    async def _swallow(self, way: Way) -> int:
        before = self._proxy.counts["swallowed"]
        way.is_black_hole = True
        await asyncio.sleep(SWALLOWED_S)
        self._proxy.cut(Cut.RST)
        way.is_black_hole = False
        return self._proxy.counts["swallowed"] - before

    async def _cut_next(self) -> int:
        """The next connection ends somewhere in an answer."""
        before = self._proxy.counts[Cut.RST.value]
        self._proxy.to_client.cut_after(self._random.randint(*BYTES_BEFORE_CUT))
        self._proxy.cut(Cut.FIN)
        await asyncio.sleep(CUT_S)
        return self._proxy.counts[Cut.RST.value] - before

    async def _refuse(self) -> int:
        """Nobody listens for a while, and those that are connected are cut."""
        await self._proxy.refuse()
        struck = self._proxy.cut(Cut.RST)
        await asyncio.sleep(REFUSED_S)
        await self._proxy.accept()
        return struck

    async def _slow(self) -> int:
        before = self._proxy.counts["delayed"]
        self._proxy.to_client.delay_s = DELAY_S
        await asyncio.sleep(SLOW_S)
        self._proxy.to_client.delay_s = 0.0
        return self._proxy.counts["delayed"] - before
