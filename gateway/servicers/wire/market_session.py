"""market_data.proto: the commands of a session, message to noun.

What breaks the protocol (no command, an id too long, `open` out of its bounds) is raised and ends the stream; what is
wrong with one subscription is a noun of its own, which is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.domain.errors import GatewayError
from gateway.domain.models.market_data import Selection
from gateway.domain.models.market_session import (
    BatchCredit,
    ListSubscriptions,
    RefusedCommand,
    SessionCommand,
    SessionOptions,
    Subscribe,
    Unsubscribe,
)
from gateway.domain.types import Channel
from gateway.servicers.wire.common import ASSET_CLASS, DATA_FEED, RequestReader
from gateway.servicers.wire.market_data import (
    CONFLATION_POLICY,
    batch_delay_from_proto,
    heartbeat_interval_from_proto,
)
from gateway.servicers.wire.market_values import CHANNEL
from trading_gateway.v1 import market_data_pb2 as pb

COMMAND_ID_LENGTH_MAX: Final = 64
CREDITS_MAX: Final = 1_024
SYMBOL_CHARACTERS_MAX: Final = 32
"""Of what cannot be a symbol so much is kept, to answer: acks wait for their reader."""


def options_from_proto(request: pb.MarketDataSessionRequest) -> SessionOptions:
    """What a session is opened with: its first message.

    Raises:
        FieldInvalid: It is no `open`, or one with fields out of bounds.
    """
    reader = RequestReader()
    if request.WhichOneof("command") != "open":
        reader.refuse("open", "is required as the first command")
    _read_command_id(reader, request)
    opened = request.open
    credits_max = opened.max_unacknowledged_batches
    if not 0 <= credits_max <= CREDITS_MAX:
        reader.refuse("open.max_unacknowledged_batches", f"must be 0 to {CREDITS_MAX}")
    options = SessionOptions(
        skip_snapshot=opened.skip_snapshot,
        conflation=reader.optional_choice("open.conflation", CONFLATION_POLICY, opened.conflation),
        heartbeat_interval_ms=heartbeat_interval_from_proto(reader, "open.heartbeat_interval", opened),
        max_batch_delay_ms=batch_delay_from_proto(reader, "open.max_batch_delay", opened),
        max_unacknowledged_batches=credits_max,
    )
    reader.finish()
    return options


def command_from_proto(request: pb.MarketDataSessionRequest) -> SessionCommand:
    """Any message after the first.

    Raises:
        FieldInvalid: No command, a second `open`, or an id that is too long.
    """
    reader = RequestReader()
    _read_command_id(reader, request)
    chosen = request.WhichOneof("command")
    if chosen is None:
        reader.refuse("command", "is required")
    elif chosen == "open":
        reader.refuse("open", "is the first command alone")
    reader.finish()
    return SessionCommand(request.command_id, _command(request))


def _command(
    request: pb.MarketDataSessionRequest,
) -> Subscribe | Unsubscribe | RefusedCommand | ListSubscriptions | BatchCredit:
    match request.WhichOneof("command"):
        case "subscribe":
            return _subscription(request.subscribe, "subscribe", Subscribe)
        case "unsubscribe":
            return _subscription(request.unsubscribe, "unsubscribe", Unsubscribe)
        case "credit":
            return BatchCredit(request.credit.batch_sequence)
        case _:
            return ListSubscriptions()


def _subscription(
    message: pb.Subscription, path: str, noun: Callable[[Channel, Selection], Subscribe | Unsubscribe]
) -> Subscribe | Unsubscribe | RefusedCommand:
    """Its symbols are taken as they are, or as they begin: a bad one is told in an ack."""
    reader = RequestReader()
    channel = reader.choice(f"{path}.channel", CHANNEL, message.channel)
    if not message.symbols:
        reader.refuse(f"{path}.symbols", "is required")
    selection = Selection(
        tuple(symbol[:SYMBOL_CHARACTERS_MAX] for symbol in message.symbols),
        reader.optional_choice(f"{path}.asset_class", ASSET_CLASS, message.asset_class),
        reader.optional_choice(f"{path}.feed", DATA_FEED, message.feed),
    )
    try:
        reader.finish()
    except GatewayError as refusal:
        return RefusedCommand(CHANNEL.find(message.channel), refusal)
    return noun(channel, selection)


def _read_command_id(reader: RequestReader, request: pb.MarketDataSessionRequest) -> None:
    if len(request.command_id) > COMMAND_ID_LENGTH_MAX:
        reader.refuse("command_id", f"at most {COMMAND_ID_LENGTH_MAX} characters")
