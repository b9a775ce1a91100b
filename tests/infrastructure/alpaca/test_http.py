"""How requests leave and come back, over real sockets to a scripted server."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from gateway.domain.errors import (
    OrderRejected,
    OutcomeUnknown,
    VenueAuthentication,
    VenueRateLimited,
    VenueUnreachable,
)
from gateway.domain.types import BudgetLane
from gateway.infrastructure.alpaca import transport
from gateway.infrastructure.alpaca.clients import ClientFactory
from gateway.infrastructure.alpaca.converters.fields import exact_json
from gateway.infrastructure.alpaca.http import POSTS_PER_ID_MAX
from gateway.infrastructure.alpaca.transport import Answer
from tests.infrastructure.alpaca.samples import error
from tests.infrastructure.alpaca.scripted import (
    KEY,
    SECRET,
    Drip,
    Drop,
    Gate,
    Hang,
    Reply,
    ScriptedHttp,
    Step,
    context,
    factory_at,
    json_reply,
    order_context,
    until,
)

GOOD = json_reply({"ok": True})


async def post(factory: ClientFactory, wait_s: float = 5.0, guarded_id: str = "") -> int:
    client = factory.trading()
    return await factory.road.change(
        order_context(wait_s),
        lambda: client.post("/orders", {"qty": "1"}),
        factory.road.changing(_status_of),
        guarded_id=guarded_id,
    )


async def get(factory: ClientFactory, wait_s: float = 5.0, lane: BudgetLane = BudgetLane.READ) -> Answer:
    return await factory.road.read(
        context(wait_s, lane), factory.trading(), "/account", {}, factory.road.reading(_checked)
    )


def _checked(answer: Answer) -> Answer:
    exact_json(answer.body)
    return answer


def _status_of(answer: Answer) -> int:
    return _checked(answer).status


AMBIGUOUS: dict[str, Step] = {
    "read timeout": Hang(),
    "closed without a word": Drop(),
    "cut inside the head": Reply(cut_bytes=30),
    "cut inside the body": Reply(body=b'{"id": "x"}', cut_bytes=3),
    "dripping": Drip(Reply(), 0.03),
    "500": json_reply(error(50010000, "internal server error occurred"), 500),
    "502 with a page": Reply(502, b"<html>bad gateway</html>"),
    "503 without a body": Reply(503, b""),
    "504": json_reply(error(50410000, "timeout"), 504),
    "408": json_reply(error(40810000, "timeout"), 408),
    "409": json_reply(error(40910000, "conflict"), 409),
    "418, which nobody documented": json_reply(error(41810000, "teapot"), 418),
    "400 with a page": Reply(400, b"<html>bad request</html>"),
    "401 with a page": Reply(401, b"<html>who are you</html>"),
    "403 with a page": Reply(403, b"<html>firewall</html>"),
    "404 of a proxy": Reply(404, b'{"detail": "Not Found"}'),
    "422 with a list": Reply(422, b"[1]"),
    "422 without a body": Reply(422, b""),
    "429 with a page": Reply(429, b"<html>slow down</html>"),
}


@pytest.mark.parametrize("step", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_after_the_first_byte_a_change_without_proof_is_unknown_and_never_sent_again(step: Step) -> None:
    async with ScriptedHttp(step, GOOD) as venue, factory_at(venue.url) as factory:
        with pytest.raises(OutcomeUnknown):
            await post(factory)
        assert len(venue.asked) == 1


@pytest.mark.parametrize("step", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_a_read_is_never_ambiguous(step: Step) -> None:
    async with ScriptedHttp(step) as venue, factory_at(venue.url) as factory:
        with pytest.raises((VenueUnreachable, VenueRateLimited, VenueAuthentication)):
            await get(factory, wait_s=1.0)
        assert len(venue.asked) == 1


DEFINITE: dict[str, tuple[Reply, type[Exception], bool]] = {
    "400": (json_reply(error(40010000, "request body format is invalid"), 400), OrderRejected, True),
    "401": (json_reply(error(40110000, "request is not authorized"), 401), VenueAuthentication, False),
    "401 of the edge": (json_reply({"message": "unauthorized."}, 401), VenueAuthentication, False),
    "403 of the edge": (json_reply({"message": "forbidden."}, 403), VenueAuthentication, False),
    "403": (json_reply(error(40310000, "insufficient buying power"), 403), OrderRejected, False),
    "404": (json_reply(error(40410000, "order not found"), 404), OrderRejected, False),
    "422": (json_reply(error(42210000, "fractional orders must be DAY orders"), 422), OrderRejected, True),
    "429": (json_reply({"message": "too many requests."}, 429), VenueRateLimited, False),
    "302": (Reply(302, b"", {"Location": "https://example.invalid/"}), OrderRejected, False),
}


@pytest.mark.parametrize(("reply", "wanted", "bad_value"), DEFINITE.values(), ids=DEFINITE.keys())
async def test_a_refusal_in_alpacas_shape_is_definite(reply: Reply, wanted: type[Exception], bad_value: bool) -> None:
    async with ScriptedHttp(reply) as venue, factory_at(venue.url) as factory:
        with pytest.raises(wanted) as caught:
            await post(factory)
        assert len(venue.asked) == 1, "nothing follows a redirect, and nothing is sent again"
        if isinstance(caught.value, OrderRejected):
            assert caught.value.is_bad_value is bad_value
            assert caught.value.metadata["venue_http_status"] == str(reply.status)


@pytest.mark.parametrize("message", ["client_order_id must be unique", "client order id must be unique"])
async def test_a_taken_id_means_look_it_up(message: str) -> None:
    async with ScriptedHttp(json_reply(error(40010001, message), 422)) as venue, factory_at(venue.url) as factory:
        with pytest.raises(OutcomeUnknown) as caught:
            await post(factory)
        assert caught.value.duplicate_id


async def test_a_refused_connection_certainly_sent_nothing() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with factory_at(f"http://127.0.0.1:{nobody.getsockname()[1]}") as factory:
            with pytest.raises(VenueUnreachable):
                await post(factory)
            with pytest.raises(VenueUnreachable):
                await get(factory)


async def test_an_unknown_host_certainly_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    async with factory_at("http://127.0.0.1:1", trading_url="http://venue.invalid") as factory:
        with pytest.raises(VenueUnreachable):
            await post(factory)


async def test_a_name_service_that_hangs_is_given_up_and_sends_nothing_later(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo
    async with ScriptedHttp(GOOD) as venue:

        def slow(*arguments: object, **named: object) -> object:
            time.sleep(0.5)
            return real(*arguments, **named)  # type: ignore[arg-type]

        async with factory_at(venue.url, connect_ms=100, read_ms=100) as factory:
            monkeypatch.setattr("urllib3.util.connection.socket.getaddrinfo", slow)
            with pytest.raises(VenueUnreachable):
                await post(factory)
            await factory.road.close()  # waits for the thread that still resolves
        assert venue.asked == []


async def test_a_failed_tls_handshake_certainly_sent_nothing() -> None:
    async with ScriptedHttp(GOOD) as venue, factory_at(venue.url.replace("http:", "https:")) as factory:
        with pytest.raises(VenueUnreachable):
            await post(factory)


async def test_a_server_that_takes_no_connection_is_given_up_after_the_connect_timeout() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(3)]  # fill its backlog, so that a handshake stays unanswered
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        async with factory_at(f"http://127.0.0.1:{address[1]}", connect_ms=100) as factory:
            began = time.monotonic()
            with pytest.raises(VenueUnreachable):
                await post(factory)
            assert time.monotonic() - began < 1.0
        for filler in fillers:
            filler.close()


async def test_a_stale_connection_never_makes_a_change_leave_twice() -> None:
    async with ScriptedHttp(GOOD, Drop(), GOOD) as venue, factory_at(venue.url) as factory:
        assert await post(factory) == 200
        with pytest.raises(OutcomeUnknown):
            await post(factory)  # on the kept connection, which dies under it
        assert [asked.method for asked in venue.asked] == ["POST", "POST"]


async def test_a_connection_that_the_venue_closed_while_idle_is_not_used() -> None:
    async with ScriptedHttp(Reply(close=True), GOOD) as venue, factory_at(venue.url) as factory:
        assert await post(factory) == 200
        await until(lambda: venue.closed == 1)
        assert await post(factory) == 200
        assert venue.connections == 2


async def test_a_connection_that_was_idle_for_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The venue may be closing it at this moment: what crosses that on the wire has no answer."""
    async with ScriptedHttp(GOOD) as venue, factory_at(venue.url) as factory:
        assert [await post(factory), await post(factory), venue.connections] == [200, 200, 1]
        monkeypatch.setattr(transport, "KEPT_IDLE_MAX_S", 0.0)
        assert [await post(factory), venue.connections] == [200, 2]


