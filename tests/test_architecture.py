"""The house style as tests: imports, types, lint, protos, generated code, pins."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
GOLDEN = ROOT / "tests" / "golden" / "wire_v1.txt"
SHIPPED = ROOT / "tests" / "golden" / "shipped" / "wire_v1.txtpb"


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run a tool; its output is the failure's message."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Protos and Google's protos side by side, as buf wants them."""
    folder = tmp_path_factory.mktemp("buf")
    run(sys.executable, ROOT / "protos" / "generate.py", "--workspace", folder)
    return folder


def test_imports_point_down() -> None:
    run(BIN / "lint-imports", "--no-cache")


def test_ruff_finds_nothing() -> None:
    run(BIN / "ruff", "check", "--no-cache", ".")


def test_code_is_formatted() -> None:
    run(BIN / "ruff", "format", "--check", "--no-cache", ".")


def test_types_are_strict(tmp_path: Path) -> None:
    run(BIN / "mypy", "--cache-dir", ROOT / ".mypy_cache")


def test_generated_code_is_fresh() -> None:
    run(sys.executable, ROOT / "protos" / "generate.py", "--check")


def test_protos_pass_buf_lint_and_are_commented(workspace: Path) -> None:
    run(BIN / "buf", "lint", cwd=workspace)


def test_protos_are_formatted(workspace: Path) -> None:
    run(BIN / "buf", "format", "--diff", "--exit-code", "protos", cwd=workspace)


def test_nothing_breaks_what_was_shipped(workspace: Path) -> None:
    """Also cardinality, oneofs, names in JSON and files, of which the lines of wire_v1.txt say nothing."""
    run(BIN / "buf", "breaking", "protos", "--against", SHIPPED, cwd=workspace)


def test_everything_promised_is_in_the_shipped_image(workspace: Path) -> None:
    """What is missing there could be broken unseen; protos/README.md has the command that writes it."""
    run(BIN / "buf", "breaking", SHIPPED, "--against", "protos", cwd=workspace)


@pytest.mark.parametrize(
    ("line", "broken_line", "said"),
    [
        ("string client_order_id = 2;", "string client_order_id = 20;", "client_order_id"),
        ("string client_order_id = 2;", "repeated string client_order_id = 2;", "cardinality"),
    ],
)
def test_buf_sees_a_broken_promise(workspace: Path, tmp_path: Path, line: str, broken_line: str, said: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(workspace, broken)
    proto = broken / "protos" / "trading_gateway" / "v1" / "trading.proto"
    assert line in proto.read_text()
    proto.write_text(proto.read_text().replace(line, broken_line, 1))
    with pytest.raises(AssertionError, match=said):
        run(BIN / "buf", "breaking", "protos", "--against", SHIPPED, cwd=broken)


def wire_promises() -> set[str]:
    """One line per rpc, field and enum value, so that a breaking change is a missing line."""
    from trading_gateway.v1 import (
        account_pb2,
        common_pb2,
        errors_pb2,
        market_data_pb2,
        operations_pb2,
        reference_pb2,
        risk_pb2,
        simulation_pb2,
        trading_pb2,
    )

    lines: set[str] = set()

    def enum(descriptor) -> None:
        lines.update(f"{descriptor.full_name}.{value.name} = {value.number}" for value in descriptor.values)

    def message(descriptor) -> None:
        for field in descriptor.fields:
            kind = field.message_type or field.enum_type
            lines.add(f"{field.full_name} = {field.number} {field.type} {kind.full_name if kind else ''}".rstrip())
        for nested in descriptor.nested_types:
            message(nested)
        for nested in descriptor.enum_types:
            enum(nested)

    modules = (
        account_pb2,
        common_pb2,
        errors_pb2,
        market_data_pb2,
        operations_pb2,
        reference_pb2,
        risk_pb2,
        simulation_pb2,
        trading_pb2,
    )
    for module in modules:
        file = module.DESCRIPTOR
        for service in file.services_by_name.values():
            for method in service.methods:
                arrow = "-> stream" if method.server_streaming else "->"
                lines.add(f"{method.full_name}({method.input_type.full_name}) {arrow} {method.output_type.full_name}")
        for descriptor in file.message_types_by_name.values():
            message(descriptor)
        for descriptor in file.enum_types_by_name.values():
            enum(descriptor)
    return lines


def test_no_wire_promise_is_broken() -> None:
    """Lines are added to the golden file, never changed or removed once a version is out."""
    shipped = set(GOLDEN.read_text().splitlines())
    promises = wire_promises()
    assert shipped - promises == set(), "shipped promises are missing from the protos"
    assert promises - shipped == set(), "new promises: add these lines to tests/golden/wire_v1.txt"


def test_no_foreign_address_is_pinned() -> None:
    """A lock that names a registry host would send everybody's downloads there."""
    for name in ("constraints.txt", "pyproject.toml", "clients/go/go.sum", "clients/python/pyproject.toml"):
        assert "://" not in (ROOT / name).read_text(), name


def test_every_package_is_pinned_without_address() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert pins
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+( ;.*)?", pin) for pin in pins)


def test_no_room_is_called_shared() -> None:
    forbidden = {"shared", "common", "utils", "helpers"}
    rooms = [path for path in (ROOT / "gateway").rglob("*") if path.is_dir() or path.suffix == ".py"]
    assert [path for path in rooms if path.stem in forbidden and path.parent.name != "wire"] == []


def test_files_stay_readable() -> None:
    """A module past 500 lines is two modules."""
    long = {
        str(path.relative_to(ROOT)): count
        for path in [*(ROOT / "gateway").rglob("*.py"), *(ROOT / "clients/python").rglob("*.py")]
        if "_pb2" not in path.name and (count := len(path.read_text().splitlines())) > 500
    }
    assert long == {}


def test_every_promise_names_tests_that_exist() -> None:
    """README's table of promises: each row has one at least, and each is a function of its file."""
    promises = (ROOT / "README.md").read_text().partition("## Promises")[2].partition("\n\n### ")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) > 5
    for row in rows:
        file = ""
        names = re.findall(r"`([\w/.]*)::(\w+)`", row)
        assert names, row
        for path, name in names:
            file = path or file
            assert re.search(rf"^\s*(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), (file, name)
