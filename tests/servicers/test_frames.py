"""Frame = dictionary: what `frames` writes is what `wire.market_data` writes, value for value."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings, strategies as st

from gateway.domain.errors import SymbolUnknown
from gateway.domain.models.market_data import (
    Bar,
    BookLevel,
    FeedStatus,
    Gap,
    LiveValue,
    Luld,
    News,
    OrderBook,
    Quote,
    StreamStatus,
    SubscriptionAck,
    Trade,
    TradeCancel,
    TradeCorrection,
    TradingStatus,
)
from gateway.domain.types import AssetClass, Channel, DataFeed, FeedState
from gateway.servicers import frames
from gateway.servicers.frames import FrameEncoder, varint
from gateway.servicers.wire import market_data as wire, market_values
from tests.services.streaming.venue import bar, quote, trade
from trading_gateway.v1 import market_data_pb2 as pb

SECOND = 1_000_000_000

# Instants on both sides of every length that nanos and seconds can have.
nanos = st.one_of(
    st.sampled_from([0, 1, 127, 128, 16_383, 16_384, 2**21 - 1, 2**21, 2**28 - 1, 2**28, 999_999_999]),
    st.integers(0, 999_999_999),
)
seconds = st.one_of(
    st.sampled_from([-1, 0, 1, 2**28 - 1, 2**28, 2**35 - 1, 2**35]), st.integers(1_500_000_000, 2_000_000_000)
)
instants = st.builds(lambda whole, rest: whole * SECOND + rest, seconds, nanos)
doubles = st.floats(allow_nan=True, allow_infinity=True)
codes = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
quotes = st.builds(
    Quote,
    symbol=st.sampled_from(["A", "BRK.B", "BTC/USD"]),
    time_ns=instants,
    bid_price=doubles,
    bid_size=doubles,
    ask_price=doubles,
    ask_size=doubles,
    feed=st.sampled_from(sorted(set(DataFeed) - {DataFeed.NEWS})),
    receive_time_ns=instants,
    bid_exchange=codes,
    ask_exchange=codes,
    conditions=st.lists(st.text("RABC", max_size=40), max_size=4).map(tuple),
    tape=st.sampled_from(["", "A", "C"]),
)


def canonical(message: pb.Quote | pb.Trade | pb.Bar) -> bytes:
    """Bytes, because NaN equals nothing and -0.0 equals 0.0."""
    return message.SerializeToString(deterministic=True)


@settings(max_examples=300, deadline=None)
@example([replace(quote("A", 1), time_ns=-1, receive_time_ns=-1)])
@given(st.lists(quotes, min_size=1, max_size=8))
def test_a_frame_is_what_the_dictionary_writes(listed: list[Quote]) -> None:
    read = pb.StreamQuotesResponse.FromString(b"".join(FrameEncoder().quotes(listed)))
    assert [canonical(message) for message in read.quotes] == [
        canonical(market_values.quote_to_proto(value)) for value in listed
    ]


def test_an_encoder_that_remembers_writes_the_same() -> None:
    encoder = FrameEncoder()
    listed = [quote(symbol, number) for number in range(50) for symbol in ("AAPL", "MSFT", "BTC/USD")]
    for _ in range(2):
        read = pb.StreamQuotesResponse.FromString(b"".join(encoder.quotes(listed)))
        assert list(read.quotes) == [market_values.quote_to_proto(value) for value in listed]


def test_caches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "CACHED_SYMBOLS_MAX", 3)
    monkeypatch.setattr(frames, "CACHED_TAILS_MAX", 2)
    encoder = FrameEncoder()
    listed = [quote(f"S{number}", number) for number in range(20)]
    for number, value in enumerate(listed):
        value.tape = str(number)
    read = pb.StreamQuotesResponse.FromString(b"".join(encoder.quotes(listed)))
    assert list(read.quotes) == [market_values.quote_to_proto(value) for value in listed]
    assert len(encoder._heads) <= 3
    assert all(len(tails) <= 2 for tails in encoder._tails.values())


def test_trades_and_bars_are_what_the_dictionary_writes() -> None:
    encoder = FrameEncoder()
    trades = [trade("AAPL", number) for number in range(3)]
    bars = [bar("AAPL"), Bar("MSFT", 0, 1.0, 1.0, 1.0, 1.0, 0.0, DataFeed.SIP, 5, final=False)]
    read_trades = pb.StreamTradesResponse.FromString(b"".join(encoder.values(trades)))
    read_bars = pb.StreamBarsResponse.FromString(b"".join(encoder.values(bars)))
    assert list(read_trades.trades) == [market_values.trade_to_proto(value) for value in trades]
    assert list(read_bars.bars) == [market_values.live_bar_to_proto(value) for value in bars]
    assert not read_bars.bars[1].HasField("vwap")


@pytest.mark.parametrize("long", [False, True])
def test_flags_are_appended(long: bool) -> None:
    encoder = FrameEncoder()
    value = quote("AAPL", 1)
    value.conditions = ("R",) * (60 if long else 1)
    [element] = encoder.quotes([value])
    flagged = encoder.flagged(Channel.QUOTES, element, snapshot=True, stale=True)
    assert list(pb.StreamQuotesResponse.FromString(flagged).quotes) == [
        market_values.quote_to_proto(value, snapshot=True, stale=True)
    ]
    marked = encoder.marked_stale(Channel.QUOTES, element * 3, [False, True, False])
    assert [message.stale for message in pb.StreamQuotesResponse.FromString(marked).quotes] == [False, True, False]


def test_flags_of_trades_and_bars() -> None:
    encoder = FrameEncoder()
    a_trade, a_bar = trade("AAPL", 1), bar("AAPL")
    [trade_element], [bar_element] = encoder.values([a_trade]), encoder.values([a_bar])
    flagged_trade = encoder.flagged(Channel.TRADES, trade_element, snapshot=True, stale=True)
    flagged_bar = encoder.flagged(Channel.BARS, bar_element, snapshot=True, stale=True)
    assert list(pb.StreamTradesResponse.FromString(flagged_trade).trades) == [
        market_values.trade_to_proto(a_trade, snapshot=True, stale=True)
    ]
    assert list(pb.StreamBarsResponse.FromString(flagged_bar).bars) == [
        market_values.live_bar_to_proto(a_bar, snapshot=True, stale=True)
    ]


CORRECTION = TradeCorrection("AAPL", 3, trade("AAPL", 1), trade("AAPL", 2), DataFeed.SIP, 5)
CANCEL = TradeCancel("AAPL", 3, 7, 1.5, 2.0, DataFeed.SIP, 5, "V", "E")
BOOK = OrderBook("BTC/USD", 3, (BookLevel(1.0, 2.0),), (BookLevel(1.5, 0.0),), False, DataFeed.CRYPTO_US, 5)
STATUS = TradingStatus("AAPL", 3, "H", DataFeed.SIP, 5, "Trading Halt", "T12", "Halt", "C")
BAND = Luld("AAPL", 3, 105.0, 95.0, DataFeed.SIP, 5, "B", "C")
ARTICLE = News(7, "A headline", ("AAPL", "BTCUSD"), 3, 4, DataFeed.NEWS, 5, "A summary", "Who", "where", "https://x")


def test_corrections_and_cancels_have_fields_of_their_own_and_no_flags() -> None:
    encoder = FrameEncoder()
    a_trade = trade("AAPL", 1)
    elements = encoder.values([CORRECTION, a_trade, CANCEL])
    read = pb.StreamTradesResponse.FromString(b"".join(elements))
    assert list(read.trades) == [market_values.trade_to_proto(a_trade)]
    assert list(read.corrections) == [market_values.trade_correction_to_proto(CORRECTION)]
    assert list(read.cancels) == [market_values.trade_cancel_to_proto(CANCEL)]
    stale = encoder.marked_stale(Channel.TRADES, b"".join(elements), [True, True, True])
    marked = pb.StreamTradesResponse.FromString(stale)
    assert list(marked.trades) == [market_values.trade_to_proto(a_trade, stale=True)]
    assert (list(marked.corrections), list(marked.cancels)) == (list(read.corrections), list(read.cancels))
    for element in (elements[0], elements[2]):
        assert encoder.flagged(Channel.TRADES, element, snapshot=True, stale=True) == element


@pytest.mark.parametrize(
    ("channel", "value", "write", "flags"),
    [
        (Channel.ORDER_BOOKS, BOOK, market_values.order_book_to_proto, {"snapshot": True, "stale": True}),
        (Channel.TRADING_STATUS, STATUS, market_values.trading_status_to_proto, {"snapshot": True}),
        (Channel.LULD, BAND, market_values.luld_to_proto, {"snapshot": True}),
        (Channel.NEWS, ARTICLE, market_values.news_to_proto, {}),
    ],
)
def test_every_noun_is_flagged_where_its_message_has_the_flag(
    channel: Channel, value: Any, write: Any, flags: dict[str, bool]
) -> None:
    encoder = FrameEncoder()
    [element] = encoder.values([value])
    flagged = encoder.flagged(channel, element, snapshot=True, stale=True)
    message = write(value, **flags)
    assert flagged == b"\x0a" + varint(len(message.SerializeToString())) + message.SerializeToString()


@pytest.mark.parametrize(
    ("channel", "values", "fields"),
    [
        (Channel.QUOTES, [quote("AAPL", 1), quote("MSFT", 2)], ["quote", "quote"]),
        (Channel.TRADES, [trade("AAPL", 1), CORRECTION, CANCEL], ["trade", "trade_correction", "trade_cancel"]),
        (Channel.BARS, [bar("AAPL", 1)], ["bar"]),
        (Channel.UPDATED_BARS, [bar("AAPL", 1)], ["bar"]),
        (Channel.DAILY_BARS, [bar("AAPL", 1)], ["bar"]),
        (Channel.ORDER_BOOKS, [BOOK, replace(BOOK, bids=BOOK.bids * 40)], ["order_book", "order_book"]),
        (Channel.TRADING_STATUS, [STATUS], ["trading_status"]),
        (Channel.LULD, [BAND], ["luld"]),
        (Channel.NEWS, [ARTICLE, replace(ARTICLE, summary="long " * 99, update_time_ns=None)], ["news", "news"]),
    ],
)
def test_a_sessions_events_are_what_the_dictionary_writes(
    channel: Channel, values: list[Any], fields: list[str]
) -> None:
    encoder = FrameEncoder()
    elements = b"".join(encoder.quotes(values) if channel is Channel.QUOTES else encoder.values(values))
    written = encoder.events(channel, elements)
    events = pb.MarketDataSessionResponse.FromString(written).events
    assert [event.WhichOneof("event") for event in events] == fields
    expected = [market_values.VALUE_TO_PROTO[type(value)](value) for value in values]
    assert [getattr(event, name) for event, name in zip(events, fields, strict=True)] == expected
    assert encoder.events(channel, elements) is written, "the next session takes the same bytes"
    assert b"".join(encoder.split(elements)) == elements
    assert len(encoder.split(elements)) == len(values)


def test_every_channel_has_an_event() -> None:
    assert set(frames._EVENT) == set(Channel)


@pytest.mark.parametrize("message_class", [pb.StreamQuotesResponse, pb.StreamTradesResponse, pb.StreamBarsResponse])
def test_the_envelope_fits_every_response(message_class: type[pb.StreamQuotesResponse]) -> None:
    status = StreamStatus(
        feeds=(FeedStatus("stocks:iex", FeedState.DISCONNECTED, time.time_ns(), "why", 406),),
        acks=(
            SubscriptionAck(Channel.QUOTES, "AAPL", AssetClass.US_EQUITY, DataFeed.IEX),
            SubscriptionAck(Channel.BARS, "ZZZ", AssetClass.US_EQUITY, DataFeed.IEX, SymbolUnknown("No such asset.")),
        ),
        stale_symbols=("AAPL",),
        gaps=(Gap("stocks:iex", None, time.time_ns(), ("AAPL",)),),
        conflated_total=2**40,
        snapshot_end=True,
        heartbeat=True,
    )
    now_ns = time.time_ns()
    read = message_class.FromString(FrameEncoder().envelope(300, now_ns, status))
    assert (read.batch_sequence, read.send_time.ToNanoseconds()) == (300, now_ns)
    assert read.status == wire.stream_status_to_proto(status)
    assert [ack.status.code for ack in read.status.acks] == [0, 5]
    assert not message_class.FromString(FrameEncoder().envelope(1, now_ns, None)).HasField("status")


@given(st.integers(0, 2**63))
def test_varint(value: int) -> None:
    message = pb.StreamQuotesResponse(batch_sequence=value)
    assert b"\x10" + varint(value) == (message.SerializeToString() or b"\x10\x00")


NOUNS: dict[Any, tuple[Any, set[str]]] = {
    # noun: its message, and what the message says beside the noun
    Quote: (pb.Quote, {"snapshot", "stale"}),
    Trade: (pb.Trade, {"snapshot", "stale", "backfill"}),
    Bar: (pb.Bar, {"snapshot", "stale", "backfill"}),
    TradeCorrection: (pb.TradeCorrection, set()),
    TradeCancel: (pb.TradeCancel, set()),
    OrderBook: (pb.OrderBook, {"snapshot", "stale"}),
    TradingStatus: (pb.TradingStatus, {"snapshot"}),
    Luld: (pb.Luld, {"snapshot"}),
    News: (pb.News, set()),
}
UNTOLD = {News: {"feed"}}
"""Articles come by one feed, which no request names and no value tells."""


def test_every_domain_field_reaches_the_wire() -> None:
    """A field added to a noun fails here until the dictionary has it."""
    assert set(NOUNS) == set(get_args(LiveValue))
    for noun, (message, beside) in NOUNS.items():
        ours = {name.removesuffix("_ns") for name in noun.__slots__} - UNTOLD.get(noun, set())
        theirs = {field.name for field in message.DESCRIPTOR.fields}
        assert theirs - ours <= beside
        assert ours <= theirs


@pytest.mark.parametrize("batch_sequence", [1, 127, 128, 16_383, 16_384, 1 << 40])
@pytest.mark.parametrize("nanos", [0, 1, (1 << 21) - 1, 1 << 21, (1 << 28) - 1, 1 << 28, 999_999_999])
@pytest.mark.parametrize("second", [0, 1, (1 << 28) - 1, 1 << 28, 1_900_000_000])
def test_an_envelope_tells_every_number_and_time_exactly(second: int, nanos: int, batch_sequence: int) -> None:
    encoder = FrameEncoder()
    encoder.envelope(1, 1_800_000_000_000_000_000, None)  # another second is remembered
    read = pb.StreamQuotesResponse.FromString(encoder.envelope(batch_sequence, second * 1_000_000_000 + nanos, None))
    assert (read.batch_sequence, read.send_time.seconds, read.send_time.nanos) == (batch_sequence, second, nanos)
