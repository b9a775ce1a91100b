"""`state`, `reduce`, `halt`, `kill` and `resume`: whether the account may trade.

Exit codes: 0 done; 1 refused, or no gateway; 2 asked for wrongly; 3 KILLED, and not everything is gone yet.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Final

import typer

from gateway.cli.connection import TIMEOUT_S, as_json, connected, fail
from trading_gateway.v1 import risk_pb2 as pb, risk_pb2_grpc, trading_pb2

EXIT_NOT_GONE: Final = 3
"""Trading is KILLED, and the venue has not confirmed yet that nothing is open."""
_UNANSWERED: Final = (
    "If it runs and does not answer, this stops everything all the same: kill -USR1 to its process, or a file named\n"
    "KILL in its data directory."
)
_TO_LOOSEN: Final = "To go from a stricter mode to a looser one: trading-gateway resume."
_LOOK_AGAIN: Final = "The state as it is now: trading-gateway state."
_PREFIX: Final = "TRADING_MODE_"


def show(target: str, json: bool) -> None:
    """Print the state in effect."""
    state = _read(target)
    typer.echo(as_json(state) if json else _line(state))


def tighten(target: str, mode: str, reason: str, json: bool) -> None:
    """Enter a stricter mode: one call, no questions."""
    _set(target, pb.SetTradingStateRequest(mode=_mode(mode), reason=reason), json, _TO_LOOSEN)


def resume(target: str, mode: str, reason: str, expected_version: int | None, json: bool) -> None:
    """Enter a looser mode, if the state is still the one that was seen."""
    if expected_version is None:
        state = _read(target)
        typer.echo(_line(state), err=True)
        if not sys.stdin.isatty():
            fail(f"Say which state you have seen: --expected-version {state.version}", code=2)
        typer.confirm(f"Go on to {mode.upper()}?", abort=True, err=True)
        expected_version = state.version
    request = pb.SetTradingStateRequest(mode=_mode(mode), reason=reason, expected_version=expected_version)
    _set(target, request, json, _LOOK_AGAIN)


def _read(target: str) -> pb.TradingState:
    with connected(target) as channel:
        stub = risk_pb2_grpc.RiskServiceStub(channel)
        return stub.GetTradingState(pb.GetTradingStateRequest(), timeout=TIMEOUT_S).trading_state


def _set(target: str, request: pb.SetTradingStateRequest, json: bool, refused: str) -> None:
    with connected(target, unanswered=_UNANSWERED, refused=refused) as channel:
        response = risk_pb2_grpc.RiskServiceStub(channel).SetTradingState(request, timeout=TIMEOUT_S)
    is_killed = response.trading_state.mode == pb.TRADING_MODE_KILLED
    if json:
        typer.echo(as_json(response))
    else:
        typer.echo(_line(response.trading_state))
        if is_killed:
            typer.echo(_progress(response))
    if is_killed and not response.all_gone:
        raise typer.Exit(EXIT_NOT_GONE)


def _line(state: pb.TradingState) -> str:
    name = pb.TradingMode.Name(state.mode).removeprefix(_PREFIX)
    if not state.version:
        return f"{name} (version 0: never set)"
    since = state.set_time.ToDatetime().isoformat(sep=" ", timespec="seconds")
    by = f"{state.set_by}, by itself" if state.automatic else state.set_by
    reason = f": {state.reason}" if state.reason else ""
    return f"{name} since {since} UTC, set by {by} (version {state.version}){reason}"


def _progress(response: pb.SetTradingStateResponse) -> str:
    states = Counter(trading_pb2.OrderState.Name(result.state) for result in response.canceled)
    orders = ", ".join(f"{count} {name.removeprefix('ORDER_STATE_')}" for name, count in sorted(states.items()))
    covered = f"orders covered: {orders or 'none'}"
    if response.all_gone:
        return f"{covered}; nothing is open at the venue"
    return f"{covered}; cancels are still being tried: ask again with 'trading-gateway kill'"


def _mode(name: str) -> pb.TradingMode.ValueType:
    return pb.TradingMode.Value(_PREFIX + name.upper())
