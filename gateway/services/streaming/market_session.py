"""Every channel in one stream: subscriptions that change while it runs, and credits for what is on its way.

Promises: commands are done one after another, and each symbol of one is answered in an ack with the command's id; what
is wrong with one command ends nothing; each symbol counts against its client's limit for as long as it is held.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from gateway.domain.errors import FieldInvalid, FieldViolation, GatewayError, NotFound, TooManyStreams
from gateway.domain.models.market_data import Selection, Subscription, SubscriptionAck
from gateway.domain.models.market_session import (
    BatchCredit,
    ListSubscriptions,
    RefusedCommand,
    SessionCommand,
    SessionOptions,
    Subscribe,
    Unsubscribe,
)
from gateway.domain.types import MS_PER_SECOND, CallContext, Channel, DataFeed
from gateway.services.streaming.encoder import Encoder
from gateway.services.streaming.hub import FeedHub
from gateway.services.streaming.outlet import ACKS_WAITING_MAX, Outlet
from gateway.services.streaming.selection import FeedChoice
from gateway.services.streaming.session import MarketDataStream, StreamTerms
from gateway.services.streaming.symbol_desk import SymbolDesk

_QUOTA: Final = {"quota": "client:symbols"}


class SymbolRoom(Protocol):
    """How many symbols this client may still follow."""

    def take(self) -> bool:
        """One more; False: there is no room for it."""
        ...

    def give_back(self, count: int) -> None:
        """So many less."""
        ...


@dataclass(frozen=True, slots=True)
class SessionPlace:
    """What a session needs of the corridor.

    Attributes:
        hub_of: The owner of a feed's connection.
        unread_values_max: Values that wait for one reader who wants every one.
    """

    encoder: Encoder
    desk: SymbolDesk
    hub_of: Callable[[DataFeed], FeedHub]
    unread_values_max: int


class MarketDataSession:
    """One client's session.

    Args:
        outlet: Its writer.
        room: What its client may still follow.
        call: Whose it is.
    """

    def __init__(
        self, options: SessionOptions, outlet: Outlet, place: SessionPlace, room: SymbolRoom, call: CallContext
    ) -> None:
        self._options = options
        self._outlet = outlet
        self._place = place
        self._room = room
        self._call = call
        self._streams: dict[tuple[Channel, DataFeed], MarketDataStream] = {}

    def messages(self) -> AsyncIterator[bytes]:
        """What its writer sends, until it is closed. Raises as that says."""
        return self._outlet.messages()

    def fail(self, error: BaseException) -> None:
        """End it with an error."""
        self._outlet.fail(error)

    def close(self) -> None:
        """Nobody reads any more. Idempotent."""
        self._outlet.close()

    def bounded(self, given: SessionCommand) -> SessionCommand:
        """The command as it may wait: one of too many symbols is refused before they are kept."""
        if isinstance(given.command, Subscribe | Unsubscribe):
            try:
                self._place.desk.check_count(given.command.selection)
            except GatewayError as error:
                return replace(given, command=RefusedCommand(given.command.channel, error))
        return given

    def end_commands(self) -> None:
        """The client has no more to say."""
        self._outlet.end_credits()

    async def obey(self, given: SessionCommand) -> None:
        """Do what the client says.

        Raises:
            FieldInvalid: A second `open`, or a credit for what was not sent.
        """
        match given.command:
            case BatchCredit(batch_sequence):
                self._outlet.credit(batch_sequence)
            case Subscribe(channel, selection):
                await self._outlet.acks_taken()
                await self._subscribe(given.command_id, channel, selection)
            case Unsubscribe(channel, selection):
                await self._outlet.acks_taken()
                self._unsubscribe(given.command_id, channel, selection)
            case ListSubscriptions():
                self._outlet.tell_subscriptions(self._subscriptions(), given.command_id)
            case RefusedCommand(refused_channel, refusal):
                await self._outlet.acks_taken()
                self._refuse(given.command_id, refused_channel, refusal)
            case SessionOptions():
                raise FieldInvalid.of([FieldViolation("open", "is the first command alone")])

    async def _subscribe(self, command_id: str, channel: Channel, selection: Selection) -> None:
        try:
            choice = self._place.desk.choose(selection, channel)
        except GatewayError as error:
            self._refuse(command_id, channel, error)
            return
        crowded = TooManyStreams("More symbols than one client may follow.", metadata=_QUOTA)
        stream = self._streams.get((channel, choice.feed))
        added: list[str] = []
        held: list[str] = []
        acks: list[SubscriptionAck] = []
        for position, symbol in enumerate(dict.fromkeys(selection.symbols)):
            if stream is not None and symbol in stream.symbols:
                held.append(symbol)
                continue
            refusal = await self._place.desk.refusal(symbol, choice, self._call, f"subscribe.symbols[{position}]")
            if refusal is None and not self._room.take():
                refusal = crowded
            if refusal is None:
                added.append(symbol)
                continue
            acks.append(_ack(command_id, channel, symbol, choice, refusal))
            if len(acks) >= ACKS_WAITING_MAX:  # each has an error of its own: few are kept for who does not read
                self._outlet.tell_acks(acks)
                acks = []
                await self._outlet.acks_taken()
        if self._outlet.is_closed:  # while symbols were looked up
            self._room.give_back(len(added))
            return
        self._outlet.tell_acks(acks)
        if stream is not None and held:
            self._ask_again(command_id, stream, held)
        if added:
            stream = stream or self._open(channel, choice)
            stream.commands.update(dict.fromkeys(added, command_id))
            self._place.hub_of(choice.feed).join(stream, added)

    def _ask_again(self, command_id: str, stream: MarketDataStream, held: list[str]) -> None:
        """What the venue acknowledged is had; of the rest this command is told what becomes of it, and no other."""
        hub = self._place.hub_of(stream.terms.feed)
        stream.unacknowledged |= set(held) - hub.acknowledged(stream.terms.channel)
        waiting = [symbol for symbol in held if symbol in stream.unacknowledged]
        stream.answer_early(waiting, "The venue had not acknowledged it when a later command asked for it again.")
        stream.commands.update(dict.fromkeys(held, command_id))
        stream.tell_acks(symbol for symbol in held if symbol not in stream.unacknowledged)
        if waiting:
            stream.unanswered.update(waiting)
            hub.ask_again(stream.terms.channel, waiting)

    def _open(self, channel: Channel, choice: FeedChoice) -> MarketDataStream:
        options, place = self._options, self._place
        terms = StreamTerms(
            channel=channel,
            asset_class=choice.asset_class,
            feed=choice.feed,
            conflation=options.conflation or channel.default_policy,
            skip_snapshot=options.skip_snapshot,
            max_batch_delay_s=options.max_batch_delay_ms / MS_PER_SECOND,
            unread_values_max=place.unread_values_max,
            as_events=True,
        )
        hub = place.hub_of(choice.feed)
        stream = MarketDataStream(terms, hub.health, place.encoder, self._outlet, hub)
        self._streams[channel, choice.feed] = stream
        return stream

    def _unsubscribe(self, command_id: str, channel: Channel, selection: Selection) -> None:
        missing = NotFound("The session does not hold this symbol.")
        acks: list[SubscriptionAck] = []
        gone: dict[tuple[Channel, DataFeed], list[str]] = {}
        for symbol in dict.fromkeys(selection.symbols):
            holding = [
                (key, stream)
                for key, stream in self._streams.items()
                if key[0] is channel and symbol in stream.symbols and _is_meant(stream, selection)
            ]
            for key, stream in holding:
                gone.setdefault(key, []).append(symbol)
                choice = FeedChoice(stream.terms.asset_class, stream.terms.feed)
                acks.append(_ack(command_id, channel, symbol, choice, None, unsubscribed=True))
            if not holding:
                acks.append(
                    SubscriptionAck(
                        channel, symbol, selection.asset_class, selection.feed, missing, command_id, unsubscribed=True
                    )
                )
        for key, symbols in gone.items():
            self._streams[key].answer_early(symbols, "It was unsubscribed before the venue acknowledged it.")
            self._part(key, symbols)
        self._outlet.tell_acks(acks)

    def _part(self, key: tuple[Channel, DataFeed], symbols: list[str]) -> None:
        stream, hub = self._streams[key], self._place.hub_of(key[1])
        if len(symbols) == len(stream.symbols):
            was_awaiting = bool(stream.awaiting)
            stream.leave()
            self._outlet.remove(stream)
            del self._streams[key]
            if was_awaiting:
                self._outlet.end_snapshot()
        else:
            hub.part(stream, symbols)
            for symbol in symbols:
                stream.commands.pop(symbol, None)
        self._room.give_back(len(symbols))

    def _subscriptions(self) -> tuple[Subscription, ...]:
        return tuple(
            Subscription(stream.terms.channel, stream.listed, stream.terms.asset_class, stream.terms.feed)
            for stream in self._streams.values()
        )

    def _refuse(self, command_id: str, channel: Channel | None, refusal: GatewayError) -> None:
        """A command of which nothing was done."""
        self._outlet.tell_acks([SubscriptionAck(channel, "", None, None, refusal, command_id)])


def _is_meant(stream: MarketDataStream, selection: Selection) -> bool:
    terms = stream.terms
    return selection.feed in (None, terms.feed) and selection.asset_class in (None, terms.asset_class)


def _ack(
    command_id: str,
    channel: Channel,
    symbol: str,
    choice: FeedChoice,
    refusal: GatewayError | None,
    *,
    unsubscribed: bool = False,
) -> SubscriptionAck:
    return SubscriptionAck(
        channel, symbol, choice.asset_class, choice.feed, refusal, command_id, unsubscribed=unsubscribed
    )
