"""`trading-gateway audit`: beside a running gateway, and over a log that somebody changed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from gateway.application.alarms import Alarms
from gateway.cli.app import app
from gateway.cli.process import Gateway
from gateway.config import Settings
from gateway.domain.models.audit import AuditAction, AuditEntry
from gateway.domain.models.risk import TradingMode
from gateway.domain.types import Authentication
from gateway.infrastructure.kill_file import KILL_FILE
from gateway.infrastructure.persistence.audit_log import SqliteAuditLog
from gateway.infrastructure.persistence.database import FILE_NAME, Database
from gateway.services.audit import AuditService
from tests.bad_requests import submit
from tests.gateway_host import GatewayHost
from tests.refusals import Wire
from tests.test_serve import ask
from tests.test_stopping import until
from trading_gateway.v1 import risk_pb2 as risk

RUNNER = CliRunner()


def ran(*arguments: str) -> tuple[int, str]:
    """Exit code, and what was printed."""
    result = RUNNER.invoke(app, ["audit", *arguments])
    return result.exit_code, result.output


def test_a_gateway_that_nobody_could_come_into_leaves_no_end_without_a_beginning(tmp_path: Path) -> None:
    """All tokens of the directory are another venue's: it is shut, and is not said to have stopped."""
    minted = ask("token", "mint", "--role", "operator", "--venue", "paper", "--data-dir", str(tmp_path))
    assert minted.exit_code == 0, minted.stderr
    settings = Settings(
        data_dir=tmp_path, venue_url="http://127.0.0.1:1", authentication=Authentication.REQUIRED, listen="127.0.0.1:0"
    )

    async def begin() -> bool:
        gateway = Gateway(settings)
        is_shut = gateway.is_shut
        await gateway.stop()
        return is_shut

    assert asyncio.run(begin())
    told = [json.loads(line)["action"] for line in ran("list", "--data-dir", str(tmp_path), "--json")[1].splitlines()]
    assert told == ["token_mint", "token_mint"]


def test_the_log_tells_who_did_what_and_shows_a_change(start_gateway: GatewayHost, tmp_path: Path) -> None:
    gateway = start_gateway(data_dir=tmp_path)
    stranger = Wire(gateway.target, headers=(("authorization", "Bearer gw_emu_0"),))
    assert stranger.refusal("SubmitOrder", submit()).reason == "TOKEN_INVALID"
    stranger.close()
    wire = Wire(gateway.target)
    wire.call("SetTradingState", risk.SetTradingStateRequest(mode=risk.TRADING_MODE_HALTED, reason="lunch"))
    wire.close()
    audit: AuditService = gateway.gateway.injector.get(AuditService)
    gateway.call(audit.write_notes())

    code, printed = ran("list", "--data-dir", str(tmp_path), "--json")
    told = [json.loads(line) for line in printed.splitlines()]
    assert code == 0
    assert [(entry["actor"], entry["action"], entry["subject"], entry["outcome"]) for entry in told][1:] == [
        ("127.0.0.1", "authentication_fail", "/trading_gateway.v1.TradingService/SubmitOrder", "TOKEN_INVALID"),
        ("local", "trading_state", "halted", "ok"),
    ]
    assert told[-1]["detail"]["reason"] == "lunch"
    head = f"{told[-1]['sequence']}:{told[-1]['hash']}"
    assert ran("verify", "--data-dir", str(tmp_path), "--head", head) == (0, f"3 entries, head {head}\nintact\n")
    assert ran("list", "--data-dir", str(tmp_path))[1].count("\n") == 3

    gateway.drain()
    ends = [json.loads(line)["action"] for line in ran("list", "--data-dir", str(tmp_path), "--json")[1].splitlines()]
    assert (ends[0], ends[-1], len(ends)) == ("gateway_start", "gateway_stop", 4)
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    with connection:
        connection.execute("DELETE FROM audit WHERE sequence >= 3")
    assert ran("verify", "--data-dir", str(tmp_path))[0] == 0
    assert ran("verify", "--data-dir", str(tmp_path), "--head", head) == (
        1,
        f"{ran('verify', '--data-dir', str(tmp_path))[1].splitlines()[0]}\nNOT INTACT: entry 3 is gone\n",
    )
    with connection:
        connection.execute("UPDATE audit SET actor = 'nobody' WHERE sequence = 2")
    connection.close()
    code, printed = ran("verify", "--data-dir", str(tmp_path))
    assert code == 1
    assert "NOT INTACT: entry 2 is not what was recorded" in printed


