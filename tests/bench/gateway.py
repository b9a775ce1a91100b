"""A gateway for benchmarks: wired and flagged as `serve` ships it, before a venue that answers at once, or at a URL.

python -m tests.bench.gateway [VENUE_URL [DATA_DIR [TOKENS]]]   prints its address; with an empty URL the venue is
`InstantVenue`. The journal is on disk, as with `serve`: without DATA_DIR in a temporary directory. With TOKENS every
call needs one of so many, each with the limits of a client as shipped; their secrets are in DATA_DIR/tokens. Without,
what is measured is one client alone, so that a client has no limits.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from injector import InstanceProvider, Module

from gateway.cli.process import Gateway
from gateway.cli.runtime import run, settle_collector
from gateway.config import Settings
from gateway.domain.interfaces import AccountRepository, MarketDataRepository, StreamingRepository, TradingRepository
from gateway.domain.models.identity import Scope
from gateway.domain.types import Authentication
from gateway.services.identity import Grant, IdentityService
from gateway.telemetry import configure_logging
from tests.bench.instant import InstantVenue
from tests.gateway_host import NO_CLIENT_LIMITS

VENUE_URL_UNUSED = "http://127.0.0.1:1"
TOKENS_FILE = "tokens"
STRATEGY = "bench"
SCOPES = frozenset({Scope.ORDERS_TRADE, Scope.ORDERS_READ, Scope.MARKET_DATA_READ})


class InstantModule(Module):
    """The four repositories, without a socket."""

    def configure(self, binder) -> None:
        venue = InstantVenue()
        for interface in (TradingRepository, AccountRepository, MarketDataRepository, StreamingRepository):
            binder.bind(interface, to=InstanceProvider(venue))


async def mint(gateway: Gateway, count: int) -> list[str]:
    """The secrets of so many tokens of one strategy, each a client of its own."""
    identity = gateway.injector.get(IdentityService)
    return [(await identity.mint(Grant(STRATEGY, SCOPES))).secret for _ in range(count)]


def keep(secrets: list[str], folder: Path) -> None:
    """Leave them where the generator reads them, one a line."""
    (folder / TOKENS_FILE).write_text("".join(f"{secret}\n" for secret in secrets))


async def main(venue_url: str, data_dir: Path, tokens: int) -> None:
    """Serve until SIGTERM."""
    configure_logging("warning", "json")
    settings = Settings(
        listen="127.0.0.1:0",
        venue_url=venue_url or VENUE_URL_UNUSED,
        venue_requests_per_minute=0,
        data_dir=data_dir,
        authentication=Authentication.REQUIRED if tokens else Authentication.AUTO,
        **({} if tokens else NO_CLIENT_LIMITS),
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    gateway = Gateway(settings, *([] if venue_url else [InstantModule()]))
    keep(await mint(gateway, tokens), data_dir)
    address = await gateway.start()
    settle_collector()
    print(f"gateway at {address}", flush=True)
    await stop.wait()
    await gateway.stop()


if __name__ == "__main__":
    url, folder, count = (*sys.argv[1:4], "", "", "")[:3]
    with tempfile.TemporaryDirectory() as temporary:
        run(main(url, Path(folder or temporary), int(count or 0)))
