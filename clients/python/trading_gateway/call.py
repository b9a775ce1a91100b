"""One call, told as data: what is asked, and what of the answer the caller gets.

`trading.py`, `market_data.py` and their like, one a service, have one function per rpc that builds a
`Call`, `Pages` or a stream; `Client` and `AsyncClient` only carry them out. So each rpc is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message

from trading_gateway.values import NANOS_PER_SECOND

PACKAGE: Final = "trading_gateway.v1"

VALID_FOR_MIN_S: Final = 5.0
"""A command may take effect for so long, however short its timeout: clocks differ, and orders take a moment."""

VALID_FOR_MAX_S: Final = 55.0
"""The gateway takes 60 s by its own clock, which may be behind this one."""

T = TypeVar("T")
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A unary call.

    Attributes:
        path: /package.Service/Rpc.
        request: What is asked.
        response: The class of the answer.
        pick: What the caller gets of the answer.
        repeatable: Repeating it after an ambiguous error does nothing twice.
        wait_s: Seconds that the gateway was asked to wait, on top of the client's timeout.
        prompt: The gateway answers within 2 s and `wait_s`, with what is known by then: a try that goes on for longer
            is lost, and asked again.
        acts: It may change something, so that a lost answer leaves its outcome unknown.
    """

    path: str
    request: Message
    response: type[Message]
    pick: Callable[[Any], T]
    repeatable: bool
    wait_s: float = 0.0
    prompt: bool = False
    acts: bool = True

    @property
    def valid_until_ns(self) -> int | None:
        """The gateway sends nothing for this call after this instant; None: the call has no such end."""
        request: Any = self.request
        return request.valid_until.ToNanoseconds() if self._can_expire and request.HasField("valid_until") else None

    def dated(self, now_ns: int, timeout_s: float) -> Call[T]:
        """This call with a valid_until that all its tries share, so that none of them acts long after the others.

        Without one the gateway would count from each try's arrival, also from that of a try which a broken network
        delivers when the caller has long gone on.

        Args:
            now_ns: Nanoseconds since the Unix epoch.
            timeout_s: Seconds for all tries.
        """
        if not self._can_expire or self.valid_until_ns is not None:
            return self
        request: Any = type(self.request)()
        request.CopyFrom(self.request)
        valid_s = min(max(timeout_s, VALID_FOR_MIN_S), VALID_FOR_MAX_S)
        request.valid_until.FromNanoseconds(now_ns + round(valid_s * NANOS_PER_SECOND))
        return replace(self, request=request)

    @property
    def _can_expire(self) -> bool:
        return "valid_until" in self.request.DESCRIPTOR.fields_by_name


def read(rpc: str, request: Message, response: type[Response], pick: Callable[[Response], T]) -> Call[T]:
    """A call without effect."""
    return Call(path(rpc), request, response, pick, repeatable=True, acts=False)


def keyed(
    rpc: str, request: Message, response: type[Response], *, wait_s: float = 0.0, prompt: bool = True
) -> Call[Response]:
    """A command under a client_order_id: the gateway does it once, however often it is asked."""
    return Call(path(rpc), request, response, whole, repeatable=True, wait_s=wait_s, prompt=prompt)


def path(rpc: str) -> str:
    """The HTTP/2 path of "Service/Rpc"."""
    return f"/{PACKAGE}.{rpc}"


def whole(response: Response) -> Response:
    """The answer as it came."""
    return response


class Pages(Generic[T]):
    """A list that comes in pages.

    Args:
        rpc: "Service/Rpc".
        request: The first request; it has page_size and page_token.
        response: The class of a page; it has next_page_token.
        items: The items of a page.
    """

    def __init__(
        self, rpc: str, request: Message, response: type[Response], items: Callable[[Response], Sequence[T]]
    ) -> None:
        self._rpc = rpc
        self._request: Any = request
        self._response = response
        self.items: Callable[[Any], Sequence[T]] = items

    def first(self) -> Call[Any]:
        """The call for the first page."""
        return read(self._rpc, self._request, self._response, whole)

    def after(self, page: Any) -> Call[Any] | None:
        """The call for the page after this one; None after the last.

        Raises:
            ValueError: When the list would never end: an empty page that names itself as the next one.
        """
        token = page.next_page_token
        if not token:
            return None
        if token == self._request.page_token and not self.items(page):
            raise ValueError("the list names an empty page as its own next page")
        following: Any = type(self._request)()
        following.CopyFrom(self._request)
        following.page_token = token
        self._request = following
        return self.first()
