"""ClientLimits: what one client may have at once and how often it may ask, so that the others never notice it.

One record for each client: a token's holder, or one connection where nobody shows a token. Promises: the figures of
`ClientBounds`; that cancels and what has been done already are never refused, but slowed down; and that refusals are
answered the later the more of them a client earns, so that a loop that goes wrong slows itself down. The number of
records, and of answers that wait, is bounded. Leaves to the doors what belongs to which bucket and who is calling,
and to HTTP/2 how much one connection may have under way. On the event loop alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from types import MappingProxyType
from typing import Final

from gateway.domain.models.quota import Quota
from gateway.domain.types import MS_PER_SECOND, NANOS_PER_MS

CLIENTS_MAX: Final = 4_096
"""Records; those without anything under way make room."""
WAIT_S_MAX: Final = 1.0
"""What is not refused is delayed by so much at most, and so is a refusal."""
BURST_S: Final = 2.0
"""So many seconds' worth may come at once."""
CANCELS_IN_FLIGHT_RESERVE: Final = 8
"""Calls beyond the limit that cancels may have under way, and wait in."""
WAITING_PER_CLIENT_MAX: Final = 256
"""Answers of one client that may wait. More of them are told at once."""
WAITING_MAX: Final = 1_000
"""Answers of all clients that may wait."""
STREAM_READS: Final = 10
"""What opening a stream counts as, for the snapshot that it begins with."""
BYTES_PER_READ: Final = 16 * 1024
"""A larger answer counts as one more read for each of these."""

_LOOKS_MAX: Final = 16
_ROUNDING_S: Final = 1e-6
_SPREAD_LEAST: Final = 0.75


class Draws(StrEnum):
    """Which of its client's budgets a method draws on.

    CANCELS are never refused, only delayed; NOTHING is not even that.
    """

    ORDERS = "orders"
    READS = "reads"
    CANCELS = "cancels"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class ClientBounds:
    """What one client may; 0 is no limit.

    Attributes:
        calls_in_flight_max: Calls at once that are no streams; cancels have some more.
        streams_max: Streams at once.
        connections_max: Connections with anything under way.
        symbols_max: Symbols of market data, all of its streams together.
        reads_per_second, orders_per_second: On average; `BURST_S` seconds' worth may come at once. Cancels have as
            many as orders, beside them.
        faults_per_second: Refused and malformed calls that are answered at once; more are answered later.
        request_bytes_max: Of one request; the server keeps it.
    """

    calls_in_flight_max: int = 32
    streams_max: int = 16
    connections_max: int = 8
    symbols_max: int = 2_000
    reads_per_second: int = 200
    orders_per_second: int = 50
    faults_per_second: int = 20
    request_bytes_max: int = 64 * 1024


class Bucket:
    """Tokens that come back evenly, kept as one number: when it will be full again.

    Args:
        per_second: How many come back; 0: it is never empty.
    """

    __slots__ = ("_burst_s", "_step_s", "full_at")

    def __init__(self, per_second: int) -> None:
        self._step_s = 1.0 / per_second if per_second else 0.0
        self._burst_s = BURST_S
        self.full_at = -math.inf

    def take(self, now: float) -> float:
        """Take one. 0 when there was one; else the seconds until there is, and nothing is taken."""
        full_at = (self.full_at if self.full_at > now else now) + self._step_s
        wait_s = full_at - now - self._burst_s
        if wait_s > _ROUNDING_S:
            return wait_s
        self.full_at = full_at
        return 0.0

    def owe(self, now: float, units: float = 1.0) -> float:
        """Take some, there or not; the seconds until they have come back. What is owed has a bound."""
        full_at = (self.full_at if self.full_at > now else now) + units * self._step_s
        self.full_at = min(full_at, now + self._burst_s + WAIT_S_MAX)
        wait_s = self.full_at - now - self._burst_s
        return wait_s if wait_s > _ROUNDING_S else 0.0

    def left(self, now: float) -> int:
        """How many there are."""
        if not self._step_s:
            return 0
        missing_s = max(0.0, self.full_at - now)
        return max(0, math.floor((self._burst_s - missing_s) / self._step_s + _ROUNDING_S))


