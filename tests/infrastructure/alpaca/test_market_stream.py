"""What only the websocket says, read letter by letter; and every kind of message by its channel."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given, strategies as st
from websockets.asyncio.server import ServerConnection

from gateway.domain.models.market_data import (
    Bar,
    Luld,
    News,
    OrderBook,
    Trade,
    TradeCancel,
    TradeCorrection,
    TradingStatus,
)
from gateway.domain.types import Channel, DataFeed, FeedState
from gateway.infrastructure.alpaca.converters.fields import Unreadable
from gateway.infrastructure.alpaca.converters.market_stream import (
    ARTICLE_SYMBOLS_MAX,
    HEADLINE_LENGTH_MAX,
    KINDS,
    SUMMARY_LENGTH_MAX,
)
from tests.infrastructure.alpaca.feeds import NOW_NS, T_NS, feed_at, quote, serving, wanted
from tests.infrastructure.alpaca.listeners import MarketNotes
from tests.infrastructure.alpaca.scripted import ScriptedSocket, acknowledge, greet, until

# As Alpaca's pages on real-time data show them, but for the time, which every test stamps.
MESSAGES: dict[str, dict[str, Any]] = {
    "t": {"T": "t", "S": "AAPL", "i": 96_921, "x": "D", "p": 126.55, "s": 1, "c": ["@", "I"], "z": "C"},
    "c": {
        "T": "c", "S": "EEM", "x": "M", "oi": 52_983_525_033_527, "op": 39.1582, "os": 440_000, "oc": [" ", "7"],
        "ci": 52_983_525_034_326, "cp": 39.1809, "cs": 440_000, "cc": [" ", "7"], "z": "B",
    },
    "x": {"T": "x", "S": "GOOGL", "i": 465, "x": "D", "p": 2_760.0, "s": 40, "a": "C", "z": "C"},
    "b": {"T": "b", "S": "SPY", "o": 388.985, "h": 389.13, "l": 388.975, "c": 389.12, "v": 49_378, "n": 461, "vw": 389},
    "u": {"T": "u", "S": "SPY", "o": 388.985, "h": 389.13, "l": 388.9, "c": 389.12, "v": 49_379, "n": 462, "vw": 389.0},
    "d": {"T": "d", "S": "SPY", "o": 387.0, "h": 390.0, "l": 386.5, "c": 389.12, "v": 9_000_000, "n": 71_000, "vw": 0},
    "o": {
        "T": "o", "S": "BTC/USD", "b": [{"p": 63_928.9, "s": 0.0}, {"p": 64_000.1, "s": 1.5}],
        "a": [{"p": 64_010.0, "s": 2}, {"p": 64_001.3, "s": 0.25}],
    },
    "s": {
        "T": "s", "S": "AAPL", "sc": "H", "sm": "Trading Halt", "rc": "T12",
        "rm": "Trading Halted; For information requested by NASDAQ", "z": "C",
    },
    "l": {"T": "l", "S": "IONM", "u": 3.24, "d": 2.65, "i": "B", "z": "C"},
    "n": {
        "T": "n", "id": 24_918_784, "headline": "A headline", "summary": "", "author": "Benzinga Newsdesk",
        "created_at": T_NS, "updated_at": "2023-11-14T22:13:21.5Z", "url": "https://www.benzinga.com/m-a/24918784",
        "content": "<p>All of it</p>", "symbols": ["CRSR", "BTCUSD", "CRSR"], "source": "benzinga",
    },
}  # fmt: skip


def read(kind: str, **changes: Any) -> Any:
    raw = MESSAGES[kind] | {"t": T_NS} | changes
    return KINDS[kind][1](raw.get("S"), raw, DataFeed.SIP, 5)


def test_a_correction_says_what_was_and_what_is() -> None:
    original = Trade("EEM", T_NS, 39.1582, 440_000.0, DataFeed.SIP, 5, "M", 52_983_525_033_527, (" ", "7"), "B")
    corrected = Trade("EEM", T_NS, 39.1809, 440_000.0, DataFeed.SIP, 5, "M", 52_983_525_034_326, (" ", "7"), "B")
    assert read("c") == TradeCorrection("EEM", T_NS, original, corrected, DataFeed.SIP, 5)


def test_a_cancel_names_its_trade() -> None:
    assert read("x") == TradeCancel("GOOGL", T_NS, 465, 2_760.0, 40.0, DataFeed.SIP, 5, "D", "C")


def test_bars_know_their_channel_and_whether_they_are_complete() -> None:
    bars = [read("b"), read("u"), read("d")]
    assert all(isinstance(bar, Bar) for bar in bars)
    assert [(bar.channel, bar.final) for bar in bars] == [
        (Channel.BARS, True),
        (Channel.UPDATED_BARS, True),
        (Channel.DAILY_BARS, False),
    ]
    assert [bar.vwap for bar in bars] == [389.0, 389.0, None]


def test_a_book_is_sorted_best_first_and_whole_only_when_it_says_so() -> None:
    change = read("o")
    assert isinstance(change, OrderBook)
    assert [(level.price, level.size) for level in change.bids] == [(64_000.1, 1.5), (63_928.9, 0.0)]
    assert [(level.price, level.size) for level in change.asks] == [(64_001.3, 0.25), (64_010.0, 2.0)]
    assert [read("o", r=reset).reset for reset in (True, False, None, 1, "true")] == [True, False, False, False, False]
    assert not change.reset
    assert read("o", b=None, a=[]).bids == ()


def test_a_status_and_a_band_are_verbatim() -> None:
    reason = "Trading Halted; For information requested by NASDAQ"
    assert read("s") == TradingStatus("AAPL", T_NS, "H", DataFeed.SIP, 5, "Trading Halt", "T12", reason, "C")
    assert read("s", rc=None, rm=7).reason_message == ""
    assert read("l") == Luld("IONM", T_NS, 3.24, 2.65, DataFeed.SIP, 5, "B", "C")


def test_an_article_is_about_several_symbols_and_says_when_it_was_changed() -> None:
    article = read("n")
    assert article == News(
        24_918_784, "A headline", ("CRSR", "BTCUSD"), T_NS, 1_700_000_001_500_000_000, DataFeed.SIP, 5, "",
        "Benzinga Newsdesk", "benzinga", "https://www.benzinga.com/m-a/24918784",
    )  # fmt: skip
    assert article.time_ns == 1_700_000_001_500_000_000
    assert read("n", symbols=["AAPL", 7, ""]).symbols == ("AAPL",), "what is no name takes no article from its readers"
    assert read("n", updated_at="0001-01-01T00:00:00Z").time_ns == T_NS
    assert read("n", updated_at=None, created_at=7).time_ns == 5, "when it was read"


def test_an_articles_texts_are_bounded_and_a_cut_is_seen() -> None:
    article = read("n", headline="h" * 5_000, summary="s" * SUMMARY_LENGTH_MAX, url=None, author={}, source="\ud800")
    assert article.headline == "h" * (HEADLINE_LENGTH_MAX - 1) + "…"
    assert article.summary == "s" * SUMMARY_LENGTH_MAX
    assert (article.url, article.author, article.source) == ("", "", "?")
    assert (
        len(read("n", symbols=[f"S{number}" for number in range(ARTICLE_SYMBOLS_MAX)]).symbols) == ARTICLE_SYMBOLS_MAX
    )


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("n", {"id": None}), ("n", {"id": "x"}), ("n", {"symbols": None}), ("n", {"symbols": []}),
        ("n", {"symbols": "AAPL"}), ("n", {"symbols": [7, None]}), ("n", {"symbols": [""]}),
        ("n", {"symbols": ["A"] * (ARTICLE_SYMBOLS_MAX + 1)}),
        ("c", {"oi": None}), ("c", {"ci": "x"}), ("c", {"op": -1}), ("c", {"cs": float("nan")}), ("c", {"t": None}),
        ("x", {"i": None}), ("x", {"p": "1"}), ("x", {"s": float("inf")}), ("x", {"S": ""}),
        ("u", {"o": None}), ("d", {"v": -1}), ("d", {"S": 7}),
        ("o", {"b": {}}), ("o", {"a": [7]}), ("o", {"a": [{"p": 1.0}]}), ("o", {"b": [{"p": -1.0, "s": 1.0}]}),
        ("o", {"t": "soon"}),
        ("s", {"sc": None}), ("s", {"sc": ""}), ("s", {"t": 1}), ("l", {"u": None}), ("l", {"d": True}),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_no_value(kind: str, changes: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read(kind, **changes)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("psbat"), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(KINDS)), st.data())
def test_every_converter_is_total(kind: str, data: st.DataObject) -> None:
    """Whatever a letter holds: a value, or Unreadable."""
    raw = dict(MESSAGES.get(kind, quote())) | {"t": T_NS}
    for name in data.draw(st.lists(st.sampled_from(sorted(raw)), max_size=3)):
        raw[name] = data.draw(anything)
    try:
        value = KINDS[kind][1](raw.get("S"), raw, DataFeed.SIP, 5)
    except Unreadable:
        return
    assert value.symbol
    assert value.receive_time_ns == 5


def test_every_channel_has_its_kinds() -> None:
    assert {channel for channel, _ in KINDS.values()} == set(Channel)


async def test_a_frame_of_everything_is_one_call_for_each_channel_in_order() -> None:
    notes = MarketNotes()
    at = msgpack.Timestamp(*divmod(T_NS, 10**9))
    everything = [message | {"t": at} for message in (*MESSAGES.values(), MESSAGES["t"])]
    everything[-2] |= {"created_at": at, "updated_at": at}
    async with ScriptedSocket(serving([quote(), *everything])) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(quotes="AAPL", trades="AAPL", luld="AAPL"))
        await until(lambda: notes.values)
    assert [[one.symbol for one in part] for part in notes.frames] == [["AAPL"]]
    assert [type(value) for value in notes.values[Channel.TRADES]] == [Trade, TradeCorrection, TradeCancel, Trade]
    assert notes.calls == len(Channel) - 1
    assert all(value.receive_time_ns == NOW_NS for values in notes.values.values() for value in values)


async def test_one_unreadable_message_takes_no_other_with_it() -> None:
    notes = MarketNotes()
    at = msgpack.Timestamp(*divmod(T_NS, 10**9))
    frame = [MESSAGES["x"] | {"t": at, "i": None}, MESSAGES["c"] | {"t": at}, {"T": "?", "S": "AAPL", "t": at}]
    async with ScriptedSocket(serving(frame)) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(wanted(trades="EEM"))
        await until(lambda: notes.values and notes.states[-1][1])
    assert [type(value) for value in notes.values[Channel.TRADES]] == [TradeCorrection]
    told = [(state, detail) for state, detail, _ in notes.states if detail.startswith("unreadable")]
    assert told == [(FeedState.LIVE, "unreadable: 2 of a frame, the first because i is no id")]


async def test_pairs_of_articles_are_spelled_as_articles_do() -> None:
    notes = MarketNotes()
    asked: list[dict[str, Any]] = []

    async def talk(connection: ServerConnection) -> None:
        await greet(connection)
        have: dict[str, set[str]] = {}
        while True:
            asked.append(await acknowledge(connection, have))

    async with ScriptedSocket(talk) as venue, feed_at(venue, notes, feed=DataFeed.NEWS) as feed:
        await feed.set_subscriptions(wanted(news="AAPL BTC/USD"))
        await until(lambda: notes.sets)
        await feed.set_subscriptions(wanted(news="BTC/USD"))
        await until(lambda: len(notes.sets) == 2)
        with pytest.raises(ValueError, match="news"):
            await feed.set_subscriptions(wanted(news="AAPL260116C00200000"))
    assert asked == [{"action": "subscribe", "news": ["AAPL", "BTCUSD"]}, {"action": "unsubscribe", "news": ["AAPL"]}]
    assert [told.symbols[Channel.NEWS] for told in notes.sets] == [{"AAPL", "BTC/USD"}, {"BTC/USD"}]


async def test_a_feed_of_articles_brings_articles_alone() -> None:
    notes = MarketNotes()
    at = msgpack.Timestamp(*divmod(T_NS, 10**9))
    frame = [quote(), MESSAGES["n"] | {"created_at": at}, MESSAGES["b"] | {"t": at}]
    async with ScriptedSocket(serving([quote()], frame)) as venue, feed_at(venue, notes, feed=DataFeed.NEWS) as feed:
        await feed.set_subscriptions(wanted(news="CRSR"))
        await until(lambda: notes.values)
    assert (notes.frames, set(notes.values), len(notes.values[Channel.NEWS])) == ([], {Channel.NEWS}, 1)
    told = [detail for _, detail, _ in notes.states if detail]
    assert told == ["unreadable: no article", "unreadable: 1 more, the last: no article"]


async def test_channels_are_asked_for_in_alpacas_words() -> None:
    notes = MarketNotes()
    asked: list[dict[str, Any]] = []

    async def talk(connection: ServerConnection) -> None:
        await greet(connection)
        have: dict[str, set[str]] = {}
        while True:
            asked.append(await acknowledge(connection, have))

    async with ScriptedSocket(talk) as venue, feed_at(venue, notes) as feed:
        await feed.set_subscriptions(
            wanted(updated_bars="SPY", daily_bars="SPY", trading_status="AAPL", luld="AAPL", order_books="")
        )
        await until(lambda: notes.sets)
        await feed.set_subscriptions(wanted(updated_bars="SPY QQQ", daily_bars="SPY", luld="AAPL"))
        await until(lambda: len(notes.sets) == 3)
    assert notes.sets[-1].symbols[Channel.UPDATED_BARS] == {"SPY", "QQQ"}
    assert asked[1:] == [
        {"action": "unsubscribe", "statuses": ["AAPL"]},
        {"action": "subscribe", "updatedBars": ["QQQ"]},
    ]
    assert asked[0] == {
        "action": "subscribe",
        "updatedBars": ["SPY"],
        "dailyBars": ["SPY"],
        "statuses": ["AAPL"],
        "lulds": ["AAPL"],
    }
