"""The clients, the examples and the cookbook against the gateway itself."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import HOSTS, Authority
from tests.clients import cookbook
from tests.clients.cutting import CuttableWire
from tests.clients.toolchains import ROOT, find, missing, run_go
from tests.gateway_host import GatewayHost
from trading_gateway import Client, GatewayError, KeyFate, OrderRef, lag_s, new_key
from trading_gateway.access import VARIABLES
from trading_gateway.v1 import trading_pb2 as pb

MARKET: Any = {"symbol": "AAPL", "quantity": "3", "order_type": "market", "time_in_force": "day"}
STORY = (
    r"[0-9.]+ USD in cash; watching AAPL\n"
    r"offer turned up to [0-9.]+: buying 2\n"
    r".*filled 2 .*[0-9.]+\n"
    r"position: 2 AAPL at [0-9.]+ on average\n"
)


@pytest.fixture
def wire(gateway: Any) -> Iterator[CuttableWire]:
    """A wire to the gateway that can be cut."""
    cuttable = CuttableWire(gateway.target)
    yield cuttable
    cuttable.stop()


def test_quotes_orders_and_positions(gateway: Any, connect: Callable[..., Any]) -> None:
    client = connect(gateway.target)
    began = time.monotonic()
    quotes = client.stream_quotes(["AAPL", "MSFT"])
    first = next(quotes)
    assert time.monotonic() - began < 1
    assert first.batch_sequence == 1
    batch = next(batch for batch in quotes if batch.quotes)
    quotes.close()
    assert 0 <= lag_s(batch) < 1
    assert {quote.symbol for quote in batch.quotes} <= {"AAPL", "MSFT"}
    assert not any(quote.stale for quote in batch.quotes)

    key = new_key()
    answer = client.submit_order(client_order_id=key, side="buy", **MARKET)
    order = client.wait_for(answer.order, timeout_s=20)
    assert (order.state, order.filled_quantity) == (pb.ORDER_STATE_FILLED, "3")
    again = client.submit_order(client_order_id=key, side="buy", **MARKET)
    assert (again.replayed, again.order.order_id, again.order.state) == (True, order.order_id, pb.ORDER_STATE_FILLED)
    assert client.get_order(OrderRef(client_order_id=key)).order_id == order.order_id
    with pytest.raises(GatewayError, match="CLIENT_ORDER_ID_REUSED") as caught:
        client.submit_order(client_order_id=key, side="sell", **MARKET)
    assert caught.value.key is KeyFate.TAKEN

    position = client.get_position("AAPL", max_staleness_s=0)
    assert Decimal(position.quantity) == 3
    cash_spent = Decimal(order.filled_average_price) * 3
    before = client.get_account(max_staleness_s=0)
    assert Decimal(before.equity) - Decimal(before.cash) == pytest.approx(cash_spent, rel=Decimal("0.05"))
    closing = client.close_position("AAPL", client_order_id=new_key("close"))
    assert client.wait_for(closing.order, timeout_s=20).state == pb.ORDER_STATE_FILLED
    assert [order.spec.side for order in client.list_orders(page_size=1)] == [pb.ORDER_SIDE_SELL, pb.ORDER_SIDE_BUY]


def test_a_waiting_order_is_changed_and_canceled(gateway: Any, connect: Callable[..., Any]) -> None:
    client = connect(gateway.target)
    limit: Any = {**MARKET, "order_type": "limit", "limit_price": Decimal("50")}
    preview = client.preview_order(side="buy", **limit)
    assert preview.would_be_accepted
    order = client.submit_order(client_order_id=new_key(), side="buy", **limit).order
    client.wait_for(order, until=lambda one: one.state == pb.ORDER_STATE_WORKING, timeout_s=20)
    client.replace_order(order, client_order_id=new_key(), limit_price="51.25", quantity=4)
    changed = client.wait_for(order, until=lambda one: one.spec.limit_price == "51.25", timeout_s=20)
    assert (changed.spec.quantity, changed.order_id) == ("4", order.order_id)
    assert client.cancel_order(order, wait_for_terminal_s=5).order.state == pb.ORDER_STATE_CANCELED
    with pytest.raises(GatewayError, match=r"FIELD_INVALID|ORDER_COMBINATION") as caught:
        client.submit_order(client_order_id=new_key(), side="buy", **{**limit, "limit_price": None})
    assert caught.value.key is KeyFate.FREE


def test_positions_are_closed_by_orders_of_ours(gateway: Any, connect: Callable[..., Any]) -> None:
    """Alpaca's routes that close and that cancel everything know no key, and act for every program at once."""
    client = connect(gateway.target)
    for symbol in ("AAPL", "MSFT"):
        bought = client.submit_order(client_order_id=new_key(), side="buy", **{**MARKET, "symbol": symbol}).order
        client.wait_for(bought, timeout_s=20)
    resting: Any = {**MARKET, "order_type": "limit", "limit_price": "50"}
    client.wait_for(
        client.submit_order(client_order_id=new_key(), side="buy", **resting).order,
        until=lambda one: one.state == pb.ORDER_STATE_WORKING,
        timeout_s=20,
    )
    client.cancel_orders()
    first = client.close_position("AAPL", client_order_id="first")
    assert (first.order.spec.reduce_only, first.order.venue_client_order_id) == (True, "default.first")
    client.wait_for(first.order, timeout_s=20)
    for result in client.close_positions(client_order_id_prefix="rest").results:
        client.wait_for(result.response.order, timeout_s=20)
    assert list(client.list_positions(max_staleness_s=0).positions) == []
    asked = set(gateway.emulator.emulator.app.gate.requests)
    assert [route for route in asked if route.startswith("DELETE /v2/positions") or route == "DELETE /v2/orders"] == []
    assert any(route.startswith("DELETE /v2/orders/") for route in asked)


