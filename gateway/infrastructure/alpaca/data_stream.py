"""alpaca-py's market-data streams, one frame at a time. Importing this module imports alpaca.

`GatewayDataStream` is mixed into alpaca-py's streams of stocks, crypto, options and news. What it keeps of them is the
protocol of connecting; what it replaces are the loop (no waiting in circles, no 5 s polls), the dispatch (a whole frame
in one synchronous call instead of a coroutine per quote) and the silence: every error frame, acknowledgement and
unreadable frame is told. It never sends a subscription by itself; `streaming_adapter` decides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Final, NamedTuple, Protocol

import msgpack
from alpaca.data.live.crypto import CryptoDataStream
from alpaca.data.live.news import NewsDataStream
from alpaca.data.live.option import OptionDataStream
from alpaca.data.live.stock import StockDataStream

from gateway.domain.types import AssetClass
from gateway.infrastructure.alpaca.converters.errors import printable
from gateway.infrastructure.alpaca.converters.fields import JsonObject, Unreadable, whole_or_none
from gateway.infrastructure.alpaca.converters.market_data import CHANNEL, unpack_frame
from gateway.infrastructure.alpaca.reconnect import StreamRefused
from gateway.infrastructure.alpaca.rest_clients import HELD_ELSEWHERE
from gateway.infrastructure.alpaca.secret import Secret
from gateway.infrastructure.alpaca.sockets import close_socket, open_socket

PART_MESSAGES_MAX: Final = 512
"""A frame is handed on in parts of so many messages, some 10 ms each: everybody else has his turn in between."""
_CONTROL: Final = frozenset({"success", "error", "subscription"})


class ReadTime(NamedTuple):
    """When a frame was read.

    Attributes:
        wall_ns: Nanoseconds since the Unix epoch.
        monotonic_s: Seconds of the monotonic clock.
    """

    wall_ns: int
    monotonic_s: float


class FrameListener(Protocol):
    """Who gets the frames. Must neither block nor raise."""

    def on_messages(self, messages: Sequence[JsonObject], kinds: Set[str], read: ReadTime) -> None:
        """Market data, as it came: a frame, or one part of a large one, with the kinds (`T`) that are in it."""
        ...

    def on_acknowledgement(self, message: JsonObject) -> None:
        """The venue's whole set of subscriptions."""
        ...

    def on_error_frame(self, code: int, text: str) -> None:
        """The venue complains; the connection goes on until it is closed."""
        ...

    def on_unreadable(self, detail: str) -> None:
        """A frame that could not be read."""
        ...

    async def after_control(self) -> None:
        """A control message was handled: the place to send what follows from it."""
        ...


