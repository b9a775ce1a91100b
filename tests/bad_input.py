"""Bad inputs and what becomes of them: the rows B1 to B96 of the order-safety reference that need no prior state.

A row may be many cases. `ELSEWHERE` names the tests of rows that are no single call, `NOT_YET` says why a row cannot
apply to this build; `test_bad_input` holds that each row is in one of the three. Where the contract differs from the
reference the contract wins, and the row's note says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tests.bad_operations import operated
from tests.bad_requests import (
    BUY,
    COMBINATION,
    EXHAUSTED,
    FAILED,
    GTC,
    INACTIVE,
    INVALID,
    MARKET,
    MISSING,
    OTO,
    SELL,
    STOP,
    STOP_LIMIT,
    TOKEN,
    TRAILING,
    UNKNOWN_ID,
    Case,
    Code,
    bars,
    close,
    order_case,
    replace,
    spec,
    submit,
)
from tests.bad_shapes import empty_handed, shape
from trading_gateway.v1 import (
    account_pb2 as account,
    common_pb2 as common,
    market_data_pb2 as data,
    reference_pb2 as reference,
    trading_pb2 as pb,
)

# --- transport: B1 to B10


def varint_field(number: int, value: int = 1) -> bytes:
    """The bytes of one varint field below 2048."""
    tag = number << 3
    return bytes([tag & 0x7F | 0x80, tag >> 7, value])


def transport() -> Iterator[Case]:
    """Bytes that are no request."""
    by_grpc: dict[str, Any] = {"code": EXHAUSTED, "reason": "", "key": ""}
    yield Case("B1", "65 KiB", "SubmitOrder", submit(labels={"note": "x" * 66_000}), **by_grpc)
    yield Case("B1", "65 KiB", "ListOrders", pb.ListOrdersRequest(page_token="x" * 66_000), **by_grpc)
    yield Case("B2", "10 MB of zeros", "SubmitOrder", bytes(10_000_000), compression=grpc.Compression.Gzip, **by_grpc)
    unread = "the key could not be read either, so nothing is said of it"
    garbled = {
        "random bytes": b"\xff\xff\xff",
        "truncated": b"\x0a\x7f\x01",
        "an end without a beginning": b"\x0c",
        "wire type 7": b"\x0f\x01",
        "an endless varint": varint_field(999)[:2] + b"\x80" * 11,
    }
    for what, raw in garbled.items():
        for method in ("SubmitOrder", "CancelOrder", "GetLatestQuotes", "GetAccount", "ListAssets"):
            yield Case("B3", what, method, raw, key="", note=unread)
    for method in ("SubmitOrder", "ReplaceOrder", "ClosePosition"):
        yield Case("B4", "a string that is not UTF-8", method, b"\x12\x02\xff\xfe", key="", note=unread)
    yield Case("B5", "empty", "SubmitOrder", b"", fields=("client_order_id", "spec"))
    yield Case("B5", "empty", "PreviewOrder", b"", fields=("spec",))
    yield Case("B5", "empty", "ReplaceOrder", b"", fields=("order", "client_order_id"))
    yield Case("B5", "empty", "ClosePosition", b"", fields=("symbol", "client_order_id"))
    yield Case("B5", "empty", "ClosePositions", b"", fields=("client_order_id_prefix",))
    yield Case("B5", "empty", "CancelOrder", b"", fields=("order",))
    yield Case("B5", "empty", "GetOrder", b"", fields=("order",))
    yield Case("B5", "empty", "GetPosition", b"", fields=("symbol",))
    yield Case("B5", "empty", "GetAsset", b"", fields=("symbol_or_id",))
    yield Case("B5", "empty", "ListBars", b"", fields=("symbols", "timeframe.unit"))
    for method in ("GetLatestQuotes", "GetLatestTrades", "GetLatestBars", "GetLatestOrderBooks", "GetSnapshots"):
        yield Case("B5", "empty", method, b"", fields=("symbols",))
    for method in ("ListQuotes", "ListTrades"):
        yield Case("B5", "empty", method, b"", fields=("symbols",))
    for method, request in (
        ("SubmitOrder", submit()),
        ("ReplaceOrder", replace(limit_price="51")),
        ("CancelOrders", pb.CancelOrdersRequest()),
        ("ClosePosition", close()),
        ("ClosePositions", pb.ClosePositionsRequest(client_order_id_prefix="p")),
        ("GetAccount", account.GetAccountRequest()),
    ):
        raw = request.SerializeToString() + varint_field(999)
        yield Case("B6", "unknown field 999", method, raw, reason="UNKNOWN_FIELD")
    deep = b"\xbb\x3e" * 200 + b"\xbc\x3e" * 200
    yield Case("B9", "200 levels deep", "SubmitOrder", deep, key="", note=unread)


# --- symbols and ids: B37 to B50

ON_SYMBOL: Final[dict[str, tuple[str, Callable[[str], Message]]]] = {
    "SubmitOrder": ("spec.symbol", lambda symbol: submit(wanted=spec(symbol=symbol))),
    "PreviewOrder": ("spec.symbol", lambda symbol: pb.PreviewOrderRequest(spec=spec(symbol=symbol))),
    "ClosePosition": ("symbol", lambda symbol: close(symbol=symbol)),
    "GetPosition": ("symbol", lambda symbol: account.GetPositionRequest(symbol=symbol)),
    "GetAsset": ("symbol_or_id", lambda symbol: reference.GetAssetRequest(symbol_or_id=symbol)),
    "GetLatestQuotes": ("symbols[0]", lambda symbol: data.GetLatestQuotesRequest(symbols=[symbol])),
    "GetSnapshots": ("symbols[0]", lambda symbol: data.GetSnapshotsRequest(symbols=[symbol])),
    "ListBars": ("symbols[0]", lambda symbol: bars(symbols=[symbol])),
    "ListQuotes": ("symbols[0]", lambda symbol: data.ListQuotesRequest(symbols=[symbol])),
    "ListTrades": ("symbols[0]", lambda symbol: data.ListTradesRequest(symbols=[symbol])),
    "GetLatestOrderBooks": ("symbols[0]", lambda symbol: data.GetLatestOrderBooksRequest(symbols=[symbol])),
    "CancelOrders": ("symbols[0]", lambda symbol: pb.CancelOrdersRequest(symbols=[symbol])),
    "ListOrders": ("symbols[0]", lambda symbol: pb.ListOrdersRequest(symbols=[symbol])),
    "ListAssets": ("symbols[0]", lambda symbol: reference.ListAssetsRequest(symbols=[symbol])),
}
BAD_SYMBOLS: Final[dict[str, tuple[str, ...]]] = {
    "B37": ("", " "),
    "B38": ("../orders", "AAPL/../orders", "%2e%2e/orders", "..", "/", "AAPL/"),
    "B39": ("AAPL?cancel_orders=true", "AAPL#", "AAPL&x=1", "AAPL;"),
    "B40": ("AAPL\0", "AAPL\n", "AAPL\r\nX-Y: z", "AAPL\t", "AAPL\u00a0"),
    "B41": ("\u0430apl", "\uff21\uff21\uff30\uff2c", "AAPL\u200b", "\u200fAAPL", "\U0001f4c8", "A\u0301APL"),
    "B42": ("aapl", "Aapl", "btc/usd"),
    "B43": ("A" * 10_240, "AAPL,MSFT", "*"),
    "B44": ("'; DROP TABLE orders; --", "%", "_", "{{7*7}}", "${jndi:ldap://x}"),
}
BAD_ORDER_IDS: Final[dict[str, Code]] = {
    "": INVALID,
    " ": INVALID,
    "../orders": INVALID,
    "{" + UNKNOWN_ID + "}": INVALID,
    UNKNOWN_ID + "/stop": INVALID,
    UNKNOWN_ID + "/stop-loss/stop-loss": INVALID,
    "x" * 65: INVALID,
    "00000000-0000-0000-0000-000000000000": MISSING,
    UNKNOWN_ID + "5": MISSING,
    UNKNOWN_ID + "/stop-loss": MISSING,
}
BAD_KEYS: Final = ("", "x" * 65, ".a", "_a", "-a", "a:b", "a b", "a/b", "schl\u00fcssel", "a\n", "a\0")
BAD_KEYS_THAT_ARE_SECRETS: Final = (TOKEN, TOKEN[:40])


def symbols_and_ids() -> Iterator[Case]:
    """What names something, and does not."""
    for row, texts in BAD_SYMBOLS.items():
        for text in texts:
            for method, (field, request) in ON_SYMBOL.items():
                yield Case(row, ascii(text)[:24], method, request(text), fields=(field,))
    for method in ("SubmitOrder", "PreviewOrder", "ClosePosition", "GetPosition", "GetAsset", "GetLatestQuotes"):
        request = ON_SYMBOL[method][1]
        unknown: dict[str, Any] = {"code": MISSING, "reason": "SYMBOL_UNKNOWN", "asks": True}
        yield Case("B45", "ZZZZZZ", method, request("ZZZZZZ"), **unknown)
    yield from order_case(
        "B46", "inactive", spec(symbol=INACTIVE), code=FAILED, reason="SYMBOL_NOT_TRADABLE", asks=True
    )
    for text in ("BTCUSD", "BTC-USD", "BRK/B", "BRK-B"):
        for method in ("SubmitOrder", "PreviewOrder", "ClosePosition", "GetPosition", "GetLatestQuotes", "ListBars"):
            field, request = ON_SYMBOL[method]
            yield Case("B48", text, method, request(text), fields=(field,), asks=True)
    for text, code in BAD_ORDER_IDS.items():
        ref = pb.OrderRef(order_id=text)
        reason = "FIELD_INVALID" if code is INVALID else "ORDER_NOT_FOUND"
        fields = ("order.order_id",) if code is INVALID else ()
        for method, named in (
            ("GetOrder", pb.GetOrderRequest(order=ref)),
            ("CancelOrder", pb.CancelOrderRequest(order=ref)),
            ("ReplaceOrder", replace(order=ref, limit_price="51")),
        ):
            yield Case("B49", ascii(text)[:24], method, named, code, reason, fields)
    venue_ref = pb.OrderRef(venue_order_id="{" + UNKNOWN_ID + "}")
    yield Case("B49", "venue id", "GetOrder", pb.GetOrderRequest(order=venue_ref), fields=("order.venue_order_id",))
    for text in (*BAD_KEYS, *BAD_KEYS_THAT_ARE_SECRETS):
        what, fields = ascii(text)[:24], ("client_order_id",)
        yield Case("B50", what, "SubmitOrder", submit(client_order_id=text), fields=fields)
        yield Case("B50", what, "ReplaceOrder", replace(client_order_id=text, limit_price="51"), fields=fields)
        yield Case("B50", what, "ClosePosition", close(client_order_id=text), fields=fields)
        prefix = pb.ClosePositionsRequest(client_order_id_prefix=text)
        yield Case("B50", what, "ClosePositions", prefix, fields=("client_order_id_prefix",))
        ref = pb.GetOrderRequest(order=pb.OrderRef(client_order_id=text))
        yield Case("B50", what, "GetOrder", ref, fields=("order.client_order_id",))
    long_prefix = pb.ClosePositionsRequest(client_order_id_prefix="x" * 41)
    yield Case("B50", "41 characters", "ClosePositions", long_prefix, fields=("client_order_id_prefix",))


# --- numbers: B53 to B66

ON_DECIMAL: Final[dict[str, tuple[str, str, Callable[[str], Message]]]] = {
    "quantity": ("SubmitOrder", "spec.quantity", lambda text: submit(wanted=spec(quantity=text))),
    "replaced price": ("ReplaceOrder", "limit_price", lambda text: replace(limit_price=text)),
    "closed quantity": ("ClosePosition", "quantity", lambda text: close(quantity=text)),
    "previewed price": (
        "PreviewOrder",
        "spec.limit_price",
        lambda text: pb.PreviewOrderRequest(spec=spec(limit_price=text)),
    ),
    "notional": ("SubmitOrder", "spec.notional", lambda text: submit(wanted=spec(order_type=MARKET, notional=text))),
    "limit": ("SubmitOrder", "spec.limit_price", lambda text: submit(wanted=spec(limit_price=text))),
    "stop": ("SubmitOrder", "spec.stop_price", lambda text: submit(wanted=spec(order_type=STOP, stop_price=text))),
    "trail": (
        "SubmitOrder",
        "spec.trail_price",
        lambda text: submit(wanted=spec(order_type=TRAILING, trail_price=text)),
    ),
    "trail percent": (
        "SubmitOrder",
        "spec.trail_percent",
        lambda text: submit(wanted=spec(order_type=TRAILING, trail_percent=text)),
    ),
    "take profit": (
        "SubmitOrder",
        "spec.take_profit.limit_price",
        lambda text: submit(wanted=spec(order_class=OTO, take_profit=pb.TakeProfit(limit_price=text))),
    ),
    "stop loss": (
        "SubmitOrder",
        "spec.stop_loss.stop_price",
        lambda text: submit(wanted=spec(order_class=OTO, stop_loss=pb.StopLoss(stop_price=text))),
    ),
    "stop loss limit": (
        "SubmitOrder",
        "spec.stop_loss.limit_price",
        lambda text: submit(wanted=spec(order_class=OTO, stop_loss=pb.StopLoss(stop_price="40", limit_price=text))),
    ),
    "replaced quantity": ("ReplaceOrder", "quantity", lambda text: replace(quantity=text)),
    "replaced stop": ("ReplaceOrder", "stop_price", lambda text: replace(stop_price=text)),
    "replaced trail": ("ReplaceOrder", "trail", lambda text: replace(trail=text)),
    "percentage": ("ClosePosition", "percentage", lambda text: close(percentage=text)),
}
WHOLE_LIST: Final = ("quantity", "replaced price", "closed quantity", "previewed price")
"""Where every text is tried; elsewhere one of each row, since one reader reads them all."""
BAD_DECIMALS: Final[dict[str, tuple[str, ...]]] = {
    "B53": ("NaN", "nan", "-NaN", "sNaN"),
    "B54": ("Infinity", "inf", "-inf", "1e400", "1e999999999"),
    "B55": ("0", "0.0", "-0", "-1", "+5", ""),
    "B56": ("1_000", "1,000", "1.000,5", "\uff10\uff11\uff12", "\u0663.\u0665", " 7 ", "7\n"),
    "B57": ("0x10", "1e3", ".5", "5.", "00.5", "--1", "1/3", "true"),
    "B58": ("0.1234567890", "1" * 40, "9" * 10_240),
}


def numbers() -> Iterator[Case]:
    """Texts that are no number of this contract, and numbers that are no order."""
    for row, texts in BAD_DECIMALS.items():
        for what, (method, field, request) in ON_DECIMAL.items():
            for text in texts if what in WHOLE_LIST else texts[:1]:
                yield Case(row, f"{what} {ascii(text)[:16]}", method, request(text), fields=(field,))
    dust = spec(symbol="BTC/USD", quantity="0.000000001", time_in_force=GTC, order_type=MARKET)
    note = "BTC/USD of the stage is traded from 0.0001 on"
    yield from order_case("B59", "below the smallest order", dust, "spec.quantity", note=note)
    odd = spec(symbol="BTC/USD", quantity="0.00015", time_in_force=GTC, order_type=MARKET)
    yield from order_case("B59", "between two lots", odd, "spec.quantity", note=note)
    worth = "of shares, what the venue counts is a fraction's worth: one dollar is the smallest order"
    for what, crumb in (
        ("a billionth of a share", spec(quantity="0.000000001", limit_price="50")),
        ("a cent's worth of a share", spec(quantity="0.00004", order_type=MARKET)),
    ):
        yield from order_case("B59", what, crumb, "spec.quantity", note=worth, asks=True)
    broke: dict[str, Any] = {"code": FAILED, "reason": "RISK_BUYING_POWER", "key": "spent", "asks": True}
    yield from order_case("B60", "a billion shares", spec(quantity="1000000000"), **broke)
    million = spec(order_type=MARKET, notional="1000000000000")
    yield from order_case("B60", "a trillion dollars", million, **broke)
    yield from order_case(
        "B61", "a fraction gtc", spec(quantity="0.5", time_in_force=GTC), "spec.quantity", **COMBINATION
    )
    short: dict[str, Any] = {"code": FAILED, "reason": "RISK_SHORT_NOT_ALLOWED", "key": "spent", "asks": True}
    yield from order_case("B61", "a fraction short", spec(side=SELL, quantity="0.5", limit_price="500"), **short)
    yield from order_case(
        "B61", "not fractionable", spec(symbol="WHOLE", quantity="0.5"), code=FAILED, reason="SYMBOL_NOT_TRADABLE"
    )
    for text in ("100.005", "0.12345", "0.00001"):
        yield from order_case(
            "B62", f"tick {text}", spec(limit_price=text), "spec.limit_price", reason="PRICE_INCREMENT"
        )
    coin = spec(symbol="BTC/USD", quantity="0.001", time_in_force=GTC, limit_price="100.001")
    yield from order_case("B62", "tick of crypto", coin, "spec.limit_price", reason="PRICE_INCREMENT")
    yield from order_case("B62", "negative", spec(limit_price="-1"), "spec.limit_price")
    crossing = spec(order_type=STOP_LIMIT, stop_price="60", limit_price="50")
    yield from order_case("B64", "stop-limit that cannot fill", crossing, "spec.stop_price", **COMBINATION)
    wrong: dict[str, Any] = {"code": FAILED, "reason": "RISK_PRICE_COLLAR", "key": "spent", "asks": True}
    for what, side, price in (("a buy", BUY, "1"), ("a sell", SELL, "9000")):
        behind = spec(side=side, order_type=STOP, stop_price=price)
        yield from order_case("B64", f"stop of {what} behind the market", behind, **wrong)
        behind = spec(side=side, order_type=STOP_LIMIT, stop_price=price, limit_price=price)
        yield from order_case("B64", f"stop-limit of {what} behind the market", behind, **wrong)
    exit_ = spec(order_type=MARKET, order_class=OTO, stop_loss=pb.StopLoss(stop_price="9000"))
    yield from order_case("B64", "stop loss behind the market", exit_, **wrong)
    yield from order_case("B64", "trail 0", spec(order_type=TRAILING, trail_price="0"), "spec.trail_price")
    yield from order_case("B64", "trail 100 %", spec(order_type=TRAILING, trail_percent="100"), "spec.trail_percent")
    both = "both trails are a oneof, so the last one wins: neither is the mistake that is left"
    yield from order_case("B64", "no trail", spec(order_type=TRAILING), "spec.trail_price", note=both, **COMBINATION)
    yield Case("B65", "a fraction", "ReplaceOrder", replace(quantity="1.5", order=None), fields=("order",))
    for what, request, field in (
        ("page_size int32 min", pb.ListOrdersRequest(page_size=-(2**31)), "page_size"),
        ("start_time int64 min", pb.ListOrdersRequest(start_time=Timestamp(seconds=-(2**63))), "start_time"),
        ("end_time int64 max", pb.ListOrdersRequest(end_time=Timestamp(seconds=2**63 - 1)), "end_time"),
    ):
        yield Case("B66", what, "ListOrders", request, fields=(field,))
    yield Case("B66", "amount int32 max", "ListBars", bars(timeframe=common.Timeframe(amount=2**31 - 1, unit=1)),
               fields=("timeframe",))  # fmt: skip
    for seconds in (2**63 - 1, -(2**63)):
        stale = account.GetAccountRequest(max_staleness=Duration(seconds=seconds))
        yield Case("B66", f"max_staleness {seconds}", "GetAccount", stale, fields=("max_staleness",))
    wait = pb.CancelOrderRequest(order=pb.OrderRef(order_id=UNKNOWN_ID), wait_for_terminal=Duration(seconds=2**63 - 1))
    yield Case("B66", "wait int64 max", "CancelOrder", wait, fields=("wait_for_terminal",))


def all_cases() -> list[Case]:
    """Every case, by row."""
    parts: Iterable[Iterator[Case]] = (
        transport(),
        symbols_and_ids(),
        numbers(),
        shape(),
        empty_handed(),
        operated(BAD_SYMBOLS, BAD_DECIMALS),
    )
    return list(itertools.chain.from_iterable(parts))


CASES: Final = all_cases()

ELSEWHERE: Final[dict[str, tuple[str, ...]]] = {
    "B7": ("test_a_field_sent_twice_counts_as_it_is_read",),
    "B8": ("test_a_field_sent_twice_counts_as_it_is_read",),
    "B10": ("test_what_is_not_served_is_unimplemented",),
    "B11": ("test_headers_beyond_the_limit_are_refused",),
    "B12": ("test_headers_beyond_the_limit_are_refused",),
    "B13": (
        "test_malformed_headers_do_not_leave_the_client",
        "fuzz/test_frames.py::test_headers_that_no_library_sends_let_nobody_in",
    ),
    "B14": ("test_reserved_and_stray_headers_are_ignored",),
    "B15": ("test_a_call_that_is_late_already_does_nothing",),
    "B16": ("test_too_little_time_is_refused_before_anything_is_recorded",),
    "B17": ("test_the_server_ends_calls_whatever_the_caller_would_wait",),
    "B18": ("test_the_server_ends_calls_whatever_the_caller_would_wait",),
    "B19": ("servicers/test_server.py::test_rpcs_beyond_the_hard_limit_are_refused_and_the_server_lives",),
    "B20": (
        "servicers/test_turnstile.py::test_a_stream_too_many_and_symbols_too_many_are_refused",
        "test_gateway_reasons.py::test_too_many_streams",
    ),
    "B21": ("servicers/test_server.py::test_pings_in_a_flood_are_answered_with_a_goodbye",),
    "B22": (
        "test_calls_begun_and_broken_off_do_not_disturb_others",
        "fuzz/test_frames.py::test_calls_that_are_reset_as_fast_as_they_begin_leave_nothing",
    ),
    "B23": ("servicers/test_doorway.py::test_a_call_without_a_request_gives_its_place_back",),
    "B24": (
        "test_other_protocols_are_turned_away",
        "test_tls.py::test_plain_text_meets_nobody_where_tls_is_spoken",
        "test_tls.py::test_tls_meets_nobody_where_plain_text_is_spoken",
    ),
    "B25": ("test_a_second_message_of_a_unary_call_is_never_read",),
    "B26": ("test_access.py::test_without_a_token_nothing_is_open_but_health",),
    "B27": ("test_access.py::test_a_token_is_shown_in_one_way_alone",),
    "B28": (
        "test_access.py::test_a_token_is_shown_in_one_way_alone",
        "services/test_identity.py::test_the_scheme_may_be_in_any_case",
    ),
    "B29": (
        "services/test_identity.py::test_every_wrong_secret_is_refused_in_the_same_words",
        "services/test_identity.py::test_who_guesses_cannot_tell_from_the_work_what_was_wrong",
        "test_access.py::test_time_ends_a_token",
        "test_access.py::test_a_revoked_token_ends_its_streams_within_a_second",
    ),
    "B30": ("services/test_identity.py::test_a_token_of_another_venue_opens_nothing",),
    "B31": (
        "test_access.py::test_a_token_is_shown_in_one_way_alone",
        "fuzz/test_frames.py::test_headers_that_no_library_sends_let_nobody_in",
    ),
    "B32": (
        "test_tls.py::test_a_certificate_that_cannot_be_verified_shakes_no_hands",
        "test_tls.py::test_a_certificate_is_its_tokens_holder",
    ),
    "B33": ("test_tls.py::test_a_certificate_and_a_token_are_one_holders",),
    "B34": (
        "test_access.py::test_every_method_needs_one_of_its_scopes_and_no_other",
        "test_access.py::test_operators_see_and_end_every_order_and_trade_none",
    ),
    "B35": (
        "test_headers_do_not_name_a_strategy",
        "test_access.py::test_one_strategy_never_sees_anothers_orders",
    ),
    "B36": (
        "test_keys_and_tokens_belong_to_their_book",
        "test_access.py::test_one_strategy_never_sees_anothers_orders",
        "test_access.py::test_a_token_of_one_strategy_learns_nothing_of_anothers_keys",
    ),
    "B47": ("test_access.py::test_a_token_may_trade_its_symbols_alone",),
    "B51": ("test_a_key_holds_one_content_for_ever",),
    "B52": ("test_a_key_holds_one_content_for_ever",),
    "B65": ("test_replaces_that_cannot_be", "test_error_reasons.py::test_an_order_by_money_has_no_replace"),
    "B73": ("test_error_reasons.py::test_the_market_is_closed", "test_error_reasons.py::test_an_auction_is_cut_off"),
    "B83": ("test_canceling_what_has_ended_is_no_error", "test_canceling_what_its_sibling_has_ended_is_no_error"),
    "B84": ("test_replaces_that_cannot_be", "test_error_reasons.py::test_a_replace_too_early_or_of_an_unknown_order"),
    "B85": ("test_replaces_that_cannot_be", "test_error_reasons.py::test_a_replace_to_no_more_than_is_filled"),
    "B86": ("test_orders_that_do_more_than_the_position_allows",),
    "B87": ("test_orders_that_do_more_than_the_position_allows",),
    "B88": (
        "test_error_reasons.py::test_a_blind_gateway_takes_no_risk",
        "test_error_reasons.py::test_a_stopped_gateway_takes_no_orders",
        "test_error_reasons.py::test_a_gateway_that_has_not_compared_its_books_takes_no_risk",
    ),
    "B89": ("servicers/test_turnstile.py::test_an_order_too_early_is_refused_and_what_may_not_be_is_delayed",),
    "B91": (
        "test_resume_tokens_that_are_none",
        "test_gateway_reasons.py::test_tokens_that_cannot_be_continued",
        "application/test_order_updates.py::test_tokens_that_cannot_be_continued",
    ),
    "B92": ("test_streams_refuse_by_symbol",),
    "B93": ("services/streaming/test_upstream.py::test_many_changes_are_few_messages_to_the_venue",),
    "B95": ("test_error_reasons.py::test_stopping_is_easy_and_going_on_is_not",),
}
"""Rows that are no single call on a fresh gateway: the tests that hold them, in test_bad_input.py unless said."""

NOT_YET: Final[dict[str, str]] = {
    "B63": "no price collar: it needs limits to be configured",
    "B75": "no options, so no order of several legs",
    "B90": "no check for duplicates under other keys",
    "B94": "no credits: flow control is the transport's",
    "B96": "no limits to load; settings with unknown names are refused at start",
}
"""Rows that cannot apply to this build, and why."""

PARTLY: Final[dict[str, str]] = {
    "B22": "gRPC's core takes as many resets as come and begins no handler for them; the connection lives on",
    "B25": "gRPC's core never reads the second message: the first one is the call",
    "B16": "INSUFFICIENT_TIME is FAILED_PRECONDITION by the contract: nothing was begun, and the key is free",
    "B23": "gRPC cannot answer a call that it has not read: after 9 s its place is given back, its client not told",
    "B29": "an expired token's holder is told that it has expired; every wrong secret is told the same",
    "B31": "8 KB are beyond what gRPC reads of headers: RESOURCE_EXHAUSTED",
    "B48": "option roots: no options",
    "B59": "a sell of any fraction is left to the venue: what is held may always be sold",
    "B64": "between bid and ask, and without a price, a stop's side is the venue's to judge",
    "B77": "a replace that comes late is refused after its order was found",
    "B78": "the contract has no time zones, and its lists take any range of past orders",
    "B82": "an order from outside may be canceled by its ids, by who may cancel every strategy's",
    "B88": "no second replica",
    "B89": "the limit is a client's, not a strategy's",
    "B92": "there is no unsubscribing but ending the stream",
    "B93": "flips are streams opened and closed: the request is the subscription",
}
"""What of a row that is held differs from the reference, or is left out."""
