"""Reading a request's bytes: malformed ones and unknown fields are refused, by name.

Unknown fields matter because a newer client may send a flag that makes an order safer: to drop it silently
would be to send another order than the one that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from gateway.domain.errors import ClientOrderIdReused, UnknownField, Unreadable

Deserializer = Callable[[bytes], Any]
KeyIsTaken = Callable[[Any], bool]
"""Whether an order holds the key of a request, in the key space of the call under way."""

_MALFORMED: Final = "the request is not a message of the contract: malformed bytes, or text that is not UTF-8"


def guarded(parse: Deserializer | None) -> Deserializer:
    """A reader of one of our messages that raises Unreadable for malformed bytes, UnknownField for fields."""
    if parse is None:
        raise TypeError("a method of the contract needs a request message")

    def read(raw: bytes) -> Any:
        try:
            request = parse(raw)
        except DecodeError:
            raise Unreadable(_MALFORMED) from None
        # Sizes are compared because both steps run in C, nested messages included; naming the field is for the
        # rare request that has one. The bytes' own length would not do: encodings need not be canonical.
        size = request.ByteSize()
        request.DiscardUnknownFields()
        if request.ByteSize() != size:
            raise _unknown_field(parse(raw))
        return request

    return read


def lenient(parse: Deserializer | None) -> Deserializer:
    """A reader of gRPC's own services, which other people's newer clients call: only malformed bytes are refused."""
    if parse is None:
        raise TypeError("a method needs a request message")

    def read(raw: bytes) -> Any:
        try:
            return parse(raw)
        except DecodeError:
            raise Unreadable(_MALFORMED) from None

    return read


def key_first(read: Deserializer, parse: Deserializer | None, is_taken: KeyIsTaken) -> Deserializer:
    """A reader of a request with a client_order_id: that its content cannot be judged says nothing of a known key."""
    assert parse is not None

    def read_keyed(raw: bytes) -> Any:
        try:
            return read(raw)
        except UnknownField:
            if is_taken(parse(raw)):
                raise ClientOrderIdReused("another order holds this key") from None
            raise

    return read_keyed


def _unknown_field(request: Message) -> UnknownField:
    for message in _messages(request):
        unknown = UnknownFieldSet(message)
        if len(unknown) > 0:
            name, number = message.DESCRIPTOR.full_name, unknown[0].field_number
            return UnknownField(
                f"{name} has no field {number} in this build", metadata={"field_number": str(number), "message": name}
            )
    return UnknownField("the request has a field that this build does not know")


def _messages(message: Message) -> Iterator[Message]:
    """The message and all below it. Its depth is bounded: the parser refuses more than 100 levels."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for below in value if field.is_repeated else (value,):
            yield from _messages(below)
