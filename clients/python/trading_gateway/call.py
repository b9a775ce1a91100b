"""One call, told as data: what is asked, and what of the answer the caller gets.

`trading.py`, `market_data.py`, `account.py` and `reference.py` have one function per rpc that builds a
`Call`, `Pages` or a stream; `Client` and `AsyncClient` only carry them out. So each rpc is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message

PACKAGE: Final = "trading_gateway.v1"

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
    """

    path: str
    request: Message
    response: type[Message]
    pick: Callable[[Any], T]
    repeatable: bool
    wait_s: float = 0.0


def read(rpc: str, request: Message, response: type[Response], pick: Callable[[Response], T]) -> Call[T]:
    """A call without effect."""
    return Call(path(rpc), request, response, pick, repeatable=True)


def keyed(rpc: str, request: Message, response: type[Response]) -> Call[Response]:
    """A command under a client_order_id: the gateway does it once, however often it is asked."""
    return Call(path(rpc), request, response, whole, repeatable=True)


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
