"""`trading-gateway token`: the first token where no gateway runs, and all the others through one that does."""

from __future__ import annotations

import errno
import fcntl
import json
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from gateway.cli import token
from gateway.cli.roles import ROLES_HELP, Role, scopes_of
from gateway.domain.models.identity import EVERY_SCOPE, OPERATOR_SCOPES, Scope
from tests.clients.toolchains import ROOT
from tests.gateway_host import GatewayHost
from tests.test_access import Door
from tests.test_serve import NOBODY, ask
from trading_gateway import Client, GatewayError

SECRET = r"gw_emu_[0-9a-f]{8}_[A-Za-z0-9_-]{43}"


@pytest.fixture
def door(start_gateway: GatewayHost) -> Iterator[Door]:
    door = Door(start_gateway)
    yield door
    door.close()


def minted(*arguments: str) -> str:
    """The secret, as TOKEN=$(...) takes it."""
    done = ask("token", "mint", *arguments)
    assert done.exit_code == 0, done.stderr
    assert re.fullmatch(SECRET + "\n", done.stdout), done.stdout
    return done.stdout.strip()


def listed(*arguments: str, **extra: str) -> dict[str, dict[str, object]]:
    """By token id."""
    done = ask("token", "list", "--json", *arguments, **extra)
    assert done.exit_code == 0, done.stderr
    return {token["token_id"]: token for token in json.loads(done.stdout).get("tokens", [])}


def said(done: Result) -> tuple[int, str]:
    return done.exit_code, done.stderr


def test_the_first_token_is_made_where_no_gateway_runs(tmp_path: Path, start_gateway: GatewayHost) -> None:
    """It opens the gateway that starts on the directory afterwards; the log knows who made it."""
    folder = tmp_path / "data"
    secret = minted("--role", "operator", "--data-dir", str(folder))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert secret not in b"".join(path.read_bytes() for path in folder.iterdir()).decode(errors="replace")
    entries = [
        json.loads(line) for line in ask("audit", "list", "--json", "--data-dir", str(folder)).stdout.splitlines()
    ]
    assert [(one["actor"], one["action"], one["outcome"]) for one in entries] == [
        ("command line", "token_mint", "asked"),
        ("command line", "token_mint", "ok"),
    ]
    assert secret not in str(entries)
    gateway = start_gateway(authentication="required", data_dir=folder)
    assert list(listed("--target", gateway.target, GATEWAY_TOKEN=secret)) == [secret[7:15]]


def test_tokens_are_made_shown_rotated_and_revoked_in_a_running_gateway(door: Door, tmp_path: Path) -> None:
    operator = tmp_path / "operator"
    operator.write_text(door.mint("", OPERATOR_SCOPES).secret)
    to = ("--target", door.gateway.target, "--token-file", str(operator))
    bounds = ("--symbols", "AAPL,MSFT", "--max-order-notional", "5000", "--networks", "127.0.0.0/8", "--ttl", "12h")
    file = tmp_path / "momentum"
    made = ask("token", "mint", "--role", "trader", "--strategy", "momentum", *bounds, "--to-file", str(file), *to)
    assert (made.exit_code, made.stdout) == (0, ""), made.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = file.read_text().strip()
    assert re.fullmatch(SECRET, secret)
    assert secret not in made.stderr
    made_token = listed("--strategy", "momentum", *to)[secret[7:15]]
    assert made_token["scopes"] == sorted(scopes_of("trader", has_strategy=True))
    assert (made_token["symbols"], made_token["max_order_notional"], made_token["networks"]) == (
        ["AAPL", "MSFT"],
        "5000",
        ["127.0.0.0/8"],
    )

    with Client(door.gateway.target, token_file=file) as client:
        client.get_account()
        rotated = ask("token", "rotate", secret[7:15], "--overlap", "0s", "--to-file", str(file), *to)
        assert rotated.exit_code == 0, rotated.stderr
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        client.get_account(max_staleness_s=0)  # with the successor, which it found by itself
        newer = file.read_text().strip()
        assert newer != secret
        assert ask("token", "revoke", newer[7:15], *to).exit_code == 0
        with pytest.raises(GatewayError, match="TOKEN_INVALID"):
            client.get_account()
    assert listed("--strategy", "momentum", *to) == {}
    table = ask("token", "list", "--strategy", "momentum", "--all", *to).stdout
    assert re.search(rf"{newer[7:15]}\s+momentum\s.*only AAPL MSFT; at most 5000 USD an order.*revoked", table)


def test_a_secret_does_not_go_over_another_one_and_none_is_made_that_cannot_be_kept(tmp_path: Path) -> None:
    folder, file = tmp_path / "data", tmp_path / "token"
    file.write_text("somebody's")
    mint = ("token", "mint", "--role", "operator", "--data-dir", str(folder))
    for path, why in ((file, "exists"), (tmp_path / "nowhere" / "token", "cannot be written")):
        done = ask(*mint, "--to-file", str(path))
        assert (done.exit_code, why in done.stderr) == (1, True), done.stderr
    assert listed("--data-dir", str(folder)) == {}
    assert (file.read_text(), sorted(path.name for path in tmp_path.iterdir())) == ("somebody's", ["data", "token"])


