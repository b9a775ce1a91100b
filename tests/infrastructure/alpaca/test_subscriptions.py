"""Bookkeeping of subscriptions: differences, acknowledgements, refusals."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings, strategies as st

from gateway.domain.models.market_data import SubscriptionSet
from gateway.domain.types import Channel
from gateway.infrastructure.alpaca.subscriptions import (
    HALVINGS_MAX,
    PAIRS_PER_MESSAGE_MAX,
    Change,
    Subscriptions,
)


def wanted(**channels: str) -> SubscriptionSet:
    return SubscriptionSet({Channel(name): frozenset(symbols.split()) for name, symbols in channels.items()})


class Venue:
    """What the other side does with a change: takes it, or refuses it whole."""

    def __init__(self, *, bad: frozenset[str] = frozenset(), limit: int = 10_000) -> None:
        self.have: dict[str, set[str]] = {}
        self.bad = bad
        self.limit = limit
        self.messages: list[dict[str, Any]] = []

    def take(self, books: Subscriptions, change: Change) -> None:
        message = change.to_alpaca()
        self.messages.append(message)
        after = {channel: set(symbols) for channel, symbols in self.have.items()}
        for channel, symbols in message.items():
            if channel != "action":
                have = after.setdefault(channel, set())
                if message["action"] == "subscribe":
                    have.update(symbols)
                else:
                    have.difference_update(symbols)
        total = set().union(*after.values())
        if message["action"] == "subscribe" and (total & self.bad or sum(map(len, after.values())) > self.limit):
            books.refuse()
            return
        self.have = after
        books.acknowledge({"T": "subscription", **{name: sorted(symbols) for name, symbols in after.items()}})

    def settle(self, books: Subscriptions) -> None:
        while changes := books.next_changes():
            for change in changes:
                self.take(books, change)
        assert books.is_settled


def test_changes_leave_as_differences() -> None:
    books, venue = Subscriptions(), Venue()
    books.want(wanted(quotes="AAPL MSFT", trades="AAPL"))
    venue.settle(books)
    books.want(wanted(quotes="MSFT NVDA", trades="AAPL"))
    venue.settle(books)
    books.want(wanted(quotes="MSFT NVDA", trades="AAPL"))
    venue.settle(books)
    assert venue.messages == [
        {"action": "subscribe", "quotes": ["AAPL", "MSFT"], "trades": ["AAPL"]},
        {"action": "unsubscribe", "quotes": ["AAPL"]},
        {"action": "subscribe", "quotes": ["NVDA"]},
    ]


def test_changes_before_an_answer_count_what_is_asked_already() -> None:
    books = Subscriptions()
    books.want(wanted(quotes="AAPL"))
    assert len(books.next_changes()) == 1
    assert books.next_changes() == []
    books.want(wanted(quotes="AAPL MSFT"))
    assert [change.to_alpaca() for change in books.next_changes()] == [{"action": "subscribe", "quotes": ["MSFT"]}]
    assert not books.is_settled


def test_a_new_connection_begins_with_everything_in_bounded_messages() -> None:
    books, venue = Subscriptions(), Venue()
    many = " ".join(f"S{number}" for number in range(PAIRS_PER_MESSAGE_MAX + 1))
    books.want(wanted(quotes=many))
    venue.settle(books)
    assert [len(message["quotes"]) for message in venue.messages] == [PAIRS_PER_MESSAGE_MAX, 1]
    venue.have.clear()
    books.connected()
    assert books.acknowledged.symbols[Channel.QUOTES] == frozenset()
    venue.settle(books)
    assert len(venue.have["quotes"]) == PAIRS_PER_MESSAGE_MAX + 1


def test_one_refused_symbol_takes_no_other_down() -> None:
    books, venue = Subscriptions(), Venue(bad=frozenset({"BAD"}))
    symbols = "AAPL AMZN BAD GOOGL META MSFT NVDA TSLA"
    books.want(wanted(quotes=symbols))
    venue.settle(books)
    assert venue.have["quotes"] == set(symbols.split()) - {"BAD"}
    assert books.acknowledged.symbols[Channel.QUOTES] == frozenset(venue.have["quotes"])
    before = len(venue.messages)
    books.want(wanted(quotes=symbols + " ORCL"))
    venue.settle(books)
    assert venue.messages[before:] == [{"action": "subscribe", "quotes": ["ORCL"]}], "what was refused is left alone"


def test_under_a_limit_as_much_as_fits_is_had_and_leaving_makes_room() -> None:
    books, venue = Subscriptions(), Venue(limit=3)
    books.want(wanted(quotes="A B C D E"))
    venue.settle(books)
    assert len(venue.have["quotes"]) == 3
    books.want(wanted(quotes="D E"))
    venue.settle(books)
    assert venue.have["quotes"] == {"D", "E"}


def test_refusing_everything_ends_after_a_bound() -> None:
    books, venue = Subscriptions(), Venue(limit=0)
    books.want(wanted(quotes=" ".join(f"S{number}" for number in range(PAIRS_PER_MESSAGE_MAX))))
    venue.settle(books)
    assert len(venue.messages) <= 2 * HALVINGS_MAX + 1
    assert not venue.have.get("quotes")


def test_a_symbol_that_the_acknowledgement_leaves_out_is_not_asked_for_again() -> None:
    books = Subscriptions()
    books.want(wanted(quotes="AAPL MSFT"))
    assert books.next_changes()
    books.acknowledge({"T": "subscription", "quotes": ["AAPL"], "trades": None, "bars": [7]})
    assert books.next_changes() == []
    assert books.acknowledged.symbols == {
        Channel.QUOTES: frozenset({"AAPL"}),
        **{channel: frozenset() for channel in Channel if channel is not Channel.QUOTES},
    }


def test_answers_to_nothing_change_nothing() -> None:
    books = Subscriptions()
    books.refuse()
    books.acknowledge({"T": "subscription", "quotes": ["AAPL"]})
    assert [change.to_alpaca() for change in books.next_changes()] == [{"action": "unsubscribe", "quotes": ["AAPL"]}]


sets = st.builds(
    lambda quotes, bars: SubscriptionSet({Channel.QUOTES: frozenset(quotes), Channel.BARS: frozenset(bars)}),
    st.sets(st.sampled_from("ABCDEFGH")),
    st.sets(st.sampled_from("ABCDEFGH")),
)


@given(st.lists(st.tuples(sets, st.integers(0, 3), st.booleans()), max_size=12))
@settings(max_examples=60, deadline=None)
def test_whatever_is_wanted_however_late_the_answers_the_venue_ends_with_exactly_that(
    steps: list[tuple[SubscriptionSet, int, bool]],
) -> None:
    books, venue = Subscriptions(), Venue()
    waiting: list[Change] = []
    last = SubscriptionSet({})
    for want, answers, drops in steps:
        last = want
        books.want(want)
        if drops:
            waiting.clear()
            venue.have.clear()
            books.connected()
        waiting += books.next_changes()
        for _ in range(min(answers, len(waiting))):
            venue.take(books, waiting.pop(0))
    while waiting or (waiting := books.next_changes()):
        venue.take(books, waiting.pop(0))
    for channel in (Channel.QUOTES, Channel.BARS):
        assert venue.have.get(channel.value, set()) == set(last.symbols.get(channel, frozenset()))
