"""Tokens and TLS in both clients: what is shown and to whom, what is refused, and a rotation without a restart."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.domain.models.identity import OPERATOR_SCOPES, Scope
from tests.certificates import Authority, Pair
from tests.clients.scripted import OPEN, Refusal, ScriptedGateway
from tests.gateway_host import GatewayHost
from tests.test_access import Door
from trading_gateway import AccessRefused, AsyncClient, Client, GatewayError
from trading_gateway.access import VARIABLES, Access, Bearer, is_local
from trading_gateway.v1 import risk_pb2, trading_pb2 as pb

SECRET = "gw_emu_01234567_" + "s" * 43
Code = grpc.StatusCode
Connect = Callable[..., Any]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings are none of these tests'."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def door(start_gateway: GatewayHost) -> Iterator[Door]:
    door = Door(start_gateway)
    yield door
    door.close()


@pytest.mark.parametrize(
    ("target", "stays"),
    [
        ("127.0.0.1:50051", True),
        ("127.8.9.1:1", True),
        ("localhost:50051", True),
        ("[::1]:50051", True),
        ("unix:/run/gateway.sock", True),
        ("unix:///run/gateway.sock", True),
        ("dns:///localhost:50051", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:2", True),
        ("ipv4:127.0.0.1:1,10.0.0.1:2", False),
        ("dns://8.8.8.8/localhost:50051", False),
        ("localhost.example.com:50051", False),
        ("gateway:50051", False),
        ("0.0.0.0:50051", False),
        ("10.1.2.3:50051", False),
        ("[2001:db8::1]:50051", False),
        ("xds:///gateway", False),
    ],
)
def test_a_token_in_plain_text_stays_on_this_machine(target: str, stays: bool) -> None:
    assert is_local(target) is stays
    for kind in (Client, AsyncClient):
        if stays:
            Access(SECRET).check(target)
            continue
        with pytest.raises(AccessRefused, match="not sent in plain text") as refused:
            kind(target, token=SECRET)
        assert SECRET not in str(refused.value)


def test_arguments_win_over_the_environment() -> None:
    told = {"GATEWAY_TOKEN": "from-environment", "GATEWAY_TLS_CA": "ca.pem"}
    assert Access.of(environment=told).token == "from-environment"
    assert Access.of(token="given", environment=told).token == "given"
    assert Access.of(token_file="file", environment=told) == Access("", "file", "ca.pem")
    assert not Access.of(token="", tls_ca="", environment=told).shows_token
    assert "from-environment" not in repr(Access.of(environment=told))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"token": "a", "token_file": "b"}, "not both"),
        ({"tls_client_cert": "c.pem"}, "one of them is missing"),
        ({"token": SECRET + "\u00e9"}, "no token"),
        ({"token": f"{SECRET} {SECRET}"}, "no token"),
        ({"token_file": "/nowhere/token"}, "cannot be read"),
        ({"token_file": os.devnull}, "is empty"),
        ({"tls_ca": "/nowhere/ca.pem"}, "cannot be read"),
        ({"tls_ca": __file__}, "holds no certificate"),
        ({"tls_ca": "system", "tls_client_cert": __file__, "tls_client_key": __file__}, "no certificate and the key"),
    ],
)
def test_what_cannot_be_used_is_refused_in_plain_words(given: dict[str, Any], said: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(AccessRefused, match=said) as refused:
            kind(**given)
        assert SECRET not in str(refused.value)


def test_a_channel_that_is_given_has_its_own_token() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel, pytest.raises(AccessRefused, match="leave these out"):
        Client(channel=channel, token=SECRET)


def test_a_token_file_is_looked_at_again_and_kept_while_it_is_gone(tmp_path: Path) -> None:
    now = [0.0]
    file = tmp_path / "token"
    file.write_text("first\n")
    bearer = Bearer(Access(token_file=file), lambda: now[0])
    first = bearer.headers()
    assert first == (("authorization", "Bearer first"),)
    file.write_text("second")
    assert bearer.headers() == first  # not looked at for every call
    assert bearer.has_other_than(first)
    file.unlink()
    now[0] = 5.0
    assert bearer.headers() == (("authorization", "Bearer second"),)
    assert not bearer.has_other_than(bearer.headers())


@pytest.mark.parametrize("code", [Code.UNAUTHENTICATED, Code.PERMISSION_DENIED])
def test_a_refusal_of_rights_is_definite(client: Any, scripted: ScriptedGateway, code: Code) -> None:
    """Asked once, not again; a stream is not opened again either."""
    refusal = Refusal(code, "TOKEN_INVALID", metadata={"key": "free"})
    asked = scripted.script("SubmitOrder", refusal)
    streamed = scripted.script("StreamOrderUpdates", [refusal])
    order: Any = {"symbol": "AAPL", "side": "buy", "quantity": 1, "order_type": "market", "time_in_force": "day"}
    with pytest.raises(GatewayError) as failed:
        client.submit_order(client_order_id="k", **order)
    assert (failed.value.code, failed.value.outcome_unknown, len(asked)) == (code, False, 1)
    with pytest.raises(GatewayError):
        next(client.stream_order_updates())
    assert len(streamed) == 1


def test_every_call_and_stream_shows_the_token(door: Door, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    minted = door.mint(scopes=frozenset({Scope.ORDERS_READ}))
    for options in ({"token": minted.secret}, {}):
        if not options:
            monkeypatch.setenv("GATEWAY_TOKEN", minted.secret)
        client = connect(door.gateway.target, **options)
        assert list(client.list_orders()) == []
        assert next(client.stream_order_updates()).HasField("snapshot_begin")
        with pytest.raises(GatewayError, match="SCOPE_MISSING") as denied:
            client.get_account()
        assert denied.value.metadata["scope"] == "account:read"
    with pytest.raises(GatewayError, match="TOKEN_INVALID"):
        list(connect(door.gateway.target, token="").list_orders())


def test_a_rotated_token_is_taken_up_without_a_restart(door: Door, connect: Connect, tmp_path: Path) -> None:
    """The old one ends at once: what was refused is asked again with the new one, and the stream goes on."""
    file = tmp_path / "token"
    old, new = door.mint(), door.mint()
    file.write_text(old.secret)
    client = connect(door.gateway.target, token_file=file)
    updates = client.stream_order_updates(heartbeat_interval_s=1)
    while not next(updates).HasField("snapshot_end"):
        pass
    file.write_text(new.secret)
    door.revoke(old)
    limit: Any = {"symbol": "AAPL", "side": "buy", "quantity": 1, "order_type": "limit", "limit_price": "1"}
    order = client.submit_order(client_order_id="k", time_in_force="day", **limit).order
    seen = next(update.event for update in updates if update.WhichOneof("payload") == "event")
    assert (seen.order.order_id, seen.kind) == (order.order_id, pb.OrderEvent.KIND_RECORDED)
    updates.close()


def test_a_stream_whose_token_was_revoked_ends(door: Door, connect: Connect, tmp_path: Path) -> None:
    file = tmp_path / "token"
    minted = door.mint()
    file.write_text(minted.secret)
    updates = connect(door.gateway.target, token_file=file).stream_order_updates()
    while not next(updates).HasField("snapshot_end"):
        pass
    door.revoke(minted)
    with pytest.raises(GatewayError) as ended:
        list(updates)
    assert (ended.value.code, ended.value.reason) == (Code.UNAUTHENTICATED, "TOKEN_INVALID")


class Guarded:
    """A server that speaks TLS, and whose certificates they are."""

    def __init__(self, folder: Path, *names: str, ends_in_s: float = 3_600, asks: bool = False) -> None:
        self.authority = Authority()
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self.authority.certificate)
        pair = self.authority.sign(*names, begins_in_s=-7_200, ends_in_s=ends_in_s)
        credentials = grpc.ssl_server_credentials(
            [(pair.key, pair.certificate)], self.authority.certificate if asks else None, asks
        )
        self.gateway = ScriptedGateway(credentials)
        self.gateway.script("GetTradingState", risk_pb2.GetTradingStateResponse())
        self.gateway.script("StreamOrderUpdates", [OPEN])


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Callable[..., Guarded]]:
    opened: list[Guarded] = []

    def start(*names: str, **options: Any) -> Guarded:
        opened.append(Guarded(tmp_path, *names, **options))
        return opened[-1]

    yield start
    for one in opened:
        one.gateway.stop()


def test_tls_with_an_authority_of_ones_own(
    guard: Callable[..., Guarded], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = guard("IP:127.0.0.1")
    connect(guarded.gateway.target, tls_ca=guarded.ca, token=SECRET).get_trading_state()
    monkeypatch.setenv("GATEWAY_TLS_CA", str(guarded.ca))
    connect(guarded.gateway.target).get_trading_state()


def test_a_client_certificate_is_shown(guard: Callable[..., Guarded], connect: Connect, tmp_path: Path) -> None:
    guarded = guard("IP:127.0.0.1", asks=True)
    own: Pair = guarded.authority.sign("URI:spiffe://gateway/momentum")
    certificate, key = own.write(tmp_path, "client")
    shown: Any = {"tls_ca": guarded.ca, "tls_client_cert": certificate, "tls_client_key": key}
    connect(guarded.gateway.target, **shown).get_trading_state()
    with pytest.raises(GatewayError, match="ask for a client's certificate"):
        connect(guarded.gateway.target, tls_ca=guarded.ca).get_trading_state()


@pytest.mark.parametrize(
    ("name", "ends_in_s", "trusted", "said"),
    [
        ("IP:127.0.0.1", 3_600, "another", "nobody whom this client trusts"),
        ("IP:127.0.0.1", 3_600, "none", "does it serve TLS"),
        ("DNS:elsewhere.example", 3_600, "its own", "another host's"),
        ("IP:127.0.0.1", -60, "its own", "has expired"),
    ],
)
def test_a_connection_that_does_not_come_about_says_why(
    guard: Callable[..., Guarded],
    connect: Connect,
    tmp_path: Path,
    name: str,
    ends_in_s: float,
    trusted: str,
    said: str,
) -> None:
    guarded = guard(name, ends_in_s=ends_in_s)
    ca: Path | str = guarded.ca if trusted == "its own" else ""
    if trusted == "another":
        ca = tmp_path / "other.pem"
        ca.write_bytes(Authority("Other CA").certificate)
    with pytest.raises(GatewayError, match=said) as failed:
        connect(guarded.gateway.target, tls_ca=ca).get_trading_state()
    assert guarded.gateway.target in failed.value.message


def test_tls_to_a_server_without_it_says_so(scripted: ScriptedGateway, connect: Connect, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Authority().certificate)
    with pytest.raises(GatewayError, match="does not speak TLS"):
        connect(scripted.target, tls_ca=ca).get_trading_state()


def test_an_operator_makes_and_ends_tokens_by_the_clients(door: Door, connect: Connect) -> None:
    operator = connect(door.gateway.target, token=door.mint("", OPERATOR_SCOPES).secret)
    bounds: Any = {"symbols": "AAPL", "max_order_notional": "100", "networks": ["127.0.0.0/8"], "ttl_s": 3_600}
    minted = operator.mint_token(["market_data:read", "orders:read"], strategy_id="carry", **bounds)
    assert (list(minted.token.symbols), minted.token.max_order_notional) == (["AAPL"], "100")
    assert minted.token.expire_time.seconds - minted.token.create_time.seconds == 3_600
    holder = connect(door.gateway.target, token=minted.secret)
    assert list(holder.list_orders()) == []
    rotated = operator.rotate_token(minted.token.token_id, overlap_s=0)
    with pytest.raises(GatewayError, match="TOKEN_INVALID"):
        list(holder.list_orders())
    assert [token.token_id for token in operator.list_tokens(strategy_id="carry")] == [rotated.token.token_id]
    assert operator.revoke_token(rotated.token.token_id).HasField("revoke_time")
    assert len(list(operator.list_tokens(strategy_id="carry", include_ended=True, page_size=1))) == 2
    needed = {row.method: row.scope for row in operator.list_scopes()}
    assert needed["/trading_gateway.v1.TradingService/SubmitOrder"] == "orders:trade"
