"""Both clients' sessions over a gateway before the emulator: every channel in one stream, slow readers, breaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.domain.models.market_data import News
from gateway.domain.types import DataFeed
from tests.clients.cutting import CuttableWire
from trading_gateway import Disconnected
from trading_gateway.v1 import market_data_pb2 as md

SYMBOLS = ["AAPL", "MSFT", "TSLA"]
NAP_S = 2.5
STALE_S = 2.0
INSIDE_THE_GATEWAY_S = 0.5


@pytest.fixture
def wire(gateway: Any) -> Iterator[CuttableWire]:
    """A wire to the gateway that can be cut."""
    cuttable = CuttableWire(gateway.target)
    yield cuttable
    cuttable.stop()


def until(session: Any, wanted: Callable[[Any], bool]) -> Any:
    """The first item of a kind; a session that brings none is stopped by the test's own end."""
    return next(item for item in session if wanted(item))


def is_live(item: Any) -> bool:
    return isinstance(item, md.Quote) and not item.snapshot


def test_subscriptions_change_while_it_runs_and_come_again_after_a_break(
    wire: CuttableWire, connect: Callable[..., Any]
) -> None:
    session = connect(wire.target).market_data_session(heartbeat_interval_s=0.5)
    session.subscribe("quotes", SYMBOLS, command_id="first")
    status = until(session, lambda item: isinstance(item, md.StreamStatus) and item.acks)
    assert {(ack.command_id, ack.symbol, ack.status.code) for ack in status.acks} <= {
        ("first", symbol, 0) for symbol in SYMBOLS
    }
    until(session, is_live)
    session.subscribe("quotes", "BTC/USD")
    session.unsubscribe("quotes", ["TSLA"])
    assert until(session, lambda item: is_live(item) and item.symbol == "BTC/USD")
    assert wire.cut() == 1
    assert until(session, lambda item: isinstance(item, Disconnected))
    gap = until(session, lambda item: isinstance(item, md.StreamStatus) and item.gaps).gaps[0]
    assert (gap.feed, set(gap.symbols)) == ("gateway", {"AAPL", "MSFT", "BTC/USD"})
    session.list_subscriptions()
    held = until(session, lambda item: isinstance(item, md.StreamStatus) and item.subscriptions).subscriptions
    assert {symbol for one in held for symbol in one.symbols} == {"AAPL", "MSFT", "BTC/USD"}
    assert until(session, is_live)
    session.close()


def test_a_reader_who_sleeps_finds_what_is_newest(gateway: Any, connect: Callable[..., Any]) -> None:
    """With credits the gateway conflates, and little was kept on the way: none of it is old without a mark."""
    session = connect(gateway.target).market_data_session(heartbeat_interval_s=0.5, credits=2)
    session.subscribe("quotes", SYMBOLS)
    until(session, is_live)
    time.sleep(NAP_S)
    old, conflated, newest = [], 0, None
    while newest is None:
        item = next(session)
        if isinstance(item, md.StreamStatus):
            conflated = max(conflated, item.conflated_total)
        elif is_live(item):
            age_s = time.time() - item.receive_time.ToNanoseconds() / 1e9
            assert item.stale or age_s <= STALE_S + INSIDE_THE_GATEWAY_S
            if age_s > STALE_S / 2:
                old.append(item)
            elif not item.stale:
                newest = item
    assert len(old) <= 2 * len(SYMBOLS)  # two batches were on their way
    assert conflated >= 1
    session.close()


def test_articles_come_among_the_quotes(gateway: Any, connect: Callable[..., Any]) -> None:
    """The venue writes about everything once, so that nobody waits for its newsroom."""
    session = connect(gateway.target).market_data_session(heartbeat_interval_s=0.5, conflation="latest_per_symbol")
    session.subscribe("quotes", "AAPL")
    session.subscribe("news", ["AAPL", "BTC/USD"], command_id="news")
    acks: set[str] = set()
    while acks != {"AAPL", "BTC/USD"}:
        status = until(session, lambda item: isinstance(item, md.StreamStatus) and item.acks)
        acks |= {ack.symbol for ack in status.acks if ack.command_id == "news" and not ack.status.code}
    about = News(1, "Both at once", ("AAPL", "BTCUSD", "SPY"), 1, 1, DataFeed.NEWS, 1, "A summary")
    gateway.emulator.call(lambda: [one.on_events([about]) for one in gateway.emulator.emulator.floor._listeners])
    article = until(session, lambda item: isinstance(item, md.News) and item.news_id == 1)
    assert (article.headline, list(article.symbols)) == ("Both at once", ["AAPL", "BTCUSD", "SPY"])
    assert until(session, is_live)
    session.close()
