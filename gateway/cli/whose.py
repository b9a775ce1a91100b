"""Whose orders and executions a command shows, where nobody says: what its caller may see without being refused.

Promises: a token's holder sees its strategy's; who shows nothing, or is an operator without a strategy, sees
everybody's. Nothing is asked that a trader's token is denied, so that a look leaves no denial in the audit log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import grpc

from gateway.cli.connection import TIMEOUT_S, access, fail
from trading_gateway.errors import GatewayError

_FIELD: Final = "strategy_id"


@dataclass(frozen=True, slots=True)
class Whose:
    """What the filter of a list says of strategies.

    Attributes:
        strategy_id: This one's; empty: the caller's own.
        all_strategies: Everybody's.
        may_widen: Everybody's, if the caller turns out to have no strategy of its own.
    """

    strategy_id: str = ""
    all_strategies: bool = False
    may_widen: bool = False

    @classmethod
    def of(cls, strategy_id: str, *, all_strategies: bool) -> Whose:
        """As the options say; what they contradict each other in ends the command."""
        if strategy_id and all_strategies:
            fail("--strategy or --all-strategies, not both", code=2)
        if strategy_id or all_strategies:
            return cls(strategy_id, all_strategies)
        given = access()
        shows_something = given.shows_token or bool(given.tls_client_cert)
        return cls(all_strategies=not shows_something, may_widen=shows_something)

    def ask(self, list_rpc: Any, request: Any) -> Any:
        """The answer of an rpc that takes `strategy_id` and `all_strategies`; raises grpc.RpcError."""
        request.strategy_id, request.all_strategies = self.strategy_id, self.all_strategies
        try:
            return list_rpc(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            if not (self.may_widen and _has_no_strategy(error)):
                raise
        request.all_strategies = True
        return list_rpc(request, timeout=TIMEOUT_S)


def _has_no_strategy(error: grpc.RpcError) -> bool:
    """Whether the gateway missed a strategy's name, which it knows of every token but an operator's."""
    return any(violation.field == _FIELD for violation in GatewayError.from_call(error).violations)
