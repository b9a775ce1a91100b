"""Sends what is made up to one rpc after another, and judges every answer.

Whatever comes: a definite status that is none of INTERNAL, UNKNOWN and DATA_LOSS, in our own shape, short, without an
echo; nothing at the venue of what was refused; a bounded cost; a stream that begins or is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, Phase, given, seed as seeded, settings, strategies as st

from gateway.domain.types import is_symbol
from gateway.servicers.permissions import METHODS as RULES, Access
from tests.bad_requests import KEYED, bars, close, long_bars, replace, spec, submit
from tests.fuzz.messages import GOOD_TEXTS, requests
from tests.fuzz.mutations import spoiled
from tests.fuzz.target import CALL_S_MAX, Answer, Rpc, Target, collector_still, rpc_of
from tests.servicers.fakes import Refused
from trading_gateway.v1 import (
    account_pb2 as account,
    market_data_pb2 as data,
    operations_pb2 as operations,
    reference_pb2 as reference,
    risk_pb2 as risk,
    simulation_pb2 as simulation,
    trading_pb2 as pb,
)

Code = grpc.StatusCode
MESSAGE_BYTES_MAX: Final = 512
CALL_CPU_MS_MAX: Final = 250.0
"""Of the gateway's event loop, for any one call: the largest honest pages are below a third of it."""
ECHO_CHARACTERS_MIN: Final = 5
NEVER: Final = frozenset({Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS, Code.CANCELLED, Code.UNIMPLEMENTED})
SHORT_S: Final = 0.03
CANCELING: Final = frozenset({"CancelOrder", "CancelOrders", "SetTradingState", "ClosePosition", "ClosePositions"})
ORDERING: Final = frozenset({"SubmitOrder", "ReplaceOrder", "ClosePosition", "ClosePositions"})
OF_THE_VENUE: Final = "VENUE_"
"""Reasons with this prefix: the venue was asked, and said no."""
OWN_STATE: Final = frozenset({"RiskService", "SimulationService"})
"""Services that change what is tried on: they get a gateway of their own."""
PEOPLE: Final = ("local",) * 10 + ("trader", "trader", "nobody", "garbled", "twice")