class Client:
    """One client's record.

    Attributes:
        calls, streams, symbols: Under way.
        waiting: Answers that wait.
        connections: How much is under way on each.
        orders, reads, cancels: What it may still ask for.
        faults: What it may still get wrong without being slowed down.
    """

    __slots__ = (
        "_bounds",
        "calls",
        "cancels",
        "connections",
        "faults",
        "orders",
        "reads",
        "streams",
        "symbols",
        "waiting",
    )

    def __init__(self, bounds: ClientBounds) -> None:
        self._bounds = bounds
        self.calls = self.streams = self.symbols = self.waiting = 0
        self.connections: dict[str, int] = {}
        self.orders = Bucket(bounds.orders_per_second)
        self.cancels = Bucket(bounds.orders_per_second)
        self.reads = Bucket(bounds.reads_per_second)
        self.faults = Bucket(bounds.faults_per_second)

    def lacks_room(self, peer: str, reserve: int = 0) -> str:
        """Which of its limits stands against one more call over this connection; empty: none.

        A refusal that waits to be told counts as a call, but not against those with a reserve: who goes on and on
        beyond its limits is soon served nothing else.
        """
        calls_max, connections_max = self._bounds.calls_in_flight_max, self._bounds.connections_max
        calls = self.calls if reserve else self.calls + self.waiting
        if calls_max and calls >= calls_max + reserve:
            return "client:calls"
        if connections_max and peer not in self.connections and len(self.connections) >= connections_max:
            return "client:connections"
        return ""

    def lacks_stream_room(self, peer: str, symbols: int) -> str:
        """Which of its limits stands against one more stream; empty: none."""
        bounds = self._bounds
        if bounds.streams_max and self.streams >= bounds.streams_max:
            return "client:streams"
        if bounds.symbols_max and symbols and self.symbols + symbols > bounds.symbols_max:
            return "client:symbols"
        if bounds.connections_max and peer not in self.connections and len(self.connections) >= bounds.connections_max:
            return "client:connections"
        return ""

    def take_symbol(self) -> bool:
        """A stream follows one more symbol; False when its client follows as many as it may."""
        if 0 < self._bounds.symbols_max <= self.symbols:
            return False
        self.symbols += 1
        return True

    def enter_call(self, peer: str) -> None:
        """A call has begun."""
        self.calls += 1
        self.connections[peer] = self.connections.get(peer, 0) + 1

    def leave_call(self, peer: str) -> None:
        """It has ended."""
        self.calls -= 1
        self._leave(peer)

    def enter_stream(self, peer: str, symbols: int) -> None:
        """A stream has begun."""
        self.streams += 1
        self.symbols += symbols
        self.connections[peer] = self.connections.get(peer, 0) + 1

    def leave_stream(self, peer: str, symbols: int) -> None:
        """It has ended."""
        self.streams -= 1
        self.symbols -= symbols
        self._leave(peer)

    def _leave(self, peer: str) -> None:
        left = self.connections[peer] - 1
        if left:
            self.connections[peer] = left
        else:
            del self.connections[peer]

    def is_forgettable(self, now: float) -> bool:
        """Whether nothing is under way and nothing owed, so that a new record would say the same."""
        if self.connections or self.waiting:
            return False
        return all(bucket.full_at <= now for bucket in (self.orders, self.reads, self.cancels, self.faults))


Draw = Callable[[Client, float], float]

