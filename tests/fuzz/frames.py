"""HTTP/2 by hand: what no gRPC library would send.

A connection speaks by `h2`, which is told to check nothing, so that a test can be wrong on purpose.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event, ResponseReceived, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError

CONNECT_S_MAX: Final = 10.0
READ_BYTES: Final = 65_536


class RawConnection:
    """One HTTP/2 connection to a gateway without TLS.

    Args:
        target: HOST:PORT.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=CONNECT_S_MAX)
        self._authority = target
        config = H2Configuration(
            client_side=True,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=False,
            header_encoding="utf-8",
        )
        self._h2 = H2Connection(config)
        self._h2.initiate_connection()
        self.is_closed = False
        self._flush()

    def begin(self, path: str, *, more: list[tuple[str, str]] | None = None, ends: bool = False) -> int:
        """Send the headers of a call; its stream's number."""
        number = self._h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", self._authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *(more or []),
        ]
        self._h2.send_headers(number, headers, end_stream=ends)
        self._flush()
        return number

    def data(self, number: int, raw: bytes, *, ends: bool = True) -> None:
        """Send a part of a body."""
        self._h2.send_data(number, raw, end_stream=ends)
        self._flush()

    def reset(self, number: int) -> None:
        """Give a call up."""
        self._h2.reset_stream(number, ErrorCodes.CANCEL)
        self._flush()

    def raw(self, frames: bytes) -> None:
        """Send bytes as they are."""
        with contextlib.suppress(OSError):
            self._socket.sendall(frames)

    def read(self, seconds: float) -> list[Event]:
        """What comes within a time, until the connection is closed."""
        events: list[Event] = []
        ends_at = time.monotonic() + seconds
        while not self.is_closed and (left_s := ends_at - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                raw = self._socket.recv(READ_BYTES)
            except TimeoutError:
                break
            except OSError:
                raw = b""
            events += self._take(raw)
        return events

    def status_of(self, number: int, seconds: float) -> str:
        """How a call ended: its grpc-status, `reset`, `closed`, or `open` when it has not."""
        ends_at = time.monotonic() + seconds
        while (left_s := ends_at - time.monotonic()) > 0:
            for event in self.read(min(left_s, 0.05)):
                if getattr(event, "stream_id", None) != number:
                    continue
                if isinstance(event, TrailersReceived | ResponseReceived):
                    status = dict(event.headers or []).get("grpc-status")
                    if status is not None:
                        return str(status)
                if isinstance(event, StreamReset):
                    return "reset"
            if self.is_closed:
                return "closed"
        return "open"

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _take(self, raw: bytes) -> list[Event]:
        if not raw:
            self.is_closed = True
            return []
        try:
            events = self._h2.receive_data(raw)
        except ProtocolError:
            self.is_closed = True
            return []
        self.is_closed = any(isinstance(event, ConnectionTerminated) for event in events)
        self._flush()
        return events

    def _flush(self) -> None:
        try:
            self._socket.sendall(self._h2.data_to_send())
        except OSError:
            self.is_closed = True
