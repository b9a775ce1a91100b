"""The record: what really happened, whatever anybody was told, and that it outlives who wrote it."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from gateway.domain.models.simulation import LedgerKind
from gateway.emulator import record as record_module
from gateway.emulator.record import BODY_BYTES_MAX, RECORD_FILE, Record, RecordError
from tests.emulator.host import EmulatorHost, RunningEmulator
from tests.emulator.rest_client import RestClient
from tests.emulator.test_order_stream import listening

MARKET = {"type": "market", "limit_price": None, "time_in_force": "day"}


def entries(rest: RestClient, **query: object) -> list[dict]:
    found, following = [], 1
    while following:
        page = rest.get("/emulator/v1/ledger", **{"from": following, **query})
        found += page["entries"]
        following = page["next"]
    return found


def of_kind(found: list[dict], kind: str) -> list[dict]:
    return [entry for entry in found if entry["kind"] == kind]


def test_an_order_leaves_its_whole_trace(rest: RestClient) -> None:
    order = rest.order(client_order_id="one", **MARKET).json()
    rest.ask("DELETE", f"/v2/orders/{order['id']}")
    found = entries(rest)
    assert [entry["sequence"] for entry in found] == list(range(1, len(found) + 1))
    assert all(former["time_ns"] <= later["time_ns"] for former, later in pairwise(found))
    asked, *changed, answered = [entry for entry in found if entry["kind"] != "EVENT"][:-2]
    assert asked.items() >= {"kind": "REQUEST", "route": "POST /v2/orders", "symbol": "AAPL",
                             "venue_client_order_id": "one"}.items()  # fmt: skip
    assert json.loads(asked["body"])["qty"] == "1"
    assert [(entry["kind"], entry.get("venue_status")) for entry in changed] == [
        ("ORDER", "new"),
        ("ORDER", "filled"),
        ("EXECUTION", None),
    ]
    execution = changed[-1]
    assert (execution["side"], execution["quantity"], float(execution["price"]) > 1) == ("buy", "1", True)
    assert {entry["venue_order_id"] for entry in (*changed, answered)} == {order["id"]}
    assert (answered["http_status"], json.loads(answered["body"])) == (200, order)
    canceling, refused = found[-2:]
    assert canceling["route"] == f"DELETE /v2/orders/{order['id']}"
    assert (refused["kind"], refused["http_status"], refused["venue_order_id"]) == ("RESPONSE", 422, order["id"])


async def test_events_are_recorded_as_they_were_put_on_the_feed(emulator: RunningEmulator) -> None:
    rest = RestClient(emulator)
    async with listening(emulator):
        for fault in ("event_dropped", "event_duplicated", "event_unknown"):
            emulator.fault(fault)
        for number in range(4):
            await asyncio.to_thread(rest.order, client_order_id=f"key-{number}")
        found = await asyncio.to_thread(entries, rest)
    events = of_kind(found, "EVENT")
    assert [event["venue_client_order_id"] for event in events] == ["key-1", "key-1", "key-2", "key-3"]
    fired = of_kind(found, "FAULT")
    assert [json.loads(fault["body"])["fault"] for fault in fired] == [
        "event_dropped",
        "event_duplicated",
        "event_unknown",
    ]
    assert [event.get("fault_id") for event in events] == [fired[1]["fault_id"]] * 2 + [fired[2]["fault_id"], None]
    assert [json.loads(event["body"])["event"] for event in events] == ["new", "new", "pending_emulation", "new"]
    rest.close()


@pytest.mark.parametrize("fault", ["request_lost", "answer_lost", "http_500", "http_504_accepted"])
def test_a_request_is_recorded_whatever_becomes_of_it(rest: RestClient, fault: str) -> None:
    rest.ask("POST", "/emulator/v1/faults", json={"fault": fault})
    try:
        rest.order(client_order_id="struck")
    except requests.exceptions.ConnectionError:
        assert fault in ("request_lost", "answer_lost")
    found = entries(rest)
    asked, fired = found[0], found[1]
    assert (asked["kind"], asked["venue_client_order_id"], fired["kind"]) == ("REQUEST", "struck", "FAULT")
    assert asked["fault_id"] == fired["fault_id"]
    made = of_kind(found, "RESPONSE")
    assert [answer["http_status"] for answer in made] == {"request_lost": [], "http_500": [500]}.get(fault, [200])
    assert len(of_kind(found, "ORDER")) == (fault in ("answer_lost", "http_504_accepted"))


def test_what_no_event_tells_is_recorded_all_the_same(start_emulator: EmulatorHost) -> None:
    """Legs that wait for their parent are orders too."""
    rest = RestClient(start_emulator())
    rest.order(
        order_class="bracket", take_profit={"limit_price": "900"}, stop_loss={"stop_price": "50"}, limit_price="100"
    )
    orders = {entry["venue_order_id"] for entry in of_kind(entries(rest), "ORDER")}
    assert len(orders) == 3
    rest.close()


def test_pages_filters_and_refusals(rest: RestClient) -> None:
    for number in range(5):
        rest.order(symbol="MSFT" if number % 2 else "AAPL", client_order_id=f"key-{number}")
    everything = entries(rest)
    assert entries(rest, limit=2) == everything
    assert entries(rest, symbol="MSFT") == [entry for entry in everything if entry.get("symbol") == "MSFT"] != []
    assert entries(rest, kind="REQUEST,ORDER", limit=3) == [
        entry for entry in everything if entry["kind"] in ("REQUEST", "ORDER")
    ]
    assert rest.get("/emulator/v1/ledger", **{"from": 10_000}) == {"entries": [], "next": 0}
    for query in ({"kind": "GOSSIP"}, {"limit": 10_001}, {"from": -1}):
        assert rest.ask("GET", "/emulator/v1/ledger", params=query).status_code == 422


def test_it_goes_on_where_it_stopped(start_emulator: EmulatorHost, tmp_path: Path) -> None:
    first = start_emulator(data_dir=tmp_path)
    rest = RestClient(first)
    first.fault("arrives_late", delay_ms=60_000)
    with pytest.raises(requests.exceptions.ConnectionError):
        rest.order(client_order_id="never")
    rest.order(client_order_id="one")
    rest.close()
    first.stop()
    lines = [json.loads(line) for line in (tmp_path / RECORD_FILE).read_bytes().splitlines()]
    assert lines[-1]["kind"] == "FAULT", "what was to arrive late never did, and it says so"
    assert json.loads(lines[-1]["body"]) == {"fault": "arrives_late", "never_arrived": True}
    assert lines[-1]["venue_client_order_id"] == "never"
    with (tmp_path / RECORD_FILE).open("ab") as file:
        file.write(b'{"sequence":99')  # its last writer was killed
    rest = RestClient(second := start_emulator(data_dir=tmp_path))
    assert second.fault("http_500").fault_id == str(len(lines) + 1), "fault ids are not used twice in one record"
    assert rest.order().status_code == 500
    found = entries(rest)
    assert found[: len(lines)] == lines
    assert [entry["sequence"] for entry in found] == list(range(1, len(found) + 1))
    rest.close()


def test_what_is_written_is_on_its_way_to_the_disk_soon(start_emulator: EmulatorHost, tmp_path: Path) -> None:
    rest = RestClient(start_emulator(data_dir=tmp_path))
    rest.order(client_order_id="soon")
    give_up_at = time.monotonic() + 5
    while b"soon" not in (tmp_path / RECORD_FILE).read_bytes():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    rest.close()


def test_another_file_is_not_taken_for_a_record(tmp_path: Path) -> None:
    path = tmp_path / RECORD_FILE
    path.write_bytes(b'{"sequence":1,"kind":"REQUEST"}\n{"sequence":3,"kind":"REQUEST"}\n')
    with pytest.raises(RecordError, match="move it away"):
        Record(path, lambda: 0)


def test_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record(None, lambda: 7, bytes_max=100_000)
    record.add(LedgerKind.RESPONSE, body=b"x" * (BODY_BYTES_MAX + 1))
    record.add(LedgerKind.RESPONSE, body=b"y" * BODY_BYTES_MAX)
    (left_out, kept), _ = record.page(1, 10)
    assert "body" not in left_out
    assert len(kept["body"]) == BODY_BYTES_MAX
    monkeypatch.setattr(record_module, "PAGE_BYTES_MAX", 40_000)
    for _ in range(20):
        record.add(LedgerKind.RESPONSE, body=b"z" * BODY_BYTES_MAX)
    assert record.is_full
    last = record.sequence
    record.add(LedgerKind.RESPONSE)
    assert record.sequence == last < 10
    pages, following = [], 1
    while following:
        page, following = record.page(following, 1_000)
        pages.append(len(page))
    assert sum(pages) == last
    assert max(pages[1:]) == 2, "40 kB hold two bodies"
    record.close()


def test_a_long_record_is_found_again_from_anywhere() -> None:
    record = Record(None, lambda: 7)
    for number in range(1, 2_001):
        record.add(LedgerKind.ORDER, symbol="MSFT" if number == 1_500 else "AAPL")
    for first in (1, 255, 256, 257, 512, 513, 1_999, 2_000):
        page, following = record.page(first, 1)
        assert page[0]["sequence"] == first
        assert following == (0 if first == 2_000 else first + 1)
    (found,), _ = record.page(1, 10, symbol="MSFT")
    assert found["sequence"] == 1_500
    record.close()
