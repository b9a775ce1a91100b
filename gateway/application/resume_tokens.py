"""Resume tokens: where a reader of a book was, opaque to clients.

A token is version, book, epoch, sequence and the first 8 bytes of the chain hash at that sequence, with a check sum.
It is the same for a journal on disk and in memory, and stays readable for as long as its version is. Whether the
journal can go on from there is `order_updates`' to say.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import Final

from gateway.domain.errors import ResumeTokenInvalid

TOKEN_VERSION: Final = 1
"""Of the layout. A later one keeps reading this."""
_BOOK_BYTES: Final = 8
_CHECK_BYTES: Final = 4
_TOKEN: Final = struct.Struct(f">B{_BOOK_BYTES}s8sQ8s")


@dataclass(frozen=True, slots=True)
class Book:
    """Whose events: one strategy's, or (None) the account's: every strategy and orders from outside."""

    strategy_id: str | None


class TokenWriter:
    """Writes the tokens of one reader, of which only sequence and hash change."""

    __slots__ = ("_book_id", "_epoch")

    def __init__(self, book: Book, epoch: str) -> None:
        self._book_id = _book_id(book)
        self._epoch = bytes.fromhex(epoch)

    def write(self, sequence: int, chain_hash: bytes) -> str:
        """The token of a position; `chain_hash` has 8 bytes."""
        body = _TOKEN.pack(TOKEN_VERSION, self._book_id, self._epoch, sequence, chain_hash)
        return base64.urlsafe_b64encode(body + _check_sum(body)).decode()


def write_token(book: Book, epoch: str, sequence: int, chain_hash: bytes) -> str:
    """One token of a book."""
    return TokenWriter(book, epoch).write(sequence, chain_hash)


def read_token(book: Book, token: str) -> tuple[str, int, bytes]:
    """Epoch, sequence and hash.

    Raises:
        ResumeTokenInvalid: Garbled, or another book's.
    """
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (ValueError, UnicodeEncodeError):
        raw = b""
    body, check_sum = raw[: _TOKEN.size], raw[_TOKEN.size :]
    if len(raw) != _TOKEN.size + _CHECK_BYTES or check_sum != _check_sum(body):
        raise ResumeTokenInvalid("The resume token is garbled.")
    version, book_id, epoch, sequence, chain_hash = _TOKEN.unpack(body)
    if version != TOKEN_VERSION:
        raise ResumeTokenInvalid("The resume token was written by a later version of the gateway.")
    if book_id != _book_id(book):
        raise ResumeTokenInvalid("The resume token belongs to another book.")
    return epoch.hex(), sequence, chain_hash


def _book_id(book: Book) -> bytes:
    name = b"account" if book.strategy_id is None else b"strategy:" + book.strategy_id.encode()
    return hashlib.blake2b(name, digest_size=_BOOK_BYTES).digest()


def _check_sum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(_CHECK_BYTES, "big")
