"""The two encodings of the websockets: JSON text, and msgpack with its timestamp extension.

Promises: key `T` first in every message; a message is encoded once per format however many sockets get it; a
frame is an array made by joining messages. msgpack times are extension type -1 with seconds and nanoseconds; JSON
times are RFC 3339 text.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgpack
import orjson

from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.wire import format_time

MSGPACK_CONTENT_TYPE: Final = "application/msgpack"

_ARRAY_16: Final = 0xDC
_ARRAY_32: Final = 0xDD
_FIXARRAY: Final = 0x90
_FIXARRAY_MAX: Final = 15
_ARRAY_16_MAX: Final = 0xFFFF


class Codec(Protocol):
    """One of the two encodings.

    Attributes:
        name: "json" or "msgpack".
        binary: Whether frames are binary.
    """

    name: str
    binary: bool

    def time(self, time_ns: int) -> object:
        """An instant as a value of this encoding."""
        ...

    def encode(self, message: object) -> bytes:
        """One message."""
        ...

    def frame(self, messages: list[bytes]) -> bytes:
        """An array of encoded messages."""
        ...

    def decode(self, data: bytes) -> Any:
        """What a client said.

        Raises:
            ValueError: When it cannot be read.
        """
        ...


class JsonCodec:
    """JSON text."""

    name = "json"
    binary = False

    def time(self, time_ns: int) -> object:
        """RFC 3339."""
        return format_time(time_ns)

    def encode(self, message: object) -> bytes:
        """One message."""
        return orjson.dumps(message)

    def frame(self, messages: list[bytes]) -> bytes:
        """An array of encoded messages."""
        return b"[" + b",".join(messages) + b"]"

    def decode(self, data: bytes) -> Any:
        """What a client said; a JSONDecodeError is a ValueError."""
        return orjson.loads(data)


class MsgpackCodec:
    """msgpack."""

    name = "msgpack"
    binary = True

    def __init__(self) -> None:
        self._packer = msgpack.Packer()

    def time(self, time_ns: int) -> object:
        """The timestamp extension."""
        seconds, nanos = divmod(time_ns, NANOS_PER_SECOND)
        return msgpack.Timestamp(seconds, nanos)

    def encode(self, message: object) -> bytes:
        """One message."""
        packed: bytes = self._packer.pack(message)
        return packed

    def frame(self, messages: list[bytes]) -> bytes:
        """An array of encoded messages."""
        return _array_header(len(messages)) + b"".join(messages)

    def decode(self, data: bytes) -> Any:
        """What a client said."""
        try:
            return msgpack.unpackb(data)
        except (msgpack.UnpackException, ValueError) as error:
            raise ValueError("not msgpack") from error


JSON: Final = JsonCodec()
MSGPACK: Final = MsgpackCodec()


def _array_header(length: int) -> bytes:
    if length <= _FIXARRAY_MAX:
        return bytes((_FIXARRAY | length,))
    if length <= _ARRAY_16_MAX:
        return bytes((_ARRAY_16,)) + length.to_bytes(2, "big")
    return bytes((_ARRAY_32,)) + length.to_bytes(4, "big")
