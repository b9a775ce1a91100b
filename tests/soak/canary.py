"""The canary: a reader who wants every quote, and a witness at the venue who knows what there was.

The witness listens to the venue itself, at an endpoint that no fault strikes and that shows the same quotes. A quote
that the canary did not get is lost, unless a gap was told that it falls into; one that it got twice, out of order
or changed is an error as well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import websockets

from trading_gateway.v1 import market_data_pb2 as pb

SETTLED_S: Final = 30.0
"""After so long a quote that has not come is missing, and a gap that it falls into has been told."""
GAP_SLACK_S: Final = 0.5
"""Gaps are told by the times at which the gateway received; these are the witness's."""
WITNESS_PATH: Final = "/v2/sip"
_NS: Final = 1_000_000_000

Key = tuple[str, int]
Prices = tuple[float, float, float, float]


@dataclass
class Canary:
    """What was heard by both, and what is wrong with it.

    Args:
        now_s: Seconds since the Unix epoch.

    Attributes:
        errors: In words; must stay empty.
        heard, told_missing: Quotes that came, and that fell into a gap that was told.
    """

    now_s: Callable[[], float] = time.time
    errors: list[str] = field(default_factory=list)
    heard: int = 0
    told_missing: int = 0
    gaps: int = 0
    _batch_sequence: int = 0
    _began_ns: int = 0
    _newest: dict[str, int] = field(default_factory=dict)
    _got: dict[Key, Prices] = field(default_factory=dict)
    _there_was: dict[Key, tuple[Prices, float]] = field(default_factory=dict)
    _gaps: list[tuple[float, float]] = field(default_factory=list)

    def take(self, message: pb.StreamQuotesResponse) -> None:
        """A message of the canary's stream."""
        self._batch_sequence += 1
        if message.batch_sequence != self._batch_sequence:
            self.errors.append(f"message {message.batch_sequence} came in the place of {self._batch_sequence}")
            self._batch_sequence = message.batch_sequence
        for gap in message.status.gaps:
            self.gaps += 1
            self._gaps.append((gap.from_time.ToNanoseconds() / _NS, gap.to_time.ToNanoseconds() / _NS))
        for quote in message.quotes:
            if not quote.snapshot:
                self._take_quote(quote)

    def witness(self, symbol: str, time_ns: int, prices: Prices) -> None:
        """The venue sent a quote."""
        self._there_was[symbol, time_ns] = (prices, self.now_s())

    def compare(self) -> None:
        """Settle what is old enough, and forget it."""
        before = self.now_s() - SETTLED_S
        for key in [key for key, (_, at) in self._there_was.items() if at < before]:
            prices, at = self._there_was.pop(key)
            got = self._got.pop(key, None)
            if not self._began_ns or key[1] <= self._began_ns:
                continue
            if got == prices:
                self.heard += 1
            elif got is not None:
                self.errors.append(f"{key} came as {got}, and was {prices}")
            elif any(sooner - GAP_SLACK_S <= at <= later + GAP_SLACK_S for sooner, later in self._gaps):
                self.told_missing += 1
            else:
                self.errors.append(f"{key[0]} of {_clock(at)} is lost, and no gap was told")
        for key in [key for key in self._got if key[1] / _NS < before - SETTLED_S]:
            self.errors.append(f"{key} came, and the venue never sent it: {self._got.pop(key)}")
        self._gaps = [gap for gap in self._gaps if gap[1] > before - SETTLED_S]

    def _take_quote(self, quote: pb.Quote) -> None:
        key = (quote.symbol, quote.time.ToNanoseconds())
        if key[1] <= self._newest.get(quote.symbol, 0):
            self.errors.append(f"{key} came again, or late")
        self._newest[quote.symbol] = key[1]
        self._got[key] = (quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size)
        if not self._began_ns and len(self._there_was):
            self._began_ns = key[1]


async def listen(ws_url: str, symbols: Sequence[str], canary: Canary) -> None:
    """The witness: never ends by itself."""
    async with websockets.connect(f"{ws_url}{WITNESS_PATH}", compression=None) as socket:
        await socket.send(json.dumps({"action": "auth", "key": "witness", "secret": "witness"}))
        await socket.send(json.dumps({"action": "subscribe", "quotes": list(symbols)}))
        async for frame in socket:
            for event in json.loads(frame):
                if event["T"] == "q":
                    canary.witness(event["S"], _nanoseconds(event["t"]), _prices(event))


def _prices(event: dict[str, Any]) -> Prices:
    return event["bp"], event["bs"], event["ap"], event["as"]


def _nanoseconds(text: str) -> int:
    """Of RFC 3339 with up to nine digits of a second, in UTC."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * _NS + int(fraction.ljust(9, "0") or 0)


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(at)) + f"{at % 1:.3f}"[1:]
