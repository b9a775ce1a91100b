"""`doctor`: looks at settings, address, certificate, keys, data directory, gateway, venue and the clock.

Venue and clock are asked through the gateway; where none runs, at the venue's own address, so that what keeps a
gateway from starting is found as well. Each finding is one line, and one that is wrong says what to do. It changes
nothing.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Final

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.cli.connection import access, open_channel
from gateway.cli.doctor_reach import Finding, access_findings, connection_finding, denial_finding
from gateway.cli.doctor_start import held_findings, start_findings
from gateway.cli.serve import Refused, read_settings
from gateway.config import Settings
from gateway.domain.types import Venue
from trading_gateway.access import Access, AccessRefused, is_local
from trading_gateway.errors import GatewayError
from trading_gateway.v1 import (
    account_pb2,
    account_pb2_grpc,
    reference_pb2,
    reference_pb2_grpc,
    risk_pb2,
    risk_pb2_grpc,
)

_TIMEOUT_S: Final = 5.0
_SKEW_MAX_MS: Final = 1_000
"""Beyond it, valid_until and staleness mean something else here than at the venue."""
_ANSWER_BYTES_MAX: Final = 65_536
_NUMBER_SHOWN: Final = 4
"""Characters of the account number."""

_LOOSEN: Final = "Once that is looked into: trading-gateway resume."
_REFUSED: Final = ("refuses the keys", "Look at the keys: they are another account's, or were revoked.")
_VERDICTS: Final = {200: ("answers", ""), 401: _REFUSED, 403: _REFUSED}
"""What an answer to a question for the time says, by its HTTP status."""


def doctor(target: str, data_dir: Path | None, as_json: bool) -> int:
    """Print every finding; 0 when all is well, else 1."""
    findings = list(_findings(target, data_dir))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            typer.echo(f"{'!!' if finding.remedy else 'ok'}  {finding.subject:<15} {finding.state}")
            if finding.remedy:
                typer.echo(f"    {'':<15} {finding.remedy}")
    return int(any(finding.remedy for finding in findings))


def _findings(target: str, data_dir: Path | None) -> Iterator[Finding]:
    try:
        settings = read_settings({})
    except Refused as refusal:
        yield Finding("settings", " ".join(str(refusal).split()), "gateway/config.py lists every setting.")
        yield from _gateway_findings(target, None)
        return
    if not is_local(target) and data_dir is None:
        yield Finding("settings", f"{target} is another machine's: what serve would do here is not looked at")
        yield from _gateway_findings(target, None)
        return
    settings = settings.model_copy(update={"data_dir": data_dir or settings.data_dir})
    yield from start_findings(settings, settings.data_dir)
    yield from _gateway_findings(target, settings)


def _gateway_findings(target: str, settings: Settings | None) -> Iterator[Finding]:
    try:
        given = access()
        yield from access_findings(given)
        opened = open_channel(target, given)
    except AccessRefused as refusal:
        yield Finding("access", str(refusal), "Correct what is given: nothing was sent.")
        return
    with opened as channel:
        try:
            status = (
                health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S).status
            )
        except grpc.RpcError as error:
            yield connection_finding(target, given, error.code().name)
            if settings is not None:
                yield from held_findings(settings, settings.data_dir)
                yield from _venue_findings_without_gateway(settings)
            return
        serving = status == health_pb2.HealthCheckResponse.SERVING
        name = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
        yield Finding("gateway", f"{target} says {name}", "" if serving else "Is it draining? Look at its log.")
        yield _venue_finding(channel, given)
        yield _trading_finding(channel, given)
        yield _clock_finding(channel, given)


def _venue_findings_without_gateway(settings: Settings) -> Iterator[Finding]:
    if settings.venue is Venue.LIVE:
        return
    if settings.venue is Venue.EMULATOR and not settings.venue_url:
        yield Finding("venue", "an emulator, which serve starts itself")
        return
    from gateway.container import client_config  # noqa: PLC0415 - imports every room

    try:
        config = client_config(settings)
    except ValueError as error:
        yield Finding("venue", str(error), "Correct GATEWAY_VENUE_URL, or set the keys.")
        return
    headers = {"APCA-API-KEY-ID": config.key.reveal(), "APCA-API-SECRET-KEY": config.secret.reveal()}
    before = time.time_ns()
    try:
        status, body = _ask(f"{config.trading_url}/v2/clock", headers)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        yield Finding("venue", f"{config.trading_url} does not answer: {reason}", "Is it up, and reachable from here?")
        return
    after = time.time_ns()
    state, remedy = _VERDICTS.get(status, (f"answers with HTTP {status}", "It is in trouble, or it is no venue."))
    yield Finding("venue", f"{config.trading_url} {state}", remedy)
    if status == http.HTTPStatus.OK:
        yield _told_clock_finding(body, before, after)


def _told_clock_finding(body: bytes, before: int, after: int) -> Finding:
    try:
        venue = round(datetime.fromisoformat(json.loads(body)["timestamp"]).timestamp() * 1e9)
    except (ValueError, TypeError, KeyError):
        return Finding("clock", "the venue tells no time", "Is it Alpaca, or an emulator?")
    return _skew_finding(max(before - venue, venue - after, 0))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The keys go where they were meant to, and nowhere else."""

    def redirect_request(self, *_args: object) -> None:
        """Follow nothing: the redirect itself is the answer."""


