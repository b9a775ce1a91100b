"""Modules that alpaca-py imports for what the gateway never asks of it: imported when something asks after all.

Its answer models can become data frames, and so it imports pandas and numpy: more than a second, and some 45 MB, at
every start. Here it gets stand-ins of these names; whoever else imports pandas or numpy, later, gets the real ones.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, Final

UNUSED: Final = ("pandas", "numpy")


class _StandIn(ModuleType):
    """A module by name: its names are placeholders while it stands in `sys.modules`, and the real ones afterwards."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            return object  # named in an annotation
        return getattr(import_module(self.__name__), name)


@contextmanager
def deferred(names: tuple[str, ...] = UNUSED) -> Iterator[None]:
    """Let what is imported within find stand-ins for modules that are not imported yet."""
    stand_ins = {name: _StandIn(name) for name in names if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]