def test_reference_and_history(gateway: Any, connect: Callable[..., Any]) -> None:
    client = connect(gateway.target)
    assert client.get_asset("BTC/USD").symbol == "BTC/USD"
    assert client.get_market_clock().HasField("time")
    assert client.list_market_days()[0].HasField("open_time")
    symbols = [asset.symbol for asset in client.list_assets(page_size=5)]
    assert len(symbols) == len(set(symbols)) > 5
    assert {quote.symbol for quote in client.get_latest_quotes(["AAPL", "MSFT"]).quotes} == {"AAPL", "MSFT"}
    assert client.get_snapshots("AAPL").snapshots[0].latest_trade.price > 0
    bars = list(itertools.islice(client.list_bars("AAPL", unit="minute", page_size=2), 5))
    assert bars == sorted(bars, key=lambda bar: bar.start_time.ToNanoseconds())


def test_the_order_stream_survives_cut_wires(gateway: Any, wire: CuttableWire, connect: Callable[..., Any]) -> None:
    """Every event once, in order, though the wire is cut between any two orders."""
    follower, trader = connect(wire.target), connect(gateway.target)
    updates = follower.stream_order_updates(heartbeat_interval_s=1)
    while next(updates).WhichOneof("payload") != "snapshot_end":
        pass
    sequences: list[int] = []
    cuts = 0
    for _ in range(4):
        answer = trader.submit_order(client_order_id=new_key(), side="buy", **MARKET)
        order = trader.wait_for(answer.order, timeout_s=20)
        cuts += wire.cut()  # none, when what came before the last cut is still being read from memory
        for update in updates:
            if update.WhichOneof("payload") == "event":
                sequences.append(update.sequence)
                event = update.event
                if (event.order.order_id, event.order.state) == (order.order_id, pb.ORDER_STATE_FILLED):
                    break
    updates.close()
    assert cuts >= 2
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


