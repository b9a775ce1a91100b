"""One life of the gateway's process: what it has begun ends with it, at once, whatever it was about to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final

_BURIALS_MAX: Final = 8
"""Turns of the loop in which a dead life's tasks are canceled; a task may begin others as it goes."""

_LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


class Life:
    """The tasks of one process, and its death.

    Args:
        loop: With `make_task` as its task factory.
        number: 1, 2, 3, ... of the run.

    Attributes:
        is_dead: Nothing that it still does may have an effect: the roads out of it ask.
        crash_point: Called with the name of each point that is passed; may kill the life.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        self.number = number
        self.is_dead = False
        self.crash_point: Callable[[str], None] = lambda _: None
        self._loop = loop
        self._tasks: list[asyncio.Task[Any]] = []
        self._pruned_at = 64
        self._mourners: dict[int, Callable[[], None]] = {}
        self._mourner_count = 0
        self.context: Context = copy_context()
        self.context.run(_LIFE.set, self)

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in the process."""
        return self._loop.create_task(work, context=self.context)

    def later(self, delay_s: float, act: Callable[..., Any], *args: Any) -> None:
        """Let something reach the process after a while, if it still lives."""
        self._loop.call_later(delay_s, self._if_alive, act, args, context=self.context)

    def mourn(self, act: Callable[[], None]) -> int:
        """Call this when it dies; returns a number for `comfort`."""
        self._mourner_count += 1
        self._mourners[self._mourner_count] = act
        return self._mourner_count

    def comfort(self, number: int) -> None:
        """It need not be called any more."""
        self._mourners.pop(number, None)

    def check(self) -> None:
        """Stop a task of a dead process where it stands."""
        if self.is_dead:
            raise asyncio.CancelledError

    def at(self, name: str) -> None:
        """A named point of the code is passed: the process may end here."""
        self.check()
        self.crash_point(name)
        self.check()

    def crash(self) -> None:
        """`kill -9`: from this instant nothing of it has an effect."""
        if self.is_dead:
            return
        self.is_dead = True
        mourners, self._mourners = self._mourners, {}
        for act in mourners.values():
            act()
        self._loop.call_soon(self._bury, _BURIALS_MAX)

    def enlist(self, task: asyncio.Task[Any]) -> None:
        """A task belongs to this process."""
        self._tasks.append(task)
        if len(self._tasks) > self._pruned_at:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._pruned_at = 2 * len(self._tasks) + 64

    def _if_alive(self, act: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if not self.is_dead:
            act(*args)

    def _bury(self, turns: int) -> None:
        self._tasks = [task for task in self._tasks if not task.done()]
        for task in self._tasks:
            task.cancel()
        if self._tasks and turns:
            self._loop.call_soon(self._bury, turns - 1)


def make_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], context: Context | None = None
) -> asyncio.Task[Any]:
    """The loop's task factory: a task belongs to the life in whose context it is made."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
    life = _LIFE.get() if context is None else context.get(_LIFE)
    if life is not None:
        life.enlist(task)
    return task
