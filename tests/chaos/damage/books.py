"""Bugs of executions, of how orders change, and of money."""

from __future__ import annotations

from decimal import Decimal
from random import Random

from tests.chaos.damage.registry import after, before
from tests.chaos.damage.targets import (
    filled_order,
    is_own,
    messages,
    quiescent,
    some_row,
)
from tests.chaos.world import SECOND, Json, Lines, Row, World, text_of


@before("I20", "I21")
def told_twice_by_two_channels(world: World) -> None:
    """De-duplication is off: feed and back-fill each tell the fill."""
    row = filled_order(world)
    fill = row.body["fill"] | {"fill_id": f"rest:{row.body['fill']['venue_order_id']}"}
    body = {"venue_order": row.body["venue_order"], "fill": fill}
    world.row(row.time_ns + SECOND, row.strategy_id, row.order_id, "fill", **body)


@before("I21", "I22", "I23")
def fill_lost(world: World) -> None:
    """The feed dropped a fill, and nobody reads it up."""
    world.rows.remove(some_row(world, "fill", "partial_fill", having=is_own))


@before("I21")
def fill_at_another_price(world: World) -> None:
    """The limit price is told instead of the execution's."""
    fill = filled_order(world).body["fill"]
    fill["price"] = text_of(Decimal(fill["price"]) + Decimal("0.01"))


@before("I21")
def made_up_over_a_part(world: World) -> None:
    """A fill is made up that ends in the middle of an execution."""
    row = some_row(world, "fill", having=lambda row: "synthesized" in row.body["fill"])
    fill = row.body["fill"]
    left = text_of(Decimal(fill["cumulative_quantity"]) - Decimal("0.5"))
    row.body["fill"] = fill | {"quantity": left, "cumulative_quantity": left}


@after("I21")
def fill_not_delivered(lines: Lines, random: Random) -> None:
    """The owner's stream has the number, and no fill with it."""
    fills = [one for one in messages(lines, "event", "") if one["event"]["fill_id"]]
    sequence, book = random.choice([(one["sequence"], one["resume_token"].split(":")[1]) for one in fills])
    for one in fills:
        if one["sequence"] == sequence and one["resume_token"].split(":")[1] == book:
            one["event"] = one["event"] | {"fill_id": ""}


@before("I20")
def filled_quantity_falls(world: World) -> None:
    """An older report overwrites a newer one."""
    row = some_row(world, "canceled", having=lambda row: "filled_quantity" in row.body["venue_order"])
    row.body["venue_order"] = row.body["venue_order"] | {"filled_quantity": "0"}


@before("I20")
def ended_and_alive_again(world: World) -> None:
    """A late event takes a canceled order for working."""
    row = some_row(world, "canceled", having=is_own)
    report = row.body["venue_order"] | {"venue_status": "new"}
    world.row(row.time_ns + SECOND, row.strategy_id, row.order_id, "working", venue_order=report)


@before("I20")
def replace_forgets_what_was_filled(world: World) -> None:
    """After a replace the order shows the fills of its new venue order alone."""

    def forget(row: Row, order: Json) -> None:
        if len(order["venue_orders"]) > 1:
            order["filled_quantity"] = order["venue_orders"][-1]["filled_quantity"]

    world.damage_order = forget


@before("I20")
def version_stands_still(world: World) -> None:
    """Two states of an order have one version."""
    row = filled_order(world)

    def stand(changed: Row, order: Json) -> None:
        if changed is row:
            order["version"] -= 1

    world.damage_order = stand


@before("I20", "I29")
def ghost_in_the_journal(world: World) -> None:
    """The end of an order is missed: it stays open here, and holds its reservation."""
    world.rows.remove(some_row(world, "canceled", "expired", having=is_own))


@before("I24")
def average_of_prices(world: World) -> None:
    """The average forgets the quantities."""
    report = filled_order(world).body["venue_order"]
    report["filled_average_price"] = text_of(Decimal(report["filled_average_price"]) + Decimal("0.0001"))


@before("I24")
def average_in_floats(world: World) -> None:
    """The average is right to eight places only."""
    report = filled_order(world).body["venue_order"]
    report["filled_average_price"] = text_of(Decimal(report["filled_average_price"]) + Decimal("0.00000001"))


@after("I23")
def cash_off_by_a_cent(lines: Lines, random: Random) -> None:
    """Cash is rounded somewhere."""
    venue = quiescent(lines)["venue"]
    venue["cash"] = text_of(Decimal(venue["cash"]) + random.choice([1, -1]) * Decimal("0.01"))


@after("I23")
def fee_in_dollars_forgotten(lines: Lines, random: Random) -> None:
    """The fee of a sale of coins is not taken off."""
    for fee in quiescent(lines)["venue"]["fees"]:
        fee["usd"] = "0"


@after("I22")
def fee_in_kind_forgotten(lines: Lines, random: Random) -> None:
    """The fee of a purchase of coins is not taken off."""
    for fee in quiescent(lines)["venue"]["fees"]:
        fee["quantity"] = "0"


@after("I22")
def position_off_by_one(lines: Lines, random: Random) -> None:
    """The venue holds one share more."""
    positions = quiescent(lines)["venue"]["positions"]
    symbol = random.choice(sorted(positions))
    positions[symbol] = text_of(Decimal(positions[symbol]) + 1)


@after("I29")
def reservation_left_over(lines: Lines, random: Random) -> None:
    """A reservation of an unknown outcome is never released."""
    quiescent(lines)["gateway"]["reserved_usd"] = "12.5"
