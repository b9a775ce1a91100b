"""Protos → `clients/go/tradinggatewayv1`, the only way files get there.

    python clients/go/generate.py           write the generated code
    python clients/go/generate.py --check   exit 1 when it differs from what is committed, 3 without the tools

The protos name no Go package: where the code lives is said here. The tools, in the versions of `TOOLS`, come by
    GOBIN=$PWD/build/bin go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
    GOBIN=$PWD/build/bin go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
and are looked for in build/bin, on the PATH and in Go's own folder of programs.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODULE = "trading-gateway/clients/go"
PACKAGE = "tradinggatewayv1"
TOOLS = {"protoc-gen-go": "v1.36.12", "protoc-gen-go-grpc": "1.6.2"}
TOOLS_MISSING = 3


def protos() -> ModuleType:
    """`protos/generate.py`, which knows where the protos and Google's are."""
    spec = spec_from_file_location("protos_generate", ROOT / "protos" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plugin(name: str) -> Path | None:
    """Where a tool is, if it is here in the version that wrote the committed code."""
    places = [ROOT / "build" / "bin", *map(Path, os.get_exec_path()), Path.home() / "go" / "bin"]
    for place in places:
        tool = place / name
        if tool.is_file():
            said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603
            if said.split()[-1] == TOOLS[name]:
                return tool
    return None


def generate(output: Path) -> None:
    """Write messages and stubs below a folder.

    Raises:
        FileNotFoundError: A tool is missing, or is another version.
    """
    from grpc_tools import protoc  # noqa: PLC0415 - a tool of development

    source = protos()
    arguments = [f"-I{source.PROTOS}", f"-I{Path(protoc.__file__).parent / '_proto'}", f"-I{source.googleapis()}"]
    for name, kind in (("protoc-gen-go", "go"), ("protoc-gen-go-grpc", "go-grpc")):
        tool = plugin(name)
        if tool is None:
            raise FileNotFoundError(f"{name} {TOOLS[name]} is missing: see the head of clients/go/generate.py")
        arguments += [f"--plugin={name}={tool}", f"--{kind}_out={output}", f"--{kind}_opt=module={MODULE}"]
        arguments += [f"--{kind}_opt=M{proto}={MODULE}/{PACKAGE}" for proto in source.sources()]
    if protoc.main(["protoc", *arguments, *source.sources()]) != 0:
        raise SystemExit("protoc failed")


def differences() -> list[str]:
    """Names of generated files that are missing, stale or not generated."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh, committed = Path(folder) / PACKAGE, HERE / PACKAGE
        names = {path.name for path in fresh.iterdir()} | {path.name for path in committed.glob("*.go")}
        _, mismatch, missing = filecmp.cmpfiles(fresh, committed, sorted(names), shallow=False)
        return sorted(mismatch + missing)


def main() -> int:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    try:
        if check:
            stale = differences()
            for name in stale:
                print(f"stale: {name}", file=sys.stderr)  # noqa: T201
            return 1 if stale else 0
        with tempfile.TemporaryDirectory() as folder:
            generate(Path(folder))
            shutil.rmtree(HERE / PACKAGE, ignore_errors=True)
            shutil.copytree(Path(folder) / PACKAGE, HERE / PACKAGE)
    except FileNotFoundError as missing:
        print(missing, file=sys.stderr)  # noqa: T201
        return TOOLS_MISSING
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
