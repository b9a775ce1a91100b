"""What becomes of single orders in a correct world: each fate is one story, told to all three records at once."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from tests.chaos.world import (
    END_NS,
    HEALED_NS,
    KILL_NS,
    MS,
    RELEASE_NS,
    SECOND,
    START_NS,
    STOP_NS,
    UP_NS,
    AtVenue,
    Json,
    Row,
    World,
    text_of,
)

STRATEGIES: Final = ("alpha", "beta", "gamma")
ORDERS_PER_SECOND: Final = 100
ORDERS: Final = 140
FAULTY_EVERY: Final = 5
Fate = Callable[[World, int], None]
FAULTS_FROM_NS: Final = START_NS + 800 * MS
LOST_FAULT: Final = "fault-lost"
LATE_FAULT: Final = "fault-late"
_PRICES: Final = {"AAPL": 100, "MSFT": 200, "BRK.B": 400, "BTC/USD": 50_000}


class Intent:
    """One order that a client wants: its key, its content, its time.

    Attributes:
        answer_ns: When the venue's answer reaches the gateway, and the gateway's the client.
    """

    def __init__(self, world: World, time_ns: int, *, symbol: str = "", side: str = "") -> None:
        self.world = world
        self.time_ns = time_ns
        self.strategy_id = world.random.choice(STRATEGIES)
        self.key = world.name("k")
        self.order_id = f"order-{self.key}"
        self.client_id = f"{self.strategy_id}.{self.key}"
        self.answer_ns = time_ns + world.random.randrange(250, 600) * MS
        symbol = symbol or world.random.choice(["AAPL", "MSFT", "BRK.B"])
        self.price = Decimal(_PRICES[symbol]) + Decimal(world.random.randrange(-200, 200)) / 100
        quantity = (
            world.random.randrange(2, 60) if "/" not in symbol else Decimal(world.random.randrange(1, 999)) / 10_000
        )
        self.spec: Json = {
            "symbol": symbol,
            "side": side or world.random.choice(["buy", "sell"]),
            "order_type": "limit",
            "time_in_force": "gtc" if "/" in symbol else "day",
            "quantity": str(quantity),
            "limit_price": text_of(self.price),
        }
        self.valid_until_ns = time_ns + 5_000 * MS

    @property
    def quantity(self) -> Decimal:
        """How much is ordered."""
        return Decimal(self.spec["quantity"])

    @property
    def body(self) -> Json:
        """POST /v2/orders in Alpaca's JSON."""
        names = {"quantity": "qty", "order_type": "type", "take_profit": "", "stop_loss": ""}
        found = {names.get(name, name): value for name, value in self.spec.items() if names.get(name, name)}
        if "take_profit" in self.spec:
            found["take_profit"] = {"limit_price": self.spec["take_profit"]}
            found["stop_loss"] = {"stop_price": self.spec["stop_loss"][0]}
        return {**found, "client_order_id": self.client_id}

    def row(self, time_ns: int, kind: str, at_venue: AtVenue | None = None, **body: object) -> Row:
        """The gateway journals something of this order."""
        if at_venue is not None:
            body["venue_order"] = at_venue.report()
        return self.world.row(time_ns, self.strategy_id, self.order_id, kind, **body)

    def recorded(self) -> None:
        """The intent is in the journal."""
        spec = dict(self.spec)
        if "take_profit" in spec:
            spec["take_profit"] = {"limit_price": spec["take_profit"]}
            spec["stop_loss"] = {"stop_price": spec["stop_loss"][0]}
        request: Json = {"strategy_id": self.strategy_id, "client_order_id": self.key, "spec": spec}
        request["valid_until_ns"] = self.valid_until_ns
        self.row(self.time_ns + MS, "recorded", request=request, fingerprint=f"fingerprint-{self.key}")

    def sent(self, attempt: int = 1, after_ms: int = 1) -> Json:
        """A request leaves; returns the ledger's line."""
        self.row(self.time_ns + after_ms * MS, "submitted", attempt=attempt)
        return self.world.asked(self.time_ns + (after_ms + 1) * MS, "POST /v2/orders", self.body)

    def submit(self, *, lost: bool = False) -> AtVenue:
        """The usual way to the venue; the answer may be lost, by a fault or because the gateway dies meanwhile."""
        self.recorded()
        self.sent()
        at_venue = self.world.place(self.time_ns + 3 * MS, self.client_id, self.spec)
        if lost:
            self.world.entry(self.time_ns + 4 * MS, "FAULT", fault_id=LOST_FAULT, body='{"fault": "ANSWER_LOST"}')
        if self.time_ns < KILL_NS <= self.answer_ns:
            self.call(self.time_ns, KILL_NS, code="UNAVAILABLE")
            self.row(KILL_NS, "outcome_unknown")
            self.answer_ns = UP_NS + 130 * MS
            self.row(self.answer_ns, "accepted", at_venue, backfill=True)
            self.call(UP_NS + 200 * MS, UP_NS + 210 * MS, shows=self.order_id, replayed=True)
            return at_venue
        if lost:
            self.row(self.answer_ns, "outcome_unknown")
            self.call(self.time_ns, self.answer_ns + MS, shows=self.order_id)
            self.answer_ns += 250 * MS
        self.row(self.answer_ns, "accepted", at_venue)
        if not lost:
            self.call(self.time_ns, self.answer_ns + MS, shows=self.order_id)
        return at_venue

    def call(self, start_ns: int, end_ns: int | None, **what: object) -> None:
        """The client submits, or asks again with the same key."""
        end_ns = end_ns if end_ns is None or end_ns == KILL_NS else max(self.world.up(end_ns), end_ns)
        request = what.pop("request", None) or {"spec": self.spec}
        key = (self.strategy_id, self.key)
        what = {"valid_until_ns": self.valid_until_ns, **what}
        self.world.call(start_ns, end_ns, "SubmitOrder", key, request=request, **what)

    def fill(self, time_ns: int, at_venue: AtVenue, quantity: Decimal) -> Row:
        """A part is executed, and the gateway is told."""
        price = self.price + Decimal(self.world.random.randrange(-50, 50)) / 100
        fill = self.world.execute(time_ns, at_venue, quantity, price)
        kind = "fill" if at_venue.status == "filled" else "partial_fill"
        return self.row(time_ns + 2 * MS, kind, at_venue, fill=fill)

    def fill_all(self, at_venue: AtVenue, after_ns: int) -> None:
        """The rest is executed, in one to three parts."""
        left = Decimal(at_venue.spec["quantity"]) - at_venue.filled
        parts = self.world.random.randrange(1, 4) if "/" not in self.spec["symbol"] and left >= 3 else 1
        for part in range(parts):
            after_ns += self.world.random.randrange(20, 300) * MS
            if KILL_NS <= after_ns < UP_NS:
                after_ns = UP_NS + 400 * MS
            quantity = left if part == parts - 1 else Decimal(1)
            left -= quantity
            self.fill(after_ns, at_venue, quantity)

    def cancel(self, at_venue: AtVenue, time_ns: int) -> None:
        """Canceled on request."""
        if KILL_NS - 10 * MS <= time_ns < UP_NS:
            time_ns = UP_NS + 500 * MS
        self.row(time_ns, "cancel_requested")
        ref = {"order": {"order_id": self.order_id}}
        key = (self.strategy_id, "")
        self.world.call(time_ns - MS, time_ns + MS, "CancelOrder", key, request=ref, shows=self.order_id)
        self.world.end(time_ns + 3 * MS, at_venue, "canceled")
        self.row(time_ns + 5 * MS, "canceled", at_venue)


