"""TLS over real sockets: rotation under load, whose certificate is whose, plain text, old versions, old connections."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.domain.models.audit import AuditAction
from gateway.domain.models.identity import OPERATOR_SCOPES, Scope
from gateway.infrastructure.persistence.stores import Stores
from gateway.servicers.tls import Transport
from gateway.services.audit import AuditService
from gateway.services.identity import Grant, IdentityService, Minted
from tests.bad_requests import Code, spec, submit
from tests.certificates import HOSTS, Authority, Pair
from tests.gateway_host import GatewayHost, RunningGateway
from tests.refusals import Wire, said
from trading_gateway import Client
from trading_gateway.order_updates import Interrupted
from trading_gateway.v1 import market_data_pb2, trading_pb2 as pb

TRADER = frozenset({Scope.ORDERS_TRADE, Scope.ORDERS_READ, Scope.MARKET_DATA_READ})
MOMENTUM, CARRY = "spiffe://gw/momentum", "spiffe://gw/carry"
WAIT_S = 10.0
AGES = 2
CLIENTS, SWAPS, CALLS_BETWEEN_SWAPS = 3, 6, 10


class SecureWire(Wire):
    """A connection of its own over TLS."""

    def __init__(
        self, target: str, ca: bytes, pair: Pair | None = None, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(target, headers=headers)
        super().close()
        shown = (pair.key, pair.certificate) if pair else (None, None)
        credentials = grpc.ssl_channel_credentials(ca, *shown)
        self.channel = grpc.secure_channel(target, credentials, options=[("grpc.use_local_subchannel_pool", 1)])


@dataclass
class House:
    """One gateway with a certificate, and whoever comes to it."""

    authority: Authority
    folder: Path
    gateway: RunningGateway
    wires: list[Wire] = field(default_factory=list)

    def wire(self, pair: Pair | None = None, minted: Minted | None = None) -> Wire:
        headers = () if minted is None else (("authorization", f"Bearer {minted.secret}"),)
        wire = SecureWire(self.gateway.target, self.authority.certificate, pair, headers)
        self.wires.append(wire)
        return wire

    def mint(self, strategy_id: str, certificate: str = "", scopes: frozenset[Scope] = TRADER) -> Minted:
        identity = self.gateway.gateway.injector.get(IdentityService)
        return self.gateway.call(identity.mint(Grant(strategy_id, scopes, certificate=certificate)))

    def reload(self) -> None:
        """As SIGHUP does, but waited for."""
        certificates = self.gateway.gateway.injector.get(Transport).certificates
        assert certificates is not None
        self.gateway.call(certificates.look(at_once=True))

    def loads(self) -> list[str]:
        """What the audit log says of certificates."""
        injector = self.gateway.gateway.injector
        self.gateway.call(injector.get(AuditService).write_notes())
        entries = [record.entry for record in injector.get(Stores).audit.read()]
        return [entry.outcome for entry in entries if entry.action is AuditAction.CERTIFICATE_LOAD]

    def shown(self) -> bytes:
        """The certificate that a new connection sees, as DER."""
        context = ssl.create_default_context(cadata=self.authority.certificate.decode())
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
        context.set_alpn_protocols(["h2"])
        with connected(self.gateway.target) as plain, context.wrap_socket(plain, server_hostname="localhost") as end:
            return end.getpeercert(binary_form=True) or b""


def connected(target: str) -> socket.socket:
    host, _, port = target.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=WAIT_S)


class Housing:
    """Makes houses."""

    def __init__(self, start_gateway: GatewayHost, folder: Path) -> None:
        self._start = start_gateway
        self._folder = folder
        self.houses: list[House] = []

    def __call__(self, *, client_ca: Authority | None = None, **settings: Any) -> House:
        authority = Authority()
        certificate, key = authority.sign(*HOSTS).write(self._folder)
        wanted: dict[str, Any] = {"tls_cert": certificate, "tls_key": key} | settings
        if client_ca is not None:
            wanted["tls_client_ca"] = self._folder / "client_ca.pem"
            wanted["tls_client_ca"].write_bytes(client_ca.certificate)
        self.houses.append(House(authority, self._folder, self._start(**wanted)))
        return self.houses[-1]


@pytest.fixture
def house(start_gateway: GatewayHost, tmp_path: Path) -> Iterator[Housing]:
    housing = Housing(start_gateway, tmp_path)
    yield housing
    for built in housing.houses:
        for wire in built.wires:
            wire.close()


class Crowd:
    """Clients that call without a pause, each on a connection of its own, some on a new one every time; and streams."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._stop = threading.Event()
        self.answered = [0] * (2 * CLIENTS)
        self.dropped: list[str] = []
        self.stream_messages = [0] * CLIENTS
        self._streams: list[Any] = []
        self._threads = [threading.Thread(target=self._keep_calling, args=(place,)) for place in range(2 * CLIENTS)]
        self._threads += [threading.Thread(target=self._follow, args=(place,)) for place in range(CLIENTS)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for stream in self._streams:
            stream.cancel()
        for thread in self._threads:
            thread.join(WAIT_S)

    def wait(self, calls: int) -> None:
        """Until every client was answered so often again, and every stream went on."""
        goal = [count + calls for count in self.answered]
        heard = [count + 1 for count in self.stream_messages]
        deadline = time.monotonic() + WAIT_S
        while self._is_behind(goal, heard) and not self.dropped:
            assert time.monotonic() < deadline, (self.answered, self.stream_messages)
            time.sleep(0.002)

    def _is_behind(self, goal: list[int], heard: list[int]) -> bool:
        return any(have < want for have, want in zip(self.answered[:CLIENTS], goal, strict=False)) or any(
            have < want for have, want in zip(self.stream_messages, heard, strict=True)
        )

    def _keep_calling(self, place: int) -> None:
        """The first half keep their connection, the others make one for each call."""
        wire = self._new_wire()
        while not self._stop.is_set():
            try:
                wire.call("ListOrders", b"", timeout=WAIT_S)
                self.answered[place] += 1
            except grpc.RpcError as error:
                self.dropped.append(f"client {place}: {error.code()} {error.details()}")
                return
            if place >= CLIENTS:
                wire.close()
                wire = self._new_wire()
        wire.close()

    def _follow(self, place: int) -> None:
        wire = self._new_wire()
        request = market_data_pb2.StreamQuotesRequest(symbols=["AAPL", "MSFT"])
        stream = wire.stream("StreamQuotes", request, timeout=None)
        self._streams.append(stream)
        try:
            for _ in stream:
                self.stream_messages[place] += 1
        except grpc.RpcError as error:
            if not self._stop.is_set():
                self.dropped.append(f"stream {place}: {error.code()} {error.details()}")
        wire.close()

    def _new_wire(self) -> Wire:
        return SecureWire(self._house.gateway.target, self._house.authority.certificate)


def test_a_rotation_under_load_drops_no_call(house: Housing, capsys: pytest.CaptureFixture[str]) -> None:
    """What the files say is what new connections see, whatever runs; a pair that is broken changes nothing."""
    home = house()
    seen = {home.shown()}
    with Crowd(home) as crowd:
        for swap in range(SWAPS):
            crowd.wait(CALLS_BETWEEN_SWAPS)
            pair = home.authority.sign(*HOSTS)
            if swap == SWAPS // 2:
                (home.folder / "server.key").write_bytes(b"no key")
                home.reload()
                assert home.shown() in seen
            pair.write(home.folder)
            home.reload()
            newest = home.shown()
            assert newest not in seen
            seen.add(newest)
        crowd.wait(CALLS_BETWEEN_SWAPS)
    assert crowd.dropped == []
    assert home.loads() == ["ok"] * (SWAPS // 2 + 1) + ["refused"] + ["ok"] * (SWAPS - SWAPS // 2)
    with capsys.disabled():
        print(
            f"\nCertificate rotation under load: {len(crowd.dropped)} dropped calls "
            f"({SWAPS} rotations, {sum(crowd.answered[:CLIENTS])} calls on {CLIENTS} standing connections and "
            f"{sum(crowd.answered[CLIENTS:])} new ones, {sum(crowd.stream_messages)} messages on {CLIENTS} streams)"
        )


def test_the_files_are_looked_at_without_being_told(house: Housing) -> None:
    home = house()
    before = home.shown()
    home.authority.sign(*HOSTS).write(home.folder)
    deadline = time.monotonic() + WAIT_S
    while home.shown() == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_every_port_of_a_name_gets_the_newest_pair(house: Housing) -> None:
    """`localhost` may be two ports, and each asks for news by itself."""
    home = house(listen="localhost:0")
    ports = {("localhost", int(home.gateway.target.rpartition(":")[2]))}
    hosts = {str(found[4][0]) for host, port in ports for found in socket.getaddrinfo(host, port)}
    home.authority.sign(*HOSTS).write(home.folder)
    home.reload()
    newest = home.shown()
    for host in hosts:
        home.gateway.target = f"{host}:{next(iter(ports))[1]}"
        assert home.shown() == newest, host


# Whose certificate is whose: B32, B33.


@pytest.mark.parametrize("kind", ["none", "another authority's", "expired"])
def test_a_certificate_that_cannot_be_verified_shakes_no_hands(house: Housing, kind: str) -> None:
    clients = Authority("Clients")
    home = house(client_ca=clients, authentication="required")
    home.mint("momentum", MOMENTUM)
    shown = {
        "none": None,
        "another authority's": Authority("Clients").sign(f"URI:{MOMENTUM}"),
        "expired": clients.sign(f"URI:{MOMENTUM}", begins_in_s=-100, ends_in_s=-1),
    }[kind]
    with pytest.raises(grpc.RpcError) as refusal:
        home.wire(shown).call("ListOrders", b"")
    assert refusal.value.code() is Code.UNAVAILABLE
    assert home.wire(clients.sign(f"URI:{MOMENTUM}")).call("ListOrders", b"") is not None


def test_a_certificate_is_its_tokens_holder(house: Housing) -> None:
    """By its URI alone; a common name is nothing, however it reads."""
    clients = Authority("Clients")
    home = house(client_ca=clients, authentication="required")
    minted = home.mint("momentum", MOMENTUM)
    wire = home.wire(clients.sign(f"URI:{MOMENTUM}", common_name="carry"))
    order = wire.call("SubmitOrder", submit(wanted=spec(limit_price="1"))).order
    assert order.strategy_id == "momentum"
    unknown = (Code.UNAUTHENTICATED, "TOKEN_INVALID", "")
    for stranger in (
        clients.sign(f"URI:{CARRY}", common_name=MOMENTUM),
        clients.sign(f"DNS:{MOMENTUM}"),
        clients.sign("DNS:momentum", common_name=MOMENTUM),
        clients.sign(common_name=MOMENTUM),
        clients.sign(f"URI:{MOMENTUM}/more"),
    ):
        assert said(home.wire(stranger).refusal("ListOrders", b"")) == unknown
    identity = home.gateway.gateway.injector.get(IdentityService)
    home.gateway.call(identity.revoke(minted.token.token_id))
    assert said(wire.refusal("ListOrders", b"")) == unknown


def test_a_certificate_and_a_token_are_one_holders(house: Housing) -> None:
    clients = Authority("Clients")
    home = house(client_ca=clients, authentication="required")
    momentum, carry = home.mint("momentum", MOMENTUM), home.mint("carry", CARRY)
    second = home.mint("momentum", scopes=frozenset({Scope.MARKET_DATA_READ}))
    card = clients.sign(f"URI:{MOMENTUM}")
    assert home.wire(card, momentum).call("ListOrders", b"") is not None
    assert home.wire(card, second).refusal("ListOrders", b"").reason == "SCOPE_MISSING"  # the token's rights
    unknown = (Code.UNAUTHENTICATED, "TOKEN_INVALID", "")
    assert said(home.wire(card, carry).refusal("ListOrders", b"")) == unknown
    assert said(home.wire(clients.sign("URI:spiffe://gw/nobody"), momentum).refusal("ListOrders", b"")) == unknown
    unnamed = clients.sign("DNS:desk-7")  # a machine's, which names nobody: then the token does
    assert home.wire(unnamed, momentum).call("ListOrders", b"") is not None
    one, other = (home.mint("", f"spiffe://gw/{name}", OPERATOR_SCOPES) for name in ("alice", "bob"))
    everything = pb.ListOrdersRequest(all_strategies=True)
    alice = clients.sign("URI:spiffe://gw/alice")
    assert home.wire(alice, one).call("ListOrders", everything) is not None
    assert said(home.wire(alice, other).refusal("ListOrders", everything)) == unknown


def test_an_expired_certificate_ends_what_it_had_begun(house: Housing) -> None:
    """The connection stands, the certificate does not: calls are refused, and its stream ends."""
    clients = Authority("Clients")
    home = house(client_ca=clients, authentication="required")
    home.mint("momentum", MOMENTUM)
    wire = home.wire(clients.sign(f"URI:{MOMENTUM}", ends_in_s=2.5))
    stream = wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest(), timeout=WAIT_S)
    assert next(stream).HasField("snapshot_begin")
    expired = (Code.UNAUTHENTICATED, "TOKEN_EXPIRED")
    assert said(wire.stream_refusal(stream))[:2] == expired
    assert said(wire.refusal("ListOrders", b""))[:2] == expired


def test_the_clients_authority_is_reloaded_as_well(house: Housing) -> None:
    old, new = Authority("Old"), Authority("New")
    home = house(client_ca=old, authentication="required")
    home.mint("momentum", MOMENTUM)
    standing = home.wire(old.sign(f"URI:{MOMENTUM}"))
    assert standing.call("ListOrders", b"") is not None
    (home.folder / "client_ca.pem").write_bytes(new.certificate)
    home.reload()
    assert standing.call("ListOrders", b"") is not None  # it was verified when it came
    assert home.wire(new.sign(f"URI:{MOMENTUM}")).call("ListOrders", b"") is not None
    with pytest.raises(grpc.RpcError) as refusal:
        home.wire(old.sign(f"URI:{MOMENTUM}")).call("ListOrders", b"")
    assert refusal.value.code() is Code.UNAVAILABLE


# Plain text, TLS, and old versions of it: B24.


def test_plain_text_meets_nobody_where_tls_is_spoken(house: Housing) -> None:
    home = house()
    plain = Wire(home.gateway.target)
    with pytest.raises(grpc.RpcError) as refusal:
        plain.call("ListOrders", b"")
    assert refusal.value.code() is Code.UNAVAILABLE
    plain.close()
    for greeting in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00" * 100):
        with closing(connected(home.gateway.target)) as end:
            end.sendall(greeting)
            assert b"HTTP" not in end.recv(1_000)
    assert home.wire().call("ListOrders", b"") is not None


def test_tls_meets_nobody_where_plain_text_is_spoken(gateway: RunningGateway) -> None:
    wire = SecureWire(gateway.target, Authority().certificate)
    with pytest.raises(grpc.RpcError) as refusal:
        wire.call("ListOrders", b"")
    assert refusal.value.code() is Code.UNAVAILABLE
    wire.close()
    with closing(connected(gateway.target)) as end:
        end.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not end.recv(1_000).startswith(b"HTTP/1.1 200")
    plain = Wire(gateway.target)
    assert plain.call("ListOrders", b"") is not None
    plain.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"])
def test_nothing_older_than_tls_1_2_is_spoken(house: Housing, version: str) -> None:
    home = house()
    context = ssl.create_default_context(cadata=home.authority.certificate.decode())
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    context.set_ciphers("ALL:@SECLEVEL=0")  # else OpenSSL itself would not try
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.set_alpn_protocols(["h2"])
    plain = connected(home.gateway.target)
    if version in {"TLSv1", "TLSv1_1"}:
        with (
            pytest.raises(OSError, match=r"EOF|ALERT|alert|reset"),
            context.wrap_socket(plain, server_hostname="localhost"),
        ):
            pass
        plain.close()
        return
    with context.wrap_socket(plain, server_hostname="localhost") as end:
        assert end.version() == version.replace("_", ".")


# Old connections.


def test_an_old_connection_is_asked_to_end_and_no_call_is_dropped(house: Housing) -> None:
    """Unary calls move to a new connection unnoticed; a stream that outlives the grace is resumed from its token."""
    home = house(connection_age_max_ms=1_000, connection_age_grace_ms=200)
    wire = home.wire()
    begun = wire.call("SubmitOrder", submit(wanted=spec(limit_price="1"))).order
    stream = wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest(), timeout=WAIT_S)
    token, ended, calls = "", None, 0
    began = time.monotonic()
    try:
        for message in stream:
            token = message.resume_token or token
            wire.call("ListOrders", b"")
            calls += 1
    except grpc.RpcError as error:
        ended = error
    assert ended is not None, "the stream outlived its connection"
    assert time.monotonic() - began < WAIT_S
    assert ended.code() is Code.UNAVAILABLE
    assert token
    wire.call("CancelOrder", pb.CancelOrderRequest(order=pb.OrderRef(order_id=begun.order_id)))
    resumed = wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest(resume_token=token), timeout=WAIT_S)
    for message in resumed:
        if message.HasField("event") and message.event.order.order_id == begun.order_id:
            break
    else:
        raise AssertionError("nothing after the token")
    resumed.cancel()


def test_a_client_loses_no_event_to_the_age_of_its_connection(house: Housing) -> None:
    """One stream of the Python client over several connections: what happened is told once each, in its order."""
    home = house(connection_age_max_ms=1_000, connection_age_grace_ms=100)
    authority = home.folder / "ca.pem"
    authority.write_bytes(home.authority.certificate)
    notices: list[object] = []
    sequences: list[int] = []
    placed: list[str] = []
    told: set[str] = set()
    with Client(home.gateway.target, tls_ca=authority) as client:
        for update in client.stream_order_updates(heartbeat_interval_s=1, on_notice=notices.append):
            if update.HasField("event"):
                sequences.append(update.sequence)
                told.add(update.event.order.client_order_id)
            elif len(placed) <= len(notices) < AGES:  # one on each connection
                placed.append(f"age-{len(placed)}")
                limit = {"order_type": "limit", "time_in_force": "day", "limit_price": "1"}
                client.submit_order(client_order_id=placed[-1], symbol="AAPL", side="buy", quantity="1", **limit)
            if len(notices) >= AGES and told >= set(placed):
                break
    assert len(placed) == AGES
    assert all(isinstance(notice, Interrupted) for notice in notices), notices
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
