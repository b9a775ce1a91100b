"""Money: I22 to I24 and I29. Positions and cash follow from the fills alone, and nothing stays reserved for nothing."""

from __future__ import annotations

from collections import defaultdict
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

from tests.chaos.checker.findings import Finding, Invariant
from tests.chaos.checker.plain import ZERO, Json, number
from tests.chaos.checker.records import Records

_EXACT: Final = Context(prec=60)
_FEE_STEP: Final = Decimal("1e-9")
_HALF_A_CENT: Final = Decimal("0.005")
_AVERAGE_TOLERANCE: Final = Decimal("1.001e-9")
"""The promise is 1e-9; figures are told with nine decimals, and the quotient here has more."""


def positions_follow_from_fills(records: Records) -> Finding:
    """I22: for the account, and as the sum over the books."""
    found = Finding()
    quiescent = records.clients.quiescent
    if quiescent is None:
        return found
    fees = _fees_in_kind(records)
    journal: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for row in records.fills:
        assert row.fill is not None
        journal[_plain(row.fill.symbol)] += row.fill.quantity if row.fill.side == "buy" else -row.fill.quantity
    venue: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for execution in records.venue.executions:
        signed = execution.quantity if execution.side == "buy" else -execution.quantity
        venue[_plain(execution.symbol)] += signed
    told = (quiescent.facts.get("venue") or {}).get("positions")
    for symbol in sorted({*journal, *venue}):
        ours, theirs = journal[symbol] - fees[symbol], venue[symbol] - fees[symbol]
        found.expect(ours == theirs, symbol, f"{ours} by the journal, {theirs} by the venue's executions")
        if told is not None:
            held = number(told.get(symbol) or told.get(_slashed(told, symbol)))
            found.expect(ours == held, symbol, f"{ours} by the journal, the venue holds {held}")
    return found


def cash_to_the_cent(records: Records) -> Finding:
    """I23: the initial cash, less what was bought, plus what was sold, less fees in dollars."""
    found = Finding()
    quiescent = records.clients.quiescent
    if quiescent is None:
        return found
    journal = venue = records.settings.initial_cash - _fees_in_dollars(records)
    for row in records.fills:
        assert row.fill is not None
        journal = _EXACT.add(journal, _paid(row.fill.side, row.fill.quantity, row.fill.price))
    for execution in records.venue.executions:
        venue = _EXACT.add(venue, _paid(execution.side, execution.quantity, execution.price))
    told = (quiescent.facts.get("venue") or {}).get("cash")
    theirs = number(told) if told is not None else records.venue.cash if records.venue.cash is not None else venue
    text = f"{journal} by the journal, {theirs} at the venue"
    found.expect(abs(journal - theirs) < _HALF_A_CENT, "cash", text)
    return found


def average_prices(records: Records) -> Finding:
    """I24: of each venue order in the journal, and of each order as the clients were last told it."""
    found = Finding()
    for order_id, standing in records.standings.items():
        for venue_order_id, known in standing.venue.items():
            order = records.venue.orders.get(venue_order_id)
            if order is None or not order.executions or known.filled != order.filled:
                continue
            paid = sum((_EXACT.multiply(one.quantity, one.price) for one in order.executions), ZERO)
            _compare(found, order_id, known.average, _EXACT.divide(paid, order.filled))
    for stream in records.clients.streams.values():
        last = {one.order.order_id: one.order for one in stream.messages if one.order is not None}
        for order_id, seen in last.items():
            executions = [
                one for known in seen.venue_ids if known in records.venue.orders
                for one in records.venue.orders[known].executions
            ]  # fmt: skip
            filled = sum((one.quantity for one in executions), ZERO)
            if filled and filled == seen.filled:
                paid = sum((_EXACT.multiply(one.quantity, one.price) for one in executions), ZERO)
                _compare(found, order_id, seen.average, _EXACT.divide(paid, filled))
    return found


def nothing_left_reserved(records: Records) -> Finding:
    """I29: what the gateway holds back at the end, and what it takes for open without anything being open."""
    found = Finding()
    quiescent = records.clients.quiescent
    if quiescent is None or any(order.is_open and order.status for order in records.venue.orders.values()):
        return found
    for order_id, standing in records.standings.items():
        found.expect(not standing.is_open, order_id, "holds its reservation, and nothing is open at the venue")
    told = quiescent.facts.get("gateway") or {}
    for name in ("reserved_usd", "open_orders"):
        if name in told:
            found.expect(not number(told[name]), name, f"is {told[name]}, and nothing is open")
    return found


def _compare(found: Finding, subject: str, told: Decimal | None, true: Decimal) -> None:
    is_near = told is not None and abs(told - true) <= _AVERAGE_TOLERANCE
    found.expect(is_near, subject, f"average price {told}, by the executions {true}")


def _fees(records: Records) -> list[Json]:
    """As the venue's activities tell them; without those, worked out from its executions."""
    quiescent = records.clients.quiescent
    told = ((quiescent.facts if quiescent is not None else {}).get("venue") or {}).get("fees")
    if told is not None:
        return list(told)
    found: list[Json] = []
    for execution in records.venue.executions:
        if "/" not in execution.symbol:
            continue
        base = execution.quantity
        if execution.side != "buy":
            base = _EXACT.multiply(base, execution.price)
        fee = _EXACT.multiply(base, records.settings.fee_bps / 10_000).quantize(_FEE_STEP, ROUND_HALF_UP, _EXACT)
        coins, dollars = (fee, ZERO) if execution.side == "buy" else (ZERO, fee)
        found.append({"symbol": execution.symbol, "quantity": -coins, "usd": -dollars})
    return found


def _fees_in_kind(records: Records) -> dict[str, Decimal]:
    found: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for fee in _fees(records):
        found[_plain(fee["symbol"])] += abs(number(fee.get("quantity")))
    return found


def _fees_in_dollars(records: Records) -> Decimal:
    return sum((abs(number(fee.get("usd"))) for fee in _fees(records)), ZERO)


def _paid(side: str, quantity: Decimal, price: Decimal) -> Decimal:
    value = _EXACT.multiply(quantity, price)
    return -value if side == "buy" else value


def _plain(symbol: str) -> str:
    """Alpaca spells a pair's position without the slash."""
    return symbol.replace("/", "")


def _slashed(told: Json, symbol: str) -> str:
    return next((name for name in told if _plain(name) == symbol), symbol)


INVARIANTS: Final = (
    Invariant("I22", "fills less fees in kind are the venue's positions", positions_follow_from_fills),
    Invariant("I23", "the journal's cash is the venue's, to the cent", cash_to_the_cent),
    Invariant("I24", "average prices are right within 1e-9", average_prices),
    Invariant("I29", "nothing is reserved when nothing is open", nothing_left_reserved),
)
