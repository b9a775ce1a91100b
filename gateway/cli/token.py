"""`token`: who may do what; over a running gateway, or straight on the data directory of one that does not run.

Promises: a secret is told once, alone on stdout or in a file that nobody else may read; on a data directory the same
code runs as behind OperationsService, under the gateway's own lock, and tells the audit log. Without a gateway and its
lock the first token of all is made here.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

import grpc
import typer
from google.protobuf.duration_pb2 import Duration

from gateway.cli.connection import TIMEOUT_S, as_json, connected, fail
from gateway.cli.roles import Role, scopes_of
from gateway.cli.show import print_table
from trading_gateway.errors import GatewayError
from trading_gateway.v1 import operations_pb2 as pb, operations_pb2_grpc

_PAGE_SIZE: Final = 1_000
_PAGES_MAX: Final = 20
"""More than a gateway keeps tokens."""
_SECRET_MODE: Final = 0o600
_DURATION: Final = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_COLUMNS: Final = ("token", "strategy", "scopes", "bounds", "expires", "last used", "")
_UNANSWERED: Final = (
    "On the directory of a gateway that does not run: --data-dir DIR. What was done although no answer came is in\n"
    "'token list'; a token whose secret nobody was told is best revoked."
)
_OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "strategy_id": "--strategy",
        "scopes": "--scopes",
        "symbols": "--symbols",
        "max_order_notional": "--max-order-notional",
        "networks": "--networks",
        "certificate": "--certificate",
        "ttl": "--ttl",
        "overlap": "--overlap",
        "token_id": "TOKEN_ID",
    }
)
"""Where a field of a request comes from."""
_HOW_TO_SHOW: Final = "Its holder shows it by GATEWAY_TOKEN_FILE or GATEWAY_TOKEN; nobody can be told it again."


class Desk(Protocol):
    """Who carries it out: a running gateway, or its data directory."""

    def MintToken(self, request: pb.MintTokenRequest) -> pb.MintTokenResponse:
        """Make one."""

    def ListTokens(self, request: pb.ListTokensRequest) -> pb.ListTokensResponse:
        """One page."""

    def RotateToken(self, request: pb.RotateTokenRequest) -> pb.RotateTokenResponse:
        """Make a successor."""

    def RevokeToken(self, request: pb.RevokeTokenRequest) -> pb.RevokeTokenResponse:
        """End one."""


def mint(desk: Desk, wanted: dict[str, Any], to_file: Path | None, *, json: bool) -> None:
    """Make a token.

    Args:
        desk: Carries it out.
        wanted: Fields of the request; `role`, and `ttl` as "90d".
        to_file: Where the secret goes, a new file; None: stdout.
        json: Machine-readable output.
    """
    role, ttl = wanted.pop("role"), wanted.pop("ttl")
    scopes = set(wanted.pop("scopes"))
    if role:
        scopes |= scopes_of(role, has_strategy=bool(wanted["strategy_id"]))
    if not scopes:
        fail(f"say what it may do: --role {'|'.join(Role)}, or --scopes", code=2)
    request = pb.MintTokenRequest(scopes=sorted(scopes), ttl=duration("--ttl", ttl), **wanted)
    with _destination(to_file, replaces=False) as keep:
        answer = desk.MintToken(request)
        keep(answer.secret)
    _tell(answer, to_file, "made", json=json)


def rotate(
    desk: Desk, token_id: str, overlap: str | None, ttl: str | None, to_file: Path | None, *, json: bool
) -> None:
    """Make a successor; its secret takes the place of the old one in `to_file`, in one step."""
    request = pb.RotateTokenRequest(
        token_id=token_id, overlap=duration("--overlap", overlap), ttl=duration("--ttl", ttl)
    )
    with _destination(to_file, replaces=True) as keep:
        answer = desk.RotateToken(request)
        keep(answer.secret)
    _tell(answer, to_file, f"made from {token_id}, which ends after the overlap", json=json)


def revoke(desk: Desk, token_id: str, *, json: bool) -> None:
    """End a token."""
    answer = desk.RevokeToken(pb.RevokeTokenRequest(token_id=token_id))
    typer.echo(as_json(answer) if json else f"{token_id} is revoked; its open streams end within a second.")


def show(desk: Desk, strategy_id: str, *, include_ended: bool, json: bool) -> None:
    """Print tokens, newest first; never a secret, which nobody has."""
    tokens = list(_all(desk, strategy_id, include_ended=include_ended))
    if json:
        typer.echo(as_json(pb.ListTokensResponse(tokens=tokens)))
        return
    now_ns = time.time_ns()
    print_table(_COLUMNS, (_row(token, now_ns) for token in tokens))


@contextmanager
def desk(target: str, data_dir: Path | None, venue: str | None = None, *, may_begin: bool = False) -> Iterator[Desk]:
    """Who carries it out; what is refused ends the command with a line on stderr.

    Args:
        target: Of a running gateway.
        data_dir: Of one that does not run, instead.
        venue: Whose tokens are made there; None: the directory's own, or the emulator's in a new one.
        may_begin: The directory may be a new one.
    """
    if data_dir is None:
        if venue is not None:
            fail("--venue goes with --data-dir: a running gateway knows its own", code=2)
        with connected(target, unanswered=_UNANSWERED) as channel:
            yield _OverTheWire(operations_pb2_grpc.OperationsServiceStub(channel))
        return
    from gateway.cli.token_desk import local_desk  # noqa: PLC0415 - imports everything

    with local_desk(data_dir, venue, may_begin=may_begin) as found:
        yield found


class _OverTheWire:
    """A running gateway."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    def __getattr__(self, rpc: str) -> Callable[[Any], Any]:
        call = getattr(self._stub, rpc)

        def ask(request: Any) -> Any:
            try:
                return call(request, timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                if violations := GatewayError.from_call(error).violations:
                    fail(by_option(violations), code=2)
                raise

        return ask


class Violation(Protocol):
    """What is wrong with one field of a request."""

    @property
    def field(self) -> str:
        """Its path."""

    @property
    def description(self) -> str:
        """What is wrong."""


def by_option(violations: Iterable[Violation]) -> str:
    """A line for each of them, under the name of the option that it came from."""
    lines = []
    for violation in violations:
        name, bracket, place = violation.field.partition("[")
        lines.append(f"{_OPTIONS.get(name, name)}{bracket}{place}: {violation.description}")
    return "\n".join(lines)


def duration(option: str, text: str | None) -> Duration | None:
    """90d, 12h, 30m or 45s; None: the gateway's default."""
    if text is None:
        return None
    if (parts := _DURATION.fullmatch(text)) is None:
        fail(f"{option} {text}: give a number and a unit, as 90d, 12h, 30m or 45s", code=2)
    return Duration(seconds=int(parts[1]) * _UNIT_S[parts[2]])


@contextmanager
def _destination(to_file: Path | None, *, replaces: bool) -> Iterator[Callable[[str], None]]:
    """Where a secret will go, made before there is one: a token whose secret cannot be kept would be lost."""
    if to_file is None:
        yield lambda _: None
        return
    if not replaces and to_file.exists():
        fail(f"{to_file} exists: a secret is not written over another one")
    try:
        opened, name = tempfile.mkstemp(prefix=f".{to_file.name}.", dir=to_file.parent)  # 0600
    except OSError as error:
        fail(f"{to_file} cannot be written: {error.strerror}")

    def keep(secret: str) -> None:
        try:
            os.fchmod(opened, _SECRET_MODE)
            os.write(opened, f"{secret}\n".encode())
            os.fsync(opened)
            os.replace(name, to_file)
        except OSError as error:
            problem = f"the token is made, and its secret could not be written to {to_file}: {error.strerror}"
            fail(problem, f"Nobody knows it now. Revoke it: trading-gateway token revoke {_id_in(secret)}")

    try:
        yield keep
    finally:
        os.close(opened)
        with suppress(FileNotFoundError):
            os.unlink(name)


def _id_in(secret: str) -> str:
    """gw_<venue>_<id>_<rest>."""
    return secret.split("_")[2]


def _tell(
    answer: pb.MintTokenResponse | pb.RotateTokenResponse, to_file: Path | None, what: str, *, json: bool
) -> None:
    token = answer.token
    if json:
        shown = type(answer)(token=token, secret="" if to_file else answer.secret)
        typer.echo(as_json(shown))
        return
    whose = f"strategy {token.strategy_id}" if token.strategy_id else "no strategy"
    typer.echo(f"token {token.token_id} for {whose} is {what}: {' '.join(token.scopes)}", err=True)
    bounds = _bounds(token)
    until = _minute(token.expire_time)
    typer.echo(f"until {until} UTC{'; ' if bounds else ''}{bounds}", err=True)
    if to_file is None:
        typer.echo(f"{_HOW_TO_SHOW} The secret:", err=True)
        typer.echo(answer.secret)
    else:
        typer.echo(f"The secret is in {to_file}. {_HOW_TO_SHOW}", err=True)


def _all(desk: Desk, strategy_id: str, *, include_ended: bool) -> Iterator[pb.Token]:
    request = pb.ListTokensRequest(strategy_id=strategy_id, include_ended=include_ended, page_size=_PAGE_SIZE)
    for _ in range(_PAGES_MAX):
        page = desk.ListTokens(request)
        yield from page.tokens
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _row(token: pb.Token, now_ns: int) -> tuple[str, ...]:
    state = "revoked" if token.HasField("revoke_time") else ""
    if token.HasField("revoke_time") and token.revoke_time.ToNanoseconds() > now_ns:
        state = f"ends {_minute(token.revoke_time)}"
    elif not state and token.expire_time.ToNanoseconds() <= now_ns:
        state = "expired"
    used = _minute(token.last_used_time) if token.HasField("last_used_time") else "never"
    scopes = " ".join(token.scopes)
    return token.token_id, token.strategy_id or "-", scopes, _bounds(token), _minute(token.expire_time), used, state


def _bounds(token: pb.Token) -> str:
    bounds = (
        ("only", " ".join(token.symbols)),
        ("at most", f"{token.max_order_notional} USD an order" if token.HasField("max_order_notional") else ""),
        ("from", " ".join(token.networks)),
        ("certificate", token.certificate),
    )
    return "; ".join(f"{word} {text}" for word, text in bounds if text)


def _minute(timestamp: Any) -> str:
    return str(timestamp.ToDatetime().isoformat(sep=" ", timespec="minutes"))
