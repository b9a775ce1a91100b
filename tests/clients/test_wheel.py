"""The light wheel: it builds, asks for four packages, and needs no other."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPENDENCIES = {"grpcio", "protobuf", "googleapis-common-protos", "grpcio-status"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: setuptools leaves its traces beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "clients" / "python", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    build = "from setuptools import build_meta; build_meta.build_wheel('..')"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("trading_gateway_client-*.whl")
    return built


def test_it_asks_for_four_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        requirements = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist") or []
    assert {re.split(r"[<>=!~ ;\[]", one)[0] for one in requirements} == DEPENDENCIES


def test_it_has_the_contract_the_client_and_their_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = (ROOT / "clients" / "python").rglob("trading_gateway/**/*.py*")
    wanted = {str(path.relative_to(ROOT / "clients" / "python")) for path in sources if path.suffix in {".py", ".pyi"}}
    assert wanted - names == set()
    assert "trading_gateway/py.typed" in names
    assert not any(name.startswith(("gateway/", "examples/")) for name in names)


def test_it_imports_nothing_else(wheel: Path, tmp_path: Path) -> None:
    """It works out of the wheel itself, and its sources name Python's own modules and those of the four alone."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import trading_gateway; print(trading_gateway.__file__);"
        "assert 'gateway' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)
    imported = set()
    for path in (tmp_path / "trading_gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                imported.add(str(node.module).partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"trading_gateway", "grpc", "grpc_status", "google"}


def test_only_one_distribution_brings_the_package_here() -> None:
    """Beside the gateway's own, the light wheel would be a second copy of the contract."""
    assert set(importlib.metadata.packages_distributions()["trading_gateway"]) == {"trading-gateway"}


def test_a_float_or_a_missing_field_is_found_by_mypy(tmp_path: Path) -> None:
    """The methods keep their types on both clients, though each is written once."""
    program = tmp_path / "program.py"
    program.write_text(
        "from trading_gateway import AsyncClient, Client\n"
        "def blocking(client: Client) -> None:\n"
        "    client.submit_order(client_order_id='k', symbol='A', side='buy', quantity=1.5,"
        " order_type='market', time_in_force='day')\n"
        "    client.get_order()\n"
        "    reveal_type(client.list_orders())\n"
        "async def awaited(client: AsyncClient) -> None:\n"
        "    await client.preview_order(symbol='A', side='bye', order_type='market', time_in_force='day')\n"
        "    reveal_type(await client.get_account())\n"
        "    reveal_type(client.stream_quotes('A'))\n"
    )
    arguments = ["--strict", "--cache-dir", ROOT / ".mypy_cache", "--config-file", ROOT / "pyproject.toml", program]
    done = subprocess.run(
        [Path(sys.executable).parent / "mypy", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = [re.sub(r"^.*program\.py:", "", line) for line in done.stdout.splitlines() if "program.py" in line]
    assert [line.split(":")[0] for line in found if "error" in line] == ["3", "4", "7"]
    assert any("Iterator[trading_gateway.v1.trading_pb2.Order" in line for line in found)
    assert any('"trading_gateway.v1.account_pb2.Account"' in line for line in found)
    assert any("AsyncGenerator[trading_gateway.v1.market_data_pb2.StreamQuotesResponse" in line for line in found)
