"""A page token goes on with its own list, and is refused by name everywhere else."""

from __future__ import annotations

import pytest

from gateway.domain.errors import PageTokenMismatch
from gateway.domain.page_tokens import list_digest, number_of, read_page_token, write_page_token

DIGEST = list_digest("ListThings", {"side": "buy"})


@pytest.mark.parametrize("position", [("7", "an-id"), ("7", "BRK.B"), ("7",)])
def test_a_position_is_read_back(position: tuple[str, ...]) -> None:
    assert read_page_token(write_page_token(DIGEST, *position), DIGEST, len(position)) == list(position)


@pytest.mark.parametrize(
    "token",
    [
        write_page_token(list_digest("ListThings", {"side": "sell"}), 7, "an-id"),
        write_page_token(list_digest("ListOthers", {"side": "buy"}), 7, "an-id"),
        *(DIGEST, f"{DIGEST}.", f"{DIGEST}.7", f"{DIGEST}.7.", f"{DIGEST}..an-id", "", "."),
    ],
)
def test_a_token_of_another_list_is_refused_by_name(token: str) -> None:
    with pytest.raises(PageTokenMismatch) as refusal:
        read_page_token(token, DIGEST, 2)
    assert [violation.field for violation in refusal.value.violations] == ["page_token"]


@pytest.mark.parametrize("text", ["", "-1", "1.5", "٣", "1e3", "9" * 21, " 7"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(PageTokenMismatch):
        number_of(text)
