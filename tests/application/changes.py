"""What tests ask to change of an order: a replace, a cancel."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from gateway.application.commands import (
    ReplaceRequest,
    Submitted,
)
from gateway.domain.models.orders import OrderChanges, OrderRef
from tests.application.rig import Rig


def changes(**values: Any) -> OrderChanges:
    return OrderChanges(**{name: Decimal(str(value)) for name, value in values.items()})


async def replace(rig: Rig, key: str, new_key: str, wanted: OrderChanges, version: int | None = None) -> Submitted:
    ref = OrderRef(client_order_id=key, strategy_id="default")
    request = ReplaceRequest(ref, "default", new_key, wanted, rig.clock.now_ns + 5 * 10**9, version)
    return await rig.gateway.engine.replace(request, rig.call())


async def cancel(rig: Rig, key: str, wait_ms: int = 0) -> Any:
    return await rig.gateway.engine.cancel(OrderRef(client_order_id=key, strategy_id="default"), wait_ms, rig.call())