def test_a_kept_token_continues_in_another_process(gateway: Any) -> None:
    """What a strategy does after its own restart: the events of the meantime come first."""
    with Client(gateway.target) as client:
        token = next(client.stream_order_updates(live_only=True, heartbeat_interval_s=1)).resume_token
        order = client.submit_order(client_order_id=new_key(), side="buy", **MARKET).order
        client.wait_for(order, timeout_s=20)
    with Client(gateway.target) as client:
        missed = client.stream_order_updates(resume_token=token)
        kinds = [next(missed).event.kind]
        while kinds[-1] != pb.OrderEvent.KIND_FILL:
            kinds.append(next(missed).event.kind)
        assert kinds[0] == pb.OrderEvent.KIND_RECORDED


def test_quotes_survive_a_cut_wire_and_tell_the_hole(wire: CuttableWire, connect: Callable[..., Any]) -> None:
    quotes = connect(wire.target).stream_quotes("AAPL")
    next(batch for batch in quotes if batch.quotes)
    assert wire.cut() == 1
    after = next(batch for batch in quotes if batch.status.gaps)
    assert after.batch_sequence == 1
    assert [gap.feed for gap in after.status.gaps] == ["gateway"]
    assert next(batch for batch in quotes if batch.quotes)
    quotes.close()


def test_streams_survive_a_restart_of_the_gateway(start_gateway: Any, connect: Callable[..., Any]) -> None:
    """It drains, and another life of it takes the address: a snapshot begins, the hole in the quotes is told."""
    first = start_gateway()
    client = connect(first.target)
    updates, quotes = client.stream_order_updates(heartbeat_interval_s=1), client.stream_quotes("AAPL")
    while next(updates).WhichOneof("payload") != "snapshot_end":
        pass
    next(batch for batch in quotes if batch.quotes)
    first.drain()
    start_gateway(first.emulator, listen=first.target)
    assert any(update.WhichOneof("payload") == "snapshot_begin" for update in updates)
    gaps = next(batch.status.gaps for batch in quotes if batch.status.gaps)
    assert [gap.feed for gap in gaps] == ["gateway"]
    updates.close()
    quotes.close()
    order = client.submit_order(client_order_id=new_key(), side="buy", **MARKET).order
    assert client.wait_for(order, timeout_s=20).state == pb.ORDER_STATE_FILLED


