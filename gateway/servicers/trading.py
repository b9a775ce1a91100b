"""TradingService: commands go to the engine and the workflow, questions to the order manager, streams to the log."""

# ruff: noqa: ARG002 - gRPC's signature; what a call carries beside its request is in call_context()
from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final

from gateway.application.fill_log import FillLog
from gateway.application.order_manager import OrderManager
from gateway.application.order_timeline import OrderTimelines
from gateway.application.order_updates import OrderUpdates
from gateway.application.trading_engine import TradingEngine
from gateway.application.workflows import TradingWorkflow
from gateway.servicers.denials import DenialListener, Denials
from gateway.servicers.identity import call_context
from gateway.servicers.key_first import Keyed, KeyFirst
from gateway.servicers.rights import OrderRights, sees_account
from gateway.servicers.wire import order_history as history, order_updates as wire_updates, trading as wire
from gateway.servicers.wire.orders import order_answer, order_with_legs_to_proto
from trading_gateway.v1 import trading_pb2 as pb, trading_pb2_grpc

_CLOSE_POSITIONS: Final = "/trading_gateway.v1.TradingService/ClosePositions"


class TradingServicer(trading_pb2_grpc.TradingServiceServicer):
    """Orders over gRPC.

    Args:
        engine: Submits, previews, replaces, cancels.
        workflow: Closes positions.
        orders: Knows every order.
        updates: Follows books.
        fills: Lists executions.
        timelines: Tell what happened to an order.
        wall: Nanoseconds since the Unix epoch.
        on_denial: Told of what is denied in the middle of an answer, as `AuditService.count_refusal`.
    """

    def __init__(
        self,
        engine: TradingEngine,
        workflow: TradingWorkflow,
        orders: OrderManager,
        updates: OrderUpdates,
        fills: FillLog,
        timelines: OrderTimelines,
        wall: Callable[[], int] = time.time_ns,
        on_denial: DenialListener | None = None,
    ) -> None:
        self._engine = engine
        self._workflow = workflow
        self._orders = orders
        self._updates = updates
        self._fills = fills
        self._timelines = timelines
        self._wall = wall
        self._keys = KeyFirst(orders)
        self._rights = OrderRights(orders)
        self._steps = wire_updates.StepWriter()
        self._denials = Denials(on_denial)

    def key_is_taken(self, request: Keyed) -> bool:
        """Whether an order holds the key of a request of the call under way."""
        return self._keys.is_taken(request, call_context().caller)

    async def SubmitOrder(self, request: pb.SubmitOrderRequest, context: Any) -> pb.SubmitOrderResponse:
        """Submit an order."""
        call = call_context()
        with self._keys.known_before_refusal(request, call.caller):
            order = wire.order_request_from_proto(request, call.caller, self._wall())
        self._rights.require_own(call.caller, order.strategy_id)
        return wire.submitted_to_proto(await self._engine.submit(order, call))

    async def PreviewOrder(self, request: pb.PreviewOrderRequest, context: Any) -> pb.PreviewOrderResponse:
        """Say what would happen to an order."""
        call = call_context()
        strategy_id, spec = wire.preview_from_proto(request, call.caller)
        self._rights.require_own(call.caller, strategy_id)
        return wire.preview_to_proto(await self._engine.preview(strategy_id, spec, call))

    async def ReplaceOrder(self, request: pb.ReplaceOrderRequest, context: Any) -> pb.ReplaceOrderResponse:
        """Change a working order."""
        call = call_context()
        with self._keys.known_before_refusal(request, call.caller):
            replace = wire.replace_from_proto(request, call.caller, self._wall())
            self._rights.change(call.caller, replace.ref)
        return wire.replaced_to_proto(await self._engine.replace(replace, call))

    async def CancelOrder(self, request: pb.CancelOrderRequest, context: Any) -> pb.CancelOrderResponse:
        """Ask for the end of an order."""
        call = call_context()
        ref, wait_ms = wire.cancel_from_proto(request, call.caller)
        self._rights.cancel(call.caller, ref)
        return wire.canceled_to_proto(await self._engine.cancel(ref, wait_ms, call))

    async def CancelOrders(self, request: pb.CancelOrdersRequest, context: Any) -> pb.CancelOrdersResponse:
        """Ask for the end of every order in scope."""
        call = call_context()
        scope = wire.cancel_scope_from_proto(request, call.caller)
        self._rights.require_cancelable(call.caller, scope.strategy_id)
        return wire.canceled_many_to_proto(await self._engine.cancel_orders(scope, call))

    async def GetOrder(self, request: pb.GetOrderRequest, context: Any) -> pb.GetOrderResponse:
        """One order."""
        call = call_context()
        ref = wire.order_ref_from_proto(request, call.caller)
        self._rights.read(call.caller, ref)
        order = await self._engine.refresh(ref, call) if request.refresh else self._orders.get(ref)
        if request.include_legs:
            return pb.GetOrderResponse(order=order_with_legs_to_proto(order, self._orders.legs(order)))
        return order_answer(order)

    async def ListOrders(self, request: pb.ListOrdersRequest, context: Any) -> pb.ListOrdersResponse:
        """One page of orders."""
        caller = call_context().caller
        wanted, page_size, page_token = wire.order_filter_from_proto(request, caller)
        self._rights.require_readable(caller, wanted.strategy_id)
        return await wire.order_page_to_proto(await self._orders.list(wanted, page_size, page_token))

    async def ListFills(self, request: pb.ListFillsRequest, context: Any) -> pb.ListFillsResponse:
        """One page of executions."""
        caller = call_context().caller
        wanted, page_size, page_token = history.fill_filter_from_proto(request, caller)
        self._rights.require_readable(caller, wanted.strategy_id)
        page = await self._fills.page(wanted, page_size, page_token)
        return await history.fill_page_to_proto(page, shows_account=sees_account(caller))

    async def GetOrderTimeline(self, request: pb.GetOrderTimelineRequest, context: Any) -> pb.GetOrderTimelineResponse:
        """The story of one order."""
        caller = call_context().caller
        ref = wire.order_ref_from_proto(request, caller)
        self._rights.read(caller, ref)
        return await history.timeline_to_proto(await self._timelines.get(ref))

    async def ClosePosition(self, request: pb.ClosePositionRequest, context: Any) -> pb.ClosePositionResponse:
        """Close a position, or a part of it."""
        call = call_context()
        with self._keys.known_before_refusal(request, call.caller):
            close = wire.close_from_proto(request, call.caller, self._wall())
        self._rights.require_own(call.caller, close.strategy_id)
        return wire.closed_to_proto(await self._workflow.close_position(close, call))

    async def ClosePositions(self, request: pb.ClosePositionsRequest, context: Any) -> pb.ClosePositionsResponse:
        """Close every position."""
        call = call_context()
        with self._keys.known_before_refusal(request, call.caller):
            close = wire.close_many_from_proto(request, call.caller)
        self._rights.require_own(call.caller, close.strategy_id)
        results = await self._workflow.close_positions(close, call)
        for result in results:
            self._denials.tell(_CLOSE_POSITIONS, result.outcome, context.peer())
        return wire.closed_many_to_proto(results)

    async def StreamOrderUpdates(
        self, request: pb.StreamOrderUpdatesRequest, context: Any
    ) -> AsyncIterator[pb.StreamOrderUpdatesResponse]:
        """Follow a book, one step a message."""
        caller = call_context().caller
        book, start, heartbeat_ms = wire_updates.follow_from_proto(request, caller)
        self._rights.require_readable(caller, book.strategy_id)
        shows_account = sees_account(caller)
        async with aclosing(self._updates.follow(book, start, heartbeat_ms)) as steps:  # type: ignore[type-var]  # a generator
            async for step in steps:
                yield self._steps.write(step, self._wall(), shows_account=shows_account)
