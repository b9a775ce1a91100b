"""The clients' notebook: what is written survives the writer, and says what the messages say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from tests.chaos import history
from tests.chaos.checker import Records
from trading_gateway.v1 import trading_pb2 as pb

ROOT = Path(__file__).resolve().parents[2]
SPEC = pb.OrderSpec(
    symbol="AAPL",
    side=pb.ORDER_SIDE_BUY,
    quantity="10.50",
    order_type=pb.ORDER_TYPE_LIMIT,
    time_in_force=pb.TIME_IN_FORCE_DAY,
    limit_price="100.10",
)
ORDER = pb.Order(
    order_id="o1",
    strategy_id="alpha",
    client_order_id="k1",
    spec=SPEC,
    state=pb.ORDER_STATE_PARTIALLY_FILLED,
    filled_quantity="1",
    filled_average_price="100.05",
    version=4,
    venue_orders=[pb.VenueOrder(venue_order_id="v1", venue_client_order_id="alpha.k1", filled_quantity="1")],
)


def request(**fields: Any) -> pb.SubmitOrderRequest:
    return pb.SubmitOrderRequest(client_order_id="k1", spec=SPEC, labels={"why": "test"}, **fields)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def records(path: Path) -> Records:
    return Records([], [], lines(path))


def test_a_call_and_its_return_are_one_call(tmp_path: Path) -> None:
    path = tmp_path / "c.history.jsonl"
    writer = history.HistoryWriter(path, "c", "life")
    asked = request(valid_until=Timestamp(seconds=7, nanos=1))
    call_id = writer.call("SubmitOrder", asked, strategy_id="alpha", start_ns=5, deadline_ns=9)
    waiting = writer.call("SubmitOrder", asked, strategy_id="alpha", start_ns=6)
    answer = pb.SubmitOrderResponse(order=ORDER, replayed=True)
    writer.returned(call_id, history.answer_json(answer), end_ns=8)
    writer.close()
    writer.close()
    calls = records(path).clients.calls
    call = calls[call_id]
    assert (call.key, call.start_ns, call.end_ns, call.deadline_ns) == (("alpha", "k1"), 5, 8, 9)
    assert (call.code, call.replayed, call.valid_until_ns) == ("OK", True, 7_000_000_001)
    assert call.order is not None
    assert (call.order.state, call.order.version, str(call.order.filled)) == ("partially_filled", 4, "1")
    assert call.spec == call.order.spec
    assert calls[waiting].end_ns is None


def test_a_fingerprint_is_of_the_content_alone() -> None:
    def of(asked: pb.SubmitOrderRequest) -> str:
        return str(history.call_json("SubmitOrder", asked, "alpha")["fingerprint"])

    first = of(request())
    spelled = request(valid_until=Timestamp(seconds=9), strategy_id="alpha")
    spelled.spec.quantity = "10.5"
    spelled.spec.order_class = pb.ORDER_CLASS_SIMPLE
    assert of(spelled) == first
    other = request()
    other.spec.quantity = "10.6"
    assert of(other) != first
    labeled = request()
    labeled.labels["why"] = "else"
    assert of(labeled) != first


def test_which_order_a_replace_means_is_content() -> None:
    def of(key: str) -> str:
        ref = pb.OrderRef(client_order_id=key)
        return str(history.call_json("ReplaceOrder", pb.ReplaceOrderRequest(order=ref), "alpha")["fingerprint"])

    assert of("k1") != of("k2")


def test_a_stream_is_written_as_it_came(tmp_path: Path) -> None:
    path = tmp_path / "c.history.jsonl"
    writer = history.HistoryWriter(path, "c", "life")
    asked = pb.StreamOrderUpdatesRequest(resume_token="t0")
    stream_id = writer.stream(asked, strategy_id="alpha", start_ns=1)
    everything = writer.stream(pb.StreamOrderUpdatesRequest(all_strategies=True), strategy_id="alpha", start_ns=1)
    event = pb.OrderEvent(
        kind=pb.OrderEvent.KIND_PARTIAL_FILL,
        order=ORDER,
        fill=pb.Fill(fill_id="f1"),
        record_time=Timestamp(seconds=3, nanos=4),
    )
    writer.message(stream_id, pb.StreamOrderUpdatesResponse(sequence=7, resume_token="t7", event=event), time_ns=2)
    writer.message(everything, pb.StreamOrderUpdatesResponse(snapshot_end=pb.SnapshotBoundary(count=3)), time_ns=2)
    writer.stream_ended(stream_id, {"code": "UNAVAILABLE"}, time_ns=3)
    streams = records(path).clients.streams
    stream = streams[stream_id]
    assert (stream.book, stream.start, stream.resume_token, stream.end_code) == ("alpha", "token", "t0", "UNAVAILABLE")
    assert stream.messages[0].identity == ("partial_fill", "o1", "f1", 3_000_000_004)
    assert (streams[everything].book, streams[everything].start) == ("account", "snapshot")
    assert streams[everything].messages[0].count == 3


class Failed(grpc.RpcError):
    """An error as a client gets it."""

    def __init__(self, code: grpc.StatusCode, *details: Any) -> None:
        status = status_pb2.Status(code=getattr(code_pb2, code.name), message="no")
        for detail in details:
            status.details.add().Pack(detail)
        self._code = code
        self._trailing = rpc_status.to_status(status).trailing_metadata if details else ()

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "no"

    def trailing_metadata(self) -> Any:
        return self._trailing


def test_an_error_says_what_its_details_say() -> None:
    info = error_details_pb2.ErrorInfo(reason="RISK_BUYING_POWER", domain="trading-gateway", metadata={"key": "spent"})
    found = history.error_json(Failed(grpc.StatusCode.FAILED_PRECONDITION, error_details_pb2.BadRequest(), info))
    assert found == {"code": "FAILED_PRECONDITION", "reason": "RISK_BUYING_POWER", "key": "spent"}
    assert history.error_json(Failed(grpc.StatusCode.UNAVAILABLE)) == {"code": "UNAVAILABLE"}
    token = error_details_pb2.ErrorInfo(reason="DRAINING", metadata={"resume_token": "t"})
    assert history.error_json(Failed(grpc.StatusCode.UNAVAILABLE, token))["resume_token"] == "t"


def test_the_venues_account_is_told_from_its_own_wire() -> None:
    fee = {"activity_type": "CFEE", "symbol": "BTCUSD", "qty": "-0.0025", "net_amount": "0"}
    fill = {"activity_type": "FILL", "symbol": "BTCUSD", "qty": "1"}
    found = history.venue_truth({"cash": "5"}, [{"symbol": "BTCUSD", "qty": "0.9975"}], [fill, fee])
    assert found["positions"] == {"BTCUSD": "0.9975"}
    assert found["fees"] == [{"symbol": "BTCUSD", "quantity": "-0.0025", "usd": "0"}]


def test_what_was_written_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "c.history.jsonl"
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.chaos.history import HistoryWriter\n"
        "writer = HistoryWriter(Path(sys.argv[1]), 'c', '1')\n"
        "for number in range(100):\n    writer.act('health', time_ns=number, status='SERVING')\n"
        "print('done', flush=True)\nsys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"done\n"
        client.send_signal(signal.SIGKILL)
    assert [line["time_ns"] for line in lines(path)] == list(range(100))


def test_a_torn_line_is_closed_by_the_next_life(tmp_path: Path) -> None:
    path = tmp_path / "c.history.jsonl"
    path.write_bytes(b'{"line": "act", "act": "hea')
    writer = history.HistoryWriter(path, "c", "2")
    writer.act("healed", time_ns=4)
    writer.close()
    (tmp_path / "empty").write_text("")
    found = Records.read([], tmp_path / "empty", [path]).clients.acts
    assert [(act.act, act.time_ns) for act in found] == [("healed", 4)]


def test_a_history_is_bounded_and_its_acts_are_known(tmp_path: Path) -> None:
    writer = history.HistoryWriter(tmp_path / "h", "c", "1", bytes_max=100)
    writer.act("healed", time_ns=1)
    writer.act("healed", time_ns=2)
    with pytest.raises(OSError, match="full"):
        writer.act("healed", time_ns=3)
    with pytest.raises(AssertionError):
        writer.act("invented", time_ns=1)
    assert os.path.getsize(tmp_path / "h") <= 100