async def test_reads_are_cut_at_the_callers_deadline() -> None:
    async with ScriptedHttp(Hang()) as venue, factory_at(venue.url, read_ms=5_000) as factory:
        began = time.monotonic()
        with pytest.raises(VenueUnreachable):
            await get(factory, wait_s=0.15)
        assert time.monotonic() - began < 0.6


async def test_a_dripping_read_is_cut_at_the_deadline_too() -> None:
    async with ScriptedHttp(Drip(Reply(), 0.02)) as venue, factory_at(venue.url) as factory:
        began = time.monotonic()
        with pytest.raises(VenueUnreachable):
            await get(factory, wait_s=0.3)
        assert time.monotonic() - began < 0.8


async def test_a_change_is_not_hung_up_on_because_its_caller_is_impatient() -> None:
    async with ScriptedHttp(Drip(json_reply({}), 0.002)) as venue, factory_at(venue.url, read_ms=2_000) as factory:
        assert await post(factory, wait_s=0.05) == 200
        assert len(venue.asked) == 1


async def test_a_deadline_in_the_past_sends_nothing(gate: Gate) -> None:
    async with ScriptedHttp(GOOD) as venue, factory_at(venue.url, gate) as factory:
        for ask in (post, get):
            with pytest.raises(VenueUnreachable):
                await ask(factory, wait_s=-1.0)
        assert venue.asked == []
        assert gate.admitted == []


