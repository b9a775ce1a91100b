"""Options in the emulator: what is listed, what it costs, and Alpaca's own wire for it."""

from __future__ import annotations

import asyncio
import json
import math
from datetime import UTC, date, datetime

import msgpack
import pytest
from alpaca.data.enums import OptionsFeed
from alpaca.data.historical.option import OptionHistoricalDataClient
from alpaca.data.requests import OptionChainRequest, OptionLatestQuoteRequest, OptionSnapshotRequest
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import GetOptionContractsRequest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.black_scholes import Terms, greeks_of, price_of
from gateway.emulator.market import SyntheticMarket
from gateway.emulator.option_chain import EXPIRATIONS, STRIKES_EACH_WAY, UNDERLYINGS, OptionChain
from gateway.emulator.option_market import OptionMarket
from gateway.emulator.streams.data import StreamSettings
from tests.emulator.host import EmulatorHost, RunningEmulator
from tests.emulator.rest_client import RestClient

CHAIN = OptionChain(UNDERLYINGS)


def instant(year: int, month: int, day: int, hour: int, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()) * NANOS_PER_SECOND


NOW_NS = instant(2026, 11, 22, 15)


def market(seed: int = 1) -> OptionMarket:
    return OptionMarket(SyntheticMarket(seed), CHAIN, seed)


def test_the_chain_is_bounded_and_follows_the_calendar() -> None:
    listed = CHAIN.contracts(NOW_NS)
    assert len(listed) == len(UNDERLYINGS) * EXPIRATIONS * 2 * (2 * STRIKES_EACH_WAY + 1)
    assert list(listed) == sorted(listed)
    days = sorted({contract.expiration for contract in listed.values()})
    assert days == [date(2026, 12, 18), date(2027, 1, 15), date(2027, 2, 19), date(2027, 3, 19)]
    call = listed["AAPL261218C00200000"]
    assert call.name == "AAPL Dec 18 2026 200 Call"
    assert call.expires_ns == instant(2026, 12, 18, 21), "16:00 in New York"
    assert CHAIN.find(call.symbol, call.expires_ns - 1) is not None
    assert CHAIN.find(call.symbol, call.expires_ns) is None
    assert OptionChain(("MSFT", "BTC/USD")).contracts(NOW_NS) == {}


def test_prices_are_black_and_scholes() -> None:
    # Hull, example of chapter 15: S 42, K 40, r 10 %, σ 20 %, half a year: 4.76 and 0.81.
    call, put = (Terms(is_call, 40.0, 0.5, 0.2, 0.1) for is_call in (True, False))
    assert price_of(call, 42.0) == pytest.approx(4.7594, abs=1e-4)
    assert price_of(put, 42.0) == pytest.approx(0.8086, abs=1e-4)
    assert price_of(call, 42.0) - price_of(put, 42.0) == pytest.approx(42.0 - 40.0 * math.exp(-0.05))


@pytest.mark.parametrize("is_call", [True, False])
def test_sensitivities_are_the_slopes_of_the_price(is_call: bool) -> None:
    step = 1e-4

    def priced(spot: float = 42.0, **changes: float) -> float:
        given = {"strike_price": 40.0, "years": 0.5, "volatility": 0.2, "rate": 0.1} | changes
        return price_of(Terms(is_call, **given), spot)

    def slope(name: str, value: float) -> float:
        return (priced(**{name: value + step}) - priced(**{name: value - step})) / (2 * step)

    greeks = greeks_of(Terms(is_call, 40.0, 0.5, 0.2, 0.1), 42.0)
    assert greeks.delta == pytest.approx(slope("spot", 42.0), abs=1e-6)
    bend = (priced(42.01) - 2 * priced(42.0) + priced(41.99)) / 0.01**2
    assert greeks.gamma == pytest.approx(bend, rel=1e-3)
    assert greeks.theta == pytest.approx(-slope("years", 0.5) / 365, rel=1e-4)
    assert greeks.vega == pytest.approx(slope("volatility", 0.2) / 100, rel=1e-4)
    assert greeks.rho == pytest.approx(slope("rate", 0.1) / 100, rel=1e-4)


def test_one_seed_is_one_market_and_the_past_is_what_was_live() -> None:
    symbol = "SPY261218P00595000"
    ours, again, other = market(3), market(3), market(4)
    assert ours.latest_quote(symbol, NOW_NS) == again.latest_quote(symbol, NOW_NS) != other.latest_quote(symbol, NOW_NS)
    assert ours.sensitivities(symbol, NOW_NS) == again.sensitivities(symbol, NOW_NS)
    underlying = SyntheticMarket(3)
    events = [event for _, event in underlying.events(NOW_NS - 120 * NANOS_PER_SECOND, NOW_NS)]
    live = ours.events(events, {symbol, "SPY261218P00001000", "MSFT"})
    quotes = [event for event in live if type(event).__name__ == "Quote"]
    trades = [event for event in live if type(event).__name__ == "Trade"]
    assert 115 <= len(quotes) <= 121, "one a second"
    assert quotes[-1] == ours.latest_quote(symbol, NOW_NS)
    past = list(ours.trades(symbol, NOW_NS - 120 * NANOS_PER_SECOND + 1, NOW_NS, NOW_NS))
    assert trades == past
    assert ours.latest_trade(symbol, NOW_NS) == (past[-1] if past else ours.latest_trade(symbol, NOW_NS))
    assert ours.events(events, set()) == []


def test_every_contract_has_an_offer_and_no_bid_is_above_it() -> None:
    options = market()
    for symbol, contract in CHAIN.contracts(NOW_NS).items():
        quote = options.latest_quote(symbol, NOW_NS)
        assert quote is not None
        assert 0 <= quote.bid_price < quote.ask_price
        assert (quote.bid_size == 0) == (quote.bid_price == 0)
        found = options.sensitivities(symbol, NOW_NS)
        assert found is not None
        assert 0 <= abs(found[1].delta) <= 1, contract


