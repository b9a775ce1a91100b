"""What changed the account: fills and fees, in order, with Alpaca's ids and paging."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from gateway.domain.models.account import Activity
from gateway.domain.types import NANOS_PER_MS, NANOS_PER_SECOND
from gateway.emulator.exchange.refusals import field_invalid
from gateway.emulator.exchange.sessions import NEW_YORK

FILL: Final = "FILL"
CRYPTO_FEE: Final = "CFEE"
TRADE_ACTIVITY: Final = "trade_activity"
NON_TRADE_ACTIVITY: Final = "non_trade_activity"
PAGE_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class ActivityQuery:
    """The filters of GET /v2/account/activities; time bounds are exclusive, the date is in UTC."""

    types: Collection[str] | None = None
    category: str | None = None
    on_date: date | None = None
    after_ns: int | None = None
    until_ns: int | None = None
    direction: str = "desc"
    page_size: int = PAGE_MAX
    page_token: str | None = None


def activity_id(time_ns: int, unique: str) -> str:
    """New York's date and time to the millisecond, two colons, a UUID: `20220202135509981::2d7be4ff-...`."""
    seconds, nanos = divmod(time_ns, NANOS_PER_SECOND)
    moment = datetime.fromtimestamp(seconds, NEW_YORK)
    return f"{moment:%Y%m%d%H%M%S}{nanos // NANOS_PER_MS:03d}::{unique}"


class ActivityLog:
    """Activities, oldest first; as many as there are executions, which `store.ORDERS_MAX` bounds in practice.

    Attributes:
        execution_count: How many of them are fills.
    """

    def __init__(self) -> None:
        self._all: list[Activity] = []
        self._index: dict[str, int] = {}
        self.execution_count = 0

    def add(self, activity: Activity) -> None:
        """Append one."""
        self.execution_count += activity.activity_type == FILL
        self._index[activity.activity_id] = len(self._all)
        self._all.append(activity)

    def __len__(self) -> int:
        return len(self._all)

    def find(self, query: ActivityQuery) -> list[Activity]:
        """The activities that a query asks for.

        Raises:
            Refusal: A filter cannot be understood, or the page token is none of ours.
        """
        if query.category not in (None, TRADE_ACTIVITY, NON_TRADE_ACTIVITY):
            raise field_invalid("category")
        if query.category is not None and query.types is not None:
            raise field_invalid("category")
        if query.direction not in ("asc", "desc"):
            raise field_invalid("direction")
        if not 1 <= query.page_size <= PAGE_MAX:
            raise field_invalid("page_size")
        found: list[Activity] = []
        for index in self._order(query):
            if _matches(self._all[index], query):
                found.append(self._all[index])
                if len(found) == query.page_size:
                    break
        return found

    def _order(self, query: ActivityQuery) -> Sequence[int]:
        """Indices in the wanted direction, after the page token."""
        token = None
        if query.page_token:
            token = self._index.get(query.page_token)
            if token is None:
                raise field_invalid("page_token")
        if query.direction == "asc":
            return range(0 if token is None else token + 1, len(self._all))
        return range((len(self._all) if token is None else token) - 1, -1, -1)


def _matches(activity: Activity, query: ActivityQuery) -> bool:
    is_trade = activity.activity_type == FILL
    return (
        (query.types is None or activity.activity_type in query.types)
        and (query.category is None or is_trade == (query.category == TRADE_ACTIVITY))
        and (query.on_date is None or _utc_date(activity.time_ns) == query.on_date)
        and (query.after_ns is None or activity.time_ns > query.after_ns)
        and (query.until_ns is None or activity.time_ns < query.until_ns)
    )


def _utc_date(time_ns: int) -> date:
    return datetime.fromtimestamp(time_ns // NANOS_PER_SECOND, UTC).date()