class GatewayDataStream:
    """One connection of one feed; mixed in before an alpaca-py stream."""

    _endpoint: str
    _ws: Any

    def __init__(self, url: str, key: Secret, secret: Secret) -> None:
        super().__init__(HELD_ELSEWHERE, HELD_ELSEWHERE, raw_data=True, url_override=url)  # type: ignore[call-arg]  # the stream's
        self._key = key
        self._secret = secret
        self._clock_ns: Callable[[], int] = time.time_ns
        self._monotonic: Callable[[], float] = time.monotonic
        self._listener: FrameListener | None = None

    def listen(self, listener: FrameListener, clock_ns: Callable[[], int], monotonic: Callable[[], float]) -> None:
        """Say who gets the frames, and by which clocks they are stamped."""
        self._listener = listener
        self._clock_ns = clock_ns
        self._monotonic = monotonic

    async def open(self) -> None:
        """Connect and authenticate.

        Raises:
            StreamRefused: The venue says why not.
        """
        await self._connect()
        await self._auth()

    async def serve(self) -> None:
        """Read frames until the connection ends."""
        await self._consume()

    async def send(self, message: JsonObject) -> None:
        """Send one message; does nothing while there is no connection."""
        if self._ws is not None:
            await self._ws.send(msgpack.packb(message))

    async def close(self) -> None:
        """Close the socket; it is closed when this returns."""
        socket, self._ws = self._ws, None
        if socket is not None:
            await close_socket(socket)

    async def _connect(self) -> None:
        self._ws = await open_socket(self._endpoint, {"Content-Type": "application/msgpack"})
        await self._expect("connected")

    async def _auth(self) -> None:
        await self.send({"action": "auth", "key": self._key.reveal(), "secret": self._secret.reveal()})
        await self._expect("authenticated")

    async def _expect(self, word: str) -> None:
        messages = unpack_frame(await self._ws.recv())
        first = messages[0] if messages and type(messages[0]) is dict else {}
        if first.get("T") == "error":
            raise StreamRefused(_text_of(first), whole_or_none(first, "code") or 0)
        if first.get("T") != "success" or first.get("msg") != word:
            raise StreamRefused(f"the venue did not say {word}")

    async def _consume(self) -> None:
        receive, clock_ns, monotonic, listener = self._ws.recv, self._clock_ns, self._monotonic, self._listener
        if listener is None:
            raise RuntimeError("nobody listens to this stream")
        while True:
            frame = await receive()
            read = ReadTime(clock_ns(), monotonic())
            try:
                messages = unpack_frame(frame)
                kinds = _kinds_of(messages)
            except Unreadable as error:
                listener.on_unreadable(str(error))
                continue
            except (KeyError, TypeError):
                listener.on_unreadable("a message without its kind")
                continue
            if not kinds.isdisjoint(_CONTROL):
                self._control(listener, messages, read)
                await listener.after_control()
            elif len(messages) <= PART_MESSAGES_MAX:
                listener.on_messages(messages, kinds, read)
            else:
                for start in range(0, len(messages), PART_MESSAGES_MAX):
                    part = messages[start : start + PART_MESSAGES_MAX]
                    listener.on_messages(part, _kinds_of(part), read)
                    await asyncio.sleep(0)

    def _control(self, listener: FrameListener, messages: Sequence[JsonObject], read: ReadTime) -> None:
        for message in messages:
            match message["T"]:
                case "subscription":
                    _check_acknowledgement(message)
                    listener.on_acknowledgement(message)
                case "error":
                    listener.on_error_frame(whole_or_none(message, "code") or 0, _text_of(message))
                case "success":
                    pass
                case _:
                    listener.on_messages((message,), {message["T"]}, read)


class GatewayStockStream(GatewayDataStream, StockDataStream):  # type: ignore[misc]  # two ways to `_consume`
    """Equities; the address names the feed."""


class GatewayCryptoStream(GatewayDataStream, CryptoDataStream):  # type: ignore[misc]  # two ways to `_consume`
    """Crypto."""


class GatewayOptionStream(GatewayDataStream, OptionDataStream):  # type: ignore[misc]  # two ways to `_consume`
    """Options; the address names the feed."""


class GatewayNewsStream(GatewayDataStream, NewsDataStream):  # type: ignore[misc]  # two ways to `_consume`
    """Articles."""


STREAM_CLASSES: Final[Mapping[AssetClass | None, type[GatewayDataStream]]] = {
    AssetClass.US_EQUITY: GatewayStockStream,
    AssetClass.CRYPTO: GatewayCryptoStream,
    AssetClass.US_OPTION: GatewayOptionStream,
    None: GatewayNewsStream,
}
"""By the class of a feed."""


def _kinds_of(messages: Sequence[JsonObject]) -> set[str]:
    return {message["T"] for message in messages}


def _check_acknowledgement(message: JsonObject) -> None:
    """What flows is unknown after an answer that cannot be read, so the connection begins anew."""
    for name in map(CHANNEL.__getitem__, CHANNEL):
        if message.get(name) is not None and type(message[name]) is not list:
            raise StreamRefused(f"an acknowledgement whose {name} cannot be read")


def _text_of(message: JsonObject) -> str:
    text = message.get("msg")
    return printable(text) if type(text) is str else "an error without a text"
