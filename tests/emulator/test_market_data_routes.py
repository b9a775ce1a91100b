"""Market data over HTTP: paging that neither repeats nor skips, both spellings, and errors."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.rest.answers import parse_time
from gateway.emulator.server import EmulatorOptions
from gateway.emulator.streams.data import StreamSettings
from tests.emulator.host import EmulatorHost, ManualClock
from tests.emulator.rest_client import RestClient

NOON = datetime(2026, 3, 11, 16, 0, 30, tzinfo=UTC)


@pytest.fixture
def rest(start_emulator: EmulatorHost):
    clock = ManualClock(int(NOON.timestamp()) * NANOS_PER_SECOND)
    client = RestClient(start_emulator(clock=clock))
    yield client
    client.close()


def pages(rest: RestClient, path: str, word: str, **query: object) -> list[tuple[str, dict]]:
    """Every row of every page, in the order of the pages, with its symbol."""
    rows: list[tuple[str, dict]] = []
    token = None
    while True:
        page = rest.get(path, **query, page_token=token)
        for symbol, items in page[word].items():
            rows += [(symbol, item) for item in items]
        assert sum(map(len, page[word].values())) <= int(query["limit"])
        token = page["next_page_token"]
        if token is None:
            return rows


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize(("word", "more"), [("bars", {"timeframe": "1Min"}), ("quotes", {}), ("trades", {})])
def test_pages_make_the_whole(rest: RestClient, sort: str, word: str, more: dict) -> None:
    path = f"/v2/stocks/{word}"
    query = {
        "symbols": "MSFT,AAPL",
        "start": "2026-03-11T15:55:00Z",
        "end": "2026-03-11T15:58:00Z",
        "sort": sort,
        **more,
    }
    if word != "bars":
        query["start"] = "2026-03-11T15:57:00.5Z"
    whole = pages(rest, path, word, **query, limit=10_000)
    assert [symbol for symbol, _ in whole] == sorted(symbol for symbol, _ in whole)
    assert len(whole) == {"bars": 8, "quotes": 476, "trades": len(whole)}[word] > 7
    assert pages(rest, path, word, **query, limit=7) == whole
    times = [item["t"] for symbol, item in whole if symbol == "AAPL"]
    assert times == sorted(times, reverse=sort == "desc")


def test_rows_of_one_instant_are_not_lost_between_pages(start_emulator: EmulatorHost, tmp_path: Path) -> None:
    header = "ts_ns,symbol,bid_price,bid_size,bid_exchange,ask_price,ask_size,ask_exchange,conditions\n"
    rows = "".join(f"{10**18 + number // 5},XYZ,{number + 1},1,N,{number + 2},1,N,R\n" for number in range(20))
    (tmp_path / "quotes.csv.gz").write_bytes(gzip.compress((header + rows).encode()))
    clock = ManualClock(2 * 10**18)
    client = RestClient(start_emulator(EmulatorOptions(tape=tmp_path, tape_start="now", rate_limit=0), clock=clock))
    clock.advance(s=1)
    for sort in ("asc", "desc"):
        query = {"symbols": "XYZ", "start": "2033-01-01", "sort": sort}
        prices = [item["bp"] for _, item in pages(client, "/v2/stocks/quotes", "quotes", **query, limit=3)]
        assert prices == sorted(map(float, range(1, 21)), reverse=sort == "desc")
    client.close()


def test_older_routes_of_one_stock(rest: RestClient) -> None:
    page = rest.get("/v2/stocks/AAPL/bars", timeframe="1Hour", limit=2, start="2026-03-11")
    assert (page["symbol"], len(page["bars"])) == ("AAPL", 2)
    following = rest.get(
        "/v2/stocks/AAPL/bars", timeframe="1Hour", start="2026-03-11", page_token=page["next_page_token"]
    )
    assert following["bars"][0]["t"] > page["bars"][1]["t"]
    assert rest.get("/v2/stocks/AAPL/quotes/latest")["quote"]["bp"] > 0
    assert rest.ask("GET", "/v2/stocks/NONE/trades/latest").status_code == 404


def test_crypto_takes_both_spellings_and_answers_with_the_slash(rest: RestClient) -> None:
    for spelling in ("BTC/USD", "BTCUSD", "btc/usd"):
        assert list(rest.get("/v1beta3/crypto/us/latest/quotes", symbols=spelling)["quotes"]) == ["BTC/USD"]
    assert rest.get("/v1beta3/crypto/us/latest/bars", symbols="AAPL,ETH/USD")["bars"].keys() == {"ETH/USD"}


def test_without_a_start_history_is_todays(rest: RestClient) -> None:
    """Today begins at midnight in New York for stocks, four hours after UTC's in summer time."""
    stock = rest.get("/v2/stocks/bars", symbols="AAPL", timeframe="1Hour")["bars"]["AAPL"]
    pair = rest.get("/v1beta3/crypto/us/bars", symbols="BTC/USD", timeframe="1Hour")["bars"]["BTC/USD"]
    assert (stock[0]["t"], pair[0]["t"]) == ("2026-03-11T04:00:00Z", "2026-03-11T00:00:00Z")
    assert len(stock) == 12, "the last hour is not over when its first minute is not"


@pytest.mark.parametrize("word", ["quotes", "trades"])
def test_before_the_market_began_there_was_nothing(rest: RestClient, word: str) -> None:
    page = rest.get(f"/v2/stocks/{word}", symbols="AAPL", start="1990-01-01T00:00:00Z", end="1999-12-31T23:59:59Z")
    assert (page[word], page["next_page_token"]) == ({}, None)
    page = rest.get(f"/v2/stocks/{word}", symbols="AAPL", start="1970-01-01T00:00:00Z", limit=1)
    assert page[word]["AAPL"][0]["t"] >= "2000-01-01"


