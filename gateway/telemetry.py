"""What the gateway says about itself: spans, metrics and logs, with the name of every instrument.

Nothing leaves the process unless an OTLP/HTTP collector is configured, and without one a call pays next to
nothing: no span is made and nothing is measured. This module is the only one that imports OpenTelemetry; the
SDK is loaded only when it is used. Names follow OpenTelemetry's semantic conventions for RPC.

Logs are structlog's, through one handler for ours and everybody else's, as JSON or for a terminal. Secrets
are kept out of log calls by whoever makes them; the second net blanks the credentials of this process and what looks
like one, in the finished line, so in texts of exceptions too.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO
from urllib.parse import quote

import structlog
from opentelemetry import context as otel_context, metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

SCOPE: Final = "trading-gateway"
"""The name of our tracer and meter, and of the service."""

CALL_DURATION: Final = "rpc.server.call.duration"
"""Histogram, seconds: a call from its first byte to its status, by method and status code; streams too."""
STREAMS_OPEN: Final = "trading_gateway.streams.open"
"""Up-down counter: streams being served now, by method."""

ORDER_STREAM_LAG: Final = "trading_gateway.order_streams.lag"
"""Gauge, events: what the slowest reader of a book has not been handed yet, by book; "account" is the account's."""
CERTIFICATE_LEFT: Final = "trading_gateway.tls.certificate_left"
"""Gauge, seconds: until the first of the server's certificates ends."""

BOOK: Final = "trading_gateway.book"
SPAN_METHOD: Final = "rpc.method"
SPAN_SERVICE: Final = "rpc.service"
SPAN_SYSTEM: Final = "rpc.system"
SPAN_STATUS_CODE: Final = "rpc.grpc.status_code"
SPAN_REQUEST_ID: Final = "trading_gateway.request_id"

FAULT_CODES: Final = frozenset({2, 4, 12, 13, 14, 15})
"""Numbers of the gRPC codes that are the server's fault, so that a span with one is an error: UNKNOWN,
DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS. Source: semantic conventions for gRPC."""

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_TRACE_HEADERS: Final = frozenset(_PROPAGATOR.fields)
_NO_PARENT: Final = otel_context.Context()

_EXPORT_INTERVAL_MS: Final = 15_000
_EXPORT_TIMEOUT_MS = 2_000
_EXPORT_QUEUE_SPANS_MAX: Final = 4_096
_DURATION_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class TelemetryOptions:
    """Where spans and metrics go.

    Attributes:
        otlp_endpoint: Base address of an OTLP/HTTP collector, as http://127.0.0.1:4318; empty for none.
        service_version: Told with every span and metric.
        sample_ratio: Part of the traces begun here that are kept, 0 to 1; a caller's own decision wins.
    """

    otlp_endpoint: str = ""
    service_version: str = ""
    sample_ratio: float = 1.0


