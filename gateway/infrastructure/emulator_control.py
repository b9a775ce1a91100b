"""VenueControl over the emulator's control routes, `/emulator/v1/`: faults on request, and what really happened.

Never bound for paper or live. It uses no client of Alpaca's: what it asks for does not exist there.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final
from urllib.parse import urlencode

import orjson
import urllib3
from urllib3.exceptions import HTTPError

from gateway.domain.errors import FieldInvalid, VenueUnreachable
from gateway.domain.models.simulation import (
    FaultKind,
    FaultOrder,
    InjectedFault,
    LedgerEntry,
    LedgerKind,
    LedgerPage,
    LedgerQuery,
    Simulation,
)
from gateway.domain.types import OrderSide

TIMEOUT_S: Final = 5.0
_PREFIX: Final = "/emulator/v1"
_BAD_REQUEST: Final = 400


class EmulatorControl:
    """The other side of one emulator.

    Args:
        base_url: As `http://127.0.0.1:8700`.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._pool = urllib3.PoolManager(maxsize=1, block=True, retries=False, timeout=TIMEOUT_S)

    async def inject(self, order: FaultOrder) -> InjectedFault:
        """Order a fault; what strikes open feeds has struck when this returns.

        Raises:
            FieldInvalid: The emulator cannot do this; the message says what is wrong.
            VenueUnreachable: There is no emulator at this address.
        """
        body = {
            "fault": order.fault.value,
            "route": order.route,
            "symbol": order.symbol,
            "skip": order.skip,
            "count": order.count,
            "delay_ms": order.delay_ms,
        }
        return _fault(await self._ask("POST", "/faults", body))

    async def list_faults(self) -> list[InjectedFault]:
        """Faults ordered since the last clearing, oldest first, fired or not."""
        return [_fault(one) for one in await self._ask("GET", "/faults")]

    async def clear_faults(self) -> None:
        """Forget every fault; mute feeds speak again, halts end."""
        await self._ask("DELETE", "/faults")

    async def read_ledger(self, query: LedgerQuery) -> LedgerPage:
        """A part of the emulator's record."""
        asked = {"from": query.from_sequence, "limit": query.limit, "symbol": query.symbol}
        kinds = ",".join(sorted(query.kinds))
        page = await self._ask("GET", f"/ledger?{urlencode({**asked, 'kind': kinds})}")
        return LedgerPage(tuple(_entry(one) for one in page["entries"]), page["next"])

    async def get_simulation(self) -> Simulation:
        """Its settings and counters."""
        status = await self._ask("GET", "/status")
        tape = status["tape"] or {"path": "", "speed": "1"}
        return Simulation(
            seed=status["seed"],
            tape=tape["path"],
            speed=float(Fraction(tape["speed"])),
            initial_cash=Decimal(status["initial_cash"]),
            start_time_ns=status["start_ns"],
            now_ns=status["now_ns"],
            order_count=status["order_count"],
            execution_count=status["execution_count"],
            ledger_sequence=status["record_sequence"],
            late_arrivals=status["late_arrivals"],
            late_events=status["late_events"],
        )

    async def requests(self) -> dict[str, int]:
        """How many requests came, by method and route."""
        counts: dict[str, int] = await self._ask("GET", "/requests")
        return counts

    def close(self) -> None:
        """Close its connection."""
        self._pool.clear()

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return await asyncio.to_thread(self._ask_blocking, method, path, body)

    def _ask_blocking(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        try:
            response = self._pool.request(
                method,
                f"{self._base_url}{_PREFIX}{path}",
                body=None if body is None else orjson.dumps(body),
                headers={"Content-Type": "application/json"},
                redirect=False,
            )
        except HTTPError as error:
            raise VenueUnreachable("the emulator's control routes cannot be reached") from error
        if 200 <= response.status < 300:
            return orjson.loads(response.data) if response.data else None
        if response.status in (_BAD_REQUEST, 422):
            raise FieldInvalid(f"the emulator does not take this: {_reason(response.data)}")
        raise VenueUnreachable(f"the emulator answered its control route with HTTP {response.status}")


def _reason(body: bytes) -> str:
    """The emulator's own sentence; it names fields and bounds, and repeats nothing that was sent."""
    try:
        message = orjson.loads(body)["message"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "it does not say why"
    return str(message)


def _fault(found: dict[str, Any]) -> InjectedFault:
    order = FaultOrder(
        fault=FaultKind(found["fault"]),
        route=found["route"],
        symbol=found["symbol"],
        skip=found["skip"],
        count=found["count"],
        delay_ms=found["delay_ms"],
    )
    return InjectedFault(found["fault_id"], order, found["fired"])


def _entry(found: dict[str, Any]) -> LedgerEntry:
    side, quantity, price = (found.get(name) for name in ("side", "quantity", "price"))
    return LedgerEntry(
        sequence=found["sequence"],
        time_ns=found["time_ns"],
        kind=LedgerKind(found["kind"]),
        route=found.get("route", ""),
        http_status=found.get("http_status", 0),
        venue_order_id=found.get("venue_order_id", ""),
        venue_client_order_id=found.get("venue_client_order_id", ""),
        symbol=found.get("symbol", ""),
        side=None if side is None else OrderSide(side),
        quantity=None if quantity is None else Decimal(quantity),
        price=None if price is None else Decimal(price),
        venue_status=found.get("venue_status", ""),
        fault_id=found.get("fault_id", ""),
        body=found.get("body", ""),
    )
