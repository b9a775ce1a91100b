"""What a market-data session is told while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.errors import GatewayError
from gateway.domain.models.market_data import Selection
from gateway.domain.types import Channel, ConflationPolicy


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a session behaves; its first command, and no other.

    Attributes:
        conflation: For every channel; None: each channel's own.
        max_unacknowledged_batches: That may be on their way without a credit; 0: any number.
    """

    skip_snapshot: bool = False
    conflation: ConflationPolicy | None = None
    heartbeat_interval_ms: int = 5_000
    max_batch_delay_ms: int = 5
    max_unacknowledged_batches: int = 0


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Adds symbols of one channel."""

    channel: Channel
    selection: Selection


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Removes symbols of one channel; where no feed and no class is named, of every feed that has them."""

    channel: Channel
    selection: Selection


@dataclass(frozen=True, slots=True)
class ListSubscriptions:
    """Asks for all that the session holds."""


@dataclass(frozen=True, slots=True)
class BatchCredit:
    """Everything up to this batch was taken."""

    batch_sequence: int


@dataclass(frozen=True, slots=True)
class RefusedCommand:
    """A command about one channel that cannot be read; it is answered, and the session goes on."""

    channel: Channel | None
    refusal: GatewayError


@dataclass(frozen=True, slots=True)
class SessionCommand:
    """One message of the client."""

    command_id: str
    command: SessionOptions | Subscribe | Unsubscribe | ListSubscriptions | BatchCredit | RefusedCommand
