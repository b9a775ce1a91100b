"""Every binding of the container resolves, once, without a network."""

from __future__ import annotations

import inspect

import pytest

from gateway.config import Settings
from gateway.container import build, client_config, modules


def provided() -> list[type]:
    """What the modules promise to make."""
    kinds = []
    for module in modules(Settings(venue_url="http://127.0.0.1:1")):
        for _, method in inspect.getmembers(module, lambda member: hasattr(member, "__binding__")):
            kinds.append(method.__binding__.interface)
    return kinds


@pytest.mark.parametrize("kind", provided(), ids=lambda kind: kind.__name__)
async def test_every_binding_resolves_to_a_singleton(kind: type) -> None:
    injector = build(Settings(venue_url="http://127.0.0.1:1"))
    assert injector.get(kind) is injector.get(kind)


async def test_everything_is_made_at_start_and_nothing_by_a_call() -> None:
    from injector import SingletonScope

    from gateway.cli.process import Gateway

    made = Gateway(Settings(venue_url="http://127.0.0.1:1")).injector.get(SingletonScope)._context
    assert [kind.__name__ for kind in provided() if kind not in made] == []


async def test_an_emulator_is_never_sent_the_accounts_keys() -> None:
    config = client_config(Settings(venue_url="http://127.0.0.1:1", api_key="PKREAL", api_secret="REALSECRET"))
    assert "REAL" not in config.key.reveal() + config.secret.reveal()


async def test_nothing_is_made_that_was_not_bound() -> None:
    from injector import UnsatisfiedRequirement

    class Unbound:
        pass

    with pytest.raises(UnsatisfiedRequirement):
        build(Settings(venue_url="http://127.0.0.1:1")).get(Unbound)
