"""The doctor's look at what would keep a gateway from starting here: settings, address, certificate, keys, tokens.

Promises: what `serve` would refuse is named before it is started, by the rules that `serve` itself asks; nothing is
changed, and nothing is held while it looks.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from gateway.cli.doctor_reach import Finding
from gateway.cli.hardening import LOCK_FILE, is_open_to_all
from gateway.cli.serve import Refused, check_combination
from gateway.config import Settings
from gateway.domain.models.identity import TokenState
from gateway.domain.types import Venue
from gateway.infrastructure.persistence.database import FILE_NAME, DatabaseRefused, look
from gateway.infrastructure.persistence.identity_store import read_tokens
from gateway.servicers.addresses import ServerRefused, check_free, numeric_addresses
from gateway.servicers.certificates import CertificateRefused, instant_text
from gateway.servicers.exposure import check_exposure, is_token_required
from gateway.servicers.tls import CertificateFiles, load, nearness

_FOLDER: Final = "data directory"


def start_findings(settings: Settings, folder: Path | None) -> Iterator[Finding]:
    """What a start here would meet, one thing after the other.

    Args:
        settings: As `serve` would read them.
        folder: The data directory; None: none is set.
    """
    yield _settings_finding(settings)
    yield _address_finding(settings)
    yield _certificate_finding(settings)
    yield _keys_finding(settings)
    yield _data_dir_finding(settings, folder)
    yield _tokens_finding(settings, folder)


def held_findings(settings: Settings, folder: Path | None) -> Iterator[Finding]:
    """What another program has that a start here would need; asked where no gateway was found."""
    if folder is not None and _is_locked(folder):
        remedy = "Ask that one by --target or GATEWAY_TARGET, or stop it first."
        yield Finding(_FOLDER, f"a gateway, or a command, has {folder}: serve refuses a second one", remedy)
    try:
        check_free(numeric_addresses(settings.listen), settings.listen)
    except ServerRefused as refusal:
        yield Finding("address", str(refusal), "Ask that one by --target, stop it, or set GATEWAY_LISTEN or --listen.")


def _settings_finding(settings: Settings) -> Finding:
    try:
        check_combination(settings)
    except Refused as refusal:
        return Finding("settings", str(refusal), "serve refuses to start with it: leave out one of the two.")
    return Finding("settings", f"venue {settings.venue}")


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
    return Finding("address", f"serve would listen on {listen}, {means}")


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


def _unfit(folder: Path) -> Finding | None:
    """Why nothing can be kept there."""
    if folder.exists() and not folder.is_dir():
        return Finding(_FOLDER, f"{folder} is not a folder", "Name a folder with --data-dir.")
    place = next(above for above in (folder, *folder.absolute().parents) if above.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return Finding(_FOLDER, f"{place} cannot be written", "Change its owner, or name another folder.")
    if folder.exists() and is_open_to_all(folder):
        return Finding(_FOLDER, f"everybody can write {folder}: serve refuses it", f"chmod 700 {folder}")
    return None


def _data_dir_finding(settings: Settings, folder: Path | None) -> Finding:
    if folder is None:
        return Finding(_FOLDER, "none set: unless --data-dir says otherwise, the account is gone at exit")
    if fault := _unfit(folder):
        return fault
    if not (folder / FILE_NAME).is_file():
        return Finding(_FOLDER, f"{folder} {'exists' if folder.exists() else 'will be made'}")
    try:
        venue = look(folder, at_every_page=not _is_locked(folder))
    except DatabaseRefused as refusal:
        return Finding(_FOLDER, str(refusal), "serve refuses to start on it.")
    if venue is not None and venue != settings.venue:
        remedy = f"Set GATEWAY_VENUE={venue}, or use a directory of its own for each account."
        return Finding(_FOLDER, f"{folder} was begun with the venue {venue}, and this is {settings.venue}", remedy)
    return Finding(_FOLDER, f"{folder} exists, {f'of the venue {venue}' if venue else 'of no venue yet'}")


def _is_locked(folder: Path) -> bool:
    import fcntl  # noqa: PLC0415 - POSIX alone, as the lock itself

    try:
        with (folder / LOCK_FILE).open() as lock:
            fcntl.flock(
                lock, fcntl.LOCK_SH | fcntl.LOCK_NB
            )  # let go at once: a start of that very moment would meet it
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


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
