"""A missing toolchain skips and says so; where everything must run, it fails."""

from __future__ import annotations

import pytest

from tests.clients.toolchains import missing


def test_without_ci_it_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="go is not installed"):
        missing("go is not installed")


def test_with_ci_the_skip_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="go is not installed"):
        missing("go is not installed")
