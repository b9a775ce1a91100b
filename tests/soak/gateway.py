"""A gateway for the soak: wired and flagged as `serve` ships it, and telling how many tasks it has when it is asked.

    python -m tests.soak.gateway VENUE_URL DATA_DIR      prints its address; SIGUSR1: one line of JSON, tasks by name

Orders, events and answers that are kept are few, so that an hour's worth of them is not taken for a leak (the shipped
numbers are filled by `tests/application/test_shipped_tables.py`); a client has no limits, as one process plays all of
them here; and a stream that is blocked is ended after BLOCKED_MS, not 30 s.
"""

from __future__ import annotations

import asyncio
import functools
import json
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from injector import Module, provider, singleton

from gateway.application.order_manager import OrderManager
from gateway.cli.process import Gateway
from gateway.cli.runtime import run, settle_collector
from gateway.config import Settings
from gateway.container import Clocks
from gateway.domain.interfaces import OrderJournal
from gateway.servicers.wire import order_updates, orders as order_messages
from gateway.servicers.wire.order_updates import StepWriter
from gateway.telemetry import configure_logging
from tests.gateway_host import NO_CLIENT_LIMITS

ORDERS_MAX: Final = 100
EVENTS_MAX: Final = 1_000
ENCODED_BYTES_MAX: Final = 256 * 1024
BLOCKED_MS: Final = 5_000


class FewEvents(Module):
    """As shipped, 20,000 events stay in memory, which an hour of orders here would only just fill."""

    @provider
    @singleton
    def order_manager(self, journal: OrderJournal, settings: Settings, clocks: Clocks) -> OrderManager:
        """With few of them."""
        return OrderManager(journal, clocks.wall, settings.orders_max, EVENTS_MAX)


def tasks() -> dict[str, int]:
    """How many there are, by the name of what they run."""
    running = (task.get_coro() for task in asyncio.all_tasks())
    return dict(Counter(getattr(work, "__qualname__", type(work).__name__) for work in running))


async def main(venue_url: str, data_dir: Path) -> None:
    """Serve until SIGTERM."""
    configure_logging("warning", "json")
    settings = Settings(
        listen="127.0.0.1:0",
        venue_url=venue_url,
        venue_requests_per_minute=0,
        data_dir=data_dir,
        orders_max=ORDERS_MAX,
        journal_events_max=EVENTS_MAX,
        stream_write_blocked_ms=BLOCKED_MS,
        **NO_CLIENT_LIMITS,
    )
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: print(json.dumps(tasks()), flush=True))
    order_messages.ORDER_MESSAGES_MAX = ORDERS_MAX  # type: ignore[misc] - answers kept; 8,192 as shipped
    order_updates.StepWriter = functools.partial(StepWriter, ENCODED_BYTES_MAX)  # type: ignore[assignment,misc] - 16 MiB as shipped
    gateway = Gateway(settings, FewEvents())
    address = await gateway.start()
    settle_collector()
    print(f"gateway at {address}", flush=True)
    await stop.wait()
    await gateway.stop()


if __name__ == "__main__":
    run(main(sys.argv[1], Path(sys.argv[2])))
