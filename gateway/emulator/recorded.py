"""The exchange with a memory: every command is written to the ledger before it takes effect.

Promises: the ledger is the state. Replayed through the same code it gives the same account, bit for bit, and each
recorded result is compared with what the replay did; a difference refuses to start. Market data is recorded only where
it changes an order, and just before a command that reads prices, so the file grows with what is done and not with what
is quoted. Beside each command stands what became of it: the order, or the refusal, and every event and execution.
Leaves the file to `ledger`, and what it begins with to `reopening`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import structlog

from gateway.domain.models.orders import OrderChanges
from gateway.domain.models.reference import Asset
from gateway.emulator.exchange import (
    AccountConfiguration,
    ExchangeConfig,
    ExchangeOrder,
    NewOrder,
    OrderCanceled,
    PositionClosed,
    Refusal,
    SimulatedExchange,
    TradeUpdate,
)
from gateway.emulator.exchange.refusals import not_allowed
from gateway.emulator.ledger import Ledger, LedgerError
from gateway.emulator.ledger_words import (
    assets_from_json,
    assets_to_json,
    changes_from_json,
    changes_to_json,
    config_from_json,
    config_to_json,
    event_to_json,
    number_from_json,
    number_to_json,
    order_from_json,
    order_to_json,
    refusal_to_json,
)

EVENTS_PER_LINE_MAX: Final = 500
"""Some 300 bytes each; a longer outcome goes on in the next line."""

ORDERS_STOP_AT: Final = Decimal("0.9")
"""The part of the ledger's bound past which no order is taken, so that there is room for cancels and fills."""

_QUIET: Final = ("quote", "trade", "advance")
"""Lines whose outcome is recorded only if it has events."""

_log = structlog.get_logger(__name__)

Result = TypeVar("Result")
Entry = dict[str, Any]
_Prices = tuple[int, float, float, float, float]
_Print = tuple[int, float, float]


def _nothing(result: object) -> Entry:  # noqa: ARG001 - the shape of a description
    return {}


