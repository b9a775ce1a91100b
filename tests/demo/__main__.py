"""`make demo`: the same stories told twice, alpaca-py straight at the venue, and through the gateway.

Both venues are emulators of this machine and meet the same faults; what is printed is what happened. Exits 1 if
the right side is ever wrong.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.demo import killed
from tests.demo.venue import lose_answers, lost_at, orders_at

QUOTE_SECONDS: Final = 6.0
CASH_USD: Final = 10_000_000
"""The third story's order is a large one."""
PROGRAM_TIMEOUT_S: Final = 60.0
START_TIMEOUT_S: Final = 30.0
EMULATOR_READY: Final = "emulator ready at "
GATEWAY_READY: Final = "serving on "


@asynccontextmanager
async def server(ready: str, *arguments: str) -> AsyncIterator[str]:
    """A process of the gateway's command line, and what it printed behind `ready`."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield await asyncio.wait_for(_address(child, ready), START_TIMEOUT_S)
    finally:
        if child.returncode is None:
            child.terminate()
            await child.wait()


async def _address(child: asyncio.subprocess.Process, ready: str) -> str:
    assert child.stdout is not None
    while line := await child.stdout.readline():
        if ready in (text := line.decode()):
            return text.rsplit(ready, 1)[1].strip()
    raise RuntimeError(f"a server ended with code {await child.wait()} before it was ready")


async def program(*arguments: str) -> dict[str, Any]:
    """Run one program of the demo and read what it saw."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await asyncio.wait_for(child.communicate(), PROGRAM_TIMEOUT_S)
    if child.returncode != 0:
        return {"crashed": child.returncode}
    result: dict[str, Any] = json.loads(output)
    return result


async def quotes_story(left_venue: str, target: str) -> tuple[list[str], list[str], bool]:
    """Two programs follow AAPL with one key."""
    seconds = str(QUOTE_SECONDS)
    alone = ("tests.demo.alone", "quotes", left_venue, seconds)
    through = ("tests.demo.through", "quotes", target, seconds)
    left_a, left_b, right_a, right_b = await asyncio.gather(
        program(*alone), program(*alone), program(*through), program(*through)
    )
    left = [_quotes_line(name, seen) for name, seen in (("A", left_a), ("B", left_b))]
    right = [_quotes_line(name, seen) for name, seen in (("A", right_a), ("B", right_b))]
    return left, right, bool(right_a.get("quotes") and right_b.get("quotes"))


def _quotes_line(name: str, seen: dict[str, Any]) -> str:
    why = f", refused {seen['refused']} times: {seen['why']}" if seen.get("refused") else ""
    return f"program {name}: {seen.get('quotes', 'crashed')} quotes in {QUOTE_SECONDS:g} s{why}"


async def order_story(left_venue: str, right_venue: str, target: str) -> tuple[list[str], list[str], bool]:
    """One program buys one share, and the venue's answers are lost."""
    lose_answers(left_venue)
    lose_answers(right_venue)
    left, right = await asyncio.gather(
        program("tests.demo.alone", "order", left_venue), program("tests.demo.through", "order", target)
    )
    left_orders, right_orders = orders_at(left_venue), orders_at(right_venue)
    was_lost_once = lost_at(right_venue) == 1
    is_right = was_lost_once and right_orders == 1 and right.get("replayed") is True and right.get("final") == "filled"
    left_lines = [
        f"submit_order(1 AAPL): {left.get('answer')} after {left.get('took_s', 0):.1f} s",
        f"orders at the venue: {left_orders}",
    ]
    right_lines = [
        f"SubmitOrder(1 AAPL): {right.get('answer')} after {right.get('took_s', 0):.1f} s",
        f"the same key again: {'replayed, nothing sent' if right.get('replayed') else 'NOT replayed'}",
        f"orders at the venue: {right_orders}, {right.get('final')}",
    ]
    return left_lines, right_lines, is_right


async def main() -> int:
    """Tell the stories; the exit code."""
    console = Console(width=118, highlight=False)
    table = Table("", "alpaca-py alone", "through the gateway", header_style="bold", show_lines=True)
    async with AsyncExitStack() as stack:
        emulator = ("emulator", "--listen", "127.0.0.1:0", "--cash", str(CASH_USD))
        left_venue, right_venue = await asyncio.gather(
            stack.enter_async_context(server(EMULATOR_READY, *emulator)),
            stack.enter_async_context(server(EMULATOR_READY, *emulator)),
        )
        target = await stack.enter_async_context(
            server(GATEWAY_READY, "serve", "--listen", "127.0.0.1:0", "--venue-url", right_venue)
        )
        quotes, order = await asyncio.gather(
            quotes_story(left_venue, target), order_story(left_venue, right_venue, target)
        )
        stories = (
            ("two programs\nfollow AAPL", quotes),
            ("the answer to\nan order is lost", order),
            ("the program is\nkilled while its\norder fills", await killed.tell(left_venue, right_venue, target)),
        )
        for title, (left, right, _) in stories:
            table.add_row(title, "\n".join(left), "\n".join(right))
        all_right = all(is_right for _, (_, _, is_right) in stories)
    console.print(table)
    if not all_right:
        console.print("The right side is wrong: this is a bug.")
    return 0 if all_right else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
