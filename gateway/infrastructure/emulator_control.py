"""VenueControl over the emulator's control routes, `/emulator/v1/`: faults on request, for demos and tests.

Never bound for paper or live. It uses no client of Alpaca's: what it asks for does not exist there.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import orjson
import urllib3
from urllib3.exceptions import HTTPError

from gateway.domain.errors import FieldInvalid, VenueUnreachable

TIMEOUT_S: Final = 5.0
_PREFIX: Final = "/emulator/v1"
_BAD_REQUEST: Final = 400


class EmulatorControl:
    """Orders faults at one emulator.

    Args:
        base_url: As `http://127.0.0.1:8700`.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._pool = urllib3.PoolManager(maxsize=1, block=True, retries=False, timeout=TIMEOUT_S)

    async def inject(self, fault: str, count: int, match: str = "") -> None:
        """Let the next `count` requests or sockets that fit `match` meet a fault; `gateway.emulator.faults` names them.

        Raises:
            FieldInvalid: The emulator does not know such a fault, or a value is out of its bounds.
            VenueUnreachable: There is no emulator at this address.
        """
        await self._ask("POST", "/faults", {"kind": fault, "count": count, "match": match})

    async def clear(self) -> None:
        """Forget every fault; muted sockets speak again."""
        await self._ask("DELETE", "/faults", None)

    async def requests(self) -> dict[str, int]:
        """How many requests came, by method and route."""
        counts: dict[str, int] = await self._ask("GET", "/requests", None)
        return counts

    def close(self) -> None:
        """Close its connection."""
        self._pool.clear()

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
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
            raise FieldInvalid("the emulator does not take this fault")
        raise VenueUnreachable(f"the emulator answered its control route with HTTP {response.status}")
