"""A session's share of its client's symbols: taken and given back while it runs, and all of it at its end."""

from __future__ import annotations

from contextvars import ContextVar

from gateway.services.client_limits import Client


class SymbolRoom:
    """What one stream follows.

    Args:
        client: Whose stream it is.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._held = 0

    def take(self) -> bool:
        """One more; False: its client follows as many as it may."""
        if not self._client.take_symbol():
            return False
        self._held += 1
        return True

    def give_back(self, count: int) -> None:
        """So many less; never more than are held."""
        returned = min(count, self._held)
        self._held -= returned
        self._client.symbols -= returned

    def close(self) -> None:
        """The stream has ended."""
        self.give_back(self._held)


_ROOM: ContextVar[SymbolRoom] = ContextVar("gateway_symbol_room")


def enter_room(room: SymbolRoom) -> None:
    """Make this the room of the running stream; each runs in a task of its own, so nothing is undone."""
    _ROOM.set(room)


def symbol_room() -> SymbolRoom:
    """The room of the running stream.

    Raises:
        LookupError: Outside a stream of commands.
    """
    return _ROOM.get()
