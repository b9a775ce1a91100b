"""`doctor`: looks at settings, keys, data directory, the running gateway, the venue behind it and the clock.

Each finding is one line, and a finding that is wrong says what to do. It changes nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import ValidationError

from gateway.config import Settings
from gateway.domain.types import Venue
from trading_gateway.v1 import account_pb2, account_pb2_grpc, reference_pb2, reference_pb2_grpc

_TIMEOUT_S: Final = 5.0
_SKEW_MAX_MS: Final = 1_000
"""Beyond it, valid_until and staleness mean something else here than at the venue."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found; `remedy` is empty when all is well."""

    subject: str
    state: str
    remedy: str = ""


def doctor(target: str, data_dir: Path | None, as_json: bool) -> int:
    """Print every finding; 0 when all is well, else 1."""
    findings = [*_settings_findings(data_dir), *_gateway_findings(target)]
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            typer.echo(f"{'!!' if finding.remedy else 'ok'}  {finding.subject:<15} {finding.state}")
            if finding.remedy:
                typer.echo(f"    {'':<15} {finding.remedy}")
    return int(any(finding.remedy for finding in findings))


def _settings_findings(data_dir: Path | None) -> Iterator[Finding]:
    try:
        settings = Settings()
    except ValidationError as error:
        names = ", ".join(f"GATEWAY_{'.'.join(map(str, part['loc'])).upper()}" for part in error.errors())
        yield Finding("settings", f"wrong: {names}", "Correct or unset them; gateway/config.py lists every setting.")
        return
    yield Finding("settings", f"venue {settings.venue}, listen {settings.listen}")
    yield _keys_finding(settings)
    yield _data_dir_finding(data_dir or settings.data_dir)


def _keys_finding(settings: Settings) -> Finding:
    if settings.venue is Venue.EMULATOR:
        return Finding("keys", "none needed for the emulator")
    if settings.api_key.get_secret_value() and settings.api_secret.get_secret_value():
        return Finding("keys", "set")
    return Finding(
        "keys", "missing", "Set GATEWAY_API_KEY and GATEWAY_API_SECRET (or ALPACA_API_KEY and ALPACA_SECRET_KEY)."
    )


def _data_dir_finding(folder: Path | None) -> Finding:
    if folder is None:
        return Finding("data directory", "none: temporary, the emulator's account is gone at exit")
    place = folder if folder.exists() else folder.parent
    if folder.exists() and not folder.is_dir():
        return Finding("data directory", f"{folder} is not a folder", "Name a folder with --data-dir.")
    if not place.exists():
        return Finding("data directory", f"{folder.parent} does not exist", f"mkdir -p {folder}")
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding("data directory", f"{place} cannot be written", "Change its owner, or name another folder.")
    return Finding("data directory", f"{folder} {'exists' if folder.exists() else 'will be made'}")


def _gateway_findings(target: str) -> Iterator[Finding]:
    with grpc.insecure_channel(target) as channel:
        try:
            status = (
                health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S).status
            )
        except grpc.RpcError as error:
            yield Finding(
                "gateway", f"nobody answers at {target} ({error.code().name})", "Start it: trading-gateway serve"
            )
            return
        serving = status == health_pb2.HealthCheckResponse.SERVING
        name = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
        yield Finding("gateway", f"{target} says {name}", "" if serving else "Is it draining? Look at its log.")
        yield _venue_finding(channel)
        yield _clock_finding(channel)


def _venue_finding(channel: grpc.Channel) -> Finding:
    request = account_pb2.GetAccountRequest()
    request.max_staleness.FromSeconds(0)
    try:
        account = account_pb2_grpc.AccountServiceStub(channel).GetAccount(request, timeout=_TIMEOUT_S).account
    except grpc.RpcError as error:
        remedy = "Look at the gateway's log; check the keys and the venue's address."
        return Finding("venue", f"{error.code().name}: {error.details()}", remedy)
    blocked = account.trading_blocked or account.account_blocked or account.trade_suspended_by_user
    state = f"account {account.account_number} is {account.status}, equity {account.equity} {account.currency_code}"
    return Finding("venue", state, "Trading is blocked at the venue: ask its support desk." if blocked else "")


def _clock_finding(channel: grpc.Channel) -> Finding:
    before = time.time_ns()
    try:
        response = reference_pb2_grpc.ReferenceDataServiceStub(channel).GetMarketClock(
            reference_pb2.GetMarketClockRequest(), timeout=_TIMEOUT_S
        )
    except grpc.RpcError as error:
        return Finding("clock", f"{error.code().name}: {error.details()}", "See the venue above.")
    after = time.time_ns()
    venue = response.clock.time.ToNanoseconds()
    off_ms = max(before - venue, venue - after, 0) // 1_000_000
    state = f"{off_ms} ms from the venue's" if off_ms else "agrees with the venue's"
    return Finding("clock", state, "Synchronise this machine's clock (NTP)." if off_ms > _SKEW_MAX_MS else "")