def filled(world: World, time_ns: int) -> None:
    """Accepted and filled; asked again later, it answers the same."""
    intent = Intent(world, time_ns)
    at_venue = intent.submit()
    intent.fill_all(at_venue, intent.answer_ns)
    if world.random.random() < 0.3:
        again_ns = START_NS + 20_000 * MS
        intent.call(again_ns, again_ns + MS, shows=intent.order_id, replayed=True)


def canceled(world: World, time_ns: int) -> None:
    """Partly filled, then canceled."""
    intent = Intent(world, time_ns)
    at_venue = intent.submit()
    after_ns = max(intent.answer_ns, UP_NS if intent.answer_ns > KILL_NS - 200 * MS else 0)
    intent.fill(after_ns + 50 * MS, at_venue, Decimal(1))
    intent.cancel(at_venue, after_ns + 100 * MS)


def expired(world: World, time_ns: int) -> None:
    """Its time in force ended, long after."""
    intent = Intent(world, time_ns)
    at_venue = intent.submit()
    end_ns = START_NS + world.random.randrange(20_000, 30_000) * MS
    world.end(end_ns, at_venue, "expired")
    intent.row(end_ns + 2 * MS, "expired", at_venue)


def answer_lost(world: World, time_ns: int) -> None:
    """The answer is lost, the order is found."""
    intent = Intent(world, time_ns)
    at_venue = intent.submit(lost=True)
    intent.fill_all(at_venue, intent.answer_ns)


