"""What the demo calls right; `make demo` itself runs the programs."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.demo import __main__ as demo, killed
from tests.demo.notebook import Notebook

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


def noted(*quantities: str, first: int = 5, again: int | None = None) -> list[dict[str, Any]]:
    """The notebook of a program that saw an order recorded and then these fills."""
    fills = [{"id": f"f-{index}", "quantity": one} for index, one in enumerate(quantities)]
    events: list[dict[str, Any]] = [{"event": 1}, *({"event": 11, **fill} for fill in fills)]
    numbered = [{"sequence": first + index, **event} for index, event in enumerate(events)]
    return [{"key": "k"}, {"token": "t"}, *numbered, *(numbered[again : again + 1] if again is not None else [])]


WHOLE = noted("10000", "5000.0", "15000")
VENUE = ["10000", "5000", "15000"]


@pytest.mark.parametrize(
    ("changes", "is_right"),
    [
        ({}, True),
        ({"noted": WHOLE[:-1]}, False),
        ({"noted": [*WHOLE[:3], *WHOLE[4:]]}, False),
        ({"noted": noted("10000", "5000.0", "15000", again=2)}, False),
        ({"noted": [*WHOLE[:3], WHOLE[4], WHOLE[3], WHOLE[5]]}, False),
        ({"noted": []}, False),
        ({"executions": [*VENUE, "1"]}, False),
        ({"missed": 0}, False),
        ({"finished": False}, False),
    ],
)
def test_every_event_once_though_the_program_was_killed(changes: dict[str, Any], is_right: bool) -> None:
    seen = {"noted": WHOLE, "executions": VENUE, "missed": 2, "finished": True} | changes
    assert killed.Outcome(**seen).is_every_event_once is is_right


async def test_what_is_printed_of_the_killed_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = {
        "left": killed.Outcome(noted("10000"), VENUE, 1, True),
        "right": killed.Outcome(WHOLE, VENUE, 2, True),
    }

    async def live_die_live(venue: str, *_: object) -> killed.Outcome:
        return sides[venue]

    monkeypatch.setattr(killed, "live_die_live", live_die_live)
    left, right, is_right = await killed.tell("left", "right", "target")
    assert is_right
    assert left[2:] == ["fills told: 1 of 3, 2 missed", "shares told: 10000 of 30000"]
    assert right[2:] == ["fills told: 3 of 3", "shares told: 30000 of 30000", "events 5 to 8: each once"]


def test_a_line_that_death_cut_off_was_never_written(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path / "notebook")
    assert notebook.lines() == []
    notebook.note({"sequence": 1})
    with (tmp_path / "notebook").open("a") as file:
        file.write('{"sequence": 2, "tok')
    assert notebook.lines() == [{"sequence": 1}]
    Notebook(tmp_path / "notebook").note({"sequence": 2})
    assert notebook.lines() == [{"sequence": 1}, {"sequence": 2}]


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_the_gateways_side_of_the_killed_program(start_gateway: Any, tmp_path: Path) -> None:
    """The program itself, killed by the operating system and run again, as `make demo` does it."""
    gateway = start_gateway(venue={"cash": Decimal(demo.CASH_USD)})
    through = ("tests.demo.through", "fills", gateway.target)
    outcome = await killed.live_die_live(gateway.emulator.url, tmp_path / "notebook", *through)
    assert outcome.is_every_event_once, outcome