class Telemetry:
    """The tracer and the meter of one process.

    Args:
        tracer_provider: None makes no spans.
        meter_provider: None measures nothing.
    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._providers = [provider for provider in (tracer_provider, meter_provider) if provider is not None]
        self.tracer = (tracer_provider or trace.NoOpTracerProvider()).get_tracer(SCOPE)
        self.meter = (meter_provider or metrics.NoOpMeterProvider()).get_meter(SCOPE)
        self.enabled = bool(self._providers)
        self._duration = self.meter.create_histogram(
            CALL_DURATION, unit="s", explicit_bucket_boundaries_advisory=_DURATION_BUCKETS_S
        )
        self._streams = self.meter.create_up_down_counter(STREAMS_OPEN, unit="{stream}")

    @classmethod
    def from_options(cls, options: TelemetryOptions) -> Telemetry:
        """Export over OTLP/HTTP when an endpoint is given; else next to nothing."""
        return _exporting(options) if options.otlp_endpoint else cls()

    def method(self, path: str, *, is_stream: bool) -> MethodTelemetry:
        """The instruments of one method; `path` is "/package.Service/Method"."""
        return MethodTelemetry(self, path, is_stream=is_stream)

    def observe_order_lags(self, lags: Callable[[], Mapping[str, int]]) -> None:
        """Measure how far behind readers of order streams are.

        Args:
            lags: Book → events; "" is the account's. Called on the exporter's thread.
        """

        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for book, lag in lags().items():
                yield Observation(lag, {BOOK: book or "account"})

        self.meter.create_observable_gauge(ORDER_STREAM_LAG, [observe], unit="{event}")

    def observe_certificate(self, seconds_left: Callable[[], float]) -> None:
        """Measure how long the server's certificate is still valid; called on the exporter's thread."""
        self.meter.create_observable_gauge(CERTIFICATE_LEFT, [lambda _: [Observation(seconds_left())]], unit="s")

    def shutdown(self) -> None:
        """Send what is left and stop. Blocks for a few seconds at most, so call it off the event loop."""
        for provider in self._providers:
            stop = getattr(provider, "shutdown", None)
            if stop is not None:
                stop()


class MethodTelemetry:
    """Span and metrics of one method's calls; attribute sets are built once, not per call."""

    def __init__(self, telemetry: Telemetry, path: str, *, is_stream: bool) -> None:
        self._telemetry = telemetry
        self._is_stream = is_stream
        self._name = path.lstrip("/")
        service, _, method = self._name.partition("/")
        self._span_attributes = {SPAN_SYSTEM: "grpc", SPAN_SERVICE: service, SPAN_METHOD: method}
        self._stream_attributes = {SPAN_METHOD: self._name}
        self._by_code: dict[int, dict[str, str | int]] = {}

    @property
    def enabled(self) -> bool:
        """Whether anything listens; when not, begin and end need not be called."""
        return self._telemetry.enabled

    def begin(self, metadata: Iterable[tuple[str, str | bytes]], request_id: str) -> Span:
        """Open the call's span, a child of the caller's where headers name one, and make it the current one.

        Each call runs in a task of its own, so the context is not restored.
        """
        carrier = {name: value for name, value in metadata if name in _TRACE_HEADERS and isinstance(value, str)}
        span = self._telemetry.tracer.start_span(
            self._name,
            context=_PROPAGATOR.extract(carrier) if carrier else _NO_PARENT,
            kind=SpanKind.SERVER,
            attributes={**self._span_attributes, SPAN_REQUEST_ID: request_id},
            record_exception=False,
            set_status_on_exception=False,
        )
        otel_context.attach(trace.set_span_in_context(span))
        if self._is_stream:
            self._telemetry._streams.add(1, self._stream_attributes)
        return span

    def end(self, span: Span, code: int, duration_s: float) -> None:
        """Close the span with the call's status code (its gRPC number) and measure the call."""
        attributes = self._by_code.get(code)
        if attributes is None:
            attributes = self._by_code[code] = {SPAN_METHOD: self._name, SPAN_STATUS_CODE: code}
        self._telemetry._duration.record(duration_s, attributes)
        if self._is_stream:
            self._telemetry._streams.add(-1, self._stream_attributes)
        span.set_attribute(SPAN_STATUS_CODE, code)
        if code in FAULT_CODES:
            span.set_status(Status(StatusCode.ERROR))
        span.end()


def _exporting(options: TelemetryOptions) -> Telemetry:
    # The SDK costs 150 ms to import: only whoever exports pays for it.
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415

    base = options.otlp_endpoint.rstrip("/")
    timeout_s = _EXPORT_TIMEOUT_MS / 1_000
    resource = Resource.create({"service.name": SCOPE, "service.version": options.service_version})
    tracer_provider = TracerProvider(resource=resource, sampler=ParentBasedTraceIdRatio(options.sample_ratio))
    tracer_provider.add_span_processor(
        BatchSpanProcessor(
            OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=timeout_s), max_queue_size=_EXPORT_QUEUE_SPANS_MAX
        )
    )
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(endpoint=f"{base}/v1/metrics", timeout=timeout_s),
        export_interval_millis=_EXPORT_INTERVAL_MS,
        export_timeout_millis=_EXPORT_TIMEOUT_MS,
    )
    # Exemplars tie a measure to a trace; spans carry durations already, and each would cost two microseconds.
    meter_provider = MeterProvider([reader], resource, exemplar_filter=AlwaysOffExemplarFilter())
    return Telemetry(tracer_provider, meter_provider)


_call_names: ContextVar[tuple[str, str]] = ContextVar("gateway_call_names")


def name_call(request_id: str, rpc: str) -> None:
    """Put the running call's request id and method on every log line of it, and of the tasks that it begins."""
    _call_names.set((request_id, rpc))


