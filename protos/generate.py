"""Protos → `clients/python/trading_gateway/v1`, the only way files get there.

    python protos/generate.py                  write the generated code
    python protos/generate.py --check          exit 1 when it differs from what is committed
    python protos/generate.py --workspace DIR  lay out a buf workspace (protos, googleapis, buf.yaml)

Google's protos come from the installed googleapis-common-protos. The path of a proto equals its package and
the Python package, so generated imports need no repair.
"""

from __future__ import annotations

import argparse
import filecmp
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
OUTPUT = PROTOS.parent / "clients" / "python"
PACKAGE = Path("trading_gateway") / "v1"
GOOGLE_FOLDERS = ("google/rpc", "google/type")


def googleapis() -> Path:
    """The folder that holds `google/rpc/status.proto`: the installed googleapis-common-protos."""
    spec = importlib.util.find_spec("google.rpc.status_pb2")
    if spec is None or spec.origin is None:
        raise SystemExit("googleapis-common-protos is not installed: run 'make setup'")
    return Path(spec.origin).parents[2]


def sources() -> list[str]:
    """The project's protos, relative to their root, in a stable order."""
    return sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / PACKAGE).glob("*.proto"))


def generate(output: Path) -> None:
    """Write messages, stubs and their types below a folder."""
    from grpc_tools import protoc  # noqa: PLC0415 - a tool of development, absent where only --workspace is wanted

    google_builtin = Path(protoc.__file__).parent / "_proto"
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # finds protoc-gen-mypy
    arguments = [f"-I{PROTOS}", f"-I{google_builtin}", f"-I{googleapis()}"]
    arguments += [f"--{kind}_out={output}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    if protoc.main(["protoc", *arguments, *sources()]) != 0:
        raise SystemExit("protoc failed")


def differences() -> list[str]:
    """Names of generated files that are missing, stale or not generated."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh, committed = Path(folder) / PACKAGE, OUTPUT / PACKAGE
        names = {path.name for path in fresh.iterdir()} | {path.name for path in committed.glob("*_pb2*")}
        _, mismatch, missing = filecmp.cmpfiles(fresh, committed, sorted(names), shallow=False)
        return sorted(mismatch + missing)


def lay_out_workspace(folder: Path) -> None:
    """Copy protos, Google's protos and buf.yaml side by side, as buf wants its modules."""
    shutil.copytree(PROTOS / PACKAGE, folder / "protos" / PACKAGE, dirs_exist_ok=True)
    shutil.copy(PROTOS / "buf.yaml", folder / "buf.yaml")
    for name in GOOGLE_FOLDERS:
        target = folder / "googleapis" / name
        target.mkdir(parents=True, exist_ok=True)
        for proto in (googleapis() / name).glob("*.proto"):
            shutil.copy(proto, target / proto.name)


def main() -> int:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--workspace", type=Path)
    arguments = parser.parse_args()
    if arguments.workspace:
        lay_out_workspace(arguments.workspace)
        return 0
    if arguments.check:
        stale = differences()
        for name in stale:
            print(f"stale: {name}", file=sys.stderr)  # noqa: T201
        return 1 if stale else 0
    generate(OUTPUT)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
