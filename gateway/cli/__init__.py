"""What a person types: `trading-gateway serve`, `doctor`, `quotes --follow` and the rest.

Exit codes: 0 done; 1 it failed, and stderr says why and what to do; 2 the command line itself is wrong; 78 the settings
ask for what is not allowed, so starting again does not help.
"""

import os

from gateway.cli.hardening import keep_private


def main() -> None:
    """Run the command line."""
    # Read once, at import: grpc's core would print lines of its own beside our refusals.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.pop("GRPC_TRACE", None)  # what it prints of calls, nobody can vouch for
    keep_private()
    from gateway.cli.app import app  # noqa: PLC0415 - typer only when a person is there

    app()
