"""OwnedTasks: what the application room has begun and will see to its end, whoever asked for it.

grpc.aio cancels a handler when its caller goes away; an order must not notice. Tasks here are referenced, bounded in
number, awaited at shutdown, and an error that nobody awaits is logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import structlog

from gateway.domain.errors import Draining, GatewayError, TooManyCalls

TASKS_MAX: Final = 50_000
RETRY_AFTER_MS: Final = 1_000
CLOSE_WAIT_S: Final = 1.0
"""For what was begun after a shutdown had waited for everything: cancels and changes of the trading state come late."""

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class OwnedTasks:
    """A registry of running tasks."""

    def __init__(self, tasks_max: int = TASKS_MAX) -> None:
        self._tasks_max = tasks_max
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lasting: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def check_room(self) -> None:
        """Refuse work when too much is running.

        Raises:
            TooManyCalls: The bound is reached.
        """
        if len(self._tasks) >= self._tasks_max:
            raise TooManyCalls("The gateway is busy.", retry_after_ms=RETRY_AFTER_MS)

    def spawn(self, work: Coroutine[Any, Any, T], *, lasting: bool = False) -> asyncio.Task[T]:
        """Begin something that outlives its caller.

        Args:
            work: What.
            lasting: It looks for something until that is found, and a shutdown need not wait for it: the journal
                knows what it looks for, and the next life goes on.
        """
        task = asyncio.create_task(work)
        self._tasks.add(task)
        if lasting:
            self._lasting.add(task)
        task.add_done_callback(self._ended)
        return task

    async def see_through(self, work: Coroutine[Any, Any, T]) -> T:
        """Begin something and wait for its end, which comes also when whoever waits goes away.

        Raises:
            Draining: The gateway ends and will not see to it any more.
        """
        if self._is_closed:
            work.close()
            raise Draining("The gateway is shutting down.")
        task = self.spawn(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._is_closed and task.cancelled():
                raise Draining("The gateway is shutting down.") from None
            raise

    async def drain(self, timeout_s: float) -> None:
        """Wait for what has requests in flight, and for all that follows from them; at most so long."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while (running := self._tasks - self._lasting) and (left_s := until - loop.time()) > 0:
            await asyncio.wait(running, timeout=left_s)

    async def close(self) -> None:
        """End: what is asked for from now on is refused, what a caller waits for may finish, the rest is canceled."""
        self._is_closed = True
        await self.drain(CLOSE_WAIT_S)
        running = set(self._tasks)
        for task in running:
            task.cancel()
        if running:
            await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._lasting.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, GatewayError):
            _log.error("task_failed", exc_info=error)
