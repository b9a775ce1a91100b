"""Reasons that the gateway itself gives, met on the wire: a bug, a shutdown, too many, too slow, too old."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import grpc
from injector import Module, provider, singleton

from gateway.servicers.account import AccountServicer
from gateway.services.account import AccountService
from gateway.services.client_limits import ClientLimits
from gateway.services.reference import AssetService
from gateway.services.request_budget import RequestBudget
from gateway.services.trading import PositionService
from tests.bad_requests import Code, spec, submit
from tests.refusals import CALL_S_MAX, noted, produces, said
from tests.servicers.fakes import Refused
from tests.stage import Stage, Staging, tape
from trading_gateway.v1 import (
    account_pb2 as account,
    market_data_pb2 as data,
    trading_pb2 as pb,
)

FRESH = account.GetAccountRequest()
FRESH.max_staleness.SetInParent()


class Broken(AccountServicer):
    """Has a bug whose text says too much."""

    async def GetAccount(self, request: Any, context: Any) -> Any:
        """Fail."""
        raise RuntimeError("the secret is swordfish")


class WithABug(Module):
    """A gateway with a bug in it."""

    @provider
    @singleton
    def account(
        self,
        accounts: AccountService,
        positions: PositionService,
        assets: AssetService,
        budget: RequestBudget,
        clients: ClientLimits,
    ) -> AccountServicer:
        """The broken one."""
        return Broken(accounts, positions, assets, budget, clients)


@produces("INTERNAL")
def test_a_bug_of_ours_is_an_id_and_nothing_else(stage_of: Staging) -> None:
    stage = stage_of(modules=[WithABug()])
    refusal = stage.wire.refusal("GetAccount", FRESH)
    assert (refusal.code, refusal.reason, refusal.message) == (Code.INTERNAL, "INTERNAL", "internal error")
    assert set(refusal.metadata) == {"error_id"}
    assert stage.is_healthy()


@produces("DRAINING")
def test_a_gateway_that_shuts_down(stage_of: Staging) -> None:
    """While an order is in flight: no new ones, and streams end with a token when it is done."""
    stage = stage_of(submit_wait_ms=50)
    stage.emulator.fault("request_lost", "POST /v2/orders", delay_ms=1_000)
    updates = stage.wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest())
    assert next(updates).HasField("snapshot_begin")
    stage.submit("in-flight", spec())
    draining = threading.Thread(target=stage.gateway.drain)
    draining.start()
    refusal = Refused(Code.OK, "")
    while refusal.reason != "DRAINING":  # bounded by the test's time limit: the drain begins when it begins
        try:
            stage.wire.call("SubmitOrder", submit())
        except grpc.RpcError as error:
            refusal = noted(error)
    assert said(refusal) == (Code.UNAVAILABLE, "DRAINING", "free")
    ended = stage.wire.stream_refusal(updates)
    draining.join(CALL_S_MAX)
    assert (ended.code, ended.reason) == (Code.UNAVAILABLE, "DRAINING")
    assert ended.metadata["resume_token"]


@produces("TOO_MANY_CALLS")
def test_too_many_calls(stage_of: Staging) -> None:
    stage = stage_of(streams_max=2, concurrent_rpcs_max=4)
    stage.emulator.fault("request_lost", "GET /v2/account", count=10, delay_ms=1_000)
    waiting = [stage.wire.begin("GetAccount", FRESH, timeout=1) for _ in range(2)]
    refusals = [noted(error) for error in (call.exception() for call in waiting) if error is not None]
    refused = [refusal for refusal in refusals if refusal.reason == "TOO_MANY_CALLS"]
    assert len(refused) == 1
    assert refused[0].code is Code.RESOURCE_EXHAUSTED
    assert refused[0].retry_s


# --- streams


@produces("TOO_MANY_STREAMS")
def test_too_many_streams(stage_of: Staging) -> None:
    stage = stage_of(streams_max=1)
    first = stage.wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest())
    assert next(first).HasField("snapshot_begin")
    for method, request in (
        ("StreamOrderUpdates", pb.StreamOrderUpdatesRequest()),
        ("StreamQuotes", data.StreamQuotesRequest(symbols=["AAPL"])),
    ):
        refusal = stage.wire.stream_refusal(stage.wire.stream(method, request))
        assert (refusal.code, refusal.reason) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
    first.cancel()
    assert stage.is_healthy()


@produces("SLOW_CONSUMER")
def test_a_reader_that_is_too_slow_for_every_value(stage_of: Staging, tmp_path: Path) -> None:
    """More values come at once than may wait for a reader who wants every one."""
    recording = tape(tmp_path, quotes=5_000)
    stage = stage_of(venue={"tape": recording, "tape_speed": 100_000}, unread_values_max=1_024, is_warm=False)
    request = data.StreamQuotesRequest(
        symbols=["XYZ"], conflation=data.CONFLATION_POLICY_NONE, max_batch_delay={"seconds": 1}
    )
    refusal = stage.wire.stream_refusal(stage.wire.stream("StreamQuotes", request))
    assert (refusal.code, refusal.reason) == (Code.RESOURCE_EXHAUSTED, "SLOW_CONSUMER")
    assert stage.is_healthy()


@produces("EPOCH_CHANGED", "RESUME_TOKEN_COMPACTED")
def test_tokens_that_cannot_be_continued(stage_of: Staging) -> None:
    """Of another life, of what is kept no more."""
    stage, other = stage_of(journal_events_max=4), stage_of()

    def token_of(place: Stage) -> str:
        updates = place.wire.stream("StreamOrderUpdates", pb.StreamOrderUpdatesRequest())
        token: str = next(update.resume_token for update in updates if update.resume_token)
        updates.cancel()
        return token

    def refused(token: str) -> Refused:
        request = pb.StreamOrderUpdatesRequest(resume_token=token)
        return stage.wire.stream_refusal(stage.wire.stream("StreamOrderUpdates", request))

    strange = refused(token_of(other))
    assert (strange.code, strange.reason) == (Code.FAILED_PRECONDITION, "EPOCH_CHANGED")
    old = token_of(stage)
    for number in range(3):
        stage.ended(stage.submit(f"order-{number}", spec()))
    compacted = refused(old)
    assert (compacted.code, compacted.reason) == (Code.OUT_OF_RANGE, "RESUME_TOKEN_COMPACTED")
    assert int(compacted.metadata["oldest_sequence"]) > 1
