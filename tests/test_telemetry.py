"""Spans and metrics of the six ways in which a call ends, and a log without secrets."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import re
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import grpc
import pytest
import structlog
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gateway import telemetry
from gateway.domain.errors import TooManyCalls
from gateway.servicers.interceptors import DoorLimits, Doors
from gateway.servicers.permissions import Access, MethodRule
from gateway.telemetry import Telemetry, TelemetryOptions, configure_logging

SERVICE = "test.Service"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collected:
    """What was measured in one process."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.telemetry = Telemetry(tracers, MeterProvider(metric_readers=[self.reader]))

    async def span(self) -> ReadableSpan:
        """The one span of the call, which ends a moment after the client has its answer."""
        for _ in range(200):
            if spans := self.exporter.get_finished_spans():
                assert len(spans) == 1
                return spans[0]
            await asyncio.sleep(0.01)
        raise AssertionError("no span")

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics if m.name == name]
        return [point for metric in metrics for point in metric.data.data_points]


def test_how_long_the_certificate_is_valid_is_measured() -> None:
    collected = Collected()
    left_s = [1_209_600.5, -3.0]
    collected.telemetry.observe_certificate(lambda: left_s[0])
    for expected in tuple(left_s):
        assert [point.value for point in collected.points("trading_gateway.tls.certificate_left")] == [expected]
        left_s.pop(0)


async def answer(request: bytes, context: Any) -> bytes:
    match request:
        case b"refuse":
            raise TooManyCalls("no")
        case b"bug":
            raise RuntimeError("secret")
        case b"wait":
            await asyncio.Event().wait()
    return request


async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield request
    await asyncio.Event().wait()


@pytest.fixture
def collected() -> Collected:
    return Collected()


