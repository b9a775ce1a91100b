"""SimulationService: the emulator's bad days, on order. It is not there when the venue is paper or live."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from trading_gateway.call import Call, Pages, path, read, whole
from trading_gateway.v1 import simulation_pb2 as pb
from trading_gateway.values import duration, number

AnyFault: TypeAlias = "str | pb.Fault.ValueType"
"""A fault's word, as "answer_lost", or its number."""

LedgerKind: TypeAlias = "str | pb.LedgerEntry.Kind.ValueType"
"""A ledger entry's kind, as "execution", or its number."""


def get_simulation() -> Call[pb.Simulation]:
    """The emulator's settings and counters."""
    request = pb.GetSimulationRequest()
    return read(
        "SimulationService/GetSimulation", request, pb.GetSimulationResponse, lambda response: response.simulation
    )


def inject_fault(
    fault: AnyFault, *, route: str = "", symbol: str = "", skip: int = 0, count: int = 0, delay_s: float | None = None
) -> Call[pb.InjectFaultResponse]:
    """Order a fault. Never repeated by itself: it would strike twice.

    Args:
        fault: As "answer_lost" or "http_504_accepted".
        route: "POST /v2/orders", or the feed, as "orders"; empty: the fault's usual one.
        symbol: Only what concerns it; empty: everything.
        skip: Let so many pass first.
        count: Then strike so often; 0: once; -1: until the faults are cleared.
        delay_s: For faults that take time, at most 60.
    """
    request = pb.InjectFaultRequest(
        fault=number(pb.Fault, fault), route=route, symbol=symbol, skip=skip, count=count, delay=duration(delay_s)
    )
    return Call(path("SimulationService/InjectFault"), request, pb.InjectFaultResponse, whole, repeatable=False)


def list_faults() -> Call[list[pb.InjectedFault]]:
    """Faults ordered since they were last cleared, with how often each has struck."""
    return read(
        "SimulationService/ListFaults",
        pb.ListFaultsRequest(),
        pb.ListFaultsResponse,
        lambda response: list(response.injected_faults),
    )


def clear_faults() -> Call[pb.ClearFaultsResponse]:
    """Forget every fault."""
    return read("SimulationService/ClearFaults", pb.ClearFaultsRequest(), pb.ClearFaultsResponse, whole)


def list_ledger(
    *, from_sequence: int = 0, symbol: str = "", kinds: Iterable[LedgerKind] = (), page_size: int = 0
) -> Pages[pb.LedgerEntry]:
    """What really happened at the venue, oldest first, page after page as it is taken.

    Args:
        from_sequence: From this entry on; 0: from the beginning.
        symbol: Only this one.
        kinds: Only these, as "execution".
        page_size: Entries fetched at once; 0: 1000, at most 10000.
    """
    request = pb.ListLedgerRequest(
        from_sequence=from_sequence,
        symbol=symbol,
        kinds=[number(pb.LedgerEntry.Kind, kind) for kind in kinds],
        page_size=page_size,
    )
    return Pages("SimulationService/ListLedger", request, pb.ListLedgerResponse, lambda page: page.entries)
