"""Addresses, credentials and pools: which venue the adapters speak to.

`ClientConfig` says where and how; `ClientFactory` makes the clients of one set of credentials and owns what
they share: the transport, the threads, the gate. alpaca is imported when the first client is made, because it
costs a second and 100 MB. Whether live trading is allowed is not decided here.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.domain.interfaces import RequestGate
from gateway.domain.types import DataFeed, Venue
from gateway.domain.venue_requests import VenueRequestLog
from gateway.infrastructure.alpaca.deferred import deferred
from gateway.infrastructure.alpaca.http import KILL_THREADS, RestClient, RestLimits, RestRoad
from gateway.infrastructure.alpaca.secret import Secret
from gateway.infrastructure.alpaca.transport import SecretHeaders, Transport

if TYPE_CHECKING:
    from gateway.infrastructure.alpaca.data_stream import GatewayDataStream
    from gateway.infrastructure.alpaca.order_stream import GatewayOrderStream

PAPER_TRADING_URL: Final = "https://paper-api.alpaca.markets"
LIVE_TRADING_URL: Final = "https://api.alpaca.markets"
DATA_URL: Final = "https://data.alpaca.markets"
DATA_STREAM_URL: Final = "wss://stream.data.alpaca.markets"
EMULATOR_CREDENTIAL: Final = "emulator"
"""What an emulator is given for a key and a secret when the user has none: it takes any."""

THREADS_MIN: Final = 4
"""One for each part of the work, whatever is configured."""

DATA_STREAM_PATHS: Final[Mapping[DataFeed, str]] = {
    DataFeed.IEX: "/v2/iex",
    DataFeed.SIP: "/v2/sip",
    DataFeed.CRYPTO_US: "/v1beta3/crypto/us",
    DataFeed.OPRA: "/v1beta1/opra",
    DataFeed.INDICATIVE: "/v1beta1/indicative",
    DataFeed.NEWS: "/v1beta1/news",
}
DATA_CLIENTS: Final[Mapping[DataFeed, str]] = {
    DataFeed.IEX: "stocks",
    DataFeed.SIP: "stocks",
    DataFeed.CRYPTO_US: "crypto",
    DataFeed.OPRA: "options",
    DataFeed.INDICATIVE: "options",
}
"""Who is asked about what a feed brings; articles are not asked for."""
TRADE_STREAM_PATH: Final = "/stream"


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """One venue, one set of credentials.

    Attributes:
        trading_url, data_url: Without a trailing slash and without a version.
        data_stream_urls: Of each feed, whole.
        trade_stream_url: Of the order feed, whole.
        response_bytes_max: Larger answers are given up.
    """

    venue: Venue
    key: Secret
    secret: Secret
    trading_url: str
    data_url: str
    trade_stream_url: str
    data_stream_urls: Mapping[DataFeed, str]
    limits: RestLimits
    response_bytes_max: int = 32 * 1024 * 1024

    @classmethod
    def emulator(
        cls,
        base_url: str,
        limits: RestLimits,
        key: str = EMULATOR_CREDENTIAL,
        secret: str = EMULATOR_CREDENTIAL,
    ) -> ClientConfig:
        """Everything at one address, such as `http://127.0.0.1:8700`.

        Raises:
            ValueError: It is no http or https address of a host alone, or not of this machine.
        """
        base = checked_base_url(base_url)
        _require_this_machine(base)
        socket_base = "ws" + base.removeprefix("http")
        return cls(
            venue=Venue.EMULATOR,
            key=Secret(key or EMULATOR_CREDENTIAL),
            secret=Secret(secret or EMULATOR_CREDENTIAL),
            trading_url=base,
            data_url=base,
            trade_stream_url=socket_base + TRADE_STREAM_PATH,
            data_stream_urls={feed: socket_base + path for feed, path in DATA_STREAM_PATHS.items()},
            limits=limits,
        )

    @classmethod
    def paper(cls, key: str, secret: str, limits: RestLimits) -> ClientConfig:
        """Alpaca's paper hosts, with real market data."""
        return cls._alpaca(Venue.PAPER, PAPER_TRADING_URL, key, secret, limits)

    @classmethod
    def live(cls, key: str, secret: str, limits: RestLimits) -> ClientConfig:
        """Alpaca's live hosts: real money. The command line decides whether it comes to this."""
        return cls._alpaca(Venue.LIVE, LIVE_TRADING_URL, key, secret, limits)

    @classmethod
    def _alpaca(cls, venue: Venue, trading_url: str, key: str, secret: str, limits: RestLimits) -> ClientConfig:
        if not key or not secret:
            raise ValueError(f"venue {venue.value} needs a key and a secret")
        return cls(
            venue=venue,
            key=Secret(key),
            secret=Secret(secret),
            trading_url=trading_url,
            data_url=DATA_URL,
            trade_stream_url="wss" + trading_url.removeprefix("https") + TRADE_STREAM_PATH,
            data_stream_urls={feed: DATA_STREAM_URL + path for feed, path in DATA_STREAM_PATHS.items()},
            limits=limits,
        )