async def test_a_caller_that_goes_away_cancels_no_change() -> None:
    async with ScriptedHttp(Drip(GOOD, 0.002)) as venue, factory_at(venue.url, read_ms=2_000) as factory:
        task = asyncio.create_task(post(factory))
        await until(lambda: venue.asked)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await post(factory) == 200
        assert len(venue.asked) == 2


async def test_waiting_requests_are_bounded_and_a_full_queue_sends_nothing(gate: Gate) -> None:
    async with (
        ScriptedHttp(Hang()) as venue,
        factory_at(venue.url, gate, threads=5, queue_max=3, read_ms=1_000) as factory,
    ):
        waiting = [asyncio.create_task(get(factory, wait_s)) for wait_s in (0.5, 0.5, 0.2, 0.2, 0.2)]
        await until(lambda: (len(gate.admitted), len(venue.asked)) == (5, 2))
        began = time.monotonic()
        with pytest.raises(VenueUnreachable, match="too many requests wait"):
            await get(factory)
        assert time.monotonic() - began < 0.2
        assert len(gate.admitted) == 5, "a request that is not sent is not counted"
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, VenueUnreachable) for result in results)
        assert len(venue.asked) == 2, "those that waited until their deadline were never sent"


async def test_hanging_reads_keep_no_change_from_leaving() -> None:
    async with ScriptedHttp(*[Hang()] * 4, GOOD) as venue, factory_at(venue.url, threads=8) as factory:
        reads = [asyncio.create_task(get(factory, 0.4)) for _ in range(4)]
        await until(lambda: len(venue.asked) == 4)
        assert await post(factory) == 200
        assert await get(factory, lane=BudgetLane.LOOKUP)
        await asyncio.gather(*reads, return_exceptions=True)


async def test_hanging_orders_keep_no_cancel_and_no_look_up_from_leaving() -> None:
    async with ScriptedHttp(*[Hang()] * 2, GOOD) as venue, factory_at(venue.url, threads=8) as factory:
        orders = [asyncio.create_task(post(factory)) for _ in range(4)]
        await until(lambda: len(venue.asked) == 2)
        client = factory.trading()
        cancel = factory.road.changing(lambda answer: answer.status)
        urgent = context(lane=BudgetLane.CANCEL)
        assert await factory.road.change(urgent, lambda: client.delete("/orders/x"), cancel) == 200
        assert await get(factory, lane=BudgetLane.LOOKUP)
        ends = await asyncio.gather(*orders, return_exceptions=True)
        assert [type(end) for end in ends[:2]] == [OutcomeUnknown, OutcomeUnknown]


async def test_connections_are_kept_and_bounded() -> None:
    async with ScriptedHttp(GOOD) as venue, factory_at(venue.url, threads=4) as factory:
        for _ in range(4):
            await asyncio.gather(*(post(factory) for _ in range(6)))
        assert len(venue.asked) == 24
        assert venue.connections <= 4


async def test_the_gate_is_asked_first_and_told_what_the_venue_counts(gate: Gate) -> None:
    reply = json_reply({}, X_RateLimit_Limit="200", X_RateLimit_Remaining="7", X_RateLimit_Reset="1790000000")
    async with ScriptedHttp(reply) as venue, factory_at(venue.url, gate) as factory:
        await post(factory)
        await get(factory, lane=BudgetLane.LOOKUP)
        await asyncio.sleep(0)
        assert gate.admitted == [BudgetLane.ORDER, BudgetLane.LOOKUP]
        assert gate.observed == [(200, 7, 1_790_000_000)] * 2


@pytest.mark.parametrize("bad", ["", "-1", "many", "9" * 40])
async def test_rate_headers_that_are_no_numbers_are_left_out(gate: Gate, bad: str) -> None:
    reply = json_reply({}, X_RateLimit_Limit="200", X_RateLimit_Remaining=bad, X_RateLimit_Reset="1790000000")
    async with ScriptedHttp(reply) as venue, factory_at(venue.url, gate) as factory:
        await get(factory)
        assert gate.observed == []