DRAW: Final[Mapping[Draws, Draw]] = MappingProxyType(
    {
        Draws.ORDERS: lambda client, now: client.orders.take(now),
        Draws.READS: lambda client, now: client.reads.take(now),
        Draws.CANCELS: lambda client, now: client.cancels.owe(now),
        Draws.NOTHING: lambda _client, _now: 0.0,
    }
)
"""How a call draws on its client, at an instant: 0, or the seconds that it is too early."""


class ClientLimits:
    """Every client's record.

    Args:
        bounds: The same for each of them.
        monotonic: Seconds, as `time.monotonic`.
        wall: Nanoseconds since the Unix epoch.
        random: Spreads what would be answered at one instant.
        waiting_max: Answers of all clients together that may wait.
    """

    def __init__(
        self,
        bounds: ClientBounds,
        monotonic: Callable[[], float],
        wall: Callable[[], int],
        random: Random | None = None,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self.waiting_max: Final = waiting_max
        self._bounds = bounds
        self._monotonic = monotonic
        self._wall = wall
        self._random = random or Random()  # noqa: S311 - for spreading, not for secrets
        self._clients: dict[str, Client] = {}
        self._waiting = 0

    def find(self, name: str) -> Client:
        """The record of a client; a new one for one that was not heard of for a while."""
        client = self._clients.get(name)
        if client is None:
            self._make_room()
            client = self._clients[name] = Client(self._bounds)
        return client

    def delay_of_fault(self, client: Client) -> float:
        """Seconds to wait before a client is told of one more thing that it did wrong; `begin_wait` follows.

        At the bound answers are spread over a quarter of it, or those that came together would for ever come together.
        """
        wait_s = client.faults.owe(self._monotonic())
        if client.waiting >= WAITING_PER_CLIENT_MAX or self._waiting >= self.waiting_max:
            return 0.0
        if wait_s >= WAIT_S_MAX:
            return WAIT_S_MAX * self._random.uniform(_SPREAD_LEAST, 1.0)
        return wait_s

    def begin_wait(self, client: Client) -> None:
        """An answer waits."""
        client.waiting += 1
        self._waiting += 1

    def end_wait(self, client: Client) -> None:
        """It waits no more."""
        client.waiting -= 1
        self._waiting -= 1

    def quotas(self, name: str) -> tuple[Quota, ...]:
        """What a client has left, of each limit that there is."""
        client, bounds = self.find(name), self._bounds
        found = [
            self._rate("client:orders", client.orders, bounds.orders_per_second),
            self._rate("client:reads", client.reads, bounds.reads_per_second),
            _held("client:calls", bounds.calls_in_flight_max, client.calls),
            _held("client:streams", bounds.streams_max, client.streams),
            _held("client:symbols", bounds.symbols_max, client.symbols),
            _held("client:connections", bounds.connections_max, len(client.connections)),
            _held("client:request_bytes", bounds.request_bytes_max, 0),
        ]
        return tuple(quota for quota in found if quota.limit)

    def _rate(self, name: str, bucket: Bucket, per_second: int) -> Quota:
        now = self._monotonic()
        full_in_s = max(0.0, bucket.full_at - now)
        return Quota(
            name,
            int(per_second * BURST_S),
            bucket.left(now),
            int(BURST_S * MS_PER_SECOND),
            self._wall() + round(full_in_s * MS_PER_SECOND) * NANOS_PER_MS,
        )

    def _make_room(self) -> None:
        """The oldest record that says nothing goes; those that say something move behind the others."""
        now = self._monotonic()
        for _ in range(_LOOKS_MAX if len(self._clients) >= CLIENTS_MAX else 0):
            name, client = next(iter(self._clients.items()))
            del self._clients[name]
            if client.is_forgettable(now):
                return
            self._clients[name] = client
        if len(self._clients) >= CLIENTS_MAX:
            idle = (name for name, client in self._clients.items() if not client.connections and not client.waiting)
            self._clients.pop(next(idle, ""), None)


def _held(name: str, limit: int, held: int) -> Quota:
    return Quota(name, limit, max(0, limit - held))
