"""Past values by the Python clients: pages of quotes and trades, and long ranges of bars over broken connections."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import grpc
import pytest

from tests.clients.messages import LOST
from tests.clients.scripted import Refusal, ScriptedGateway
from trading_gateway.errors import GatewayError, SequenceGap
from trading_gateway.v1 import market_data_pb2 as md

START = datetime(2026, 1, 2, tzinfo=UTC)


def bar(symbol: str, minute: int) -> md.Bar:
    message = md.Bar(symbol=symbol, close=minute)
    message.start_time.FromSeconds(int(START.timestamp()) + 60 * minute)
    return message


def batch(number: int, *bars: md.Bar) -> md.StreamHistoricalBarsResponse:
    return md.StreamHistoricalBarsResponse(batch_sequence=number, bars=bars)


def stream(client: Any, *symbols: str, **options: Any) -> Any:
    return client.stream_historical_bars(symbols, unit="minute", start_time=START, **options)


@pytest.mark.parametrize("noun", ["quotes", "trades"])
def test_pages_of_past_values(client: Any, scripted: ScriptedGateway, noun: str) -> None:
    value, response = (md.Quote, md.ListQuotesResponse) if noun == "quotes" else (md.Trade, md.ListTradesResponse)
    pages = [response(**{noun: [value(symbol="AAPL")]}, next_page_token="two"), response(**{noun: [value()]})]
    asked = scripted.script(f"List{noun.title()}", *pages)
    listed = getattr(client, f"list_{noun}")
    found = list(listed("AAPL", start_time=START, as_of_date=date(2026, 1, 2), newest_first=True, feed="sip"))
    assert [one.symbol for one in found] == ["AAPL", ""]
    assert [one.page_token for one in asked] == ["", "two"]
    assert all(one.newest_first and one.as_of_date.day == 2 and one.HasField("start_time") for one in asked)
    with pytest.raises(TypeError):
        listed("AAPL", newest=True)


def test_order_books(client: Any, scripted: ScriptedGateway) -> None:
    scripted.script("GetLatestOrderBooks", md.GetLatestOrderBooksResponse(order_books=[md.OrderBook(reset=True)]))
    assert client.get_latest_order_books("BTC/USD", max_staleness_s=0).order_books[0].reset


def test_a_long_range_ends_after_its_last_bar(client: Any, scripted: ScriptedGateway) -> None:
    asked = scripted.script("StreamHistoricalBars", [batch(1, bar("AAPL", 0), bar("AAPL", 1)), batch(2, bar("B", 0))])
    assert [(one.symbol, one.close) for one in stream(client, "B", "AAPL")] == [("AAPL", 0), ("AAPL", 1), ("B", 0)]
    assert len(asked) == 1


def test_a_broken_range_goes_on_after_the_last_bar(client: Any, scripted: ScriptedGateway) -> None:
    asked = scripted.script(
        "StreamHistoricalBars",
        [batch(1, bar("A", 0), bar("B", 0)), LOST],
        [batch(1, bar("B", 0), bar("B", 1), bar("C", 0)), LOST],
        [batch(1, bar("C", 0)), batch(2, bar("C", 1))],
    )
    found = [(one.symbol, one.close) for one in stream(client, "A", "B", "C")]
    assert found == [("A", 0), ("B", 0), ("B", 1), ("C", 0), ("C", 1)]
    assert [list(one.symbols) for one in asked] == [["A", "B", "C"], ["B", "C"], ["C"]]
    assert [one.start_time.ToDatetime(UTC) for one in asked] == [START] * 3, "C's last bar is the first of the range"


def test_of_one_symbol_only_the_rest_is_asked_for(client: Any, scripted: ScriptedGateway) -> None:
    for newest_first, edge, minutes in ((False, "start_time", [0, 1, 2]), (True, "end_time", [2, 1, 0])):
        first, second, third = (bar("A", minute) for minute in minutes)
        asked = scripted.script("StreamHistoricalBars", [batch(1, first, second), LOST], [batch(1, second, third)])
        asked.clear()
        found = [one.close for one in stream(client, "A", newest_first=newest_first)]
        assert found == minutes
        assert getattr(asked[1], edge) == second.start_time


def test_what_cannot_go_on_is_told(client: Any, scripted: ScriptedGateway) -> None:
    scripted.script("StreamHistoricalBars", [Refusal(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")])
    with pytest.raises(GatewayError):
        list(stream(client, "A"))
    scripted.script("StreamHistoricalBars", [batch(2, bar("A", 0))])
    with pytest.raises(SequenceGap):
        list(stream(client, "A"))
