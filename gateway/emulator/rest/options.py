"""Option routes: contracts on the trading side; newest values, snapshots, chains and past trades on the data side.

`/v2/options/contracts` and `/v1beta1/options/...`. Symbols of contracts that are not listed are left out, as Alpaca
leaves out symbols without data. Both feeds show the same data; a plan without OPRA, which is one whose socket
`/v1beta1/opra` is refused, is answered 403 for it. There are no past quotes, as at Alpaca, and no bars.

Without `expiration_date_lte` or `expiration_date`, contracts are listed as Alpaca lists them: those that expire
before the upcoming weekend is over.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.domain.models.market_data import Quote, Trade
from gateway.domain.types import NANOS_PER_SECOND
from gateway.emulator.bars import NEW_YORK
from gateway.emulator.exchange.refusals import field_invalid
from gateway.emulator.floor import TradingFloor
from gateway.emulator.option_chain import Contract
from gateway.emulator.rest.answers import HttpError, answer, date_param, int_of, list_of, text_of
from gateway.emulator.rest.market_data import window_of
from gateway.emulator.rest.paging import TOKEN_LENGTH_MAX, HistoryPage, read_page
from gateway.emulator.wire import JsonObject, format_time, quote_fields, trade_fields
from gateway.emulator.wire_options import contract_json, option_snapshot_json

OPTIONS: Final = "/v1beta1/options"
CONTRACTS: Final = "/v2/options/contracts"
SYMBOLS_MAX: Final = 100
CONTRACTS_LIMIT_DEFAULT: Final = 100
CONTRACTS_LIMIT_MAX: Final = 10_000
SNAPSHOTS_LIMIT_DEFAULT: Final = 100
SNAPSHOTS_LIMIT_MAX: Final = 1_000
OPRA: Final = "opra"
FEEDS: Final = frozenset({OPRA, "indicative"})
NO_OPRA: Final = {"message": "OPRA agreement is not signed"}
UNKNOWN_CONTRACT: Final = {"code": 40410000, "message": "option contract not found"}

_SUNDAY: Final = 6
N = TypeVar("N", Quote, Trade)


class OptionRoutes:
    """Options over HTTP.

    Args:
        has_opra: Whether the key's plan has OPRA.
    """

    def __init__(self, floor: TradingFloor, *, has_opra: bool = True) -> None:
        self._floor = floor
        self._options = floor.options
        self._has_opra = has_opra

    def routes(self) -> list[Route]:
        """The routes; fixed words before symbols."""
        return [
            Route(CONTRACTS, self.contracts, methods=["GET"]),
            Route(f"{CONTRACTS}/{{symbol_or_id}}", self.contract, methods=["GET"]),
            Route(f"{OPTIONS}/quotes/latest", self.latest_quotes, methods=["GET"]),
            Route(f"{OPTIONS}/trades/latest", self.latest_trades, methods=["GET"]),
            Route(f"{OPTIONS}/trades", self.trades, methods=["GET"]),
            Route(f"{OPTIONS}/snapshots", self.snapshots, methods=["GET"]),
            Route(f"{OPTIONS}/snapshots/{{underlying_symbol}}", self.chain, methods=["GET"]),
        ]

    async def contracts(self, request: Request) -> Response:
        """GET /v2/options/contracts."""
        now_ns = self._floor.now()
        limit = int_of(request, "limit", CONTRACTS_LIMIT_DEFAULT, least=1, most=CONTRACTS_LIMIT_MAX)
        found: Iterable[Contract] = ()
        if text_of(request, "status") in ("", "active"):
            found = _filtered(request, self._options.chain.contracts(now_ns).values(), _weekend(now_ns))
        roots = set(list_of(request, "underlying_symbols"))
        found = [contract for contract in found if not roots or contract.underlying in roots]
        page, token = _page(found, limit, text_of(request, "page_token"))
        return answer({"option_contracts": [contract_json(one) for one in page], "next_page_token": token})

    async def contract(self, request: Request) -> Response:
        """GET /v2/options/contracts/{symbol or id}."""
        wanted = request.path_params["symbol_or_id"]
        for contract in self._options.chain.contracts(self._floor.now()).values():
            if wanted in (contract.symbol, contract.contract_id):
                return answer(contract_json(contract))
        raise HttpError(404, UNKNOWN_CONTRACT)

    async def latest_quotes(self, request: Request) -> Response:
        """GET /v1beta1/options/quotes/latest."""
        return self._latest(request, "quotes", self._options.latest_quote, quote_fields)

    async def latest_trades(self, request: Request) -> Response:
        """GET /v1beta1/options/trades/latest."""
        return self._latest(request, "trades", self._options.latest_trade, trade_fields)

    async def trades(self, request: Request) -> Response:
        """GET /v1beta1/options/trades."""
        symbols, now_ns = _symbols(request), self._floor.now()
        window = window_of(request, symbols, now_ns)

        def series(symbol: str, start_ns: int, end_ns: int) -> Iterable[Trade]:
            return self._options.trades(symbol, start_ns, end_ns, now_ns, descending=window.descending)

        page: HistoryPage[Trade] = await asyncio.to_thread(read_page, symbols, window, series, _time_of)
        rows = {
            symbol: [trade_fields(trade, format_time(trade.time_ns)) for trade in items]
            for symbol, items in page.items.items()
        }
        return answer({"trades": rows, "next_page_token": page.token_text or None})

    async def snapshots(self, request: Request) -> Response:
        """GET /v1beta1/options/snapshots."""
        self._check_feed(request)
        now_ns = self._floor.now()
        listed = self._options.chain.contracts(now_ns)
        return await self._snapshots(request, (listed[one] for one in _symbols(request) if one in listed), now_ns)

    async def chain(self, request: Request) -> Response:
        """GET /v1beta1/options/snapshots/{underlying}."""
        self._check_feed(request)
        now_ns = self._floor.now()
        found = _filtered(request, self._options.chain.contracts(now_ns).values(), date.max)
        underlying = request.path_params["underlying_symbol"]
        return await self._snapshots(request, (one for one in found if one.underlying == underlying), now_ns)

    async def _snapshots(self, request: Request, contracts: Iterable[Contract], now_ns: int) -> Response:
        limit = int_of(request, "limit", SNAPSHOTS_LIMIT_DEFAULT, least=1, most=SNAPSHOTS_LIMIT_MAX)
        page, token = _page(sorted(contracts, key=_symbol_of), limit, text_of(request, "page_token"))
        rows = {}
        for contract in page:
            rows[contract.symbol] = self._snapshot(contract.symbol, now_ns)
            await asyncio.sleep(0)  # a long chain must not hold up quotes
        return answer({"snapshots": rows, "next_page_token": token})

    def _snapshot(self, symbol: str, now_ns: int) -> JsonObject:
        options = self._options
        return option_snapshot_json(
            options.latest_quote(symbol, now_ns),
            options.latest_trade(symbol, now_ns),
            options.sensitivities(symbol, now_ns),
        )

    def _latest(
        self,
        request: Request,
        noun: str,
        newest: Callable[[str, int], N | None],
        fields: Callable[[N, object], JsonObject],
    ) -> Response:
        self._check_feed(request)
        now_ns = self._floor.now()
        found = {symbol: newest(symbol, now_ns) for symbol in _symbols(request)}
        rows = {symbol: fields(one, format_time(one.time_ns)) for symbol, one in found.items() if one is not None}
        return answer({noun: rows})

    def _check_feed(self, request: Request) -> None:
        """Alpaca takes OPRA for granted where the plan has it, and gives the indicative feed where it has not."""
        feed = text_of(request, "feed")
        if feed and feed not in FEEDS:
            raise HttpError(400, {"message": f"invalid feed: {feed[:32]}"})
        if feed == OPRA and not self._has_opra:
            raise HttpError(403, NO_OPRA)


def _symbols(request: Request) -> list[str]:
    asked = list(dict.fromkeys(list_of(request, "symbols")))
    if not asked:
        raise HttpError(400, {"message": "symbols is required"})
    if len(asked) > SYMBOLS_MAX:
        raise HttpError(400, {"message": f"at most {SYMBOLS_MAX} symbols"})
    return asked


def _filtered(request: Request, contracts: Iterable[Contract], last_day: date) -> list[Contract]:
    """What the parameters that contracts and chains share leave over."""
    exact, first = date_param(request, "expiration_date"), date_param(request, "expiration_date_gte")
    last = date_param(request, "expiration_date_lte") or exact or last_day
    kind, root = text_of(request, "type"), text_of(request, "root_symbol")
    low, high = _price_of(request, "strike_price_gte"), _price_of(request, "strike_price_lte")
    if kind not in ("", "call", "put"):
        raise field_invalid("type")

    def fits(contract: Contract) -> bool:
        return (
            contract.expiration <= last
            and (exact is None or contract.expiration == exact)
            and (first is None or contract.expiration >= first)
            and (not kind or contract.is_call == (kind == "call"))
            and (not root or contract.underlying == root)
            and (low is None or contract.strike_price >= low)
            and (high is None or contract.strike_price <= high)
        )

    return [contract for contract in contracts if fits(contract)]


def _price_of(request: Request, name: str) -> Decimal | None:
    text = text_of(request, name)
    try:
        price = Decimal(text[:32]) if text else None
    except InvalidOperation:
        raise field_invalid(name) from None
    if price is not None and not price.is_finite():
        raise field_invalid(name)
    return price


def _page(contracts: list[Contract], limit: int, token: str) -> tuple[list[Contract], str | None]:
    """The contracts after the token's, in order of symbols, and the token of the next page."""
    try:
        after = base64.urlsafe_b64decode(token[:TOKEN_LENGTH_MAX].encode()).decode()
    except (ValueError, binascii.Error):
        raise HttpError(400, {"message": "invalid page_token"}) from None
    following = [contract for contract in contracts if contract.symbol > after]
    page = following[:limit]
    more = len(following) > limit
    return page, base64.urlsafe_b64encode(page[-1].symbol.encode()).decode() if more else None


def _weekend(now_ns: int) -> date:
    """The Sunday of the upcoming weekend, New York's."""
    today = datetime.fromtimestamp(now_ns // NANOS_PER_SECOND, NEW_YORK).date()
    return today + timedelta(days=_SUNDAY - today.weekday())


def _symbol_of(contract: Contract) -> str:
    return contract.symbol


def _time_of(trade: Any) -> int:
    time_ns: int = trade.time_ns
    return time_ns