def absent(world: World, time_ns: int) -> None:
    """The request is lost; after the settle window it is absent, and stays so."""
    intent = _lost(world, time_ns)
    end_ns = max(UP_NS, intent.time_ns) + 61_000 * MS + world.random.randrange(5_000) * MS
    intent.row(end_ns, "absent", failure={"reason": "ABSENT", "message": "not at the venue"})
    intent.call(end_ns + 500 * MS, end_ns + 501 * MS, shows=intent.order_id, replayed=True)


def resurrected(world: World, time_ns: int) -> None:
    """Absent, and then it arrives after all: said and canceled."""
    intent = _lost(world, time_ns)
    end_ns = max(UP_NS, intent.time_ns) + 61_000 * MS + world.random.randrange(5_000) * MS
    intent.row(end_ns, "absent", failure={"reason": "ABSENT", "message": "not at the venue"})
    at_venue = world.place(end_ns + 3_000 * MS, intent.client_id, intent.spec)
    intent.row(end_ns + 3_010 * MS, "resurrected", at_venue)
    intent.row(end_ns + 3_020 * MS, "cancel_requested")
    world.end(end_ns + 3_030 * MS, at_venue, "canceled")
    intent.row(end_ns + 3_040 * MS, "canceled", at_venue)


def _lost(world: World, time_ns: int) -> Intent:
    intent = Intent(world, max(time_ns, FAULTS_FROM_NS))
    intent.recorded()
    intent.sent()
    world.entry(intent.time_ns + 3 * MS, "FAULT", fault_id=LATE_FAULT, body='{"fault": "ARRIVES_LATE"}')
    if intent.time_ns < KILL_NS <= intent.answer_ns:
        intent.call(intent.time_ns, KILL_NS, code="UNAVAILABLE")
        intent.row(KILL_NS, "outcome_unknown")
        intent.call(UP_NS + 200 * MS, UP_NS + 210 * MS, shows=intent.order_id, replayed=True)
    else:
        intent.row(intent.answer_ns, "outcome_unknown")
        intent.call(intent.time_ns, intent.answer_ns + MS, shows=intent.order_id)
    return intent


def denied(world: World, time_ns: int) -> None:
    """Denied by a risk check, and again to whoever asks with the key."""
    intent = Intent(world, time_ns)
    intent.recorded()
    intent.row(intent.time_ns + MS, "denied", failure=_spent("RISK_BUYING_POWER"))
    refusal = {"code": "FAILED_PRECONDITION", "reason": "RISK_BUYING_POWER", "fate": "spent"}
    intent.call(time_ns, time_ns + 2 * MS, **refusal)
    intent.call(UP_NS + 900 * MS, UP_NS + 901 * MS, **refusal)


def rejected(world: World, time_ns: int) -> None:
    """Refused in the answer to the only attempt."""
    intent = Intent(world, time_ns if time_ns >= UP_NS or time_ns < KILL_NS - 700 * MS else UP_NS + 300 * MS)
    intent.recorded()
    intent.sent()
    refusal = {"code": "FAILED_PRECONDITION", "reason": "VENUE_REJECTED", "fate": "spent"}
    intent.row(intent.answer_ns, "rejected", failure=_spent("VENUE_REJECTED"))
    intent.call(intent.time_ns, intent.answer_ns + MS, **refusal)