GOOD: Final[dict[str, tuple[Message, ...]]] = {
    "SubmitOrder": (
        submit(client_order_id="fuzz-new"),
        submit(wanted=spec(order_type=pb.ORDER_TYPE_MARKET, notional="10"), client_order_id="fuzz-money"),
        submit(
            wanted=spec(
                order_class=pb.ORDER_CLASS_BRACKET,
                take_profit=pb.TakeProfit(limit_price="60"),
                stop_loss=pb.StopLoss(stop_price="40"),
            ),
            client_order_id="fuzz-bracket",
        ),
    ),
    "PreviewOrder": (pb.PreviewOrderRequest(spec=spec()),),
    "ReplaceOrder": (
        replace(order=pb.OrderRef(client_order_id="fuzz-1"), limit_price="51", client_order_id="fuzz-re"),
    ),
    "ClosePosition": (close(symbol="AAPL", client_order_id="fuzz-close"),),
    "ClosePositions": (pb.ClosePositionsRequest(client_order_id_prefix="fuzz"),),
    "GetOrder": (pb.GetOrderRequest(order=pb.OrderRef(client_order_id="fuzz-1")),),
    "GetOrderTimeline": (pb.GetOrderTimelineRequest(order=pb.OrderRef(client_order_id="fuzz-1")),),
    "GetPosition": (account.GetPositionRequest(symbol="AAPL"),),
    "ListBars": (bars(),),
    "ListQuotes": (data.ListQuotesRequest(symbols=["AAPL"], page_size=3),),
    "ListTrades": (data.ListTradesRequest(symbols=["AAPL"], page_size=3),),
    "StreamHistoricalBars": (long_bars(),),
    "GetLatestOrderBooks": (data.GetLatestOrderBooksRequest(symbols=["BTC/USD"]),),
    "GetLatestQuotes": (data.GetLatestQuotesRequest(symbols=["AAPL"]),),
    "GetLatestTrades": (data.GetLatestTradesRequest(symbols=["AAPL"]),),
    "GetLatestBars": (data.GetLatestBarsRequest(symbols=["AAPL"]),),
    "GetSnapshots": (data.GetSnapshotsRequest(symbols=["AAPL"]),),
    "StreamQuotes": (data.StreamQuotesRequest(symbols=["AAPL"]),),
    "StreamTrades": (data.StreamTradesRequest(symbols=["AAPL"]),),
    "StreamBars": (data.StreamBarsRequest(symbols=["AAPL"]),),
    "GetAsset": (reference.GetAssetRequest(symbol_or_id="AAPL"),),
    "SetTradingState": (risk.SetTradingStateRequest(mode=risk.TRADING_MODE_HALTED),),
    "InjectFault": (simulation.InjectFaultRequest(fault=simulation.FAULT_HTTP_500),),
    "MintToken": (operations.MintTokenRequest(strategy_id="momentum", scopes=["orders:read"]),),
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to make; its text is what a failure prints."""

    payload: bytes
    who: str
    headers: tuple[tuple[str, str], ...]
    timeout_s: float


@dataclass(slots=True)
class Tally:
    """What became of an rpc's cases.

    Attributes:
        cases, answered, refused: How many.
        cpu_ms, wall_ms: The worst.
    """

    rpc: Rpc
    cases: int = 0
    answered: int = 0
    refused: int = 0
    cpu_ms: float = 0.0
    wall_ms: float = 0.0

    def take(self, answer: Answer) -> None:
        """Count one more."""
        self.cases += 1
        self.answered += answer.refusal is None
        self.refused += answer.refusal is not None
        self.cpu_ms = max(self.cpu_ms, answer.cpu_ms)
        self.wall_ms = max(self.wall_ms, answer.wall_ms)

    def add(self, other: Tally) -> None:
        """Count what another counted."""
        self.cases += other.cases
        self.answered += other.answered
        self.refused += other.refused
        self.cpu_ms = max(self.cpu_ms, other.cpu_ms)
        self.wall_ms = max(self.wall_ms, other.wall_ms)


def rpcs(services: Sequence[str] = (), *, but: frozenset[str] = frozenset()) -> list[Rpc]:
    """Every rpc of the permission table, or those of some services."""
    found = [rpc_of(path) for path in RULES]
    return [rpc for rpc in found if (not services or rpc.service in services) and rpc.service not in but]


def attempts(rpc: Rpc, target: Target) -> st.SearchStrategy[Attempt]:
    """What may come to one rpc."""
    wanted = requests(rpc.request, (*GOOD.get(rpc.name, ()), *_known_requests(rpc, target)), target.known)
    payloads = spoiled(wanted.map(lambda request: request.SerializeToString()))
    odd = st.sampled_from(
        [
            (),
            (),
            (),
            (("x-request-id", "a" * 65),),
            (("x-request-id", "{{7*7}}"), ("x-request-id", "twice")),
            (("traceparent", "00-" + "0" * 32 + "-" + "f" * 16 + "-01"),),
            (("traceparent", "garbage"), ("tracestate", "=,,=,")),
            (("x-strategy-id", "somebody"),),
        ]
    )
    times = st.sampled_from([CALL_S_MAX] * 9 + [SHORT_S])
    return st.builds(Attempt, payloads, st.sampled_from(PEOPLE), odd, times)


def _known_requests(rpc: Rpc, target: Target) -> Iterator[Message]:
    """Requests with a token that this gateway gave."""
    for name in ("token_id", "page_token", "resume_token"):
        if name in rpc.request.fields_by_name:
            for text in target.known[name]:
                yield GetMessageClass(rpc.request)(**{name: text})


def fuzz(target: Target, rpc: Rpc, examples: int, seed: int | None = None, tally: Tally | None = None) -> Tally:
    """Try one rpc; raises AssertionError with the smallest request that shows a fault.

    Args:
        target: The gateway.
        rpc: The method.
        examples: How many, at most.
        seed: None: the same requests every time.
        tally: Counts on; for who wants the figures of a run that finds something.
    """
    counted = tally or Tally(rpc)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=seed is None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(attempts(rpc, target))
    def tried(attempt: Attempt) -> None:
        headers = (*credentials(target, attempt.who), *attempt.headers)
        answer = target.try_out(rpc, attempt.payload, headers, attempt.timeout_s)
        counted.take(answer)
        faults = list(faults_of(target, rpc, attempt, answer))
        if answer.refusal is None:
            put_back(target, rpc)
        assert not faults, "; ".join(faults)

    run: Callable[[], None] = tried if seed is None else seeded(seed)(tried)
    with collector_still():
        run()
    return counted


def credentials(target: Target, who: str) -> tuple[tuple[str, str], ...]:
    """The headers by which somebody is known."""
    match who:
        case "local":
            return ()
        case "garbled":
            return (("authorization", "Bearer " + target.secrets["trader"][:-1] + "~"),)
        case "twice":
            return (("authorization", "Bearer " + target.secrets["trader"]),) * 2
    return (("authorization", "Bearer " + target.secrets[who]),)


def put_back(target: Target, rpc: Rpc) -> None:
    """Let what was allowed come to its end, or undo it."""
    if rpc.name == "InjectFault":
        target.try_out(rpc_of(rpc.path.replace(rpc.name, "ClearFaults")), b"", (), CALL_S_MAX)
    elif rpc.name == "SetTradingState":
        target.halt()
    elif rpc.name in CANCELING | ORDERING:
        target.settle()


# --- the judge


def faults_of(target: Target, rpc: Rpc, attempt: Attempt, answer: Answer) -> Iterator[str]:
    """What is wrong with an answer."""
    if answer.cpu_ms > CALL_CPU_MS_MAX:
        yield f"took {answer.cpu_ms:.0f} ms of the event loop"
    yield from _venue_faults(target, rpc, answer)
    refusal = answer.refusal
    access = RULES[rpc.path].access
    must_be = _denial_of(attempt.who, access)
    if refusal is None:
        if must_be is not None:
            yield f"let {attempt.who} in"
        return
    if refusal.code in NEVER and not (refusal.code is Code.UNKNOWN and rpc.service not in _OURS):
        yield f"{refusal.code.name}: {refusal.message}"
    if refusal.code is Code.DEADLINE_EXCEEDED and attempt.timeout_s == CALL_S_MAX:
        yield f"no answer in {answer.wall_ms:.0f} ms"
    if must_be is not None and refusal.code is not must_be and attempt.timeout_s == CALL_S_MAX:
        yield f"{refusal.code.name} for {attempt.who}"
    if rpc.service in _OURS and refusal.code is not Code.DEADLINE_EXCEEDED:
        yield from _shape_faults(rpc, refusal)
    for text in _texts_of(rpc, attempt.payload):
        if any(text in said for said in (refusal.message, *refusal.descriptions, *refusal.fields)):
            yield f"echoes {text[:40]!r}"


_OURS: Final = frozenset(
    path.split("/")[1].rpartition(".")[2] for path in RULES if path.startswith("/trading_gateway.")
)


def _denial_of(who: str, access: Access | frozenset[Any]) -> Code | None:
    """What somebody must be told; None: whatever."""
    if access is Access.PUBLIC:
        return None
    if who in ("garbled", "twice"):
        return Code.UNAUTHENTICATED
    return Code.PERMISSION_DENIED if who == "nobody" and access is not Access.ANY_TOKEN else None


def _venue_faults(target: Target, rpc: Rpc, answer: Answer) -> Iterator[str]:
    changed = {method: count for method, count in answer.venue.items() if method != "GET"}
    if rpc.service in OWN_STATE and rpc.name in CANCELING:
        changed.pop("DELETE", None)  # a kill goes on canceling until nothing is open
    if not changed:
        return
    refusal = answer.refusal
    is_the_venues = refusal is not None and refusal.reason.startswith(OF_THE_VENUE)
    if refusal is not None and not is_the_venues:
        yield f"{changed} at the venue of what was refused with {refusal.reason or refusal.code.name}"
    allowed = {"DELETE"} if rpc.name in CANCELING else set()
    if rpc.name in ORDERING and not target.is_halted:
        allowed |= {"POST", "PATCH"}
    if not set(changed) <= allowed:
        yield f"{changed} at the venue"


def _shape_faults(rpc: Rpc, refusal: Refused) -> Iterator[str]:
    if not refusal.reason:
        yield f"{refusal.code.name} without a reason: {refusal.message}"
    if len(refusal.message.encode()) > MESSAGE_BYTES_MAX:
        yield f"says {len(refusal.message.encode())} bytes"
    is_definite = refusal.code in (Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.ALREADY_EXISTS, Code.NOT_FOUND)
    is_unread = "not a message of the contract" in refusal.message
    if rpc.name in KEYED and is_definite and not is_unread and "key" not in refusal.metadata:
        yield f"{refusal.reason} says nothing of the key"


def _texts_of(rpc: Rpc, payload: bytes) -> Iterator[str]:
    """Texts of a request that could be known again; what the contract itself says is no echo."""
    try:
        request = GetMessageClass(rpc.request).FromString(payload)
    except DecodeError:
        return
    for text in _strings_in(request):
        is_told = text in _SPOKEN or is_symbol(text)  # a symbol that is nearly right is answered with the right one
        if len(text) >= ECHO_CHARACTERS_MIN and not is_told and not text.isspace():
            yield text


_SPOKEN: Final = {text for texts in GOOD_TEXTS.values() for text in texts} | {"account", "unattributed"}


def _strings_in(message: Message) -> Iterator[str]:
    for described, value in message.ListFields():
        pieces: list[Any] = [value]
        if described.message_type is not None and described.message_type.GetOptions().map_entry:
            pieces = [*value, *value.values()]
        elif described.is_repeated:
            pieces = list(value)[:20]
        for piece in pieces:
            if isinstance(piece, Message):
                yield from _strings_in(piece)
            elif isinstance(piece, str):
                yield piece
