"""Bad inputs, second part: fields that are right by themselves and wrong together, times, pages, missing things."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from tests.bad_requests import (
    BRACKET,
    BUY,
    COMBINATION,
    EXHAUSTED,
    FAILED,
    GTC,
    LIMIT,
    MARKET,
    MISSING,
    OCO,
    OTO,
    SELL,
    STOP,
    STOP_LIMIT,
    TOKEN,
    TRAILING,
    UNKNOWN_ID,
    Case,
    bars,
    close,
    order_case,
    replace,
    spec,
    submit,
)
from trading_gateway.v1 import (
    account_pb2 as account,
    common_pb2 as common,
    market_data_pb2 as data,
    reference_pb2 as reference,
    trading_pb2 as pb,
)

# --- shape: B67 to B81


def shape() -> Iterator[Case]:
    """Fields that are right by themselves and wrong together."""
    money = {"order_type": MARKET, "notional": "100"}
    yield from order_case(
        "B67", "notional reduce_only", spec(**money, reduce_only=True), "spec.notional", **COMBINATION
    )
    yield from order_case("B68", "no size", spec(quantity=None), "spec.size")
    for field in ("side", "order_type", "time_in_force"):
        yield from order_case("B69", field, spec(**{field: 0}, limit_price="50"), f"spec.{field}")
    for number in (77, -1):
        for field in ("side", "order_type", "time_in_force", "order_class"):
            yield from order_case("B70", f"{field} {number}", spec(**{field: number}), f"spec.{field}")
        yield Case("B70", f"side {number}", "CancelOrders", pb.CancelOrdersRequest(side=number), fields=("side",))  # type: ignore[arg-type]
        yield Case(
            "B70", f"states {number}", "ListOrders", pb.ListOrdersRequest(states=[number]), fields=("states[0]",)
        )  # type: ignore[list-item]
        feed = data.GetLatestQuotesRequest(symbols=["AAPL"], feed=number)  # type: ignore[arg-type]
        yield Case("B70", f"feed {number}", "GetLatestQuotes", feed, fields=("feed",))
    prices = {"spec.limit_price": "50", "spec.stop_price": "50", "spec.trail_price": "1", "spec.trail_percent": "1"}
    wanted_by = {
        MARKET: (),
        LIMIT: ("spec.limit_price",),
        STOP: ("spec.stop_price",),
        STOP_LIMIT: ("spec.limit_price", "spec.stop_price"),
        TRAILING: ("spec.trail_price",),
    }
    for order_type, wanted in wanted_by.items():
        own = {field.removeprefix("spec."): prices[field] for field in wanted}
        kind = pb.OrderType.Name(order_type).removeprefix("ORDER_TYPE_").lower()
        for field, price in prices.items():
            name = field.removeprefix("spec.")
            if field in wanted:
                lacking = spec(**({"order_type": order_type, "limit_price": None} | own | {name: None}))
                yield from order_case("B71", f"{kind} without {name}", lacking, field, **COMBINATION)
            elif not (order_type == TRAILING and name == "trail_percent"):
                more = spec(**({"order_type": order_type, "limit_price": None} | own | {name: price}))
                yield from order_case("B71", f"{kind} with {name}", more, field, **COMBINATION)
    limited = spec(notional="100")
    yield from order_case("B72", "notional limit", limited, "spec.notional", **COMBINATION)
    lasting = spec(**money, time_in_force=GTC)
    yield from order_case("B72", "notional gtc", lasting, "spec.notional", **COMBINATION)
    early = spec(order_type=MARKET, extended_hours=True)
    yield from order_case("B72", "extended market", early, "spec.extended_hours", **COMBINATION)
    profit, loss = pb.TakeProfit(limit_price="60"), pb.StopLoss(stop_price="40")
    for what, wrong in {
        "bracket without stop": spec(order_class=BRACKET, take_profit=profit),
        "bracket without profit": spec(order_class=BRACKET, stop_loss=loss),
        "oto with both": spec(order_class=OTO, take_profit=profit, stop_loss=loss),
        "simple with a leg": spec(take_profit=profit),
        "profit below entry": spec(order_class=BRACKET, take_profit=pb.TakeProfit(limit_price="45"), stop_loss=loss),
        "stop above entry": spec(order_class=BRACKET, take_profit=profit, stop_loss=pb.StopLoss(stop_price="55")),
        "oco market": spec(order_class=OCO, order_type=MARKET, take_profit=profit, stop_loss=loss),
        "bracket of crypto": spec(symbol="BTC/USD", order_class=BRACKET, take_profit=profit, stop_loss=loss),
    }.items():
        yield from order_case("B74", what, wrong, **COMBINATION)
    many = [
        "".join(letters)
        for letters in itertools.islice(itertools.product("ABCDEFGHIJKLMNOPQRSTUVWX", repeat=3), 10_000)
    ]
    for method, listing in (
        ("GetLatestQuotes", data.GetLatestQuotesRequest),
        ("GetLatestTrades", data.GetLatestTradesRequest),
        ("GetLatestBars", data.GetLatestBarsRequest),
        ("GetSnapshots", data.GetSnapshotsRequest),
        ("GetLatestOrderBooks", data.GetLatestOrderBooksRequest),
        ("ListBars", lambda symbols: bars(symbols=symbols)),
        ("ListQuotes", data.ListQuotesRequest),
        ("ListTrades", data.ListTradesRequest),
        ("CancelOrders", pb.CancelOrdersRequest),
        ("ListOrders", pb.ListOrdersRequest),
        ("ListFills", pb.ListFillsRequest),
        ("ListAssets", reference.ListAssetsRequest),
    ):
        listed: Callable[..., Message] = listing  # type: ignore[assignment]
        yield Case("B76", "10,000 symbols", method, listed(symbols=many), fields=("symbols",))
        yield Case("B76", "twice", method, listed(symbols=["AAPL", "MSFT", "AAPL"]), fields=("symbols",))
    yield from times()
    yield from pages()
    for amount, unit in ((0, 1), (-1, 1), (60, 1), (1_000_000, 1), (24, 2), (2, 3), (5, 5), (1, 0), (1, 99)):
        timeframe = common.Timeframe(amount=amount, unit=unit)  # type: ignore[arg-type]
        field = "timeframe" if unit in range(1, 6) else "timeframe.unit"
        note = "7 MINUTE is legal by the contract: 1 to 59 are"
        yield Case("B79", f"{amount} of {unit}", "ListBars", bars(timeframe=timeframe), fields=(field,), note=note)
    unfit = {"newline": "a\nb", "escape": "\x1b[31mred", "nul": "a\0b", "long": "x" * 129, "token": TOKEN}
    for what, text in unfit.items():
        yield Case("B80", what, "SubmitOrder", submit(labels={"note": text}), fields=("labels",))
        yield Case("B80", what, "ListAssets", reference.ListAssetsRequest(exchange=text), fields=("exchange",))
    names = {str(number): "x" for number in range(17)}
    yield Case("B80", "17 labels", "SubmitOrder", submit(labels=names), fields=("labels",))
    yield Case("B80", "a name with a newline", "SubmitOrder", submit(labels={"a\nb": "x"}), fields=("labels",))
    yield Case("B80", "a token as a name", "SubmitOrder", submit(labels={TOKEN[:32]: "x"}), fields=("labels",))
    large: dict[str, Any] = {
        "code": EXHAUSTED,
        "reason": "",
        "key": "",
        "note": "beyond what gRPC takes, so it says so",
    }
    yield Case("B80", "1 MB", "SubmitOrder", submit(labels={"note": "x" * 1_000_000}), **large)
    for text in ("account", "unattributed", "Mine", "x" * 25, "a.b", "-a", "a b", "a\n"):
        what, fields = ascii(text), ("strategy_id",)
        yield Case("B81", what, "SubmitOrder", submit(strategy_id=text), fields=fields)
        yield Case("B81", what, "PreviewOrder", pb.PreviewOrderRequest(strategy_id=text, spec=spec()), fields=fields)
        yield Case("B81", what, "ClosePosition", close(strategy_id=text), fields=fields)
        yield Case("B81", what, "ListOrders", pb.ListOrdersRequest(strategy_id=text), fields=fields)
        yield Case("B81", what, "ListFills", pb.ListFillsRequest(strategy_id=text), fields=fields)
        yield Case("B81", what, "CancelOrders", pb.CancelOrdersRequest(strategy_id=text), fields=fields)
        ref = pb.OrderRef(client_order_id="a", strategy_id=text)
        yield Case("B81", what, "GetOrder", pb.GetOrderRequest(order=ref), fields=("order.strategy_id",))
        story = pb.GetOrderTimelineRequest(order=ref)
        yield Case("B81", what, "GetOrderTimeline", story, fields=("order.strategy_id",))
    mixed = pb.ListOrdersRequest(strategy_id="mine", all_strategies=True)
    yield Case("B81", "one and all", "ListOrders", mixed, fields=("strategy_id",))


def times() -> Iterator[Case]:
    """Instants that are none, or too far off."""
    fields = ("valid_until",)
    for what, instant in {
        "year 9999": Timestamp(seconds=253_402_300_799),
        "two minutes ahead": Timestamp(seconds=4_000_000_000),
        "nanos -1": Timestamp(seconds=1, nanos=-1),
        "nanos beyond a second": Timestamp(seconds=1, nanos=1_000_000_000),
        "seconds overflow": Timestamp(seconds=2**63 - 1),
    }.items():
        yield Case("B77", what, "SubmitOrder", submit(valid_until=instant), fields=fields)
        yield Case("B77", what, "ReplaceOrder", replace(valid_until=instant, limit_price="51"), fields=fields)
        yield Case("B77", what, "ClosePosition", close(valid_until=instant), fields=fields)
    past: dict[str, Any] = {"code": FAILED, "reason": "EXPIRED_UNSENT"}
    yield Case("B77", "past", "SubmitOrder", submit(valid_until=Timestamp(seconds=1)), **past)
    yield Case("B77", "past", "ClosePosition", close(valid_until=Timestamp(seconds=1)), **past)
    late, early = Timestamp(seconds=1_700_000_000), Timestamp(seconds=1_600_000_000)
    turned: dict[str, Any] = {"start_time": late, "end_time": early}
    yield Case("B78", "from after to", "ListOrders", pb.ListOrdersRequest(**turned), fields=("start_time",))
    yield Case("B78", "from after to", "ListFills", pb.ListFillsRequest(**turned), fields=("start_time",))
    century: dict[str, Any] = {"start_time": Timestamp(seconds=-1_500_000_000), "end_time": late}
    apple: dict[str, Any] = {"symbols": ["AAPL"]}
    for method, past in (
        ("ListBars", bars),
        ("ListQuotes", data.ListQuotesRequest),
        ("ListTrades", data.ListTradesRequest),
    ):
        ranged: Callable[..., Message] = past
        yield Case("B78", "from after to", method, ranged(**(apple | turned)), fields=("start_time",))
        yield Case("B78", "a hundred years", method, ranged(**(apple | century)), fields=("start_time",))
    for what, start, end, field in (
        ("from after to", Date(year=2024, month=2, day=1), Date(year=2024, month=1, day=1), "start_date"),
        ("a hundred years", Date(year=1924, month=1, day=1), Date(year=2024, month=1, day=1), "end_date"),
        ("February 30", Date(year=2024, month=2, day=30), Date(year=2024, month=3, day=1), "start_date"),
        ("a year alone", Date(year=2024), Date(year=2024, month=3, day=1), "start_date"),
    ):
        days = reference.ListMarketDaysRequest(start_date=start, end_date=end)
        yield Case("B78", what, "ListMarketDays", days, fields=(field,))


def pages() -> Iterator[Case]:
    """Pages that do not exist."""
    note = "page_size 0 and a large one are legal by the contract: the default, and cut to the maximum"
    for method, listing in (
        ("ListOrders", pb.ListOrdersRequest),
        ("ListFills", pb.ListFillsRequest),
        ("ListAssets", reference.ListAssetsRequest),
        ("ListBars", bars),
        ("ListQuotes", partial(data.ListQuotesRequest, symbols=["AAPL"])),
        ("ListTrades", partial(data.ListTradesRequest, symbols=["AAPL"])),
    ):
        listed: Callable[..., Message] = listing
        yield Case("B78", "page_size -1", method, listed(page_size=-1), fields=("page_size",), note=note)
        for token in ("garbage", "AAAA", "0:AAPL", "x" * 400, "\0", "-1"):
            forged = listed(page_token=token)
            yield Case("B78", f"token {ascii(token)[:9]}", method, forged, reason="PAGE_TOKEN_MISMATCH")
        long = listed(page_token="x" * 600)
        yield Case("B78", "long token", method, long, fields=("page_token",))


# --- state that every gateway has: nothing held, nothing ordered


def empty_handed() -> Iterator[Case]:
    """What names no order and no position."""
    missing = {"code": MISSING, "reason": "ORDER_NOT_FOUND"}
    for ref in (
        pb.OrderRef(order_id=UNKNOWN_ID),
        pb.OrderRef(client_order_id="never-used"),
        pb.OrderRef(venue_order_id=UNKNOWN_ID),
    ):
        what = str(ref.WhichOneof("ref"))
        yield Case("B82", what, "CancelOrder", pb.CancelOrderRequest(order=ref), **missing)
        yield Case("B82", what, "GetOrder", pb.GetOrderRequest(order=ref), **missing)
        yield Case("B82", what, "GetOrderTimeline", pb.GetOrderTimelineRequest(order=ref), **missing)
        yield Case("B82", what, "ReplaceOrder", replace(order=ref, limit_price="51"), **missing)
    yield Case("B85", "to 0", "ReplaceOrder", replace(quantity="0"), fields=("quantity",))
    reduce: dict[str, Any] = {"code": FAILED, "reason": "RISK_REDUCE_ONLY", "key": "spent", "asks": True}
    for side in (BUY, SELL):
        wanted = spec(symbol="TSLA", side=side, reduce_only=True)
        yield from order_case("B87", f"reduce-only of nothing {side}", wanted, **reduce)
    missing = {"code": MISSING, "reason": "POSITION_NOT_FOUND", "asks": True}
    yield Case("B87", "close nothing", "ClosePosition", close(symbol="TSLA"), **missing)
    yield Case("B87", "nothing held", "GetPosition", account.GetPositionRequest(symbol="TSLA"), **missing)
