"""Requests that read the account and what can be traded, field by field."""

from __future__ import annotations

import datetime

import pytest
from google.protobuf.duration_pb2 import Duration
from google.type.date_pb2 import Date

from gateway.domain.types import AssetClass
from gateway.servicers.wire import account, reference
from tests.servicers.fakes import NOW_NS
from tests.servicers.violations import bad_fields
from trading_gateway.v1 import account_pb2, common_pb2, reference_pb2


def test_staleness_absent_zero_and_bad() -> None:
    assert account.staleness_from_proto(account_pb2.GetAccountRequest()) is None
    assert account.staleness_from_proto(account_pb2.GetAccountRequest(max_staleness=Duration())) == 0
    request = account_pb2.ListPositionsRequest(max_staleness=Duration(seconds=2, nanos=5_000_000))
    assert account.staleness_from_proto(request) == 2_005
    negative = account_pb2.GetPositionRequest(symbol="a b", max_staleness=Duration(seconds=-1))
    assert bad_fields(lambda: account.position_request_from_proto(negative)) == ["symbol", "max_staleness"]


def test_assets_are_filtered_and_paged() -> None:
    wanted, page_size, token = reference.asset_filter_from_proto(reference_pb2.ListAssetsRequest())
    assert (wanted.asset_class, wanted.status, page_size, token) == (None, "active", 1_000, "")
    request = reference_pb2.ListAssetsRequest(
        asset_class=common_pb2.ASSET_CLASS_CRYPTO, status="inactive", exchange="NYSE", attributes=["a"], symbols=["A"]
    )
    wanted, _, _ = reference.asset_filter_from_proto(request)
    assert (wanted.asset_class, wanted.status, wanted.exchange) == (AssetClass.CRYPTO, "inactive", "NYSE")
    assert (wanted.attributes, wanted.symbols) == ({"a"}, {"A"})
    bad = reference_pb2.ListAssetsRequest(
        asset_class=77,  # type: ignore[arg-type]
        status="maybe",
        exchange="x" * 65,
        attributes=["a\n"],
        symbols=["B", "B"],
        page_size=-(2**31),
    )
    assert bad_fields(lambda: reference.asset_filter_from_proto(bad)) == [
        "asset_class",
        "status",
        "exchange",
        "attributes[0]",
        "symbols",
        "page_size",
    ]
    assert bad_fields(lambda: reference.asset_request_from_proto(reference_pb2.GetAssetRequest())) == ["symbol_or_id"]


def test_market_days_default_to_thirty_days_from_today_in_new_york() -> None:
    midnight_utc = int(datetime.datetime(2026, 7, 2, 1, tzinfo=datetime.UTC).timestamp()) * 10**9
    start, end = reference.market_days_from_proto(reference_pb2.ListMarketDaysRequest(), midnight_utc)
    assert (start, end) == (datetime.date(2026, 7, 1), datetime.date(2026, 7, 31))


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        (Date(year=2026, month=1, day=2), Date(year=2026, month=1, day=1), "start_date"),
        (Date(year=2026, month=1, day=1), Date(year=2027, month=1, day=2), "end_date"),
        (Date(year=2026, month=2, day=30), None, "start_date"),
        (Date(year=2026), None, "start_date"),
        (Date(year=-1, month=1, day=1), None, "start_date"),
        (Date(year=10_000, month=1, day=1), None, "start_date"),
        (Date(year=1926, month=1, day=1), Date(year=2026, month=1, day=1), "end_date"),
    ],
)
def test_market_days_that_cannot_be(start: Date, end: Date | None, field: str) -> None:
    request = reference_pb2.ListMarketDaysRequest(start_date=start, end_date=end)
    assert bad_fields(lambda: reference.market_days_from_proto(request, NOW_NS)) == [field]


def test_market_days_of_a_year_and_at_the_end_of_time() -> None:
    year = reference_pb2.ListMarketDaysRequest(
        start_date=Date(year=2026, month=1, day=1), end_date=Date(year=2027, month=1, day=1)
    )
    start, end = reference.market_days_from_proto(year, NOW_NS)
    assert (end - start).days == 365
    last = reference_pb2.ListMarketDaysRequest(start_date=Date(year=9999, month=12, day=30))
    assert reference.market_days_from_proto(last, NOW_NS)[1] == datetime.date.max
