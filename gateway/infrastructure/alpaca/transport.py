"""Sockets to the venue: one request on one pooled connection, sent at most once.

Promises to tell *nothing was written* from everything else exactly: a connection reports its first byte before
it leaves, so `NothingSent` is proof, and `AnswerLost` means that the venue may have acted. Nothing is ever sent
twice: no retry, no redirect, no second try on a connection that turned out to be stale. Nothing of the
environment (proxies, .netrc, cookies) is read. What an answer means is left to `http`.

urllib3 is what requests itself stands on. It is used directly because requests can neither bound the wait for a
pooled connection nor say whether the first byte left.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

READ_CHUNK_BYTES: Final = 65_536
ANSWER_BYTES_MAX: Final = 5 * 1024 * 1024
"""Of one answer; the largest page of anything but the list of assets has less than half of it."""
REQUEST_ID_CHARACTERS_MAX: Final = 128
_REQUEST_ID: Final = "x-request-id"
KEPT_IDLE_MAX_S: Final = 30.0
"""A connection on which nothing was sent for longer is closed, not used: servers and load balancers end idle ones, the
common defaults are 60 s and 75 s, and a request that crosses that end on the wire has no answer."""
_POOLS_MAX: Final = 4  # trading and data hosts, and room for two more


class NothingSent(Exception):
    """Certainly not one byte of the request left; it had no effect and will have none."""


class Forbidden(NothingSent):
    """It was about to leave and may not any more; `reason` says why, in the domain's words."""

    def __init__(self, reason: Exception) -> None:
        super().__init__("it may not leave any more")
        self.reason = reason


class AnswerLost(Exception):
    """The request, or a part of it, left, and its answer did not arrive whole: the venue may have acted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: header names in lower case, the body whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str:
        """The venue's X-Request-ID; empty when it gave none."""
        return self.headers.get(_REQUEST_ID, "")


class Call:
    """One request under way, shared by the thread that sends it and the loop that waits for it.

    A call is good for one request: a second one under the same call is refused before its first byte. So
    alpaca-py's own loops (retries, pagination) cannot run away, whatever calls them.

    Args:
        connect_s: To open a connection, or to get a pooled one, seconds.
        read_s: Longest silence while waiting for the answer, seconds.
        deadline: `time.monotonic()` seconds after which reading the answer is given up; None: `read_s` after
            the first byte left, which is how changes wait.
        permit: Asked right before the first byte leaves; it raises `Forbidden` when that must not leave.
        answer_bytes_max: A larger answer is given up.

    Attributes:
        method, path: What is asked; empty until it is known.
        write_time_s: `time.monotonic()` when the first byte left.
    """

    __slots__ = (
        "_abandoned",
        "_connection",
        "_lock",
        "_permit",
        "_taken",
        "answer_bytes_max",
        "connect_s",
        "deadline",
        "method",
        "path",
        "read_s",
        "write_time_s",
        "written",
    )

    def __init__(
        self,
        connect_s: float,
        read_s: float,
        deadline: float | None,
        permit: Callable[[], None] = lambda: None,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> None:
        self.connect_s = connect_s
        self.answer_bytes_max = answer_bytes_max
        self.read_s = read_s
        self.deadline = deadline
        self.written = False
        self.method, self.path = "", ""
        self.write_time_s = 0.0
        self._permit = permit
        self._lock = threading.Lock()
        self._taken = False
        self._abandoned = False
        self._connection: HTTPConnection | None = None

    def take(self) -> None:
        """Begin its one request.

        Raises:
            NothingSent: It has had one, or was given up while it waited for a thread.
        """
        with self._lock:
            if self._taken:
                raise NothingSent("a call is good for one request")
            if self._abandoned:
                raise NothingSent("given up before it was sent")
            self._taken = True

    def begin_writing(self, connection: HTTPConnection) -> None:
        """The first byte is about to leave on this connection.

        Raises:
            NothingSent: It was given up.
            Forbidden: It may not leave any more.
        """
        with self._lock:
            if self._abandoned:
                raise NothingSent("given up before it was sent")
            self._permit()
            self.write_time_s = time.monotonic()
            if self.deadline is None:
                self.deadline = self.write_time_s + self.read_s
            self._connection = connection
            self.written = True

    def give_up_unsent(self) -> bool:
        """Give it up if nothing has left; then nothing ever will. Whether it was given up."""
        with self._lock:
            self._abandoned = self._abandoned or not self.written
            return self._abandoned

    def abort(self) -> None:
        """Give it up whatever happened: the thread that waits for the answer is woken."""
        with self._lock:
            self._abandoned = True
            connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        """The connection belongs to the pool again."""
        with self._lock:
            self._connection = None


class _Current(threading.local):
    call: Call | None = None


_current = _Current()


class _TellsFirstByte:
    """Mixed into urllib3's connections: opens the socket, reports, and only then lets bytes leave."""

    sock: Any
    connect: Callable[[], None]
    close: Callable[[], None]
    sent_at_s = 0.0

    def send(self, data: Any) -> None:
        call = _current.call
        self.sent_at_s = time.monotonic()
        if call is not None and not call.written:
            if self.sock is None:
                self.connect()
            call.begin_writing(self)  # type: ignore[arg-type]  # mixed into HTTPConnection below
        super().send(data)  # type: ignore[misc]  # HTTPConnection's


class _Connection(_TellsFirstByte, HTTPConnection):
    pass


class _TlsConnection(_TellsFirstByte, HTTPSConnection):
    pass


class _KeepsNoOldConnection:
    """Mixed into urllib3's pools: a connection that was idle for too long is opened anew before it is used."""

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)  # type: ignore[misc]  # HTTPConnectionPool's
        if connection.sock is not None and time.monotonic() - connection.sent_at_s > KEPT_IDLE_MAX_S:
            connection.close()
        return connection


