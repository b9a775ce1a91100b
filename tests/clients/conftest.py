"""Both clients behind one face, so that each test is written once and holds for both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clients.scripted import ScriptedGateway
from trading_gateway import AsyncClient, Client, RetryPolicy

QUICK = RetryPolicy(attempts_max=3, reconnects_max=3, backoff_initial_s=0.001, backoff_max_s=0.01)


class Awaited:
    """An `AsyncClient` that is called like a `Client`: its coroutines are run, its iterators stepped."""

    def __init__(self, runner: asyncio.Runner, client: AsyncClient) -> None:
        self._runner = runner
        self._client = client

    def __getattr__(self, name: str) -> Any:
        def method(*args: Any, **kwargs: Any) -> Any:
            result = getattr(self._client, name)(*args, **kwargs)
            if hasattr(result, "__anext__"):
                return Stepped(self._runner, result)
            if inspect.iscoroutine(result):
                return self._runner.run(result)
            return Awaited(self._runner, result)

        return method


class Stepped:
    """An asynchronous iterator that is stepped like an iterator."""

    def __init__(self, runner: asyncio.Runner, items: Any) -> None:
        self._runner = runner
        self._items = items

    def __iter__(self) -> Stepped:
        return self

    def __next__(self) -> Any:
        async def following() -> Any:
            return await anext(self._items)

        try:
            return self._runner.run(following())
        except StopAsyncIteration:
            raise StopIteration from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._items, name)

    def close(self) -> None:
        """Leave it."""
        self._runner.run(self._items.aclose())


@pytest.fixture
def scripted() -> Iterator[ScriptedGateway]:
    """A real server with scripted answers."""
    gateway = ScriptedGateway()
    yield gateway
    gateway.stop()


@pytest.fixture(params=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Opens a client of either kind: `connect(target, timeout_s=1)`."""
    if request.param == "blocking":
        opened: list[Client] = []

        def open_blocking(target: str, **options: Any) -> Client:
            opened.append(Client(target, **{"retry": QUICK, **options}))
            return opened[-1]

        yield open_blocking
        for client in opened:
            client.close()
        return

    with asyncio.Runner() as runner:
        faces: list[Awaited] = []

        async def made(target: str, options: dict[str, Any]) -> AsyncClient:
            return AsyncClient(target, **{"retry": QUICK, **options})

        def open_asyncio(target: str, **options: Any) -> Awaited:
            faces.append(Awaited(runner, runner.run(made(target, options))))
            return faces[-1]

        yield open_asyncio
        for face in faces:
            face.close()


@pytest.fixture
def client(connect: Callable[..., Any], scripted: ScriptedGateway) -> Any:
    """A client of either kind on the scripted server."""
    return connect(scripted.target)