@pytest.fixture
async def channel(collected: Collected) -> AsyncIterator[grpc.aio.Channel]:
    configure_logging("error", "json", io.StringIO())
    rules = dict.fromkeys((f"/{SERVICE}/Call", f"/{SERVICE}/Stream"), MethodRule(Access.ANY_TOKEN))
    doors = Doors(collected.telemetry, DoorLimits(), rules)
    call = grpc.unary_unary_rpc_method_handler(answer, bytes, bytes)
    streaming = grpc.unary_stream_rpc_method_handler(stream, bytes, bytes)
    handlers = {
        "Call": doors.guard(f"/{SERVICE}/Call", call),
        "Stream": doors.guard(f"/{SERVICE}/Stream", streaming),
    }
    server = grpc.aio.server(handlers=[grpc.method_handlers_generic_handler(SERVICE, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


@pytest.mark.parametrize(
    ("request_bytes", "timeout", "code", "is_error"),
    [
        (b"fine", None, grpc.StatusCode.OK, False),
        (b"refuse", None, grpc.StatusCode.RESOURCE_EXHAUSTED, False),
        (b"bug", None, grpc.StatusCode.INTERNAL, True),
        (b"wait", 0.2, grpc.StatusCode.DEADLINE_EXCEEDED, True),
    ],
)
async def test_a_span_and_a_measure_tell_how_a_call_ended(
    channel: grpc.aio.Channel,
    collected: Collected,
    request_bytes: bytes,
    timeout: float | None,
    code: grpc.StatusCode,
    is_error: bool,
) -> None:
    call = channel.unary_unary(f"/{SERVICE}/Call")(
        request_bytes, timeout=timeout, metadata=[("x-request-id", "r-1"), ("traceparent", PARENT)]
    )
    assert await call.code() is code
    span = await collected.span()
    assert (span.name, span.kind) == (f"{SERVICE}/Call", SpanKind.SERVER)
    assert span.attributes is not None
    assert span.attributes["rpc.grpc.status_code"] == code.value[0]
    assert span.attributes["trading_gateway.request_id"] == "r-1"
    assert (span.status.status_code is StatusCode.ERROR) is is_error
    assert span.events == ()
    assert span.parent is not None
    assert span.parent.span_id == int("b7ad6b7169203331", 16)
    (point,) = collected.points(telemetry.CALL_DURATION)
    assert (point.count, dict(point.attributes)) == (
        1,
        {"rpc.method": f"{SERVICE}/Call", "rpc.grpc.status_code": code.value[0]},
    )


async def test_a_canceled_call_reads_cancelled(channel: grpc.aio.Channel, collected: Collected) -> None:
    call = channel.unary_stream(f"/{SERVICE}/Stream")(b"first")
    await call.read()
    assert [point.value for point in collected.points(telemetry.STREAMS_OPEN)] == [1]
    call.cancel()
    span = await collected.span()
    assert span.attributes is not None
    assert span.attributes["rpc.grpc.status_code"] == grpc.StatusCode.CANCELLED.value[0]
    assert span.status.status_code is StatusCode.UNSET
    assert [point.value for point in collected.points(telemetry.STREAMS_OPEN)] == [0]


async def test_a_span_is_current_inside_the_call(collected: Collected) -> None:
    from opentelemetry import trace

    method = collected.telemetry.method(f"/{SERVICE}/Call", is_stream=False)

    async def call() -> bool:
        span = method.begin((), "r")
        return trace.get_current_span() is span

    outside = trace.get_current_span()
    assert await asyncio.create_task(call())
    assert trace.get_current_span() is outside


def test_nothing_is_made_without_a_collector() -> None:
    off = Telemetry.from_options(TelemetryOptions())
    assert not off.enabled
    assert not off.method(f"/{SERVICE}/Call", is_stream=False).enabled
    off.shutdown()


def test_spans_and_metrics_reach_a_collector() -> None:
    received: dict[str, bytes] = {}

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received[self.path] = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        serving = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        on = Telemetry.from_options(
            TelemetryOptions(otlp_endpoint=f"http://127.0.0.1:{collector.server_port}/", sample_ratio=1.0)
        )
        method = on.method(f"/{SERVICE}/Call", is_stream=False)
        method.end(method.begin((), "r"), 0, 0.001)
        on.shutdown()
        collector.shutdown()
        serving.join()
    assert set(received) == {"/v1/traces", "/v1/metrics"}
    assert all(f"{SERVICE}/Call".encode() in body for body in received.values())


def test_a_collector_that_is_not_there_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_EXPORT_TIMEOUT_MS", 100)
    on = Telemetry.from_options(TelemetryOptions(otlp_endpoint="http://127.0.0.1:9", sample_ratio=0.0))
    assert on.enabled
    method = on.method(f"/{SERVICE}/Call", is_stream=False)
    method.end(method.begin((), "r"), 0, 0.001)
    on.shutdown()


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    configure_logging("debug", "json", stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_ours_and_everybody_elses_lines_are_json_of_one_shape(log: io.StringIO) -> None:
    structlog.get_logger("ours").info("one", count=1)
    logging.getLogger("theirs").warning("two %s", "things")
    ours, theirs = lines(log)
    assert (ours["event"], ours["logger"], ours["level"], ours["count"]) == ("one", "ours", "info", 1)
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("two things", "theirs", "warning")
    assert ours["timestamp"].endswith("Z")


async def test_lines_of_a_call_have_its_request_id_also_from_tasks_that_outlive_it(log: io.StringIO) -> None:
    async def call() -> asyncio.Task[None]:
        telemetry.name_call("r-9", "SubmitOrder")
        return asyncio.create_task(later())

    async def later() -> None:
        structlog.get_logger("x").info("later")

    await (await asyncio.create_task(call()))
    structlog.get_logger("x").info("outside")
    inside, outside = lines(log)
    assert (inside["request_id"], inside["rpc"]) == ("r-9", "SubmitOrder")
    assert "request_id" not in outside


@pytest.mark.parametrize("name", telemetry.PINNED_LOGGERS)
def test_libraries_that_could_write_secrets_stay_silent_below_info(log: io.StringIO, name: str) -> None:
    logging.getLogger(name).debug("APCA-API-SECRET-KEY: abc")
    logging.getLogger(f"{name}.connection").debug("frame")
    assert log.getvalue() == ""


TOKEN = "gw_emu_0123abcd_" + "aB3_-" * 8 + "xyz"
"""As a token's secret is spelled; nobody has this one."""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_secret_comes_through_by_whatever_road(log_format: str) -> None:
    """By a name, by a value, inside other values, in the text of an exception and in a library's own line."""
    stream = io.StringIO()
    ours = 'own/se"cret+of=this'
    configure_logging("info", log_format, stream, secrets=(ours, "abc"))
    log = structlog.get_logger("x")
    log.info("sent PKABCDEFGHIJKLMNOPQR", api_key="a1b2c3", secret_key="def456", header="Authorization: bearer gw_1234")
    log.info("plain", request={"url": f"/x?key={quote(ours, safe='')}", "headers": [("authorization", TOKEN)]})
    log.info("bytes", frame=f"{{'auth': '{TOKEN}'}}".encode(), basic="Basic dXNlcjpwYXNzd29yZA==")
    logging.getLogger("x").info("APCA-API-SECRET-KEY: hidden1")
    logging.getLogger("x").warning("%s", {"APCA-API-KEY-ID": "hidden2", "APCA-API-SECRET-KEY": "hidden3"})
    try:
        raise RuntimeError(f"refused {ours} with {TOKEN}")
    except RuntimeError as error:
        log.exception("failed")
        logging.getLogger("x").error("failed: %r", error)
    text = stream.getvalue()
    blanked = ("PKABC", "a1b2c3", "def456", "gw_1234", "hidden", "gw_emu", "own", "of=", "cret+", "dXNlcjpw")
    assert [secret for secret in blanked if secret in text] == []
    assert text.count("RuntimeError") >= 2
    assert "plain" in text


def test_words_of_every_day_are_no_secrets() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream, secrets=("k", ""))
    said = "order gw-1 of default.key by basic rules, packed and acknowledged: PKG ok"
    structlog.get_logger("x").info("said", what=said)
    (line,) = lines(stream)
    assert line["what"] == said


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_data_cannot_forge_a_line(log_format: str) -> None:
    stream = io.StringIO()
    configure_logging("info", log_format, stream)
    structlog.get_logger("x").info("event", text="a\nforged\x1b[31m")
    logging.getLogger("x").info("a\rforged\nline")
    assert len(stream.getvalue().splitlines()) == 2
    assert "\x1b[31m" not in stream.getvalue()


def test_a_line_on_a_terminal_is_short_and_says_what_there_is_to_say() -> None:
    stream = io.StringIO()
    configure_logging("info", "console", stream)
    structlog.get_logger("gateway.application.order_feed").info("order_feed", state="live", detail="", open_orders=0)
    assert re.fullmatch(r"\d\d:\d\d:\d\d \[info +\] order_feed +open_orders=0 state=live\n", stream.getvalue())


def test_a_traceback_on_a_terminal_shows_no_values() -> None:
    stream = io.StringIO()
    configure_logging("info", "console", stream)
    password = "hunter2"
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger("x").exception("failed")
    assert "ValueError: broken" in stream.getvalue()
    assert password not in stream.getvalue()


def test_configuring_again_replaces_our_handler_and_nobody_elses() -> None:
    root = logging.getLogger()
    others = list(root.handlers)
    first, second = io.StringIO(), io.StringIO()
    configure_logging("info", "json", first)
    configure_logging("warning", "json", second)
    structlog.get_logger("x").warning("seen")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1
    assert [known for known in others if known.get_name() != telemetry.SCOPE] == [
        known for known in root.handlers if known.get_name() != telemetry.SCOPE
    ]


@pytest.mark.parametrize(("level", "log_format"), [("loud", "json"), ("info", "xml")])
def test_a_setting_that_does_not_exist_is_refused(level: str, log_format: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        configure_logging(level, log_format)


def test_the_lag_of_order_streams_is_measured_by_book() -> None:
    collected = Collected()
    lags = {"": 7, "pairs": 3}
    collected.telemetry.observe_order_lags(lambda: lags)
    points = {point.attributes[telemetry.BOOK]: point.value for point in collected.points(telemetry.ORDER_STREAM_LAG)}
    assert points == {"account": 7, "pairs": 3}
    Telemetry().observe_order_lags(lambda: lags)  # without a collector nothing is measured
