"""The venue proves who it is before it is told anything: certificate, authority and name, on both kinds of road."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import certifi
import pytest
from websockets.exceptions import WebSocketException

from gateway.domain.errors import VenueUnreachable
from gateway.infrastructure.alpaca.sockets import open_socket
from tests.certificates import Authority, Pair
from tests.infrastructure.alpaca.scripted import KEY, SECRET, context, factory_at


class Listener:
    """A TLS server that keeps what it is told and says nothing."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.url = ""

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.heard += await reader.read(65_536)
        writer.close()


@contextlib.asynccontextmanager
async def listening(pair: Pair, folder: Path) -> AsyncIterator[Listener]:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(*pair.write(folder))
    listener = Listener()
    server = await asyncio.start_server(listener.take, "127.0.0.1", 0, ssl=served)
    async with server:
        listener.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield listener


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that this machine trusts for the length of a test."""
    authority = Authority()
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.certificate)
    monkeypatch.setattr(certifi, "where", lambda: str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return authority


async def ask(listener: Listener) -> None:
    """Over REST, and over a websocket; both fail, as the listener is no venue."""
    async with factory_at(listener.url) as factory:
        with pytest.raises(VenueUnreachable):
            await factory.road.read(context(1.0), factory.trading(), "/account", {}, lambda answer: answer)
    with pytest.raises((OSError, TimeoutError, WebSocketException)):
        async with asyncio.timeout(1):
            await open_socket(listener.url.replace("https:", "wss:"), {"X-Secret": SECRET})


async def test_who_proves_to_be_the_venue_is_told_the_keys(trusted: Authority, tmp_path: Path) -> None:
    async with listening(trusted.sign("IP:127.0.0.1"), tmp_path) as venue:
        await ask(venue)
        assert KEY.encode() in venue.heard
        assert b"X-Secret" in venue.heard


@pytest.mark.parametrize("impostor", ["of an authority that nobody trusts", "of another name", "expired"])
async def test_nobody_else_is_told_a_word(trusted: Authority, tmp_path: Path, impostor: str) -> None:
    pair = {
        "of an authority that nobody trusts": lambda: Authority().sign("IP:127.0.0.1"),
        "of another name": lambda: trusted.sign("DNS:paper-api.alpaca.markets"),
        "expired": lambda: trusted.sign("IP:127.0.0.1", begins_in_s=-7_200, ends_in_s=-3_600),
    }[impostor]()
    async with listening(pair, tmp_path) as stranger:
        await ask(stranger)
        assert bytes(stranger.heard) == b""