def throttled(world: World, time_ns: int) -> None:
    """429 first, taken at the second attempt."""
    intent = Intent(world, time_ns if time_ns >= UP_NS or time_ns < KILL_NS - 900 * MS else UP_NS + 300 * MS)
    intent.recorded()
    intent.sent()
    intent.sent(2, 120)
    at_venue = world.place(intent.time_ns + 122 * MS, intent.client_id, intent.spec)
    intent.row(intent.answer_ns, "accepted", at_venue)
    intent.call(intent.time_ns, intent.answer_ns + MS, shows=intent.order_id)
    intent.fill_all(at_venue, intent.answer_ns)


def not_sent(world: World, time_ns: int) -> None:
    """Recorded, and too late before it could leave."""
    intent = Intent(world, time_ns)
    intent.recorded()
    intent.row(intent.time_ns + 2 * MS, "not_sent", failure=_spent("EXPIRED_UNSENT"))
    intent.call(time_ns, time_ns + 3 * MS, code="FAILED_PRECONDITION", reason="EXPIRED_UNSENT", fate="spent")


def free_first(world: World, time_ns: int) -> None:
    """Refused with the key free, then taken."""
    intent = Intent(world, time_ns if time_ns >= UP_NS or time_ns < KILL_NS - 900 * MS else UP_NS + 300 * MS)
    start_ns = intent.time_ns - 40 * MS
    intent.call(start_ns, start_ns + MS, code="RESOURCE_EXHAUSTED", reason="TOO_MANY_CALLS", fate="free")
    at_venue = intent.submit()
    intent.fill_all(at_venue, intent.answer_ns)


def reused(world: World, time_ns: int) -> None:
    """The key comes again with another content."""
    intent = Intent(world, time_ns)
    at_venue = intent.submit()
    intent.fill_all(at_venue, intent.answer_ns)
    again_ns = START_NS + 21_000 * MS
    other = {"spec": intent.spec | {"quantity": str(intent.quantity + 1)}}
    refusal = {"code": "ALREADY_EXISTS", "reason": "CLIENT_ORDER_ID_REUSED", "fate": "taken"}
    intent.call(again_ns, again_ns + MS, request=other, **refusal)


def replaced(world: World, time_ns: int) -> None:
    """A new total, and fills of both venue orders."""
    intent = Intent(world, time_ns)
    first = intent.submit()
    ask_ns = max(intent.answer_ns + 200 * MS, UP_NS + 600 * MS)
    intent.fill(ask_ns - 100 * MS, first, Decimal(1))
    key = world.name("r")
    total = intent.quantity + 5
    intent.row(ask_ns, "replace_requested", client_order_id=key, changes={"quantity": str(total)}, attempt=1)
    client_id = f"{intent.strategy_id}.{key}"
    body = {"qty": str(total - 1), "client_order_id": client_id}
    world.asked(ask_ns + MS, f"PATCH /v2/orders/{first.venue_order_id}", body)
    world.end(ask_ns + 3 * MS, first, "replaced")
    second = world.place(ask_ns + 3 * MS, client_id, intent.spec | {"quantity": str(total - 1)}, first.venue_order_id)
    intent.row(ask_ns + 30 * MS, "replaced", second, changes_done={"quantity": str(total)})
    request = {"order": {"order_id": intent.order_id}, "quantity": str(total)}
    name = (intent.strategy_id, key)
    world.call(ask_ns - MS, ask_ns + 31 * MS, "ReplaceOrder", name, request=request, shows=intent.order_id)
    intent.fill_all(second, ask_ns + 50 * MS)


def replace_refused(world: World, time_ns: int) -> None:
    """The venue refuses the change; the order goes on."""
    intent = Intent(world, time_ns)
    at_venue = intent.submit()
    ask_ns = max(intent.answer_ns + 200 * MS, UP_NS + 600 * MS)
    key = world.name("r")
    intent.row(ask_ns, "replace_requested", client_order_id=key, changes={"limit_price": "1"}, attempt=1)
    body = {"limit_price": "1", "client_order_id": f"{intent.strategy_id}.{key}"}
    world.asked(ask_ns + MS, f"PATCH /v2/orders/{at_venue.venue_order_id}", body)
    intent.row(ask_ns + 20 * MS, "replace_rejected", client_order_id=key, failure=_spent("VENUE_REJECTED"))
    refusal = {"code": "FAILED_PRECONDITION", "reason": "VENUE_REJECTED", "fate": "spent"}
    request = {"order": {"order_id": intent.order_id}, "limit_price": "1"}
    world.call(ask_ns - MS, ask_ns + 21 * MS, "ReplaceOrder", (intent.strategy_id, key), request=request, **refusal)
    intent.fill_all(at_venue, ask_ns + 50 * MS)


