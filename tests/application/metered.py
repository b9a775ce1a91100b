"""A venue that takes so many requests in any minute of its own and says so, and the budget that keeps to it."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from gateway.domain.errors import OutcomeUnknown, VenueRateLimited
from gateway.domain.models.market_data import Quote
from gateway.domain.types import BudgetLane, CallContext
from gateway.services.request_budget import RequestBudget
from tests.application.rig import Clock, Gateway, Rig

PER_MINUTE = 200
PRICE_KEPT_S = 1.0


class Meter:
    """Counts what reaches the venue.

    Attributes:
        sent: When each request left, seconds, and on which lane.
        refused: How many the venue would not take: more than it allows.
    """

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self.budget = RequestBudget(per_minute, clock.wall, clock.monotonic)
        self._minutes: Counter[int] = Counter()
        self.sent: list[tuple[float, BudgetLane]] = []
        self.refused = 0
        self.is_cut_off = False

    def pass_on(self, context: CallContext, *, is_change: bool) -> None:
        """One request; raises as the adapters do."""
        self.budget.admit(context.lane)
        self.sent.append((self._clock.monotonic(), context.lane))
        minute = self._clock.wall() // 60_000_000_000
        self._minutes[minute] += 1
        remaining = self._per_minute - self._minutes[minute]
        if remaining < 0:
            self.refused += 1
            self.budget.throttled(60_000)
            raise VenueRateLimited("too many", retry_after_ms=60_000)
        self.budget.observe(self._per_minute, remaining, (minute + 1) * 60)
        if self.is_cut_off and is_change:
            raise OutcomeUnknown("lost on its way")

    def most_in_a_minute(self, *lanes: BudgetLane) -> int:
        """The most requests of some lanes in any 60 seconds."""
        times = [sent_at for sent_at, lane in self.sent if lane in lanes]
        return max(sum(1 for later in times[index:] if later < at + 60) for index, at in enumerate(times))

    def of(self, inner: Any) -> Any:
        """A repository behind it."""
        return _Metered(self, inner)


class _Metered:
    def __init__(self, meter: Meter, inner: Any) -> None:
        self._meter = meter
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        async def ask(context: CallContext, *arguments: Any, **options: Any) -> Any:
            self._meter.pass_on(context, is_change=name.startswith(("submit", "replace")))
            return await method(context, *arguments, **options)

        return ask


class MeteredRig(Rig):
    """Every request is counted, prices included; each life of the gateway has a meter of its own."""

    per_minute = PER_MINUTE

    def new_gateway(self) -> Gateway:
        self.meter = Meter(self.clock, self.per_minute)
        account, market_data = self.meter.of(self.venue.account), self.meter.of(self.venue.market_data)
        venue = SimpleNamespace(account=account, market_data=market_data, streaming=self.venue.streaming)
        prices = _MeteredPrices(self)
        return Gateway(
            venue,  # type: ignore[arg-type]
            self.meter.of(self.trouble),
            prices,  # type: ignore[arg-type]
            self.clock,
            **self.settings,
            requests_per_minute=self.per_minute,
        )


class _MeteredPrices:
    """A price is asked for once a second at most."""

    def __init__(self, rig: MeteredRig) -> None:
        self._rig = rig
        self._meter = rig.meter
        self._asked_at: dict[str, float] = {}

    async def reference_price(self, symbol: str, call: CallContext) -> Quote | None:
        now = self._rig.clock.monotonic()
        if now - self._asked_at.get(symbol, float("-inf")) > PRICE_KEPT_S:
            try:
                self._meter.pass_on(CallContext(call.caller, call.deadline, BudgetLane.READ), is_change=False)
            except VenueRateLimited:
                return None
            self._asked_at[symbol] = now
        return self._rig.prices.quotes.get(symbol)