class RecordedExchange(SimulatedExchange):
    """A SimulatedExchange whose commands are recorded. Made by `open_exchange`.

    `ledger` is the independent record of what was really asked and done.
    """

    def __init__(self, ledger: Ledger, config: ExchangeConfig, assets: Iterable[Asset], created_ns: int) -> None:
        super().__init__(config, assets, created_ns)
        self.ledger = ledger
        self._recording = False
        self._quotes: dict[str, _Prices] = {}
        self._prints: dict[str, _Print] = {}
        self._owed: list[Entry] = []

    def close(self) -> None:
        """Close the ledger; nothing can be asked any more. Idempotent."""
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Commands.

    def submit(self, now_ns: int, order: NewOrder, *, raw: bytes = b"") -> ExchangeOrder:
        """As the exchange's; `raw` is the body of the request, kept for the record."""
        now_ns = self._instant(now_ns)
        self._require_room()
        entry = {"op": "submit", "t": now_ns, "order": order_to_json(order), **_raw_of(raw)}
        act = super().submit
        return self._record(entry, self.symbol_of(order.spec.symbol), lambda: act(now_ns, order), _one_id)

    def replace(
        self,
        now_ns: int,
        order_id: str,
        changes: OrderChanges,
        client_order_id: str | None = None,
        *,
        raw: bytes = b"",
    ) -> ExchangeOrder:
        """As the exchange's; `raw` is the body of the request, kept for the record."""
        now_ns = self._instant(now_ns)
        self._require_room()
        entry = {
            "op": "replace",
            "t": now_ns,
            "order_id": order_id,
            "changes": changes_to_json(changes),
            "client_order_id": client_order_id,
            **_raw_of(raw),
        }
        act = super().replace
        symbol = self._state.store.symbol_of(order_id)
        return self._record(entry, symbol, lambda: act(now_ns, order_id, changes, client_order_id), _one_id)

    def cancel(self, now_ns: int, order_id: str) -> None:
        """As the exchange's."""
        now_ns = self._instant(now_ns)
        act = super().cancel
        self._record({"op": "cancel", "t": now_ns, "order_id": order_id}, None, lambda: act(now_ns, order_id))

    def cancel_all(self, now_ns: int) -> list[OrderCanceled]:
        """As the exchange's."""
        now_ns = self._instant(now_ns)
        act = super().cancel_all
        return self._record({"op": "cancel_all", "t": now_ns}, None, lambda: act(now_ns))

    def close_position(
        self, now_ns: int, symbol_or_id: str, *, quantity: Decimal | None = None, percentage: Decimal | None = None
    ) -> ExchangeOrder:
        """As the exchange's."""
        now_ns = self._instant(now_ns)
        self._require_room()
        entry = {
            "op": "close_position",
            "t": now_ns,
            "symbol": symbol_or_id,
            "quantity": number_to_json(quantity),
            "percentage": number_to_json(percentage),
        }
        act = super().close_position
        return self._record(
            entry,
            self.symbol_of(symbol_or_id),
            lambda: act(now_ns, symbol_or_id, quantity=quantity, percentage=percentage),
            _one_id,
        )

    def close_positions(self, now_ns: int, *, cancel_orders: bool = False) -> list[PositionClosed]:
        """As the exchange's."""
        now_ns = self._instant(now_ns)
        self._require_room()
        entry = {"op": "close_positions", "t": now_ns, "cancel_orders": cancel_orders}
        act = super().close_positions
        return self._record(entry, None, lambda: act(now_ns, cancel_orders=cancel_orders))

    def configure(self, now_ns: int, **changes: Any) -> AccountConfiguration:
        """As the exchange's."""
        now_ns = self._instant(now_ns)
        act = super().configure
        return self._record({"op": "configure", "t": now_ns, "changes": changes}, None, lambda: act(now_ns, **changes))

    def reconfigure(self, now_ns: int, config: ExchangeConfig) -> None:
        """As the exchange's."""
        now_ns = self._instant(now_ns)
        act = super().reconfigure
        entry = {"op": "reconfigure", "t": now_ns, "config": config_to_json(config)}
        self._record_prices(self._known_symbols())
        self._record(entry, None, lambda: act(now_ns, config))

    def set_assets(self, assets: Iterable[Asset]) -> None:
        """As the exchange's; recorded when they are others."""
        assets = tuple(assets)
        if self._recording:
            self._append({"op": "assets", "assets": assets_to_json(assets)})
        super().set_assets(assets)

    # Market data and time.

    def on_quote(
        self, now_ns: int, symbol: str, bid_price: float, bid_size: float, ask_price: float, ask_size: float
    ) -> None:
        """As the exchange's."""
        self._advance_if_due(now_ns)
        self._quotes[symbol] = (now_ns, bid_price, bid_size, ask_price, ask_size)
        super().on_quote(now_ns, symbol, bid_price, bid_size, ask_price, ask_size)

    def on_trade(self, now_ns: int, symbol: str, price: float, size: float) -> None:
        """As the exchange's."""
        self._advance_if_due(now_ns)
        self._prints[symbol] = (now_ns, price, size)
        super().on_trade(now_ns, symbol, price, size)

    def advance(self, now_ns: int) -> None:
        """As the exchange's."""
        self._advance_if_due(now_ns)
        super().advance(now_ns)

    def _advance_if_due(self, now_ns: int) -> None:
        """Record that time passes something: the prices before it are part of it."""
        if not self._recording or now_ns < self.next_advance_ns():
            return
        now_ns = self._instant(now_ns)
        self._record_prices(self._known_symbols() if now_ns >= self._state.next_boundary_ns else self._held_symbols())
        act = super().advance
        self._apply({"op": "advance", "t": now_ns}, lambda: act(now_ns), quiet=True)

    def _react_to_quote(self, symbol: str) -> None:
        self._react({"op": "quote", "s": symbol}, symbol, super()._react_to_quote)

    def _react_to_trade(self, symbol: str) -> None:
        self._react({"op": "trade", "s": symbol}, symbol, super()._react_to_trade)

    def _react(self, entry: Entry, symbol: str, act: Callable[[str], None]) -> None:
        """Record the quote or print that changes an order, after what was not recorded of the symbol before it."""
        if not self._recording:
            act(symbol)
            return
        kind, other = (self._quotes, self._prints) if entry["op"] == "quote" else (self._prints, self._quotes)
        values = kind.pop(symbol)[1:]
        if symbol in other:
            self._record_prices([symbol])
        self._apply({**entry, "t": self._state.now_ns, "v": values}, lambda: act(symbol), quiet=True)

    # Recording.

    def _record(
        self,
        entry: Entry,
        symbol: str | None,
        act: Callable[[], Result],
        describe: Callable[[Result], Entry] = _nothing,
    ) -> Result:
        """A command: what it may read is recorded, then itself, then it takes effect, then what became of it."""
        if not self._recording:
            return act()
        self._advance_if_due(entry["t"])
        symbols = set(self._held_symbols())
        if symbol:
            symbols.add(symbol)
        self._record_prices(sorted(symbols))
        return self._apply(entry, act, describe)

    def _apply(
        self,
        entry: Entry,
        act: Callable[[], Result],
        describe: Callable[[Result], Entry] = _nothing,
        *,
        quiet: bool = False,
    ) -> Result:
        """Record, carry out, record the outcome; with `quiet`, only if there was an event."""
        number = self._append(entry)
        told = len(self._state.updates)
        try:
            result = act()
        except Refusal as refusal:
            self._record_outcome(number, {"refusal": refusal_to_json(refusal)}, told)
            raise
        events = len(self._state.updates) > told
        if events or not quiet:
            self._record_outcome(number, describe(result), told)
        return result

    def _record_outcome(self, number: int, outcome: Entry, told: int) -> None:
        self._owed += _outcomes(number, outcome, self._state.updates[told:])
        try:
            self._pay()
        except LedgerError as error:
            _log.error("ledger_outcome_owed", command=number, reason=str(error))

    def _append(self, entry: Entry) -> int:
        """Write a line after what is still owed; nothing happens before its record stands."""
        self._pay()
        return self.ledger.append(entry)

    def _pay(self) -> None:
        """Write the outcomes that the disk would not take before: their commands have happened."""
        while self._owed:
            self.ledger.append(self._owed[0])
            del self._owed[0]

    def _record_prices(self, symbols: Iterable[str]) -> None:
        """Write down the newest quote and print of these symbols, unless they are in the ledger already."""
        if not self._recording:
            return
        for symbol in symbols:
            last = self._prints.pop(symbol, None)
            if last is not None:
                self._append({"op": "trade", "s": symbol, "t": last[0], "v": last[1:]})
            quote = self._quotes.pop(symbol, None)
            if quote is not None:
                self._append({"op": "quote", "s": symbol, "t": quote[0], "v": quote[1:]})

    def _require_room(self) -> None:
        if self._recording and self.ledger.size_bytes > self.ledger.bytes_max * ORDERS_STOP_AT:
            raise not_allowed("the emulator's ledger is nearly full: cancels are taken, orders are not")

    def _instant(self, now_ns: int) -> int:
        """The instant as the exchange counts it: not before the latest seen."""
        return max(now_ns, self._state.now_ns)

    def _held_symbols(self) -> list[str]:
        return [holding.symbol for holding in self._state.holdings]

    def _known_symbols(self) -> list[str]:
        return sorted(self._quotes.keys() | self._prints.keys())

    # Replaying.

    def start_recording(self, owed: list[Entry]) -> None:
        """From now on everything is recorded; before, commands are a replay. `owed`: outcomes without their lines."""
        self._owed = owed
        self._pay()
        self._quotes.clear()
        self._prints.clear()
        self._recording = True

    def replay_entry(self, entry: Entry) -> list[Entry]:
        """Carry out a recorded command; returns what the lines of its outcome must say."""
        told = len(self._state.updates)
        outcome: Entry = {}
        try:
            outcome = self._carry_out(entry)
        except Refusal as refusal:
            outcome = {"refusal": refusal_to_json(refusal)}
        updates = self._state.updates[told:]
        self.drain_updates()
        if entry["op"] == "assets" or (entry["op"] in _QUIET and not updates):
            return []
        return _outcomes(entry["n"], outcome, updates)

    def _carry_out(self, entry: Entry) -> Entry:
        operation, now_ns = entry["op"], entry.get("t", 0)
        match operation:
            case "quote":
                self.on_quote(now_ns, entry["s"], *entry["v"])
            case "trade":
                self.on_trade(now_ns, entry["s"], *entry["v"])
            case "advance":
                self.advance(now_ns)
            case "submit":
                return _one_id(self.submit(now_ns, order_from_json(entry["order"])))
            case "assets":
                self.set_assets(assets_from_json(entry["assets"]))
            case "reconfigure":
                self.reconfigure(now_ns, config_from_json(entry["config"]))
            case "configure":
                self.configure(now_ns, **entry["changes"])
            case _:
                return self._carry_out_change(entry, now_ns)
        return {}

    def _carry_out_change(self, entry: Entry, now_ns: int) -> Entry:
        match entry["op"]:
            case "replace":
                changes = changes_from_json(entry["changes"])
                return _one_id(self.replace(now_ns, entry["order_id"], changes, entry["client_order_id"]))
            case "cancel":
                self.cancel(now_ns, entry["order_id"])
            case "cancel_all":
                self.cancel_all(now_ns)
            case "close_position":
                quantity, percentage = number_from_json(entry["quantity"]), number_from_json(entry["percentage"])
                return _one_id(self.close_position(now_ns, entry["symbol"], quantity=quantity, percentage=percentage))
            case "close_positions":
                self.close_positions(now_ns, cancel_orders=entry["cancel_orders"])
            case unknown:
                raise LedgerError(f"the ledger has a line of an unknown kind: {unknown!r}")
        return {}


def _outcomes(number: int, outcome: Entry, updates: list[TradeUpdate]) -> list[Entry]:
    """The lines of an outcome: one, or more when there are more events than a line should carry."""
    parts = [updates[start : start + EVENTS_PER_LINE_MAX] for start in range(0, len(updates), EVENTS_PER_LINE_MAX)]
    first, *others = parts or [[]]
    head = {"op": "done", "of": number, **outcome, "events": [event_to_json(update) for update in first]}
    return [head, *({"op": "done", "of": number, "events": [event_to_json(one) for one in part]} for part in others)]


def _one_id(order: ExchangeOrder) -> Entry:
    return {"order_id": order.id}


def _raw_of(raw: bytes) -> Entry:
    return {"raw": raw.decode("utf-8", "replace")} if raw else {}