def test_a_directory_that_is_none_is_not_made_into_one(tmp_path: Path) -> None:
    for command in (("list",), ("rotate", "00000000"), ("revoke", "00000000")):
        code, words = said(ask("token", *command, "--data-dir", str(tmp_path / "dota")))
        assert (code, "is no data directory" in words) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_secret_that_cannot_be_written_is_told_to_be_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(token.os, "replace", full)
    folder, file = tmp_path / "data", tmp_path / "token"
    done = ask("token", "mint", "--role", "operator", "--data-dir", str(folder), "--to-file", str(file))
    monkeypatch.undo()
    assert (done.exit_code, "No space left" in done.stderr) == (1, True), done.stderr
    (token_id,) = listed("--data-dir", str(folder))
    assert f"token revoke {token_id}" in done.stderr
    assert list(tmp_path.iterdir()) == [folder]


def test_a_directory_that_a_gateway_holds_is_left_alone(tmp_path: Path) -> None:
    with (tmp_path / "gateway.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, words = said(ask("token", "mint", "--role", "operator", "--data-dir", str(tmp_path)))
    assert (code, "another gateway runs" in words, "leave out --data-dir" in words) == (1, True, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "say what it may do"),
        (("--role", "trader"), "--strategy: is required"),
        (("--role", "reader", "--max-order-notional", "1e3"), "--max-order-notional: must be"),
        (("--scopes", "orders:everything", "--networks", "10.0.0"), "--networks[0]: must be a network"),
        (("--role", "reader", "--ttl", "90"), "give a number and a unit"),
        (("--role", "reader", "--ttl", "9000d"), "ttl"),
        (("--role", "reader", "--venue", "moon"), "is no venue"),
        (("--role", "reader", "--token", "gw_emu_..."), "No such option"),
    ],
)
def test_what_makes_no_token_is_refused_in_plain_words(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    code, words = said(ask("token", "mint", *arguments, "--data-dir", str(tmp_path)))
    assert (code, told in words) == (2, True), words


def test_refusals_say_what_to_do(door: Door) -> None:
    to = ("--target", door.gateway.target)
    assert "The very first is made while the gateway is down" in ask("token", "list", *to).stderr
    assert "misspelt, was revoked" in ask("token", "list", *to, GATEWAY_TOKEN="gw_emu_wrong").stderr
    reader = door.mint(scopes=frozenset({Scope.MARKET_DATA_READ})).secret
    assert (
        "has the scope operations:admin or operations:read:" in ask("token", "list", *to, GATEWAY_TOKEN=reader).stderr
    )
    away = ask("account", "--target", "gateway.example:50051", GATEWAY_TOKEN=reader)
    assert (away.exit_code, "not sent in plain text" in away.stderr, reader in away.stderr) == (2, True, False)
    assert "--data-dir DIR" in ask("token", "list", "--target", NOBODY).stderr
    operator = door.mint("", OPERATOR_SCOPES).secret
    nobodys = ask("token", "mint", "--role", "trader", *to, GATEWAY_TOKEN=operator)
    assert (nobodys.exit_code, nobodys.stderr.startswith("--strategy: is required")) == (2, True), nobodys.stderr
    no_id = ask("token", "revoke", operator, *to, GATEWAY_TOKEN=operator)
    assert (no_id.exit_code, no_id.stderr.startswith("TOKEN_ID: must be 8"), operator in no_id.stderr) == (
        2,
        True,
        False,
    )


def test_a_role_is_nothing_but_scopes() -> None:
    """A trader cannot touch others, a reader cannot trade, and an operator does not trade in a strategy's name."""
    assert Scope.ORDERS_TRADE in scopes_of("trader", has_strategy=True)
    for role in ("trader", "reader"):
        forbidden = {Scope.ORDERS_CANCEL_ANY, Scope.RISK_ADMIN, Scope.OPERATIONS_ADMIN, Scope.ACCOUNT_READ_SENSITIVE}
        assert not scopes_of(role, has_strategy=True) & forbidden
    assert Scope.ORDERS_TRADE not in scopes_of("reader", has_strategy=True) | scopes_of("operator", has_strategy=False)
    assert Scope.ORDERS_READ_ANY not in scopes_of("reader", has_strategy=True)
    assert scopes_of("reader", has_strategy=False) <= OPERATOR_SCOPES
    shown = ask("token", "mint", "--help", COLUMNS="400").stdout
    assert [role for role in Role if f"{role}: " in shown] == list(Role)
    assert all(scope in ROLES_HELP for scope in scopes_of("trader", has_strategy=True))


def test_the_page_shows_commands_that_work(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """README.md, "Who may do what", with the id that the first one tells."""
    section = (ROOT / "README.md").read_text().partition("## Who may do what")[2].partition("## Tokens and TLS")[0]
    commands = re.findall(r"^\$ \.venv/bin/trading-gateway (token .*)$", section, re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["mint", "rotate", "revoke"]
    monkeypatch.chdir(tmp_path)
    shown = {"GATEWAY_TOKEN": door.mint("", OPERATOR_SCOPES).secret, "GATEWAY_TARGET": door.gateway.target}
    token_id = ""
    for command in commands:
        done = ask(*(token_id if re.fullmatch("[0-9a-f]{8}", word) else word for word in shlex.split(command)), **shown)
        assert done.exit_code == 0, done.stderr
        token_id = token_id or (tmp_path / "momentum.token").read_text()[7:15]
    scopes = set(re.findall(r"`([a-z_]+:[a-z_]+)`", section))
    assert scopes == {scope.value for scope in EVERY_SCOPE}