def checked_base_url(url: str) -> str:
    """An address as alpaca-py wants it: scheme and host, no path, no slash at the end, no credentials.

    Raises:
        ValueError: It is something else.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("the venue's address must look like http://127.0.0.1:8700")
    if parts.path not in ("", "/"):
        raise ValueError("the venue's address must have no path: alpaca-py adds /v2 itself")
    return f"{parts.scheme}://{parts.netloc}"


def _require_this_machine(base_url: str) -> None:
    """An emulator serves loopback alone: anything else is somebody's account, by a name that no limit goes with.

    Raises:
        ValueError: It is elsewhere.
    """
    host = urlsplit(base_url).hostname or ""
    try:
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name, which may lead anywhere
        is_here = False
    if not is_here:
        raise ValueError(
            f"an emulator's address must be of this machine, as http://127.0.0.1:8700, and {host} is none. Alpaca's "
            "own addresses come with --venue paper."
        )


class ClientFactory:
    """Makes alpaca-py's clients and streams for one venue, and owns the threads and connections they share.

    Args:
        config: The venue.
        gate: Asked before each request to the venue, told its rate-limit headers.
        clock_s: Unix seconds, to read X-RateLimit-Reset by.
        requests: Told of every request about an order.
    """

    def __init__(
        self,
        config: ClientConfig,
        gate: RequestGate,
        clock_s: Callable[[], float] = time.time,
        requests: VenueRequestLog | None = None,
    ) -> None:
        self.config = config
        limits = replace(config.limits, threads=max(config.limits.threads, THREADS_MIN))
        headers = SecretHeaders(
            {
                "APCA-API-KEY-ID": config.key.reveal(),
                "APCA-API-SECRET-KEY": config.secret.reveal(),
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "trading-gateway",
            }
        )
        self._transport = Transport(
            headers,
            tuple(secret for secret in (config.key.reveal(), config.secret.reveal()) if secret != EMULATOR_CREDENTIAL),
            connections_max=limits.threads + KILL_THREADS,
            response_bytes_max=config.response_bytes_max,
        )
        self.road = RestRoad(gate, limits, clock_s, requests)
        self._made: dict[str, RestClient] = {}

    def trading(self) -> RestClient:
        """alpaca-py's TradingClient."""
        return self._client("trading")

    def market_data(self, feed: DataFeed) -> RestClient:
        """alpaca-py's StockHistoricalDataClient, CryptoHistoricalDataClient or OptionHistoricalDataClient."""
        return self._client(DATA_CLIENTS[feed])

    @staticmethod
    def load() -> None:
        """Import all of alpaca that will be used: once, before anybody waits for an answer.

        The first client or stream does it too; a gateway's first one is the order feed's, at its start.
        """
        with deferred():
            import gateway.infrastructure.alpaca.data_stream  # noqa: PLC0415
            import gateway.infrastructure.alpaca.order_stream  # noqa: F401, PLC0415

    def data_stream(self, feed: DataFeed) -> GatewayDataStream:
        """A new stream of alpaca-py's for a feed's asset class; nothing connects yet."""
        self.load()
        from gateway.infrastructure.alpaca.data_stream import STREAM_CLASSES  # noqa: PLC0415

        return STREAM_CLASSES[feed.asset_class](self.config.data_stream_urls[feed], self.config.key, self.config.secret)

    def order_stream(self) -> GatewayOrderStream:
        """A new TradingStream; nothing connects yet."""
        self.load()
        from gateway.infrastructure.alpaca.order_stream import GatewayOrderStream  # noqa: PLC0415

        return GatewayOrderStream(self.config.trade_stream_url, self.config.key, self.config.secret)

    async def close(self) -> None:
        """Take no more requests, wait for those under way, close every connection."""
        await self.road.close()
        self._transport.close()

    def _client(self, name: str) -> RestClient:
        # One client of a kind for all threads: it holds nothing of a request.
        if name not in self._made:
            self.load()
            from gateway.infrastructure.alpaca.rest_clients import new_client  # noqa: PLC0415

            url = self.config.trading_url if name == "trading" else self.config.data_url
            self._made[name] = new_client(name, url, self._transport)
        return self._made[name]