async def test_a_gate_that_refuses_keeps_the_request_here() -> None:
    async with ScriptedHttp(GOOD) as venue, factory_at(venue.url, Gate(refuse_after=0)) as factory:
        for ask in (post, get):
            with pytest.raises(VenueRateLimited) as caught:
                await ask(factory)
            assert caught.value.retry_after_ms == 250
        assert venue.asked == []


@pytest.mark.parametrize(
    ("headers", "wanted_ms"),
    [
        ({"Retry_After": "3"}, 3_000),
        ({"X_RateLimit_Reset": "1000012"}, 12_000),
        ({"X_RateLimit_Reset": "999000"}, 1_000),  # our clock is ahead; at once would be a storm
        ({"Retry_After": "86400"}, 60_000),
        ({"Retry_After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 1_000),
        ({}, 1_000),
    ],
)
async def test_429_says_when_to_try_again(headers: dict[str, str], wanted_ms: int) -> None:
    reply = json_reply({"message": "too many requests."}, 429, **headers)
    async with ScriptedHttp(reply) as venue, factory_at(venue.url) as factory:
        factory.road._clock_s = lambda: 1_000_000.0
        with pytest.raises(VenueRateLimited) as caught:
            await post(factory)
        assert caught.value.retry_after_ms == wanted_ms


async def test_answers_are_bounded() -> None:
    large = Reply(body=b"[" + b" " * 200_000 + b"]")
    async with ScriptedHttp(large) as venue, factory_at(venue.url, response_bytes_max=100_000) as factory:
        with pytest.raises(VenueUnreachable, match="too large"):
            await get(factory)
        with pytest.raises(OutcomeUnknown):
            await post(factory)


async def test_one_call_is_one_request_whatever_alpaca_py_would_do() -> None:
    """Its own retries and pagination, switched back on, are stopped before their second request."""
    async with ScriptedHttp(Reply(504, b""), GOOD) as venue, factory_at(venue.url) as factory:
        client = factory.trading()
        client._retry = 3  # type: ignore[attr-defined]

        def sends_twice() -> Answer:
            client.post("/orders", {})
            return client.post("/orders", {})  # type: ignore[no-any-return]

        with pytest.raises(VenueUnreachable, match="one request"):
            await factory.road.change(order_context(), sends_twice, lambda answer: answer)
        assert len(venue.asked) == 1


async def test_nothing_leaves_through_alpaca_py_but_under_a_call() -> None:
    async with ScriptedHttp(GOOD) as venue, factory_at(venue.url) as factory:
        with pytest.raises(Exception, match="no call is under way"):
            factory.trading().get("/account")
        assert venue.asked == []


async def test_a_runaway_sender_is_stopped_at_the_last_hop(gate: Gate) -> None:
    async with ScriptedHttp(GOOD) as venue, factory_at(venue.url, gate) as factory:
        for _ in range(POSTS_PER_ID_MAX):
            await post(factory, guarded_id="default.k")
        with pytest.raises(VenueUnreachable, match="too often"):
            await post(factory, guarded_id="default.k")
        await post(factory, guarded_id="default.other")
        assert len(venue.asked) == POSTS_PER_ID_MAX + 1


async def test_attempts_that_never_left_do_not_count_as_running_away() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        async with factory_at(f"http://127.0.0.1:{port}") as factory:
            for _ in range(POSTS_PER_ID_MAX + 2):
                with pytest.raises(VenueUnreachable, match="before sending"):
                    await post(factory, guarded_id="default.k")


async def test_the_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with ScriptedHttp(json_reply({}, Set_Cookie="a=b")) as venue, factory_at(venue.url) as factory:
        assert await post(factory) == 200
        assert await post(factory) == 200
        assert "cookie" not in venue.asked[1].headers
        assert venue.asked[0].headers["apca-api-key-id"] == KEY
        assert venue.asked[0].headers["apca-api-secret-key"] == SECRET


async def test_the_venues_request_id_is_kept() -> None:
    refused = json_reply(error(42210000, "no"), 422, X_Request_ID="rid-1")
    lost = json_reply({}, 500, X_Request_ID="rid-2")
    async with ScriptedHttp(json_reply({}, X_Request_ID="rid-0"), refused, lost) as venue, factory_at(venue.url) as f:
        assert (await get(f)).request_id == "rid-0"
        with pytest.raises(OrderRejected) as rejected:
            await post(f)
        assert rejected.value.metadata["venue_request_id"] == "rid-1"
        with pytest.raises(OutcomeUnknown, match="rid-2"):
            await post(f)


async def test_after_close_nothing_is_sent() -> None:
    async with ScriptedHttp(GOOD) as venue, factory_at(venue.url) as factory:
        await factory.close()
        for ask in (post, get):
            with pytest.raises(VenueUnreachable, match="closed"):
                await ask(factory)
        assert venue.asked == []
