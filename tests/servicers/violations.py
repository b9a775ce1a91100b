"""What a refusal names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.domain.errors import FieldInvalid


def bad_fields(read_it: Callable[[], Any]) -> list[str]:
    """The paths of every violation; the noun was not made."""
    with pytest.raises(FieldInvalid) as refusal:
        read_it()
    return [violation.field for violation in refusal.value.violations]
