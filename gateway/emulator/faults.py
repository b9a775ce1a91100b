"""What goes wrong on request: six faults, each for the next n requests or sockets that it fits.

| kind | what happens |
|---|---|
| `accepted_504` | the request is carried out; the answer is 504 with a proxy's page |
| `hang` | the request is never carried out and gets no answer for `delay_ms`, then 504 |
| `429` | too many requests; nothing is carried out |
| `unknown_status` | order statuses in the answer, or in the order event, are a word that nobody knows |
| `mute` | the socket stays open and says nothing, for `delay_ms`, or until the fault is removed |
| `cut` | the socket's connection breaks off without a goodbye |

`match` says where: for requests the method and path, as in `POST /v2/orders`, `*` standing for anything
(`GET /v2/orders*`); for sockets the endpoint (`/stream`, `/v2/iex`, `/v1beta3/crypto/us`). `skip` lets that many pass
first. Socket faults strike the fitting sockets that are open, the oldest first, and what is left of the count
strikes those that connect later. Promises: a fault fires exactly `count` times and says how often it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final

from gateway.emulator.wire import JsonObject

FAULTS_MAX: Final = 100
COUNT_MAX: Final = 1_000_000
DELAY_MS_MAX: Final = 600_000
DEFAULT_HANG_MS: Final = 60_000
UNKNOWN_STATUS_WORD: Final = "pending_emulation"


class FaultKind(StrEnum):
    """What goes wrong."""

    ACCEPTED_504 = "accepted_504"
    HANG = "hang"
    TOO_MANY_REQUESTS = "429"
    UNKNOWN_STATUS = "unknown_status"
    MUTE = "mute"
    CUT = "cut"


SOCKET_KINDS: Final = frozenset({FaultKind.MUTE, FaultKind.CUT})
_DEFAULT_MATCH: Final = {FaultKind.MUTE: "/stream", FaultKind.CUT: "/stream"}


@dataclass(slots=True)
class Fault:
    """A fault that was ordered.

    Attributes:
        count: How often it shall fire.
        skip: How many that fit still pass first.
        fired: How often it has fired.
    """

    fault_id: int
    kind: FaultKind
    match: str
    count: int = 1
    skip: int = 0
    delay_ms: int = 0
    fired: int = 0

    @property
    def is_spent(self) -> bool:
        """Fires no more."""
        return self.fired >= self.count

    def fits(self, place: str) -> bool:
        """Whether it is for this route or endpoint."""
        return fnmatchcase(place, self.match)

    def to_json(self) -> JsonObject:
        """As the control routes show it."""
        return {
            "id": self.fault_id,
            "kind": self.kind.value,
            "match": self.match,
            "count": self.count,
            "skip": self.skip,
            "delay_ms": self.delay_ms,
            "fired": self.fired,
        }


class Faults:
    """The faults that wait, and those that have fired."""

    def __init__(self) -> None:
        self._faults: dict[int, Fault] = {}
        self._next_id = 1

    def add(
        self, kind: FaultKind | str, match: str = "", *, count: int = 1, skip: int = 0, delay_ms: int | None = None
    ) -> Fault:
        """Order a fault.

        Args:
            kind: Which.
            count: How often it shall fire.
            skip: How many that fit still pass first.
            match: Empty: POST /v2/orders, or /stream for the socket faults.
            delay_ms: None: a minute for `hang`, without end for `mute`.

        Raises:
            ValueError: When a value is out of its bounds, or FAULTS_MAX faults exist already.
        """
        kind = FaultKind(kind)
        delay = (DEFAULT_HANG_MS if kind is FaultKind.HANG else 0) if delay_ms is None else delay_ms
        if not 1 <= count <= COUNT_MAX or not 0 <= skip <= COUNT_MAX or not 0 <= delay <= DELAY_MS_MAX:
            raise ValueError(f"count is 1 to {COUNT_MAX}, skip 0 to {COUNT_MAX}, delay_ms 0 to {DELAY_MS_MAX}")
        if len(self._faults) >= FAULTS_MAX:
            raise ValueError(f"there are {FAULTS_MAX} faults already: remove some")
        fault = Fault(self._next_id, kind, match or _DEFAULT_MATCH.get(kind, "POST /v2/orders"), count, skip, delay)
        self._faults[fault.fault_id] = fault
        self._next_id += 1
        return fault

    def add_json(self, body: Mapping[str, Any]) -> Fault:
        """Order a fault from the body of POST /emulator/v1/faults.

        Raises:
            ValueError: With a sentence that says what is wrong.
        """
        unknown = set(body) - {"kind", "match", "count", "skip", "delay_ms"}
        if unknown:
            raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
        for name, wanted in (("kind", str), ("match", str), ("count", int), ("skip", int), ("delay_ms", int)):
            if name in body and (not isinstance(body[name], wanted) or isinstance(body[name], bool)):
                raise ValueError(f"{name} must be of type {wanted.__name__}")
        if body.get("kind") not in set(FaultKind):
            raise ValueError(f"kind must be one of {', '.join(FaultKind)}")
        return self.add(
            body["kind"],
            body.get("match", ""),
            count=body.get("count", 1),
            skip=body.get("skip", 0),
            delay_ms=body.get("delay_ms"),
        )

    def take(self, kinds: Iterable[FaultKind], place: str) -> Fault | None:
        """The fault that fires here and now, the oldest first; it is counted."""
        wanted = frozenset(kinds)
        for fault in self._faults.values():
            if fault.kind in wanted and not fault.is_spent and fault.fits(place):
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.fired += 1
                return fault
        return None

    def get(self, fault_id: int) -> Fault | None:
        """One fault."""
        return self._faults.get(fault_id)

    def all(self) -> list[Fault]:
        """All faults since the last clearing, oldest first, spent ones included."""
        return list(self._faults.values())

    @property
    def waiting(self) -> bool:
        """Whether any may still fire."""
        return any(not fault.is_spent for fault in self._faults.values())

    def remove(self, fault_id: int) -> bool:
        """Forget one; False when there is none."""
        return self._faults.pop(fault_id, None) is not None

    def clear(self) -> None:
        """Forget all."""
        self._faults.clear()


def with_unknown_status(body: Any) -> Any:
    """An order, or a list of orders, whose statuses nobody knows."""
    if isinstance(body, list):
        return [with_unknown_status(entry) for entry in body]
    if isinstance(body, dict) and "client_order_id" in body:
        legs = body.get("legs")
        changed = {**body, "status": UNKNOWN_STATUS_WORD}
        if legs:
            changed["legs"] = with_unknown_status(legs)
        return changed
    return body