class _Pool(_KeepsNoOldConnection, HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(_KeepsNoOldConnection, HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class SecretHeaders(dict[str, str]):
    """Headers that carry credentials: never shown, wherever locals or objects are printed."""

    def __repr__(self) -> str:
        return "SecretHeaders(***)"


class Transport:
    """The connection pools of one set of credentials.

    Args:
        headers: Sent with every request; they carry the credentials.
        secrets: Texts that no answer may carry onward: cut out of error bodies and of the venue's id of a request.
        connections_max: Kept and used per host; beyond it a request waits at most `Call.connect_s`.
        response_bytes_max: Larger answers are given up, whatever a call would take.
    """

    def __init__(
        self, headers: SecretHeaders, secrets: tuple[str, ...], *, connections_max: int, response_bytes_max: int
    ) -> None:
        self._headers = headers
        self._secrets = tuple(filter(None, secrets))
        self._response_bytes_max = response_bytes_max
        self._pools = urllib3.PoolManager(
            _POOLS_MAX,
            maxsize=connections_max,
            block=True,
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=certifi.where(),
        )
        self._pools.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        # The same pools by address: to work the manager's own key out takes longer than all else about a pool.
        self._pool_of: dict[str, HTTPConnectionPool] = {}

    def send(self, call: Call, method: str, url: str, query: str, body: bytes | None) -> Answer:
        """Send a request and read its answer; blocks.

        Raises:
            NothingSent: Nothing left.
            AnswerLost: Something left.
        """
        call.take()
        parts = urlsplit(url)
        target = f"{parts.path}?{query}" if query else parts.path
        headers = (
            self._headers if body is None else SecretHeaders(self._headers, **{"Content-Type": "application/json"})
        )
        _current.call = call
        try:
            address = f"{parts.scheme}://{parts.netloc}"
            pool = self._pool_of.get(address)
            if pool is None:
                pool = self._pool_of[address] = self._pools.connection_from_url(address)
            response = pool.urlopen(
                method,
                target,
                body=body,
                headers=headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=urllib3.Timeout(connect=call.connect_s, read=call.read_s),
                pool_timeout=call.connect_s,  # type: ignore[arg-type]  # typed as int; it takes a float
                preload_content=False,
                decode_content=False,
            )
            return self._read(call, response)
        except (NothingSent, AnswerLost):
            raise
        except Exception as error:  # whatever it is: after the first byte it is ambiguous, never failed
            # `from None`: the frames below hold the request's bytes, credentials included, and some loggers
            # print locals.
            if call.written:
                raise AnswerLost(f"{_name_of(error)} after sending") from None
            raise NothingSent(f"{_name_of(error)} before sending") from None
        finally:
            _current.call = None
            call.finish()

    def _read(self, call: Call, response: Any) -> Answer:
        chunks: list[bytes] = []
        bytes_max = min(call.answer_bytes_max, self._response_bytes_max)
        size = 0
        whole = False
        try:
            while chunk := response.read1(READ_CHUNK_BYTES):
                chunks.append(chunk)
                size += len(chunk)
                if size > bytes_max:
                    raise AnswerLost("the answer is too large")
                if call.deadline is not None and time.monotonic() > call.deadline:
                    raise AnswerLost("the answer came too slowly")
            whole = True
        finally:
            if whole:
                response.release_conn()
            else:
                response.close()
        status: int = response.status
        content = b"".join(chunks)
        headers = {name.lower(): value for name, value in response.headers.items()}
        if (request_id := headers.get(_REQUEST_ID)) is not None:
            headers[_REQUEST_ID] = self._plain_id(request_id)
        if not 200 <= status < 300:
            for secret in self._secrets:
                content = content.replace(secret.encode(), b"***")
        return Answer(status, headers, content)

    def _plain_id(self, text: str) -> str:
        """The venue's id of a request as it may be kept and shown; empty for what is none."""
        if not text.isprintable() or len(text) > REQUEST_ID_CHARACTERS_MAX:
            return ""
        return "***" if any(secret in text for secret in self._secrets) else text

    def close(self) -> None:
        """Close every pooled connection."""
        self._pool_of.clear()
        self._pools.clear()


def _name_of(error: Exception) -> str:
    # urllib3 wraps what happened in a ProtocolError, as its last argument.
    inner = error.args[-1] if error.args else None
    return type(inner if isinstance(inner, Exception) else error).__name__