def test_every_change_of_the_trading_state_is_on_record(start_gateway: GatewayHost, tmp_path: Path) -> None:
    """Asked for, by file, by signal, by the gateway itself, and each way back; the next life says where it begins."""
    gateway = start_gateway(data_dir=tmp_path)
    wire, version = Wire(gateway.target), 0

    def set_to(mode: risk.TradingMode.ValueType) -> None:
        wire.call("SetTradingState", risk.SetTradingStateRequest(mode=mode, reason="why", expected_version=version))

    def is_killed() -> bool:
        state = wire.call("GetTradingState", risk.GetTradingStateRequest()).trading_state
        return bool(state.mode == risk.TRADING_MODE_KILLED)

    set_to(risk.TRADING_MODE_REDUCING)
    version = 1
    set_to(risk.TRADING_MODE_ACTIVE)
    alarms = gateway.gateway.injector.get(Alarms)
    gateway.call(on_loop(lambda: alarms.trip("drift", TradingMode.REDUCING, "a holding")))
    gateway.call(gateway.gateway.halt("a crash loop", "start"))
    version = 4
    set_to(risk.TRADING_MODE_ACTIVE)
    gateway.call(on_loop(lambda: gateway.gateway.kill("USR1", "signal")))
    until(is_killed)
    version = 6
    set_to(risk.TRADING_MODE_HALTED)
    (tmp_path / KILL_FILE).touch()
    until(is_killed)
    wire.close()
    gateway.drain()

    told = [json.loads(line) for line in ran("list", "--data-dir", str(tmp_path), "--json")[1].splitlines()]
    changes = [
        (one["actor"], one["subject"], one["detail"]["automatic"], one["detail"]["version"])
        for one in told
        if one["action"] == "trading_state"
    ]
    assert changes == [
        ("local", "reducing", "false", "1"),
        ("local", "active", "false", "2"),
        ("drift", "reducing", "true", "3"),
        ("start", "halted", "true", "4"),
        ("local", "active", "false", "5"),
        ("signal", "killed", "false", "6"),
        ("local", "halted", "false", "7"),
        ("file", "killed", "false", "8"),
    ]
    start_gateway(data_dir=tmp_path).drain()
    *_, begun, _ = [json.loads(line) for line in ran("list", "--data-dir", str(tmp_path), "--json")[1].splitlines()]
    assert (begun["action"], begun["detail"]) == (
        "gateway_start", {"trading_state": "killed", "trading_state_version": "8"},
    )  # fmt: skip
    assert ran("verify", "--data-dir", str(tmp_path))[0] == 0


async def on_loop(act: Callable[[], None]) -> None:
    """What the gateway's own parts do at once; what it has begun goes on after it."""
    act()
    await asyncio.sleep(0)


def test_words_of_strangers_move_no_terminal_and_make_no_line(tmp_path: Path) -> None:
    async def write() -> None:
        database = Database(tmp_path, 1, lambda: "00" * 16)
        forged = AuditEntry(1, "x\x1b[2J", AuditAction.TRADING_STATE, "a\n     2  forged", "ok", {"reason": "é\u202e"})
        await SqliteAuditLog(database).append([forged])
        await database.close()

    asyncio.run(write())
    printed = ran("list", "--data-dir", str(tmp_path))[1]
    assert printed.count("\n") == 1
    assert "x\\x1b[2J  trading_state  a\\n     2  forged  ok  reason=é\\u202e" in printed


def test_a_folder_without_a_log_is_named(tmp_path: Path) -> None:
    code, printed = ran("verify", "--data-dir", str(tmp_path))
    assert code == 1
    assert "no data directory" in printed
