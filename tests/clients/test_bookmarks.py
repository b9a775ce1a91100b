"""The file that remembers where a reader stands: whole or not at all, and never passed over in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trading_gateway import Bookmark, FileTokenStore

FIRST, SECOND = Bookmark("t-1", 1, 1_000), Bookmark("t-2", 2, 2_000)


def test_what_was_saved_is_read_back_by_another_run(tmp_path: Path) -> None:
    path = tmp_path / "token.json"
    assert FileTokenStore(path).load() is None
    FileTokenStore(path).save(FIRST)
    store = FileTokenStore(path)
    store.save(SECOND)
    assert FileTokenStore(str(path)).load() == SECOND
    assert os.listdir(tmp_path) == ["token.json"]


@pytest.mark.parametrize("broken_at", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_bookmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_at: str
) -> None:
    store = FileTokenStore(tmp_path / "token.json")
    store.save(FIRST)

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, broken_at, fail)
        with pytest.raises(OSError, match="no space"):
            store.save(SECOND)
    assert store.load() == FIRST
    assert os.listdir(tmp_path) == ["token.json"]


def test_the_bookmark_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut leaves an empty file under the right name."""
    steps: list[str] = []
    real = {name: getattr(os, name) for name in ("fsync", "replace")}
    for name in real:
        monkeypatch.setattr(os, name, lambda *args, name=name: (steps.append(name), real[name](*args))[1])
    FileTokenStore(tmp_path / "token.json").save(FIRST)
    assert steps == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"resume_token": "t", "sequence": 1}',
        '{"resume_token": "", "sequence": 1, "time_ns": 0}',
        '{"resume_token": "t", "sequence": "1", "time_ns": 0}',
        '{"resume_token": "t", "sequence": true, "time_ns": 0}',
        '{"resume_token": 5, "sequence": 1, "time_ns": 0}',
    ],
)
def test_a_file_that_holds_something_else_is_not_taken_for_a_first_run(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"token\.json holds no bookmark"):
        FileTokenStore(path).load()
