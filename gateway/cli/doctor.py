"""`doctor`: looks at settings, address, certificate, keys, data directory, gateway, venue and the clock.

Venue and clock are asked through the gateway; where none runs, at the venue's own address, so that what keeps a
gateway from starting is found as well. Each finding is one line, and one that is wrong says what to do. It changes
nothing.
"""

from __future__ import annotations

import http.client
import json
import os
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Final

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.cli.connection import access, open_channel
from gateway.cli.doctor_reach import Finding, access_findings, connection_finding, denial_finding
from gateway.cli.hardening import is_open_to_all
from gateway.cli.serve import Refused, read_settings
from gateway.config import Settings
from gateway.domain.models.identity import TokenState
from gateway.domain.types import Venue
from gateway.infrastructure.persistence.database import FILE_NAME
from gateway.infrastructure.persistence.identity_store import read_tokens
from gateway.servicers.addresses import ServerRefused, numeric_addresses
from gateway.servicers.certificates import CertificateRefused, instant_text
from gateway.servicers.exposure import check_exposure, is_token_required
from gateway.servicers.tls import CertificateFiles, load, nearness
from trading_gateway.access import Access, AccessRefused, is_local
from trading_gateway.errors import GatewayError
from trading_gateway.v1 import account_pb2, account_pb2_grpc, reference_pb2, reference_pb2_grpc

_TIMEOUT_S: Final = 5.0
_SKEW_MAX_MS: Final = 1_000
"""Beyond it, valid_until and staleness mean something else here than at the venue."""
_ANSWER_BYTES_MAX: Final = 65_536
_NUMBER_SHOWN: Final = 4
"""Characters of the account number."""

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
    yield Finding("settings", f"venue {settings.venue}")
    yield _address_finding(settings)
    yield _certificate_finding(settings)
    yield _keys_finding(settings)
    yield _data_dir_finding(data_dir or settings.data_dir)
    yield _tokens_finding(settings, data_dir or settings.data_dir)
    yield from _gateway_findings(target, settings)


def _address_finding(settings: Settings) -> Finding:
    listen, has_tls = settings.listen, settings.tls_cert is not None
    try:
        addresses = numeric_addresses(listen)
        needs_token = is_token_required(settings.authentication, settings.venue, addresses)
        check_exposure(addresses, listen=listen, has_tls=has_tls, is_token_required=needs_token)
    except ServerRefused as refusal:
        return Finding(
            "address", str(refusal), "Set GATEWAY_LISTEN or --listen to 127.0.0.1:PORT, or add what is told."
        )
    means = f"{'with TLS' if has_tls else 'in plain text'}, {'tokens required' if needs_token else 'no token needed'}"
    return Finding("address", f"serve listens on {listen}, {means}")


def _certificate_finding(settings: Settings) -> Finding:
    now_ns = time.time_ns()
    try:
        files = CertificateFiles.of(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        loaded = None if files is None else load(files, now_ns)
    except (ServerRefused, CertificateRefused) as refusal:
        return Finding("certificate", str(refusal), "serve refuses to start with it, and a running gateway to take it.")
    if loaded is None:
        return Finding("certificate", "none: no TLS")
    near = nearness(loaded.expire_time_ns, now_ns)
    state = f"for {', '.join(loaded.pair.names) or 'no name'}, until {instant_text(loaded.expire_time_ns)}"
    if not loaded.pair.names:
        return Finding("certificate", state, "Clients look for names among its subject alternative names: add them.")
    remedy = "Put a newer one in its place: a running gateway takes it within seconds, without dropping a call."
    return Finding("certificate", state, remedy if near else "")


def _keys_finding(settings: Settings) -> Finding:
    if settings.venue is Venue.EMULATOR:
        return Finding("keys", "none needed for the emulator")
    if settings.venue is Venue.LIVE:
        return Finding("keys", "not looked at: this build refuses live", "Use GATEWAY_VENUE=paper, or the emulator.")
    if settings.api_key.get_secret_value() and settings.api_secret.get_secret_value():
        return Finding("keys", "set")
    return Finding(
        "keys", "missing", "Set GATEWAY_API_KEY and GATEWAY_API_SECRET (or ALPACA_API_KEY and ALPACA_SECRET_KEY)."
    )


def _data_dir_finding(folder: Path | None) -> Finding:
    if folder is None:
        return Finding("data directory", "none set: unless --data-dir says otherwise, the account is gone at exit")
    place = folder if folder.exists() else folder.parent
    if folder.exists() and not folder.is_dir():
        return Finding("data directory", f"{folder} is not a folder", "Name a folder with --data-dir.")
    if not place.exists():
        return Finding("data directory", f"{folder.parent} does not exist", f"mkdir -p {folder}")
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding("data directory", f"{place} cannot be written", "Change its owner, or name another folder.")
    if folder.exists() and is_open_to_all(folder):
        return Finding("data directory", f"everybody can write {folder}: serve refuses it", f"chmod 700 {folder}")
    return Finding("data directory", f"{folder} {'exists' if folder.exists() else 'will be made'}")


def _tokens_finding(settings: Settings, folder: Path | None) -> Finding:
    """Whether anybody could come in, where a token is needed."""
    subject, file = "tokens", None if folder is None else folder / FILE_NAME
    try:
        addresses = numeric_addresses(settings.listen)
    except ServerRefused:
        return Finding(subject, "not looked at: see the address")
    if not is_token_required(settings.authentication, settings.venue, addresses):
        return Finding(subject, "none is needed: the emulator on loopback")
    usable = 0
    try:
        if file is not None and file.is_file():
            with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
                now_ns = time.time_ns()
                ours = [token for token in read_tokens(connection) if token.venue == settings.venue]
                usable = sum(token.state(now_ns) is TokenState.USABLE for token in ours)
    except (sqlite3.Error, ValueError) as error:
        return Finding(subject, f"cannot be read: {error}", "Restore a back-up of the data directory.")
    mint = f"trading-gateway token mint --role operator --venue {settings.venue} --data-dir {folder or 'DIR'}"
    return Finding(
        subject,
        f"{usable} usable for {settings.venue} in {folder or 'no data directory'}",
        "" if usable else f"Make one: {mint}",
    )


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
                yield from _venue_findings_without_gateway(settings)
            return
        serving = status == health_pb2.HealthCheckResponse.SERVING
        name = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
        yield Finding("gateway", f"{target} says {name}", "" if serving else "Is it draining? Look at its log.")
        yield _venue_finding(channel, given)
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