def test_symbols_without_data_are_left_out(rest: RestClient) -> None:
    assert rest.get("/v2/stocks/quotes/latest", symbols="NONE")["quotes"] == {}
    assert rest.get("/v2/stocks/snapshots", symbols="NONE,AAPL").keys() == {"AAPL"}


@pytest.mark.parametrize(
    "query",
    [
        {"timeframe": "1Min"},
        {"symbols": "AAPL"},
        {"symbols": "AAPL", "timeframe": "60Min"},
        {"symbols": "AAPL", "timeframe": "1Min", "limit": "0"},
        {"symbols": "AAPL", "timeframe": "1Min", "limit": "10001"},
        {"symbols": "AAPL", "timeframe": "1Min", "sort": "up"},
        {"symbols": "AAPL", "timeframe": "1Min", "start": "yesterday"},
        {"symbols": "AAPL", "timeframe": "1Min", "start": "2026-02-30"},
        {"symbols": "AAPL", "timeframe": "1Min", "start": "2026-03-11", "end": "2026-03-10"},
        {"symbols": "AAPL", "timeframe": "1Min", "page_token": "not one of ours"},
        {"symbols": ",".join(f"S{number}" for number in range(1001)), "timeframe": "1Min"},
    ],
)
def test_questions_that_make_no_sense(rest: RestClient, query: dict) -> None:
    answer = rest.ask("GET", "/v2/stocks/bars", params=query)
    assert answer.status_code == 400
    assert set(answer.json()) == {"message"}


@pytest.mark.parametrize("path", ["quotes", "trades", "bars?timeframe=1Min", "quotes/latest", "snapshots"])
def test_feeds_that_there_are(rest: RestClient, path: str) -> None:
    join = "&" if "?" in path else "?"
    for feed in ("sip", "iex", "boats", "otc"):
        assert rest.ask("GET", f"/v2/stocks/{path}{join}symbols=AAPL&limit=1&feed={feed}").status_code == 200
    for feed in ("xyz", "SIP"):
        wrong = rest.ask("GET", f"/v2/stocks/{path}{join}symbols=AAPL&feed={feed}")
        assert (wrong.status_code, wrong.json()) == (400, {"message": f"invalid feed: {feed}"})
    delayed = rest.ask("GET", f"/v2/stocks/{path}{join}symbols=AAPL&limit=1&feed=delayed_sip")
    assert delayed.status_code == (200 if path in ("quotes/latest", "snapshots") else 400)
    assert rest.ask("GET", "/v1beta3/crypto/us/trades?symbols=BTC/USD&limit=1&feed=xyz").status_code == 200


def test_a_plan_without_sip_has_what_is_15_minutes_old(start_emulator: EmulatorHost) -> None:
    clock = ManualClock(int(NOON.timestamp()) * NANOS_PER_SECOND)
    emulator = start_emulator(clock=clock, streams=StreamSettings(refused_paths={"/v2/sip": 409}))
    rest = RestClient(emulator)
    refusal = {"message": "subscription does not permit querying recent SIP data"}
    day = {"symbols": "AAPL", "start": "2026-03-11T15:00:00Z", "limit": 5}
    for noun in ("quotes", "trades", "bars"):
        asked = day | ({"timeframe": "1Min"} if noun == "bars" else {})
        for recent in ({}, {"end": "2026-03-11T15:45:31Z"}):
            answer = rest.ask("GET", f"/v2/stocks/{noun}", params=asked | recent | {"feed": "sip"})
            assert (answer.status_code, answer.json()) == (403, refusal)
        for older in ({"feed": "sip", "end": "2026-03-11T15:45:30Z"}, {"feed": "iex"}, {}):
            assert len(rest.get(f"/v2/stocks/{noun}", **asked, **older)[noun]["AAPL"]) == 5
        assert rest.ask("GET", f"/v2/stocks/{noun}/latest?symbols=AAPL&feed=sip").json() == refusal
        assert rest.ask("GET", f"/v2/stocks/{noun}/latest?symbols=AAPL").status_code == 200
    assert rest.ask("GET", "/v2/stocks/snapshots?symbols=AAPL&feed=sip").status_code == 403
    rest.close()


def test_order_books_of_pairs(rest: RestClient) -> None:
    books = rest.get("/v1beta3/crypto/us/latest/orderbooks", symbols="BTC/USD,ETHUSD,NONE/USD")["orderbooks"]
    quotes = rest.get("/v1beta3/crypto/us/latest/quotes", symbols="BTC/USD,ETHUSD")["quotes"]
    assert books.keys() == {"BTC/USD", "ETH/USD"}
    for symbol, book in books.items():
        assert (book["b"][0]["p"], book["a"][0]["p"]) == (quotes[symbol]["bp"], quotes[symbol]["ap"])
        assert (book["b"][0]["s"], book["t"]) == (quotes[symbol]["bs"], quotes[symbol]["t"])
    assert rest.ask("GET", "/v1beta3/crypto/us/latest/orderbooks").status_code == 400


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("1970-01-02", 86_400 * 10**9),
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01T00:00:01.000000002Z", 10**9 + 2),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T01:00:00 01:00", 0),
        ("1970-01-01T00:00:00", 0),
        ("1969-12-31T23:59:59.5Z", -(10**9) // 2),
    ],
)
def test_times_keep_their_nanoseconds(text: str, expected_ns: int) -> None:
    assert parse_time(text, "start") == expected_ns
