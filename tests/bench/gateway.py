"""A gateway for benchmarks: wired and flagged as `serve` ships it, before a venue that answers at once, or at a URL.

python -m tests.bench.gateway [VENUE_URL [DATA_DIR]]   prints its address; with an empty URL the venue is
`InstantVenue`. The journal is on disk, as with `serve`: without DATA_DIR in a temporary directory.
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
from gateway.telemetry import configure_logging
from tests.bench.instant import InstantVenue

VENUE_URL_UNUSED = "http://127.0.0.1:1"


class InstantModule(Module):
    """The four repositories, without a socket."""

    def configure(self, binder) -> None:
        venue = InstantVenue()
        for interface in (TradingRepository, AccountRepository, MarketDataRepository, StreamingRepository):
            binder.bind(interface, to=InstanceProvider(venue))


async def main(venue_url: str, data_dir: Path) -> None:
    """Serve until SIGTERM."""
    configure_logging("warning", "json")
    settings = Settings(
        listen="127.0.0.1:0",
        venue_url=venue_url or VENUE_URL_UNUSED,
        venue_requests_per_minute=0,
        data_dir=data_dir,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    gateway = Gateway(settings, *([] if venue_url else [InstantModule()]))
    address = await gateway.start()
    settle_collector()
    print(f"gateway at {address}", flush=True)
    await stop.wait()
    await gateway.stop()


if __name__ == "__main__":
    url, folder = (*sys.argv[1:3], "", "")[:2]
    with tempfile.TemporaryDirectory() as temporary:
        run(main(url, Path(folder or temporary)))
