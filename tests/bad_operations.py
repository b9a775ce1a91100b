"""Bad inputs, third part: for whoever runs the gateway: tokens, the switch, and the emulator's faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration

from tests.bad_requests import INVALID, MISSING, TOKEN, Case
from trading_gateway.v1 import operations_pb2 as operations, risk_pb2 as risk, simulation_pb2 as simulation

FOREVER_S = 2**62
UNKNOWN_FIELD = b"\xb8\x3e\x01"  # field 999 = 1
Texts = Mapping[str, Sequence[str]]


def mint(**fields: Any) -> operations.MintTokenRequest:
    """A grant that nobody could object to but for `fields`."""
    return operations.MintTokenRequest(**({"strategy_id": "mine", "scopes": ["orders:read"]} | fields))


def set_mode(**fields: Any) -> risk.SetTradingStateRequest:
    """A stop; what is wrong with it is noticed before it takes effect."""
    return risk.SetTradingStateRequest(**({"mode": risk.TRADING_MODE_HALTED} | fields))


def operated(bad_symbols: Texts, bad_decimals: Texts) -> Iterator[Case]:
    """Every bad input of tokens, of the switch and of faults.

    Args:
        bad_symbols, bad_decimals: By row, texts that are none.
    """
    yield from _unread()
    yield from _tokens(bad_symbols, bad_decimals)
    yield from _switch()
    yield from _faults(bad_symbols)


def _unread() -> Iterator[Case]:
    for method in ("MintToken", "RotateToken", "RevokeToken", "ListTokens", "SetTradingState", "InjectFault"):
        yield Case("B3", "random bytes", method, b"\xff\xff\xff")
        yield Case("B3", "truncated", method, b"\x0a\x7f\x01")
    for method, what in (("MintToken", b"\x0a"), ("SetTradingState", b"\x1a"), ("ListLedger", b"\x12")):
        yield Case("B4", "a string that is not UTF-8", method, what + b"\x02\xff\xfe")
    yield Case("B5", "empty", "MintToken", b"", fields=("scopes",))
    yield Case("B5", "empty", "RotateToken", b"", fields=("token_id",))
    yield Case("B5", "empty", "RevokeToken", b"", fields=("token_id",))
    yield Case("B5", "empty", "SetTradingState", b"", fields=("mode",))
    yield Case("B5", "empty", "InjectFault", b"", fields=("fault",))
    for method, request in (
        ("MintToken", mint()),
        ("RotateToken", operations.RotateTokenRequest(token_id="00000000")),
        ("RevokeToken", operations.RevokeTokenRequest(token_id="00000000")),
        ("SetTradingState", set_mode()),
        ("InjectFault", simulation.InjectFaultRequest(fault=simulation.FAULT_HTTP_500)),
        ("ClearFaults", simulation.ClearFaultsRequest()),
    ):
        yield Case(
            "B6", "unknown field 999", method, request.SerializeToString() + UNKNOWN_FIELD, INVALID, "UNKNOWN_FIELD"
        )


def _tokens(bad_symbols: Texts, bad_decimals: Texts) -> Iterator[Case]:
    for row, texts in bad_symbols.items():
        yield Case(row, ascii(texts[0])[:24], "MintToken", mint(symbols=[texts[0]]), fields=("symbols[0]",))
    for row, texts in bad_decimals.items():
        capped = mint(max_order_notional=texts[0])
        yield Case(row, ascii(texts[0])[:16], "MintToken", capped, fields=("max_order_notional",))
    for text in ("", TOKEN, "ABCDEF01", "0123456", "012345678", "../00000", "0000000\n", "0000000\u0660"):
        what, fields = ascii(text)[:24], ("token_id",)
        yield Case("B49", what, "RotateToken", operations.RotateTokenRequest(token_id=text), fields=fields)
        yield Case("B49", what, "RevokeToken", operations.RevokeTokenRequest(token_id=text), fields=fields)
    missing: dict[str, Any] = {"code": MISSING, "reason": "RESOURCE_NOT_FOUND"}
    yield Case("B49", "nobody's", "RotateToken", operations.RotateTokenRequest(token_id="00000000"), **missing)
    yield Case("B49", "nobody's", "RevokeToken", operations.RevokeTokenRequest(token_id="00000000"), **missing)
    for seconds in (FOREVER_S, -FOREVER_S, 0, -1):
        life, named = Duration(seconds=seconds), "00000000"
        yield Case("B66", f"ttl {seconds}", "MintToken", mint(ttl=life), fields=("ttl",))
        rotation = operations.RotateTokenRequest(token_id=named, ttl=life)
        yield Case("B66", f"ttl {seconds}", "RotateToken", rotation, fields=("ttl",))
        if seconds:
            overlapping = operations.RotateTokenRequest(token_id=named, overlap=life)
            yield Case("B66", f"overlap {seconds}", "RotateToken", overlapping, fields=("overlap",))
    broken = Duration(seconds=1, nanos=2_000_000_000)
    yield Case("B66", "nanos beyond a second", "MintToken", mint(ttl=broken), fields=("ttl",))
    many = [f"A{number}" for number in range(1_001)]
    yield Case("B76", "1,001 symbols", "MintToken", mint(symbols=many), fields=("symbols",))
    yield Case("B76", "twice", "MintToken", mint(symbols=["AAPL", "AAPL"]), fields=("symbols",))
    yield Case("B76", "1,000 scopes", "MintToken", mint(scopes=["orders:read"] * 1_000), fields=("scopes",))
    yield Case("B76", "33 networks", "MintToken", mint(networks=["10.0.0.0/8"] * 33), fields=("networks",))
    yield Case("B78", "page_size -1", "ListTokens", operations.ListTokensRequest(page_size=-1), fields=("page_size",))
    for token in ("garbage", "0" * 16 + ".1.2", "\0", "-1"):
        forged = operations.ListTokensRequest(page_token=token)
        yield Case("B78", f"token {ascii(token)[:9]}", "ListTokens", forged, INVALID, "PAGE_TOKEN_MISMATCH")
    long = operations.ListTokensRequest(page_token="x" * 600)
    yield Case("B78", "long token", "ListTokens", long, fields=("page_token",))
    for text in (
        "spiffe://gateway/\x1b[31m",
        "spiffe://a\nb",
        "x" * 600,
        "spiffe://" + "x" * 600,
        "\u0441piffe://a",
        f"spiffe://gw/{TOKEN}",
    ):
        yield Case("B80", ascii(text)[:24], "MintToken", mint(certificate=text), fields=("certificate",))
    for text in ("orders:trade\n", "ORDERS:TRADE", "*", "\x1b[31m", "x" * 5_000):
        yield Case("B80", ascii(text)[:24], "MintToken", mint(scopes=[text]), fields=("scopes[0]",))
    for text in (
        "10.0.0.1/8",
        "0x0a.0.0.0/8",
        "::1%eth0/128",
        "::1%\x1b[31m/128",
        "localhost",
        "x" * 5_000,
        "10.0.0.0/8\n",
        "1" * 49,
    ):
        yield Case("B80", ascii(text)[:24], "MintToken", mint(networks=[text]), fields=("networks[0]",))
    for text in ("account", "unattributed", "Mine", "x" * 25, "a.b", "-a", "a b", "a\n"):
        what, fields = ascii(text), ("strategy_id",)
        yield Case("B81", what, "MintToken", mint(strategy_id=text), fields=fields)
        yield Case("B81", what, "ListTokens", operations.ListTokensRequest(strategy_id=text), fields=fields)


def _switch() -> Iterator[Case]:
    yield Case("B69", "mode", "SetTradingState", set_mode(mode=0), fields=("mode",))
    for number in (77, -1, 5):
        yield Case("B70", f"mode {number}", "SetTradingState", set_mode(mode=number), fields=("mode",))
    for what, text in {"newline": "a\nb", "escape": "\x1b[31mred", "nul": "a\0b", "long": "x" * 257}.items():
        yield Case("B80", what, "SetTradingState", set_mode(reason=text), fields=("reason",))


def _faults(bad_symbols: Texts) -> Iterator[Case]:
    def fault(**fields: Any) -> simulation.InjectFaultRequest:
        return simulation.InjectFaultRequest(**({"fault": simulation.FAULT_HTTP_500} | fields))

    for row, texts in bad_symbols.items():
        if texts[0]:
            yield Case(row, ascii(texts[0])[:24], "InjectFault", fault(symbol=texts[0]), fields=("symbol",))
            ledger = simulation.ListLedgerRequest(symbol=texts[0])
            yield Case(row, ascii(texts[0])[:24], "ListLedger", ledger, fields=("symbol",))
    for number in (77, -1):
        yield Case("B70", f"fault {number}", "InjectFault", fault(fault=number), fields=("fault",))
        kinds = simulation.ListLedgerRequest(kinds=[number])  # type: ignore[list-item]
        yield Case("B70", f"kinds {number}", "ListLedger", kinds, fields=("kinds[0]",))
    for name in ("skip", "count"):
        for number in (2**31 - 1, -(2**31)):
            yield Case("B66", f"{name} {number}", "InjectFault", fault(**{name: number}), fields=(name,))
    yield Case("B66", "delay", "InjectFault", fault(delay=Duration(seconds=FOREVER_S)), fields=("delay",))
    beyond = simulation.ListLedgerRequest(from_sequence=2**64 - 1)
    yield Case("B66", "from_sequence", "ListLedger", beyond, fields=("from_sequence",))
    yield Case("B78", "page_size -1", "ListLedger", simulation.ListLedgerRequest(page_size=-1), fields=("page_size",))
    for token in ("x", "0", "-1", "9" * 400, "0" * 19 + "1" + "0" * 5_000, "\u0661"):
        forged = simulation.ListLedgerRequest(page_token=token)
        yield Case("B78", f"token {ascii(token)[:9]}", "ListLedger", forged, fields=("page_token",))
    for what, text in {"newline": "POST /a\nb", "nul": "a\0b", "long": "x" * 257}.items():
        yield Case("B80", what, "InjectFault", fault(route=text), fields=("route",))