def _ask(url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Status and body of a GET: as the adapters ask, past the environment's proxies and following no redirect."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310 - checked by client_config
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as response:
            return response.status, response.read(_ANSWER_BYTES_MAX)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""


def _venue_finding(channel: grpc.Channel, given: Access) -> Finding:
    request = account_pb2.GetAccountRequest()
    request.max_staleness.FromSeconds(0)
    try:
        account = account_pb2_grpc.AccountServiceStub(channel).GetAccount(request, timeout=_TIMEOUT_S).account
    except grpc.RpcError as error:
        return denial_finding("venue", GatewayError.from_call(error), given)
    blocked = account.trading_blocked or account.account_blocked or account.trade_suspended_by_user
    number = account.account_number[-_NUMBER_SHOWN:]  # what a doctor says is pasted into mails
    state = f"account *{number} is {account.status}, equity {account.equity} {account.currency_code}"
    return Finding("venue", state, "Trading is blocked at the venue: ask its support desk." if blocked else "")


def _trading_finding(channel: grpc.Channel, given: Access) -> Finding:
    """Why orders are refused, where it is the trading state that refuses them."""
    try:
        state = (
            risk_pb2_grpc.RiskServiceStub(channel)
            .GetTradingState(risk_pb2.GetTradingStateRequest(), timeout=_TIMEOUT_S)
            .trading_state
        )
    except grpc.RpcError as error:
        failure = GatewayError.from_call(error)
        if failure.reason == "SCOPE_MISSING":  # what it does not trade it need not know
            return Finding("trading", f"not told to this token: {failure.message}")
        return denial_finding("trading", failure, given)
    mode = risk_pb2.TradingMode.Name(state.mode).removeprefix("TRADING_MODE_")
    if state.mode == risk_pb2.TRADING_MODE_ACTIVE:
        return Finding("trading", mode)
    return Finding("trading", f"{mode}, set by {state.set_by}: {state.reason or 'no reason was given'}", _LOOSEN)


def _clock_finding(channel: grpc.Channel, given: Access) -> Finding:
    before = time.time_ns()
    try:
        response = reference_pb2_grpc.ReferenceDataServiceStub(channel).GetMarketClock(
            reference_pb2.GetMarketClockRequest(), timeout=_TIMEOUT_S
        )
    except grpc.RpcError as error:
        return denial_finding("clock", GatewayError.from_call(error), given)
    after = time.time_ns()
    venue = response.clock.time.ToNanoseconds()
    return _skew_finding(max(before - venue, venue - after, 0))


def _skew_finding(off_ns: int) -> Finding:
    off_ms = off_ns // 1_000_000
    state = f"{off_ms} ms from the venue's" if off_ms else "agrees with the venue's"
    return Finding("clock", state, "Synchronise this machine's clock (NTP)." if off_ms > _SKEW_MAX_MS else "")