def test_contracts_are_listed_as_alpaca_lists_them(rest: RestClient) -> None:
    assert rest.get("/v2/options/contracts")["next_page_token"] is None
    everything: list[str] = []
    token = ""
    while True:
        page = rest.get("/v2/options/contracts", expiration_date_lte="2100-01-01", limit=100, page_token=token)
        everything += [contract["symbol"] for contract in page["option_contracts"]]
        token = page["next_page_token"]
        if not token:
            break
    assert len(everything) == len(set(everything)) == len(CHAIN.contracts(NOW_NS))
    one = rest.get(f"/v2/options/contracts/{everything[0]}")
    assert rest.get(f"/v2/options/contracts/{one['id']}") == one
    narrow = rest.get(
        "/v2/options/contracts", underlying_symbols="SPY,NONE", type="put", strike_price_gte="590",
        strike_price_lte="600", expiration_date=one["expiration_date"],
    )  # fmt: skip
    assert [contract["strike_price"] for contract in narrow["option_contracts"]] == ["595"]
    assert rest.ask("GET", "/v2/options/contracts/AAPL").status_code == 404
    for query in ({"type": "straddle"}, {"strike_price_gte": "x"}, {"strike_price_lte": "NaN"}, {"limit": "0"}):
        assert rest.ask("GET", "/v2/options/contracts", params=query).status_code == 422
    assert rest.ask("GET", "/v2/options/contracts", params={"page_token": "____"}).status_code == 400
    assert (
        rest.get("/v2/options/contracts", status="inactive", expiration_date_lte="2100-01-01")["option_contracts"] == []
    )


def test_alpacas_own_client_reads_options(emulator: RunningEmulator) -> None:
    trading = TradingClient("k", "s", url_override=emulator.url)
    wanted = GetOptionContractsRequest(underlying_symbols=["AAPL"], expiration_date_lte=date(2100, 1, 1), limit=500)
    contracts = trading.get_option_contracts(wanted).option_contracts
    assert len(contracts) == EXPIRATIONS * 2 * (2 * STRIKES_EACH_WAY + 1)
    symbols = [contract.symbol for contract in contracts[:3]]
    data = OptionHistoricalDataClient("k", "s", url_override=emulator.url)
    quotes = data.get_option_latest_quote(OptionLatestQuoteRequest(symbol_or_symbols=symbols))
    assert set(quotes) == set(symbols)
    snapshots = data.get_option_snapshot(OptionSnapshotRequest(symbol_or_symbols=symbols))
    assert all(snapshot.greeks.gamma >= 0 for snapshot in snapshots.values())
    chain = data.get_option_chain(OptionChainRequest(underlying_symbol="AAPL", feed=OptionsFeed.INDICATIVE))
    assert len(chain) == len(contracts)
    with pytest.raises(Exception, match="not found"):
        trading.get_option_contract("AAPL261218C00200001")


def test_a_plan_without_opra_is_told_so(start_emulator: EmulatorHost) -> None:
    running = start_emulator(streams=StreamSettings(refused_paths={"/v1beta1/opra": 409}))
    rest = RestClient(running)
    symbol = rest.get("/v2/options/contracts", expiration_date_lte="2100-01-01")["option_contracts"][0]["symbol"]
    path = "/v1beta1/options/quotes/latest"
    assert rest.ask("GET", path, params={"symbols": symbol, "feed": "opra"}).status_code == 403
    assert rest.ask("GET", path, params={"symbols": symbol, "feed": "iex"}).status_code == 400
    assert (
        rest.ask("GET", path, params={"symbols": ",".join([symbol] + [f"A{n}" for n in range(100)])}).status_code == 400
    )
    assert set(rest.get(path, symbols=f"{symbol},AAPL", feed="indicative")["quotes"]) == {symbol}
    rest.close()


async def test_the_stream_is_msgpack_alone_and_has_no_star(emulator: RunningEmulator) -> None:
    path = emulator.ws_url + "/v1beta1/indicative"
    async with connect(path) as socket:
        refused = [{"T": "error", "code": 412, "msg": "option messages are only available in MsgPack format"}]
        assert json.loads(await socket.recv()) == refused
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 5)
    now_ns = emulator.call(emulator.emulator.floor.now)
    symbol = next(iter(CHAIN.contracts(now_ns)))
    async with connect(path, additional_headers={"Content-Type": "application/msgpack"}) as socket:

        async def ask(**message: object) -> dict:
            await socket.send(msgpack.packb(message))
            return msgpack.unpackb(await asyncio.wait_for(socket.recv(), 5))[0]

        assert msgpack.unpackb(await socket.recv()) == [{"T": "success", "msg": "connected"}]
        assert (await ask(action="auth", key="k", secret="s"))["msg"] == "authenticated"
        assert (await ask(action="subscribe", bars=[symbol]))["code"] == 410
        assert (await ask(action="subscribe", quotes=["*"]))["code"] == 413
        answer = await ask(action="subscribe", quotes=[symbol, "AAPL"], trades=[symbol])
        assert answer == {"T": "subscription", "trades": [symbol], "quotes": [symbol, "AAPL"]}
        told: dict = {}
        while told.get("T") != "q":
            told = msgpack.unpackb(await asyncio.wait_for(socket.recv(), 5))[0]
    assert list(told)[:2] == ["T", "S"]
    assert set(told) == {"T", "S", "bx", "bp", "bs", "ax", "ap", "as", "t", "c"}
    assert (told["S"], told["c"]) == (symbol, "A")
    assert isinstance(told["t"], msgpack.Timestamp)
