"""Settings: every GATEWAY_* variable, with unit, default and reason.

Flags of the command line win over the environment. Credentials are read under GATEWAY_* or Alpaca's own
names, live in `SecretStr` and are never logged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

from pydantic import AfterValidator, AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.domain.types import AssetClass, Authentication, DataFeed, OnZombie, Venue


def _of_stocks(feed: DataFeed) -> DataFeed:
    if feed.asset_class is not AssetClass.US_EQUITY:
        raise ValueError("must be a feed of stocks, as stocks:iex")
    return feed


def _of_options(feed: DataFeed) -> DataFeed:
    if feed.asset_class is not AssetClass.US_OPTION:
        raise ValueError("must be a feed of options, as options:indicative")
    return feed


class Settings(BaseSettings):
    """How one gateway process runs. Unknown GATEWAY_* names are refused by `trading-gateway serve`."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_", frozen=True, extra="forbid", populate_by_name=True)

    listen: str = "127.0.0.1:50051"
    """HOST:PORT. Beyond loopback it takes TLS and tokens."""
    venue: Venue = Venue.EMULATOR
    """Where orders go. `live` is refused by this build."""
    venue_url: str = ""
    """Base address of an emulator that runs by itself on this machine, as http://127.0.0.1:8700; empty starts one as a
    child."""
    authentication: Authentication = Authentication.AUTO
    """Whether a call needs a token. `auto`: it does, but not for the emulator on loopback; `required`: always; `off`:
    never, on loopback alone. A token that is shown is verified, and binds, in each of them."""
    authentication_failures_per_minute: int = Field(default=10, ge=0, le=100_000)
    """Calls of one address that may fail to show a valid token; more are RESOURCE_EXHAUSTED for a minute, and recorded.
    Valid tokens are let in all the while. 0: nobody counts."""
    tls_cert: Path | None = None
    """The server's certificate and what stands between it and its authority, as PEM; none: plain text."""
    tls_key: Path | None = None
    """Its private key, as PEM, not encrypted."""
    tls_client_ca: Path | None = None
    """Who signs the certificates of clients; with it every client must show one, whatever else it shows."""
    data_dir: Path | None = None
    """Where the journal, the emulator's ledger and the lock live; none: a temporary folder, gone at exit."""
    stock_feed: Annotated[DataFeed, AfterValidator(_of_stocks)] = DataFeed.IEX
    """The feed that "the best that the account has" means for stocks: stocks:iex is the free one."""
    option_feed: Annotated[DataFeed, AfterValidator(_of_options)] = DataFeed.INDICATIVE
    """The same for options: options:indicative is free, delayed and modified; options:opra is the real one."""

    api_key: SecretStr = Field(
        default=SecretStr(""),
        validation_alias=AliasChoices("GATEWAY_API_KEY", "ALPACA_API_KEY", "APCA_API_KEY_ID", "api_key"),
    )
    """Alpaca's key id, for paper. An emulator is never sent it."""
    api_secret: SecretStr = Field(
        default=SecretStr(""),
        validation_alias=AliasChoices("GATEWAY_API_SECRET", "ALPACA_SECRET_KEY", "APCA_API_SECRET_KEY", "api_secret"),
    )
    """Alpaca's secret."""
    emulator_key: SecretStr = SecretStr("")
    """The only key that the emulator takes: told to one that serve starts itself, and what another one was started with
    (EMULATOR_KEY). Empty: any."""
    emulator_secret: SecretStr = SecretStr("")
    """The secret that goes with it."""

    submit_wait_ms: int = Field(default=2_000, ge=1, le=60_000)
    """How long SubmitOrder waits for the venue's answer before it says where the order stands."""
    reference_price_wait_ms: int = Field(default=1_000, ge=10, le=10_000)
    """How long an order that needs a price waits for one to be read (the first request from another continent takes
    three round trips); none is PRICE_UNAVAILABLE."""
    price_symbols_max: int = Field(default=20, ge=0, le=10_000)
    """Symbols whose quotes stay subscribed for ten minutes after an order that needed their price, so that the next one
    has it at once; 0: none. The venue counts them with the streams' (Alpaca's free plan: 30)."""
    feed_delay_max_ms: int = Field(default=2_000, ge=100, le=3_600_000)
    """A feed that for ten seconds brings nothing but values older than this is DELAYED; none of them is vouched for."""
    default_staleness_ms: int = Field(default=1_000, ge=0, le=60_000)
    """How old a cached read may be when the caller does not say."""
    settle_window_ms: int = Field(default=60_000, ge=30_000, le=600_000)
    """How long an order without an answer is looked for before it may be called absent."""
    on_zombie: OnZombie = OnZombie.CANCEL
    """What is done with an order that lives although it was given up: `cancel`, or `adopt` (kept, and told)."""
    venue_connect_timeout_ms: int = Field(default=2_000, ge=1, le=30_000)
    """To open a connection to the venue."""
    venue_read_timeout_ms: int = Field(default=5_000, ge=1, le=60_000)
    """To wait for the venue's answer; the caller's deadline may cut it shorter, for reads."""
    venue_threads: int = Field(default=32, ge=1, le=128)
    """Requests to the venue at once: worker threads and pooled connections (32-64 is where requests peaks)."""
    venue_requests_per_minute: int = Field(default=200, ge=0, le=100_000)
    """Alpaca's limit for one key; 0 for none. The venue's own headers correct it."""

    kill_file_poll_ms: int = Field(default=100, ge=10, le=10_000)
    """Between looks for the file KILL in the data directory."""

    orders_max: int = Field(default=200_000, ge=1)
    """Orders in memory, some 3 KB each; beyond it those that ended first go to the archive on disk, which answers for
    their ids and keys. Only open orders can fill it up: then new ones are refused (JOURNAL_UNAVAILABLE)."""
    journal_events_max: int = Field(default=1_000_000, ge=1)
    """Events that a stream can resume from, at most; older ones go."""
    journal_events_days: int = Field(default=7, ge=1, le=3_650)
    """Days that a stream can resume from, at most; older events go, those of open orders never."""
    archive_days: int = Field(default=400, ge=30, le=36_500)
    """Days for which the archive answers for an order that has ended: its key is refused for another order so long."""
    streams_max: int = Field(default=1_000, ge=1)
    """Open streams, all clients together."""
    stream_write_blocked_ms: int = Field(default=30_000, ge=1_000, le=600_000)
    """A stream whose reader takes nothing for so long is ended (SLOW_CONSUMER); order streams say where to resume."""
    symbols_per_stream_max: int = Field(default=500, ge=1, le=10_000)
    """Symbols in one subscription."""
    unread_values_max: int = Field(default=65_536, ge=1_024)
    """Values that wait for one reader of market data who wants every one: a day of one stock in a burst fits."""
    concurrent_rpcs_max: int = Field(default=2_000, ge=1)
    """Calls and streams at once; more are RESOURCE_EXHAUSTED."""
    client_calls_in_flight_max: int = Field(default=32, ge=0)
    """Calls of one client at once (a client is a token's holder, or a connection where none is shown); cancels have 8
    more. More are RESOURCE_EXHAUSTED; here as in each limit of a client, 0 is none, and GetQuota tells what is left."""
    client_streams_max: int = Field(default=16, ge=0)
    """Streams of one client at once."""
    client_connections_max: int = Field(default=8, ge=0)
    """Connections on which one client has anything under way."""
    client_symbols_max: int = Field(default=2_000, ge=0)
    """Symbols that one client follows, all of its streams of market data together."""
    client_reads_per_second: int = Field(default=200, ge=0)
    """Of one client; twice as many may come at once. Opening a stream counts as ten, and a large answer as several."""
    client_orders_per_second: int = Field(default=50, ge=0)
    """Submits, replaces and closes of one client, twice as many at once; and as many cancels, which are delayed, not
    refused."""
    client_faults_per_second: int = Field(default=20, ge=0)
    """Malformed and refused calls of one client that are answered at once, twice as many at once; more are answered up
    to a second later, so that a loop that goes wrong slows itself down."""
    request_bytes_max: int = Field(default=65_536, ge=1_024)
    """The largest request; none of this contract is near it."""
    streams_per_connection_max: int = Field(default=100, ge=1, le=10_000)
    """Calls and streams at once on one connection; more wait in the client. What one client may have is less."""
    connection_age_max_ms: int = Field(default=86_400_000, ge=1_000)
    """A connection is asked to end after so long, give or take a tenth: then a new one sees the newest certificate."""
    connection_age_grace_ms: int = Field(default=60_000, ge=0, le=3_600_000)
    """What its calls and streams then still have; streams are resumed on another connection."""
    deadline_default_ms: int = Field(default=10_000, ge=100, le=600_000)
    """For calls without a deadline, and the longest that one is honoured (streams have none)."""
    drain_timeout_ms: int = Field(default=20_000, ge=0, le=300_000)
    """How long a draining server waits for orders in flight."""

    log_level: str = "info"
    """debug, info, warning or error."""
    log_format: str = "auto"
    """json, console, or auto: console on a terminal."""
    otlp_endpoint: str = ""
    """Base address of an OTLP/HTTP collector; empty: no spans and metrics leave the process."""
    traceable: bool = False
    """Debuggers and profilers of the same user may look into the process, keys and all; with the emulator alone."""

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """`SecretStr` shows itself to pickle alone."""
        raise TypeError("settings have secrets, and are not to be written down")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every credential of this process, for whoever keeps them out of what is written; those that are set."""
        held = (self.api_key, self.api_secret, self.emulator_key, self.emulator_secret)
        return tuple(secret.get_secret_value() for secret in held if secret.get_secret_value())