def never_returned(world: World, time_ns: int) -> None:
    """The client dies while it waits; the order lives."""
    intent = Intent(world, time_ns if time_ns >= UP_NS or time_ns < KILL_NS - 700 * MS else UP_NS + 300 * MS)
    intent.recorded()
    intent.sent()
    at_venue = world.place(intent.time_ns + 3 * MS, intent.client_id, intent.spec)
    intent.row(intent.answer_ns, "accepted", at_venue)
    client = world.name("doomed-")
    intent.call(intent.time_ns, None, client=client)
    world.act(intent.time_ns + 10 * MS, "kill_client", client=client)
    intent.fill_all(at_venue, intent.answer_ns)


def external(world: World, time_ns: int) -> None:
    """Somebody trades by hand: in the account's book alone."""
    client_id = world.name("by-hand-")
    world.act(time_ns, "foreign_order", venue_client_order_id=client_id)
    intent = Intent(world, time_ns)
    at_venue = world.place(time_ns, client_id, intent.spec)
    order_id = f"outside-{client_id}"
    world.row(time_ns + 10 * MS, "", order_id, "recorded", venue_order=at_venue.report())
    when_ns = max(time_ns + 100 * MS, UP_NS + 700 * MS)
    fill = world.execute(when_ns, at_venue, intent.quantity, intent.price)
    world.row(when_ns + 2 * MS, "", order_id, "fill", venue_order=at_venue.report(), fill=fill)


def bracket(world: World, time_ns: int) -> None:
    """An entry with two legs: the profit is taken, the other leg is canceled."""
    intent = Intent(world, time_ns, side="buy")
    profit, loss = text_of(intent.price + 10), text_of(intent.price - 10)
    intent.spec |= {"order_class": "bracket", "take_profit": profit, "stop_loss": [loss, None]}
    at_venue = intent.submit()
    begin_ns = max(intent.answer_ns + 10 * MS, UP_NS + 600 * MS)
    common = {"symbol": intent.spec["symbol"], "side": "sell", "time_in_force": "day", "quantity": str(intent.quantity)}
    legs = []
    for role, order_type in (("take-profit", "limit"), ("stop-loss", "stop")):
        leg = world.place(intent.time_ns + 3 * MS, world.name("leg-"), common | {"order_type": order_type})
        leg_id = f"{intent.order_id}/{role}"
        names = {"parent_order_id": intent.order_id, "leg_role": role}
        world.row(begin_ns, intent.strategy_id, leg_id, "recorded", venue_order=leg.report(), **names)
        legs.append((leg, leg_id))
    intent.fill_all(at_venue, begin_ns)
    (first, first_id), (second, second_id) = legs
    end_ns = begin_ns + 2_000 * MS
    fill = world.execute(end_ns, first, intent.quantity, intent.price + 10)
    world.row(end_ns + MS, intent.strategy_id, first_id, "fill", venue_order=first.report(), fill=fill)
    world.end(end_ns + MS, second, "canceled")
    world.row(end_ns + 3 * MS, intent.strategy_id, second_id, "canceled", venue_order=second.report())


def crypto(world: World, time_ns: int) -> None:
    """Coins are bought, and the fee is taken from them; or sold, and it is taken from the dollars."""
    intent = Intent(world, time_ns, symbol="BTC/USD")
    at_venue = intent.submit()
    intent.fill_all(at_venue, intent.answer_ns)


