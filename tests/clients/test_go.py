"""The Go client: its own tests, and whether its generated code is the protos' and its sources are in order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.toolchains import GO_MODULE, find, missing, run_go

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # the first build compiles gRPC


def test_vet_finds_nothing() -> None:
    run_go("vet", "./...")


def test_its_own_tests_pass() -> None:
    assert "ok" in run_go("test", "./gatewayclient")


def test_it_is_formatted() -> None:
    gofmt = find("gofmt")
    if gofmt is None:
        missing("gofmt is not installed: it comes with go")
    done = subprocess.run([gofmt, "-l", "."], cwd=GO_MODULE, capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_generated_code_is_fresh() -> None:
    done = subprocess.run(
        [sys.executable, GO_MODULE / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    if done.returncode == 3:
        missing(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_enum_and_message_has_a_go_type() -> None:
    """Holds without any tool: a proto added and not generated is seen."""
    from importlib import import_module

    from trading_gateway import v1

    source = "".join(path.read_text() for path in (GO_MODULE / "tradinggatewayv1").glob("*.go"))
    names = sorted(path.stem for path in Path(v1.__path__[0]).glob("*_pb2.py"))
    assert len(names) >= 8
    for module in (import_module(f"trading_gateway.v1.{name}") for name in names):
        for message in module.DESCRIPTOR.message_types_by_name.values():
            assert f"type {message.name} struct" in source
            for field in message.fields:
                assert f"json={field.json_name}" in source or f"name={field.name}" in source, field.full_name
        for enum in module.DESCRIPTOR.enum_types_by_name.values():
            for value in enum.values:
                assert f'"{value.name}"' in source, value.name
