"""Who may do what: scopes, and the token that grants them.

A token is a grant with one strategy's name on it, or an operator's. It is shown by its secret or, where it names
one, by a client certificate. The rules here need no clock: an instant is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


class Scope(StrEnum):
    """What a caller may do. Names are the contract's, and are never renamed."""

    MARKET_DATA_READ = "market_data:read"
    ORDERS_READ = "orders:read"
    ORDERS_READ_ANY = "orders:read_any"
    ORDERS_TRADE = "orders:trade"
    ORDERS_CANCEL_ANY = "orders:cancel_any"
    ACCOUNT_READ = "account:read"
    ACCOUNT_READ_SENSITIVE = "account:read_sensitive"
    ACCOUNT_TRADE = "account:trade"
    RISK_READ = "risk:read"
    RISK_ADMIN = "risk:admin"
    SIMULATION_ADMIN = "simulation:admin"
    OPERATIONS_READ = "operations:read"
    OPERATIONS_ADMIN = "operations:admin"


EVERY_SCOPE: Final = frozenset(Scope)

OPERATOR_SCOPES: Final = EVERY_SCOPE - {Scope.ORDERS_TRADE, Scope.ORDERS_READ}
"""What makes sense without a strategy of one's own: orders are always some strategy's."""


TTL_MAX_MS: Final = 366 * 86_400_000
"""No token lives longer than these days."""


class TokenState(StrEnum):
    """Whether a token still grants anything."""

    USABLE = "usable"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Token:
    """A grant. Two differ by id; the secret itself is known to its holder alone.

    Attributes:
        token_id: The gateway's; not secret.
        strategy_id: The strategy that its holder is; empty for operators.
        scopes: What it allows.
        symbols: Only these may be traded; empty: all.
        max_order_notional: US dollars of one order; None: no cap of its own.
        networks: Only from these addresses; empty: from anywhere. A Unix socket counts as loopback.
        certificate: A URI among the subject alternative names of a client certificate that stands for the secret;
            empty: none does.
        secret_hash: SHA-256 of the secret.
        create_time_ns: Minted, nanoseconds UTC.
        expire_time_ns: Grants nothing from then on.
        revoke_time_ns: Was ended then; None: was not.
        last_used_time_ns: Last call, to the minute; None: never.
        venue: The only one whose gateway takes it; empty: made before that was kept.
    """

    token_id: str
    strategy_id: str
    scopes: frozenset[Scope]
    secret_hash: bytes = field(repr=False)
    create_time_ns: int
    expire_time_ns: int
    symbols: frozenset[str] = frozenset()
    max_order_notional: Decimal | None = None
    networks: tuple[IPNetwork, ...] = ()
    certificate: str = ""
    revoke_time_ns: int | None = None
    last_used_time_ns: int | None = None
    venue: str = ""

    def state(self, now_ns: int) -> TokenState:
        """Whether it grants anything at an instant. An overlap ends by a revoke time that is still to come."""
        if self.revoke_time_ns is not None and self.revoke_time_ns <= now_ns:
            return TokenState.REVOKED
        return TokenState.EXPIRED if self.expire_time_ns <= now_ns else TokenState.USABLE

    def allows_address(self, address: IPAddress) -> bool:
        """Whether it may be shown from there."""
        return not self.networks or any(address in network for network in self.networks)
