"""Addresses, credentials that never show, and an import that waits."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
import traceback

import pytest

from gateway.domain.errors import GatewayError, OutcomeUnknown, VenueUnreachable
from gateway.domain.types import DataFeed, Venue
from gateway.infrastructure.alpaca.clients import ClientConfig, ClientFactory
from gateway.infrastructure.alpaca.secret import Secret
from gateway.infrastructure.alpaca.trading_adapter import TradingAdapter
from tests.infrastructure.alpaca.samples import ORDER_ID
from tests.infrastructure.alpaca.scripted import (
    KEY,
    LIMITS,
    SECRET,
    Drop,
    Gate,
    Reply,
    ScriptedHttp,
    Step,
    factory_at,
    json_reply,
    order_context,
)


def test_the_emulator_is_one_address() -> None:
    config = ClientConfig.emulator("http://127.0.0.1:8700/", LIMITS)
    assert (config.venue, config.trading_url, config.data_url) == (
        Venue.EMULATOR,
        "http://127.0.0.1:8700",
        "http://127.0.0.1:8700",
    )
    assert config.trade_stream_url == "ws://127.0.0.1:8700/stream"
    assert config.data_stream_urls == {
        DataFeed.IEX: "ws://127.0.0.1:8700/v2/iex",
        DataFeed.SIP: "ws://127.0.0.1:8700/v2/sip",
        DataFeed.CRYPTO_US: "ws://127.0.0.1:8700/v1beta3/crypto/us",
        DataFeed.OPRA: "ws://127.0.0.1:8700/v1beta1/opra",
        DataFeed.INDICATIVE: "ws://127.0.0.1:8700/v1beta1/indicative",
        DataFeed.NEWS: "ws://127.0.0.1:8700/v1beta1/news",
    }


def test_addresses_agree_with_alpaca_py() -> None:
    from alpaca.common.enums import BaseURL

    paper, live = ClientConfig.paper("k", "s", LIMITS), ClientConfig.live("k", "s", LIMITS)
    assert (paper.venue, live.venue) == (Venue.PAPER, Venue.LIVE)
    assert (paper.trading_url, live.trading_url) == (BaseURL.TRADING_PAPER.value, BaseURL.TRADING_LIVE.value)
    assert (paper.trade_stream_url, live.trade_stream_url) == (
        BaseURL.TRADING_STREAM_PAPER.value,
        BaseURL.TRADING_STREAM_LIVE.value,
    )
    for config in (paper, live):
        assert config.data_url == BaseURL.DATA.value
        assert {
            feed: url.removeprefix(BaseURL.MARKET_DATA_STREAM.value) for feed, url in config.data_stream_urls.items()
        }
    assert set(paper.data_stream_urls) == set(DataFeed)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8700",
        "ftp://x",
        "http://",
        "http://host/v2",
        "http://user:pw@host",
        "http://host?x=1",
        "file:///x",
        "https://api.alpaca.markets",
        "https://paper-api.alpaca.markets",
        "http://192.0.2.1:8700",
        "http://[::ffff:192.0.2.1]:8700",
        "http://0.0.0.0:8700",
        "http://localhost.example:8700",
    ],
)
def test_an_address_that_is_no_emulators_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        ClientConfig.emulator(url, LIMITS)


@pytest.mark.parametrize(("key", "secret"), [("", "s"), ("k", ""), ("", "")])
def test_paper_and_live_need_credentials(key: str, secret: str) -> None:
    for make in (ClientConfig.paper, ClientConfig.live):
        with pytest.raises(ValueError, match="needs a key and a secret"):
            make(key, secret, LIMITS)


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret(SECRET)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r}", f"{secret}", repr([secret]), repr({"k": secret})]
    assert not any(SECRET in text for text in shown)
    for write in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            write(secret)
    assert (secret.reveal(), secret == Secret(SECRET), bool(Secret(""))) == (SECRET, True, False)


LEAKY: list[Step] = [
    Drop(),
    Reply(500, f"<html>you sent {KEY} {SECRET}</html>".encode()),
    json_reply({"code": 42210000, "message": f"bad request, headers were {KEY} {SECRET}"}, 422),
    json_reply({"code": 40310000, "message": f"{SECRET}"}, 403),
    json_reply({"message": f"{KEY}"}, 401),
]


@pytest.mark.parametrize("step", LEAKY)
async def test_credentials_are_in_no_error_no_log_and_no_repr(step: Step, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with ScriptedHttp(step) as venue, factory_at(venue.url) as factory:
        with pytest.raises((GatewayError, OutcomeUnknown)) as caught:
            await TradingAdapter(factory).cancel_order(order_context(), ORDER_ID)
        assert venue.asked[0].headers["apca-api-secret-key"] == SECRET, "it was really sent"
        told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        told.stack = traceback.StackSummary.from_list([frame for frame in told.stack if frame.filename != __file__])
        lines = told.format(chain=True)
        seen = "\n".join([*lines, repr(vars(caught.value)), caplog.text, repr(factory.config), repr(vars(factory))])
        client = factory.trading()
        seen += repr(vars(client))
        for word in (KEY, SECRET):
            assert word not in seen


def test_alpaca_is_imported_with_the_first_client_alone() -> None:
    script = (
        "import sys, gateway.infrastructure.alpaca.clients as c, gateway.infrastructure.alpaca.trading_adapter\n"
        "import gateway.infrastructure.alpaca.account_adapter, gateway.infrastructure.alpaca.market_data_adapter\n"
        "import gateway.infrastructure.alpaca.streaming_adapter, gateway.infrastructure.emulator_control\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('alpaca', 'pandas')]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_pandas_is_imported_when_alpaca_really_needs_it() -> None:
    """It takes longer to import than all the rest, and only alpaca-py's data frames need it, which nobody asks for."""
    script = (
        "import sys\n"
        "from gateway.infrastructure.alpaca.clients import ClientFactory\n"
        "ClientFactory.load()\n"
        "assert not {'pandas', 'numpy'} & set(sys.modules)\n"
        "from alpaca.data.models import BarSet\n"
        "bar = dict(t='2024-01-02T00:00:00Z', o=1, h=1, l=1, c=2, v=1, n=1, vw=1)\n"
        "frame = BarSet({'AAPL': [bar]}).df\n"
        "import numpy, pandas\n"
        "assert isinstance(frame, pandas.DataFrame) and numpy.sum(frame['close']) == 2\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


async def test_clients_are_made_once() -> None:
    factory = ClientFactory(ClientConfig.emulator("http://127.0.0.1:1", LIMITS), Gate())
    assert factory.trading() is factory.trading()
    feeds = set(DataFeed) - {DataFeed.NEWS}
    assert len({id(factory.trading()), *(id(factory.market_data(feed)) for feed in feeds)}) == 4
    await factory.close()


def test_alpaca_py_is_new_enough_and_has_the_hooks_that_are_overridden() -> None:
    """S19: an upgrade that renames one of these has to be noticed here, not in production."""
    from importlib.metadata import version

    from alpaca.common.rest import RESTClient
    from alpaca.data.live.websocket import DataStream
    from alpaca.trading.stream import TradingStream

    assert tuple(map(int, version("alpaca-py").split(".")[:2])) >= (0, 44)
    for owner, names in (
        (RESTClient, ("_one_request", "_request", "_get_default_headers", "get", "post", "patch", "delete")),
        (DataStream, ("_connect", "_auth", "_consume", "close")),
        (TradingStream, ("_connect", "_auth", "_consume", "_subscribe_trade_updates", "close")),
    ):
        assert all(callable(getattr(owner, name, None)) for name in names)


async def test_credentials_are_not_in_the_error_of_a_refused_connection_either() -> None:
    async with factory_at("http://127.0.0.1:1") as factory:
        with pytest.raises(VenueUnreachable) as caught:
            await TradingAdapter(factory).cancel_order(order_context(), ORDER_ID)
        told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        seen = "\n".join(told.format(chain=True))
        assert "NewConnectionError" in seen
        assert not any(word in seen for word in (KEY, SECRET))
