"""One parser under atheris: `python -m tests.fuzz.guided PARSER -max_total_time=60 CORPUS`; options are libFuzzer's."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["gateway"]):
    from tests.fuzz.parsers import PARSERS, quiet


def main() -> None:
    """Runs until its time is over, or an input shows a fault."""
    name = sys.argv.pop(1)
    quiet()
    atheris.Setup(sys.argv, PARSERS[name][0])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
