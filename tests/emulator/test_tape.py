"""The tape: every row, in order, at the nanosecond that the formula says; over the socket too, bit for bit."""

from __future__ import annotations

import csv
import gzip
import json
from fractions import Fraction
from pathlib import Path

import msgpack
import pytest
from websockets.asyncio.client import connect

from gateway.domain.models.market_data import Bar, Quote, Timeframe, TimeframeUnit, Trade
from gateway.emulator.server import EmulatorOptions
from gateway.emulator.tape import LOOP_GAP_NS, Tape, TapeOptions
from gateway.emulator.tape_files import load, minute_bars
from tests.emulator.host import EmulatorHost, RunningEmulator

RECORDINGS = Path(__file__).resolve().parents[2].parent / "shared" / "tape"
needs_recordings = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no recorded tape beside this checkout")

T0 = 1_700_000_000_000_000_000
QUOTES = f"""ts_ns,symbol,bid_price,bid_size,bid_exchange,ask_price,ask_size,ask_exchange,conditions
{T0 + 7},XYZ,10.01,100,N,10.03,200,P,R
{T0 + 1000},XYZ,10.02,100,N,10.03,200,P,R
{T0 + 61_000_000_000},XYZ,10.05,300,N,10.07,200,P,R
"""
TRADES = f"""ts_ns,symbol,price,size,exchange,conditions,id,taker_side
{T0},XYZ,10.02,5,P,F I,1,
{T0 + 1000},XYZ,10.03,100,N,,2,
{T0 + 61_000_000_000},XYZ,10.50,100,D,T,3,
"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def play(options: TapeOptions, start_ns: int = 10**18) -> list[tuple[int, object]]:
    tape = Tape(options)
    tape.start(start_ns)
    return list(tape.events(start_ns - 1, start_ns + 10**15))


def test_events_are_due_by_the_formula_and_in_replay_order(tmp_path: Path) -> None:
    folder = write(tmp_path, quotes=QUOTES, trades=TRADES)
    for speed in (Fraction(1), Fraction(3), Fraction(7, 3), Fraction(1, 2)):
        happened = play(TapeOptions(folder, speed))
        kinds = [type(event) for _, event in happened]
        assert kinds == [Trade, Quote, Quote, Trade, Bar, Quote, Trade]
        recorded = [T0, T0 + 7, T0 + 1000, T0 + 1000, None, T0 + 61_000_000_000, T0 + 61_000_000_000]
        for (due_ns, event), recorded_ns in zip(happened, recorded, strict=True):
            if recorded_ns is not None:
                assert due_ns == event.time_ns == 10**18 + (recorded_ns - T0) * speed.denominator // speed.numerator


def test_pieces_make_the_same_whole(tmp_path: Path) -> None:
    """However the clock is cut, nothing is lost, doubled or early."""
    tape = Tape(TapeOptions(write(tmp_path, quotes=QUOTES, trades=TRADES), Fraction(1000)))
    tape.start(10**18)
    whole = list(tape.events(10**18 - 1, 10**18 + 10**9))
    pieces, seen = [], 10**18 - 1
    while (due := tape.next_event_ns(seen)) is not None:
        assert list(tape.events(seen, due - 1)) == []
        pieces += tape.events(seen, due)
        seen = due
    assert pieces == whole
    assert len(whole) == 7


def test_a_loop_begins_again_after_the_gap(tmp_path: Path) -> None:
    tape = Tape(TapeOptions(write(tmp_path, quotes=QUOTES), Fraction(1), loops=True))
    tape.start(10**18)
    happened = list(tape.events(10**18 - 1, 10**18 + 3 * 62_000_000_000))
    assert [event.bid_price for _, event in happened[:6]] == [10.01, 10.02, 10.05] * 2
    assert happened[3][0] == happened[2][0] + LOOP_GAP_NS


def test_a_tape_waits_unless_told_otherwise(tmp_path: Path) -> None:
    folder = write(tmp_path, quotes=QUOTES)
    waiting, running = Tape(TapeOptions(folder)), Tape(TapeOptions(folder, waits=False))
    for tape in (waiting, running):
        tape.open(10**18)
    assert waiting.next_event_ns(10**18) is None
    assert list(waiting.events(0, 10**19)) == []
    assert running.next_event_ns(10**18 - 1) == 10**18
    waiting.start(2 * 10**18)
    waiting.start(3 * 10**18)
    assert waiting.start_ns == 2 * 10**18


def test_history_is_what_has_been_played(tmp_path: Path) -> None:
    tape = Tape(TapeOptions(write(tmp_path, quotes=QUOTES, trades=TRADES)))
    tape.start(10**18)
    now_ns = 10**18 + 30_000_000_000
    assert [quote.bid_price for quote in tape.quotes("XYZ", 0, now_ns)] == [10.01, 10.02]
    assert [quote.bid_price for quote in tape.quotes("XYZ", 0, now_ns, descending=True)] == [10.02, 10.01]
    assert tape.latest_bar("XYZ", now_ns) is None
    later_ns = now_ns + 60_000_000_000
    bars = list(tape.bars("XYZ", Timeframe(1, TimeframeUnit.MINUTE), 0, later_ns, later_ns))
    assert [(bar.open, bar.close, bar.volume, bar.trade_count) for bar in bars] == [(10.03, 10.03, 105.0, 2)]
    assert tape.latest_trade("XYZ", later_ns).price == 10.03, "the print after hours sets no price"


@pytest.mark.parametrize("speed", [Fraction(0), Fraction(-1), Fraction(10**7)])
def test_a_speed_out_of_range_is_refused(tmp_path: Path, speed: Fraction) -> None:
    with pytest.raises(ValueError, match="speed"):
        Tape(TapeOptions(write(tmp_path, quotes=QUOTES), speed))


def test_a_folder_without_a_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no tape"):
        Tape(TapeOptions(tmp_path))


@needs_recordings
@pytest.mark.parametrize("name", ["us_equity/2018-01-02", "us_equity/2014-09-17", "crypto/2024-08-08"])
def test_bars_made_of_prints_are_the_recorded_bars(name: str) -> None:
    recording = load(RECORDINGS / name)
    assert minute_bars(recording.trades) == recording.bars


@needs_recordings
def test_quote_bars_alone_are_quotes_at_the_end_of_their_minute() -> None:
    recording = load(RECORDINGS / "crypto/2018-04-05")
    assert recording.symbols == ("BTC/USD", "ETH/USD", "LTC/USD")
    first = recording.quotes[0]
    assert (first.time_ns, first.bid_price, first.ask_price) == (1522886460000000000, 6778.0, 6778.01)


async def receive_quotes(emulator: RunningEmulator, path: str, symbols: list[str], count: int, *, binary: bool) -> list:
    """Every quote of the symbols, in the order of arrival."""
    headers = {"Content-Type": "application/msgpack"} if binary else {}
    write_message, read_frame = (msgpack.packb, msgpack.unpackb) if binary else (json.dumps, json.loads)
    async with connect(
        emulator.ws_url + path, additional_headers=headers, compression=None, max_size=1 << 20
    ) as socket:
        await socket.recv()
        await socket.send(write_message({"action": "auth", "key": "k", "secret": "s"}))
        await socket.recv()
        await socket.send(write_message({"action": "subscribe", "quotes": symbols}))
        assert read_frame(await socket.recv())[0]["quotes"] == symbols
        quotes: list = []
        while len(quotes) < count:
            quotes += read_frame(await socket.recv())
    return quotes


def rows(name: str) -> list[dict[str, str]]:
    with gzip.open(RECORDINGS / name / "quotes.csv.gz", "rt") as file:
        return list(csv.DictReader(file))


@needs_recordings
@pytest.mark.parametrize(("speed", "binary"), [(Fraction(50_000), True), (Fraction(1_000_000), False)])
async def test_every_recorded_quote_arrives_bit_for_bit(
    start_emulator: EmulatorHost, speed: Fraction, binary: bool
) -> None:
    name = "us_equity/2018-01-02"
    emulator = start_emulator(EmulatorOptions(tape=RECORDINGS / name, tape_speed=speed, rate_limit=0))
    recorded = rows(name)
    quotes = await receive_quotes(emulator, "/v2/sip", ["XXX"], len(recorded), binary=binary)
    tape = emulator.emulator.market
    assert len(quotes) == len(recorded) == 49_536
    assert [sided(quote) for quote in quotes] == [recorded_sides(row) for row in recorded]
    assert [(quote["bx"], quote["ax"], quote["c"]) for quote in quotes] == [
        (row["bid_exchange"], row["ask_exchange"], [row["conditions"]]) for row in recorded
    ]
    if binary:
        assert [stamp(quote) for quote in quotes] == [
            tape.start_ns + (int(row["ts_ns"]) - tape.first_ns) * speed.denominator // speed.numerator
            for row in recorded
        ]


def sided(quote: dict) -> tuple[float, ...]:
    return quote["bp"], quote["bs"], quote["ap"], quote["as"]


def recorded_sides(row: dict[str, str]) -> tuple[float, ...]:
    return float(row["bid_price"]), float(row["bid_size"]), float(row["ask_price"]), float(row["ask_size"])


def stamp(quote: dict) -> int:
    return quote["t"].seconds * 10**9 + quote["t"].nanoseconds


@needs_recordings
async def test_every_recorded_crypto_quote_arrives(start_emulator: EmulatorHost) -> None:
    name = "crypto/2024-08-08"
    emulator = start_emulator(EmulatorOptions(tape=RECORDINGS / name, tape_speed=Fraction(2000), rate_limit=0))
    recorded = rows(name)
    symbols = ["BTC/USDT", "ETH/USDT"]
    quotes = await receive_quotes(emulator, "/v1beta3/crypto/us", symbols, len(recorded), binary=True)
    tape = emulator.emulator.market
    assert [(quote["S"], *sided(quote)) for quote in quotes] == [
        (row["symbol"], *recorded_sides(row)) for row in recorded
    ]
    assert [stamp(quote) for quote in quotes] == [
        tape.start_ns + (int(row["ts_ns"]) - tape.first_ns) // 2000 for row in recorded
    ]
