"""`trading-gateway audit`: beside a running gateway, and over a log that somebody changed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.cli.process import Gateway
from gateway.config import Settings
from gateway.domain.models.audit import AuditAction, AuditEntry
from gateway.domain.types import Authentication
from gateway.infrastructure.persistence.audit_log import SqliteAuditLog
from gateway.infrastructure.persistence.database import FILE_NAME, Database
from gateway.services.audit import AuditService
from tests.bad_requests import submit
from tests.gateway_host import GatewayHost
from tests.refusals import Wire
from tests.test_serve import ask
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