def backfilled(world: World, time_ns: int) -> None:
    """Two executions that the feed did not tell: one fill stands for both, under an id that follows from them."""
    intent = Intent(world, time_ns)
    at_venue = intent.submit()
    when_ns = max(intent.answer_ns + 100 * MS, UP_NS + 600 * MS)
    world.execute(when_ns, at_venue, Decimal(1), intent.price)
    fill = world.execute(when_ns + 10 * MS, at_venue, intent.quantity - 1, intent.price + 2)
    price = (at_venue.value / at_venue.filled).quantize(Decimal("1e-9"))
    made_up = {"fill_id": f"rest:{at_venue.venue_order_id}:{intent.quantity}", "synthesized": True}
    fill |= made_up | {"quantity": str(intent.quantity), "price": text_of(price)}
    intent.row(when_ns + 1_000 * MS, "fill", at_venue, fill=fill, backfill=True)


def _spent(reason: str) -> Json:
    return {"reason": reason, "message": "no", "metadata": {"key": "spent"}}


FATES: Final[tuple[Fate, ...]] = (
    filled,
    canceled,
    expired,
    denied,
    rejected,
    throttled,
    not_sent,
    free_first,
    reused,
    replaced,
    replace_refused,
    never_returned,
    external,
    bracket,
    crypto,
    backfilled,
)
FAULTY: Final[tuple[Fate, ...]] = (answer_lost, absent, resurrected)


def make(seed: int, orders: int = ORDERS) -> World:
    """A world in which everything goes right, in the face of a kill, a stop and two faults.

    Args:
        orders: How many; at most so many that all begin before the stop.
    """
    world = World(seed)
    for fault_id, fault in ((LOST_FAULT, "ANSWER_LOST"), (LATE_FAULT, "ARRIVES_LATE")):
        world.act(START_NS, "fault", fault_id=fault_id, fault=fault, count=-1, route="POST /v2/orders")
    world.act(START_NS, "start_gateway")
    world.act(KILL_NS, "kill_gateway")
    world.act(UP_NS - 500 * MS, "start_gateway")
    for time_ns in range(UP_NS, END_NS, 20_000 * MS):
        world.act(time_ns, "health", status="SERVING")
    _orders(world, orders)
    _stop(world)
    world.act(HEALED_NS, "healed")
    usual = {"rss_kib": 140_000, "fds": 60, "threads": 24, "tasks": 40}
    for time_ns, is_baseline in ((HEALED_NS + SECOND, True), (HEALED_NS + 2 * SECOND, False)):
        world.act(time_ns, "resources", is_baseline=is_baseline, **usual)
    world.act(END_NS, "secrets", files=12, found=[])
    for time_ns in range(HEALED_NS + 500 * MS, HEALED_NS + 800 * MS, 100 * MS):
        filled(world, time_ns)
    return world


def _orders(world: World, count: int) -> None:
    """Evenly before the kill; what is due while the gateway is down, and the rest, comes after it."""
    step_ns = 1_000 * MS // ORDERS_PER_SECOND
    deck: list[Fate] = []
    for number in range(count):
        time_ns = START_NS + number * step_ns
        if time_ns >= KILL_NS - 5 * MS:
            time_ns += UP_NS + 300 * MS - KILL_NS
        if time_ns >= FAULTS_FROM_NS and number % FAULTY_EVERY == 0:
            FAULTY[number // FAULTY_EVERY % len(FAULTY)](world, time_ns)
            continue
        if not deck:  # every fate comes, in every world, and in every order
            deck = world.random.sample(FATES, len(FATES))
        deck.pop()(world, time_ns)


def _stop(world: World) -> None:
    """Killed by one call, and released again; new orders are refused with a free key, cancels pass."""
    key = ("", "")
    for version, (time_ns, mode) in enumerate(((STOP_NS, "killed"), (RELEASE_NS, "active")), 1):
        world.states.append({"scope": "account", "mode": mode.upper(), "set_time_ns": time_ns, "reason": "drill"})
        request = {"mode": f"TRADING_MODE_{mode.upper()}", "expected_version": version - 1}
        world.call(time_ns - MS, time_ns + 3 * MS, "SetTradingState", key, request=request, client="operator")
    refused = Intent(world, STOP_NS + 500 * MS)
    refusal = {"code": "FAILED_PRECONDITION", "reason": "TRADING_HALTED", "fate": "free"}
    refused.call(STOP_NS + 500 * MS, STOP_NS + 501 * MS, **refusal)
    world.call(STOP_NS + 600 * MS, STOP_NS + 601 * MS, "CancelOrders", ("alpha", ""), request={})
