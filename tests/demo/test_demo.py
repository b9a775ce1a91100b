"""What the demo calls right; `make demo` itself runs the programs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.demo import __main__ as demo

GOOD: dict[str, Any] = {"answer": "OK filled", "took_s": 0.1, "replayed": True, "final": "filled"}


@pytest.mark.parametrize(
    ("seen", "orders", "lost", "is_right"),
    [
        ({}, 1, 1, True),
        ({}, 2, 1, False),
        ({}, 0, 1, False),
        ({}, 1, 0, False),
        ({}, 1, 4, False),
        ({"replayed": False}, 1, 1, False),
        ({"final": "working"}, 1, 1, False),
    ],
)
async def test_one_order_whose_answer_was_lost_once(
    monkeypatch: pytest.MonkeyPatch, seen: dict[str, Any], orders: int, lost: int, is_right: bool
) -> None:
    async def program(*arguments: str) -> dict[str, Any]:
        return {"answer": "APIError 504", "took_s": 9.0} if "tests.demo.alone" in arguments else GOOD | seen

    monkeypatch.setattr(demo, "program", program)
    monkeypatch.setattr(demo, "lose_answers", lambda venue: None)
    monkeypatch.setattr(demo, "orders_at", lambda venue: 4 if venue == "left" else orders)
    monkeypatch.setattr(demo, "lost_at", lambda venue: lost)
    left, right, judged = await demo.order_story("left", "right", "target")
    assert judged is is_right
    assert "orders at the venue: 4" in left
    assert any(line.startswith(f"orders at the venue: {orders}") for line in right)


@pytest.mark.parametrize(
    ("first", "second", "is_right"),
    [
        ({"quotes": 9}, {"quotes": 8}, True),
        ({"quotes": 9}, {"quotes": 0}, False),
        ({"crashed": 1}, {"quotes": 9}, False),
    ],
)
async def test_both_programs_have_quotes(
    monkeypatch: pytest.MonkeyPatch, first: dict[str, Any], second: dict[str, Any], is_right: bool
) -> None:
    rights = iter([first, second])

    async def program(*arguments: str) -> dict[str, Any]:
        return {"quotes": 0} if "tests.demo.alone" in arguments else next(rights)

    monkeypatch.setattr(demo, "program", program)
    _, _, judged = await demo.quotes_story("left", "target")
    assert judged is is_right