def add_call_names(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The log's half of `name_call`; structlog's own binding costs eight times as much a call."""
    names = _call_names.get(None)
    if names is not None:
        event.setdefault("request_id", names[0])
        event.setdefault("rpc", names[1])
    return event


LOG_LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

PINNED_LOGGERS: Final = (
    "urllib3", "requests", "websockets", "grpc", "alpaca", "asyncio", "opentelemetry", "uvicorn", "httptools", "hpack",
)  # fmt: skip
"""Never below INFO: at DEBUG some of them write headers and frames, and the venue's auth frame has the secret."""

SECRET_CHARACTERS_MIN: Final = 6
"""Shorter credentials are an emulator's; blanking them would blank words."""

_SECRET_NAMES: Final = re.compile(r"secret|password|authorization|api_?key|apca|token$", re.IGNORECASE)
_SECRET_VALUES: Final = re.compile(
    r"(?-i:\b[PAC]K[A-Z0-9]{16,30}\b)"
    r"|\bgw_(?:emu|paper|live)_[0-9a-f]{8}_[A-Za-z0-9_-]{8,}"
    r"|(?<=bearer )[^\s'\"\\]+|(?<=basic )[A-Za-z0-9+/=]{8,}"
    r"|(?<=APCA-API-KEY-ID)\W{1,6}[^\s'\"\\,]+|(?<=APCA-API-SECRET-KEY)\W{1,6}[^\s'\"\\,]+",
    re.IGNORECASE,
)
_REDACTED: Final = "***"

_EVENT_WIDTH: Final = 20
"""Characters of a terminal's line that the event takes up at least."""
_TIME_OF_DAY: Final = slice(11, 19)
"""Of an ISO 8601 instant, which is UTC."""


def configure_logging(
    level: str = "info", log_format: str = "auto", stream: TextIO | None = None, secrets: Iterable[str] = ()
) -> None:
    """Send every log line, ours and the libraries', to one stream.

    Args:
        level: debug, info, warning or error.
        log_format: json; console: lines for people, without what only programs read; or auto: console on a terminal.
        stream: Default: standard error.
        secrets: The credentials of this process, which are blanked wherever they stand.

    Raises:
        ValueError: Another level or format.
    """
    if level not in LOG_LEVELS:
        raise ValueError(f"log level must be one of {', '.join(LOG_LEVELS)}")
    if log_format not in ("json", "console", "auto"):
        raise ValueError("log format must be json, console or auto")
    target = stream or sys.stderr
    as_console = log_format == "console" or (log_format == "auto" and target.isatty())
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        add_call_names,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # Loggers are made at import, before this runs.
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(as_console=as_console, colors=target.isatty()),
                _blanking(secrets),
            ],
        )
    )
    handler.set_name(SCOPE)
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if known.get_name() == SCOPE]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(LOG_LEVELS[level])
    for name in PINNED_LOGGERS:
        logging.getLogger(name).setLevel(max(LOG_LEVELS[level], logging.INFO))


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank what looks like a secret, by name or by value, and keep each entry on one line."""
    for name, value in event.items():
        if _SECRET_NAMES.search(name):
            event[name] = _REDACTED
        elif isinstance(value, str):
            event[name] = _one_line(_SECRET_VALUES.sub(_REDACTED, value))
    return event


def _blanking(secrets: Iterable[str]) -> Callable[[Any, str, Any], str]:
    """The last step of a line: nothing of it can be seen that is a secret, whichever part of it that was."""
    ours = [form for secret in secrets if len(secret) >= SECRET_CHARACTERS_MIN for form in _forms(secret)]
    pattern = re.compile("|".join(ours)) if ours else None

    def blank(_logger: Any, _method: str, line: Any) -> str:
        told = str(line) if pattern is None else pattern.sub(_REDACTED, str(line))
        return _SECRET_VALUES.sub(_REDACTED, told)

    return blank


def _forms(secret: str) -> list[str]:
    """Patterns of a secret as it is written: plain, in an address, and quoted in quotes as often as anybody likes."""
    quoted = "".join(r"\\+" if c == "\\" else rf"\\*{re.escape(c)}" if c in "\"'/" else re.escape(c) for c in secret)
    return [quoted, re.escape(quote(secret, safe="")), re.escape(quote(secret))]


def _renderers(*, as_console: bool, colors: bool) -> list[structlog.typing.Processor]:
    if as_console:
        # Plain tracebacks: the default shows the values of all local variables, secrets among them.
        plain = structlog.dev.plain_traceback
        return [_for_people, structlog.dev.ConsoleRenderer(_EVENT_WIDTH, colors=colors, exception_formatter=plain)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _for_people(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A line that fits a terminal: the time of day, and nothing that says nothing."""
    event["timestamp"] = event["timestamp"][_TIME_OF_DAY]
    return {name: value for name, value in event.items() if name != "logger" and value is not None and value != ""}


def _one_line(text: str) -> str:
    # A newline or an escape sequence in somebody's data must not forge a line of the log.
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
