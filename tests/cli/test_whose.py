"""`orders` and `fills` with tokens: each shows what its caller may see, and nobody is denied anything by a look."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from gateway.domain.models.identity import OPERATOR_SCOPES, Scope
from tests.bad_requests import submit
from tests.gateway_host import GatewayHost
from tests.test_access import TRADER, Door, denials
from tests.test_serve import ask

STRATEGIES = ("momentum", "carry")


@pytest.fixture
def door(start_gateway: GatewayHost) -> Iterator[Door]:
    door = Door(start_gateway, "auto")
    for strategy_id in STRATEGIES:
        wire = door.wire(door.mint(strategy_id))
        wire.call("SubmitOrder", submit())
    yield door
    door.close()


def seen(door: Door, *arguments: str, secret: str = "") -> set[str]:
    """Whose orders are shown."""
    shown = {"GATEWAY_TOKEN": secret} if secret else {}
    done = ask("orders", "--json", "--target", door.gateway.target, *arguments, **shown)
    assert done.exit_code == 0, done.stderr
    return {order["strategy_id"] for order in json.loads(done.stdout)["orders"]}


def test_a_look_shows_what_its_caller_may_see(door: Door) -> None:
    trader = door.mint("momentum").secret
    supervisor = door.mint("momentum", TRADER | {Scope.ORDERS_READ_ANY}).secret
    operator = door.mint("", OPERATOR_SCOPES).secret
    assert seen(door) == set(STRATEGIES)
    assert seen(door, secret=trader) == {"momentum"}
    assert seen(door, secret=supervisor) == {"momentum"}
    assert seen(door, "--all-strategies", secret=supervisor) == set(STRATEGIES)
    assert seen(door, "--strategy", "carry", secret=supervisor) == {"carry"}
    assert seen(door, secret=operator) == set(STRATEGIES)
    for secret in ("", trader, operator):
        shown = {"GATEWAY_TOKEN": secret} if secret else {}
        assert ask("fills", "--target", door.gateway.target, **shown).exit_code == 0
    assert denials(door) == set()


def test_what_is_asked_for_by_name_is_denied_by_name(door: Door) -> None:
    shown = {"GATEWAY_TOKEN": door.mint("momentum").secret}
    for others in (("--all-strategies",), ("--strategy", "carry")):
        done = ask("orders", *others, "--target", door.gateway.target, **shown)
        assert (done.exit_code, "orders:read_any" in done.stderr) == (1, True), done.stderr
    assert denials(door) == {("ListOrders", "SCOPE_MISSING")}
    done = ask("orders", "--all-strategies", "--strategy", "carry", "--target", door.gateway.target)
    assert (done.exit_code, "not both" in done.stderr) == (2, True)


def test_a_wrong_filter_is_told_and_not_asked_again(door: Door) -> None:
    """Only a missing strategy is made up for."""
    done = ask("orders", "--symbol", "x y", "--target", door.gateway.target, GATEWAY_TOKEN=door.mint("carry").secret)
    assert (done.exit_code, "symbols[0]" in done.stderr) == (1, True), done.stderr
