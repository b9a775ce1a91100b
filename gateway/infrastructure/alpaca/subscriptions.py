"""What one market-data connection has asked for and been given: pure bookkeeping, no socket.

Promises that a change is sent as a difference, that what the venue acknowledged is the only truth, and that a
refused symbol takes no other down with it: a refused message is halved until the culprits stand alone, a
bounded number of times. Sockets and listeners are left to the connection.

Source: Alpaca's stream answers each subscribe or unsubscribe, in order, with its whole set or with an error
that leaves the set as it was.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from gateway.domain.models.market_data import SubscriptionSet
from gateway.domain.types import Channel, article_symbol
from gateway.infrastructure.alpaca.converters.market_data import CHANNEL

PAIRS_PER_MESSAGE_MAX: Final = 500
"""Channel and symbol pairs in one message: about 5 KB, below what a server takes in one frame."""
HALVINGS_MAX: Final = 64
"""Refused messages that are halved and sent again, per change; then the rest counts as refused."""

Pair = tuple[Channel, str]


class Action(StrEnum):
    """What a message asks for, in Alpaca's words."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"


@dataclass(frozen=True, slots=True)
class Change:
    """One message to the venue."""

    action: Action
    pairs: tuple[Pair, ...]

    def to_alpaca(self) -> dict[str, Any]:
        """As the venue wants it: additive, channel by channel."""
        message: dict[str, Any] = {"action": self.action.value}
        for channel, symbol in self.pairs:
            message.setdefault(CHANNEL[channel], []).append(_spelled(channel, symbol))
        return message


class Subscriptions:
    """Wanted, asked for, acknowledged, refused."""

    def __init__(self) -> None:
        self._wanted: frozenset[Pair] = frozenset()
        self._acknowledged: frozenset[Pair] = frozenset()
        self._refused: set[Pair] = set()
        self._unmoved: set[Pair] = set()
        self._asked: deque[Change] = deque()
        self._again: deque[Change] = deque()
        self._halvings_left = HALVINGS_MAX

    @property
    def is_empty(self) -> bool:
        """Nothing is wanted."""
        return not self._wanted

    @property
    def is_settled(self) -> bool:
        """Everything that was asked has been answered, and nothing is left to ask."""
        return not self._asked and not self._again

    @property
    def acknowledged(self) -> SubscriptionSet:
        """What the venue said that we have."""
        return SubscriptionSet(
            {channel: frozenset(symbol for its, symbol in self._acknowledged if its is channel) for channel in Channel}
        )

    def want(self, wanted: SubscriptionSet) -> None:
        """Replace what is wanted. The same once more is another try of what was refused."""
        pairs = frozenset((channel, symbol) for channel, symbols in wanted.symbols.items() for symbol in symbols)
        if self._wanted - pairs or self._wanted == pairs:
            self._refused.clear()  # room may be free now: what was refused is asked for again
        self._wanted = pairs
        self._refused &= pairs
        self._unmoved -= pairs
        self._halvings_left = HALVINGS_MAX

    def connected(self) -> None:
        """A new connection: the venue has nothing of ours yet."""
        self._acknowledged = frozenset()
        self._refused.clear()
        self._unmoved.clear()
        self._asked.clear()
        self._again.clear()
        self._halvings_left = HALVINGS_MAX

    def next_changes(self) -> list[Change]:
        """What has to be sent now; it counts as asked from here on."""
        changes = [self._still_wanted(change) for change in self._again]
        self._again.clear()
        expected = set(self._acknowledged)
        for change in (*self._asked, *changes):
            if change.action is Action.SUBSCRIBE:
                expected.update(change.pairs)
            else:
                expected.difference_update(change.pairs)
        # Leaving first makes room under a symbol limit.
        changes += _messages(Action.UNSUBSCRIBE, expected - self._wanted - self._unmoved)
        changes += _messages(Action.SUBSCRIBE, self._wanted - expected - self._refused)
        changes = [change for change in changes if change.pairs]
        self._asked.extend(changes)
        return changes

    def acknowledge(self, message: dict[str, Any]) -> None:
        """Take a `subscription` message: the venue's whole set, and the answer to the oldest question."""
        asked = {pair for change in self._asked for pair in change.pairs}
        names = {(channel, _spelled(channel, symbol)): symbol for channel, symbol in asked | self._acknowledged}
        self._acknowledged = frozenset(
            (channel, names.get((channel, symbol), symbol))
            for channel in Channel
            for symbol in message.get(CHANNEL[channel]) or ()
            if isinstance(symbol, str)
        )
        if self._asked:
            answered = self._asked.popleft()
            if answered.action is Action.SUBSCRIBE:
                self._refused.update(set(answered.pairs) - self._acknowledged)
            else:  # what stays all the same is not asked to leave for ever
                self._unmoved.update(set(answered.pairs) & self._acknowledged - self._wanted)

    def refuse(self) -> None:
        """Take an error in answer to the oldest question: halve it, or give its symbol up."""
        if not self._asked:
            return
        change = self._asked.popleft()
        if change.action is Action.UNSUBSCRIBE:
            return
        if len(change.pairs) > 1 and self._halvings_left > 0:
            self._halvings_left -= 1
            middle = len(change.pairs) // 2
            self._again.append(Change(change.action, change.pairs[:middle]))
            self._again.append(Change(change.action, change.pairs[middle:]))
        else:
            self._refused.update(change.pairs)

    def give_up(self) -> None:
        """The oldest question will not be answered any more."""
        if self._asked:
            change = self._asked.popleft()
            if change.action is Action.SUBSCRIBE:
                self._refused.update(set(change.pairs) - self._acknowledged)

    def _still_wanted(self, change: Change) -> Change:
        return Change(change.action, tuple(pair for pair in change.pairs if pair in self._wanted))


def _spelled(channel: Channel, symbol: str) -> str:
    return article_symbol(symbol) if channel is Channel.NEWS else symbol


def _messages(action: Action, pairs: set[Pair] | frozenset[Pair]) -> list[Change]:
    ordered = sorted(pairs)
    return [
        Change(action, tuple(ordered[start : start + PAIRS_PER_MESSAGE_MAX]))
        for start in range(0, len(ordered), PAIRS_PER_MESSAGE_MAX)
    ]