def test_the_first_strategy_in_python(gateway: Any) -> None:
    example = ROOT / "clients" / "python" / "examples" / "first_strategy.py"
    done = subprocess.run(
        [sys.executable, example, "--symbol", "AAPL", "--quantity", "2"],
        env={**os.environ, "GATEWAY_TARGET": gateway.target},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(STORY, done.stdout), done.stdout


def survivor_in_go(gateway: Any, state: Path) -> str:
    """What the same strategy in Go prints."""
    return run_go("run", "./cmd/survivingstrategy", "-state", str(state), "-target", gateway.target)


def survivor(gateway: Any, state: Path) -> str:
    """What the surviving strategy prints, run to its end."""
    example = ROOT / "clients" / "python" / "examples" / "surviving_strategy.py"
    done = subprocess.run(
        [sys.executable, example, "--state", state, "--target", gateway.target],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "survivor",
    [survivor, pytest.param(survivor_in_go, marks=[pytest.mark.slow, pytest.mark.timeout(300)])],
    ids=["python", "go"],
)
def test_the_surviving_strategy_goes_on_where_it_was_killed(
    gateway: Any, tmp_path: Path, survivor: Callable[[Any, Path], str]
) -> None:
    """Killed right after its order left: the next run sends nothing, and is told every event from the first on."""
    state = tmp_path / "state.json"
    with Client(gateway.target) as client:
        token = next(client.stream_order_updates(live_only=True)).resume_token
        bought: Any = {**MARKET, "quantity": "1"}
        order = client.submit_order(client_order_id="survivor-1", side="buy", **bought).order
        client.wait_for(order, timeout_s=20)
        state.write_text(json.dumps({"key": "survivor-1", "token": token, "filled": "0", "done": False}))
        story = survivor(gateway, state)
        last = next(update.sequence for update in client.stream_order_updates() if update.HasField("snapshot_end"))
    assert [int(line.partition(":")[0]) for line in story.splitlines()] == list(range(1, last + 1))
    assert re.search(r"filled 1 at [0-9.]+$", story)
    assert gateway.emulator.requests("POST /v2/orders") == 1
    assert survivor(gateway, state) == "done in an earlier run: 1 filled\n"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_first_strategy_in_go(gateway: Any) -> None:
    story = run_go("run", "./cmd/firststrategy", "-target", gateway.target, "-symbol", "AAPL", "-quantity", "2")
    assert re.fullmatch(STORY, story), story


@pytest.mark.slow
@pytest.mark.parametrize("readme", cookbook.READMES, ids=lambda readme: str(readme.relative_to(ROOT)))
@pytest.mark.parametrize("tool", ["grpcurl", "buf"])
def test_a_page_does_what_it_shows(gateway: Any, tool: str, readme: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands one after the other, on a fresh gateway."""
    if tool == "buf":
        monkeypatch.setattr(cookbook, "find", lambda name: None)
    elif find("grpcurl") is None:
        missing("grpcurl is not installed (the same calls run through buf curl): see clients/README.md")
    found = cookbook.recipes(readme)
    assert len(found) >= 2
    token = ""
    for recipe in found:
        assert recipe.promises or not recipe.shown.strip("{}\n"), f"nothing is shown for {recipe.command}"
        code, output = cookbook.run(recipe, gateway.target, token)
        token = cookbook.newest_token(output) or token
        assert code == recipe.code, f"{recipe.command}\n{output}"
        assert {promise for promise in recipe.promises if promise not in output} == set(), f"{recipe.command}\n{output}"


def test_the_page_with_a_token_and_tls_does_what_it_shows(
    start_gateway: GatewayHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commands one after the other, in a folder that has the certificates; a new gateway is what `serve` is."""
    if (grpcurl := find("grpcurl")) is None:
        missing("grpcurl is not installed: see clients/README.md")
    for name in (*VARIABLES, "GATEWAY_TARGET"):
        monkeypatch.delenv(name, raising=False)
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    authority.sign(*HOSTS).write(tmp_path)
    environment = {**os.environ, "GATEWAY_TLS_CA": "ca.pem", "GATEWAY_TOKEN_FILE": "momentum.token"}
    target, ran = "", []
    for recipe in cookbook.guarded_commands(ROOT / "clients" / "README.md"):
        program, *arguments = recipe.arguments
        tool = Path(program).name
        if arguments[0] == "serve":
            monkeypatch.chdir(tmp_path)
            names = dict(zip(arguments[1::2], arguments[2::2], strict=True))
            settings = {name.removeprefix("--").replace("-", "_"): value for name, value in names.items()}
            target = start_gateway(**settings).target
            environment["GATEWAY_TARGET"] = target
            continue
        if tool == "export":
            environment["GATEWAY_TOKEN"] = (tmp_path / "momentum.token").read_text().strip()
            continue
        if tool == "python":
            arguments[0] = str(ROOT / arguments[0])
        command = {
            "grpcurl": [str(grpcurl)],
            "trading-gateway": [sys.executable, "-m", "gateway"],
            "python": [sys.executable],
        }[tool] + [target if argument == cookbook.DEFAULT_TARGET else argument for argument in arguments]
        shown = {name: text for name, text in environment.items() if tool == "grpcurl" or name != "GATEWAY_TOKEN"}
        shown["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(ROOT / "clients" / "python")))
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50, cwd=tmp_path, env=shown)
        output = done.stdout + done.stderr
        assert done.returncode == (64 + recipe.code if recipe.code else 0), f"{recipe.command}\n{output}"
        assert {promise for promise in recipe.promises if promise not in output} == set(), f"{recipe.command}\n{output}"
        assert environment.get("GATEWAY_TOKEN", "gw_") not in " ".join(command)
        ran.append(tool)
    assert ran.count("grpcurl") >= 4
    assert {"trading-gateway", "python"} <= set(ran)
