"""What somebody types to start this program, for hints that can be copied."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Final

NAME: Final = "trading-gateway"


def program() -> str:
    """The name where the shell finds this installation by it, else its path, from this folder on if it is below."""
    script = Path(sysconfig.get_path("scripts")) / NAME
    if not script.is_file():
        return f"{sys.executable} -m gateway"
    found = shutil.which(NAME)
    if found is not None and Path(found).resolve() == script.resolve():
        return NAME
    here = Path.cwd()
    return str(script.relative_to(here) if script.is_relative_to(here) else script)
